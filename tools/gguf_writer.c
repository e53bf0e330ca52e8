/* Writes GGUF files piece by piece: pairs, the table of tensors, then their data. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/memory.h"
#include "gguf/internal.h"
#include "gguf_writer.h"

enum {
    BUFFER_BYTES = 4 << 20,
    ALIGNMENT_DEFAULT = 32,
    COUNTS_AT = 8, /* where the numbers of tensors and pairs stand */
    PAIRS_AT = 24,
};

static umbra_replacement target = {.fd = -1}; /* of the writer under way */

void gguf_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    umbra_replace_abort(&target);
    exit(1);
}

void gguf_put_bytes(gguf_writer *w, const void *bytes, size_t n)
{
    if (w->head_bytes + n > w->head_capacity) {
        w->head_capacity = 2 * (w->head_bytes + n);
        w->head = realloc(w->head, w->head_capacity);
        if (!w->head)
            gguf_die("no memory for a header of %zu bytes", w->head_capacity);
    }
    memcpy(w->head + w->head_bytes, bytes, n);
    w->head_bytes += n;
}

static void put_u32(gguf_writer *w, uint32_t value)
{
    gguf_put_bytes(w, &value, sizeof value);
}

static void put_u64(gguf_writer *w, uint64_t value)
{
    gguf_put_bytes(w, &value, sizeof value);
}

void gguf_put_text(gguf_writer *w, const char *text, size_t bytes)
{
    put_u64(w, bytes);
    gguf_put_bytes(w, text, bytes);
}

void gguf_writer_begin(gguf_writer *w, const char *path, uint32_t version)
{
    *w = (gguf_writer){.alignment = ALIGNMENT_DEFAULT};
    umbra_error err;
    if (umbra_replace_begin(&target, path, &err) != UMBRA_OK ||
        umbra_replace_stream(&target, &w->file, &err) != UMBRA_OK)
        gguf_die("%s", err.message);
    setvbuf(w->file, NULL, _IOFBF, BUFFER_BYTES);
    gguf_put_bytes(w, "GGUF", 4);
    put_u32(w, version);
    put_u64(w, 0);
    put_u64(w, 0);
}

/* ---- pairs ---- */

static void put_key(gguf_writer *w, const char *key, umbra_gguf_type type)
{
    gguf_put_text(w, key, strlen(key));
    put_u32(w, type);
    w->pairs++;
}

void gguf_copy_pairs(gguf_writer *w, const umbra_gguf *from)
{
    uint32_t alignment = ALIGNMENT_DEFAULT, shards = 1;
    umbra_error err;
    if (from->tensor_count == 0)
        gguf_die("%s: there are no tensors", from->path);
    if (umbra_gguf_get_u32(from, "general.alignment", &alignment, &err) < 0 ||
        umbra_gguf_get_u32(from, "split.count", &shards, &err) < 0)
        gguf_die("%s", err.message);
    if (shards > 1)
        gguf_die("%s: is one of %" PRIu32 " shards; only a model in one file can be copied",
                 from->path, shards);
    /* The pairs end where the first tensor's entry begins: 8 bytes before its name. */
    gguf_put_bytes(w, from->data + PAIRS_AT, from->entries[0].name_at - 8 - PAIRS_AT);
    w->pairs += from->pair_count;
    w->alignment = alignment;
}

void gguf_put_u32(gguf_writer *w, const char *key, uint32_t value)
{
    put_key(w, key, UMBRA_GGUF_U32);
    put_u32(w, value);
    if (strcmp(key, "general.alignment") == 0)
        w->alignment = value;
}

void gguf_put_u16(gguf_writer *w, const char *key, uint16_t value)
{
    put_key(w, key, UMBRA_GGUF_U16);
    gguf_put_bytes(w, &value, sizeof value);
}

void gguf_put_i32(gguf_writer *w, const char *key, int32_t value)
{
    put_key(w, key, UMBRA_GGUF_I32);
    gguf_put_bytes(w, &value, sizeof value);
}

void gguf_put_f32(gguf_writer *w, const char *key, float value)
{
    put_key(w, key, UMBRA_GGUF_F32);
    gguf_put_bytes(w, &value, sizeof value);
}

