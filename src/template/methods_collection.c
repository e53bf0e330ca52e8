/* Methods of lists, tuples and dicts. */
#include <string.h>

#include "template/functions.h"

static int list_append(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    *out = umbra_tpl_none();
    return umbra_tpl_append(c, call->self, call->arg[0]);
}

static int list_extend(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    int rc = umbra_tpl_elements(c, call->arg[0], &items, &n);
    *out = umbra_tpl_none();
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        umbra_tpl_value item = items[i]; /* the list may be added to itself and move */
        rc = umbra_tpl_append(c, call->self, item);
    }
    return rc;
}

static void remove_at(umbra_tpl_list *l, size_t at)
{
    memmove(l->items + at, l->items + at + 1, (l->count - at - 1) * sizeof *l->items);
    l->count--;
}

static int list_insert(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_list *l = call->self.u.list;
    int64_t at, n = (int64_t)l->count;
    int rc = umbra_tpl_int_argument(c, call, 0, 0, &at);
    *out = umbra_tpl_none();
    if (rc == UMBRA_OK)
        rc = umbra_tpl_append(c, call->self, call->arg[1]);
    if (rc != UMBRA_OK)
        return rc;
    at += at < 0 ? n : 0;
    at = at < 0 ? 0 : at > n ? n : at;
    memmove(l->items + at + 1, l->items + at, (size_t)(n - at) * sizeof *l->items);
    l->items[at] = call->arg[1];
    return umbra_tpl_step(c, l->count / 16);
}

static int list_pop(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_list *l = call->self.u.list;
    int64_t at, n = (int64_t)l->count;
    int rc = umbra_tpl_int_argument(c, call, 0, -1, &at);
    if (rc != UMBRA_OK)
        return rc;
    at += at < 0 ? n : 0;
    if (at < 0 || at >= n)
        return umbra_tpl_fail(c, n == 0 ? "pop from empty list" : "pop index out of range");
    *out = l->items[at];
    remove_at(l, (size_t)at);
    return umbra_tpl_step(c, l->count / 16);
}

/* The first element that equals the argument; the count where there is none. */
static int find(umbra_tpl_context *c, const umbra_tpl_call *call, size_t *out)
{
    const umbra_tpl_list *l = call->self.u.list;
    bool same = false;
    int rc = UMBRA_OK;
    for (*out = 0; *out < l->count; ++*out) {
        rc = umbra_tpl_equal(c, l->items[*out], call->arg[0], &same);
        if (rc != UMBRA_OK || same)
            break;
    }
    return rc == UMBRA_OK ? umbra_tpl_step(c, *out) : rc;
}

static int list_index(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    size_t at;
    int rc = find(c, call, &at);
    if (rc == UMBRA_OK && at == call->self.u.list->count)
        return umbra_tpl_fail(c, "index(): the value is not in the list");
    *out = umbra_tpl_int((int64_t)at);
    return rc;
}

static int list_remove(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    size_t at;
    int rc = find(c, call, &at);
    *out = umbra_tpl_none();
    if (rc == UMBRA_OK && at == call->self.u.list->count)
        return umbra_tpl_fail(c, "remove(): the value is not in the list");
    if (rc == UMBRA_OK)
        remove_at(call->self.u.list, at);
    return rc;
}

static int list_count(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_list *l = call->self.u.list;
    int64_t n = 0;
    int rc = umbra_tpl_step(c, l->count);
    for (size_t i = 0; rc == UMBRA_OK && i < l->count; i++) {
        bool same;
        rc = umbra_tpl_equal(c, l->items[i], call->arg[0], &same);
        n += same;
    }
    *out = umbra_tpl_int(n);
    return rc;
}

static int list_reverse(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_turn_around(call->self.u.list);
    *out = umbra_tpl_none();
    return umbra_tpl_step(c, call->self.u.list->count);
}

static int list_sort(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_list *l = call->self.u.list;
    umbra_tpl_value *keys = umbra_tpl_alloc(c, l->count, sizeof *keys);
    *out = umbra_tpl_none();
    if (!keys)
        return UMBRA_E_NOMEM;
    for (size_t i = 0; i < l->count; i++)
        keys[i] = l->items[i];
    return umbra_tpl_sort(c, l->items, keys, l->count, umbra_tpl_flag_argument(call, 0, false));
}

static int list_clear(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    (void)c;
    call->self.u.list->count = 0;
    *out = umbra_tpl_none();
    return UMBRA_OK;
}

static int list_copy(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    static const umbra_tpl_value open[3] = {
        {.kind = TPL_ABSENT}, {.kind = TPL_ABSENT}, {.kind = TPL_ABSENT}};
    return umbra_tpl_slice(c, call->self, open, out);
}

