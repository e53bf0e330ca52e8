/* The expert store: a cache of expert slots in front of files, under a hard byte budget, that reads
 * ahead what is foretold.
 *
 * An expert is up to UMBRA_STORE_SLICES byte ranges ("slices": gate, up, down) of model files.
 * Memory is one arena of slots; the arena never grows. A read goes straight into the slot (O_DIRECT
 * where the file system allows), so a slice's region is the slice widened to the disk's alignment
 * at both ends. Where experts differ in size, as they do where layers are quantised differently,
 * slots are of several sizes, and each has the same share of its experts in slots, so that no layer
 * finds its experts less often for their size. An expert that comes takes the place of one of its
 * size.
 *
 * A layer's computation is a batch: umbra_store_begin names the experts and says what they are
 * computed for, umbra_store_next hands out leases in the order in which data is there (resident
 * ones first), the caller computes and gives each back with umbra_store_release. A leased slot is
 * never evicted. Batches may name more experts than there are slots: reads go on as leases are
 * released. Several texts (sequences) that are computed in one step share their layers' batches, so
 * that each expert is read once for all of them.
 *
 * Forecasts (umbra_store_foretell) say with which probability a sequence will use the experts of
 * coming layers. For a batch that several sequences share, an expert is as likely as that one of
 * them uses it, 1 - product of (1 - p). Behind the last demand, when the disk would idle, the store
 * reads what is worth its time (docs/architecture.md, "When a guess is read"); a guess that is
 * demanded meanwhile is waited for, never read twice.
 *
 * The victim of an eviction is neither leased nor being read, and of those the one least likely to
 * be used soon: by how often it was used lately, and by forecasts. A guess never evicts anything
 * likelier than itself.
 *
 * Fixed places. A caller that looks for experts at addresses of its own, such as a mapping of the
 * model file, names them (umbra_store_options.places), each as far into its page as its slice is
 * into the file's page. From opening on, the pages there are the store's own empty memory, all but
 * those that hold other bytes besides; an expert's are filled when it is read and given back when
 * it is evicted, so that only what is leased may be looked at. A slot is then a count of pages, of
 * the widest expert's, with edges that two experts share counted for both. When the store closes,
 * the pages are mappings of the files, to be read.
 *
 * One thread at a time drives the store: begin, next, release, poll, clear, set_budget, record.
 * Forecasts and statistics may come from any thread. */
#ifndef UMBRA_STORE_H
#define UMBRA_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    UMBRA_STORE_SLICES = 3, /* gate, up, down */
    UMBRA_SLOT_SIZES = 16,  /* sizes of slots, at most */
    UMBRA_MAX_DISTANCE = 4, /* layers ahead that networks predict and that are read for */
};

/* The cache, its files and its reads. */
typedef struct umbra_store umbra_store;

/* A byte range of a file. */
typedef struct umbra_slice {
    uint64_t offset; /* in the file, any alignment */
    uint64_t bytes;  /* 0: this expert has no such slice */
    int32_t file;    /* index into paths */
} umbra_slice;

/* What to keep, where it lies, and in how many bytes. Paths,
 * layers, experts, slices and a budget must be given; other zeros are the default (see umbra.h). */
