/* Filters that make text from text. */
#include <string.h>

#include "template/functions.h"
#include "template/strings.h"

#define CHANGE(name, to)                                                                           \
    static int name(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)        \
    {                                                                                              \
        const umbra_tpl_string *s;                                                                 \
        int rc = umbra_tpl_self_text(c, call, &s);                                                 \
        return rc == UMBRA_OK ? umbra_tpl_change_case(c, s, to, out) : rc;                         \
    }

CHANGE(filter_upper, TPL_CASE_UPPER)
CHANGE(filter_lower, TPL_CASE_LOWER)
CHANGE(filter_capitalize, TPL_CASE_CAPITALIZE)
/* Other than the method of that name: words begin behind white space, "-" and brackets. */
CHANGE(filter_title, TPL_CASE_WORDS)

static int filter_trim(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s, *chars = NULL;
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc == UMBRA_OK && call->arg[0].kind != TPL_NONE)
        rc = umbra_tpl_text_argument(c, call, 0, NULL, &chars);
    return rc == UMBRA_OK ? umbra_tpl_strip(c, s, chars, TPL_STRIP_BOTH, out) : rc;
}

static int filter_replace(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s;
    umbra_tpl_value from, to;
    int64_t most = -1;
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_to_text(c, call->arg[0], &from);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_to_text(c, call->arg[1], &to);
    if (rc == UMBRA_OK && call->arg[2].kind != TPL_NONE)
        rc = umbra_tpl_int_argument(c, call, 2, -1, &most);
    return rc == UMBRA_OK ? umbra_tpl_replace(c, s, from.u.string, to.u.string, most, out) : rc;
}

static int put_indent(umbra_tpl_builder *b, const umbra_tpl_call *call)
{
    int64_t width;
    if (call->arg[0].kind == TPL_STRING)
        return umbra_tpl_put_string(b, call->arg[0].u.string);
    int rc = umbra_tpl_int_argument(b->c, call, 0, 4, &width);
    return rc == UMBRA_OK ? umbra_tpl_put_repeated(b, ' ', width, false) : rc;
}

static int filter_indent(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s;
    bool first = umbra_tpl_flag_argument(call, 1, false),
         blank = umbra_tpl_flag_argument(call, 2, false);
    umbra_tpl_value lines = umbra_tpl_none();
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_split_lines(c, s, false, &lines);
    size_t n = rc == UMBRA_OK ? lines.u.list->count : 0;
    /* A line end at the very end stays; the empty line behind it counts as a line. */
    if (rc == UMBRA_OK && (n == 0 || umbra_tpl_ends_line(s))) {
        umbra_tpl_value empty;
        rc = umbra_tpl_word(c, "", &empty);
        rc = rc == UMBRA_OK ? umbra_tpl_append(c, lines, empty) : rc;
        n++;
    }
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        const umbra_tpl_string *line = lines.u.list->items[i].u.string;
        if (i > 0)
            rc = umbra_tpl_put(&b, "\n", 1, s->input && !s->marks);
        if (rc == UMBRA_OK && (i == 0 ? first : blank || line->bytes > 0))
            rc = put_indent(&b, call);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_string(&b, line);
    }
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int filter_string(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return umbra_tpl_to_text(c, call->self, out);
}

static int filter_safe(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s;
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_part(c, s, 0, s->bytes, out);
    if (rc == UMBRA_OK)
        ((umbra_tpl_string *)(uintptr_t)out->u.string)->safe = true;
    return rc;
}

static int filter_escape(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return umbra_tpl_escape(c, call->self, out);
}

static int filter_format(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s;
    umbra_tpl_value values;
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc != UMBRA_OK)
        return rc;
    if (call->all->named) {
        values = (umbra_tpl_value){.kind = TPL_DICT,
                                   .u.dict = (umbra_tpl_dict *)(uintptr_t)call->all->named};
        return umbra_tpl_format_percent(c, s, values, out);
    }
    rc = umbra_tpl_new_list(c, TPL_TUPLE, 0, &values);
    for (size_t i = 0; rc == UMBRA_OK && i < call->all->count; i++)
        rc = umbra_tpl_append(c, values, call->all->items[i]);
    return rc == UMBRA_OK ? umbra_tpl_format_percent(c, s, values, out) : rc;
}

/* Where the last space in bytes [0, end) is, or end. */
static size_t last_space(const umbra_tpl_string *s, size_t end)
{
    for (size_t i = end; i-- > 0;)
        if (s->data[i] == ' ')
            return i;
    return end;
}

static int filter_truncate(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s, *end = NULL;
    int64_t length = 255, leeway = 5;
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_int_argument(c, call, 0, 255, &length);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_text_argument(c, call, 2, "...", &end);
    if (rc == UMBRA_OK && call->arg[3].kind != TPL_NONE)
        rc = umbra_tpl_int_argument(c, call, 3, 5, &leeway);
    if (rc != UMBRA_OK)
        return rc;
    if (length < (int64_t)end->chars || leeway < 0 || length > INT32_MAX || leeway > INT32_MAX)
        return umbra_tpl_fail(c, "truncate() wants a length of at least its end's and a leeway");
    if ((int64_t)s->chars <= length + leeway)
        return umbra_tpl_part(c, s, 0, s->bytes, out);
    size_t stop = umbra_tpl_char_offset(s, (size_t)length - end->chars);
    if (!umbra_tpl_flag_argument(call, 1, false))
        stop = last_space(s, stop);
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    rc = umbra_tpl_put_part(&b, s, 0, stop);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_string(&b, end);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int filter_wordcount(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s;
    int64_t words = 0;
    bool inside = false;
    int rc = umbra_tpl_self_text(c, call, &s);
    for (size_t i = 0; rc == UMBRA_OK && i < s->bytes; i += umbra_tpl_char_bytes(s->data + i)) {
        bool part = umbra_tpl_is_word_char(umbra_tpl_char_at(s->data + i));
        words += part && !inside;
        inside = part;
    }
    *out = umbra_tpl_int(words);
    return rc == UMBRA_OK ? umbra_tpl_scan(c, s->bytes) : rc;
}

static int filter_center(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s;
    int64_t width;
    int rc = umbra_tpl_self_text(c, call, &s);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_int_argument(c, call, 0, 80, &width);
    return rc == UMBRA_OK ? umbra_tpl_pad(c, s, width, ' ', '|', out) : rc;
}

const umbra_tpl_function umbra_tpl_filters_text[] = {
    {"upper", filter_upper, 0, ""},
    {"lower", filter_lower, 0, ""},
    {"capitalize", filter_capitalize, 0, ""},
    {"title", filter_title, 0, ""},
    {"trim", filter_trim, 0, "chars"},
    {"replace", filter_replace, 2, "old new count"},
    {"indent", filter_indent, 0, "width first blank"},
    {"string", filter_string, 0, ""},
    {"safe", filter_safe, 0, ""},
    {"escape", filter_escape, 0, ""},
    {"e", filter_escape, 0, ""},
    {"format", filter_format, 0, NULL},
    {"truncate", filter_truncate, 0, "length killwords end leeway"},
    {"wordcount", filter_wordcount, 0, ""},
    {"center", filter_center, 0, "width"},
    {0},
};
