/* Values: making them, and what can be asked of them. */
#include <string.h>

#include "base/quote.h"
#include "template/value.h"
#include "template/text.h"

umbra_tpl_value umbra_tpl_none(void)
{
    return (umbra_tpl_value){.kind = TPL_NONE};
}

umbra_tpl_value umbra_tpl_bool(bool b)
{
    return (umbra_tpl_value){.kind = TPL_BOOL, .u.boolean = b};
}

umbra_tpl_value umbra_tpl_int(int64_t i)
{
    return (umbra_tpl_value){.kind = TPL_INT, .u.integer = i};
}

umbra_tpl_value umbra_tpl_float(double f)
{
    return (umbra_tpl_value){.kind = TPL_FLOAT, .u.real = f};
}

int umbra_tpl_text(umbra_tpl_context *c, const char *data, size_t bytes, bool input,
                   umbra_tpl_value *out)
{
    umbra_tpl_string *s = umbra_tpl_alloc(c, 1, sizeof *s);
    if (!s)
        return c->err ? c->err->status : UMBRA_E_NOMEM;
    *s = (umbra_tpl_string){.data = data ? data : "", .bytes = bytes, .input = input};
    s->chars = umbra_tpl_count_chars(data, bytes);
    *out = (umbra_tpl_value){.kind = TPL_STRING, .u.string = s};
    return UMBRA_OK;
}

int umbra_tpl_word(umbra_tpl_context *c, const char *text, umbra_tpl_value *out)
{
    return umbra_tpl_text(c, text, strlen(text), false, out);
}

int umbra_tpl_copy_text(umbra_tpl_context *c, const char *data, size_t bytes, bool input,
                        umbra_tpl_value *out)
{
    char *copy = umbra_tpl_alloc(c, bytes, 1);
    if (!copy)
        return UMBRA_E_NOMEM;
    if (bytes)
        memcpy(copy, data, bytes);
    return umbra_tpl_text(c, copy, bytes, input, out);
}

int umbra_tpl_new_list(umbra_tpl_context *c, umbra_tpl_kind kind, size_t room, umbra_tpl_value *out)
{
    umbra_tpl_list *l = umbra_tpl_alloc(c, 1, sizeof *l);
    if (!l)
        return UMBRA_E_NOMEM;
    l->room = room;
    l->items = room ? umbra_tpl_alloc(c, room, sizeof *l->items) : NULL;
    if (room && !l->items)
        return UMBRA_E_NOMEM;
    *out = (umbra_tpl_value){.kind = (uint8_t)kind, .u.list = l};
    return UMBRA_OK;
}

int umbra_tpl_append(umbra_tpl_context *c, umbra_tpl_value list, umbra_tpl_value item)
{
    umbra_tpl_list *l = list.u.list;
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 4;
        umbra_tpl_value *items =
            umbra_tpl_grow(c, l->items, l->room * sizeof *items, room * sizeof *items);
        if (!items)
            return UMBRA_E_NOMEM;
        l->items = items;
        l->room = room;
    }
    l->items[l->count++] = item;
    return UMBRA_OK;
}

void umbra_tpl_turn_around(umbra_tpl_list *l)
{
    for (size_t i = 0; i < l->count / 2; i++) {
        umbra_tpl_value t = l->items[i];
        l->items[i] = l->items[l->count - 1 - i];
        l->items[l->count - 1 - i] = t;
    }
}

int umbra_tpl_pair(umbra_tpl_context *c, umbra_tpl_value first, umbra_tpl_value second,
                   umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_list(c, TPL_TUPLE, 2, out);
    if (rc == UMBRA_OK) {
        out->u.list->items[0] = first;
        out->u.list->items[1] = second;
        out->u.list->count = 2;
    }
    return rc;
}

int umbra_tpl_undefined(umbra_tpl_context *c, const char *owner, const umbra_tpl_string *name,
                        umbra_tpl_value *out)
{
    umbra_tpl_missing *m = umbra_tpl_alloc(c, 1, sizeof *m);
    if (!m)
        return UMBRA_E_NOMEM;
    *m = (umbra_tpl_missing){.owner = owner, .name = name};
    *out = (umbra_tpl_value){.kind = TPL_UNDEFINED, .u.missing = m};
    return UMBRA_OK;
}

int umbra_tpl_fail_undefined(umbra_tpl_context *c, umbra_tpl_value v)
{
    const umbra_tpl_missing *m = v.u.missing;
    umbra_quoted name = umbra_quote(m->name->data, m->name->bytes);
    return m->owner ? umbra_tpl_fail(c, "'%s' has no attribute '%s'", m->owner, name.text)
                    : umbra_tpl_fail(c, "'%s' is undefined", name.text);
}

bool umbra_tpl_is_sequence(umbra_tpl_value v)
{
    return v.kind == TPL_LIST || v.kind == TPL_TUPLE || v.kind == TPL_RANGE || v.kind == TPL_VIEW;
}

bool umbra_tpl_is_number(umbra_tpl_value v)
{
    return v.kind == TPL_INT || v.kind == TPL_FLOAT || v.kind == TPL_BOOL;
}

