/* Writes safetensors files. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "base/quote.h"
#include "safetensors/internal.h"

enum { DATA_ALIGNMENT = 64 };

typedef struct target {
    char *name;
    uint64_t offset; /* in the file */
    uint64_t bytes;
    _Atomic uint64_t written; /* sum of the pieces */
} target;

struct umbra_safetensors_writer {
    char *path;
    umbra_replacement file;
    target *targets; /* (n) */
    size_t n;
    atomic_bool failed;
};

static bool is_utf8(const char *s)
{
    size_t n = strlen(s);
    for (size_t at = 0, length; at < n; at += length)
        if ((length = umbra_utf8_length(s + at, n - at)) == 0)
            return false;
    return true;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses texts (sorted here) that are not UTF-8 or there twice; what: "tensor". */
static int check_texts(const char **texts, size_t n, const char *what, const char *path,
                       umbra_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!texts[i] || !is_utf8(texts[i]))
            return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: %s %zu is missing or not UTF-8", path,
                              what, i);
    if (n > 0)
        qsort(texts, n, sizeof *texts, compare_texts);
    for (size_t i = 1; i < n; i++)
        if (strcmp(texts[i - 1], texts[i]) == 0)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: %s \"%s\" is listed twice", path, what,
                              umbra_quote(texts[i], strlen(texts[i])).text);
    return UMBRA_OK;
}

static int check_lists(const char *path, const umbra_safetensors_tensor *tensors, size_t n_tensors,
                       const umbra_safetensors_pair *metadata, size_t n_metadata, umbra_error *err)
{
    size_t most = n_tensors > n_metadata ? n_tensors : n_metadata;
    const char **texts = umbra_calloc(most, sizeof *texts);
    if (!texts)
        return umbra_fail_nomem(err, "a list of names", most * sizeof *texts);
    for (size_t i = 0; i < n_tensors; i++)
        texts[i] = tensors[i].name;
    int rc = check_texts(texts, n_tensors, "the name of tensor", path, err);
    for (size_t i = 0; i < n_metadata; i++)
        texts[i] = metadata[i].key;
    if (rc == UMBRA_OK)
        rc = check_texts(texts, n_metadata, "the metadata key", path, err);
    umbra_free(texts);
    for (size_t i = 0; i < n_metadata && rc == UMBRA_OK; i++)
        if (!metadata[i].value || !is_utf8(metadata[i].value))
            rc = umbra_fail(err, UMBRA_E_ARGUMENT,
                            "%s: the value of metadata \"%s\" is missing or not UTF-8", path,
                            umbra_quote(metadata[i].key, strlen(metadata[i].key)).text);
    for (size_t i = 0; i < n_tensors && rc == UMBRA_OK; i++)
        if (!umbra_safetensors_dtype_name(tensors[i].dtype) ||
            tensors[i].dimensions > UMBRA_SAFETENSORS_DIMENSIONS ||
            strcmp(tensors[i].name, UMBRA_SAFETENSORS_METADATA) == 0)
            rc = umbra_fail(err, UMBRA_E_ARGUMENT,
                            "%s: tensor \"%s\" has a reserved name, an unknown dtype or more than "
                            "8 dimensions",
                            path, umbra_quote(tensors[i].name, strlen(tensors[i].name)).text);
    return rc;
}

/* Places the tensors one after the other, relative to the data; *data_bytes: their sum. */
static int place(umbra_safetensors_writer *w, const umbra_safetensors_tensor *tensors,
                 uint64_t *data_bytes, umbra_error *err)
{
    *data_bytes = 0;
    for (size_t i = 0; i < w->n; i++) {
        target *t = &w->targets[i];
        t->name = umbra_strdup(tensors[i].name);
        if (!t->name)
            return umbra_fail_nomem(err, "the name of a tensor", strlen(tensors[i].name) + 1);
        t->offset = *data_bytes;
        if (!umbra_safetensors_size(&tensors[i], &t->bytes) ||
            !umbra_add_u64(*data_bytes, t->bytes, data_bytes) || *data_bytes > INT64_MAX / 2)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: tensor \"%s\" is too large for a file",
                              w->path, umbra_quote(t->name, strlen(t->name)).text);
    }
    return UMBRA_OK;
}

