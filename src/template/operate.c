/* Arithmetic and comparisons. */
#include <math.h>
#include <string.h>

#include "template/node.h"
#include "template/functions.h"

static int fail_types(umbra_tpl_context *c, uint16_t op, umbra_tpl_value a, umbra_tpl_value b)
{
    if (a.kind == TPL_UNDEFINED || b.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, a.kind == TPL_UNDEFINED ? a : b);
    char sign[3] = {(char)(op >> 8 ? op >> 8 : op), op >> 8 ? (char)op : '\0', '\0'};
    return umbra_tpl_fail(c, "unsupported operand type(s) for %s: '%s' and '%s'", sign,
                          umbra_tpl_type_name(a), umbra_tpl_type_name(b));
}

static int put_added(umbra_tpl_builder *b, umbra_tpl_value v, bool escape)
{
    int rc = escape ? umbra_tpl_escape(b->c, v, &v) : UMBRA_OK;
    return rc == UMBRA_OK ? umbra_tpl_put_string(b, v.u.string) : rc;
}

/* A safe string makes the sum safe and has the other one escaped. */
static int add_strings(umbra_tpl_context *c, umbra_tpl_value x, umbra_tpl_value y,
                       umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    bool safe = x.u.string->safe || y.u.string->safe;
    int rc = put_added(&b, x, safe);
    if (rc == UMBRA_OK)
        rc = put_added(&b, y, safe);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_built(&b, out);
    if (rc == UMBRA_OK && safe)
        ((umbra_tpl_string *)(uintptr_t)out->u.string)->safe = true;
    return rc;
}

static int add_lists(umbra_tpl_context *c, umbra_tpl_value a, umbra_tpl_value b,
                     umbra_tpl_value *out)
{
    size_t n = a.u.list->count, m = b.u.list->count;
    int rc = umbra_tpl_step(c, n + m);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, (umbra_tpl_kind)a.kind, n + m, out);
    if (rc != UMBRA_OK)
        return rc;
    if (n)
        memcpy(out->u.list->items, a.u.list->items, n * sizeof(umbra_tpl_value));
    if (m)
        memcpy(out->u.list->items + n, b.u.list->items, m * sizeof(umbra_tpl_value));
    out->u.list->count = n + m;
    return UMBRA_OK;
}

static int repeat(umbra_tpl_context *c, umbra_tpl_value v, int64_t times, umbra_tpl_value *out)
{
    times = times < 0 ? 0 : times;
    int rc = UMBRA_OK;
    if (v.kind == TPL_STRING) {
        umbra_tpl_builder b;
        umbra_tpl_builder_init(&b, c);
        for (int64_t i = 0; rc == UMBRA_OK && i < times; i++) {
            rc = umbra_tpl_put_string(&b, v.u.string);
            rc = rc == UMBRA_OK ? umbra_tpl_step(c, 1) : rc;
        }
        return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
    }
    rc = umbra_tpl_new_list(c, (umbra_tpl_kind)v.kind, 0, out);
    size_t n = v.u.list->count;
    for (int64_t i = 0; rc == UMBRA_OK && n > 0 && i < times; i++)
        for (size_t k = 0; rc == UMBRA_OK && k < n; k++) {
            rc = umbra_tpl_step(c, 1);
            rc = rc == UMBRA_OK ? umbra_tpl_append(c, *out, v.u.list->items[k]) : rc;
        }
    return rc;
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

/* False: beyond 64 bits. */
static bool int_power(int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    if (base == 0 || base == 1 || base == -1) {
        *out = base == 0 ? exponent == 0 : base == -1 && exponent % 2 ? -1 : 1;
        return true;
    }
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(*out, base, out))
            return false;
    return true;
}

static int int_arithmetic(umbra_tpl_context *c, uint16_t op, int64_t a, int64_t b,
                          umbra_tpl_value *out)
{
    int64_t r = 0;
    bool fits = true;
    bool divides = op == TPL_OP(0, '/') || op == TPL_OP('/', '/') || op == TPL_OP(0, '%');
    if (divides && b == 0)
        return umbra_tpl_fail(c, "division by zero");
    if (op == TPL_OP(0, '/') || (op == TPL_OP('*', '*') && b < 0)) {
        *out = umbra_tpl_float(op == TPL_OP(0, '/') ? (double)a / (double)b
                                                    : pow((double)a, (double)b));
        return UMBRA_OK;
    }
    if (op == TPL_OP(0, '+'))
        fits = !__builtin_add_overflow(a, b, &r);
    else if (op == TPL_OP(0, '-'))
        fits = !__builtin_sub_overflow(a, b, &r);
    else if (op == TPL_OP(0, '*'))
        fits = !__builtin_mul_overflow(a, b, &r);
    else if (op == TPL_OP('*', '*'))
        fits = int_power(a, b, &r);
    else if (b == -1) /* the one quotient that may not fit */
        fits = op == TPL_OP(0, '%') || !__builtin_sub_overflow(0, a, &r);
    else
        r = op == TPL_OP('/', '/') ? floor_divide(a, b) : a - floor_divide(a, b) * b;
    *out = umbra_tpl_int(r);
    return fits ? UMBRA_OK : umbra_tpl_fail(c, "the integer result does not fit into 64 bits");
}

