/* What expressions are made of: constants, names, members, calls, filters and tests. */
#include <string.h>

#include "template/functions.h"
#include "template/parser.h"

/* Elements up to `close`, separated by commas, the last one may be followed by one. */
static tpl_node *parse_elements(tpl_parser *p, tpl_node_type type, char close)
{
    tpl_node *n = tpl_node_new(p, type);
    tpl_chain list;
    tpl_chain_init(&list);
    tpl_next(p);
    while (n && !tpl_is_op(p, TPL_OP(0, close))) {
        if (list.first && tpl_expect_op(p, TPL_OP(0, ',')) != UMBRA_OK)
            return NULL;
        if (tpl_is_op(p, TPL_OP(0, close)))
            break;
        for (int i = 0; i < (type == TPL_N_DICT ? 2 : 1); i++) {
            if (i == 1 && tpl_expect_op(p, TPL_OP(0, ':')) != UMBRA_OK)
                return NULL;
            tpl_node *element = tpl_parse_expression(p);
            if (!element)
                return NULL;
            tpl_chain_add(&list, element);
        }
    }
    tpl_next(p);
    if (n)
        n->a = list.first;
    return n;
}

static tpl_node *parse_parentheses(tpl_parser *p)
{
    tpl_next(p);
    tpl_node *n = tpl_is_op(p, TPL_OP(0, ')')) ? tpl_node_new(p, TPL_N_TUPLE)
                                               : tpl_parse_tuple(p, true, NULL);
    return n && tpl_expect_op(p, TPL_OP(0, ')')) == UMBRA_OK ? n : NULL;
}

/* Strings that follow each other are one. */
static tpl_node *parse_constant(tpl_parser *p)
{
    tpl_node *n = tpl_node_new(p, TPL_N_CONSTANT);
    if (!n)
        return NULL;
    n->value = p->t->value;
    tpl_next(p);
    while (n->value.kind == TPL_STRING && p->t->type == TPL_T_CONSTANT &&
           p->t->value.kind == TPL_STRING) {
        tpl_builder b;
        tpl_builder_init(&b, p->c);
        if (tpl_put_string(&b, n->value.u.string) != UMBRA_OK ||
            tpl_put_string(&b, p->t->value.u.string) != UMBRA_OK ||
            tpl_built(&b, &n->value) != UMBRA_OK)
            return NULL;
        tpl_next(p);
    }
    return n;
}

static void note_use(tpl_parser *p, const tpl_string *name)
{
    if (!p->uses)
        return;
    if (tpl_text_is(name, "varargs"))
        *p->uses |= TPL_USES_VARARGS;
    else if (tpl_text_is(name, "kwargs"))
        *p->uses |= TPL_USES_KWARGS;
    else if (tpl_text_is(name, "caller"))
        *p->uses |= TPL_USES_CALLER;
}

static tpl_node *parse_name(tpl_parser *p)
{
    static const struct {
        const char *word;
        tpl_kind kind;
        bool value;
    } constants[] = {{"true", TPL_BOOL, true},   {"True", TPL_BOOL, true},
                     {"false", TPL_BOOL, false}, {"False", TPL_BOOL, false},
                     {"none", TPL_NONE, false},  {"None", TPL_NONE, false}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (!tpl_is_word(p, constants[i].word))
            continue;
        tpl_node *n = tpl_node_new(p, TPL_N_CONSTANT);
        if (n)
            n->value = constants[i].kind == TPL_BOOL ? tpl_bool(constants[i].value) : tpl_none();
        tpl_next(p);
        return n;
    }
    tpl_node *n = tpl_node_new(p, TPL_N_NAME);
    if (!n || !(n->u.name = tpl_take_name(p)))
        return NULL;
    note_use(p, n->u.name);
    return n;
}

tpl_node *tpl_parse_primary(tpl_parser *p)
{
    if (p->t->type == TPL_T_NAME)
        return parse_name(p);
    if (p->t->type == TPL_T_CONSTANT)
        return parse_constant(p);
    if (tpl_is_op(p, TPL_OP(0, '(')))
        return parse_parentheses(p);
    if (tpl_is_op(p, TPL_OP(0, '[')))
        return parse_elements(p, TPL_N_LIST, ']');
    if (tpl_is_op(p, TPL_OP(0, '{')))
        return parse_elements(p, TPL_N_DICT, '}');
    tpl_unexpected(p, "an expression");
    return NULL;
}

/* b, c or d of a slice: nothing before a colon or the bracket. */
static int parse_bound(tpl_parser *p, tpl_node **out)
{
    if (tpl_is_op(p, TPL_OP(0, ':')) || tpl_is_op(p, TPL_OP(0, ']')))
        return UMBRA_OK;
    *out = tpl_parse_expression(p);
    return *out ? UMBRA_OK : UMBRA_E_FORMAT;
}

static tpl_node *parse_subscript(tpl_parser *p, tpl_node *whole)
{
    tpl_node *n = tpl_node_new(p, TPL_N_ITEM);
    tpl_next(p);
    if (!n || parse_bound(p, &n->b) != UMBRA_OK)
        return NULL;
    n->a = whole;
    if (tpl_take_op(p, TPL_OP(0, ':'))) {
        n->type = TPL_N_SLICE;
        if (parse_bound(p, &n->c) != UMBRA_OK)
            return NULL;
        if (tpl_take_op(p, TPL_OP(0, ':')) && parse_bound(p, &n->d) != UMBRA_OK)
            return NULL;
    } else if (!n->b) {
        tpl_unexpected(p, "an index");
        return NULL;
    }
    return tpl_expect_op(p, TPL_OP(0, ']')) == UMBRA_OK ? n : NULL;
}

