/* The guessing machine: all predictors of an evaluation on a block of rows, on several threads.
 *
 * A pool item is a source, and only it touches the counters of its source: so there is nothing to
 * merge, and the figures do not depend on the number of threads. */
#ifndef UMBRA_LAB_EVALUATE_GUESS_H
#define UMBRA_LAB_EVALUATE_GUESS_H

#include <stdatomic.h>

#include "base/pool.h"
#include "lab/evaluate/block.h"

/* A predictor with one scratch per thread. */
typedef struct umbra_guesser {
    umbra_predictor *predictor;
    umbra_predict_scratch **scratch; /* (threads) */
} umbra_guesser;

/* What a Platt scaling is fitted on: scores and outcomes of one (row, distance). */
typedef struct umbra_guess_samples {
    float *z;         /* (sources, rows, E) */
    uint8_t *outcome; /* the same */
} umbra_guess_samples;

typedef struct umbra_guess_worker {
    float *scores;   /* (BATCH, D, E) */
    uint16_t *ranks; /* (k) */
    float *r;        /* (H) */
    float *averages; /* (BATCH, most averages, H) */
    float *zeros;    /* the same, zeros */
} umbra_guess_worker;

typedef struct umbra_guess {
    umbra_evaluation *e;
    const umbra_eval_input *in;
    umbra_pool *pool;
    int threads;
    umbra_guesser *guessers; /* (n_rows, 2): per half of the documents; mostly the same */
    umbra_guesser *ablated;  /* (n_shadows, UMBRA_EVAL_ABLATIONS) */
    uint64_t *hits;          /* (sources, n_shadows, UMBRA_EVAL_ABLATIONS + 1, D) at m = k; first
                                with nothing off */
    uint64_t *slots;         /* (sources, D) used experts at the ablation documents */
    umbra_guess_worker *workers; /* (threads) */
    float **running;             /* (n_shadows) -> (sources, averages, H), or NULL */

    umbra_guess_samples *samples; /* (n_rows, D) */
    int sample_rows;              /* per source */
    uint64_t sample_every;
    uint64_t sample_seen; /* calibration rows of earlier blocks */

    umbra_eval_block block;
    const umbra_eval_document *document; /* of the block */
    bool begins;                         /* the block is its document's first */
    atomic_int bad_layer;                /* for which a score is NaN, or -1 */
    const char *bad_name;                /* of who gave it */
} umbra_guess;

/* The evaluation's rows must be set up (names, kinds, tallies); counts: expert frequencies (L, E)
 * for documents of either half, NULL if no row needs them. Fills the rows' costs and the shadows'
 * lists of ablations. On failure the caller still closes. */
int umbra_guess_open(umbra_guess *g, umbra_evaluation *e, const umbra_eval_input *in, int threads,
                     const uint64_t *const counts[2], umbra_error *err);
void umbra_guess_close(umbra_guess *g);

/* Runs all predictors over the block and counts; for a calibration document takes samples.
 * UMBRA_E_NONFINITE: a score is NaN. */
int umbra_guess_block(umbra_guess *g, umbra_error *err);
/* Fits the Platt scalings to the samples and frees these. */
void umbra_guess_fit(umbra_guess *g);
/* Adds the ablations' counts to the evaluation. */
void umbra_guess_finish(umbra_guess *g);

#endif
