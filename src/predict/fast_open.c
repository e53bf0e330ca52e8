/* Repacking a shadow model into its fast form. */
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "predict/fast_internal.h"
#include "predict/forms.h"

enum { D = UMBRA_MAX_DISTANCE };

_Static_assert((int)UMBRA_SHADOW_F32 == UMBRA_PREDICT_F32 &&
                   (int)UMBRA_SHADOW_BF16 == UMBRA_PREDICT_BF16 &&
                   (int)UMBRA_SHADOW_I8 == UMBRA_PREDICT_I8,
               "the forms of a file and of the kernels");

static size_t value_bytes(umbra_shadow_weights form)
{
    return form == UMBRA_SHADOW_F32 ? 4 : form == UMBRA_SHADOW_BF16 ? 2 : 1;
}

static void place_matrix(umbra_arena *a, umbra_fast_matrix *m, umbra_shadow_weights form, int rows,
                         int columns)
{
    size_t per_line = UMBRA_FAST_LINE / value_bytes(form);
    m->steps = (int)(((size_t)columns + per_line - 1) / per_line);
    m->data = umbra_arena_take(a, umbra_fast_matrix_bytes(m, rows), 1);
}

static void place_rows(umbra_arena *a, umbra_fast_matrix *m, umbra_shadow_weights form, int rows)
{
    uint64_t padded = umbra_align_up((uint64_t)rows, UMBRA_FAST_GROUP);
    if (form != UMBRA_SHADOW_I8)
        return;
    m->scale = umbra_arena_take(a, padded, sizeof *m->scale);
    m->sum = umbra_arena_take(a, padded, sizeof *m->sum);
}

static void place_network(umbra_arena *a, umbra_shadow_fast *f, umbra_fast_network *net)
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
    net->bias = umbra_arena_take(a, (uint64_t)f->outputs, sizeof(float));
    net->b1 = umbra_arena_take(a, (uint64_t)f->width, sizeof(float));
    net->gain = umbra_arena_take(a, (uint64_t)f->width, sizeof(float));
    net->shift = umbra_arena_take(a, (uint64_t)f->width, sizeof(float));
    uint64_t features = (uint64_t)umbra_shadow_features(s);
    net->features = umbra_arena_take(a, features * f->feature_bytes, 1);
    if (form == UMBRA_SHADOW_I8)
        net->feature_scale = umbra_arena_take(a, features * 2, sizeof(float));
}

/* Networks of sources that nobody predicts from are left out. */
static bool is_kept(const umbra_shadow_fast *f, int network)
{
    return network % f->every == 0;
}

