/* Recall and calibration. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>

#include "base/memory.h"
#include "lab/train/measure.h"

static umbra_error err;

static umbra_histogram *new_histogram(void)
{
    umbra_histogram *h = umbra_calloc(1, sizeof *h);
    assert_non_null(h);
    return h;
}

/* Pairs drawn from p = sigmoid(slope z + offset). */
static umbra_histogram *draw(double slope, double offset, double spread, int n)
{
    umbra_histogram *h = new_histogram();
    umbra_random random;
    umbra_random_seed(&random, 11);
    for (int i = 0; i < n; i++) {
        float z = (float)(spread * umbra_random_normal(&random));
        double p = 1.0 / (1.0 + exp(-(slope * (double)z + offset)));
        umbra_histogram_add(h, z, umbra_random_unit(&random) < p);
    }
    return h;
}

static void test_calibration_recovers_platt(void **state)
{
    (void)state;
    const double cases[][3] = {{0.7, -1.5, 3.0}, {1.0, 0.0, 1.0}, {2.5, 0.8, 1.5}, {0.05, -2.0, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double slope, offset;
        umbra_histogram *h = draw(cases[i][0], cases[i][1], cases[i][2], 400000);
        umbra_histogram_fit(h, &slope, &offset);
        assert_true(fabs(slope - cases[i][0]) < 0.02 * cases[i][0] + 0.005);
        assert_true(fabs(offset - cases[i][1]) < 0.025);
        assert_true(umbra_histogram_error(h, slope, offset) < 0.003);
        if (i == 2)
            assert_true(umbra_histogram_error(h, 1.0, 0.0) > 0.05);
        umbra_free(h);
    }
}

/* The gradient over the pairs themselves, not over the bins, is zero but for Platt's smoothing,
 * which is worth about one pair of each kind. */
static void test_bins_cost_nothing(void **state)
{
    (void)state;
    enum { N = 20000 };
    umbra_histogram *h = new_histogram();
    umbra_random random;
    umbra_random_seed(&random, 5);
    static float z[N];
    static bool used[N];
    for (int i = 0; i < N; i++) {
        z[i] = (float)(4.0 * umbra_random_normal(&random) - 2.0);
        used[i] = umbra_random_unit(&random) < 1.0 / (1.0 + exp(-0.6 * (double)z[i] - 0.4));
        umbra_histogram_add(h, z[i], used[i]);
    }
    double slope, offset, by_slope = 0.0, by_offset = 0.0;
    umbra_histogram_fit(h, &slope, &offset);
    for (int i = 0; i < N; i++) {
        double error = 1.0 / (1.0 + exp(-(slope * (double)z[i] + offset))) - used[i];
        by_slope += error * (double)z[i] / N;
        by_offset += error / N;
    }
    assert_true(fabs(by_slope) < 10.0 / N && fabs(by_offset) < 2.0 / N);
    umbra_free(h);
}

static void test_degenerate_fits(void **state)
{
    (void)state;
    double slope, offset;
    umbra_histogram *h = new_histogram();
    umbra_histogram_fit(h, &slope, &offset);
    assert_true(slope == 1.0 && offset == 0.0);
    assert_true(umbra_histogram_error(h, slope, offset) == 0.0);
    for (int i = 0; i < 1000; i++) /* parted perfectly, and far outside of the range */
        umbra_histogram_add(h, i < 300 ? 1000.0f : -1000.0f, i < 300);
    umbra_histogram_fit(h, &slope, &offset);
    assert_true(isfinite(slope) && isfinite(offset) && slope > 0.0);
    assert_true(umbra_histogram_error(h, slope, offset) < 0.01);
    memset(h, 0, sizeof *h);
    for (int i = 0; i < 1000; i++) /* the score says nothing */
        umbra_histogram_add(h, 0.5f, i % 4 == 0);
    umbra_histogram_fit(h, &slope, &offset);
    assert_true(fabs(1.0 / (1.0 + exp(-(0.5 * slope + offset))) - 0.25) < 0.01);
    umbra_free(h);
}

static void test_recall(void **state)
{
    (void)state;
    enum { D = UMBRA_MAX_DISTANCE, E = 6 };
    umbra_shadow_spec spec = {.layers = 8, .hidden = 4, .experts = E, .used = 2, .width = 3};
    assert_int_equal(umbra_measure_m(&spec, 0), 2);
    assert_int_equal(umbra_measure_m(&spec, 1), 3);
    assert_int_equal(umbra_measure_m(&spec, 2), 4);
    umbra_shadow_spec few = {.experts = 3, .used = 2};
    assert_int_equal(umbra_measure_m(&few, 2), 3);
    umbra_train_pass pass;
    umbra_train_rows rows;
    assert_int_equal(umbra_train_pass_open(&pass, &spec, 2, &err), UMBRA_OK);
    assert_int_equal(umbra_train_rows_open(&rows, &spec, 2, &err), UMBRA_OK);
    rows.n = 2;
    const float z[E] = {1, 5, 3, 3, 0, 3}; /* order: 1, 2, 3, 5, 0, 4 */
    for (int i = 0; i < 2 * D; i++) {
        memcpy(pass.z + i * E, z, sizeof z);
        rows.targets[2 * i] = 1;
        rows.targets[2 * i + 1] = (uint16_t[]){2, 3, 5, 0}[i % D];
    }
    rows.targets[2 * (D - 1)] = UMBRA_NO_TARGET; /* first row, d = 4 */
    umbra_measure m = {0}, sum = {0};
    umbra_measure_batch(&m, &pass, &rows, NULL);
    umbra_measure_add(&sum, &m);
    umbra_measure_add(&sum, &m);
    const double want[UMBRA_TRAIN_BUDGETS][D] = {{1, .5, .5, .5}, {1, 1, .5, .5}, {1, 1, 1, .5}};
    for (int b = 0; b < UMBRA_TRAIN_BUDGETS; b++)
        for (int d = 1; d <= D; d++)
            assert_true(umbra_measure_recall(&sum, b, d) == want[b][d - 1]);
    assert_int_equal(sum.slots[0], 8);
    assert_int_equal(sum.slots[3], 4);
    assert_int_equal(sum.rows, 4);
    assert_true(umbra_measure_score(&sum) == 2.5 / 4);
    sum.slots[3] = 0;
    assert_true(umbra_measure_recall(&sum, 0, 4) == -1.0);
    assert_true(umbra_measure_score(&sum) == 2.0 / 3);
    umbra_train_pass_release(&pass);
    umbra_train_rows_release(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calibration_recovers_platt),
        cmocka_unit_test(test_bins_cost_nothing),
        cmocka_unit_test(test_degenerate_fits),
        cmocka_unit_test(test_recall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
