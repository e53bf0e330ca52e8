/* Members, items and slices of values. */
#include <string.h>

#include "template/render.h"

/* A method of the value's type as a value. */
static int bind_method(tpl_context *c, tpl_value self, const tpl_function *f, tpl_value *out)
{
    tpl_method *m = tpl_alloc(c, 1, sizeof *m);
    if (!m)
        return UMBRA_E_NOMEM;
    *m = (tpl_method){.self = self, .function = f};
    *out = (tpl_value){.kind = TPL_METHOD, .u.method = m};
    return UMBRA_OK;
}

static const char *owner_name(tpl_value v)
{
    static const char *const names[] = {
        [TPL_NONE] = "None",          [TPL_BOOL] = "bool object",  [TPL_INT] = "int object",
        [TPL_FLOAT] = "float object", [TPL_STRING] = "str object", [TPL_LIST] = "list object",
        [TPL_TUPLE] = "tuple object", [TPL_DICT] = "dict object",  [TPL_NAMESPACE] = "namespace",
        [TPL_LOOP] = "loop",
    };
    const char *name = v.kind < sizeof names / sizeof *names ? names[v.kind] : NULL;
    return name ? name : tpl_type_name(v);
}

static int find_entry(tpl_context *c, tpl_value v, const tpl_string *name, tpl_value *out,
                      bool *found)
{
    tpl_value key = {.kind = TPL_STRING, .u.string = name};
    tpl_entry *e = NULL;
    int rc = tpl_dict_find(c, v.u.dict, key, &e);
    *found = e != NULL;
    if (e)
        *out = e->value;
    return rc;
}

/* What the language calls an attribute: methods, members of loops, macros and namespaces. */
static int find_attribute(tpl_context *c, tpl_value v, const tpl_string *name, tpl_value *out,
                          bool *found)
{
    const tpl_function *f = tpl_find_method(v, name);
    *found = f != NULL;
    if (f)
        return bind_method(c, v, f, out);
    if (v.kind == TPL_NAMESPACE)
        return find_entry(c, v, name, out, found);
    if (v.kind == TPL_LOOP)
        return tpl_loop_member(c, v, name, out, found);
    if (v.kind == TPL_MACRO && tpl_text_is(name, "name")) {
        *out = (tpl_value){.kind = TPL_STRING, .u.string = v.u.macro->node->u.name};
        *found = true;
    }
    bool list = tpl_text_is(name, "list");
    if (v.kind == TPL_TUPLE && v.u.list->name && (list || tpl_text_is(name, "grouper"))) {
        *out = v.u.list->items[list]; /* a pair that groupby made */
        *found = true;
    }
    if (v.kind == TPL_CYCLER && tpl_text_is(name, "current")) {
        *out = v.u.list->items[v.u.list->taken];
        *found = true;
    }
    return UMBRA_OK;
}

