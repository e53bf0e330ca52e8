/* The decode loop: the next token and its drafts in one step, of which the agreeing beginning is
 * kept. What the sequence holds and what the sampler draws is at every moment what single steps
 * give. */
#ifndef UMBRA_GENERATE_DECODE_H
#define UMBRA_GENERATE_DECODE_H

#include <umbra/generate.h>

#include "generate/drafts.h"

typedef struct umbra_decoder {
    umbra_engine *engine;
    const umbra_model *model;
    const umbra_generate_options *options;
    umbra_sampler *sampler;
    int most;      /* new tokens */
    int32_t *text; /* (prompt + most) what this call has put into the sequence, or is about to */
    int base;      /* position of text[0] */
    int32_t next;  /* follows what the sequence holds */
    umbra_generation *out;
    /* The step in progress. */
    int32_t draft[UMBRA_DRAFT_MOST];
    int drafts;
    int32_t given[UMBRA_DRAFT_MOST + 1]; /* tokens that it gave, all but the last of them drafts */
    int n_given;
} umbra_decoder;

/* Goes on from `next` until there are `most` new tokens, an end, or nobody wants more. Fills of
 * *out what counts tokens and steps. */
int umbra_decode(umbra_decoder *d, umbra_error *err);

#endif
