/* Parts of strings: characters, searching, stripping. */
#include <string.h>

#include "base/utf8.h"
#include "template/text.h"

size_t umbra_tpl_count_chars(const char *data, size_t bytes)
{
    size_t chars = 0;
    for (size_t i = 0; i < bytes; i++)
        chars += ((unsigned char)data[i] & 0xc0) != 0x80;
    return chars;
}

uint32_t umbra_tpl_char_at(const char *s)
{
    return umbra_utf8_decode(s, umbra_tpl_char_bytes(s));
}

size_t umbra_tpl_char_offset(const umbra_tpl_string *s, size_t index)
{
    if (index >= s->chars)
        return s->bytes;
    if (s->chars == s->bytes)
        return index;
    size_t at = 0;
    while (index-- > 0)
        at += umbra_tpl_char_bytes(s->data + at);
    return at;
}

int umbra_tpl_part(umbra_tpl_context *c, const umbra_tpl_string *s, size_t begin, size_t end,
                   umbra_tpl_value *out)
{
    int rc = umbra_tpl_text(c, s->data + begin, end - begin, s->input, out);
    if (rc == UMBRA_OK && s->marks) {
        umbra_tpl_string *part = (umbra_tpl_string *)(uintptr_t)out->u.string;
        part->marks = s->marks + begin;
    }
    return rc;
}

int64_t umbra_tpl_find(const umbra_tpl_string *s, const umbra_tpl_string *part, size_t begin,
                       size_t end)
{
    if (begin > end)
        return -1;
    if (part->bytes == 0)
        return (int64_t)begin;
    const char *found = memmem(s->data + begin, end - begin, part->data, part->bytes);
    return found ? found - s->data : -1;
}

int umbra_tpl_find_last(umbra_tpl_context *c, const umbra_tpl_string *s,
                        const umbra_tpl_string *part, size_t begin, size_t end, int64_t *out)
{
    *out = -1;
    int rc = umbra_tpl_scan(c, end > begin ? end - begin : 0);
    if (begin > end || part->bytes > end - begin)
        return rc;
    for (size_t at = end - part->bytes + 1; rc == UMBRA_OK && *out < 0 && at-- > begin;) {
        if (part->bytes > 0 && s->data[at] != part->data[0])
            continue;
        rc = umbra_tpl_scan(c, part->bytes);
        if (part->bytes == 0 || memcmp(s->data + at, part->data, part->bytes) == 0)
            *out = (int64_t)at;
    }
    return rc;
}

bool umbra_tpl_starts(const umbra_tpl_string *s, const umbra_tpl_string *prefix)
{
    return s->bytes >= prefix->bytes &&
           (prefix->bytes == 0 || memcmp(s->data, prefix->data, prefix->bytes) == 0);
}

bool umbra_tpl_ends(const umbra_tpl_string *s, const umbra_tpl_string *suffix)
{
    return s->bytes >= suffix->bytes &&
           (suffix->bytes == 0 ||
            memcmp(s->data + s->bytes - suffix->bytes, suffix->data, suffix->bytes) == 0);
}

bool umbra_tpl_is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

static bool to_strip(const char *at, const umbra_tpl_string *chars)
{
    if (!chars)
        return umbra_tpl_is_space(umbra_tpl_char_at(at));
    size_t n = umbra_tpl_char_bytes(at);
    for (size_t i = 0; i < chars->bytes; i += umbra_tpl_char_bytes(chars->data + i))
        if (umbra_tpl_char_bytes(chars->data + i) == n && memcmp(chars->data + i, at, n) == 0)
            return true;
    return false;
}

int umbra_tpl_strip(umbra_tpl_context *c, const umbra_tpl_string *s, const umbra_tpl_string *chars,
                    int sides, umbra_tpl_value *out)
{
    size_t begin = 0, end = s->bytes;
    int rc = umbra_tpl_scan(c, chars ? chars->bytes : 0);
    while (rc == UMBRA_OK && (sides & TPL_STRIP_LEFT) && begin < end &&
           to_strip(s->data + begin, chars)) {
        begin += umbra_tpl_char_bytes(s->data + begin);
        rc = umbra_tpl_scan(c, chars ? 64 + chars->bytes : 8);
    }
    while (rc == UMBRA_OK && (sides & TPL_STRIP_RIGHT) && begin < end) {
        size_t at = end - 1;
        while (((unsigned char)s->data[at] & 0xc0) == 0x80)
            at--;
        if (!to_strip(s->data + at, chars))
            break;
        end = at;
        rc = umbra_tpl_scan(c, chars ? 64 + chars->bytes : 8);
    }
    return rc == UMBRA_OK ? umbra_tpl_part(c, s, begin, end, out) : rc;
}

bool umbra_tpl_is_printable(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } hidden[] = {
        {0x00, 0x1f},     {0x7f, 0xa0},       {0xad, 0xad},       {0x600, 0x605},
        {0x61c, 0x61c},   {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x1680, 0x1680},
        {0x180e, 0x180e}, {0x2000, 0x200f},   {0x2028, 0x202f},   {0x205f, 0x206f},
        {0x3000, 0x3000}, {0xd800, 0xf8ff},   {0xfeff, 0xfeff},   {0xfff0, 0xfffb},
        {0xfffe, 0xffff}, {0x1d173, 0x1d17a}, {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff},
    };
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (code >= hidden[i].first && code <= hidden[i].last)
            return false;
    return true;
}
