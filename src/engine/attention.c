/* Attention with a key and a value per kv head, and what both kinds of attention share. */
#include "engine/engine.h"

typedef struct attention_run {
    umbra_engine *e;
    int layer;
} attention_run;

size_t umbra_kv_offset(const umbra_engine *e, int layer, int sequence, int head, int dim)
{
    size_t row = ((size_t)layer * (size_t)e->sequences + (size_t)sequence) *
                     (size_t)e->model->config.cache_heads +
                 (size_t)head;
    return row * (size_t)e->plan.context * (size_t)dim * e->kernels->kv_bytes;
}

static void add_bias(const umbra_kernels *kernels, const umbra_matrix *bias, float *x)
{
    if (bias->data)
        kernels->add_scaled(x, bias->data, 1.0f, bias->columns);
}

/* Bias, norm (of each head or of all at once, as long as its weight is) and rotation of the heads
 * at x (heads, key_dim). */
static void shape_heads(const umbra_engine *e, const umbra_matrix *bias, const umbra_matrix *norm,
                        float *x, int heads, int token)
{
    const umbra_config *c = &e->model->config;
    int n = heads * c->key_dim;
    add_bias(e->kernels, bias, x);
    for (int at = 0; norm->data && at < n; at += norm->columns)
        e->kernels->rms_norm(x + at, x + at, norm->data, norm->columns, c->rms_eps);
    for (int h = 0; h < heads; h++)
        umbra_rope_turn(e, x + (size_t)h * (size_t)c->key_dim, token);
}

/* Makes queries and keys of tokens [begin, end) what they are, and puts keys and values into the
 * cache. */
static void place_keys(void *context, int begin, int end, int worker)
{
    (void)worker;
    const attention_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    const umbra_kernels *kernels = e->kernels;
    const umbra_matrix *w = e->weights.layer[run->layer];
    umbra_scratch *s = &e->scratch;
    size_t key_dim = (size_t)c->key_dim, value_dim = (size_t)c->value_dim;
    for (int t = begin; t < end; t++) {
        float *q = s->q + (size_t)t * (size_t)c->heads * key_dim;
        float *k = s->k + (size_t)t * (size_t)c->kv_heads * key_dim;
        float *v = s->v + (size_t)t * (size_t)c->kv_heads * value_dim;
        shape_heads(e, &w[UMBRA_ATTN_Q_BIAS], &w[UMBRA_ATTN_Q_NORM], q, c->heads, t);
        shape_heads(e, &w[UMBRA_ATTN_K_BIAS], &w[UMBRA_ATTN_K_NORM], k, c->kv_heads, t);
        add_bias(kernels, &w[UMBRA_ATTN_V_BIAS], v);
        size_t position = (size_t)s->position[t] * kernels->kv_bytes;
        for (int h = 0; h < c->kv_heads; h++, k += key_dim, v += value_dim) {
            size_t keys = umbra_kv_offset(e, run->layer, s->sequence[t], h, c->key_dim);
            size_t values = umbra_kv_offset(e, run->layer, s->sequence[t], h, c->value_dim);
            kernels->store_kv(e->kv.k + keys + position * key_dim, k, c->key_dim);
            kernels->store_kv(e->kv.v + values + position * value_dim, v, c->value_dim);
        }
    }
}

/* The first position that a token at `position` sees. */
static int first_seen(const umbra_config *c, int layer, int position)
{
    bool windowed = c->window > 0 && (layer + 1) % c->window_period != 0;
    return windowed && position >= c->window ? position - c->window + 1 : 0;
}

/* Items are (token, kv head) pairs: the query heads that share keys go together. */
static void attend(void *context, int begin, int end, int worker)
{
    const attention_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    const float *sinks = e->weights.layer[run->layer][UMBRA_ATTN_SINKS].data;
    umbra_scratch *s = &e->scratch;
    int group = c->heads / c->kv_heads;
    size_t stride = (size_t)e->plan.context + 1;
    for (int i = begin; i < end; i++) {
        int t = i / c->kv_heads, h = i % c->kv_heads;
        int first = first_seen(c, run->layer, s->position[t]);
        size_t head = ((size_t)t * (size_t)c->heads + (size_t)(h * group));
        size_t skipped = (size_t)first * e->kernels->kv_bytes;
        umbra_attend a = {
            .q = s->q + head * (size_t)c->key_dim,
            .k = e->kv.k + umbra_kv_offset(e, run->layer, s->sequence[t], h, c->key_dim) +
                 skipped * (size_t)c->key_dim,
            .v = e->kv.v + umbra_kv_offset(e, run->layer, s->sequence[t], h, c->value_dim) +
                 skipped * (size_t)c->value_dim,
            .sinks = sinks ? sinks + (size_t)(h * group) : NULL,
            .out = s->mixed.f32 + head * (size_t)c->value_dim,
            .scores = s->scores + (size_t)worker * (size_t)group * stride,
            .group = group,
            .head_dim = c->key_dim,
            .value_dim = c->value_dim,
            .value_stride = c->value_dim,
            .positions = s->position[t] + 1 - first,
            .scores_stride = (int)stride,
            .scale = c->attention_scale,
        };
        e->kernels->attend(&a);
    }
}

/* From normed to mixed.f32. */
static void attend_heads(umbra_engine *e, int layer, int tokens)
{
    const umbra_matrix *w = e->weights.layer[layer];
    umbra_scratch *s = &e->scratch;
    umbra_product projections[] = {
        umbra_product_make(e, &w[UMBRA_ATTN_Q], &s->normed, tokens, s->q),
        umbra_product_make(e, &w[UMBRA_ATTN_K], &s->normed, tokens, s->k),
        umbra_product_make(e, &w[UMBRA_ATTN_V], &s->normed, tokens, s->v),
    };
    umbra_products_run(e, projections, 3);
    attention_run run = {e, layer};
    umbra_pool_run(e->pool, tokens, 4, place_keys, &run);
    umbra_pool_run(e->pool, tokens * e->model->config.kv_heads, 1, attend, &run);
}

/* Items are tokens. */
static void quantize_mixed(void *context, int begin, int end, int worker)
{
    (void)worker;
    const attention_run *run = context;
    umbra_quantize_rows(run->e->kernels, &run->e->scratch.mixed, begin, end - begin);
}

void umbra_attention(umbra_engine *e, int layer, int tokens)
{
    const umbra_matrix *w = e->weights.layer[layer];
    umbra_scratch *s = &e->scratch;
    umbra_norm_rows(e, &s->normed, s->x, &w[UMBRA_ATTN_NORM], tokens);
    if (e->model->config.kv_rank)
        umbra_attention_latent(e, layer, tokens);
    else
        attend_heads(e, layer, tokens);
    attention_run run = {e, layer};
    umbra_pool_run(e->pool, tokens, 8, quantize_mixed, &run);
    umbra_product out = umbra_product_make(e, &w[UMBRA_ATTN_OUT], &s->mixed, tokens, s->block);
    umbra_products_run(e, &out, 1);
    for (int t = 0; t < tokens; t++)
        add_bias(e->kernels, &w[UMBRA_ATTN_OUT_BIAS],
                 s->block + (size_t)t * (size_t)e->model->config.hidden);
    umbra_add_rows(e, s->x, s->block, NULL, tokens);
}
