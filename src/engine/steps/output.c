/* The way out: output norm and matrix, scale and cap of the logits. */
#include "engine/steps/steps.h"

void umbra_step_output(const umbra_pass *p, const int *index, int n)
{
    const umbra_config *c = &p->model->config;
    const umbra_matrix *w = p->weights->model;
    umbra_scratch *s = p->scratch;
    size_t hidden = (size_t)c->hidden;
    umbra_device_profile(p->device, UMBRA_PROFILE_OUTPUT);
    for (int i = 0; i < n; i++)
        p->device->kernels->rms_norm(s->out.f32 + (size_t)i * hidden,
                                     s->x + (size_t)index[i] * hidden, w[UMBRA_OUTPUT_NORM].data,
                                     c->hidden, c->rms_eps);
    umbra_round_rows(p->device->kernels, &s->out, 0, n);
    umbra_product output = umbra_product_make(p->device, &w[UMBRA_OUTPUT], &s->out, n, s->logits);
    umbra_device_products(p->device, &output, 1);
    umbra_device_shape_logits(p->device, s->logits, c->logit_scale, c->logit_cap, n, c->vocabulary);
}
