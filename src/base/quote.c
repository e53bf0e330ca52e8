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
    return !control && !turns_text;
}

enum { PIECE = 5 /* the longest: \xNN, with its NUL */ };

/* What stands for the beginning of s: a character, or the first byte as \xNN. also: characters that
 * are escaped too. Returns the bytes of s that it covers, those of the piece in *length. */
static size_t next_piece(const char *s, size_t bytes, const char *also, char piece[PIECE],
                         size_t *length)
{
    *length = umbra_utf8_length(s, bytes);
    if (*length > 0 && is_plain(s, *length) && !strchr(also, *s)) {
        memcpy(piece, s, *length);
        return *length;
    }
    *length = (size_t)snprintf(piece, PIECE, "\\x%02x", (unsigned)(unsigned char)*s);
    return 1;
}

void umbra_plain_text(char *out, size_t size, const char *s, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes;) {
        char piece[PIECE];
        size_t length;
        i += next_piece(s + i, bytes - i, "", piece, &length);
        if (used + length >= size)
            break;
        memcpy(out + used, piece, length);
        used += length;
    }
    out[used] = '\0';
}

umbra_quoted umbra_quote(const char *s, size_t bytes)
{
    static const char cut[] = "...";
    umbra_quoted q;
    size_t used = 0;
    for (size_t i = 0; i < bytes;) {
        char piece[PIECE];
        size_t length;
        i += next_piece(s + i, bytes - i, "\"\\", piece, &length);
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
