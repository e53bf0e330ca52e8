/* Chooses the next token from logits. */
#include <math.h>
#include <stdlib.h>

#include <umbra/generate.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/random.h"

typedef struct candidate {
    int32_t id;
    float p;
} candidate;

struct umbra_sampler {
    umbra_sampling sampling;
    int vocabulary;
    umbra_random random;
    candidate *candidates; /* (vocabulary) */
};

int umbra_sampler_open(umbra_sampler **out, const umbra_sampling *sampling, int vocabulary,
                       umbra_error *err)
{
    static const umbra_sampling greedy = {0};
    *out = NULL;
    sampling = sampling ? sampling : &greedy;
    int rc = UMBRA_CHECK_RESERVED(sampling, err);
    if (rc != UMBRA_OK)
        return rc;
    if (!(sampling->temperature >= 0 && sampling->temperature <= 100))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "temperature %g is not in 0..100",
                          (double)sampling->temperature);
    if (!(sampling->top_p >= 0 && sampling->top_p <= 1))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "top-p %g is not in 0..1",
                          (double)sampling->top_p);
    umbra_sampler *s = umbra_calloc(1, sizeof *s);
    if (s && sampling->temperature > 0)
        s->candidates = umbra_calloc((size_t)vocabulary, sizeof *s->candidates);
    if (!s || (sampling->temperature > 0 && !s->candidates)) {
        umbra_sampler_close(&s);
        return umbra_fail_nomem(err, "the sampler", (uint64_t)vocabulary * sizeof(candidate));
    }
    s->sampling = *sampling;
    s->vocabulary = vocabulary;
    umbra_random_seed(&s->random, sampling->seed);
    *out = s;
    return UMBRA_OK;
}

void umbra_sampler_close(umbra_sampler **p)
{
    if (!*p)
        return;
    umbra_free((*p)->candidates);
    umbra_free(*p);
    *p = NULL;
}

/* The lowest id of the largest logit; NaN is never the largest. */
static int32_t best(const float *logits, int n)
{
    int32_t id = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[id] || (isnan(logits[id]) && !isnan(logits[i])))
            id = i;
    return id;
}

/* The weight of a logit beside the best one: 0 to 1 whatever they are, and 1 for the best. */
static float weigh(float logit, float top, float temperature)
{
    if (isnan(logit))
        return 0;
    return logit == top ? 1 : expf((logit - top) / temperature);
}

/* Most probable first, then by id: the order, and so the text, does not depend on qsort. */
static int compare_candidates(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p > y->p ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Leaves in front the candidates that make up `wanted` of the sum, most probable first. Those below
 * the share that nobody can miss are not sorted: all of them together are less than what may be
 * left out. Returns how many are left, and their sum. */
static int keep_most_probable(umbra_sampler *s, double wanted, double *sum)
{
    float least = (float)((*sum - wanted) / (2.0 * s->vocabulary));
    int likely = 0, n = 0;
    for (int i = 0; i < s->vocabulary; i++)
        if (s->candidates[i].p >= least)
            s->candidates[likely++] = s->candidates[i];
    qsort(s->candidates, (size_t)likely, sizeof *s->candidates, compare_candidates);
    for (*sum = 0; n < likely && *sum < wanted; n++)
        *sum += (double)s->candidates[n].p;
    return n;
}

int32_t umbra_sampler_next(umbra_sampler *s, const float *logits)
{
    int32_t top = best(logits, s->vocabulary);
    if (s->sampling.temperature <= 0 || isnan(logits[top]))
        return top;
    double sum = 0;
    for (int i = 0; i < s->vocabulary; i++) {
        float p = weigh(logits[i], logits[top], s->sampling.temperature);
        s->candidates[i] = (candidate){i, p};
        sum += (double)p;
    }
    int n = s->vocabulary;
    if (s->sampling.top_p > 0 && s->sampling.top_p < 1)
        n = keep_most_probable(s, (double)s->sampling.top_p * sum, &sum);
    double at = umbra_random_unit(&s->random) * sum;
    for (int i = 0; i < n - 1; i++) {
        at -= (double)s->candidates[i].p;
        if (at < 0)
            return s->candidates[i].id;
    }
    /* Rounding has left a little: the last one that can be drawn. */
    while (n > 1 && !(s->candidates[n - 1].p > 0))
        n--;
    return s->candidates[n - 1].id;
}
