/* The disk: demands first, in the order of their batch; behind the last of them, guesses; behind
 * these, what the cache held before. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "store/store_internal.h"

/* A disk's error may pass; a file that ends does not come back. */
enum { MAX_ATTEMPTS = 3 };
/* Halvings of a guess's value, at most. */
enum { MOST_HALVINGS = 64 };

/* Who takes slots and looks at forecasts holds the lock. */
static void assert_locked(const umbra_store *s)
{
    umbra_assert(umbra_store_holds(s));
    (void)s;
}

static void queue_read(umbra_store *s, uint64_t read)
{
    umbra_assert(s->driver.queue_n < s->driver.queue_size);
    umbra_assert(s->guarded.slots.slot[read / UMBRA_STORE_SLICES].state == UMBRA_SLOT_READING);
    s->driver.queue[(s->driver.queue_first + s->driver.queue_n) % s->driver.queue_size] = read;
    s->driver.queue_n++;
}

int umbra_store_check_budget(umbra_store *s, umbra_error *err)
{
    uint64_t bytes = umbra_store_resident_bytes(s);
    if (bytes > s->stats.budget_bytes || bytes > s->stats.slots_bytes)
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "the expert store went over its budget; this is a defect of Umbra, "
                          "please report it");
    if (bytes > s->stats.resident_bytes_max)
        s->stats.resident_bytes_max = bytes;
    return UMBRA_OK;
}

uint64_t umbra_store_resident_bytes(const umbra_store *s)
{
    uint64_t bytes = 0;
    for (int i = 0; i < s->fixed.plan.n; i++)
        bytes += (uint64_t)s->guarded.slots.size[i].used * s->fixed.plan.size[i].bytes;
    return bytes;
}

static uint64_t slice_bytes(const umbra_store *s, const umbra_slice *slice, int which)
{
    return s->fixed.places.at
               ? umbra_places_bytes(s, slice)
               : umbra_geometry_request(&s->fixed.geometry, slice, which, NULL).bytes;
}

uint64_t umbra_store_read_bytes(const umbra_store *s, int layer, int expert)
{
    const umbra_slice *slices = umbra_store_slices(s, layer, expert);
    uint64_t bytes = 0;
    for (int which = 0; which < UMBRA_STORE_SLICES; which++)
        if (slices[which].bytes > 0)
            bytes += slice_bytes(s, &slices[which], which);
    return bytes;
}

void umbra_store_note(umbra_store *s, const umbra_store_event *event)
{
    if (s->driver.events_n < s->driver.events_room)
        s->driver.events[s->driver.events_n++] = *event;
}

void umbra_store_count_victim(umbra_store *s, const umbra_victim *victim, int32_t heir)
{
    const umbra_slot *next = heir >= 0 ? &s->guarded.slots.slot[heir] : NULL;
    s->stats.evictions += victim->any;
    if (victim->any && s->fixed.places.at && next)
        umbra_places_pass_on(s, victim->layer, victim->expert, next->layer, next->expert);
    else if (victim->any && s->fixed.places.at)
        umbra_places_drop(s, victim->layer, victim->expert);
    if (victim->guess > 0)
        s->stats.ahead[victim->guess].wasted_bytes +=
            umbra_store_read_bytes(s, victim->layer, victim->expert);
}

static void finish_slot(umbra_store *s, int32_t slot);

void umbra_store_begin_reads(umbra_store *s, int32_t slot, int32_t item, int distance)
{
    const umbra_slot *owner = &s->guarded.slots.slot[slot];
    umbra_slot_reads *reads = &s->driver.reads[slot];
    umbra_assert(item >= 0 ? owner->pins == 1 : owner->pins == 0 && distance >= 0);
    *reads = (umbra_slot_reads){
        .item = item, .distance = (int8_t)distance, .begun_ns = umbra_store_now(s)};
    const umbra_slice *slices = umbra_store_slices(s, owner->layer, owner->expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        if (slices[which].bytes == 0 ||
            (s->fixed.places.at && umbra_places_bytes(s, &slices[which]) == 0))
            continue;
        reads->left++;
        queue_read(s, (uint64_t)slot * UMBRA_STORE_SLICES + (uint64_t)which);
    }
    if (reads->left == 0)
        finish_slot(s, slot);
}

/* Gives the next miss a slot and queues its reads. False: every slot is pinned.
 * Called with the lock held. */