double umbra_tpl_as_float(umbra_tpl_value v)
{
    return v.kind == TPL_FLOAT ? v.u.real
           : v.kind == TPL_INT ? (double)v.u.integer
                               : (double)v.u.boolean;
}

bool umbra_tpl_as_int(umbra_tpl_value v, int64_t *out)
{
    if (v.kind != TPL_INT && v.kind != TPL_BOOL)
        return false;
    *out = v.kind == TPL_INT ? v.u.integer : (int64_t)v.u.boolean;
    return true;
}

bool umbra_tpl_truth(umbra_tpl_value v)
{
    switch ((umbra_tpl_kind)v.kind) {
    case TPL_ABSENT:
    case TPL_UNDEFINED:
    case TPL_NONE:
        return false;
    case TPL_BOOL:
        return v.u.boolean;
    case TPL_INT:
        return v.u.integer != 0;
    case TPL_FLOAT:
        return v.u.real != 0;
    case TPL_STRING:
        return v.u.string->bytes > 0;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW:
        return v.u.list->count > 0;
    case TPL_DICT:
        return v.u.dict->count > 0;
    default:
        return true;
    }
}

const char *umbra_tpl_type_name(umbra_tpl_value v)
{
    static const char *const names[] = {
        [TPL_ABSENT] = "nothing", [TPL_UNDEFINED] = "Undefined",
        [TPL_NONE] = "NoneType",  [TPL_BOOL] = "bool",
        [TPL_INT] = "int",        [TPL_FLOAT] = "float",
        [TPL_STRING] = "str",     [TPL_LIST] = "list",
        [TPL_TUPLE] = "tuple",    [TPL_RANGE] = "range",
        [TPL_VIEW] = "dict view", [TPL_ITERATOR] = "generator",
        [TPL_DICT] = "dict",      [TPL_NAMESPACE] = "Namespace",
        [TPL_MACRO] = "Macro",    [TPL_FUNCTION] = "function",
        [TPL_METHOD] = "method",  [TPL_LOOP] = "LoopContext",
        [TPL_CYCLER] = "Cycler",  [TPL_JOINER] = "Joiner",
    };
    return names[v.kind];
}

bool umbra_tpl_text_is(const umbra_tpl_string *s, const char *text)
{
    return s->bytes == strlen(text) && memcmp(s->data, text, s->bytes) == 0;
}

static int split_chars(umbra_tpl_context *c, const umbra_tpl_string *s,
                       const umbra_tpl_value **items, size_t *count)
{
    umbra_tpl_value list;
    int rc = umbra_tpl_step(c, s->chars);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, s->chars, &list);
    for (size_t i = 0; rc == UMBRA_OK && i < s->bytes;) {
        size_t n = umbra_tpl_char_bytes(s->data + i);
        umbra_tpl_value one;
        rc = umbra_tpl_part(c, s, i, i + n, &one);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, list, one);
        i += n;
    }
    if (rc == UMBRA_OK) {
        *items = list.u.list->items;
        *count = list.u.list->count;
    }
    return rc;
}

static int dict_keys(umbra_tpl_context *c, const umbra_tpl_dict *d, const umbra_tpl_value **items,
                     size_t *count)
{
    umbra_tpl_value list;
    int rc = umbra_tpl_new_list(c, TPL_LIST, d->count, &list);
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(d, &at)) != NULL; at++)
        rc = umbra_tpl_append(c, list, e->key);
    if (rc == UMBRA_OK) {
        *items = list.u.list->items;
        *count = list.u.list->count;
    }
    return rc;
}

int umbra_tpl_elements(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_value **items,
                       size_t *count)
{
    *items = NULL;
    *count = 0;
    switch ((umbra_tpl_kind)v.kind) {
    case TPL_UNDEFINED:
        return UMBRA_OK;
    case TPL_STRING:
        return split_chars(c, v.u.string, items, count);
    case TPL_DICT:
        return dict_keys(c, v.u.dict, items, count);
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW:
    case TPL_ITERATOR: {
        size_t from = v.kind == TPL_ITERATOR ? v.u.list->taken : 0;
        *items = v.u.list->items ? v.u.list->items + from : NULL;
        *count = v.u.list->count - from;
        if (v.kind == TPL_ITERATOR)
            v.u.list->taken = v.u.list->count;
        return umbra_tpl_step(c, *count);
    }
    default:
        return umbra_tpl_fail(c, "'%s' object is not iterable", umbra_tpl_type_name(v));
    }
}

int umbra_tpl_length(umbra_tpl_context *c, umbra_tpl_value v, int64_t *out)
{
    if (v.kind == TPL_UNDEFINED)
        *out = 0;
    else if (v.kind == TPL_STRING)
        *out = (int64_t)v.u.string->chars;
    else if (v.kind == TPL_DICT)
        *out = (int64_t)v.u.dict->count;
    else if (umbra_tpl_is_sequence(v))
        *out = (int64_t)v.u.list->count;
    else
        return umbra_tpl_fail(c, "object of type '%s' has no len()", umbra_tpl_type_name(v));
    return UMBRA_OK;
}
