/* The parts of the trace layer among themselves: tensors.c numbers the tensors of a shard,
 * convert.c changes number formats, manifest_*.c turn the manifest into a structure and back,
 * collection.c compares how traces were made, folder.c knows the names of the files, writer.c and
 * shard.c write, copy.c moves shards, reader.c opens for reading, rows.c reads. */
#ifndef UMBRA_LAB_TRACE_INTERNAL_H
#define UMBRA_LAB_TRACE_INTERNAL_H

/* Compiled in: the streaming state may only be part of a structure if its size cannot change with
 * the library that happens to be installed. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "safetensors/safetensors.h"
#include "lab/trace/trace.h"

#define UMBRA_TRACE_MANIFEST "manifest.json"
#define UMBRA_TRACE_GATES    "gates.safetensors"

enum {
    /* Shapes beyond these are no model's; they keep products small and one row in a piece. */
    UMBRA_TRACE_LAYERS_MAX = 4096,
    UMBRA_TRACE_HIDDEN_MAX = 32768,
    UMBRA_TRACE_EXPERTS_MAX = 65536, /* ids are U16 */
    UMBRA_TRACE_USED_MAX = 1024,
    UMBRA_TRACE_SHARDS_MAX = 100000, /* five digits */
    /* The tree of a hostile manifest takes some 40 times its bytes. */
    UMBRA_TRACE_MANIFEST_MAX = 32 << 20,
    UMBRA_TRACE_NAME_CHARS = 40,   /* of a tensor or file, with the NUL */
    UMBRA_TRACE_HEX_CHARS = 17,    /* 64 bits in hex and a NUL */
    UMBRA_TRACE_PIECE = 64 << 10,  /* bytes converted or read at once: at least one row */
    UMBRA_TRACE_PIECE_ROWS = 1024, /* the most rows in a piece */
};

/* ---- tensors.c: the tensors of a shard ---- */

/* Tensor 0 is "tokens"; a layer with experts has these, one after the other. INPUT and HIDDEN
 * equal umbra_trace_state; the scales are there for I8 only. */
typedef enum umbra_trace_part {
    UMBRA_TRACE_PART_INPUT,
    UMBRA_TRACE_PART_HIDDEN,
    UMBRA_TRACE_PART_EXPERTS,
    UMBRA_TRACE_PART_WEIGHTS,
    UMBRA_TRACE_PART_INPUT_SCALE,
    UMBRA_TRACE_PART_HIDDEN_SCALE,
    UMBRA_TRACE_PARTS
} umbra_trace_part;

/* Which layers have experts. */
typedef struct umbra_trace_layers {
    int *place; /* (layers) number among the layers with experts, or -1 */
    int *layer; /* (moe_layers) the layer of that number */
    int moe_layers;
} umbra_trace_layers;

/* present (layers): which layers have experts; at least one. */
int umbra_trace_layers_make(umbra_trace_layers *layers, const umbra_trace_info *info,
                            const bool *present, umbra_error *err);
void umbra_trace_layers_release(umbra_trace_layers *layers);

static inline int umbra_trace_parts(const umbra_trace_info *info)
{
    return info->int8 ? UMBRA_TRACE_PARTS : UMBRA_TRACE_PART_INPUT_SCALE;
}
/* Tensors of a shard, and the number of one of them. */
static inline int umbra_trace_tensors(const umbra_trace_info *info,
                                      const umbra_trace_layers *layers)
{
    return 1 + layers->moe_layers * umbra_trace_parts(info);
}
static inline int umbra_trace_tensor_number(const umbra_trace_info *info, int place,
                                            umbra_trace_part part)
{
    return 1 + place * umbra_trace_parts(info) + (int)part;
}

typedef struct umbra_trace_name {
    char text[UMBRA_TRACE_NAME_CHARS];
} umbra_trace_name;

/* Name of tensor i and, unless t is NULL, its dtype and shape (t->name is not set). */
umbra_trace_name umbra_trace_tensor(const umbra_trace_info *info, const umbra_trace_layers *layers,
                                    int i, uint64_t tokens, uint64_t rows,
                                    umbra_safetensors_tensor *t);
umbra_trace_name umbra_trace_gate_name(int layer);

/* Rows kept of the first n tokens of a document. */
static inline int umbra_trace_rows(int n, int stride)
{
    return n / stride + (n % stride != 0);
}

/* ---- convert.c ---- */