static bool begin_miss(umbra_store *s)
{
    umbra_batch_state *b = &s->driver.batch;
    int32_t index = b->misses[b->misses_begun];
    umbra_item *item = &b->items[index];
    umbra_victim victim;
    assert_locked(s);
    umbra_assert(item->state == UMBRA_ITEM_WAITING);
    item->slot = umbra_slots_take(&s->guarded.slots, b->layer, item->expert, 1, INFINITY, &victim);
    s->guarded.lacks_slot = item->slot < 0 && s->guarded.lent > 0;
    if (item->slot < 0)
        return false;
    b->misses_begun++;
    umbra_store_count_victim(s, &victim, item->slot);
    item->state = UMBRA_ITEM_READING;
    umbra_store_begin_reads(s, item->slot, index, 0);
    return true;
}

/* ---- guesses ---- */

/* Whether an expert exists and is not there yet. */
static bool is_missing(const umbra_store *s, int layer, int expert)
{
    return umbra_slots_find(&s->guarded.slots, layer, expert) < 0 &&
           umbra_store_read_bytes(s, layer, expert) > 0;
}

/* The first candidate of a layer that is not there yet; NULL if there is none. */
static const umbra_candidate *next_candidate(umbra_store *s, int layer)
{
    umbra_layer_forecast *o = &s->guarded.forecast.layers[layer];
    while (o->next < o->n && !is_missing(s, layer, o->candidate[o->next].expert))
        o->next++;
    return o->next < o->n ? &o->candidate[o->next] : NULL;
}

static double probability_of(const umbra_store *s, const umbra_layer_forecast *o,
                             const umbra_candidate *c)
{
    return umbra_calibration_apply(&s->driver.calibration, o->distance, c->probability);
}

/* The guess that is worth most now: its layer, or -1 if none is worth a read. What is due later can
 * wait until it displaces nothing or a surer forecast comes, so each batch ahead halves its
 * value. */
static int best_guess(umbra_store *s)
{
    umbra_read_costs costs;
    umbra_read_costs_init(&costs, &s->driver.timing, &s->driver.disk, s->driver.bytes_in_flight,
                          umbra_store_now(s));
    int best = -1;
    double most = 0;
    for (int i = 0; i < s->guarded.forecast.n_live; i++) {
        int layer = s->guarded.forecast.live[i];
        const umbra_layer_forecast *o = &s->guarded.forecast.layers[layer];
        uint64_t steps = o->due - s->guarded.forecast.clock;
        const umbra_candidate *c = steps > UMBRA_MAX_DISTANCE ? NULL : next_candidate(s, layer);
        if (!c)
            continue;
        double due_ns = costs.next_ns + (double)(steps - 1) * s->driver.timing.interval_ns;
        double bytes = (double)umbra_store_read_bytes(s, layer, c->expert);
        double value = umbra_guess_value(&costs, probability_of(s, o, c), bytes, due_ns);
        value = ldexp(value, steps <= MOST_HALVINGS ? -(int)(steps - 1) : -MOST_HALVINGS);
        if (value > most) {
            most = value;
            best = layer;
        }
    }
    return best;
}

/* Begins the best guess. False: nothing is worth it. Called with the lock held. */
static bool begin_guess(umbra_store *s)
{
    int layer;
    assert_locked(s);
    while ((layer = best_guess(s)) >= 0) {
        umbra_layer_forecast *o = &s->guarded.forecast.layers[layer];
        const umbra_candidate *c = &o->candidate[o->next++];
        umbra_victim victim;
        int32_t slot =
            umbra_slots_take(&s->guarded.slots, layer, c->expert, 0, c->probability, &victim);
        if (slot < 0) { /* whatever would have to go is as likely, and so it is for the rest */
            o->next = o->n;
            continue;
        }
        umbra_store_count_victim(s, &victim, slot);
        s->guarded.slots.slot[slot].guess = (int8_t)o->distance;
        s->stats.ahead[o->distance].reads++;
        s->stats.ahead[o->distance].bytes += umbra_store_read_bytes(s, layer, c->expert);
        umbra_store_begin_reads(s, slot, -1, o->distance);
        return true;
    }
    return false;
}

/* Of what would keep the disk busy through its latency: with less under way, choices are made
 * later, when more is known (docs/shadow-model.md has what 0 to all of it gave). */
static const double wide = 0.7;

/* Guesses wait until every demand is submitted, and few enough are in flight that the next demand
 * finds the disk's own parallelism, not a queue. */
