/* Methods of strings that make other strings. */
#include <string.h>

#include "template/functions.h"
#include "template/strings.h"

#define CHANGE(name, to)                                                                           \
    static int name(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)        \
    {                                                                                              \
        return umbra_tpl_change_case(c, call->self.u.string, to, out);                             \
    }

CHANGE(string_upper, TPL_CASE_UPPER)
CHANGE(string_lower, TPL_CASE_LOWER)
CHANGE(string_capitalize, TPL_CASE_CAPITALIZE)
CHANGE(string_title, TPL_CASE_TITLE)
CHANGE(string_swapcase, TPL_CASE_SWAP)

static int strip(umbra_tpl_context *c, const umbra_tpl_call *call, int sides, umbra_tpl_value *out)
{
    const umbra_tpl_string *chars = NULL;
    int rc = call->arg[0].kind == TPL_NONE ? UMBRA_OK
                                           : umbra_tpl_text_argument(c, call, 0, NULL, &chars);
    return rc == UMBRA_OK ? umbra_tpl_strip(c, call->self.u.string, chars, sides, out) : rc;
}

static int string_strip(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return strip(c, call, TPL_STRIP_BOTH, out);
}

static int string_lstrip(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return strip(c, call, TPL_STRIP_LEFT, out);
}

static int string_rstrip(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return strip(c, call, TPL_STRIP_RIGHT, out);
}

static int string_replace(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *from, *to;
    int64_t most;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &from);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_text_argument(c, call, 1, NULL, &to);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_int_argument(c, call, 2, -1, &most);
    return rc == UMBRA_OK ? umbra_tpl_replace(c, call->self.u.string, from, to, most, out) : rc;
}

static int add_part(umbra_tpl_context *c, umbra_tpl_value list, const umbra_tpl_string *s,
                    size_t begin, size_t end)
{
    umbra_tpl_value part;
    int rc = umbra_tpl_part(c, s, begin, end, &part);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_append(c, list, part);
    return rc == UMBRA_OK ? umbra_tpl_step(c, 1) : rc;
}

/* Words between white space. With a limit, what is left keeps its white space inside. */
static int split_words(umbra_tpl_context *c, const umbra_tpl_string *s, int64_t most,
                       umbra_tpl_value list)
{
    int rc = UMBRA_OK;
    size_t at = 0;
    for (int64_t done = 0; rc == UMBRA_OK; done++) {
        while (at < s->bytes && umbra_tpl_is_space(umbra_tpl_char_at(s->data + at)))
            at += umbra_tpl_char_bytes(s->data + at);
        if (at == s->bytes)
            break;
        size_t begin = at;
        if (most >= 0 && done >= most)
            return add_part(c, list, s, begin, s->bytes);
        while (at < s->bytes && !umbra_tpl_is_space(umbra_tpl_char_at(s->data + at)))
            at += umbra_tpl_char_bytes(s->data + at);
        rc = add_part(c, list, s, begin, at);
    }
    return rc;
}

static int split_at(umbra_tpl_context *c, const umbra_tpl_string *s,
                    const umbra_tpl_string *at_text, int64_t most, umbra_tpl_value list)
{
    int rc = UMBRA_OK;
    size_t begin = 0;
    for (int64_t done = 0; rc == UMBRA_OK && (most < 0 || done < most); done++) {
        int64_t found = umbra_tpl_find(s, at_text, begin, s->bytes);
        if (found < 0)
            break;
        rc = add_part(c, list, s, begin, (size_t)found);
        begin = (size_t)found + at_text->bytes;
    }
    return rc == UMBRA_OK ? add_part(c, list, s, begin, s->bytes) : rc;
}

