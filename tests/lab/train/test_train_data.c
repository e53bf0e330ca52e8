/* Documents, rows and their order. */
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
#include "predict/predictor.h"
#include "traces.h"
#include "lab/train/stream.h"
#include "with_blas.h"

enum { D = UMBRA_MAX_DISTANCE, H = TOY_HIDDEN, E = TOY_EXPERTS, K = TOY_USED };

static umbra_error err;
static char root[256], folder[300], other[300];

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if ((call) != UMBRA_OK)                                                                    \
            fail_msg("%s", err.message);                                                           \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(root, sizeof root, "%s/umbra-train-data-XXXXXX", tmp);
    if (!mkdtemp(root))
        return -1;
    snprintf(folder, sizeof folder, "%s/a", root);
    snprintf(other, sizeof other, "%s/b", root);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    umbra_memory_fail_after(0);
    toy_remove(folder);
    toy_remove(other);
    return rmdir(root);
}

static umbra_shadow_spec spec_of(const umbra_train_data *data, bool shared)
{
    const umbra_trace_info *info = umbra_train_info(data);
    umbra_shadow_spec spec = {
        .layers = info->layers,
        .hidden = info->hidden,
        .experts = info->experts,
        .used = info->used,
        .arch = UMBRA_SHADOW_RESIDUAL,
        .shared = shared,
        .width = 12,
        .features = UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS | UMBRA_FEATURE_PREVIOUS2,
        .averages = 2,
        .decay = {0.5f, 0.9f},
    };
    snprintf(spec.model_hash, sizeof spec.model_hash, "%s", info->model_hash);
    return spec;
}

static void open_data(umbra_train_data *data, float validation)
{
    const char *folders[] = {folder};
    MUST(umbra_train_data_open(data, folders, 1, validation, &err));
}

/* ---- the split ---- */

static void test_split(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 60, .tokens = 8});
    toy_write(other, &(toy){.documents = 20, .tokens = 8, .seed = 1});
    umbra_train_data one, both, most;
    const char *folders[] = {folder, other};
    open_data(&one, 0.2f);
    MUST(umbra_train_data_open(&both, folders, 2, 0.2f, &err));
    open_data(&most, 0.9f);
    assert_int_equal(one.n_training + one.n_validation, 60);
    assert_int_equal(both.n_training + both.n_validation, 80);
    assert_in_range(one.n_validation, 5, 20);
    assert_in_range(most.n_validation, 45, 59);
    uint64_t rows = 0;
    for (int i = 0; i < one.n_training + one.n_validation; i++)
        rows += (uint64_t)one.documents[i].at->rows;
    assert_int_equal(rows, one.training_rows + one.validation_rows);
    assert_int_equal(rows, one.tokens);
    /* Other documents beside it do not move a document; a larger share only adds. */
    for (int i = 0; i < one.n_validation; i++) {
        uint64_t hash = one.documents[one.n_training + i].at->hash;
        bool in_both = false, in_most = false;
        for (int j = 0; j < both.n_validation; j++)
            in_both |= both.documents[both.n_training + j].at->hash == hash;
        for (int j = 0; j < most.n_validation; j++)
            in_most |= most.documents[most.n_training + j].at->hash == hash;
        assert_true(in_both && in_most);
    }
    umbra_train_data again;
    open_data(&again, 0.2f);
    assert_true(again.fingerprint == one.fingerprint && one.fingerprint != most.fingerprint);
    umbra_train_data_release(&again);
    umbra_train_data_release(&one);
    umbra_train_data_release(&both);
    umbra_train_data_release(&most);
    umbra_train_data_release(&most); /* twice does no harm */
}

static void test_few_documents(void **state)
{
    (void)state;
    umbra_train_data data;
    const char *folders[] = {folder, other};
    toy_write(folder, &(toy){.documents = 1, .tokens = 8});
    int rc = umbra_train_data_open(&data, folders, 1, 0.1f, &err);
    assert_int_equal(rc, UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "only one document"));
    umbra_train_data_release(&data);
    toy_remove(folder);
    toy_write(folder, &(toy){.documents = 2, .tokens = 8});
    for (int i = 0; i < 2; i++) {
        open_data(&data, i == 0 ? 1e-6f : 0.9f);
        assert_int_equal(data.n_training, 1);
        assert_int_equal(data.n_validation, 1);
        umbra_train_data_release(&data);
    }
}

