/* Finds stop strings in a text that comes piece by piece. */
#include <string.h>

#include <umbra/stops.h>

#include "base/error.h"
#include "base/memory.h"
#include "chat/held.h"

typedef struct stop {
    char *text;
    size_t bytes;
} stop;

struct umbra_stops {
    stop *stops; /* (n) */
    int n;
    int found; /* -1: none yet */
    umbra_held held;
};

int umbra_stops_open(umbra_stops **out, const char *const *texts, int n, umbra_error *err)
{
    *out = NULL;
    umbra_stops *s = umbra_calloc(1, sizeof *s);
    if (s)
        s->stops = umbra_calloc((size_t)n, sizeof *s->stops);
    bool whole = s && s->stops;
    for (int i = 0; whole && i < n; i++) {
        s->stops[i] = (stop){umbra_strdup(texts[i]), strlen(texts[i])};
        s->n = i + 1;
        whole = s->stops[i].text != NULL;
        if (whole && s->stops[i].bytes == 0) {
            umbra_stops_close(&s);
            return umbra_fail(err, UMBRA_E_ARGUMENT, "stop string %d is empty", i + 1);
        }
    }
    if (!whole) {
        umbra_stops_close(&s);
        return umbra_fail_nomem(err, "the stop strings", 0);
    }
    s->found = -1;
    *out = s;
    return UMBRA_OK;
}

void umbra_stops_close(umbra_stops **p)
{
    if (!*p)
        return;
    for (int i = 0; i < (*p)->n; i++)
        umbra_free((*p)->stops[i].text);
    umbra_free((*p)->stops);
    umbra_held_release(&(*p)->held);
    umbra_free(*p);
    *p = NULL;
}

/* The shortest stop string that stands at text (n bytes), or -1; *partial: one may, once more has
 * come. The shortest is whole first, so it does not matter in what pieces the text comes. */
static int find(const umbra_stops *s, const char *text, size_t n, bool *partial)
{
    int found = -1;
    for (int i = 0; i < s->n; i++) {
        const stop *t = &s->stops[i];
        size_t common = t->bytes < n ? t->bytes : n;
        if (memcmp(t->text, text, common) != 0)
            continue;
        if (common < t->bytes)
            *partial = true;
        else if (found < 0 || t->bytes < s->stops[found].bytes)
            found = i;
    }
    return found;
}

/* Hands out what is held up to a stop string or, unless the text has ended, to what may be the
 * beginning of one. */
static void give(umbra_stops *s, bool ended, const char **out, size_t *out_bytes)
{
    size_t at = 0;
    bool partial = false;
    for (; at < s->held.bytes; at++) {
        s->found = find(s, s->held.text + at, s->held.bytes - at, &partial);
        if (s->found >= 0 || (partial && !ended))
            break;
    }
    if (s->found < 0 && !ended)
        at = umbra_whole_characters(s->held.text, at);
    *out = umbra_held_give(&s->held, at);
    *out_bytes = at;
}

int umbra_stops_take(umbra_stops *s, const char *bytes, size_t n, const char **out,
                     size_t *out_bytes)
{
    *out = "";
    *out_bytes = 0;
    if (s->found >= 0)
        return 1;
    if (!umbra_held_add(&s->held, bytes, n))
        return UMBRA_E_NOMEM;
    give(s, false, out, out_bytes);
    return s->found >= 0;
}

void umbra_stops_end(umbra_stops *s, const char **out, size_t *out_bytes)
{
    *out = "";
    *out_bytes = 0;
    if (s->found >= 0)
        return;
    umbra_held_drop(&s->held);
    give(s, true, out, out_bytes);
}

int umbra_stops_found(const umbra_stops *s)
{
    return s->found;
}
