/* Filters that pick from and rearrange collections. */
#include "template/functions.h"
#include "template/strings.h"

static int new_iterator(umbra_tpl_context *c, umbra_tpl_value *out)
{
    return umbra_tpl_new_list(c, TPL_ITERATOR, 0, out);
}

static int filter_length(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int64_t n = 0;
    int rc = umbra_tpl_length(c, call->self, &n);
    *out = umbra_tpl_int(n);
    return rc;
}

static int end_of(umbra_tpl_context *c, const umbra_tpl_call *call, bool last, umbra_tpl_value *out)
{
    static const umbra_tpl_string nothing = {.data = "the item of an empty sequence", .bytes = 29};
    if (call->self.kind == TPL_ITERATOR && !last) { /* takes no more than the one */
        umbra_tpl_list *l = call->self.u.list;
        if (l->taken < l->count) {
            *out = l->items[l->taken++];
            return UMBRA_OK;
        }
    }
    const umbra_tpl_value *items;
    size_t n;
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK && n == 0)
        return umbra_tpl_undefined(c, NULL, &nothing, out);
    if (rc == UMBRA_OK)
        *out = items[last ? n - 1 : 0];
    return rc;
}

static int filter_first(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return end_of(c, call, false, out);
}

static int filter_last(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return end_of(c, call, true, out);
}

static int filter_list(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, n, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = umbra_tpl_append(c, *out, items[i]);
    return rc;
}

static int filter_join(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    umbra_tpl_value between, list;
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_given(call->arg[0]) ? umbra_tpl_to_text(c, call->arg[0], &between)
                                           : umbra_tpl_word(c, "", &between);
    bool attribute = umbra_tpl_given(call->arg[1]) && call->arg[1].kind != TPL_NONE;
    if (rc == UMBRA_OK && attribute)
        rc = umbra_tpl_new_list(c, TPL_LIST, n, &list);
    for (size_t i = 0; rc == UMBRA_OK && attribute && i < n; i++) {
        umbra_tpl_value v;
        rc = umbra_tpl_path(c, items[i], call->arg[1], &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, list, v);
    }
    if (rc != UMBRA_OK)
        return rc;
    return umbra_tpl_join(c, between.u.string, attribute ? list.u.list->items : items, n, out);
}

/* The arguments behind the first `skip`. */
static umbra_tpl_args rest_of(const umbra_tpl_args *all, size_t skip)
{
    return (umbra_tpl_args){.items = all->count > skip ? all->items + skip : NULL,
                            .count = all->count > skip ? all->count - skip : 0,
                            .named = all->named};
}

/* map(attribute="path", default=...): each element's member. */
static int map_attribute(umbra_tpl_context *c, const umbra_tpl_call *call,
                         const umbra_tpl_value *items, size_t n, umbra_tpl_value *out)
{
    const umbra_tpl_dict *named = call->all->named;
    umbra_tpl_value *path = umbra_tpl_dict_text(c, named, "attribute", 9);
    umbra_tpl_value *fallback = umbra_tpl_dict_text(c, named, "default", 7);
    if (!path || named->count > 1 + (fallback != NULL))
        return umbra_tpl_fail(c, "map() wants the name of a filter or attribute=");
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        umbra_tpl_value v;
        rc = umbra_tpl_path(c, items[i], *path, &v);
        if (rc == UMBRA_OK && v.kind == TPL_UNDEFINED && fallback)
            v = *fallback;
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, v);
    }
    return rc;
}

static int map_filter(umbra_tpl_context *c, const umbra_tpl_call *call,
                      const umbra_tpl_value *items, size_t n, umbra_tpl_value *out)
{
    umbra_tpl_value name = call->all->items[0];
    const umbra_tpl_function *f =
        name.kind == TPL_STRING ? umbra_tpl_find_filter(name.u.string) : NULL;
    if (!f)
        return umbra_tpl_fail(c, "map() wants the name of a filter that there is");
    umbra_tpl_args args = rest_of(call->all, 1);
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        umbra_tpl_value v;
        rc = umbra_tpl_invoke(c, f, items[i], &args, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, v);
    }
    return rc;
}

static int filter_map(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    if (!umbra_tpl_truth(call->self)) /* none has no elements here, unlike elsewhere */
        return new_iterator(c, out);
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    if (call->all->count > 0)
        rc = map_filter(c, call, items, n, out);
    else if (call->all->named)
        rc = map_attribute(c, call, items, n, out);
    else
        rc = umbra_tpl_fail(c, "map() wants the name of a filter or attribute=");
    umbra_tpl_leave(c);
    return rc;
}

/* Elements that a test holds for (or does not): of themselves, or of the attribute that the first
 * argument names. Without a test their truth counts. */