void gguf_put_bool(gguf_writer *w, const char *key, bool value)
{
    unsigned char byte = value;
    put_key(w, key, UMBRA_GGUF_BOOL);
    gguf_put_bytes(w, &byte, 1);
}

void gguf_put_string(gguf_writer *w, const char *key, const char *value)
{
    put_key(w, key, UMBRA_GGUF_STRING);
    gguf_put_text(w, value, strlen(value));
}

void gguf_put_array(gguf_writer *w, const char *key, umbra_gguf_type element, uint64_t count)
{
    put_key(w, key, UMBRA_GGUF_ARRAY);
    put_u32(w, element);
    put_u64(w, count);
}

/* ---- tensors ---- */

uint64_t gguf_put_tensor(gguf_writer *w, const char *name, uint32_t dtype, uint32_t dimensions,
                         const uint64_t *shape)
{
    umbra_dtype_info info = umbra_dtype_get(dtype);
    uint64_t bytes = umbra_dtype_row_bytes(info, shape[0]);
    if (shape[0] % info.block_values != 0)
        gguf_die("tensor %s: rows of %" PRIu64 " values do not fit blocks of %s", name, shape[0],
                 info.name);
    gguf_put_text(w, name, strlen(name));
    put_u32(w, dimensions);
    for (uint32_t i = 0; i < dimensions; i++) {
        put_u64(w, shape[i]);
        bytes *= i > 0 ? shape[i] : 1;
    }
    put_u32(w, dtype);
    put_u64(w, w->table);
    w->sizes = realloc(w->sizes, (w->tensors + 1) * sizeof *w->sizes);
    if (!w->sizes)
        gguf_die("no memory for the table of tensors");
    w->sizes[w->tensors++] = bytes;
    w->table += umbra_align_up(bytes, w->alignment);
    return bytes;
}

static void write_all(gguf_writer *w, const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, w->file) != n)
        gguf_die("%s: cannot write: %s", target.part, strerror(errno));
}

/* Zeros up to the alignment after `done` bytes. */
static void pad(gguf_writer *w, uint64_t done)
{
    static const char zeros[64];
    for (uint64_t n = umbra_align_up(done, w->alignment) - done; n > 0;) {
        size_t some = n < sizeof zeros ? (size_t)n : sizeof zeros;
        write_all(w, zeros, some);
        n -= some;
    }
}

void gguf_writer_data(gguf_writer *w)
{
    memcpy(w->head + COUNTS_AT, &w->tensors, sizeof w->tensors);
    memcpy(w->head + COUNTS_AT + sizeof w->tensors, &w->pairs, sizeof w->pairs);
    write_all(w, w->head, w->head_bytes);
    pad(w, w->head_bytes);
    free(w->head);
    w->head = NULL;
}

void gguf_write(gguf_writer *w, const void *bytes, size_t n)
{
    write_all(w, bytes, n);
    w->at += n;
}

void gguf_end_tensor(gguf_writer *w)
{
    if (w->at != w->sizes[w->tensor])
        gguf_die("tensor %" PRIu64 " got %" PRIu64 " bytes of %" PRIu64, w->tensor, w->at,
                 w->sizes[w->tensor]);
    pad(w, w->at);
    w->tensor++;
    w->at = 0;
}

void gguf_writer_commit(gguf_writer *w)
{
    if (w->tensor != w->tensors)
        gguf_die("%" PRIu64 " tensors were written of %" PRIu64, w->tensor, w->tensors);
    umbra_error err;
    if (umbra_replace_commit(&target, NULL, &err) != UMBRA_OK)
        gguf_die("%s", err.message);
    free(w->sizes);
}

const char *gguf_name(const umbra_gguf_tensor *t, char out[GGUF_NAME_BYTES])
{
    if (t->name.bytes >= GGUF_NAME_BYTES)
        gguf_die("a tensor has a name of %zu bytes", t->name.bytes);
    memcpy(out, t->name.data, t->name.bytes);
    out[t->name.bytes] = '\0';
    return out;
}
