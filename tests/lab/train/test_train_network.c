/* The network's arithmetic against a plain one in double, its gradients against differences of
 * that, and the optimiser. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>

#include "base/memory.h"
#include "lab/train/network.h"
#include "lab/train/optimizer.h"
#include "lab/train/vector.h"
#include "with_blas.h"

enum { D = UMBRA_MAX_DISTANCE, ROWS = 9, MOST_WIDTH = 16, MOST_OUTPUTS = 64 };

static umbra_error err;

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != UMBRA_OK)                                                                    \
            fail_msg("%s", err.message);                                                           \
    } while (0)

static umbra_shadow_spec spec_of(umbra_shadow_arch arch, bool shared, umbra_shadow_loss loss)
{
    bool seed = arch == UMBRA_SHADOW_SEED;
    return (umbra_shadow_spec){
        .layers = 6,
        .hidden = 6,
        .experts = 7,
        .used = 2,
        .arch = arch,
        .shared = shared,
        .width = 5,
        .features = seed ? 0 : UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS | UMBRA_FEATURE_PREVIOUS2,
        .averages = seed ? 0 : 1,
        .decay = {0.8f},
        .loss = loss,
    };
}

/* ---- a batch ---- */

static void fill_floats(umbra_random *random, float *x, size_t n)
{
    for (size_t i = 0; x && i < n; i++)
        x[i] = (float)umbra_random_normal(random);
}

/* Random rows; every third lacks the last distance, and rows differ in how many features are on. */
static void fill_rows(umbra_random *random, const umbra_shadow_spec *spec, umbra_train_rows *rows)
{
    size_t e = (size_t)spec->experts, k = (size_t)spec->used;
    rows->n = ROWS;
    fill_floats(random, rows->dense, ROWS * (size_t)umbra_shadow_inputs(spec));
    fill_floats(random, rows->gate, ROWS * D * e);
    fill_floats(random, rows->truth, ROWS * D * e);
    for (size_t i = 0; rows->truth && i < ROWS * D; i++) {
        float sum = 0.0f;
        for (size_t j = 0; j < e; j++)
            sum += rows->truth[i * e + j] = fabsf(rows->truth[i * e + j]);
        for (size_t j = 0; j < e; j++)
            rows->truth[i * e + j] /= sum;
    }
    for (size_t i = 0; i < ROWS * D; i++) {
        uint16_t *used = rows->targets + i * k;
        used[0] = (uint16_t)umbra_random_below(random, e);
        used[1] = (uint16_t)((used[0] + 1 + umbra_random_below(random, e - 1)) % e);
        if (i % D == D - 1 && i / D % 3 == 0)
            used[0] = UMBRA_NO_TARGET;
    }
    for (int i = 0; i < ROWS; i++) {
        uint32_t *f = rows->features + i * rows->feature_slots;
        int on = rows->feature_slots > 0 ? i % (rows->feature_slots + 1) : 0;
        for (int j = 0; j < rows->feature_slots; j++)
            f[j] = j < on
                       ? (uint32_t)umbra_random_below(random, (uint64_t)umbra_shadow_features(spec))
                       : UMBRA_NO_FEATURE;
    }
}

/* ---- the same in double, one row at a time, straight from the formulas ---- */

typedef struct reference {
    const umbra_shadow_spec *spec;
    const umbra_train_rows *rows;
    size_t first[UMBRA_SHADOW_PARTS + 1];
    double *values; /* (P) */
} reference;

static const double *part(const reference *r, int index)
{
    return r->first[index + 1] > r->first[index] ? r->values + r->first[index] : NULL;
}

enum { W1, W1_FEATURES, B1, GAIN, SHIFT, W2, BIAS, W, W_FEATURES, A };

