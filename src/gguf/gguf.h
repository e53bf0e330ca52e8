/* GGUF model files, read in place.
 *
 * Format, all little-endian (v2 and v3 are the same on such machines):
 *   0   u32  magic "GGUF"
 *   4   u32  version (2 or 3)
 *   8   u64  number of tensors
 *  16   u64  number of key/value pairs
 *  24   the pairs: string key; u32 value type; value
 *         string = u64 length, bytes (no NUL); array = u32 element type, u64 count, elements
 *       the tensors: string name; u32 dimensions (1..4); u64 each, fastest first; u32 dtype;
 *         u64 offset, relative to the data and a multiple of the alignment
 *       padding to `general.alignment` (32 if absent), then the data
 *
 * Only the part before the data is read. The handle is immutable after opening, so any number of
 * threads may use it. Strings point into the handle and are NOT NUL-terminated.
 * Every malformed file is refused by umbra_gguf_open with UMBRA_E_FORMAT, path, what and byte
 * offset; no access function can fail on the contents afterwards. UMBRA_E_UNSUPPORTED is for what
 * may be sound but is not read: other versions, big-endian files, number formats that
 * base/dtype.h does not list, and the limits: a header of 256 MiB, 1,048,576 keys and as many
 * tensors. Names are 1 to 65535 bytes without NUL, arrays are nested at most 4 deep, the
 * alignment is a power of two from 8 to 1 MiB. */
#ifndef UMBRA_GGUF_GGUF_H
#define UMBRA_GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

#include "base/dtype.h"

typedef struct umbra_gguf umbra_gguf;

typedef struct umbra_string {
    const char *data; /* not NUL-terminated, may hold any bytes */
    size_t bytes;
} umbra_string;

typedef enum umbra_gguf_type {
    UMBRA_GGUF_U8,
    UMBRA_GGUF_I8,
    UMBRA_GGUF_U16,
    UMBRA_GGUF_I16,
    UMBRA_GGUF_U32,
    UMBRA_GGUF_I32,
    UMBRA_GGUF_F32,
    UMBRA_GGUF_BOOL,
    UMBRA_GGUF_STRING,
    UMBRA_GGUF_ARRAY,
    UMBRA_GGUF_U64,
    UMBRA_GGUF_I64,
    UMBRA_GGUF_F64
} umbra_gguf_type;

typedef struct umbra_gguf_tensor {
    umbra_string name;
    uint32_t dtype;      /* a listed id of base/dtype.h */
    uint32_t dimensions; /* 1..4 */
    uint64_t shape[4];   /* fastest first; 1 beyond `dimensions` */
    uint64_t offset;     /* absolute, in its file */
    uint64_t bytes;
    uint32_t file; /* 0; the shard's number where the model is in several files */
} umbra_gguf_tensor;

/* Opens, reads and checks everything before the data. On failure *out is NULL. */
int umbra_gguf_open(umbra_gguf **out, const char *path, umbra_error *err);
/* The same, and where the file is a shard (NAME-00001-of-00003.gguf, any of them) all the others
 * beside it: one handle with the keys of the first and the tensors of all. UMBRA_E_MISMATCH names
 * the shard that does not belong to the others. */
int umbra_gguf_open_all(umbra_gguf **out, const char *path, umbra_error *err);
void umbra_gguf_close(umbra_gguf **gguf);

const char *umbra_gguf_path(const umbra_gguf *gguf); /* of the first file */
int umbra_gguf_fd(const umbra_gguf *gguf); /* of the first file; for reading, owned by the handle */
uint32_t umbra_gguf_file_count(const umbra_gguf *gguf);
/* file < file_count */
const char *umbra_gguf_file_path(const umbra_gguf *gguf, uint32_t file);
uint64_t umbra_gguf_file_bytes(const umbra_gguf *gguf);   /* of all files */
uint64_t umbra_gguf_header_bytes(const umbra_gguf *gguf); /* bytes held in memory by the handle */
/* All bytes of a file before its data; file < file_count. */
umbra_string umbra_gguf_header(const umbra_gguf *gguf, uint32_t file);
uint32_t umbra_gguf_version(const umbra_gguf *gguf);

uint64_t umbra_gguf_tensor_count(const umbra_gguf *gguf);
/* i < tensor_count; in the order of the files. */
const umbra_gguf_tensor *umbra_gguf_tensor_at(const umbra_gguf *gguf, uint64_t i);
/* By name (a hash look-up), or NULL. */
const umbra_gguf_tensor *umbra_gguf_tensor_find(const umbra_gguf *gguf, const char *name);
/* Reads `bytes` bytes of a tensor's data, beginning `from` bytes into it. */
int umbra_gguf_read_tensor(const umbra_gguf *gguf, const umbra_gguf_tensor *tensor, uint64_t from,
                           void *out, size_t bytes, umbra_error *err);

/* Metadata. Each getter: 1 if the key is there with a fitting type and range, 0 if there is no
 * such key (out untouched), negative (err filled with path, key and the byte offset of the value)
 * if its type or value does not fit. Integer getters take any integer type whose value fits; the
 * f32 getter takes F32 and F64, finite. */
int umbra_gguf_get_u32(const umbra_gguf *gguf, const char *key, uint32_t *out, umbra_error *err);
int umbra_gguf_get_f32(const umbra_gguf *gguf, const char *key, float *out, umbra_error *err);
int umbra_gguf_get_bool(const umbra_gguf *gguf, const char *key, bool *out, umbra_error *err);
int umbra_gguf_get_string(const umbra_gguf *gguf, const char *key, umbra_string *out,
                          umbra_error *err);

/* An array of strings or of integers (any integer type), read from the front. */
typedef struct umbra_gguf_array {
    umbra_gguf_type type; /* of the elements */
    uint64_t count;
    uint64_t index;  /* elements already taken */
    uint64_t offset; /* absolute byte offset of the next element in the file */
    const umbra_gguf *gguf;
} umbra_gguf_array;

/* As the getters above; element: the type wanted, UMBRA_GGUF_I32 stands for any integer type and
 * UMBRA_GGUF_F32 for F32 or F64. */
int umbra_gguf_get_array(const umbra_gguf *gguf, const char *key, umbra_gguf_type element,
                         umbra_gguf_array *out, umbra_error *err);
/* The next element; false at the end. Integers beyond int64 come out as INT64_MAX. */
bool umbra_gguf_next_string(umbra_gguf_array *array, umbra_string *out);
bool umbra_gguf_next_int(umbra_gguf_array *array, int64_t *out);
bool umbra_gguf_next_float(umbra_gguf_array *array, double *out);

/* Goes over all keys: type of pair i < pair_count and its key, for inspection. */
uint64_t umbra_gguf_pair_count(const umbra_gguf *gguf);
umbra_string umbra_gguf_pair_key(const umbra_gguf *gguf, uint64_t i);
umbra_gguf_type umbra_gguf_pair_type(const umbra_gguf *gguf, uint64_t i);

#endif