static void test_mismatch(void **state)
{
    (void)state;
    umbra_train_data data;
    const char *folders[] = {folder, other};
    toy_write(folder, &(toy){.documents = 4, .tokens = 8});
    const toy others[] = {
        {.documents = 4, .tokens = 8, .model_hash = "fedcba98765432100123456789abcdef"},
        {.documents = 4, .tokens = 8, .hidden = 24},
        {.documents = 4, .tokens = 8, .dense_first = true},
    };
    for (int i = 0; i < 3; i++) {
        toy_write(other, &others[i]);
        int rc = umbra_train_data_open(&data, folders, 2, 0.1f, &err);
        assert_int_equal(rc, UMBRA_E_MISMATCH);
        assert_non_null(strstr(err.message, folder));
        assert_non_null(strstr(err.message, other));
        umbra_train_data_release(&data);
        toy_remove(other);
    }
    assert_int_not_equal(umbra_train_data_open(&data, folders, 2, 0.1f, &err), UMBRA_OK);
    assert_non_null(strstr(err.message, other));
    umbra_train_data_release(&data);
    assert_int_equal(umbra_train_data_open(&data, folders, 0, 0.1f, &err), UMBRA_E_ARGUMENT);
    umbra_train_data_release(&data);
}

static void test_counts(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 9, .tokens = 600, .dense_first = true});
    umbra_train_data data;
    open_data(&data, 0.2f);
    uint64_t counts[TOY_LAYERS][E] = {0}, rows = data.training_rows;
    MUST(umbra_train_count_experts(&data, counts[0], &err));
    for (int layer = 0; layer < TOY_LAYERS; layer++) {
        uint64_t sum = 0;
        for (int e = 0; e < E; e++)
            sum += counts[layer][e];
        assert_int_equal(sum, layer == 0 ? 0 : rows * K);
    }
    umbra_train_data_release(&data);
}

/* ---- rows against the predictor, which reads the same formulas its own way ---- */

/* A whole document, as an engine would know it. */
typedef struct document {
    int tokens;
    float *states;    /* (T, H) of the source */
    uint16_t *routes; /* (T, L, k) */
} document;

static document read_document(const umbra_train_data *data, const umbra_train_document *d,
                              int source)
{
    umbra_trace *trace = data->traces[d->trace];
    document out = {.tokens = d->at->tokens};
    size_t t = (size_t)out.tokens;
    out.states = umbra_calloc(t * H, sizeof *out.states);
    out.routes = umbra_calloc(t * TOY_LAYERS * K, sizeof *out.routes);
    uint16_t *layer_routes = umbra_calloc(t * K, sizeof *layer_routes);
    assert_true(out.states && out.routes && layer_routes);
    MUST(umbra_trace_read_states(
        trace, d->at->shard, source == 0 ? UMBRA_TRACE_INPUT : UMBRA_TRACE_HIDDEN,
        source == 0 ? 0 : source - 1, d->at->first_row, out.tokens, out.states, &err));
    memset(out.routes, 0xff, t * TOY_LAYERS * K * sizeof *out.routes);
    for (int layer = 0; layer < TOY_LAYERS; layer++) {
        if (!umbra_train_has_layer(data, layer))
            continue;
        MUST(umbra_trace_read_experts(trace, d->at->shard, layer, d->at->first, out.tokens,
                                      layer_routes, &err));
        for (size_t i = 0; i < t; i++)
            memcpy(out.routes + (i * TOY_LAYERS + (size_t)layer) * K, layer_routes + i * K,
                   K * sizeof *out.routes);
    }
    umbra_free(layer_routes);
    return out;
}

/* z of a predictor, token by token. */
static void predict(const umbra_predictor *predictor, const umbra_shadow_spec *spec, int source,
                    const document *d, int t, float averages[2][H], umbra_predict_scratch *scratch,
                    float *z)
{
    float r[H];
    umbra_shadow_normalise(d->states + t * H, H, r);
    for (int a = 0; a < spec->averages; a++)
        umbra_shadow_average(averages[a], r, H, spec->decay[a], t == 0);
    const uint16_t *now = d->routes + t * TOY_LAYERS * K;
    const uint16_t *previous = t > 0 ? now - TOY_LAYERS * K : NULL;
    const uint16_t *previous2 = t > 1 ? now - 2 * TOY_LAYERS * K : NULL;
    umbra_predict_input input = {
        .n = 1,
        .states = d->states + t * H,
        .averages = averages[0],
        .now = &now,
        .previous = &previous,
        .previous2 = &previous2,
    };
    umbra_predict(predictor, source, &input, scratch, z);
}

