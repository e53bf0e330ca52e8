/* The store's own parts, shared by store.c (opening, statistics), batch.c (batches), budget.c
 * (memory given back), reads.c (the disk: demands first, then guesses), refill.c (what was there
 * before) and places.c (experts at addresses of the caller's). */
#ifndef UMBRA_STORE_STORE_INTERNAL_H
#define UMBRA_STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <umbra/store.h>

#include "base/assert.h"
#include "store/forecast.h"
#include "store/guess.h"
#include "store/io/io.h"
#include "store/geometry.h"
#include "store/places.h"
#include "store/refill.h"
#include "store/sizes.h"
#include "store/slots.h"

/* The reads under way into a slot. */
typedef struct umbra_slot_reads {
    int32_t item; /* of the batch that waits for it; -1: a guess that nobody waits for */
    uint8_t left; /* slices not over yet */
    uint8_t attempts[UMBRA_STORE_SLICES];
    bool failed;
    int8_t distance; /* of a guess, for the record; 0: a demand */
    uint64_t begun_ns;
} umbra_slot_reads;

/* One request under way: a slice, or the same slice of experts that lie side by side in the file.
 * Its place in the table is what the backend gives back. */
typedef struct umbra_flight {
    int n;
    uint64_t read[UMBRA_IO_PARTS]; /* slot * UMBRA_STORE_SLICES + slice, in the file's order */
    uint32_t bytes;
    int next_free; /* -1: last */
} umbra_flight;

typedef enum umbra_item_state {
    UMBRA_ITEM_WAITING, /* has no slot */
    UMBRA_ITEM_READING,
    UMBRA_ITEM_READY,
    UMBRA_ITEM_LEASED,
    UMBRA_ITEM_OVER, /* released, or its read failed */
} umbra_item_state;

typedef struct umbra_item {
    umbra_item_state state;
    int32_t expert;
    int32_t slot;
    bool needed; /* the cache would not have had it by itself */
} umbra_item;

/* The batch that was begun last. */
typedef struct umbra_batch_state {
    bool active;
    bool failed;
    umbra_error failure;
    umbra_batch_kind kind;
    int layer;
    int n;
    int handed_out;
    uint32_t number;   /* counts batches, for `seen` and for leases; never 0 */
    uint32_t *seen;    /* (n_experts): the last batch that named it */
    int32_t *uses;     /* (n_experts): decoded tokens that use it, of those that `seen` marks */
    umbra_item *items; /* (n_experts), the first n in use */
    int32_t *ready;    /* (n_experts): items in the order of their arrival */
    int ready_first, ready_n;
    int32_t *misses; /* (n_experts): items that were not resident, in the batch's order */
    int misses_begun, misses_n;
    int late_n; /* guesses that it waits for */
    uint64_t begun_ns;
} umbra_batch_state;

typedef struct umbra_verifier umbra_verifier;

/* What is to be read back; nothing: NULL. */
typedef struct umbra_refill {
    umbra_cached_expert *expert; /* by layer */
    int *next, *end; /* (n_layers) of each layer, what was neither begun nor passed over */
    uint8_t *wanted; /* (n_layers, n_experts): 1, in the list */
    int left;        /* in all */
    int layer;       /* whose are begun next */
    bool idle;       /* nobody waits for a batch */
    bool paused;     /* nothing of it begins */
} umbra_refill;

/* Whether something of it is to be begun now: behind all that is demanded. */
bool umbra_refill_begins(const umbra_store *s);
/* Begins reads until enough is under way. Called with the lock held. */
void umbra_refill_begin(umbra_store *s);
void umbra_refill_free(umbra_refill *r);

