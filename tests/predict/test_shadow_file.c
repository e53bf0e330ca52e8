/* Shadow models in memory and their way through a file, in every form. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>
#include <unistd.h>

#include "predict/features.h"
#include "base/memory.h"
#include "safetensors/safetensors.h"
#include "support.h"

static char path[300], partial[320];
static umbra_error err;

static int set_up(void **state)
{
    (void)state;
    temporary_path(path, sizeof path);
    snprintf(partial, sizeof partial, "%s.part", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void must(int rc)
{
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
}

/* Every arch, scope and set of inputs that the layer knows, in turn; false past the last. */
static bool variant(int i, umbra_shadow_spec *spec)
{
    static const unsigned features[] = {0, UMBRA_FEATURE_NOW, UMBRA_FEATURE_PREVIOUS2, 7};
    if (i >= 2 * 2 * 4 * 2)
        return false;
    *spec = small_spec();
    spec->arch = i & 1 ? UMBRA_SHADOW_SEED : UMBRA_SHADOW_RESIDUAL;
    spec->shared = i & 2;
    spec->features = features[i >> 2 & 3];
    spec->loss = i & 1 ? UMBRA_LOSS_KL : UMBRA_LOSS_BCE;
    if (i & 16) {
        spec->averages = 3;
        spec->decay[0] = 0.5f;
        spec->decay[1] = 0.9f;
        spec->decay[2] = 0.99f;
    }
    return true;
}

static void fresh_parameters(void **state)
{
    (void)state;
    umbra_shadow_spec spec;
    for (int i = 0; variant(i, &spec); i++) {
        umbra_shadow *shadow;
        must(umbra_shadow_create(&shadow, &spec, &err));
        assert_int_equal(shadow->count, spec.shared ? 1 : 6);
        int features = (spec.features & 1) * 10 + (spec.features >> 1 & 1) * 40 +
                       (spec.features >> 2 & 1) * 40 + (spec.shared ? 6 : 0);
        assert_int_equal(umbra_shadow_features(&spec), features);
        assert_int_equal(umbra_shadow_inputs(&spec), 24 * (1 + spec.averages));
        bool residual = spec.arch == UMBRA_SHADOW_RESIDUAL;
        size_t x = (size_t)umbra_shadow_inputs(&spec), f = (size_t)features;
        const size_t wanted[UMBRA_SHADOW_PARTS] = {
            13 * x,
            13 * f,
            13,
            13,
            13,
            40 * 13,
            40,
            residual ? 40 * x : 0,
            residual ? 40 * f : 0,
            residual ? 4 : 0,
        };
        float *parts[UMBRA_SHADOW_PARTS];
        size_t lengths[UMBRA_SHADOW_PARTS];
        umbra_shadow_parts(&spec, &shadow->networks[shadow->count - 1], parts, lengths);
        for (int p = 0; p < UMBRA_SHADOW_PARTS; p++) {
            const char *name = umbra_shadow_part_name(p);
            bool one = strcmp(name, "gain") == 0 || strcmp(name, "a") == 0;
            assert_int_equal(lengths[p], wanted[p]);
            assert_int_equal(parts[p] != NULL, lengths[p] > 0);
            for (size_t k = 0; k < lengths[p]; k++)
                assert_true(parts[p][k] == (one ? 1.0f : 0.0f));
        }
        for (int k = 0; k < 7 * 8; k++)
            assert_true(shadow->calibration[k] == (k % 2 ? 0.0f : 1.0f));
        umbra_shadow_free(&shadow);
        assert_null(shadow);
    }
    assert_null(umbra_shadow_part_name(-1));
    assert_null(umbra_shadow_part_name(UMBRA_SHADOW_PARTS));
}

/* Largest distance of a value of a matrix from its reduced form, or -1 for vectors. */
static double tolerance(umbra_shadow_weights form, const float *values, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)values[i]));
    return form == UMBRA_SHADOW_F32    ? 0.0
           : form == UMBRA_SHADOW_BF16 ? most * 0x1p-8
                                       : most / 127.0 * 0.50001;
}