static void reference_inner(const reference *r, int row, double *inner)
{
    int x = umbra_shadow_inputs(r->spec), n = r->spec->width;
    const uint32_t *f = r->rows->features + row * r->rows->feature_slots;
    double v[MOST_WIDTH], mean = 0.0, variance = 0.0;
    for (int j = 0; j < n; j++) {
        v[j] = part(r, B1)[j];
        for (int c = 0; c < x; c++)
            v[j] += part(r, W1)[j * x + c] * (double)r->rows->dense[row * x + c];
        for (int i = 0; i < r->rows->feature_slots && f[i] != UMBRA_NO_FEATURE; i++)
            v[j] += part(r, W1_FEATURES)[(int)f[i] * n + j];
        mean += v[j] / n;
    }
    for (int j = 0; j < n; j++)
        variance += (v[j] - mean) * (v[j] - mean) / n;
    for (int j = 0; j < n; j++) {
        double u = (v[j] - mean) / sqrt(variance + 1e-5) * part(r, GAIN)[j] + part(r, SHIFT)[j];
        inner[j] = u / (1.0 + exp(-u));
    }
}

static void reference_forward(const reference *r, int row, double *z)
{
    int x = umbra_shadow_inputs(r->spec), n = r->spec->width, e = r->spec->experts, k = D * e;
    const uint32_t *f = r->rows->features + row * r->rows->feature_slots;
    double inner[MOST_WIDTH];
    reference_inner(r, row, inner);
    for (int o = 0; o < k; o++) {
        z[o] = part(r, BIAS)[o];
        for (int j = 0; j < n; j++)
            z[o] += part(r, W2)[o * n + j] * inner[j];
        if (!part(r, A))
            continue;
        z[o] += part(r, A)[o / e] * (double)r->rows->gate[row * k + o];
        for (int c = 0; c < x; c++)
            z[o] += part(r, W)[o * x + c] * (double)r->rows->dense[row * x + c];
        for (int i = 0; i < r->rows->feature_slots && f[i] != UMBRA_NO_FEATURE; i++)
            z[o] += part(r, W_FEATURES)[(int)f[i] * k + o];
    }
}

static double reference_distance_loss(const reference *r, const double *z, const uint16_t *used,
                                      const float *truth)
{
    int e = r->spec->experts;
    double loss = 0.0, sum = 0.0;
    for (int i = 0; i < e; i++)
        sum += exp(z[i]);
    for (int i = 0; i < e; i++) {
        bool is_used = used[0] == i || used[1] == i;
        if (r->spec->loss == UMBRA_LOSS_BCE)
            loss += log1p(exp(is_used ? -z[i] : z[i]));
        else
            loss += (double)truth[i] * (log((double)truth[i]) - log(exp(z[i]) / sum));
    }
    return loss;
}

/* Mean over rows. */
static double reference_loss(const reference *r)
{
    int e = r->spec->experts, k = r->spec->used;
    double loss = 0.0, z[MOST_OUTPUTS];
    for (int row = 0; row < r->rows->n; row++) {
        reference_forward(r, row, z);
        for (int d = 0; d < D; d++) {
            const uint16_t *used = r->rows->targets + (row * D + d) * k;
            const float *truth = r->rows->truth ? r->rows->truth + (row * D + d) * e : NULL;
            if (used[0] != UMBRA_NO_TARGET)
                loss += reference_distance_loss(r, z + d * e, used, truth);
        }
    }
    return loss / r->rows->n;
}

/* ---- gradients ---- */

typedef struct setup {
    umbra_shadow_spec spec;
    umbra_train_rows rows;
    umbra_train_pass pass;
    reference reference;
    size_t parameters;
    float *values, *gradient;
    umbra_shadow_network network, gradients;
} setup;

static void set_up(setup *s, umbra_shadow_spec spec, bool random_values)
{
    umbra_random random;
    umbra_random_seed(&random, 7);
    *s = (setup){.spec = spec};
    MUST(umbra_train_rows_open(&s->rows, &s->spec, ROWS, &err));
    MUST(umbra_train_pass_open(&s->pass, &s->spec, ROWS, &err));
    fill_rows(&random, &s->spec, &s->rows);
    s->parameters = umbra_train_parameters(&s->spec, s->reference.first);
    s->values = umbra_calloc(s->parameters, sizeof(float));
    s->gradient = umbra_calloc(s->parameters, sizeof(float));
    s->reference.values = umbra_calloc(s->parameters, sizeof(double));
    assert_true(s->values && s->gradient && s->reference.values);
    umbra_train_start_values(&s->spec, &random, s->values);
    for (size_t i = 0; i < s->parameters; i++) {
        if (random_values)
            s->values[i] += (float)(0.3 * umbra_random_normal(&random));
        s->reference.values[i] = (double)s->values[i];
    }
    umbra_train_bind(&s->spec, s->values, &s->network);
    umbra_train_bind(&s->spec, s->gradient, &s->gradients);
    s->reference.spec = &s->spec;
    s->reference.rows = &s->rows;
}

