/* What was foretold of the layers of decoded tokens, beside what they then used: the recall of a
 * policy on a run as it is, with the cache that the run has. Letters: S sequences, L layers, D
 * distances, k experts used per token and layer.
 *
 * Forecasts may come from any thread; the rest is for the one that drives the engine. */
#ifndef UMBRA_AHEAD_RECALL_H
#define UMBRA_AHEAD_RECALL_H

#include <umbra/prefetch.h>

#include "engine/engine.h"

typedef struct umbra_recall umbra_recall;

/* Of what a forecast is. */
typedef struct umbra_recall_place {
    int sequence, layer, distance;
    bool beyond;  /* of the token behind the one from which it was foretold */
    uint64_t due; /* the store's clock at the batch */
} umbra_recall_place;

/* Memory that it takes. */
uint64_t umbra_recall_bytes(const umbra_model *model, int sequences);
/* On failure *out is NULL. */
int umbra_recall_open(umbra_recall **out, umbra_engine *engine, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_recall_close(umbra_recall **recall);

/* A forecast that names these experts (k); farther ones than UMBRA_MAX_DISTANCE are passed over. */
void umbra_recall_name(umbra_recall *r, const umbra_recall_place *at, const int32_t *experts);
/* The same by probability (experts): the k likeliest are named. */
void umbra_recall_rate(umbra_recall *r, const umbra_recall_place *at, const float *probability);
/* UMBRA_TAP_ROUTED: the layer's experts are known. */
void umbra_recall_routed(umbra_recall *r, const umbra_rows *rows);

void umbra_recall_get(const umbra_recall *r, umbra_recall_stats *out);

#endif
