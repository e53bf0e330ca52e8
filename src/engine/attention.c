#include "engine/engine.h"

typedef struct attention_run {
    umbra_engine *e;
    int layer;
} attention_run;

/* Bytes from the start of a cache to the row of (layer, sequence, kv head, position 0). */
static size_t kv_offset(const umbra_engine *e, int layer, int sequence, int kv_head, int dim)
{
    size_t row = ((size_t)layer * (size_t)e->sequences + (size_t)sequence) *
                     (size_t)e->model->config.kv_heads +
                 (size_t)kv_head;
    return row * (size_t)e->plan.context * (size_t)dim * e->kernels->kv_bytes;
}

/* Norms and rotates each query and key head of tokens [begin, end), and puts keys and values into
 * the cache. */
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
        const float *angles = s->rope + (size_t)t * key_dim;
        for (int h = 0; h < c->heads; h++) {
            float *q = s->q + ((size_t)t * (size_t)c->heads + (size_t)h) * key_dim;
            kernels->rms_norm(q, q, w[UMBRA_ATTN_Q_NORM].data, c->key_dim, c->rms_eps);
            kernels->rope_halves(q, angles, c->key_dim);
        }
        for (int h = 0; h < c->kv_heads; h++) {
            float *k = s->k + ((size_t)t * (size_t)c->kv_heads + (size_t)h) * key_dim;
            const float *v = s->v + ((size_t)t * (size_t)c->kv_heads + (size_t)h) * value_dim;
            kernels->rms_norm(k, k, w[UMBRA_ATTN_K_NORM].data, c->key_dim, c->rms_eps);
            kernels->rope_halves(k, angles, c->key_dim);
            size_t position = (size_t)s->position[t] * kernels->kv_bytes;
            kernels->store_kv(e->kv.k + kv_offset(e, run->layer, s->sequence[t], h, c->key_dim) +
                                  position * key_dim,
                              k, c->key_dim);
            kernels->store_kv(e->kv.v + kv_offset(e, run->layer, s->sequence[t], h, c->value_dim) +
                                  position * value_dim,
                              v, c->value_dim);
        }
    }
}

/* Items are (token, kv head) pairs: the query heads that share keys go together. */
static void attend(void *context, int begin, int end, int worker)
{
    const attention_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    umbra_scratch *s = &e->scratch;
    int group = c->heads / c->kv_heads;
    size_t stride = (size_t)e->plan.context;
    for (int i = begin; i < end; i++) {
        int t = i / c->kv_heads, h = i % c->kv_heads;
        size_t head = ((size_t)t * (size_t)c->heads + (size_t)(h * group));
        umbra_attend a = {
            .q = s->q + head * (size_t)c->key_dim,
            .k = e->kv.k + kv_offset(e, run->layer, s->sequence[t], h, c->key_dim),
            .v = e->kv.v + kv_offset(e, run->layer, s->sequence[t], h, c->value_dim),
            .out = s->mixed.f32 + head * (size_t)c->value_dim,
            .scores = s->scores + (size_t)worker * (size_t)group * stride,
            .group = group,
            .head_dim = c->key_dim,
            .value_dim = c->value_dim,
            .positions = s->position[t] + 1,
            .scores_stride = (int)stride,
            .scale = e->attention_scale,
        };
        e->kernels->attend(&a);
    }
}

/* Items are tokens. */
static void quantize_mixed(void *context, int begin, int end, int worker)
{
    (void)worker;
    const attention_run *run = context;
    umbra_quantize_rows(run->e->kernels, &run->e->scratch.mixed, begin, end - begin);
}

typedef struct add_run {
    const umbra_kernels *kernels;
    float *x;
    const float *y;
    int n;
} add_run;

static void add_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const add_run *run = context;
    for (int t = begin; t < end; t++) {
        size_t at = (size_t)t * (size_t)run->n;
        run->kernels->add_scaled(run->x + at, run->y + at, 1.0f, run->n);
    }
}

void umbra_attention(umbra_engine *e, int layer, int tokens)
{
    const umbra_matrix *w = e->weights.layer[layer];
    umbra_scratch *s = &e->scratch;
    umbra_norm_rows(e, &s->normed, s->x, &w[UMBRA_ATTN_NORM], tokens);
    umbra_product projections[] = {
        umbra_product_make(e, &w[UMBRA_ATTN_Q], &s->normed, tokens, s->q),
        umbra_product_make(e, &w[UMBRA_ATTN_K], &s->normed, tokens, s->k),
        umbra_product_make(e, &w[UMBRA_ATTN_V], &s->normed, tokens, s->v),
    };
    umbra_products_run(e, projections, 3);

    attention_run run = {e, layer};
    umbra_pool_run(e->pool, tokens, 4, place_keys, &run);
    umbra_pool_run(e->pool, tokens * e->model->config.kv_heads, 1, attend, &run);
    umbra_pool_run(e->pool, tokens, 8, quantize_mixed, &run);

    umbra_product out = umbra_product_make(e, &w[UMBRA_ATTN_OUT], &s->mixed, tokens, s->block);
    umbra_products_run(e, &out, 1);
    add_run add = {e->kernels, s->x, s->block, e->model->config.hidden};
    umbra_pool_run(e->pool, tokens, 16, add_rows, &add);
}
