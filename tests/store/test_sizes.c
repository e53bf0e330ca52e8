/* Slots of several sizes: what is wasted, who gets how many, and that the right bytes come. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store_internal.h"

/* ---- plans ---- */

/* Layers and experts as a published model of 35 billion weights has them, with matrices of 4, 5, 6
 * and 8 bits as its quantisations mix them. */
enum { LAYERS = 40, EXPERTS = 256, GATE = 589824 };
static const uint64_t downs[] = {589824, 720896, 860160, 1114112};

/* which: of the largest, 0 to 3; more: other gates in the first layers. */
static umbra_slice *make_mix(int kinds, bool more)
{
    umbra_slice *slices = calloc((size_t)LAYERS * EXPERTS * UMBRA_STORE_SLICES, sizeof *slices);
    uint64_t at = 4096 + 32; /* a tensor begins at any multiple of 32 */
    for (int l = 0; l < LAYERS; l++) {
        uint64_t down = downs[l % 8 == 7 ? kinds - 1 : l % 3 % kinds];
        uint64_t gate = more && l < 3 ? 720896 : GATE;
        const uint64_t bytes[] = {gate, gate, down};
        for (int which = 0; which < UMBRA_STORE_SLICES; which++, at += 32)
            for (int e = 0; e < EXPERTS; e++, at += bytes[which])
                slices[((size_t)l * EXPERTS + (size_t)e) * UMBRA_STORE_SLICES + (size_t)which] =
                    (umbra_slice){.offset = at, .bytes = bytes[which]};
    }
    return slices;
}

static uint64_t needed_bytes(const umbra_slot_plan *p)
{
    double bytes = 0;
    for (int i = 0; i < p->n; i++)
        bytes += (double)p->size[i].slots * (double)p->size[i].experts_bytes /
                 (double)p->size[i].experts;
    return (uint64_t)bytes;
}

static void check_plan(const umbra_slot_plan *p, uint64_t budget)
{
    uint64_t slots = 0, bytes = 0, experts = 0;
    for (int i = 0; i < p->n; i++) {
        const umbra_slot_size *size = &p->size[i];
        assert_true(i == 0 || size->bytes > p->size[i - 1].bytes);
        assert_true(size->slots <= size->experts && size->experts > 0);
        assert_true(size->experts_bytes <= size->experts * size->bytes);
        slots += size->slots;
        bytes += size->slots * size->bytes;
        experts += size->experts;
    }
    assert_int_equal(slots, p->slots);
    assert_int_equal(bytes, p->bytes);
    assert_int_equal(experts, p->experts);
    assert_true(p->bytes <= budget);
    assert_true(p->slots == p->experts || budget - p->bytes < p->size[p->n - 1].bytes);
}

/* Every size has the same share of its experts, to one slot, unless that were too few. */
static void check_shares(const umbra_slot_plan *p)
{
    enum { LEAST = 32 };
    double share = 0;
    for (int i = 0; i < p->n; i++)
        if (p->size[i].slots > LEAST)
            share = fmax(share, (double)p->size[i].slots / (double)p->size[i].experts);
    for (int i = 0; i < p->n; i++)
        assert_true(p->size[i].slots == LEAST ||
                    (double)p->size[i].slots >= share * (double)p->size[i].experts - 1.001);
}

/* From a thirtieth of the experts on, under 2 % of a budget are of no use; slots that hold any
 * expert waste 4 to 28 %. */
static void test_waste(void **state)
{
    (void)state;
    for (int kinds = 2; kinds <= 4; kinds++) {
        for (int more = 0; more < 2; more++) {
            umbra_slice *slices = make_mix(kinds, more);
            double worst = 0, equal = 0;
            umbra_slot_plan p;
            umbra_store_plan_slots(&p, slices, LAYERS, EXPERTS, 512, UINT64_MAX);
            uint64_t all = p.all_bytes, slot = p.size[p.n - 1].bytes;
            assert_int_equal(p.slots, LAYERS * EXPERTS);
            for (int part = 1; part <= 30; part++) {
                uint64_t budget = all / 30 * (uint64_t)part;
                umbra_store_plan_slots(&p, slices, LAYERS, EXPERTS, 512, budget);
                check_plan(&p, budget);
                check_shares(&p);
                double waste = 1 - (double)needed_bytes(&p) / (double)budget;
                assert_true(waste < 0.02);
                assert_true(umbra_slot_plan_waste(&p) <= waste + 1e-9);
                worst = fmax(worst, waste);
                equal = fmax(equal, 1 - (double)(budget / slot) * (double)all / (LAYERS * EXPERTS) /
                                            (double)budget);
            }
            print_message("%d sizes: %.2f %% wasted at most, %.1f %% by equal slots\n", p.n,
                          worst * 100, equal * 100);
            assert_true(p.n >= kinds && equal > 4 * worst);
            free(slices);
        }
    }
}

