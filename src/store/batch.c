#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "store/store_internal.h"

/* A disk's error may pass; a file that ends does not come back. */
enum { MAX_ATTEMPTS = 3 };

/* ---- reads ---- */

/* Called with the mutex held. */
static void queue_read(umbra_store *s, uint64_t read)
{
    s->queue[(s->queue_first + s->queue_n) % s->queue_size] = read;
    s->queue_n++;
}

/* The budget is what the whole engine promises, so it is checked where memory comes into use, in
 * every build. Called with the mutex held. */
static int check_budget(umbra_store *s, umbra_error *err)
{
    uint64_t bytes = (uint64_t)s->slots.used * s->layout.slot_bytes;
    if (bytes > s->stats.budget_bytes || s->slots.used > s->slots.n)
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "the expert store went over its budget; this is a defect of Umbra, "
                          "please report it");
    if (bytes > s->stats.resident_bytes_max)
        s->stats.resident_bytes_max = bytes;
    return UMBRA_OK;
}

/* Gives the next miss a slot and queues its reads. False: every slot is pinned.
 * Called with the mutex held. */
static bool begin_miss(umbra_store *s)
{
    umbra_batch *b = &s->batch;
    int32_t index = b->misses[b->misses_begun];
    umbra_item *item = &b->items[index];
    bool evicted;
    item->slot = umbra_slots_take(&s->slots, b->layer, item->expert, &evicted);
    if (item->slot < 0)
        return false;
    b->misses_begun++;
    s->stats.evictions += evicted;
    item->state = UMBRA_ITEM_READING;
    umbra_slot_reads *reads = &s->reads[item->slot];
    *reads = (umbra_slot_reads){.item = index};
    const umbra_slice *slices = umbra_store_slices(s, b->layer, item->expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        if (slices[which].bytes == 0)
            continue;
        reads->left++;
        queue_read(s, (uint64_t)item->slot * UMBRA_STORE_SLICES + (uint64_t)which);
    }
    return true;
}

static umbra_io_request request_of(const umbra_store *s, uint64_t read)
{
    int32_t slot = (int32_t)(read / UMBRA_STORE_SLICES);
    int which = (int)(read % UMBRA_STORE_SLICES);
    const umbra_slot *owner = &s->slots.slot[slot];
    const umbra_slice *slice = &umbra_store_slices(s, owner->layer, owner->expert)[which];
    umbra_io_request request =
        umbra_layout_request(&s->layout, slice, which, umbra_store_slot(s, slot));
    request.user = read;
    return request;
}

/* The backend itself failed: reads it has taken may write into their slots at any time, so the
 * store cannot go on. */
static int set_broken(umbra_store *s, const umbra_error *cause, umbra_error *err)
{
    s->broken = true;
    s->broken_error = *cause;
    s->batch.active = false;
    if (err)
        *err = *cause;
    return cause->status;
}

/* Begins misses and submits reads, as far as slots and depth allow. */
static int start_reads(umbra_store *s, umbra_error *err)
{
    umbra_batch *b = &s->batch;
    umbra_error cause = {0};
    int rc = UMBRA_OK;
    pthread_mutex_lock(&s->mutex);
    while (rc == UMBRA_OK && !b->failed && b->misses_begun < b->misses_n &&
           s->queue_n + s->in_flight < s->depth && begin_miss(s))
        rc = check_budget(s, &cause);
    int room = s->depth - s->in_flight;
    int n = s->queue_n < room ? s->queue_n : room;
    for (int i = 0; i < n; i++)
        s->requests[i] = request_of(s, s->queue[(s->queue_first + i) % s->queue_size]);
    pthread_mutex_unlock(&s->mutex);
    if (rc != UMBRA_OK)
        return set_broken(s, &cause, err);
    if (n == 0)
        return UMBRA_OK;

    int taken = s->ops->submit(s->io, s->requests, n, &cause);
    if (taken < 0)
        return set_broken(s, &cause, err);
    pthread_mutex_lock(&s->mutex);
    s->queue_first = (s->queue_first + taken) % s->queue_size;
    s->queue_n -= taken;
    s->in_flight += taken;
    s->stats.reads += (uint64_t)taken;
    for (int i = 0; i < taken; i++)
        s->stats.bytes_read += s->requests[i].bytes;
    pthread_mutex_unlock(&s->mutex);
    return UMBRA_OK;
}

