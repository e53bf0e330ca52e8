/* What expressions are made of: constants, names, members, calls, filters and tests. */
#include <string.h>

#include "template/functions.h"
#include "template/parser.h"

/* Elements up to `close`, separated by commas, the last one may be followed by one. */
static umbra_tpl_node *parse_elements(umbra_tpl_parser *p, umbra_tpl_node_type type, char close)
{
    umbra_tpl_node *n = umbra_tpl_node_new(p, type);
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    umbra_tpl_next(p);
    while (n && !umbra_tpl_is_op(p, TPL_OP(0, close))) {
        if (list.first && umbra_tpl_expect_op(p, TPL_OP(0, ',')) != UMBRA_OK)
            return NULL;
        if (umbra_tpl_is_op(p, TPL_OP(0, close)))
            break;
        for (int i = 0; i < (type == TPL_N_DICT ? 2 : 1); i++) {
            if (i == 1 && umbra_tpl_expect_op(p, TPL_OP(0, ':')) != UMBRA_OK)
                return NULL;
            umbra_tpl_node *element = umbra_tpl_parse_expression(p);
            if (!element)
                return NULL;
            umbra_tpl_chain_add(&list, element);
        }
    }
    umbra_tpl_next(p);
    if (n)
        n->a = list.first;
    return n;
}

static umbra_tpl_node *parse_parentheses(umbra_tpl_parser *p)
{
    umbra_tpl_next(p);
    umbra_tpl_node *n = umbra_tpl_is_op(p, TPL_OP(0, ')')) ? umbra_tpl_node_new(p, TPL_N_TUPLE)
                                                           : umbra_tpl_parse_tuple(p, true, NULL);
    return n && umbra_tpl_expect_op(p, TPL_OP(0, ')')) == UMBRA_OK ? n : NULL;
}

/* Strings that follow each other are one. */
static umbra_tpl_node *parse_constant(umbra_tpl_parser *p)
{
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_CONSTANT);
    if (!n)
        return NULL;
    n->value = p->t->value;
    umbra_tpl_next(p);
    while (n->value.kind == TPL_STRING && p->t->type == TPL_T_CONSTANT &&
           p->t->value.kind == TPL_STRING) {
        umbra_tpl_builder b;
        umbra_tpl_builder_init(&b, p->c);
        if (umbra_tpl_put_string(&b, n->value.u.string) != UMBRA_OK ||
            umbra_tpl_put_string(&b, p->t->value.u.string) != UMBRA_OK ||
            umbra_tpl_built(&b, &n->value) != UMBRA_OK)
            return NULL;
        umbra_tpl_next(p);
    }
    return n;
}

static void note_use(umbra_tpl_parser *p, const umbra_tpl_string *name)
{
    if (!p->uses)
        return;
    if (umbra_tpl_text_is(name, "varargs"))
        *p->uses |= TPL_USES_VARARGS;
    else if (umbra_tpl_text_is(name, "kwargs"))
        *p->uses |= TPL_USES_KWARGS;
    else if (umbra_tpl_text_is(name, "caller"))
        *p->uses |= TPL_USES_CALLER;
}

static umbra_tpl_node *parse_name(umbra_tpl_parser *p)
{
    static const struct {
        const char *word;
        umbra_tpl_kind kind;
        bool value;
    } constants[] = {{"true", TPL_BOOL, true},   {"True", TPL_BOOL, true},
                     {"false", TPL_BOOL, false}, {"False", TPL_BOOL, false},
                     {"none", TPL_NONE, false},  {"None", TPL_NONE, false}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (!umbra_tpl_is_word(p, constants[i].word))
            continue;
        umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_CONSTANT);
        if (n)
            n->value = constants[i].kind == TPL_BOOL ? umbra_tpl_bool(constants[i].value)
                                                     : umbra_tpl_none();
        umbra_tpl_next(p);
        return n;
    }
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_NAME);
    if (!n || !(n->u.name = umbra_tpl_take_name(p)))
        return NULL;
    note_use(p, n->u.name);
    return n;
}

