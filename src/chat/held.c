/* Keeps bytes that have come and are not handed out yet. */
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "chat/held.h"

enum { LEAST_ROOM = 64, CHARACTER_BYTES = 4 };

void umbra_held_release(umbra_held *h)
{
    umbra_free(h->text);
    *h = (umbra_held){0};
}

void umbra_held_drop(umbra_held *h)
{
    if (h->given > 0)
        memmove(h->text, h->text + h->given, h->bytes - h->given);
    h->bytes -= h->given;
    h->given = 0;
}

bool umbra_held_add(umbra_held *h, const char *bytes, size_t n)
{
    umbra_held_drop(h);
    if (h->room - h->bytes < n) {
        size_t room = 2 * (h->bytes + n) + LEAST_ROOM;
        char *text = umbra_reallocarray(h->text, room, 1);
        if (!text)
            return false;
        h->text = text;
        h->room = room;
    }
    if (n > 0)
        memcpy(h->text + h->bytes, bytes, n);
    h->bytes += n;
    return true;
}

const char *umbra_held_give(umbra_held *h, size_t n)
{
    h->given = n;
    return h->text ? h->text : "";
}

/* Bytes of the character that this one begins; 1: it begins none of several. */
static size_t announced(unsigned char first)
{
    return first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1;
}

size_t umbra_whole_characters(const char *text, size_t n)
{
    for (size_t back = 1; back < CHARACTER_BYTES && back <= n; back++) {
        unsigned char c = (unsigned char)text[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        return c < 0xf5 && announced(c) > back ? n - back : n;
    }
    return n;
}
