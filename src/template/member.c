/* Members, items and slices of values. */
#include <string.h>

#include "template/render.h"

/* A method of the value's type as a value. */
static int bind_method(umbra_tpl_context *c, umbra_tpl_value self, const umbra_tpl_function *f,
                       umbra_tpl_value *out)
{
    umbra_tpl_method *m = umbra_tpl_alloc(c, 1, sizeof *m);
    if (!m)
        return UMBRA_E_NOMEM;
    *m = (umbra_tpl_method){.self = self, .function = f};
    *out = (umbra_tpl_value){.kind = TPL_METHOD, .u.method = m};
    return UMBRA_OK;
}

static const char *owner_name(umbra_tpl_value v)
{
    static const char *const names[] = {
        [TPL_NONE] = "None",          [TPL_BOOL] = "bool object",  [TPL_INT] = "int object",
        [TPL_FLOAT] = "float object", [TPL_STRING] = "str object", [TPL_LIST] = "list object",
        [TPL_TUPLE] = "tuple object", [TPL_DICT] = "dict object",  [TPL_NAMESPACE] = "namespace",
        [TPL_LOOP] = "loop",
    };
    const char *name = v.kind < sizeof names / sizeof *names ? names[v.kind] : NULL;
    return name ? name : umbra_tpl_type_name(v);
}

static int find_entry(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_string *name,
                      umbra_tpl_value *out, bool *found)
{
    umbra_tpl_value key = {.kind = TPL_STRING, .u.string = name};
    umbra_tpl_entry *e = NULL;
    int rc = umbra_tpl_dict_find(c, v.u.dict, key, &e);
    *found = e != NULL;
    if (e)
        *out = e->value;
    return rc;
}

/* What the language calls an attribute: methods, members of loops, macros and namespaces. */
static int find_attribute(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_string *name,
                          umbra_tpl_value *out, bool *found)
{
    const umbra_tpl_function *f = umbra_tpl_find_method(v, name);
    *found = f != NULL;
    if (f)
        return bind_method(c, v, f, out);
    if (v.kind == TPL_NAMESPACE)
        return find_entry(c, v, name, out, found);
    if (v.kind == TPL_LOOP)
        return umbra_tpl_loop_member(c, v, name, out, found);
    if (v.kind == TPL_MACRO && umbra_tpl_text_is(name, "name")) {
        *out = (umbra_tpl_value){.kind = TPL_STRING, .u.string = v.u.macro->node->u.name};
        *found = true;
    }
    bool list = umbra_tpl_text_is(name, "list");
    if (v.kind == TPL_TUPLE && v.u.list->name && (list || umbra_tpl_text_is(name, "grouper"))) {
        *out = v.u.list->items[list]; /* a pair that groupby made */
        *found = true;
    }
    if (v.kind == TPL_CYCLER && umbra_tpl_text_is(name, "current")) {
        *out = v.u.list->items[v.u.list->taken];
        *found = true;
    }
    return UMBRA_OK;
}

int umbra_tpl_member(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_string *name,
                     umbra_tpl_value *out)
{
    bool found;
    if (v.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, v);
    int rc = find_attribute(c, v, name, out, &found);
    if (rc == UMBRA_OK && !found && v.kind == TPL_DICT)
        rc = find_entry(c, v, name, out, &found);
    if (rc != UMBRA_OK || found)
        return rc;
    return umbra_tpl_undefined(c, owner_name(v), name, out);
}

/* v[i]; *found is false beyond the ends. */
static int find_index(umbra_tpl_context *c, umbra_tpl_value v, int64_t i, umbra_tpl_value *out,
                      bool *found)
{
    int64_t n = 0;
    int rc = umbra_tpl_length(c, v, &n);
    i += i < 0 ? n : 0;
    *found = rc == UMBRA_OK && i >= 0 && i < n;
    if (!*found)
        return rc;
    if (v.kind != TPL_STRING) {
        *out = v.u.list->items[i];
        return UMBRA_OK;
    }
    const umbra_tpl_string *s = v.u.string;
    size_t at = umbra_tpl_char_offset(s, (size_t)i);
    rc = umbra_tpl_scan(c, s->chars == s->bytes ? 0 : at);
    return rc == UMBRA_OK ? umbra_tpl_part(c, s, at, at + umbra_tpl_char_bytes(s->data + at), out)
                          : rc;
}

int umbra_tpl_item(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value key,
                   umbra_tpl_value *out)
{
    bool found = false;
    int rc = UMBRA_OK;
    int64_t i;
    if (v.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, v);
    if (v.kind == TPL_DICT && key.kind != TPL_LIST && key.kind != TPL_DICT) {
        umbra_tpl_entry *e = NULL;
        rc = umbra_tpl_dict_find(c, v.u.dict, key, &e);
        found = e != NULL;
        if (e)
            *out = e->value;
    } else if (umbra_tpl_as_int(key, &i) && (v.kind == TPL_STRING || v.kind == TPL_LIST ||
                                             v.kind == TPL_TUPLE || v.kind == TPL_RANGE)) {
        rc = find_index(c, v, i, out, &found);
    }
    if (rc == UMBRA_OK && !found && key.kind == TPL_STRING)
        rc = find_attribute(c, v, key.u.string, out, &found);
    if (rc != UMBRA_OK || found)
        return rc;
    umbra_tpl_value name;
    rc = umbra_tpl_to_text(c, key, &name);
    return rc == UMBRA_OK ? umbra_tpl_undefined(c, owner_name(v), name.u.string, out) : rc;
}

