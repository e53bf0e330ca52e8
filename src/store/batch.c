/* Batches: what is there is pinned at once, the rest is read and handed out as it comes. */
#include <sched.h>
#include <string.h>

#include "base/error.h"
#include "store/store_internal.h"

static int check_expert(umbra_store *s, const umbra_batch *batch, int i, umbra_error *err)
{
    umbra_batch_state *b = &s->driver.batch;
    int e = batch->experts[i], layer = batch->layer;
    if (e < 0 || e >= s->fixed.n_experts)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "expert %d of layer %d: there are %d", e, layer,
                          s->fixed.n_experts);
    if (b->seen[e] == b->number)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "expert %d of layer %d is twice in a batch", e,
                          layer);
    if (batch->uses && batch->uses[i] < 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "expert %d of layer %d is used by %d tokens: must not be negative", e,
                          layer, batch->uses[i]);
    const umbra_slice *slices = umbra_store_slices(s, layer, e);
    if (slices[0].bytes + slices[1].bytes + slices[2].bytes == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "layer %d has no expert %d", layer, e);
    return UMBRA_OK;
}

/* A prompt scans all layers chunk by chunk: it says little of what is used soon, and what it has
 * just used comes again last. */
static bool counts_uses(umbra_batch_kind kind)
{
    return kind == UMBRA_BATCH_DECODE || kind == UMBRA_BATCH_VERIFY;
}

/* Whether what it needs and waits for is counted. */
static bool is_somebodys(const umbra_batch_state *b)
{
    return b->kind != UMBRA_BATCH_PROBE;
}

static int check_batch(umbra_store *s, const umbra_batch *batch, umbra_error *err)
{
    umbra_batch_state *b = &s->driver.batch;
    int rc = umbra_store_get_broken(s, err), n = batch->n;
    if (rc != UMBRA_OK)
        return rc;
    if (b->active)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a batch began before the one of layer %d had ended", b->layer);
    if (batch->layer < 0 || batch->layer >= s->fixed.n_layers || n < 0 || n > s->fixed.n_experts)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a batch of %d experts of layer %d: the model has %d layers of %d", n,
                          batch->layer, s->fixed.n_layers, s->fixed.n_experts);
    if ((unsigned)batch->kind > UMBRA_BATCH_PROBE)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "a batch of kind %d: there is none such",
                          (int)batch->kind);
    if (++b->number == 0) { /* after 2^32 batches the marks of old ones would come true again */
        memset(b->seen, 0, (size_t)s->fixed.n_experts * sizeof *b->seen);
        b->number = 1;
    }
    for (int i = 0; rc == UMBRA_OK && i < n; i++) {
        rc = check_expert(s, batch, i, err);
        if (rc != UMBRA_OK)
            return rc;
        int e = batch->experts[i];
        b->seen[e] = b->number;
        b->uses[e] = !counts_uses(batch->kind) ? 0 : batch->uses ? batch->uses[i] : 1;
    }
    return UMBRA_OK;
}

/* What was used lately will be used again, and by as many. */
static void count_uses(umbra_store *s, const umbra_batch *batch)
{
    if (batch->kind == UMBRA_BATCH_PROBE)
        return;
    umbra_slots_decay(&s->guarded.slots, batch->tokens > 1 ? batch->tokens : 1);
    for (int i = 0; i < batch->n; i++) {
        int e = batch->experts[i];
        if (s->driver.batch.uses[e] > 0)
            umbra_slots_count_use(&s->guarded.slots, batch->layer, e, s->driver.batch.uses[e]);
        s->driver.uses[(size_t)batch->layer * (size_t)s->fixed.n_experts + (size_t)e]++;
    }
}

/* Pins an expert that is there or on its way. */
static void begin_present(umbra_store *s, int index)
{
    umbra_batch_state *b = &s->driver.batch;
    umbra_item *item = &b->items[index];
    umbra_slot *slot = &s->guarded.slots.slot[item->slot];
    umbra_slots_pin(&s->guarded.slots, item->slot);
    bool waits = slot->state == UMBRA_SLOT_READING;
    if (slot->guess > 0) {
        uint64_t bytes = umbra_store_read_bytes(s, b->layer, item->expert);
        umbra_ahead_stats *ahead = &s->stats.ahead[slot->guess];
        *(waits ? &ahead->late_bytes : &ahead->useful_bytes) += bytes;
        s->driver.needed++;
        item->needed = true;
        slot->guess = 0;
    }
    s->stats.refill_used += slot->refilled;
    slot->refilled = false;
    umbra_assert(slot->layer == b->layer && slot->expert == item->expert);
    if (!waits) {
        item->state = UMBRA_ITEM_READY;
        b->ready[b->ready_n++] = index;
        return;
    }
    item->state = UMBRA_ITEM_READING;
    s->driver.reads[item->slot].item = index;
    b->late_n++;
}

