/* Whether reading ahead pays: the judge against made-up token times. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "ahead/judge.h"

/* A machine: times relative to a token without reading ahead. */
typedef struct machine {
    double on, off;       /* a token's time with and without */
    double waits;         /* share of a token's time without that is waited */
    double noise;         /* of every token: times 1 - noise to 1 + noise */
    double pauses, pause; /* share of tokens that take so many times as long */
    uint64_t seed;
    int rows;      /* of a step; 0: 1 */
    int change_at; /* after so many steps a sequence joins or leaves, in turns; 0: never */
} machine;

static double uniform(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (double)(*seed >> 11) * 0x1p-53;
}

/* n tokens; returns the share of them with reading ahead. */
static double course(umbra_judge *j, machine *m, int n)
{
    int on = 0;
    for (int i = 0; i < n; i++) {
        on += j->on;
        double seconds = j->on ? m->on : m->off;
        double waited = m->waits * m->off - (m->off - seconds);
        seconds *= 1 + m->noise * (2 * uniform(&m->seed) - 1);
        if (uniform(&m->seed) < m->pauses)
            seconds *= m->pause;
        int rows = m->rows ? m->rows : 1;
        if (m->change_at > 0)
            rows += i / m->change_at % 2;
        double scale = 0.01 * (1 + 0.3 * (rows - 1)); /* rows share what is read */
        umbra_judge_step(j, rows, seconds * scale, (waited > 0 ? waited : 0) * scale, 0);
    }
    return (double)on / n;
}

static void test_on_where_it_gains(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        umbra_judge j;
        umbra_judge_init(&j);
        machine m = {.on = 0.8, .off = 1, .waits = 0.4, .noise = 0.1, .seed = seed};
        course(&j, &m, 100);
        assert_true(course(&j, &m, 2000) > 0.95);
    }
}

static void test_off_where_it_loses(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        umbra_judge j;
        umbra_judge_init(&j);
        machine m = {.on = 1.05, .off = 1, .waits = 0.4, .noise = 0.02, .seed = seed};
        course(&j, &m, 100);
        assert_true(course(&j, &m, 2000) < 0.06);
    }
}

/* However the times of tokens scatter, what judging costs is bounded: a wrong verdict does not
 * stay, and looking at the worse of the two takes a small share of the tokens. */
static void test_what_judging_costs(void **state)
{
    (void)state;
    static const double ons[] = {0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.5};
    for (size_t i = 0; i < sizeof ons / sizeof ons[0]; i++) {
        double total = 0;
        for (uint64_t seed = 1; seed <= 50; seed++) {
            umbra_judge j;
            umbra_judge_init(&j);
            machine m = {.on = ons[i], .off = 1, .waits = 0.5, .noise = 0.3, .seed = seed * 77};
            total += course(&j, &m, 3000) / 50;
        }
        double best = ons[i] < 1 ? ons[i] : 1, mean = total * ons[i] + 1 - total;
        if (mean > 1.02 * best)
            fail_msg("with %.2f of the time: on for %.3f of the tokens", ons[i], total);
    }
}

/* A text of 64 tokens: trials that lose cost little of it, and what gains is used for most of it.
 */
static void test_short_texts(void **state)
{
    (void)state;
    static const struct {
        double on, at_most;
    } cases[] = {{0.7, 0.8}, {0.85, 0.91}, {1, 1}, {1.1, 1.02}, {1.2, 1.025}, {1.5, 1.035}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double total = 0;
        for (uint64_t seed = 1; seed <= 200; seed++) {
            umbra_judge j;
            umbra_judge_init(&j);
            machine m = {
                .on = cases[i].on, .off = 1, .waits = 0.5, .noise = 0.15, .seed = seed * 77};
            total += course(&j, &m, 64) / 200;
        }
        double mean = total * cases[i].on + 1 - total;
        if (mean > cases[i].at_most + 1e-9)
            fail_msg("with %.2f of the time: %.3f", cases[i].on, mean);
    }
}

static void test_nothing_is_tried_where_nothing_is_waited_for(void **state)
{
    (void)state;
    umbra_judge j;
    umbra_judge_init(&j);
    machine m = {.on = 1.1, .off = 1, .waits = 0.005, .noise = 0.2, .seed = 3};
    assert_true(course(&j, &m, 3000) == 0);
    /* When waits come, it is tried soon. */
    m = (machine){.on = 0.7, .off = 1, .waits = 0.5, .noise = 0.1, .seed = 4};
    course(&j, &m, 120);
    assert_true(course(&j, &m, 1000) > 0.9);
}

