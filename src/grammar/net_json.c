/* The rules of JSON that schemas are made of. */
#include <string.h>

#include "grammar/net.h"

enum {
    INDENTATION = 24,
    INTEGER_DIGITS = 15, /* whole numbers stay exact in every reader */
    FRACTION_DIGITS = 16,
    EXPONENT_DIGITS = 2 /* no reader overflows */
};

/* At most so many of a set, one after the other. */
static int up_to(umbra_net *net, int most, const char *characters, int next)
{
    int at = next;
    for (int i = 0; i < most; i++)
        at = umbra_net_split(net, umbra_net_one_of(net, characters, at), next);
    return at;
}

/* Nothing, a space, or a new line and an indentation. */
static int make_space(umbra_net *net)
{
    int line = umbra_net_one_of(net, "\n", up_to(net, INDENTATION, " ", 0));
    return umbra_net_split(net, umbra_net_split(net, umbra_net_one_of(net, " ", 0), line), 0);
}

static int tail(umbra_net *net, int n)
{
    int at = 0;
    while (n-- > 0)
        at = umbra_net_range(net, 0x80, 0xbf, at);
    return at;
}

/* One character of UTF-8 beyond ASCII: no overlong forms, no surrogates. */
static int make_wide(umbra_net *net)
{
    static const struct {
        int first, last, low, high, more;
    } forms[] = {
        {0xe0, 0xe0, 0xa0, 0xbf, 1}, {0xe1, 0xec, 0x80, 0xbf, 1}, {0xed, 0xed, 0x80, 0x9f, 1},
        {0xee, 0xef, 0x80, 0xbf, 1}, {0xf0, 0xf0, 0x90, 0xbf, 2}, {0xf1, 0xf3, 0x80, 0xbf, 2},
        {0xf4, 0xf4, 0x80, 0x8f, 2},
    };
    int all = umbra_net_range(net, 0xc2, 0xdf, tail(net, 1));
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
        int second = umbra_net_range(net, forms[i].low, forms[i].high, tail(net, forms[i].more));
        all =
            umbra_net_split(net, umbra_net_range(net, forms[i].first, forms[i].last, second), all);
    }
    return all;
}

/* Behind "\u": no surrogate, and not U+0000, which not every reader takes. */
static int make_code(umbra_net *net)
{
    static const char hex[] = "0123456789abcdefABCDEF", some[] = "123456789abcdefABCDEF";
    int h1 = umbra_net_one_of(net, hex, 0), h2 = umbra_net_one_of(net, hex, h1),
        h3 = umbra_net_one_of(net, hex, h2);
    int most = umbra_net_one_of(net, "123456789abcefABCEF", h3);
    int d = umbra_net_one_of(net, "dD", umbra_net_one_of(net, "01234567", h2));
    int low = umbra_net_split(net, umbra_net_one_of(net, some, h1),
                              umbra_net_one_of(net, "0", umbra_net_one_of(net, some, 0)));
    low = umbra_net_split(net, umbra_net_one_of(net, some, h2), umbra_net_one_of(net, "0", low));
    low = umbra_net_one_of(net, "0", low);
    return umbra_net_split(net, most, umbra_net_split(net, d, low));
}

static int make_escape(umbra_net *net)
{
    int simple = umbra_net_one_of(net, "\"\\/bfnrt", 0);
    int code = umbra_net_one_of(net, "u", make_code(net));
    return umbra_net_one_of(net, "\\", umbra_net_split(net, simple, code));
}

/* What may stand in a string without an escape, of ASCII. */
static byte_set plain_bytes(void)
{
    byte_set set = {{0}};
    for (int b = 0x20; b <= 0x7e; b++)
        if (b != '"' && b != '\\')
            set.bits[b / 64] |= UINT64_C(1) << b % 64;
    return set;
}

static int make_character(umbra_net *net, int wide, int escape)
{
    byte_set set = plain_bytes();
    if (net->shunned) /* by its first byte: a character knows nothing of the one before */
        set.bits[*net->shunned / 64] &= ~(UINT64_C(1) << *net->shunned % 64);
    int plain = umbra_net_set(net, set, 0);
    return umbra_net_split(net, plain, umbra_net_split(net, wide, escape));
}