umbra_tpl_node *umbra_tpl_parse_primary(umbra_tpl_parser *p)
{
    if (p->t->type == TPL_T_NAME)
        return parse_name(p);
    if (p->t->type == TPL_T_CONSTANT)
        return parse_constant(p);
    if (umbra_tpl_is_op(p, TPL_OP(0, '(')))
        return parse_parentheses(p);
    if (umbra_tpl_is_op(p, TPL_OP(0, '[')))
        return parse_elements(p, TPL_N_LIST, ']');
    if (umbra_tpl_is_op(p, TPL_OP(0, '{')))
        return parse_elements(p, TPL_N_DICT, '}');
    umbra_tpl_unexpected(p, "an expression");
    return NULL;
}

/* b, c or d of a slice: nothing before a colon or the bracket. */
static int parse_bound(umbra_tpl_parser *p, umbra_tpl_node **out)
{
    if (umbra_tpl_is_op(p, TPL_OP(0, ':')) || umbra_tpl_is_op(p, TPL_OP(0, ']')))
        return UMBRA_OK;
    *out = umbra_tpl_parse_expression(p);
    return *out ? UMBRA_OK : UMBRA_E_FORMAT;
}

static umbra_tpl_node *parse_subscript(umbra_tpl_parser *p, umbra_tpl_node *whole)
{
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_ITEM);
    umbra_tpl_next(p);
    if (!n || parse_bound(p, &n->b) != UMBRA_OK)
        return NULL;
    n->a = whole;
    if (umbra_tpl_take_op(p, TPL_OP(0, ':'))) {
        n->type = TPL_N_SLICE;
        if (parse_bound(p, &n->c) != UMBRA_OK)
            return NULL;
        if (umbra_tpl_take_op(p, TPL_OP(0, ':')) && parse_bound(p, &n->d) != UMBRA_OK)
            return NULL;
    } else if (!n->b) {
        umbra_tpl_unexpected(p, "an index");
        return NULL;
    }
    return umbra_tpl_expect_op(p, TPL_OP(0, ']')) == UMBRA_OK ? n : NULL;
}

/* a.name, or a.0 */
static umbra_tpl_node *parse_member(umbra_tpl_parser *p, umbra_tpl_node *whole)
{
    umbra_tpl_next(p);
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_MEMBER);
    if (!n)
        return NULL;
    n->a = whole;
    if (p->t->type == TPL_T_CONSTANT && p->t->value.kind == TPL_INT) {
        n->type = TPL_N_ITEM;
        n->b = parse_constant(p);
        return n->b ? n : NULL;
    }
    n->u.name = umbra_tpl_take_name(p);
    return n->u.name ? n : NULL;
}

static umbra_tpl_node *parse_argument(umbra_tpl_parser *p)
{
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_ARGUMENT);
    if (!n)
        return NULL;
    if (umbra_tpl_is_op(p, TPL_OP(0, '*')) || umbra_tpl_is_op(p, TPL_OP('*', '*'))) {
        n->op = p->t->op;
        umbra_tpl_next(p);
    } else if (p->t->type == TPL_T_NAME && p->t[1].type == TPL_T_OPERATOR &&
               p->t[1].op == TPL_OP(0, '=')) {
        n->u.name = umbra_tpl_take_name(p);
        umbra_tpl_next(p);
        if (!n->u.name)
            return NULL;
    }
    n->a = umbra_tpl_parse_expression(p);
    return n->a ? n : NULL;
}

static int parse_arguments(umbra_tpl_parser *p, umbra_tpl_node **out)
{
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    bool named = false;
    umbra_tpl_next(p);
    while (!umbra_tpl_is_op(p, TPL_OP(0, ')'))) {
        if (list.first && umbra_tpl_expect_op(p, TPL_OP(0, ',')) != UMBRA_OK)
            return UMBRA_E_FORMAT;
        if (umbra_tpl_is_op(p, TPL_OP(0, ')')))
            break;
        umbra_tpl_node *n = parse_argument(p);
        if (!n)
            return UMBRA_E_FORMAT;
        if (named && !n->u.name && n->op == 0)
            return umbra_tpl_fail(p->c, "an argument without a name follows one with a name");
        named = named || n->u.name || n->op == TPL_OP('*', '*');
        umbra_tpl_chain_add(&list, n);
    }
    umbra_tpl_next(p);
    *out = list.first;
    return UMBRA_OK;
}