static void test_what_a_plan_takes_gives_the_same_plan(void **state)
{
    (void)state;
    umbra_slice *slices = make_mix(4, true);
    uint64_t seed = 362436069;
    for (int i = 0; i < 60; i++) {
        umbra_slot_plan p, again;
        uint64_t budget = (uint64_t)test_below(&seed, 1u << (12 + i % 20)) << 12;
        umbra_store_plan_slots(&p, slices, LAYERS, EXPERTS, 4096, budget);
        umbra_store_plan_slots(&again, slices, LAYERS, EXPERTS, 4096, p.bytes);
        check_plan(&p, budget);
        assert_int_equal(again.n, p.n);
        assert_memory_equal(again.size, p.size, (size_t)p.n * sizeof *p.size);
    }
    free(slices);
}

/* A budget of a few experts has slots that hold any of them. */
static void test_few_slots_are_of_one_size(void **state)
{
    (void)state;
    umbra_slice *slices = make_mix(3, true);
    umbra_slot_plan p;
    umbra_store_plan_slots(&p, slices, LAYERS, EXPERTS, 512, 0);
    uint64_t largest = p.size[p.n - 1].bytes;
    assert_int_equal(p.slots, 0);
    for (uint64_t n = 1; n <= 40; n++) {
        umbra_store_plan_slots(&p, slices, LAYERS, EXPERTS, 512, n * largest);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.slots, n);
        assert_int_equal(p.size[0].bytes, largest);
    }
    free(slices);
}

static uint64_t own_bytes(const void *user, size_t pair)
{
    return ((const uint64_t *)user)[pair];
}

/* Experts that are all of different sizes, some of none. */
static void test_any_sizes(void **state)
{
    (void)state;
    enum { PAIRS = 700 };
    static uint64_t bytes[PAIRS];
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 40; round++) {
        uint64_t largest = 0, all = 0, experts = 0;
        for (int i = 0; i < PAIRS; i++) {
            bytes[i] = i % 7 == 3 ? 0 : 64 * (1 + test_below(&seed, 4u << (round % 20)));
            largest = bytes[i] > largest ? bytes[i] : largest;
            experts += bytes[i] > 0;
            all += bytes[i];
        }
        umbra_slot_plan p;
        umbra_sizes_find(&p, PAIRS, own_bytes, bytes);
        assert_in_range(p.n, 1, UMBRA_SLOT_SIZES);
        assert_int_equal(p.experts, experts);
        assert_int_equal(p.size[p.n - 1].bytes, largest);
        umbra_sizes_divide(&p, (int)test_below(&seed, 50), test_below(&seed, (uint32_t)all));
        for (int i = 0; i < PAIRS; i++)
            assert_true(p.size[umbra_sizes_of(&p, bytes[i])].bytes >= bytes[i]);
        uint64_t place = 0;
        int32_t slot = 0;
        for (int k = 0; k < p.n; k++)
            for (uint64_t n = 0; n < p.size[k].slots; n++, place += p.size[k].bytes)
                assert_int_equal(umbra_sizes_place(&p, slot++), place);
        assert_int_equal(place, p.bytes);
    }
}

static void test_as_many_as_are_held_together(void **state)
{
    (void)state;
    static uint64_t bytes[600];
    for (int i = 0; i < 600; i++)
        bytes[i] = i < 400 ? 1000 : 2000;
    for (uint64_t budget = 2000; budget <= 800000; budget += 1000) {
        umbra_slot_plan p;
        umbra_sizes_find(&p, 600, own_bytes, bytes);
        umbra_sizes_divide(&p, 100, budget);
        for (int k = 0; k < p.n; k++)
            assert_true(p.n == 1 || p.size[k].slots >= 100);
        assert_true(p.n > 1 || budget < 2 * 300 * 2000);
    }
}

/* ---- a store ---- */

enum { MIXED_LAYERS = 6, MIXED_EXPERTS = 64, MIXED_BYTES = 300000, TOGETHER = 8 };
static umbra_slice mixed[MIXED_LAYERS * MIXED_EXPERTS * UMBRA_STORE_SLICES];
static char path[256];
static const char *paths[] = {path};

