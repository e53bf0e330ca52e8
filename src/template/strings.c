/* Work on strings that filters and methods share. */
#include <string.h>

#include "template/strings.h"

static bool begins_word(uint32_t code)
{
    return umbra_tpl_is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' ||
           code == '<';
}

/* Whether the character behind `before` (0: none) becomes a capital. */
static bool capital(umbra_tpl_case to, uint32_t code, uint32_t before, bool first)
{
    switch (to) {
    case TPL_CASE_UPPER:
        return true;
    case TPL_CASE_LOWER:
        return false;
    case TPL_CASE_CAPITALIZE:
        return first;
    case TPL_CASE_TITLE:
        return first || !umbra_tpl_is_letter(before);
    case TPL_CASE_WORDS:
        return first || begins_word(before);
    case TPL_CASE_SWAP:
        return umbra_tpl_upper(code) != code;
    }
    return false;
}

int umbra_tpl_change_case(umbra_tpl_context *c, const umbra_tpl_string *s, umbra_tpl_case to,
                          umbra_tpl_value *out)
{
    enum { SHARP_S = 0xdf };
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_scan(c, s->bytes);
    uint32_t before = 0;
    for (size_t i = 0; rc == UMBRA_OK && i < s->bytes; i += umbra_tpl_char_bytes(s->data + i)) {
        uint32_t code = umbra_tpl_char_at(s->data + i);
        bool input = s->marks ? s->marks[i] : s->input;
        bool large = capital(to, code, before, i == 0);
        if (large && code == SHARP_S)
            rc = umbra_tpl_put_word(&b, to == TPL_CASE_UPPER || to == TPL_CASE_WORDS ? "SS" : "Ss",
                                    input);
        else
            rc = umbra_tpl_put_code(&b, large ? umbra_tpl_upper(code) : umbra_tpl_lower(code),
                                    input);
        before = code;
    }
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

bool umbra_tpl_is_word_char(uint32_t code)
{
    return umbra_tpl_is_letter(code) || (code >= '0' && code <= '9') || code == '_';
}

int umbra_tpl_replace(umbra_tpl_context *c, const umbra_tpl_string *s, const umbra_tpl_string *from,
                      const umbra_tpl_string *to, int64_t most, umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    size_t at = 0;
    int rc = umbra_tpl_scan(c, s->bytes);
    for (int64_t done = 0; rc == UMBRA_OK && (most < 0 || done < most); done++) {
        int64_t found = umbra_tpl_find(s, from, at, s->bytes);
        if (found < 0)
            break;
        size_t stop = (size_t)found;
        if (from->bytes == 0 && done > 0) { /* before each character and at the end */
            if (at == s->bytes)
                break;
            stop = at + umbra_tpl_char_bytes(s->data + at);
        }
        rc = umbra_tpl_put_part(&b, s, at, stop);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_string(&b, to);
        at = stop + from->bytes;
        rc = rc == UMBRA_OK ? umbra_tpl_step(c, 1) : rc;
    }
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_part(&b, s, at, s->bytes);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static int put_fill(umbra_tpl_builder *b, uint32_t fill, int64_t times)
{
    if (fill < 0x80)
        return umbra_tpl_put_repeated(b, (char)fill, times, false);
    int rc = UMBRA_OK;
    for (int64_t i = 0; rc == UMBRA_OK && i < times; i++)
        rc = umbra_tpl_put_code(b, fill, false);
    return rc;
}

int umbra_tpl_pad(umbra_tpl_context *c, const umbra_tpl_string *s, int64_t width, uint32_t fill,
                  char side, umbra_tpl_value *out)
{
    int64_t more = width - (int64_t)s->chars;
    more = more < 0 ? 0 : more;
    int64_t left = side == '<' ? 0 : side == '>' ? more : more / 2;
    if (side == '|') /* of an odd rest the middle gives the left more where the width is odd */
        left += more & width & 1;
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = put_fill(&b, fill, left);
    if (rc == UMBRA_OK)
        rc = umbra_tpl_put_string(&b, s);
    if (rc == UMBRA_OK)
        rc = put_fill(&b, fill, more - left);
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

static bool is_line_end(uint32_t code)
{
    return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
}

bool umbra_tpl_ends_line(const umbra_tpl_string *s)
{
    size_t at = s->bytes;
    if (at == 0)
        return false;
    do
        at--;
    while (((unsigned char)s->data[at] & 0xc0) == 0x80);
    return is_line_end(umbra_tpl_char_at(s->data + at));
}

int umbra_tpl_split_lines(umbra_tpl_context *c, const umbra_tpl_string *s, bool keep_ends,
                          umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_list(c, TPL_LIST, 0, out);
    for (size_t begin = 0; rc == UMBRA_OK && begin < s->bytes;) {
        size_t end = begin, next;
        while (end < s->bytes && !is_line_end(umbra_tpl_char_at(s->data + end)))
            end += umbra_tpl_char_bytes(s->data + end);
        next = end < s->bytes ? end + umbra_tpl_char_bytes(s->data + end) : end;
        if (next < s->bytes && s->data[end] == '\r' && s->data[next] == '\n')
            next++;
        umbra_tpl_value line;
        rc = umbra_tpl_part(c, s, begin, keep_ends ? next : end, &line);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, line);
        begin = next;
    }
    return rc == UMBRA_OK ? umbra_tpl_scan(c, s->bytes) : rc;
}

int umbra_tpl_join(umbra_tpl_context *c, const umbra_tpl_string *between,
                   const umbra_tpl_value *items, size_t n, umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_step(c, n);
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        if (i > 0)
            rc = umbra_tpl_put_string(&b, between);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_put_value(&b, items[i]);
    }
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

int umbra_tpl_escape(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out)
{
    static const char from[] = "&<>\"'";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    umbra_tpl_value text;
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = umbra_tpl_to_text(c, v, &text);
    if (rc != UMBRA_OK || text.u.string->safe) {
        *out = text;
        return rc;
    }
    const umbra_tpl_string *s = text.u.string;
    for (size_t i = 0; rc == UMBRA_OK && i < s->bytes; i++) {
        const char *at = s->data[i] ? strchr(from, s->data[i]) : NULL;
        rc = at ? umbra_tpl_put_word(&b, to[at - from], s->marks ? s->marks[i] : s->input)
                : umbra_tpl_put_part(&b, s, i, i + 1);
    }
    if (rc == UMBRA_OK)
        rc = umbra_tpl_built(&b, out);
    if (rc == UMBRA_OK)
        ((umbra_tpl_string *)(uintptr_t)out->u.string)->safe = true;
    return rc == UMBRA_OK ? umbra_tpl_scan(c, s->bytes) : rc;
}
