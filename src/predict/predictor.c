/* Opens a predictor and asks it. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernels/kernels.h"
#include "predict/predictor_internal.h"

enum { D = UMBRA_MAX_DISTANCE, SCRATCH_ALIGNMENT = 64 };

void umbra_predict_matmul(const float *weights, int rows, int columns, const float *x, int n,
                          float *out, int stride)
{
    /* The kernels only read activations. */
    umbra_activations activations = {.rows = n, .columns = columns, .f32 = (float *)(uintptr_t)x};
    umbra_matmul m = {
        .weights = weights,
        .row_bytes = (uint64_t)columns * sizeof *weights,
        .x = &activations,
        .tokens = n,
        .out = out,
        .out_stride = (uint64_t)stride,
    };
    umbra_kernels_find(NULL)->matmul[UMBRA_F32](&m, 0, rows);
}

void umbra_predict_normalise(const umbra_predict_input *input, int hidden, float *r)
{
    for (int i = 0; i < input->n; i++)
        umbra_shadow_normalise(input->states + (size_t)i * (size_t)hidden, hidden,
                               r + (size_t)i * (size_t)hidden);
}

static const float *gate_of(const umbra_gates *gates, int layer)
{
    return gates->data + (size_t)layer * (size_t)gates->experts * (size_t)gates->hidden;
}

void umbra_predict_gates(const umbra_gates *gates, int source, int distances, const float *r, int n,
                         float *scores)
{
    for (int d = 1; d <= distances; d++)
        umbra_predict_matmul(gate_of(gates, umbra_shadow_target(source, d)), gates->experts,
                             gates->hidden, r, n, scores + (d - 1) * gates->experts,
                             D * gates->experts);
}

static void run_gate(const umbra_predictor *p, int source, const umbra_predict_input *in,
                     umbra_predict_scratch *scratch, float *scores)
{
    umbra_predict_normalise(in, p->hidden, scratch->r);
    umbra_predict_gates(p->gates, source, umbra_predictor_distances(p, source), scratch->r, in->n,
                        scores);
}

/* Raises the score of each expert of a layer's list, best first, from `last` up. */
static void score_list(const umbra_predictor *p, const uint16_t *experts, int layer, int last,
                       float *scores)
{
    if (!experts)
        return;
    const uint16_t *list = experts + (size_t)layer * (size_t)p->used;
    for (int i = 0; i < p->used; i++)
        if (list[i] < p->experts)
            scores[list[i]] = (float)(last + p->used - 1 - i);
}

static float *row_of(const umbra_predictor *p, float *scores, int i, int d)
{
    return scores + ((size_t)i * D + (size_t)(d - 1)) * (size_t)p->experts;
}

static void run_previous(const umbra_predictor *p, int source, const umbra_predict_input *in,
                         umbra_predict_scratch *scratch, float *scores)
{
    (void)scratch;
    for (int i = 0; i < in->n; i++) {
        for (int d = 1; d <= umbra_predictor_distances(p, source); d++) {
            float *row = row_of(p, scores, i, d);
            int layer = umbra_shadow_target(source, d);
            memset(row, 0, (size_t)p->experts * sizeof *row);
            if (in->previous2)
                score_list(p, in->previous2[i], layer, 1, row);
            if (in->previous)
                score_list(p, in->previous[i], layer, 1 + p->used, row);
        }
    }
}

static void run_frequency(const umbra_predictor *p, int source, const umbra_predict_input *in,
                          umbra_predict_scratch *scratch, float *scores)
{
    (void)scratch;
    for (int i = 0; i < in->n; i++)
        for (int d = 1; d <= umbra_predictor_distances(p, source); d++)
            memcpy(row_of(p, scores, i, d),
                   p->frequency + (size_t)umbra_shadow_target(source, d) * (size_t)p->experts,
                   (size_t)p->experts * sizeof *scores);
}

