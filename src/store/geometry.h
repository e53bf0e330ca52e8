/* Where the slices of an expert lie in its slot, and how files want to be read. */
#ifndef UMBRA_STORE_GEOMETRY_H
#define UMBRA_STORE_GEOMETRY_H

#include <umbra/store.h>

#include "store/io/io.h"

/* A slot is one region per slice, in the order of the slices. Each region holds the aligned span of
 * the expert's slice and begins at a multiple of the alignment (at least 64, for the kernels'
 * loads). A slice here is one of an expert's, which follow each other in memory. */
typedef struct umbra_geometry {
    uint32_t alignment;  /* of file offsets and of lengths */
    uint64_t slot_bytes; /* of the largest expert */
} umbra_geometry;

/* A longer read would keep what has arrived from being computed with. */
enum { UMBRA_MERGED_BYTES = 256 << 10 };

void umbra_geometry_init(umbra_geometry *geometry, const umbra_slice *slices, int n_layers,
                         int n_experts, uint32_t alignment);

/* What an expert's regions take; 0: it has no slices. */
uint64_t umbra_geometry_bytes(const umbra_slice *slices, uint32_t alignment);

/* The request that reads a slice into the slot at `slot`. */
umbra_io_request umbra_geometry_request(const umbra_geometry *geometry, const umbra_slice *slice,
                                        int which, void *slot);
/* Lengthens a request by a slice that begins where the last one ends, with a slot of its own. False
 * if it does not fit on. Where the two share the file's last and first aligned piece, it is read
 * into the first of the slots only: umbra_geometry_share copies it, once it is there. */
bool umbra_geometry_extend(const umbra_geometry *geometry, umbra_io_request *request,
                           const umbra_slice *last, const umbra_slice *next, int which, void *slot);
void umbra_geometry_share(const umbra_geometry *geometry, const umbra_slice *last,
                          const void *last_slot, const umbra_slice *next, int which, void *slot);
/* Where the slice's data is then; NULL for an empty slice. */
const void *umbra_geometry_data(const umbra_geometry *geometry, const umbra_slice *slice, int which,
                                const void *slot);

/* Opens a file for the store's reads: with O_DIRECT unless `buffered` or the file system does not
 * do it. *alignment is 1 without O_DIRECT. */
int umbra_store_open_file(umbra_io_file *out, uint32_t *alignment, const char *path, bool buffered,
                          umbra_error *err);

#endif
