/* Usage files: how often each expert was used, over any number of runs; for keeping the most used
 * ones in memory from the start.
 *
 * JSON: {"format": "umbra-usage", "version": 1, "model_hash": 32 hex digits, "layers": L,
 * "experts": E, "counts": [[...] (E) per layer]}. */
#ifndef UMBRA_USAGE_H
#define UMBRA_USAGE_H

#include <umbra/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Adds what the engine has used since it was opened to the file, which is made if it is not there
 * and replaced whole or not at all. A layer's batch counts an expert once, however many tokens of a
 * chunk use it. For the thread that drives the
 * engine; with ranks, to be called by all: their counts are added up, and rank 0 writes the file.
 * UMBRA_E_MISMATCH: the file is another model's. */
UMBRA_API int umbra_usage_add(const umbra_engine *engine, const char *path, umbra_error *err);

/* Adds the counts of the file to `counts` (layers, experts). UMBRA_E_MISMATCH: the file is another
 * model's. */
UMBRA_API int umbra_usage_read(const umbra_model *model, const char *path, uint64_t *counts,
                               umbra_error *err);

/* Reads the most used experts of the file (with ranks: of this one's) and keeps them for the
 * engine's life: so many that they fill `share` of the expert slots, 0 to 0.5. Call it before
 * anything is computed, from the thread that drives the engine. *pinned, which may be NULL: how
 * many. */
UMBRA_API int umbra_usage_pin(umbra_engine *engine, const char *path, double share, int *pinned,
                              umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
