/* The fast form: every instruction set against scalar, every form against the batch predictor. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>

#include "base/memory.h"
#include "kernels/kernels.h"
#include "predict/fast.h"
#include "support.h"

enum { ROWS = 9 /* more than a slice, not a multiple */, D = UMBRA_MAX_DISTANCE, BEST = 5 };
enum { OUT_MAX = 6 * ROWS * D * 16 };

static umbra_error err;
static float scores[OUT_MAX], others[OUT_MAX];

static void must(int rc)
{
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
}

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
    fill_random(&random, b->averages, ROWS * wide, 0.5);
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

/* A few channels far above the rest, as large models have them. */
static void add_outliers(batch *b, const umbra_shadow_spec *spec)
{
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < 3; k++)
            b->states[i * spec->hidden + (i * 131 + k * 17) % spec->hidden] = 9000.0f - 4000.0f * k;
}

/* Shadows, gates and inputs of one spec. */
typedef struct fixture {
    umbra_shadow_spec spec;
    umbra_shadow *shadow;
    umbra_gates gates;
    batch b;
} fixture;

static void fixture_init(fixture *f, const umbra_shadow_spec *spec, uint64_t seed)
{
    f->spec = *spec;
    f->shadow = random_shadow(spec, seed);
    f->gates = random_gates(spec, seed + 1);
    batch_init(&f->b, spec, seed + 2);
}

static void fixture_release(fixture *f)
{
    umbra_shadow_free(&f->shadow);
    umbra_free(f->gates.data);
    batch_release(&f->b);
}

/* Scores of all sources, one after the other. */
static void run_fast(const fixture *f, umbra_shadow_weights form, const char *isa, float *out)
{
    umbra_shadow_fast *fast;
    umbra_fast_scratch *scratch;
    must(umbra_shadow_fast_open(&fast, f->shadow, &f->gates, form, isa, &err));
    must(umbra_fast_scratch_open(&scratch, fast, &err));
    for (int source = 0; source < f->spec.layers; source++)
        umbra_shadow_fast_scores(fast, source, &f->b.input, scratch,
                                 out + source * ROWS * D * f->spec.experts);
    umbra_fast_scratch_close(&scratch);
    umbra_shadow_fast_close(&fast);
}

static void run_standard(const fixture *f, float *out)
{
    umbra_predictor *p;
    umbra_predict_scratch *scratch;
    must(umbra_predictor_shadow(&p, f->shadow, &f->gates, 0, &err));
    must(umbra_predict_scratch_open(&scratch, p, &err));
    for (int source = 0; source < f->spec.layers; source++)
        umbra_predict(p, source, &f->b.input, scratch, out + source * ROWS * D * f->spec.experts);
    umbra_predict_scratch_close(&scratch);
    umbra_predictor_close(&p);
}

/* Widths around the lines and blocks of every form, all archs, scopes and features. */
static bool variant(int i, umbra_shadow_spec *spec)
{
    static const struct {
        int hidden, experts, width;
    } sizes[] = {{24, 10, 13}, {64, 16, 64}, {65, 7, 520},
                 {1, 5, 127},  {530, 9, 70}, {1030, 12, 1}};
    if (i >= 24)
        return false;
    *spec = small_spec();
    spec->hidden = sizes[i % 6].hidden;
    spec->experts = sizes[i % 6].experts;
    spec->width = sizes[i % 6].width;
    spec->arch = i / 6 % 2 ? UMBRA_SHADOW_SEED : UMBRA_SHADOW_RESIDUAL;
    spec->shared = i / 12;
    spec->features = (unsigned)(i * 5 % 8);
    spec->averages = i % 3 == 2 ? 2 : 0;
    spec->decay[0] = spec->decay[1] = 0.5f;
    spec->loss = i % 2 ? UMBRA_LOSS_KL : UMBRA_LOSS_BCE;
    return true;
}

static void instruction_sets_agree(void **state)
{
    (void)state;
    umbra_shadow_spec spec;
    const char *isa;
    for (int k = 0; (isa = umbra_kernels_name(k)) != NULL; k++) {
        if (strcmp(isa, "reference") == 0 || strcmp(isa, "scalar") == 0)
            continue;
        print_message("           %s\n", isa);
        for (int i = 0; variant(i, &spec); i++) {
            fixture f;
            fixture_init(&f, &spec, (uint64_t)i);
            if (i % 2)
                add_outliers(&f.b, &spec);
            for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
                size_t n = (size_t)(spec.layers * ROWS * D * spec.experts);
                memset(scores, 0, sizeof scores);
                memset(others, 0, sizeof others);
                run_fast(&f, (umbra_shadow_weights)form, "scalar", scores);
                run_fast(&f, (umbra_shadow_weights)form, isa, others);
                assert_memory_equal(scores, others, n * sizeof *scores);
            }
            fixture_release(&f);
        }
    }
}

