/* The router: scores every expert for every token, chooses k of them and weighs them. */
#include <math.h>
#include <string.h>

#include "engine/engine.h"

typedef struct router_run {
    umbra_engine *e;
    int layer;
    atomic_int bad; /* the first token whose scores or weights are not finite */
} router_run;

/* The best of what was offered, best first; who came first wins a tie. */
typedef struct best {
    int32_t *id; /* (room) */
    int room, have;
} best;

static void offer(best *b, const float *score, int id)
{
    if (b->have == b->room && score[id] <= score[b->id[b->have - 1]])
        return;
    int at = b->have < b->room ? b->have++ : b->room - 1;
    for (; at > 0 && score[b->id[at - 1]] < score[id]; at--)
        b->id[at] = b->id[at - 1];
    b->id[at] = id;
}

/* A group is as good as the sum of its `group_best` best experts. */
static float score_group(const umbra_router *r, const float *selection, int group, int size)
{
    int32_t ids[2]; /* no layout sums more */
    best b = {ids, r->group_best, 0};
    for (int i = group * size; i < (group + 1) * size; i++)
        offer(&b, selection, i);
    return b.have > 1 ? selection[ids[0]] + selection[ids[1]] : selection[ids[0]];
}

static bool contains(const best *b, int id)
{
    for (int i = 0; i < b->have; i++)
        if (b->id[i] == id)
            return true;
    return false;
}

/* The k experts of the largest selection scores, out of the best groups. group_score and group:
 * (groups) scratch. */
static void choose_used(const umbra_config *c, const float *selection, float *group_score,
                        int32_t *group, int32_t *experts)
{
    const umbra_router *r = &c->router;
    int size = c->experts / r->groups;
    best groups = {group, r->groups_used, 0}, used = {experts, c->experts_used, 0};
    for (int g = 0; g < r->groups; g++) {
        group_score[g] = score_group(r, selection, g, size);
        offer(&groups, group_score, g);
    }
    for (int i = 0; i < c->experts; i++)
        if (r->groups == 1 || contains(&groups, i / size))
            offer(&used, selection, i);
}

/* Raw scores to what weighs an expert; over the chosen alone where the layout says so. */
static void apply_gating(const umbra_engine *e, float *scores)
{
    const umbra_config *c = &e->model->config;
    if (c->router.gating == UMBRA_GATING_SOFTMAX)
        e->kernels->softmax(scores, c->experts);
    for (int i = 0; c->router.gating == UMBRA_GATING_SIGMOID && i < c->experts; i++)
        scores[i] = (float)(1 / (1 + exp(-(double)scores[i])));
}

static void weigh(const umbra_engine *e, const float *scores, const int32_t *experts,
                  float *weights)
{
    const umbra_config *c = &e->model->config;
    const umbra_router *r = &c->router;
    float sum = 0;
    for (int j = 0; j < c->experts_used; j++)
        weights[j] = scores[experts[j]];
    if (r->gating == UMBRA_GATING_SOFTMAX_USED)
        e->kernels->softmax(weights, c->experts_used);
    for (int j = 0; j < c->experts_used; j++)
        sum += weights[j];
    for (int j = 0; r->renormalise && j < c->experts_used; j++)
        weights[j] /= sum;
    for (int j = 0; r->scale != 1 && j < c->experts_used; j++)
        weights[j] *= r->scale;
}

static void choose(void *context, int begin, int end, int worker)
{
    router_run *run = context;
    umbra_engine *e = run->e;
    const umbra_config *c = &e->model->config;
    const umbra_matrix *w = e->weights.layer[run->layer];
    const float *bias = w[UMBRA_ROUTER_BIAS].data, *preference = w[UMBRA_SELECTION_BIAS].data;
    umbra_scratch *s = &e->scratch;
    size_t n = (size_t)c->experts, used = (size_t)c->experts_used;
    size_t groups = (size_t)c->router.groups;
    float *selection = s->selection + (size_t)worker * (n + groups);
    int32_t *group = s->groups + (size_t)worker * groups;
    for (size_t t = (size_t)begin; t < (size_t)end; t++) {
        float *scores = s->router + t * n;
        if (bias)
            e->kernels->add_scaled(scores, bias, 1.0f, c->experts);
        apply_gating(e, scores);
        memcpy(selection, scores, n * sizeof *selection);
        if (preference)
            e->kernels->add_scaled(selection, preference, 1.0f, c->experts);
        choose_used(c, selection, selection + n, group, s->experts + t * used);
        weigh(e, scores, s->experts + t * used, s->weights + t * used);
        if (!umbra_all_finite(selection, n) || !umbra_all_finite(s->weights + t * used, used))
            umbra_note_first(&run->bad, (int)t);
    }
}

int umbra_route(umbra_engine *e, int layer, int tokens, umbra_error *err)
{
    const umbra_matrix *w = e->weights.layer[layer];
    umbra_scratch *s = &e->scratch;
    umbra_norm_rows(e, &s->normed, s->x, &w[UMBRA_FFN_NORM], tokens);
    umbra_product router = umbra_product_make(e, &w[UMBRA_ROUTER], &s->normed, tokens, s->router);
    umbra_products_run(e, &router, 1);
    router_run run = {e, layer, UMBRA_NO_TOKEN};
    umbra_pool_run(e->pool, tokens, 8, choose, &run);
    return umbra_refuse_nonfinite(e, atomic_load(&run.bad), "router's scores", layer, err);
}
