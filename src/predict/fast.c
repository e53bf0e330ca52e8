/* Predictions with the fast form. */
#include "predict/fast.h"

#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "predict/fast_internal.h"

enum { D = UMBRA_MAX_DISTANCE, SLICE = UMBRA_FAST_SLICE };

struct umbra_fast_scratch {
    umbra_fast_inputs x, h; /* dense inputs; the inner vector after its activation */
    float *v;               /* (SLICE, width) the inner vector before */
    float *z;               /* (SLICE, z_stride) scores; the group of an odd row may reach beyond */
    int z_stride;
    uint32_t *rows;
    void *block;
};

const umbra_shadow_spec *umbra_shadow_fast_spec(const umbra_shadow_fast *fast)
{
    return &fast->spec;
}

const char *umbra_shadow_fast_isa(const umbra_shadow_fast *fast)
{
    return fast->kernels->name;
}

uint64_t umbra_shadow_fast_bytes(const umbra_shadow_fast *fast)
{
    return fast->arena_bytes;
}

typedef struct extent {
    const void *data;
    size_t bytes;
} extent;

/* The parts of matrices that a prediction reads; returns how many, at most 3 + D. */
static int extents_of(const umbra_shadow_fast *f, int source, extent *out)
{
    int n = 0, distances = umbra_shadow_distances(&f->spec, source);
    int rows = distances * f->spec.experts;
    if (distances == 0)
        return 0;
    const umbra_fast_network *net = &f->networks[f->spec.shared ? 0 : source];
    if (net->w.data)
        out[n++] = (extent){net->w.data, umbra_fast_matrix_bytes(&net->w, rows)};
    out[n++] = (extent){net->w1.data, umbra_fast_matrix_bytes(&net->w1, f->spec.width)};
    out[n++] = (extent){net->w2.data, umbra_fast_matrix_bytes(&net->w2, rows)};
    for (int d = 1; f->gates && d <= distances; d++) {
        const umbra_fast_matrix *gate = &f->gates[umbra_shadow_target(source, d)];
        out[n++] = (extent){gate->data, umbra_fast_matrix_bytes(gate, f->spec.experts)};
    }
    return n;
}

uint64_t umbra_shadow_fast_read_bytes(const umbra_shadow_fast *fast, int source)
{
    extent extents[3 + D];
    uint64_t bytes = 0;
    for (int i = extents_of(fast, source, extents); i > 0; i--)
        bytes += extents[i - 1].bytes;
    return bytes;
}

uint64_t umbra_shadow_fast_touch(const umbra_shadow_fast *fast, int source)
{
    extent extents[3 + D];
    uint64_t sum = 0;
    int n = extents_of(fast, source, extents);
    for (int i = 0; i < n; i++)
        sum ^= fast->kernels->predict->touch(extents[i].data, extents[i].bytes);
    return sum;
}

static void place_inputs(umbra_arena *a, umbra_fast_inputs *x, int columns,
                         umbra_shadow_weights form)
{
    x->stride = (int)umbra_align_up((uint64_t)columns, UMBRA_FAST_BLOCK);
    size_t n = (size_t)SLICE * (size_t)x->stride, blocks = n / UMBRA_FAST_BLOCK;
    x->f32 = umbra_arena_take(a, n, sizeof *x->f32);
    if (form != UMBRA_SHADOW_I8)
        return;
    x->u = umbra_arena_take(a, n, sizeof *x->u);
    x->scale = umbra_arena_take(a, SLICE, sizeof *x->scale);
    x->q = umbra_arena_take(a, n, sizeof *x->q);
    x->wide = umbra_arena_take(a, blocks, sizeof *x->wide);
    x->widest = umbra_arena_take(a, SLICE, sizeof *x->widest);
}

static void place(umbra_arena *a, umbra_fast_scratch *s, const umbra_shadow_fast *f)
{
    place_inputs(a, &s->x, umbra_shadow_inputs(&f->spec), f->spec.weights);
    place_inputs(a, &s->h, f->spec.width, f->spec.weights);
    s->z_stride = f->outputs + UMBRA_FAST_LANES;
    s->v = umbra_arena_take(a, (size_t)SLICE * (size_t)f->width, sizeof *s->v);
    s->z = umbra_arena_take(a, (size_t)SLICE * (size_t)s->z_stride, sizeof *s->z);
    s->rows = umbra_arena_take(a, (size_t)umbra_shadow_feature_most(&f->spec, 0), sizeof *s->rows);
}

int umbra_fast_scratch_open(umbra_fast_scratch **out, const umbra_shadow_fast *fast,
                            umbra_error *err)
{
    umbra_arena a = {0};
    umbra_fast_scratch *s = umbra_calloc(1, sizeof *s);
    *out = s;
    if (!s)
        return umbra_fail_nomem(err, "the scratch memory of a shadow model", sizeof *s);
    place(&a, s, fast);
    s->block = umbra_aligned_alloc(UMBRA_ARENA_ALIGNMENT, a.used);
    if (!s->block) {
        umbra_fast_scratch_close(out);
        return umbra_fail_nomem(err, "the scratch memory of a shadow model", a.used);
    }
    memset(s->block, 0, a.used); /* what pads the inputs stays zero */
    a = (umbra_arena){.base = s->block};
    place(&a, s, fast);
    return UMBRA_OK;
}

void umbra_fast_scratch_close(umbra_fast_scratch **scratch)
{
    if (!*scratch)
        return;
    umbra_free((*scratch)->block);
    umbra_free(*scratch);
    *scratch = NULL;
}

static void prefetch_record(const uint8_t *record, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += UMBRA_FAST_LINE)
        __builtin_prefetch(record + i);
}

