/* Who is in which slot, and who goes next: the cache without its memory and its reads.
 *
 * Occupied slots form a list from the most to the least recently used. A slot is pinned while it
 * is read into or leased; the victim is the last one of the list that is not pinned. Nothing here
 * locks: the store's mutex is held by the caller. */
#ifndef UMBRA_STORE_SLOTS_H
#define UMBRA_STORE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/status.h>

typedef enum umbra_slot_state {
    UMBRA_SLOT_EMPTY,
    UMBRA_SLOT_READING,
    UMBRA_SLOT_RESIDENT,
} umbra_slot_state;

typedef struct umbra_slot {
    umbra_slot_state state;
    int32_t layer;
    int32_t expert;
    int32_t pins;  /* leases given or promised; a slot that is read into has at least one */
    int32_t newer; /* neighbours in the list of use, -1 at its ends */
    int32_t older; /* of an empty slot: the next empty one */
} umbra_slot;

typedef struct umbra_slots {
    umbra_slot *slot; /* (n) */
    int32_t *of;      /* (n_layers, n_experts): slot or -1 */
    int32_t n;
    int32_t n_experts;
    int32_t newest;
    int32_t oldest;
    int32_t first_empty;
    int32_t used;      /* not empty */
    int32_t evictable; /* resident without pins */
} umbra_slots;

/* On failure nothing is left behind. */
int umbra_slots_init(umbra_slots *s, int32_t n, int32_t n_layers, int32_t n_experts,
                     umbra_error *err);
void umbra_slots_free(umbra_slots *s);

/* The slot in which the expert is or is being read into, or -1. */
int32_t umbra_slots_find(const umbra_slots *s, int32_t layer, int32_t expert);

/* Gives a slot to an expert that has none: it is READING, newest, with one pin. *evicted says
 * whether another expert had to go. -1 when every slot is pinned. */
int32_t umbra_slots_take(umbra_slots *s, int32_t layer, int32_t expert, bool *evicted);

/* READING ends: the data is there, or the slot becomes empty and its pins are gone. */
void umbra_slots_arrived(umbra_slots *s, int32_t slot);
void umbra_slots_failed(umbra_slots *s, int32_t slot);

void umbra_slots_pin(umbra_slots *s, int32_t slot); /* also makes it the newest */
void umbra_slots_unpin(umbra_slots *s, int32_t slot);

#endif
