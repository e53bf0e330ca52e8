/* Attention over a compressed cache (MLA). A position's keys of all heads are K_B * latent, with
 * one rotated part behind that the heads share; its values are V_B * latent. Since q . (K_B latent)
 * = (K_B^T q) . latent, queries are moved into the latent's space instead of expanding the cache,
 * and V_B is applied to the mixed latents: the cache is read once for all heads, and nothing but
 * the latent is kept.
 *
 * Files have K_B^T and V_B per head (UMBRA_ATTN_K_B, _V_B), or both in one matrix the other way
 * round (UMBRA_ATTN_KV_B), of which K_B^T q is a sum of rows. Letters: T tokens of a piece. */
#include <string.h>

#include "engine/engine.h"

typedef struct latent_run {
    umbra_engine *e;
    int layer;
    int first; /* token of the chunk with which the piece begins */
    int tokens;
} latent_run;

/* Norms the latents of tokens [begin, end), turns the part behind, and puts both into the cache. */
static void place_latents(void *context, int begin, int end, int worker)
{
    (void)worker;
    const latent_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    const float *norm = e->weights.layer[run->layer][UMBRA_ATTN_KV_A_NORM].data;
    umbra_scratch *s = &e->scratch;
    size_t width = (size_t)c->cache_key;
    for (int t = begin; t < end; t++) {
        float *latent = s->k + (size_t)t * width;
        e->kernels->rms_norm(latent, latent, norm, c->kv_rank, c->rms_eps);
        umbra_rope_turn(e, latent + c->kv_rank, t);
        size_t at = umbra_kv_offset(e, run->layer, s->sequence[t], 0, c->cache_key);
        e->kernels->store_kv(e->kv.k + at + (size_t)s->position[t] * width * e->kernels->kv_bytes,
                             latent, c->cache_key);
    }
}

/* Items are the piece's tokens: turns the rotated part of each query head into its place, and
 * gathers the rest. */
static void split_queries(void *context, int begin, int end, int worker)
{
    (void)worker;
    const latent_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    umbra_latent *l = &e->scratch.latent;
    size_t plain = (size_t)(c->key_dim - c->rope.dim), turned = (size_t)c->rope.dim;
    for (int t = begin; t < end; t++) {
        for (int h = 0; h < c->heads; h++) {
            size_t row = (size_t)t * (size_t)c->heads + (size_t)h;
            const float *q =
                e->scratch.q + ((size_t)(run->first * c->heads) + row) * (size_t)c->key_dim;
            float *out = l->query + row * (size_t)c->cache_key + c->kv_rank;
            memcpy(l->plain.f32 + row * plain, q, plain * sizeof *q);
            memcpy(out, q + plain, turned * sizeof *q);
            umbra_rope_turn(e, out, run->first + t);
        }
    }
    umbra_quantize_rows(e->kernels, &l->plain, begin * c->heads, (end - begin) * c->heads);
}

/* Items are heads: K_B^T q as the sum of K_B's rows, each expanded once for all tokens. */
static void sum_rows(void *context, int begin, int end, int worker)
{
    const latent_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    const umbra_matrix *w = &e->weights.layer[run->layer][UMBRA_ATTN_KV_B];
    umbra_latent *l = &e->scratch.latent;
    int plain = c->key_dim - c->rope.dim;
    float *row = l->row + (size_t)worker * (size_t)c->kv_rank;
    for (int h = begin; h < end; h++) {
        for (int t = 0; t < run->tokens; t++)
            memset(l->query + (size_t)(t * c->heads + h) * (size_t)c->cache_key, 0,
                   (size_t)c->kv_rank * sizeof *l->query);
        for (int r = 0; r < plain; r++) {
            size_t at = (size_t)h * (size_t)(plain + c->value_dim) + (size_t)r;
            e->kernels->dequantize[w->dtype](row, (const char *)w->data + at * w->row_bytes,
                                             c->kv_rank);
            for (int t = 0; t < run->tokens; t++) {
                size_t pair = (size_t)(t * c->heads + h);
                e->kernels->add_scaled(l->query + pair * (size_t)c->cache_key, row,
                                       l->plain.f32[pair * (size_t)plain + (size_t)r], c->kv_rank);
            }
        }
    }
}

/* One product per head with rows [first + h * step, ... + rows) of a matrix; token t's rows of x
 * and out are those of (t, h). */
static void run_per_head(umbra_engine *e, const umbra_matrix *matrix, int first, int step, int rows,
                         const umbra_activations *x, int tokens, float *out, int out_width)
{
    umbra_latent *l = &e->scratch.latent;
    int heads = e->model->config.heads;
    for (int h = 0; h < heads; h++) {
        umbra_matrix w = *matrix;
        w.data = (const char *)matrix->data + (size_t)(first + h * step) * matrix->row_bytes;
        w.rows = rows;
        umbra_product *p = &l->products[h];
        *p = umbra_product_make(e, &w, x, tokens, out + (size_t)h * (size_t)out_width);
        p->matmul.out_stride = (uint64_t)heads * (uint64_t)out_width;
        p->matmul.gather = l->rows + (size_t)h * UMBRA_LATENT_TOKENS;
        for (int t = 0; t < tokens; t++)
            l->rows[(size_t)h * UMBRA_LATENT_TOKENS + (size_t)t] = t * heads + h;
    }
    umbra_products_run(e, l->products, heads);
}

