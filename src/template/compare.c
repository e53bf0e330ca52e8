/* Equality, order, hashes and membership. */
#include <math.h>
#include <string.h>

#include "template/text.h"

static int equal_lists(umbra_tpl_context *c, const umbra_tpl_list *a, const umbra_tpl_list *b,
                       bool *out)
{
    int rc = UMBRA_OK;
    *out = a->count == b->count;
    for (size_t i = 0; rc == UMBRA_OK && *out && i < a->count; i++)
        rc = umbra_tpl_equal(c, a->items[i], b->items[i], out);
    return rc;
}

static int equal_dicts(umbra_tpl_context *c, const umbra_tpl_dict *a, const umbra_tpl_dict *b,
                       bool *out)
{
    int rc = UMBRA_OK;
    *out = a->count == b->count;
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && *out && (e = umbra_tpl_dict_next(a, &at)) != NULL;
         at++) {
        umbra_tpl_entry *other = NULL;
        rc = umbra_tpl_dict_find(c, b, e->key, &other);
        if (rc == UMBRA_OK && !other)
            *out = false;
        else if (rc == UMBRA_OK)
            rc = umbra_tpl_equal(c, e->value, other->value, out);
    }
    return rc;
}

static bool equal_strings(const umbra_tpl_string *a, const umbra_tpl_string *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

static bool equal_numbers(umbra_tpl_value a, umbra_tpl_value b)
{
    int64_t i, j;
    return umbra_tpl_as_int(a, &i) && umbra_tpl_as_int(b, &j)
               ? i == j
               : umbra_tpl_as_float(a) == umbra_tpl_as_float(b);
}

static int equal_inside(umbra_tpl_context *c, umbra_tpl_value a, umbra_tpl_value b, bool *out)
{
    switch ((umbra_tpl_kind)a.kind) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        *out = true;
        return UMBRA_OK;
    case TPL_STRING:
        *out = equal_strings(a.u.string, b.u.string);
        return umbra_tpl_scan(c, a.u.string->bytes);
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW:
        return equal_lists(c, a.u.list, b.u.list, out);
    case TPL_DICT:
        return equal_dicts(c, a.u.dict, b.u.dict, out);
    default:
        *out = a.u.list == b.u.list;
        return UMBRA_OK;
    }
}

int umbra_tpl_equal(umbra_tpl_context *c, umbra_tpl_value a, umbra_tpl_value b, bool *out)
{
    *out = false;
    if (umbra_tpl_is_number(a) && umbra_tpl_is_number(b)) {
        *out = equal_numbers(a, b);
        return UMBRA_OK;
    }
    if (a.kind != b.kind)
        return UMBRA_OK;
    int rc = umbra_tpl_step(c, 1);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    rc = equal_inside(c, a, b, out);
    umbra_tpl_leave(c);
    return rc;
}

static int order_lists(umbra_tpl_context *c, const umbra_tpl_list *a, const umbra_tpl_list *b,
                       const char *op, int *out)
{
    size_t n = a->count < b->count ? a->count : b->count;
    for (size_t i = 0; i < n; i++) {
        bool same;
        int rc = umbra_tpl_equal(c, a->items[i], b->items[i], &same);
        if (rc != UMBRA_OK || !same)
            return rc != UMBRA_OK ? rc : umbra_tpl_order(c, a->items[i], b->items[i], op, out);
    }
    *out = (a->count > b->count) - (a->count < b->count);
    return UMBRA_OK;
}

