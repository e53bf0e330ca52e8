/* Test support: what small models of a layout answer to a fixed row of tokens. */
#ifndef UMBRA_TESTS_ENGINE_ANSWERS_H
#define UMBRA_TESTS_ENGINE_ANSWERS_H

#include "../model/make.h"
#include "engine/engine.h"

enum { TOKENS = 72 /* more than a page has */, MOST_LAYERS = 4 };

typedef struct opened {
    umbra_memory_file file;
    umbra_model *model;
    umbra_engine *engine;
} opened;

/* What an evaluation of TOKENS tokens gives. */
typedef struct answer {
    float logits[TOKENS][MAKE_TOKENS];
    float state[TOKENS][MAKE_HIDDEN];                /* of layer MAKE_LAYERS - 1 */
    int32_t experts[MOST_LAYERS][TOKENS][MAKE_USED]; /* -1: the layer has none */
    float weights[MOST_LAYERS][TOKENS][MAKE_USED];
} answer;

/* Opens what was built; releases the builder. */
opened open_built(umbra_builder *b, const umbra_engine_options *options);
opened open_it(const make_layout *layout, const make_key *keys, const make_tensor *tensors,
               const umbra_engine_options *options);
void close_it(opened *o);

/* The fixed row of tokens, each wanting logits. */
umbra_token token_at(int position, int sequence);
/* changed: the position of a token to be another one, or -1. The answer is to be freed. */
answer *evaluate(const opened *o, int changed);
answer *answer_of(const make_layout *layout, const make_key *keys, const make_tensor *tensors,
                  const umbra_engine_options *options);
/* Of the logits. */
double largest_difference(const answer *a, const answer *b);

#endif
