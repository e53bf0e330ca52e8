/* Several residual streams (hyper-connections): each half of a layer takes a mixture of them, x, by
 * weights that are worked out from all of them, and what it gives joins them by others. Without
 * them x is the residual stream itself. */
#include <string.h>

#include "engine/steps/steps.h"

float *umbra_residual(const umbra_scratch *s)
{
    return s->streams ? s->streams : s->x;
}

void umbra_step_split(const umbra_pass *p)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    size_t hidden = (size_t)c->hidden, n = (size_t)c->streams.count;
    for (size_t i = 0; s->streams && i < (size_t)p->rows * n; i++)
        memcpy(s->streams + i * hidden, s->x + i / n * hidden, hidden * sizeof *s->x);
}

/* mix: weights, scales and bases of what scores the streams, in this order. */
static void enter(const umbra_pass *p, const umbra_matrix *mix, const umbra_matrix *scale,
                  const umbra_matrix *base, bool carried)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    const umbra_matrix none = {0};
    umbra_device_norm(p->device, &s->flat, s->streams, &none, c->rms_eps, p->rows);
    umbra_product product = umbra_product_make(p->device, mix, &s->flat, p->rows, s->stream_scores);
    umbra_device_products(p->device, &product, 1);
    umbra_enter_step step = {
        .x = s->streams,
        .scores = s->stream_scores,
        .scale = scale->data,
        .base = base->data,
        .out = s->x,
        .carry = carried ? s->carry : NULL,
        .streams = c->streams.count,
        .hidden = c->hidden,
        .iterations = c->streams.iterations,
        .eps = c->streams.eps,
    };
    umbra_device_enter(p->device, &step, p->rows);
}

/* By mixtures of normed streams: norm, the two matrices of the gate, and what scores the streams
 * for what the block will give (NULL: nothing is carried). */
static void enter_normed(const umbra_pass *p, const umbra_matrix *norm, const umbra_matrix *down,
                         const umbra_matrix *up, const umbra_matrix *inject)
{
    const umbra_config *c = &p->model->config;
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    int n = c->streams.count;
    umbra_device_norm_streams(d, &s->flat, s->streams, norm->data, n, c->rms_eps, p->rows);
    umbra_product products[2] = {
        umbra_product_make(d, down, &s->flat, p->rows, s->stream_low.f32),
    };
    if (inject)
        products[1] = umbra_product_make(d, inject, &s->flat, p->rows, s->stream_scores);
    umbra_device_products(d, products, inject ? 2 : 1);
    umbra_device_silu(d, &s->stream_low, 1 / (float)n, p->rows);
    umbra_product gates = umbra_product_make(d, up, &s->stream_low, p->rows, s->stream_gates);
    umbra_device_products(d, &gates, 1);
    umbra_average_step step = {.normed = s->flat.f32,
                               .gates = s->stream_gates,
                               .scores = inject ? s->stream_scores : NULL,
                               .out = s->x,
                               .carry = s->carry,
                               .streams = n,
                               .hidden = c->hidden};
    umbra_device_average(d, &step, p->rows);
}

void umbra_step_enter(const umbra_pass *p, int layer, umbra_half half)
{
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_role role = half == UMBRA_HALF_ATTENTION ? UMBRA_ATTN_MIX : UMBRA_FFN_MIX;
    umbra_role normed = half == UMBRA_HALF_ATTENTION ? UMBRA_ATTN_MIX_NORM : UMBRA_FFN_MIX_NORM;
    if (p->scratch->streams && w[normed].data)
        enter_normed(p, &w[normed], &w[normed + 1], &w[normed + 2], &w[normed + 3]);
    else if (p->scratch->streams)
        enter(p, &w[role], &w[role + 1], &w[role + 2], true);
}

void umbra_step_leave(const umbra_pass *p)
{
    const umbra_matrix *w = p->weights->model, *normed = &w[UMBRA_OUTPUT_MIX_NORM];
    if (p->scratch->streams && normed->data)
        enter_normed(p, normed, &w[UMBRA_OUTPUT_MIX_DOWN], &w[UMBRA_OUTPUT_MIX_UP], NULL);
    else if (p->scratch->streams)
        enter(p, &w[UMBRA_OUTPUT_MIX], &w[UMBRA_OUTPUT_MIX_SCALE], &w[UMBRA_OUTPUT_MIX_BASE],
              false);
}

void umbra_step_add(const umbra_pass *p, float *residual)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    if (s->streams)
        umbra_device_leave(p->device, residual, s->carry, s->block, c->streams.count, c->hidden,
                           p->rows);
    else
        umbra_device_add(p->device, residual, s->block, NULL, c->residual_scale, p->rows,
                         c->hidden);
}

void umbra_step_norm(const umbra_pass *p, const umbra_matrix *weight)
{
    umbra_scratch *s = p->scratch;
    size_t hidden = (size_t)p->model->config.hidden;
    if (weight->data || !p->model->config.streams.rank) {
        umbra_device_norm(p->device, &s->normed, s->x, weight, p->model->config.rms_eps, p->rows);
        return;
    }
    memcpy(s->normed.f32, s->x, (size_t)p->rows * hidden * sizeof *s->x);
    umbra_device_round(p->device, &s->normed, p->rows);
}
