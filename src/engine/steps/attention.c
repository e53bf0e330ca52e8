/* Attention with a key and a value per kv head, and what both kinds of attention share. */
#include <string.h>

#include "engine/steps/steps.h"

/* Weights and biases of queries, keys and values. */
typedef struct projections {
    umbra_matrix w[3], bias[3];
} projections;

/* They may be the rows of one matrix. */
static projections find_projections(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_matrix *all = &w[UMBRA_ATTN_QKV], *biases = &w[UMBRA_ATTN_QKV_BIAS];
    const umbra_attention *a = &p->model->config.attention[layer];
    const int rows[] = {a->heads * a->key_dim, a->kv_heads * a->key_dim,
                        a->kv_heads * a->value_dim};
    if (!all->data)
        return (projections){{w[UMBRA_ATTN_Q], w[UMBRA_ATTN_K], w[UMBRA_ATTN_V]},
                             {w[UMBRA_ATTN_Q_BIAS], w[UMBRA_ATTN_K_BIAS], w[UMBRA_ATTN_V_BIAS]}};
    projections out = {{*all, *all, *all}, {*biases, *biases, *biases}};
    for (int i = 0, first = 0; i < 3; first += rows[i++]) {
        out.w[i].data = (const char *)all->data + (size_t)first * all->row_bytes;
        out.w[i].rows = rows[i];
        out.bias[i].data = biases->data ? (const float *)biases->data + first : NULL;
        out.bias[i].columns = rows[i];
    }
    return out;
}

static void project(const umbra_pass *p, int layer, const projections *from)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    umbra_scratch *s = p->scratch;
    int q = a->heads * a->key_dim;
    const umbra_share shares[] = {{a->key_dim, s->q, q}, {a->key_dim, s->gate, q}};
    int n = umbra_step_deal(p, &from->w[0], a->heads, shares, a->gated ? 2 : 1, s->dealt);
    s->dealt[n++] = umbra_product_make(p->device, &from->w[1], &s->normed, p->rows, s->k);
    if (from->w[2].data)
        s->dealt[n++] = umbra_product_make(p->device, &from->w[2], &s->normed, p->rows, s->v);
    umbra_device_products(p->device, s->dealt, n);
    if (!from->w[2].data) /* values are what keys are before anything is done to these */
        memcpy(s->v, s->k, (size_t)(p->rows * a->kv_heads * a->value_dim) * sizeof *s->v);
}

/* Turns and keeps what was projected. */
static void place(const umbra_pass *p, int layer, const projections *from)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    umbra_scratch *s = p->scratch;
    umbra_place_step place = {
        .q = s->q,
        .k = s->k,
        .v = s->v,
        .q_bias = &from->bias[0],
        .k_bias = &from->bias[1],
        .v_bias = &from->bias[2],
        .q_norm = &w[UMBRA_ATTN_Q_NORM],
        .k_norm = &w[UMBRA_ATTN_K_NORM],
        .bare_qk_norm = a->bare_qk_norm,
        .bare_v_norm = a->bare_v_norm,
        .norms_rotated = a->norms_rotated,
        .rope = a->rope >= 0 ? &c->rope[a->rope] : NULL,
        .angles = a->rope >= 0 ? s->rope[a->rope] : NULL,
        .form = &p->forms[layer],
        .view = s->view,
        .heads = a->heads,
        .kv_heads = a->kv_heads,
        .key_dim = a->key_dim,
        .value_dim = a->value_dim,
        .eps = c->rms_eps,
    };
    umbra_device_place(p->device, &place, p->rows);
}

/* From normed to mixed.f32. */
static void attend_heads(const umbra_pass *p, int layer)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    umbra_scratch *s = p->scratch;
    projections from = find_projections(p, layer);
    project(p, layer, &from);
    umbra_device_profile(p->device, UMBRA_PROFILE_ATTEND);
    place(p, layer, &from);
    umbra_step_index(p, layer);
    umbra_attend_step attend = {
        .q = s->q,
        .sinks = p->weights->layer[layer][UMBRA_ATTN_SINKS].data,
        .form = &p->forms[layer],
        .view = s->view,
        .picks = umbra_step_picks(p, layer),
        .heads = a->heads,
        .together = umbra_heads_together(a),
        .value_dim = a->value_dim,
        .scale = a->scale,
        .out = &s->mixed,
        .room = &s->attend,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_attend(p->device, &attend, p->rows);
    if (a->gated)
        umbra_device_gate(p->device, s->mixed.f32, s->gate, p->rows, a->heads * a->value_dim);
}

void umbra_step_attention(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    umbra_activations *given = a->out_groups ? &s->groups_out : &s->mixed;
    if (a->heads == 0)
        return;
    umbra_device_profile(d, UMBRA_PROFILE_PROJECT);
    umbra_step_norm(p, &w[UMBRA_ATTN_NORM]);
    s->mixed.columns = a->heads * a->value_dim;
    if (a->recurrence.key_heads)
        umbra_step_recurrent(p, layer);
    else if (a->conv)
        umbra_step_convolution(p, layer);
    else if (a->kv_rank)
        umbra_step_attention_latent(p, layer);
    else if (a->keys_are_values)
        umbra_step_attention_pooled(p, layer);
    else
        attend_heads(p, layer);
    umbra_device_profile(d, UMBRA_PROFILE_PROJECT);
    umbra_device_round(d, given, p->rows);
    umbra_product out = umbra_product_make(d, &w[UMBRA_ATTN_OUT], given, p->rows, s->block);
    umbra_device_products(d, &out, 1);
    umbra_device_add_bias(d, &w[UMBRA_ATTN_OUT_BIAS], s->block, p->rows);
    umbra_device_norm_rows(d, &w[UMBRA_ATTN_POST_NORM], s->block, c->rms_eps, p->rows);
    umbra_step_add(p, umbra_residual(s));
    umbra_step_enter(p, layer, UMBRA_HALF_FFN);
}
