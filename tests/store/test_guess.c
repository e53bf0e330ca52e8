/* The figures behind a guess: what the disk takes, how batches follow each other, what a read ahead
 * is worth. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdbool.h>

#include "store/guess.h"

static double uniform(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (double)(*seed >> 11) * 0x1p-53;
}

static void check_model(const umbra_disk_model *m)
{
    if (!isfinite(m->latency_ns) || !isfinite(m->ns_per_byte) || m->latency_ns < 0 ||
        m->ns_per_byte <= 0)
        fail_msg("latency %g, %g per byte", m->latency_ns, m->ns_per_byte);
}

static void assert_near(double is, double should, double within)
{
    if (fabs(is - should) > within * should)
        fail_msg("%g is not near %g", is, should);
}

/* ---- the disk ---- */

static void test_disk_is_recovered(void **state)
{
    (void)state;
    static const double latencies[] = {10e3, 100e3, 2e6}, rates[] = {0.1, 1, 10};
    for (int i = 0; i < 9; i++) {
        double latency = latencies[i % 3], per_byte = 1 / rates[i / 3];
        uint64_t seed = 7;
        umbra_disk_model m;
        umbra_disk_model_init(&m);
        check_model(&m);
        for (int n = 0; n < 20000; n++) {
            double bytes = 20e3 * (1 + floor(40 * uniform(&seed)));
            double ns = (latency + per_byte * bytes) * (0.8 + 0.4 * uniform(&seed));
            umbra_disk_model_add(&m, bytes, ns);
            check_model(&m);
        }
        assert_near(m.latency_ns + m.ns_per_byte * 400e3, latency + per_byte * 400e3, 0.05);
        assert_near(m.ns_per_byte, per_byte, latency > 10 * per_byte * 400e3 ? 1 : 0.15);
    }
}

/* Reads of one length say nothing of the rate, so nothing new is made up about it, and what they
 * take is still met. */
static void test_reads_of_one_length(void **state)
{
    (void)state;
    uint64_t seed = 5;
    umbra_disk_model m;
    umbra_disk_model_init(&m);
    for (int n = 0; n < 3000; n++) {
        double bytes = 20e3 * (1 + floor(10 * uniform(&seed)));
        umbra_disk_model_add(&m, bytes, 200e3 + 2 * bytes);
    }
    for (int n = 0; n < 60000; n++) {
        umbra_disk_model_add(&m, 52224, (200e3 + 2 * 52224) * (0.9 + 0.2 * uniform(&seed)));
        check_model(&m);
    }
    assert_near(m.ns_per_byte, 2, 0.3);
    assert_near(m.latency_ns, 200e3, 0.3);
    /* All alike to the last bit: what is left of the spread is rounding. */
    for (int n = 0; n < 60000; n++) {
        umbra_disk_model_add(&m, 52224, 104448);
        check_model(&m);
    }
    assert_near(m.latency_ns + m.ns_per_byte * 52224, 104448, 0.01);
}

static void test_extreme_reads(void **state)
{
    (void)state;
    static const double bytes[] = {1, 512, 52224, 1e9, 4e9}, ns[] = {0, 1, 1e3, 1e9, 1e13};
    uint64_t seed = 3;
    for (int i = 0; i < 25; i++) {
        umbra_disk_model m;
        umbra_disk_model_init(&m);
        for (int n = 0; n < 20000; n++) {
            bool odd = n % 100 == 99;
            umbra_disk_model_add(&m, odd ? 1e5 * uniform(&seed) : bytes[i % 5],
                                 odd ? 1e6 * uniform(&seed) : ns[i / 5]);
            check_model(&m);
        }
    }
}

/* ---- the timing of batches ---- */

static void test_batch_timing(void **state)
{
    (void)state;
    umbra_batch_timing t = {0};
    uint64_t now = 1000;
    for (int i = 0; i < 500; i++, now += 500000) {
        umbra_batch_timing_begin(&t, now);
        umbra_batch_timing_misses(&t, i % 2);
    }
    assert_near(t.interval_ns, 500e3, 0.001);
    assert_near(t.misses, 0.5, 0.1);
    /* A pause between two texts moves it by less than half of itself, and is soon forgotten. */
    now += UINT64_C(3600000000000);
    umbra_batch_timing_begin(&t, now);
    assert_true(t.interval_ns < 1.5 * 500e3);
    for (int i = 0; i < 100; i++)
        umbra_batch_timing_begin(&t, now += 500000);
    assert_near(t.interval_ns, 500e3, 0.01);
    /* Clocks that stand still. */
    umbra_batch_timing_begin(&t, now);
    umbra_batch_timing_begin(&t, now);
    assert_true(isfinite(t.interval_ns) && t.interval_ns > 0);
}

