/* The table of slots against a plain one that looks at every expert. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "store/slots.h"

enum { LAYERS = 3, EXPERTS = 10, PAIRS = LAYERS * EXPERTS };

typedef struct entry {
    bool present, reading;
    int pins;
    double count; /* uses, each fading by 2 % in LAYERS batches */
} entry;

typedef struct model {
    entry e[PAIRS]; /* by layer * EXPERTS + expert */
    float foretold[PAIRS];
    int n[2], room[2]; /* of each size: in slots, slots */
} model;

/* Layer 0 has experts of a size of its own, if there are two. */
static int size_of(const model *m, int pair)
{
    return m->room[1] > 0 && pair < EXPERTS;
}

/* What there is to keep an expert for: as many uses as it had, and 50 if one is foretold. */
static double worth(const model *m, int pair)
{
    return m->e[pair].count + 50 * (double)m->foretold[pair];
}

static bool can_go(const entry *e)
{
    return e->present && !e->reading && e->pins == 0;
}

static double least_worth(const model *m, int size)
{
    double least = INFINITY;
    for (int i = 0; i < PAIRS; i++)
        if (size_of(m, i) == size && can_go(&m->e[i]) && worth(m, i) < least)
            least = worth(m, i);
    return least;
}

static void compare(const umbra_slots *s, const model *m)
{
    for (int k = 0; k < s->n_sizes; k++)
        assert_int_equal(s->size[k].used, m->n[k]);
    for (int pair = 0; pair < PAIRS; pair++) {
        const entry *e = &m->e[pair];
        int32_t slot = umbra_slots_find(s, pair / EXPERTS, pair % EXPERTS);
        assert_int_equal(slot >= 0, e->present);
        if (slot < 0)
            continue;
        const umbra_slot *p = &s->slot[slot];
        const umbra_slot_group *group = umbra_slots_group(s, pair / EXPERTS, pair % EXPERTS);
        assert_ptr_equal(group, &s->size[size_of(m, pair)]);
        assert_in_range(slot, group->first, group->first + group->n - 1);
        assert_int_equal(p->layer * EXPERTS + p->expert, pair);
        assert_int_equal(p->pins, e->pins);
        assert_int_equal(p->state, e->reading ? UMBRA_SLOT_READING : UMBRA_SLOT_RESIDENT);
        assert_int_equal(s->evictable[slot] < INFINITY, can_go(e));
    }
}

/* Takes a slot, for a demand or a guess, and holds the victim against all others. */
static void take(umbra_slots *s, model *m, int pair, bool guess)
{
    umbra_victim victim;
    int size = size_of(m, pair);
    double least = least_worth(m, size), own = guess ? worth(m, pair) : INFINITY;
    bool full = m->n[size] == m->room[size];
    int32_t slot = umbra_slots_take(s, pair / EXPERTS, pair % EXPERTS, !guess,
                                    guess ? m->foretold[pair] : INFINITY, &victim);
    if (fabs(least - own) > 1e-3) /* else either is right */
        assert_int_equal(slot >= 0, !full || least < own);
    if (slot < 0)
        return;
    assert_int_equal(victim.any, full);
    if (victim.any) {
        int gone = victim.layer * EXPERTS + victim.expert;
        assert_true(can_go(&m->e[gone]) && size_of(m, gone) == size);
        assert_true(worth(m, gone) <= least + 1e-3 * (1 + least));
        m->e[gone].present = false;
    }
    m->n[size] += !full;
    m->e[pair] = (entry){true, true, !guess, m->e[pair].count};
}

static void fade(umbra_slots *s, model *m, int times, int tokens)
{
    for (int i = 0; i < times; i++) {
        umbra_slots_decay(s, tokens);
        for (int pair = 0; pair < PAIRS; pair++)
            m->e[pair].count *= pow(0.98, pow(tokens, 0.75) / LAYERS);
    }
}

