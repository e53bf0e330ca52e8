/* Statements of a template as nodes. */
#include <stdio.h>
#include <string.h>

#include "template/functions.h"
#include "template/parser.h"

/* Statements up to one of the words of `ends` ("|else|endfor|", the closing one last), whose token
 * becomes the current one; NULL: up to the end. `line`: where the block begins. */
static int parse_body(tpl_parser *p, const char *ends, uint32_t line, tpl_node **out);

void tpl_chain_init(tpl_chain *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void tpl_chain_add(tpl_chain *list, tpl_node *node)
{
    *list->end = node;
    list->end = &node->next;
}

tpl_node *tpl_node_new(tpl_parser *p, tpl_node_type type)
{
    tpl_node *n = tpl_alloc(p->c, 1, sizeof *n);
    if (n) {
        n->type = (uint8_t)type;
        n->line = p->t->line;
    }
    return n;
}

void tpl_next(tpl_parser *p)
{
    if (p->t->type != TPL_T_END)
        p->t++;
    p->c->line = p->t->line;
}

bool tpl_is_op(const tpl_parser *p, uint16_t op)
{
    return p->t->type == TPL_T_OPERATOR && p->t->op == op;
}

bool tpl_is_word(const tpl_parser *p, const char *word)
{
    return p->t->type == TPL_T_NAME && tpl_text_is(p->t->value.u.string, word);
}

bool tpl_take_op(tpl_parser *p, uint16_t op)
{
    bool there = tpl_is_op(p, op);
    if (there)
        tpl_next(p);
    return there;
}

bool tpl_take_word(tpl_parser *p, const char *word)
{
    bool there = tpl_is_word(p, word);
    if (there)
        tpl_next(p);
    return there;
}

int tpl_unexpected(tpl_parser *p, const char *wanted)
{
    char found[96];
    return tpl_fail(p->c, "unexpected %s, %s was expected",
                    tpl_describe_token(p->t, found, sizeof found), wanted);
}

int tpl_expect_op(tpl_parser *p, uint16_t op)
{
    if (tpl_take_op(p, op))
        return UMBRA_OK;
    char wanted[8];
    snprintf(wanted, sizeof wanted, "'%c'", op);
    return tpl_unexpected(p, wanted);
}

int tpl_expect(tpl_parser *p, tpl_token_type type)
{
    if (p->t->type != type) {
        char wanted[64];
        return tpl_unexpected(
            p, tpl_describe_token(&(tpl_token){.type = (uint8_t)type}, wanted, sizeof wanted));
    }
    tpl_next(p);
    return UMBRA_OK;
}

int tpl_intern(tpl_parser *p, const tpl_string *name, const tpl_string **out)
{
    tpl_value key = {.kind = TPL_STRING, .u.string = name};
    tpl_entry *e = NULL;
    int rc = tpl_dict_find(p->c, p->names, key, &e);
    if (rc == UMBRA_OK && !e)
        rc = tpl_dict_set(p->c, p->names, key, tpl_none());
    *out = e ? e->key.u.string : name;
    return rc;
}

const tpl_string *tpl_take_name(tpl_parser *p)
{
    const tpl_string *name = NULL;
    if (p->t->type != TPL_T_NAME) {
        tpl_unexpected(p, "a name");
        return NULL;
    }
    if (tpl_intern(p, p->t->value.u.string, &name) != UMBRA_OK)
        return NULL;
    tpl_next(p);
    return name;
}

/* After a body: the closing tag's word. */
static int parse_block(tpl_parser *p, const char *ends, tpl_node **out)
{
    tpl_take_op(p, TPL_OP(0, ':'));
    uint32_t line = p->t->line;
    int rc = tpl_expect(p, TPL_T_BLOCK_END);
    return rc == UMBRA_OK ? parse_body(p, ends, line, out) : rc;
}

/* The same, where one word alone can close. */
static int parse_closed(tpl_parser *p, const char *end, tpl_node **out)
{
    int rc = parse_block(p, end, out);
    if (rc == UMBRA_OK)
        tpl_next(p);
    return rc;
}

static int parse_if(tpl_parser *p, tpl_node *node)
{
    int rc = UMBRA_OK;
    for (bool more = true; rc == UMBRA_OK && more;) {
        node->a = tpl_parse_tuple(p, false, NULL);
        rc = node->a ? parse_block(p, "|elif|else|endif|", &node->b) : UMBRA_E_FORMAT;
        if (rc != UMBRA_OK)
            break;
        more = tpl_take_word(p, "elif");
        if (more) {
            node->c = tpl_node_new(p, TPL_N_IF);
            node = node->c;
            if (!node)
                return UMBRA_E_NOMEM;
            node->flag = true;
        } else if (tpl_take_word(p, "else")) {
            rc = parse_closed(p, "|endif|", &node->c);
        } else {
            tpl_next(p);
        }
    }
    return rc;
}

static int parse_for(tpl_parser *p, tpl_node *node)
{
    node->a = tpl_parse_target(p, false);
    if (!node->a)
        return UMBRA_E_FORMAT;
    if (!tpl_take_word(p, "in"))
        return tpl_unexpected(p, "'in'");
    node->b = tpl_parse_tuple(p, false, "recursive");
    if (!node->b)
        return UMBRA_E_FORMAT;
    if (tpl_take_word(p, "if") && !(node->u.filter = tpl_parse_expression(p)))
        return UMBRA_E_FORMAT;
    node->flag = tpl_take_word(p, "recursive");
    p->loops++;
    int rc = parse_block(p, "|else|endfor|", &node->c);
    p->loops--;
    if (rc == UMBRA_OK && tpl_take_word(p, "else"))
        return parse_closed(p, "|endfor|", &node->d);
    if (rc == UMBRA_OK)
        tpl_next(p);
    return rc;
}

static int parse_set(tpl_parser *p, tpl_node *node)
{
    node->a = tpl_parse_target(p, true);
    if (!node->a)
        return UMBRA_E_FORMAT;
    if (tpl_take_op(p, TPL_OP(0, '='))) {
        node->b = tpl_parse_tuple(p, true, NULL);
        return node->b ? UMBRA_OK : UMBRA_E_FORMAT;
    }
    node->type = TPL_N_CAPTURE;
    if (tpl_is_op(p, TPL_OP(0, '|')) && !(node->c = tpl_parse_filters(p, NULL, false)))
        return UMBRA_E_FORMAT;
    return parse_closed(p, "|endset|", &node->b);
}

static int parse_parameters(tpl_parser *p, tpl_node **out)
{
    tpl_chain list;
    tpl_chain_init(&list);
    bool defaults = false;
    int rc = tpl_expect_op(p, TPL_OP(0, '('));
    while (rc == UMBRA_OK && !tpl_is_op(p, TPL_OP(0, ')'))) {
        if (list.first && (rc = tpl_expect_op(p, TPL_OP(0, ','))) != UMBRA_OK)
            break;
        tpl_node *name = tpl_node_new(p, TPL_N_NAME);
        if (!name || !(name->u.name = tpl_take_name(p)))
            return UMBRA_E_FORMAT;
        bool has_default = tpl_take_op(p, TPL_OP(0, '='));
        if (has_default && !(name->a = tpl_parse_expression(p)))
            return UMBRA_E_FORMAT;
        if (defaults && !has_default)
            return tpl_fail(p->c, "a parameter without a default follows one with a default");
        defaults = has_default;
        tpl_chain_add(&list, name);
    }
    *out = list.first;
    return rc == UMBRA_OK ? tpl_expect_op(p, TPL_OP(0, ')')) : rc;
}

/* The body of a macro, which is not inside of the loops around it. */
static int parse_macro_body(tpl_parser *p, tpl_node *node, const char *end)
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

static int parse_macro(tpl_parser *p, tpl_node *node)
{
    node->u.name = tpl_take_name(p);
    int rc = node->u.name ? parse_parameters(p, &node->a) : UMBRA_E_FORMAT;
    return rc == UMBRA_OK ? parse_macro_body(p, node, "|endmacro|") : rc;
}

static int parse_call_block(tpl_parser *p, tpl_node *node)
{
    static const tpl_string caller = {.data = "caller", .bytes = 6, .chars = 6};
    node->b = tpl_node_new(p, TPL_N_MACRO);
    int rc = node->b ? tpl_intern(p, &caller, &node->b->u.name) : UMBRA_E_NOMEM;
    if (rc == UMBRA_OK && tpl_is_op(p, TPL_OP(0, '(')))
        rc = parse_parameters(p, &node->b->a);
    if (rc != UMBRA_OK)
        return rc;
    node->a = tpl_parse_expression(p);
    if (!node->a)
        return UMBRA_E_FORMAT;
    if (node->a->type != TPL_N_CALL)
        return tpl_fail(p->c, "a call was expected after 'call'");
    return parse_macro_body(p, node->b, "|endcall|");
}

static int parse_filter_block(tpl_parser *p, tpl_node *node)
{
    node->a = tpl_parse_filters(p, NULL, true);
    return node->a ? parse_closed(p, "|endfilter|", &node->b) : UMBRA_E_FORMAT;
}

static int parse_with(tpl_parser *p, tpl_node *node)
{
    tpl_chain list;
    tpl_chain_init(&list);
    while (p->t->type != TPL_T_BLOCK_END) {
        if (list.first && tpl_expect_op(p, TPL_OP(0, ',')) != UMBRA_OK)
            return UMBRA_E_FORMAT;
        tpl_node *set = tpl_node_new(p, TPL_N_SET);
        if (!set || !(set->a = tpl_parse_primary(p)))
            return UMBRA_E_FORMAT;
        if (set->a->type != TPL_N_NAME)
            return tpl_fail(p->c, "a name was expected after 'with'");
        if (tpl_expect_op(p, TPL_OP(0, '=')) != UMBRA_OK || !(set->b = tpl_parse_expression(p)))
            return UMBRA_E_FORMAT;
        tpl_chain_add(&list, set);
    }
    node->a = list.first;
    return parse_closed(p, "|endwith|", &node->b);
}

static int parse_generation(tpl_parser *p, tpl_node *node)
{
    node->flag = true;
    return parse_closed(p, "|endgeneration|", &node->b);
}

/* Without inheritance a block is what stands in it. */
static int parse_named_block(tpl_parser *p, tpl_node *node)
{
    if (!tpl_take_name(p))
        return UMBRA_E_FORMAT;
    tpl_take_word(p, "scoped");
    tpl_take_word(p, "required");
    int rc = parse_closed(p, "|endblock|", &node->b);
    if (rc == UMBRA_OK && p->t->type == TPL_T_NAME)
        tpl_next(p);
    return rc;
}

static int parse_operand(tpl_parser *p, tpl_node *node)
{
    node->a = tpl_parse_tuple(p, true, NULL);
    return node->a ? UMBRA_OK : UMBRA_E_FORMAT;
}

static int parse_loop_control(tpl_parser *p, tpl_node *node)
{
    const char *word = node->type == TPL_N_BREAK ? "break" : "continue";
    return p->loops > 0 ? UMBRA_OK : tpl_fail(p->c, "'%s' outside of a loop", word);
}

static const struct {
    const char *word;
    tpl_node_type type;
    int (*parse)(tpl_parser *p, tpl_node *node);
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

static int parse_statement(tpl_parser *p, tpl_node **out)
{
    if (p->t->type != TPL_T_NAME)
        return tpl_unexpected(p, "a statement");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!tpl_is_word(p, statements[i].word))
            continue;
        *out = tpl_node_new(p, statements[i].type);
        tpl_next(p);
        int rc = *out ? tpl_enter(p->c) : UMBRA_E_NOMEM;
        if (rc != UMBRA_OK)
            return rc;
        rc = statements[i].parse(p, *out);
        tpl_leave(p->c);
        return rc == UMBRA_OK ? tpl_expect(p, TPL_T_BLOCK_END) : rc;
    }
    char found[96];
    return tpl_fail(p->c, "the statement %s is not known or does not belong here",
                    tpl_describe_token(p->t, found, sizeof found));
}

