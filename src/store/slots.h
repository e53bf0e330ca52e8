/* Who is in which slot, and who goes next: the cache without its memory and its reads.
 *
 * A slot that is read into, leased or lent stays. The victim is the expert least likely to be used
 * soon: by its use count (least frequently used, LFU: a use counts half after about 35 tokens;
 * experts that are not in the cache have one too), and by the probability, as far as it was
 * foretold, that one of the coming layers uses it. Slots of several sizes are caches side by side:
 * an expert that comes takes the place of one of its size. Nothing here locks: the store's mutex is
 * held by the caller. */
#ifndef UMBRA_STORE_SLOTS_H
#define UMBRA_STORE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/status.h>
#include <umbra/store.h>

typedef enum umbra_slot_state {
    UMBRA_SLOT_EMPTY,
    UMBRA_SLOT_READING,
    UMBRA_SLOT_RESIDENT,
} umbra_slot_state;

typedef struct umbra_slot {
    umbra_slot_state state;
    int32_t layer;
    int32_t expert;
    int32_t pins;        /* leases given or promised */
    int32_t lent;        /* to who does not drive the store */
    uint32_t scan_order; /* among those that prompts used last, ascending; 0: by none */
    int8_t guess;  /* distance at which it was read ahead and has not been used since; 0: none */
    bool refilled; /* read back, and not used since */
    int32_t next_empty; /* of an empty slot, -1: last */
} umbra_slot;

/* The slots of one size follow each other. */
typedef struct umbra_slot_group {
    int32_t first, n;
    int32_t limit; /* the most that may be used, at least 1: n, or what the budget is now */
    int32_t first_empty;
    int32_t used; /* not empty */
} umbra_slot_group;

typedef struct umbra_slots {
    umbra_slot *slot; /* (n), by size */
    float *evictable; /* (n) the expert's use count, below 0 if a prompt has just used it; infinite
                         if it cannot go */
    int32_t *of;      /* (n_layers, n_experts): slot or -1 */
    float *use_count; /* (n_layers, n_experts) in units of `use` */
    uint8_t *size_of; /* (n_layers, n_experts): the size that the expert goes into; zeros, to be set
                         by the caller before the first is taken */
    const float *foretold; /* (n_layers, n_experts), the forecast's; NULL: nothing is foretold */
    float use;             /* what a use counts now: it grows where all counts would shrink */
    float growth;          /* of `use`, per batch of a token */
    uint32_t scans;        /* marked so far */
    int32_t n;
    int32_t n_layers, n_experts;
    int n_sizes;
    umbra_slot_group size[UMBRA_SLOT_SIZES];
} umbra_slots;

/* n (n_sizes): slots of each size. On failure nothing is left behind. */
int umbra_slots_init(umbra_slots *s, const int32_t *n, int n_sizes, int32_t n_layers,
                     int32_t n_experts, umbra_error *err);
void umbra_slots_free(umbra_slots *s);

/* The slots of the expert's size. */
const umbra_slot_group *umbra_slots_group(const umbra_slots *s, int32_t layer, int32_t expert);
/* The slot in which the expert is or is being read into, or -1. */
int32_t umbra_slots_find(const umbra_slots *s, int32_t layer, int32_t expert);

typedef struct umbra_victim {
    bool any; /* an expert had to go */
    int32_t layer, expert;
    int8_t guess; /* as in the slot */
} umbra_victim;

/* Gives a slot to an expert that has none: it is READING, with `pins` pins. -1 when no slot can be
 * had: all are in use, or, for a guess, every victim is as likely as it. probability: that it is
 * used soon; INFINITY for a demand. */
int32_t umbra_slots_take(umbra_slots *s, int32_t layer, int32_t expert, int32_t pins,
                         float probability, umbra_victim *victim);

/* The least likely expert of a size leaves its slot; false: none can go. */
bool umbra_slots_evict(umbra_slots *s, int size, umbra_victim *victim);
/* Slots of a size that are leased or promised. */
int32_t umbra_slots_pinned(const umbra_slots *s, int size);

/* READING ends: the data is there, or the slot becomes empty and its pins are gone. */
void umbra_slots_arrived(umbra_slots *s, int32_t slot);
void umbra_slots_failed(umbra_slots *s, int32_t slot);

/* A RESIDENT slot stays, too, while it is lent; no more than that changes by it. */
void umbra_slots_lend(umbra_slots *s, int32_t slot);
void umbra_slots_take_back(umbra_slots *s, int32_t slot);

void umbra_slots_pin(umbra_slots *s, int32_t slot);
void umbra_slots_unpin(umbra_slots *s, int32_t slot);

/* Of the experts whose uses never counted, the slot's goes first until it is pinned again. */
void umbra_slots_mark_scanned(umbra_slots *s, int32_t slot);

/* A batch passes, in which a text has so many tokens (at least 1): all use counts decay. */
void umbra_slots_decay(umbra_slots *s, int tokens);
/* So many tokens of a batch use the expert, wherever it is. */
void umbra_slots_count_use(umbra_slots *s, int32_t layer, int32_t expert, int32_t uses);
/* What an expert was used, wherever it is: each use 1 when it was new, and fading. */
float umbra_slots_uses(const umbra_slots *s, int32_t layer, int32_t expert);
/* Uses of another time, which count as if they had been here. */
void umbra_slots_add_uses(umbra_slots *s, int32_t layer, int32_t expert, float uses);
/* Empties every slot that is neither read into nor pinned. */
void umbra_slots_clear(umbra_slots *s);

#endif
