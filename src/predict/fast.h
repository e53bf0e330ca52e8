/* The fast form of a shadow model: what runs beside the model, once per layer and token.
 *
 * Weights are repacked at opening into the order in which a prediction reads them, as F32, BF16 or
 * I8 (symmetric, one scale per row; dense inputs are then rounded on the fly, see
 * kernels/predict.h). The gate part of a residual costs nothing extra where every source has its
 * own network: a * gate is added to W before rounding. A shared network keeps one copy of the gates
 * in the same form for all sources.
 *
 * The scores are those of umbra_predictor_shadow up to rounding, the same bits for every
 * instruction set, batch and thread. On traces of the laboratory models BF16 was 0.05 % and I8
 * 0.5 % off, as shares of the scores' root mean square; slot recall lost at most 0.01 and 0.03
 * points. */
#ifndef UMBRA_PREDICT_FAST_H
#define UMBRA_PREDICT_FAST_H

#include "predict/predictor.h"

/* Immutable after opening: any number of threads may use it, each with a scratch of its own. */
typedef struct umbra_shadow_fast umbra_shadow_fast;
typedef struct umbra_fast_scratch umbra_fast_scratch;

/* form: of the matrices; it need not be that of the shadow's file. isa: a name of
 * umbra_kernels_find, or NULL for the best this machine has; UMBRA_E_UNSUPPORTED if it lacks the
 * one asked for. gates may be NULL for a seed. Nothing of shadow and gates is kept. On failure *out
 * is NULL. */
int umbra_shadow_fast_open(umbra_shadow_fast **out, const umbra_shadow *shadow,
                           const umbra_gates *gates, umbra_shadow_weights form, const char *isa,
                           umbra_error *err);
/* The same from a file, network by network, so that no more than one is in memory in F32. every:
 * only sources that it divides are kept, the others must not be predicted from. gate writes a
 * layer's router with its norm folded in (E, H); NULL for a seed. */
typedef void (*umbra_fast_gate_fn)(void *user, int layer, float *out);
int umbra_shadow_fast_read(umbra_shadow_fast **out, umbra_shadow_file *file, int every,
                           umbra_fast_gate_fn gate, void *user, umbra_shadow_weights form,
                           const char *isa, umbra_error *err);
/* A shadow of this spec before any training; of a residual, that is the gate predictor. */
int umbra_shadow_fast_untrained(umbra_shadow_fast **out, const umbra_shadow_spec *spec, int every,
                                umbra_fast_gate_fn gate, void *user, umbra_shadow_weights form,
                                const char *isa, umbra_error *err);
/* Memory that it will hold. */
uint64_t umbra_shadow_fast_plan(const umbra_shadow_spec *spec, int every,
                                umbra_shadow_weights form);
void umbra_shadow_fast_close(umbra_shadow_fast **fast); /* accepts a pointer to NULL */

const umbra_shadow_spec *umbra_shadow_fast_spec(const umbra_shadow_fast *fast);
const char *umbra_shadow_fast_isa(const umbra_shadow_fast *fast);
/* Memory held. */
uint64_t umbra_shadow_fast_bytes(const umbra_shadow_fast *fast);
/* Weights that a prediction from this source reads: all but the rows of its features. */
uint64_t umbra_shadow_fast_read_bytes(const umbra_shadow_fast *fast, int source);
/* Reads just these bytes as fast as it goes: the floor that a prediction is measured against. What
 * it returns means nothing. */
uint64_t umbra_shadow_fast_touch(const umbra_shadow_fast *fast, int source);

int umbra_fast_scratch_open(umbra_fast_scratch **out, const umbra_shadow_fast *fast,
                            umbra_error *err);
void umbra_fast_scratch_close(umbra_fast_scratch **scratch);

/* Scores (n, D, E) as umbra_predict gives them; n at most UMBRA_PREDICT_BATCH. Nothing is
 * allocated. */
void umbra_shadow_fast_scores(const umbra_shadow_fast *fast, int source,
                              const umbra_predict_input *input, umbra_fast_scratch *scratch,
                              float *scores);

/* All of a prediction: probability (n, D, E) that each expert is used, by the shadow's calibration,
 * and best (n, D, m), the m experts of the highest scores, best first. m is 0 to E; best may be
 * NULL if it is 0. Rows of targets that do not exist are left alone. */
void umbra_shadow_fast_predict(const umbra_shadow_fast *fast, int source,
                               const umbra_predict_input *input, umbra_fast_scratch *scratch,
                               float *probability, int m, uint16_t *best);

/* The same scores behind the interface of predictor.h, so that what a form costs in recall can be
 * measured. fast must outlive the predictor. */
int umbra_predictor_fast(umbra_predictor **out, const umbra_shadow_fast *fast, umbra_error *err);

#endif
