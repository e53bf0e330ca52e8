/* Tokens inside a tag: names, numbers, strings with their escapes, operators. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "template/lexer_internal.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static int take_name(umbra_tpl_lexer *l)
{
    size_t at = l->at;
    while (at < l->n && (is_name_start(l->s[at]) || is_digit(l->s[at])))
        at++;
    umbra_tpl_token t = {.type = TPL_T_NAME};
    int rc = umbra_tpl_text(l->c, l->s + l->at, at - l->at, false, &t.value);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_push_token(l, t);
    umbra_tpl_advance(l, at);
    return rc;
}

/* Behind digits with single underscores between them. */
static size_t skip_digits(const umbra_tpl_lexer *l, size_t at)
{
    while (at < l->n &&
           (is_digit(l->s[at]) || (l->s[at] == '_' && at > 0 && is_digit(l->s[at - 1]) &&
                                   at + 1 < l->n && is_digit(l->s[at + 1]))))
        at++;
    return at;
}

/* Behind a fraction and an exponent, if they follow. */
static size_t skip_fraction(const umbra_tpl_lexer *l, size_t at)
{
    if (at + 1 < l->n && l->s[at] == '.' && is_digit(l->s[at + 1]))
        at = skip_digits(l, at + 1);
    if (at + 1 < l->n && (l->s[at] == 'e' || l->s[at] == 'E')) {
        size_t digits = at + 1 + (l->s[at + 1] == '+' || l->s[at + 1] == '-');
        if (digits < l->n && is_digit(l->s[digits]))
            at = skip_digits(l, digits);
    }
    return at;
}

enum { NUMBER_BYTES = 400 };

static int push_number(umbra_tpl_lexer *l, size_t end, int base, bool whole)
{
    char text[NUMBER_BYTES];
    size_t n = 0;
    for (size_t i = l->at + (base != 10 ? 2 : 0); i < end && n + 1 < sizeof text; i++)
        if (l->s[i] != '_')
            text[n++] = l->s[i];
    text[n] = '\0';
    umbra_tpl_token t = {.type = TPL_T_CONSTANT};
    errno = 0;
    if (whole)
        t.value = umbra_tpl_int((int64_t)strtoll(text, NULL, base));
    else
        t.value = umbra_tpl_float(strtod(text, NULL));
    if (n + 1 >= sizeof text || (whole && errno == ERANGE))
        return umbra_tpl_fail(l->c, "the number %.24s... is too large", text);
    int rc = umbra_tpl_push_token(l, t);
    umbra_tpl_advance(l, end);
    return rc;
}

static int take_number(umbra_tpl_lexer *l)
{
    char second = l->at + 1 < l->n ? (char)(l->s[l->at + 1] | 0x20) : '\0';
    int base = l->s[l->at] != '0' ? 10
               : second == 'x'    ? 16
               : second == 'o'    ? 8
               : second == 'b'    ? 2
                                  : 10;
    if (base != 10) {
        size_t end = l->at + 2;
        char digits[] = "0123456789abcdef";
        digits[base] = '\0';
        while (end < l->n && l->s[end] &&
               (l->s[end] == '_' ||
                strchr(digits, is_digit(l->s[end]) ? l->s[end] : l->s[end] | 0x20)))
            end++;
        return push_number(l, end, base, true);
    }
    size_t whole = skip_digits(l, l->at);
    bool part = l->at > 0 && l->s[l->at - 1] == '.'; /* x.0.1: items of items */
    size_t end = part ? whole : skip_fraction(l, whole);
    return push_number(l, end, 10, end == whole);
}

/* Up to `most` digits of the base at s[*at]. */
static uint32_t take_digits(const umbra_tpl_lexer *l, size_t *at, int most, uint32_t base,
                            int *taken)
{
    uint32_t code = 0;
    for (*taken = 0; *taken < most && *at < l->n; ++*taken, ++*at) {
        char d = l->s[*at], low = (char)(d | 0x20);
        uint32_t digit = is_digit(d)                ? (uint32_t)(d - '0')
                         : low >= 'a' && low <= 'f' ? (uint32_t)(low - 'a' + 10)
                                                    : 99;
        if (digit >= base)
            break;
        code = code * base + digit;
    }
    return code;
}