/* Root mean square of the differences of two sets of scores over that of the first. */
static double difference(const float *a, const float *b, int n, double *most)
{
    double squares = 0.0, errors = 0.0, worst = 0.0;
    for (int i = 0; i < n; i++) {
        double e = fabs((double)a[i] - (double)b[i]);
        squares += (double)a[i] * (double)a[i];
        errors += e * e;
        worst = fmax(worst, e);
    }
    *most = worst / sqrt(squares / n);
    return sqrt(errors / squares);
}

/* The stated errors, as shares of the scores' root mean square. */
static const struct {
    double mean, most;
} allowed[] = {
    [UMBRA_SHADOW_F32] = {2e-6, 2e-5},
    [UMBRA_SHADOW_BF16] = {4e-3, 2e-2},
    [UMBRA_SHADOW_I8] = {3e-2, 2e-1},
};

static void close_to_the_standard(void **state)
{
    (void)state;
    umbra_shadow_spec spec;
    for (int i = 0; variant(i, &spec); i++) {
        fixture f;
        fixture_init(&f, &spec, 100 + (uint64_t)i);
        if (i % 4 == 0)
            add_outliers(&f.b, &spec);
        memset(scores, 0, sizeof scores);
        run_standard(&f, scores);
        for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
            double most;
            memset(others, 0, sizeof others);
            run_fast(&f, (umbra_shadow_weights)form, NULL, others);
            double mean = difference(scores, others, spec.layers * ROWS * D * spec.experts, &most);
            if (mean > allowed[form].mean || most > allowed[form].most)
                fail_msg("variant %d form %d: %g, %g at most", i, form, mean, most);
        }
        fixture_release(&f);
    }
}

/* Large channels must not cost the small ones their bits: weights that look at the small ones only
 * see the same error as without. */
static void outliers_do_not_flatten(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.hidden = 4096;
    spec.experts = 16;
    spec.arch = UMBRA_SHADOW_SEED;
    fixture f;
    fixture_init(&f, &spec, 7);
    add_outliers(&f.b, &spec);
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < 3; k++)
            for (int n = 0; n < spec.width; n++)
                f.shadow->networks[0].w1[n * 4096 + (i * 131 + k * 17) % 4096] = 0.0f;
    double most;
    memset(scores, 0, sizeof scores);
    memset(others, 0, sizeof others);
    run_standard(&f, scores);
    run_fast(&f, UMBRA_SHADOW_I8, NULL, others);
    double mean = difference(scores, others, ROWS * D * 16, &most); /* of source 0 */
    if (mean > allowed[UMBRA_SHADOW_I8].mean)
        fail_msg("%g, %g at most", mean, most);
    fixture_release(&f);
}

static void probabilities_and_best(void **state)
{
    (void)state;
    umbra_shadow_spec spec;
    for (int i = 0; variant(i, &spec); i += 5) {
        fixture f;
        umbra_shadow_fast *fast;
        umbra_fast_scratch *scratch;
        static uint16_t best[ROWS * D * BEST];
        fixture_init(&f, &spec, (uint64_t)i);
        must(umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_I8, NULL, &err));
        must(umbra_fast_scratch_open(&scratch, fast, &err));
        assert_int_equal(umbra_shadow_fast_spec(fast)->weights, UMBRA_SHADOW_I8);
        for (int source = 0; source <= spec.layers; source++) {
            for (int k = 0; k < OUT_MAX; k++)
                scores[k] = others[k] = -77.0f;
            memset(best, 0xab, sizeof best);
            umbra_shadow_fast_scores(fast, source, &f.b.input, scratch, scores);
            umbra_shadow_fast_predict(fast, source, &f.b.input, scratch, others, BEST, best);
            for (int row = 0; row < ROWS * D; row++) {
                uint16_t wanted[BEST];
                bool exists = source + row % D < spec.layers;
                umbra_predict_top(scores + row * spec.experts, spec.experts, BEST, wanted);
                if (!exists)
                    memset(wanted, 0xab, sizeof wanted);
                assert_memory_equal(best + row * BEST, wanted, sizeof wanted);
                for (int e = 0; e < spec.experts && !exists; e++)
                    assert_true(others[row * spec.experts + e] == -77.0f);
            }
            if (source < spec.layers)
                umbra_predict_calibrate(f.shadow, source, ROWS, scores);
            for (int k = 0; k < ROWS * D * spec.experts; k++)
                assert_true(fabsf(others[k] - scores[k]) < 3e-6f);
        }
        umbra_shadow_fast_predict(fast, 1, &f.b.input, scratch, others, 0, NULL);
        umbra_fast_scratch_close(&scratch);
        umbra_fast_scratch_close(&scratch);
        umbra_shadow_fast_close(&fast);
        umbra_shadow_fast_close(&fast);
        fixture_release(&f);
    }
}

