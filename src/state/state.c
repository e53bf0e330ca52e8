/* Sequences as tables of pages: opening, growing, forgetting, sharing. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "state/internal.h"

static int pages_for(int positions)
{
    return (positions + UMBRA_KV_PAGE - 1) / UMBRA_KV_PAGE;
}

/* Pages that one sequence may hold in a layer at once. */
static int most_pages(const umbra_state_shape *shape, const umbra_kv_form *f)
{
    int whole = pages_for(umbra_kv_rows(f, shape->context) + 1); /* a block begins before it ends */
    if (f->every > 1)
        return whole;
    whole = pages_for(shape->context);
    if (f->window == 0)
        return whole;
    /* What the first row of a step sees, a page for those who still look at it, and the step; one
     * more since neither end need be a page's. */
    int64_t kept = (int64_t)f->window + UMBRA_KV_PAGE + shape->step;
    int64_t pages = (kept + UMBRA_KV_PAGE - 1) / UMBRA_KV_PAGE + 1;
    return pages < whole ? (int)pages : whole;
}

/* States of one sequence in a recurrent layer: before and behind a step. */
enum { STATES = 2 };

/* Bytes of a layer's pages, and how many pages all sequences may hold at once. Neither for a layer
 * that keeps nothing. */
static size_t page_of(const umbra_state_shape *shape, int layer, int *pages)
{
    size_t state = shape->recurrent ? umbra_recurrent_page_bytes(&shape->recurrent[layer]) : 0;
    size_t bytes = state ? state : umbra_kv_page_bytes(&shape->forms[layer]);
    *pages = state ? STATES : bytes ? most_pages(shape, &shape->forms[layer]) : 0;
    *pages *= shape->sequences;
    return bytes;
}

static uint64_t table_bytes(const umbra_state_shape *shape)
{
    uint64_t entries = (uint64_t)shape->sequences * (uint64_t)shape->layers;
    uint64_t pages = (uint64_t)pages_for(shape->context);
    return entries * (pages * sizeof(char *) + sizeof(int) + sizeof(umbra_held));
}

uint64_t umbra_state_bytes(const umbra_state_shape *shape)
{
    uint64_t bytes = table_bytes(shape);
    for (int l = 0; l < shape->layers; l++) {
        int pages;
        size_t page = page_of(shape, l, &pages);
        bytes += (uint64_t)pages * (page + 2 * sizeof(int32_t));
    }
    return bytes;
}

/* Finds the pool of each layer, and counts its pages. */
static void plan_pools(umbra_state *s, const umbra_state_shape *shape)
{
    for (int l = 0; l < s->layers; l++) {
        int p = 0, pages;
        size_t bytes = page_of(shape, l, &pages);
        while (p < s->n_pools && s->pools[p].bytes != bytes)
            p++;
        s->n_pools += p == s->n_pools;
        s->pools[p].bytes = bytes;
        s->pools[p].pages += pages;
        s->pool[l] = p;
    }
}

static int open_pools(umbra_state *s, const umbra_state_shape *shape, umbra_error *err)
{
    plan_pools(s, shape);
    for (int i = 0; i < s->n_pools; i++) {
        umbra_page_pool *p = &s->pools[i];
        if (p->bytes == 0)
            continue;
        p->arena = umbra_map((uint64_t)p->pages * p->bytes);
        p->free = umbra_calloc((size_t)p->pages, sizeof *p->free);
        p->owners = umbra_calloc((size_t)p->pages, sizeof *p->owners);
        if (!p->arena || !p->free || !p->owners)
            return umbra_fail_nomem(err, "keys and values", (uint64_t)p->pages * p->bytes);
        for (int page = p->pages - 1; page >= 0; page--)
            p->free[p->n_free++] = page;
    }
    return UMBRA_OK;
}

