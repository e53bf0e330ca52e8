/* Every predictor against a plain double-precision reading of its definition. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>

#include "base/memory.h"
#include "support.h"

enum { ROWS = 7, D = UMBRA_MAX_DISTANCE, OUT_MAX = UMBRA_PREDICT_BATCH * D * 64 };

static umbra_error err;
static float scores[OUT_MAX], others[OUT_MAX];

static void must(int rc)
{
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
}

/* ROWS predictions: random states, averages, routing; the first has no earlier token, the second
 * only one. */
typedef struct batch {
    umbra_predict_input input;
    const uint16_t *now[ROWS], *previous[ROWS], *previous2[ROWS];
    float *states, *averages;
    uint16_t *routing;
} batch;

static void batch_init(batch *b, const umbra_shadow_spec *spec, uint64_t seed)
{
    size_t hidden = (size_t)spec->hidden, wide = hidden * (size_t)spec->averages;
    size_t list = (size_t)spec->layers * (size_t)spec->used;
    umbra_random random;
    umbra_random_seed(&random, seed);
    *b = (batch){0};
    b->states = umbra_calloc(ROWS * hidden, sizeof(float));
    b->averages = umbra_calloc(ROWS * wide, sizeof(float));
    fill_random(&random, b->states, ROWS * hidden, 30.0);
    fill_random(&random, b->averages, ROWS * wide, 1.0);
    b->routing = random_routing(spec, 3 * ROWS, seed);
    for (size_t i = 0; i < ROWS; i++) {
        b->now[i] = b->routing + i * list;
        b->previous[i] = i == 0 ? NULL : b->routing + (ROWS + i) * list;
        b->previous2[i] = i < 2 ? NULL : b->routing + (2 * ROWS + i) * list;
    }
    b->input = (umbra_predict_input){.n = ROWS,
                                     .states = b->states,
                                     .averages = spec->averages > 0 ? b->averages : NULL,
                                     .now = b->now,
                                     .previous = b->previous,
                                     .previous2 = b->previous2};
}

static void batch_release(batch *b)
{
    umbra_free(b->states);
    umbra_free(b->averages);
    umbra_free(b->routing);
}

static void run(const umbra_predictor *p, int source, const umbra_predict_input *input, float *out)
{
    umbra_predict_scratch *scratch;
    must(umbra_predict_scratch_open(&scratch, p, &err));
    umbra_predict(p, source, input, scratch, out);
    umbra_predict_scratch_close(&scratch);
    assert_null(scratch);
}

/* ---- the definition of shadow.h, written out ---- */

/* x as one dense vector [r, averages, features] in double; returns its length. */
static int dense_inputs(const umbra_shadow_spec *s, unsigned off, int source, const batch *b, int i,
                        double *x)
{
    int n = 0, H = s->hidden, E = s->experts;
    double squares = 0.0;
    for (int k = 0; k < H; k++)
        squares += pow((double)b->states[i * H + k], 2);
    for (int k = 0; k < H; k++)
        x[n++] = (double)b->states[i * H + k] / sqrt(squares / H);
    for (int k = 0; k < s->averages * H; k++)
        x[n++] = (double)b->averages[i * s->averages * H + k];
    for (unsigned bit = 1; bit <= 4; bit <<= 1) {
        const uint16_t *lists = bit == 1 ? b->now[i] : bit == 2 ? b->previous[i] : b->previous2[i];
        if (!(s->features & bit))
            continue;
        for (int d = bit == 1 ? 0 : 1; d <= (bit == 1 ? 0 : D); d++) {
            int layer = source - 1 + d;
            memset(x + n, 0, (size_t)E * sizeof *x);
            for (int k = 0; lists && !(off & bit) && layer >= 0 && layer < s->layers && k < s->used;
                 k++)
                if (lists[layer * s->used + k] != 0xffff)
                    x[n + lists[layer * s->used + k]] = 1.0;
            n += E;
        }
    }
    for (int k = 0; s->shared && k < s->layers; k++)
        x[n++] = k == source;
    return n;
}