static bool guess_now(const umbra_store *s)
{
    double own = wide * s->driver.disk.latency_ns / s->driver.disk.ns_per_byte;
    return s->guarded.guessing && !s->guarded.keeps_only && s->guarded.forecast.n_live > 0 &&
           s->driver.queue_n == 0 && !s->driver.batch.failed &&
           s->driver.batch.misses_begun == s->driver.batch.misses_n &&
           s->driver.in_flight + UMBRA_STORE_SLICES <= s->fixed.depth &&
           (double)s->driver.bytes_in_flight < own + (double)s->fixed.geometry.slot_bytes;
}

/* ---- submitting ---- */

/* The slot and the slice of a read. */
typedef struct place {
    int32_t slot;
    int which;
    const umbra_slice *slice;
    char *memory; /* the slot's */
} place;

static place place_of(const umbra_store *s, uint64_t read)
{
    int32_t slot = (int32_t)(read / UMBRA_STORE_SLICES);
    int which = (int)(read % UMBRA_STORE_SLICES);
    const umbra_slot *owner = &s->guarded.slots.slot[slot];
    return (place){slot, which, &umbra_store_slices(s, owner->layer, owner->expert)[which],
                   umbra_store_slot(s, slot)};
}

int umbra_store_get_broken(const umbra_store *s, umbra_error *err)
{
    if (err && s->driver.broken)
        *err = s->driver.broken_error;
    return s->driver.broken ? s->driver.broken_error.status : UMBRA_OK;
}

/* The backend itself failed: reads it has taken may write into their slots at any time, so the
 * store cannot go on. */
static int set_broken(umbra_store *s, const umbra_error *cause, umbra_error *err)
{
    s->driver.broken = true;
    s->driver.broken_error = *cause;
    s->driver.batch.active = false;
    return umbra_fail_as(cause, err);
}

enum { NO_READ = -1 };

static bool was_tried(const umbra_store *s, const place *p)
{
    return s->driver.reads[p->slot].attempts[p->which] > 0;
}

static umbra_io_request request_of(const umbra_store *s, const place *p)
{
    return s->fixed.places.at
               ? umbra_places_request(s, p->slice)
               : umbra_geometry_request(&s->fixed.geometry, p->slice, p->which, p->memory);
}

static bool extend_request(const umbra_store *s, umbra_io_request *request, const place *last,
                           const place *next)
{
    if (s->fixed.places.at)
        return umbra_places_extend(s, request, next->slice);
    return umbra_geometry_extend(&s->fixed.geometry, request, last->slice, next->slice, next->which,
                                 next->memory);
}

/* Makes a request of chosen[i] and whatever among those after it goes on where it ends; those are
 * struck out. */
static void make_request(umbra_store *s, int i, int n, umbra_io_request *request)
{
    umbra_assert(s->driver.first_free >= 0);
    umbra_flight *f = &s->driver.flights[s->driver.first_free];
    place last = place_of(s, s->driver.chosen[i]);
    *request = request_of(s, &last);
    request->user = (uint64_t)s->driver.first_free;
    s->driver.first_free = f->next_free;
    f->read[0] = s->driver.chosen[i];
    f->n = 1;
    for (int k = i + 1; k < n && f->n < UMBRA_IO_PARTS; k++) {
        if (s->driver.chosen[k] == (uint64_t)NO_READ)
            continue;
        place next = place_of(s, s->driver.chosen[k]);
        if (next.which != last.which || was_tried(s, &last) || was_tried(s, &next) ||
            !extend_request(s, request, &last, &next))
            continue;
        f->read[f->n++] = s->driver.chosen[k];
        s->driver.chosen[k] = (uint64_t)NO_READ;
        last = next;
    }
    f->bytes = request->bytes;
}

/* Takes reads off the queue, as far as the depth allows: demands, then what is left of guesses that
 * a demand found there. Returns how many. Called with the lock held. */
static int choose_reads(umbra_store *s)
{
    int n = 0, room = s->fixed.depth - s->driver.in_flight;
    for (int guesses = 0; guesses < 2; guesses++) {
        for (int left = s->driver.queue_n; left > 0 && n < room; left--) {
            uint64_t read = s->driver.queue[s->driver.queue_first];
            s->driver.queue_first = (s->driver.queue_first + 1) % s->driver.queue_size;
            s->driver.queue_n--;
            if (guesses || s->driver.reads[read / UMBRA_STORE_SLICES].item >= 0)
                s->driver.chosen[n++] = read;
            else
                queue_read(s, read);
        }
    }
    return n;
}