static void step(umbra_slots *s, model *m, uint64_t *seed)
{
    int pair = (int)test_below(seed, PAIRS);
    entry *e = &m->e[pair];
    int32_t slot = umbra_slots_find(s, pair / EXPERTS, pair % EXPERTS);
    fade(s, m, 1, 1 + (int)test_below(seed, 4));
    if (test_below(seed, 3) == 0) {
        int uses = 1 + (int)test_below(seed, 8);
        umbra_slots_count_use(s, pair / EXPERTS, pair % EXPERTS, uses);
        e->count += uses;
    } else if (test_below(seed, 4) == 0) {
        m->foretold[pair] = test_below(seed, 2) ? 0 : (float)test_below(seed, 100) / 100;
    } else if (slot < 0) {
        take(s, m, pair, test_below(seed, 2) == 0);
    } else if (e->reading && test_below(seed, 4) == 0) {
        umbra_slots_failed(s, slot);
        *e = (entry){.count = e->count};
        m->n[size_of(m, pair)]--;
    } else if (e->reading) {
        umbra_slots_arrived(s, slot);
        e->reading = false;
    } else if (test_below(seed, 3) == 0) {
        umbra_slots_pin(s, slot);
        e->pins++;
    } else {
        umbra_slots_unpin(s, slot); /* one time too many must do nothing */
        e->pins -= e->pins > 0;
    }
}

static void go(const int32_t *slots, int sizes, uint64_t seed)
{
    umbra_slots s;
    model m = {.room = {slots[0], sizes > 1 ? slots[1] : 0}};
    assert_int_equal(umbra_slots_init(&s, slots, sizes, LAYERS, EXPERTS, NULL), 0);
    for (int pair = 0; pair < PAIRS; pair++)
        s.size_of[pair] = (uint8_t)size_of(&m, pair);
    s.foretold = m.foretold;
    for (int i = 0; i < 3000; i++) {
        step(&s, &m, &seed);
        compare(&s, &m);
        if (i == 1500)
            fade(&s, &m, 12000, 1); /* over the end of the counts' scale */
    }
    umbra_slots_free(&s);
}

static void test_against_model(void **state)
{
    (void)state;
    for (int32_t size = 1; size <= PAIRS; size += size < 4 ? 1 : 7)
        go(&size, 1, 2463534242u + (unsigned)size);
}

/* Each size for itself. */
static void test_sizes_against_model(void **state)
{
    (void)state;
    for (int32_t first = 1; first <= PAIRS - EXPERTS; first += 6)
        for (int32_t second = 1; second <= EXPERTS; second += 3)
            go((const int32_t[]){first, second}, 2, 521288629u + (unsigned)(first * 16 + second));
}

/* Those that a prompt used go first, the last one scanned before the others, but not one of them
 * that is foretold. */
static void test_passed_go_first(void **state)
{
    (void)state;
    float foretold[PAIRS] = {0};
    const int32_t slots = 3;
    umbra_slots s;
    umbra_victim victim;
    assert_int_equal(umbra_slots_init(&s, &slots, 1, LAYERS, EXPERTS, NULL), 0);
    s.foretold = foretold;
    for (int e = 0; e < 3; e++)
        umbra_slots_arrived(&s, umbra_slots_take(&s, 0, e, 0, INFINITY, &victim));
    for (int i = 0; i < 10000; i++)
        umbra_slots_mark_scanned(&s, umbra_slots_find(&s, 0, 1));
    umbra_slots_mark_scanned(&s, umbra_slots_find(&s, 0, 2));
    foretold[2] = 0.1f;
    static const int order[] = {1, 0, 2};
    for (int i = 0; i < 3; i++) {
        assert_true(umbra_slots_take(&s, 1, i, 1, INFINITY, &victim) >= 0);
        assert_int_equal(victim.expert, order[i]);
    }
    umbra_slots_free(&s);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const int32_t slots = 4;
    for (int n = 1; n <= 5; n++) {
        umbra_slots s;
        umbra_error err;
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_slots_init(&s, &slots, 1, LAYERS, EXPERTS, &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        umbra_slots_free(&s); /* may be called again */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_sizes_against_model),
        cmocka_unit_test(test_passed_go_first),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
