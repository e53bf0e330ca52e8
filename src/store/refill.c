/* Reads back what a cache held before: into empty slots, behind all else that is to be read. */
#include "store/refill.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/store_internal.h"

/* What may be under way where nobody decodes, as time of the disk: what comes then waits no longer.
 */
static const double most_ns = 5e6;
/* The same beside a text that is written, as a share of the disk's latency, and an expert. */
static const double beside = 0.4;
/* No cache counts more: the number is damaged. */
static const float most_uses = 1e6F;

/* ---- the list ---- */

int umbra_store_count_cached(const umbra_store *s)
{
    int n = s->driver.refill.left;
    for (int i = 0; i < s->fixed.plan.n; i++)
        n += s->guarded.slots.size[i].used;
    return n;
}

static int by_uses(const void *a, const void *b)
{
    const umbra_cached_expert *x = a, *y = b;
    if (x->uses != y->uses)
        return x->uses < y->uses ? 1 : -1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return (x->expert > y->expert) - (x->expert < y->expert);
}

int umbra_store_list_cached(const umbra_store *s, umbra_cached_expert *out, int room)
{
    const umbra_slots *slots = &s->guarded.slots;
    const umbra_refill *r = &s->driver.refill;
    int n = 0;
    for (int32_t i = 0; i < slots->n && n < room; i++)
        if (slots->slot[i].state != UMBRA_SLOT_EMPTY)
            out[n++] = (umbra_cached_expert){
                slots->slot[i].layer, slots->slot[i].expert,
                umbra_slots_uses(slots, slots->slot[i].layer, slots->slot[i].expert)};
    for (int l = 0; r->expert && l < s->fixed.n_layers; l++)
        for (int i = r->next[l]; i < r->end[l] && n < room; i++)
            out[n++] = r->expert[i];
    qsort(out, (size_t)n, sizeof *out, by_uses);
    return n;
}

/* ---- what is to be read ---- */

static bool exists(const umbra_store *s, const umbra_cached_expert *e)
{
    return e->layer >= 0 && e->layer < s->fixed.n_layers && e->expert >= 0 &&
           e->expert < s->fixed.n_experts && umbra_store_read_bytes(s, e->layer, e->expert) > 0;
}

/* Whether an expert is not there, and has an empty slot to go to. */
static bool has_place(const umbra_store *s, const umbra_cached_expert *e)
{
    const umbra_slot_group *group = umbra_slots_group(&s->guarded.slots, e->layer, e->expert);
    return umbra_slots_find(&s->guarded.slots, e->layer, e->expert) < 0 &&
           group->used < group->limit;
}

/* Takes those that fit out of the list, most wanted first. Called with the lock held. */
static void choose(umbra_store *s, const umbra_cached_expert *list, int n)
{
    umbra_slots *slots = &s->guarded.slots;
    umbra_refill *r = &s->driver.refill;
    int32_t taken[UMBRA_SLOT_SIZES] = {0};
    for (int i = 0; i < n; i++) {
        const umbra_cached_expert *e = &list[i];
        if (!exists(s, e) || r->wanted[e->layer * s->fixed.n_experts + e->expert])
            continue;
        r->wanted[e->layer * s->fixed.n_experts + e->expert] = 1;
        if (e->uses > 0 && e->uses < most_uses)
            umbra_slots_add_uses(slots, e->layer, e->expert, e->uses);
        int size = umbra_store_size_of(s, e->layer, e->expert);
        const umbra_slot_group *group = &slots->size[size];
        if (!has_place(s, e) || group->used + taken[size] >= group->limit)
            continue;
        taken[size]++;
        r->expert[r->left++] = *e;
    }
}

static int by_layer(const void *a, const void *b)
{
    const umbra_cached_expert *x = a, *y = b;
    return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : by_uses(a, b);
}

/* By where the first part of each begins. */
static int by_place(const void *a, const void *b, void *store)
{
    const umbra_cached_expert *x = a, *y = b;
    const umbra_slice *p = umbra_store_slices(store, x->layer, x->expert),
                      *q = umbra_store_slices(store, y->layer, y->expert);
    if (p->file != q->file)
        return p->file < q->file ? -1 : 1;
    return (p->offset > q->offset) - (p->offset < q->offset);
}

/* A text asks for layer after layer, and more likely for what was used more: of each layer first
 * the half that was, in the order of the file, then the other half. */
static void order(umbra_store *s)
{
    umbra_refill *r = &s->driver.refill;
    qsort(r->expert, (size_t)r->left, sizeof *r->expert, by_layer);
    for (int l = 0, i = 0; l < s->fixed.n_layers; l++) {
        r->next[l] = i;
        while (i < r->left && r->expert[i].layer == l)
            i++;
        r->end[l] = i;
        size_t n = (size_t)(i - r->next[l]), used = (n + 1) / 2;
        qsort_r(r->expert + r->next[l], used, sizeof *r->expert, by_place, s);
        qsort_r(r->expert + r->next[l] + used, n - used, sizeof *r->expert, by_place, s);
    }
}

/* For the statistics. Called with the lock held. */
static void publish(umbra_store *s)
{
    s->stats.refill_left = (uint64_t)s->driver.refill.left;
}