static bool ends_here(const tpl_parser *p, const char *ends)
{
    char word[64];
    if (!ends || p->t[1].type != TPL_T_NAME || p->t[1].value.u.string->bytes > sizeof word - 3)
        return false;
    const tpl_string *name = p->t[1].value.u.string;
    snprintf(word, sizeof word, "|%.*s|", (int)name->bytes, name->data);
    return strstr(ends, word) != NULL;
}

static int parse_piece(tpl_parser *p, tpl_node **out)
{
    if (p->t->type == TPL_T_BLOCK_BEGIN) {
        tpl_next(p);
        return parse_statement(p, out);
    }
    bool text = p->t->type == TPL_T_DATA;
    *out = tpl_node_new(p, text ? TPL_N_TEXT : TPL_N_PRINT);
    if (!*out)
        return UMBRA_E_NOMEM;
    (*out)->value = p->t->value;
    tpl_next(p);
    if (text)
        return UMBRA_OK;
    (*out)->a = tpl_parse_tuple(p, true, NULL);
    return (*out)->a ? tpl_expect(p, TPL_T_PRINT_END) : UMBRA_E_FORMAT;
}

static int parse_body(tpl_parser *p, const char *ends, uint32_t line, tpl_node **out)
{
    tpl_chain list;
    tpl_chain_init(&list);
    int rc = UMBRA_OK;
    while (rc == UMBRA_OK && p->t->type != TPL_T_END) {
        if (p->t->type == TPL_T_BLOCK_BEGIN && ends_here(p, ends)) {
            tpl_next(p);
            *out = list.first;
            return UMBRA_OK;
        }
        tpl_node *piece = NULL;
        rc = parse_piece(p, &piece);
        if (rc == UMBRA_OK)
            tpl_chain_add(&list, piece);
    }
    if (rc == UMBRA_OK && ends) {
        p->c->line = line;
        const char *last = ends + strlen(ends) - 1;
        while (last[-1] != '|')
            last--;
        return tpl_fail(p->c, "the block that begins here has no '%.*s'", (int)strcspn(last, "|"),
                        last);
    }
    *out = list.first;
    return rc;
}

static int intern_words(tpl_parser *p, tpl_words *words)
{
    const struct {
        const char *text;
        const tpl_string **out;
    } rows[] = {{"loop", &words->loop},
                {"caller", &words->caller},
                {"varargs", &words->varargs},
                {"kwargs", &words->kwargs}};
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < sizeof rows / sizeof *rows; i++) {
        tpl_value v;
        rc = tpl_word(p->c, rows[i].text, &v);
        if (rc == UMBRA_OK)
            rc = tpl_intern(p, v.u.string, rows[i].out);
    }
    return rc;
}

int tpl_parse(tpl_context *c, const char *source, size_t bytes, tpl_words *words, tpl_node **body)
{
    tpl_parser p = {.c = c};
    tpl_token *tokens;
    tpl_value names;
    int rc = tpl_tokenize(c, source, bytes, &tokens);
    if (rc == UMBRA_OK)
        rc = tpl_new_dict(c, TPL_DICT, &names);
    if (rc != UMBRA_OK)
        return rc;
    p.names = names.u.dict;
    p.t = tokens;
    c->line = tokens->line;
    rc = intern_words(&p, words);
    return rc == UMBRA_OK ? parse_body(&p, NULL, 1, body) : rc;
}