/* Constant after opening; any thread may look. */
typedef struct umbra_store_fixed {
    umbra_io_file *files; /* (n_files), path owned */
    int n_files;
    int n_layers;
    int n_experts;
    int n_sequences;
    umbra_slice *slices; /* (n_layers, n_experts, UMBRA_STORE_SLICES) */
    umbra_geometry geometry;
    umbra_places places;
    umbra_slot_plan plan; /* of the opening */
    int together;
    uint64_t budget_bytes; /* of the opening */
    char *arena;           /* NULL where experts have places */
    uint64_t arena_bytes;
    int depth;
    const umbra_io_ops *ops;
    umbra_io *io; /* for the driver */
    const umbra_clock *clock;
    umbra_verifier *verifier; /* for the driver; NULL: off */
} umbra_store_fixed;

/* The driver's own: nobody else looks, and no lock is needed. */
typedef struct umbra_store_driver {
    umbra_batch_state batch;
    umbra_io_request *requests;       /* (depth) */
    uint64_t *chosen;                 /* (depth) reads to be submitted */
    umbra_io_completion *completions; /* (depth) */
    bool broken; /* the backend failed: what its reads still write to is unknown */
    umbra_error broken_error;
    umbra_disk_model disk;
    umbra_batch_timing timing;
    umbra_calibration calibration;
    umbra_store_event *events; /* (events_room) the caller's, or NULL */
    int events_room, events_n;
    umbra_refill refill;
    umbra_flight *flights; /* (depth) */
    int first_free;
    int in_flight; /* requests */
    uint64_t bytes_in_flight;
    uint64_t waited_ns; /* in all */
    uint64_t needed;    /* experts in all that batches missed, or that were read ahead for them */
    uint64_t *uses;     /* (n_layers, n_experts) batches it was in */
    umbra_slot_reads *reads; /* (slots.n) */
    /* Reads not submitted yet, oldest first: slot * UMBRA_STORE_SLICES + slice. A miss is begun
     * only while fewer than `depth` are queued, and reads that failed come back at most as many
     * times as parts are in flight, hence the ring's size. */
    uint64_t *queue; /* (queue_size) */
    int queue_size, queue_first, queue_n;
} umbra_store_driver;

/* The lock's. Forecasts may change whenever it is not held. Slots are changed by the driver alone,
 * with the lock held, so that the driver may look at them without; but for whether they are lent,
 * which any thread may change. */
typedef struct umbra_store_guarded {
    umbra_slots slots;
    umbra_forecast forecast;
    int lent;        /* leases of other threads than the driver */
    bool lacks_slot; /* the driver needs a slot and finds none, but some are lent */
    bool guessing;
    bool keeps_only; /* forecasts keep experts from eviction, and none is read ahead: set by what
                        measures evictions alone */
} umbra_store_guarded;

/* One thread at a time drives the store; others foretell, forget and ask for statistics. */
struct umbra_store {
    umbra_store_fixed fixed;
    umbra_store_driver driver;
    pthread_mutex_t mutex; /* umbra_store_lock; never held during I/O or waiting */
    umbra_store_guarded guarded;
    umbra_store_stats stats; /* the lock's too, all but what umbra_store_get_stats adds */
    atomic_bool foretold;    /* a forecast came since the driver last looked for guesses */
    /* For assertions. */
    bool locked; /* the lock's: it is held, by */
    pthread_t holder;
    atomic_bool driven; /* the driver is inside */
};

static inline void umbra_store_lock(umbra_store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->locked = true;
    s->holder = pthread_self();
}

static inline void umbra_store_unlock(umbra_store *s)
{
    s->locked = false;
    pthread_mutex_unlock(&s->mutex);
}

/* Whether the calling thread holds the lock. */
static inline bool umbra_store_holds(const umbra_store *s)
{
    return s->locked && pthread_equal(s->holder, pthread_self());
}

/* Around what only the driver may do: no second thread is inside. */
static inline void umbra_store_drive(umbra_store *s)
{
#ifdef UMBRA_ASSERTIONS
    bool driven = atomic_exchange(&s->driven, true);
    umbra_assert(!driven);
#else
    (void)s;
#endif
}

static inline void umbra_store_rest(umbra_store *s)
{
#ifdef UMBRA_ASSERTIONS
    atomic_store(&s->driven, false);
#else
    (void)s;
#endif
}