static void tear_down(setup *s)
{
    umbra_train_rows_release(&s->rows);
    umbra_train_pass_release(&s->pass);
    umbra_free(s->values);
    umbra_free(s->gradient);
    umbra_free(s->reference.values);
}

static double difference(setup *s, size_t i)
{
    const double step = 1e-5;
    double *value = &s->reference.values[i], at = *value;
    *value = at + step;
    double above = reference_loss(&s->reference);
    *value = at - step;
    double below = reference_loss(&s->reference);
    *value = at;
    return (above - below) / (2.0 * step);
}

static void check_gradients(umbra_shadow_spec spec)
{
    setup s;
    set_up(&s, spec, true);
    memset(s.gradient, 0x7f, s.parameters * sizeof *s.gradient); /* old contents must not matter */
    umbra_train_forward(&s.pass, &s.network, &s.rows, 0.0f, NULL);
    double loss = umbra_train_loss(&s.pass, &s.rows, ROWS) / ROWS,
           expected = reference_loss(&s.reference);
    assert_true(fabs(loss - expected) < 1e-5 * expected);
    umbra_train_backward(&s.pass, &s.network, &s.rows, &s.gradients);
    for (int p = 0; p < UMBRA_SHADOW_PARTS; p++) {
        double largest = 0.0;
        for (size_t i = s.reference.first[p]; i < s.reference.first[p + 1]; i++) {
            double want = difference(&s, i);
            largest = fabs(want) > largest ? fabs(want) : largest;
            if (fabs((double)s.gradient[i] - want) > 1e-5 + 1e-4 * fabs(want))
                fail_msg("part %s, value %zu: gradient %g, difference %g",
                         umbra_shadow_part_name(p), i - s.reference.first[p], (double)s.gradient[i],
                         want);
        }
        if (s.reference.first[p + 1] > s.reference.first[p])
            assert_true(largest > 1e-3); /* the comparison says something */
    }
    tear_down(&s);
}

static void test_gradients(void **state)
{
    (void)state;
    check_gradients(spec_of(UMBRA_SHADOW_RESIDUAL, false, UMBRA_LOSS_BCE));
    check_gradients(spec_of(UMBRA_SHADOW_RESIDUAL, false, UMBRA_LOSS_KL));
    check_gradients(spec_of(UMBRA_SHADOW_RESIDUAL, true, UMBRA_LOSS_BCE));
    check_gradients(spec_of(UMBRA_SHADOW_SEED, false, UMBRA_LOSS_BCE));
    check_gradients(spec_of(UMBRA_SHADOW_SEED, false, UMBRA_LOSS_KL));
    check_gradients(spec_of(UMBRA_SHADOW_SEED, true, UMBRA_LOSS_BCE));
}

/* Large scores of either sign must neither overflow nor lose the loss. */
static void test_extreme_scores(void **state)
{
    (void)state;
    for (int loss = 0; loss < 2; loss++) {
        setup s;
        set_up(&s, spec_of(UMBRA_SHADOW_RESIDUAL, false, (umbra_shadow_loss)loss), false);
        for (int i = 0; i < ROWS * D * s.spec.experts; i++)
            s.rows.gate[i] *= 60.0f;
        umbra_train_forward(&s.pass, &s.network, &s.rows, 0.0f, NULL);
        double got = umbra_train_loss(&s.pass, &s.rows, ROWS) / ROWS;
        assert_true(isfinite(got));
        assert_true(fabs(got - reference_loss(&s.reference)) < 1e-4 * got);
        for (int i = 0; i < ROWS * D * s.spec.experts; i++)
            assert_true(fabsf(s.pass.dz[i]) <= 1.0f / ROWS + 1e-6f);
        tear_down(&s);
    }
}

