/* Tests: what can stand behind "is". */
#include "template/functions.h"
#include "template/node.h"
#include "template/text.h"

#define TEST(name, condition)                                                                      \
    static int name(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)        \
    {                                                                                              \
        (void)c;                                                                                   \
        umbra_tpl_value v = call->self;                                                            \
        *out = umbra_tpl_bool(condition);                                                          \
        return UMBRA_OK;                                                                           \
    }

static bool is_iterable(umbra_tpl_value v)
{
    return v.kind == TPL_UNDEFINED || v.kind == TPL_STRING || v.kind == TPL_DICT ||
           v.kind == TPL_ITERATOR || v.kind == TPL_LOOP || umbra_tpl_is_sequence(v);
}

static bool is_cased(umbra_tpl_value v, bool upper)
{
    bool any = false;
    if (v.kind != TPL_STRING)
        return false;
    for (size_t i = 0; i < v.u.string->bytes; i += umbra_tpl_char_bytes(v.u.string->data + i)) {
        uint32_t code = umbra_tpl_char_at(v.u.string->data + i);
        bool large = umbra_tpl_lower(code) != code, small = umbra_tpl_upper(code) != code;
        if (upper ? small && !large : large)
            return false;
        any = any || large || small;
    }
    return any;
}

TEST(test_defined, v.kind != TPL_UNDEFINED)
TEST(test_undefined, v.kind == TPL_UNDEFINED)
TEST(test_none, v.kind == TPL_NONE)
TEST(test_boolean, v.kind == TPL_BOOL)
TEST(test_true, v.kind == TPL_BOOL && v.u.boolean)
TEST(test_false, v.kind == TPL_BOOL && !v.u.boolean)
TEST(test_integer, v.kind == TPL_INT)
TEST(test_float, v.kind == TPL_FLOAT)
TEST(test_number, umbra_tpl_is_number(v))
TEST(test_string, v.kind == TPL_STRING)
TEST(test_mapping, v.kind == TPL_DICT)
TEST(test_iterable, is_iterable(v))
TEST(test_sequence, v.kind == TPL_UNDEFINED || v.kind == TPL_STRING || v.kind == TPL_DICT ||
                        (umbra_tpl_is_sequence(v) && v.kind != TPL_VIEW))
TEST(test_callable, v.kind == TPL_MACRO || v.kind == TPL_FUNCTION || v.kind == TPL_METHOD ||
                        v.kind == TPL_LOOP || v.kind == TPL_JOINER)
TEST(test_upper, is_cased(v, true))
TEST(test_lower, is_cased(v, false))
TEST(test_escaped, v.kind == TPL_STRING && v.u.string->safe)
TEST(test_filter, v.kind == TPL_STRING && umbra_tpl_find_filter(v.u.string))
TEST(test_test, v.kind == TPL_STRING && umbra_tpl_find_test(v.u.string))
TEST(test_sameas, v.kind == call->arg[0].kind &&
                      (v.kind == TPL_BOOL  ? v.u.boolean == call->arg[0].u.boolean
                       : v.kind == TPL_INT ? v.u.integer == call->arg[0].u.integer
                                           : v.kind == TPL_NONE || v.u.list == call->arg[0].u.list))

static int compare(umbra_tpl_context *c, const umbra_tpl_call *call, uint16_t op,
                   umbra_tpl_value *out)
{
    bool holds = false;
    int rc = umbra_tpl_compare(c, op, call->self, call->arg[0], &holds);
    *out = umbra_tpl_bool(holds);
    return rc;
}

#define COMPARISON(name, op)                                                                       \
    static int name(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)        \
    {                                                                                              \
        return compare(c, call, op, out);                                                          \
    }

COMPARISON(test_eq, TPL_OP('=', '='))
COMPARISON(test_ne, TPL_OP('!', '='))
COMPARISON(test_lt, TPL_OP(0, '<'))
COMPARISON(test_le, TPL_OP('<', '='))
COMPARISON(test_gt, TPL_OP(0, '>'))
COMPARISON(test_ge, TPL_OP('>', '='))
COMPARISON(test_in, TPL_OP_IN)

static int divides(umbra_tpl_context *c, umbra_tpl_value v, int64_t by, int64_t rest,
                   umbra_tpl_value *out)
{
    umbra_tpl_value r;
    int rc = umbra_tpl_binary(c, TPL_OP(0, '%'), v, umbra_tpl_int(by), &r);
    if (rc == UMBRA_OK && !umbra_tpl_is_number(r))
        return umbra_tpl_fail(c, "a number is wanted, not %s", umbra_tpl_type_name(v));
    *out = umbra_tpl_bool(rc == UMBRA_OK && umbra_tpl_as_float(r) == (double)rest);
    return rc;
}

static int test_odd(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return divides(c, call->self, 2, 1, out);
}

static int test_even(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return divides(c, call->self, 2, 0, out);
}

static int test_divisibleby(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int64_t by;
    int rc = umbra_tpl_int_argument(c, call, 0, 1, &by);
    return rc == UMBRA_OK ? divides(c, call->self, by, 0, out) : rc;
}

const umbra_tpl_function umbra_tpl_tests[] = {
    {"defined", test_defined, 0, ""},
    {"undefined", test_undefined, 0, ""},
    {"none", test_none, 0, ""},
    {"boolean", test_boolean, 0, ""},
    {"true", test_true, 0, ""},
    {"false", test_false, 0, ""},
    {"integer", test_integer, 0, ""},
    {"float", test_float, 0, ""},
    {"number", test_number, 0, ""},
    {"string", test_string, 0, ""},
    {"mapping", test_mapping, 0, ""},
    {"iterable", test_iterable, 0, ""},
    {"sequence", test_sequence, 0, ""},
    {"callable", test_callable, 0, ""},
    {"upper", test_upper, 0, ""},
    {"lower", test_lower, 0, ""},
    {"escaped", test_escaped, 0, ""},
    {"filter", test_filter, 0, ""},
    {"test", test_test, 0, ""},
    {"sameas", test_sameas, 1, "other"},
    {"eq", test_eq, 1, "other"},
    {"equalto", test_eq, 1, "other"},
    {"==", test_eq, 1, "other"},
    {"ne", test_ne, 1, "other"},
    {"!=", test_ne, 1, "other"},
    {"lt", test_lt, 1, "other"},
    {"lessthan", test_lt, 1, "other"},
    {"<", test_lt, 1, "other"},
    {"le", test_le, 1, "other"},
    {"<=", test_le, 1, "other"},
    {"gt", test_gt, 1, "other"},
    {"greaterthan", test_gt, 1, "other"},
    {">", test_gt, 1, "other"},
    {"ge", test_ge, 1, "other"},
    {">=", test_ge, 1, "other"},
    {"in", test_in, 1, "seq"},
    {"odd", test_odd, 0, ""},
    {"even", test_even, 0, ""},
    {"divisibleby", test_divisibleby, 1, "num"},
    {0},
};
