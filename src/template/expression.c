/* Expressions as nodes; the order of precedence is that of the functions here, bottom up. */
#include <string.h>

#include "template/functions.h"
#include "template/parser.h"

static tpl_node *parse_unary(tpl_parser *p, bool filters);

static tpl_node *unary_node(tpl_parser *p, tpl_node_type type, tpl_node *a)
{
    tpl_node *n = a ? tpl_node_new(p, type) : NULL;
    if (n)
        n->a = a;
    return n;
}

static tpl_node *binary_node(tpl_parser *p, tpl_node_type type, tpl_node *a, tpl_node *b)
{
    tpl_node *n = a && b ? tpl_node_new(p, type) : NULL;
    if (n) {
        n->a = a;
        n->b = b;
    }
    return n;
}

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
    return negated ? unary_node(p, TPL_N_NOT, n) : n;
}

static tpl_node *parse_filters_and_tests(tpl_parser *p, tpl_node *node)
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

static tpl_node *parse_signed(tpl_parser *p)
{
    bool minus = tpl_is_op(p, TPL_OP(0, '-'));
    if (!minus && !tpl_is_op(p, TPL_OP(0, '+')))
        return tpl_parse_primary(p);
    tpl_next(p);
    return unary_node(p, minus ? TPL_N_NEGATIVE : TPL_N_POSITIVE, parse_unary(p, false));
}

static tpl_node *parse_unary(tpl_parser *p, bool filters)
{
    if (tpl_enter(p->c) != UMBRA_OK)
        return NULL;
    tpl_node *n = tpl_parse_postfix(p, parse_signed(p));
    if (filters)
        n = parse_filters_and_tests(p, n);
    tpl_leave(p->c);
    return n;
}

static tpl_node *parse_power(tpl_parser *p)
{
    tpl_node *n = parse_unary(p, true);
    while (n && tpl_take_op(p, TPL_OP('*', '*'))) {
        n = binary_node(p, TPL_N_BINARY, n, parse_unary(p, true));
        if (n)
            n->op = TPL_OP('*', '*');
    }
    return n;
}

/* Operands of `next` with one of the operators between them, from left to right. */
static tpl_node *parse_left(tpl_parser *p, tpl_node *(*next)(tpl_parser *p), const uint16_t *ops)
{
    tpl_node *n = next(p);
    for (size_t i = 0; n && ops[i];) {
        uint16_t op = ops[i++];
        if (!tpl_take_op(p, op))
            continue;
        n = binary_node(p, TPL_N_BINARY, n, next(p));
        if (n)
            n->op = op;
        i = 0;
    }
    return n;
}

static tpl_node *parse_product(tpl_parser *p)
{
    static const uint16_t ops[] = {TPL_OP(0, '*'), TPL_OP(0, '/'), TPL_OP('/', '/'), TPL_OP(0, '%'),
                                   0};
    return parse_left(p, parse_power, ops);
}

static tpl_node *parse_concat(tpl_parser *p)
{
    tpl_node *n = parse_product(p);
    if (!n || !tpl_is_op(p, TPL_OP(0, '~')))
        return n;
    tpl_node *all = tpl_node_new(p, TPL_N_CONCAT);
    tpl_chain list;
    tpl_chain_init(&list);
    tpl_chain_add(&list, n);
    while (all && tpl_take_op(p, TPL_OP(0, '~'))) {
        n = parse_product(p);
        if (!n)
            return NULL;
        tpl_chain_add(&list, n);
    }
    if (all)
        all->a = list.first;
    return all;
}

static tpl_node *parse_sum(tpl_parser *p)
{
    static const uint16_t ops[] = {TPL_OP(0, '+'), TPL_OP(0, '-'), 0};
    return parse_left(p, parse_concat, ops);
}

static uint16_t take_comparison(tpl_parser *p)
{
    static const uint16_t ops[] = {TPL_OP('=', '='), TPL_OP('!', '='), TPL_OP('<', '='),
                                   TPL_OP('>', '='), TPL_OP(0, '<'),   TPL_OP(0, '>')};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (tpl_take_op(p, ops[i]))
            return ops[i];
    if (tpl_take_word(p, "in"))
        return TPL_OP_IN;
    bool not_in = tpl_is_word(p, "not") && p->t[1].type == TPL_T_NAME &&
                  tpl_text_is(p->t[1].value.u.string, "in");
    if (!not_in)
        return 0;
    tpl_next(p);
    tpl_next(p);
    return TPL_OP_NOT_IN;
}

