/* Expressions as nodes; the order of precedence is that of the functions here, bottom up. */
#include "template/parser.h"

static umbra_tpl_node *parse_unary(umbra_tpl_parser *p, bool filters);

static umbra_tpl_node *unary_node(umbra_tpl_parser *p, umbra_tpl_node_type type, umbra_tpl_node *a)
{
    umbra_tpl_node *n = a ? umbra_tpl_node_new(p, type) : NULL;
    if (n)
        n->a = a;
    return n;
}

static umbra_tpl_node *binary_node(umbra_tpl_parser *p, umbra_tpl_node_type type, umbra_tpl_node *a,
                                   umbra_tpl_node *b)
{
    umbra_tpl_node *n = a && b ? umbra_tpl_node_new(p, type) : NULL;
    if (n) {
        n->a = a;
        n->b = b;
    }
    return n;
}

static umbra_tpl_node *parse_signed(umbra_tpl_parser *p)
{
    bool minus = umbra_tpl_is_op(p, TPL_OP(0, '-'));
    if (!minus && !umbra_tpl_is_op(p, TPL_OP(0, '+')))
        return umbra_tpl_parse_primary(p);
    umbra_tpl_next(p);
    return unary_node(p, minus ? TPL_N_NEGATIVE : TPL_N_POSITIVE, parse_unary(p, false));
}

static umbra_tpl_node *parse_unary(umbra_tpl_parser *p, bool filters)
{
    if (umbra_tpl_enter(p->c) != UMBRA_OK)
        return NULL;
    umbra_tpl_node *n = umbra_tpl_parse_postfix(p, parse_signed(p));
    if (filters)
        n = umbra_tpl_parse_filters_and_tests(p, n);
    umbra_tpl_leave(p->c);
    return n;
}

static umbra_tpl_node *parse_power(umbra_tpl_parser *p)
{
    umbra_tpl_node *n = parse_unary(p, true);
    while (n && umbra_tpl_take_op(p, TPL_OP('*', '*'))) {
        n = binary_node(p, TPL_N_BINARY, n, parse_unary(p, true));
        if (n)
            n->op = TPL_OP('*', '*');
    }
    return n;
}

/* Operands of `next` with one of the operators between them, from left to right. */
static umbra_tpl_node *parse_left(umbra_tpl_parser *p, umbra_tpl_node *(*next)(umbra_tpl_parser *p),
                                  const uint16_t *ops)
{
    umbra_tpl_node *n = next(p);
    for (size_t i = 0; n && ops[i];) {
        uint16_t op = ops[i++];
        if (!umbra_tpl_take_op(p, op))
            continue;
        n = binary_node(p, TPL_N_BINARY, n, next(p));
        if (n)
            n->op = op;
        i = 0;
    }
    return n;
}

static umbra_tpl_node *parse_product(umbra_tpl_parser *p)
{
    static const uint16_t ops[] = {TPL_OP(0, '*'), TPL_OP(0, '/'), TPL_OP('/', '/'), TPL_OP(0, '%'),
                                   0};
    return parse_left(p, parse_power, ops);
}

static umbra_tpl_node *parse_concat(umbra_tpl_parser *p)
{
    umbra_tpl_node *n = parse_product(p);
    if (!n || !umbra_tpl_is_op(p, TPL_OP(0, '~')))
        return n;
    umbra_tpl_node *all = umbra_tpl_node_new(p, TPL_N_CONCAT);
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    umbra_tpl_chain_add(&list, n);
    while (all && umbra_tpl_take_op(p, TPL_OP(0, '~'))) {
        n = parse_product(p);
        if (!n)
            return NULL;
        umbra_tpl_chain_add(&list, n);
    }
    if (all)
        all->a = list.first;
    return all;
}

static umbra_tpl_node *parse_sum(umbra_tpl_parser *p)
{
    static const uint16_t ops[] = {TPL_OP(0, '+'), TPL_OP(0, '-'), 0};
    return parse_left(p, parse_concat, ops);
}

static uint16_t take_comparison(umbra_tpl_parser *p)
{
    static const uint16_t ops[] = {TPL_OP('=', '='), TPL_OP('!', '='), TPL_OP('<', '='),
                                   TPL_OP('>', '='), TPL_OP(0, '<'),   TPL_OP(0, '>')};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (umbra_tpl_take_op(p, ops[i]))
            return ops[i];
    if (umbra_tpl_take_word(p, "in"))
        return TPL_OP_IN;
    bool not_in = umbra_tpl_is_word(p, "not") && p->t[1].type == TPL_T_NAME &&
                  umbra_tpl_text_is(p->t[1].value.u.string, "in");
    if (!not_in)
        return 0;
    umbra_tpl_next(p);
    umbra_tpl_next(p);
    return TPL_OP_NOT_IN;
}