static void test_untrained_is_the_gate(void **state)
{
    (void)state;
    setup s;
    set_up(&s, spec_of(UMBRA_SHADOW_RESIDUAL, false, UMBRA_LOSS_BCE), false);
    umbra_train_forward(&s.pass, &s.network, &s.rows, 0.0f, NULL);
    assert_memory_equal(s.pass.z, s.rows.gate, (size_t)(ROWS * D * s.spec.experts) * sizeof(float));
    tear_down(&s);

    set_up(&s, spec_of(UMBRA_SHADOW_SEED, false, UMBRA_LOSS_BCE), false);
    umbra_train_forward(&s.pass, &s.network, &s.rows, 0.0f, NULL);
    for (int i = 0; i < ROWS * D * s.spec.experts; i++)
        assert_true(fabs(1.0 / (1.0 + exp((double)-s.pass.z[i])) - 2.0 / 7.0) < 1e-6);
    tear_down(&s);
}

static void test_dropout(void **state)
{
    (void)state;
    setup s;
    set_up(&s, spec_of(UMBRA_SHADOW_SEED, false, UMBRA_LOSS_BCE), true);
    int n = ROWS * s.spec.width, dropped = 0;
    float *whole = umbra_calloc((size_t)n, sizeof *whole);
    assert_non_null(whole);
    umbra_train_forward(&s.pass, &s.network, &s.rows, 0.0f, NULL);
    memcpy(whole, s.pass.inner, (size_t)n * sizeof *whole);
    umbra_random random;
    umbra_random_seed(&random, 3);
    for (int round = 0; round < 200; round++) {
        umbra_train_forward(&s.pass, &s.network, &s.rows, 0.25f, &random);
        for (int i = 0; i < n; i++) {
            dropped += s.pass.inner[i] == 0.0f;
            if (s.pass.inner[i] != 0.0f)
                assert_true(fabsf(s.pass.inner[i] - whole[i] / 0.75f) < 1e-6f);
            else
                assert_true(s.pass.slope[i] == 0.0f);
        }
    }
    assert_true(fabs(dropped / (200.0 * n) - 0.25) < 0.02);
    umbra_free(whole);
    tear_down(&s);
}

static void test_vector(void **state)
{
    (void)state;
    for (double x = -87.0; x < 87.0; x += 0.0137) {
        double want = exp((double)(float)x);
        assert_true(fabs((double)umbra_exp((float)x) - want) < 4e-7 * want);
    }
    assert_true(umbra_exp(1e30f) > 1e37f && umbra_exp(-1e30f) < 1e-37f);
    float x[37], y[37];
    double sum = 0.0, dot = 0.0;
    for (int i = 0; i < 37; i++) {
        x[i] = (float)(i % 5) - 1.5f;
        y[i] = (float)(i % 7);
        sum += (double)x[i];
        dot += (double)x[i] * (double)y[i];
    }
    assert_true(fabs((double)umbra_sum(x, 37) - sum) < 1e-5);
    assert_true(fabs((double)umbra_dot(x, y, 37) - dot) < 1e-4);
}

/* ---- the optimiser ---- */

static void test_schedule(void **state)
{
    (void)state;
    double before = 0.0;
    for (uint64_t i = 0; i < 10; i++) {
        double share = umbra_optimizer_schedule(i, 100, 10);
        assert_true(share > before && share <= 1.0);
        before = share;
    }
    assert_true(before == 1.0);
    for (uint64_t i = 11; i < 100; i++) {
        double share = umbra_optimizer_schedule(i, 100, 10);
        assert_true(share < before && share > 0.0);
        before = share;
    }
    assert_true(umbra_optimizer_schedule(100, 100, 10) == 0.0);
    assert_true(umbra_optimizer_schedule(0, 1, 0) == 1.0);
    assert_true(umbra_optimizer_schedule(4, 5, 5) == 1.0);
}

