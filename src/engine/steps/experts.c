/* The mixture of experts: the router names k experts per row; they come as leases from the store,
 * in whatever order they are there; each computes all its rows at once. Every (row, expert) pair
 * has a row of its own for the result. */
#include <string.h>

#include "base/assert.h"
#include "engine/steps/steps.h"

int umbra_step_route(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    const umbra_device *d = p->device;
    umbra_device_profile(d, UMBRA_PROFILE_ROUTE);
    bool own_norm = w[UMBRA_ROUTER_NORM].data != NULL;
    umbra_step_norm(p, &w[own_norm ? UMBRA_ROUTER_NORM : UMBRA_FFN_NORM]);
    umbra_product router = umbra_product_make(d, &w[UMBRA_ROUTER], &s->normed, p->rows, s->router);
    umbra_device_products(d, &router, 1);
    if (own_norm)
        umbra_device_norm(d, &s->normed, s->x, &w[UMBRA_FFN_NORM], c->rms_eps, p->rows);
    umbra_route_step route = {
        .scores = s->router,
        .bias = &w[UMBRA_ROUTER_BIAS],
        .preference = &w[UMBRA_SELECTION_BIAS],
        .of_token = w[UMBRA_TOKEN_EXPERTS].data,
        .id = s->id,
        .router = &c->router,
        .experts = c->experts,
        .used = c->experts_used,
        .selection = s->selection,
        .groups = s->groups,
        .chosen = s->experts,
        .weights = s->weights,
    };
    return umbra_device_route(d, &route, p->rows);
}

static void count_uses(const umbra_pass *p, int distinct)
{
    umbra_scratch *s = p->scratch;
    for (int i = 0; i < distinct; i++) {
        const umbra_activate_span *span = &s->spans[s->span_expert[i]];
        s->span_uses[i] = 0;
        for (int j = 0; j < span->count; j++)
            s->span_uses[i] += !s->prompt[s->pair_token[span->first + j]];
    }
}

int umbra_step_sort_pairs(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    int pairs = p->rows * c->experts_used;
    memset(s->spans, 0, (size_t)c->experts * sizeof *s->spans);
    memset(s->computed, 0, (size_t)c->experts * sizeof *s->computed);
    for (int i = 0; i < pairs; i++)
        s->spans[s->experts[i]].count++;
    const uint16_t *order = p->order ? p->order + (size_t)layer * (size_t)c->experts : NULL;
    int first = 0, distinct = 0;
    for (int i = 0; i < c->experts; i++) {
        int x = order ? order[i] : i;
        s->spans[x].expert = x;
        s->spans[x].first = first;
        first += s->spans[x].count;
        if (s->spans[x].count > 0)
            s->span_expert[distinct++] = x;
        s->spans[x].count = 0;
    }
    for (int i = 0; i < pairs; i++) {
        umbra_activate_span *span = &s->spans[s->experts[i]];
        int pair = span->first + span->count++;
        s->pair_token[pair] = i / c->experts_used;
        s->token_pair[i] = pair;
        if (c->router.weighs_input)
            s->pair_weight[pair] = s->weights[i];
    }
    count_uses(p, distinct);
    return distinct;
}

/* The product of one slice of a leased expert. gather: rows of x, or NULL for its own pairs. */
static umbra_product expert_product(const umbra_pass *p, const umbra_expert_matrix *matrix,
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
    umbra_product product = umbra_product_make(p->device, &w, x, tokens, out);
    product.matmul.gather = gather;
    return product;
}

/* Gate and up of the leased experts of a group, then their inner values, which spans tell where. */
static void compute_inner(const umbra_pass *p, int layer, const umbra_lease *leases, int n,
                          const umbra_activate_span *spans)
{
    const umbra_expert_matrix *matrix = p->model->layers[layer].experts;
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    const umbra_activations *x = w[UMBRA_LATENT_DOWN].data ? &s->latent_in : &s->normed;
    bool gated = matrix[UMBRA_GATE].tensor != NULL;
    int first = gated ? UMBRA_GATE : UMBRA_UP;
    size_t width = (size_t)p->model->config.expert_width;
    umbra_product products[2 * UMBRA_MAX_USED];
    products[0].rows = 0; /* lets compilers see that it is set, n being at least 1 */
    for (int i = 0; i < n; i++) {
        const int32_t *gather = s->pair_token + s->spans[leases[i].expert].first;
        size_t row = (size_t)spans[i].first * width;
        products[2 * i] = expert_product(p, &matrix[first], leases[i].slice[first], x, gather,
                                         spans[i].count, s->inner.f32 + row);
        products[2 * i + 1] = (umbra_product){0}; /* no rows */
        if (gated)
            products[2 * i + 1] = expert_product(p, &matrix[UMBRA_UP], leases[i].slice[UMBRA_UP], x,
                                                 gather, spans[i].count, s->up + row);
    }
    umbra_device_products(p->device, products, 2 * n);
    umbra_activate_step activate = {
        .spans = spans,
        .n_spans = n,
        .inner = &s->inner,
        .up = s->up,
        .gate_scale = &w[gated ? UMBRA_GATE_SCALE : UMBRA_UP_SCALE],
        .up_scale = &w[UMBRA_UP_SCALE],
        .gate_bias = &w[gated ? UMBRA_GATE_BIAS : UMBRA_UP_BIAS],
        .up_bias = &w[UMBRA_UP_BIAS],
        .activation = p->model->config.activation,
        .clamp = p->model->config.clamp ? p->model->config.clamp[layer].experts : 0,
    };
    umbra_device_activate(p->device, &activate);
}

