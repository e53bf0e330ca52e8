/* Attention over one head whose keys are its values. A row sees a window of them, and where the
 * layer pools, a row for every whole block of positions so far, or those that an index picks. The
 * end of every head is turned;
 * what comes out is turned back by the row's own position, since the values were. It goes out
 * through groups of heads. */
#include <math.h>

#include "engine/steps/steps.h"

static void project(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    umbra_product products[4] = {
        umbra_product_make(d, &w[UMBRA_ATTN_KV], &s->normed, p->rows, s->k),
        umbra_product_make(d, &w[UMBRA_ATTN_Q_A], &s->normed, p->rows, s->q_low.f32),
    };
    bool pools = c->attention[layer].ratio > 0;
    if (pools) {
        products[2] =
            umbra_product_make(d, &w[UMBRA_POOL_VALUES], &s->normed, p->rows, s->pool_values);
        products[3] =
            umbra_product_make(d, &w[UMBRA_POOL_SCORES], &s->normed, p->rows, s->pool_scores);
    }
    umbra_device_products(d, products, pools ? 4 : 2);
    umbra_device_norm(d, &s->q_low, s->q_low.f32, &w[UMBRA_ATTN_Q_A_NORM], c->rms_eps, p->rows);
    umbra_product q = umbra_product_make(d, &w[UMBRA_ATTN_Q], &s->q_low, p->rows, s->q);
    umbra_device_products(d, &q, 1);
}

static void place(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    umbra_scratch *s = p->scratch;
    const umbra_matrix none = {0};
    umbra_place_step place = {
        .q = s->q,
        .k = s->k,
        .q_bias = &none,
        .k_bias = &none,
        .v_bias = &none,
        .q_norm = &none,
        .k_norm = &p->weights->layer[layer][UMBRA_ATTN_KV_A_NORM],
        .bare_qk_norm = a->bare_qk_norm,
        .rope = &c->rope[a->rope],
        .angles = s->rope[a->rope],
        .turned_at = a->key_dim - c->rope[a->rope].dim,
        .form = &p->forms[layer],
        .view = s->view,
        .heads = a->heads,
        .kv_heads = 1,
        .key_dim = a->key_dim,
        .eps = c->rms_eps,
    };
    umbra_device_profile(p->device, UMBRA_PROFILE_ATTEND);
    umbra_device_place(p->device, &place, p->rows);
}

/* Rows that end a block pool it: turned as the block's first position is. */
static void pool(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    const umbra_rope *rope = &c->rope[a->rope];
    umbra_scratch *s = p->scratch;
    umbra_pool_step pool = {
        .values = s->pool_values,
        .scores = s->pool_scores,
        .place = p->weights->layer[layer][UMBRA_POOL_PLACE].data,
        .norm = p->weights->layer[layer][UMBRA_POOL_NORM].data,
        .rope = rope,
        .turned_at = a->key_dim - rope->dim,
        .from = &p->forms[a->pooling],
        .to = &p->forms[a->pooled],
        .from_view = s->pooling,
        .to_view = s->pooled,
        .ratio = a->ratio,
        .parts = a->ratio_parts,
        .dim = a->key_dim,
        .eps = c->rms_eps,
        .out = s->pool_values, /* each row's are kept by then */
    };
    umbra_step_pool(p, a->rope, &pool);
}

/* From mixed, whose heads are turned back, to groups: each group's heads by its own rows of the
 * matrix. */
static void group(const umbra_pass *p, int layer)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    umbra_scratch *s = p->scratch;
    umbra_activations heads = s->mixed;
    heads.rows = p->rows * a->out_groups;
    heads.columns = a->heads * a->value_dim / a->out_groups;
    umbra_device_round(p->device, &heads, heads.rows);
    umbra_step_per_part(p, a->out_groups, &p->weights->layer[layer][UMBRA_ATTN_OUT_A],
                        (umbra_part){0, a->out_rank, a->out_rank}, &heads, p->rows,
                        s->groups_out.f32, a->out_rank);
}

void umbra_step_attention_pooled(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    umbra_scratch *s = p->scratch;
    project(p, layer);
    place(p, layer);
    if (a->ratio)
        pool(p, layer);
    umbra_step_index(p, layer);
    umbra_attend_step attend = {
        .q = s->q,
        .sinks = p->weights->layer[layer][UMBRA_ATTN_SINKS].data,
        .form = &p->forms[layer],
        .view = s->view,
        .pooled_form = a->ratio ? &p->forms[a->pooled] : NULL,
        .pooled_view = s->pooled,
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
    umbra_device_turn_back(p->device, &c->rope[a->rope], s->rope[a->rope], s->mixed.f32, a->heads,
                           a->value_dim, p->rows);
    group(p, layer);
}