static inline const umbra_slice *umbra_store_slices(const umbra_store *s, int layer, int expert)
{
    size_t pair = (size_t)layer * (size_t)s->fixed.n_experts + (size_t)expert;
    return &s->fixed.slices[pair * UMBRA_STORE_SLICES];
}

static inline char *umbra_store_slot(const umbra_store *s, int32_t slot)
{
    return s->fixed.arena ? s->fixed.arena + umbra_sizes_place(&s->fixed.plan, slot) : NULL;
}

static inline uint64_t umbra_store_now(const umbra_store *s)
{
    return s->fixed.clock->now_ns(s->fixed.clock->user);
}

/* Where a slice's data is, once it has been read into a slot. */
static inline const void *umbra_store_data(const umbra_store *s, const umbra_slice *slice,
                                           int which, const char *slot)
{
    const umbra_store_fixed *f = &s->fixed;
    if (f->places.at)
        return f->places.at[slice - f->slices];
    if (f->ops->data && slice->bytes > 0)
        return f->ops->data(f->io, slice->file, slice->offset);
    return umbra_geometry_data(&f->geometry, slice, which, slot);
}

/* umbra_store_open with a backend and a clock of the caller's. clock NULL: the machine's. */
int umbra_store_open_with(umbra_store **out, const umbra_store_options *options,
                          const umbra_io_ops *ops, const umbra_clock *clock, umbra_error *err);

/* ---- batch.c ---- */

/* Leases of those of n experts of a layer that are in the cache, their slots held by `hold`.
 * Returns how many. Called with the lock held. */
int umbra_store_lease_resident(umbra_store *s, int layer, const int *experts, int n,
                               void (*hold)(umbra_slots *slots, int32_t slot), umbra_lease *leases);

/* ---- reads.c ---- */

/* Begins misses of the batch and submits reads, as far as slots and depth allow; behind the last
 * demand, guesses that are worth it. */
int umbra_store_start_reads(umbra_store *s, umbra_error *err);
/* Queues the reads into a slot that was just taken, for an item of the batch or, -1, for nobody as
 * yet; where all is there, it has arrived. distance: of a guess, else 0. Called with the lock held.
 */
void umbra_store_begin_reads(umbra_store *s, int32_t slot, int32_t item, int distance);
/* The budget is what the whole engine promises, so it is checked where memory comes into use, in
 * every build. Called with the lock held. */
int umbra_store_check_budget(umbra_store *s, umbra_error *err);
/* The error that the backend failed with, if it did: nothing can be read any more. */
int umbra_store_get_broken(const umbra_store *s, umbra_error *err);
/* Takes completions; wait: blocks for one if any read is in flight. */
int umbra_store_reap_reads(umbra_store *s, bool wait, umbra_error *err);
/* Of the slots that are in use. Called with the mutex held. */
uint64_t umbra_store_resident_bytes(const umbra_store *s);
/* Bytes that reading an expert asks the disk for. */
uint64_t umbra_store_read_bytes(const umbra_store *s, int layer, int expert);
/* Writes an event into the record, if one is kept. */
void umbra_store_note(umbra_store *s, const umbra_store_event *event);
/* Takes what a victim was read ahead for into the statistics. heir: the slot that takes its place;
 * -1: none. Called with the mutex held. */
void umbra_store_count_victim(umbra_store *s, const umbra_victim *victim, int32_t heir);

/* ---- budget.c ---- */

/* Waits until no read is queued or under way; what was foretold is forgotten, and what is to be
 * read back waits, so that none begins. Refused inside a batch. */
int umbra_store_settle(umbra_store *s, umbra_error *err);

/* ---- verify.c ---- */

int umbra_verifier_open(umbra_store *s, umbra_error *err);
void umbra_verifier_close(umbra_store *s); /* also what a failed opening left */
/* The slice of a slot's expert that is not what its file holds, or -1. For the driver, on a slot
 * whose reads have ended. */
int umbra_verifier_check(umbra_store *s, int32_t slot);

#endif
