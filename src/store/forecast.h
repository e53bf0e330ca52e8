/* What is foretold: for layers whose batches are still to come, the probability that each expert is
 * used. Nothing here locks: the store's mutex is held by the caller.
 *
 * Time is counted in batches: the clock is the number of batches begun so far, and a forecast is
 * due at the clock that its layer's batch will bear. */
#ifndef UMBRA_STORE_FORECAST_H
#define UMBRA_STORE_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/store.h>

enum {
    UMBRA_CANDIDATES = 24, /* kept per layer */
};

/* An expert that might be read ahead. */
typedef struct umbra_candidate {
    int32_t expert;
    float probability;
} umbra_candidate;

typedef struct umbra_outlook {
    uint64_t due; /* 0: nothing is foretold */
    int distance;
    int n, next; /* candidates, best first; those before `next` need no more looking at */
    umbra_candidate candidate[UMBRA_CANDIDATES];
} umbra_outlook;

typedef struct umbra_forecast {
    int n_layers, n_experts;
    float *heat;            /* (n_layers, n_experts), zero where nothing is foretold */
    umbra_outlook *outlook; /* (n_layers) */
    int32_t *live;          /* (n_layers) layers with an outlook, in no order */
    int n_live;
    uint64_t clock;
} umbra_forecast;

/* What became of candidates that were not in the cache, by distance and by what was foretold. An
 * expert that was not used lately is likelier not to be used than its forecast says, unless the
 * predictor has seen to that; and where a model is out of its depth this tells. */
enum { UMBRA_EXPERIENCE_STEPS = 12 };
typedef struct umbra_experience {
    float seen[UMBRA_STORE_DISTANCES + 1][UMBRA_EXPERIENCE_STEPS];
    float used[UMBRA_STORE_DISTANCES + 1][UMBRA_EXPERIENCE_STEPS];
} umbra_experience;

void umbra_experience_take(umbra_experience *x, int distance, float foretold, bool used);
/* The probability as experience has it: what was foretold, until there is some. */
float umbra_experience_apply(const umbra_experience *x, int distance, float foretold);

/* On failure nothing is left behind. */
int umbra_forecast_init(umbra_forecast *f, int n_layers, int n_experts, umbra_error *err);
void umbra_forecast_free(umbra_forecast *f);

/* Takes a forecast, or refuses one that comes too late or from farther away than the one that is
 * there. */
bool umbra_forecast_take(umbra_forecast *f, int layer, int distance, uint64_t due,
                         const float *probability);
/* A batch of the layer begins: the clock moves, and what was foretold for it is over, as is what
 * should have been due before. */
void umbra_forecast_begin(umbra_forecast *f, int layer);
/* Forgets everything. */
void umbra_forecast_clear(umbra_forecast *f);

#endif
