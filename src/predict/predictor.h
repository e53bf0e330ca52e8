/* Predictors: everything that predicts the experts of coming layers, behind one interface.
 *
 * Kinds: shadow (a trained file), gate (the model's own router of the target layer on the present
 * state), previous (experts of the token before), frequency (static), oracle (the truth).
 *
 * A batch is n predictions from one source. Scores come out per (row, distance, expert); larger
 * means likelier; rows of targets that do not exist are left alone. Nothing is allocated per call.
 * A predictor is immutable after opening; scratch belongs to the caller (one per thread). */
#ifndef UMBRA_PREDICT_PREDICTOR_H
#define UMBRA_PREDICT_PREDICTOR_H

#include "predict/shadow.h"

enum { UMBRA_PREDICT_BATCH = 64 /* most rows of a call */ };

/* The routers of all layers, norm folded in: (layers, E, H); layers without experts are zero. */
typedef struct umbra_gates {
    int layers, experts, hidden;
    float *data;
} umbra_gates;

/* Used experts of one token at all layers: (layers, k), 0xffff where there are none. */
typedef struct umbra_predict_input {
    int n;                 /* rows, at most UMBRA_PREDICT_BATCH */
    const float *states;   /* (n, H) raw, not normed */
    const float *averages; /* (n, averages, H), or NULL if spec.averages is 0 */
    /* (n) -> (layers, k) of this token, as far as known: rows above layer s - 1 are not read by
     * honest predictors; the oracle reads its targets'. */
    const uint16_t *const *now;
    const uint16_t *const *previous;  /* (n) -> (layers, k), NULL entries: no earlier token */
    const uint16_t *const *previous2; /* (n), as previous */
    /* Each of the three may be NULL where nothing needs it. */
} umbra_predict_input;

typedef struct umbra_predictor umbra_predictor;
typedef struct umbra_predict_scratch umbra_predict_scratch;

/* `shadow` and `gates` must outlive the predictor. off: UMBRA_FEATURE_* bits or UMBRA_OFF_* parts
 * to switch off, for ablations. gates may be NULL for a seed; of another shape than the shadow's
 * they are UMBRA_E_MISMATCH. */
enum { UMBRA_OFF_INNER = 256 /* the W2 part */, UMBRA_OFF_LINEAR = 512 /* the W part */ };
int umbra_predictor_shadow(umbra_predictor **out, const umbra_shadow *shadow,
                           const umbra_gates *gates, unsigned off, umbra_error *err);
int umbra_predictor_gate(umbra_predictor **out, const umbra_gates *gates, int used,
                         umbra_error *err);
/* The experts of the token before, best first; behind them those of the token before that. */
int umbra_predictor_previous(umbra_predictor **out, const umbra_gates *shape, int used,
                             umbra_error *err);
/* counts (layers, E): how often each expert was used. Copied; scores are the shares of the tokens
 * that used it. */
int umbra_predictor_frequency(umbra_predictor **out, const umbra_gates *shape, int used,
                              const uint64_t *counts, umbra_error *err);
int umbra_predictor_oracle(umbra_predictor **out, const umbra_gates *shape, int used,
                           umbra_error *err);
void umbra_predictor_close(umbra_predictor **predictor);

/* "residual" or "seed" for a shadow, else the kind. */
const char *umbra_predictor_name(const umbra_predictor *predictor);
/* Bytes read and multiply-adds done for one prediction of all distances at an inner source; what
 * the model shares with it (the gates) is counted in both. A shadow's matrices, and the gates
 * beside them, are counted in the form of spec.weights; a value of a features' row added is one
 * multiply-add. */
uint64_t umbra_predictor_bytes(const umbra_predictor *predictor);
uint64_t umbra_predictor_macs(const umbra_predictor *predictor);

int umbra_predict_scratch_open(umbra_predict_scratch **out, const umbra_predictor *predictor,
                               umbra_error *err);
void umbra_predict_scratch_close(umbra_predict_scratch **scratch);

/* scores (n, D, E): distance d in row d - 1. */
void umbra_predict(const umbra_predictor *predictor, int source, const umbra_predict_input *input,
                   umbra_predict_scratch *scratch, float *scores);
/* The control: scores (n, E) of the gate of layer source - 1 on the state of the same layer; source
 * at least 1. */
void umbra_predict_control(const umbra_gates *gates, int source, int n, const float *states,
                           float *scores);

/* Probabilities that each expert is used, from the scores (n, D, E) of a shadow; in place. */
void umbra_predict_calibrate(const umbra_shadow *shadow, int source, int n, float *scores);

/* The m best of E scores, m <= E, best first, lower id first in a tie, NaN last. */
void umbra_predict_top(const float *scores, int experts, int m, uint16_t *out);

#endif