/* From gain to loss and back: the verdict follows within about 2000 tokens. */
static void test_conditions_change(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        umbra_judge j;
        umbra_judge_init(&j);
        machine gains = {.on = 0.8, .off = 1, .waits = 0.4, .noise = 0.1, .seed = seed};
        machine loses = {.on = 0.65, .off = 0.6, .waits = 0.2, .noise = 0.1, .seed = seed};
        machine slow = {.on = 2, .off = 3, .waits = 0.5, .noise = 0.1, .seed = seed};
        course(&j, &gains, 3000);
        course(&j, &loses, 2400);
        assert_true(course(&j, &loses, 2000) < 0.1);
        course(&j, &gains, 2400);
        assert_true(course(&j, &gains, 2000) > 0.9);
        course(&j, &slow, 2400);
        assert_true(course(&j, &slow, 2000) > 0.9);
    }
}

/* The model came to fit: what is waited for no more needs no reading ahead. */
static void test_waits_end(void **state)
{
    (void)state;
    umbra_judge j;
    umbra_judge_init(&j);
    machine m = {.on = 0.8, .off = 1, .waits = 0.4, .noise = 0.05, .seed = 5};
    course(&j, &m, 3000);
    m = (machine){.on = 0.62, .off = 0.6, .waits = 0.001, .noise = 0.05, .seed = 5};
    course(&j, &m, 2400);
    assert_true(course(&j, &m, 2000) < 0.05);
}

/* A pause of the machine's falls on every place of the first comparison in turn, and later on one
 * token in fifty. */
static void test_pauses_do_not_fool_it(void **state)
{
    (void)state;
    static const double ons[] = {0.8, 1.08}, pauses[] = {5, 100};
    for (int c = 0; c < 4; c++) {
        for (int at = 0; at < 40; at++) {
            umbra_judge j;
            umbra_judge_init(&j);
            machine m = {.on = ons[c % 2], .off = 1, .waits = 0.4, .noise = 0.02, .seed = 9};
            course(&j, &m, at);
            machine pause = m;
            pause.pauses = 1;
            pause.pause = pauses[c / 2];
            course(&j, &pause, 1);
            course(&j, &m, 60);
            double on = course(&j, &m, 1000);
            if (m.on < 1 ? on < 0.85 : on > 0.15)
                fail_msg("on for %.2f of the tokens at %.2f of the time, pause of %.0f at token %d",
                         on, m.on, pause.pause, at);
        }
    }
    for (uint64_t seed = 1; seed <= 10; seed++) {
        for (int c = 0; c < 2; c++) {
            umbra_judge j;
            umbra_judge_init(&j);
            machine m = {.on = ons[c],
                         .off = 1,
                         .waits = 0.4,
                         .noise = 0.05,
                         .seed = seed,
                         .pauses = 0.02,
                         .pause = 20};
            double on = course(&j, &m, 6000);
            assert_true(m.on < 1 ? on > 0.85 : on < 0.15);
        }
    }
}

/* Waits that fall on few tokens count by what they take, not by how many they are. */
static void test_seldom_waits(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        umbra_judge j;
        umbra_judge_init(&j);
        uint64_t random = seed;
        int on = 0;
        for (int i = 0; i < 6000; i++) {
            bool stall = uniform(&random) < (j.on ? 0.1 : 0.4);
            on += j.on;
            umbra_judge_step(&j, 1, stall ? 0.03 : 0.0105, stall ? 0.02 : 0, 0);
        }
        assert_true(on > 6000 * 0.85);
    }
}

/* Sequences join and leave: steps of other sizes take other times, which say nothing of reading
 * ahead. */
static void test_sizes_are_not_compared(void **state)
{
    (void)state;
    static const double ons[] = {0.85, 1.08};
    static const int changes[] = {30, 77, 300};
    for (int c = 0; c < 6; c++) {
        for (uint64_t seed = 1; seed <= 10; seed++) {
            umbra_judge j;
            umbra_judge_init(&j);
            machine m = {.on = ons[c % 2],
                         .off = 1,
                         .waits = 0.4,
                         .noise = 0.02,
                         .seed = seed,
                         .rows = 1 + c,
                         .change_at = changes[c / 2]};
            course(&j, &m, 600);
            double on = course(&j, &m, 6000);
            if (m.on < 1 ? on < 0.8 : on > 0.2)
                fail_msg("on for %.2f of the steps at %.2f of the time, changes every %d", on, m.on,
                         m.change_at);
            assert_true(j.spread < 0.01); /* of 1 to 1.3 in time nothing came in */
        }
    }
}

/* Where no run comes to its end before the size changes, nothing is decided, and nothing breaks. */
static void test_sizes_change_all_the_time(void **state)
{
    (void)state;
    umbra_judge j;
    umbra_judge_init(&j);
    machine m = {.on = 0.8, .off = 1, .waits = 0.4, .noise = 0.05, .seed = 3, .change_at = 5};
    course(&j, &m, 2000);
    assert_int_equal(j.pairs, 0);
    assert_false(j.better);
    m.change_at = 0; /* they stay: it is judged as from the beginning */
    course(&j, &m, 100);
    assert_true(course(&j, &m, 2000) > 0.9);
}

