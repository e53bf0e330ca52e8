/* Methods of strings that look into them. */
#include "template/functions.h"
#include "template/strings.h"

/* Byte offsets of the character positions start and end, as slices take them. */
static int window(umbra_tpl_context *c, const umbra_tpl_call *call, size_t *begin, size_t *end)
{
    const umbra_tpl_string *s = call->self.u.string;
    int64_t n = (int64_t)s->chars, from = 0, to = n;
    int rc =
        call->arg[1].kind == TPL_NONE ? UMBRA_OK : umbra_tpl_int_argument(c, call, 1, 0, &from);
    if (rc == UMBRA_OK && call->arg[2].kind != TPL_NONE)
        rc = umbra_tpl_int_argument(c, call, 2, n, &to);
    from += from < 0 ? n : 0;
    to += to < 0 ? n : 0;
    from = from < 0 ? 0 : from;
    to = to < 0 ? 0 : to > n ? n : to;
    *begin = from > n ? s->bytes + 1 : umbra_tpl_char_offset(s, (size_t)from);
    *end = umbra_tpl_char_offset(s, (size_t)to);
    return rc == UMBRA_OK ? umbra_tpl_scan(c, s->bytes) : rc;
}

/* The character position of the argument, or -1. */
static int find(umbra_tpl_context *c, const umbra_tpl_call *call, bool last, int64_t *out)
{
    const umbra_tpl_string *s = call->self.u.string, *part;
    size_t begin, end;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &part);
    if (rc == UMBRA_OK)
        rc = window(c, call, &begin, &end);
    if (rc == UMBRA_OK && last)
        rc = umbra_tpl_find_last(c, s, part, begin, end, out);
    else if (rc == UMBRA_OK)
        *out = umbra_tpl_find(s, part, begin, end);
    if (rc == UMBRA_OK && *out > 0)
        *out = (int64_t)umbra_tpl_count_chars(s->data, (size_t)*out);
    return rc;
}

static int find_or(umbra_tpl_context *c, const umbra_tpl_call *call, bool last, bool must,
                   umbra_tpl_value *out)
{
    int64_t at = -1;
    int rc = find(c, call, last, &at);
    if (rc == UMBRA_OK && must && at < 0)
        return umbra_tpl_fail(c, "%s(): substring not found", call->name);
    *out = umbra_tpl_int(at);
    return rc;
}

static int string_find(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return find_or(c, call, false, false, out);
}

static int string_rfind(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return find_or(c, call, true, false, out);
}

static int string_index(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return find_or(c, call, false, true, out);
}

static int string_rindex(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return find_or(c, call, true, true, out);
}

static int string_count(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string, *part;
    size_t begin, end;
    int64_t n = 0;
    int rc = umbra_tpl_text_argument(c, call, 0, NULL, &part);
    if (rc == UMBRA_OK)
        rc = window(c, call, &begin, &end);
    if (rc == UMBRA_OK && part->bytes == 0)
        n = begin > end ? 0 : (int64_t)umbra_tpl_count_chars(s->data + begin, end - begin) + 1;
    for (int64_t at;
         rc == UMBRA_OK && part->bytes && (at = umbra_tpl_find(s, part, begin, end)) >= 0;) {
        begin = (size_t)at + part->bytes;
        n++;
        rc = umbra_tpl_step(c, 1);
    }
    *out = umbra_tpl_int(n);
    return rc;
}