typedef struct umbra_store_options {
    const char *const *paths;  /* (n_paths) files; copied */
    int n_paths;               /* files in paths */
    int n_layers;              /* with and without experts */
    int n_experts;             /* per layer, at most 65535 */
    const umbra_slice *slices; /* (n_layers, n_experts, UMBRA_STORE_SLICES); copied. A layer
                                  without experts has only empty slices. */
    uint64_t budget_bytes;     /* for the slots; at least one slot must fit. More than all
                                  experts need is not used. */
    const char *io;            /* "auto" (default, NULL), "uring", "threads", or a simulated disk
                                  "sim:RATE,LATENCY" as "sim:500M,100us" (latency default 100us) */
    int io_depth;              /* reads in flight, default 32 (0) */
    bool buffered;             /* do not use O_DIRECT even where it works */
    bool verify;               /* hold every expert that arrives against a checksum of what the
                                  file holds, read once by another way; slow */
    int n_sequences;           /* that may foretell; 0: 1. See umbra_store_forecast_bytes */
    void *const *places;       /* (n_layers, n_experts, UMBRA_STORE_SLICES), copied: where each
                                  slice shall lie in memory, or NULL (default): in an arena of
                                  the store's. See "Fixed places" above */
    int together;              /* experts of a layer that the caller leases at once, where it can
                                  do with no fewer: if there are slots of several sizes, there
                                  are so many of each. 0: as many as come */
    uint64_t reserved[2];      /* room for options to come: zeros */
} umbra_store_options;

/* What the experts of a batch are computed for, which is all that the store knows of how soon they
 * will be wanted again. */
typedef enum umbra_batch_kind {
    UMBRA_BATCH_DECODE, /* the next token of one or several sequences: what is used now will be
                           used again. Rows of a prompt may be in the same batch */
    UMBRA_BATCH_PROMPT, /* a piece of a prompt, on its scan of all layers: counts no use, and
                           what it has used is the first to go */
    UMBRA_BATCH_VERIFY, /* tokens that were guessed for a sequence, several at once: counts as
                           decoding does, the rejected ones too, since they stand in the same text
                         */
    UMBRA_BATCH_PROBE,  /* no token's: measuring the disk, or filling the cache. Counts no use, is
                           in no count of uses, hits or waits, and nothing is learnt from it */
} umbra_batch_kind;

/* A layer's experts to be computed. */
typedef struct umbra_batch {
    umbra_batch_kind kind; /* what for */
    int layer;             /* of the experts */
    const int *experts;    /* (n) distinct */
    const int *uses;       /* (n) how many decoded (or guessed) tokens use each; 0: only rows of a
                              prompt do. NULL: one each. Not looked at for a prompt or a probe */
    int n;                 /* experts; may be 0 */
    int tokens;            /* of one text that are decoded (or guessed) in it, of several the most:
                              uses are forgotten by tokens. 0: 1 */
} umbra_batch;

/* The memory that holds an expert. */
typedef enum umbra_place {
    UMBRA_PLACE_HOST, /* the processor's: the pointers may be read */
} umbra_place;

/* An expert whose data may be read until it is given back. */
typedef struct umbra_lease {
    int expert;                            /* of the batch's layer */
    int index;                             /* position in the batch's list of experts */
    int slot;                              /* internal */
    uint32_t batch;                        /* internal */
    umbra_place place;                     /* where the data lies */
    const void *slice[UMBRA_STORE_SLICES]; /* data of each slice, NULL where it has none;
                                              valid until release */
} umbra_lease;

/* What was read ahead on forecasts of one distance; bytes as the disk was asked for. What is in
 * none of the last three is still in the cache and was not used so far. */
typedef struct umbra_ahead_stats {
    uint64_t reads;        /* experts */
    uint64_t bytes;        /* in all */
    uint64_t useful_bytes; /* was there when it was used */
    uint64_t late_bytes;   /* was used, but waited for */
    uint64_t wasted_bytes; /* was evicted without having been used */
} umbra_ahead_stats;

