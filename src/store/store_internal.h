/* The store's own parts, shared by store.c (opening, statistics) and batch.c (batches). */
#ifndef UMBRA_STORE_STORE_INTERNAL_H
#define UMBRA_STORE_STORE_INTERNAL_H

#include <pthread.h>

#include <umbra/store.h>

#include "store/io.h"
#include "store/layout.h"
#include "store/slots.h"

/* The reads under way into a slot. */
typedef struct umbra_slot_reads {
    int32_t item; /* of the batch that waits for it */
    uint8_t left; /* slices not over yet */
    uint8_t attempts[UMBRA_STORE_SLICES];
    bool failed;
} umbra_slot_reads;

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
} umbra_item;

typedef struct umbra_batch {
    bool active;
    bool failed;
    umbra_error failure;
    int layer;
    int n;
    int handed_out;
    uint32_t number;   /* counts batches, for `seen` */
    uint32_t *seen;    /* (n_experts): the last batch that named it */
    umbra_item *items; /* (n_experts), the first n in use */
    int32_t *ready;    /* (n_experts): items in the order of their arrival */
    int ready_first, ready_n;
    int32_t *misses; /* (n_experts): items that were not resident, in the batch's order */
    int misses_begun, misses_n;
} umbra_batch;

struct umbra_store {
    /* Constant after opening. */
    umbra_io_file *files; /* (n_files), path owned */
    int n_files;
    int n_layers;
    int n_experts;
    umbra_slice *slices; /* (n_layers, n_experts, UMBRA_STORE_SLICES) */
    umbra_layout layout;
    char *arena;
    uint64_t arena_bytes;
    int depth;
    const umbra_io_ops *ops;
    umbra_io *io;

    /* The thread that drives the batches has these to itself. */
    umbra_batch batch;
    umbra_io_request *requests;       /* (depth) */
    umbra_io_completion *completions; /* (depth) */
    bool broken; /* the backend failed: what its reads still write to is unknown */
    umbra_error broken_error;

    /* Never held during I/O or waiting. Guards the slots, the reads and the statistics. */
    pthread_mutex_t mutex;
    umbra_slots slots;
    umbra_slot_reads *reads; /* (slots.n) */
    /* Reads not submitted yet, oldest first: slot * UMBRA_STORE_SLICES + slice. A miss is begun
     * only while fewer than `depth` reads are queued or in flight, hence the ring's size. */
    uint64_t *queue; /* (queue_size) */
    int queue_size, queue_first, queue_n;
    int in_flight;
    umbra_store_stats stats;
};

static inline const umbra_slice *umbra_store_slices(const umbra_store *s, int layer, int expert)
{
    return &s->slices[((size_t)layer * (size_t)s->n_experts + (size_t)expert) * UMBRA_STORE_SLICES];
}

static inline char *umbra_store_slot(const umbra_store *s, int32_t slot)
{
    return s->arena + (uint64_t)slot * s->layout.slot_bytes;
}

/* umbra_store_open with a backend that has no name. */
int umbra_store_open_with(umbra_store **out, const umbra_store_options *options,
                          const umbra_io_ops *ops, umbra_error *err);

#endif
