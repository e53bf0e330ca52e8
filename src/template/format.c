/* Formatting: "%s" % values and "{}".format(values). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template/functions.h"
#include "template/strings.h"

enum { MOST_DIGITS = 300, NUMBER_BYTES = 800 };

/* What stands between % and its letter, or behind the colon in braces. */
typedef struct spec {
    uint32_t fill;
    char align; /* '<' '>' '^' '=' or 0 */
    char sign;  /* '+' ' ' or 0 */
    bool alternate;
    char group; /* ',' '_' or 0 */
    int64_t width;
    int precision; /* -1: none */
    char type;     /* or 0 */
} spec;

typedef struct formatter {
    umbra_tpl_builder b;
    const umbra_tpl_string *s;
    size_t at;
} formatter;

static char peek(const formatter *f)
{
    return f->at < f->s->bytes ? f->s->data[f->at] : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int read_count(formatter *f, int64_t most, int64_t *out)
{
    for (*out = 0; is_digit(peek(f)); f->at++) {
        *out = *out * 10 + (peek(f) - '0');
        if (*out > most)
            return umbra_tpl_fail(f->b.c, "a width or precision beyond %" PRId64, most);
    }
    return UMBRA_OK;
}

/* Digits in groups of three, the sign before them. */
static void put_groups(char *out, const char *digits, char group)
{
    size_t whole = strspn(digits, "0123456789"), n = 0;
    for (size_t i = 0; i < whole; i++) {
        if (i > 0 && (whole - i) % 3 == 0)
            out[n++] = group;
        out[n++] = digits[i];
    }
    strcpy(out + n, digits + whole);
}

/* The number without its sign in text[NUMBER_BYTES]; false: no such type of it. */
static bool print_number(char *text, const spec *p, umbra_tpl_value v)
{
    char type = p->type;
    int64_t i;
    bool whole = umbra_tpl_as_int(v, &i);
    uint64_t size = whole ? (i < 0 ? 0 - (uint64_t)i : (uint64_t)i) : 0;
    if (type == 'b' && whole) {
        int n = 0;
        for (int bit = size ? 63 - __builtin_clzll(size) : 0; bit >= 0; bit--)
            text[n++] = (char)('0' + (size >> bit & 1));
        text[n] = '\0';
        return true;
    }
    if (whole && (type == 'd' || type == 'i' || type == 'u' || type == '\0' || type == 'n'))
        return snprintf(text, NUMBER_BYTES, "%" PRIu64, size) > 0;
    if (whole && (type == 'x' || type == 'X' || type == 'o')) {
        const char *prefix = !p->alternate ? "" : type == 'o' ? "0o" : type == 'x' ? "0x" : "0X";
        const char *forms[] = {"%s%" PRIx64, "%s%" PRIX64, "%s%" PRIo64};
        const char *form = forms[type == 'x' ? 0 : type == 'X' ? 1 : 2];
        return snprintf(text, NUMBER_BYTES, form, prefix, size) > 0;
    }
    double f = fabs(umbra_tpl_as_float(v));
    int digits = p->precision < 0 ? 6 : p->precision;
    if (type == '\0' && p->precision < 0) {
        umbra_tpl_print_float(text, f);
        return true;
    }
    char form[] = "%.*g";
    form[3] = type == '\0' ? 'g' : type == '%' ? 'f' : type;
    if (!strchr("eEfFgG%", type ? type : 'g'))
        return false;
    int n = snprintf(text, NUMBER_BYTES, form, digits, type == '%' ? f * 100 : f);
    if (type == '%')
        strcpy(text + n, "%");
    return true;
}

static int put_number(formatter *f, const spec *p, umbra_tpl_value v)
{
    char digits[NUMBER_BYTES], grouped[2 * NUMBER_BYTES];
    char letter[2] = {p->type, '\0'};
    if (!print_number(digits, p, v))
        return umbra_tpl_fail(f->b.c, "unknown format code '%s' for '%s'", letter,
                              umbra_tpl_type_name(v));
    bool negative =
        v.kind == TPL_FLOAT ? signbit(v.u.real) != 0 : v.kind == TPL_INT && v.u.integer < 0;
    char sign = negative ? '-' : p->sign;
    strcpy(grouped, digits);
    if (p->group)
        put_groups(grouped, digits, p->group);
    int64_t more = p->width - (int64_t)strlen(grouped) - (sign != '\0');
    more = more < 0 ? 0 : more;
    char align = p->align ? p->align : '>';
    int64_t left = align == '<' || align == '=' ? 0 : align == '^' ? more / 2 : more;
    int rc = UMBRA_OK;
    for (int64_t i = 0; rc == UMBRA_OK && i < left; i++)
        rc = umbra_tpl_put_code(&f->b, p->fill, false);
    if (rc == UMBRA_OK && sign)
        rc = umbra_tpl_put(&f->b, &sign, 1, v.input);
    for (int64_t i = 0; rc == UMBRA_OK && align == '=' && i < more; i++)
        rc = umbra_tpl_put_code(&f->b, p->fill, false);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_word(&f->b, grouped, v.input);
    for (int64_t i = 0; rc == UMBRA_OK && align != '=' && i < more - left; i++)
        rc = umbra_tpl_put_code(&f->b, p->fill, false);
    return rc;
}

static int put_string(formatter *f, const spec *p, const umbra_tpl_string *s)
{
    umbra_tpl_value v;
    size_t end = p->precision < 0 ? s->bytes : umbra_tpl_char_offset(s, (size_t)p->precision);
    int rc = umbra_tpl_part(f->b.c, s, 0, end, &v);
    char side = p->align && p->align != '=' ? p->align : '<';
    if (rc == UMBRA_OK && p->width > 0)
        rc = umbra_tpl_pad(f->b.c, v.u.string, p->width, p->fill, side, &v);
    return rc == UMBRA_OK ? umbra_tpl_put_string(&f->b, v.u.string) : rc;
}

static int to_repr(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_put_repr(&b, v);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

/* ---- percent ---- */

static int read_percent(formatter *f, spec *p)
{
    *p = (spec){.fill = ' ', .align = '>', .precision = -1};
    bool zero = false;
    for (; peek(f) && strchr("-+ #0", peek(f)); f->at++) {
        char flag = peek(f);
        p->align = flag == '-' ? '<' : p->align;
        p->sign = flag == '+' || (flag == ' ' && !p->sign) ? flag : p->sign;
        p->alternate = p->alternate || flag == '#';
        zero = zero || flag == '0';
    }
    int rc = read_count(f, 1 << 20, &p->width);
    if (rc == UMBRA_OK && peek(f) == '.') {
        int64_t digits;
        f->at++;
        rc = read_count(f, MOST_DIGITS, &digits);
        p->precision = (int)digits;
    }
    p->type = peek(f);
    f->at++;
    if (zero && p->align == '>' && p->type != 's' && p->type != 'r') {
        p->fill = '0';
        p->align = '=';
    }
    return rc;
}

/* %d of a float cuts it, %f of an integer is fine. */
static int put_percent_number(formatter *f, spec *p, umbra_tpl_value v)
{
    if (v.kind == TPL_UNDEFINED)
        return umbra_tpl_fail_undefined(f->b.c, v);
    if (!umbra_tpl_is_number(v))
        return umbra_tpl_fail(f->b.c, "%%%c format: a number is required, not %s", p->type,
                              umbra_tpl_type_name(v));
    if (strchr("diu", p->type) && v.kind == TPL_FLOAT) {
        if (!(fabs(v.u.real) < 0x1p63))
            return umbra_tpl_fail(f->b.c, "%%%c format: the number is too large", p->type);
        bool input = v.input;
        v = umbra_tpl_int((int64_t)v.u.real);
        v.input = input;
    }
    return put_number(f, p, v);
}

static int put_percent(formatter *f, umbra_tpl_value v)
{
    spec p;
    umbra_tpl_value text;
    int rc = read_percent(f, &p);
    if (rc != UMBRA_OK)
        return rc;
    if (p.type == 's' || p.type == 'r' || p.type == 'a') {
        rc = p.type == 's' ? umbra_tpl_to_text(f->b.c, v, &text) : to_repr(f->b.c, v, &text);
        return rc == UMBRA_OK ? put_string(f, &p, text.u.string) : rc;
    }
    if (p.type == '\0' || !strchr("diuoxXeEfFgG", p.type))
        return umbra_tpl_fail(f->b.c, "unsupported format character behind %%");
    return put_percent_number(f, &p, v);
}

/* "%(name)s": the value of that key. */
static int read_key(formatter *f, umbra_tpl_value arguments, umbra_tpl_value *out)
{
    const char *close = memchr(f->s->data + f->at, ')', f->s->bytes - f->at);
    umbra_tpl_value key;
    if (!close || arguments.kind != TPL_DICT)
        return umbra_tpl_fail(f->b.c,
                              close ? "format requires a mapping" : "incomplete format key");
    size_t end = (size_t)(close - f->s->data);
    int rc = umbra_tpl_part(f->b.c, f->s, f->at + 1, end, &key);
    f->at = end + 1;
    umbra_tpl_entry *e = NULL;
    if (rc == UMBRA_OK)
        rc = umbra_tpl_dict_find(f->b.c, arguments.u.dict, key, &e);
    if (rc == UMBRA_OK && !e)
        return umbra_tpl_fail(f->b.c, "the format names a key that is not there");
    if (e)
        *out = e->value;
    return rc;
}

int umbra_tpl_format_percent(umbra_tpl_context *c, const umbra_tpl_string *format,
                             umbra_tpl_value arguments, umbra_tpl_value *out)
{
    formatter f = {.s = format};
    bool tuple = arguments.kind == TPL_TUPLE;
    size_t used = 0, n = tuple ? arguments.u.list->count : 1;
    int rc = UMBRA_OK;
    umbra_tpl_builder_init(&f.b, c);
    while (rc == UMBRA_OK && f.at < format->bytes) {
        const char *percent = memchr(format->data + f.at, '%', format->bytes - f.at);
        size_t stop = percent ? (size_t)(percent - format->data) : format->bytes;
        rc = umbra_tpl_put_part(&f.b, format, f.at, stop);
        f.at = stop + 1;
        if (rc != UMBRA_OK || !percent)
            break;
        umbra_tpl_value v = umbra_tpl_none();
        if (peek(&f) == '%') {
            rc = umbra_tpl_put_part(&f.b, format, f.at, f.at + 1);
            f.at++;
            continue;
        }
        if (peek(&f) == '(')
            rc = read_key(&f, arguments, &v);
        else if (used == n)
            rc = umbra_tpl_fail(c, "not enough arguments for format string");
        else
            v = tuple ? arguments.u.list->items[used++] : (used++, arguments);
        if (rc == UMBRA_OK)
            rc = put_percent(&f, v);
    }
    if (rc == UMBRA_OK && used < n && arguments.kind != TPL_DICT)
        return umbra_tpl_fail(c, "not all arguments converted during string formatting");
    return rc == UMBRA_OK ? umbra_tpl_built(&f.b, out) : rc;
}

/* ---- braces ---- */

/* "[[fill]align][sign][#][0][width][,][.precision][type]" up to the closing brace. */
static int read_spec(formatter *f, spec *p)
{
    *p = (spec){.fill = ' ', .precision = -1};
    size_t fill = f->at < f->s->bytes ? umbra_tpl_char_bytes(f->s->data + f->at) : 0;
    char behind = f->at + fill < f->s->bytes ? f->s->data[f->at + fill] : '\0';
    if (fill && behind && strchr("<>^=", behind)) {
        p->fill = umbra_tpl_char_at(f->s->data + f->at);
        f->at += fill;
    }
    if (peek(f) && strchr("<>^=", peek(f)))
        p->align = f->s->data[f->at++];
    if (peek(f) && strchr("+- ", peek(f))) {
        p->sign = peek(f) == '-' ? '\0' : peek(f);
        f->at++;
    }
    if (peek(f) == '#') {
        p->alternate = true;
        f->at++;
    }
    if (peek(f) == '0') {
        p->fill = p->align ? p->fill : '0';
        p->align = p->align ? p->align : '=';
        f->at++;
    }
    int rc = read_count(f, 1 << 20, &p->width);
    if (peek(f) == ',' || peek(f) == '_')
        p->group = f->s->data[f->at++];
    if (rc == UMBRA_OK && peek(f) == '.') {
        int64_t digits;
        f->at++;
        rc = read_count(f, MOST_DIGITS, &digits);
        p->precision = (int)digits;
    }
    if (peek(f) && peek(f) != '}')
        p->type = f->s->data[f->at++];
    return rc;
}

static int put_formatted(formatter *f, const spec *p, umbra_tpl_value v)
{
    umbra_tpl_value text;
    bool number = umbra_tpl_is_number(v) && (v.kind != TPL_BOOL || (p->type && p->type != 's'));
    if (number)
        return put_number(f, p, v);
    if (p->type && p->type != 's')
        return umbra_tpl_fail(f->b.c, "unknown format code '%c' for '%s'", p->type,
                              umbra_tpl_type_name(v));
    int rc = umbra_tpl_to_text(f->b.c, v, &text);
    return rc == UMBRA_OK ? put_string(f, p, text.u.string) : rc;
}

/* The value that "0", "name" or nothing stands for. */
static int find_field(formatter *f, const umbra_tpl_args *args, size_t *next, umbra_tpl_value *out)
{
    umbra_tpl_context *c = f->b.c;
    size_t begin = f->at;
    while (f->at < f->s->bytes && !strchr(".[!:}", f->s->data[f->at] ? f->s->data[f->at] : ' '))
        f->at++;
    umbra_tpl_value name;
    int64_t i = 0;
    int rc = umbra_tpl_part(c, f->s, begin, f->at, &name);
    if (rc != UMBRA_OK)
        return rc;
    bool counted = f->at == begin,
         numbered = !counted && umbra_tpl_parse_int(name.u.string, 10, &i);
    if (counted || numbered) {
        size_t at = counted ? (*next)++ : (size_t)i;
        if (at >= args->count)
            return umbra_tpl_fail(c, "format() has no argument %zu", at);
        *out = args->items[at];
        return UMBRA_OK;
    }
    umbra_tpl_value *v =
        args->named ? umbra_tpl_dict_text(c, args->named, name.u.string->data, name.u.string->bytes)
                    : NULL;
    if (!v)
        return umbra_tpl_fail(c, "format() has no argument of the name that the text asks for");
    *out = *v;
    return UMBRA_OK;
}

/* Then ".name" and "[key]" of it. */
static int follow_field(formatter *f, umbra_tpl_value *v)
{
    int rc = UMBRA_OK;
    while (rc == UMBRA_OK && (peek(f) == '.' || peek(f) == '[')) {
        bool bracket = peek(f) == '[';
        size_t begin = ++f->at;
        while (f->at < f->s->bytes &&
               !strchr(bracket ? "]" : ".[!:}", f->s->data[f->at] ? f->s->data[f->at] : ' '))
            f->at++;
        umbra_tpl_value name;
        int64_t i;
        rc = umbra_tpl_part(f->b.c, f->s, begin, f->at, &name);
        f->at += bracket;
        if (rc == UMBRA_OK && bracket && umbra_tpl_parse_int(name.u.string, 10, &i))
            name = umbra_tpl_int(i);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_item(f->b.c, *v, name, v);
    }
    return rc;
}

static int put_field(formatter *f, const umbra_tpl_args *args, size_t *next)
{
    umbra_tpl_value v;
    spec p = {.fill = ' ', .precision = -1};
    int rc = find_field(f, args, next, &v);
    if (rc == UMBRA_OK)
        rc = follow_field(f, &v);
    if (rc == UMBRA_OK && peek(f) == '!') {
        char kind = f->at + 1 < f->s->bytes ? f->s->data[f->at + 1] : '\0';
        f->at += 2;
        rc = kind == 's' ? umbra_tpl_to_text(f->b.c, v, &v) : to_repr(f->b.c, v, &v);
    }
    if (rc == UMBRA_OK && peek(f) == ':') {
        f->at++;
        rc = read_spec(f, &p);
    }
    if (rc == UMBRA_OK && peek(f) != '}')
        return umbra_tpl_fail(f->b.c, "format(): a field in braces is malformed");
    f->at++;
    return rc == UMBRA_OK ? put_formatted(f, &p, v) : rc;
}

int umbra_tpl_format_braces(umbra_tpl_context *c, const umbra_tpl_string *format,
                            const umbra_tpl_args *args, umbra_tpl_value *out)
{
    formatter f = {.s = format};
    size_t next = 0;
    int rc = UMBRA_OK;
    umbra_tpl_builder_init(&f.b, c);
    while (rc == UMBRA_OK && f.at < format->bytes) {
        size_t from = f.at;
        while (f.at < format->bytes && peek(&f) != '{' && peek(&f) != '}')
            f.at++;
        rc = umbra_tpl_put_part(&f.b, format, from, f.at);
        if (rc != UMBRA_OK || f.at == format->bytes)
            break;
        bool twice = f.at + 1 < format->bytes && format->data[f.at + 1] == peek(&f);
        if (twice) {
            rc = umbra_tpl_put_part(&f.b, format, f.at, f.at + 1);
            f.at += 2;
        } else if (peek(&f) == '}') {
            return umbra_tpl_fail(c, "format(): single '}' in the text");
        } else {
            f.at++;
            rc = put_field(&f, args, &next);
        }
    }
    return rc == UMBRA_OK ? umbra_tpl_built(&f.b, out) : rc;
}