static void compare_networks(const umbra_shadow *a, const umbra_shadow *b)
{
    static const char *const vectors = "b1 gain shift bias a";
    for (int i = 0; i < a->count; i++) {
        float *left[UMBRA_SHADOW_PARTS], *right[UMBRA_SHADOW_PARTS];
        size_t lengths[UMBRA_SHADOW_PARTS], same[UMBRA_SHADOW_PARTS];
        umbra_shadow_parts(&a->spec, &a->networks[i], left, lengths);
        umbra_shadow_parts(&b->spec, &b->networks[i], right, same);
        for (int p = 0; p < UMBRA_SHADOW_PARTS; p++) {
            bool vector = strstr(vectors, umbra_shadow_part_name(p)) != NULL;
            double most = vector ? 0.0 : tolerance(a->spec.weights, left[p], lengths[p]);
            assert_int_equal(lengths[p], same[p]);
            for (size_t k = 0; k < lengths[p]; k++)
                assert_true(fabs((double)left[p][k] - (double)right[p][k]) <= most);
        }
    }
}

static void compare_specs(const umbra_shadow_spec *a, const umbra_shadow_spec *b)
{
    assert_string_equal(a->model_hash, b->model_hash);
    assert_string_equal(a->model_name, b->model_name);
    assert_string_equal(a->architecture, b->architecture);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->experts, b->experts);
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->arch, b->arch);
    assert_int_equal(a->shared, b->shared);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->features, b->features);
    assert_int_equal(a->averages, b->averages);
    assert_memory_equal(a->decay, b->decay, sizeof a->decay);
    assert_int_equal(a->loss, b->loss);
    assert_int_equal(a->weights, b->weights);
}

static void round_trips(void **state)
{
    (void)state;
    umbra_shadow_spec spec;
    for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
        for (int i = 0; variant(i, &spec); i++) {
            spec.weights = (umbra_shadow_weights)form;
            umbra_shadow *shadow = random_shadow(&spec, (uint64_t)i), *loaded;
            if (i % 3 == 0)
                shadow->training = umbra_strdup("{\"tokens\": 1, \"ids\": [\"\\n\xe2\x82\xac\"]}");
            if (i % 2 == 0)
                shadow->recall = umbra_strdup("{}");
            must(umbra_shadow_save(shadow, path, &err));
            must(umbra_shadow_load(&loaded, path, &err));
            compare_specs(&shadow->spec, &loaded->spec);
            compare_networks(shadow, loaded);
            assert_memory_equal(shadow->calibration, loaded->calibration, 7 * 8 * sizeof(float));
            assert_int_equal(loaded->training != NULL, i % 3 == 0);
            if (loaded->training)
                assert_string_equal(loaded->training, shadow->training);
            assert_int_equal(loaded->recall != NULL, i % 2 == 0);
            umbra_shadow_free(&loaded);
            umbra_shadow_free(&shadow);
        }
    }
}

/* What was read from a reduced form is written the same again: a file does not wear out. */
static void reduced_forms_are_stable(void **state)
{
    (void)state;
    for (int form = UMBRA_SHADOW_BF16; form <= UMBRA_SHADOW_I8; form++) {
        umbra_shadow_spec spec = small_spec();
        spec.weights = (umbra_shadow_weights)form;
        umbra_shadow *shadow = random_shadow(&spec, 3), *once, *twice;
        must(umbra_shadow_save(shadow, path, &err));
        must(umbra_shadow_load(&once, path, &err));
        must(umbra_shadow_save(once, path, &err));
        must(umbra_shadow_load(&twice, path, &err));
        const umbra_shadow_network *a = &once->networks[2], *b = &twice->networks[2];
        for (int k = 0; k < 13 * 24; k++)
            assert_true(fabsf(a->w1[k] - b->w1[k]) <= fabsf(a->w1[k]) * 0x1p-22f);
        umbra_shadow_free(&shadow);
        umbra_shadow_free(&once);
        umbra_shadow_free(&twice);
    }
}

/* Rows of zeros, of the smallest numbers and of the largest. */
static void extreme_rows(void **state)
{
    (void)state;
    static const float sizes[] = {0.0f, 0x1p-149f, 0x1p-126f,  0x1p-100f,
                                  1.0f, 0x1p+100f, 0x1.fep127f};
    for (int form = UMBRA_SHADOW_F32; form <= UMBRA_SHADOW_I8; form++) {
        umbra_shadow_spec spec = small_spec();
        spec.weights = (umbra_shadow_weights)form;
        umbra_shadow *shadow, *loaded;
        must(umbra_shadow_create(&shadow, &spec, &err));
        float *w1 = shadow->networks[0].w1;
        for (int row = 0; row < 7; row++)
            for (int k = 0; k < 24; k++)
                w1[row * 24 + k] = k % 3 ? sizes[row] : k % 2 ? 0.0f : -sizes[row];
        must(umbra_shadow_save(shadow, path, &err));
        must(umbra_shadow_load(&loaded, path, &err));
        for (int k = 0; k < 7 * 24; k++) {
            float got = loaded->networks[0].w1[k];
            float most = fmaxf(fabsf(w1[k]) * 0x1p-8f, form == UMBRA_SHADOW_F32 ? 0.0f : 0x1p-133f);
            if (form == UMBRA_SHADOW_I8 && fabsf(w1[k]) < 0x1p-119f)
                most = fabsf(w1[k]);
            assert_true(fabsf(got - w1[k]) <= most);
        }
        umbra_shadow_free(&loaded);
        umbra_shadow_free(&shadow);
    }
}