/* Keeps the first failure of a batch; the others are likely to be its echoes. */
static void note_failure(umbra_store *s, int32_t slot, int which, int error)
{
    umbra_batch *b = &s->batch;
    if (b->failed)
        return;
    b->failed = true;
    const umbra_slot *owner = &s->slots.slot[slot];
    const umbra_slice *slice = &umbra_store_slices(s, owner->layer, owner->expert)[which];
    umbra_fail_at(&b->failure, UMBRA_E_IO, slice->offset,
                  "%s: cannot read part %d of expert %d of layer %d: %s",
                  s->files[slice->file].path, which, owner->expert, owner->layer,
                  error > 0 ? strerror(error) : "the file has become shorter");
}

/* Called with the mutex held. */
static void finish_slot(umbra_store *s, int32_t slot)
{
    umbra_batch *b = &s->batch;
    umbra_slot_reads *reads = &s->reads[slot];
    umbra_item *item = &b->items[reads->item];
    if (reads->failed) {
        umbra_slots_failed(&s->slots, slot);
        item->state = UMBRA_ITEM_OVER;
        return;
    }
    umbra_slots_arrived(&s->slots, slot);
    item->state = UMBRA_ITEM_READY;
    b->ready[b->ready_first + b->ready_n++] = reads->item;
}

/* Called with the mutex held. */
static void finish_read(umbra_store *s, const umbra_io_completion *c)
{
    int32_t slot = (int32_t)(c->user / UMBRA_STORE_SLICES);
    int which = (int)(c->user % UMBRA_STORE_SLICES);
    umbra_slot_reads *reads = &s->reads[slot];
    s->in_flight--;
    if (c->error > 0 && ++reads->attempts[which] < MAX_ATTEMPTS) {
        queue_read(s, c->user);
        return;
    }
    if (c->error != 0) {
        reads->failed = true;
        note_failure(s, slot, which, c->error);
    }
    if (--reads->left == 0)
        finish_slot(s, slot);
}

/* Takes completions; wait: blocks for one if any read is in flight. */
static int reap_reads(umbra_store *s, bool wait, umbra_error *err)
{
    if (s->in_flight == 0)
        return UMBRA_OK;
    umbra_error cause = {0};
    int n = s->ops->reap(s->io, s->completions, s->depth, wait, &cause);
    if (n == 0 && wait)
        n = umbra_fail(&cause, UMBRA_E_SYSTEM, "the I/O backend \"%s\" lost %d reads", s->ops->name,
                       s->in_flight);
    if (n < 0)
        return set_broken(s, &cause, err);
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < n; i++)
        finish_read(s, &s->completions[i]);
    pthread_mutex_unlock(&s->mutex);
    return UMBRA_OK;
}

/* ---- batches ---- */

static int check_batch(umbra_store *s, int layer, const int *experts, int n, umbra_error *err)
{
    umbra_batch *b = &s->batch;
    if (s->broken) {
        if (err)
            *err = s->broken_error;
        return s->broken_error.status;
    }
    if (b->active)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a batch began before the one of layer %d had ended", b->layer);
    if (layer < 0 || layer >= s->n_layers || n < 0 || n > s->n_experts)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a batch of %d experts of layer %d: the model has %d layers of %d", n,
                          layer, s->n_layers, s->n_experts);
    if (++b->number == 0) { /* after 2^32 batches the marks of old ones would come true again */
        memset(b->seen, 0, (size_t)s->n_experts * sizeof *b->seen);
        b->number = 1;
    }
    for (int i = 0; i < n; i++) {
        int e = experts[i];
        if (e < 0 || e >= s->n_experts)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "expert %d of layer %d: there are %d", e,
                              layer, s->n_experts);
        if (b->seen[e] == b->number)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "expert %d of layer %d is twice in a batch", e,
                              layer);
        b->seen[e] = b->number;
        const umbra_slice *slices = umbra_store_slices(s, layer, e);
        if (slices[0].bytes + slices[1].bytes + slices[2].bytes == 0)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "layer %d has no expert %d", layer, e);
    }
    return UMBRA_OK;
}

/* Pins every hit before any miss looks for a victim. */
static void begin_items(umbra_store *s, int layer, const int *experts, int n)
{
    umbra_batch *b = &s->batch;
    b->active = true;
    b->failed = false;
    b->layer = layer;
    b->n = n;
    b->handed_out = 0;
    b->ready_first = b->ready_n = 0;
    b->misses_begun = b->misses_n = 0;
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < n; i++) {
        int32_t slot = umbra_slots_find(&s->slots, layer, experts[i]);
        b->items[i] = (umbra_item){.expert = experts[i], .slot = slot};
        if (slot >= 0) {
            umbra_slots_pin(&s->slots, slot);
            b->items[i].state = UMBRA_ITEM_READY;
            b->ready[b->ready_n++] = i;
            continue;
        }
        b->misses[b->misses_n++] = i;
        const umbra_slice *slices = umbra_store_slices(s, layer, experts[i]);
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            s->stats.bytes_needed += slices[which].bytes;
    }
    s->stats.hits += (uint64_t)b->ready_n;
    s->stats.misses += (uint64_t)b->misses_n;
    pthread_mutex_unlock(&s->mutex);
}

