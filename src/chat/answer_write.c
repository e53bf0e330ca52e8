/* Tells the listener of an answer what has come. */
#include <string.h>

#include "base/json_reader.h"
#include "base/memory.h"
#include "chat/answer.h"

bool umbra_answer_add(umbra_answer *a, umbra_held *to, const char *text, size_t n)
{
    bool whole = umbra_held_add(to, text, n);
    if (!whole)
        a->rc = UMBRA_E_NOMEM;
    return whole;
}

void umbra_answer_tell(umbra_answer *a, umbra_answer_event *e)
{
    if (a->rc == UMBRA_OK)
        a->rc = a->listener(a->user, e);
}

/* ---- text and reasoning ---- */

static void tell_text(umbra_answer *a, const char *text, size_t n)
{
    umbra_answer_event e = {.part = a->part, .call = -1, .text = text, .bytes = n};
    if (n > 0)
        umbra_answer_tell(a, &e);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void umbra_answer_write(umbra_answer *a, umbra_answer_part part, const char *text, size_t n)
{
    if (part != a->part) {
        a->spaces.bytes = a->spaces.given = 0;
        a->part = part;
        a->begun = false;
    }
    /* Only an answer that begins with text may begin with spaces. */
    bool strip = !a->begun && (part == UMBRA_ANSWER_REASONING || a->stripped);
    while (strip && n > 0 && is_space(*text)) {
        text++;
        n--;
    }
    size_t end = n;
    while (end > 0 && is_space(text[end - 1]))
        end--;
    if (end > 0) {
        if (a->spaces.bytes > 0)
            tell_text(a, a->spaces.text, a->spaces.bytes);
        a->spaces.bytes = 0;
        tell_text(a, text, end);
        a->begun = true;
    }
    umbra_answer_add(a, &a->spaces, text + end, n - end);
}

void umbra_answer_write_rest(umbra_answer *a)
{
    if (a->part == UMBRA_ANSWER_TEXT && a->n_calls == 0)
        tell_text(a, a->spaces.text, a->spaces.bytes);
    a->spaces.bytes = 0;
}

/* ---- calls ---- */

static void clear(umbra_held *h)
{
    h->bytes = h->given = 0;
}

void umbra_answer_begin_call(umbra_answer *a)
{
    umbra_held *const all[] = {&a->name,  &a->id,        &a->key, &a->between,
                               &a->value, &a->arguments, &a->word};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        clear(all[i]);
    a->spaces.bytes = 0; /* what lies between text and a call belongs to neither */
    a->named = a->quoted = a->begun = false;
    a->open = a->stripped = true;
    a->told = 0;
    a->pairs = 0;
    a->json = (json_follower){0};
    a->member = MEMBER_OTHER;
}

/* The name without what the family writes around it; what stood there becomes the id. */
static void trim_name(umbra_answer *a)
{
    const umbra_family *f = a->family;
    const char *s = a->name.text ? a->name.text : "";
    size_t n = a->name.bytes, prefix = f->name_prefix ? strlen(f->name_prefix) : 0;
    while (n > 0 && is_space(s[n - 1]))
        n--;
    while (n > 0 && is_space(*s)) {
        s++;
        n--;
    }
    if (prefix > 0)
        umbra_answer_add(a, &a->id, s, n);
    if (prefix > 0 && n >= prefix && memcmp(s, f->name_prefix, prefix) == 0) {
        s += prefix;
        n -= prefix;
    }
    const char *cut = f->name_cut ? memchr(s, f->name_cut, n) : NULL;
    n = cut ? (size_t)(cut - s) : n;
    if (n > 0)
        memmove(a->name.text, s, n);
    a->name.bytes = n;
}

void umbra_answer_name_call(umbra_answer *a)
{
    if (a->named)
        return;
    trim_name(a);
    umbra_answer_event e = {.part = UMBRA_ANSWER_CALL,
                            .call = a->n_calls++,
                            .text = a->name.text ? a->name.text : "",
                            .bytes = a->name.bytes,
                            .id = a->id.text ? a->id.text : "",
                            .id_bytes = a->id.bytes};
    a->named = true;
    a->pending = false;
    umbra_answer_tell(a, &e);
}

void umbra_answer_argue(umbra_answer *a, const char *text, size_t n)
{
    umbra_answer_add(a, &a->arguments, text, n);
}

void umbra_answer_argue_escaped(umbra_answer *a, const char *text, size_t n)
{
    static const char hex[] = "0123456789abcdef", from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *simple = c ? memchr(from, c, sizeof from - 1) : NULL;
        char escape[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        if (simple) {
            escape[1] = to[simple - from];
            umbra_answer_argue(a, escape, 2);
        } else if (c < 0x20)
            umbra_answer_argue(a, escape, sizeof escape);
        else
            umbra_answer_argue(a, &text[i], 1);
    }
}

void umbra_answer_flush(umbra_answer *a)
{
    if (!a->open || !a->named)
        return;
    size_t whole = umbra_whole_characters(a->arguments.text, a->arguments.bytes);
    if (whole <= a->told)
        return;
    umbra_answer_event e = {.part = UMBRA_ANSWER_ARGUMENTS,
                            .call = a->n_calls - 1,
                            .text = a->arguments.text + a->told,
                            .bytes = whole - a->told};
    a->told = whole;
    umbra_answer_tell(a, &e);
}

bool umbra_is_json(const char *text, size_t n, bool object)
{
    char *copy = umbra_calloc(n + 1, 1);
    umbra_json_reader r = {.text = copy, .n = n};
    bool is = false;
    if (copy) {
        if (n > 0)
            memcpy(copy, text, n);
        is = (!object || umbra_json_peek(&r) == '{') && umbra_json_skip(&r) &&
             umbra_json_peek(&r) == '\0' && r.at == n;
    }
    umbra_free(copy);
    return is;
}

/* Arguments that came as a JSON string: its text takes their place. */
static void unquote(umbra_answer *a)
{
    const char *inner;
    umbra_json_reader r = {.text = a->arguments.text, .n = a->arguments.bytes};
    a->quoted = false;
    if (umbra_json_read_string(&r, &inner)) {
        size_t n = strlen(inner);
        memmove(a->arguments.text, inner, n);
        a->arguments.bytes = n;
    }
}

void umbra_answer_end_call(umbra_answer *a)
{
    if (!a->open)
        return;
    if (a->quoted)
        unquote(a);
    if (!a->named && a->name.bytes == 0) {
        a->open = false; /* what has no name is no call */
        return;
    }
    umbra_answer_name_call(a);
    if (a->arguments.bytes == 0)
        umbra_answer_argue(a, "{}", 2);
    umbra_answer_flush(a);
    umbra_answer_event e = {.part = UMBRA_ANSWER_CALL_END,
                            .call = a->n_calls - 1,
                            .text = a->arguments.text,
                            .bytes = a->arguments.bytes,
                            .whole = umbra_is_json(a->arguments.text, a->arguments.bytes, true)};
    a->open = false;
    umbra_answer_tell(a, &e);
}
