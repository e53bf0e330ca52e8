/* Opens safetensors files and reads their tensors. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/quote.h"
#include "safetensors/internal.h"

struct umbra_safetensors {
    char *path;
    int fd;
    char *text; /* (text_bytes) the header, which holds all strings */
    uint64_t text_bytes;
    umbra_safetensors_header header;
};

static int read_header(umbra_safetensors *f, uint64_t file_bytes, umbra_error *err)
{
    uint64_t n = 0;
    if (file_bytes < sizeof n)
        return umbra_fail_at(err, UMBRA_E_FORMAT, 0,
                             "%s: %llu bytes are too few for a safetensors file", f->path,
                             (unsigned long long)file_bytes);
    int rc = umbra_file_read(f->fd, f->path, &n, sizeof n, 0, err);
    if (rc != UMBRA_OK)
        return rc;
    if (n > file_bytes - sizeof n || n > UMBRA_SAFETENSORS_HEADER_MAX)
        return umbra_fail_at(err, UMBRA_E_FORMAT, 0,
                             "%s: a header of %llu bytes is %s: this is no safetensors file, or a "
                             "truncated one",
                             f->path, (unsigned long long)n,
                             n > file_bytes - sizeof n ? "longer than the file"
                                                       : "longer than the 64 MiB allowed");
    f->text = umbra_reallocarray(NULL, n, 1);
    if (!f->text)
        return umbra_fail_nomem(err, "the header of a safetensors file", n);
    f->text_bytes = n;
    rc = umbra_file_read(f->fd, f->path, f->text, n, sizeof n, err);
    if (rc != UMBRA_OK)
        return rc;
    return umbra_safetensors_header_parse(&f->header, f->text, n, file_bytes, f->path, err);
}

int umbra_safetensors_open(umbra_safetensors **out, const char *path, umbra_error *err)
{
    *out = NULL;
    umbra_safetensors *f = umbra_calloc(1, sizeof *f);
    if (!f)
        return umbra_fail_nomem(err, "a safetensors file", sizeof *f);
    f->fd = -1;
    f->path = umbra_strdup(path);
    uint64_t file_bytes;
    int rc = f->path ? umbra_file_open(&f->fd, path, &file_bytes, err)
                     : umbra_fail_nomem(err, "a path", strlen(path) + 1);
    if (rc == UMBRA_OK)
        rc = read_header(f, file_bytes, err);
    if (rc != UMBRA_OK)
        umbra_safetensors_close(&f);
    *out = f;
    return rc;
}

void umbra_safetensors_close(umbra_safetensors **file)
{
    umbra_safetensors *f = *file;
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    umbra_safetensors_header_release(&f->header);
    umbra_free(f->text);
    umbra_free(f->path);
    umbra_free(f);
    *file = NULL;
}

const char *umbra_safetensors_path(const umbra_safetensors *file)
{
    return file->path;
}

uint64_t umbra_safetensors_bytes(const umbra_safetensors *file)
{
    const umbra_safetensors_header *h = &file->header;
    return sizeof *file + strlen(file->path) + 1 + file->text_bytes +
           h->tensors_room * sizeof *h->tensors + h->n_tensors * sizeof *h->by_name +
           h->metadata_room * sizeof *h->metadata;
}

size_t umbra_safetensors_count(const umbra_safetensors *file)
{
    return file->header.n_tensors;
}

const umbra_safetensors_tensor *umbra_safetensors_at(const umbra_safetensors *file, size_t i)
{
    return &file->header.tensors[i];
}

const umbra_safetensors_tensor *umbra_safetensors_find(const umbra_safetensors *file,
                                                       const char *name)
{
    const umbra_safetensors_header *h = &file->header;
    for (size_t low = 0, high = h->n_tensors; low < high;) {
        size_t middle = low + (high - low) / 2;
        const umbra_safetensors_tensor *t = &h->tensors[h->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *umbra_safetensors_metadata(const umbra_safetensors *file, const char *key)
{
    const umbra_safetensors_header *h = &file->header;
    for (size_t low = 0, high = h->n_metadata; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(key, h->metadata[middle].key);
        if (order == 0)
            return h->metadata[middle].value;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

size_t umbra_safetensors_metadata_count(const umbra_safetensors *file)
{
    return file->header.n_metadata;
}

umbra_safetensors_pair umbra_safetensors_metadata_at(const umbra_safetensors *file, size_t i)
{
    return file->header.metadata[i];
}

int umbra_safetensors_read(const umbra_safetensors *file, const umbra_safetensors_tensor *tensor,
                           void *buffer, umbra_error *err)
{
    return umbra_file_read(file->fd, file->path, buffer, tensor->bytes, tensor->offset, err);
}

int umbra_safetensors_read_rows(const umbra_safetensors *file,
                                const umbra_safetensors_tensor *tensor, uint64_t first, uint64_t n,
                                void *buffer, umbra_error *err)
{
    uint64_t rows = tensor->dimensions > 0 ? tensor->shape[0] : 1;
    if (first > rows || n > rows - first)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: tensor \"%s\" has %llu rows; %llu from row %llu on were asked for",
                          file->path, umbra_quote(tensor->name, strlen(tensor->name)).text,
                          (unsigned long long)rows, (unsigned long long)n,
                          (unsigned long long)first);
    uint64_t row_bytes = rows > 0 ? tensor->bytes / rows : 0;
    return umbra_file_read(file->fd, file->path, buffer, n * row_bytes,
                           tensor->offset + first * row_bytes, err);
}
