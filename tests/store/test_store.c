/* The store hands out the right bytes, keeps what is used, and refuses what cannot be. */
#include "fixture.h"

#include "store/lend.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

/* ---- what batches deliver ---- */

static pthread_barrier_t lent;

static void check_contents(fixture *f, const char *io, bool buffered)
{
    static const int slot_counts[] = {1, 2, 3, 7, 20, USED};
    static const int depths[] = {1, 4, 32};
    uint64_t seed = 521288629;
    for (int i = 0; i < 6; i++) {
        umbra_store *s = open_store(f, NULL, io, slot_counts[i], depths[i % 3], buffered);
        uint64_t asked = 0;
        for (int round = 0; round < 60; round++) {
            int experts[EXPERTS];
            int n = (int)test_below(&seed, EXPERTS); /* more than the slots, and none, too */
            int layer = random_batch(&seed, experts, n);
            int max = 1 + (int)test_below(&seed, EXPERTS);
            umbra_error err = {0};
            if (run_batch(s, f, layer, experts, n, max, &seed, &err) != UMBRA_OK)
                fail_msg("%s", err.message);
            asked += (uint64_t)n;
        }
        umbra_store_stats stats = stats_of(s);
        assert_int_equal(stats.slots, slot_counts[i]);
        assert_int_equal(stats.hits + stats.misses, asked);
        assert_true(stats.bytes_read >= stats.bytes_needed);
        assert_true(!stats.direct || !buffered);
        uint64_t in_use = stats.misses - stats.evictions;
        for (int k = 0; k < s->guarded.slots.n_sizes; k++)
            in_use -= (uint64_t)s->guarded.slots.size[k].used;
        assert_int_equal(in_use, 0);
        assert_int_equal(stats.resident_bytes, umbra_store_resident_bytes(s));
        umbra_store_close(&s);
        assert_null(s);
    }
}

static void test_contents_threads(void **state)
{
    (void)state;
    check_contents(&on_disk, "threads", false);
    check_contents(&on_disk, "threads", true);
    check_contents(&on_tmpfs, "threads", false);
}

static void test_contents_uring(void **state)
{
    (void)state;
    if (!test_uring_works())
        skip();
    check_contents(&on_disk, "uring", false);
    check_contents(&on_disk, "uring", true);
    check_contents(&on_tmpfs, "uring", false);
    check_contents(&on_disk, NULL, false);
}

enum { PAIRS = LAYERS * EXPERTS };

static void note_present(const umbra_store *s, bool *present)
{
    for (int pair = 0; pair < PAIRS; pair++)
        present[pair] = umbra_slots_find(&s->guarded.slots, pair / EXPERTS, pair % EXPERTS) >= 0;
}

/* Hits, misses and who had to go, against plain counts, batch after batch. */
static void test_least_used_goes(void **state)
{
    (void)state;
    enum { SLOTS = 14 };
    umbra_store *s = open_faulty(SLOTS, 5);
    test_fault.newest_first = true;
    uint64_t seed = 123456789, hits = 0, misses = 0;
    double count[PAIRS] = {0};
    bool before[PAIRS], after[PAIRS];
    for (int round = 0; round < 300; round++) {
        int experts[EXPERTS], n = (int)test_below(&seed, EXPERTS / 2 + 1);
        int layer = random_batch(&seed, experts, n);
        note_present(s, before);
        for (int pair = 0; pair < PAIRS; pair++)
            count[pair] *= pow(0.98, 1.0 / LAYERS);
        for (int i = 0; i < n; i++) {
            count[layer * EXPERTS + experts[i]]++;
            hits += before[layer * EXPERTS + experts[i]];
            misses += !before[layer * EXPERTS + experts[i]];
        }
        good_batch(s, layer, experts, n);
        note_present(s, after);
        uint64_t present = 0;
        double most_gone = 0, least_kept = INFINITY;
        for (int pair = 0; pair < PAIRS; pair++) {
            present += after[pair];
            if (before[pair] && !after[pair])
                most_gone = fmax(most_gone, count[pair]);
            else if (before[pair] && pair / EXPERTS != layer)
                least_kept = fmin(least_kept, count[pair]);
        }
        assert_true(most_gone <= least_kept + 1e-4);
        umbra_store_stats stats = stats_of(s);
        assert_int_equal(stats.hits, hits);
        assert_int_equal(stats.misses, misses);
        assert_int_equal(stats.evictions, misses - present);
    }
    assert_true(hits > 100 && stats_of(s).evictions > 100);
    umbra_store_close(&s);
}

