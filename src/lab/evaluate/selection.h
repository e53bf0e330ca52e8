/* Which documents count: long enough, once each, and none that a shadow was trained on. */
#ifndef UMBRA_LAB_EVALUATE_SELECTION_H
#define UMBRA_LAB_EVALUATE_SELECTION_H

#include "lab/evaluate/input.h"

/* Fills the input's documents. Every tenth is for calibration only, if there are at least two.
 * UMBRA_E_MISMATCH if a shadow was trained on one: a document of the same content, or one that was
 * read (not generated) under the same id. */
int umbra_eval_select_documents(umbra_eval_input *in, umbra_evaluation *e,
                                const umbra_evaluate_options *options, umbra_error *err);

#endif
