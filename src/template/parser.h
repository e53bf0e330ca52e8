/* The parser's state, shared by its files. */
#ifndef UMBRA_TEMPLATE_PARSER_H
#define UMBRA_TEMPLATE_PARSER_H

#include "template/lexer.h"
#include "template/node.h"

typedef struct umbra_tpl_parser {
    umbra_tpl_context *c;
    const umbra_tpl_token *t; /* the current token */
    umbra_tpl_dict *names;
    uint16_t *uses; /* TPL_USES_* of the innermost macro, or NULL */
    uint32_t loops; /* for statements around, inside of the innermost macro */
} umbra_tpl_parser;

/* A list under construction. */
typedef struct umbra_tpl_chain {
    umbra_tpl_node *first, **end;
} umbra_tpl_chain;

void umbra_tpl_chain_init(umbra_tpl_chain *list);
void umbra_tpl_chain_add(umbra_tpl_chain *list, umbra_tpl_node *node);

/* All parse functions: NULL, or an error code, after an error was reported. */
umbra_tpl_node *umbra_tpl_node_new(umbra_tpl_parser *p, umbra_tpl_node_type type);
void umbra_tpl_next(umbra_tpl_parser *p);
bool umbra_tpl_is_op(const umbra_tpl_parser *p, uint16_t op);
bool umbra_tpl_is_word(const umbra_tpl_parser *p, const char *word); /* a name token of that text */
bool umbra_tpl_take_op(umbra_tpl_parser *p, uint16_t op); /* consumes it if it is there */
bool umbra_tpl_take_word(umbra_tpl_parser *p, const char *word);
int umbra_tpl_expect_op(umbra_tpl_parser *p, uint16_t op);
int umbra_tpl_expect(umbra_tpl_parser *p, umbra_tpl_token_type type);
int umbra_tpl_unexpected(umbra_tpl_parser *p, const char *wanted);
/* The current name token's text, interned; consumes it. */
const umbra_tpl_string *umbra_tpl_take_name(umbra_tpl_parser *p);
int umbra_tpl_intern(umbra_tpl_parser *p, const umbra_tpl_string *name,
                     const umbra_tpl_string **out);

umbra_tpl_node *umbra_tpl_parse_expression(umbra_tpl_parser *p);
/* No "a if b" at the top: in "for x in xs if ..." it belongs to the loop. */
umbra_tpl_node *umbra_tpl_parse_plain(umbra_tpl_parser *p);
/* With commas, a tuple. `choice`: "a if b else c" may stand there; `end`: a word that ends it. */
umbra_tpl_node *umbra_tpl_parse_tuple(umbra_tpl_parser *p, bool choice, const char *end);
/* What can be assigned to: names, tuples of them, with `attributes` ns.name. */
umbra_tpl_node *umbra_tpl_parse_target(umbra_tpl_parser *p, bool attributes);
/* "| name(...) | ...", around `input`; with `begun` the first one has no bar. */
umbra_tpl_node *umbra_tpl_parse_filters(umbra_tpl_parser *p, umbra_tpl_node *input, bool begun);
/* A constant, a name, or something in brackets. */
umbra_tpl_node *umbra_tpl_parse_primary(umbra_tpl_parser *p);
/* The members, items and calls behind it, then the filters and tests. */
umbra_tpl_node *umbra_tpl_parse_postfix(umbra_tpl_parser *p, umbra_tpl_node *node);
umbra_tpl_node *umbra_tpl_parse_filters_and_tests(umbra_tpl_parser *p, umbra_tpl_node *node);

#endif