static void check_costs(const umbra_read_costs *c)
{
    assert_true(c->next_ns >= 0 && c->queued_bytes >= 0);
    assert_true(isfinite(c->next_ns));
}

static void test_costs(void **state)
{
    (void)state;
    umbra_disk_model disk;
    umbra_disk_model_init(&disk);
    umbra_batch_timing t = {0};
    umbra_read_costs c;
    umbra_read_costs_init(&c, &t, &disk, 0, UINT64_C(1) << 62); /* before any batch */
    check_costs(&c);
    umbra_batch_timing_begin(&t, 1000);
    umbra_read_costs_init(&c, &t, &disk, 0, 1000);
    check_costs(&c);
    umbra_batch_timing_begin(&t, 101000);
    umbra_read_costs_init(&c, &t, &disk, 7, 151000);
    check_costs(&c);
    assert_near(c.next_ns, 50e3, 0.01);
    umbra_read_costs_init(&c, &t, &disk, 7, UINT64_C(1) << 40); /* long overdue */
    check_costs(&c);
    assert_true(c.next_ns == 0);
}

/* ---- the value ---- */

static const umbra_read_costs idle = {
    .latency_ns = 100e3, .ns_per_byte = 1, .next_ns = 500e3, .misses = 1};

static void test_value_of_certain_experts(void **state)
{
    (void)state;
    assert_true(umbra_guess_value(&idle, 1, 50e3, 500e3) > 0);
    assert_near(umbra_guess_value(&idle, 1, 50e3, 500e3), 150e3, 0.001); /* all that it costs */
    assert_true(umbra_guess_value(&idle, 0.2, 50e3, 500e3) < 0);         /* waste has its price */
    assert_true(umbra_guess_value(&idle, 0, 50e3, 500e3) <= 0);
    /* Where several are missed at once they share the latency. */
    umbra_read_costs several = idle;
    several.misses = 4;
    assert_true(umbra_guess_value(&several, 1, 50e3, 500e3) <
                umbra_guess_value(&idle, 1, 50e3, 500e3));
}

static void test_value_of_reads_that_delay(void **state)
{
    (void)state;
    umbra_read_costs c = idle;
    c.next_ns = 10e3; /* the next batch begins while it is transferred */
    assert_true(umbra_guess_value(&c, 0.3, 400e3, 600e3) < 0);
    assert_true(umbra_guess_value(&c, 0.3, 400e3, 600e3) <
                umbra_guess_value(&idle, 0.3, 400e3, 600e3));
    c = idle;
    c.queued_bytes = 10e6; /* lands long after it is due */
    assert_true(umbra_guess_value(&c, 1, 50e3, 500e3) <= 0);
}

/* More probable is worth more; what lands later, or takes more effort, is worth no more. */
static void test_value_is_monotonic(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int i = 0; i < 20000; i++) {
        umbra_read_costs c = {.latency_ns = 1e6 * uniform(&seed),
                              .ns_per_byte = 0.01 + 10 * uniform(&seed),
                              .queued_bytes = 1e6 * uniform(&seed),
                              .next_ns = 1e6 * uniform(&seed),
                              .misses = 8 * uniform(&seed)};
        double bytes = 1e5 * uniform(&seed), due_ns = c.next_ns + 1e6 * (double)(i % 3);
        double last = -INFINITY;
        bool worth = false;
        for (int p = 0; p <= 20; p++) {
            double value = umbra_guess_value(&c, p / 20.0, bytes, due_ns);
            assert_true(isfinite(value));
            assert_true(value >= last - 1e-6);
            assert_true(!worth || value > 0);
            worth = value > 0;
            last = value;
        }
        umbra_read_costs other = c;
        other.effort_ns += 1000;
        double value = fmax(0, umbra_guess_value(&c, 0.5, bytes, due_ns)); /* below: not read */
        assert_true(umbra_guess_value(&other, 0.5, bytes, due_ns) <= value + 1e-6);
        other = c;
        other.queued_bytes *= 2;
        assert_true(umbra_guess_value(&other, 0.5, bytes, due_ns) <= value + 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_is_recovered),
        cmocka_unit_test(test_reads_of_one_length),
        cmocka_unit_test(test_extreme_reads),
        cmocka_unit_test(test_batch_timing),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_value_of_certain_experts),
        cmocka_unit_test(test_value_of_reads_that_delay),
        cmocka_unit_test(test_value_is_monotonic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