static int split_at_last(umbra_tpl_context *c, const umbra_tpl_string *s,
                         const umbra_tpl_string *at_text, int64_t most, umbra_tpl_value list)
{
    int rc = UMBRA_OK;
    size_t end = s->bytes;
    for (int64_t done = 0; rc == UMBRA_OK && (most < 0 || done < most); done++) {
        int64_t found;
        rc = umbra_tpl_find_last(c, s, at_text, 0, end, &found);
        if (rc != UMBRA_OK || found < 0)
            break;
        rc = add_part(c, list, s, (size_t)found + at_text->bytes, end);
        end = (size_t)found;
    }
    if (rc == UMBRA_OK)
        rc = add_part(c, list, s, 0, end);
    umbra_tpl_turn_around(list.u.list);
    return rc;
}

/* The last words, and before them the rest with its white space inside. */
static int split_last_words(umbra_tpl_context *c, const umbra_tpl_string *s, int64_t most,
                            umbra_tpl_value list)
{
    umbra_tpl_value words;
    int rc = umbra_tpl_new_list(c, TPL_LIST, 0, &words);
    if (rc == UMBRA_OK)
        rc = split_words(c, s, -1, words);
    size_t n = rc == UMBRA_OK ? words.u.list->count : 0;
    size_t alone = most < 0 || (size_t)most > n ? n : (size_t)most;
    if (rc == UMBRA_OK && alone < n) {
        const umbra_tpl_string *first = words.u.list->items[0].u.string;
        const umbra_tpl_string *last = words.u.list->items[n - alone - 1].u.string;
        size_t begin = (size_t)(first->data - s->data);
        rc = add_part(c, list, s, begin, (size_t)(last->data - s->data) + last->bytes);
    }
    for (size_t i = n - alone; rc == UMBRA_OK && i < n; i++)
        rc = umbra_tpl_append(c, list, words.u.list->items[i]);
    return rc;
}

static int split(umbra_tpl_context *c, const umbra_tpl_call *call, bool last, umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string, *between = NULL;
    int64_t most;
    int rc = call->arg[0].kind == TPL_NONE ? UMBRA_OK
                                           : umbra_tpl_text_argument(c, call, 0, NULL, &between);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_int_argument(c, call, 1, -1, &most);
    if (rc == UMBRA_OK && between && between->bytes == 0)
        return umbra_tpl_fail(c, "%s() wants a separator that is not empty", call->name);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_LIST, 0, out);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_scan(c, s->bytes);
    if (rc != UMBRA_OK)
        return rc;
    if (between)
        return last ? split_at_last(c, s, between, most, *out)
                    : split_at(c, s, between, most, *out);
    return last ? split_last_words(c, s, most, *out) : split_words(c, s, most, *out);
}

static int string_split(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return split(c, call, false, out);
}

static int string_rsplit(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return split(c, call, true, out);
}

static int string_splitlines(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return umbra_tpl_split_lines(c, call->self.u.string, umbra_tpl_flag_argument(call, 0, false),
                                 out);
}

/* A triple: before, the separator, behind; without one all is before (or, `last`, behind). */
static int partition(umbra_tpl_context *c, const umbra_tpl_call *call, bool last,
                     umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string, *between;
    int64_t found = -1;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &between);
    if (rc == UMBRA_OK && between->bytes == 0)
        return umbra_tpl_fail(c, "%s() wants a separator that is not empty", call->name);
    if (rc == UMBRA_OK && last)
        rc = umbra_tpl_find_last(c, s, between, 0, s->bytes, &found);
    else if (rc == UMBRA_OK)
        found = umbra_tpl_find(s, between, 0, s->bytes);
    size_t end = found >= 0 ? (size_t)found : last ? 0 : s->bytes;
    size_t next = found >= 0 ? end + between->bytes : end;
    if (rc == UMBRA_OK)
        rc = umbra_tpl_new_list(c, TPL_TUPLE, 3, out);
    if (rc == UMBRA_OK)
        rc = add_part(c, *out, s, 0, end);
    if (rc == UMBRA_OK)
        rc = add_part(c, *out, s, end, next);
    if (rc == UMBRA_OK)
        rc = add_part(c, *out, s, next, s->bytes);
    return rc == UMBRA_OK ? umbra_tpl_scan(c, s->bytes) : rc;
}

static int string_partition(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return partition(c, call, false, out);
}

