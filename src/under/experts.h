/* The experts of a model file, whatever its layout: GGUF files name them all alike. */
#ifndef UMBRA_UNDER_EXPERTS_H
#define UMBRA_UNDER_EXPERTS_H

#include <stdbool.h>

#include <umbra/store.h>

#include "gguf/gguf.h"
#include "under/maps.h"

/* A tensor that holds one matrix of all experts of a layer, one after the other. */
typedef struct umbra_stacked {
    int layer, which;
    int experts;
    int file;
    uint64_t offset, bytes;
    char *at; /* where the host looks for it; NULL: not known yet */
    char name[64];
} umbra_stacked;

typedef struct umbra_experts {
    char **paths; /* (n_paths) of the files */
    int n_paths;
    int layers; /* numbers of layers, with and without experts */
    int experts;
    int used;               /* per token, as the file says it; 0: it does not */
    int hidden;             /* width of the states that routers look at; 0: not known */
    umbra_stacked *stacked; /* (n) */
    int n;
    uint64_t expert_bytes, other_bytes; /* of all tensors */
    umbra_gguf *gguf;
} umbra_experts;

/* Opens a file and its shards and lists its experts; one without any has n 0 and is no error. On
 * failure nothing is left behind. */
int umbra_experts_open(umbra_experts *e, const char *path, umbra_error *err);
void umbra_experts_close(umbra_experts *e);
/* Finds every tensor in the mappings, and puts them in the order of their places.
 * Layers that the host did not load are left out; UMBRA_E_UNSUPPORTED: that is all of them. */
int umbra_experts_locate(umbra_experts *e, const umbra_maps *maps, umbra_error *err);
/* Slices and places for the store: (layers, experts, UMBRA_STORE_SLICES) each. */
void umbra_experts_slices(const umbra_experts *e, umbra_slice *slices, void **places);
/* The tensor that begins there, or NULL. For located ones. */
const umbra_stacked *umbra_experts_at(const umbra_experts *e, const void *data);
/* How many experts a layer has; 0: none. */
int umbra_experts_of(const umbra_experts *e, int layer);

#endif