/* Index of the first value that is not finite or that BF16 would round to infinity, or n. */
size_t umbra_trace_first_bad(const float *x, size_t n);
/* The values must be good by the above. */
void umbra_trace_to_bf16(const float *x, size_t n, uint16_t *out);
/* Returns the scale: largest |x| / 127; q = x / scale, nearest even. */
float umbra_trace_to_i8(const float *x, size_t n, int8_t *out);
/* False if a value is or becomes infinite or NaN. */
bool umbra_trace_to_f16(const float *x, size_t n, uint16_t *out);
bool umbra_trace_from_bf16(const uint16_t *x, size_t n, float *out);
bool umbra_trace_from_f16(const uint16_t *x, size_t n, float *out);
/* False if the scale is negative or not finite or a value is -128, which is never written. */
bool umbra_trace_from_i8(const int8_t *x, size_t n, float scale, float *out);

/* ---- the manifest ---- */

typedef struct umbra_trace_shard {
    int tokens, rows;
    int first_document, documents;
    uint64_t *checksums; /* (tensors) */
} umbra_trace_shard;

typedef struct umbra_trace_manifest {
    umbra_trace_info info; /* its collection points to the one below */
    char *collection;      /* JSON text of an object, compact */
    umbra_trace_layers layers;
    uint64_t *gates; /* (moe_layers) checksums */
    umbra_trace_shard *shards;
    int n_shards, shards_room;
    umbra_trace_document *documents; /* in the order of shards and tokens */
    int n_documents, documents_room;
    uint64_t tokens; /* of all shards */
    uint64_t bytes;  /* of the file, as last read or written */
} umbra_trace_manifest;

void umbra_trace_manifest_release(umbra_trace_manifest *m);

/* manifest_read.c: reads and checks it alone, without the files that it speaks of. m is zeroed
 * before; on failure it is released. */
int umbra_trace_manifest_read(umbra_trace_manifest *m, const char *path, umbra_error *err);
/* Checks numbers and strings of an info; status: of the failure. path: for the message. */
int umbra_trace_check_info(const umbra_trace_info *info, const char *path, int status,
                           umbra_error *err);
/* At most room - 1 bytes of UTF-8 without control characters? text may lack its NUL. */
bool umbra_trace_is_text(const char *text, size_t room);
/* collection.c. A tree is freed with json_decref. */
struct json_t;
int umbra_trace_json_parse(struct json_t **out, const char *text, size_t bytes, const char *path,
                           umbra_error *err);
/* Compact text of a tree; free with umbra_free. */
int umbra_trace_json_text(char **out, const struct json_t *value, umbra_error *err);
/* The collection of an info (NULL is the empty object) in compact form, checked. */
int umbra_trace_collection(char **out, const char *text, const char *path, umbra_error *err);
/* Writes to text (room), which is cut if too long, the fields in which two infos differ, each with
 * its value `now` and the one it had `before`; "" if there is none. */
int umbra_trace_info_difference(const umbra_trace_info *now, const umbra_trace_info *before,
                                char *text, size_t room, umbra_error *err);

/* manifest_write.c: replaces folder/manifest.json. *replaced: whether the new one has the name, so
 * that on failure only its durability is in doubt. */
int umbra_trace_manifest_write(umbra_trace_manifest *m, const char *folder, bool *replaced,
                               umbra_error *err);
/* Bytes that a shard adds to the manifest at most. */
uint64_t umbra_trace_manifest_growth(const umbra_trace_manifest *m,
                                     const umbra_trace_document *documents, int n);

void umbra_trace_hex(uint64_t value, char text[UMBRA_TRACE_HEX_CHARS]);

/* ---- folder.c ---- */

/* "folder/name"; NULL without memory. Free with umbra_free. */
char *umbra_trace_path(const char *folder, const char *name);
umbra_trace_name umbra_trace_shard_name(int shard);

/* Opens the folder to write in it, creating it if it is not there (*made): the descriptor, locked
 * against a second writer. */
int umbra_trace_folder_open(int *out, bool *made, const char *folder, umbra_error *err);
/* Does the folder hold a manifest? Without `resume`, what belongs to a trace is refused. */
int umbra_trace_folder_check(const char *folder, bool resume, bool *has_manifest, umbra_error *err);
/* Removes what an interrupted run left of the shard after the `shards` listed ones (and of the
 * gates, if there is no listed shard). A later shard is refused: a lost manifest must not cost the
 * shards too. */
int umbra_trace_folder_sweep(const char *folder, int shards, umbra_error *err);

/* ---- reader.c ---- */

/* Moves the manifest out of an open trace, which can then only be closed. */
void umbra_trace_take_manifest(umbra_trace *trace, umbra_trace_manifest *out);
/* Hashes `bytes` at `offset` of an open file into *out. */
int umbra_trace_hash_file(int fd, const char *path, uint64_t offset, uint64_t bytes, uint64_t *out,
                          umbra_error *err);

#endif
