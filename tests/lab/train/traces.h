/* Synthetic traces: a small make-believe model whose routing can be learnt.
 *
 * A state starts from a random token's embedding and moves from layer to layer by a fixed map, the
 * token before mixing in; each layer's experts are the best of a random gate on it. So the gate of
 * a later layer knows something, and the map, which training has to find, almost everything. */
#ifndef UMBRA_TESTS_LAB_TRAIN_TRACES_H
#define UMBRA_TESTS_LAB_TRAIN_TRACES_H

#include "lab/trace/trace.h"

enum { TOY_LAYERS = 5, TOY_HIDDEN = 16, TOY_EXPERTS = 8, TOY_USED = 2, TOY_VOCABULARY = 64 };

typedef struct toy {
    int documents, tokens; /* tokens: of the longest document */
    int stride;            /* 0: 1 */
    int hidden;            /* 0: TOY_HIDDEN */
    bool dense_first;      /* layer 0 has no experts */
    bool int8;
    const char *model_hash; /* NULL: "toy" */
    uint64_t seed;          /* of the documents; the model is always the same */
} toy;

/* Writes a trace folder with two shards (one, if there is but one document); fails the test if it
 * cannot. */
void toy_write(const char *folder, const toy *t);
/* Removes a folder and the files in it. */
void toy_remove(const char *folder);

#endif
