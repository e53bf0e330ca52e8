/* What running ahead names on true runs: the model decodes the documents anew, token by token, with
 * a part of its experts in memory and the store's own eviction, and from every layer with experts
 * each predictor says which experts come. */
#ifndef UMBRA_LAB_EVALUATE_WALKS_H
#define UMBRA_LAB_EVALUATE_WALKS_H

#include "ahead/walk.h"
#include "lab/evaluate/input.h"

enum {
    UMBRA_EVAL_WALK_SKIPPED = 64, /* tokens, while the memory fills */
    UMBRA_EVAL_MOST_RESIDENCIES = 8,
    UMBRA_EVAL_RUN_POSITIONS = 512, /* of a document */
    UMBRA_EVAL_RUN_TOKENS = 3,      /* whose routing is kept */
};

/* One that says which experts come, at one residency. */
typedef struct umbra_eval_teller {
    umbra_eval_walk *row;
    umbra_predictor *predictor; /* NULL: a walk */
    umbra_predict_scratch *scratch;
    const umbra_shadow_spec *spec; /* of a shadow, or NULL */
    float *averages;               /* (sources, averages, H), or NULL */
    int experts;                   /* that a walk computes of a layer at most */
    uint64_t layers, computed;     /* walked layers, and experts in them */
} umbra_eval_teller;

/* Letters: M layers with experts, N tellers, L layers, k used. */
typedef struct umbra_eval_run {
    umbra_evaluation *e;
    const umbra_eval_input *in;
    const umbra_progress *progress;
    umbra_engine *engine;
    umbra_walk *walk;
    umbra_eval_teller *tellers; /* (N) */
    int n_tellers;
    int *ordinal; /* (L) among those with experts; -1: has none */
    /* What was said from token t, in half t % 2: (2, N, M sources, M distances) lists of k. */
    uint16_t *said;
    bool *spoken;      /* the same without the k */
    int32_t *next;     /* (N, M) ids guessed in the present token; -1: none */
    bool *resident;    /* (E) of the layer in progress, before its demands */
    uint16_t *routing; /* (UMBRA_EVAL_RUN_TOKENS, L, k), token t in t % UMBRA_EVAL_RUN_TOKENS */
    float *scores, *r; /* (D, E), (H) */
    uint64_t token, done_before, all_tokens; /* of this residency; of all, for progress */
    double positions;                        /* summed over the tokens */
    int position;                            /* in the document */
    umbra_error *err;
} umbra_eval_run;

/* Refuses shares, and a model that the traces are not of. */
int umbra_eval_walks_check(const umbra_evaluation *e, const umbra_evaluate_options *options,
                           umbra_error *err);
/* Fills the evaluation's walks; nothing without a model. */
int umbra_eval_walks_run(umbra_evaluation *e, const umbra_eval_input *in,
                         const umbra_evaluate_options *options, umbra_error *err);

/* walks.c: decodes so many tokens of the documents from their beginnings, and counts; */
int umbra_eval_run_decode(umbra_eval_run *r, uint64_t tokens);
/* what a layer of its walks cost. */
void umbra_eval_run_costs(umbra_eval_run *r);

/* walks_cost.c: what a walked layer costs at a context of so many positions with so many experts
 * computed, on average over the model's layers. */
void umbra_eval_walk_cost(const umbra_engine *engine, double positions, double experts,
                          uint64_t *bytes, uint64_t *macs);

#endif
