/* What ranks compare before the first token: UMBRA_E_MISMATCH, on all, where one differs. */
#ifndef UMBRA_ENGINE_COMPARE_H
#define UMBRA_ENGINE_COMPARE_H

#include "engine/engine.h"
#include "model/model.h"

/* The version and the header of the model's files, before anything that has their shape is
 * exchanged. */
int umbra_compare_models(const umbra_model *model, const umbra_ranks *ranks, umbra_error *err);
/* How engines of one model run it, and its dense weights. */
int umbra_compare_engines(const umbra_engine *engine, const umbra_ranks *ranks, umbra_error *err);

#endif
