/* The mixture of experts: the router names k experts per token; the experts come as leases from the
 * store, in whatever order they are there; each computes all its tokens of the chunk at once. Every
 * (token, expert) pair has a row of its own for the result, and a token's rows are summed in the
 * router's order, so the order of arrival leaves no trace in the bits. */
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"

enum { LEASES = UMBRA_MAX_USED }; /* experts computed together */

/* ---- router ---- */

/* Inserts expert e of probability p into the best `used`, sorted; the lower id wins a tie. */
static void keep_best(int32_t *experts, float *weights, int have, int used, int e, float p)
{
    int at = have < used ? have : used - 1;
    for (; at > 0 && weights[at - 1] < p; at--) {
        experts[at] = experts[at - 1];
        weights[at] = weights[at - 1];
    }
    experts[at] = e;
    weights[at] = p;
}

/* Softmax over all experts, the k most probable, weights renormalised (Qwen3's norm_topk_prob). */
static void choose(void *context, int begin, int end, int worker)
{
    (void)worker;
    umbra_engine *e = context;
    const umbra_config *c = &e->model->config;
    umbra_scratch *s = &e->scratch;
    for (int t = begin; t < end; t++) {
        float *p = s->router + (size_t)t * (size_t)c->experts;
        int32_t *experts = s->experts + (size_t)t * (size_t)c->experts_used;
        float *weights = s->weights + (size_t)t * (size_t)c->experts_used;
        e->kernels->softmax(p, c->experts);
        int have = 0;
        for (int i = 0; i < c->experts; i++) {
            if (have == c->experts_used && p[i] <= weights[have - 1])
                continue;
            keep_best(experts, weights, have, c->experts_used, i, p[i]);
            have += have < c->experts_used;
        }
        float sum = 0;
        for (int j = 0; j < c->experts_used; j++)
            sum += weights[j];
        for (int j = 0; j < c->experts_used; j++)
            weights[j] /= sum;
    }
}

void umbra_route(umbra_engine *e, int layer, int tokens)
{
    const umbra_matrix *w = e->weights.layer[layer];
    umbra_scratch *s = &e->scratch;
    umbra_norm_rows(e, &s->normed, s->x, &w[UMBRA_FFN_NORM], tokens);
    umbra_product router = umbra_product_make(e, &w[UMBRA_ROUTER], &s->normed, tokens, s->router);
    umbra_products_run(e, &router, 1);
    umbra_pool_run(e->pool, tokens, 8, choose, e);
}

/* ---- experts ---- */

/* Sorts the chunk's (token, expert) pairs by expert. Returns the number of distinct experts. */
static int sort_pairs(umbra_engine *e, int tokens)
{
    const umbra_config *c = &e->model->config;
    umbra_scratch *s = &e->scratch;
    int pairs = tokens * c->experts_used;
    memset(s->spans, 0, (size_t)c->experts * sizeof *s->spans);
    for (int i = 0; i < pairs; i++)
        s->spans[s->experts[i]].count++;
    int first = 0;
    for (int x = 0; x < c->experts; x++) {
        s->spans[x].expert = x;
        s->spans[x].first = first;
        first += s->spans[x].count;
        s->spans[x].count = 0;
    }
    for (int i = 0; i < pairs; i++) {
        umbra_expert_span *span = &s->spans[s->experts[i]];
        int pair = span->first + span->count++;
        s->pair_token[pair] = i / c->experts_used;
        s->token_pair[i] = pair;
    }
    int distinct = 0;
    for (int x = 0; x < c->experts; x++)
        if (s->spans[x].count > 0)
            s->span_expert[distinct++] = x;
    return distinct;
}

typedef struct expert_run {
    umbra_engine *e;
    const umbra_lease *leases;
    int n;
} expert_run;

/* Items are the pairs of all leased experts, one after the other: silu(gate) * up, to q16. */
static void activate(void *context, int begin, int end, int worker)
{
    (void)worker;
    const expert_run *run = context;
    umbra_engine *e = run->e;
    umbra_scratch *s = &e->scratch;
    int width = e->model->config.expert_width;
    int item = 0;
    for (int i = 0; i < run->n && item < end; i++) {
        const umbra_expert_span *span = &s->spans[run->leases[i].expert];
        int from = begin > item ? begin - item : 0;
        int to = end - item < span->count ? end - item : span->count;
        for (int j = from; j < to; j++) {
            size_t at = (size_t)(span->first + j) * (size_t)width;
            e->kernels->swiglu(s->inner.f32 + at, s->inner.f32 + at, s->up + at, width);
        }
        if (from < to)
            umbra_quantize_rows(e->kernels, &s->inner, span->first + from, to - from);
        item += span->count;
    }
}