static void refuses_to_make(void **state)
{
    (void)state;
    const struct {
        size_t offset;
        int value;
        const char *words;
    } cases[] = {
        {offsetof(umbra_shadow_spec, layers), 0, "layers"},
        {offsetof(umbra_shadow_spec, layers), 1025, "layers"},
        {offsetof(umbra_shadow_spec, hidden), -1, "hidden"},
        {offsetof(umbra_shadow_spec, hidden), 65537, "hidden"},
        {offsetof(umbra_shadow_spec, experts), 0, "experts"},
        {offsetof(umbra_shadow_spec, experts), 65535, "experts"},
        {offsetof(umbra_shadow_spec, used), 0, "experts_used"},
        {offsetof(umbra_shadow_spec, used), 11, "experts_used"},
        {offsetof(umbra_shadow_spec, width), 0, "width"},
        {offsetof(umbra_shadow_spec, features), 8, "features"},
        {offsetof(umbra_shadow_spec, averages), 1, "decay"},
        {offsetof(umbra_shadow_spec, averages), 5, "averages"},
        {offsetof(umbra_shadow_spec, averages), -1, "averages"},
        {offsetof(umbra_shadow_spec, arch), 2, "arch"},
        {offsetof(umbra_shadow_spec, loss), 2, "loss"},
        {offsetof(umbra_shadow_spec, weights), 3, "weights"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        umbra_shadow_spec spec = small_spec();
        memcpy((char *)&spec + cases[i].offset, &cases[i].value, sizeof(int));
        umbra_shadow *shadow = (umbra_shadow *)path;
        assert_int_equal(umbra_shadow_create(&shadow, &spec, &err), UMBRA_E_ARGUMENT);
        assert_null(shadow);
        if (!strstr(err.message, cases[i].words))
            fail_msg("wanted \"%s\": %s", cases[i].words, err.message);
    }
    umbra_shadow_spec spec = small_spec();
    umbra_shadow *shadow;
    memset(spec.model_hash, 'a', sizeof spec.model_hash);
    assert_int_equal(umbra_shadow_create(&shadow, &spec, &err), UMBRA_E_ARGUMENT);
    spec = small_spec();
    memset(spec.model_name, 'a', sizeof spec.model_name);
    assert_int_equal(umbra_shadow_create(&shadow, &spec, &err), UMBRA_E_ARGUMENT);
    spec = small_spec();
    memset(spec.architecture, 'a', sizeof spec.architecture);
    assert_int_equal(umbra_shadow_create(&shadow, &spec, &err), UMBRA_E_ARGUMENT);
}

static void expect_unwritten(const umbra_shadow *shadow, const char *words)
{
    assert_int_equal(umbra_shadow_save(shadow, path, &err), UMBRA_E_ARGUMENT);
    if (!strstr(err.message, words) || !strstr(err.message, path))
        fail_msg("wanted \"%s\": %s", words, err.message);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(partial, F_OK), 0);
}

static void refuses_to_write(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    umbra_shadow *shadow = random_shadow(&spec, 1);
    unlink(path);
    float *value = &shadow->networks[4].w2[17], good = *value;
    *value = NAN;
    expect_unwritten(shadow, "value 17 of s.4.W2 is nan");
    *value = -INFINITY;
    expect_unwritten(shadow, "value 17 of s.4.W2 is -inf");
    *value = 0x1.ffp127f; /* finite here, but rounds to infinity in 16 bits */
    shadow->spec.weights = UMBRA_SHADOW_BF16;
    expect_unwritten(shadow, "s.4.W2");
    *value = good;
    shadow->calibration[9] = NAN;
    expect_unwritten(shadow, "value 9 of calibration");
    shadow->calibration[9] = 1.0f;
    static const char *const texts[] = {"", "[]", "1", "{", "{\"a\":1,\"a\"}", "{} {}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        shadow->training = umbra_strdup(texts[i]);
        expect_unwritten(shadow, "training");
        shadow->recall = shadow->training;
        shadow->training = NULL;
        expect_unwritten(shadow, "recall");
        umbra_free(shadow->recall);
        shadow->recall = NULL;
    }
    must(umbra_shadow_save(shadow, path, &err));
    assert_int_equal(umbra_shadow_save(shadow, "/nonexistent/folder/x", &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "/nonexistent/folder/x"));
    umbra_shadow_free(&shadow);
}

