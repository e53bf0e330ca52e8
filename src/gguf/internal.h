/* The parts of the GGUF reader among themselves: reader.c turns bytes into fields, open.c fields
 * into tables, names.c finds names in them, access.c answers questions about the result; foreign.c
 * knows files of other kinds.
 *
 * The buffer holds the file from byte 0, so an offset in the file is an offset in the buffer.
 * It moves while it grows: until the file is read, places are kept as offsets. */
#ifndef UMBRA_GGUF_INTERNAL_H
#define UMBRA_GGUF_INTERNAL_H

#include <stdarg.h>
#include <string.h>

#include "gguf/gguf.h"

enum { UMBRA_GGUF_TYPES = UMBRA_GGUF_F64 + 1 };

typedef struct umbra_gguf_pair {
    uint32_t key_at; /* offset of the key's first byte */
    uint32_t key_bytes;
    uint32_t type;     /* umbra_gguf_type */
    uint32_t value_at; /* offset of the value */
} umbra_gguf_pair;

typedef struct umbra_gguf_entry {
    umbra_gguf_tensor tensor; /* name.data is set when the buffer no longer moves */
    uint32_t name_at;         /* offset of the name's first byte */
} umbra_gguf_entry;

typedef enum umbra_gguf_table { UMBRA_GGUF_PAIRS, UMBRA_GGUF_TENSORS } umbra_gguf_table;

/* Open addressing with linear probing; a slot holds an item's number + 1, 0 is free. */
typedef struct umbra_gguf_index {
    uint32_t *slots;
    uint32_t slot_count; /* a power of two, at least twice the items; 0 before building */
} umbra_gguf_index;

struct umbra_gguf {
    char *path;
    int fd;
    uint32_t version;
    uint64_t file_bytes;
    char *data; /* the file's first data_bytes */
    uint64_t data_bytes;
    umbra_gguf_pair *pairs;
    uint64_t pair_count;
    umbra_gguf_entry *entries;
    uint64_t tensor_count;
    umbra_gguf_index index[2]; /* by umbra_gguf_table */
    uint64_t hash_seed;
    umbra_gguf **files; /* (file_count) all shards, this handle first; NULL: the only file */
    uint32_t file_count;
};

/* What a message is about: the item under way, by its name once that is known. */
typedef struct umbra_gguf_subject {
    const char *kind; /* "key", "tensor", or NULL for the file itself */
    uint64_t number;  /* from 0 */
    uint32_t name_at;
    uint32_t name_bytes; /* 0: not known yet */
} umbra_gguf_subject;

typedef struct umbra_gguf_reader {
    umbra_gguf *gguf;
    uint64_t at; /* offset of the next byte to read */
    umbra_gguf_subject subject;
    umbra_error *err;
} umbra_gguf_reader;

static inline const umbra_gguf *umbra_gguf_file_at(const umbra_gguf *gguf, uint32_t file)
{
    return gguf->files ? gguf->files[file] : gguf;
}

static inline uint32_t umbra_gguf_load_u32(const umbra_gguf *gguf, uint64_t at)
{
    uint32_t value;
    memcpy(&value, gguf->data + at, sizeof value);
    return value;
}

static inline uint64_t umbra_gguf_load_u64(const umbra_gguf *gguf, uint64_t at)
{
    uint64_t value;
    memcpy(&value, gguf->data + at, sizeof value);
    return value;
}

/* reader.c */

/* Least bytes of a value of a known type: exact for numbers, the fixed part of others. */
uint64_t umbra_gguf_type_bytes(uint32_t type);
const char *umbra_gguf_type_name(uint32_t type);

/* "PATH: tensor "NAME": message (at byte N)"; both return status. */
__attribute__((format(printf, 6, 0))) int umbra_gguf_vfail(const umbra_gguf *gguf,
                                                           const umbra_gguf_subject *subject,
                                                           umbra_error *err, int status,
                                                           uint64_t at, const char *format,
                                                           va_list args);
__attribute__((format(printf, 4, 5))) int umbra_gguf_fail(const umbra_gguf_reader *r, int status,
                                                          uint64_t at, const char *format, ...);

/* Makes the next `bytes` bytes present in the buffer, without taking them. */
int umbra_gguf_need(umbra_gguf_reader *r, uint64_t bytes, const char *what);
int umbra_gguf_read_u32(umbra_gguf_reader *r, uint32_t *out, const char *what);
int umbra_gguf_read_u64(umbra_gguf_reader *r, uint64_t *out, const char *what);
/* Reads the name of the subject into the subject. */
int umbra_gguf_read_name(umbra_gguf_reader *r);
/* Checks and passes over a value of this type. */
int umbra_gguf_skip_value(umbra_gguf_reader *r, uint32_t type);
/* Fails unless `count` things of at least `least` bytes each can follow; at: the count's offset. */
int umbra_gguf_check_count(const umbra_gguf_reader *r, uint64_t at, uint64_t count, uint64_t least,
                           const char *things);

/* names.c */

umbra_string umbra_gguf_name(const umbra_gguf *gguf, umbra_gguf_table table, uint64_t i);
/* Builds the index of a complete table. UMBRA_OK; UMBRA_E_NOMEM; or UMBRA_E_FORMAT with the
 * later (second) and the earlier (first) item of one name. */
int umbra_gguf_index_build(umbra_gguf *gguf, umbra_gguf_table table, uint64_t *second,
                           uint64_t *first);
/* True with the item's number if the name is in the table. */
bool umbra_gguf_index_find(const umbra_gguf *gguf, umbra_gguf_table table, umbra_string name,
                           uint64_t *out);

/* What a file is that begins so, and what to do about it; NULL if that is not known. */
const char *umbra_gguf_name_foreign(const char *data, size_t n);

#endif
