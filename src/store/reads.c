/* The disk: demands first, in the order of their batch; behind the last of them, guesses. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "store/store_internal.h"

/* A disk's error may pass; a file that ends does not come back. */
enum { MAX_ATTEMPTS = 3 };

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

uint64_t umbra_store_read_bytes(const umbra_store *s, int layer, int expert)
{
    const umbra_slice *slices = umbra_store_slices(s, layer, expert);
    uint64_t bytes = 0;
    for (int which = 0; which < UMBRA_STORE_SLICES; which++)
        if (slices[which].bytes > 0)
            bytes += umbra_layout_request(&s->layout, &slices[which], which, NULL).bytes;
    return bytes;
}

void umbra_store_note(umbra_store *s, const umbra_store_event *event)
{
    if (s->events_n < s->events_room)
        s->events[s->events_n++] = *event;
}

void umbra_store_count_victim(umbra_store *s, const umbra_victim *victim)
{
    s->stats.evictions += victim->any;
    if (victim->guess > 0)
        s->stats.ahead[victim->guess].wasted_bytes +=
            umbra_store_read_bytes(s, victim->layer, victim->expert);
}

/* Queues the reads into a slot that was just taken. Called with the mutex held. */
static void begin_reads(umbra_store *s, int32_t slot, int32_t item, int distance)
{
    const umbra_slot *owner = &s->slots.slot[slot];
    umbra_slot_reads *reads = &s->reads[slot];
    *reads = (umbra_slot_reads){
        .item = item, .distance = (int8_t)distance, .begun_ns = umbra_store_now(s)};
    const umbra_slice *slices = umbra_store_slices(s, owner->layer, owner->expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        if (slices[which].bytes == 0)
            continue;
        reads->left++;
        queue_read(s, (uint64_t)slot * UMBRA_STORE_SLICES + (uint64_t)which);
    }
}

/* Gives the next miss a slot and queues its reads. False: every slot is pinned.
 * Called with the mutex held. */
static bool begin_miss(umbra_store *s)
{
    umbra_batch *b = &s->batch;
    int32_t index = b->misses[b->misses_begun];
    umbra_item *item = &b->items[index];
    umbra_victim victim;
    item->slot = umbra_slots_take(&s->slots, b->layer, item->expert, 1, INFINITY, &victim);
    if (item->slot < 0)
        return false;
    b->misses_begun++;
    umbra_store_count_victim(s, &victim);
    item->state = UMBRA_ITEM_READING;
    begin_reads(s, item->slot, index, 0);
    return true;
}

/* ---- guesses ---- */

/* The first candidate of a layer that is not there yet; NULL if there is none. */
static const umbra_candidate *next_candidate(umbra_store *s, int layer)
{
    umbra_outlook *o = &s->forecast.outlook[layer];
    while (o->next < o->n && umbra_slots_find(&s->slots, layer, o->candidate[o->next].expert) >= 0)
        o->next++;
    return o->next < o->n ? &o->candidate[o->next] : NULL;
}

/* The probability that the next batch has misses, as far as its layer is foretold. */
static double next_misses(const umbra_store *s)
{
    for (int i = 0; i < s->forecast.n_live; i++) {
        int layer = s->forecast.live[i];
        const umbra_outlook *o = &s->forecast.outlook[layer];
        if (o->due != s->forecast.clock + 1)
            continue;
        double none = 1;
        for (int c = o->next; c < o->n; c++)
            if (umbra_slots_find(&s->slots, layer, o->candidate[c].expert) < 0)
                none *= 1 - o->candidate[c].probability;
        return 1 - none;
    }
    return s->pace.missed;
}

/* The guess that is worth most now: its layer, or -1 if none is worth a read. What is due later can
 * wait, for a moment in which it displaces nothing or for a surer forecast, so each batch ahead
 * halves its turn. */