/* Scores do not depend on the batch, nor on what a scratch was used for before. */
static void batches(void **state)
{
    (void)state;
    umbra_shadow_spec spec;
    for (int i = 1; variant(i, &spec); i += 4) {
        fixture f;
        umbra_shadow_fast *fast;
        umbra_fast_scratch *scratch;
        fixture_init(&f, &spec, (uint64_t)i);
        add_outliers(&f.b, &spec);
        must(umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_I8, NULL, &err));
        must(umbra_fast_scratch_open(&scratch, fast, &err));
        umbra_shadow_fast_scores(fast, 1, &f.b.input, scratch, scores);
        size_t outputs = (size_t)D * (size_t)spec.experts;
        for (size_t row = ROWS; row-- > 0;) {
            size_t hidden = (size_t)spec.hidden;
            umbra_predict_input one = {.n = 1,
                                       .states = f.b.states + row * hidden,
                                       .averages =
                                           f.b.averages + row * hidden * (size_t)spec.averages,
                                       .now = f.b.now + row,
                                       .previous = f.b.previous + row,
                                       .previous2 = f.b.previous2 + row};
            umbra_shadow_fast_scores(fast, 1, &one, scratch, others);
            assert_memory_equal(others, scores + row * outputs, outputs * sizeof *others);
        }
        umbra_fast_scratch_close(&scratch);
        umbra_shadow_fast_close(&fast);
        fixture_release(&f);
    }
}

static void as_a_predictor(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.features = 7;
    spec.weights = UMBRA_SHADOW_I8;
    fixture f;
    umbra_shadow_fast *fast;
    umbra_fast_scratch *direct;
    umbra_predictor *p, *slow;
    umbra_predict_scratch *scratch;
    fixture_init(&f, &spec, 1);
    must(umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_I8, NULL, &err));
    must(umbra_predictor_fast(&p, fast, &err));
    must(umbra_predict_scratch_open(&scratch, p, &err));
    must(umbra_fast_scratch_open(&direct, fast, &err));
    umbra_predict(p, 2, &f.b.input, scratch, scores);
    umbra_shadow_fast_scores(fast, 2, &f.b.input, direct, others);
    assert_memory_equal(scores, others, ROWS * D * 10 * sizeof *scores);
    assert_string_equal(umbra_predictor_name(p), "residual");
    must(umbra_predictor_shadow(&slow, f.shadow, &f.gates, 0, &err));
    assert_int_equal(umbra_predictor_macs(p), umbra_predictor_macs(slow) - 40 * 24);
    assert_int_equal(umbra_predictor_bytes(p), umbra_predictor_bytes(slow) - 40 * (24 + 4));
    umbra_predict_scratch_close(&scratch);
    for (long n = 1; n <= 3; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_predict_scratch_open(&scratch, p, &err), UMBRA_E_NOMEM);
        assert_null(scratch);
    }
    umbra_memory_fail_after(0);
    umbra_fast_scratch_close(&direct);
    umbra_predictor_close(&slow);
    umbra_predictor_close(&p);
    umbra_shadow_fast_close(&fast);
    fixture_release(&f);
}

/* States that are not finite, zero, tiny or huge give some answer, and no trap. */
static void strange_states(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY, 0.0f, 0x1p-149f, 0x1.fp127f, 1e-30f};
    umbra_shadow_spec spec = small_spec();
    spec.hidden = 700;
    fixture f;
    fixture_init(&f, &spec, 1);
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
            umbra_shadow_fast *fast;
            umbra_fast_scratch *scratch;
            uint16_t best[ROWS * D * BEST];
            for (int k = 0; k < ROWS * 700; k++)
                f.b.states[k] = k % 700 == 650 || k / 700 % 2 ? values[v] : 1.0f;
            must(umbra_shadow_fast_open(&fast, f.shadow, &f.gates, (umbra_shadow_weights)form, NULL,
                                        &err));
            must(umbra_fast_scratch_open(&scratch, fast, &err));
            umbra_shadow_fast_predict(fast, 0, &f.b.input, scratch, scores, BEST, best);
            for (int k = 0; k < ROWS * D * BEST; k++)
                assert_in_range(best[k], 0, 9);
            for (int k = 0; k < ROWS * D * 10; k++)
                assert_true(scores[k] >= 0.0f && scores[k] <= 1.0f);
            umbra_fast_scratch_close(&scratch);
            umbra_shadow_fast_close(&fast);
        }
    }
    fixture_release(&f);
}

