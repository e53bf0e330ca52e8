/* Repacking a shadow model into its fast form. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "predict/fast_internal.h"
#include "predict/forms.h"

enum { D = UMBRA_MAX_DISTANCE };

static size_t value_bytes(umbra_shadow_weights form)
{
    return form == UMBRA_SHADOW_F32 ? 4 : form == UMBRA_SHADOW_BF16 ? 2 : 1;
}

/* Where things go: a first walk with base NULL counts the bytes, a second one gives them out. */
typedef struct arena {
    uint8_t *base;
    uint64_t used;
} arena;

static void *take(arena *a, uint64_t bytes)
{
    uint8_t *p = a->base ? a->base + a->used : NULL;
    a->used += umbra_align_up(bytes, UMBRA_FAST_LINE);
    return p;
}

static void place_matrix(arena *a, umbra_fast_matrix *m, umbra_shadow_weights form, int rows,
                         int columns)
{
    size_t per_line = UMBRA_FAST_LINE / value_bytes(form);
    m->steps = (int)(((size_t)columns + per_line - 1) / per_line);
    m->data = take(a, umbra_fast_matrix_bytes(m, rows));
}

static void place_rows(arena *a, umbra_fast_matrix *m, umbra_shadow_weights form, int rows)
{
    uint64_t padded = umbra_align_up((uint64_t)rows, UMBRA_FAST_GROUP);
    if (form != UMBRA_SHADOW_I8)
        return;
    m->scale = take(a, padded * sizeof *m->scale);
    m->sum = take(a, padded * sizeof *m->sum);
}

static void place_network(arena *a, umbra_shadow_fast *f, umbra_fast_network *net)
{
    const umbra_shadow_spec *s = &f->spec;
    umbra_shadow_weights form = s->weights;
    int rows = D * s->experts, inputs = umbra_shadow_inputs(s);
    bool residual = s->arch == UMBRA_SHADOW_RESIDUAL;
    if (residual)
        place_matrix(a, &net->w, form, rows, inputs);
    place_matrix(a, &net->w1, form, s->width, inputs);
    place_matrix(a, &net->w2, form, rows, s->width);
    if (residual)
        place_rows(a, &net->w, form, rows);
    place_rows(a, &net->w1, form, s->width);
    place_rows(a, &net->w2, form, rows);
    net->bias = take(a, (uint64_t)f->outputs * sizeof(float));
    net->b1 = take(a, (uint64_t)f->width * sizeof(float));
    net->gain = take(a, (uint64_t)f->width * sizeof(float));
    net->shift = take(a, (uint64_t)f->width * sizeof(float));
    uint64_t features = (uint64_t)umbra_shadow_features(s);
    net->features = take(a, features * f->feature_bytes);
    if (form == UMBRA_SHADOW_I8)
        net->feature_scale = take(a, features * 2 * sizeof(float));
}

static void place_all(arena *a, umbra_shadow_fast *f)
{
    const umbra_shadow_spec *s = &f->spec;
    for (int i = 0; i < umbra_shadow_networks(s); i++)
        place_network(a, f, &f->networks[i]);
    for (int i = 0; f->gates && i < s->layers; i++) {
        place_matrix(a, &f->gates[i], s->weights, s->experts, s->hidden);
        place_rows(a, &f->gates[i], s->weights, s->experts);
    }
}

/* n values in the form; the scale of I8 is returned, else 0. */
static float encode(umbra_shadow_weights form, const float *values, size_t n, void *out)
{
    if (form == UMBRA_SHADOW_I8)
        return umbra_i8_from_f32(values, n, out);
    if (form == UMBRA_SHADOW_F32)
        memcpy(out, values, n * sizeof *values);
    for (size_t i = 0; form == UMBRA_SHADOW_BF16 && i < n; i++)
        ((uint16_t *)out)[i] = umbra_bf16_from_f32(values[i]);
    return 0.0f;
}

/* What a row passes through on its way: both hold the longest row, zeros behind it. */
typedef struct buffers {
    float *values;
    uint8_t *encoded;
    size_t bytes; /* of each */
} buffers;

