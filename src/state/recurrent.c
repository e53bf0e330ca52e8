/* The states of recurrent layers: going on, back, apart, and to bytes and back. */
#include <string.h>

#include "state/internal.h"

static bool is_recurrent(const umbra_state *s, int layer)
{
    return s->recurrent[layer].heads > 0;
}

static umbra_page_pool *pool_of(const umbra_state *s, int layer)
{
    return &s->pools[s->pool[layer]];
}

static float *floats(char *page)
{
    return (float *)(void *)page;
}

umbra_recurrent_view umbra_state_recurrent(const umbra_state *s, int layer, int sequence)
{
    const umbra_held *h = umbra_state_held(s, sequence, layer);
    return (umbra_recurrent_view){floats(h->now), floats(h->next)};
}

/* The bases make room for what comes next. */
void umbra_recurrent_begin(umbra_state *s, int sequence)
{
    s->base[sequence] = 0;
    for (int l = 0; l < s->layers; l++) {
        umbra_held *h = umbra_state_held(s, sequence, l);
        if (!is_recurrent(s, l))
            continue;
        umbra_state_drop_page(pool_of(s, l), &h->base);
        if (!h->next)
            h->next = umbra_state_take_page(pool_of(s, l));
        s->base[sequence] = s->length[sequence];
    }
}

void umbra_recurrent_advance(umbra_state *s, int sequence)
{
    int length = s->length[sequence], rows = s->reserved[sequence] - length;
    bool kept = rows <= UMBRA_TAKE_BACK;
    for (int l = 0; l < s->layers; l++) {
        umbra_held *h = umbra_state_held(s, sequence, l);
        if (!h->next)
            continue;
        h->base = h->now;
        h->now = h->next;
        h->next = NULL;
        if (!kept)
            umbra_state_drop_page(pool_of(s, l), &h->base);
        s->base[sequence] = kept ? length : length + rows;
    }
}

/* Drops all that the sequence holds in a layer but `now`. */
static void drop_others(const umbra_state *s, umbra_held *h, int layer)
{
    umbra_state_drop_page(pool_of(s, layer), &h->base);
    umbra_state_drop_page(pool_of(s, layer), &h->next);
}

/* `now` becomes the state behind the first n of the rows that it keeps. */
static void go_back(umbra_state *s, umbra_held *h, int layer, int n)
{
    char *kept = h->now;
    umbra_page_pool *pool = pool_of(s, layer);
    umbra_state_drop_page(pool, &h->next);
    if (umbra_state_page_owners(pool, kept) > 1) /* then one of the pool's is free */
        h->now = umbra_state_take_page(pool);
    umbra_recurrent_view view = {floats(h->base), floats(h->now)};
    umbra_device_recur_again(s->device, &s->recurrent[layer], &view, floats(kept), n);
    if (h->now != kept)
        umbra_state_drop_page(pool, &kept);
}

void umbra_recurrent_truncate(umbra_state *s, int sequence, int length)
{
    int back = s->length[sequence] - length, n = length - s->base[sequence];
    for (int l = 0; l < s->layers; l++) {
        umbra_held *h = umbra_state_held(s, sequence, l);
        if (!is_recurrent(s, l) || back == 0)
            continue;
        if (length == 0) {
            drop_others(s, h, l);
            umbra_state_drop_page(pool_of(s, l), &h->now);
        } else if (n == 0) {
            umbra_state_drop_page(pool_of(s, l), &h->now);
            h->now = h->base;
            h->base = NULL;
        } else {
            go_back(s, h, l, n);
        }
    }
    if (length == 0)
        s->base[sequence] = 0;
}

/* `to` holds nothing. */
void umbra_recurrent_fork(umbra_state *s, int from, int to)
{
    for (int l = 0; l < s->layers; l++) {
        const umbra_held *source = umbra_state_held(s, from, l);
        umbra_held *h = umbra_state_held(s, to, l);
        umbra_state_drop_page(pool_of(s, l), &h->next);
        *h = (umbra_held){.now = source->now, .base = source->base};
        umbra_state_share_page(pool_of(s, l), h->now);
        umbra_state_share_page(pool_of(s, l), h->base);
    }
    s->base[to] = s->base[from];
}

/* ---- bytes ----
 *
 * Where layers are recurrent: the position of the bases as a number of 64 bits, then a page for
 * each: its base with the rows that `now` keeps. Of rows there are none where the base is the
 * length, and then the page is `now`. */

static uint64_t layers_bytes(const umbra_state *s)
{
    uint64_t bytes = 0;
    for (int l = 0; l < s->layers; l++)
        bytes += umbra_recurrent_page_bytes(&s->recurrent[l]);
    return bytes;
}

uint64_t umbra_recurrent_save_bytes(const umbra_state *s)
{
    uint64_t bytes = layers_bytes(s);
    return bytes ? bytes + sizeof(int64_t) : 0;
}

char *umbra_recurrent_save(const umbra_state *s, int sequence, char *out)
{
    int64_t base = s->base[sequence];
    size_t n = (size_t)(s->length[sequence] - base);
    if (layers_bytes(s) == 0)
        return out;
    memcpy(out, &base, sizeof base);
    out += sizeof base;
    for (int l = 0; l < s->layers; l++) {
        const umbra_recurrent_form *f = &s->recurrent[l];
        const umbra_held *h = umbra_state_held(s, sequence, l);
        size_t bytes = umbra_recurrent_page_bytes(f);
        const char *before = n > 0 ? h->base : h->now;
        size_t rows = umbra_recurrent_rows_at(f) * sizeof(float);
        if (bytes == 0)
            continue;
        memset(out, 0, bytes);
        if (before)
            memcpy(out, before, rows);
        if (n > 0)
            memcpy(out + rows, h->now + rows, n * umbra_recurrent_row_size(f) * sizeof(float));
        out += bytes;
    }
    return out;
}

const char *umbra_recurrent_load(umbra_state *s, int sequence, int length, const char *in)
{
    int64_t base = 0;
    if (layers_bytes(s) == 0)
        return in;
    memcpy(&base, in, sizeof base);
    in += sizeof base;
    /* Bytes that were spoiled on purpose must not reach beyond pages. */
    base = base < 0 || base > length || length - base > UMBRA_TAKE_BACK ? length : base;
    for (int l = 0; l < s->layers; l++) {
        const umbra_recurrent_form *f = &s->recurrent[l];
        umbra_held *h = umbra_state_held(s, sequence, l);
        size_t bytes = umbra_recurrent_page_bytes(f);
        if (bytes == 0)
            continue;
        umbra_state_drop_page(pool_of(s, l), &h->next);
        h->now = length > 0 ? memcpy(umbra_state_take_page(pool_of(s, l)), in, bytes) : NULL;
        if (base < length) {
            h->base = memcpy(umbra_state_take_page(pool_of(s, l)), in, bytes);
            go_back(s, h, l, (int)(length - base));
        }
        in += bytes;
    }
    s->base[sequence] = (int)base;
    return in;
}