/* Layers take turns in being quantised in fewer and more bits. */
static int make_mixed(void **state)
{
    (void)state;
    uint64_t seed = 521288629;
    test_make_file(path, UMBRA_TEST_DIR, 0, MIXED_BYTES);
    for (int i = 0; i < MIXED_LAYERS * MIXED_EXPERTS * UMBRA_STORE_SLICES; i++) {
        int layer = i / UMBRA_STORE_SLICES / MIXED_EXPERTS, which = i % UMBRA_STORE_SLICES;
        uint64_t bytes = which == 2 ? 4096 + 2048 * (uint64_t)(layer % 3) : 4096;
        mixed[i] = (umbra_slice){.bytes = bytes,
                                 .offset = test_below(&seed, MIXED_BYTES - (uint32_t)bytes)};
    }
    return 0;
}

static int remove_mixed(void **state)
{
    (void)state;
    return unlink(path);
}

static umbra_store *open_mixed(double share, bool buffered)
{
    umbra_store_options o = {.paths = paths,
                             .n_paths = 1,
                             .n_layers = MIXED_LAYERS,
                             .n_experts = MIXED_EXPERTS,
                             .slices = mixed,
                             .io = "threads",
                             .buffered = buffered,
                             .together = TOGETHER,
                             .verify = true};
    umbra_slot_plan p;
    umbra_store_plan_slots(&p, mixed, MIXED_LAYERS, MIXED_EXPERTS, 1, UINT64_MAX);
    o.budget_bytes = (uint64_t)(share * (double)p.all_bytes);
    umbra_store *s;
    umbra_error err = {0};
    if (umbra_store_open(&s, &o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return s;
}

/* A batch of distinct experts; every byte is looked at, and that no two leases share any. */
static void run_mixed(umbra_store *s, int layer, const int *experts, int n)
{
    const umbra_batch batch = {.layer = layer, .experts = experts, .n = n};
    umbra_error err = {0};
    umbra_lease leases[MIXED_EXPERTS];
    int got, held = 0;
    if (umbra_store_begin(s, &batch, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    while ((got = umbra_store_next(s, leases + held, 8, &err)) > 0)
        held += got;
    assert_int_equal(got, 0);
    assert_int_equal(held, n);
    for (int i = 0; i < n; i++) {
        const umbra_slice *own = umbra_store_slices(s, layer, leases[i].expert);
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            test_assert_bytes(leases[i].slice[which], 0, own[which].offset, own[which].bytes);
        umbra_store_release(s, &leases[i]);
    }
    umbra_store_stats stats;
    umbra_store_get_stats(s, &stats);
    assert_true(stats.resident_bytes_max <= stats.slots_bytes);
    assert_true(stats.slots_bytes <= stats.budget_bytes);
}

/* A few experts of a layer are liked, the others come by chance. */
static int some_experts(uint64_t *seed, int *experts)
{
    bool seen[MIXED_EXPERTS] = {false};
    int n = 0;
    while (n < 8) {
        int e = (int)test_below(seed, test_below(seed, 2) ? 16 : MIXED_EXPERTS);
        if (!seen[e])
            experts[n++] = e;
        seen[e] = true;
    }
    return n;
}

static void test_contents(void **state)
{
    (void)state;
    static const double shares[] = {0.05, 0.4, 0.6, 0.9, 1.2};
    uint64_t seed = 123456789;
    for (int i = 0; i < 5; i++) {
        umbra_store *s = open_mixed(shares[i], i % 2);
        umbra_slot_plan p;
        umbra_store_get_slots(s, &p);
        assert_true(i == 0 ? p.n == 1 : p.n >= (i == 1 ? 2 : 3));
        for (int step = 0; step < 40; step++)
            for (int layer = 0; layer < MIXED_LAYERS; layer++) {
                int experts[8];
                run_mixed(s, layer, experts, some_experts(&seed, experts));
            }
        umbra_store_close(&s);
    }
}

/* Layers whose experts are larger find them as often. */
static void test_layers_find_as_much_whatever_their_size(void **state)
{
    (void)state;
    uint64_t seed = 42;
    umbra_store *s = open_mixed(0.55, true);
    uint64_t hits[3] = {0}, asked = 0;
    for (int step = 0; step < 300; step++)
        for (int layer = 0; layer < MIXED_LAYERS; layer++) {
            umbra_store_stats before, after;
            int experts[8], n = some_experts(&seed, experts);
            umbra_store_get_stats(s, &before);
            run_mixed(s, layer, experts, n);
            umbra_store_get_stats(s, &after);
            hits[layer % 3] += after.hits - before.hits;
            asked += layer % 3 == 0 ? (uint64_t)n : 0;
        }
    print_message("hits by size: %.3f %.3f %.3f\n", (double)hits[0] / (double)asked,
                  (double)hits[1] / (double)asked, (double)hits[2] / (double)asked);
    for (int k = 0; k < 3; k++)
        assert_true(fabs((double)hits[k] - (double)hits[0]) < 0.04 * (double)asked);
    umbra_store_close(&s);
}

/* With a smaller budget each size keeps its share of slots, a batch's at least, and all with the
 * first.
 */
static void test_budgets(void **state)
{
    (void)state;
    uint64_t seed = 77;
    for (int buffered = 0; buffered < 2; buffered++) {
        umbra_store *s = open_mixed(0.55, buffered);
        umbra_slot_plan opened, p;
        umbra_store_get_slots(s, &opened);
        assert_true(opened.n > 1);
        uint64_t least = 0;
        for (int k = 0; k < opened.n; k++)
            least += TOGETHER * opened.size[k].bytes;
        for (int round = 0; round < 60; round++) {
            uint64_t budget = least + test_below(&seed, (uint32_t)(opened.bytes - least + 1));
            budget = round % 10 == 8 ? least : round % 10 == 9 ? opened.bytes : budget;
            umbra_error err = {0};
            if (umbra_store_set_budget(s, budget, &err) != UMBRA_OK)
                fail_msg("%s", err.message);
            umbra_store_get_slots(s, &p);
            assert_true(p.bytes <= budget);
            assert_true(budget < opened.bytes || memcmp(&p, &opened, sizeof p) == 0);
            assert_true(p.slots == opened.slots || budget - p.bytes < p.size[p.n - 1].bytes);
            double share = 0;
            for (int k = 0; k < p.n; k++)
                if (p.size[k].slots > TOGETHER)
                    share = fmax(share, (double)p.size[k].slots / (double)opened.size[k].slots);
            for (int k = 0; k < p.n; k++) {
                assert_true(p.size[k].slots >= TOGETHER);
                assert_true(p.size[k].slots == TOGETHER ||
                            (double)p.size[k].slots >=
                                share * (double)opened.size[k].slots - 1.001);
            }
            int experts[8];
            for (int layer = 0; layer < MIXED_LAYERS; layer++)
                run_mixed(s, layer, experts, some_experts(&seed, experts));
        }
        assert_int_equal(umbra_store_set_budget(s, least - 1, NULL), UMBRA_E_BUDGET);
        umbra_store_get_slots(s, &p);
        assert_int_equal(p.bytes, opened.bytes);
        umbra_store_close(&s);
    }
}

/* A layer's slots may all be leased while there are others. */
static void test_all_slots_of_a_size_are_leased(void **state)
{
    (void)state;
    umbra_store *s = open_mixed(0.55, true);
    int all[MIXED_EXPERTS];
    umbra_lease leases[2 * MIXED_EXPERTS];
    umbra_error err = {0};
    umbra_slot_plan p;
    umbra_store_get_slots(s, &p);
    int slots = (int)p.size[umbra_store_size_of(s, 1, 0)].slots, held = 0, rc = 0;
    for (int e = 0; e < MIXED_EXPERTS; e++)
        all[e] = e;
    for (int layer = 1; layer < MIXED_LAYERS && rc == UMBRA_OK; layer += 3) {
        const umbra_batch batch = {.layer = layer, .experts = all, .n = MIXED_EXPERTS};
        assert_int_equal(umbra_store_begin(s, &batch, NULL), UMBRA_OK);
        while ((rc = umbra_store_next(s, leases + held, 1, &err)) > 0)
            held++;
    }
    assert_int_equal(rc, UMBRA_E_ARGUMENT);
    char words[64];
    snprintf(words, sizeof words, "all %d slots are leased", slots);
    assert_non_null(strstr(err.message, words));
    for (int i = 0; i < MIXED_EXPERTS; i++) /* the first batch's; the failed one's are back */
        umbra_store_release(s, &leases[i]);
    int experts[] = {5, 6, 7};
    run_mixed(s, 1, experts, 3);
    run_mixed(s, 2, experts, 3);
    umbra_store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waste),
        cmocka_unit_test(test_what_a_plan_takes_gives_the_same_plan),
        cmocka_unit_test(test_few_slots_are_of_one_size),
        cmocka_unit_test(test_any_sizes),
        cmocka_unit_test(test_as_many_as_are_held_together),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_layers_find_as_much_whatever_their_size),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_all_slots_of_a_size_are_leased),
    };
    return cmocka_run_group_tests(tests, make_mixed, remove_mixed);
}