/* Row `row` of a (rows, X) matrix beside a (F, rows) one, times x of X + F. */
static double dot(const float *dense, const float *sparse, int rows, int row, int X, int F,
                  const double *x)
{
    double sum = 0.0;
    for (int k = 0; k < X; k++)
        sum += (double)dense[row * X + k] * x[k];
    for (int k = 0; k < F; k++)
        sum += (double)sparse[k * rows + row] * x[X + k];
    return sum;
}

static void define(const umbra_shadow *shadow, const umbra_gates *gates, unsigned off, int source,
                   const batch *b, int i, double *z)
{
    const umbra_shadow_spec *s = &shadow->spec;
    const umbra_shadow_network *net = &shadow->networks[s->shared ? 0 : source];
    int N = s->width, E = s->experts, H = s->hidden;
    int X = umbra_shadow_inputs(s), F = umbra_shadow_features(s);
    double x[1000], v[100], mean = 0.0, variance = 0.0;
    assert_int_equal(dense_inputs(s, off, source, b, i, x), X + F);
    for (int k = 0; k < N; k++) {
        v[k] = dot(net->w1, net->w1_features, N, k, X, F, x) + (double)net->b1[k];
        mean += v[k] / N;
    }
    for (int k = 0; k < N; k++)
        variance += (v[k] - mean) * (v[k] - mean) / N;
    for (int k = 0; k < N; k++) {
        double y =
            (v[k] - mean) / sqrt(variance + 1e-5) * (double)net->gain[k] + (double)net->shift[k];
        v[k] = y / (1.0 + exp(-y));
    }
    for (int d = 1; d <= D && source - 1 + d < s->layers; d++) {
        for (int e = 0; e < E; e++) {
            int o = (d - 1) * E + e;
            z[o] = (double)net->bias[o];
            for (int k = 0; k < N && !(off & UMBRA_OFF_INNER); k++)
                z[o] += (double)net->w2[o * N + k] * v[k];
            if (s->arch == UMBRA_SHADOW_SEED)
                continue;
            const float *gate = gates->data + ((source - 1 + d) * E + e) * H;
            for (int k = 0; k < H; k++)
                z[o] += (double)net->a[d - 1] * (double)gate[k] * x[k];
            if (!(off & UMBRA_OFF_LINEAR))
                z[o] += dot(net->w, net->w_features, D * E, o, X, F, x);
        }
    }
}

static void compare_with_definition(const umbra_shadow_spec *spec, unsigned off, uint64_t seed)
{
    umbra_shadow *shadow = random_shadow(spec, seed);
    umbra_gates gates = random_gates(spec, seed + 1);
    umbra_predictor *p;
    batch b;
    int width = D * spec->experts;
    batch_init(&b, spec, seed + 2);
    must(umbra_predictor_shadow(&p, shadow, &gates, off, &err));
    for (int source = 0; source < spec->layers; source++) {
        for (int k = 0; k < ROWS * width; k++)
            scores[k] = 12345.0f;
        run(p, source, &b.input, scores);
        for (int i = 0; i < ROWS; i++) {
            double z[D * 64];
            define(shadow, &gates, off, source, &b, i, z);
            for (int o = 0; o < width; o++) {
                float got = scores[i * width + o];
                if (source - 1 + 1 + o / spec->experts >= spec->layers)
                    assert_true(got == 12345.0f); /* no such target */
                else if (!(fabs((double)got - z[o]) < 2e-4))
                    fail_msg("source %d row %d output %d: %g, not %g", source, i, o, (double)got,
                             z[o]);
            }
        }
    }
    umbra_predictor_close(&p);
    umbra_shadow_free(&shadow);
    umbra_free(gates.data);
    batch_release(&b);
}

