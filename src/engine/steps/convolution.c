/* A short convolution in place of attention: every row mixes, value by value, the inputs of the
 * last few positions of its sequence, which the state keeps as it keeps keys. */
#include "engine/steps/steps.h"

void umbra_step_convolution(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    umbra_product in = umbra_product_make(p->device, &w[UMBRA_CONV_IN], &s->normed, p->rows, s->q);
    umbra_device_products(p->device, &in, 1);
    umbra_convolve_step convolve = {
        .in = s->q,
        .taps = w[UMBRA_CONV].data,
        .form = &p->forms[layer],
        .view = s->view,
        .width = p->model->config.attention[layer].conv,
        .out = s->mixed.f32,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_profile(p->device, UMBRA_PROFILE_ATTEND);
    umbra_device_convolve(p->device, &convolve, p->rows);
}
