/* Values as JSON, laid out as Python's json.dumps does. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template/functions.h"

typedef struct json {
    umbra_tpl_builder b;
    bool ascii, sort, lines;
    const umbra_tpl_string *indent; /* of one level, with `lines` */
    const umbra_tpl_string *comma, *colon;
    int64_t level;
    bool input; /* any of the values was given by the caller: then all of the text counts as such */
} json;

static int put_value(json *j, umbra_tpl_value v);

static int put(json *j, const char *text)
{
    return umbra_tpl_put_word(&j->b, text, j->input);
}

static int put_text(json *j, const umbra_tpl_string *s)
{
    return umbra_tpl_put(&j->b, s->data, s->bytes, j->input);
}

static int put_code(json *j, uint32_t code)
{
    char text[16];
    if (code >= 0x10000)
        snprintf(text, sizeof text, "\\u%04" PRIx32 "\\u%04" PRIx32,
                 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
    else
        snprintf(text, sizeof text, "\\u%04" PRIx32, code);
    return put(j, text);
}

static int put_char(json *j, const char *at)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    char text[3] = "\\";
    const char *simple = *at ? strchr(from, *at) : NULL;
    uint32_t code = umbra_tpl_char_at(at);
    if (simple) {
        text[1] = to[simple - from];
        return put(j, text);
    }
    if (code < 0x20 || (j->ascii && code >= 0x7f))
        return put_code(j, code);
    return umbra_tpl_put(&j->b, at, umbra_tpl_char_bytes(at), j->input);
}

static int put_string(json *j, const umbra_tpl_string *s)
{
    int rc = put(j, "\"");
    for (size_t i = 0; rc == UMBRA_OK && i < s->bytes; i += umbra_tpl_char_bytes(s->data + i))
        rc = put_char(j, s->data + i);
    return rc == UMBRA_OK ? put(j, "\"") : rc;
}

static int put_float(json *j, double f)
{
    char text[TPL_FLOAT_BYTES];
    umbra_tpl_print_float(text, f);
    return put(j, isnan(f) ? "NaN" : isinf(f) ? (f > 0 ? "Infinity" : "-Infinity") : text);
}

static int put_int(json *j, int64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, i);
    return put(j, text);
}

static int put_line(json *j)
{
    int rc = j->lines ? put(j, "\n") : UMBRA_OK;
    for (int64_t i = 0; rc == UMBRA_OK && j->lines && i < j->level; i++)
        rc = put_text(j, j->indent);
    return rc;
}

/* Before an element: the comma if it is not the first, and a new line. */
static int put_separator(json *j, bool first)
{
    int rc = first ? UMBRA_OK : put_text(j, j->comma);
    return rc == UMBRA_OK ? put_line(j) : rc;
}

static int put_list(json *j, const umbra_tpl_list *l)
{
    if (l->count == 0)
        return put(j, "[]");
    int rc = put(j, "[");
    j->level++;
    for (size_t i = 0; rc == UMBRA_OK && i < l->count; i++) {
        rc = put_separator(j, i == 0);
        if (rc == UMBRA_OK)
            rc = put_value(j, l->items[i]);
    }
    j->level--;
    if (rc == UMBRA_OK)
        rc = put_line(j);
    return rc == UMBRA_OK ? put(j, "]") : rc;
}

static int put_key(json *j, umbra_tpl_value key)
{
    static const char *const words[] = {"\"false\"", "\"true\"", "\"null\""};
    if (key.kind == TPL_STRING)
        return put_string(j, key.u.string);
    if (key.kind == TPL_BOOL || key.kind == TPL_NONE)
        return put(j, words[key.kind == TPL_NONE ? 2 : key.u.boolean]);
    if (key.kind != TPL_INT && key.kind != TPL_FLOAT)
        return umbra_tpl_fail(j->b.c, "keys must be str, int, float, bool or None, not %s",
                              umbra_tpl_type_name(key));
    int rc = put(j, "\"");
    if (rc == UMBRA_OK)
        rc = put_value(j, key);
    return rc == UMBRA_OK ? put(j, "\"") : rc;
}

/* The pairs in order; sorted by key if that is wanted. */
static int pairs_of(json *j, const umbra_tpl_dict *d, umbra_tpl_value *keys,
                    umbra_tpl_value *values)
{
    umbra_tpl_context *c = j->b.c;
    int rc = umbra_tpl_new_list(c, TPL_LIST, d->count, keys);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, d->count, values);
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(d, &at)) != NULL; at++) {
        rc = umbra_tpl_append(c, *keys, e->key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *values, e->value);
    }
    if (rc == UMBRA_OK && j->sort)
        rc = umbra_tpl_sort(c, values->u.list->items, keys->u.list->items, d->count, false);
    return rc;
}