static void put_tensor(umbra_json *j, const umbra_safetensors_tensor *tensor, const target *t)
{
    umbra_json_key(j, tensor->name);
    umbra_json_open(j, '{');
    umbra_json_key(j, "dtype");
    umbra_json_text(j, umbra_safetensors_dtype_name(tensor->dtype));
    umbra_json_key(j, "shape");
    umbra_json_open(j, '[');
    for (uint32_t i = 0; i < tensor->dimensions; i++)
        umbra_json_uint(j, tensor->shape[i]);
    umbra_json_close(j, ']');
    umbra_json_key(j, "data_offsets");
    umbra_json_open(j, '[');
    umbra_json_uint(j, t->offset);
    umbra_json_uint(j, t->offset + t->bytes);
    umbra_json_close(j, ']');
    umbra_json_close(j, '}');
}

/* Bytes that make_header may need at most: each byte of a text can become "\u0000". */
static uint64_t header_bytes_max(const umbra_safetensors_writer *w,
                                 const umbra_safetensors_pair *metadata, size_t n_metadata)
{
    enum { PER_TEXT = 8, PER_TENSOR = 128 + UMBRA_SAFETENSORS_DIMENSIONS * 21 };
    uint64_t bytes = 2 * DATA_ALIGNMENT;
    for (size_t i = 0; i < n_metadata; i++)
        bytes += 6 * (strlen(metadata[i].key) + strlen(metadata[i].value)) + 2 * PER_TEXT;
    for (size_t i = 0; i < w->n; i++)
        bytes += 6 * strlen(w->targets[i].name) + PER_TEXT + PER_TENSOR;
    return bytes;
}

/* Writes the JSON, then spaces up to a multiple of 64 counted from the file's beginning. */
static void put_header(FILE *file, const umbra_safetensors_writer *w,
                       const umbra_safetensors_tensor *tensors,
                       const umbra_safetensors_pair *metadata, size_t n_metadata)
{
    umbra_json j;
    umbra_json_begin(&j, file);
    umbra_json_open(&j, '{');
    if (n_metadata > 0) {
        umbra_json_key(&j, UMBRA_SAFETENSORS_METADATA);
        umbra_json_open(&j, '{');
        for (size_t i = 0; i < n_metadata; i++) {
            umbra_json_key(&j, metadata[i].key);
            umbra_json_text(&j, metadata[i].value);
        }
        umbra_json_close(&j, '}');
    }
    for (size_t i = 0; i < w->n; i++)
        put_tensor(&j, &tensors[i], &w->targets[i]);
    umbra_json_close(&j, '}');
    while (!ferror(file) && ftell(file) % DATA_ALIGNMENT != 0)
        fputc(' ', file);
}

/* Makes everything before the data: *out (free with umbra_free), *bytes a multiple of 64. */
static int make_header(const umbra_safetensors_writer *w, const umbra_safetensors_tensor *tensors,
                       const umbra_safetensors_pair *metadata, size_t n_metadata, char **out,
                       size_t *bytes, umbra_error *err)
{
    uint64_t length = 0;
    uint64_t room = header_bytes_max(w, metadata, n_metadata);
    char *text = umbra_calloc(room, 1);
    FILE *file = text ? fmemopen(text, room, "w") : NULL;
    *out = text;
    if (!file)
        return umbra_fail_nomem(err, "the header of a safetensors file", room);
    fwrite(&length, sizeof length, 1, file); /* filled in below */
    put_header(file, w, tensors, metadata, n_metadata);
    long end = ftell(file);
    bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad || end < 0)
        return umbra_fail(err, UMBRA_E_SYSTEM, "%s: cannot make the header", w->path);
    length = (uint64_t)end - sizeof length;
    if (length > UMBRA_SAFETENSORS_HEADER_MAX)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: the header would have %llu bytes, more than the 64 MiB allowed",
                          w->path, (unsigned long long)length);
    memcpy(text, &length, sizeof length);
    *bytes = (size_t)end;
    return UMBRA_OK;
}

