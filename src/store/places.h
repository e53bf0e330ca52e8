/* Slices that have places of their own in the caller's address space (umbra_store_options.places).
 *
 * A place is congruent to its slice's offset modulo the page, so that whole pages of the file can
 * be read to where they belong. A slice's span is what is read for it: its bytes widened to whole
 * pages where the page at its edge belongs to the neighbouring expert besides, narrowed where the
 * page holds foreign bytes. Those pages stay what they were, a mapping of the file; all others are
 * the store's own memory. A page at an edge is in memory while either neighbour is, and counts for
 * both. */
#ifndef UMBRA_STORE_PLACES_H
#define UMBRA_STORE_PLACES_H

#include <umbra/store.h>

#include "store/io/io.h"

typedef struct umbra_places {
    char **at;       /* (n_layers, n_experts, UMBRA_STORE_SLICES); NULL: the store has an arena */
    uint64_t page;   /* bytes */
    int layers_done; /* whose pages are the store's, if need be in part */
} umbra_places;

struct umbra_store;

/* Checks and copies the places. *slot_bytes: of the widest expert. */
int umbra_places_take(struct umbra_store *s, void *const *places, uint64_t *slot_bytes,
                      umbra_error *err);
/* Makes the pages the store's: empty memory of its own. */
int umbra_places_map(struct umbra_store *s, umbra_error *err);
/* Turns them back into mappings of the files, for reading. */
void umbra_places_unmap(struct umbra_store *s);

/* What a slice (one of the store's) takes in memory, edges included. */
uint64_t umbra_places_bytes(const struct umbra_store *s, const umbra_slice *slice);
/* The request that reads it to its place, but for edges that are there already. */
umbra_io_request umbra_places_request(const struct umbra_store *s, const umbra_slice *slice);
/* Lengthens a request by a slice that goes on where it ends. False if it does not fit on. */
bool umbra_places_extend(const struct umbra_store *s, umbra_io_request *request,
                         const umbra_slice *next);
/* Gives back the pages of an expert that has left the cache, but for those that a neighbour still
 * needs. Called with the lock held. */
void umbra_places_drop(struct umbra_store *s, int layer, int expert);
/* Copies what a simulated disk delivered, which leaves buffers alone, to its place. */
void umbra_places_copy(struct umbra_store *s, const umbra_slice *slice);

#endif