static umbra_tpl_node *parse_comparison(umbra_tpl_parser *p)
{
    umbra_tpl_node *first = parse_sum(p);
    uint16_t op = first ? take_comparison(p) : 0;
    if (op == 0)
        return first;
    umbra_tpl_node *n = unary_node(p, TPL_N_COMPARE, first);
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    for (; n && op != 0; op = take_comparison(p)) {
        umbra_tpl_node *operand = unary_node(p, TPL_N_ARGUMENT, parse_sum(p));
        if (!operand)
            return NULL;
        operand->op = op;
        umbra_tpl_chain_add(&list, operand);
    }
    if (n)
        n->b = list.first;
    return n;
}

static umbra_tpl_node *parse_not(umbra_tpl_parser *p)
{
    if (!umbra_tpl_take_word(p, "not"))
        return parse_comparison(p);
    if (umbra_tpl_enter(p->c) != UMBRA_OK)
        return NULL;
    umbra_tpl_node *n = unary_node(p, TPL_N_NOT, parse_not(p));
    umbra_tpl_leave(p->c);
    return n;
}

static umbra_tpl_node *parse_and(umbra_tpl_parser *p)
{
    umbra_tpl_node *n = parse_not(p);
    while (n && umbra_tpl_take_word(p, "and"))
        n = binary_node(p, TPL_N_AND, n, parse_not(p));
    return n;
}

umbra_tpl_node *umbra_tpl_parse_plain(umbra_tpl_parser *p)
{
    umbra_tpl_node *n = parse_and(p);
    while (n && umbra_tpl_take_word(p, "or"))
        n = binary_node(p, TPL_N_OR, n, parse_and(p));
    return n;
}

umbra_tpl_node *umbra_tpl_parse_expression(umbra_tpl_parser *p)
{
    if (umbra_tpl_enter(p->c) != UMBRA_OK)
        return NULL;
    umbra_tpl_node *n = umbra_tpl_parse_plain(p);
    while (n && umbra_tpl_take_word(p, "if")) {
        n = binary_node(p, TPL_N_CHOICE, n, umbra_tpl_parse_plain(p));
        if (n && umbra_tpl_take_word(p, "else") && !(n->c = umbra_tpl_parse_expression(p)))
            n = NULL;
    }
    umbra_tpl_leave(p->c);
    return n;
}

static bool tuple_ends(const umbra_tpl_parser *p, const char *end)
{
    return p->t->type == TPL_T_PRINT_END || p->t->type == TPL_T_BLOCK_END ||
           umbra_tpl_is_op(p, TPL_OP(0, ')')) || (end && umbra_tpl_is_word(p, end));
}

/* Elements by `parse` with commas between them: one alone, or a tuple. */
static umbra_tpl_node *parse_commas(umbra_tpl_parser *p,
                                    umbra_tpl_node *(*parse)(umbra_tpl_parser *p), const char *end)
{
    umbra_tpl_node *first = parse(p);
    if (!first || !umbra_tpl_is_op(p, TPL_OP(0, ',')))
        return first;
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_TUPLE);
    umbra_tpl_chain list;
    umbra_tpl_chain_init(&list);
    umbra_tpl_chain_add(&list, first);
    while (n && umbra_tpl_take_op(p, TPL_OP(0, ',')) && !tuple_ends(p, end)) {
        umbra_tpl_node *element = parse(p);
        if (!element)
            return NULL;
        umbra_tpl_chain_add(&list, element);
    }
    if (n)
        n->a = list.first;
    return n;
}

umbra_tpl_node *umbra_tpl_parse_tuple(umbra_tpl_parser *p, bool choice, const char *end)
{
    return parse_commas(p, choice ? umbra_tpl_parse_expression : umbra_tpl_parse_plain, end);
}

static bool assignable(const umbra_tpl_node *n)
{
    if (n->type != TPL_N_TUPLE)
        return n->type == TPL_N_NAME || n->type == TPL_N_ATTRIBUTE;
    for (n = n->a; n; n = n->next)
        if (!assignable(n))
            return false;
    return true;
}

static umbra_tpl_node *parse_attribute_target(umbra_tpl_parser *p)
{
    bool attribute =
        p->t->type == TPL_T_NAME && p->t[1].type == TPL_T_OPERATOR && p->t[1].op == TPL_OP(0, '.');
    if (!attribute)
        return umbra_tpl_parse_primary(p);
    umbra_tpl_node *n = umbra_tpl_node_new(p, TPL_N_ATTRIBUTE);
    if (!n || !(n->u.name = umbra_tpl_take_name(p)))
        return NULL;
    umbra_tpl_next(p);
    n->a = umbra_tpl_node_new(p, TPL_N_NAME);
    return n->a && (n->a->u.name = umbra_tpl_take_name(p)) ? n : NULL;
}

umbra_tpl_node *umbra_tpl_parse_target(umbra_tpl_parser *p, bool attributes)
{
    umbra_tpl_node *n =
        parse_commas(p, attributes ? parse_attribute_target : umbra_tpl_parse_primary, "in");
    if (n && !assignable(n)) {
        umbra_tpl_fail(p->c, "this cannot be assigned to");
        return NULL;
    }
    return n;
}
