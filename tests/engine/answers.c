/* Opens small models and evaluates a fixed row of tokens with them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"

opened open_built(umbra_builder *b, const umbra_engine_options *options)
{
    opened o;
    umbra_error err = {0};
    umbra_memory_file_init(&o.file);
    umbra_memory_file_set(&o.file, b->bytes, b->count, b->count);
    umbra_builder_release(b);
    if (umbra_model_open(&o.model, o.file.path, &err) != 0 ||
        umbra_engine_open(&o.engine, o.model, options, &err) != 0)
        fail_msg("%s", err.message);
    return o;
}

opened open_it(const make_layout *layout, const make_key *keys, const make_tensor *tensors,
               const umbra_engine_options *options)
{
    umbra_builder b;
    make_build(&b, layout, keys, tensors, NULL);
    return open_built(&b, options);
}

void close_it(opened *o)
{
    umbra_engine_close(&o->engine);
    umbra_model_close(&o->model);
    umbra_memory_file_release(&o->file);
}

static int take_logits(void *user, int index, const float *logits)
{
    answer *a = user;
    memcpy(a->logits[index], logits, sizeof a->logits[index]);
    return 0;
}

static int take_state(void *user, const umbra_rows *rows)
{
    answer *a = user;
    if (rows->layer == MAKE_LAYERS - 1)
        memcpy(a->state[rows->first], rows->x, (size_t)rows->n * sizeof a->state[0]);
    return 0;
}

static int take_routing(void *user, const umbra_rows *rows)
{
    answer *a = user;
    size_t n = (size_t)rows->n;
    memcpy(a->experts[rows->layer][rows->first], rows->experts, n * sizeof a->experts[0][0]);
    memcpy(a->weights[rows->layer][rows->first], rows->weights, n * sizeof a->weights[0][0]);
    return 0;
}

umbra_token token_at(int position, int sequence)
{
    int32_t id = position == 0 ? 256 : (position * 37 + 11) % 250;
    return (umbra_token){id, sequence, true};
}

answer *evaluate(const opened *o, int changed)
{
    answer *a = calloc(1, sizeof *a);
    memset(a->experts, 0xff, sizeof a->experts);
    umbra_token tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        tokens[i] = token_at(i, 0);
        tokens[i].id = i == changed ? 255 : tokens[i].id;
    }
    const umbra_tap tap = {
        .user = a,
        .logits = take_logits,
        .at = {[UMBRA_TAP_HIDDEN] = take_state, [UMBRA_TAP_ROUTED] = take_routing}};
    umbra_error err = {0};
    if (umbra_engine_eval(o->engine, tokens, TOKENS, &tap, &err) != 0)
        fail_msg("%s", err.message);
    return a;
}

answer *answer_of(const make_layout *layout, const make_key *keys, const make_tensor *tensors,
                  const umbra_engine_options *options)
{
    opened o = open_it(layout, keys, tensors, options);
    answer *a = evaluate(&o, -1);
    close_it(&o);
    return a;
}

double largest_difference(const answer *a, const answer *b)
{
    double largest = 0;
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < MAKE_TOKENS; i++)
            largest = fmax(largest, fabs((double)a->logits[t][i] - (double)b->logits[t][i]));
    return largest;
}
