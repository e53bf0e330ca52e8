/* The parser's state, shared by its files. */
#ifndef UMBRA_TEMPLATE_PARSER_H
#define UMBRA_TEMPLATE_PARSER_H

#include "template/lexer.h"
#include "template/node.h"

typedef struct tpl_parser {
    tpl_context *c;
    const tpl_token *t; /* the current token */
    tpl_dict *names;
    uint16_t *uses; /* TPL_USES_* of the innermost macro, or NULL */
    uint32_t loops; /* for statements around, inside of the innermost macro */
} tpl_parser;

/* A list under construction. */
typedef struct tpl_chain {
    tpl_node *first, **end;
} tpl_chain;

void tpl_chain_init(tpl_chain *list);
void tpl_chain_add(tpl_chain *list, tpl_node *node);

/* All parse functions: NULL, or an error code, after an error was reported. */
tpl_node *tpl_node_new(tpl_parser *p, tpl_node_type type);
void tpl_next(tpl_parser *p);
bool tpl_is_op(const tpl_parser *p, uint16_t op);
bool tpl_is_word(const tpl_parser *p, const char *word); /* a name token of that text */
bool tpl_take_op(tpl_parser *p, uint16_t op);            /* consumes it if it is there */
bool tpl_take_word(tpl_parser *p, const char *word);
int tpl_expect_op(tpl_parser *p, uint16_t op);
int tpl_expect(tpl_parser *p, tpl_token_type type);
int tpl_unexpected(tpl_parser *p, const char *wanted);
/* The current name token's text, interned; consumes it. */
const tpl_string *tpl_take_name(tpl_parser *p);
int tpl_intern(tpl_parser *p, const tpl_string *name, const tpl_string **out);

tpl_node *tpl_parse_expression(tpl_parser *p);
/* No "a if b" at the top: in "for x in xs if ..." it belongs to the loop. */
tpl_node *tpl_parse_plain(tpl_parser *p);
/* With commas, a tuple. `choice`: "a if b else c" may stand there; `end`: a word that ends it. */
tpl_node *tpl_parse_tuple(tpl_parser *p, bool choice, const char *end);
/* What can be assigned to: names, tuples of them, with `attributes` ns.name. */
tpl_node *tpl_parse_target(tpl_parser *p, bool attributes);
/* "| name(...) | ...", around `input`; with `begun` the first one has no bar. */
tpl_node *tpl_parse_filters(tpl_parser *p, tpl_node *input, bool begun);
/* A constant, a name, or something in brackets. */
tpl_node *tpl_parse_primary(tpl_parser *p);
/* The members, items and calls behind it, then the filters and tests. */
tpl_node *tpl_parse_postfix(tpl_parser *p, tpl_node *node);
tpl_node *tpl_parse_filters_and_tests(tpl_parser *p, tpl_node *node);

#endif