/* Reads all rows of a document in pieces of uneven length and compares the forward pass with the
 * predictor's. */
static void compare_document(const umbra_train_data *data, const umbra_shadow *shadow,
                             const umbra_predictor *predictor, int source,
                             const umbra_train_document *d)
{
    const umbra_shadow_spec *spec = &shadow->spec;
    umbra_train_loader loader;
    umbra_train_rows rows;
    umbra_train_pass pass;
    umbra_predict_scratch *scratch;
    MUST(umbra_train_loader_open(&loader, data, spec, source, source + 1, &err));
    MUST(umbra_train_rows_open(&rows, spec, d->at->rows, &err));
    MUST(umbra_train_pass_open(&pass, spec, d->at->rows, &err));
    MUST(umbra_predict_scratch_open(&scratch, predictor, &err));
    float carry[2][H];
    for (int first = 0, n; first < d->at->rows; first += n) {
        n = d->at->rows - first < 5 ? d->at->rows - first : 5;
        MUST(umbra_train_load(&loader, source, d, first, n, carry[0], &rows, first, &err));
    }
    rows.n = d->at->rows;
    umbra_train_forward(&pass, &shadow->networks[spec->shared ? 0 : source], &rows, 0.0f, NULL);

    document whole = read_document(data, d, source);
    float averages[2][H], z[D * E];
    for (int t = 0; t < whole.tokens; t++) {
        predict(predictor, spec, source, &whole, t, averages, scratch, z);
        for (int i = 0; i < D; i++) {
            int target = umbra_shadow_target(source, i + 1);
            const uint16_t *used = rows.targets + (t * D + i) * K;
            if (target >= TOY_LAYERS || !umbra_train_has_layer(data, target)) {
                assert_int_equal(used[0], UMBRA_NO_TARGET);
                continue;
            }
            assert_memory_equal(used, whole.routes + (t * TOY_LAYERS + target) * K, K * 2);
            for (int e = 0; e < E; e++)
                assert_true(fabsf(z[i * E + e] - pass.z[(t * D + i) * E + e]) < 2e-4f);
        }
    }
    umbra_free(whole.states);
    umbra_free(whole.routes);
    umbra_predict_scratch_close(&scratch);
    umbra_train_pass_release(&pass);
    umbra_train_rows_release(&rows);
    umbra_train_loader_release(&loader);
}

static void check_rows(bool shared, bool dense_first, bool random_values)
{
    toy_write(folder, &(toy){.documents = 4, .tokens = 24, .dense_first = dense_first});
    umbra_train_data data;
    open_data(&data, 0.3f);
    umbra_shadow_spec spec = spec_of(&data, shared);
    umbra_shadow *shadow;
    MUST(umbra_shadow_create(&shadow, &spec, &err));
    umbra_random random;
    umbra_random_seed(&random, 5);
    for (int i = 0; i < shadow->count; i++) {
        float *parts[UMBRA_SHADOW_PARTS];
        size_t lengths[UMBRA_SHADOW_PARTS];
        umbra_shadow_parts(&spec, &shadow->networks[i], parts, lengths);
        for (int p = 0; random_values && p < UMBRA_SHADOW_PARTS; p++)
            for (size_t j = 0; j < lengths[p]; j++)
                parts[p][j] += (float)(0.3 * umbra_random_normal(&random));
    }
    float gate_data[TOY_LAYERS * E * H] = {0};
    umbra_gates gates = {.layers = TOY_LAYERS, .experts = E, .hidden = H, .data = gate_data};
    for (int layer = dense_first; layer < TOY_LAYERS; layer++)
        MUST(umbra_trace_read_gate(data.traces[0], layer, gate_data + layer * E * H, &err));
    umbra_predictor *predictor;
    if (random_values)
        MUST(umbra_predictor_shadow(&predictor, shadow, &gates, 0, &err));
    else /* an untrained residual network must say what the gate predictor says */
        MUST(umbra_predictor_gate(&predictor, &gates, K, &err));
    for (int source = 0; source < TOY_LAYERS; source++) {
        assert_true(umbra_train_has_source(&data, &spec, source) == !(dense_first && source <= 1));
        if (umbra_train_has_source(&data, &spec, source))
            compare_document(&data, shadow, predictor, source, &data.documents[source % 4]);
    }
    umbra_predictor_close(&predictor);
    umbra_shadow_free(&shadow);
    umbra_train_data_release(&data);
    toy_remove(folder);
}