/* Whichever allocation fails, nothing is leaked, nothing half-written stays. */
static void failing_allocations(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    spec.weights = UMBRA_SHADOW_I8;
    spec.features = UMBRA_FEATURE_NOW;
    umbra_shadow *shadow = random_shadow(&spec, 1), *loaded;
    shadow->training = umbra_strdup("{}");
    int rc = UMBRA_E_NOMEM;
    unlink(path);
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_memory_fail_after(n);
        rc = umbra_shadow_save(shadow, path, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || rc == UMBRA_E_NOMEM);
        assert_int_not_equal(access(partial, F_OK), 0);
        if (access(path, F_OK) == 0) {
            must(umbra_shadow_load(&loaded, path, &err));
            umbra_shadow_free(&loaded);
            unlink(path);
        }
    }
    must(umbra_shadow_save(shadow, path, &err));
    rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_memory_fail_after(n);
        rc = umbra_shadow_load(&loaded, path, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || rc == UMBRA_E_NOMEM);
        assert_int_equal(loaded != NULL, rc == UMBRA_OK);
    }
    umbra_shadow_free(&loaded);
    umbra_shadow_free(&shadow);
}

static void belongs_to_a_model(void **state)
{
    (void)state;
    umbra_shadow_spec spec = small_spec();
    umbra_shadow *shadow = random_shadow(&spec, 1);
    must(umbra_shadow_check(&shadow->spec, "x", spec.model_hash, "any name", 6, 24, 10, 3, &err));
    const struct {
        const char *hash;
        int layers, hidden, experts, used;
    } others[] = {
        {"fedcba9876543210fedcba9876543210", 6, 24, 10, 3},
        {spec.model_hash, 7, 24, 10, 3},
        {spec.model_hash, 6, 25, 10, 3},
        {spec.model_hash, 6, 24, 11, 3},
        {spec.model_hash, 6, 24, 10, 4},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(umbra_shadow_check(&shadow->spec, "file.x", others[i].hash, "other",
                                            others[i].layers, others[i].hidden, others[i].experts,
                                            others[i].used, &err),
                         UMBRA_E_MISMATCH);
        assert_non_null(strstr(err.message, "file.x"));
        assert_non_null(strstr(err.message, "small (hash 0123456789abcdef"));
        assert_non_null(strstr(err.message, "other (hash "));
        assert_non_null(strstr(err.message, others[i].hash));
    }
    umbra_shadow_free(&shadow);
    umbra_shadow_free(&shadow);
    umbra_shadow_free(NULL);
}

static void normalising_and_averaging(void **state)
{
    (void)state;
    const float values[4] = {1.0f, -2.0f, 3.0f, -4.0f};
    float r[4], average[4] = {NAN, NAN, NAN, NAN};
    umbra_shadow_normalise(values, 4, r);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(r[i] - values[i] / sqrtf(7.5f)) < 1e-6f);
    umbra_shadow_average(average, r, 4, 0.75f, true);
    assert_memory_equal(average, r, sizeof r);
    umbra_shadow_average(average, values, 4, 0.75f, false);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(average[i] - (0.75f * r[i] + 0.25f * values[i])) < 1e-6f);
    const float zeros[4] = {0};
    umbra_shadow_normalise(zeros, 4, r);
    for (int i = 0; i < 4; i++)
        assert_true(r[i] == 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_parameters),          cmocka_unit_test(round_trips),
        cmocka_unit_test(reduced_forms_are_stable),  cmocka_unit_test(extreme_rows),
        cmocka_unit_test(refuses_to_make),           cmocka_unit_test(refuses_to_write),
        cmocka_unit_test(failing_allocations),       cmocka_unit_test(belongs_to_a_model),
        cmocka_unit_test(normalising_and_averaging),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
