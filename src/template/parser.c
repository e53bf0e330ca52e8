/* Statements of a template as nodes. */
#include <stdio.h>
#include <string.h>

#include "template/functions.h"
#include "template/parser.h"

/* Statements up to one of the words of `ends` ("|else|endfor|", the closing one last), whose token
 * becomes the current one; NULL: up to the end. `line`: where the block begins. */
static int parse_body(umbra_tpl_parser *p, const char *ends, uint32_t line, umbra_tpl_node **out);

void umbra_tpl_chain_init(umbra_tpl_chain *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void umbra_tpl_chain_add(umbra_tpl_chain *list, umbra_tpl_node *node)
{
    *list->end = node;
    list->end = &node->next;
}

umbra_tpl_node *umbra_tpl_node_new(umbra_tpl_parser *p, umbra_tpl_node_type type)
{
    umbra_tpl_node *n = umbra_tpl_alloc(p->c, 1, sizeof *n);
    if (n) {
        n->type = (uint8_t)type;
        n->line = p->t->line;
    }
    return n;
}

void umbra_tpl_next(umbra_tpl_parser *p)
{
    if (p->t->type != TPL_T_END)
        p->t++;
    p->c->line = p->t->line;
}

bool umbra_tpl_is_op(const umbra_tpl_parser *p, uint16_t op)
{
    return p->t->type == TPL_T_OPERATOR && p->t->op == op;
}

bool umbra_tpl_is_word(const umbra_tpl_parser *p, const char *word)
{
    return p->t->type == TPL_T_NAME && umbra_tpl_text_is(p->t->value.u.string, word);
}

bool umbra_tpl_take_op(umbra_tpl_parser *p, uint16_t op)
{
    bool there = umbra_tpl_is_op(p, op);
    if (there)
        umbra_tpl_next(p);
    return there;
}

bool umbra_tpl_take_word(umbra_tpl_parser *p, const char *word)
{
    bool there = umbra_tpl_is_word(p, word);
    if (there)
        umbra_tpl_next(p);
    return there;
}

int umbra_tpl_unexpected(umbra_tpl_parser *p, const char *wanted)
{
    char found[96];
    return umbra_tpl_fail(p->c, "unexpected %s, %s was expected",
                          umbra_tpl_describe_token(p->t, found, sizeof found), wanted);
}

int umbra_tpl_expect_op(umbra_tpl_parser *p, uint16_t op)
{
    if (umbra_tpl_take_op(p, op))
        return UMBRA_OK;
    char wanted[8];
    snprintf(wanted, sizeof wanted, "'%c'", op);
    return umbra_tpl_unexpected(p, wanted);
}

int umbra_tpl_expect(umbra_tpl_parser *p, umbra_tpl_token_type type)
{
    if (p->t->type != type) {
        char wanted[64];
        return umbra_tpl_unexpected(
            p, umbra_tpl_describe_token(&(umbra_tpl_token){.type = (uint8_t)type}, wanted,
                                        sizeof wanted));
    }
    umbra_tpl_next(p);
    return UMBRA_OK;
}

int umbra_tpl_intern(umbra_tpl_parser *p, const umbra_tpl_string *name,
                     const umbra_tpl_string **out)
{
    umbra_tpl_value key = {.kind = TPL_STRING, .u.string = name};
    umbra_tpl_entry *e = NULL;
    int rc = umbra_tpl_dict_find(p->c, p->names, key, &e);
    if (rc == UMBRA_OK && !e)
        rc = umbra_tpl_dict_set(p->c, p->names, key, umbra_tpl_none());
    *out = e ? e->key.u.string : name;
    return rc;
}

const umbra_tpl_string *umbra_tpl_take_name(umbra_tpl_parser *p)
{
    const umbra_tpl_string *name = NULL;
    if (p->t->type != TPL_T_NAME) {
        umbra_tpl_unexpected(p, "a name");
        return NULL;
    }
    if (umbra_tpl_intern(p, p->t->value.u.string, &name) != UMBRA_OK)
        return NULL;
    umbra_tpl_next(p);
    return name;
}

/* After a body: the closing tag's word. */
static int parse_block(umbra_tpl_parser *p, const char *ends, umbra_tpl_node **out)
{
    umbra_tpl_take_op(p, TPL_OP(0, ':'));
    uint32_t line = p->t->line;
    int rc = umbra_tpl_expect(p, TPL_T_BLOCK_END);
    return rc == UMBRA_OK ? parse_body(p, ends, line, out) : rc;
}

/* The same, where one word alone can close. */
static int parse_closed(umbra_tpl_parser *p, const char *end, umbra_tpl_node **out)
{
    int rc = parse_block(p, end, out);
    if (rc == UMBRA_OK)
        umbra_tpl_next(p);
    return rc;
}

static int parse_if(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    int rc = UMBRA_OK;
    for (bool more = true; rc == UMBRA_OK && more;) {
        node->a = umbra_tpl_parse_tuple(p, false, NULL);
        rc = node->a ? parse_block(p, "|elif|else|endif|", &node->b) : UMBRA_E_FORMAT;
        if (rc != UMBRA_OK)
            break;
        more = umbra_tpl_take_word(p, "elif");
        if (more) {
            node->c = umbra_tpl_node_new(p, TPL_N_IF);
            node = node->c;
            if (!node)
                return UMBRA_E_NOMEM;
            node->flag = true;
        } else if (umbra_tpl_take_word(p, "else")) {
            rc = parse_closed(p, "|endif|", &node->c);
        } else {
            umbra_tpl_next(p);
        }
    }
    return rc;
}

static int parse_for(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    node->a = umbra_tpl_parse_target(p, false);
    if (!node->a)
        return UMBRA_E_FORMAT;
    if (!umbra_tpl_take_word(p, "in"))
        return umbra_tpl_unexpected(p, "'in'");
    node->b = umbra_tpl_parse_tuple(p, false, "recursive");
    if (!node->b)
        return UMBRA_E_FORMAT;
    if (umbra_tpl_take_word(p, "if") && !(node->u.filter = umbra_tpl_parse_expression(p)))
        return UMBRA_E_FORMAT;
    node->flag = umbra_tpl_take_word(p, "recursive");
    p->loops++;
    int rc = parse_block(p, "|else|endfor|", &node->c);
    p->loops--;
    if (rc == UMBRA_OK && umbra_tpl_take_word(p, "else"))
        return parse_closed(p, "|endfor|", &node->d);
    if (rc == UMBRA_OK)
        umbra_tpl_next(p);
    return rc;
}

static int parse_set(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    node->a = umbra_tpl_parse_target(p, true);
    if (!node->a)
        return UMBRA_E_FORMAT;
    if (umbra_tpl_take_op(p, TPL_OP(0, '='))) {
        node->b = umbra_tpl_parse_tuple(p, true, NULL);
        return node->b ? UMBRA_OK : UMBRA_E_FORMAT;
    }
    node->type = TPL_N_CAPTURE;
    if (umbra_tpl_is_op(p, TPL_OP(0, '|')) && !(node->c = umbra_tpl_parse_filters(p, NULL, false)))
        return UMBRA_E_FORMAT;
    return parse_closed(p, "|endset|", &node->b);
}

static int parse_parameters(umbra_tpl_parser *p, umbra_tpl_node **out)
{
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    bool defaults = false;
    int rc = umbra_tpl_expect_op(p, TPL_OP(0, '('));
    while (rc == UMBRA_OK && !umbra_tpl_is_op(p, TPL_OP(0, ')'))) {
        if (list.first && (rc = umbra_tpl_expect_op(p, TPL_OP(0, ','))) != UMBRA_OK)
            break;
        umbra_tpl_node *name = umbra_tpl_node_new(p, TPL_N_NAME);
        if (!name || !(name->u.name = umbra_tpl_take_name(p)))
            return UMBRA_E_FORMAT;
        bool has_default = umbra_tpl_take_op(p, TPL_OP(0, '='));
        if (has_default && !(name->a = umbra_tpl_parse_expression(p)))
            return UMBRA_E_FORMAT;
        if (defaults && !has_default)
            return umbra_tpl_fail(p->c, "a parameter without a default follows one with a default");
        defaults = has_default;
        umbra_tpl_chain_add(&list, name);
    }
    *out = list.first;
    return rc == UMBRA_OK ? umbra_tpl_expect_op(p, TPL_OP(0, ')')) : rc;
}

/* The body of a macro, which is not inside of the loops around it. */
static int parse_macro_body(umbra_tpl_parser *p, umbra_tpl_node *node, const char *end)
{
    uint16_t *outer = p->uses;
    uint32_t loops = p->loops;
    p->uses = &node->op;
    p->loops = 0;
    int rc = parse_closed(p, end, &node->b);
    p->uses = outer;
    p->loops = loops;
    return rc;
}

static int parse_macro(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    node->u.name = umbra_tpl_take_name(p);
    int rc = node->u.name ? parse_parameters(p, &node->a) : UMBRA_E_FORMAT;
    return rc == UMBRA_OK ? parse_macro_body(p, node, "|endmacro|") : rc;
}

static int parse_call_block(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    static const umbra_tpl_string caller = {.data = "caller", .bytes = 6, .chars = 6};
    node->b = umbra_tpl_node_new(p, TPL_N_MACRO);
    int rc = node->b ? umbra_tpl_intern(p, &caller, &node->b->u.name) : UMBRA_E_NOMEM;
    if (rc == UMBRA_OK && umbra_tpl_is_op(p, TPL_OP(0, '(')))
        rc = parse_parameters(p, &node->b->a);
    if (rc != UMBRA_OK)
        return rc;
    node->a = umbra_tpl_parse_expression(p);
    if (!node->a)
        return UMBRA_E_FORMAT;
    if (node->a->type != TPL_N_CALL)
        return umbra_tpl_fail(p->c, "a call was expected after 'call'");
    return parse_macro_body(p, node->b, "|endcall|");
}

static int parse_filter_block(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    node->a = umbra_tpl_parse_filters(p, NULL, true);
    return node->a ? parse_closed(p, "|endfilter|", &node->b) : UMBRA_E_FORMAT;
}

static int parse_with(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    while (p->t->type != TPL_T_BLOCK_END) {
        if (list.first && umbra_tpl_expect_op(p, TPL_OP(0, ',')) != UMBRA_OK)
            return UMBRA_E_FORMAT;
        umbra_tpl_node *set = umbra_tpl_node_new(p, TPL_N_SET);
        if (!set || !(set->a = umbra_tpl_parse_primary(p)))
            return UMBRA_E_FORMAT;
        if (set->a->type != TPL_N_NAME)
            return umbra_tpl_fail(p->c, "a name was expected after 'with'");
        if (umbra_tpl_expect_op(p, TPL_OP(0, '=')) != UMBRA_OK ||
            !(set->b = umbra_tpl_parse_expression(p)))
            return UMBRA_E_FORMAT;
        umbra_tpl_chain_add(&list, set);
    }
    node->a = list.first;
    return parse_closed(p, "|endwith|", &node->b);
}

static int parse_generation(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    node->flag = true;
    return parse_closed(p, "|endgeneration|", &node->b);
}

/* Without inheritance a block is what stands in it. */
static int parse_named_block(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    if (!umbra_tpl_take_name(p))
        return UMBRA_E_FORMAT;
    umbra_tpl_take_word(p, "scoped");
    umbra_tpl_take_word(p, "required");
    int rc = parse_closed(p, "|endblock|", &node->b);
    if (rc == UMBRA_OK && p->t->type == TPL_T_NAME)
        umbra_tpl_next(p);
    return rc;
}

static int parse_operand(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    node->a = umbra_tpl_parse_tuple(p, true, NULL);
    return node->a ? UMBRA_OK : UMBRA_E_FORMAT;
}

static int parse_loop_control(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    const char *word = node->type == TPL_N_BREAK ? "break" : "continue";
    return p->loops > 0 ? UMBRA_OK : umbra_tpl_fail(p->c, "'%s' outside of a loop", word);
}

static const struct {
    const char *word;
    umbra_tpl_node_type type;
    int (*parse)(umbra_tpl_parser *p, umbra_tpl_node *node);
} statements[] = {
    {"if", TPL_N_IF, parse_if},
    {"for", TPL_N_FOR, parse_for},
    {"set", TPL_N_SET, parse_set},
    {"macro", TPL_N_MACRO, parse_macro},
    {"call", TPL_N_CALL_BLOCK, parse_call_block},
    {"filter", TPL_N_FILTER_BLOCK, parse_filter_block},
    {"with", TPL_N_SCOPE, parse_with},
    {"generation", TPL_N_SCOPE, parse_generation},
    {"block", TPL_N_SCOPE, parse_named_block},
    {"print", TPL_N_PRINT, parse_operand},
    {"do", TPL_N_DO, parse_operand},
    {"break", TPL_N_BREAK, parse_loop_control},
    {"continue", TPL_N_CONTINUE, parse_loop_control},
};

static int parse_statement(umbra_tpl_parser *p, umbra_tpl_node **out)
{
    if (p->t->type != TPL_T_NAME)
        return umbra_tpl_unexpected(p, "a statement");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!umbra_tpl_is_word(p, statements[i].word))
            continue;
        *out = umbra_tpl_node_new(p, statements[i].type);
        umbra_tpl_next(p);
        int rc = *out ? umbra_tpl_enter(p->c) : UMBRA_E_NOMEM;
        if (rc != UMBRA_OK)
            return rc;
        rc = statements[i].parse(p, *out);
        umbra_tpl_leave(p->c);
        return rc == UMBRA_OK ? umbra_tpl_expect(p, TPL_T_BLOCK_END) : rc;
    }
    char found[96];
    return umbra_tpl_fail(p->c, "the statement %s is not known or does not belong here",
                          umbra_tpl_describe_token(p->t, found, sizeof found));
}

