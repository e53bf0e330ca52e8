/* Chooses the next token from logits. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/random.h"
#include "generate/candidates.h"

enum { PENALTY_TOKENS = 64, WORD_BITS = 64 };

struct umbra_sampler {
    umbra_sampling sampling;
    int vocabulary;
    umbra_bias *bias;            /* (n_bias) */
    float *adjusted;             /* (vocabulary) with penalties or bias, else NULL */
    uint32_t *counts;            /* (vocabulary) zeros between draws; with penalties, else NULL */
    uint64_t *allowed;           /* a bit per token; with allow, else NULL */
    umbra_candidate *candidates; /* (vocabulary) unless greedy */
};

/* ---- opening ---- */

typedef struct range {
    const char *name;
    double value, least, most;
} range;

static int check(const umbra_sampling *s, int vocabulary, umbra_error *err)
{
    const range ranges[] = {
        {"temperature", (double)s->temperature, 0, 100},
        {"top-p", (double)s->top_p, 0, 1},
        {"top-k", s->top_k, 0, INT32_MAX},
        {"min-p", (double)s->min_p, 0, 1},
        {"typical-p", (double)s->typical_p, 0, 1},
        {"repetition penalty", (double)s->repetition_penalty, 0, 10},
        {"presence penalty", (double)s->presence_penalty, -2, 2},
        {"frequency penalty", (double)s->frequency_penalty, -2, 2},
        {"number of biases", s->n_bias, 0, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].least && ranges[i].value <= ranges[i].most))
            return umbra_fail(err, UMBRA_E_ARGUMENT, "%s %g is not in %g..%g", ranges[i].name,
                              ranges[i].value, ranges[i].least, ranges[i].most);
    for (int i = 0; i < s->n_bias; i++)
        if (s->bias[i].id < 0 || s->bias[i].id >= vocabulary || isnan(s->bias[i].value))
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "a bias of %g for token %d: it must be a number, for one of the %d "
                              "tokens",
                              (double)s->bias[i].value, s->bias[i].id, vocabulary);
    return UMBRA_OK;
}

static bool has_penalties(const umbra_sampling *s)
{
    return (s->repetition_penalty > 0 && s->repetition_penalty != 1) || s->presence_penalty != 0 ||
           s->frequency_penalty != 0;
}

/* An array that is needed, or NULL; *whole becomes false where memory is out. */
static void *take(bool needed, size_t n, size_t size, bool *whole)
{
    void *p = needed ? umbra_calloc(n, size) : NULL;
    *whole = *whole && (p || !needed);
    return p;
}

static bool allocate(umbra_sampler *s)
{
    bool whole = true, penalties = has_penalties(&s->sampling);
    size_t n = (size_t)s->vocabulary, n_bias = (size_t)s->sampling.n_bias;
    s->bias = take(n_bias > 0, n_bias, sizeof *s->bias, &whole);
    s->adjusted = take(penalties || n_bias > 0, n, sizeof *s->adjusted, &whole);
    s->counts = take(penalties, n, sizeof *s->counts, &whole);
    s->allowed = take(s->sampling.allow != NULL, n / WORD_BITS + 1, sizeof *s->allowed, &whole);
    s->candidates = take(s->sampling.temperature > 0, n, sizeof *s->candidates, &whole);
    return whole;
}

