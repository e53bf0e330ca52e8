#include "base/error.h"
#include "base/memory.h"
#include "store/slots.h"

enum { LOOK_AT = 16 /* slots from the oldest, for one that is cold */ };
static const float COLD = 0.05f;

int umbra_slots_init(umbra_slots *s, int32_t n, int32_t n_layers, int32_t n_experts,
                     umbra_error *err)
{
    size_t n_pairs = (size_t)n_layers * (size_t)n_experts;
    *s = (umbra_slots){
        .slot = umbra_calloc((size_t)n, sizeof *s->slot),
        .of = umbra_calloc(n_pairs, sizeof *s->of),
        .n = n,
        .n_experts = n_experts,
        .newest = -1,
        .oldest = -1,
    };
    if (!s->slot || !s->of) {
        umbra_slots_free(s);
        return umbra_fail_nomem(err, "the table of expert slots",
                                (uint64_t)n * sizeof *s->slot + n_pairs * sizeof *s->of);
    }
    for (size_t i = 0; i < n_pairs; i++)
        s->of[i] = -1;
    for (int32_t i = 0; i < n; i++)
        s->slot[i].older = i + 1 < n ? i + 1 : -1;
    return UMBRA_OK;
}

void umbra_slots_free(umbra_slots *s)
{
    umbra_free(s->slot);
    umbra_free(s->of);
    *s = (umbra_slots){0};
}

static int32_t *place_of(const umbra_slots *s, int32_t layer, int32_t expert)
{
    return &s->of[(size_t)layer * (size_t)s->n_experts + (size_t)expert];
}

int32_t umbra_slots_find(const umbra_slots *s, int32_t layer, int32_t expert)
{
    return *place_of(s, layer, expert);
}

static void unlink_slot(umbra_slots *s, int32_t i)
{
    umbra_slot *slot = &s->slot[i];
    if (slot->newer >= 0)
        s->slot[slot->newer].older = slot->older;
    else
        s->newest = slot->older;
    if (slot->older >= 0)
        s->slot[slot->older].newer = slot->newer;
    else
        s->oldest = slot->newer;
}

static void link_newest(umbra_slots *s, int32_t i)
{
    umbra_slot *slot = &s->slot[i];
    slot->newer = -1;
    slot->older = s->newest;
    if (s->newest >= 0)
        s->slot[s->newest].newer = i;
    else
        s->oldest = i;
    s->newest = i;
}

static void link_oldest(umbra_slots *s, int32_t i)
{
    umbra_slot *slot = &s->slot[i];
    slot->older = -1;
    slot->newer = s->oldest;
    if (s->oldest >= 0)
        s->slot[s->oldest].older = i;
    else
        s->newest = i;
    s->oldest = i;
}

static bool is_evictable(const umbra_slot *slot)
{
    return slot->state == UMBRA_SLOT_RESIDENT && slot->pins == 0;
}

static void vacate(umbra_slots *s, int32_t i)
{
    umbra_slot *slot = &s->slot[i];
    *place_of(s, slot->layer, slot->expert) = -1;
    unlink_slot(s, i);
    slot->state = UMBRA_SLOT_EMPTY;
    slot->pins = 0;
    slot->guess = 0;
    slot->older = s->first_empty;
    s->first_empty = i;
    s->used--;
}

static float heat_of(const umbra_slots *s, const umbra_slot *slot)
{
    return s->heat ? s->heat[(size_t)slot->layer * (size_t)s->n_experts + (size_t)slot->expert] : 0;
}

/* The policy: of the few least recently used the coldest, the older of two alike. What a batch pins
 * it also makes newest, so unevictable slots are rare at this end; the count spares the walk when
 * there is nothing to find. -1: none is colder than `heat`. */
static int choose_victim(const umbra_slots *s, float heat)
{
    int32_t best = -1;
    if (s->evictable == 0)
        return -1;
    int looked = 0;
    for (int32_t i = s->oldest; i >= 0 && looked < LOOK_AT; i = s->slot[i].newer) {
        if (!is_evictable(&s->slot[i]))
            continue;
        looked++;
        float h = heat_of(s, &s->slot[i]);
        if (h >= heat)
            continue;
        best = i;
        heat = h;
        if (h <= COLD)
            break;
    }
    return best;
}

int32_t umbra_slots_take(umbra_slots *s, int32_t layer, int32_t expert, int32_t pins, float heat,
                         umbra_victim *victim)
{
    *victim = (umbra_victim){0};
    if (s->first_empty < 0) {
        int32_t v = choose_victim(s, heat);
        if (v < 0)
            return -1;
        const umbra_slot *gone = &s->slot[v];
        *victim = (umbra_victim){true, gone->layer, gone->expert, gone->guess};
        s->evictable--;
        vacate(s, v);
    }
    int32_t i = s->first_empty;
    umbra_slot *slot = &s->slot[i];
    s->first_empty = slot->older;
    slot->state = UMBRA_SLOT_READING;
    slot->layer = layer;
    slot->expert = expert;
    slot->pins = pins;
    *place_of(s, layer, expert) = i;
    link_newest(s, i);
    s->used++;
    return i;
}

void umbra_slots_arrived(umbra_slots *s, int32_t i)
{
    s->slot[i].state = UMBRA_SLOT_RESIDENT;
    if (is_evictable(&s->slot[i]))
        s->evictable++;
}

void umbra_slots_failed(umbra_slots *s, int32_t i)
{
    vacate(s, i);
}

void umbra_slots_pin(umbra_slots *s, int32_t i)
{
    if (is_evictable(&s->slot[i]))
        s->evictable--;
    s->slot[i].pins++;
    unlink_slot(s, i);
    link_newest(s, i);
}

void umbra_slots_unpin(umbra_slots *s, int32_t i)
{
    if (s->slot[i].pins == 0)
        return; /* a lease given back twice must not unpin whoever comes next */
    s->slot[i].pins--;
    if (is_evictable(&s->slot[i]))
        s->evictable++;
}

void umbra_slots_demote(umbra_slots *s, int32_t i)
{
    unlink_slot(s, i);
    link_oldest(s, i);
}

void umbra_slots_clear(umbra_slots *s)
{
    for (int32_t i = 0; i < s->n; i++) {
        if (!is_evictable(&s->slot[i]))
            continue;
        s->evictable--;
        vacate(s, i);
    }
}