static void put_row(umbra_fast_matrix *m, umbra_shadow_weights form, int row, int columns,
                    const float *values, const buffers *b)
{
    memset(b->encoded, 0, b->bytes);
    float scale = encode(form, values, (size_t)columns, b->encoded);
    if (m->scale) {
        m->scale[row] = scale;
        for (int i = 0; i < columns; i++)
            m->sum[row] += 64 * (int8_t)b->encoded[i];
    }
    uint8_t *line = m->data +
                    (size_t)(row / UMBRA_FAST_GROUP) * (size_t)m->steps * UMBRA_FAST_STEP +
                    (size_t)(row % UMBRA_FAST_GROUP) * UMBRA_FAST_LINE;
    for (int s = 0; s < m->steps; s++)
        memcpy(line + (size_t)s * UMBRA_FAST_STEP, b->encoded + (size_t)s * UMBRA_FAST_LINE,
               UMBRA_FAST_LINE);
}

static void put_matrix(umbra_fast_matrix *m, umbra_shadow_weights form, int rows, int columns,
                       const float *values, const buffers *b)
{
    for (int row = 0; row < rows; row++)
        put_row(m, form, row, columns, values + (size_t)row * (size_t)columns, b);
}

/* W, and where each source has its own, the gates of its targets times a. */
static void put_linear(umbra_shadow_fast *f, umbra_fast_network *net,
                       const umbra_shadow_network *from, int source, const umbra_gates *gates,
                       const buffers *b)
{
    const umbra_shadow_spec *s = &f->spec;
    size_t inputs = (size_t)umbra_shadow_inputs(s), experts = (size_t)s->experts;
    size_t hidden = (size_t)s->hidden;
    int distances = f->gates ? 0 : umbra_shadow_distances(s, source);
    for (size_t row = 0; row < D * experts; row++) {
        int d = (int)(row / experts);
        memcpy(b->values, from->w + row * inputs, inputs * sizeof(float));
        if (d < distances) {
            size_t layer = (size_t)umbra_shadow_target(source, d + 1);
            const float *gate = gates->data + (layer * experts + row % experts) * hidden;
            for (size_t i = 0; i < hidden; i++)
                b->values[i] += from->a[d] * gate[i];
        }
        put_row(&net->w, s->weights, (int)row, (int)inputs, b->values, b);
    }
    memcpy(net->a, from->a, sizeof net->a);
}

static void put_features(umbra_shadow_fast *f, umbra_fast_network *net,
                         const umbra_shadow_network *from)
{
    const umbra_shadow_spec *s = &f->spec;
    size_t width = (size_t)s->width, outputs = (size_t)D * (size_t)s->experts;
    for (size_t i = 0; i < (size_t)umbra_shadow_features(s); i++) {
        uint8_t *record = net->features + i * f->feature_bytes;
        float scales[2] = {encode(s->weights, from->w1_features + i * width, width, record), 0.0f};
        if (from->w_features)
            scales[1] = encode(s->weights, from->w_features + i * outputs, outputs,
                               record + f->w1_feature_bytes);
        if (net->feature_scale)
            memcpy(net->feature_scale + 2 * i, scales, sizeof scales);
    }
}

static void put_all(umbra_shadow_fast *f, const umbra_shadow *shadow, const umbra_gates *gates,
                    const buffers *b)
{
    const umbra_shadow_spec *s = &f->spec;
    size_t width = (size_t)s->width, outputs = (size_t)D * (size_t)s->experts;
    int inputs = umbra_shadow_inputs(s);
    for (int i = 0; i < shadow->count; i++) {
        const umbra_shadow_network *from = &shadow->networks[i];
        umbra_fast_network *net = &f->networks[i];
        if (from->w)
            put_linear(f, net, from, i, gates, b);
        put_matrix(&net->w1, s->weights, s->width, inputs, from->w1, b);
        put_matrix(&net->w2, s->weights, (int)outputs, s->width, from->w2, b);
        memcpy(net->bias, from->bias, outputs * sizeof(float));
        memcpy(net->b1, from->b1, width * sizeof(float));
        memcpy(net->gain, from->gain, width * sizeof(float));
        memcpy(net->shift, from->shift, width * sizeof(float));
        put_features(f, net, from);
    }
    size_t gate = (size_t)s->experts * (size_t)s->hidden;
    for (int i = 0; f->gates && i < s->layers; i++)
        put_matrix(&f->gates[i], s->weights, s->experts, s->hidden, gates->data + (size_t)i * gate,
                   b);
    memcpy(f->calibration, shadow->calibration,
           (size_t)(s->layers + 1) * D * 2 * sizeof *f->calibration);
}

