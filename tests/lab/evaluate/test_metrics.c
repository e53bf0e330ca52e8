/* Recall, calibration and scaling against brute force. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/evaluate/evaluation.h"
#include "predict/predictor.h"

enum { E = 40, K = 5, POSITIONS = 200 };

/* Positions with coarse scores, so that ties are common. */
typedef struct game {
    float scores[POSITIONS][E];
    uint16_t used[POSITIONS][K];
    float p[POSITIONS][E];
} game;

static game *play(void)
{
    static game g;
    umbra_random random;
    umbra_random_seed(&random, 5);
    for (int i = 0; i < POSITIONS; i++) {
        bool taken[E] = {false};
        for (int j = 0; j < K; j++) {
            do
                g.used[i][j] = (uint16_t)umbra_random_below(&random, E);
            while (taken[g.used[i][j]]);
            taken[g.used[i][j]] = true;
        }
        for (int e = 0; e < E; e++) {
            g.scores[i][e] = (float)((int)umbra_random_below(&random, 12) + (taken[e] ? 5 : 0));
            g.p[i][e] = (float)umbra_random_unit(&random);
        }
    }
    return &g;
}

static uint64_t *open_tally(umbra_tally *t)
{
    *t = (umbra_tally){0};
    uint64_t *counts = umbra_eval_histograms(t, 1, E);
    assert_non_null(counts);
    return counts;
}

static bool holds(const uint16_t *list, int n, uint16_t expert)
{
    for (int i = 0; i < n; i++)
        if (list[i] == expert)
            return true;
    return false;
}

/* Recall, all-k and top-m for every m against lists of the experts ranked first. */
static void ranks_match_brute_force(void **state)
{
    (void)state;
    game *g = play();
    umbra_tally t;
    uint64_t *counts = open_tally(&t);
    uint16_t ranks[K];
    for (int i = 0; i < POSITIONS; i++) {
        umbra_tally_rank(g->scores[i], E, g->used[i], K, ranks);
        umbra_tally_add(&t, ranks, K);
    }
    for (int m = 1; m <= E; m++) {
        int hits = 0, all = 0, first = 0;
        for (int i = 0; i < POSITIONS; i++) {
            uint16_t best[E];
            int here = 0;
            umbra_predict_top(g->scores[i], E, m, best);
            for (int j = 0; j < K; j++)
                here += holds(best, m, g->used[i][j]);
            hits += here;
            all += here == K;
            first += holds(best, m, g->used[i][0]);
        }
        assert_float_equal(umbra_tally_recall(&t, K, m), hits / (double)(POSITIONS * K), 1e-12);
        assert_float_equal(umbra_tally_all(&t, m), all / (double)POSITIONS, 1e-12);
        assert_float_equal(umbra_tally_top(&t, m), first / (double)POSITIONS, 1e-12);
        assert_int_equal(umbra_tally_hits(&t, m), hits);
    }
    umbra_free(counts);
}

static void forecasts_match_brute_force(void **state)
{
    (void)state;
    game *g = play();
    umbra_tally t;
    uint64_t *counts = open_tally(&t);
    double nll = 0, stated[UMBRA_TALLY_BINS] = {0}, came[UMBRA_TALLY_BINS] = {0};
    for (int i = 0; i < POSITIONS; i++) {
        umbra_tally_forecast(&t, g->p[i], E, g->used[i], K);
        for (int e = 0; e < E; e++) {
            bool used = holds(g->used[i], K, (uint16_t)e);
            double p = (double)g->p[i][e];
            p = p < 1e-6 ? 1e-6 : p > 1 - 1e-6 ? 1 - 1e-6 : p;
            nll -= log(used ? p : 1 - p);
            int bin = (int)floor(p * 15);
            stated[bin] += p;
            came[bin] += used;
        }
    }
    double ece = 0;
    for (int b = 0; b < UMBRA_TALLY_BINS; b++)
        ece += fabs(stated[b] - came[b]) / (POSITIONS * E);
    assert_float_equal(umbra_tally_nll(&t), nll / (POSITIONS * E), 1e-9);
    assert_float_equal(umbra_tally_ece(&t), ece, 1e-9);
    umbra_free(counts);
}

