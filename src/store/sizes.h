/* Slots of several sizes: what experts need, and how a budget is divided among the sizes.
 *
 * Where layers are quantised differently their experts differ in size, and slots that could hold
 * any of them would be too large for most. So a slot has the size of experts that are alike, to
 * within 0.4 %, and each size has the same share of its experts in slots: a layer is as likely to
 * find its experts whatever their size. */
#ifndef UMBRA_STORE_SIZES_H
#define UMBRA_STORE_SIZES_H

#include <stdbool.h>
#include <stddef.h>

#include <umbra/store.h>

/* What an expert (layer * n_experts + expert) needs in a slot; 0: there is none such. */
typedef uint64_t umbra_expert_bytes(const void *user, size_t pair);

/* Finds the sizes, without slots. */
void umbra_sizes_find(umbra_slot_plan *p, size_t n_pairs, umbra_expert_bytes *bytes_of,
                      const void *user);
/* Gives each size its slots. Sizes of which too few slots would be had are joined to the next
 * larger one, so that a budget of a few experts has slots for any. What it takes of the budget,
 * given as a budget, is divided the same way. */
void umbra_sizes_divide(umbra_slot_plan *p, int together, uint64_t budget_bytes);

/* Takes slots away from a divided plan, from each size the same share, until a smaller budget has
 * room for the rest; `least` (p->n) of each stay, as far as there are so many. A budget of p->bytes
 * leaves all. False: those do not fit; out->bytes is what they need. */
bool umbra_sizes_shrink(umbra_slot_plan *out, const umbra_slot_plan *p, const uint64_t *least,
                        uint64_t budget_bytes);

/* Which size an expert of so many bytes goes into. */
int umbra_sizes_of(const umbra_slot_plan *p, uint64_t bytes);
/* Where the slot lies in the arena: slots are numbered from the smallest size on. */
uint64_t umbra_sizes_place(const umbra_slot_plan *p, int32_t slot);

#endif