static umbra_tpl_node *parse_call(umbra_tpl_parser *p, umbra_tpl_node *callee)
{
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_CALL);
    if (!n || parse_arguments(p, &n->b) != UMBRA_OK)
        return NULL;
    n->a = callee;
    return n;
}

umbra_tpl_node *umbra_tpl_parse_postfix(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    while (node) {
        if (umbra_tpl_is_op(p, TPL_OP(0, '.')))
            node = parse_member(p, node);
        else if (umbra_tpl_is_op(p, TPL_OP(0, '[')))
            node = parse_subscript(p, node);
        else if (umbra_tpl_is_op(p, TPL_OP(0, '(')))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* The name of a filter or test, looked up. One that there is not is an error only where it is
 * reached: templates ask for what some programs have ("x is filter"), or do so in vain. */
static bool parse_function(umbra_tpl_parser *p, umbra_tpl_node *node,
                           const umbra_tpl_function *(*find)(const umbra_tpl_string *name))
{
    node->u.name = umbra_tpl_take_name(p);
    if (node->u.name)
        node->function = find(node->u.name);
    return node->u.name != NULL;
}

umbra_tpl_node *umbra_tpl_parse_filters(umbra_tpl_parser *p, umbra_tpl_node *input, bool begun)
{
    while (begun || umbra_tpl_take_op(p, TPL_OP(0, '|'))) {
        umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_FILTER);
        if (!n || !parse_function(p, n, umbra_tpl_find_filter))
            return NULL;
        if (umbra_tpl_is_op(p, TPL_OP(0, '(')) && parse_arguments(p, &n->b) != UMBRA_OK)
            return NULL;
        n->a = input;
        input = n;
        begun = false;
    }
    return input;
}

/* Whether an argument without parentheses follows a test: "is divisibleby 3". */
static bool argument_follows(const umbra_tpl_parser *p)
{
    if (p->t->type == TPL_T_CONSTANT || umbra_tpl_is_op(p, TPL_OP(0, '[')) ||
        umbra_tpl_is_op(p, TPL_OP(0, '{')))
        return true;
    return p->t->type == TPL_T_NAME && !umbra_tpl_is_word(p, "else") &&
           !umbra_tpl_is_word(p, "or") && !umbra_tpl_is_word(p, "and");
}

static umbra_tpl_node *parse_test(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    umbra_tpl_next(p);
    bool negated = umbra_tpl_take_word(p, "not");
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_TEST);
    if (!n || !parse_function(p, n, umbra_tpl_find_test))
        return NULL;
    n->a = node;
    if (umbra_tpl_is_op(p, TPL_OP(0, '('))) {
        if (parse_arguments(p, &n->b) != UMBRA_OK)
            return NULL;
    } else if (umbra_tpl_is_word(p, "is")) {
        umbra_tpl_fail(p->c, "tests cannot be chained with 'is'");
        return NULL;
    } else if (argument_follows(p)) {
        n->b = umbra_tpl_node_new(p, TPL_N_ARGUMENT);
        if (!n->b || !(n->b->a = umbra_tpl_parse_postfix(p, umbra_tpl_parse_primary(p))))
            return NULL;
    }
    if (!negated)
        return n;
    umbra_tpl_node *inverse = umbra_tpl_node_new(p, TPL_N_NOT);
    if (inverse)
        inverse->a = n;
    return inverse;
}

umbra_tpl_node *umbra_tpl_parse_filters_and_tests(umbra_tpl_parser *p, umbra_tpl_node *node)
{
    while (node) {
        if (umbra_tpl_is_op(p, TPL_OP(0, '|')))
            node = umbra_tpl_parse_filters(p, node, false);
        else if (umbra_tpl_is_word(p, "is"))
            node = parse_test(p, node);
        else if (umbra_tpl_is_op(p, TPL_OP(0, '(')))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}
