/* The way out: output norm and matrix, scale and cap of the logits. */
#include <string.h>

#include "engine/steps/steps.h"

void umbra_step_output_norm(const umbra_pass *p, const int *index, int n)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    size_t hidden = (size_t)c->hidden;
    umbra_device_profile(p->device, UMBRA_PROFILE_OUTPUT);
    for (int i = 0; c->streams.rank && i < n; i++) /* is normed already */
        memcpy(s->out.f32 + (size_t)i * hidden, s->x + (size_t)index[i] * hidden,
               hidden * sizeof *s->x);
    for (int i = 0; !c->streams.rank && i < n; i++)
        p->device->kernels->rms_norm(
            s->out.f32 + (size_t)i * hidden, s->x + (size_t)index[i] * hidden,
            p->weights->model[UMBRA_OUTPUT_NORM].data, c->hidden, c->rms_eps);
    umbra_round_rows(p->device->kernels, &s->out, 0, n);
}

void umbra_step_output_part(const umbra_pass *p, int first, int n)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    umbra_matrix part = p->weights->model[UMBRA_OUTPUT];
    part.data = (const char *)part.data + (size_t)first * part.row_bytes;
    part.rows = n;
    umbra_device_profile(p->device, UMBRA_PROFILE_OUTPUT);
    umbra_product output = umbra_product_make(p->device, &part, &s->out, 1, s->logits + first);
    umbra_device_products(p->device, &output, 1);
    umbra_device_shape_logits(p->device, s->logits + first, c->logit_scale, c->logit_cap, 1, n);
}

void umbra_step_output(const umbra_pass *p, const int *index, int n)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    umbra_step_output_norm(p, index, n);
    umbra_product output =
        umbra_product_make(p->device, &p->weights->model[UMBRA_OUTPUT], &s->out, n, s->logits);
    umbra_device_products(p->device, &output, 1);
    umbra_device_shape_logits(p->device, s->logits, c->logit_scale, c->logit_cap, n, c->vocabulary);
}