/* Scans of all layers with all experts, as long prompts are, find again what fits. */
static void test_scans_keep_what_fits(void **state)
{
    (void)state;
    enum { SLOTS = 20 };
    umbra_store *s = open_faulty(SLOTS, 5);
    int experts[EXPERTS];
    for (int i = 0; i < EXPERTS; i++)
        experts[i] = i;
    for (int scan = 0; scan < 20; scan++)
        for (int layer = 0; layer < 2; layer++)
            good_batch_of(s, &(umbra_batch){.kind = UMBRA_BATCH_PROMPT,
                                            .layer = layer,
                                            .experts = experts,
                                            .n = EXPERTS});
    umbra_store_stats stats = stats_of(s);
    /* Of 24 a scan; the order in which reads arrive costs some. By recency there would be none. */
    assert_true(stats.hits > 19 * SLOTS / 2);
    umbra_store_close(&s);
}

static void test_reads_begin_before_hits_are_handed_out(void **state)
{
    (void)state;
    umbra_store *s = open_faulty(8, 32);
    const int first[] = {1, 2}, both[] = {3, 1, 4, 2};
    good_batch(s, 0, first, 2);
    test_fault.submitted = 0;
    assert_int_equal(begin_batch(s, 0, both, 4, NULL), 0);
    assert_int_equal(test_fault.submitted, 2 * UMBRA_STORE_SLICES);
    umbra_lease leases[4];
    assert_int_equal(umbra_store_next(s, leases, 1, NULL), 1);
    assert_int_equal(leases[0].expert, 1);
    assert_int_equal(umbra_store_next(s, leases + 1, 1, NULL), 1);
    assert_int_equal(leases[1].expert, 2);
    for (int i = 2; i < 4; i++)
        assert_int_equal(umbra_store_next(s, leases + i, 1, NULL), 1);
    assert_int_equal(umbra_store_next(s, leases, 1, NULL), 0);
    assert_int_equal(umbra_store_next(s, leases, 1, NULL), 0);
    umbra_store_close(&s); /* with leases out */
}

static void test_depth_and_reluctant_backend(void **state)
{
    (void)state;
    static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    for (int depth = 1; depth <= 9; depth += 2) {
        umbra_store *s = open_faulty(4, depth);
        test_fault.take_at_most = depth > 4 ? 1 : 0;
        good_batch(s, 4, all, EXPERTS);
        good_batch(s, 1, all, EXPERTS);
        assert_in_range(test_fault.most_in_flight, 1, depth);
        assert_int_equal(stats_of(s).reads, 2 * EXPERTS * UMBRA_STORE_SLICES);
        umbra_store_close(&s);
    }
}

/* A lease may outlive its batch; its slot stays. */
static void test_lease_held_across_batches(void **state)
{
    (void)state;
    static const int one[] = {5}, many[] = {0, 1, 2, 3, 4, 6, 7};
    umbra_store *s = open_faulty(3, 32);
    umbra_lease lease, again;
    assert_int_equal(begin_batch(s, 1, one, 1, NULL), 0);
    assert_int_equal(umbra_store_next(s, &lease, 1, NULL), 1);
    assert_int_equal(umbra_store_next(s, &lease, 1, NULL), 0);
    uint64_t seed = 6;
    for (int i = 0; i < 7; i++)
        assert_int_equal(run_batch(s, &on_disk, 4, many + i, 1, 1, &seed, NULL), 0);
    check_lease(&on_disk, 1, &lease, false);
    assert_int_equal(begin_batch(s, 1, one, 1, NULL), 0);
    assert_int_equal(umbra_store_next(s, &again, 1, NULL), 1);
    assert_ptr_equal(again.slice[0], lease.slice[0]);
    assert_int_equal(umbra_store_next(s, &again, 1, NULL), 0);
    umbra_store_release(s, &again);
    umbra_store_release(s, &lease);
    good_batch(s, 4, many, 7);
    assert_int_equal(stats_of(s).hits, 1 + 2); /* two of the seven were still there */
    umbra_store_close(&s);
}

/* ---- lent to who does not drive ---- */

