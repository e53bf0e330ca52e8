/* The feed-forward block that every row uses: a dense layer's, or the shared experts', which are
 * computed as one wide expert. Resident, as all dense weights. */
#include "engine/steps/steps.h"

/* From normed to out (C, hidden), and to shared_weight where there is something that weighs. */
static void compute(const umbra_pass *p, int layer, float *out)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_matrix *weigh = &w[UMBRA_SHARED_ROUTER];
    const umbra_clamp *clamp = p->model->config.clamp;
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    umbra_activations inner = s->ffn;
    const umbra_matrix *gate = &w[w[UMBRA_FFN_GATE].data ? UMBRA_FFN_GATE : UMBRA_FFN_UP];
    inner.columns = gate->rows;
    umbra_product products[3];
    int n = 0;
    products[n++] = umbra_product_make(d, gate, &s->normed, p->rows, inner.f32);
    if (w[UMBRA_FFN_GATE].data)
        products[n++] = umbra_product_make(d, &w[UMBRA_FFN_UP], &s->normed, p->rows, s->up);
    if (weigh->data)
        products[n++] = umbra_product_make(d, weigh, &s->normed, p->rows, s->shared_weight);
    umbra_device_products(d, products, n);
    umbra_activate_span all = {.first = 0, .count = p->rows, .expert = -1};
    umbra_activate_step activate = {.spans = &all,
                                    .n_spans = 1,
                                    .inner = &inner,
                                    .up = s->up,
                                    .activation = p->model->config.activation,
                                    .clamp = clamp ? clamp[layer].shared : 0};
    umbra_device_activate(d, &activate);
    umbra_product down = umbra_product_make(d, &w[UMBRA_FFN_DOWN], &inner, p->rows, out);
    umbra_device_products(d, &down, 1);
    if (weigh->data)
        umbra_device_sigmoid(s->shared_weight, p->rows);
}

void umbra_step_ffn(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_config *c = &p->model->config;
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    bool mixed_later = s->streams && w[UMBRA_ROUTER].data;
    umbra_device_profile(d, UMBRA_PROFILE_SHARED);
    if (w[UMBRA_FFN_DOWN].data && (mixed_later || w[UMBRA_BLOCK_POST_NORM].data)) {
        compute(p, layer, s->beside);
        umbra_device_norm_rows(d, &w[UMBRA_FFN_POST_NORM], s->beside, c->rms_eps, p->rows);
    } else if (s->streams && w[UMBRA_FFN_DOWN].data) {
        compute(p, layer, s->block);
        umbra_step_add(p, s->streams);
    } else if (w[UMBRA_FFN_DOWN].data) {
        compute(p, layer, s->block);
        umbra_device_add(d, s->x, s->block, w[UMBRA_SHARED_ROUTER].data ? s->shared_weight : NULL,
                         c->residual_scale, p->rows, c->hidden);
    }
    if (w[UMBRA_EXPERT_NORM].data)
        umbra_device_norm(d, &s->normed, s->x, &w[UMBRA_EXPERT_NORM], c->rms_eps, p->rows);
    if (w[UMBRA_LATENT_DOWN].data) {
        umbra_product down =
            umbra_product_make(d, &w[UMBRA_LATENT_DOWN], &s->normed, p->rows, s->latent_in.f32);
        umbra_device_products(d, &down, 1);
        umbra_device_round(d, &s->latent_in, p->rows);
    }
}

void umbra_step_ffn_dense(const umbra_pass *p, int layer)
{
    umbra_scratch *s = p->scratch;
    if (p->model->config.attention[layer].alone)
        return;
    umbra_device_profile(p->device, UMBRA_PROFILE_SHARED);
    umbra_device_norm(p->device, &s->normed, s->x, &p->weights->layer[layer][UMBRA_FFN_NORM],
                      p->model->config.rms_eps, p->rows);
    umbra_step_ffn(p, layer);
}
