/* What experts do between and behind their products: activation, and the weighted sum. */
#include <string.h>

#include "device/device.h"

enum { LEAST_VALUES = 2048 }; /* that are activated in a piece */

typedef struct activate_run {
    const umbra_kernels *kernels;
    const umbra_activate_step *s;
} activate_run;

/* Row `expert` of biases (experts, n) added to x, where there are any. */
static void add_bias(const umbra_kernels *kernels, const umbra_matrix *bias, int expert, float *x)
{
    if (bias && bias->data && expert >= 0)
        kernels->add_scaled(x, (const float *)bias->data + (size_t)expert * (size_t)bias->columns,
                            1.0f, bias->columns);
}

/* x times factors[at], where there are any. */
static void scale_row(const float *factors, int at, float *x, int n)
{
    for (int i = 0; factors && i < n; i++)
        x[i] *= factors[at];
}

/* x times the factor of an expert's slice, where there is one. */
static void scale_slice(const umbra_matrix *scale, int expert, float *x, int n)
{
    scale_row(scale && expert >= 0 ? scale->data : NULL, expert, x, n);
}

/* NaN stays NaN. */
static void clamp_inputs(float *gate, float *up, float limit, int n)
{
    for (int i = 0; i < n; i++) {
        gate[i] = gate[i] > limit ? limit : gate[i];
        up[i] = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
    }
}

/* g sigmoid(a g) (u + 1) = silu(a g) * ((u + 1) / a), g and u clamped. */
static void clamp_swiglu(float *gate, float *up, int n)
{
    const float limit = 7.0f, alpha = 1.702f;
    clamp_inputs(gate, up, limit, n);
    for (int i = 0; i < n; i++) {
        gate[i] *= alpha;
        up[i] = (up[i] + 1.0f) / alpha;
    }
}

/* gelu(g) in its tanh form is g sigmoid(2 z), z = sqrt(2 / pi) (g + 0.044715 g^3): silu(2 z) g /
 * (2 z). */
static void prepare_gelu(float *gate, float *up, int n)
{
    for (int i = 0; i < n; i++) {
        float steepness = 1.5957691216f * (1.0f + 0.044715f * gate[i] * gate[i]);
        gate[i] *= steepness;
        up[i] /= steepness;
    }
}

/* relu(x)^2; NaN stays NaN. */
static void square_relu(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = x[i] < 0 ? 0 : x[i] * x[i];
}

static void activate_row(const activate_run *run, const umbra_activate_span *span, int j)
{
    const umbra_activate_step *s = run->s;
    int width = s->inner->columns, expert = span->expert, row = span->first + j;
    float *gate = s->inner->f32 + (size_t)row * (size_t)width;
    float *up = s->up + (size_t)row * (size_t)width;
    scale_row(span->weight, j, gate, width);
    scale_slice(s->gate_scale, expert, gate, width);
    add_bias(run->kernels, s->gate_bias, expert, gate);
    if (s->activation == UMBRA_RELU_SQUARED) {
        square_relu(gate, width);
        return;
    }
    scale_row(span->weight, j, up, width);
    scale_slice(s->up_scale, expert, up, width);
    add_bias(run->kernels, s->up_bias, expert, up);
    if (s->clamp > 0)
        clamp_inputs(gate, up, s->clamp, width);
    if (s->activation == UMBRA_SWIGLU_CLAMPED)
        clamp_swiglu(gate, up, width);
    if (s->activation == UMBRA_GEGLU)
        prepare_gelu(gate, up, width);
    run->kernels->swiglu(gate, gate, up, width);
}

/* Items are the rows of all spans, one after the other. */
static void activate_items(void *context, int begin, int end, int worker)
{
    (void)worker;
    const activate_run *run = context;
    const umbra_activate_step *s = run->s;
    int item = 0;
    for (int i = 0; i < s->n_spans && item < end; i++) {
        const umbra_activate_span *span = &s->spans[i];
        int from = begin > item ? begin - item : 0;
        int to = end - item < span->count ? end - item : span->count;
        for (int j = from; j < to; j++)
            activate_row(run, span, j);
        if (from < to)
            umbra_round_rows(run->kernels, s->inner, span->first + from, to - from);
        item += span->count;
    }
}

/* Rows of a piece: so few that all threads have some of many, and values enough that the barrier
 * does not cost more than they. */
static int choose_grain(const umbra_activate_step *s, int rows)
{
    int usual = rows < 32 ? 4 : 16, least = LEAST_VALUES / s->inner->columns;
    return usual > least ? usual : least;
}

void umbra_device_activate(const umbra_device *d, const umbra_activate_step *s)
{
    int rows = 0;
    for (int i = 0; i < s->n_spans; i++)
        rows += s->spans[i].count;
    activate_run run = {d->kernels, s};
    umbra_device_run(d, rows, choose_grain(s, rows), activate_items, &run);
}

typedef struct mix_run {
    const umbra_kernels *kernels;
    const umbra_mix_step *s;
} mix_run;

static void mix_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const mix_run *run = context;
    const umbra_mix_step *s = run->s;
    size_t hidden = (size_t)s->hidden;
    for (int t = begin; t < end; t++) {
        float *sum = s->sum + (size_t)t * hidden;
        memset(sum, 0, hidden * sizeof *sum);
        for (int i = t * s->used; i < (t + 1) * s->used; i++) {
            if (s->pair[i] < 0)
                continue;
            float *contribution = s->contribution + (size_t)s->pair[i] * hidden;
            scale_slice(s->scale, s->experts[i], contribution, s->hidden);
            add_bias(run->kernels, s->bias, s->experts[i], contribution);
            run->kernels->add_scaled(sum, contribution, s->weights ? s->weights[i] : 1.0f,
                                     s->hidden);
        }
    }
}

void umbra_device_mix(const umbra_device *d, const umbra_mix_step *s, int rows)
{
    mix_run run = {d->kernels, s};
    umbra_device_run(d, rows, 8, mix_rows, &run);
}