int tpl_member(tpl_context *c, tpl_value v, const tpl_string *name, tpl_value *out)
{
    bool found;
    if (v.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(c, v);
    int rc = find_attribute(c, v, name, out, &found);
    if (rc == UMBRA_OK && !found && v.kind == TPL_DICT)
        rc = find_entry(c, v, name, out, &found);
    if (rc != UMBRA_OK || found)
        return rc;
    return tpl_undefined(c, owner_name(v), name, out);
}

/* v[i]; *found is false beyond the ends. */
static int find_index(tpl_context *c, tpl_value v, int64_t i, tpl_value *out, bool *found)
{
    int64_t n = 0;
    int rc = tpl_length(c, v, &n);
    i += i < 0 ? n : 0;
    *found = rc == UMBRA_OK && i >= 0 && i < n;
    if (!*found)
        return rc;
    if (v.kind != TPL_STRING) {
        *out = v.u.list->items[i];
        return UMBRA_OK;
    }
    const tpl_string *s = v.u.string;
    size_t at = tpl_char_offset(s, (size_t)i);
    rc = tpl_scan(c, s->chars == s->bytes ? 0 : at);
    return rc == UMBRA_OK ? tpl_part(c, s, at, at + tpl_char_bytes(s->data + at), out) : rc;
}

int tpl_item(tpl_context *c, tpl_value v, tpl_value key, tpl_value *out)
{
    bool found = false;
    int rc = UMBRA_OK;
    int64_t i;
    if (v.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(c, v);
    if (v.kind == TPL_DICT && key.kind != TPL_LIST && key.kind != TPL_DICT) {
        tpl_entry *e = NULL;
        rc = tpl_dict_find(c, v.u.dict, key, &e);
        found = e != NULL;
        if (e)
            *out = e->value;
    } else if (tpl_as_int(key, &i) && (v.kind == TPL_STRING || v.kind == TPL_LIST ||
                                       v.kind == TPL_TUPLE || v.kind == TPL_RANGE)) {
        rc = find_index(c, v, i, out, &found);
    }
    if (rc == UMBRA_OK && !found && key.kind == TPL_STRING)
        rc = find_attribute(c, v, key.u.string, out, &found);
    if (rc != UMBRA_OK || found)
        return rc;
    tpl_value name;
    rc = tpl_to_text(c, key, &name);
    return rc == UMBRA_OK ? tpl_undefined(c, owner_name(v), name.u.string, out) : rc;
}

/* One step of a path: an index where it is a number. */
static int path_step(tpl_context *c, tpl_value v, const tpl_string *name, tpl_value *out)
{
    int64_t i;
    bool digits = name->bytes > 0;
    for (size_t k = 0; k < name->bytes; k++)
        digits = digits && name->data[k] >= '0' && name->data[k] <= '9';
    tpl_value key = {.kind = TPL_STRING, .u.string = name};
    if (digits && tpl_parse_int(name, 10, &i))
        key = tpl_int(i);
    return tpl_item(c, v, key, out);
}

int tpl_path(tpl_context *c, tpl_value v, tpl_value path, tpl_value *out)
{
    if (path.kind != TPL_STRING)
        return tpl_item(c, v, path, out);
    static const tpl_string dot = {.data = ".", .bytes = 1, .chars = 1};
    const tpl_string *s = path.u.string;
    int rc = UMBRA_OK;
    *out = v;
    for (size_t at = 0; rc == UMBRA_OK && at <= s->bytes;) {
        int64_t end = tpl_find(s, &dot, at, s->bytes);
        size_t stop = end < 0 ? s->bytes : (size_t)end;
        tpl_value name;
        rc = tpl_part(c, s, at, stop, &name);
        if (rc == UMBRA_OK)
            rc = path_step(c, *out, name.u.string, out);
        at = stop + 1;
    }
    return rc;
}

static int bound(tpl_context *c, tpl_value v, int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (v.kind == TPL_ABSENT || v.kind == TPL_NONE || tpl_as_int(v, out))
        return UMBRA_OK;
    return v.kind == TPL_UNDEFINED
               ? tpl_fail_undefined(c, v)
               : tpl_fail(c, "slice indices must be integers, not %s", tpl_type_name(v));
}

static int64_t clamp(int64_t i, int64_t n, int64_t least, int64_t most)
{
    i += i < 0 ? n : 0;
    return i < least ? least : i > most ? most : i;
}

/* First, last (not included) and step within n elements. */
static int resolve(tpl_context *c, const tpl_value bounds[3], int64_t n, int64_t *from, int64_t *to,
                   int64_t *step)
{
    int rc = bound(c, bounds[2], 1, step);
    if (rc == UMBRA_OK && *step == 0)
        return tpl_fail(c, "slice step cannot be zero");
    bool back = *step < 0;
    if (rc == UMBRA_OK)
        rc = bound(c, bounds[0], back ? INT64_MAX : 0, from);
    if (rc == UMBRA_OK)
        rc = bound(c, bounds[1], back ? INT64_MIN : INT64_MAX, to);
    if (rc != UMBRA_OK)
        return rc;
    bool open = bounds[1].kind == TPL_ABSENT || bounds[1].kind == TPL_NONE;
    *from = clamp(*from, n, back ? -1 : 0, back ? n - 1 : n);
    *to = back && open ? -1 : clamp(*to, n, back ? -1 : 0, back ? n - 1 : n);
    if (*step > n + 1 || *step < -n - 1)
        *step = back ? -n - 1 : n + 1;
    return UMBRA_OK;
}

static int slice_text(tpl_context *c, const tpl_string *s, int64_t from, int64_t to, int64_t step,
                      tpl_value *out)
{
    int rc = tpl_scan(c, s->bytes);
    if (rc == UMBRA_OK && step == 1) {
        size_t begin = tpl_char_offset(s, (size_t)from), end = tpl_char_offset(s, (size_t)to);
        return tpl_part(c, s, begin, end > begin ? end : begin, out);
    }
    const tpl_value *chars = NULL;
    size_t count;
    tpl_builder b;
    tpl_builder_init(&b, c);
    if (rc == UMBRA_OK)
        rc = tpl_elements(c, (tpl_value){.kind = TPL_STRING, .u.string = s}, &chars, &count);
    for (int64_t i = from; rc == UMBRA_OK && (step > 0 ? i < to : i > to); i += step)
        rc = tpl_put_string(&b, chars[i].u.string);
    return rc == UMBRA_OK ? tpl_built(&b, out) : rc;
}

int tpl_slice(tpl_context *c, tpl_value v, const tpl_value bounds[3], tpl_value *out)
{
    int64_t n = 0, from, to, step;
    if (v.kind == TPL_UNDEFINED)
        return tpl_fail_undefined(c, v);
    if (v.kind != TPL_STRING && v.kind != TPL_LIST && v.kind != TPL_TUPLE && v.kind != TPL_RANGE)
        return tpl_fail(c, "'%s' object cannot be sliced", tpl_type_name(v));
    int rc = tpl_length(c, v, &n);
    if (rc == UMBRA_OK)
        rc = resolve(c, bounds, n, &from, &to, &step);
    if (rc != UMBRA_OK)
        return rc;
    if (v.kind == TPL_STRING)
        return slice_text(c, v.u.string, from, to, step, out);
    rc = tpl_new_list(c, v.kind == TPL_TUPLE ? TPL_TUPLE : TPL_LIST, 0, out);
    for (int64_t i = from; rc == UMBRA_OK && (step > 0 ? i < to : i > to); i += step) {
        rc = tpl_append(c, *out, v.u.list->items[i]);
        rc = rc == UMBRA_OK ? tpl_step(c, 1) : rc;
    }
    return rc;
}
