/* Scoring: what a model thinks of a given text, position by position. For the thread that drives
 * the engine. */
#ifndef UMBRA_SCORE_H
#define UMBRA_SCORE_H

#include <umbra/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to keep of every position; by default nothing but lse. */
typedef struct umbra_score_options {
    int top;                        /* best logits kept per position, 0..1000 */
    bool experts;                   /* keep the experts used */
    const umbra_progress *progress; /* of this call; may be NULL */
    uint64_t reserved[4];           /* room for options to come: zeros */
} umbra_score_options;

/* Entry i belongs to the position of token i: it is what the model says about token i+1. Owned by
 * the caller; umbra_score_free. */
typedef struct umbra_scores {
    int tokens;           /* T */
    int layers;           /* L */
    int used;             /* k, experts per token */
    int top;              /* K */
    double *lse;          /* (T) log of the sum of exp(logits) */
    int32_t *top_id;      /* (T, K) best first, lower id first in a tie; NULL if K is 0 */
    float *top_logit;     /* (T, K) */
    uint16_t *experts;    /* (L, T, k) best first, 65535 in layers without experts; NULL if not
                             asked for */
    double nll_sum;       /* -log p(token i+1 | tokens up to i), summed over the predicted tokens */
    int predicted;        /* tokens that were predicted: all but the first */
    double seconds;       /* time of the evaluation */
    uint64_t reserved[4]; /* room for figures to come: zeros */
} umbra_scores;

/* Scores the tokens (BOS first, if the model has one) with a fresh sequence 0, whose text before is
 * forgotten. options may be NULL. A text longer than
 * the context is cut into windows that each begin anew with tokens[0] (BOS); positions of the
 * repeated BOS are not reported. UMBRA_E_ARGUMENT: no token, a token out of range, or a context
 * of one position. On failure *out is all zeros. */
UMBRA_API int umbra_score(umbra_engine *engine, const umbra_model *model, const int32_t *tokens,
                          int count, const umbra_score_options *options, umbra_scores *out,
                          umbra_error *err);
/* Frees the arrays and zeroes the struct. */
UMBRA_API void umbra_score_free(umbra_scores *scores);

#ifdef __cplusplus
}
#endif
#endif
