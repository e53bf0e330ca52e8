/* Filters that compare elements: sorting, grouping, the least and the most. */
#include <string.h>

#include "template/functions.h"
#include "template/strings.h"

int umbra_tpl_sort_key(umbra_tpl_context *c, umbra_tpl_value v, bool cased, umbra_tpl_value *out)
{
    *out = v;
    return v.kind == TPL_STRING && !cased
               ? umbra_tpl_change_case(c, v.u.string, TPL_CASE_LOWER, out)
               : UMBRA_OK;
}

/* The key of an element: itself, the member that `attribute` names, or a list of several ("a,b").
 */
static int element_key(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value attribute,
                       bool cased, umbra_tpl_value *out)
{
    if (!umbra_tpl_given(attribute) || attribute.kind == TPL_NONE)
        return umbra_tpl_sort_key(c, v, cased, out);
    static const umbra_tpl_string comma = {.data = ",", .bytes = 1, .chars = 1};
    bool several = attribute.kind == TPL_STRING &&
                   umbra_tpl_find(attribute.u.string, &comma, 0, attribute.u.string->bytes) >= 0;
    if (!several) {
        int rc = umbra_tpl_path(c, v, attribute, out);
        return rc == UMBRA_OK ? umbra_tpl_sort_key(c, *out, cased, out) : rc;
    }
    const umbra_tpl_string *s = attribute.u.string;
    int rc = umbra_tpl_new_list(c, TPL_LIST, 0, out);
    for (size_t at = 0; rc == UMBRA_OK && at <= s->bytes;) {
        int64_t end = umbra_tpl_find(s, &comma, at, s->bytes);
        size_t stop = end < 0 ? s->bytes : (size_t)end;
        umbra_tpl_value path, key;
        rc = umbra_tpl_part(c, s, at, stop, &path);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_path(c, v, path, &key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_sort_key(c, key, cased, &key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, key);
        at = stop + 1;
    }
    return rc;
}

typedef struct sorted {
    umbra_tpl_value item, key;
} sorted;

/* Merges [from, middle) and [middle, to) of a into b. */
static int merge(umbra_tpl_context *c, const sorted *a, sorted *b, size_t from, size_t middle,
                 size_t to, bool reverse)
{
    size_t left = from, right = middle;
    for (size_t i = from; i < to; i++) {
        bool take_right = left == middle;
        if (!take_right && right < to) {
            int order;
            int rc = umbra_tpl_order(c, a[right].key, a[left].key, "<", &order);
            if (rc != UMBRA_OK)
                return rc;
            take_right = reverse ? order > 0 : order < 0;
        }
        b[i] = a[take_right ? right++ : left++];
    }
    return UMBRA_OK;
}

int umbra_tpl_sort(umbra_tpl_context *c, umbra_tpl_value *items, umbra_tpl_value *keys, size_t n,
                   bool reverse)
{
    sorted *a = umbra_tpl_alloc(c, n, sizeof *a), *b = umbra_tpl_alloc(c, n, sizeof *b);
    if (!a || !b)
        return UMBRA_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        a[i] = (sorted){items[i], keys[i]};
    int rc = UMBRA_OK;
    for (size_t width = 1; rc == UMBRA_OK && width < n; width *= 2) {
        for (size_t from = 0; rc == UMBRA_OK && from < n; from += 2 * width) {
            size_t middle = from + width < n ? from + width : n;
            size_t to = middle + width < n ? middle + width : n;
            rc = merge(c, a, b, from, middle, to, reverse);
        }
        sorted *t = a;
        a = b;
        b = t;
    }
    for (size_t i = 0; i < n; i++) {
        items[i] = a[i].item;
        keys[i] = a[i].key;
    }
    return rc;
}

/* The elements in *list, copied, and the key of each in *keys. */
static int with_keys(umbra_tpl_context *c, umbra_tpl_value self, umbra_tpl_value attribute,
                     bool cased, umbra_tpl_value *list, umbra_tpl_value *keys)
{
    const umbra_tpl_value *items;
    size_t n;
    int rc = umbra_tpl_elements(c, self, &items, &n);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, n, list);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, n, keys);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        umbra_tpl_value key;
        rc = element_key(c, items[i], attribute, cased, &key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *keys, key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *list, items[i]);
    }
    return rc;
}

static int filter_sort(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_value keys;
    int rc =
        with_keys(c, call->self, call->arg[2], umbra_tpl_flag_argument(call, 1, false), out, &keys);
    return rc == UMBRA_OK
               ? umbra_tpl_sort(c, out->u.list->items, keys.u.list->items, out->u.list->count,
                                umbra_tpl_flag_argument(call, 0, false))
               : rc;
}

static int filter_dictsort(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *by;
    umbra_tpl_value keys;
    bool cased = umbra_tpl_flag_argument(call, 0, false);
    int rc = umbra_tpl_text_argument(c, call, 1, "key", &by);
    if (rc == UMBRA_OK && call->self.kind != TPL_DICT)
        return call->self.kind == TPL_UNDEFINED
                   ? umbra_tpl_fail_undefined(c, call->self)
                   : umbra_tpl_fail(c, "dictsort() wants a mapping, not %s",
                                    umbra_tpl_type_name(call->self));
    if (rc == UMBRA_OK && !umbra_tpl_text_is(by, "key") && !umbra_tpl_text_is(by, "value"))
        return umbra_tpl_fail(c, "dictsort() can sort by \"key\" or \"value\"");
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, 0, out);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, 0, &keys);
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(call->self.u.dict, &at));
         at++) {
        umbra_tpl_value pair, key;
        rc = umbra_tpl_pair(c, e->key, e->value, &pair);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_sort_key(c, umbra_tpl_text_is(by, "key") ? e->key : e->value, cased,
                                    &key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, pair);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, keys, key);
    }
    return rc == UMBRA_OK
               ? umbra_tpl_sort(c, out->u.list->items, keys.u.list->items, out->u.list->count,
                                umbra_tpl_flag_argument(call, 2, false))
               : rc;
}