static int order_strings(const umbra_tpl_string *a, const umbra_tpl_string *b)
{
    size_t n = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = n ? memcmp(a->data, b->data, n) : 0;
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int order_numbers(umbra_tpl_value a, umbra_tpl_value b)
{
    int64_t i, j;
    if (umbra_tpl_as_int(a, &i) && umbra_tpl_as_int(b, &j))
        return (i > j) - (i < j);
    double x = umbra_tpl_as_float(a), y = umbra_tpl_as_float(b);
    return (x > y) - (x < y);
}

int umbra_tpl_order(umbra_tpl_context *c, umbra_tpl_value a, umbra_tpl_value b, const char *op,
                    int *out)
{
    *out = 0;
    int rc = umbra_tpl_step(c, 1);
    if (rc != UMBRA_OK)
        return rc;
    if (umbra_tpl_is_number(a) && umbra_tpl_is_number(b)) {
        *out = order_numbers(a, b);
    } else if (a.kind == TPL_STRING && b.kind == TPL_STRING) {
        *out = order_strings(a.u.string, b.u.string);
        rc = umbra_tpl_scan(c, a.u.string->bytes);
    } else if (a.kind == b.kind && (a.kind == TPL_LIST || a.kind == TPL_TUPLE)) {
        rc = umbra_tpl_enter(c);
        if (rc == UMBRA_OK) {
            rc = order_lists(c, a.u.list, b.u.list, op, out);
            umbra_tpl_leave(c);
        }
    } else if (a.kind == TPL_UNDEFINED || b.kind == TPL_UNDEFINED) {
        rc = umbra_tpl_fail_undefined(c, a.kind == TPL_UNDEFINED ? a : b);
    } else {
        rc = umbra_tpl_fail(c, "'%s' not supported between instances of '%s' and '%s'", op,
                            umbra_tpl_type_name(a), umbra_tpl_type_name(b));
    }
    return rc;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_bytes(const char *data, size_t bytes)
{
    uint64_t h = bytes;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, sizeof word);
        h = mix(h, word);
    }
    for (; i < bytes; i++)
        h = mix(h, (unsigned char)data[i]);
    return mix(h, TPL_STRING);
}

/* Numbers that are equal have one hash, whatever their type. */
static uint64_t hash_number(umbra_tpl_value v)
{
    int64_t i;
    if (!umbra_tpl_as_int(v, &i)) {
        double f = v.u.real;
        if (!(f >= -0x1p63 && f < 0x1p63) || f != floor(f)) {
            uint64_t bits;
            memcpy(&bits, &f, sizeof bits);
            return mix(TPL_FLOAT, bits);
        }
        i = (int64_t)f;
    }
    return mix(TPL_INT, (uint64_t)i);
}

static int hash_tuple(umbra_tpl_context *c, const umbra_tpl_list *l, uint64_t *out)
{
    int rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    *out = mix(TPL_TUPLE, l->count);
    for (size_t i = 0; rc == UMBRA_OK && i < l->count; i++) {
        uint64_t h = 0;
        rc = umbra_tpl_hash(c, l->items[i], &h);
        *out = mix(*out, h);
    }
    umbra_tpl_leave(c);
    return rc;
}

int umbra_tpl_hash(umbra_tpl_context *c, umbra_tpl_value v, uint64_t *out)
{
    switch ((umbra_tpl_kind)v.kind) {
    case TPL_STRING:
        *out = hash_bytes(v.u.string->data, v.u.string->bytes);
        return umbra_tpl_scan(c, v.u.string->bytes);
    case TPL_BOOL:
    case TPL_INT:
    case TPL_FLOAT:
        *out = hash_number(v);
        return UMBRA_OK;
    case TPL_TUPLE:
        return hash_tuple(c, v.u.list, out);
    case TPL_LIST:
    case TPL_DICT:
    case TPL_VIEW:
        return umbra_tpl_fail(c, "unhashable type: '%s'", umbra_tpl_type_name(v));
    default:
        *out = mix(v.kind, v.kind <= TPL_NONE ? 0 : (uintptr_t)v.u.list);
        return UMBRA_OK;
    }
}

static int contains_part(umbra_tpl_context *c, const umbra_tpl_string *whole, umbra_tpl_value part,
                         bool *out)
{
    if (part.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, part);
    if (part.kind != TPL_STRING)
        return umbra_tpl_fail(c, "'in <string>' requires string as left operand, not %s",
                              umbra_tpl_type_name(part));
    *out = umbra_tpl_find(whole, part.u.string, 0, whole->bytes) >= 0;
    return umbra_tpl_scan(c, whole->bytes);
}

int umbra_tpl_contains(umbra_tpl_context *c, umbra_tpl_value whole, umbra_tpl_value part, bool *out)
{
    *out = false;
    if (whole.kind == TPL_STRING)
        return contains_part(c, whole.u.string, part, out);
    if (whole.kind == TPL_DICT) {
        umbra_tpl_entry *e = NULL;
        int rc = umbra_tpl_dict_find(c, whole.u.dict, part, &e);
        *out = e != NULL;
        return rc;
    }
    const umbra_tpl_value *items;
    size_t count;
    int rc = whole.kind == TPL_NONE
                 ? umbra_tpl_fail(c, "argument of type 'NoneType' is not iterable")
                 : umbra_tpl_elements(c, whole, &items, &count);
    for (size_t i = 0; rc == UMBRA_OK && !*out && i < count; i++)
        rc = umbra_tpl_equal(c, items[i], part, out);
    return rc;
}