/* Takes reads off the queue and makes requests of them. Called with the lock held. */
static int make_requests(umbra_store *s)
{
    int n = choose_reads(s), requests = 0;
    for (int i = 0; i < n; i++)
        if (s->driver.chosen[i] != (uint64_t)NO_READ)
            make_request(s, i, n, &s->driver.requests[requests++]);
    return requests;
}

static void free_flight(umbra_store *s, int i)
{
    s->driver.flights[i].next_free = s->driver.first_free;
    s->driver.first_free = i;
}

/* Submits what is queued, as far as the depth allows. *taken: requests. */
static int submit_queued(umbra_store *s, int *taken, umbra_error *err)
{
    umbra_error cause = {0};
    *taken = 0;
    umbra_store_lock(s);
    int n = make_requests(s);
    umbra_store_unlock(s);
    if (n == 0)
        return UMBRA_OK;

    uint64_t now_ns = umbra_store_now(s);
    int rc = s->fixed.ops->submit(s->fixed.io, s->driver.requests, n, &cause);
    if (rc < 0)
        return set_broken(s, &cause, err);
    *taken = rc;
    umbra_batch_timing_submit(&s->driver.timing, n, umbra_store_now(s) - now_ns);
    umbra_store_lock(s);
    for (int i = 0; i < n; i++) {
        umbra_flight *f = &s->driver.flights[s->driver.requests[i].user];
        if (i >= *taken) { /* no room after all: back into the queue */
            for (int k = 0; k < f->n; k++)
                queue_read(s, f->read[k]);
            free_flight(s, (int)s->driver.requests[i].user);
            continue;
        }
        umbra_assert(s->driver.in_flight < s->fixed.depth);
        s->driver.in_flight++;
        s->stats.reads++;
        s->stats.bytes_read += f->bytes;
        s->driver.bytes_in_flight += f->bytes;
    }
    umbra_store_unlock(s);
    return UMBRA_OK;
}

/* Begins misses as far as slots and depth allow, or, behind the last one, a guess, or behind these
 * what is to be read back. Returns whether there is something to submit. */