int umbra_state_open(umbra_state **out, const umbra_state_shape *shape, umbra_error *err)
{
    *out = NULL;
    umbra_state *s = umbra_calloc(1, sizeof *s);
    if (!s)
        return umbra_fail_nomem(err, "the sequences", sizeof *s);
    size_t layers = (size_t)shape->layers, sequences = (size_t)shape->sequences;
    s->layers = shape->layers;
    s->sequences = shape->sequences;
    s->context = shape->context;
    s->step = shape->step;
    s->table_pages = pages_for(shape->context);
    s->device = shape->device;
    s->forms = umbra_calloc(layers, sizeof *s->forms);
    s->recurrent = umbra_calloc(layers, sizeof *s->recurrent);
    s->held = umbra_calloc(sequences * layers, sizeof *s->held);
    s->base = umbra_calloc(sequences, sizeof *s->base);
    s->pools = umbra_calloc(layers, sizeof *s->pools);
    s->pool = umbra_calloc(layers, sizeof *s->pool);
    s->table = umbra_calloc(sequences * layers * (size_t)s->table_pages, sizeof *s->table);
    s->first = umbra_calloc(sequences * layers, sizeof *s->first);
    s->length = umbra_calloc(sequences, sizeof *s->length);
    s->reserved = umbra_calloc(sequences, sizeof *s->reserved);
    int rc = UMBRA_OK;
    if (!s->forms || !s->recurrent || !s->pools || !s->pool || !s->table || !s->first ||
        !s->length || !s->reserved || !s->held || !s->base)
        rc = umbra_fail_nomem(err, "the sequences", table_bytes(shape));
    if (rc == UMBRA_OK) {
        memcpy(s->forms, shape->forms, layers * sizeof *s->forms);
        if (shape->recurrent)
            memcpy(s->recurrent, shape->recurrent, layers * sizeof *s->recurrent);
        rc = open_pools(s, shape, err);
    }
    if (rc != UMBRA_OK) {
        umbra_state_close(&s);
        return rc;
    }
    *out = s;
    return UMBRA_OK;
}

void umbra_state_close(umbra_state **state)
{
    umbra_state *s = *state;
    if (!s)
        return;
    for (int i = 0; i < s->n_pools; i++) {
        umbra_unmap(s->pools[i].arena, (uint64_t)s->pools[i].pages * s->pools[i].bytes);
        umbra_free(s->pools[i].free);
        umbra_free(s->pools[i].owners);
    }
    umbra_free(s->forms);
    umbra_free(s->recurrent);
    umbra_free(s->held);
    umbra_free(s->base);
    umbra_free(s->pools);
    umbra_free(s->pool);
    umbra_free(s->table);
    umbra_free(s->first);
    umbra_free(s->length);
    umbra_free(s->reserved);
    umbra_free(s);
    *state = NULL;
}

const umbra_kv_form *umbra_state_form(const umbra_state *s, int layer)
{
    return &s->forms[layer];
}

int umbra_state_length(const umbra_state *s, int sequence)
{
    return s->length[sequence];
}

/* ---- pages ---- */

char *umbra_state_take_page(umbra_page_pool *p)
{
    int32_t page = p->free[--p->n_free];
    p->owners[page] = 1;
    return p->arena + (size_t)page * p->bytes;
}

static int32_t *owners_of(umbra_page_pool *p, const char *page)
{
    return &p->owners[(size_t)(page - p->arena) / p->bytes];
}

void umbra_state_drop_page(umbra_page_pool *p, char **entry)
{
    if (*entry && --*owners_of(p, *entry) == 0)
        p->free[p->n_free++] = (int32_t)((size_t)(*entry - p->arena) / p->bytes);
    *entry = NULL;
}

int umbra_state_page_owners(umbra_page_pool *p, const char *page)
{
    return *owners_of(p, page);
}

void umbra_state_share_page(umbra_page_pool *p, char *page)
{
    if (page)
        ++*owners_of(p, page);
}

/* The page is about to be written behind what is shared: a copy of its own, if others hold it. */
static void own_page(umbra_page_pool *p, char **entry)
{
    if (!*entry || *owners_of(p, *entry) == 1)
        return;
    char *copy = umbra_state_take_page(p);
    memcpy(copy, *entry, p->bytes);
    umbra_state_drop_page(p, entry);
    *entry = copy;
}

/* Whether a layer keeps keys and values. */
static bool is_paged(const umbra_state *s, int layer)
{
    return umbra_kv_page_bytes(&s->forms[layer]) > 0;
}

/* Drops a layer's pages [begin, end). */
static void drop_pages(umbra_state *s, int sequence, int layer, int begin, int end)
{
    char **table = umbra_state_table(s, sequence, layer);
    for (int page = begin; page < end; page++)
        umbra_state_drop_page(&s->pools[s->pool[layer]], &table[page]);
}

/* ---- growing and forgetting ---- */

