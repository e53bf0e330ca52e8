/* What is foretold: for layers whose batches are still to come, the probability that each expert is
 * used. Every sequence has a row per layer, its nearest forecast; what they foretell for the same
 * batch is merged into one forecast of the layer, where an expert is as likely as that one of them
 * uses it. Nothing here locks: the store's mutex is held by the caller.
 *
 * Time is counted in batches: the clock is the number of batches begun so far, and a forecast is
 * due at the clock that its layer's batch will bear.
 *
 * Letters: S sequences, L layers, E experts per layer, C candidates. */
#ifndef UMBRA_STORE_FORECAST_H
#define UMBRA_STORE_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/store.h>

enum {
    UMBRA_CANDIDATES = 24, /* kept per layer and sequence */
};

/* An expert that might be read ahead. */
typedef struct umbra_candidate {
    int32_t expert;
    float probability;
} umbra_candidate;

/* A sequence's forecast for a layer. */
typedef struct umbra_sequence_forecast {
    uint64_t due; /* 0: there is none */
    int distance;
} umbra_sequence_forecast;

/* What the sequences foretell together for the batch that comes first. */
typedef struct umbra_layer_forecast {
    uint64_t due; /* 0: nothing is foretold */
    int distance; /* the nearest one's */
    int n, next;  /* candidates, best first; those before `next` need no more looking at */
    bool changed; /* a row came or went: it is to be merged again before it is looked at */
    umbra_candidate *candidate; /* (C) */
} umbra_layer_forecast;

typedef struct umbra_forecast {
    int n_sequences, n_layers, n_experts, n_candidates;
    umbra_sequence_forecast *row; /* (S, L) */
    float *probability;           /* (S, L, E) of the rows, 0 to 1 */
    float *merged;                /* (L, E) of the layers, 0 where nothing is foretold */
    umbra_candidate *candidate;   /* (L, C) */
    umbra_layer_forecast *layers; /* (L) */
    int32_t *live;                /* (L) layers with rows or a forecast, in no order */
    int n_live;
    bool changed; /* a layer's is */
    uint64_t clock;
} umbra_forecast;

/* The hit rate of forecasts, learned as they come due: what became of candidates that were not in
 * the cache, by distance and by what was foretold. An expert that was not used lately is likelier
 * not to be used than its forecast says, unless the predictor has seen to that; and where a model
 * is out of its depth this tells. */
enum { UMBRA_CALIBRATION_BINS = 12 };
typedef struct umbra_calibration {
    float seen[UMBRA_MAX_DISTANCE + 1][UMBRA_CALIBRATION_BINS];
    float used[UMBRA_MAX_DISTANCE + 1][UMBRA_CALIBRATION_BINS];
} umbra_calibration;

void umbra_calibration_add(umbra_calibration *x, int distance, float foretold, bool used);
/* What such forecasts came to so far; what was foretold, until that is known. */
float umbra_calibration_apply(const umbra_calibration *x, int distance, float foretold);

/* On failure nothing is left behind. */
int umbra_forecast_init(umbra_forecast *f, int n_sequences, int n_layers, int n_experts,
                        umbra_error *err);
void umbra_forecast_free(umbra_forecast *f);

/* Takes a sequence's forecast, or refuses one that comes too late or from farther away than the one
 * that is there. One from as far is of another row of the sequence, computed in the same batch, and
 * joins it. */
bool umbra_forecast_take(umbra_forecast *f, int sequence, int layer, int distance, uint64_t due,
                         const float *probability);
/* Brings what the layers foretell up to date; to be called before they are looked at. */
void umbra_forecast_merge(umbra_forecast *f);
/* A batch of the layer begins: the clock moves, and what was foretold for it is over, as is what
 * should have been due before. */
void umbra_forecast_begin(umbra_forecast *f, int layer);
/* Forgets what a sequence has foretold. */
void umbra_forecast_forget(umbra_forecast *f, int sequence);
/* Forgets everything. */
void umbra_forecast_clear(umbra_forecast *f);

#endif