static void forward(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 2 * 2 * 8 * 3; i++) {
        umbra_shadow_spec spec = small_spec();
        spec.arch = i & 1 ? UMBRA_SHADOW_SEED : UMBRA_SHADOW_RESIDUAL;
        spec.shared = i & 2;
        spec.features = (unsigned)i >> 2 & 7;
        spec.averages = i / 32;
        spec.decay[0] = spec.decay[1] = 0.5f;
        compare_with_definition(&spec, 0, seed++);
    }
    /* One layer; every expert used; widths around the vectors'. */
    umbra_shadow_spec spec = small_spec();
    spec.layers = 1;
    spec.features = 7;
    compare_with_definition(&spec, 0, seed++);
    spec.layers = 3;
    spec.experts = spec.used = 4;
    spec.hidden = 33;
    spec.width = 1;
    compare_with_definition(&spec, 0, seed++);
    spec.hidden = 1;
    spec.width = 65;
    compare_with_definition(&spec, 0, seed++);
}

static void ablations(void **state)
{
    (void)state;
    static const unsigned off[] = {1,
                                   2,
                                   4,
                                   7,
                                   UMBRA_OFF_INNER,
                                   UMBRA_OFF_LINEAR,
                                   UMBRA_OFF_INNER | UMBRA_OFF_LINEAR,
                                   7 | UMBRA_OFF_INNER};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        umbra_shadow_spec spec = small_spec();
        spec.features = 7;
        compare_with_definition(&spec, off[i], 10 + i);
        spec.arch = UMBRA_SHADOW_SEED;
        spec.shared = true;
        compare_with_definition(&spec, off[i], 20 + i);
    }
}

/* Before training, the residual is the gate: the same bits, so the same order too. */
static void untrained_is_the_gate(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.features = 7;
    spec.averages = 1;
    spec.decay[0] = 0.9f;
    umbra_gates gates = random_gates(&spec, 1);
    umbra_shadow *shadow;
    umbra_predictor *gate, *residual;
    umbra_random random;
    batch b;
    umbra_random_seed(&random, 5);
    must(umbra_shadow_create(&shadow, &spec, &err));
    for (int i = 0; i < shadow->count; i++) /* as training begins */
        fill_random(&random, shadow->networks[i].w1, 13 * 48, 0.2);
    must(umbra_predictor_gate(&gate, &gates, spec.used, &err));
    must(umbra_predictor_shadow(&residual, shadow, &gates, 0, &err));
    batch_init(&b, &spec, 2);
    for (int source = 0; source < spec.layers; source++) {
        memset(scores, 0, sizeof scores);
        memset(others, 0, sizeof others);
        run(gate, source, &b.input, scores);
        run(residual, source, &b.input, others);
        assert_memory_equal(scores, others, ROWS * D * 10 * sizeof *scores);
    }
    umbra_predictor_close(&gate);
    umbra_predictor_close(&residual);
    umbra_shadow_free(&shadow);
    umbra_free(gates.data);
    batch_release(&b);
}

/* A row's scores do not depend on what else is in the batch. */
static void batches(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.features = 7;
    umbra_gates gates = random_gates(&spec, 1);
    umbra_shadow *shadow = random_shadow(&spec, 2);
    umbra_predictor *p;
    batch b;
    batch_init(&b, &spec, 3);
    must(umbra_predictor_shadow(&p, shadow, &gates, 0, &err));
    run(p, 2, &b.input, scores);
    for (int i = 0; i < ROWS; i++) {
        umbra_predict_input one = {.n = 1,
                                   .states = b.states + i * spec.hidden,
                                   .now = b.now + i,
                                   .previous = b.previous + i,
                                   .previous2 = b.previous2 + i};
        run(p, 2, &one, others);
        assert_memory_equal(others, scores + i * D * spec.experts,
                            (size_t)(D * spec.experts) * sizeof *scores);
    }
    umbra_predictor_close(&p);
    umbra_shadow_free(&shadow);
    umbra_free(gates.data);
    batch_release(&b);
}