int umbra_store_begin(umbra_store *s, int layer, const int *experts, int n, umbra_error *err)
{
    int rc = check_batch(s, layer, experts, n, err);
    if (rc != UMBRA_OK)
        return rc;
    begin_items(s, layer, experts, n);
    return start_reads(s, err);
}

/* Ends a batch that failed: lets every read that was begun come to its end, since its slot cannot
 * be used before, then takes back what was leased. */
static int end_failed(umbra_store *s, umbra_error *err)
{
    umbra_batch *b = &s->batch;
    while (s->queue_n + s->in_flight > 0) {
        int rc = start_reads(s, err);
        if (rc == UMBRA_OK)
            rc = reap_reads(s, true, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    pthread_mutex_lock(&s->mutex);
    for (int i = 0; i < b->n; i++) {
        if (b->items[i].state == UMBRA_ITEM_READY || b->items[i].state == UMBRA_ITEM_LEASED)
            umbra_slots_unpin(&s->slots, b->items[i].slot);
    }
    pthread_mutex_unlock(&s->mutex);
    b->active = false;
    if (err)
        *err = b->failure;
    return b->failure.status;
}

static int hand_out(umbra_store *s, umbra_lease *leases, int max)
{
    umbra_batch *b = &s->batch;
    int n = b->ready_n < max ? b->ready_n : max;
    for (int i = 0; i < n; i++) {
        int32_t index = b->ready[b->ready_first + i];
        umbra_item *item = &b->items[index];
        item->state = UMBRA_ITEM_LEASED;
        leases[i] = (umbra_lease){.expert = item->expert, .index = index, .slot = item->slot};
        const umbra_slice *slices = umbra_store_slices(s, b->layer, item->expert);
        const char *slot = umbra_store_slot(s, item->slot);
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            leases[i].slice[which] = umbra_layout_data(&s->layout, &slices[which], which, slot);
    }
    b->ready_first += n;
    b->ready_n -= n;
    b->handed_out += n;
    return n;
}

static int wait_for_read(umbra_store *s, umbra_error *err)
{
    uint64_t start_ns = umbra_clock_ns();
    int rc = reap_reads(s, true, err);
    uint64_t waited_ns = umbra_clock_ns() - start_ns;
    pthread_mutex_lock(&s->mutex);
    s->stats.wait_ns += waited_ns;
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int umbra_store_next(umbra_store *s, umbra_lease *leases, int max, umbra_error *err)
{
    umbra_batch *b = &s->batch;
    if (s->broken) {
        if (err)
            *err = s->broken_error;
        return s->broken_error.status;
    }
    if (!b->active)
        return 0;
    if (max < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "room for %d leases: at least 1 is needed", max);
    int rc = reap_reads(s, false, err);
    for (;;) {
        /* The disk gets its next reads before the caller gets something to compute. */
        if (rc == UMBRA_OK)
            rc = start_reads(s, err);
        if (rc != UMBRA_OK)
            return rc;
        if (b->failed)
            return end_failed(s, err);
        int n = hand_out(s, leases, max);
        if (n > 0)
            return n;
        if (b->handed_out == b->n) {
            b->active = false;
            return 0;
        }
        if (s->in_flight == 0) {
            b->failed = true;
            umbra_fail(&b->failure, UMBRA_E_ARGUMENT,
                       "all %d slots are leased: release one before asking for more",
                       (int)s->slots.n);
            return end_failed(s, err);
        }
        rc = wait_for_read(s, err);
    }
}

void umbra_store_release(umbra_store *s, const umbra_lease *lease)
{
    umbra_batch *b = &s->batch;
    pthread_mutex_lock(&s->mutex);
    umbra_slots_unpin(&s->slots, lease->slot);
    pthread_mutex_unlock(&s->mutex);
    if (!b->active)
        return;
    umbra_item *item = &b->items[lease->index];
    if (lease->index < b->n && item->slot == lease->slot && item->state == UMBRA_ITEM_LEASED)
        item->state = UMBRA_ITEM_OVER; /* else it is a lease of the batch before */
    /* A failure here is remembered and comes back from umbra_store_next. */
    if (b->misses_begun < b->misses_n)
        (void)start_reads(s, NULL);
}
