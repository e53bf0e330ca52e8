/* The expert store: a cache of expert slots in front of files, under a hard byte budget.
 *
 * An expert is up to UMBRA_STORE_SLICES byte ranges ("slices": gate, up, down) of model files.
 * Memory is one arena of equal slots, each able to hold any expert; the arena never grows. A read
 * goes straight into the slot (O_DIRECT where the file system allows), so a slice's region is the
 * slice widened to the disk's alignment at both ends.
 *
 * A layer's computation is a batch: umbra_store_begin names the experts, umbra_store_next hands
 * out leases in the order in which data is there (resident ones first), the caller computes and
 * gives each back with umbra_store_release. A leased slot is never evicted. Batches may name more
 * experts than there are slots: reads go on as leases are released.
 *
 * The victim of an eviction is the least recently used expert that is neither leased nor being
 * read. One thread drives the batches; umbra_store_stats may be called from any. */
#ifndef UMBRA_STORE_H
#define UMBRA_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { UMBRA_STORE_SLICES = 3 /* gate, up, down */ };

/* The cache, its files and its reads. */
typedef struct umbra_store umbra_store;

/* A byte range of a file. */
typedef struct umbra_slice {
    uint64_t offset; /* in the file, any alignment */
    uint64_t bytes;  /* 0: this expert has no such slice */
    int32_t file;    /* index into paths */
} umbra_slice;

/* What to keep, where it lies, and in how many bytes. Everything 0 or NULL is the default. */
typedef struct umbra_store_options {
    const char *const *paths;  /* (n_paths) files; copied */
    int n_paths;               /* files in paths */
    int n_layers;              /* with and without experts */
    int n_experts;             /* per layer, at most 65535 */
    const umbra_slice *slices; /* (n_layers, n_experts, UMBRA_STORE_SLICES); copied. A layer
                                  without experts has only empty slices. */
    uint64_t budget_bytes;     /* for the slots; at least one slot must fit. More than all
                                  experts need is not used. */
    const char *io;            /* "auto" (default, NULL), "uring", "threads" */
    int io_depth;              /* reads in flight, default 32 (0) */
    bool buffered;             /* do not use O_DIRECT even where it works */
} umbra_store_options;

/* An expert whose data may be read until it is given back. */
typedef struct umbra_lease {
    int expert;                            /* of the batch's layer */
    int index;                             /* position in the batch's list of experts */
    int slot;                              /* internal */
    const void *slice[UMBRA_STORE_SLICES]; /* data of each slice, NULL where it has none;
                                              valid until release */
} umbra_lease;

/* Counters since opening, or since umbra_store_reset_stats. */
typedef struct umbra_store_stats {
    uint64_t budget_bytes;       /* as given */
    uint64_t slot_bytes;         /* of one expert, alignment included */
    uint64_t slots;              /* in the arena */
    uint64_t resident_bytes;     /* slots in use * slot_bytes, reads in flight included */
    uint64_t resident_bytes_max; /* never above budget_bytes: asserted inside */
    uint64_t hits;               /* experts of batches that were resident at umbra_store_begin */
    uint64_t misses;             /* experts of batches that were not */
    uint64_t reads;              /* submitted to the disk */
    uint64_t bytes_read;         /* what the disk was asked for, alignment included */
    uint64_t bytes_needed;       /* what the slices of the misses have */
    uint64_t evictions;          /* experts that made room for others */
    uint64_t wait_ns;            /* time umbra_store_next blocked */
    bool direct;                 /* O_DIRECT is in use */
    const char *io;              /* name of the backend */
} umbra_store_stats;

/* Bytes of one slot for these slices when files are read with that alignment (power of two), as
 * used for planning before opening. */
UMBRA_API uint64_t umbra_store_slot_bytes(const umbra_slice *slices, int n_layers, int n_experts,
                                          uint32_t alignment);
/* The alignment that reads of this file need: of O_DIRECT (512 to 4096), or 1 where the file
 * system does not do it or `buffered` is set. */
UMBRA_API int umbra_store_alignment(const char *path, bool buffered, uint32_t *out,
                                    umbra_error *err);

/* On failure *out is NULL. UMBRA_E_BUDGET names the smallest budget that works. */
UMBRA_API int umbra_store_open(umbra_store **out, const umbra_store_options *options,
                               umbra_error *err);
/* Accepts NULL, waits for reads in flight, nulls the pointer. */
UMBRA_API void umbra_store_close(umbra_store **store);

/* Starts a batch of n distinct experts of a layer: pins what is resident and starts reads for
 * the rest, as far as slots and depth allow. The batch before must have ended. */
UMBRA_API int umbra_store_begin(umbra_store *store, int layer, const int *experts, int n,
                                umbra_error *err);
/* Up to max leases that are ready; blocks for the first one. Returns their number, 0 when every
 * expert of the batch has been handed out (the batch has ended), or negative: a read failed and
 * the batch is over (all its leases are released; message: file, offset, layer, expert). Asked for
 * more while every slot is leased, it fails the same way: nothing could ever arrive. */
UMBRA_API int umbra_store_next(umbra_store *store, umbra_lease *leases, int max, umbra_error *err);
/* Gives a lease back: its data is not to be read any more. */
UMBRA_API void umbra_store_release(umbra_store *store, const umbra_lease *lease);

/* Any thread may ask. */
UMBRA_API void umbra_store_get_stats(const umbra_store *store, umbra_store_stats *out);
/* Sets the counters to 0 and the maximum to what is resident now. */
UMBRA_API void umbra_store_reset_stats(umbra_store *store);

#ifdef __cplusplus
}
#endif
#endif
