/* Writes GGUF files piece by piece, for the tools of this folder: the pairs, the tensor table,
 * then the data of each tensor in the table's order, never a whole tensor in memory.
 *
 *     gguf_writer w;
 *     gguf_writer_begin(&w, path, 3);            // writes PATH.part
 *     gguf_put_u32(&w, "general.alignment", 64); // pairs
 *     gguf_put_tensor(&w, "output_norm.weight", UMBRA_F32, 1, (uint64_t[]){256});
 *     gguf_writer_data(&w);                      // from here on data
 *     gguf_write(&w, bytes, count);              // all of a tensor, in any pieces
 *     gguf_end_tensor(&w);                       // checks its length
 *     gguf_writer_commit(&w);                    // PATH.part becomes PATH
 *
 * A failure ends the program with exit code 1 and a message, and removes PATH.part. */
#ifndef UMBRA_TOOLS_GGUF_WRITER_H
#define UMBRA_TOOLS_GGUF_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gguf/gguf.h"

typedef struct gguf_writer {
    FILE *file;
    char *head; /* the header, kept until gguf_writer_data */
    size_t head_bytes, head_capacity;
    uint64_t pairs, tensors, alignment;
    uint64_t *sizes;     /* (tensors) bytes of each */
    uint64_t table;      /* bytes of data that the table names so far */
    uint64_t tensor, at; /* under way: its number, its bytes written */
} gguf_writer;

/* Ends the program: "PROGRAM: message" on stderr, the part file of the writer under way is
 * removed, exit code 1. */
__attribute__((format(printf, 1, 2), noreturn)) void gguf_die(const char *format, ...);

void gguf_writer_begin(gguf_writer *w, const char *path, uint32_t version);

/* All pairs of a file, byte for byte and, if they come first, at the same place of the header. */
void gguf_copy_pairs(gguf_writer *w, const umbra_gguf *from);
void gguf_put_u32(gguf_writer *w, const char *key, uint32_t value);
void gguf_put_u16(gguf_writer *w, const char *key, uint16_t value);
void gguf_put_i32(gguf_writer *w, const char *key, int32_t value);
void gguf_put_f32(gguf_writer *w, const char *key, float value);
void gguf_put_bool(gguf_writer *w, const char *key, bool value);
void gguf_put_string(gguf_writer *w, const char *key, const char *value);
/* The head of an array; its elements follow by gguf_put_bytes or gguf_put_text. */
void gguf_put_array(gguf_writer *w, const char *key, umbra_gguf_type element, uint64_t count);
void gguf_put_bytes(gguf_writer *w, const void *bytes, size_t n);
void gguf_put_text(gguf_writer *w, const char *text, size_t bytes);

/* After the pairs. Returns the tensor's bytes. */
uint64_t gguf_put_tensor(gguf_writer *w, const char *name, uint32_t dtype, uint32_t dimensions,
                         const uint64_t *shape);

void gguf_writer_data(gguf_writer *w);
void gguf_write(gguf_writer *w, const void *bytes, size_t n);
void gguf_end_tensor(gguf_writer *w);
void gguf_writer_commit(gguf_writer *w);

/* The tensor's name with a NUL, in out. */
enum { GGUF_NAME_BYTES = 256 };
const char *gguf_name(const umbra_gguf_tensor *t, char out[GGUF_NAME_BYTES]);

#endif
