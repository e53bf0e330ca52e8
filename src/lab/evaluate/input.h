/* What an evaluation reads: open traces, loaded shadows, and the documents that count. */
#ifndef UMBRA_LAB_EVALUATE_INPUT_H
#define UMBRA_LAB_EVALUATE_INPUT_H

#include "lab/evaluate/evaluation.h"
#include "predict/predictor.h"

typedef struct umbra_eval_document {
    int folder;
    const umbra_trace_document *document; /* owned by the trace */
    int rows;                             /* states taken of it, from its first */
    int tokens;                           /* positions from its first to its last state */
    bool calibration;                     /* only fits Platt scalings, counts in no table */
    bool ablation;                        /* shadows' parts are switched off on it too */
    int half;                             /* 0 or 1, for frequencies counted on the other half */
} umbra_eval_document;

typedef struct umbra_eval_input {
    umbra_trace **traces;    /* (evaluation's n_folders) */
    umbra_shadow **shadows;  /* (evaluation's n_shadows) */
    int n_traces, n_shadows; /* opened */
    umbra_gates gates;
    umbra_eval_document *documents; /* (n_documents) */
    int n_documents;
} umbra_eval_input;

/* Opens and checks everything, and fills the evaluation's model, folders, shadows and amounts. On
 * failure the caller still closes the input and frees the evaluation. */
int umbra_eval_input_open(umbra_eval_input *in, umbra_evaluation *e,
                          const umbra_evaluate_options *options, umbra_error *err);
void umbra_eval_input_close(umbra_eval_input *in);

#endif
