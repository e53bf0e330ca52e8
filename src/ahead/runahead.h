/* Reading ahead by walking: while the engine waits for a read, the walk names the experts of the
 * coming layers from what is in memory, and they are foretold to the store. */
#ifndef UMBRA_AHEAD_RUNAHEAD_H
#define UMBRA_AHEAD_RUNAHEAD_H

#include <umbra/runner.h>

#include "engine/engine.h"

typedef struct umbra_runahead umbra_runahead;

/* Memory that it takes. */
uint64_t umbra_runahead_bytes(const umbra_model *model, int context, int threads);
/* On failure *out is NULL. */
int umbra_runahead_open(umbra_runahead **out, umbra_engine *engine, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_runahead_close(umbra_runahead **runahead);

/* A step of rows that decode begins. */
void umbra_runahead_enter(umbra_runahead *r);
/* UMBRA_TAP_ROUTED: what was foretold of the layer has come true or not. */
void umbra_runahead_routed(umbra_runahead *r, const umbra_rows *rows);
/* UMBRA_TAP_WAIT: walks until what the engine waits for is there. */
void umbra_runahead_wait(umbra_runahead *r, const umbra_rows *rows);

void umbra_runahead_get_stats(const umbra_runahead *r, umbra_runner_stats *out);

#endif