static void run_oracle(const umbra_predictor *p, int source, const umbra_predict_input *in,
                       umbra_predict_scratch *scratch, float *scores)
{
    (void)scratch;
    for (int i = 0; i < in->n; i++) {
        for (int d = 1; d <= umbra_predictor_distances(p, source); d++) {
            float *row = row_of(p, scores, i, d);
            memset(row, 0, (size_t)p->experts * sizeof *row);
            score_list(p, in->now[i], umbra_shadow_target(source, d), 1, row);
        }
    }
}

static int make(umbra_predictor **out, const char *name, const umbra_gates *shape, int used,
                umbra_error *err)
{
    *out = NULL;
    if (shape->layers < 1 || shape->experts < 1 || shape->experts > UMBRA_SHADOW_EXPERTS_MAX ||
        shape->hidden < 1 || used < 1 || used > shape->experts)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "predictor %s: no model has %d layers, %d experts of which %d are used, "
                          "hidden %d",
                          name, shape->layers, shape->experts, used, shape->hidden);
    umbra_predictor *p = umbra_calloc(1, sizeof *p);
    if (!p)
        return umbra_fail_nomem(err, "a predictor", sizeof *p);
    p->name = name;
    p->layers = shape->layers;
    p->experts = shape->experts;
    p->hidden = shape->hidden;
    p->used = used;
    *out = p;
    return UMBRA_OK;
}

/* Of one matrix in the form that the file has: its bytes with scales, its products. */
static void count_matrix(umbra_predictor *p, umbra_shadow_weights form, uint64_t rows,
                         uint64_t columns)
{
    static const uint64_t bytes[] = {
        [UMBRA_SHADOW_F32] = 4, [UMBRA_SHADOW_BF16] = 2, [UMBRA_SHADOW_I8] = 1};
    p->bytes += rows * columns * bytes[form];
    if (form == UMBRA_SHADOW_I8)
        p->bytes += rows * sizeof(float);
    p->macs += rows * columns;
}

/* gates_in_w: the fast form of W has taken them in. */
static void count_shadow(umbra_predictor *p, const umbra_shadow_spec *s, bool gates_in_w)
{
    uint64_t outputs = (uint64_t)D * (uint64_t)s->experts, width = (uint64_t)s->width;
    uint64_t inputs = (uint64_t)umbra_shadow_inputs(s),
             features = (uint64_t)umbra_shadow_feature_most(s, p->off);
    p->bytes = outputs * sizeof(float); /* bias */
    if (s->arch == UMBRA_SHADOW_RESIDUAL) {
        p->bytes += D * sizeof(float); /* a */
        if (!gates_in_w)
            count_matrix(p, s->weights, outputs, (uint64_t)s->hidden);
        if (!(p->off & UMBRA_OFF_LINEAR)) {
            count_matrix(p, s->weights, outputs, inputs);
            count_matrix(p, s->weights, features, outputs);
        }
    }
    if (!(p->off & UMBRA_OFF_INNER)) {
        count_matrix(p, s->weights, width, inputs);
        count_matrix(p, s->weights, features, width);
        count_matrix(p, s->weights, outputs, width);
        p->bytes += 3 * width * sizeof(float); /* b1, gain, shift */
    }
}

int umbra_shadow_check_gates(const umbra_shadow_spec *s, const umbra_gates *gates, umbra_error *err)
{
    if (!gates && s->arch == UMBRA_SHADOW_RESIDUAL)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a residual shadow model needs the gates of its model");
    if (gates &&
        (gates->layers != s->layers || gates->experts != s->experts || gates->hidden != s->hidden))
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "the shadow model is for %d layers, %d experts, hidden %d; the gates "
                          "have %d layers, %d experts, hidden %d",
                          s->layers, s->experts, s->hidden, gates->layers, gates->experts,
                          gates->hidden);
    return UMBRA_OK;
}

