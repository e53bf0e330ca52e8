/* Filters that convert values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "template/functions.h"

/* int(f), or false where it does not fit. */
static bool truncated(double f, int64_t *out)
{
    bool fits = f > -0x1p63 && f < 0x1p63;
    if (fits)
        *out = (int64_t)f;
    return fits;
}

static int filter_int(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int64_t base, i = 0;
    double f;
    umbra_tpl_value v = call->self;
    int rc = umbra_tpl_int_argument(c, call, 1, 10, &base);
    if (rc != UMBRA_OK)
        return rc;
    bool done = umbra_tpl_as_int(v, &i) || (v.kind == TPL_FLOAT && truncated(v.u.real, &i));
    if (!done && v.kind == TPL_STRING)
        done = umbra_tpl_parse_int(v.u.string, (int)base, &i) ||
               (umbra_tpl_parse_float(v.u.string, &f) && truncated(f, &i));
    *out = done                            ? umbra_tpl_int(i)
           : umbra_tpl_given(call->arg[0]) ? call->arg[0]
                                           : umbra_tpl_int(0);
    out->input = v.input || v.kind == TPL_STRING;
    return UMBRA_OK;
}

static int filter_float(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    (void)c;
    umbra_tpl_value v = call->self;
    double f = 0;
    bool done =
        umbra_tpl_is_number(v) || (v.kind == TPL_STRING && umbra_tpl_parse_float(v.u.string, &f));
    f = umbra_tpl_is_number(v) ? umbra_tpl_as_float(v) : f;
    *out = done                            ? umbra_tpl_float(f)
           : umbra_tpl_given(call->arg[0]) ? call->arg[0]
                                           : umbra_tpl_float(0);
    out->input = v.input || v.kind == TPL_STRING;
    return UMBRA_OK;
}

static int wants_number(umbra_tpl_context *c, const umbra_tpl_call *call)
{
    if (call->self.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, call->self);
    return umbra_tpl_is_number(call->self)
               ? UMBRA_OK
               : umbra_tpl_fail(c, "%s() wants a number, not %s", call->name,
                                umbra_tpl_type_name(call->self));
}

static int filter_abs(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int64_t i;
    int rc = wants_number(c, call);
    if (rc != UMBRA_OK)
        return rc;
    if (umbra_tpl_as_int(call->self, &i)) {
        if (i == INT64_MIN)
            return umbra_tpl_fail(c, "the integer result does not fit into 64 bits");
        *out = umbra_tpl_int(i < 0 ? -i : i);
    } else {
        *out = umbra_tpl_float(fabs(call->self.u.real));
    }
    out->input = call->self.input;
    return UMBRA_OK;
}

/* To the nearest, halves to even, as the decimal digits have it. */
static double round_common(double f, int digits)
{
    char text[400];
    if (!isfinite(f) || digits > 300)
        return f;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", digits > 60 ? 60 : digits, f);
        return strtod(text, NULL);
    }
    double unit = pow(10, digits < -300 ? 300 : -digits);
    return nearbyint(f / unit) * unit;
}

/* An integer to a multiple of 10^tens, a half to an even one. */
static int64_t round_int(int64_t i, int64_t tens)
{
    int64_t unit = 1;
    if (tens > 18) /* past what 64 bits hold */
        return 0;
    for (; tens > 0; tens--)
        unit *= 10;
    int64_t whole = i / unit, rest = i % unit < 0 ? -(i % unit) : i % unit;
    if (rest > unit - rest || (rest == unit - rest && whole % 2 != 0))
        whole += i < 0 ? -1 : 1;
    return whole * unit;
}

static int filter_round(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int64_t digits, i;
    const umbra_tpl_string *method;
    int rc = wants_number(c, call);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_int_argument(c, call, 0, 0, &digits);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_text_argument(c, call, 1, "common", &method);
    if (rc != UMBRA_OK)
        return rc;
    digits = digits > 400 ? 400 : digits < -400 ? -400 : digits;
    double f = umbra_tpl_as_float(call->self), unit = pow(10, (double)digits);
    if (umbra_tpl_text_is(method, "common"))
        *out = umbra_tpl_as_int(call->self, &i)
                   ? umbra_tpl_int(digits < 0 ? round_int(i, -digits) : i)
                   : umbra_tpl_float(round_common(f, (int)digits));
    else if (umbra_tpl_text_is(method, "ceil"))
        *out = umbra_tpl_float(ceil(f * unit) / unit);
    else if (umbra_tpl_text_is(method, "floor"))
        *out = umbra_tpl_float(floor(f * unit) / unit);
    else
        return umbra_tpl_fail(c, "round() knows the methods common, ceil and floor");
    out->input = call->self.input;
    return UMBRA_OK;
}

static int filter_default(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    bool falsy = umbra_tpl_flag_argument(call, 1, false) && !umbra_tpl_truth(call->self);
    *out = call->self;
    if (call->self.kind != TPL_UNDEFINED && !falsy)
        return UMBRA_OK;
    if (!umbra_tpl_given(call->arg[0]))
        return umbra_tpl_word(c, "", out);
    *out = call->arg[0];
    return UMBRA_OK;
}

const umbra_tpl_function umbra_tpl_filters_value[] = {
    {"int", filter_int, 0, "default base"},
    {"float", filter_float, 0, "default"},
    {"abs", filter_abs, 0, ""},
    {"round", filter_round, 0, "precision method"},
    {"default", filter_default, 0, "default_value boolean"},
    {"d", filter_default, 0, "default_value boolean"},
    {"tojson", umbra_tpl_to_json, 0, "ensure_ascii indent separators sort_keys"},
    {0},
};
