/* A cursor over JSON text. */
#include "base/json_reader.h"

#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

enum { MOST_DEPTH = 64 };

static bool wrong(umbra_json_reader *r, size_t at, const char *problem)
{
    r->at = at;
    r->problem = problem;
    return false;
}

char umbra_json_peek(umbra_json_reader *r)
{
    while (r->at < r->n && memchr(" \t\n\r", r->text[r->at], 4))
        r->at++;
    return r->at < r->n ? r->text[r->at] : '\0';
}

bool umbra_json_take(umbra_json_reader *r, char token)
{
    if (umbra_json_peek(r) != token)
        return false;
    r->at++;
    return true;
}

int umbra_json_more(umbra_json_reader *r, char close)
{
    if (umbra_json_take(r, ','))
        return 1;
    if (umbra_json_take(r, close))
        return 0;
    wrong(r, r->at, close == '}' ? "a comma or '}' was expected" : "a comma or ']' was expected");
    return -1;
}

/* Value of the 4 hexadecimal digits at the cursor, or -1. */
static int32_t hex4(umbra_json_reader *r)
{
    int32_t value = 0;
    if (r->n - r->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char d = r->text[r->at++];
        int digit = d >= '0' && d <= '9'   ? d - '0'
                    : d >= 'a' && d <= 'f' ? d - 'a' + 10
                    : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* An escape; the cursor is behind the backslash. Writes 1 to 4 bytes to out, returns how many, 0
 * if it is wrong. U+0000 is: strings are NUL-terminated. */
static size_t parse_escape(umbra_json_reader *r, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at >= r->n)
        return 0;
    char kind = r->text[r->at++];
    const char *simple = memchr(from, kind, sizeof from - 1);
    if (simple) {
        out[0] = to[simple - from];
        return 1;
    }
    int32_t code = kind == 'u' ? hex4(r) : -1;
    if (code >= 0xd800 && code <= 0xdbff) {
        bool pair = r->n - r->at >= 2 && r->text[r->at] == '\\' && r->text[r->at + 1] == 'u';
        r->at += pair ? 2 : 0;
        int32_t low = pair ? hex4(r) : -1;
        code = low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                                              : -1;
    } else if (code >= 0xdc00 && code <= 0xdfff) {
        code = -1;
    }
    return code <= 0 ? 0 : umbra_utf8_encode((uint32_t)code, out);
}

/* Steps over a string; where write is not NULL, its characters go there, unescaped. */
static bool scan_string(umbra_json_reader *r, char *write)
{
    while (r->at < r->n && r->text[r->at] != '"') {
        size_t start = r->at, length;
        char utf8[4];
        const char *from = utf8;
        if (r->text[r->at] == '\\') {
            r->at++;
            length = parse_escape(r, utf8);
        } else {
            from = r->text + r->at;
            length = umbra_utf8_length(from, r->n - r->at);
            if ((unsigned char)*from < 0x20)
                length = 0;
            r->at += length;
        }
        if (length == 0)
            return wrong(r, start,
                         "a string holds a bad escape, a control character or a byte "
                         "that is not UTF-8");
        if (write) {
            memmove(write, from, length);
            write += length;
        }
    }
    if (r->at >= r->n)
        return wrong(r, r->at, "it ends inside a string");
    r->at++;
    if (write)
        *write = '\0';
    return true;
}

bool umbra_json_read_string(umbra_json_reader *r, const char **out)
{
    if (!umbra_json_take(r, '"'))
        return wrong(r, r->at, "a string was expected");
    char *write = r->text + r->at;
    *out = write;
    return scan_string(r, write);
}

bool umbra_json_read_key(umbra_json_reader *r, const char **out)
{
    if (!umbra_json_read_string(r, out))
        return false;
    return umbra_json_take(r, ':') || wrong(r, r->at, "a colon was expected");
}

bool umbra_json_read_uint(umbra_json_reader *r, uint64_t *out)
{
    uint64_t value = 0;
    char first = umbra_json_peek(r);
    size_t start = r->at;
    bool fits = true;
    for (; r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
        fits = fits && umbra_mul_u64(value, 10, &value) &&
               umbra_add_u64(value, (uint64_t)(r->text[r->at] - '0'), &value);
    bool whole = r->at > start && !(first == '0' && r->at - start > 1) &&
                 !(r->at < r->n && memchr(".eE", r->text[r->at], 3));
    if (!whole || !fits)
        return wrong(r, start, "a whole number from 0 to 2^64 - 1 was expected");
    *out = value;
    return true;
}

static size_t skip_digits(umbra_json_reader *r)
{
    size_t start = r->at;
    while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9')
        r->at++;
    return r->at - start;
}

static bool at_any(const umbra_json_reader *r, const char *two)
{
    return r->at < r->n && (r->text[r->at] == two[0] || r->text[r->at] == two[1]);
}

static bool skip_number(umbra_json_reader *r)
{
    size_t start = r->at;
    r->at += at_any(r, "--");
    size_t first = r->at, digits = skip_digits(r);
    bool good = digits == 1 || (digits > 1 && r->text[first] != '0');
    if (good && at_any(r, "..")) {
        r->at++;
        good = skip_digits(r) > 0;
    }
    if (good && at_any(r, "eE")) {
        r->at++;
        r->at += at_any(r, "+-");
        good = skip_digits(r) > 0;
    }
    return good || wrong(r, start, "a value was expected");
}

static bool skip_word(umbra_json_reader *r)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (r->n - r->at >= length && memcmp(r->text + r->at, words[i], length) == 0) {
            r->at += length;
            return true;
        }
    }
    return wrong(r, r->at, "a value was expected");
}

static bool skip_string(umbra_json_reader *r)
{
    return umbra_json_take(r, '"') ? scan_string(r, NULL)
                                   : wrong(r, r->at, "a string was expected");
}

static bool skip_value(umbra_json_reader *r, int depth)
{
    char first = umbra_json_peek(r), close = first == '{' ? '}' : ']';
    if (first == '"')
        return skip_string(r);
    if (first != '{' && first != '[')
        return first == '-' || (first >= '0' && first <= '9') ? skip_number(r) : skip_word(r);
    if (depth == MOST_DEPTH)
        return wrong(r, r->at, "it is nested too deeply");
    r->at++;
    int more = umbra_json_take(r, close) ? 0 : 1;
    while (more == 1) {
        if (first == '{' && !skip_string(r))
            return false;
        if (first == '{' && !umbra_json_take(r, ':'))
            return wrong(r, r->at, "a colon was expected");
        if (!skip_value(r, depth + 1))
            return false;
        more = umbra_json_more(r, close);
    }
    return more == 0;
}

bool umbra_json_skip(umbra_json_reader *r)
{
    return skip_value(r, 0);
}