static void lists_and_counts(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    umbra_gates shape = {.layers = 6, .experts = 10, .hidden = 24};
    umbra_predictor *oracle, *previous, *frequency;
    uint64_t counts[60];
    batch b;
    batch_init(&b, &spec, 4);
    for (int i = 0; i < 60; i++)
        counts[i] = i < 50 ? (uint64_t)(i * 7919 % 101) << 40 : 0;
    must(umbra_predictor_oracle(&oracle, &shape, 3, &err));
    must(umbra_predictor_previous(&previous, &shape, 3, &err));
    must(umbra_predictor_frequency(&frequency, &shape, 3, counts, &err));
    memset(counts, 0xff, sizeof counts); /* it has its copy */
    for (int source = 0; source < 6; source++) {
        for (int d = 1; d <= D && source - 1 + d < 6; d++) {
            int layer = source - 1 + d;
            for (int i = 0; i < ROWS; i++) {
                const uint16_t *truth = b.now[i] + layer * 3;
                uint16_t best[10];
                run(oracle, source, &b.input, scores);
                umbra_predict_top(scores + (i * D + d - 1) * 10, 10, 3, best);
                if (truth[0] != 0xffff)
                    assert_memory_equal(best, truth, 3 * sizeof *best);

                run(previous, source, &b.input, scores);
                umbra_predict_top(scores + (i * D + d - 1) * 10, 10, 6, best);
                if (b.previous[i] && b.previous[i][layer * 3] != 0xffff)
                    assert_memory_equal(best, b.previous[i] + layer * 3, 3 * sizeof *best);
                for (int e = 0; e < 10 && !b.previous[i]; e++)
                    assert_true(scores[(i * D + d - 1) * 10 + e] == 0.0f);

                run(frequency, source, &b.input, scores);
                double total = 0.0, shares = 0.0;
                for (int e = 0; e < 10; e++)
                    total += (layer * 10 + e) * 7919 % 101;
                for (int e = 0; e < 10; e++) {
                    double share = layer < 5 ? (layer * 10 + e) * 7919 % 101 * 3 / total : 0.0;
                    double got = (double)scores[(i * D + d - 1) * 10 + e];
                    assert_true(fabs(got - share) < 1e-6);
                    shares += got;
                }
                assert_true(fabs(shares - (layer < 5 ? 3.0 : 0.0)) < 1e-5);
            }
        }
    }
    /* Behind the experts of the token before come those of the one before it. */
    static const uint16_t before[18] = {1, 2, 3}, earlier[18] = {2, 5, 4};
    const uint16_t *one = before, *two = earlier;
    umbra_predict_input input = {.n = 1, .states = b.states, .previous = &one, .previous2 = &two};
    uint16_t best[6];
    run(previous, 0, &input, scores);
    umbra_predict_top(scores, 10, 6, best);
    assert_memory_equal(best, ((uint16_t[]){1, 2, 3, 5, 4, 0}), sizeof best);
    umbra_predictor_close(&oracle);
    umbra_predictor_close(&previous);
    umbra_predictor_close(&frequency);
    umbra_predictor_close(&frequency);
    umbra_predictor_close(NULL);
    batch_release(&b);
}

static void control(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    umbra_gates gates = random_gates(&spec, 9);
    batch b;
    batch_init(&b, &spec, 4);
    for (int source = 1; source <= spec.layers; source++) {
        umbra_predict_control(&gates, source, ROWS, b.states, scores);
        for (int i = 0; i < ROWS; i++)
            for (int e = 0; e < 10; e++) {
                double z = 0.0, squares = 0.0;
                for (int k = 0; k < 24; k++) {
                    double h = (double)b.states[i * 24 + k];
                    z += h * (double)gates.data[((source - 1) * 10 + e) * 24 + k];
                    squares += h * h;
                }
                assert_true(fabs((double)scores[i * 10 + e] - z / sqrt(squares / 24)) < 1e-4);
            }
    }
    umbra_free(gates.data);
    batch_release(&b);
}