static void test_rows(void **state)
{
    (void)state;
    check_rows(false, false, true);
    check_rows(true, false, true);
    check_rows(false, true, true);
    check_rows(false, false, false);
}

/* With a stride, rows are those of the kept tokens, features still of the tokens right before, and
 * the averages reach as far back. */
static void test_stride(void **state)
{
    (void)state;
    enum { STRIDE = 3 };
    toy_write(folder, &(toy){.documents = 3, .tokens = 40, .stride = STRIDE});
    toy_write(other, &(toy){.documents = 3, .tokens = 40});
    umbra_train_data kept, all;
    const char *folders[] = {other};
    open_data(&kept, 0.3f);
    MUST(umbra_train_data_open(&all, folders, 1, 0.3f, &err));
    umbra_shadow_spec spec = spec_of(&kept, false);
    umbra_train_loader a, b;
    umbra_train_rows x, y;
    MUST(umbra_train_loader_open(&a, &kept, &spec, 2, 3, &err));
    MUST(umbra_train_loader_open(&b, &all, &spec, 2, 3, &err));
    int n = kept.documents[0].at->rows, tokens = all.documents[0].at->rows;
    assert_int_equal(n, (tokens + STRIDE - 1) / STRIDE);
    MUST(umbra_train_rows_open(&x, &spec, n, &err));
    MUST(umbra_train_rows_open(&y, &spec, tokens, &err));
    float carry[2][H];
    MUST(umbra_train_load(&a, 2, &kept.documents[0], 0, n, carry[0], &x, 0, &err));
    MUST(umbra_train_load(&b, 2, &all.documents[0], 0, tokens, carry[0], &y, 0, &err));
    size_t slots = (size_t)x.feature_slots, wide = (size_t)umbra_shadow_inputs(&spec);
    float average[H];
    for (int i = 0; i < n; i++) {
        const float *r = x.dense + (size_t)i * wide;
        size_t t = (size_t)i * STRIDE;
        assert_memory_equal(r, y.dense + t * wide, H * sizeof *r);
        assert_memory_equal(x.features + (size_t)i * slots, y.features + t * slots, slots * 4);
        assert_memory_equal(x.targets + i * D * K, y.targets + t * D * K, D * K * 2);
        umbra_shadow_average(average, r, H, 0.5f * 0.5f * 0.5f, i == 0);
        for (int j = 0; j < H; j++)
            assert_true(fabsf(average[j] - r[H + j]) < 1e-6f);
    }
    umbra_train_rows_release(&x);
    umbra_train_rows_release(&y);
    umbra_train_loader_release(&a);
    umbra_train_loader_release(&b);
    umbra_train_data_release(&kept);
    umbra_train_data_release(&all);
}

/* The truth for KL: the router's softmax, whose best experts are the ones used. */
static void test_truth(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 3, .tokens = 40});
    umbra_train_data data;
    open_data(&data, 0.3f);
    umbra_shadow_spec spec = spec_of(&data, false);
    spec.loss = UMBRA_LOSS_KL;
    umbra_train_loader loader;
    umbra_train_rows rows;
    MUST(umbra_train_loader_open(&loader, &data, &spec, 1, 2, &err));
    MUST(umbra_train_rows_open(&rows, &spec, 20, &err));
    float carry[2][H];
    MUST(umbra_train_load(&loader, 1, &data.documents[0], 0, 20, carry[0], &rows, 0, &err));
    int right = 0;
    for (int i = 0; i < 20 * D; i++) {
        const float *p = rows.truth + i * E;
        float sum = 0.0f;
        uint16_t best[K];
        for (int e = 0; e < E; e++)
            sum += p[e];
        assert_true(fabsf(sum - 1.0f) < 1e-5f);
        umbra_predict_top(p, E, K, best);
        right += best[0] == rows.targets[i * K];
    }
    assert_true(right >= 76); /* of 80: states were rounded to 16 bits */
    umbra_train_rows_release(&rows);
    umbra_train_loader_release(&loader);
    umbra_train_data_release(&data);
}

/* ---- streams ---- */

