/* A batch of demands: from its begin to its last lease. */
#include <string.h>

#include "base/error.h"
#include "store/store_internal.h"

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

/* A batch of most of a layer's experts is part of a walk through all layers, as a prompt is read
 * chunk by chunk. It says nothing of its experts, and what was just used comes again last. */
static bool is_walk(const umbra_store *s, int n)
{
    return n > s->n_experts / 2;
}

/* What was used lately will be used again. */
static void warm(umbra_store *s, int layer, const int *experts, int n)
{
    umbra_slots_fade(&s->slots);
    for (int i = 0; !is_walk(s, n) && i < n; i++)
        umbra_slots_warm(&s->slots, layer, experts[i]);
}

/* Pins an expert that is there or on its way. */
static void begin_present(umbra_store *s, int index)
{
    umbra_batch *b = &s->batch;
    umbra_item *item = &b->items[index];
    umbra_slot *slot = &s->slots.slot[item->slot];
    umbra_slots_pin(&s->slots, item->slot);
    bool waits = slot->state == UMBRA_SLOT_READING;
    if (slot->guess > 0) {
        uint64_t bytes = umbra_store_read_bytes(s, b->layer, item->expert);
        umbra_ahead_stats *ahead = &s->stats.ahead[slot->guess];
        *(waits ? &ahead->late_bytes : &ahead->useful_bytes) += bytes;
        s->needed++;
        slot->guess = 0;
    }
    if (!waits) {
        item->state = UMBRA_ITEM_READY;
        b->ready[b->ready_n++] = index;
        return;
    }
    item->state = UMBRA_ITEM_READING;
    s->reads[item->slot].item = index;
    b->late_n++;
}

/* What became of the candidates for this batch that the cache would not have had by itself. */
static void learn(umbra_store *s, int layer)
{
    const umbra_outlook *o = &s->forecast.outlook[layer];
    if (o->due != s->forecast.clock + 1)
        return;
    for (int i = 0; i < o->n; i++) {
        const umbra_candidate *c = &o->candidate[i];
        int32_t slot = umbra_slots_find(&s->slots, layer, c->expert);
        if (slot < 0 || s->slots.slot[slot].guess > 0)
            umbra_experience_take(&s->experience, o->distance, c->probability,
                                  s->batch.seen[c->expert] == s->batch.number);
    }
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
    b->late_n = 0;
    b->begun_ns = umbra_store_now(s);
    pthread_mutex_lock(&s->mutex);
    learn(s, layer);
    umbra_forecast_begin(&s->forecast, layer);
    warm(s, layer, experts, n);
    for (int i = 0; i < n; i++) {
        int32_t slot = umbra_slots_find(&s->slots, layer, experts[i]);
        b->items[i] = (umbra_item){.expert = experts[i], .slot = slot};
        s->uses[(size_t)layer * (size_t)s->n_experts + (size_t)experts[i]]++;
        if (slot >= 0) {
            begin_present(s, i);
            continue;
        }
        b->misses[b->misses_n++] = i;
        s->needed++;
        const umbra_slice *slices = umbra_store_slices(s, layer, experts[i]);
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            s->stats.bytes_needed += slices[which].bytes;
    }
    s->stats.hits += (uint64_t)b->ready_n;
    s->stats.late += (uint64_t)b->late_n;
    s->stats.misses += (uint64_t)b->misses_n;
    pthread_mutex_unlock(&s->mutex);
    umbra_pace_begin(&s->pace, b->begun_ns);
    umbra_pace_batch(&s->pace, b->misses_n + b->late_n);
}

int umbra_store_begin(umbra_store *s, int layer, const int *experts, int n, umbra_error *err)
{
    int rc = check_batch(s, layer, experts, n, err);
    if (rc != UMBRA_OK)
        return rc;
    begin_items(s, layer, experts, n);
    return umbra_store_start_reads(s, err);
}

int umbra_store_poll(umbra_store *s, umbra_error *err)
{
    bool news = atomic_load_explicit(&s->foretold, memory_order_relaxed) &&
                atomic_exchange_explicit(&s->foretold, false, memory_order_acquire);
    if (s->in_flight == 0 && !news)
        return UMBRA_OK; /* most calls end here, without a lock */
    if (s->broken) {
        if (err)
            *err = s->broken_error;
        return s->broken_error.status;
    }
    int before = s->in_flight;
    int rc = umbra_store_reap_reads(s, false, err);
    if (rc != UMBRA_OK || (!news && s->in_flight == before))
        return rc;
    return umbra_store_start_reads(s, err);
}

/* Ends a batch that failed: lets every read that was begun come to its end, since its slot cannot
 * be used before, then takes back what was leased. */
static int end_failed(umbra_store *s, umbra_error *err)
{
    umbra_batch *b = &s->batch;
    while (s->queue_n + s->in_flight > 0) {
        int rc = umbra_store_start_reads(s, err);
        if (rc == UMBRA_OK)
            rc = umbra_store_reap_reads(s, true, err);
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
            leases[i].slice[which] = umbra_store_data(s, &slices[which], which, slot);
    }
    b->ready_first += n;
    b->ready_n -= n;
    b->handed_out += n;
    return n;
}

static int wait_for_read(umbra_store *s, umbra_error *err)
{
    uint64_t start_ns = umbra_store_now(s);
    int rc = umbra_store_reap_reads(s, true, err);
    uint64_t end_ns = umbra_store_now(s);
    pthread_mutex_lock(&s->mutex);
    s->stats.wait_ns += end_ns - start_ns;
    s->waited_ns += end_ns - start_ns;
    umbra_store_note(s, &(umbra_store_event){.kind = UMBRA_EVENT_WAIT,
                                             .begin_ns = start_ns,
                                             .end_ns = end_ns,
                                             .layer = s->batch.layer,
                                             .expert = -1});
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

static void end_batch(umbra_store *s)
{
    s->batch.active = false;
    if (s->events)
        umbra_store_note(s, &(umbra_store_event){.kind = UMBRA_EVENT_BATCH,
                                                 .begin_ns = s->batch.begun_ns,
                                                 .end_ns = umbra_store_now(s),
                                                 .layer = s->batch.layer,
                                                 .expert = -1});
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
    int rc = umbra_store_reap_reads(s, false, err);
    for (;;) {
        /* The disk gets its next reads before the caller gets something to compute. */
        if (rc == UMBRA_OK)
            rc = umbra_store_start_reads(s, err);
        if (rc != UMBRA_OK)
            return rc;
        if (b->failed)
            return end_failed(s, err);
        int n = hand_out(s, leases, max);
        if (n > 0)
            return n;
        if (b->handed_out == b->n) {
            end_batch(s);
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
    if (is_walk(s, b->n))
        umbra_slots_pass(&s->slots, lease->slot);
    pthread_mutex_unlock(&s->mutex);
    if (!b->active)
        return;
    umbra_item *item = &b->items[lease->index];
    if (lease->index < b->n && item->slot == lease->slot && item->state == UMBRA_ITEM_LEASED)
        item->state = UMBRA_ITEM_OVER; /* else it is a lease of the batch before */
    /* A failure here is remembered and comes back from umbra_store_next. */
    if (b->misses_begun < b->misses_n)
        (void)umbra_store_start_reads(s, NULL);
}