static void calibration(void **state)
{
    (void)state;
    for (int loss = UMBRA_LOSS_BCE; loss <= UMBRA_LOSS_KL; loss++) {
        umbra_shadow_spec spec = small_spec();
        spec.loss = (umbra_shadow_loss)loss;
        umbra_shadow *shadow = random_shadow(&spec, 8);
        umbra_random random;
        umbra_random_seed(&random, 6);
        for (int source = 0; source <= spec.layers; source++) {
            fill_random(&random, scores, 3 * D * 10, 5.0);
            memcpy(others, scores, sizeof others);
            umbra_predict_calibrate(shadow, source, 3, others);
            for (int k = 0; k < 3 * D * 10; k++) {
                int d = k / 10 % D;
                const float *fit = shadow->calibration + (source * D + d) * 2,
                            *row = scores + k / 10 * 10;
                double z = (double)scores[k], sum = 0.0;
                for (int e = 0; e < 10; e++)
                    sum += exp((double)row[e]);
                if (loss == UMBRA_LOSS_KL)
                    z -= log(sum);
                double p = 1.0 / (1.0 + exp(-((double)fit[0] * z + (double)fit[1])));
                if (source + d >= spec.layers)
                    assert_true(others[k] == scores[k]);
                else
                    assert_true(fabs((double)others[k] - p) < 1e-5);
            }
        }
        umbra_shadow_free(&shadow);
    }
    /* Far from zero the probability is 0 or 1, never NaN. */
    umbra_shadow_spec spec = small_spec();
    umbra_shadow *shadow;
    must(umbra_shadow_create(&shadow, &spec, &err));
    for (int k = 0; k < D * 10; k++)
        scores[k] = k % 2 ? 1e30f : -1e30f;
    umbra_predict_calibrate(shadow, 0, 1, scores);
    for (int k = 0; k < D * 10; k++)
        assert_true(scores[k] == (k % 2 ? 1.0f : 0.0f));
    umbra_shadow_free(&shadow);
}

static void best_of(void **state)
{
    (void)state;
    uint16_t out[10];
    const float tied[10] = {1, 3, 3, 2, 3, 1, 0, 2, -0.0f, 3};
    umbra_predict_top(tied, 10, 10, out);
    assert_memory_equal(out, ((uint16_t[]){1, 2, 4, 9, 3, 7, 0, 5, 6, 8}), 20);
    umbra_predict_top(tied, 10, 3, out);
    assert_memory_equal(out, ((uint16_t[]){1, 2, 4}), 6);
    const float same[4] = {7, 7, 7, 7};
    umbra_predict_top(same, 4, 2, out);
    assert_memory_equal(out, ((uint16_t[]){0, 1}), 4);
    const float broken[6] = {NAN, 1, -INFINITY, NAN, INFINITY, -5};
    umbra_predict_top(broken, 6, 6, out);
    assert_memory_equal(out, ((uint16_t[]){4, 1, 5, 2, 0, 3}), 12);
    out[0] = 99;
    umbra_predict_top(tied, 10, 0, out);
    assert_int_equal(out[0], 99);

    umbra_random random;
    umbra_random_seed(&random, 4);
    for (int round = 0; round < 300; round++) {
        float values[64];
        uint16_t best[64];
        int experts = 1 + (int)umbra_random_below(&random, 64);
        int m = 1 + (int)umbra_random_below(&random, (uint64_t)experts);
        for (int e = 0; e < experts; e++)
            values[e] = (float)umbra_random_below(&random, 20);
        umbra_predict_top(values, experts, m, best);
        for (int i = 0; i < m; i++) { /* best[i] has exactly i experts before it */
            int before = 0;
            for (int e = 0; e < experts; e++)
                before +=
                    values[e] > values[best[i]] || (values[e] == values[best[i]] && e < best[i]);
            assert_int_equal(before, i);
        }
    }
}