/* Counters since opening, or since umbra_store_reset_stats. */
typedef struct umbra_store_stats {
    uint64_t budget_bytes;       /* as given, at opening or by umbra_store_set_budget */
    uint64_t slot_bytes;         /* of the largest expert, alignment included */
    uint64_t slots;              /* that the budget has room for, of all sizes */
    uint64_t resident_bytes;     /* of the slots in use, reads in flight included */
    uint64_t resident_bytes_max; /* never above budget_bytes: asserted inside. Begins anew where
                                    the budget changes */
    uint64_t hits;               /* experts of batches that were resident at umbra_store_begin */
    uint64_t late;               /* were being read ahead at that moment */
    uint64_t misses;             /* experts of batches that were not */
    uint64_t reads;              /* submitted to the disk */
    uint64_t bytes_read;         /* what the disk was asked for, alignment included */
    uint64_t bytes_needed;       /* what the slices of the misses have */
    uint64_t evictions;          /* experts that made room for others */
    uint64_t wait_ns;            /* time umbra_store_next blocked */
    umbra_ahead_stats ahead[UMBRA_MAX_DISTANCE + 1]; /* by distance; [0] is unused */
    uint64_t forecasts;                              /* that umbra_store_foretell took */
    uint64_t forecasts_refused;                      /* too late, or a nearer one was there */
    double disk_latency_ns;                          /* as umbra_store_probe found it */
    double disk_bytes_per_s;                         /* as umbra_store_probe found it */
    bool direct;                                     /* O_DIRECT is in use */
    const char *io;                                  /* name of the backend */
    uint64_t slots_bytes;                            /* of all slots, whatever is in them */
    uint64_t refill_left;  /* experts that were in the cache before a restart and are to be
                              read back while nothing else is */
    uint64_t refill_reads; /* experts that were read back */
    uint64_t refill_bytes; /* in all, as if each was read alone */
    uint64_t refill_used;  /* of these experts, those that batches have used since */
    uint64_t reserved[3];  /* room for figures to come: zeros */
} umbra_store_stats;

/* Bytes of the largest expert's slot for these slices when files are read with that alignment
 * (power of two), as used for planning before opening. */
UMBRA_API uint64_t umbra_store_slot_bytes(const umbra_slice *slices, int n_layers, int n_experts,
                                          uint32_t alignment);

/* Slots of one size, and the experts that go into them. */
typedef struct umbra_slot_size {
    uint64_t bytes;         /* of a slot */
    uint64_t slots;         /* of this size */
    uint64_t experts;       /* that go into such slots */
    uint64_t experts_bytes; /* what these experts need, each in a slot cut to its measure */
} umbra_slot_size;

/* How a budget is divided into slots. */
typedef struct umbra_slot_plan {
    umbra_slot_size size[UMBRA_SLOT_SIZES]; /* (n) ascending */
    int n;                                  /* sizes */
    uint64_t slots;                         /* of all sizes */
    uint64_t bytes;                         /* of all slots; at most the budget */
    uint64_t experts;                       /* that there are */
    uint64_t all_bytes; /* of slots for all experts: with this budget none is ever evicted */
} umbra_slot_plan;

/* What a store of these slices would make of a budget, when files are read with that alignment
 * (power of two). A budget of plan.bytes gives the same plan. Budgets for a few dozen experts have
 * fewer sizes, down to one slot of the largest expert. */
UMBRA_API void umbra_store_plan_slots(umbra_slot_plan *out, const umbra_slice *slices, int n_layers,
                                      int n_experts, uint32_t alignment, uint64_t budget_bytes);
/* What of the slots' bytes no expert can use, 0..1: experts are a little smaller than their slots
 * (an average, as if all were used alike). */
UMBRA_API double umbra_slot_plan_waste(const umbra_slot_plan *plan);
/* The alignment that reads of this file need: of O_DIRECT (512 to 4096), or 1 where the file
 * system does not do it or `buffered` is set. */
UMBRA_API int umbra_store_alignment(const char *path, bool buffered, uint32_t *out,
                                    umbra_error *err);

/* On failure *out is NULL. UMBRA_E_BUDGET names the smallest budget that works. */
UMBRA_API int umbra_store_open(umbra_store **out, const umbra_store_options *options,
                               umbra_error *err);
/* Accepts NULL, waits for reads in flight, nulls the pointer. */
UMBRA_API void umbra_store_close(umbra_store **store);