static void place_all(umbra_arena *a, umbra_shadow_fast *f)
{
    const umbra_shadow_spec *s = &f->spec;
    for (int i = 0; i < umbra_shadow_networks(s); i++)
        if (is_kept(f, i))
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

/* Where parameters come from; what is handed out is valid until the next call. */
typedef struct supply {
    void *user;
    int (*network)(void *user, int i, const umbra_shadow_network **out, umbra_error *err);
    int (*gate)(void *user, int layer, const float **out, umbra_error *err); /* (E, H) */
    const float *calibration;
} supply;

/* W, and where each source has its own, the gates of its targets times a. */
static int put_linear(umbra_shadow_fast *f, umbra_fast_network *net,
                      const umbra_shadow_network *from, int source, const supply *in,
                      const buffers *b, umbra_error *err)
{
    const umbra_shadow_spec *s = &f->spec;
    size_t inputs = (size_t)umbra_shadow_inputs(s), experts = (size_t)s->experts;
    size_t hidden = (size_t)s->hidden;
    int folded = f->gates ? 0 : umbra_shadow_distances(s, source);
    const float *gate = NULL;
    memcpy(net->a, from->a, sizeof net->a);
    for (size_t row = 0; row < D * experts; row++) {
        int d = (int)(row / experts), rc = UMBRA_OK;
        memcpy(b->values, from->w + row * inputs, inputs * sizeof(float));
        if (d < folded && row % experts == 0)
            rc = in->gate(in->user, umbra_shadow_target(source, d + 1), &gate, err);
        if (rc != UMBRA_OK)
            return rc;
        for (size_t i = 0; d < folded && i < hidden; i++)
            b->values[i] += from->a[d] * gate[row % experts * hidden + i];
        put_row(&net->w, s->weights, (int)row, (int)inputs, b->values, b);
    }
    return UMBRA_OK;
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

static int put_network(umbra_shadow_fast *f, int i, const supply *in, const buffers *b,
                       umbra_error *err)
{
    const umbra_shadow_spec *s = &f->spec;
    size_t width = (size_t)s->width, outputs = (size_t)D * (size_t)s->experts;
    umbra_fast_network *net = &f->networks[i];
    const umbra_shadow_network *from;
    int rc = in->network(in->user, i, &from, err);
    if (rc == UMBRA_OK && from->w)
        rc = put_linear(f, net, from, i, in, b, err);
    if (rc != UMBRA_OK)
        return rc;
    put_matrix(&net->w1, s->weights, s->width, umbra_shadow_inputs(s), from->w1, b);
    put_matrix(&net->w2, s->weights, (int)outputs, s->width, from->w2, b);
    memcpy(net->bias, from->bias, outputs * sizeof(float));
    memcpy(net->b1, from->b1, width * sizeof(float));
    memcpy(net->gain, from->gain, width * sizeof(float));
    memcpy(net->shift, from->shift, width * sizeof(float));
    put_features(f, net, from);
    return UMBRA_OK;
}

static int put_all(umbra_shadow_fast *f, const supply *in, const buffers *b, umbra_error *err)
{
    const umbra_shadow_spec *s = &f->spec;
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < umbra_shadow_networks(s); i++)
        if (is_kept(f, i))
            rc = put_network(f, i, in, b, err);
    for (int i = 0; rc == UMBRA_OK && f->gates && i < s->layers; i++) {
        const float *gate;
        rc = in->gate(in->user, i, &gate, err);
        if (rc == UMBRA_OK)
            put_matrix(&f->gates[i], s->weights, s->experts, s->hidden, gate, b);
    }
    if (rc == UMBRA_OK)
        memcpy(f->calibration, in->calibration,
               (size_t)(s->layers + 1) * D * 2 * sizeof *f->calibration);
    return rc;
}

/* Everything but the weights. */
static int shape(umbra_shadow_fast *f, umbra_error *err)
{
    const umbra_shadow_spec *s = &f->spec;
    bool apart = s->shared && s->arch == UMBRA_SHADOW_RESIDUAL;
    size_t size = value_bytes(s->weights), count = (size_t)umbra_shadow_networks(s);
    f->outputs = (int)umbra_align_up((uint64_t)D * (uint64_t)s->experts, UMBRA_FAST_LANES);
    f->width = (int)umbra_align_up((uint64_t)s->width, UMBRA_FAST_LANES);
    f->w1_feature_bytes = umbra_align_up((size_t)f->width * size, UMBRA_FAST_LINE);
    f->feature_bytes = f->w1_feature_bytes;
    if (s->arch == UMBRA_SHADOW_RESIDUAL)
        f->feature_bytes += umbra_align_up((size_t)f->outputs * size, UMBRA_FAST_LINE);
    f->networks = umbra_calloc(count, sizeof *f->networks);
    f->calibration = umbra_calloc((size_t)(s->layers + 1) * D * 2, sizeof *f->calibration);
    if (apart)
        f->gates = umbra_calloc((size_t)s->layers, sizeof *f->gates);
    if (!f->networks || !f->calibration || (apart && !f->gates))
        return umbra_fail_nomem(err, "the fast form of a shadow model",
                                count * sizeof *f->networks);
    return UMBRA_OK;
}

static int build(umbra_shadow_fast *f, const supply *in, umbra_error *err)
{
    const umbra_shadow_spec *s = &f->spec;
    umbra_arena a = {0};
    int rc = shape(f, err);
    if (rc != UMBRA_OK)
        return rc;
    place_all(&a, f);
    size_t longest =
        (size_t)(umbra_shadow_inputs(s) > s->width ? umbra_shadow_inputs(s) : s->width);
    buffers b = {.bytes = umbra_align_up(longest * sizeof(float), UMBRA_FAST_LINE)};
    b.values = umbra_calloc(b.bytes, 1);
    b.encoded = umbra_calloc(b.bytes, 1);
    f->arena = umbra_map(a.used);
    if (b.values && b.encoded && f->arena) {
        f->arena_bytes = a.used;
        a = (umbra_arena){.base = f->arena};
        place_all(&a, f);
        rc = put_all(f, in, &b, err);
    } else {
        rc = umbra_fail_nomem(err, "the fast form of a shadow model", a.used);
    }
    umbra_free(b.values);
    umbra_free(b.encoded);
    return rc;
}

static int check_form(const umbra_shadow_spec *spec, umbra_shadow_weights form, const char *isa,
                      umbra_error *err)
{
    if (!umbra_shadow_weights_name(form))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no form %d of weights", (int)form);
    if (!umbra_kernels_find(isa))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED, "this machine or build has no \"%s\"", isa);
    if (form == UMBRA_SHADOW_I8 && umbra_shadow_inputs(spec) > UMBRA_FAST_I8_COLUMNS)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%d inputs are too many for weights of type i8 (at most %d); use bf16",
                          umbra_shadow_inputs(spec), UMBRA_FAST_I8_COLUMNS);
    return UMBRA_OK;
}

