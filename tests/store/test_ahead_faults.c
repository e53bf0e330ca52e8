/* Reading ahead where forecasts make no sense, guesses fail, and forecasts come at any time. */
#include "ahead.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* Forecasts that are no forecasts cannot take a slot away from a demand. */
static void test_hostile_forecasts(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY, -1, 1e30f, 2};
    static const uint64_t steps[] = {1, 2, 3, UINT64_C(1) << 31, UINT64_C(1) << 40, UINT64_MAX / 2};
    for (int v = 0; v < 6; v++) {
        for (int d = 0; d < 6; d++) {
            umbra_store *s = open_ahead(2, 8);
            batch(s, 4, 8);
            warm_up(s, 1);
            float probability[EXPERTS];
            for (int e = 0; e < EXPERTS; e++)
                probability[e] = values[v];
            for (int l = 0; l < LAYERS; l++) /* one without experts, one with a missing one */
                (void)umbra_store_foretell(s, 0, l, 1, umbra_store_clock(s) + steps[d],
                                           probability);
            pass(s, MS);
            batch(s, 0, 4);
            batch(s, 0, 5);
            batch(s, 0, 6);
            batch(s, 4, 6);
            umbra_store_close(&s);
        }
    }
}

/* ---- failures ---- */

static void test_failing_guess(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(6, 8);
    warm_up(s, 1);
    const umbra_slice *bad = &slices_of(&on_disk, 1, 7)[2];
    test_fault.fail_errno = EIO;
    test_fault.fail_file = bad->file;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + bad->bytes;
    test_fault.fail_times = 1000;
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    pass(s, MS);
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(stats.ahead[2].reads, 1);
    assert_int_equal(stats.resident_bytes, stats.slot_bytes); /* it is forgotten */
    umbra_lease lease;
    umbra_error err = {0};
    int expert = 7;
    begin(s, 1, &expert, 1);
    assert_int_equal(stats_of(s).misses, 1);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "part 2 of expert 7 of layer 1"));
    assert_int_equal(err.offset, bad->offset);
    /* Demanded while it is read: reported by that batch, too. */
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    begin(s, 1, &expert, 1);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), UMBRA_E_IO);
    test_fault.fail_times = 0;
    batch(s, 1, 7);
    batch(s, 0, 1);
    umbra_store_close(&s);
}

/* One part of a guess fails, and while the others are still read its expert is demanded. */
static void test_guess_fails_before_its_demand(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(2, 8);
    warm_up(s, 1);
    const umbra_slice *bad = &slices_of(&on_disk, 1, 7)[0];
    test_fault.fail_errno = -1; /* not tried again */
    test_fault.fail_file = bad->file;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + bad->bytes;
    test_fault.fail_times = 1;
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK); /* submits */
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK); /* takes the failure */
    assert_int_equal(s->driver.in_flight, 2);
    batch(s, 1, 7);
    assert_int_equal(stats_of(s).late, 1);
    umbra_store_close(&s);
}

/* ---- forecasts from another thread ---- */

typedef struct seer {
    umbra_store *s;
    atomic_bool stop;
} seer;

static void *foresee(void *argument)
{
    seer *w = argument;
    uint64_t seed = 99;
    while (!atomic_load(&w->stop)) {
        float probability[EXPERTS];
        for (int e = 0; e < EXPERTS; e++)
            probability[e] = (float)test_below(&seed, 100) * 0.01f;
        (void)umbra_store_foretell(w->s, 0, (int)test_below(&seed, LAYERS),
                                   1 + (int)test_below(&seed, 4),
                                   umbra_store_clock(w->s) + test_below(&seed, 5), probability);
        umbra_store_stats stats;
        umbra_store_get_stats(w->s, &stats);
    }
    return NULL;
}

static void test_forecasts_from_another_thread(void **state)
{
    (void)state;
    static const char *const backends[] = {"threads", "uring", "sim:2G,20us"};
    for (int b = 0; b < 3; b++) {
        if (b == 1 && !test_uring_works())
            continue;
        umbra_store *s = open_store(&on_disk, NULL, backends[b], 9, 16, false);
        umbra_store_set_guessing(s, true);
        seer w = {.s = s};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, foresee, &w), 0);
        uint64_t seed = 17;
        for (int i = 0; i < 300; i++) {
            int experts[EXPERTS], layer = random_batch(&seed, experts, 5);
            umbra_error err = {0};
            begin(s, layer, experts, 5);
            umbra_lease leases[EXPERTS];
            int n;
            while ((n = umbra_store_next(s, leases, EXPERTS, &err)) > 0)
                for (int k = 0; k < n; k++) {
                    check_lease(&on_disk, layer, &leases[k], false);
                    umbra_store_release(s, &leases[k]);
                }
            if (n < 0)
                fail_msg("%s", err.message);
            for (int k = 0; k < 5; k++)
                assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
            if (i % 50 == 49)
                assert_int_equal(umbra_store_clear(s, NULL), UMBRA_OK);
            if (i % 37 == 36)
                umbra_store_set_guessing(s, i % 2);
        }
        atomic_store(&w.stop, true);
        pthread_join(thread, NULL);
        (void)stats_of(s);
        umbra_store_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_forecasts),
        cmocka_unit_test(test_failing_guess),
        cmocka_unit_test(test_guess_fails_before_its_demand),
        cmocka_unit_test(test_forecasts_from_another_thread),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