int umbra_predictor_shadow(umbra_predictor **out, const umbra_shadow *shadow,
                           const umbra_gates *gates, unsigned off, umbra_error *err)
{
    const umbra_shadow_spec *s = &shadow->spec;
    const unsigned known = UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS | UMBRA_FEATURE_PREVIOUS2 |
                           UMBRA_OFF_INNER | UMBRA_OFF_LINEAR;
    *out = NULL;
    if (off & ~known)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "a predictor has no parts 0x%x to switch off",
                          off & ~known);
    int rc = umbra_shadow_check_gates(s, gates, err);
    if (rc != UMBRA_OK)
        return rc;
    const umbra_gates shape = {.layers = s->layers, .experts = s->experts, .hidden = s->hidden};
    rc = make(out, umbra_shadow_arch_name(s->arch), &shape, s->used, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_predictor *p = *out;
    p->run = umbra_predict_shadow;
    p->shadow = shadow;
    p->gates = gates;
    p->off = off;
    p->needs_r = true;
    count_shadow(p, s, false);
    return UMBRA_OK;
}

static void run_fast(const umbra_predictor *p, int source, const umbra_predict_input *in,
                     umbra_predict_scratch *scratch, float *scores)
{
    umbra_shadow_fast_scores(p->fast, source, in, scratch->fast, scores);
}

int umbra_predictor_fast(umbra_predictor **out, const umbra_shadow_fast *fast, umbra_error *err)
{
    const umbra_shadow_spec *s = umbra_shadow_fast_spec(fast);
    const umbra_gates shape = {.layers = s->layers, .experts = s->experts, .hidden = s->hidden};
    int rc = make(out, umbra_shadow_arch_name(s->arch), &shape, s->used, err);
    if (rc != UMBRA_OK)
        return rc;
    (*out)->run = run_fast;
    (*out)->fast = fast;
    count_shadow(*out, s, !s->shared);
    return UMBRA_OK;
}

int umbra_predictor_gate(umbra_predictor **out, const umbra_gates *gates, int used,
                         umbra_error *err)
{
    int rc = make(out, "gate", gates, used, err);
    if (rc != UMBRA_OK)
        return rc;
    (*out)->run = run_gate;
    (*out)->gates = gates;
    (*out)->needs_r = true;
    count_matrix(*out, UMBRA_SHADOW_F32, (uint64_t)D * (uint64_t)gates->experts,
                 (uint64_t)gates->hidden);
    return UMBRA_OK;
}

int umbra_predictor_previous(umbra_predictor **out, const umbra_gates *shape, int used,
                             umbra_error *err)
{
    int rc = make(out, "previous", shape, used, err);
    if (rc != UMBRA_OK)
        return rc;
    (*out)->run = run_previous;
    (*out)->bytes = 2 * (uint64_t)D * (uint64_t)used * sizeof(uint16_t);
    return UMBRA_OK;
}