const umbra_tpl_function umbra_tpl_methods_list[] = {
    {"append", list_append, 1, "object"},
    {"extend", list_extend, 1, "iterable"},
    {"insert", list_insert, 2, "index object"},
    {"pop", list_pop, 0, "index"},
    {"index", list_index, 1, "value"},
    {"remove", list_remove, 1, "value"},
    {"count", list_count, 1, "value"},
    {"reverse", list_reverse, 0, ""},
    {"sort", list_sort, 0, "reverse"},
    {"clear", list_clear, 0, ""},
    {"copy", list_copy, 0, ""},
    {0},
};

typedef enum part { KEYS, VALUES, ITEMS } part;

static int view(umbra_tpl_context *c, const umbra_tpl_call *call, part wanted, umbra_tpl_value *out)
{
    static const char *const names[] = {"dict_keys", "dict_values", "dict_items"};
    const umbra_tpl_dict *d = call->self.u.dict;
    int rc = umbra_tpl_new_list(c, TPL_VIEW, d->count, out);
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(d, &at)) != NULL; at++) {
        umbra_tpl_value v = wanted == KEYS ? e->key : e->value;
        if (wanted == ITEMS)
            rc = umbra_tpl_pair(c, e->key, e->value, &v);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, v);
    }
    if (rc == UMBRA_OK)
        out->u.list->name = names[wanted];
    return rc == UMBRA_OK ? umbra_tpl_step(c, d->count) : rc;
}

static int dict_keys(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return view(c, call, KEYS, out);
}

static int dict_values(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return view(c, call, VALUES, out);
}

static int dict_items(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return view(c, call, ITEMS, out);
}

static int dict_get(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_entry *e = NULL;
    int rc = umbra_tpl_dict_find(c, call->self.u.dict, call->arg[0], &e);
    *out = e ? e->value : umbra_tpl_given(call->arg[1]) ? call->arg[1] : umbra_tpl_none();
    return rc;
}

static int dict_pop(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_entry *e = NULL;
    int rc = umbra_tpl_dict_find(c, call->self.u.dict, call->arg[0], &e);
    if (rc == UMBRA_OK && !e && !umbra_tpl_given(call->arg[1]))
        return umbra_tpl_fail(c, "pop(): the key is not in the dict");
    *out = e ? e->value : call->arg[1];
    if (e)
        umbra_tpl_dict_remove(call->self.u.dict, e);
    return rc;
}

static int dict_setdefault(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    umbra_tpl_entry *e = NULL;
    int rc = umbra_tpl_dict_find(c, call->self.u.dict, call->arg[0], &e);
    *out = e ? e->value : umbra_tpl_given(call->arg[1]) ? call->arg[1] : umbra_tpl_none();
    return rc == UMBRA_OK && !e ? umbra_tpl_dict_set(c, call->self.u.dict, call->arg[0], *out) : rc;
}

static int dict_update(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_dict *sources[2] = {NULL, call->all->named};
    umbra_tpl_value from = call->all->count ? call->all->items[0] : umbra_tpl_none();
    int rc = UMBRA_OK;
    *out = umbra_tpl_none();
    if (call->all->count > 1 || (call->all->count == 1 && from.kind != TPL_DICT))
        return umbra_tpl_fail(c, "update() wants one mapping");
    if (call->all->count == 1 && from.u.dict != call->self.u.dict)
        sources[0] = from.u.dict;
    for (int i = 0; i < 2; i++) {
        size_t at = 0;
        for (umbra_tpl_entry *e;
             rc == UMBRA_OK && sources[i] && (e = umbra_tpl_dict_next(sources[i], &at)); at++)
            rc = umbra_tpl_dict_set(c, call->self.u.dict, e->key, e->value);
    }
    return rc == UMBRA_OK ? umbra_tpl_step(c, call->self.u.dict->count) : rc;
}

static int dict_copy(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_dict(c, TPL_DICT, out);
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(call->self.u.dict, &at));
         at++)
        rc = umbra_tpl_dict_set(c, out->u.dict, e->key, e->value);
    return rc == UMBRA_OK ? umbra_tpl_step(c, call->self.u.dict->count) : rc;
}

static int dict_clear(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    (void)c;
    *call->self.u.dict = (umbra_tpl_dict){0};
    *out = umbra_tpl_none();
    return UMBRA_OK;
}

const umbra_tpl_function umbra_tpl_methods_dict[] = {
    {"keys", dict_keys, 0, ""},          {"values", dict_values, 0, ""},
    {"items", dict_items, 0, ""},        {"get", dict_get, 1, "key default"},
    {"pop", dict_pop, 1, "key default"}, {"setdefault", dict_setdefault, 1, "key default"},
    {"update", dict_update, 0, NULL},    {"copy", dict_copy, 0, ""},
    {"clear", dict_clear, 0, ""},        {0},
};
