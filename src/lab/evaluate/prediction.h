/* All predictors of an evaluation on a segment of rows, run on several threads.
 *
 * A pool item is a source, and only it touches the counters of its source: so there is nothing to
 * merge, and the figures do not depend on the number of threads. */
#ifndef UMBRA_LAB_EVALUATE_PREDICTION_H
#define UMBRA_LAB_EVALUATE_PREDICTION_H

#include <stdatomic.h>

#include "base/pool.h"
#include "lab/evaluate/segment.h"

/* A predictor with one scratch per thread. */
typedef struct umbra_eval_predictor {
    umbra_predictor *predictor;
    umbra_predict_scratch **scratch; /* (threads) */
} umbra_eval_predictor;

/* What a Platt scaling is fitted on: scores and outcomes of one (row, distance). */
typedef struct umbra_prediction_samples {
    float *z;         /* (sources, rows, E) */
    uint8_t *outcome; /* the same */
} umbra_prediction_samples;

typedef struct umbra_prediction_worker {
    float *scores;   /* (BATCH, D, E) */
    uint16_t *ranks; /* (k) */
    float *r;        /* (H) */
    float *averages; /* (BATCH, most averages, H) */
    float *zeros;    /* the same, zeros */
} umbra_prediction_worker;

typedef struct umbra_prediction {
    umbra_evaluation *e;
    const umbra_eval_input *in;
    umbra_pool *pool;
    int threads;
    umbra_eval_predictor *predictors; /* (n_rows, 2): per half of the documents; mostly the same */
    umbra_eval_predictor *ablated;    /* (n_shadows, UMBRA_EVAL_ABLATIONS) */
    uint64_t *hits;  /* (sources, n_shadows, UMBRA_EVAL_ABLATIONS + 1, D) at m = k; first
                        with nothing off */
    uint64_t *slots; /* (sources, D) used experts at the ablation documents */
    umbra_prediction_worker *workers; /* (threads) */
    float **running;                  /* (n_shadows) -> (sources, averages, H), or NULL */

    umbra_prediction_samples *samples; /* (n_rows, D) */
    int sample_rows;                   /* per source */
    uint64_t sample_every;
    uint64_t sample_seen; /* calibration rows of earlier segments */

    umbra_eval_segment segment;
    const umbra_eval_document *document; /* of the segment */
    bool begins;                         /* the segment is its document's first */
    atomic_int bad_layer;                /* for which a score is NaN, or -1 */
    const char *bad_name;                /* of who gave it */
} umbra_prediction;

/* The evaluation's rows must be set up (names, kinds, tallies); counts: expert frequencies (L, E)
 * for documents of either half, NULL if no row needs them. Fills the rows' costs and the shadows'
 * lists of ablations. On failure the caller still closes. */
int umbra_prediction_open(umbra_prediction *run, umbra_evaluation *e, const umbra_eval_input *in,
                          int threads, const uint64_t *const counts[2], umbra_error *err);
void umbra_prediction_close(umbra_prediction *run);

/* Runs all predictors over the segment and counts; for a calibration document takes samples.
 * UMBRA_E_NONFINITE: a score is NaN. */
int umbra_prediction_segment(umbra_prediction *run, umbra_error *err);
/* Fits the Platt scalings to the samples and frees these. */
void umbra_prediction_fit(umbra_prediction *run);
/* Adds the ablations' counts to the evaluation. */
void umbra_prediction_finish(umbra_prediction *run);

#endif