static int float_arithmetic(umbra_tpl_context *c, uint16_t op, double a, double b,
                            umbra_tpl_value *out)
{
    double r;
    bool divides = op == TPL_OP(0, '/') || op == TPL_OP('/', '/') || op == TPL_OP(0, '%');
    if (divides && b == 0)
        return umbra_tpl_fail(c, "division by zero");
    if (op == TPL_OP(0, '+'))
        r = a + b;
    else if (op == TPL_OP(0, '-'))
        r = a - b;
    else if (op == TPL_OP(0, '*'))
        r = a * b;
    else if (op == TPL_OP(0, '/'))
        r = a / b;
    else if (op == TPL_OP('*', '*'))
        r = pow(a, b);
    else {
        double rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0))
            rest += b;
        r = op == TPL_OP(0, '%') ? rest : floor((a - rest) / b + 0.5);
    }
    *out = umbra_tpl_float(r);
    return UMBRA_OK;
}

static int numbers(umbra_tpl_context *c, uint16_t op, umbra_tpl_value a, umbra_tpl_value b,
                   umbra_tpl_value *out)
{
    int64_t i, j;
    int rc = umbra_tpl_as_int(a, &i) && umbra_tpl_as_int(b, &j)
                 ? int_arithmetic(c, op, i, j, out)
                 : float_arithmetic(c, op, umbra_tpl_as_float(a), umbra_tpl_as_float(b), out);
    out->input = a.input || b.input;
    return rc;
}

static bool repeatable(umbra_tpl_value v)
{
    return v.kind == TPL_STRING || v.kind == TPL_LIST || v.kind == TPL_TUPLE;
}

int umbra_tpl_binary(umbra_tpl_context *c, uint16_t op, umbra_tpl_value a, umbra_tpl_value b,
                     umbra_tpl_value *out)
{
    int64_t times;
    if (umbra_tpl_is_number(a) && umbra_tpl_is_number(b))
        return numbers(c, op, a, b, out);
    if (op == TPL_OP(0, '+') && a.kind == b.kind) {
        if (a.kind == TPL_STRING)
            return add_strings(c, a, b, out);
        if (a.kind == TPL_LIST || a.kind == TPL_TUPLE)
            return add_lists(c, a, b, out);
    }
    if (op == TPL_OP(0, '+') && a.kind == TPL_STRING && b.kind != TPL_UNDEFINED)
        return umbra_tpl_fail(c, "can only concatenate str (not \"%s\") to str",
                              umbra_tpl_type_name(b));
    if (op == TPL_OP(0, '*') && repeatable(a) && umbra_tpl_as_int(b, &times))
        return repeat(c, a, times, out);
    if (op == TPL_OP(0, '*') && repeatable(b) && umbra_tpl_as_int(a, &times))
        return repeat(c, b, times, out);
    if (op == TPL_OP(0, '%') && a.kind == TPL_STRING)
        return umbra_tpl_format_percent(c, a.u.string, b, out);
    return fail_types(c, op, a, b);
}

static bool order_holds(uint16_t op, int order)
{
    switch (op) {
    case TPL_OP(0, '<'):
        return order < 0;
    case TPL_OP(0, '>'):
        return order > 0;
    case TPL_OP('<', '='):
        return order <= 0;
    default:
        return order >= 0;
    }
}

int umbra_tpl_compare(umbra_tpl_context *c, uint16_t op, umbra_tpl_value a, umbra_tpl_value b,
                      bool *out)
{
    int rc;
    if (op == TPL_OP('=', '=') || op == TPL_OP('!', '=')) {
        rc = umbra_tpl_equal(c, a, b, out);
        *out = *out == (op == TPL_OP('=', '='));
    } else if (op == TPL_OP_IN || op == TPL_OP_NOT_IN) {
        rc = umbra_tpl_contains(c, b, a, out);
        *out = *out == (op == TPL_OP_IN);
    } else {
        char sign[3] = {(char)(op >> 8 ? op >> 8 : op), op >> 8 ? '=' : '\0', '\0'};
        int order;
        rc = umbra_tpl_order(c, a, b, sign, &order);
        *out = order_holds(op, order);
        if (umbra_tpl_is_number(a) && umbra_tpl_is_number(b))
            *out = *out && !isnan(umbra_tpl_as_float(a)) && !isnan(umbra_tpl_as_float(b));
    }
    return rc;
}