/* Probabilities of 0, 1 and none at all cost much, but not everything. */
static void sure_and_broken_forecasts_stay_finite(void **state)
{
    (void)state;
    umbra_tally t;
    uint64_t *counts = open_tally(&t);
    float p[E];
    uint16_t used[K] = {0, 1, 2, 3, 39}, ranks[K];
    for (int e = 0; e < E; e++)
        p[e] = e % 3 == 0 ? 0 : e % 3 == 1 ? 1 : NAN;
    umbra_tally_forecast(&t, p, E, used, K);
    assert_true(isfinite(umbra_tally_nll(&t)));
    assert_true(isfinite(umbra_tally_ece(&t)));
    uint64_t in_bins = 0;
    for (int b = 0; b < UMBRA_TALLY_BINS; b++)
        in_bins += t.bins[b].count;
    assert_int_equal(in_bins, E);
    /* Scores that are not numbers rank behind all others. */
    umbra_tally_rank(p, E, used, K, ranks);
    assert_int_equal(ranks[2], 27); /* expert 2, the first of 13 without a number */
    umbra_free(counts);
}

static void nothing_counted_is_no_number(void **state)
{
    (void)state;
    umbra_tally t;
    uint64_t *counts = open_tally(&t);
    assert_true(isnan(umbra_tally_recall(&t, K, K)));
    assert_true(isnan(umbra_tally_all(&t, K)));
    assert_true(isnan(umbra_tally_top(&t, 1)));
    assert_true(isnan(umbra_tally_nll(&t)));
    assert_true(isnan(umbra_tally_ece(&t)));
    umbra_free(counts);
}

/* Outcomes drawn from a known sigmoid give its slope and offset back. */
static void platt_finds_the_sigmoid(void **state)
{
    (void)state;
    enum { N = 60000 };
    static float z[N];
    static uint8_t outcome[N];
    static const double cases[][4] = {
        /* slope, offset, mean and spread of z */
        {1, 0, 0, 2}, {0.4, -2, 3, 5}, {25, -10, 0.3, 0.2}, {-1.5, 1, 0, 1}, {1e-3, -3, 1000, 900},
    };
    umbra_random random;
    umbra_random_seed(&random, 11);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        for (int i = 0; i < N; i++) {
            double x = cases[c][2] + cases[c][3] * umbra_random_normal(&random);
            double p = 1 / (1 + exp(-(cases[c][0] * x + cases[c][1])));
            z[i] = (float)x;
            outcome[i] = umbra_random_unit(&random) < p;
        }
        float slope, offset;
        umbra_platt_fit(z, outcome, N, &slope, &offset);
        assert_float_equal(slope / cases[c][0], 1, 0.08);
        assert_float_equal(offset, cases[c][1], 0.06 * (1 + fabs(cases[c][1])));
    }
}

static void platt_without_a_signal_gives_the_base_rate(void **state)
{
    (void)state;
    float z[100], slope = 9, offset = 9;
    uint8_t outcome[100];
    for (int i = 0; i < 100; i++) {
        z[i] = 4;
        outcome[i] = i < 20;
    }
    umbra_platt_fit(z, outcome, 100, &slope, &offset);
    assert_float_equal(slope, 0, 0);
    assert_float_equal(1 / (1 + exp(-(double)offset)), 0.2, 0.01);
    umbra_platt_fit(z, outcome, 0, &slope, &offset);
    assert_true(isfinite(slope) && isfinite(offset));
    /* Perfectly separable: the smoothed targets keep it finite. */
    for (int i = 0; i < 100; i++)
        z[i] = i < 20 ? 1 : 0;
    umbra_platt_fit(z, outcome, 100, &slope, &offset);
    assert_true(isfinite(slope) && isfinite(offset) && slope > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_match_brute_force),
        cmocka_unit_test(forecasts_match_brute_force),
        cmocka_unit_test(sure_and_broken_forecasts_stay_finite),
        cmocka_unit_test(nothing_counted_is_no_number),
        cmocka_unit_test(platt_finds_the_sigmoid),
        cmocka_unit_test(platt_without_a_signal_gives_the_base_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