/* v and z of input i begin as the biases and the rows of its features. */
static void begin(const umbra_shadow_fast *f, const umbra_fast_network *net, int source,
                  const umbra_predict_input *in, int i, float *v, float *z, uint32_t *rows)
{
    umbra_fast_add add = f->kernels->predict->add[f->spec.weights];
    int take = umbra_shadow_distances(&f->spec, source) * f->spec.experts;
    int padded = (int)umbra_align_up((uint64_t)take, UMBRA_FAST_LANES);
    memcpy(v, net->b1, (size_t)f->width * sizeof *v);
    memcpy(z, net->bias, (size_t)f->outputs * sizeof *z);
    const umbra_feature_lists lists = umbra_feature_lists_of(
        &f->spec, source, in->now ? in->now[i] : NULL, in->previous ? in->previous[i] : NULL,
        in->previous2 ? in->previous2[i] : NULL);
    int n = umbra_shadow_feature_rows(&f->spec, 0, source, &lists, rows);
    for (int k = 0; k < n; k++) {
        const uint8_t *record = net->features + rows[k] * f->feature_bytes;
        const float *scale = net->feature_scale ? net->feature_scale + 2 * (size_t)rows[k] : NULL;
        if (k + 1 < n)
            prefetch_record(net->features + rows[k + 1] * f->feature_bytes, f->feature_bytes);
        add(v, record, scale ? scale[0] : 0.0f, f->width);
        if (net->w.data)
            add(z, record + f->w1_feature_bytes, scale ? scale[1] : 0.0f, padded);
    }
}

/* Scores of rows [first, first + n) of a batch, n at most SLICE, into the scratch. */
static void forward(const umbra_shadow_fast *f, int source, const umbra_predict_input *in,
                    int first, int n, umbra_fast_scratch *s)
{
    const umbra_shadow_spec *spec = &f->spec;
    const umbra_predict_kernels *k = f->kernels->predict;
    const umbra_fast_network *net = &f->networks[spec->shared ? 0 : source];
    umbra_fast_product product = k->product[spec->weights];
    size_t hidden = (size_t)spec->hidden, more = hidden * (size_t)spec->averages;
    int distances = umbra_shadow_distances(spec, source), rows = distances * spec->experts;
    bool i8 = spec->weights == UMBRA_SHADOW_I8;
    for (int i = 0; i < n; i++) {
        size_t row = (size_t)(first + i);
        float *x = s->x.f32 + (size_t)i * (size_t)s->x.stride;
        k->normalise(in->states + row * hidden, spec->hidden, x);
        if (more > 0)
            memcpy(x + hidden, in->averages + row * more, more * sizeof *x);
        if (i8)
            k->quantise(&s->x, i);
        begin(f, net, source, in, first + i, s->v + i * f->width, s->z + i * s->z_stride, s->rows);
    }
    if (net->w.data)
        product(&net->w, rows, &s->x, n, 1.0f, s->z, s->z_stride);
    for (int d = 1; f->gates && d <= distances; d++)
        product(&f->gates[umbra_shadow_target(source, d)], spec->experts, &s->x, n, net->a[d - 1],
                s->z + (d - 1) * spec->experts, s->z_stride);
    product(&net->w1, spec->width, &s->x, n, 1.0f, s->v, f->width);
    for (int i = 0; i < n; i++) {
        float *h = s->h.f32 + (size_t)i * (size_t)s->h.stride;
        k->activate(s->v + i * f->width, net->gain, net->shift, spec->width, h);
        if (i8)
            k->quantise(&s->h, i);
    }
    product(&net->w2, rows, &s->h, n, 1.0f, s->z, s->z_stride);
}

void umbra_shadow_fast_scores(const umbra_shadow_fast *fast, int source,
                              const umbra_predict_input *input, umbra_fast_scratch *scratch,
                              float *scores)
{
    size_t experts = (size_t)fast->spec.experts;
    int distances = umbra_shadow_distances(&fast->spec, source);
    for (int first = 0; distances > 0 && first < input->n; first += SLICE) {
        int n = input->n - first < SLICE ? input->n - first : SLICE;
        forward(fast, source, input, first, n, scratch);
        for (int i = 0; i < n; i++)
            memcpy(scores + (size_t)(first + i) * D * experts, scratch->z + i * scratch->z_stride,
                   (size_t)distances * experts * sizeof *scores);
    }
}

void umbra_shadow_fast_predict(const umbra_shadow_fast *fast, int source,
                               const umbra_predict_input *input, umbra_fast_scratch *scratch,
                               float *probability, int m, uint16_t *best)
{
    const umbra_shadow_spec *spec = &fast->spec;
    const umbra_predict_kernels *kernels = fast->kernels->predict;
    const float *fit = fast->calibration + (size_t)source * D * 2;
    int distances = umbra_shadow_distances(spec, source);
    for (int first = 0; distances > 0 && first < input->n; first += SLICE) {
        int n = input->n - first < SLICE ? input->n - first : SLICE;
        forward(fast, source, input, first, n, scratch);
        for (int i = 0; i < n; i++) {
            for (int d = 0; d < distances; d++) {
                const float *z = scratch->z + i * scratch->z_stride + d * spec->experts;
                size_t row = (size_t)(first + i) * D + (size_t)d;
                kernels->calibrate(z, spec->experts, spec->loss == UMBRA_LOSS_KL, fit[2 * d],
                                   fit[2 * d + 1], probability + row * (size_t)spec->experts);
                if (m > 0)
                    umbra_predict_top_above(z, spec->experts, m,
                                            kernels->floor(z, spec->experts, m),
                                            best + row * (size_t)m);
            }
        }
    }
}