/* What became of the candidates for this batch that the cache would not have had by itself. Those
 * that only a prompt's rows use were never foretold, and tell nothing of forecasts. */
static void learn(umbra_store *s, const umbra_batch *batch)
{
    int layer = batch->layer;
    umbra_forecast_merge(&s->guarded.forecast);
    const umbra_layer_forecast *o = &s->guarded.forecast.layers[layer];
    if (o->due != s->guarded.forecast.clock + 1 || !counts_uses(batch->kind))
        return;
    for (int i = 0; i < o->n; i++) {
        const umbra_candidate *c = &o->candidate[i];
        int32_t slot = umbra_slots_find(&s->guarded.slots, layer, c->expert);
        bool used = s->driver.batch.seen[c->expert] == s->driver.batch.number;
        if (used && s->driver.batch.uses[c->expert] == 0)
            continue;
        if (slot < 0 || s->guarded.slots.slot[slot].guess > 0)
            umbra_calibration_add(&s->driver.calibration, o->distance, c->probability, used);
    }
}

static void begin_absent(umbra_store *s, int index)
{
    umbra_batch_state *b = &s->driver.batch;
    b->misses[b->misses_n++] = index;
    b->items[index].needed = true;
    s->driver.needed += is_somebodys(b);
    const umbra_slice *slices = umbra_store_slices(s, b->layer, b->items[index].expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++)
        s->stats.bytes_needed += slices[which].bytes;
}

static void reset_batch(umbra_store *s, const umbra_batch *batch)
{
    umbra_batch_state *b = &s->driver.batch;
    b->active = true;
    b->failed = false;
    b->kind = batch->kind;
    b->layer = batch->layer;
    b->n = batch->n;
    b->handed_out = 0;
    b->ready_first = b->ready_n = 0;
    b->misses_begun = b->misses_n = 0;
    b->late_n = 0;
    b->begun_ns = umbra_store_now(s);
}

/* Pins every hit before any miss looks for a victim. */
static void begin_items(umbra_store *s, const umbra_batch *batch)
{
    umbra_batch_state *b = &s->driver.batch;
    umbra_store_lock(s);
    s->guarded.lacks_slot = false; /* a batch that failed may have left it set */
    learn(s, batch);
    umbra_forecast_begin(&s->guarded.forecast, batch->layer);
    count_uses(s, batch);
    for (int i = 0; i < batch->n; i++) {
        int32_t slot = umbra_slots_find(&s->guarded.slots, batch->layer, batch->experts[i]);
        b->items[i] = (umbra_item){.expert = batch->experts[i], .slot = slot};
        if (slot >= 0)
            begin_present(s, i);
        else
            begin_absent(s, i);
    }
    if (is_somebodys(b)) {
        s->stats.hits += (uint64_t)b->ready_n;
        s->stats.late += (uint64_t)b->late_n;
        s->stats.misses += (uint64_t)b->misses_n;
    }
    umbra_store_unlock(s);
    s->driver.refill.layer = (batch->layer + 1) % s->fixed.n_layers;
    umbra_batch_timing_begin(&s->driver.timing, b->begun_ns);
    umbra_batch_timing_misses(&s->driver.timing, b->misses_n + b->late_n);
}

int umbra_store_begin(umbra_store *s, const umbra_batch *batch, umbra_error *err)
{
    umbra_store_drive(s);
    int rc = check_batch(s, batch, err);
    if (rc == UMBRA_OK) {
        reset_batch(s, batch);
        begin_items(s, batch);
        rc = umbra_store_start_reads(s, err);
    }
    umbra_store_rest(s);
    return rc;
}

/* Takes what has ended; starts more where that, or a forecast that came, makes a difference, or
 * something is to be read back. */
static int poll_reads(umbra_store *s, bool foretold, umbra_error *err)
{
    int before = s->driver.in_flight, rc = umbra_store_get_broken(s, err);
    if (rc == UMBRA_OK)
        rc = umbra_store_reap_reads(s, false, err);
    if (rc != UMBRA_OK || (!foretold && s->driver.in_flight == before && !umbra_refill_begins(s)))
        return rc;
    return umbra_store_start_reads(s, err);
}

