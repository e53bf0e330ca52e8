/* Puts the bytes of all tokens into a tree. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "grammar/spellings.h"

typedef struct spelled {
    uint32_t offset;
    int32_t id;
    uint8_t bytes;
} spelled;

/* The texts of all tokens that have one, by bytes, then by id. */
typedef struct texts {
    char *bytes;
    size_t used, room;
    spelled *list;
    int n;
} texts;

static int in_order(const void *a, const void *b, void *user)
{
    const texts *t = user;
    const spelled *x = a, *y = b;
    int order = memcmp(t->bytes + x->offset, t->bytes + y->offset,
                       x->bytes < y->bytes ? x->bytes : y->bytes);
    if (order != 0)
        return order;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

size_t umbra_spell(const umbra_model *model, int32_t id, char *out, size_t size)
{
    size_t n = umbra_is_end_token(model, id) ? 0 : umbra_detokenize(model, id, false, out, size);
    if (n > 0)
        return n;
    n = umbra_detokenize(model, id, true, out + 1, size - 2);
    if (n == 0)
        return 0;
    out[0] = SPELLING_CONTROL;
    if (n <= size - 2)
        out[n + 1] = SPELLING_CONTROL_END;
    return n + 2;
}

char *umbra_spell_text(const umbra_model *model, const char *text)
{
    int32_t *ids = NULL;
    size_t count = 0, used = 0, bytes = strlen(text), at = 0;
    char token[SPELLING_BYTES];
    if (umbra_tokenize(model, text, bytes, false, true, &ids, &count, NULL) != UMBRA_OK)
        return NULL;
    char *out = umbra_calloc(bytes + 2 * count + 1, 1);
    for (size_t i = 0; out && i < count; i++) {
        size_t n = umbra_spell(model, ids[i], token, sizeof token);
        if (n == 0 || n > sizeof token || token[0] != SPELLING_CONTROL)
            continue;
        const char *here = memmem(text + at, bytes - at, token + 1, n - 2);
        if (!here)
            continue;
        size_t before = (size_t)(here - text) - at;
        memcpy(out + used, text + at, before);
        memcpy(out + used + before, token, n);
        used += before + n;
        at += before + n - 2;
    }
    if (out)
        memcpy(out + used, text + at, bytes - at);
    umbra_free_tokens(ids);
    return out;
}

/* Whether a token's bytes are no text and no control token either: a byte that no text has. */
static bool is_stray(const char *bytes, size_t n)
{
    return bytes[0] != SPELLING_CONTROL
               ? memchr(bytes, SPELLING_CONTROL, n) || memchr(bytes, SPELLING_CONTROL_END, n)
               : bytes[n - 1] != SPELLING_CONTROL_END || n < 3;
}

/* Tokens without a text of their own, and endless ones, are left out. */
static bool collect(texts *t, const umbra_model *model, int vocabulary)
{
    t->list = umbra_calloc((size_t)vocabulary, sizeof *t->list);
    for (int32_t id = 0; t->list && id < vocabulary; id++) {
        if (t->used + SPELLING_BYTES > t->room) {
            size_t room = 2 * t->room + (1 << 16);
            char *larger = umbra_reallocarray(t->bytes, room, 1);
            if (!larger)
                return false;
            t->bytes = larger;
            t->room = room;
        }
        char *bytes = t->bytes + t->used;
        size_t n = umbra_spell(model, id, bytes, SPELLING_BYTES);
        if (n == 0 || n > SPELLING_BYTES || is_stray(bytes, n))
            continue;
        t->list[t->n++] = (spelled){(uint32_t)t->used, id, (uint8_t)n};
        t->used += n;
    }
    return t->list != NULL;
}

static size_t in_common(const texts *t, const spelled *a, const spelled *b)
{
    size_t n = 0;
    while (n < a->bytes && n < b->bytes && t->bytes[a->offset + n] == t->bytes[b->offset + n])
        n++;
    return n;
}

/* One after the other: each adds the bytes that it does not share with the one before. */
static void lay_out(umbra_spellings *s, const texts *t)
{
    uint32_t path[SPELLING_BYTES + 1];
    size_t depth = 0; /* of the path, whose nodes are still open */
    int32_t last = -1;
    for (int i = 0; i < t->n; i++) {
        const spelled *x = &t->list[i];
        size_t common = i > 0 ? in_common(t, &t->list[i - 1], x) : 0;
        if (i > 0 && common == x->bytes && common == t->list[i - 1].bytes) {
            s->again[last] = x->id;
            last = x->id;
            continue;
        }
        while (depth > common)
            s->nodes[path[--depth]].skip = s->n;
        for (; depth < x->bytes; depth++) {
            path[depth] = s->n;
            s->nodes[s->n++] = (spelling_node){
                .byte = (uint8_t)t->bytes[x->offset + depth], .depth = (uint8_t)depth, .token = -1};
        }
        s->nodes[path[depth - 1]].token = last = x->id;
    }
    while (depth > 0)
        s->nodes[path[--depth]].skip = s->n;
}

int umbra_spellings_open(umbra_spellings **out, const umbra_model *model, umbra_error *err)
{
    *out = NULL;
    umbra_spellings *s = umbra_calloc(1, sizeof *s);
    texts t = {.n = 0};
    bool whole = s != NULL;
    if (whole) {
        s->model = model;
        s->vocabulary = umbra_model_get_info(model)->vocabulary;
        s->again = umbra_calloc((size_t)s->vocabulary, sizeof *s->again);
        whole = s->again && collect(&t, model, s->vocabulary);
    }
    if (whole) {
        qsort_r(t.list, (size_t)t.n, sizeof *t.list, in_order, &t);
        s->nodes = umbra_calloc(t.used, sizeof *s->nodes);
        whole = s->nodes != NULL;
    }
    if (whole) {
        for (int i = 0; i < s->vocabulary; i++)
            s->again[i] = -1;
        lay_out(s, &t);
        spelling_node *fit = umbra_reallocarray(s->nodes, s->n + 1, sizeof *fit);
        s->nodes = fit ? fit : s->nodes;
        *out = s;
    } else
        umbra_spellings_close(&s);
    umbra_free(t.bytes);
    umbra_free(t.list);
    return whole ? UMBRA_OK : umbra_fail_nomem(err, "the spellings of a vocabulary", t.used);
}

void umbra_spellings_close(umbra_spellings **p)
{
    if (!*p)
        return;
    umbra_free((*p)->nodes);
    umbra_free((*p)->again);
    umbra_free(*p);
    *p = NULL;
}
