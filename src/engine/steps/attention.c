/* Attention with a key and a value per kv head, and what both kinds of attention share. */
#include "engine/steps/steps.h"

/* From normed to mixed.f32. */
static void attend_heads(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_config *c = &p->model->config;
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    umbra_product projections[] = {
        umbra_product_make(d, &w[UMBRA_ATTN_Q], &s->normed, p->rows, s->q),
        umbra_product_make(d, &w[UMBRA_ATTN_K], &s->normed, p->rows, s->k),
        umbra_product_make(d, &w[UMBRA_ATTN_V], &s->normed, p->rows, s->v),
    };
    umbra_device_products(d, projections, 3);
    umbra_place_step place = {
        .q = s->q,
        .k = s->k,
        .v = s->v,
        .q_bias = &w[UMBRA_ATTN_Q_BIAS],
        .k_bias = &w[UMBRA_ATTN_K_BIAS],
        .v_bias = &w[UMBRA_ATTN_V_BIAS],
        .q_norm = &w[UMBRA_ATTN_Q_NORM],
        .k_norm = &w[UMBRA_ATTN_K_NORM],
        .rope = &c->rope,
        .angles = s->rope,
        .form = &p->forms[layer],
        .view = s->view,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .key_dim = c->key_dim,
        .value_dim = c->value_dim,
        .eps = c->rms_eps,
    };
    umbra_device_place(d, &place, p->rows);
    umbra_attend_step attend = {
        .q = s->q,
        .sinks = w[UMBRA_ATTN_SINKS].data,
        .form = &p->forms[layer],
        .view = s->view,
        .heads = c->heads,
        .together = c->heads / c->kv_heads,
        .value_dim = c->value_dim,
        .scale = c->attention_scale,
        .out = &s->mixed,
        .scores = s->scores,
        .scores_stride = s->scores_stride,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_attend(d, &attend, p->rows);
}

void umbra_step_attention(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    umbra_device_norm(p->device, &s->normed, s->x, &w[UMBRA_ATTN_NORM], c->rms_eps, p->rows);
    if (c->kv_rank)
        umbra_step_attention_latent(p, layer);
    else
        attend_heads(p, layer);
    umbra_device_round(p->device, &s->mixed, p->rows);
    umbra_product out =
        umbra_product_make(p->device, &w[UMBRA_ATTN_OUT], &s->mixed, p->rows, s->block);
    umbra_device_products(p->device, &out, 1);
    umbra_device_add_bias(p->device, &w[UMBRA_ATTN_OUT_BIAS], s->block, p->rows);
    umbra_device_add(p->device, s->x, s->block, NULL, p->rows, c->hidden);
}
