/* The mixture of experts: the router named k experts per token; they come as leases from the store,
 * in whatever order they are there; each computes all its tokens of the chunk at once. Every
 * (token, expert) pair has a row of its own for the result, and a token's rows are summed in the
 * router's order, so the order of arrival leaves no trace in the bits. */
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"

enum { LEASES = UMBRA_MAX_USED }; /* experts computed together */

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

/* Tells the store what the chunk is: rows of prompts walk through all experts, those that decode
 * say which ones are in use. */
static int begin_batch(umbra_engine *e, int layer, int tokens, int distinct, umbra_error *err)
{
    umbra_scratch *s = &e->scratch;
    int decoded = 0;
    for (int i = 0; i < distinct; i++) {
        const umbra_expert_span *span = &s->spans[s->span_expert[i]];
        s->span_uses[i] = 0;
        for (int j = 0; j < span->count; j++)
            s->span_uses[i] += !s->prompt[s->pair_token[span->first + j]];
    }
    for (int t = 0; t < tokens; t++)
        decoded += !s->prompt[t];
    const umbra_batch batch = {
        .kind = decoded > 0 ? UMBRA_BATCH_DECODE : UMBRA_BATCH_PROMPT,
        .layer = layer,
        .experts = s->span_expert,
        .uses = s->span_uses,
        .n = distinct,
    };
    return umbra_store_begin(e->store, &batch, err);
}

typedef struct expert_run {
    umbra_engine *e;
    int layer;
    const umbra_lease *leases;
    int n;
} expert_run;

/* Row `expert` of biases (experts, n) added to x, where the layer has them. */
static void add_bias(const umbra_engine *e, const umbra_matrix *bias, int expert, float *x)
{
    if (bias->data)
        e->kernels->add_scaled(x,
                               (const float *)bias->data + (size_t)expert * (size_t)bias->columns,
                               1.0f, bias->columns);
}

/* g sigmoid(a g) (u + 1) = silu(a g) * ((u + 1) / a), g and u clamped. */
static void clamp_swiglu(float *gate, float *up, int n)
{
    const float limit = 7.0f, alpha = 1.702f;
    for (int i = 0; i < n; i++) {
        float g = gate[i] < limit ? gate[i] : limit, u = up[i] < limit ? up[i] : limit;
        gate[i] = alpha * g;
        up[i] = ((u > -limit ? u : -limit) + 1.0f) / alpha;
    }
}

/* The inner values of one pair, from what gate and up gave. */
static void activate_pair(const umbra_engine *e, int layer, int expert, size_t pair)
{
    const umbra_matrix *w = e->weights.layer[layer];
    int width = e->model->config.expert_width;
    float *gate = e->scratch.inner.f32 + pair * (size_t)width;
    float *up = e->scratch.up + pair * (size_t)width;
    add_bias(e, &w[UMBRA_GATE_BIAS], expert, gate);
    add_bias(e, &w[UMBRA_UP_BIAS], expert, up);
    if (e->model->config.activation == UMBRA_SWIGLU_CLAMPED)
        clamp_swiglu(gate, up, width);
    e->kernels->swiglu(gate, gate, up, width);
}

/* Items are the pairs of all leased experts, one after the other: to inner values, to q16. */
static void activate(void *context, int begin, int end, int worker)
{
    (void)worker;
    const expert_run *run = context;
    umbra_engine *e = run->e;
    umbra_scratch *s = &e->scratch;
    int item = 0;
    for (int i = 0; i < run->n && item < end; i++) {
        int expert = run->leases[i].expert;
        const umbra_expert_span *span = &s->spans[expert];
        int from = begin > item ? begin - item : 0;
        int to = end - item < span->count ? end - item : span->count;
        for (int j = from; j < to; j++)
            activate_pair(e, run->layer, expert, (size_t)(span->first + j));
        if (from < to)
            umbra_quantize_rows(e->kernels, &s->inner, span->first + from, to - from);
        item += span->count;
    }
}

/* The product of one slice of a leased expert. gather: rows of x, or NULL for its own pairs. */
static umbra_product expert_product(const umbra_engine *e, const umbra_expert_matrix *matrix,
                                    const void *weights, const umbra_activations *x,
                                    const int32_t *gather, int tokens, float *out)
{
    uint32_t dtype = matrix->tensor->dtype;
    umbra_matrix w = {
        .data = weights,
        .row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(dtype), (uint64_t)matrix->columns),
        .dtype = dtype,
        .rows = matrix->rows,
        .columns = matrix->columns,
    };
    umbra_product p = umbra_product_make(e, &w, x, tokens, out);
    p.matmul.gather = gather;
    return p;
}

/* Computes the contributions of n leased experts. */
static void compute_experts(umbra_engine *e, int layer, const umbra_lease *leases, int n)
{
    const umbra_expert_matrix *matrix = e->model->layers[layer].experts;
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
        products[2 * i] = expert_product(e, &matrix[UMBRA_GATE], leases[i].slice[UMBRA_GATE],
                                         &s->normed, gather, span->count, s->inner.f32 + row);
        products[2 * i + 1] = expert_product(e, &matrix[UMBRA_UP], leases[i].slice[UMBRA_UP],
                                             &s->normed, gather, span->count, s->up + row);
        pairs += span->count;
    }
    umbra_products_run(e, products, 2 * n);

    expert_run run = {e, layer, leases, n};
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
        products[i] = expert_product(e, &matrix[UMBRA_DOWN], leases[i].slice[UMBRA_DOWN], &inner[i],
                                     NULL, span->count, s->contribution + first * hidden);
    }
    umbra_products_run(e, products, n);
}

typedef struct sum_run {
    umbra_engine *e;
    int layer;
} sum_run;

/* x += sum of weight * contribution, in the router's order. */
static void sum_contributions(void *context, int begin, int end, int worker)
{
    (void)worker;
    const sum_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    const umbra_matrix *bias = &e->weights.layer[run->layer][UMBRA_DOWN_BIAS];
    umbra_scratch *s = &e->scratch;
    size_t hidden = (size_t)c->hidden;
    for (int t = begin; t < end; t++) {
        float *sum = s->block + (size_t)t * hidden;
        memset(sum, 0, hidden * sizeof *sum);
        for (int j = 0; j < c->experts_used; j++) {
            int i = t * c->experts_used + j;
            float *contribution = s->contribution + (size_t)s->token_pair[i] * hidden;
            add_bias(e, bias, s->experts[i], contribution);
            e->kernels->add_scaled(sum, contribution, s->weights[i], c->hidden);
        }
        e->kernels->add_scaled(s->x + (size_t)t * hidden, sum, 1.0f, c->hidden);
    }
}

int umbra_experts(umbra_engine *e, int layer, int tokens, umbra_error *err)
{
    int distinct = sort_pairs(e, tokens);
    int rc = begin_batch(e, layer, tokens, distinct, err);
    if (rc != UMBRA_OK)
        return rc;
    if (e->companion.routed)
        e->companion.routed(e->companion.user, layer, tokens);
    umbra_ffn(e, layer, tokens); /* while the reads are under way */
    umbra_lease leases[LEASES];
    int n;
    while ((n = umbra_store_next(e->store, leases, LEASES, err)) > 0) {
        compute_experts(e, layer, leases, n);
        for (int i = 0; i < n; i++)
            umbra_store_release(e->store, &leases[i]);
    }
    if (n < 0)
        return n;
    sum_run run = {e, layer};
    umbra_pool_run(e->pool, tokens, 8, sum_contributions, &run);
    return UMBRA_OK;
}