static int build(umbra_shadow_fast *f, const umbra_shadow *shadow, const umbra_gates *gates,
                 umbra_error *err)
{
    const umbra_shadow_spec *s = &f->spec;
    bool apart = s->shared && s->arch == UMBRA_SHADOW_RESIDUAL;
    size_t size = value_bytes(s->weights);
    arena a = {0};
    f->outputs = (int)umbra_align_up((uint64_t)D * (uint64_t)s->experts, UMBRA_FAST_LANES);
    f->width = (int)umbra_align_up((uint64_t)s->width, UMBRA_FAST_LANES);
    f->w1_feature_bytes = umbra_align_up((size_t)f->width * size, UMBRA_FAST_LINE);
    f->feature_bytes = f->w1_feature_bytes;
    if (s->arch == UMBRA_SHADOW_RESIDUAL)
        f->feature_bytes += umbra_align_up((size_t)f->outputs * size, UMBRA_FAST_LINE);
    f->networks = umbra_calloc((size_t)shadow->count, sizeof *f->networks);
    f->calibration = umbra_calloc((size_t)(s->layers + 1) * D * 2, sizeof *f->calibration);
    if (apart)
        f->gates = umbra_calloc((size_t)s->layers, sizeof *f->gates);
    if (!f->networks || !f->calibration || (apart && !f->gates))
        return umbra_fail_nomem(err, "the fast form of a shadow model",
                                (uint64_t)shadow->count * sizeof *f->networks);
    place_all(&a, f);
    size_t longest =
        (size_t)(umbra_shadow_inputs(s) > s->width ? umbra_shadow_inputs(s) : s->width);
    buffers b = {.bytes = umbra_align_up(longest * sizeof(float), UMBRA_FAST_LINE)};
    b.values = umbra_calloc(b.bytes, 1);
    b.encoded = umbra_calloc(b.bytes, 1);
    f->arena = umbra_map(a.used);
    int rc = UMBRA_OK;
    if (b.values && b.encoded && f->arena) {
        f->arena_bytes = a.used;
        a = (arena){.base = f->arena};
        place_all(&a, f);
        put_all(f, shadow, gates, &b);
    } else {
        rc = umbra_fail_nomem(err, "the fast form of a shadow model", a.used);
    }
    umbra_free(b.values);
    umbra_free(b.encoded);
    return rc;
}

int umbra_shadow_fast_open(umbra_shadow_fast **out, const umbra_shadow *shadow,
                           const umbra_gates *gates, umbra_shadow_weights form, const char *isa,
                           umbra_error *err)
{
    *out = NULL;
    if (!umbra_shadow_weights_name(form))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no form %d of weights", (int)form);
    const umbra_fast_kernels *kernels = umbra_fast_kernels_find(isa);
    if (!kernels)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED, "this machine or build has no \"%s\"", isa);
    int rc = umbra_shadow_check_gates(&shadow->spec, gates, err);
    if (rc != UMBRA_OK)
        return rc;
    if (form == UMBRA_SHADOW_I8 && umbra_shadow_inputs(&shadow->spec) > UMBRA_FAST_I8_COLUMNS)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%d inputs are too many for weights of type i8 (at most %d); use bf16",
                          umbra_shadow_inputs(&shadow->spec), UMBRA_FAST_I8_COLUMNS);
    umbra_shadow_fast *f = umbra_calloc(1, sizeof *f);
    if (!f)
        return umbra_fail_nomem(err, "the fast form of a shadow model", sizeof *f);
    f->spec = shadow->spec;
    f->spec.weights = form;
    f->kernels = kernels;
    rc = build(f, shadow, gates, err);
    if (rc != UMBRA_OK)
        umbra_shadow_fast_close(&f);
    *out = f;
    return rc;
}

void umbra_shadow_fast_close(umbra_shadow_fast **fast)
{
    umbra_shadow_fast *f = *fast;
    if (!f)
        return;
    umbra_unmap(f->arena, f->arena_bytes);
    umbra_free(f->networks);
    umbra_free(f->gates);
    umbra_free(f->calibration);
    umbra_free(f);
    *fast = NULL;
}