static int extreme(umbra_tpl_context *c, const umbra_tpl_call *call, int sign, umbra_tpl_value *out)
{
    static const umbra_tpl_string nothing = {.data = "the item of an empty sequence", .bytes = 29};
    umbra_tpl_value list, keys;
    size_t best = 0;
    int rc = with_keys(c, call->self, call->arg[1], umbra_tpl_flag_argument(call, 0, false), &list,
                       &keys);
    if (rc != UMBRA_OK)
        return rc;
    if (list.u.list->count == 0)
        return umbra_tpl_undefined(c, NULL, &nothing, out);
    for (size_t i = 1; rc == UMBRA_OK && i < list.u.list->count; i++) {
        int order;
        rc = umbra_tpl_order(c, keys.u.list->items[i], keys.u.list->items[best],
                             sign < 0 ? "<" : ">", &order);
        best = order * sign > 0 ? i : best;
    }
    *out = list.u.list->items[best];
    return rc;
}

static int filter_min(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return extreme(c, call, -1, out);
}

static int filter_max(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return extreme(c, call, 1, out);
}

static int filter_unique(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_value list, keys, seen;
    int rc = with_keys(c, call->self, call->arg[1], umbra_tpl_flag_argument(call, 0, false), &list,
                       &keys);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_dict(c, TPL_DICT, &seen);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_ITERATOR, 0, out);
    for (size_t i = 0; rc == UMBRA_OK && i < list.u.list->count; i++) {
        umbra_tpl_entry *e = NULL;
        rc = umbra_tpl_dict_find(c, seen.u.dict, keys.u.list->items[i], &e);
        if (rc == UMBRA_OK && !e)
            rc = umbra_tpl_append(c, *out, list.u.list->items[i]);
        if (rc == UMBRA_OK && !e)
            rc = umbra_tpl_dict_set(c, seen.u.dict, keys.u.list->items[i], umbra_tpl_none());
    }
    return rc;
}

/* Pairs of what the elements have in common, and a list of them. */
static int filter_groupby(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_value list, keys, group = umbra_tpl_none();
    bool cased = umbra_tpl_flag_argument(call, 2, false);
    int rc = with_keys(c, call->self, call->arg[0], cased, &list, &keys);
    size_t n = rc == UMBRA_OK ? list.u.list->count : 0;
    for (size_t i = 0; i < n; i++)
        if (keys.u.list->items[i].kind == TPL_UNDEFINED && umbra_tpl_given(call->arg[1]))
            keys.u.list->items[i] = call->arg[1];
    if (rc == UMBRA_OK)
        rc = umbra_tpl_sort(c, list.u.list->items, keys.u.list->items, n, false);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, 0, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        bool same = false;
        if (i > 0)
            rc = umbra_tpl_equal(c, keys.u.list->items[i - 1], keys.u.list->items[i], &same);
        if (rc == UMBRA_OK && !same) {
            umbra_tpl_value name, pair;
            rc = umbra_tpl_path(c, list.u.list->items[i], call->arg[0], &name);
            if (rc == UMBRA_OK && name.kind == TPL_UNDEFINED)
                name = keys.u.list->items[i];
            rc = rc == UMBRA_OK ? umbra_tpl_new_list(c, TPL_LIST, 0, &group) : rc;
            rc = rc == UMBRA_OK ? umbra_tpl_pair(c, name, group, &pair) : rc;
            if (rc == UMBRA_OK)
                pair.u.list->name = "group";
            rc = rc == UMBRA_OK ? umbra_tpl_append(c, *out, pair) : rc;
        }
        rc = rc == UMBRA_OK ? umbra_tpl_append(c, group, list.u.list->items[i]) : rc;
    }
    return rc;
}

static int filter_sum(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    bool attribute = umbra_tpl_given(call->arg[0]) && call->arg[0].kind != TPL_NONE;
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    *out = umbra_tpl_given(call->arg[1]) ? call->arg[1] : umbra_tpl_int(0);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        umbra_tpl_value v = items[i];
        if (attribute)
            rc = umbra_tpl_path(c, items[i], call->arg[0], &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_binary(c, TPL_OP(0, '+'), *out, v, out);
    }
    return rc;
}

const umbra_tpl_function umbra_tpl_filters_order[] = {
    {"sort", filter_sort, 0, "reverse case_sensitive attribute"},
    {"dictsort", filter_dictsort, 0, "case_sensitive by reverse"},
    {"min", filter_min, 0, "case_sensitive attribute"},
    {"max", filter_max, 0, "case_sensitive attribute"},
    {"unique", filter_unique, 0, "case_sensitive attribute"},
    {"groupby", filter_groupby, 1, "attribute default case_sensitive"},
    {"sum", filter_sum, 0, "attribute start"},
    {0},
};