int umbra_predictor_frequency(umbra_predictor **out, const umbra_gates *shape, int used,
                              const uint64_t *counts, umbra_error *err)
{
    int rc = make(out, "frequency", shape, used, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t experts = (size_t)shape->experts, n = (size_t)shape->layers * experts;
    umbra_predictor *p = *out;
    p->frequency = umbra_calloc(n, sizeof *p->frequency);
    if (!p->frequency) {
        umbra_predictor_close(out);
        return umbra_fail_nomem(err, "a predictor", n * sizeof *p->frequency);
    }
    for (size_t first = 0; first < n; first += experts) {
        double total = 0.0;
        for (size_t e = 0; e < experts; e++)
            total += (double)counts[first + e];
        for (size_t e = 0; e < experts && total > 0.0; e++)
            p->frequency[first + e] = (float)((double)counts[first + e] * used / total);
    }
    p->run = run_frequency;
    p->bytes = (uint64_t)D * experts * sizeof *p->frequency;
    return UMBRA_OK;
}

int umbra_predictor_oracle(umbra_predictor **out, const umbra_gates *shape, int used,
                           umbra_error *err)
{
    int rc = make(out, "oracle", shape, used, err);
    if (rc == UMBRA_OK)
        (*out)->run = run_oracle;
    return rc;
}

void umbra_predictor_close(umbra_predictor **predictor)
{
    if (!predictor || !*predictor)
        return;
    umbra_free((*predictor)->frequency);
    umbra_free(*predictor);
    *predictor = NULL;
}

const char *umbra_predictor_name(const umbra_predictor *predictor)
{
    return predictor->name;
}

uint64_t umbra_predictor_bytes(const umbra_predictor *predictor)
{
    return predictor->bytes;
}

uint64_t umbra_predictor_macs(const umbra_predictor *predictor)
{
    return predictor->macs;
}

static float *batch_of(int width)
{
    size_t bytes = (size_t)UMBRA_PREDICT_BATCH * (size_t)width * sizeof(float);
    return umbra_aligned_alloc(SCRATCH_ALIGNMENT, bytes);
}

static bool fill_scratch(umbra_predict_scratch *scratch, const umbra_predictor *p)
{
    if (p->needs_r && !(scratch->r = batch_of(p->hidden)))
        return false;
    if (!p->shadow)
        return true;
    const umbra_shadow_spec *spec = &p->shadow->spec;
    scratch->x = spec->averages > 0 ? batch_of(umbra_shadow_inputs(spec)) : scratch->r;
    scratch->inner = batch_of(spec->width);
    scratch->part = batch_of(D * spec->experts);
    scratch->rows = umbra_calloc((size_t)umbra_shadow_feature_most(spec, 0), sizeof *scratch->rows);
    return scratch->x && scratch->inner && scratch->part && scratch->rows;
}

int umbra_predict_scratch_open(umbra_predict_scratch **out, const umbra_predictor *predictor,
                               umbra_error *err)
{
    *out = umbra_calloc(1, sizeof **out);
    if (*out && predictor->fast) {
        int rc = umbra_fast_scratch_open(&(*out)->fast, predictor->fast, err);
        if (rc != UMBRA_OK)
            umbra_predict_scratch_close(out);
        return rc;
    }
    if (*out && fill_scratch(*out, predictor))
        return UMBRA_OK;
    umbra_predict_scratch_close(out);
    return umbra_fail_nomem(err, "the scratch memory of a predictor",
                            (uint64_t)UMBRA_PREDICT_BATCH * (uint64_t)predictor->hidden *
                                sizeof(float));
}

void umbra_predict_scratch_close(umbra_predict_scratch **scratch)
{
    if (!scratch || !*scratch)
        return;
    umbra_predict_scratch *s = *scratch;
    if (s->x != s->r)
        umbra_free(s->x);
    umbra_free(s->r);
    umbra_free(s->inner);
    umbra_free(s->part);
    umbra_free(s->rows);
    umbra_fast_scratch_close(&s->fast);
    umbra_free(s);
    *scratch = NULL;
}

void umbra_predict(const umbra_predictor *predictor, int source, const umbra_predict_input *input,
                   umbra_predict_scratch *scratch, float *scores)
{
    predictor->run(predictor, source, input, scratch, scores);
}

void umbra_predict_control(const umbra_gates *gates, int source, int n, const float *states,
                           float *scores)
{
    size_t hidden = (size_t)gates->hidden, experts = (size_t)gates->experts;
    umbra_predict_matmul(gate_of(gates, source - 1), gates->experts, gates->hidden, states, n,
                         scores, gates->experts);
    /* Nothing is there to hold normalised states, and the scale passes through the product. */
    for (size_t i = 0; i < (size_t)n; i++) {
        float factor = umbra_shadow_scale(states + i * hidden, gates->hidden);
        for (size_t e = 0; e < experts; e++)
            scores[i * experts + e] *= factor;
    }
}