static bool ends_here(const umbra_tpl_parser *p, const char *ends)
{
    char word[64];
    if (!ends || p->t[1].type != TPL_T_NAME || p->t[1].value.u.string->bytes > sizeof word - 3)
        return false;
    const umbra_tpl_string *name = p->t[1].value.u.string;
    snprintf(word, sizeof word, "|%.*s|", (int)name->bytes, name->data);
    return strstr(ends, word) != NULL;
}

static int parse_piece(umbra_tpl_parser *p, umbra_tpl_node **out)
{
    if (p->t->type == TPL_T_BLOCK_BEGIN) {
        umbra_tpl_next(p);
        return parse_statement(p, out);
    }
    bool text = p->t->type == TPL_T_DATA;
    *out = umbra_tpl_node_new(p, text ? TPL_N_TEXT : TPL_N_PRINT);
    if (!*out)
        return UMBRA_E_NOMEM;
    (*out)->value = p->t->value;
    umbra_tpl_next(p);
    if (text)
        return UMBRA_OK;
    (*out)->a = umbra_tpl_parse_tuple(p, true, NULL);
    return (*out)->a ? umbra_tpl_expect(p, TPL_T_PRINT_END) : UMBRA_E_FORMAT;
}

static int parse_body(umbra_tpl_parser *p, const char *ends, uint32_t line, umbra_tpl_node **out)
{
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    int rc = UMBRA_OK;
    while (rc == UMBRA_OK && p->t->type != TPL_T_END) {
        if (p->t->type == TPL_T_BLOCK_BEGIN && ends_here(p, ends)) {
            umbra_tpl_next(p);
            *out = list.first;
            return UMBRA_OK;
        }
        umbra_tpl_node *piece = NULL;
        rc = parse_piece(p, &piece);
        if (rc == UMBRA_OK)
            umbra_tpl_chain_add(&list, piece);
    }
    if (rc == UMBRA_OK && ends) {
        p->c->line = line;
        const char *last = ends + strlen(ends) - 1;
        while (last[-1] != '|')
            last--;
        return umbra_tpl_fail(p->c, "the block that begins here has no '%.*s'",
                              (int)strcspn(last, "|"), last);
    }
    *out = list.first;
    return rc;
}

static int intern_words(umbra_tpl_parser *p, umbra_tpl_words *words)
{
    const struct {
        const char *text;
        const umbra_tpl_string **out;
    } rows[] = {{"loop", &words->loop},
                {"caller", &words->caller},
                {"varargs", &words->varargs},
                {"kwargs", &words->kwargs}};
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < sizeof rows / sizeof *rows; i++) {
        umbra_tpl_value v;
        rc = umbra_tpl_word(p->c, rows[i].text, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_intern(p, v.u.string, rows[i].out);
    }
    return rc;
}

int umbra_tpl_parse(umbra_tpl_context *c, const char *source, size_t bytes, umbra_tpl_words *words,
                    umbra_tpl_node **body)
{
    umbra_tpl_parser p = {.c = c};
    umbra_tpl_token *tokens;
    umbra_tpl_value names;
    int rc = umbra_tpl_tokenize(c, source, bytes, &tokens);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_dict(c, TPL_DICT, &names);
    if (rc != UMBRA_OK)
        return rc;
    p.names = names.u.dict;
    p.t = tokens;
    c->line = tokens->line;
    rc = intern_words(&p, words);
    return rc == UMBRA_OK ? parse_body(&p, NULL, 1, body) : rc;
}
