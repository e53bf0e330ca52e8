/* Inside of the shadow runner. A state's way: runner.c copies it into a job and queues it;
 * foresight.c turns a job into probabilities; runner.c foretells them to the store. */
#ifndef UMBRA_AHEAD_RUNNER_H
#define UMBRA_AHEAD_RUNNER_H

#include <umbra/runner.h>

#include "predict/fast.h"

enum { UMBRA_RUNNER_JOBS = 8 };

/* One state to predict from; source s as in predict/shadow.h. */
typedef struct umbra_job {
    int source;
    uint64_t clock; /* the store's at that time */
    uint32_t text;  /* counts restarts: running averages begin anew with each */
    bool has_previous, has_previous2;
    float *state;                   /* (H) */
    uint16_t *now;                  /* (L, k): this token's routing so far; only row s - 1 is set */
    uint16_t *previous, *previous2; /* (L, k): only the rows of the targets are set */
    const uint16_t *truth;          /* (L, k) of the oracle, or NULL */
} umbra_job;

/* How often the expert of a rank was used, for predictors whose scores are no probabilities:
 * counted while running. */
typedef struct umbra_ranks {
    int n;                                                          /* ranks kept: 2 k */
    float (*hits)[UMBRA_MAX_DISTANCE], (*seen)[UMBRA_MAX_DISTANCE]; /* (n) */
    uint16_t *guessed; /* (L, D, n) what the last prediction ranked */
    bool *open;        /* (L, D) whether that is not judged yet */
} umbra_ranks;

/* Turns a job into probability (D, E) of the source's targets. */
typedef struct umbra_foresight {
    umbra_policy policy;
    int layers, hidden, experts, used, every;
    umbra_shadow_fast *fast; /* shadow, gate */
    umbra_fast_scratch *scratch;
    float *averages;    /* (sources kept, averages, H) */
    uint32_t *text;     /* (sources kept) of the averages; 0: not begun */
    float *r;           /* (H) */
    float *probability; /* (D, E) */
    uint16_t *best;     /* (D, n) */
    umbra_ranks ranks;  /* gate, previous */
} umbra_foresight;

int umbra_foresight_open(umbra_foresight *f, const umbra_runner_options *options, umbra_error *err);
void umbra_foresight_close(umbra_foresight *f);
/* Memory that it will hold. */
int umbra_foresight_plan(const umbra_runner_options *options, uint64_t *bytes, umbra_error *err);
/* False if nothing is known of this source. */
bool umbra_foresight_predict(umbra_foresight *f, const umbra_job *job);
/* Takes a prompt's states (n, H) of a source into the running averages. */
void umbra_foresight_absorb(umbra_foresight *f, int source, uint32_t text, int n,
                            const float *states);
/* A layer's routing (k) is known: what the ranks were worth. */
void umbra_foresight_learn(umbra_foresight *f, int layer, const uint16_t *used);

static inline bool umbra_foresight_has(const umbra_foresight *f, int source)
{
    return source < f->layers && source % f->every == 0;
}

#endif
