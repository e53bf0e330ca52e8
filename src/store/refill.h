/* Refilling: which experts a cache held, as a list that outlives it, and reading those of a list
 * back into empty slots while nothing else is to be read.
 *
 * All of this is for the thread that drives the store. */
#ifndef UMBRA_STORE_REFILL_H
#define UMBRA_STORE_REFILL_H

#include <stdint.h>

#include <umbra/store.h>

/* An expert of a cache. */
typedef struct umbra_cached_expert {
    int32_t layer, expert;
    float uses; /* lately, fading (slots.h); 0: none but a prompt's, or none */
} umbra_cached_expert;

/* What a list may have: the experts in the cache, and those that are still to be read back. */
int umbra_store_count_cached(const umbra_store *s);
/* Writes them, those that would be evicted last first: out (room, at least 1). Returns how many. */
int umbra_store_list_cached(const umbra_store *s, umbra_cached_expert *out, int room);

/* Makes a list (n, most wanted first; copied) what umbra_store_refill reads: as many as empty slots
 * have room for, in the order in which they lie in the files. What they were used counts as if it
 * had been here. Experts that do not exist or are there already are passed over. *bytes: to be
 * read. */
int umbra_store_plan_refill(umbra_store *s, const umbra_cached_expert *list, int n, uint64_t *bytes,
                            umbra_error *err);
/* Starts as many of these reads as keep the disk busy and waits for one of them. What it leaves
 * under way keeps a batch that begins then from the disk for no longer than some milliseconds.
 * Evicts nothing: what finds no empty slot any more is passed over, as is what cannot be read.
 * Returns 1, or 0 when there was nothing left to do, or a negative status, and there is nothing
 * left either. Not inside a batch. */
int umbra_store_refill(umbra_store *s, umbra_error *err);

#endif