/* Starts a batch: pins what is resident and starts reads for the rest, as far as slots and depth
 * allow. The batch before must have ended. Nothing of `batch` is kept. */
UMBRA_API int umbra_store_begin(umbra_store *store, const umbra_batch *batch, umbra_error *err);
/* Up to max leases that are ready; blocks for the first one. Returns their number, 0 when every
 * expert of the batch has been handed out (the batch has ended), or negative: a read failed and
 * the batch is over (all its leases are released; message: file, offset, layer, expert). Asked for
 * more while every slot is leased, it fails the same way: nothing could ever arrive. */
UMBRA_API int umbra_store_next(umbra_store *store, umbra_lease *leases, int max, umbra_error *err);
/* Leases of those of n experts of a layer that are in the cache, whatever batch is in progress:
 * nothing is read, evicted or counted as used for them. leases (n), index as in the list; each is
 * to be given back by umbra_store_release before the next is asked for from umbra_store_next.
 * Returns their number. */
UMBRA_API int umbra_store_borrow(umbra_store *store, int layer, const int *experts, int n,
                                 umbra_lease *leases);
/* Whether umbra_store_next would return without waiting. Takes what has arrived and starts what
 * reads are due, as umbra_store_poll does. */
UMBRA_API bool umbra_store_ready(umbra_store *store);
/* Gives a lease back: its data is not to be read any more. */
UMBRA_API void umbra_store_release(umbra_store *store, const umbra_lease *lease);

/* Takes what reads have ended and starts what reads are due, without blocking. To be called often
 * between batches, about every 20 us to 200 us of computing: it costs next to nothing when there is
 * nothing to do. A read that fails is not reported here but by the batch that needs it; errors are
 * those of the backend itself. */
UMBRA_API int umbra_store_poll(umbra_store *store, umbra_error *err);

/* The number of batches begun so far. */
UMBRA_API uint64_t umbra_store_clock(const umbra_store *store);
/* Foretells what a sequence (0 to n_sequences - 1) needs of a batch: probability (n_experts) that
 * it uses each expert of `layer`. due: the clock that the batch will bear, so the next one is due
 * at umbra_store_clock() + 1. distance, at least 1: how many layers ahead the forecast was made; a
 * sequence's nearer forecast replaces its farther one, and those from the same distance are of rows
 * that are computed together: what any of them uses is foretold. A batch that is more than
 * UMBRA_MAX_DISTANCE ahead is not read for yet, but what it is foretold to use is kept from
 * eviction. What several sequences foretell for one due batch is merged. Returns false if it was
 * refused, because there is no such sequence or layer, the batch has begun or a nearer forecast is
 * there. Ignored until umbra_store_set_guessing. */
UMBRA_API bool umbra_store_foretell(umbra_store *store, int sequence, int layer, int distance,
                                    uint64_t due, const float *probability);
/* The sequence goes away, or goes on elsewhere: what it has foretold is forgotten. Any thread. */
UMBRA_API void umbra_store_forget(umbra_store *store, int sequence);
/* Memory that forecasts of so many sequences take, beside the slots; 0 sequences: 1. */
UMBRA_API uint64_t umbra_store_forecast_bytes(int n_layers, int n_experts, int n_sequences);
/* Learns how fast the disk is by reading a few dozen experts, one by one and several at once, which
 * then are in the cache. To be called before guessing begins; without it the store takes it
 * for an ordinary solid-state disk. Not inside a batch. */
UMBRA_API int umbra_store_probe(umbra_store *store, umbra_error *err);
/* Off (default): nothing is read ahead, and forecasts are dropped. */
UMBRA_API void umbra_store_set_guessing(umbra_store *store, bool on);

/* Empties the cache, after waiting for reads in flight. Not inside a batch. */
UMBRA_API int umbra_store_clear(umbra_store *store, umbra_error *err);

