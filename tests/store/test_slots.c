/* The table of slots against a plain array kept in order of use. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "store/slots.h"

enum { LAYERS = 3, EXPERTS = 10, PAIRS = LAYERS * EXPERTS };

typedef struct entry {
    int pair; /* layer * EXPERTS + expert */
    int pins;
    bool reading;
} entry;

typedef struct model {
    entry e[PAIRS]; /* newest first */
    int n, size;
} model;

static int model_find(const model *m, int pair)
{
    for (int i = 0; i < m->n; i++) {
        if (m->e[i].pair == pair)
            return i;
    }
    return -1;
}

static entry model_remove(model *m, int i)
{
    entry e = m->e[i];
    memmove(&m->e[i], &m->e[i + 1], (size_t)(m->n - 1 - i) * sizeof e);
    m->n--;
    return e;
}

static void model_push(model *m, entry e)
{
    memmove(&m->e[1], &m->e[0], (size_t)m->n * sizeof e);
    m->e[0] = e;
    m->n++;
}

/* 0: no room, 1: taken, 2: taken from another. */
static int model_take(model *m, int pair)
{
    int result = 1;
    if (m->n == m->size) {
        int victim = m->n - 1;
        while (victim >= 0 && (m->e[victim].pins > 0 || m->e[victim].reading))
            victim--;
        if (victim < 0)
            return 0;
        model_remove(m, victim);
        result = 2;
    }
    model_push(m, (entry){.pair = pair, .pins = 1, .reading = true});
    return result;
}

static void compare(const umbra_slots *s, const model *m)
{
    assert_int_equal(s->used, m->n);
    int32_t slot = s->newest, newer = -1;
    int evictable = 0;
    for (int i = 0; i < m->n; i++) {
        const umbra_slot *p = &s->slot[slot];
        assert_int_equal(p->newer, newer);
        assert_int_equal(p->layer * EXPERTS + p->expert, m->e[i].pair);
        assert_int_equal(p->pins, m->e[i].pins);
        assert_int_equal(p->state, m->e[i].reading ? UMBRA_SLOT_READING : UMBRA_SLOT_RESIDENT);
        assert_int_equal(umbra_slots_find(s, p->layer, p->expert), slot);
        evictable += !m->e[i].reading && m->e[i].pins == 0;
        newer = slot;
        slot = p->older;
    }
    assert_int_equal(slot, -1);
    assert_int_equal(s->oldest, newer);
    assert_int_equal(s->evictable, evictable);
    int found = 0;
    for (int pair = 0; pair < PAIRS; pair++)
        found += umbra_slots_find(s, pair / EXPERTS, pair % EXPERTS) >= 0;
    assert_int_equal(found, m->n);
}

static void step(umbra_slots *s, model *m, uint64_t *seed)
{
    int pair = (int)test_below(seed, PAIRS);
    int32_t slot = umbra_slots_find(s, pair / EXPERTS, pair % EXPERTS);
    int at = model_find(m, pair);
    assert_int_equal(slot >= 0, at >= 0);
    if (slot < 0) {
        umbra_victim victim;
        int expected = model_take(m, pair);
        slot = umbra_slots_take(s, pair / EXPERTS, pair % EXPERTS, 1, INFINITY, &victim);
        assert_int_equal(slot >= 0, expected > 0);
        assert_int_equal(victim.any, expected == 2);
    } else if (m->e[at].reading && test_below(seed, 4) == 0) {
        umbra_slots_failed(s, slot);
        model_remove(m, at);
    } else if (m->e[at].reading) {
        umbra_slots_arrived(s, slot);
        m->e[at].reading = false;
    } else if (test_below(seed, 3) == 0) {
        umbra_slots_pin(s, slot);
        entry e = model_remove(m, at);
        e.pins++;
        model_push(m, e);
    } else {
        umbra_slots_unpin(s, slot); /* one time too many must do nothing */
        m->e[at].pins -= m->e[at].pins > 0;
    }
}

static void test_against_model(void **state)
{
    (void)state;
    uint64_t seed = 2463534242u;
    for (int size = 1; size <= PAIRS; size += size < 4 ? 1 : 7) {
        umbra_slots s;
        model m = {.size = size};
        assert_int_equal(umbra_slots_init(&s, size, LAYERS, EXPERTS, NULL), 0);
        for (int i = 0; i < 3000; i++) {
            step(&s, &m, &seed);
            compare(&s, &m);
        }
        umbra_slots_free(&s);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int n = 1; n <= 2; n++) {
        umbra_slots s;
        umbra_error err;
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_slots_init(&s, 4, LAYERS, EXPERTS, &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        umbra_slots_free(&s); /* may be called again */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