static int open_from(umbra_shadow_fast **out, const umbra_shadow_spec *spec, int every,
                     const supply *in, umbra_shadow_weights form, const char *isa, umbra_error *err)
{
    *out = NULL;
    int rc = check_form(spec, form, isa, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_shadow_fast *f = umbra_calloc(1, sizeof *f);
    if (!f)
        return umbra_fail_nomem(err, "the fast form of a shadow model", sizeof *f);
    f->spec = *spec;
    f->spec.weights = form;
    f->every = every;
    f->kernels = umbra_kernels_find(isa);
    rc = build(f, in, err);
    if (rc != UMBRA_OK)
        umbra_shadow_fast_close(&f);
    *out = f;
    return rc;
}

/* ---- from memory ---- */

typedef struct in_memory {
    const umbra_shadow *shadow;
    const umbra_gates *gates;
} in_memory;

static int memory_network(void *user, int i, const umbra_shadow_network **out, umbra_error *err)
{
    (void)err;
    *out = &((in_memory *)user)->shadow->networks[i];
    return UMBRA_OK;
}

static int memory_gate(void *user, int layer, const float **out, umbra_error *err)
{
    (void)err;
    const umbra_gates *g = ((in_memory *)user)->gates;
    *out = g->data + (size_t)layer * (size_t)g->experts * (size_t)g->hidden;
    return UMBRA_OK;
}

int umbra_shadow_fast_open(umbra_shadow_fast **out, const umbra_shadow *shadow,
                           const umbra_gates *gates, umbra_shadow_weights form, const char *isa,
                           umbra_error *err)
{
    *out = NULL;
    int rc = check_form(&shadow->spec, form, isa, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_check_gates(&shadow->spec, gates, err);
    if (rc != UMBRA_OK)
        return rc;
    in_memory in = {shadow, gates};
    supply s = {&in, memory_network, memory_gate, shadow->calibration};
    return open_from(out, &shadow->spec, 1, &s, form, isa, err);
}

/* ---- from a file ---- */

typedef struct in_file {
    umbra_shadow_file *file;
    umbra_shadow_network network;
    umbra_fast_gate_fn gate_of;
    void *user;
    float *gate; /* (E, H) */
} in_file;

static int file_network(void *user, int i, const umbra_shadow_network **out, umbra_error *err)
{
    in_file *in = user;
    *out = &in->network;
    return umbra_shadow_file_network(in->file, i, &in->network, err);
}

static int file_gate(void *user, int layer, const float **out, umbra_error *err)
{
    (void)err;
    in_file *in = user;
    in->gate_of(in->user, layer, in->gate);
    *out = in->gate;
    return UMBRA_OK;
}

/* The network as it is before any training, again and again. */
static int untrained_network(void *user, int i, const umbra_shadow_network **out, umbra_error *err)
{
    (void)i;
    (void)err;
    *out = &((in_file *)user)->network;
    return UMBRA_OK;
}

/* A file's networks, or without a file untrained ones. */
static int open_streaming(umbra_shadow_fast **out, const umbra_shadow_spec *spec, in_file *in,
                          int every, umbra_shadow_weights form, const char *isa, umbra_error *err)
{
    size_t pairs = (size_t)(spec->layers + 1) * D;
    *out = NULL;
    if (spec->arch == UMBRA_SHADOW_RESIDUAL && !in->gate_of)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "this predictor builds on the model's routers: give them");
    float *calibration = umbra_calloc(pairs * 2, sizeof *calibration);
    in->gate = umbra_calloc((size_t)spec->experts * (size_t)spec->hidden, sizeof *in->gate);
    int rc = calibration && in->gate ? umbra_shadow_network_create(&in->network, spec, err)
                                     : umbra_fail_nomem(err, "a shadow model", 0);
    for (size_t i = 0; rc == UMBRA_OK && i < pairs; i++)
        calibration[2 * i] = 1.0f;
    if (rc == UMBRA_OK && in->file)
        rc = umbra_shadow_file_calibration(in->file, calibration, err);
    supply s = {in, in->file ? file_network : untrained_network, file_gate, calibration};
    if (rc == UMBRA_OK)
        rc = open_from(out, spec, every, &s, form, isa, err);
    umbra_shadow_network_free(&in->network);
    umbra_free(in->gate);
    umbra_free(calibration);
    return rc;
}

int umbra_shadow_fast_read(umbra_shadow_fast **out, umbra_shadow_file *file, int every,
                           umbra_fast_gate_fn gate, void *user, umbra_shadow_weights form,
                           const char *isa, umbra_error *err)
{
    in_file in = {.file = file, .gate_of = gate, .user = user};
    return open_streaming(out, umbra_shadow_file_spec(file), &in, every, form, isa, err);
}

int umbra_shadow_fast_untrained(umbra_shadow_fast **out, const umbra_shadow_spec *spec, int every,
                                umbra_fast_gate_fn gate, void *user, umbra_shadow_weights form,
                                const char *isa, umbra_error *err)
{
    in_file in = {.gate_of = gate, .user = user};
    return open_streaming(out, spec, &in, every, form, isa, err);
}

uint64_t umbra_shadow_fast_plan(const umbra_shadow_spec *spec, int every, umbra_shadow_weights form)
{
    umbra_shadow_fast f = {.spec = *spec, .every = every};
    umbra_arena a = {0};
    f.spec.weights = form;
    if (shape(&f, NULL) == UMBRA_OK)
        place_all(&a, &f);
    umbra_free(f.networks);
    umbra_free(f.gates);
    umbra_free(f.calibration);
    return a.used;
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
