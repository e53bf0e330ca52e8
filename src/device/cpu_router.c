/* The router: scores every expert for every token, chooses k of them and weighs them. */
#include <math.h>
#include <string.h>

#include "base/best.h"
#include "device/device.h"

typedef struct route_run {
    const umbra_kernels *kernels;
    const umbra_route_step *s;
    atomic_int bad; /* the first row whose scores or weights are not finite */
} route_run;

/* A group is as good as the sum of its `group_best` best experts. */
static float score_group(const umbra_router *r, const float *selection, int group, int size)
{
    int32_t ids[2]; /* no layout sums more */
    int have = 0;
    for (int i = group * size; i < (group + 1) * size; i++)
        have = umbra_best_offer(ids, have, r->group_best, i, selection);
    return have > 1 ? selection[ids[0]] + selection[ids[1]] : selection[ids[0]];
}

static bool contains(const int32_t *ids, int n, int id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The k experts of the largest selection scores, out of the best groups. group_score and group:
 * (groups) scratch. */
static void choose_used(const umbra_route_step *s, const float *selection, float *group_score,
                        int32_t *group, int32_t *experts)
{
    const umbra_router *r = s->router;
    int size = s->experts / r->groups, groups = 0, used = 0;
    for (int g = 0; g < r->groups; g++) {
        group_score[g] = score_group(r, selection, g, size);
        groups = umbra_best_offer(group, groups, r->groups_used, g, group_score);
    }
    for (int i = 0; i < s->experts; i++)
        if (r->groups == 1 || contains(group, groups, i / size))
            used = umbra_best_offer(experts, used, s->used, i, selection);
}

/* sqrt(log(1 + exp(x))), also where exp(x) is too large. */
static float sqrt_softplus(float x)
{
    double y = (double)x;
    return (float)sqrt(fmax(y, 0) + log1p(exp(-fabs(y))));
}

/* Raw scores to what weighs an expert; over the chosen alone where the layout says so. */
static void apply_gating(const route_run *run, float *scores)
{
    const umbra_route_step *s = run->s;
    if (s->router->gating == UMBRA_GATING_SOFTMAX)
        run->kernels->softmax(scores, s->experts);
    if (s->router->gating == UMBRA_GATING_SIGMOID)
        umbra_device_sigmoid(scores, s->experts);
    for (int i = 0; s->router->gating == UMBRA_GATING_SQRT_SOFTPLUS && i < s->experts; i++)
        scores[i] = sqrt_softplus(scores[i]);
}

/* Weights that are all but nothing are not made to sum 1: the smallest normal F16. */
static const float least_sum = 6.103515625e-5f;

static void weigh(const route_run *run, const float *scores, const int32_t *experts, float *weights)
{
    const umbra_router *r = run->s->router;
    int used = run->s->used;
    float sum = 0;
    for (int j = 0; j < used; j++)
        weights[j] = scores[experts[j]];
    if (r->gating == UMBRA_GATING_SOFTMAX_USED)
        run->kernels->softmax(weights, used);
    if (r->gating == UMBRA_GATING_SIGMOID_USED)
        umbra_device_sigmoid(weights, used);
    for (int j = 0; j < used; j++)
        sum += weights[j];
    for (int j = 0; r->renormalise && j < used; j++)
        weights[j] /= fmaxf(sum, least_sum);
    for (int j = 0; r->scale != 1 && j < used; j++)
        weights[j] *= r->scale;
}

static void choose(void *context, int begin, int end, int worker)
{
    route_run *run = context;
    const umbra_route_step *s = run->s;
    const float *bias = s->bias->data, *preference = s->preference->data;
    size_t n = (size_t)s->experts, used = (size_t)s->used, groups = (size_t)s->router->groups;
    float *selection = s->selection + (size_t)worker * (n + groups);
    int32_t *group = s->groups + (size_t)worker * groups;
    for (size_t t = (size_t)begin; t < (size_t)end; t++) {
        float *scores = s->scores + t * n;
        for (size_t i = 0; s->router->input_scale != 1 && i < n; i++)
            scores[i] *= s->router->input_scale;
        if (bias)
            run->kernels->add_scaled(scores, bias, 1.0f, s->experts);
        bool finite = umbra_all_finite(scores, n); /* gating would turn -infinity into a plain 0 */
        apply_gating(run, scores);
        memcpy(selection, scores, n * sizeof *selection);
        if (preference)
            run->kernels->add_scaled(selection, preference, 1.0f, s->experts);
        if (s->of_token)
            memcpy(s->chosen + t * used, s->of_token + (size_t)s->id[t] * used,
                   used * sizeof *s->chosen);
        else
            choose_used(s, selection, selection + n, group, s->chosen + t * used);
        weigh(run, scores, s->chosen + t * used, s->weights + t * used);
        if (!finite || !umbra_all_finite(selection, n) ||
            !umbra_all_finite(s->weights + t * used, used))
            umbra_note_first(&run->bad, (int)t);
    }
}

int umbra_device_route(const umbra_device *d, const umbra_route_step *s, int rows)
{
    route_run run = {d->kernels, s, UMBRA_NO_ROW};
    umbra_device_run(d, rows, 8, choose, &run);
    return atomic_load(&run.bad);
}
