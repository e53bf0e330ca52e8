/* The table of slots: a victim is found by looking at all that are of a size. */
#include "store/slots.h"

#include <math.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/memory.h"

/* What is left of a use after a token. On recorded routing of lab, documents and text of its own,
 * 0.98 misses 15 to 30 % less than the order of use does, at every size of the cache; 0.95 and 0.99
 * come near (docs/reading-ahead.md). */
static const float keep = 0.98f;
/* A batch of so many tokens lets uses fade as this power of them does single steps: some of them
 * come to nothing, and what is used by one is used by the next (docs/drafts.md). */
static const float faded_by_tokens = 0.75f;
/* Of a use: the order of those that prompts scanned sorts them and weigh nothing beside a forecast.
 */
static const float scan_weight = 1e-12f;
static const float most_use = 1e30f; /* then all counts are brought back to ordinary size */

/* All slots are empty. */
static void link_groups(umbra_slots *s, const int32_t *n)
{
    int32_t first = 0;
    for (int k = 0; k < s->n_sizes; k++) {
        s->size[k] = (umbra_slot_group){
            .first = first, .n = n[k], .limit = n[k], .first_empty = n[k] > 0 ? first : -1};
        first += n[k];
        for (int32_t i = s->size[k].first; i < first; i++) {
            s->slot[i].next_empty = i + 1 < first ? i + 1 : -1;
            s->evictable[i] = INFINITY;
        }
    }
}

static int32_t sum(const int32_t *n, int count)
{
    int32_t all = 0;
    for (int k = 0; k < count; k++)
        all += n[k];
    return all;
}

int umbra_slots_init(umbra_slots *s, const int32_t *counts, int n_sizes, int32_t n_layers,
                     int32_t n_experts, umbra_error *err)
{
    size_t n_pairs = (size_t)n_layers * (size_t)n_experts;
    int32_t n = sum(counts, n_sizes);
    *s = (umbra_slots){
        .slot = umbra_calloc((size_t)n, sizeof *s->slot),
        .evictable = umbra_calloc((size_t)n, sizeof *s->evictable),
        .of = umbra_calloc(n_pairs, sizeof *s->of),
        .use_count = umbra_calloc(n_pairs, sizeof *s->use_count),
        .size_of = umbra_calloc(n_pairs, sizeof *s->size_of),
        .use = 1,
        .growth = powf(keep, -1.0f / (float)n_layers),
        .n = n,
        .n_layers = n_layers,
        .n_experts = n_experts,
        .n_sizes = n_sizes,
    };
    if (!s->slot || !s->evictable || !s->of || !s->use_count || !s->size_of) {
        umbra_slots_free(s);
        return umbra_fail_nomem(
            err, "the table of expert slots",
            (uint64_t)n * (sizeof *s->slot + sizeof *s->evictable) +
                n_pairs * (sizeof *s->of + sizeof *s->use_count + sizeof *s->size_of));
    }
    for (size_t i = 0; i < n_pairs; i++)
        s->of[i] = -1;
    link_groups(s, counts);
    return UMBRA_OK;
}

void umbra_slots_free(umbra_slots *s)
{
    umbra_free(s->slot);
    umbra_free(s->evictable);
    umbra_free(s->of);
    umbra_free(s->use_count);
    umbra_free(s->size_of);
    *s = (umbra_slots){0};
}

static size_t pair_of(const umbra_slots *s, int32_t layer, int32_t expert)
{
    return (size_t)layer * (size_t)s->n_experts + (size_t)expert;
}

static umbra_slot_group *group_of(umbra_slots *s, size_t pair)
{
    umbra_assert(s->size_of[pair] < s->n_sizes);
    return &s->size[s->size_of[pair]];
}

const umbra_slot_group *umbra_slots_group(const umbra_slots *s, int32_t layer, int32_t expert)
{
    return &s->size[s->size_of[pair_of(s, layer, expert)]];
}

int32_t umbra_slots_find(const umbra_slots *s, int32_t layer, int32_t expert)
{
    return s->of[pair_of(s, layer, expert)];
}

/* After whatever may have changed whether the slot's expert can go, or its use count. */
static void update(umbra_slots *s, int32_t i)
{
    const umbra_slot *slot = &s->slot[i];
    s->evictable[i] = INFINITY;
    if (slot->state != UMBRA_SLOT_RESIDENT || slot->pins > 0 || slot->lent > 0)
        return;
    float count = s->use_count[pair_of(s, slot->layer, slot->expert)];
    s->evictable[i] = count > 0 ? count : -scan_weight * (float)slot->scan_order;
}

static void vacate(umbra_slots *s, int32_t i)
{
    umbra_slot *slot = &s->slot[i];
    size_t pair = pair_of(s, slot->layer, slot->expert);
    umbra_slot_group *group = group_of(s, pair);
    umbra_assert(slot->state != UMBRA_SLOT_EMPTY && group->used > 0);
    s->of[pair] = -1;
    *slot = (umbra_slot){.state = UMBRA_SLOT_EMPTY, .next_empty = group->first_empty};
    group->first_empty = i;
    group->used--;
    update(s, i);
}

/* What foretold uses count beside those that were: who is used by every token has as many. */
static float count_of(const umbra_slots *s, float probability)
{
    return probability * s->use / (1 - keep);
}