/* Whether the window has one of the prefixes (suffixes): a string or a tuple of them. */
static int meets(umbra_tpl_context *c, const umbra_tpl_call *call,
                 bool (*meet)(const umbra_tpl_string *s, const umbra_tpl_string *part),
                 umbra_tpl_value *out)
{
    size_t begin, end;
    umbra_tpl_value part, given = call->arg[0];
    bool several = given.kind == TPL_TUPLE, found = false;
    int rc = window(c, call, &begin, &end);
    if (rc == UMBRA_OK && given.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(c, given);
    bool there = rc == UMBRA_OK && begin <= end;
    if (there)
        rc = umbra_tpl_part(c, call->self.u.string, begin, end, &part);
    for (size_t i = 0; rc == UMBRA_OK && i < (several ? given.u.list->count : 1); i++) {
        umbra_tpl_value one = several ? given.u.list->items[i] : given;
        if (one.kind != TPL_STRING)
            return umbra_tpl_fail(c, "%s() wants a string or a tuple of them, not %s", call->name,
                                  umbra_tpl_type_name(one));
        found = found || (there && meet(part.u.string, one.u.string));
    }
    *out = umbra_tpl_bool(found);
    return rc;
}

static int string_startswith(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return meets(c, call, umbra_tpl_starts, out);
}

static int string_endswith(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return meets(c, call, umbra_tpl_ends, out);
}

static bool is_digit(uint32_t code)
{
    return code >= '0' && code <= '9';
}

static bool is_alpha(uint32_t code)
{
    return umbra_tpl_is_letter(code);
}

static bool is_alnum(uint32_t code)
{
    return is_digit(code) || is_alpha(code);
}

static bool is_ascii(uint32_t code)
{
    return code < 0x80;
}

static int all(umbra_tpl_context *c, const umbra_tpl_call *call, bool (*is)(uint32_t code),
               bool empty, umbra_tpl_value *out)
{
    const umbra_tpl_string *s = call->self.u.string;
    bool holds = s->bytes > 0 || empty;
    for (size_t i = 0; holds && i < s->bytes; i += umbra_tpl_char_bytes(s->data + i))
        holds = is(umbra_tpl_char_at(s->data + i));
    *out = umbra_tpl_bool(holds);
    return umbra_tpl_scan(c, s->bytes);
}

#define ALL(name, is, empty)                                                                       \
    static int name(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)        \
    {                                                                                              \
        return all(c, call, is, empty, out);                                                       \
    }

ALL(string_isdigit, is_digit, false)
ALL(string_isalpha, is_alpha, false)
ALL(string_isalnum, is_alnum, false)
ALL(string_isspace, umbra_tpl_is_space, false)
ALL(string_isascii, is_ascii, true)

/* Of the letters that have a case all are upper (lower), and there is one. */
static int cased(umbra_tpl_context *c, const umbra_tpl_call *call, const char *test,
                 umbra_tpl_value *out)
{
    umbra_tpl_value name;
    static const umbra_tpl_args none = {0};
    int rc = umbra_tpl_word(c, test, &name);
    return rc == UMBRA_OK
               ? umbra_tpl_invoke(c, umbra_tpl_find_test(name.u.string), call->self, &none, out)
               : rc;
}

static int string_isupper(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return cased(c, call, "upper", out);
}

static int string_islower(umbra_tpl_context *c, const umbra_tpl_call *call, umbra_tpl_value *out)
{
    return cased(c, call, "lower", out);
}

const umbra_tpl_function umbra_tpl_methods_find[] = {
    {"find", string_find, 1, "sub start end"},
    {"rfind", string_rfind, 1, "sub start end"},
    {"index", string_index, 1, "sub start end"},
    {"rindex", string_rindex, 1, "sub start end"},
    {"count", string_count, 1, "sub start end"},
    {"startswith", string_startswith, 1, "prefix start end"},
    {"endswith", string_endswith, 1, "suffix start end"},
    {"isdigit", string_isdigit, 0, ""},
    {"isdecimal", string_isdigit, 0, ""},
    {"isnumeric", string_isdigit, 0, ""},
    {"isalpha", string_isalpha, 0, ""},
    {"isalnum", string_isalnum, 0, ""},
    {"isspace", string_isspace, 0, ""},
    {"isascii", string_isascii, 0, ""},
    {"isupper", string_isupper, 0, ""},
    {"islower", string_islower, 0, ""},
    {0},
};