/* The escape at s[*at] (behind the backslash). */
static int take_escape(umbra_tpl_lexer *l, umbra_tpl_builder *b, size_t *at)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char kind = l->s[*at];
    const char *simple = kind ? strchr(from, kind) : NULL;
    if (simple) {
        ++*at;
        return umbra_tpl_put(b, &to[simple - from], 1, false);
    }
    if (kind == '\n') {
        ++*at;
        return UMBRA_OK;
    }
    int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0, taken;
    bool octal = kind >= '0' && kind <= '7';
    if (digits == 0 && !octal)
        return umbra_tpl_put(b, "\\", 1, false);
    *at += !octal;
    uint32_t code =
        octal ? take_digits(l, at, 3, 8, &taken) : take_digits(l, at, digits, 16, &taken);
    if ((!octal && taken < digits) || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return umbra_tpl_fail(l->c, "the escape \\%c in a string is not a character", kind);
    return umbra_tpl_put_code(b, code, false);
}

static int take_string(umbra_tpl_lexer *l)
{
    char quote = l->s[l->at];
    size_t at = l->at + 1;
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, l->c);
    int rc = UMBRA_OK;
    while (rc == UMBRA_OK && at < l->n && l->s[at] != quote) {
        size_t from = at;
        while (at < l->n && l->s[at] != quote && l->s[at] != '\\')
            at++;
        rc = umbra_tpl_put(&b, l->s + from, at - from, false);
        if (rc == UMBRA_OK && at + 1 < l->n && l->s[at] == '\\') {
            at++;
            rc = take_escape(l, &b, &at);
        } else if (at + 1 >= l->n) {
            break;
        }
    }
    if (rc == UMBRA_OK && (at >= l->n || l->s[at] != quote))
        return umbra_tpl_fail(l->c, "the string that begins here has no end");
    umbra_tpl_token t = {.type = TPL_T_CONSTANT};
    if (rc == UMBRA_OK)
        rc = umbra_tpl_built(&b, &t.value);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_push_token(l, t);
    umbra_tpl_advance(l, at + 1);
    return rc;
}

/* Keeps the brackets balanced: a tag does not end inside of them. */
static int count_bracket(umbra_tpl_lexer *l, char c)
{
    const char *open = strchr("([{", c), *close = strchr(")]}", c);
    if (open) {
        if (l->open == TPL_MOST_BRACKETS)
            return umbra_tpl_fail(l->c, "more than %d brackets inside each other",
                                  TPL_MOST_BRACKETS);
        l->closers[l->open++] = *open == '(' ? ')' : *open == '[' ? ']' : '}';
    } else if (close && l->open == 0) {
        return umbra_tpl_fail(l->c, "unexpected '%c'", c);
    } else if (close && l->closers[--l->open] != c) {
        return umbra_tpl_fail(l->c, "unexpected '%c', expected '%c'", c, l->closers[l->open]);
    }
    return UMBRA_OK;
}

static int take_operator(umbra_tpl_lexer *l)
{
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = l->s[l->at];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (umbra_tpl_at(l, l->at, pairs[i])) {
            int rc =
                umbra_tpl_push_token(l, (umbra_tpl_token){.type = TPL_T_OPERATOR,
                                                          .op = TPL_OP(pairs[i][0], pairs[i][1])});
            umbra_tpl_advance(l, l->at + 2);
            return rc;
        }
    }
    if (c == '\0' || !strchr("+-/*%~[](){}><=.:|,;", c))
        return umbra_tpl_fail(l->c,
                              c >= 0x20 && c < 0x7f ? "unexpected character '%c'"
                                                    : "unexpected character \\x%02x",
                              (unsigned)(unsigned char)c);
    int rc = count_bracket(l, c);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_push_token(l, (umbra_tpl_token){.type = TPL_T_OPERATOR, .op = TPL_OP(0, c)});
    umbra_tpl_advance(l, l->at + 1);
    return rc;
}

int umbra_tpl_take_token(umbra_tpl_lexer *l)
{
    size_t space = umbra_tpl_skip_space(l, l->at);
    if (space > l->at) {
        umbra_tpl_advance(l, space);
        return UMBRA_OK;
    }
    char c = l->s[l->at];
    if (is_digit(c))
        return take_number(l);
    if (is_name_start(c))
        return take_name(l);
    if (c == '\'' || c == '"')
        return take_string(l);
    return take_operator(l);
}