/* What the slots may take from now on, up to the budget at opening. A smaller one takes effect at
 * once: what is least likely to be used soon is evicted, leased experts stay, and the memory goes
 * back to the system. Waits for reads in flight. UMBRA_E_ARGUMENT: inside a batch, or more than at
 * opening; UMBRA_E_BUDGET: what is leased and, of each size of slots, one expert more (`together`
 * more) do not fit, the message names the smallest that works. Nothing has changed then. Slots of
 * several sizes keep their shares; umbra_store_get_slots tells how many there are now. For the
 * thread that drives the store. */
UMBRA_API int umbra_store_set_budget(umbra_store *store, uint64_t bytes, umbra_error *err);

/* What a recorded event is. */
typedef enum umbra_event_kind {
    UMBRA_EVENT_READ,  /* an expert, from the decision to its arrival */
    UMBRA_EVENT_WAIT,  /* umbra_store_next blocked */
    UMBRA_EVENT_BATCH, /* from begin to the end of a batch */
} umbra_event_kind;

/* Something that took time, for a timeline. */
typedef struct umbra_store_event {
    umbra_event_kind kind; /* of what */
    uint64_t begin_ns;     /* monotonic clock */
    uint64_t end_ns;       /* the same clock */
    int32_t layer;         /* of the batch or the expert */
    int32_t expert;        /* of a read, else -1 */
    int8_t distance;       /* of a read ahead; 0: on demand */
} umbra_store_event;

/* Writes what happens from now on into events (room), until it is full; NULL ends it. */
UMBRA_API void umbra_store_record(umbra_store *store, umbra_store_event *events, int room);
/* How many events were written. */
UMBRA_API int umbra_store_recorded(const umbra_store *store);

/* How the store has divided its budget, as it is now. Any thread may ask. */
UMBRA_API void umbra_store_get_slots(const umbra_store *store, umbra_slot_plan *out);
/* Which of the plan's sizes an expert's slot has. Any thread may ask. */
UMBRA_API int umbra_store_size_of(const umbra_store *store, int layer, int expert);

/* Any thread may ask. */
UMBRA_API void umbra_store_get_stats(const umbra_store *store, umbra_store_stats *out);
/* What was read ahead on forecasts of all distances together. */
UMBRA_API void umbra_store_sum_ahead(const umbra_store_stats *stats, umbra_ahead_stats *out);
/* Where an expert is. */
typedef enum umbra_residency {
    UMBRA_EXPERT_AWAY,    /* on disk alone */
    UMBRA_EXPERT_HERE,    /* in the cache */
    UMBRA_EXPERT_READING, /* on its way there */
    UMBRA_EXPERT_GUESSED, /* there since it was read ahead, and not used so far */
} umbra_residency;

/* Where each expert is now, an umbra_residency each: out (n_layers, n_experts). Any thread may
 * ask. */
UMBRA_API void umbra_store_get_residency(const umbra_store *store, uint8_t *out);
/* How many batches each expert was in since opening, probes aside: out (n_layers, n_experts). For
 * the thread that drives the store. */
UMBRA_API void umbra_store_get_uses(const umbra_store *store, uint64_t *out);
/* wait_ns of the statistics since opening, not touched by umbra_store_reset_stats. For the thread
 * that drives the store. */
UMBRA_API uint64_t umbra_store_waited_ns(const umbra_store *store);
/* Experts of batches, since opening, that were not in the cache but for having been read ahead,
 * probes aside. For the thread that drives the store. */
UMBRA_API uint64_t umbra_store_needed(const umbra_store *store);
/* Whether an expert of the batch that was begun last is one of these. For the thread that drives
 * the store. */
UMBRA_API bool umbra_store_was_needed(const umbra_store *store, int expert);
/* Sets the counters to 0 and the maximum to what is resident now. */
UMBRA_API void umbra_store_reset_stats(umbra_store *store);

#ifdef __cplusplus
}
#endif
#endif
