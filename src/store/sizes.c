/* Finds the sizes of slots and divides a budget among them. */
#include "store/sizes.h"

#include "base/assert.h"

enum {
    FINEST = 256, /* sizes of slots differ by at least so small a part of themselves */
    /* So that reads have slots to go to while others are computed with. */
    LEAST_SLOTS = 32,
};

/* Takes experts from the largest on, each size down to a part of itself below its largest. Returns
 * the number of sizes, or one too many. */
static int cut(umbra_slot_plan *p, size_t n_pairs, umbra_expert_bytes *bytes_of, const void *user,
               uint64_t part)
{
    uint64_t top = 0;
    for (size_t i = 0; i < n_pairs; i++)
        top = bytes_of(user, i) > top ? bytes_of(user, i) : top;
    for (p->n = 0; top > 0 && p->n < UMBRA_SLOT_SIZES; p->n++) {
        umbra_slot_size *size = &p->size[p->n];
        uint64_t next = 0, below = top - top / part;
        *size = (umbra_slot_size){.bytes = top};
        for (size_t i = 0; i < n_pairs; i++) {
            uint64_t bytes = bytes_of(user, i);
            if (bytes > 0 && bytes <= top && bytes >= below) {
                size->experts++;
                size->experts_bytes += bytes;
            } else if (bytes < below && bytes > next) {
                next = bytes;
            }
        }
        top = next;
    }
    return p->n + (top > 0);
}

void umbra_sizes_find(umbra_slot_plan *p, size_t n_pairs, umbra_expert_bytes *bytes_of,
                      const void *user)
{
    uint64_t part = FINEST;
    *p = (umbra_slot_plan){0};
    while (cut(p, n_pairs, bytes_of, user, part) > UMBRA_SLOT_SIZES)
        part /= 2; /* at 1, one size holds all */
    for (int i = 0; i < p->n / 2; i++) {
        umbra_slot_size larger = p->size[i];
        p->size[i] = p->size[p->n - 1 - i];
        p->size[p->n - 1 - i] = larger;
    }
    for (int i = 0; i < p->n; i++) {
        p->experts += p->size[i].experts;
        p->all_bytes += p->size[i].experts * p->size[i].bytes;
    }
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_slots(umbra_slot_plan *p, int i, uint64_t slots)
{
    p->slots += slots - p->size[i].slots;
    p->bytes += (slots - p->size[i].slots) * p->size[i].bytes;
    p->size[i].slots = slots;
}

/* The size whose share of experts in slots grows least by one more, or -1: all have theirs. */
static int next_to_grow(const umbra_slot_plan *p)
{
    int best = -1;
    for (int i = 0; i < p->n; i++) {
        const umbra_slot_size *size = &p->size[i], *least = &p->size[best < 0 ? i : best];
        if (size->slots < size->experts &&
            (best < 0 || (size->slots + 1) * least->experts < (least->slots + 1) * size->experts))
            best = i;
    }
    return best;
}

/* Slot by slot, in an order that does not depend on the budget. */
static void grow(umbra_slot_plan *p, uint64_t budget_bytes)
{
    for (int i; (i = next_to_grow(p)) >= 0 && p->bytes + p->size[i].bytes <= budget_bytes;)
        set_slots(p, i, p->size[i].slots + 1);
}

/* Gives every size its least number of slots, then adds slot by slot to the size that has least of
 * its experts. False: the least numbers, which no
 * share of experts speaks for, would take half of all slots. */
static bool fill(umbra_slot_plan *p, uint64_t least, uint64_t budget_bytes)
{
    p->slots = p->bytes = 0;
    for (int i = 0; i < p->n; i++) {
        p->size[i].slots = 0;
        set_slots(p, i, lesser(least, p->size[i].experts));
    }
    uint64_t given = p->slots;
    if (p->bytes > budget_bytes)
        return false;
    grow(p, budget_bytes);
    return p->slots == p->experts || p->slots >= 2 * given;
}

/* Joins two sizes where that makes the fewest bytes of slots larger than they need be. */
static void join(umbra_slot_plan *p)
{
    int best = 0;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i + 1 < p->n; i++) {
        uint64_t more = p->size[i].experts * (p->size[i + 1].bytes - p->size[i].bytes);
        best = more < least ? i : best;
        least = lesser(more, least);
    }
    p->size[best + 1].experts += p->size[best].experts;
    p->size[best + 1].experts_bytes += p->size[best].experts_bytes;
    p->n--;
    for (int i = best; i < p->n; i++)
        p->size[i] = p->size[i + 1];
}

void umbra_sizes_divide(umbra_slot_plan *p, int together, uint64_t budget_bytes)
{
    uint64_t least = together > LEAST_SLOTS ? (uint64_t)together : LEAST_SLOTS;
    while (p->n > 1 && !fill(p, least, budget_bytes))
        join(p);
    if (p->n == 1) {
        umbra_slot_size *size = &p->size[0];
        size->slots = lesser(budget_bytes / size->bytes, size->experts);
        p->slots = size->slots;
        p->bytes = size->slots * size->bytes;
    }
    umbra_assert(p->bytes <= budget_bytes);
}

bool umbra_sizes_shrink(umbra_slot_plan *out, const umbra_slot_plan *p, const uint64_t *least,
                        uint64_t budget_bytes)
{
    *out = *p;
    out->slots = out->bytes = 0;
    for (int i = 0; i < p->n; i++) {
        out->size[i].experts = p->size[i].slots; /* shares are of these, and none has more */
        out->size[i].slots = 0;
        set_slots(out, i, lesser(least[i], p->size[i].slots));
    }
    bool fits = out->bytes <= budget_bytes;
    if (fits)
        grow(out, budget_bytes);
    for (int i = 0; i < p->n; i++)
        out->size[i].experts = p->size[i].experts;
    return fits;
}

int umbra_sizes_of(const umbra_slot_plan *p, uint64_t bytes)
{
    int i = 0;
    while (i + 1 < p->n && p->size[i].bytes < bytes)
        i++;
    return i;
}

uint64_t umbra_sizes_place(const umbra_slot_plan *p, int32_t slot)
{
    uint64_t at = 0, left = (uint64_t)slot;
    int i = 0;
    for (; i + 1 < p->n && left >= p->size[i].slots; i++) {
        at += p->size[i].slots * p->size[i].bytes;
        left -= p->size[i].slots;
    }
    return at + left * p->size[i].bytes;
}

double umbra_slot_plan_waste(const umbra_slot_plan *p)
{
    double used = 0;
    for (int i = 0; i < p->n; i++)
        used += (double)p->size[i].slots * (double)p->size[i].experts_bytes /
                (double)p->size[i].experts;
    return p->bytes > 0 ? 1 - used / (double)p->bytes : 0;
}