static int prepare(umbra_safetensors_writer *w, const umbra_safetensors_tensor *tensors,
                   const umbra_safetensors_pair *metadata, size_t n_metadata, umbra_error *err)
{
    uint64_t data_bytes;
    char *header = NULL;
    size_t header_bytes = 0;
    int rc = place(w, tensors, &data_bytes, err);
    if (rc == UMBRA_OK)
        rc = make_header(w, tensors, metadata, n_metadata, &header, &header_bytes, err);
    if (rc == UMBRA_OK) {
        for (size_t i = 0; i < w->n; i++)
            w->targets[i].offset += header_bytes;
        rc = umbra_replace_begin(&w->file, w->path, err);
    }
    if (rc == UMBRA_OK)
        rc = umbra_replace_reserve(&w->file, header_bytes + data_bytes, err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_write(&w->file, header, header_bytes, 0, err);
    umbra_free(header);
    return rc;
}

int umbra_safetensors_create(umbra_safetensors_writer **out, const char *path,
                             const umbra_safetensors_tensor *tensors, size_t n_tensors,
                             const umbra_safetensors_pair *metadata, size_t n_metadata,
                             umbra_error *err)
{
    *out = NULL;
    int rc = check_lists(path, tensors, n_tensors, metadata, n_metadata, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_safetensors_writer *w = umbra_calloc(1, sizeof *w);
    if (!w)
        return umbra_fail_nomem(err, "a safetensors file", sizeof *w);
    w->file.fd = -1;
    w->path = umbra_strdup(path);
    w->targets = umbra_calloc(n_tensors, sizeof *w->targets);
    if (w->targets)
        w->n = n_tensors;
    rc = w->path && w->targets
             ? prepare(w, tensors, metadata, n_metadata, err)
             : umbra_fail_nomem(err, "a safetensors file", n_tensors * sizeof *w->targets);
    if (rc != UMBRA_OK)
        umbra_safetensors_abandon(&w);
    *out = w;
    return rc;
}

int umbra_safetensors_write(umbra_safetensors_writer *writer, size_t tensor, uint64_t offset,
                            const void *data, uint64_t bytes, umbra_error *err)
{
    if (tensor >= writer->n)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: there is no tensor number %zu", writer->path,
                          tensor);
    target *t = &writer->targets[tensor];
    if (offset > t->bytes || bytes > t->bytes - offset)
        return umbra_fail(
            err, UMBRA_E_ARGUMENT,
            "%s: tensor \"%s\" has %llu bytes; a piece of %llu was to go to byte %llu",
            writer->path, umbra_quote(t->name, strlen(t->name)).text, (unsigned long long)t->bytes,
            (unsigned long long)bytes, (unsigned long long)offset);
    int rc = umbra_replace_write(&writer->file, data, bytes, t->offset + offset, err);
    if (rc == UMBRA_OK)
        atomic_fetch_add_explicit(&t->written, bytes, memory_order_relaxed);
    else
        atomic_store_explicit(&writer->failed, true, memory_order_relaxed);
    return rc;
}

static int check_complete(umbra_safetensors_writer *w, umbra_error *err)
{
    if (atomic_load_explicit(&w->failed, memory_order_relaxed))
        return umbra_fail(err, UMBRA_E_IO, "%s: a write failed before: the file is given up",
                          w->path);
    for (size_t i = 0; i < w->n; i++) {
        target *t = &w->targets[i];
        uint64_t written = atomic_load_explicit(&t->written, memory_order_relaxed);
        if (written != t->bytes)
            return umbra_fail(
                err, UMBRA_E_ARGUMENT, "%s: %llu bytes of tensor \"%s\" were written, it has %llu",
                w->path, (unsigned long long)written, umbra_quote(t->name, strlen(t->name)).text,
                (unsigned long long)t->bytes);
    }
    return UMBRA_OK;
}

int umbra_safetensors_finish(umbra_safetensors_writer **writer, umbra_error *err)
{
    umbra_safetensors_writer *w = *writer;
    int rc = check_complete(w, err);
    if (rc == UMBRA_OK)
        rc = umbra_replace_commit(&w->file, NULL, err);
    umbra_safetensors_abandon(writer);
    return rc;
}

void umbra_safetensors_abandon(umbra_safetensors_writer **writer)
{
    umbra_safetensors_writer *w = *writer;
    if (!w)
        return;
    umbra_replace_abort(&w->file);
    for (size_t i = 0; i < w->n; i++)
        umbra_free(w->targets[i].name);
    umbra_free(w->targets);
    umbra_free(w->path);
    umbra_free(w);
    *writer = NULL;
}
