/* Expressions as nodes; the order of precedence is that of the functions here, bottom up. */
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
        n = tpl_parse_filters_and_tests(p, n);
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