static void sizes(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.hidden = 128;
    spec.experts = 16;
    spec.width = 64;
    fixture f;
    umbra_shadow_fast *fast;
    fixture_init(&f, &spec, 1);
    for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
        uint64_t size = form == UMBRA_SHADOW_F32 ? 4 : form == UMBRA_SHADOW_BF16 ? 2 : 1;
        must(umbra_shadow_fast_open(&fast, f.shadow, &f.gates, (umbra_shadow_weights)form, NULL,
                                    &err));
        /* W 64 x 128, W1 64 x 128, W2 64 x 64; fewer rows where targets end */
        assert_int_equal(umbra_shadow_fast_read_bytes(fast, 2), size * (2 * 64 * 128 + 64 * 64));
        assert_int_equal(umbra_shadow_fast_read_bytes(fast, 5),
                         size * (16 * 128 + 64 * 128 + 16 * 64));
        assert_int_equal(umbra_shadow_fast_read_bytes(fast, 6), 0);
        assert_true(umbra_shadow_fast_bytes(fast) >= 6 * umbra_shadow_fast_read_bytes(fast, 2));
        assert_true(umbra_shadow_fast_bytes(fast) < 8 * umbra_shadow_fast_read_bytes(fast, 2));
        (void)umbra_shadow_fast_touch(fast, 5);
        umbra_shadow_fast_close(&fast);
    }
    fixture_release(&f);
    /* A shared network has the gates beside it, once for all sources. */
    spec.shared = true;
    fixture_init(&f, &spec, 1);
    must(umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_I8, NULL, &err));
    assert_int_equal(umbra_shadow_fast_read_bytes(fast, 2), 3 * 64 * 128 + 64 * 64);
    assert_true(umbra_shadow_fast_bytes(fast) < 2 * (2 * 64 * 128 + 64 * 64) + 6 * 16 * 128);
    umbra_shadow_fast_close(&fast);
    fixture_release(&f);
}

static void refusals(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    umbra_shadow_fast *fast;
    umbra_fast_scratch *scratch;
    fixture f;
    spec.shared = true;
    fixture_init(&f, &spec, 1);
    assert_int_equal(
        umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_F32, "sse9", &err),
        UMBRA_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "sse9"));
    assert_null(fast);
    assert_int_equal(umbra_shadow_fast_open(&fast, f.shadow, NULL, UMBRA_SHADOW_F32, NULL, &err),
                     UMBRA_E_ARGUMENT);
    assert_int_equal(
        umbra_shadow_fast_open(&fast, f.shadow, &f.gates, (umbra_shadow_weights)3, NULL, &err),
        UMBRA_E_ARGUMENT);
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_memory_fail_after(n);
        rc = umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_I8, NULL, &err);
        umbra_memory_fail_after(0);
        assert_int_equal(fast != NULL, rc == UMBRA_OK);
    }
    for (long n = 1; n <= 2; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_fast_scratch_open(&scratch, fast, &err), UMBRA_E_NOMEM);
        assert_null(scratch);
    }
    umbra_memory_fail_after(0);
    umbra_shadow_fast_close(&fast);
    f.gates.layers++;
    assert_int_equal(
        umbra_shadow_fast_open(&fast, f.shadow, &f.gates, UMBRA_SHADOW_F32, NULL, &err),
        UMBRA_E_MISMATCH);
    fixture_release(&f);

    spec = small_spec();
    spec.arch = UMBRA_SHADOW_SEED;
    spec.hidden = 65536;
    spec.averages = 2;
    spec.decay[0] = spec.decay[1] = 0.5f;
    spec.width = 1;
    umbra_shadow *wide;
    must(umbra_shadow_create(&wide, &spec, &err));
    assert_int_equal(umbra_shadow_fast_open(&fast, wide, NULL, UMBRA_SHADOW_I8, NULL, &err),
                     UMBRA_E_UNSUPPORTED);
    must(umbra_shadow_fast_open(&fast, wide, NULL, UMBRA_SHADOW_BF16, "scalar", &err));
    assert_string_equal(umbra_shadow_fast_isa(fast), "scalar");
    umbra_shadow_fast_close(&fast);
    umbra_shadow_free(&wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(close_to_the_standard),
        cmocka_unit_test(outliers_do_not_flatten),
        cmocka_unit_test(probabilities_and_best),
        cmocka_unit_test(batches),
        cmocka_unit_test(strange_states),
        cmocka_unit_test(as_a_predictor),
        cmocka_unit_test(sizes),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