/* A verdict outlives a change of size, and is looked at soon: what gained for one may lose for
 * eight. */
static void test_verdict_is_looked_at_again(void **state)
{
    (void)state;
    umbra_judge j;
    umbra_judge_init(&j);
    machine one = {.on = 0.8, .off = 1, .waits = 0.4, .noise = 0.02, .seed = 3};
    machine eight = {.on = 1.15, .off = 1, .waits = 0.4, .noise = 0.02, .seed = 4, .rows = 8};
    course(&j, &one, 6000);
    assert_true(j.on && j.stay > 200);
    course(&j, &eight, 1);
    assert_true(j.on);
    assert_true(j.stay <= 128 && j.left <= 128);
    course(&j, &eight, 2400);
    assert_true(course(&j, &eight, 2000) < 0.1);
}

/* Times that are no times: nothing breaks, and it goes on to judge. */
static void test_odd_times(void **state)
{
    (void)state;
    umbra_judge j;
    umbra_judge_init(&j);
    for (int i = 0; i < 500; i++)
        umbra_judge_step(&j, 1, 0, 0, 0);
    machine m = {.on = 0.7, .off = 1, .waits = 0.4, .noise = 0.1, .seed = 8};
    course(&j, &m, 3000);
    assert_true(course(&j, &m, 1000) > 0.9);
    assert_true(isfinite(j.cost) && isfinite(j.waiting));
}

/* A machine in which each needed expert adds a sixtieth to a step, and needs fall
 * to a `first`-th while the cache fills. With reading ahead a step needs `excess` times as many and
 * takes `cost` times as long as one without that needs so many, whereof a part is waited. */
typedef struct filling {
    double first, excess, cost;
    uint64_t seed;
    int steps; /* so far */
} filling;

/* n steps; returns the share of them with reading ahead. */
static double course_of_filling(umbra_judge *j, filling *f, int n)
{
    int on = 0;
    for (int i = 0; i < n; i++) {
        double fills = 1 + (f->first - 1) * exp(-f->steps++ / 20.0);
        double needed = 30 * fills * (0.7 + 0.6 * uniform(&f->seed)) * (j->on ? f->excess : 1);
        double waited = 1e-4 * needed, seconds = (0.006 + waited) * (j->on ? f->cost : 1);
        on += j->on;
        umbra_judge_step(j, 1, seconds, j->on ? waited / 5 : waited, needed);
    }
    return (double)on / n;
}

/* While a cache fills, steps get faster whether anything is read ahead or not. */
static void test_a_cache_that_fills_is_no_gain(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        umbra_judge j;
        umbra_judge_init(&j);
        filling loses = {.first = 4, .excess = 1, .cost = 1.03, .seed = seed * 1001};
        course_of_filling(&j, &loses, 100);
        assert_true(j.pairs > 1);
        assert_false(j.better);
        umbra_judge_init(&j);
        filling gains = {.first = 4, .excess = 1, .cost = 0.85, .seed = seed * 1001};
        course_of_filling(&j, &gains, 100);
        assert_true(j.better);
    }
}

/* What is evicted for guesses makes steps need more, and that is a cost. */
static void test_evictions_stay_a_cost(void **state)
{
    (void)state;
    double on = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        umbra_judge j;
        umbra_judge_init(&j);
        filling evicts = {.first = 1, .excess = 1.25, .cost = 0.94, .seed = seed * 1001};
        course_of_filling(&j, &evicts, 8000);
        on += course_of_filling(&j, &evicts, 8000) / 20;
    }
    assert_true(on < 0.2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_where_it_gains),
        cmocka_unit_test(test_off_where_it_loses),
        cmocka_unit_test(test_what_judging_costs),
        cmocka_unit_test(test_short_texts),
        cmocka_unit_test(test_nothing_is_tried_where_nothing_is_waited_for),
        cmocka_unit_test(test_conditions_change),
        cmocka_unit_test(test_waits_end),
        cmocka_unit_test(test_pauses_do_not_fool_it),
        cmocka_unit_test(test_seldom_waits),
        cmocka_unit_test(test_sizes_are_not_compared),
        cmocka_unit_test(test_sizes_change_all_the_time),
        cmocka_unit_test(test_verdict_is_looked_at_again),
        cmocka_unit_test(test_odd_times),
        cmocka_unit_test(test_a_cache_that_fills_is_no_gain),
        cmocka_unit_test(test_evictions_stay_a_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
