/* Unicode's normal form C (composed), piece by piece, so that neither a long text nor a long run of
 * combining marks costs more than a few bytes per byte. */
#include <string.h>

#include <utf8proc.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"

/* Below this no character composes with one before it, and none changes alone. */
#define FIRST_MARK      0x300u
#define FIRST_MARK_LEAD 0xcc /* first byte of its UTF-8 */

/* Most code points that one decomposes into: four, and the library may ask for more room. */
enum { MOST_PARTS = 16 };

typedef struct composer {
    char *out;
    size_t used, room;
    utf8proc_int32_t *codes, *sorted; /* (n_codes) */
    size_t n_codes;
} composer;

static int append(composer *c, const char *s, size_t n, umbra_error *err)
{
    if (n > c->room - c->used) {
        size_t room = 2 * c->room + n;
        char *larger = umbra_reallocarray(c->out, room, 1);
        if (!larger)
            return umbra_fail_nomem(err, "composing a text", room);
        c->out = larger;
        c->room = room;
    }
    memcpy(c->out + c->used, s, n);
    c->used += n;
    return UMBRA_OK;
}

static int reserve(composer *c, size_t n, umbra_error *err)
{
    if (n <= c->n_codes)
        return UMBRA_OK;
    n *= 2;
    utf8proc_int32_t *codes = umbra_reallocarray(c->codes, n, sizeof *codes);
    c->codes = codes ? codes : c->codes;
    utf8proc_int32_t *sorted = umbra_reallocarray(c->sorted, n, sizeof *sorted);
    c->sorted = sorted ? sorted : c->sorted;
    if (!codes || !sorted)
        return umbra_fail_nomem(err, "composing a text", 2 * n * sizeof *codes);
    c->n_codes = n;
    return UMBRA_OK;
}

static int class_of(utf8proc_int32_t code)
{
    return (int)utf8proc_get_property(code)->combining_class;
}

/* Whether nothing before this character can compose with it, or go behind it. Vowel and final
 * letters of Hangul and the vowels of Kirat Rai compose though they are no marks; U+11A7, between
 * the two, does not, but the library takes it for one that does. */
static bool begins_piece(uint32_t code)
{
    if (code < FIRST_MARK)
        return true;
    if ((code >= 0x1160 && code <= 0x11ff && code != 0x11a7) ||
        (code >= 0x16d40 && code <= 0x16d7f))
        return false;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)code);
    return p->combining_class == 0 && p->category != UTF8PROC_CATEGORY_MN &&
           p->category != UTF8PROC_CATEGORY_MC && p->category != UTF8PROC_CATEGORY_ME;
}

/* Puts marks that follow each other in the order of their classes; equal ones keep theirs. */
static void sort_marks(composer *c, size_t n)
{
    for (size_t at = 0, end; at < n; at = end) {
        uint32_t start[257] = {0};
        for (end = at; end < n && class_of(c->codes[end]) > 0; end++)
            start[class_of(c->codes[end]) + 1]++;
        if (end - at > 1) {
            for (int i = 1; i < 257; i++)
                start[i] += start[i - 1];
            for (size_t i = at; i < end; i++)
                c->sorted[start[class_of(c->codes[i])]++] = c->codes[i];
            memcpy(c->codes + at, c->sorted, (end - at) * sizeof *c->codes);
        }
        end += end == at;
    }
}

/* A character and what composes with it. */
static int compose_piece(composer *c, const char *s, size_t bytes, umbra_error *err)
{
    size_t n = 0;
    int rc = UMBRA_OK;
    for (size_t i = 0, length; i < bytes; i += length) {
        length = umbra_utf8_length(s + i, bytes - i);
        rc = reserve(c, n + MOST_PARTS, err);
        if (rc != UMBRA_OK)
            return rc;
        utf8proc_int32_t code = (utf8proc_int32_t)umbra_utf8_decode(s + i, length);
        int boundary = UTF8PROC_BOUNDCLASS_START;
        utf8proc_ssize_t parts = utf8proc_decompose_char(
            code, c->codes + n, MOST_PARTS, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        if (parts < 1 || parts > MOST_PARTS) {
            c->codes[n] = code;
            parts = 1;
        }
        n += (size_t)parts;
    }
    sort_marks(c, n);
    utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(c->codes, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; rc == UMBRA_OK && i < composed; i++) {
        char utf8[4];
        rc = append(c, utf8, umbra_utf8_encode((uint32_t)c->codes[i], utf8), err);
    }
    return rc;
}

static bool is_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= FIRST_MARK_LEAD)
            return false;
    return true;
}

int umbra_normalise(const char *text, size_t n, char **out, size_t *out_n, umbra_error *err)
{
    *out = NULL;
    *out_n = n;
    if (is_plain(text, n))
        return UMBRA_OK;
    composer c = {.out = umbra_calloc(n, 1), .room = n};
    int rc = c.out ? UMBRA_OK : umbra_fail_nomem(err, "composing a text", n);
    for (size_t at = 0, end; rc == UMBRA_OK && at < n; at = end) {
        end = at + umbra_utf8_length(text + at, n - at);
        for (size_t length; end < n; end += length) {
            length = umbra_utf8_length(text + end, n - end);
            if (begins_piece(umbra_utf8_decode(text + end, length)))
                break;
        }
        rc = is_plain(text + at, end - at) ? append(&c, text + at, end - at, err)
                                           : compose_piece(&c, text + at, end - at, err);
    }
    umbra_free(c.codes);
    umbra_free(c.sorted);
    if (rc != UMBRA_OK) {
        umbra_free(c.out);
        return rc;
    }
    *out = c.out;
    *out_n = c.used;
    return UMBRA_OK;
}