/* Query heads of a token that go through the cache together. */
static int pieces_of(const umbra_config *c)
{
    return (c->heads + UMBRA_LATENT_HEADS - 1) / UMBRA_LATENT_HEADS;
}

/* Items are (token, UMBRA_LATENT_HEADS heads). */
static void attend(void *context, int begin, int end, int worker)
{
    const latent_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    umbra_scratch *s = &e->scratch;
    umbra_latent *l = &s->latent;
    int pieces = pieces_of(c);
    size_t stride = (size_t)e->plan.context + 1;
    for (int i = begin; i < end; i++) {
        int t = i / pieces, h = i % pieces * UMBRA_LATENT_HEADS, token = run->first + t;
        size_t row = (size_t)(t * c->heads + h);
        const char *cache =
            e->kv.k + umbra_kv_offset(e, run->layer, s->sequence[token], 0, c->cache_key);
        umbra_attend a = {
            .q = l->query + row * (size_t)c->cache_key,
            .k = cache,
            .v = cache,
            .out = l->mixed.f32 + row * (size_t)c->kv_rank,
            .scores = s->scores + (size_t)worker * UMBRA_LATENT_HEADS * stride,
            .group = c->heads - h < UMBRA_LATENT_HEADS ? c->heads - h : UMBRA_LATENT_HEADS,
            .head_dim = c->cache_key,
            .value_dim = c->kv_rank,
            .value_stride = c->cache_key,
            .positions = s->position[token] + 1,
            .scores_stride = (int)stride,
            .scale = c->attention_scale,
        };
        e->kernels->attend(&a);
        umbra_quantize_rows(e->kernels, &l->mixed, (int)row, a.group);
    }
}

/* The piece's queries to the latent's space, through the cache, and back to heads. */
static void run_piece(umbra_engine *e, latent_run *run)
{
    const umbra_config *c = &e->model->config;
    const umbra_matrix *w = e->weights.layer[run->layer];
    umbra_scratch *s = &e->scratch;
    umbra_latent *l = &s->latent;
    int plain = c->key_dim - c->rope.dim;
    float *out = s->mixed.f32 + (size_t)(run->first * c->heads) * (size_t)c->value_dim;
    umbra_pool_run(e->pool, run->tokens, 1, split_queries, run);
    bool joint = w[UMBRA_ATTN_KV_B].data != NULL;
    if (joint)
        umbra_pool_run(e->pool, c->heads, 1, sum_rows, run);
    else
        run_per_head(e, &w[UMBRA_ATTN_K_B], 0, c->kv_rank, c->kv_rank, &l->plain, run->tokens,
                     l->query, c->cache_key);
    umbra_pool_run(e->pool, run->tokens * pieces_of(c), 1, attend, run);
    run_per_head(e, &w[joint ? UMBRA_ATTN_KV_B : UMBRA_ATTN_V_B], joint ? plain : 0,
                 joint ? plain + c->value_dim : c->value_dim, c->value_dim, &l->mixed, run->tokens,
                 out, c->value_dim);
}

void umbra_attention_latent(umbra_engine *e, int layer, int tokens)
{
    const umbra_config *c = &e->model->config;
    const umbra_matrix *w = e->weights.layer[layer];
    umbra_scratch *s = &e->scratch;
    umbra_product down[] = {
        umbra_product_make(e, &w[UMBRA_ATTN_KV_A], &s->normed, tokens, s->k),
        c->q_rank ? umbra_product_make(e, &w[UMBRA_ATTN_Q_A], &s->normed, tokens, s->q_low.f32)
                  : umbra_product_make(e, &w[UMBRA_ATTN_Q], &s->normed, tokens, s->q),
    };
    umbra_products_run(e, down, 2);
    if (c->q_rank) {
        umbra_norm_rows(e, &s->q_low, s->q_low.f32, &w[UMBRA_ATTN_Q_A_NORM], tokens);
        umbra_product q = umbra_product_make(e, &w[UMBRA_ATTN_Q], &s->q_low, tokens, s->q);
        umbra_products_run(e, &q, 1);
    }
    latent_run run = {.e = e, .layer = layer};
    umbra_pool_run(e->pool, tokens, 4, place_latents, &run);
    for (run.first = 0; run.first < tokens; run.first += UMBRA_LATENT_TOKENS) {
        int left = tokens - run.first;
        run.tokens = left < UMBRA_LATENT_TOKENS ? left : UMBRA_LATENT_TOKENS;
        run_piece(e, &run);
    }
}