/* Names a row by its dense input: sums are as good as unique. */
static double name_of(const umbra_train_rows *rows, int i, int wide)
{
    double sum = 0.0;
    for (int j = 0; j < wide; j++)
        sum += (double)rows->dense[i * wide + j] * (1.0 + 0.37 * j);
    return sum;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* All rows from the stream's position on. */
static int drain(umbra_train_stream *s, double *names)
{
    int n = 0;
    for (;;) {
        const umbra_train_rows *batch;
        MUST(umbra_train_stream_next(s, &batch, &err));
        if (batch->n == 0)
            return n;
        for (int i = 0; i < batch->n; i++)
            names[n++] = name_of(batch, i, umbra_shadow_inputs(s->loader->spec));
    }
}

static void check_stream(bool shared, uint64_t window_bytes)
{
    enum { BATCH = 16 };
    umbra_train_data data;
    open_data(&data, 0.2f);
    umbra_shadow_spec spec = spec_of(&data, shared);
    int end = shared ? TOY_LAYERS : 3, first = shared ? 0 : 2;
    umbra_train_loader loader;
    umbra_train_stream stream;
    MUST(umbra_train_loader_open(&loader, &data, &spec, first, end, &err));
    MUST(umbra_train_stream_open(&stream, &loader, first, end, false, 42, BATCH, window_bytes,
                                 &err));
    int rows = (int)stream.rows;
    assert_int_equal(rows, (int)data.training_rows * (end - first));
    assert_int_equal(stream.window.capacity % BATCH, 0);
    if (window_bytes > BATCH * (umbra_train_row_bytes(&spec) + 4))
        assert_true((uint64_t)stream.window.capacity * (umbra_train_row_bytes(&spec) + 4) <=
                    window_bytes);
    double *order[4];
    for (int i = 0; i < 4; i++)
        assert_non_null(order[i] = umbra_calloc((size_t)rows, sizeof(double)));
    for (int epoch = 0; epoch < 2; epoch++) {
        MUST(umbra_train_stream_start(&stream, (uint64_t)epoch, 0, &err));
        assert_int_equal(drain(&stream, order[epoch]), rows);
    }
    assert_memory_not_equal(order[0], order[1], (size_t)rows * sizeof(double));
    for (int from = BATCH; from < rows; from += 5 * BATCH) {
        MUST(umbra_train_stream_start(&stream, 1, (uint64_t)from, &err));
        assert_int_equal(drain(&stream, order[2]), rows - from);
        assert_memory_equal(order[2], order[1] + from, (size_t)(rows - from) * sizeof(double));
    }
    /* Every row once: the same rows in any order. */
    memcpy(order[2], order[0], (size_t)rows * sizeof(double));
    qsort(order[1], (size_t)rows, sizeof(double), compare_doubles);
    qsort(order[2], (size_t)rows, sizeof(double), compare_doubles);
    assert_memory_equal(order[1], order[2], (size_t)rows * sizeof(double));
    for (int i = 1; i < rows; i++)
        assert_true(order[1][i] != order[1][i - 1]);
    for (int i = 0; i < 4; i++)
        umbra_free(order[i]);
    umbra_train_stream_release(&stream);
    umbra_train_loader_release(&loader);
    umbra_train_data_release(&data);
}

static void test_streams(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 12, .tokens = 60});
    check_stream(false, 1 << 24); /* all rows fit */
    check_stream(false, 60000);   /* windows cut documents */
    check_stream(false, 0);       /* one batch */
    check_stream(true, 100000);
}

static void test_no_memory(void **state)
{
    (void)state;
    toy_write(folder, &(toy){.documents = 4, .tokens = 12});
    const char *folders[] = {folder};
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_train_data data = {0};
        umbra_train_loader loader = {0};
        umbra_train_stream stream = {0};
        umbra_shadow_spec spec;
        umbra_memory_fail_after(n);
        rc = umbra_train_data_open(&data, folders, 1, 0.2f, &err);
        if (rc == UMBRA_OK) {
            spec = spec_of(&data, false);
            rc = umbra_train_loader_open(&loader, &data, &spec, 1, 2, &err);
        }
        if (rc == UMBRA_OK)
            rc = umbra_train_stream_open(&stream, &loader, 1, 2, false, 1, 4, 0, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || rc == UMBRA_E_NOMEM);
        umbra_train_stream_release(&stream);
        umbra_train_loader_release(&loader);
        umbra_train_data_release(&data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_few_documents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mismatch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stride, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_truth, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_streams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, open_blas, NULL);
}
