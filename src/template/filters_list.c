/* Filters that pick from and rearrange collections. */
#include "template/functions.h"
#include "template/strings.h"

static int new_iterator(tpl_context *c, tpl_value *out)
{
    return tpl_new_list(c, TPL_ITERATOR, 0, out);
}

static int filter_length(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    int64_t n = 0;
    int rc = tpl_length(c, call->self, &n);
    *out = tpl_int(n);
    return rc;
}

static int end_of(tpl_context *c, const tpl_call *call, bool last, tpl_value *out)
{
    static const tpl_string nothing = {.data = "the item of an empty sequence", .bytes = 29};
    if (call->self.kind == TPL_ITERATOR && !last) { /* takes no more than the one */
        tpl_list *l = call->self.u.list;
        if (l->taken < l->count) {
            *out = l->items[l->taken++];
            return UMBRA_OK;
        }
    }
    const tpl_value *items;
    size_t n;
    int rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK && n == 0)
        return tpl_undefined(c, NULL, &nothing, out);
    if (rc == UMBRA_OK)
        *out = items[last ? n - 1 : 0];
    return rc;
}

static int filter_first(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    return end_of(c, call, false, out);
}

static int filter_last(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    return end_of(c, call, true, out);
}

static int filter_list(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    const tpl_value *items;
    size_t n;
    int rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = tpl_new_list(c, TPL_LIST, n, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = tpl_append(c, *out, items[i]);
    return rc;
}

static int filter_join(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    const tpl_value *items;
    size_t n;
    tpl_value between, list;
    int rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = tpl_given(call->arg[0]) ? tpl_to_text(c, call->arg[0], &between)
                                     : tpl_word(c, "", &between);
    bool attribute = tpl_given(call->arg[1]) && call->arg[1].kind != TPL_NONE;
    if (rc == UMBRA_OK && attribute)
        rc = tpl_new_list(c, TPL_LIST, n, &list);
    for (size_t i = 0; rc == UMBRA_OK && attribute && i < n; i++) {
        tpl_value v;
        rc = tpl_path(c, items[i], call->arg[1], &v);
        if (rc == UMBRA_OK)
            rc = tpl_append(c, list, v);
    }
    if (rc != UMBRA_OK)
        return rc;
    return tpl_join(c, between.u.string, attribute ? list.u.list->items : items, n, out);
}

/* The arguments behind the first `skip`. */
static tpl_args rest_of(const tpl_args *all, size_t skip)
{
    return (tpl_args){.items = all->count > skip ? all->items + skip : NULL,
                      .count = all->count > skip ? all->count - skip : 0,
                      .named = all->named};
}

/* map(attribute="path", default=...): each element's member. */
static int map_attribute(tpl_context *c, const tpl_call *call, const tpl_value *items, size_t n,
                         tpl_value *out)
{
    const tpl_dict *named = call->all->named;
    tpl_value *path = tpl_dict_text(c, named, "attribute", 9);
    tpl_value *fallback = tpl_dict_text(c, named, "default", 7);
    if (!path || named->count > 1 + (fallback != NULL))
        return tpl_fail(c, "map() wants the name of a filter or attribute=");
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        tpl_value v;
        rc = tpl_path(c, items[i], *path, &v);
        if (rc == UMBRA_OK && v.kind == TPL_UNDEFINED && fallback)
            v = *fallback;
        if (rc == UMBRA_OK)
            rc = tpl_append(c, *out, v);
    }
    return rc;
}

static int map_filter(tpl_context *c, const tpl_call *call, const tpl_value *items, size_t n,
                      tpl_value *out)
{
    tpl_value name = call->all->items[0];
    const tpl_function *f = name.kind == TPL_STRING ? tpl_find_filter(name.u.string) : NULL;
    if (!f)
        return tpl_fail(c, "map() wants the name of a filter that there is");
    tpl_args args = rest_of(call->all, 1);
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        tpl_value v;
        rc = tpl_invoke(c, f, items[i], &args, &v);
        if (rc == UMBRA_OK)
            rc = tpl_append(c, *out, v);
    }
    return rc;
}

static int filter_map(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    const tpl_value *items;
    size_t n;
    if (!tpl_truth(call->self)) /* none has no elements here, unlike elsewhere */
        return new_iterator(c, out);
    int rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    if (rc == UMBRA_OK)
        rc = tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    if (call->all->count > 0)
        rc = map_filter(c, call, items, n, out);
    else if (call->all->named)
        rc = map_attribute(c, call, items, n, out);
    else
        rc = tpl_fail(c, "map() wants the name of a filter or attribute=");
    tpl_leave(c);
    return rc;
}

/* Elements that a test holds for (or does not): of themselves, or of the attribute that the first
 * argument names. Without a test their truth counts. */
static int pick(tpl_context *c, const tpl_call *call, bool attribute, bool wanted, tpl_value *out)
{
    const tpl_args *all = call->all;
    const tpl_value *items;
    size_t n, at = attribute ? 1 : 0;
    if (!tpl_truth(call->self)) /* none has no elements here, unlike elsewhere */
        return new_iterator(c, out);
    if (attribute && all->count == 0)
        return tpl_fail(c, "%s() wants the name of an attribute", call->name);
    const tpl_value *name = all->count > at ? &all->items[at] : NULL;
    const tpl_function *test =
        name && name->kind == TPL_STRING ? tpl_find_test(name->u.string) : NULL;
    if (name && !test)
        return tpl_fail(c, "%s() names a test that there is not", call->name);
    tpl_args args = rest_of(all, at + 1);
    int rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        tpl_value v = items[i], holds;
        if (attribute)
            rc = tpl_path(c, items[i], all->items[0], &v);
        holds = v;
        if (rc == UMBRA_OK && test)
            rc = tpl_invoke(c, test, v, &args, &holds);
        if (rc == UMBRA_OK && tpl_truth(holds) == wanted)
            rc = tpl_append(c, *out, items[i]);
    }
    return rc;
}