static void test_lent_slots_stay(void **state)
{
    (void)state;
    static const int there[] = {0, 5, 1}, many[] = {0, 1, 2, 3, 4, 6, 7};
    umbra_store *s = open_faulty(3, 32);
    umbra_lease leases[3];
    good_batch(s, 1, there, 3);
    umbra_store_stats before = stats_of(s);
    assert_int_equal(umbra_store_lend(s, 1, there, 2, leases), 2);
    uint64_t seed = 6;
    for (int i = 0; i < 7; i++)
        assert_int_equal(run_batch(s, &on_disk, 4, many + i, 1, 1, &seed, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(leases[i].index, i);
        check_lease(&on_disk, 1, &leases[i], false);
        umbra_store_take_back(s, &leases[i]);
    }
    assert_int_equal(umbra_store_lend(s, 1, there, 3, leases), 2); /* the third had to go */
    umbra_store_take_back(s, &leases[0]);
    umbra_store_take_back(s, &leases[1]);
    assert_int_equal(stats_of(s).hits, before.hits);
    good_batch(s, 4, many, 7);
    umbra_store_close(&s);
}

/* Takes back all that is lent once nothing more is to be had. */
static void *take_back(void *store)
{
    static const int all[] = {0, 1, 2};
    umbra_lease leases[3], more;
    assert_int_equal(umbra_store_lend(store, 1, all, 3, leases), 3);
    pthread_barrier_wait(&lent);
    while (umbra_store_lend(store, 1, all, 1, &more) == 1) {
        umbra_store_take_back(store, &more);
        sched_yield();
    }
    for (int i = 0; i < 3; i++) {
        check_lease(&on_disk, 1, &leases[i], false);
        umbra_store_take_back(store, &leases[i]);
    }
    return NULL;
}

/* Who needs a slot gets the next that comes back, and no more are lent until then. */
static void test_demands_go_before_loans(void **state)
{
    (void)state;
    static const int all[] = {0, 1, 2};
    umbra_store *s = open_faulty(3, 32);
    pthread_t thread;
    good_batch(s, 1, all, 3);
    pthread_barrier_init(&lent, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, take_back, s), 0);
    pthread_barrier_wait(&lent);
    good_batch(s, 4, all, 3);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&lent);
    umbra_lease lease;
    assert_int_equal(umbra_store_lend(s, 4, all, 1, &lease), 1);
    umbra_store_take_back(s, &lease);
    umbra_store_close(&s);
}

/* ---- opening ---- */

