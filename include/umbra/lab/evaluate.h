/* Evaluation: what predictors of experts are worth, on documents that no shadow was trained on.
 *
 * Reads trace folders and shadow files, runs every predictor, and counts. In one table
 * stand the oracle, static frequency, the previous token's experts, the model's own routers
 * ("gate") and every shadow file; beside it the control (d = 0), which must be near 100 %. With the
 * model itself, a second table has what running ahead names at several sizes of the memory, also of
 * the experts that are not in it.
 *
 * Nothing of the traces is kept in memory but one segment of rows at a time, so their size does not
 * matter. The same input gives the same figures for any number of threads. */
#ifndef UMBRA_LAB_EVALUATE_H
#define UMBRA_LAB_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <umbra/model.h>
#include <umbra/progress.h>
#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to judge on what; traces must be given. Lists are read during the call only. */
typedef struct umbra_evaluate_options {
    const char *const *traces;  /* (n_traces) folders of one model, at least 1 */
    int n_traces;               /* paths in traces */
    const char *const *shadows; /* (n_shadows) shadow files for that model, 0..16 */
    int n_shadows;              /* paths in shadows */
    int threads;                /* 0: the processors at hand */
    uint64_t max_tokens;        /* 0: all. Else every document gives only so much of its beginning
                                   that this many tokens are evaluated, calibration included */
    uint64_t ablation_tokens;   /* what a shadow's parts give is measured on documents of about so
                                   many tokens; 0: 4096 */
    bool no_ablations;          /* do not measure what each part of a shadow gives */
    int n_residencies;          /* shares in residencies, 0..8; 0 with a model: .3, .5 and .7 */
    const umbra_progress *progress; /* may be NULL */
    const umbra_model
        *model; /* that the traces are of: it decodes the documents anew with a part of
                   its experts in memory, and is run ahead at every layer. NULL: no */
    const double *residencies; /* shares of the experts that fit in memory, above 0, at most 1 */
    uint64_t walk_tokens; /* decoded at each residency, from the documents' beginnings; the first
                             64 only fill the memory. 0: 320 */
    uint64_t reserved[1]; /* room for options to come: zeros */
} umbra_evaluate_options;

/* What was found. Immutable: any number of threads may print it. */
typedef struct umbra_evaluation umbra_evaluation;

/* On failure *out is NULL. UMBRA_E_MISMATCH: a folder or a shadow belongs to another model, or a
 * shadow was trained (or validated) on a document of the folders; both files are named. The
 * same for a model that the traces are not of.
 * UMBRA_E_NONFINITE: a predictor gave a score that is no number; it and the layer are named. */
UMBRA_API int umbra_evaluate(umbra_evaluation **out, const umbra_evaluate_options *options,
                             umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_evaluation_free(umbra_evaluation **evaluation);

/* Tables for a terminal, 80 columns. */
UMBRA_API void umbra_evaluation_print(const umbra_evaluation *evaluation, FILE *file);
/* One JSON object and a newline. */
UMBRA_API void umbra_evaluation_json(const umbra_evaluation *evaluation, FILE *file);
/* One HTML file that needs nothing else. The file appears whole or not at all. */
UMBRA_API int umbra_evaluation_report(const umbra_evaluation *evaluation, const char *path,
                                      umbra_error *err);

#ifdef __cplusplus
}
#endif
#endif
