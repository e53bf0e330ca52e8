/* Experts divided among ranks: who has which, and how their results come together. */
#ifndef UMBRA_ENGINE_DIVISION_H
#define UMBRA_ENGINE_DIVISION_H

#include <umbra/ranks.h>
#include <umbra/store.h>

#include "engine/steps/steps.h"

/* Zeros: nobody to divide with. */
typedef struct umbra_division {
    umbra_ranks ranks;
    int layers, experts;
    uint16_t *owner; /* (layers, experts) the rank that has it */
    uint16_t *order; /* (layers, experts) a layer's experts by owner, then by id */
    uint64_t owned;  /* experts of this rank, in all layers with experts */
    int *first, *n;  /* (ranks) of the exchange in progress, floats */
} umbra_division;

/* Who has what: as the model says if it is a part (part.h), else by the uses. ranks NULL, or a
 * single one: everything is this engine's. Free it after a failure too. */
int umbra_division_init(umbra_division *d, const umbra_model *model, const umbra_ranks *ranks,
                        umbra_error *err);
void umbra_division_free(umbra_division *d);
/* All ranks take rank 0's division; of an engine that opens. */
int umbra_division_share(umbra_division *d, const umbra_model *model, umbra_error *err);
/* The model's slices, without those of experts that others have; umbra_free it. NULL: no memory. */
umbra_slice *umbra_division_slices(const umbra_division *d, const umbra_model *model);

/* Of the n distinct experts of a layer's pairs, the first and the number of those that are this
 * rank's. */
int umbra_division_own(const umbra_division *d, const umbra_scratch *s, int layer, int n,
                       int *first);
/* After the experts: the contributions of all ranks come into their places. What a rank gives that
 * has failed is no number, so that everyone stops behind this layer, if it has a share of it. */
int umbra_division_gather(umbra_division *d, const umbra_pass *p, int layer, int distinct,
                          bool failed, umbra_error *err);

/* The least of all ranks' values. */
int umbra_division_least(const umbra_division *d, int *value, umbra_error *err);
/* counts (layers, experts), of which each rank has its own experts', become all ranks'. */
int umbra_division_sum(const umbra_division *d, uint64_t *counts, umbra_error *err);
/* See umbra_ranks; without ranks the status itself. */
int umbra_division_agree(const umbra_division *d, int status, umbra_error *err);

#endif
