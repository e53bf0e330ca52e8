/* Refilling: which experts a cache held, as a list that outlives it, and reading those of a list
 * back into empty slots, behind all that is demanded or read ahead.
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

/* Makes a list (n, most wanted first; copied) what is read back: as many as empty slots have room
 * for. What they were used counts as if it had been here. Experts that do not exist or are there
 * already are passed over. *bytes: to be read.
 *
 * From then on every call that drives the store begins such reads: the layers in turn from the one
 * behind the last batch's, of each what was used more first, in the order of the file. A batch that
 * demands one of them waits for it; others find the disk busy for some milliseconds at most, and
 * for an expert's transfer where batches decode. Nothing is evicted: what finds no empty slot any
 * more is passed over, as is what cannot be read. umbra_store_clear leaves the list as it is. */
int umbra_store_plan_refill(umbra_store *s, const umbra_cached_expert *list, int n, uint64_t *bytes,
                            umbra_error *err);
/* While nothing is demanded: begins as many as keep the disk busy and waits for one of them.
 * Returns 1, or 0 when there was nothing left to do, or a negative status, and there is nothing
 * left either. Not inside a batch. */
int umbra_store_refill(umbra_store *s, umbra_error *err);

#endif
