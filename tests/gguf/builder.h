/* Test support: builds GGUF files in memory, field by field, so that tests can make small models
 * and spoil any field of them.
 *
 *     umbra_builder b;
 *     umbra_builder_init(&b, 3);
 *     umbra_builder_string(&b, "general.architecture", "qwen3moe");
 *     umbra_builder_u32(&b, "general.alignment", 64);
 *     umbra_builder_tensor(&b, "output_norm.weight", UMBRA_F32, 1, (uint64_t[]){256}, weights);
 *     umbra_builder_finish(&b);          // now b.bytes, b.count are the file
 *     umbra_builder_write(&b, path);
 *     umbra_builder_release(&b);
 *
 * Nothing is checked: a wrong file is what many tests want. A failed allocation or write ends the
 * program, since no test could go on. */
#ifndef UMBRA_TESTS_GGUF_BUILDER_H
#define UMBRA_TESTS_GGUF_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "gguf/gguf.h"

typedef enum umbra_field_kind {
    UMBRA_FIELD_MAGIC,
    UMBRA_FIELD_VERSION,
    UMBRA_FIELD_COUNT,      /* of tensors, of pairs, of array elements */
    UMBRA_FIELD_LENGTH,     /* of a string or name */
    UMBRA_FIELD_NAME,       /* the bytes of a key or tensor name */
    UMBRA_FIELD_TYPE,       /* of a value or of array elements */
    UMBRA_FIELD_VALUE,      /* number, string bytes, or all elements of an array */
    UMBRA_FIELD_DIMENSIONS, /* their number */
    UMBRA_FIELD_DIMENSION,
    UMBRA_FIELD_DTYPE,
    UMBRA_FIELD_OFFSET,
    UMBRA_FIELD_PADDING, /* before the data, and after each tensor's */
    UMBRA_FIELD_DATA
} umbra_field_kind;

typedef struct umbra_field {
    umbra_field_kind kind;
    char owner[48]; /* the key or tensor it belongs to; "" for the file's first fields */
    size_t at;
    size_t bytes;
} umbra_field;

typedef struct umbra_builder_entry {
    char *name;
    uint32_t dtype;
    uint32_t dimensions;
    uint64_t shape[4];
    uint64_t bytes;
    void *data; /* NULL: zeros */
} umbra_builder_entry;

typedef struct umbra_builder {
    unsigned char *bytes;
    size_t count;
    size_t capacity;
    umbra_field *fields; /* in the file's order */
    size_t field_count;
    size_t field_capacity;
    umbra_builder_entry *tensors;
    size_t tensor_count;
    uint64_t pair_count;
    uint64_t alignment; /* 32; umbra_builder_u32 of general.alignment sets it */
    char owner[48];
} umbra_builder;

void umbra_builder_init(umbra_builder *b, uint32_t version);
void umbra_builder_release(umbra_builder *b);

/* Pairs; before umbra_builder_finish, in the order of the file. */
void umbra_builder_u32(umbra_builder *b, const char *key, uint32_t value);
void umbra_builder_f32(umbra_builder *b, const char *key, float value);
void umbra_builder_bool(umbra_builder *b, const char *key, bool value);
void umbra_builder_string(umbra_builder *b, const char *key, const char *value);
/* A number of any type; value points to one of that type's size. */
void umbra_builder_number(umbra_builder *b, const char *key, umbra_gguf_type type,
                          const void *value);
/* An array of numbers or bools of that type, or of strings. */
void umbra_builder_array(umbra_builder *b, const char *key, umbra_gguf_type type,
                         const void *values, uint64_t count);
void umbra_builder_strings(umbra_builder *b, const char *key, const char *const *values,
                           uint64_t count);

/* By hand: begins a pair (key and value type), then the value's fields. */
void umbra_builder_begin(umbra_builder *b, const char *key, uint32_t type);
void umbra_builder_begin_bytes(umbra_builder *b, const char *key, size_t key_bytes, uint32_t type);
void umbra_builder_put(umbra_builder *b, umbra_field_kind kind, const void *bytes, size_t count);
void umbra_builder_put_u32(umbra_builder *b, umbra_field_kind kind, uint32_t value);
void umbra_builder_put_u64(umbra_builder *b, umbra_field_kind kind, uint64_t value);
void umbra_builder_put_array(umbra_builder *b, uint32_t element_type, uint64_t count);

/* A tensor, whose data (copied; NULL for zeros) is as long as shape and dtype say. */
void umbra_builder_tensor(umbra_builder *b, const char *name, uint32_t dtype, uint32_t dimensions,
                          const uint64_t *shape, const void *data);

/* Writes the tensors' headers, the data and the two counts. */
void umbra_builder_finish(umbra_builder *b);

/* The n-th field (from 0) of this kind and owner; the test program ends if there is none. */
const umbra_field *umbra_builder_field(const umbra_builder *b, umbra_field_kind kind,
                                       const char *owner, size_t n);
/* Overwrites the first bytes of that field. */
void umbra_builder_patch(umbra_builder *b, umbra_field_kind kind, const char *owner, size_t n,
                         const void *bytes, size_t count);
void umbra_builder_patch_u32(umbra_builder *b, umbra_field_kind kind, const char *owner, size_t n,
                             uint32_t value);
void umbra_builder_patch_u64(umbra_builder *b, umbra_field_kind kind, const char *owner, size_t n,
                             uint64_t value);

void umbra_builder_write(const umbra_builder *b, const char *path);

/* A file that exists only in memory and is opened by its path under /proc. */
typedef struct umbra_memory_file {
    int fd;
    char path[32];
} umbra_memory_file;

void umbra_memory_file_init(umbra_memory_file *f);
/* Makes it hold these bytes, and zeros up to `size` (a hole). */
void umbra_memory_file_set(umbra_memory_file *f, const void *bytes, size_t count, uint64_t size);
void umbra_memory_file_release(umbra_memory_file *f);

#endif