static int pick(umbra_tpl_context *c, const umbra_tpl_call *call, bool attribute, bool wanted,
                umbra_tpl_value *out)
{
    const umbra_tpl_args *all = call->all;
    const umbra_tpl_value *items;
    size_t n, at = attribute ? 1 : 0;
    if (!umbra_tpl_truth(call->self)) /* none has no elements here, unlike elsewhere */
        return new_iterator(c, out);
    if (attribute && all->count == 0)
        return umbra_tpl_fail(c, "%s() wants the name of an attribute", call->name);
    const umbra_tpl_value *name = all->count > at ? &all->items[at] : NULL;
    const umbra_tpl_function *test =
        name && name->kind == TPL_STRING ? umbra_tpl_find_test(name->u.string) : NULL;
    if (name && !test)
        return umbra_tpl_fail(c, "%s() names a test that there is not", call->name);
    umbra_tpl_args args = rest_of(all, at + 1);
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        umbra_tpl_value v = items[i], holds;
        if (attribute)
            rc = umbra_tpl_path(c, items[i], all->items[0], &v);
        holds = v;
        if (rc == UMBRA_OK && test)
            rc = umbra_tpl_invoke(c, test, v, &args, &holds);
        if (rc == UMBRA_OK && umbra_tpl_truth(holds) == wanted)
            rc = umbra_tpl_append(c, *out, items[i]);
    }
    return rc;
}

static int filter_select(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pick(c, call, false, true, out);
}

static int filter_reject(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pick(c, call, false, false, out);
}

static int filter_selectattr(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pick(c, call, true, true, out);
}

static int filter_rejectattr(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pick(c, call, true, false, out);
}

static int filter_items(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int rc = new_iterator(c, out);
    if (rc != UMBRA_OK || call->self.kind == TPL_UNDEFINED)
        return rc;
    if (call->self.kind != TPL_DICT)
        return umbra_tpl_fail(c, "can only get item pairs from a mapping, not %s",
                              umbra_tpl_type_name(call->self));
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(call->self.u.dict, &at));
         at++) {
        umbra_tpl_value pair;
        rc = umbra_tpl_pair(c, e->key, e->value, &pair);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, pair);
    }
    return rc == UMBRA_OK ? umbra_tpl_step(c, call->self.u.dict->count) : rc;
}

static int filter_reverse(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    static const umbra_tpl_value backwards[3] = {
        {.kind = TPL_ABSENT}, {.kind = TPL_ABSENT}, {.kind = TPL_INT, .u.integer = -1}};
    if (call->self.kind == TPL_STRING)
        return umbra_tpl_slice(c, call->self, backwards, out);
    const umbra_tpl_value *items;
    size_t n;
    int rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    while (rc == UMBRA_OK && n-- > 0)
        rc = umbra_tpl_append(c, *out, items[n]);
    return rc;
}

/* Lists of so many elements; the last one is filled up where something to fill with is given. */
static int filter_batch(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    int64_t size;
    umbra_tpl_value row = umbra_tpl_none(), fill = call->arg[1];
    int rc = umbra_tpl_int_argument(c, call, 0, 1, &size);
    if (rc == UMBRA_OK && size < 1)
        return umbra_tpl_fail(c, "batch() wants a positive count");
    if (rc == UMBRA_OK)
        rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        if ((int64_t)i % size == 0) {
            rc = umbra_tpl_new_list(c, TPL_LIST, 0, &row);
            rc = rc == UMBRA_OK ? umbra_tpl_append(c, *out, row) : rc;
        }
        rc = rc == UMBRA_OK ? umbra_tpl_append(c, row, items[i]) : rc;
    }
    bool fills = umbra_tpl_given(fill) && fill.kind != TPL_NONE && row.kind == TPL_LIST;
    while (rc == UMBRA_OK && fills && (int64_t)row.u.list->count < size) {
        rc = umbra_tpl_append(c, row, fill);
        rc = rc == UMBRA_OK ? umbra_tpl_step(c, 1) : rc;
    }
    return rc;
}

/* So many lists that follow each other, the first ones longer by one where it does not divide. */
static int filter_slice(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n, at = 0;
    int64_t slices;
    int rc = umbra_tpl_int_argument(c, call, 0, 1, &slices);
    if (rc == UMBRA_OK && slices < 1)
        return umbra_tpl_fail(c, "slice() wants a positive count");
    if (rc == UMBRA_OK)
        rc = umbra_tpl_elements(c, call->self, &items, &n);
    if (rc == UMBRA_OK)
        rc = new_iterator(c, out);
    bool fills = umbra_tpl_given(call->arg[1]) && call->arg[1].kind != TPL_NONE;
    for (int64_t k = 0; rc == UMBRA_OK && k < slices; k++) {
        size_t longer = n % (size_t)slices, take = n / (size_t)slices + ((size_t)k < longer);
        umbra_tpl_value row;
        rc = umbra_tpl_new_list(c, TPL_LIST, 0, &row);
        for (size_t i = 0; rc == UMBRA_OK && i < take; i++)
            rc = umbra_tpl_append(c, row, items[at++]);
        if (rc == UMBRA_OK && fills && longer && (size_t)k >= longer)
            rc = umbra_tpl_append(c, row, call->arg[1]);
        rc = rc == UMBRA_OK ? umbra_tpl_append(c, *out, row) : rc;
        rc = rc == UMBRA_OK ? umbra_tpl_step(c, 1) : rc;
    }
    return rc;
}

static int filter_attr(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *name;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &name);
    if (rc == UMBRA_OK && call->self.kind == TPL_DICT) /* attributes alone, no items */
        return umbra_tpl_find_method(call->self, name)
                   ? umbra_tpl_member(c, call->self, name, out)
                   : umbra_tpl_undefined(c, "dict object", name, out);
    return rc == UMBRA_OK ? umbra_tpl_member(c, call->self, name, out) : rc;
}

const umbra_tpl_function umbra_tpl_filters_list[] = {
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