static void expect_refusal(const umbra_store_options *o, int status, const char *part)
{
    umbra_store *s = (umbra_store *)(uintptr_t)8;
    umbra_error err = {0};
    assert_int_equal(umbra_store_open(&s, o, &err), status);
    assert_null(s);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void test_budget_too_small(void **state)
{
    (void)state;
    umbra_store_options o = on_disk.options;
    uint64_t least = slot_bytes_of(&on_disk, false);
    char number[32];
    snprintf(number, sizeof number, "%" PRIu64 "; give at least", least);
    o.budget_bytes = least - 1;
    expect_refusal(&o, UMBRA_E_BUDGET, number);
    o.budget_bytes = 0;
    expect_refusal(&o, UMBRA_E_BUDGET, number);
    o.budget_bytes = least;
    umbra_store *s;
    assert_int_equal(umbra_store_open(&s, &o, NULL), 0);
    assert_int_equal(stats_of(s).slots, 1);
    umbra_store_close(&s);
    umbra_store_close(&s);
}

static void test_more_than_enough_is_not_used(void **state)
{
    (void)state;
    umbra_store_options o = on_disk.options;
    o.budget_bytes = (uint64_t)1 << 60;
    umbra_store *s;
    assert_int_equal(umbra_store_open(&s, &o, NULL), 0);
    assert_int_equal(stats_of(s).slots, USED);
    umbra_store_close(&s);
}

static void test_bad_options(void **state)
{
    (void)state;
    umbra_store_options good = on_disk.options;
    good.budget_bytes = 1 << 20;
    umbra_store_options o = good;
    o.n_paths = 0;
    expect_refusal(&o, UMBRA_E_ARGUMENT, "at least one file");
    o = good;
    o.n_experts = 65536;
    expect_refusal(&o, UMBRA_E_ARGUMENT, "65535");
    o = good;
    o.io = "tape";
    expect_refusal(&o, UMBRA_E_ARGUMENT, "tape");
    o = good;
    o.io_depth = 1025;
    expect_refusal(&o, UMBRA_E_ARGUMENT, "1025");
    o.io_depth = -1;
    expect_refusal(&o, UMBRA_E_ARGUMENT, "-1");
    const char *missing[] = {on_disk.path[0], "/no/such/file"};
    o = good;
    o.paths = missing;
    expect_refusal(&o, UMBRA_E_IO, "/no/such/file");
    o = good;
    o.n_paths = 1;
    expect_refusal(&o, UMBRA_E_ARGUMENT, "there are 1 files");

    umbra_slice slices[6] = {{.offset = 5, .bytes = FILE_BYTES}};
    o = good;
    o.slices = slices;
    o.n_layers = 1;
    o.n_experts = 2;
    expect_refusal(&o, UMBRA_E_FORMAT, "cut short");
    slices[0] = (umbra_slice){.offset = UINT64_MAX - 1, .bytes = 100};
    expect_refusal(&o, UMBRA_E_FORMAT, "cut short");
    slices[0] = (umbra_slice){0};
    expect_refusal(&o, UMBRA_E_ARGUMENT, "no layer has experts");
}

static void test_out_of_memory(void **state)
{
    (void)state;
    umbra_store_options o = on_disk.options;
    o.budget_bytes = 1 << 20;
    const umbra_io_ops *backends[] = {&umbra_io_threads, &umbra_io_uring};
    for (int i = 0; i < (test_uring_works() ? 2 : 1); i++) {
        int failures = 0;
        for (;; failures++) {
            umbra_store *s;
            int rc, tries = 0;
            do {
                umbra_memory_fail_after(failures + 1);
                rc = umbra_store_open_with(&s, &o, backends[i], NULL, NULL);
                umbra_memory_fail_after(0);
            } while (test_try_again(rc, &tries));
            if (rc == UMBRA_OK) {
                umbra_store_close(&s);
                break;
            }
            assert_int_equal(rc, UMBRA_E_NOMEM);
            assert_null(s);
            assert_true(failures < 50);
        }
        assert_true(failures >= 15);
    }
}

static void test_slot_bytes(void **state)
{
    (void)state;
    umbra_slice s[12] = {
        {.offset = 4000, .bytes = 200},  {.offset = 0, .bytes = 64}, {.offset = 7, .bytes = 0},
        {.offset = 4096, .bytes = 4096}, {.offset = 1, .bytes = 65}, {.offset = 7, .bytes = 0},
    };
    assert_int_equal(umbra_store_slot_bytes(s, 1, 2, 1), 4096 + 128);
    assert_int_equal(umbra_store_slot_bytes(s, 2, 1, 512), 4096 + 512);
    assert_int_equal(umbra_store_slot_bytes(s, 1, 2, 4096), 8192 + 4096);
    assert_int_equal(umbra_store_slot_bytes(s + 6, 1, 2, 4096), 0);
}

static void test_alignment(void **state)
{
    (void)state;
    uint32_t a = 0;
    umbra_error err = {0};
    assert_int_equal(umbra_store_alignment(on_disk.path[0], true, &a, NULL), 0);
    assert_int_equal(a, 1);
    assert_int_equal(umbra_store_alignment(on_tmpfs.path[0], false, &a, NULL), 0);
    assert_int_equal(a, 1);
    assert_int_equal(umbra_store_alignment(on_disk.path[0], false, &a, NULL), 0);
    assert_true(a == 1 || (a >= 512 && a <= 4096 && (a & (a - 1)) == 0));
    print_message("alignment of direct reads here: %u\n", a);
    assert_int_equal(umbra_store_alignment("/no/such/file", false, &a, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "/no/such/file"));
}

/* ---- statistics from another thread ---- */

typedef struct watch {
    const umbra_store *store;
    atomic_bool stop;
    bool bad;
} watch;

static void *watch_stats(void *argument)
{
    watch *w = argument;
    while (!atomic_load(&w->stop)) {
        umbra_store_stats stats;
        umbra_store_get_stats(w->store, &stats);
        w->bad |= stats.resident_bytes > stats.budget_bytes;
    }
    return NULL;
}

static void test_stats_while_reading(void **state)
{
    (void)state;
    umbra_store *s = open_store(&on_disk, NULL, "threads", 5, 16, false);
    watch w = {.store = s};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, watch_stats, &w), 0);
    uint64_t seed = 42;
    for (int i = 0; i < 60; i++) {
        int experts[EXPERTS], layer = random_batch(&seed, experts, 8);
        good_batch(s, layer, experts, 8);
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    assert_false(w.bad);
    umbra_store_stats before = stats_of(s), after;
    assert_true(before.reads > 0 && before.wait_ns > 0);
    umbra_store_reset_stats(s);
    after = stats_of(s);
    assert_int_equal(after.reads + after.hits + after.misses + after.wait_ns, 0);
    assert_int_equal(after.resident_bytes_max, before.resident_bytes);
    assert_string_equal(after.io, "threads");
    umbra_store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents_threads),
        cmocka_unit_test(test_contents_uring),
        cmocka_unit_test(test_least_used_goes),
        cmocka_unit_test(test_scans_keep_what_fits),
        cmocka_unit_test(test_reads_begin_before_hits_are_handed_out),
        cmocka_unit_test(test_depth_and_reluctant_backend),
        cmocka_unit_test(test_lease_held_across_batches),
        cmocka_unit_test(test_lent_slots_stay),
        cmocka_unit_test(test_demands_go_before_loans),
        cmocka_unit_test(test_budget_too_small),
        cmocka_unit_test(test_more_than_enough_is_not_used),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_slot_bytes),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_stats_while_reading),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
