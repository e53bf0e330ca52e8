/* Records what a host computes into a trace folder, from which shadow models are trained.
 *
 * A prompt that is computed at once, from its first position on, becomes a document and a shard.
 * The first one only shows which layers are computed for all of its tokens: llama.cpp computes the
 * last one for those whose logits are wanted, and that layer is left out. All functions are called
 * for the thread that computes; those that say so with the model's mutex held. */
#ifndef UMBRA_UNDER_RECORD_H
#define UMBRA_UNDER_RECORD_H

#include "lab/trace/trace.h"
#include "under/foreign.h"

struct umbra_under;
struct umbra_under_context;

/* Of a model. */
typedef struct umbra_under_record {
    char *folder; /* NULL: nothing is recorded */
    umbra_trace_writer *trace;
    bool *whole; /* (layers) computed for all tokens of a prompt */
    bool tried;  /* whole is known; trace is open, or cannot be opened */
    const struct umbra_under_context *owner; /* whose prompt it is; NULL: none is recorded */
    int layer;                               /* whose routing is not written yet; -1: none */
    bool weighed;                            /* its weights have come */
    int input_layer;                         /* whose input is in inputs; -1: none */
    int room;
    int32_t *tokens, *experts; /* (room), (room, used) */
    float *inputs, *states;    /* (room, hidden) */
    float *weights;            /* (room, used) */
    uint64_t recorded;         /* tokens */
} umbra_under_record;

/* Of a context: the inputs of the graph that is under way. */
typedef struct umbra_under_inputs {
    const umbra_foreign_tensor *tokens, *positions; /* NULL: not seen yet */
} umbra_under_inputs;

int umbra_under_record_init(struct umbra_under *u, const char *folder, umbra_error *err);
/* Ends the trace: finished shards stay. */
void umbra_under_record_free(struct umbra_under *u);

/* Whether the node is needed when it has been computed. */
bool umbra_under_record_wants(struct umbra_under_context *c, const umbra_foreign_tensor *t);
/* It has. */
void umbra_under_record_node(struct umbra_under_context *c, const umbra_foreign_tensor *t);
/* The experts of the context's layer are chosen. With the mutex held. */
void umbra_under_record_chosen(struct umbra_under_context *c, const umbra_foreign_tensor *ids,
                               const char *ids_data, const umbra_foreign_tensor *state);
/* The graph is at its end. With the mutex held. */
void umbra_under_record_leave(struct umbra_under_context *c);

#endif
