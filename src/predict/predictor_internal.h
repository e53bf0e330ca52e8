/* The inside of predictors. */
#ifndef UMBRA_PREDICT_PREDICTOR_INTERNAL_H
#define UMBRA_PREDICT_PREDICTOR_INTERNAL_H

#include "predict/fast.h"
#include "predict/internal.h"

struct umbra_predict_scratch {
    float *r;       /* (BATCH, H) normalised states */
    float *x;       /* (BATCH, X): r and the averages; r itself where there are none */
    float *inner;   /* (BATCH, N) */
    float *part;    /* (BATCH, D*E) one summand of the scores */
    uint32_t *rows; /* features that are on for one row */
    umbra_fast_scratch *fast;
};

struct umbra_predictor {
    const char *name;
    void (*run)(const umbra_predictor *predictor, int source, const umbra_predict_input *input,
                umbra_predict_scratch *scratch, float *scores);
    const umbra_shadow *shadow; /* kind shadow only */
    const umbra_gates *gates;   /* shadow (residual) and gate */
    const umbra_shadow_fast *fast;
    int layers, experts, hidden, used;
    unsigned off;
    float *frequency; /* (layers, E) share of the tokens that use the expert */
    bool needs_r;     /* of the scratch's parts */
    uint64_t bytes, macs;
};

/* Distances whose target exists. */
static inline int umbra_predictor_distances(const umbra_predictor *p, int source)
{
    int n = p->layers - source;
    return n < 0 ? 0 : n > UMBRA_MAX_DISTANCE ? UMBRA_MAX_DISTANCE : n;
}

/* out[i * stride + row] = weights (rows, columns) * x (n, columns). */
void umbra_predict_matmul(const float *weights, int rows, int columns, const float *x, int n,
                          float *out, int stride);
void umbra_predict_normalise(const umbra_predict_input *input, int hidden, float *r);
/* Scores of the target layers' gates on r (n, H) into scores (n, D, E). */
void umbra_predict_gates(const umbra_gates *gates, int source, int distances, const float *r, int n,
                         float *scores);

void umbra_predict_shadow(const umbra_predictor *predictor, int source,
                          const umbra_predict_input *input, umbra_predict_scratch *scratch,
                          float *scores);

#endif