int umbra_store_poll(umbra_store *s, umbra_error *err)
{
    bool foretold = atomic_load_explicit(&s->foretold, memory_order_relaxed) &&
                    atomic_exchange_explicit(&s->foretold, false, memory_order_acquire);
    if (s->driver.in_flight == 0 && !foretold && !umbra_refill_begins(s))
        return UMBRA_OK; /* most calls end here, without a lock */
    umbra_store_drive(s);
    int rc = poll_reads(s, foretold, err);
    umbra_store_rest(s);
    return rc;
}

/* Ends a batch that failed: lets every read that was begun come to its end, since its slot cannot
 * be used before, then takes back what was leased. */
static int end_failed(umbra_store *s, umbra_error *err)
{
    umbra_batch_state *b = &s->driver.batch;
    while (s->driver.queue_n + s->driver.in_flight > 0) {
        int rc = umbra_store_start_reads(s, err);
        if (rc == UMBRA_OK)
            rc = umbra_store_reap_reads(s, true, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    umbra_store_lock(s);
    for (int i = 0; i < b->n; i++) {
        if (b->items[i].state == UMBRA_ITEM_READY || b->items[i].state == UMBRA_ITEM_LEASED)
            umbra_slots_unpin(&s->guarded.slots, b->items[i].slot);
        b->items[i].state = UMBRA_ITEM_OVER;
    }
    umbra_store_unlock(s);
    b->active = false;
    if (err)
        *err = b->failure;
    return b->failure.status;
}

static void fill_lease(const umbra_store *s, int layer, umbra_lease *lease)
{
    const umbra_slice *slices = umbra_store_slices(s, layer, lease->expert);
    const char *slot = umbra_store_slot(s, lease->slot);
    lease->place = UMBRA_PLACE_HOST;
    for (int which = 0; which < UMBRA_STORE_SLICES; which++)
        lease->slice[which] = umbra_store_data(s, &slices[which], which, slot);
}

static int hand_out(umbra_store *s, umbra_lease *leases, int max)
{
    umbra_batch_state *b = &s->driver.batch;
    int n = b->ready_n < max ? b->ready_n : max;
    for (int i = 0; i < n; i++) {
        int32_t index = b->ready[b->ready_first + i];
        umbra_item *item = &b->items[index];
        umbra_assert(item->state == UMBRA_ITEM_READY);
        umbra_assert(s->guarded.slots.slot[item->slot].state == UMBRA_SLOT_RESIDENT);
        umbra_assert(s->guarded.slots.slot[item->slot].pins > 0);
        item->state = UMBRA_ITEM_LEASED;
        leases[i] = (umbra_lease){
            .expert = item->expert, .index = index, .slot = item->slot, .batch = b->number};
        fill_lease(s, b->layer, &leases[i]);
    }
    b->ready_first += n;
    b->ready_n -= n;
    b->handed_out += n;
    return n;
}

bool umbra_store_ready(umbra_store *s)
{
    const umbra_batch_state *b = &s->driver.batch;
    umbra_store_drive(s);
    /* An error is told by umbra_store_next. */
    int rc = poll_reads(s, atomic_exchange(&s->foretold, false), NULL);
    umbra_store_rest(s);
    return rc != UMBRA_OK || !b->active || b->failed || b->ready_n > 0 || b->handed_out == b->n;
}

int umbra_store_lease_resident(umbra_store *s, int layer, const int *experts, int n,
                               void (*hold)(umbra_slots *slots, int32_t slot), umbra_lease *leases)
{
    int found = 0;
    for (int i = 0; i < n; i++) {
        int32_t slot = umbra_slots_find(&s->guarded.slots, layer, experts[i]);
        if (slot < 0 || s->guarded.slots.slot[slot].state != UMBRA_SLOT_RESIDENT)
            continue;
        hold(&s->guarded.slots, slot);
        leases[found] = (umbra_lease){.expert = experts[i], .index = i, .slot = slot};
        fill_lease(s, layer, &leases[found++]);
    }
    return found;
}

int umbra_store_borrow(umbra_store *s, int layer, const int *experts, int n, umbra_lease *leases)
{
    umbra_store_drive(s);
    umbra_store_lock(s);
    int found = umbra_store_lease_resident(s, layer, experts, n, umbra_slots_pin, leases);
    umbra_store_unlock(s);
    umbra_store_rest(s);
    return found;
}

static int wait_for_read(umbra_store *s, umbra_error *err)
{
    uint64_t start_ns = umbra_store_now(s);
    int rc = umbra_store_reap_reads(s, true, err);
    uint64_t end_ns = umbra_store_now(s);
    umbra_store_lock(s);
    if (is_somebodys(&s->driver.batch))
        s->stats.wait_ns += end_ns - start_ns;
    s->driver.waited_ns += end_ns - start_ns;
    umbra_store_note(s, &(umbra_store_event){.kind = UMBRA_EVENT_WAIT,
                                             .begin_ns = start_ns,
                                             .end_ns = end_ns,
                                             .layer = s->driver.batch.layer,
                                             .expert = -1});
    umbra_store_unlock(s);
    return rc;
}

static void end_batch(umbra_store *s)
{
    s->driver.batch.active = false;
    if (s->driver.events)
        umbra_store_note(s, &(umbra_store_event){.kind = UMBRA_EVENT_BATCH,
                                                 .begin_ns = s->driver.batch.begun_ns,
                                                 .end_ns = umbra_store_now(s),
                                                 .layer = s->driver.batch.layer,
                                                 .expert = -1});
}

/* How many slots there are for the miss that is waiting. */
static int32_t slots_of_next(const umbra_store *s)
{
    const umbra_batch_state *b = &s->driver.batch;
    umbra_assert(b->misses_begun < b->misses_n);
    int32_t expert = b->items[b->misses[b->misses_begun]].expert;
    return umbra_slots_group(&s->guarded.slots, b->layer, expert)->limit;
}

/* Whether the next miss has no slot since some are lent, which will come back by themselves. */
static bool waits_for_lent(umbra_store *s)
{
    umbra_store_lock(s);
    bool waits = s->guarded.lacks_slot;
    umbra_store_unlock(s);
    return waits;
}

static int next_leases(umbra_store *s, umbra_lease *leases, int max, umbra_error *err)
{
    umbra_batch_state *b = &s->driver.batch;
    int rc = umbra_store_get_broken(s, err);
    if (rc != UMBRA_OK || !b->active)
        return rc;
    if (max < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "room for %d leases: at least 1 is needed", max);
    rc = umbra_store_reap_reads(s, false, err);
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
        if (s->driver.in_flight == 0 && waits_for_lent(s)) {
            sched_yield();
            continue;
        }
        if (s->driver.in_flight == 0) {
            b->failed = true;
            umbra_fail(&b->failure, UMBRA_E_ARGUMENT,
                       "all %d slots are leased: release one before asking for more",
                       (int)slots_of_next(s));
            return end_failed(s, err);
        }
        rc = wait_for_read(s, err);
    }
}

int umbra_store_next(umbra_store *s, umbra_lease *leases, int max, umbra_error *err)
{
    umbra_store_drive(s);
    int rc = next_leases(s, leases, max, err);
    umbra_store_rest(s);
    return rc;
}

/* Gives back the lease of an item, or, item NULL, of an earlier batch: what that was for is not
 * known any more. */
static void give_back(umbra_store *s, const umbra_lease *lease, umbra_item *item)
{
    umbra_batch_state *b = &s->driver.batch;
    umbra_store_lock(s);
    umbra_slots_unpin(&s->guarded.slots, lease->slot);
    if (item && b->uses[lease->expert] == 0)
        umbra_slots_mark_scanned(&s->guarded.slots, lease->slot);
    umbra_store_unlock(s);
    if (!item)
        return;
    item->state = UMBRA_ITEM_OVER;
    /* A failure here is remembered and comes back from umbra_store_next. */
    if (b->active && b->misses_begun < b->misses_n)
        (void)umbra_store_start_reads(s, NULL);
}

void umbra_store_release(umbra_store *s, const umbra_lease *lease)
{
    umbra_batch_state *b = &s->driver.batch;
    umbra_item *item = lease->batch == b->number ? &b->items[lease->index] : NULL;
    umbra_store_drive(s);
    umbra_assert(lease->slot >= 0 && lease->slot < s->guarded.slots.n);
    umbra_assert(!item || (lease->index < b->n && item->slot == lease->slot));
    /* Else it was given back before, or taken back when the batch failed. */
    if (!item || item->state == UMBRA_ITEM_LEASED)
        give_back(s, lease, item);
    umbra_store_rest(s);
}