static int best_guess(umbra_store *s)
{
    umbra_moment moment;
    umbra_moment_init(&moment, &s->pace, &s->disk, s->bytes_in_flight, umbra_store_now(s));
    moment.missed = next_misses(s);
    int best = -1;
    double most = 0;
    for (int i = 0; i < s->forecast.n_live; i++) {
        int layer = s->forecast.live[i];
        const umbra_candidate *c = next_candidate(s, layer);
        if (!c || s->guesses[layer].n == UMBRA_CANDIDATES)
            continue;
        uint64_t steps = s->forecast.outlook[layer].due - s->forecast.clock;
        double due_ns = moment.next_ns + (double)(steps - 1) * s->pace.interval_ns;
        double bytes = (double)umbra_store_read_bytes(s, layer, c->expert);
        double value =
            ldexp(umbra_guess_value(&moment, c->probability, bytes, due_ns), -(int)(steps - 1));
        if (value > most) {
            most = value;
            best = layer;
        }
    }
    return best;
}

/* Begins the best guess. False: nothing is worth it. Called with the mutex held. */
static bool begin_guess(umbra_store *s)
{
    int layer;
    while ((layer = best_guess(s)) >= 0) {
        umbra_outlook *o = &s->forecast.outlook[layer];
        const umbra_candidate *c = &o->candidate[o->next++];
        umbra_victim victim;
        int32_t slot = umbra_slots_take(&s->slots, layer, c->expert, 0, c->probability, &victim);
        if (slot < 0) { /* whatever would have to go is as likely, and so it is for the rest */
            o->next = o->n;
            continue;
        }
        umbra_store_count_victim(s, &victim);
        s->slots.slot[slot].guess = (int8_t)o->distance;
        umbra_guesses *g = &s->guesses[layer];
        g->slot[g->n++] = slot;
        s->stats.ahead[o->distance].reads++;
        s->stats.ahead[o->distance].bytes += umbra_store_read_bytes(s, layer, c->expert);
        begin_reads(s, slot, -1, o->distance);
        return true;
    }
    return false;
}

/* Guesses wait until every demand is submitted, and few enough are in flight that the next demand
 * finds the disk's own parallelism, not a queue. */
static bool guess_now(const umbra_store *s)
{
    double own = s->disk.latency_ns / s->disk.ns_per_byte;
    return s->guessing && s->forecast.n_live > 0 && s->queue_n == 0 && !s->batch.failed &&
           s->batch.misses_begun == s->batch.misses_n &&
           s->in_flight + UMBRA_STORE_SLICES <= s->depth &&
           (double)s->bytes_in_flight < own + (double)s->layout.slot_bytes;
}

/* ---- submitting ---- */

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

/* Submits what is queued, as far as the depth allows. *taken: how many. */
static int submit_queued(umbra_store *s, int *taken, umbra_error *err)
{
    umbra_error cause = {0};
    *taken = 0;
    pthread_mutex_lock(&s->mutex);
    int room = s->depth - s->in_flight;
    int n = s->queue_n < room ? s->queue_n : room;
    for (int i = 0; i < n; i++)
        s->requests[i] = request_of(s, s->queue[(s->queue_first + i) % s->queue_size]);
    pthread_mutex_unlock(&s->mutex);
    if (n == 0)
        return UMBRA_OK;

    uint64_t now_ns = umbra_store_now(s);
    int rc = s->ops->submit(s->io, s->requests, n, &cause);
    if (rc < 0)
        return set_broken(s, &cause, err);
    *taken = rc;
    pthread_mutex_lock(&s->mutex);
    s->queue_first = (s->queue_first + *taken) % s->queue_size;
    s->queue_n -= *taken;
    s->in_flight += *taken;
    s->stats.reads += (uint64_t)*taken;
    for (int i = 0; i < *taken; i++) {
        const umbra_io_request *r = &s->requests[i];
        umbra_slot_reads *reads = &s->reads[r->user / UMBRA_STORE_SLICES];
        int which = (int)(r->user % UMBRA_STORE_SLICES);
        s->stats.bytes_read += r->bytes;
        s->bytes_in_flight += r->bytes;
        reads->submitted_ns[which] = now_ns;
        reads->ahead_bytes[which] = s->bytes_in_flight;
    }
    pthread_mutex_unlock(&s->mutex);
    return UMBRA_OK;
}

