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
    int32_t *text; /* what the sequence holds and what is about to come, by position; -1 where this
                      is not known: before known_from. Room for prompt and new tokens behind it */
    int known_from;
    int32_t next; /* follows what the sequence holds; negative: an umbra_status, none can */
    umbra_generation *out;
    /* The step in progress. */
    int held;           /* positions, before it */
    umbra_drafted part; /* its drafts, which become the tokens that it gave */
    int drafts;         /* that are still to be held against the text */
    int32_t refused;    /* why a token behind them could not be drawn; 0: that was not tried */
} umbra_decoder;

/* Why no token could be drawn at a position: status is what umbra_sampler_next said. */
int umbra_fail_draw(int status, int position, umbra_error *err);

/* Goes on from `next` until there are `most` new tokens, an end, or nobody wants more. Fills of
 * *out what counts tokens and steps. */
int umbra_decode(umbra_decoder *d, umbra_error *err);

#endif