static int filter_select(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    return pick(c, call, false, true, out);
}

static int filter_reject(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    return pick(c, call, false, false, out);
}

static int filter_selectattr(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    return pick(c, call, true, true, out);
}

static int filter_rejectattr(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    return pick(c, call, true, false, out);
}

static int filter_items(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    int rc = new_iterator(c, out);
    if (rc != UMBRA_OK || call->self.kind == TPL_UNDEFINED)
        return rc;
    if (call->self.kind != TPL_DICT)
        return tpl_fail(c, "can only get item pairs from a mapping, not %s",
                        tpl_type_name(call->self));
    size_t at = 0;
    for (tpl_entry *e; rc == UMBRA_OK && (e = tpl_dict_next(call->self.u.dict, &at)); at++) {
        tpl_value pair;
        rc = tpl_pair(c, e->key, e->value, &pair);
        if (rc == UMBRA_OK)
            rc = tpl_append(c, *out, pair);
    }
    return rc == UMBRA_OK ? tpl_step(c, call->self.u.dict->count) : rc;
}

static int filter_reverse(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    static const tpl_value backwards[3] = {
        {.kind = TPL_ABSENT}, {.kind = TPL_ABSENT}, {.kind = TPL_INT, .u.integer = -1}};
    if (call->self.kind == TPL_STRING)
        return tpl_slice(c, call->self, backwards, out);
    const tpl_value *items;
    size_t n;
    int rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    while (rc == UMBRA_OK && n-- > 0)
        rc = tpl_append(c, *out, items[n]);
    return rc;
}

/* Lists of so many elements; the last one is filled up where something to fill with is given. */
static int filter_batch(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    const tpl_value *items;
    size_t n;
    int64_t size;
    tpl_value row = tpl_none(), fill = call->arg[1];
    int rc = tpl_int_argument(c, call, 0, 1, &size);
    if (rc == UMBRA_OK && size < 1)
        return tpl_fail(c, "batch() wants a positive count");
    if (rc == UMBRA_OK)
        rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        if ((int64_t)i % size == 0) {
            rc = tpl_new_list(c, TPL_LIST, 0, &row);
            rc = rc == UMBRA_OK ? tpl_append(c, *out, row) : rc;
        }
        rc = rc == UMBRA_OK ? tpl_append(c, row, items[i]) : rc;
    }
    bool fills = tpl_given(fill) && fill.kind != TPL_NONE && row.kind == TPL_LIST;
    while (rc == UMBRA_OK && fills && (int64_t)row.u.list->count < size) {
        rc = tpl_append(c, row, fill);
        rc = rc == UMBRA_OK ? tpl_step(c, 1) : rc;
    }
    return rc;
}

/* So many lists that follow each other, the first ones longer by one where it does not divide. */
static int filter_slice(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    const tpl_value *items;
    size_t n, at = 0;
    int64_t slices;
    int rc = tpl_int_argument(c, call, 0, 1, &slices);
    if (rc == UMBRA_OK && slices < 1)
        return tpl_fail(c, "slice() wants a positive count");
    if (rc == UMBRA_OK)
        rc = tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    bool fills = tpl_given(call->arg[1]) && call->arg[1].kind != TPL_NONE;
    for (int64_t k = 0; rc == UMBRA_OK && k < slices; k++) {
        size_t longer = n % (size_t)slices, take = n / (size_t)slices + ((size_t)k < longer);
        tpl_value row;
        rc = tpl_new_list(c, TPL_LIST, 0, &row);
        for (size_t i = 0; rc == UMBRA_OK && i < take; i++)
            rc = tpl_append(c, row, items[at++]);
        if (rc == UMBRA_OK && fills && longer && (size_t)k >= longer)
            rc = tpl_append(c, row, call->arg[1]);
        rc = rc == UMBRA_OK ? tpl_append(c, *out, row) : rc;
        rc = rc == UMBRA_OK ? tpl_step(c, 1) : rc;
    }
    return rc;
}

static int filter_attr(tpl_context *c, const tpl_call *call, tpl_value *out)
{
    const tpl_string *name;
    int rc = tpl_text_argument(c, call, 0, NULL, &name);
    if (rc == UMBRA_OK && call->self.kind == TPL_DICT) /* attributes alone, no items */
        return tpl_find_method(call->self, name) ? tpl_member(c, call->self, name, out)
                                                 : tpl_undefined(c, "dict object", name, out);
    return rc == UMBRA_OK ? tpl_member(c, call->self, name, out) : rc;
}

const tpl_function tpl_filters_list[] = {
    {"length", filter_length, 0, ""},
    {"count", filter_length, 0, ""},
    {"first", filter_first, 0, ""},
    {"last", filter_last, 0, ""},
    {"list", filter_list, 0, ""},
    {"join", filter_join, 0, "d attribute"},
    {"map", filter_map, 0, NULL},
    {"select", filter_select, 0, NULL},
    {"reject", filter_reject, 0, NULL},
    {"selectattr", filter_selectattr, 0, NULL},
    {"rejectattr", filter_rejectattr, 0, NULL},
    {"items", filter_items, 0, ""},
    {"reverse", filter_reverse, 0, ""},
    {"batch", filter_batch, 1, "linecount fill_with"},
    {"slice", filter_slice, 1, "slices fill_with"},
    {"attr", filter_attr, 1, "name"},
    {0},
};