/* The least likely expert of a size, if it is less likely than `most`. -1: there is none. */
static int32_t choose_victim(const umbra_slots *s, const umbra_slot_group *group, float most)
{
    int32_t best = -1;
    for (int32_t i = group->first; i < group->first + group->n; i++) {
        if (s->evictable[i] >= most)
            continue;
        const umbra_slot *slot = &s->slot[i];
        float probability = s->foretold ? s->foretold[pair_of(s, slot->layer, slot->expert)] : 0;
        float count = s->evictable[i] + count_of(s, probability);
        if (count >= most)
            continue;
        most = count;
        best = i;
    }
    return best;
}

/* The slot of the least likely expert of a size, if it is less likely than `most`, becomes empty.
 */
static bool evict(umbra_slots *s, const umbra_slot_group *group, float most, umbra_victim *victim)
{
    int32_t v = choose_victim(s, group, most);
    if (v < 0)
        return false;
    const umbra_slot *gone = &s->slot[v];
    umbra_assert(gone->state == UMBRA_SLOT_RESIDENT && gone->pins == 0 && gone->lent == 0);
    *victim = (umbra_victim){true, gone->layer, gone->expert, gone->guess};
    vacate(s, v);
    return true;
}

bool umbra_slots_evict(umbra_slots *s, int size, umbra_victim *victim)
{
    return evict(s, &s->size[size], INFINITY, victim);
}

int32_t umbra_slots_pinned(const umbra_slots *s, int size)
{
    const umbra_slot_group *group = &s->size[size];
    int32_t n = 0;
    for (int32_t i = group->first; i < group->first + group->n; i++)
        n += s->slot[i].state != UMBRA_SLOT_EMPTY && s->slot[i].pins > 0;
    return n;
}

int32_t umbra_slots_take(umbra_slots *s, int32_t layer, int32_t expert, int32_t pins,
                         float probability, umbra_victim *victim)
{
    size_t pair = pair_of(s, layer, expert);
    umbra_slot_group *group = group_of(s, pair);
    umbra_assert(s->of[pair] < 0 && pins >= 0);
    *victim = (umbra_victim){0};
    if (group->used >= group->limit &&
        !evict(s, group, s->use_count[pair] + count_of(s, probability), victim))
        return -1;
    int32_t i = group->first_empty;
    umbra_assert(i < s->n && s->slot[i].state == UMBRA_SLOT_EMPTY && group->used < group->limit);
    group->first_empty = s->slot[i].next_empty;
    s->slot[i] =
        (umbra_slot){.state = UMBRA_SLOT_READING, .layer = layer, .expert = expert, .pins = pins};
    s->of[pair] = i;
    group->used++;
    return i;
}

void umbra_slots_arrived(umbra_slots *s, int32_t i)
{
    umbra_assert(s->slot[i].state == UMBRA_SLOT_READING);
    s->slot[i].state = UMBRA_SLOT_RESIDENT;
    update(s, i);
}

void umbra_slots_failed(umbra_slots *s, int32_t i)
{
    umbra_assert(s->slot[i].state == UMBRA_SLOT_READING);
    vacate(s, i);
}

void umbra_slots_lend(umbra_slots *s, int32_t i)
{
    umbra_assert(s->slot[i].state == UMBRA_SLOT_RESIDENT);
    s->slot[i].lent++;
    update(s, i);
}

void umbra_slots_take_back(umbra_slots *s, int32_t i)
{
    umbra_assert(s->slot[i].lent > 0);
    s->slot[i].lent--;
    update(s, i);
}

void umbra_slots_pin(umbra_slots *s, int32_t i)
{
    umbra_assert(s->slot[i].state != UMBRA_SLOT_EMPTY);
    s->slot[i].pins++;
    s->slot[i].scan_order = 0;
    update(s, i);
}

void umbra_slots_unpin(umbra_slots *s, int32_t i)
{
    if (s->slot[i].pins == 0)
        return; /* a lease given back twice must not unpin whoever comes next */
    s->slot[i].pins--;
    update(s, i);
}

void umbra_slots_mark_scanned(umbra_slots *s, int32_t i)
{
    umbra_assert(s->slot[i].state != UMBRA_SLOT_EMPTY);
    s->slot[i].scan_order = ++s->scans;
    update(s, i);
}

void umbra_slots_decay(umbra_slots *s, int tokens)
{
    umbra_assert(tokens > 0);
    s->use *= tokens > 1 ? powf(s->growth, powf((float)tokens, faded_by_tokens)) : s->growth;
    if (s->use < most_use)
        return;
    for (size_t i = 0; i < (size_t)s->n_layers * (size_t)s->n_experts; i++)
        s->use_count[i] /= s->use;
    s->use = 1;
    for (int32_t i = 0; i < s->n; i++)
        update(s, i);
}

float umbra_slots_uses(const umbra_slots *s, int32_t layer, int32_t expert)
{
    return s->use_count[pair_of(s, layer, expert)] / s->use;
}

void umbra_slots_add_uses(umbra_slots *s, int32_t layer, int32_t expert, float uses)
{
    size_t pair = pair_of(s, layer, expert);
    umbra_assert(uses > 0);
    s->use_count[pair] += uses * s->use;
    if (s->of[pair] >= 0)
        update(s, s->of[pair]);
}

void umbra_slots_count_use(umbra_slots *s, int32_t layer, int32_t expert, int32_t uses)
{
    umbra_slots_add_uses(s, layer, expert, (float)uses);
}

void umbra_slots_clear(umbra_slots *s)
{
    for (int32_t i = 0; i < s->n; i++)
        if (s->evictable[i] < INFINITY)
            vacate(s, i);
}