/* The inside of a string in which a text does not stand, and its end. */
static int without(umbra_net *net, const char *text, int wide, int escape)
{
    int end = umbra_net_one_of(net, "\"", 0), at[SHUNNED_BYTES];
    const byte_set can = plain_bytes();
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        at[i] = umbra_net_forward(net);
    for (size_t i = 0; i < n; i++) {
        int more = umbra_net_split(net, umbra_net_call(net, wide, at[0]),
                                   umbra_net_call(net, escape, at[0]));
        more = umbra_net_split(net, more, umbra_net_seen(net, text, i, &can, at, -1));
        umbra_net_lead(net, at[i], umbra_net_split(net, more, end));
    }
    return at[0];
}

static int make_string(umbra_net *net, int wide, int escape)
{
    const char *quotes = net->quotes;
    if (quotes)
        return umbra_net_literal(net, quotes, strlen(quotes), umbra_net_until(net, quotes, 0));
    if (net->shunned)
        return umbra_net_one_of(net, "\"", without(net, net->shunned, wide, escape));
    int end = umbra_net_one_of(net, "\"", 0);
    return umbra_net_one_of(net, "\"", umbra_net_repeat(net, net->character, 0, -1, false, end));
}

/* Digits without a sign, then `next`. */
static int whole(umbra_net *net, int next)
{
    int more = up_to(net, INTEGER_DIGITS - 1, "0123456789", next);
    return umbra_net_split(net, umbra_net_one_of(net, "123456789", more),
                           umbra_net_one_of(net, "0", next));
}

static int with_sign(umbra_net *net, int unsigned_number)
{
    return umbra_net_split(net, umbra_net_one_of(net, "-", unsigned_number), unsigned_number);
}

static int make_number(umbra_net *net)
{
    static const char digits[] = "0123456789";
    int exponent = umbra_net_one_of(net, digits, up_to(net, EXPONENT_DIGITS - 1, digits, 0));
    exponent = umbra_net_split(net, umbra_net_one_of(net, "+-", exponent), exponent);
    exponent = umbra_net_split(net, umbra_net_one_of(net, "eE", exponent), 0);
    int fraction = umbra_net_one_of(net, digits, up_to(net, FRACTION_DIGITS - 1, digits, exponent));
    fraction = umbra_net_split(net, umbra_net_one_of(net, ".", fraction), exponent);
    return whole(net, fraction);
}

static int make_array(umbra_net *net)
{
    int end = umbra_net_call(net, net->space, umbra_net_one_of(net, "]", 0));
    int items = umbra_net_repeat(net, net->value, 0, -1, true, end);
    return umbra_net_one_of(net, "[", umbra_net_call(net, net->space, items));
}

static int make_any(umbra_net *net)
{
    int all = umbra_net_literal(net, "null", 4, 0);
    all = umbra_net_split(net, umbra_net_literal(net, "true", 4, 0), all);
    all = umbra_net_split(net, umbra_net_literal(net, "false", 5, 0), all);
    all = umbra_net_split(net, umbra_net_call(net, net->number, 0), all);
    all = umbra_net_split(net, umbra_net_call(net, net->string, 0), all);
    all = umbra_net_split(net, make_array(net), all);
    return umbra_net_split(net, umbra_net_call(net, net->object, 0), all);
}

int umbra_net_word(umbra_net *net, int next)
{
    int loop = umbra_net_forward(net);
    int letter = umbra_net_one_of(net, NET_LETTERS, loop);
    umbra_net_lead(net, loop, umbra_net_split(net, letter, next));
    return letter;
}

int umbra_net_pairs(umbra_net *net, int value)
{
    int colon =
        umbra_net_one_of(net, ":", umbra_net_call(net, net->space, umbra_net_call(net, value, 0)));
    int pair = net->quotes ? umbra_net_word(net, colon) : umbra_net_call(net, net->string, colon);
    int end = umbra_net_call(net, net->space, umbra_net_one_of(net, "}", 0));
    int pairs = umbra_net_repeat(net, pair, 0, -1, true, end);
    return umbra_net_one_of(net, "{", umbra_net_call(net, net->space, pairs));
}

void umbra_net_json(umbra_net *net)
{
    net->space = make_space(net);
    int wide = make_wide(net), escape = make_escape(net);
    net->character = make_character(net, wide, escape);
    net->string = make_string(net, wide, escape);
    net->natural = whole(net, 0);
    net->positive =
        umbra_net_one_of(net, "123456789", up_to(net, INTEGER_DIGITS - 1, "0123456789", 0));
    net->integer = with_sign(net, net->natural);
    net->natural_number = make_number(net);
    net->number = with_sign(net, net->natural_number);
    net->value = umbra_net_forward(net);
    net->object = umbra_net_forward(net);
    umbra_net_lead(net, net->object, umbra_net_pairs(net, net->value));
    umbra_net_lead(net, net->value, make_any(net));
}
