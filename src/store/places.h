/* Slices that have places of their own in the caller's address space (umbra_store_options.places).
 *
 * A place is congruent to its slice's offset modulo the page, so that whole pages of the file can
 * be read to where they belong. Experts whose slices lie side by side are a run. Its pages are the
 * store's own memory, but for those at its two ends that hold other bytes besides: these stay what
 * they were, mappings of the file. A slice's span is all pages of the run that it has bytes in. An
 * edge, a page that several experts have bytes in, is in memory while one of them is, and counts
 * for each of them. */
#ifndef UMBRA_STORE_PLACES_H
#define UMBRA_STORE_PLACES_H

#include <umbra/store.h>

#include "store/io/io.h"

/* Bytes of the file, whole pages; may be empty. */
typedef struct umbra_page_span {
    uint64_t begin, end;
} umbra_page_span;

typedef struct umbra_places {
    char **at;             /* (n_layers, n_experts, UMBRA_STORE_SLICES); NULL: the store has an
                              arena */
    umbra_page_span *span; /* (n_layers, n_experts, UMBRA_STORE_SLICES) */
    uint64_t page;         /* bytes */
    int layers_done;       /* whose pages are the store's, if need be in part */
    bool moves;            /* pages of who goes are handed to who comes */
} umbra_places;

struct umbra_store;

/* Checks and copies the places. */
int umbra_places_take(struct umbra_store *s, void *const *places, umbra_error *err);
void umbra_places_free(struct umbra_store *s);
/* Makes the pages the store's: empty memory of its own. */
int umbra_places_map(struct umbra_store *s, umbra_error *err);
/* Turns them back into mappings of the files, for reading. */
void umbra_places_unmap(struct umbra_store *s);

/* What a slice (one of the store's) takes in memory, edges included; 0: there is nothing to read,
 * since its pages stay mappings of the file. */
uint64_t umbra_places_bytes(const struct umbra_store *s, const umbra_slice *slice);
/* The same of all slices of an expert; at least a page, if it has any. */
uint64_t umbra_places_expert_bytes(const struct umbra_store *s, const umbra_slice *slices);
/* The request that reads it to its place, but for edges that are there already. */
umbra_io_request umbra_places_request(const struct umbra_store *s, const umbra_slice *slice);
/* Lengthens a request by the slice after its last one. False if it does not fit on. */
bool umbra_places_extend(const struct umbra_store *s, umbra_io_request *request,
                         const umbra_slice *next);
/* Gives back the pages of an expert that has left the cache, but for those that others still need.
 * Called with the lock held. */
void umbra_places_drop(struct umbra_store *s, int layer, int expert);
/* The same, but its pages go, with what they hold, to the place of another one that is about to be
 * read, as far as they fit: to make and clear new ones takes as long as to read them. */
void umbra_places_pass_on(struct umbra_store *s, int layer, int expert, int to_layer,
                          int to_expert);
/* Copies what a simulated disk delivered, which leaves buffers alone, to its place. */
void umbra_places_copy(struct umbra_store *s, const umbra_slice *slice);

#endif