void umbra_state_begin(umbra_state *s, int sequence)
{
    int length = s->length[sequence];
    for (int l = 0; l < s->layers; l++) {
        int *first = &s->first[(size_t)sequence * (size_t)s->layers + (size_t)l];
        int needed = umbra_state_first_seen(&s->forms[l], length) - UMBRA_KV_PAGE;
        if (needed / UMBRA_KV_PAGE > *first / UMBRA_KV_PAGE) {
            drop_pages(s, sequence, l, *first / UMBRA_KV_PAGE, needed / UMBRA_KV_PAGE);
            *first = needed / UMBRA_KV_PAGE * UMBRA_KV_PAGE;
        }
    }
    s->reserved[sequence] = length;
    umbra_recurrent_begin(s, sequence);
}

int umbra_state_reserve(umbra_state *s, int sequence)
{
    int position = s->reserved[sequence]++;
    for (int l = 0; l < s->layers; l++) {
        int page = umbra_kv_rows(&s->forms[l], position) / UMBRA_KV_PAGE;
        char **entry = &umbra_state_table(s, sequence, l)[page];
        if (!*entry && is_paged(s, l))
            *entry = umbra_state_take_page(&s->pools[s->pool[l]]);
    }
    return position;
}

int umbra_state_pending(const umbra_state *s, int sequence)
{
    return s->reserved[sequence] - s->length[sequence];
}

void umbra_state_hold(umbra_state *s, int sequence, int layer, int first, int length)
{
    char **table = umbra_state_table(s, sequence, layer);
    s->first[(size_t)sequence * (size_t)s->layers + (size_t)layer] = first;
    int rows = umbra_kv_rows(&s->forms[layer], length);
    for (int page = first / UMBRA_KV_PAGE; is_paged(s, layer) && page < pages_for(rows); page++)
        table[page] = umbra_state_take_page(&s->pools[s->pool[layer]]);
}

void umbra_state_advance(umbra_state *s, int sequence, int n)
{
    umbra_recurrent_advance(s, sequence);
    s->length[sequence] += n;
}

umbra_kv_view umbra_state_view(const umbra_state *s, int layer, int sequence, int position)
{
    return (umbra_kv_view){.page = umbra_state_table(s, sequence, layer),
                           .first = umbra_state_first_seen(&s->forms[layer], position),
                           .kept = umbra_kv_rows(&s->forms[layer], position + 1)};
}

bool umbra_state_reaches(const umbra_state *s, int sequence, int length)
{
    const int *first = s->first + (size_t)sequence * (size_t)s->layers;
    if (length < s->base[sequence])
        return false;
    for (int l = 0; l < s->layers; l++)
        if (length > 0 && umbra_state_first_seen(&s->forms[l], length) < first[l])
            return false;
    return true;
}

int umbra_state_truncate(umbra_state *s, int sequence, int length)
{
    length = length < 0 ? 0 : length;
    if (length < s->length[sequence] && !umbra_state_reaches(s, sequence, length))
        length = 0;
    if (length > s->length[sequence])
        length = s->length[sequence];
    for (int l = 0; l < s->layers; l++) {
        int rows = umbra_kv_rows(&s->forms[l], length);
        drop_pages(s, sequence, l, pages_for(rows), s->table_pages);
        if (length == 0)
            s->first[(size_t)sequence * (size_t)s->layers + (size_t)l] = 0;
        if (rows % UMBRA_KV_PAGE != 0)
            own_page(&s->pools[s->pool[l]],
                     &umbra_state_table(s, sequence, l)[rows / UMBRA_KV_PAGE]);
    }
    umbra_recurrent_truncate(s, sequence, length);
    s->length[sequence] = s->reserved[sequence] = length;
    return length;
}

void umbra_state_fork(umbra_state *s, int from, int to)
{
    if (from == to)
        return;
    umbra_state_truncate(s, to, 0);
    for (int l = 0; l < s->layers; l++) {
        char **source = umbra_state_table(s, from, l), **table = umbra_state_table(s, to, l);
        umbra_page_pool *p = &s->pools[s->pool[l]];
        int rows = umbra_kv_rows(&s->forms[l], s->length[from]);
        for (int page = 0; page < pages_for(rows); page++)
            umbra_state_share_page(p, table[page] = source[page]);
        if (rows % UMBRA_KV_PAGE != 0)
            own_page(p, &table[rows / UMBRA_KV_PAGE]);
        s->first[(size_t)to * (size_t)s->layers + (size_t)l] =
            s->first[(size_t)from * (size_t)s->layers + (size_t)l];
    }
    umbra_recurrent_fork(s, from, to);
    s->length[to] = s->reserved[to] = s->length[from];
}