static int string_rpartition(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return partition(c, call, true, out);
}

static int string_join(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_value *items;
    size_t n;
    int rc = umbra_tpl_elements(c, call->arg[0], &items, &n);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++)
        if (items[i].kind != TPL_STRING)
            rc = umbra_tpl_fail(c, "join() wants strings, element %zu is %s", i,
                                umbra_tpl_type_name(items[i]));
    return rc == UMBRA_OK ? umbra_tpl_join(c, call->self.u.string, items, n, out) : rc;
}

static int string_format(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return umbra_tpl_format_braces(c, call->self.u.string, call->all, out);
}

static int pad(umbra_tpl_context *c, const umbra_tpl_call *call, char side, umbra_tpl_value *out)
{
    int64_t width;
    const umbra_tpl_string *fill;
    int rc = umbra_tpl_int_argument(c, call, 0, 0, &width);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_text_argument(c, call, 1, " ", &fill);
    if (rc == UMBRA_OK && fill->chars != 1)
        return umbra_tpl_fail(c, "%s() wants one character to fill with", call->name);
    return rc == UMBRA_OK ? umbra_tpl_pad(c, call->self.u.string, width,
                                          umbra_tpl_char_at(fill->data), side, out)
                          : rc;
}

static int string_ljust(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pad(c, call, '<', out);
}

static int string_rjust(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pad(c, call, '>', out);
}

static int string_center(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return pad(c, call, '|', out);
}

/* Zeros go behind a sign. */
static int string_zfill(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string;
    int64_t width;
    int rc = umbra_tpl_int_argument(c, call, 0, 0, &width);
    size_t sign = s->bytes > 0 && (s->data[0] == '-' || s->data[0] == '+');
    int64_t zeros = rc == UMBRA_OK && width > (int64_t)s->chars ? width - (int64_t)s->chars : 0;
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_part(&b, s, 0, sign);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_repeated(&b, '0', zeros, false);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_part(&b, s, sign, s->bytes);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int string_removeprefix(umbra_tpl_context *c, const umbra_tpl_call *call,
                               umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string, *part;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &part);
    return rc == UMBRA_OK
               ? umbra_tpl_part(c, s, umbra_tpl_starts(s, part) ? part->bytes : 0, s->bytes, out)
               : rc;
}

static int string_removesuffix(umbra_tpl_context *c, const umbra_tpl_call *call,
                               umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string, *part;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &part);
    return rc == UMBRA_OK
               ? umbra_tpl_part(c, s, 0, s->bytes - (umbra_tpl_ends(s, part) ? part->bytes : 0),
                                out)
               : rc;
}

const umbra_tpl_function umbra_tpl_methods_string[] = {
    {"upper", string_upper, 0, ""},
    {"lower", string_lower, 0, ""},
    {"casefold", string_lower, 0, ""},
    {"capitalize", string_capitalize, 0, ""},
    {"title", string_title, 0, ""},
    {"swapcase", string_swapcase, 0, ""},
    {"strip", string_strip, 0, "chars"},
    {"lstrip", string_lstrip, 0, "chars"},
    {"rstrip", string_rstrip, 0, "chars"},
    {"replace", string_replace, 2, "old new count"},
    {"split", string_split, 0, "sep maxsplit"},
    {"rsplit", string_rsplit, 0, "sep maxsplit"},
    {"splitlines", string_splitlines, 0, "keepends"},
    {"partition", string_partition, 1, "sep"},
    {"rpartition", string_rpartition, 1, "sep"},
    {"join", string_join, 1, "iterable"},
    {"format", string_format, 0, NULL},
    {"ljust", string_ljust, 1, "width fillchar"},
    {"rjust", string_rjust, 1, "width fillchar"},
    {"center", string_center, 1, "width fillchar"},
    {"zfill", string_zfill, 1, "width"},
    {"removeprefix", string_removeprefix, 1, "prefix"},
    {"removesuffix", string_removesuffix, 1, "suffix"},
    {0},
};