/* One step of a path: an index where it is a number. */
static int path_step(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_string *name,
                     umbra_tpl_value *out)
{
    int64_t i;
    bool digits = name->bytes > 0;
    for (size_t k = 0; k < name->bytes; k++)
        digits = digits && name->data[k] >= '0' && name->data[k] <= '9';
    umbra_tpl_value key = {.kind = TPL_STRING, .u.string = name};
    if (digits && umbra_tpl_parse_int(name, 10, &i))
        key = umbra_tpl_int(i);
    return umbra_tpl_item(c, v, key, out);
}

int umbra_tpl_path(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value path,
                   umbra_tpl_value *out)
{
    if (path.kind != TPL_STRING)
        return umbra_tpl_item(c, v, path, out);
    static const umbra_tpl_string dot = {.data = ".", .bytes = 1, .chars = 1};
    const umbra_tpl_string *s = path.u.string;
    int rc = UMBRA_OK;
    *out = v;
    for (size_t at = 0; rc == UMBRA_OK && at <= s->bytes;) {
        int64_t end = umbra_tpl_find(s, &dot, at, s->bytes);
        size_t stop = end < 0 ? s->bytes : (size_t)end;
        umbra_tpl_value name;
        rc = umbra_tpl_part(c, s, at, stop, &name);
        if (rc == UMBRA_OK)
            rc = path_step(c, *out, name.u.string, out);
        at = stop + 1;
    }
    return rc;
}

static int bound(umbra_tpl_context *c, umbra_tpl_value v, int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (v.kind == TPL_ABSENT || v.kind == TPL_NONE || umbra_tpl_as_int(v, out))
        return UMBRA_OK;
    return v.kind == TPL_UNDEFINED ? umbra_tpl_fail_undefined(c, v)
                                   : umbra_tpl_fail(c, "slice indices must be integers, not %s",
                                                    umbra_tpl_type_name(v));
}

static int64_t clamp(int64_t i, int64_t n, int64_t least, int64_t most)
{
    i += i < 0 ? n : 0;
    return i < least ? least : i > most ? most : i;
}

/* First, last (not included) and step within n elements. */
static int resolve(umbra_tpl_context *c, const umbra_tpl_value bounds[3], int64_t n, int64_t *from,
                   int64_t *to, int64_t *step)
{
    int rc = bound(c, bounds[2], 1, step);
    if (rc == UMBRA_OK && *step == 0)
        return umbra_tpl_fail(c, "slice step cannot be zero");
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

static int slice_text(umbra_tpl_context *c, const umbra_tpl_string *s, int64_t from, int64_t to,
                      int64_t step, umbra_tpl_value *out)
{
    int rc = umbra_tpl_scan(c, s->bytes);
    if (rc == UMBRA_OK && step == 1) {
        size_t begin = umbra_tpl_char_offset(s, (size_t)from),
               end = umbra_tpl_char_offset(s, (size_t)to);
        return umbra_tpl_part(c, s, begin, end > begin ? end : begin, out);
    }
    const umbra_tpl_value *chars = NULL;
    size_t count;
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_elements(c, (umbra_tpl_value){.kind = TPL_STRING, .u.string = s}, &chars,
                                &count);
    for (int64_t i = from; rc == UMBRA_OK && (step > 0 ? i < to : i > to); i += step)
        rc = umbra_tpl_put_string(&b, chars[i].u.string);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

int umbra_tpl_slice(umbra_tpl_context *c, umbra_tpl_value v, const umbra_tpl_value bounds[3],
                    umbra_tpl_value *out)
{
    int64_t n = 0, from, to, step;
    if (v.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, v);
    if (v.kind != TPL_STRING && v.kind != TPL_LIST && v.kind != TPL_TUPLE && v.kind != TPL_RANGE)
        return umbra_tpl_fail(c, "'%s' object cannot be sliced", umbra_tpl_type_name(v));
    int rc = umbra_tpl_length(c, v, &n);
    if (rc == UMBRA_OK)
        rc = resolve(c, bounds, n, &from, &to, &step);
    if (rc != UMBRA_OK)
        return rc;
    if (v.kind == TPL_STRING)
        return slice_text(c, v.u.string, from, to, step, out);
    rc = umbra_tpl_new_list(c, v.kind == TPL_TUPLE ? TPL_TUPLE : TPL_LIST, 0, out);
    for (int64_t i = from; rc == UMBRA_OK && (step > 0 ? i < to : i > to); i += step) {
        rc = umbra_tpl_append(c, *out, v.u.list->items[i]);
        rc = rc == UMBRA_OK ? umbra_tpl_step(c, 1) : rc;
    }
    return rc;
}