int umbra_sampler_open(umbra_sampler **out, const umbra_sampling *sampling, int vocabulary,
                       umbra_error *err)
{
    static const umbra_sampling greedy = {0};
    *out = NULL;
    sampling = sampling ? sampling : &greedy;
    int rc = UMBRA_CHECK_RESERVED(sampling, err);
    if (rc == UMBRA_OK)
        rc = check(sampling, vocabulary, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_sampler *s = umbra_calloc(1, sizeof *s);
    if (s) {
        s->sampling = *sampling;
        s->vocabulary = vocabulary;
    }
    if (!s || !allocate(s)) {
        umbra_sampler_close(&s);
        return umbra_fail_nomem(err, "the sampler", (uint64_t)vocabulary * sizeof(umbra_candidate));
    }
    if (s->bias)
        memcpy(s->bias, sampling->bias, (size_t)sampling->n_bias * sizeof *s->bias);
    *out = s;
    return UMBRA_OK;
}

void umbra_sampler_close(umbra_sampler **p)
{
    if (!*p)
        return;
    umbra_free((*p)->bias);
    umbra_free((*p)->adjusted);
    umbra_free((*p)->counts);
    umbra_free((*p)->allowed);
    umbra_free((*p)->candidates);
    umbra_free(*p);
    *p = NULL;
}

/* ---- penalties and bias ---- */

static float penalise(const umbra_sampling *s, float logit, uint32_t times)
{
    float r = s->repetition_penalty;
    if (r > 0)
        logit = logit > 0 ? logit / r : logit * r;
    return logit - s->presence_penalty - (float)times * s->frequency_penalty;
}

/* Counts the tokens looked at, and gives each its penalty where it is met first going back. */
static void add_penalties(umbra_sampler *s, const int32_t *tokens, int n)
{
    int most = s->sampling.penalty_tokens == 0 ? PENALTY_TOKENS : s->sampling.penalty_tokens;
    int first = most < 0 || most > n ? 0 : n - most;
    for (int i = first; i < n; i++)
        if (tokens[i] >= 0 && tokens[i] < s->vocabulary)
            s->counts[tokens[i]]++;
    for (int i = first; i < n; i++) {
        int32_t id = tokens[i];
        if (id < 0 || id >= s->vocabulary || s->counts[id] == 0)
            continue;
        s->adjusted[id] = penalise(&s->sampling, s->adjusted[id], s->counts[id]);
        s->counts[id] = 0;
    }
}

/* The logits with penalties and bias. */
static const float *adjust(umbra_sampler *s, const float *logits, const int32_t *tokens, int n)
{
    if (!s->adjusted)
        return logits;
    memcpy(s->adjusted, logits, (size_t)s->vocabulary * sizeof *logits);
    if (s->counts)
        add_penalties(s, tokens, n);
    for (int i = 0; i < s->sampling.n_bias; i++)
        s->adjusted[s->bias[i].id] += s->bias[i].value;
    return s->adjusted;
}

/* ---- drawing ---- */

static bool may_come(const uint64_t *allowed, int id)
{
    return !allowed || (allowed[id / WORD_BITS] >> id % WORD_BITS & 1);
}

/* The lowest id of the largest logit; NaN is never the largest. -1: nothing may come. */
static int32_t best(const float *logits, const uint64_t *allowed, int n)
{
    int32_t id = -1;
    for (int i = 0; i < n; i++)
        if (may_come(allowed, i) &&
            (id < 0 || logits[i] > logits[id] || (isnan(logits[id]) && !isnan(logits[i]))))
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

static int collect(umbra_sampler *s, const float *logits, const uint64_t *allowed, float top)
{
    int n = 0;
    for (int i = 0; i < s->vocabulary; i++)
        if (may_come(allowed, i))
            s->candidates[n++] =
                (umbra_candidate){.id = i, weigh(logits[i], top, s->sampling.temperature), 0};
    return n;
}

/* The one at this share of the sum of weights. */
static int32_t pick(const umbra_candidate *c, int n, double share)
{
    double at = share * umbra_candidates_sum(c, n);
    for (int i = 0; i < n - 1; i++) {
        at -= (double)c[i].weight;
        if (at < 0)
            return c[i].id;
    }
    /* Rounding has left a little: the last one that can be drawn. */
    while (n > 1 && !(c[n - 1].weight > 0))
        n--;
    return c[n - 1].id;
}

int32_t umbra_sampler_next(umbra_sampler *s, const float *logits, const int32_t *tokens, int n)
{
    logits = adjust(s, logits, tokens, n);
    int masked = s->allowed ? s->sampling.allow(s->sampling.user, tokens, n, s->allowed) : 0;
    if (masked < 0)
        return masked;
    const uint64_t *allowed = masked ? s->allowed : NULL;
    int32_t top = best(logits, allowed, s->vocabulary);
    if (top < 0)
        return UMBRA_E_UNSUPPORTED;
    if (s->sampling.temperature <= 0 || isnan(logits[top]))
        return top;
    int count = collect(s, logits, allowed, logits[top]);
    count = umbra_candidates_filter(s->candidates, count, &s->sampling);
    return pick(s->candidates, count, umbra_random_unit_at(s->sampling.seed, (uint64_t)n));
}
