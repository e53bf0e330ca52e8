/* A walk ahead: the model itself, run through its next layers on what happens to be in memory, only
 * to find out which experts it will ask for (as a processor runs ahead of a cache miss).
 *
 * From a row's state in some layer, with the experts of that layer computed so far, the walk goes
 * on through attention over the sequence's own keys and values, the router, those of the chosen
 * experts that are in the cache, and so on from layer to layer. What is missing is left out. It
 * never reads, evicts or appends anything: its own keys and values lie in a page of its own.
 *
 * For the thread that drives the engine, while the engine waits (UMBRA_TAP_WAIT). */
#ifndef UMBRA_AHEAD_WALK_H
#define UMBRA_AHEAD_WALK_H

#include "engine/engine.h"

typedef struct umbra_walk umbra_walk;

/* Memory that a walk takes for this model and a context of so many positions. */
uint64_t umbra_walk_bytes(const umbra_model *model, int context, int threads);
/* On failure *out is NULL. */
int umbra_walk_open(umbra_walk **out, umbra_engine *engine, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_walk_close(umbra_walk **walk);

/* Begins at row 0 of what the engine computes now, at a layer with experts: at UMBRA_TAP_WAIT with
 * those experts that the engine has computed, or at UMBRA_TAP_ROUTED with those that are there. */
void umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, umbra_tap_place place);
/* From now on at most so many experts of a layer are computed, the heaviest that are there; others
 * count as missing. UMBRA_MAX_USED (default): all. */
void umbra_walk_limit(umbra_walk *walk, int experts);
/* Goes on to the next layer with experts, and routes there. False behind the last one. */
bool umbra_walk_step(umbra_walk *walk);
/* The layer that it has come to. */
int umbra_walk_layer(const umbra_walk *walk);
/* How many layers with experts that is from where it began. */
int umbra_walk_distance(const umbra_walk *walk);
/* The share of the experts' weight that was left out on the way, 0 to 1: the largest of a layer. */
float umbra_walk_missing(const umbra_walk *walk);
/* The router's scores there (experts), as they weigh. */
const float *umbra_walk_scores(const umbra_walk *walk);
/* What is added to them for choosing (experts), or NULL. */
const float *umbra_walk_preference(const umbra_walk *walk);
/* The experts that it names there (used), best first. */
const int32_t *umbra_walk_experts(const umbra_walk *walk);

#endif