/* The product of one slice of a leased expert. gather: rows of x, or NULL for its own pairs. */
static umbra_product expert_product(const umbra_engine *e, const umbra_gguf_tensor *tensor,
                                    const void *weights, const umbra_activations *x,
                                    const int32_t *gather, int tokens, float *out)
{
    umbra_matrix w = {
        .data = weights,
        .row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(tensor->dtype), tensor->shape[0]),
        .dtype = tensor->dtype,
        .rows = (int)tensor->shape[1],
        .columns = (int)tensor->shape[0],
    };
    umbra_product p = umbra_product_make(e, &w, x, tokens, out);
    p.matmul.gather = gather;
    return p;
}

/* Computes the contributions of n leased experts. */
static void compute_experts(umbra_engine *e, int layer, const umbra_lease *leases, int n)
{
    const umbra_gguf_tensor *const *tensors = e->model->layers[layer].experts;
    const umbra_config *c = &e->model->config;
    umbra_scratch *s = &e->scratch;
    size_t width = (size_t)c->expert_width, hidden = (size_t)c->hidden;
    umbra_product products[2 * LEASES];
    umbra_activations inner[LEASES];
    int pairs = 0;
    for (int i = 0; i < n; i++) {
        const umbra_expert_span *span = &s->spans[leases[i].expert];
        const int32_t *gather = s->pair_token + span->first;
        size_t row = (size_t)span->first * width;
        products[2 * i] = expert_product(e, tensors[UMBRA_GATE], leases[i].slice[UMBRA_GATE],
                                         &s->normed, gather, span->count, s->inner.f32 + row);
        products[2 * i + 1] = expert_product(e, tensors[UMBRA_UP], leases[i].slice[UMBRA_UP],
                                             &s->normed, gather, span->count, s->up + row);
        pairs += span->count;
    }
    umbra_products_run(e, products, 2 * n);

    expert_run run = {e, leases, n};
    umbra_pool_run(e->pool, pairs, pairs < 32 ? 4 : 16, activate, &run);

    for (int i = 0; i < n; i++) {
        const umbra_expert_span *span = &s->spans[leases[i].expert];
        size_t first = (size_t)span->first, blocks = width / UMBRA_Q16_BLOCK;
        inner[i] = (umbra_activations){span->count,
                                       c->expert_width,
                                       s->inner.f32 + first * width,
                                       s->inner.q + first * width,
                                       s->inner.scale + first * blocks,
                                       s->inner.sum + first * blocks};
        products[i] = expert_product(e, tensors[UMBRA_DOWN], leases[i].slice[UMBRA_DOWN], &inner[i],
                                     NULL, span->count, s->contribution + first * hidden);
    }
    umbra_products_run(e, products, n);
}

/* x += sum of weight * contribution, in the router's order. */
static void sum_contributions(void *context, int begin, int end, int worker)
{
    (void)worker;
    umbra_engine *e = context;
    const umbra_config *c = &e->model->config;
    umbra_scratch *s = &e->scratch;
    size_t hidden = (size_t)c->hidden;
    for (int t = begin; t < end; t++) {
        float *sum = s->block + (size_t)t * hidden;
        memset(sum, 0, hidden * sizeof *sum);
        for (int j = 0; j < c->experts_used; j++) {
            int i = t * c->experts_used + j;
            e->kernels->add_scaled(sum, s->contribution + (size_t)s->token_pair[i] * hidden,
                                   s->weights[i], c->hidden);
        }
        e->kernels->add_scaled(s->x + (size_t)t * hidden, sum, 1.0f, c->hidden);
    }
}

int umbra_experts(umbra_engine *e, int layer, int tokens, umbra_error *err)
{
    int distinct = sort_pairs(e, tokens);
    int rc = umbra_store_begin(e->store, layer, e->scratch.span_expert, distinct, err);
    if (rc != UMBRA_OK)
        return rc;
    if (e->companion.routed)
        e->companion.routed(e->companion.user, layer, tokens);
    umbra_lease leases[LEASES];
    int n;
    while ((n = umbra_store_next(e->store, leases, LEASES, err)) > 0) {
        compute_experts(e, layer, leases, n);
        for (int i = 0; i < n; i++)
            umbra_store_release(e->store, &leases[i]);
    }
    if (n < 0)
        return n;
    umbra_pool_run(e->pool, tokens, 8, sum_contributions, e);
    return UMBRA_OK;
}