static void forget(umbra_store *s)
{
    umbra_refill_free(&s->driver.refill);
    umbra_store_lock(s);
    publish(s);
    umbra_store_unlock(s);
}

void umbra_refill_free(umbra_refill *r)
{
    umbra_free(r->expert);
    umbra_free(r->wanted);
    umbra_free(r->next);
    umbra_free(r->end);
    *r = (umbra_refill){0};
}

int umbra_store_plan_refill(umbra_store *s, const umbra_cached_expert *list, int n, uint64_t *bytes,
                            umbra_error *err)
{
    umbra_refill *r = &s->driver.refill;
    size_t layers = (size_t)s->fixed.n_layers, pairs = layers * (size_t)s->fixed.n_experts;
    *bytes = 0;
    forget(s);
    r->expert = umbra_calloc((size_t)s->guarded.slots.n, sizeof *r->expert);
    r->wanted = umbra_calloc(pairs, sizeof *r->wanted);
    r->next = umbra_calloc(layers, sizeof *r->next);
    r->end = umbra_calloc(layers, sizeof *r->end);
    if (!r->expert || !r->wanted || !r->next || !r->end) {
        umbra_refill_free(r);
        return umbra_fail_nomem(err, "the experts to be read back", pairs);
    }
    umbra_store_lock(s);
    choose(s, list, n);
    publish(s);
    umbra_store_unlock(s);
    order(s);
    for (int i = 0; i < r->left; i++)
        *bytes += umbra_store_read_bytes(s, r->expert[i].layer, r->expert[i].expert);
    return UMBRA_OK;
}

/* ---- reading ---- */

/* What may be under way. */
static double most_bytes(const umbra_store *s)
{
    const umbra_disk_model *disk = &s->driver.disk;
    const umbra_batch_state *b = &s->driver.batch;
    bool decodes =
        b->number > 0 && (b->kind == UMBRA_BATCH_DECODE || b->kind == UMBRA_BATCH_VERIFY);
    if (!decodes || s->driver.refill.idle)
        return most_ns / disk->ns_per_byte;
    return beside * disk->latency_ns / disk->ns_per_byte + (double)s->fixed.geometry.slot_bytes;
}

/* Reads that lie side by side become one where they are begun together, so that more are begun when
 * half of what may be under way has arrived. */
bool umbra_refill_begins(const umbra_store *s)
{
    const umbra_batch_state *b = &s->driver.batch;
    return s->driver.refill.left > 0 && !s->driver.refill.paused && s->driver.queue_n == 0 &&
           !(b->active && (b->failed || b->misses_begun < b->misses_n)) &&
           s->driver.in_flight <= s->fixed.depth / 2 &&
           (double)s->driver.bytes_in_flight <= most_bytes(s) / 2;
}

/* The next one of the layer that a text asks for next, or of those behind it; there must be one. */
static const umbra_cached_expert *take_next(umbra_store *s)
{
    umbra_refill *r = &s->driver.refill;
    umbra_assert(r->left > 0);
    while (r->next[r->layer] == r->end[r->layer])
        r->layer = (r->layer + 1) % s->fixed.n_layers;
    r->left--;
    return &r->expert[r->next[r->layer]++];
}

void umbra_refill_begin(umbra_store *s)
{
    umbra_refill *r = &s->driver.refill;
    double room = most_bytes(s) - (double)s->driver.bytes_in_flight;
    while (r->left > 0 && s->driver.queue_n + s->driver.in_flight < s->fixed.depth &&
           (room > 0 || s->driver.queue_n + s->driver.in_flight == 0)) {
        const umbra_cached_expert *e = take_next(s);
        umbra_victim none;
        if (!has_place(s, e))
            continue;
        int32_t slot = umbra_slots_take(&s->guarded.slots, e->layer, e->expert, 0, 0, &none);
        umbra_assert(slot >= 0 && !none.any);
        uint64_t bytes = umbra_store_read_bytes(s, e->layer, e->expert);
        s->guarded.slots.slot[slot].refilled = true;
        s->stats.refill_reads++;
        s->stats.refill_bytes += bytes;
        room -= (double)bytes;
        umbra_store_begin_reads(s, slot, -1, 0);
    }
    publish(s);
}

static int read_some(umbra_store *s, umbra_error *err)
{
    s->driver.refill.idle = true;
    int rc = umbra_store_start_reads(s, err);
    if (rc == UMBRA_OK)
        rc = umbra_store_reap_reads(s, true, err);
    s->driver.refill.idle = false;
    return rc;
}

int umbra_store_refill(umbra_store *s, umbra_error *err)
{
    umbra_refill *r = &s->driver.refill;
    if (!r->expert)
        return 0;
    umbra_store_drive(s);
    int rc = s->driver.batch.active
                 ? umbra_fail(err, UMBRA_E_ARGUMENT, "the store is in use by a batch of layer %d",
                              s->driver.batch.layer)
                 : umbra_store_get_broken(s, err);
    if (rc == UMBRA_OK)
        rc = read_some(s, err);
    if (rc != UMBRA_OK || (r->left == 0 && s->driver.in_flight + s->driver.queue_n == 0))
        forget(s);
    umbra_store_rest(s);
    return rc == UMBRA_OK ? 1 : rc;
}