static void costs(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.features = 3;
    umbra_gates gates = random_gates(&spec, 9);
    umbra_shadow *shadow = random_shadow(&spec, 8);
    umbra_predictor *p;
    must(umbra_predictor_shadow(&p, shadow, &gates, 0, &err));
    /* gates and W: 40 x 24 each, W1 13 x 24, W2 40 x 13; 5 lists of 3 rows of 13 + 40 */
    uint64_t macs = 2 * 40 * 24 + 13 * 24 + 40 * 13 + 15 * 53;
    assert_int_equal(umbra_predictor_macs(p), macs);
    assert_int_equal(umbra_predictor_bytes(p), 4 * (macs + 40 + 4 + 3 * 13));
    assert_string_equal(umbra_predictor_name(p), "residual");
    umbra_predictor_close(&p);
    must(umbra_predictor_shadow(&p, shadow, &gates, 3 | UMBRA_OFF_INNER | UMBRA_OFF_LINEAR, &err));
    assert_int_equal(umbra_predictor_macs(p), 40 * 24);
    umbra_predictor_close(&p);
    shadow->spec.weights = UMBRA_SHADOW_I8;
    must(umbra_predictor_shadow(&p, shadow, &gates, 0, &err));
    assert_int_equal(umbra_predictor_macs(p), macs);
    assert_int_equal(umbra_predictor_bytes(p),
                     macs + 4 * (40 + 40 + 13 + 40 + 15 + 15) + 4 * (40 + 4 + 3 * 13));
    umbra_predictor_close(&p);
    must(umbra_predictor_gate(&p, &gates, 3, &err));
    assert_int_equal(umbra_predictor_macs(p), 40 * 24);
    assert_int_equal(umbra_predictor_bytes(p), 4 * 40 * 24);
    assert_string_equal(umbra_predictor_name(p), "gate");
    umbra_predictor_close(&p);
    umbra_shadow_free(&shadow);
    umbra_free(gates.data);
}

static void refusals(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    umbra_gates gates = random_gates(&spec, 9), bad = gates;
    umbra_shadow *shadow = random_shadow(&spec, 8);
    umbra_predictor *p;
    assert_int_equal(umbra_predictor_shadow(&p, shadow, &gates, 8, &err), UMBRA_E_ARGUMENT);
    assert_null(p);
    assert_int_equal(umbra_predictor_shadow(&p, shadow, NULL, 0, &err), UMBRA_E_ARGUMENT);
    bad.experts = 11;
    assert_int_equal(umbra_predictor_shadow(&p, shadow, &bad, 0, &err), UMBRA_E_MISMATCH);
    assert_non_null(strstr(err.message, "11 experts"));
    assert_int_equal(umbra_predictor_gate(&p, &gates, 11, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_predictor_oracle(&p, &gates, 0, &err), UMBRA_E_ARGUMENT);
    bad.experts = 0;
    assert_int_equal(umbra_predictor_previous(&p, &bad, 1, &err), UMBRA_E_ARGUMENT);
    assert_null(p);

    uint64_t counts[60] = {0};
    umbra_predict_scratch *scratch;
    for (long n = 1; n <= 2; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_predictor_frequency(&p, &gates, 3, counts, &err), UMBRA_E_NOMEM);
        assert_null(p);
    }
    must(umbra_predictor_shadow(&p, shadow, &gates, 0, &err));
    for (long n = 1; n <= 5; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_predict_scratch_open(&scratch, p, &err), UMBRA_E_NOMEM);
        assert_null(scratch);
    }
    umbra_memory_fail_after(0);
    umbra_predictor_close(&p);
    umbra_shadow_free(&shadow);
    umbra_free(gates.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward),
        cmocka_unit_test(ablations),
        cmocka_unit_test(batches),
        cmocka_unit_test(untrained_is_the_gate),
        cmocka_unit_test(lists_and_counts),
        cmocka_unit_test(control),
        cmocka_unit_test(calibration),
        cmocka_unit_test(best_of),
        cmocka_unit_test(costs),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
