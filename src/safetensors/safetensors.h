/* Safetensors files: named tensors behind a JSON header, read in place, written whole or not at
 * all.
 *
 * Layout, little-endian:
 *   0      u64  n, bytes of the header
 *   8      the header, JSON that begins with '{' and may end in spaces:
 *            {"__metadata__": {"key": "value", ...},
 *             "name": {"dtype": "F32", "shape": [rows, ..., columns], "data_offsets": [b, e]}, ...}
 *   8 + n  the data; a tensor is bytes b to e of it, last dimension fastest. The tensors follow
 *          each other without gaps and end with the file.
 *
 * Files that umbra writes have their data at a multiple of 64. */
#ifndef UMBRA_SAFETENSORS_SAFETENSORS_H
#define UMBRA_SAFETENSORS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

enum { UMBRA_SAFETENSORS_DIMENSIONS = 8 };

/* X(NAME, bytes) */
#define UMBRA_SAFETENSORS_DTYPE_MAP(X)                                                             \
    X(F32, 4)                                                                                      \
    X(F16, 2)                                                                                      \
    X(BF16, 2)                                                                                     \
    X(F64, 8)                                                                                      \
    X(I8, 1)                                                                                       \
    X(U8, 1)                                                                                       \
    X(I16, 2)                                                                                      \
    X(U16, 2)                                                                                      \
    X(I32, 4)                                                                                      \
    X(I64, 8)

typedef enum umbra_safetensors_dtype {
#define UMBRA_SAFETENSORS_ENUM(name, bytes) UMBRA_ST_##name,
    UMBRA_SAFETENSORS_DTYPE_MAP(UMBRA_SAFETENSORS_ENUM)
#undef UMBRA_SAFETENSORS_ENUM
        UMBRA_SAFETENSORS_DTYPE_COUNT
} umbra_safetensors_dtype;

typedef struct umbra_safetensors_tensor {
    const char *name; /* UTF-8, NUL-terminated */
    umbra_safetensors_dtype dtype;
    uint32_t dimensions;                          /* 0 (one value) to 8 */
    uint64_t shape[UMBRA_SAFETENSORS_DIMENSIONS]; /* slowest first; a row is what shape[0] counts */
    uint64_t offset;                              /* absolute, in the file */
    uint64_t bytes;
} umbra_safetensors_tensor;

typedef struct umbra_safetensors_pair {
    const char *key, *value; /* UTF-8, NUL-terminated */
} umbra_safetensors_pair;

/* "F32", or NULL for a value that is not in the list. */
const char *umbra_safetensors_dtype_name(umbra_safetensors_dtype dtype);
/* Bytes of one value, 0 for a value that is not in the list. */
uint32_t umbra_safetensors_dtype_bytes(umbra_safetensors_dtype dtype);

/* --- reading ---
 * The handle is immutable after opening: any number of threads may use it. Every malformed file
 * is refused by umbra_safetensors_open with UMBRA_E_FORMAT (UMBRA_E_UNSUPPORTED for a dtype that
 * is not in the list), path, what and byte offset. Memory: the header, of at most 64 MiB, and a
 * few times as much at most for what it says; the data stays in the file. */

typedef struct umbra_safetensors umbra_safetensors;

/* On failure *out is NULL. */
int umbra_safetensors_open(umbra_safetensors **out, const char *path, umbra_error *err);
/* Accepts a pointer to NULL; nulls it. Names and tensors of the handle end with it. */
void umbra_safetensors_close(umbra_safetensors **file);

const char *umbra_safetensors_path(const umbra_safetensors *file);
uint64_t umbra_safetensors_bytes(const umbra_safetensors *file); /* memory the handle holds */

size_t umbra_safetensors_count(const umbra_safetensors *file);
/* i < count; in the order of the data. */
const umbra_safetensors_tensor *umbra_safetensors_at(const umbra_safetensors *file, size_t i);
/* By name, or NULL. */
const umbra_safetensors_tensor *umbra_safetensors_find(const umbra_safetensors *file,
                                                       const char *name);

/* Value of a key of "__metadata__", or NULL. */
const char *umbra_safetensors_metadata(const umbra_safetensors *file, const char *key);
size_t umbra_safetensors_metadata_count(const umbra_safetensors *file);
/* i < metadata_count; in the order of the keys' bytes. */
umbra_safetensors_pair umbra_safetensors_metadata_at(const umbra_safetensors *file, size_t i);

/* Reads a whole tensor of this handle: tensor->bytes bytes. */
int umbra_safetensors_read(const umbra_safetensors *file, const umbra_safetensors_tensor *tensor,
                           void *buffer, umbra_error *err);
/* Reads rows first .. first + n - 1, n * (bytes / shape[0]) bytes. A tensor without dimensions is
 * one row. UMBRA_E_ARGUMENT if there are no such rows. */
int umbra_safetensors_read_rows(const umbra_safetensors *file,
                                const umbra_safetensors_tensor *tensor, uint64_t first, uint64_t n,
                                void *buffer, umbra_error *err);

/* --- writing ---
 * All tensors and metadata are declared first; then every byte of every tensor is written once, in
 * pieces of any size and order; then the file is finished. Until then it is PATH.part, with its
 * full size reserved where the file system can. One writer per path at a time: a PATH.part that
 * is there already is taken for the rest of an interrupted run and overwritten. */

typedef struct umbra_safetensors_writer umbra_safetensors_writer;

/* Name, dtype, dimensions and shape of each tensor count; offset and bytes are ignored. The data
 * will lie in the order of the list. Everything is copied. UMBRA_E_ARGUMENT for lists that no
 * reader would accept. On failure *out is NULL and there is no PATH.part. */
int umbra_safetensors_create(umbra_safetensors_writer **out, const char *path,
                             const umbra_safetensors_tensor *tensors, size_t n_tensors,
                             const umbra_safetensors_pair *metadata, size_t n_metadata,
                             umbra_error *err);

/* Writes a piece of tensor number `tensor` of the list, from byte `offset` of the tensor on. May be
 * called by several threads at once for different pieces. After a failure (a full disk, say) the
 * file can only be abandoned. */
int umbra_safetensors_write(umbra_safetensors_writer *writer, size_t tensor, uint64_t offset,
                            const void *data, uint64_t bytes, umbra_error *err);

/* Makes the file durable and gives it its name, replacing what had it. Frees the writer and nulls
 * the pointer in any case; on failure PATH.part is removed and PATH is as it was, unless the
 * message says that only its durability is in doubt. UMBRA_E_ARGUMENT if a tensor is not complete
 * or a piece was written twice. No write may be under way. */
int umbra_safetensors_finish(umbra_safetensors_writer **writer, umbra_error *err);

/* Removes PATH.part, frees, nulls. Accepts a pointer to NULL. No write may be under way. */
void umbra_safetensors_abandon(umbra_safetensors_writer **writer);

#endif
