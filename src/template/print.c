/* Values as text, as Python's str and repr write them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/text.h"

/* The shortest digits that read back as f, as "d.ddde+XX". */
static void shortest(char *out, size_t size, double f)
{
    for (int digits = 0; digits <= 16; digits++) {
        snprintf(out, size, "%.*e", digits, f);
        if (strtod(out, NULL) == f)
            return;
    }
}

void umbra_tpl_print_float(char out[TPL_FLOAT_BYTES], double f)
{
    if (!isfinite(f)) {
        snprintf(out, TPL_FLOAT_BYTES, "%s", isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    char e[TPL_FLOAT_BYTES];
    shortest(e, sizeof e, f);
    char *exponent_at = strchr(e, 'e');
    int exponent = atoi(exponent_at + 1);
    int digits = (int)(exponent_at - e) - (e[0] == '-');
    digits = digits > 1 ? digits - 1 : 1;
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        snprintf(out, TPL_FLOAT_BYTES, "%.*f", decimals > 1 ? decimals : 1, f);
    } else {
        snprintf(out, TPL_FLOAT_BYTES, "%s", e);
    }
}

static int put_escaped(umbra_tpl_builder *b, uint32_t code, bool input)
{
    static const char from[] = "\n\r\t\\", to[] = "nrt\\";
    char text[16];
    const char *simple = code && code < 0x80 ? strchr(from, (int)code) : NULL;
    if (simple)
        snprintf(text, sizeof text, "\\%c", to[simple - from]);
    else if (code <= 0xff)
        snprintf(text, sizeof text, "\\x%02" PRIx32, code);
    else if (code <= 0xffff)
        snprintf(text, sizeof text, "\\u%04" PRIx32, code);
    else
        snprintf(text, sizeof text, "\\U%08" PRIx32, code);
    return umbra_tpl_put_word(b, text, input);
}

static int put_quoted(umbra_tpl_builder *b, const umbra_tpl_string *s)
{
    bool single = memchr(s->data, '\'', s->bytes) != NULL;
    bool twice = memchr(s->data, '"', s->bytes) != NULL;
    char quote = single && !twice ? '"' : '\'';
    int rc = umbra_tpl_put(b, &quote, 1, s->input);
    for (size_t i = 0, n; rc == UMBRA_OK && i < s->bytes; i += n) {
        n = umbra_tpl_char_bytes(s->data + i);
        uint32_t code = umbra_tpl_char_at(s->data + i);
        bool input = s->marks ? s->marks[i] : s->input;
        if (code == (unsigned char)quote && (rc = umbra_tpl_put(b, "\\", 1, input)) != UMBRA_OK)
            break;
        rc = code == '\\' || !umbra_tpl_is_printable(code) ? put_escaped(b, code, input)
                                                           : umbra_tpl_put_part(b, s, i, i + n);
    }
    return rc == UMBRA_OK ? umbra_tpl_put(b, &quote, 1, s->input) : rc;
}

static int put_items(umbra_tpl_builder *b, const umbra_tpl_list *l, const char *open,
                     const char *close)
{
    int rc = umbra_tpl_put_word(b, open, false);
    for (size_t i = 0; rc == UMBRA_OK && i < l->count; i++) {
        if (i > 0)
            rc = umbra_tpl_put_word(b, ", ", false);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_repr(b, l->items[i]);
    }
    return rc == UMBRA_OK ? umbra_tpl_put_word(b, close, false) : rc;
}

static int put_dict(umbra_tpl_builder *b, const umbra_tpl_dict *d)
{
    int rc = umbra_tpl_put_word(b, "{", false);
    size_t at = 0;
    bool first = true;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(d, &at)) != NULL;
         at++, first = false) {
        if (!first)
            rc = umbra_tpl_put_word(b, ", ", false);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_repr(b, e->key);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_word(b, ": ", false);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_repr(b, e->value);
    }
    return rc == UMBRA_OK ? umbra_tpl_put_word(b, "}", false) : rc;
}

static int put_scalar(umbra_tpl_builder *b, umbra_tpl_value v)
{
    char text[TPL_FLOAT_BYTES];
    if (v.kind == TPL_NONE)
        return umbra_tpl_put_word(b, "None", v.input);
    if (v.kind == TPL_BOOL)
        return umbra_tpl_put_word(b, v.u.boolean ? "True" : "False", v.input);
    if (v.kind == TPL_INT)
        snprintf(text, sizeof text, "%" PRId64, v.u.integer);
    else
        umbra_tpl_print_float(text, v.u.real);
    return umbra_tpl_put_word(b, text, v.input);
}

static int put_named(umbra_tpl_builder *b, const char *before, const char *name, const char *after)
{
    int rc = umbra_tpl_put_word(b, before, false);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_word(b, name, false);
    return rc == UMBRA_OK ? umbra_tpl_put_word(b, after, false) : rc;
}

static int put_view(umbra_tpl_builder *b, const umbra_tpl_list *l)
{
    int rc = umbra_tpl_put_word(b, l->name, false);
    return rc == UMBRA_OK ? put_items(b, l, "([", "])") : rc;
}

static int put_any(umbra_tpl_builder *b, umbra_tpl_value v)
{
    switch ((umbra_tpl_kind)v.kind) {
    case TPL_ABSENT:
        return UMBRA_OK;
    case TPL_UNDEFINED:
        return umbra_tpl_put_word(b, "Undefined", false);
    case TPL_NONE:
    case TPL_BOOL:
    case TPL_INT:
    case TPL_FLOAT:
        return put_scalar(b, v);
    case TPL_STRING:
        return put_quoted(b, v.u.string);
    case TPL_LIST:
        return put_items(b, v.u.list, "[", "]");
    case TPL_TUPLE:
        return put_items(b, v.u.list, "(", v.u.list->count == 1 ? ",)" : ")");
    case TPL_RANGE:
        return umbra_tpl_put_word(b, v.u.list->name, false);
    case TPL_VIEW:
        return put_view(b, v.u.list);
    case TPL_DICT:
        return put_dict(b, v.u.dict);
    case TPL_NAMESPACE: {
        int rc = umbra_tpl_put_word(b, "<Namespace ", false);
        if (rc == UMBRA_OK)
            rc = put_dict(b, v.u.dict);
        return rc == UMBRA_OK ? umbra_tpl_put_word(b, ">", false) : rc;
    }
    default:
        return put_named(b, "<", umbra_tpl_type_name(v), ">");
    }
}

int umbra_tpl_put_repr(umbra_tpl_builder *b, umbra_tpl_value v)
{
    int rc = umbra_tpl_step(b->c, 1);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_enter(b->c);
    if (rc != UMBRA_OK)
        return rc;
    rc = put_any(b, v);
    umbra_tpl_leave(b->c);
    return rc;
}

int umbra_tpl_put_value(umbra_tpl_builder *b, umbra_tpl_value v)
{
    if (v.kind == TPL_STRING)
        return umbra_tpl_put_string(b, v.u.string);
    if (v.kind == TPL_UNDEFINED)
        return UMBRA_OK;
    return umbra_tpl_put_repr(b, v);
}

int umbra_tpl_to_text(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out)
{
    if (v.kind == TPL_STRING) {
        *out = v;
        return UMBRA_OK;
    }
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_put_value(&b, v);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}
