/* Makes foreign text fit to print. */
#include "base/quote.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static bool is_plain(const char *s, size_t length)
{
    uint32_t code = umbra_utf8_decode(s, length);
    bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool turns_text = (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                      (code >= 0x2066 && code <= 0x2069);
    return !control && !turns_text && code != '"' && code != '\\';
}

umbra_quoted umbra_quote(const char *s, size_t bytes)
{
    static const char cut[] = "...";
    umbra_quoted q;
    size_t used = 0;
    for (size_t i = 0; i < bytes;) {
        char piece[8];
        size_t taken = umbra_utf8_length(s + i, bytes - i);
        size_t length = taken;
        if (taken > 0 && is_plain(s + i, taken)) {
            memcpy(piece, s + i, taken);
        } else {
            taken = 1;
            length =
                (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned)(unsigned char)s[i]);
        }
        i += taken;
        size_t tail = i < bytes ? sizeof cut : 1;
        if (used + length + tail > sizeof q.text) {
            memcpy(q.text + used, cut, sizeof cut);
            return q;
        }
        memcpy(q.text + used, piece, length);
        used += length;
    }
    q.text[used] = '\0';
    return q;
}