static bool begin_next(umbra_store *s, umbra_error *cause)
{
    umbra_batch_state *b = &s->driver.batch;
    int rc = UMBRA_OK;
    umbra_store_lock(s);
    umbra_forecast_merge(&s->guarded.forecast);
    while (rc == UMBRA_OK && !b->failed && b->misses_begun < b->misses_n &&
           s->driver.queue_n + s->driver.in_flight < s->fixed.depth && begin_miss(s))
        rc = umbra_store_check_budget(s, cause);
    if (rc == UMBRA_OK && guess_now(s) && begin_guess(s))
        (void)umbra_store_check_budget(s, cause);
    if (rc == UMBRA_OK && umbra_refill_begins(s)) {
        umbra_refill_begin(s);
        (void)umbra_store_check_budget(s, cause);
    }
    bool any = s->driver.queue_n > 0;
    umbra_store_unlock(s);
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
static void note_failure(umbra_store *s, int32_t slot, int which, int status, const char *what)
{
    umbra_batch_state *b = &s->driver.batch;
    if (b->failed)
        return;
    b->failed = true;
    const umbra_slot *owner = &s->guarded.slots.slot[slot];
    const umbra_slice *slice = &umbra_store_slices(s, owner->layer, owner->expert)[which];
    umbra_fail_at(&b->failure, status, slice->offset,
                  "%s: cannot read part %d of expert %d of layer %d: %s",
                  s->fixed.files[slice->file].path, which, owner->expert, owner->layer, what);
}

/* Called with the lock held. */
static void finish_slot(umbra_store *s, int32_t slot)
{
    umbra_batch_state *b = &s->driver.batch;
    umbra_slot_reads *reads = &s->driver.reads[slot];
    const umbra_slot *owner = &s->guarded.slots.slot[slot];
    umbra_store_note(s, &(umbra_store_event){.kind = UMBRA_EVENT_READ,
                                             .begin_ns = reads->begun_ns,
                                             .end_ns = umbra_store_now(s),
                                             .layer = owner->layer,
                                             .expert = owner->expert,
                                             .distance = reads->distance});
    umbra_assert(reads->left == 0);
    umbra_assert(reads->item < 0 || b->items[reads->item].state == UMBRA_ITEM_READING);
    if (reads->failed) {
        umbra_victim gone = {.layer = owner->layer, .expert = owner->expert};
        umbra_slots_failed(&s->guarded.slots, slot);
        if (s->fixed.places.at)
            umbra_places_drop(s, gone.layer, gone.expert);
        if (reads->item < 0)
            return;
        /* A part that failed before anybody demanded it was not told to the batch: it reads again.
         */
        b->items[reads->item].state = b->failed ? UMBRA_ITEM_OVER : UMBRA_ITEM_WAITING;
        if (!b->failed)
            b->misses[b->misses_n++] = reads->item;
        return;
    }
    umbra_slots_arrived(&s->guarded.slots, slot);
    if (reads->item < 0)
        return;
    b->items[reads->item].state = UMBRA_ITEM_READY;
    b->ready[b->ready_first + b->ready_n++] = reads->item;
}

/* One read of a request is over: its slot, if that was the last one of it, or -1. A guess that
 * fails is forgotten: its demand, if there is one, reads again and tells. Called with the lock
 * held. */
static int32_t finish_read(umbra_store *s, uint64_t read, int error, bool alone)
{
    place p = place_of(s, read);
    umbra_slot_reads *reads = &s->driver.reads[p.slot];
    assert_locked(s);
    umbra_assert(reads->left > 0);
    /* Which of several failed is seen when each is read by itself. */
    if (((error > 0) || (error < 0 && !alone)) && ++reads->attempts[p.which] < MAX_ATTEMPTS) {
        queue_read(s, read);
        return -1;
    }
    if (error != 0) {
        reads->failed = true;
        if (reads->item >= 0)
            note_failure(s, p.slot, p.which, UMBRA_E_IO,
                         error > 0 ? strerror(error) : "the file has become shorter");
    }
    return --reads->left == 0 ? p.slot : -1;
}

/* The piece of the file that two slots share was read into the first one; what a simulated disk
 * delivers is brought to its place. */
static void share_pieces(umbra_store *s, const umbra_flight *f)
{
    if (s->fixed.places.at) {
        for (int k = 0; k < f->n && s->fixed.ops->data; k++)
            umbra_places_copy(s, place_of(s, f->read[k]).slice);
        return;
    }
    for (int k = 1; k < f->n && !s->fixed.ops->data; k++) {
        place last = place_of(s, f->read[k - 1]), next = place_of(s, f->read[k]);
        umbra_geometry_share(&s->fixed.geometry, last.slice, last.memory, next.slice, next.which,
                             next.memory);
    }
}

/* Called without the lock: slots that are read into are the driver's own. */
static void finish_flight(umbra_store *s, const umbra_io_completion *c)
{
    umbra_flight *f = &s->driver.flights[c->user];
    int32_t done[UMBRA_IO_PARTS];
    umbra_assert(c->user < (uint64_t)s->fixed.depth && s->driver.in_flight > 0);
    if (c->error == 0)
        share_pieces(s, f);
    umbra_store_lock(s);
    s->driver.in_flight--;
    s->driver.bytes_in_flight -= f->bytes;
    for (int k = 0; k < f->n; k++)
        done[k] = finish_read(s, f->read[k], c->error, f->n == 1);
    umbra_store_unlock(s);
    for (int k = 0; k < f->n; k++) {
        if (done[k] < 0)
            continue;
        int wrong = s->fixed.verifier ? umbra_verifier_check(s, done[k]) : -1;
        umbra_store_lock(s);
        umbra_slot_reads *reads = &s->driver.reads[done[k]];
        if (wrong >= 0 && !reads->failed) {
            reads->failed = true;
            if (reads->item >= 0)
                note_failure(s, done[k], wrong, UMBRA_E_CORRUPT,
                             "what arrived is not what the file holds");
        }
        finish_slot(s, done[k]);
        umbra_store_unlock(s);
    }
    free_flight(s, (int)c->user);
}

int umbra_store_reap_reads(umbra_store *s, bool wait, umbra_error *err)
{
    if (s->driver.in_flight == 0)
        return UMBRA_OK;
    umbra_error cause = {0};
    int n = s->fixed.ops->reap(s->fixed.io, s->driver.completions, s->fixed.depth, wait, &cause);
    if (n == 0 && wait)
        n = umbra_fail(&cause, UMBRA_E_SYSTEM, "the I/O backend \"%s\" lost %d reads",
                       s->fixed.ops->name, s->driver.in_flight);
    if (n < 0)
        return set_broken(s, &cause, err);
    for (int i = 0; i < n; i++)
        finish_flight(s, &s->driver.completions[i]);
    return UMBRA_OK;
}
