/* Memory that is given back: an emptied store, and budgets that change while it is open. */
#include <inttypes.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/lend.h"
#include "store/store_internal.h"

int umbra_store_settle(umbra_store *s, umbra_error *err)
{
    if (s->driver.batch.active)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "the store is in use by a batch of layer %d",
                          s->driver.batch.layer);
    int rc = umbra_store_get_broken(s, err);
    bool paused = s->driver.refill.paused;
    s->driver.refill.paused = true;
    while (rc == UMBRA_OK && s->driver.in_flight + s->driver.queue_n > 0) {
        umbra_store_lock(s);
        umbra_forecast_clear(&s->guarded.forecast);
        umbra_store_unlock(s);
        rc = umbra_store_start_reads(s, err);
        if (rc == UMBRA_OK)
            rc = umbra_store_reap_reads(s, true, err);
    }
    s->driver.refill.paused = paused;
    return rc;
}

int umbra_store_clear(umbra_store *s, umbra_error *err)
{
    int rc = umbra_store_settle(s, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_store_lock(s);
    umbra_forecast_clear(&s->guarded.forecast);
    for (int32_t i = 0; i < s->guarded.slots.n; i++) {
        const umbra_slot *slot = &s->guarded.slots.slot[i];
        umbra_store_count_victim(s, &(umbra_victim){false, slot->layer, slot->expert, slot->guess},
                                 -1);
    }
    umbra_slots_clear(&s->guarded.slots);
    for (int layer = 0; s->fixed.places.at && layer < s->fixed.n_layers; layer++)
        for (int e = 0; e < s->fixed.n_experts; e++)
            if (umbra_slots_find(&s->guarded.slots, layer, e) < 0)
                umbra_places_drop(s, layer, e);
    umbra_store_unlock(s);
    return UMBRA_OK;
}

/* Gives the whole pages of slots [from, to) of the arena back to the system. */
static void give_back(const umbra_store *s, int32_t from, int32_t to)
{
    const umbra_slot_plan *p = &s->fixed.plan;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = umbra_align_up(umbra_sizes_place(p, from), page);
    uint64_t end = to < s->guarded.slots.n ? umbra_align_down(umbra_sizes_place(p, to), page)
                                           : s->fixed.arena_bytes;
    if (end > begin)
        (void)madvise(s->fixed.arena + begin, end - begin, MADV_DONTNEED);
}

/* Of an arena that is partly empty no huge pages are wanted: the system makes whole ones of it. */
static void give_back_empty(umbra_store *s)
{
    const umbra_slots *slots = &s->guarded.slots;
    if (!s->fixed.arena)
        return;
    if (s->fixed.ops->forget_arena)
        s->fixed.ops->forget_arena(s->fixed.io);
    (void)madvise(s->fixed.arena, s->fixed.arena_bytes, MADV_NOHUGEPAGE);
    for (int32_t i = 0, from; i < slots->n; i++) {
        for (from = i; i < slots->n && slots->slot[i].state == UMBRA_SLOT_EMPTY; i++)
            ;
        if (i > from)
            give_back(s, from, i);
    }
}

/* The least likely of each size go, until the plan has room for the rest. Called with the lock
 * held; nothing is being read. */
static void evict_down_to(umbra_store *s, const umbra_slot_plan *p)
{
    umbra_slots *slots = &s->guarded.slots;
    umbra_victim victim;
    for (int i = 0; i < p->n; i++) {
        while ((uint64_t)slots->size[i].used > p->size[i].slots &&
               umbra_slots_evict(slots, i, &victim))
            umbra_store_count_victim(s, &victim, -1);
        umbra_assert((uint64_t)slots->size[i].used <= p->size[i].slots);
    }
}

/* How many slots of each size a budget leaves. */
static int divide(const umbra_store *s, uint64_t bytes, umbra_slot_plan *out, umbra_error *err)
{
    const umbra_slot_plan *p = &s->fixed.plan;
    int more = s->fixed.together > 1 ? s->fixed.together : 1;
    uint64_t least[UMBRA_SLOT_SIZES];
    if (bytes > s->fixed.budget_bytes)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%" PRIu64 " bytes for experts are more than the %" PRIu64
                          " that the store was opened with",
                          bytes, s->fixed.budget_bytes);
    for (int i = 0; i < p->n; i++)
        least[i] = (uint64_t)(umbra_slots_pinned(&s->guarded.slots, i) + more);
    if (!umbra_sizes_shrink(out, p, least, bytes))
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "%" PRIu64 " bytes for experts are too few: those that are leased and "
                          "%d more of each size need %" PRIu64,
                          bytes, more, out->bytes);
    return UMBRA_OK;
}

int umbra_store_set_budget(umbra_store *s, uint64_t bytes, umbra_error *err)
{
    umbra_slots *slots = &s->guarded.slots;
    umbra_slot_plan p;
    int rc = divide(s, bytes, &p, err);
    if (rc == UMBRA_OK)
        rc = umbra_store_settle(s, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_store_lock_unlent(s); /* what is lent could not go */
    bool shrinks = false;
    for (int i = 0; i < p.n; i++)
        shrinks = shrinks || p.size[i].slots < (uint64_t)slots->size[i].limit;
    if (shrinks)
        evict_down_to(s, &p);
    for (int i = 0; i < p.n; i++)
        slots->size[i].limit = (int32_t)p.size[i].slots;
    s->stats.budget_bytes = bytes;
    s->stats.slots = p.slots;
    s->stats.slots_bytes = p.bytes;
    s->stats.resident_bytes_max = umbra_store_resident_bytes(s);
    if (shrinks)
        give_back_empty(s);
    umbra_store_unlock(s);
    return UMBRA_OK;
}