static void compute_group(const umbra_pass *p, int layer, const umbra_lease *leases, int n,
                          const umbra_activate_span *spans)
{
    const umbra_expert_matrix *down = &p->model->layers[layer].experts[UMBRA_DOWN];
    umbra_scratch *s = p->scratch;
    size_t width = (size_t)s->inner.columns, blocks = width / UMBRA_Q16_BLOCK;
    size_t hidden = (size_t)p->model->config.expert_hidden;
    umbra_product products[UMBRA_MAX_USED];
    umbra_activations inner[UMBRA_MAX_USED];
    umbra_device_profile(p->device, UMBRA_PROFILE_GATE_UP);
    compute_inner(p, layer, leases, n, spans);
    umbra_device_profile(p->device, UMBRA_PROFILE_DOWN);
    for (int i = 0; i < n; i++) {
        size_t first = (size_t)spans[i].first, pair = (size_t)s->spans[leases[i].expert].first;
        inner[i] = (umbra_activations){spans[i].count,
                                       s->inner.columns,
                                       s->inner.f32 + first * width,
                                       s->inner.q + first * width,
                                       s->inner.scale + first * blocks,
                                       s->inner.sum + first * blocks};
        products[i] = expert_product(p, down, leases[i].slice[UMBRA_DOWN], &inner[i], NULL,
                                     spans[i].count, s->contribution + pair * hidden);
    }
    umbra_device_products(p->device, products, n);
}

/* Of n leased experts as many as there is room for the inner values of; at least one, since an
 * expert has no more rows than the pass. */
static int place_group(const umbra_pass *p, const umbra_lease *leases, int n,
                       umbra_activate_span *spans)
{
    const umbra_scratch *s = p->scratch;
    int rows = 0, i = 0;
    for (; i < n; i++) {
        const umbra_activate_span *span = &s->spans[leases[i].expert];
        if (rows + span->count > s->inner.rows)
            break;
        spans[i] =
            (umbra_activate_span){.first = rows, .count = span->count, .expert = span->expert};
        if (p->model->config.router.weighs_input)
            spans[i].weight = s->pair_weight + span->first;
        rows += span->count;
    }
    umbra_assert(i > 0);
    return i;
}

void umbra_step_experts(const umbra_pass *p, int layer, const umbra_lease *leases, int n)
{
    umbra_activate_span spans[UMBRA_MAX_USED];
    for (int i = 0, group; i < n; i += group) {
        group = place_group(p, leases + i, n - i, spans);
        compute_group(p, layer, leases + i, group, spans);
    }
    for (int i = 0; i < n; i++)
        p->scratch->computed[leases[i].expert] = true;
}

float *umbra_step_sum(const umbra_pass *p)
{
    const umbra_config *c = &p->model->config;
    return c->expert_hidden != c->hidden ? p->scratch->latent_out.f32 : p->scratch->block;
}

void umbra_step_raise(const umbra_pass *p, int layer)
{
    const umbra_matrix *up = &p->weights->layer[layer][UMBRA_LATENT_UP];
    umbra_scratch *s = p->scratch;
    if (!up->data)
        return;
    umbra_device_round(p->device, &s->latent_out, p->rows);
    umbra_product product = umbra_product_make(p->device, up, &s->latent_out, p->rows, s->block);
    umbra_device_products(p->device, &product, 1);
}

void umbra_step_join(const umbra_pass *p, int layer, float *residual)
{
    const umbra_config *c = &p->model->config;
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    if (w[UMBRA_BLOCK_POST_NORM].data) {
        umbra_device_norm_rows(d, &w[UMBRA_EXPERT_POST_NORM], s->block, c->rms_eps, p->rows);
        umbra_device_add(d, s->block, s->beside, NULL, 1, p->rows, c->hidden);
        umbra_device_norm_rows(d, &w[UMBRA_BLOCK_POST_NORM], s->block, c->rms_eps, p->rows);
    } else if (s->streams && w[UMBRA_FFN_GATE].data) {
        const float *weight = w[UMBRA_SHARED_ROUTER].data ? s->shared_weight : NULL;
        umbra_device_add(d, s->block, s->beside, weight, 1, p->rows, c->hidden);
    }
    umbra_step_add(p, residual);
    if (w[UMBRA_LAYER_SCALE].data)
        umbra_device_scale(d, residual, *(const float *)w[UMBRA_LAYER_SCALE].data, p->rows,
                           c->hidden);
}

void umbra_step_mix(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    umbra_mix_step mix = {
        .sum = umbra_step_sum(p),
        .contribution = s->contribution,
        .pair = s->token_pair,
        .experts = s->experts,
        .weights = c->router.weighs_input ? NULL : s->weights,
        .scale = &w[UMBRA_DOWN_SCALE],
        .bias = &w[UMBRA_DOWN_BIAS],
        .used = c->experts_used,
        .hidden = c->expert_hidden,
    };
    umbra_device_profile(p->device, UMBRA_PROFILE_DOWN);
    umbra_device_mix(p->device, &mix, p->rows);
    umbra_step_raise(p, layer);
    umbra_step_join(p, layer, umbra_residual(s));
}