static int put_dict(json *j, const umbra_tpl_dict *d)
{
    umbra_tpl_value keys, values;
    if (d->count == 0)
        return put(j, "{}");
    int rc = pairs_of(j, d, &keys, &values);
    if (rc == UMBRA_OK)
        rc = put(j, "{");
    j->level++;
    for (size_t i = 0; rc == UMBRA_OK && i < d->count; i++) {
        rc = put_separator(j, i == 0);
        if (rc == UMBRA_OK)
            rc = put_key(j, keys.u.list->items[i]);
        if (rc == UMBRA_OK)
            rc = put_text(j, j->colon);
        if (rc == UMBRA_OK)
            rc = put_value(j, values.u.list->items[i]);
    }
    j->level--;
    if (rc == UMBRA_OK)
        rc = put_line(j);
    return rc == UMBRA_OK ? put(j, "}") : rc;
}

static int put_inside(json *j, umbra_tpl_value v)
{
    switch ((umbra_tpl_kind)v.kind) {
    case TPL_NONE:
        return put(j, "null");
    case TPL_BOOL:
        return put(j, v.u.boolean ? "true" : "false");
    case TPL_INT:
        return put_int(j, v.u.integer);
    case TPL_FLOAT:
        return put_float(j, v.u.real);
    case TPL_STRING:
        return put_string(j, v.u.string);
    case TPL_LIST:
    case TPL_TUPLE:
        return put_list(j, v.u.list);
    case TPL_DICT:
        return put_dict(j, v.u.dict);
    default:
        return umbra_tpl_fail(j->b.c, "Object of type %s is not JSON serializable",
                              umbra_tpl_type_name(v));
    }
}

static int put_value(json *j, umbra_tpl_value v)
{
    int rc = umbra_tpl_step(j->b.c, 1);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_enter(j->b.c);
    if (rc != UMBRA_OK)
        return rc;
    rc = put_inside(j, v);
    umbra_tpl_leave(j->b.c);
    return rc;
}

/* Whether anything in the value stems from the caller. */
static int has_input(umbra_tpl_context *c, umbra_tpl_value v, bool *out)
{
    int rc = umbra_tpl_step(c, 1);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    *out = v.kind == TPL_STRING ? v.u.string->input : v.input;
    if (v.kind == TPL_LIST || v.kind == TPL_TUPLE)
        for (size_t i = 0; rc == UMBRA_OK && !*out && i < v.u.list->count; i++)
            rc = has_input(c, v.u.list->items[i], out);
    size_t at = 0;
    if (v.kind == TPL_DICT)
        for (umbra_tpl_entry *e;
             rc == UMBRA_OK && !*out && (e = umbra_tpl_dict_next(v.u.dict, &at)); at++) {
            rc = has_input(c, e->key, out);
            if (rc == UMBRA_OK && !*out)
                rc = has_input(c, e->value, out);
        }
    umbra_tpl_leave(c);
    return rc;
}

static int read_indent(umbra_tpl_context *c, umbra_tpl_value v, json *j)
{
    umbra_tpl_value text;
    int64_t width;
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    j->lines = umbra_tpl_given(v) && v.kind != TPL_NONE;
    if (!j->lines)
        return UMBRA_OK;
    if (v.kind == TPL_STRING) {
        j->indent = v.u.string;
        return UMBRA_OK;
    }
    if (!umbra_tpl_as_int(v, &width))
        return umbra_tpl_fail(c, "tojson() wants an integer or a string as indent");
    int rc = umbra_tpl_put_repeated(&b, ' ', width, false);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_built(&b, &text);
    if (rc == UMBRA_OK)
        j->indent = text.u.string;
    return rc;
}

static int read_separators(umbra_tpl_context *c, umbra_tpl_value v, json *j)
{
    static const umbra_tpl_string comma = {.data = ", ", .bytes = 2},
                                  colon = {.data = ": ", .bytes = 2},
                                  bare = {.data = ",", .bytes = 1};
    j->comma = j->lines ? &bare : &comma;
    j->colon = &colon;
    if (!umbra_tpl_given(v) || v.kind == TPL_NONE)
        return UMBRA_OK;
    bool pair = (v.kind == TPL_TUPLE || v.kind == TPL_LIST) && v.u.list->count == 2 &&
                v.u.list->items[0].kind == TPL_STRING && v.u.list->items[1].kind == TPL_STRING;
    if (!pair)
        return umbra_tpl_fail(c, "tojson() wants a pair of strings as separators");
    j->comma = v.u.list->items[0].u.string;
    j->colon = v.u.list->items[1].u.string;
    return UMBRA_OK;
}

int umbra_tpl_to_json(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    json j = {.ascii = umbra_tpl_flag_argument(call, 0, false),
              .sort = umbra_tpl_flag_argument(call, 3, false)};
    umbra_tpl_builder_init(&j.b, c);
    int rc = read_indent(c, call->arg[1], &j);
    if (rc == UMBRA_OK)
        rc = read_separators(c, call->arg[2], &j);
    if (rc == UMBRA_OK)
        rc = has_input(c, call->self, &j.input);
    if (rc == UMBRA_OK)
        rc = put_value(&j, call->self);
    return rc == UMBRA_OK ? umbra_tpl_built(&j.b, out) : rc;
}