static tpl_node *parse_comparison(tpl_parser *p)
{
    tpl_node *first = parse_sum(p);
    uint16_t op = first ? take_comparison(p) : 0;
    if (op == 0)
        return first;
    tpl_node *n = unary_node(p, TPL_N_COMPARE, first);
    tpl_chain list;
    tpl_chain_init(&list);
    for (; n && op != 0; op = take_comparison(p)) {
        tpl_node *operand = unary_node(p, TPL_N_ARGUMENT, parse_sum(p));
        if (!operand)
            return NULL;
        operand->op = op;
        tpl_chain_add(&list, operand);
    }
    if (n)
        n->b = list.first;
    return n;
}

static tpl_node *parse_not(tpl_parser *p)
{
    if (!tpl_take_word(p, "not"))
        return parse_comparison(p);
    if (tpl_enter(p->c) != UMBRA_OK)
        return NULL;
    tpl_node *n = unary_node(p, TPL_N_NOT, parse_not(p));
    tpl_leave(p->c);
    return n;
}

static tpl_node *parse_and(tpl_parser *p)
{
    tpl_node *n = parse_not(p);
    while (n && tpl_take_word(p, "and"))
        n = binary_node(p, TPL_N_AND, n, parse_not(p));
    return n;
}

tpl_node *tpl_parse_plain(tpl_parser *p)
{
    tpl_node *n = parse_and(p);
    while (n && tpl_take_word(p, "or"))
        n = binary_node(p, TPL_N_OR, n, parse_and(p));
    return n;
}

tpl_node *tpl_parse_expression(tpl_parser *p)
{
    if (tpl_enter(p->c) != UMBRA_OK)
        return NULL;
    tpl_node *n = tpl_parse_plain(p);
    while (n && tpl_take_word(p, "if")) {
        n = binary_node(p, TPL_N_CHOICE, n, tpl_parse_plain(p));
        if (n && tpl_take_word(p, "else") && !(n->c = tpl_parse_expression(p)))
            n = NULL;
    }
    tpl_leave(p->c);
    return n;
}

static bool tuple_ends(const tpl_parser *p, const char *end)
{
    return p->t->type == TPL_T_PRINT_END || p->t->type == TPL_T_BLOCK_END ||
           tpl_is_op(p, TPL_OP(0, ')')) || (end && tpl_is_word(p, end));
}

/* Elements by `parse` with commas between them: one alone, or a tuple. */
static tpl_node *parse_commas(tpl_parser *p, tpl_node *(*parse)(tpl_parser *p), const char *end)
{
    tpl_node *first = parse(p);
    if (!first || !tpl_is_op(p, TPL_OP(0, ',')))
        return first;
    tpl_node *n = tpl_node_new(p, TPL_N_TUPLE);
    tpl_chain list;
    tpl_chain_init(&list);
    tpl_chain_add(&list, first);
    while (n && tpl_take_op(p, TPL_OP(0, ',')) && !tuple_ends(p, end)) {
        tpl_node *element = parse(p);
        if (!element)
            return NULL;
        tpl_chain_add(&list, element);
    }
    if (n)
        n->a = list.first;
    return n;
}

tpl_node *tpl_parse_tuple(tpl_parser *p, bool choice, const char *end)
{
    return parse_commas(p, choice ? tpl_parse_expression : tpl_parse_plain, end);
}

static bool assignable(const tpl_node *n)
{
    if (n->type != TPL_N_TUPLE)
        return n->type == TPL_N_NAME || n->type == TPL_N_ATTRIBUTE;
    for (n = n->a; n; n = n->next)
        if (!assignable(n))
            return false;
    return true;
}

static tpl_node *parse_attribute_target(tpl_parser *p)
{
    bool attribute =
        p->t->type == TPL_T_NAME && p->t[1].type == TPL_T_OPERATOR && p->t[1].op == TPL_OP(0, '.');
    if (!attribute)
        return tpl_parse_primary(p);
    tpl_node *n = tpl_node_new(p, TPL_N_ATTRIBUTE);
    if (!n || !(n->u.name = tpl_take_name(p)))
        return NULL;
    tpl_next(p);
    n->a = tpl_node_new(p, TPL_N_NAME);
    return n->a && (n->a->u.name = tpl_take_name(p)) ? n : NULL;
}

tpl_node *tpl_parse_target(tpl_parser *p, bool attributes)
{
    tpl_node *n = parse_commas(p, attributes ? parse_attribute_target : tpl_parse_primary, "in");
    if (n && !assignable(n)) {
        tpl_fail(p->c, "this cannot be assigned to");
        return NULL;
    }
    return n;
}
