/* Inside of the shadow runner. A state's way: runner.c copies it into a job and queues it;
 * foresight.c turns jobs into probabilities; runner.c foretells them to the store. Each remembers
 * what it needs of a sequence apart from the others.
 *
 * Letters as in umbra/runner.h; S sequences, D distances, B jobs predicted together. */
#ifndef UMBRA_AHEAD_RUNNER_H
#define UMBRA_AHEAD_RUNNER_H

#include <umbra/runner.h>

#include "predict/fast.h"

enum {
    UMBRA_RUNNER_JOBS = 8, /* that may wait, for each sequence */
    UMBRA_RUNNER_BATCH = 16,
};

/* One state to predict from; source s as in predict/shadow.h. */
typedef struct umbra_job {
    int sequence;
    int source;
    uint64_t clock; /* the store's at that time */
    uint32_t text;  /* counts a sequence's restarts: running averages begin anew with each */
    bool draft;     /* behind the sequence's own token: nothing is learnt by it */
    bool has_previous, has_previous2;
    float *state;                   /* (H) */
    uint16_t *now;                  /* (L, k): this token's routing so far; only row s - 1 is set */
    uint16_t *previous, *previous2; /* (L, k): only the rows of the targets are set */
    const uint16_t *truth;          /* (L, k) of the oracle, or NULL */
} umbra_job;

static inline int umbra_runner_sequences(const umbra_runner_options *options)
{
    return options->sequences > 0 ? options->sequences : 1;
}

/* Jobs predicted together, at most. */
static inline int umbra_runner_batch(const umbra_runner_options *options)
{
    int waiting = UMBRA_RUNNER_JOBS * umbra_runner_sequences(options);
    return waiting < UMBRA_RUNNER_BATCH ? waiting : UMBRA_RUNNER_BATCH;
}

/* How often the expert of a rank was used, for predictors whose scores are no probabilities:
 * counted while running. */
typedef struct umbra_rank_counts {
    int n;                                                          /* ranks kept: 2 k */
    float (*hits)[UMBRA_MAX_DISTANCE], (*seen)[UMBRA_MAX_DISTANCE]; /* (n) */
    uint16_t *guessed; /* (S, L, D, n) what a sequence's last prediction ranked */
    bool *open;        /* (S, L, D) whether that is not judged yet */
} umbra_rank_counts;

struct umbra_recall;

/* What is foretold from now on is counted there; it outlives the runner. Before the first state. */
void umbra_runner_set_recall(umbra_runner *runner, struct umbra_recall *recall);

/* Turns jobs into probability (B, D, E) of their source's targets. */
typedef struct umbra_foresight {
    umbra_policy policy;
    int sequences, layers, hidden, experts, used, every;
    int sources;             /* kept, of each sequence */
    umbra_shadow_fast *fast; /* shadow, gate */
    umbra_fast_scratch *scratch;
    float *averages;    /* (S, sources, averages, H) */
    uint32_t *text;     /* (S, sources) of the averages; 0: not begun */
    float *r;           /* (H) */
    float *states;      /* (B, H) and the averages (B, averages, H) of jobs predicted together */
    float *gathered;    /* the latter */
    float *probability; /* (B, D, E) */
    uint16_t *best;     /* (B, D, n) */
    umbra_rank_counts ranks; /* gate, previous */
} umbra_foresight;

int umbra_foresight_open(umbra_foresight *f, const umbra_runner_options *options, umbra_error *err);
void umbra_foresight_close(umbra_foresight *f);
/* Memory that it will hold. */
int umbra_foresight_plan(const umbra_runner_options *options, uint64_t *bytes, umbra_error *err);
/* Whether anything can be said of the job. */
bool umbra_foresight_knows(const umbra_foresight *f, const umbra_job *job);
/* n jobs of one source, at most B, that are known. */
void umbra_foresight_predict(umbra_foresight *f, const umbra_job *const *jobs, int n);
/* Takes a prompt's states (n, H) of a source into a sequence's running averages. */
void umbra_foresight_absorb(umbra_foresight *f, int sequence, int source, uint32_t text, int n,
                            const float *states);
/* A sequence's routing (k) of a layer is known: what the ranks were worth. */
void umbra_foresight_learn(umbra_foresight *f, int sequence, int layer, const uint16_t *used);

static inline bool umbra_foresight_has(const umbra_foresight *f, int source)
{
    return source < f->layers && source % f->every == 0;
}

#endif