/* Begins misses as far as slots and depth allow, or, behind the last one, a guess. Returns whether
 * there is something to submit. */
static bool begin_next(umbra_store *s, umbra_error *cause)
{
    umbra_batch *b = &s->batch;
    int rc = UMBRA_OK;
    pthread_mutex_lock(&s->mutex);
    while (rc == UMBRA_OK && !b->failed && b->misses_begun < b->misses_n &&
           s->queue_n + s->in_flight < s->depth && begin_miss(s))
        rc = check_budget(s, cause);
    if (rc == UMBRA_OK && guess_now(s) && begin_guess(s))
        rc = check_budget(s, cause);
    bool any = s->queue_n > 0;
    pthread_mutex_unlock(&s->mutex);
    return any;
}

int umbra_store_start_reads(umbra_store *s, umbra_error *err)
{
    for (;;) {
        umbra_error cause = {0};
        bool any = begin_next(s, &cause);
        if (cause.status != UMBRA_OK)
            return set_broken(s, &cause, err);
        int taken = 0;
        int rc = any ? submit_queued(s, &taken, err) : UMBRA_OK;
        if (rc != UMBRA_OK || taken == 0)
            return rc;
    }
}

/* ---- completions ---- */

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
    const umbra_slot *owner = &s->slots.slot[slot];
    umbra_store_note(s, &(umbra_store_event){.kind = UMBRA_EVENT_READ,
                                             .begin_ns = reads->begun_ns,
                                             .end_ns = umbra_store_now(s),
                                             .layer = owner->layer,
                                             .expert = owner->expert,
                                             .distance = reads->distance});
    if (reads->failed) {
        umbra_slots_failed(&s->slots, slot);
        if (reads->item >= 0)
            b->items[reads->item].state = UMBRA_ITEM_OVER;
        return;
    }
    umbra_slots_arrived(&s->slots, slot);
    if (reads->late)
        umbra_slots_demote(&s->slots, slot);
    if (reads->item < 0)
        return;
    b->items[reads->item].state = UMBRA_ITEM_READY;
    b->ready[b->ready_first + b->ready_n++] = reads->item;
}

/* A guess that fails is forgotten: its demand, if there is one, reads again and tells.
 * Called with the mutex held. */
static void finish_read(umbra_store *s, const umbra_io_completion *c, bool waited)
{
    int32_t slot = (int32_t)(c->user / UMBRA_STORE_SLICES);
    int which = (int)(c->user % UMBRA_STORE_SLICES);
    umbra_slot_reads *reads = &s->reads[slot];
    const umbra_io_request request = request_of(s, c->user);
    s->in_flight--;
    s->bytes_in_flight -= request.bytes;
    if (c->error > 0 && ++reads->attempts[which] < MAX_ATTEMPTS) {
        queue_read(s, c->user);
        return;
    }
    if (waited && c->error == 0)
        umbra_disk_model_add(&s->disk, (double)reads->ahead_bytes[which],
                             (double)(umbra_store_now(s) - reads->submitted_ns[which]));
    if (c->error != 0) {
        reads->failed = true;
        if (reads->item >= 0)
            note_failure(s, slot, which, c->error);
    }
    if (--reads->left == 0)
        finish_slot(s, slot);
}

int umbra_store_reap_reads(umbra_store *s, bool wait, umbra_error *err)
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
        finish_read(s, &s->completions[i], wait);
    pthread_mutex_unlock(&s->mutex);
    return UMBRA_OK;
}