/* a.name, or a.0 */
static tpl_node *parse_member(tpl_parser *p, tpl_node *whole)
{
    tpl_next(p);
    tpl_node *n = tpl_node_new(p, TPL_N_MEMBER);
    if (!n)
        return NULL;
    n->a = whole;
    if (p->t->type == TPL_T_CONSTANT && p->t->value.kind == TPL_INT) {
        n->type = TPL_N_ITEM;
        n->b = parse_constant(p);
        return n->b ? n : NULL;
    }
    n->u.name = tpl_take_name(p);
    return n->u.name ? n : NULL;
}

static tpl_node *parse_argument(tpl_parser *p)
{
    tpl_node *n = tpl_node_new(p, TPL_N_ARGUMENT);
    if (!n)
        return NULL;
    if (tpl_is_op(p, TPL_OP(0, '*')) || tpl_is_op(p, TPL_OP('*', '*'))) {
        n->op = p->t->op;
        tpl_next(p);
    } else if (p->t->type == TPL_T_NAME && p->t[1].type == TPL_T_OPERATOR &&
               p->t[1].op == TPL_OP(0, '=')) {
        n->u.name = tpl_take_name(p);
        tpl_next(p);
        if (!n->u.name)
            return NULL;
    }
    n->a = tpl_parse_expression(p);
    return n->a ? n : NULL;
}

static int parse_arguments(tpl_parser *p, tpl_node **out)
{
    tpl_chain list;
    tpl_chain_init(&list);
    bool named = false;
    tpl_next(p);
    while (!tpl_is_op(p, TPL_OP(0, ')'))) {
        if (list.first && tpl_expect_op(p, TPL_OP(0, ',')) != UMBRA_OK)
            return UMBRA_E_FORMAT;
        if (tpl_is_op(p, TPL_OP(0, ')')))
            break;
        tpl_node *n = parse_argument(p);
        if (!n)
            return UMBRA_E_FORMAT;
        if (named && !n->u.name && n->op == 0)
            return tpl_fail(p->c, "an argument without a name follows one with a name");
        named = named || n->u.name || n->op == TPL_OP('*', '*');
        tpl_chain_add(&list, n);
    }
    tpl_next(p);
    *out = list.first;
    return UMBRA_OK;
}

static tpl_node *parse_call(tpl_parser *p, tpl_node *callee)
{
    tpl_node *n = tpl_node_new(p, TPL_N_CALL);
    if (!n || parse_arguments(p, &n->b) != UMBRA_OK)
        return NULL;
    n->a = callee;
    return n;
}

tpl_node *tpl_parse_postfix(tpl_parser *p, tpl_node *node)
{
    while (node) {
        if (tpl_is_op(p, TPL_OP(0, '.')))
            node = parse_member(p, node);
        else if (tpl_is_op(p, TPL_OP(0, '[')))
            node = parse_subscript(p, node);
        else if (tpl_is_op(p, TPL_OP(0, '(')))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* The name of a filter or test, looked up. One that there is not is an error only where it is
 * reached: templates ask for what some programs have ("x is filter"), or do so in vain. */
static bool parse_function(tpl_parser *p, tpl_node *node,
                           const tpl_function *(*find)(const tpl_string *name))
{
    node->u.name = tpl_take_name(p);
    if (node->u.name)
        node->function = find(node->u.name);
    return node->u.name != NULL;
}

tpl_node *tpl_parse_filters(tpl_parser *p, tpl_node *input, bool begun)
{
    while (begun || tpl_take_op(p, TPL_OP(0, '|'))) {
        tpl_node *n = tpl_node_new(p, TPL_N_FILTER);
        if (!n || !parse_function(p, n, tpl_find_filter))
            return NULL;
        if (tpl_is_op(p, TPL_OP(0, '(')) && parse_arguments(p, &n->b) != UMBRA_OK)
            return NULL;
        n->a = input;
        input = n;
        begun = false;
    }
    return input;
}

/* Whether an argument without parentheses follows a test: "is divisibleby 3". */
static bool argument_follows(const tpl_parser *p)
{
    if (p->t->type == TPL_T_CONSTANT || tpl_is_op(p, TPL_OP(0, '[')) ||
        tpl_is_op(p, TPL_OP(0, '{')))
        return true;
    return p->t->type == TPL_T_NAME && !tpl_is_word(p, "else") && !tpl_is_word(p, "or") &&
           !tpl_is_word(p, "and");
}

static tpl_node *parse_test(tpl_parser *p, tpl_node *node)
{
    tpl_next(p);
    bool negated = tpl_take_word(p, "not");
    tpl_node *n = tpl_node_new(p, TPL_N_TEST);
    if (!n || !parse_function(p, n, tpl_find_test))
        return NULL;
    n->a = node;
    if (tpl_is_op(p, TPL_OP(0, '('))) {
        if (parse_arguments(p, &n->b) != UMBRA_OK)
            return NULL;
    } else if (tpl_is_word(p, "is")) {
        tpl_fail(p->c, "tests cannot be chained with 'is'");
        return NULL;
    } else if (argument_follows(p)) {
        n->b = tpl_node_new(p, TPL_N_ARGUMENT);
        if (!n->b || !(n->b->a = tpl_parse_postfix(p, tpl_parse_primary(p))))
            return NULL;
    }
    if (!negated)
        return n;
    tpl_node *inverse = tpl_node_new(p, TPL_N_NOT);
    if (inverse)
        inverse->a = n;
    return inverse;
}

tpl_node *tpl_parse_filters_and_tests(tpl_parser *p, tpl_node *node)
{
    while (node) {
        if (tpl_is_op(p, TPL_OP(0, '|')))
            node = tpl_parse_filters(p, node, false);
        else if (tpl_is_word(p, "is"))
            node = parse_test(p, node);
        else if (tpl_is_op(p, TPL_OP(0, '(')))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}