static void test_adamw(void **state)
{
    (void)state;
    enum { PER_PART = 3, P = PER_PART * UMBRA_SHADOW_PARTS, STEPS = 5 };
    umbra_optimizer o = {.weight_decay = 0.1f, .clip = 0.5f};
    for (size_t i = 0; i <= UMBRA_SHADOW_PARTS; i++)
        o.first[i] = i * PER_PART;
    float values[P], gradient[P], mean[P] = {0}, square[P] = {0};
    double v[P], m[P] = {0}, q[P] = {0};
    for (int i = 0; i < P; i++)
        v[i] = (double)(values[i] = (float)(i - 10) * 0.1f);
    for (int step = 0; step < STEPS; step++) {
        double norm = 0.0;
        for (int i = 0; i < P; i++) {
            gradient[i] = sinf((float)(i + 31 * step)) * (step < 2 ? 1.0f : 0.01f);
            norm += (double)gradient[i] * (double)gradient[i];
        }
        norm = sqrt(norm);
        double scale = norm > 0.5 ? 0.5 / norm : 1.0;
        assert_true(step < 2 ? scale < 1.0 : scale == 1.0);
        double got =
            umbra_optimizer_step(&o, values, gradient, mean, square, (uint64_t)step, 0.01f);
        assert_true(fabs(got - norm) < 1e-6 * norm);
        for (int i = 0; i < P; i++) {
            double g = scale * (double)gradient[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            q[i] = 0.99 * q[i] + 0.01 * g * g;
            double length = m[i] / (1.0 - pow(0.9, step + 1)) /
                            (sqrt(q[i] / (1.0 - pow(0.99, step + 1))) + 1e-8);
            double decay = umbra_train_part_decays(i / PER_PART) ? 0.1 * v[i] : 0.0;
            v[i] -= 0.01 * (length + decay);
            assert_true(fabs((double)values[i] - v[i]) < 1e-5);
        }
    }
    float kept[P];
    memcpy(kept, values, sizeof kept);
    gradient[4] = NAN;
    assert_true(!isfinite(umbra_optimizer_step(&o, values, gradient, mean, square, STEPS, 0.01f)));
    assert_memory_equal(kept, values, sizeof kept);
}

/* ---- rows and memory ---- */

static void test_rows_copy(void **state)
{
    (void)state;
    umbra_shadow_spec spec = spec_of(UMBRA_SHADOW_RESIDUAL, true, UMBRA_LOSS_KL);
    umbra_train_rows a, b;
    umbra_random random;
    umbra_random_seed(&random, 1);
    MUST(umbra_train_rows_open(&a, &spec, ROWS, &err));
    MUST(umbra_train_rows_open(&b, &spec, ROWS, &err));
    fill_rows(&random, &spec, &a);
    for (int i = 0; i < ROWS; i++)
        umbra_train_rows_copy(&b, ROWS - 1 - i, &a, i, &spec);
    size_t bytes = umbra_train_row_bytes(&spec), x = (size_t)umbra_shadow_inputs(&spec);
    size_t outputs = D * (size_t)spec.experts, targets = D * (size_t)spec.used;
    size_t slots = (size_t)a.feature_slots;
    assert_int_equal(slots, 9 * spec.used + 1);
    assert_int_equal(bytes, 4 * (x + 2 * outputs + slots) + 2 * targets);
    assert_memory_equal(a.dense, b.dense + (ROWS - 1) * x, x * 4);
    assert_memory_equal(a.gate, b.gate + (ROWS - 1) * outputs, outputs * 4);
    assert_memory_equal(a.truth, b.truth + (ROWS - 1) * outputs, outputs * 4);
    assert_memory_equal(a.features, b.features + (ROWS - 1) * slots, slots * 4);
    assert_memory_equal(a.targets, b.targets + (ROWS - 1) * targets, targets * 2);
    umbra_train_rows_release(&a);
    umbra_train_rows_release(&b);
}

static void test_no_memory(void **state)
{
    (void)state;
    umbra_shadow_spec spec = spec_of(UMBRA_SHADOW_RESIDUAL, false, UMBRA_LOSS_KL);
    for (int i = 1; i <= 5; i++) {
        umbra_train_rows rows;
        umbra_memory_fail_after(i);
        assert_int_equal(umbra_train_rows_open(&rows, &spec, ROWS, &err), UMBRA_E_NOMEM);
        assert_null(rows.dense);
    }
    for (int i = 1; i <= 7; i++) {
        umbra_train_pass pass;
        umbra_memory_fail_after(i);
        assert_int_equal(umbra_train_pass_open(&pass, &spec, ROWS, &err), UMBRA_E_NOMEM);
        assert_null(pass.z);
    }
    umbra_memory_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_extreme_scores),
        cmocka_unit_test(test_untrained_is_the_gate),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_vector),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_rows_copy),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, open_blas, NULL);
}
