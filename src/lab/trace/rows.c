/* Reads rows of an open trace; what is read for the first time is checked. */
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "lab/trace/reader.h"

/* A range of rows of a tensor, being read. */
typedef struct range {
    const umbra_trace_file *file;
    umbra_trace_name name;
    int fd;
    uint64_t offset; /* of the first row of the range */
    uint64_t row_bytes;
} range;

/* Checks the checksum of a tensor unless that was done before. Two threads may do it at once; they
 * find the same. */
static int verify(const umbra_trace *t, int shard, int tensor, int fd, uint64_t bytes,
                  umbra_error *err)
{
    const umbra_trace_file *f = &t->shards[shard];
    uint64_t listed = t->m.shards[shard].checksums[tensor], hash = 0;
    if (atomic_load_explicit(&f->verified[tensor], memory_order_relaxed))
        return UMBRA_OK;
    int rc = umbra_trace_hash_file(fd, f->path, f->offsets[tensor], bytes, &hash, err);
    if (rc != UMBRA_OK)
        return rc;
    if (hash != listed)
        return umbra_trace_fail_checksum(
            f->path, "tensor",
            umbra_trace_tensor(&t->m.info, &t->m.layers, tensor, 0, 0, NULL).text,
            f->offsets[tensor], hash, listed, err);
    atomic_store_explicit(&f->verified[tensor], true, memory_order_relaxed);
    return UMBRA_OK;
}

/* Begins to read rows [first, first + n) of a tensor. fd: of the shard's file, or -1 to open it. On
 * success r->fd is open. */
static int begin(const umbra_trace *t, int shard, int tensor, int first, int n, int fd, range *r,
                 umbra_error *err)
{
    const umbra_trace_shard *s = &t->m.shards[shard];
    umbra_safetensors_tensor shape;
    *r = (range){.file = &t->shards[shard], .fd = fd};
    r->name = umbra_trace_tensor(&t->m.info, &t->m.layers, tensor, (uint64_t)s->tokens,
                                 (uint64_t)s->rows, &shape);
    uint64_t rows = shape.shape[0];
    if (first < 0 || n < 0 || (uint64_t)first + (uint64_t)n > rows)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: tensor \"%s\" has %llu rows; %d from row %d on were asked for",
                          r->file->path, r->name.text, (unsigned long long)rows, n, first);
    r->row_bytes =
        umbra_safetensors_dtype_bytes(shape.dtype) * (shape.dimensions > 1 ? shape.shape[1] : 1);
    r->offset = r->file->offsets[tensor] + (uint64_t)first * r->row_bytes;
    int rc = fd < 0 ? umbra_trace_reopen(r->file, &r->fd, err) : UMBRA_OK;
    if (rc != UMBRA_OK)
        return rc;
    rc = verify(t, shard, tensor, r->fd, rows * r->row_bytes, err);
    if (rc != UMBRA_OK && fd < 0)
        close(r->fd);
    return rc;
}

static int read_rows(const range *r, uint64_t first, uint64_t n, void *out, umbra_error *err)
{
    return umbra_file_read(r->fd, r->file->path, out, (size_t)(n * r->row_bytes),
                           r->offset + first * r->row_bytes, err);
}

/* Number of a tensor; negative with err filled if there is no such shard or layer. */
static int find(const umbra_trace *t, int shard, int layer, umbra_trace_part part, umbra_error *err)
{
    if (shard < 0 || shard >= t->m.n_shards)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: there is no shard %d", t->folder, shard);
    if (!umbra_trace_has_layer(t, layer))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: layer %d has no experts or is none",
                          t->folder, layer);
    return umbra_trace_tensor_number(&t->m.info, t->m.layers.place[layer], part);
}

static int fail_value(const range *r, uint64_t row, const char *what, umbra_error *err)
{
    return umbra_fail_at(err, UMBRA_E_FORMAT, r->offset + row * r->row_bytes,
                         "%s: tensor \"%s\" holds %s", r->file->path, r->name.text, what);
}

/* Converts n rows in pieces; scales: of the I8 values, NULL if they are BF16. */
static int read_state_rows(const range *r, const range *scales, uint64_t n, size_t hidden,
                           float *out, umbra_error *err)
{
    union {
        uint16_t bf16[UMBRA_TRACE_PIECE / 2];
        int8_t i8[UMBRA_TRACE_PIECE];
    } piece;
    float scale[UMBRA_TRACE_PIECE_ROWS];
    uint64_t most = sizeof piece / r->row_bytes;
    if (most > UMBRA_TRACE_PIECE_ROWS)
        most = UMBRA_TRACE_PIECE_ROWS;
    for (uint64_t done = 0, rows; done < n; done += rows) {
        rows = n - done < most ? n - done : most;
        int rc = read_rows(r, done, rows, &piece, err);
        if (rc == UMBRA_OK && scales)
            rc = read_rows(scales, done, rows, scale, err);
        if (rc != UMBRA_OK)
            return rc;
        for (uint64_t i = 0; i < rows; i++) {
            float *to = out + (done + i) * hidden;
            if (!(scales ? umbra_trace_from_i8(piece.i8 + i * hidden, hidden, scale[i], to)
                         : umbra_trace_from_bf16(piece.bf16 + i * hidden, hidden, to)))
                return fail_value(r, done + i, "a row with a value that is no number", err);
        }
    }
    return UMBRA_OK;
}

int umbra_trace_read_states(umbra_trace *trace, int shard, umbra_trace_state which, int layer,
                            int first_row, int n, float *out, umbra_error *err)
{
    const umbra_trace_info *info = &trace->m.info;
    range r, scales;
    int tensor = find(trace, shard, layer, (umbra_trace_part)which, err);
    if (tensor < 0)
        return tensor;
    int rc = begin(trace, shard, tensor, first_row, n, -1, &r, err);
    if (rc != UMBRA_OK)
        return rc;
    if (info->int8)
        rc = begin(trace, shard, tensor + UMBRA_TRACE_PART_INPUT_SCALE, first_row, n, r.fd, &scales,
                   err);
    if (rc == UMBRA_OK)
        rc = read_state_rows(&r, info->int8 ? &scales : NULL, (uint64_t)n, (size_t)info->hidden,
                             out, err);
    close(r.fd);
    return rc;
}

int umbra_trace_read_experts(umbra_trace *trace, int shard, int layer, int first, int n,
                             uint16_t *out, umbra_error *err)
{
    size_t used = (size_t)trace->m.info.used;
    range r;
    int tensor = find(trace, shard, layer, UMBRA_TRACE_PART_EXPERTS, err);
    int rc = tensor < 0 ? tensor : begin(trace, shard, tensor, first, n, -1, &r, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = read_rows(&r, 0, (uint64_t)n, out, err);
    close(r.fd);
    for (size_t i = 0; rc == UMBRA_OK && i < (size_t)n * used; i++)
        if (out[i] >= trace->m.info.experts)
            rc = fail_value(&r, i / used, "a row with an expert that the model does not have", err);
    return rc;
}

int umbra_trace_read_weights(umbra_trace *trace, int shard, int layer, int first, int n, float *out,
                             umbra_error *err)
{
    uint16_t piece[UMBRA_TRACE_PIECE / 2];
    size_t used = (size_t)trace->m.info.used;
    range r;
    int tensor = find(trace, shard, layer, UMBRA_TRACE_PART_WEIGHTS, err);
    int rc = tensor < 0 ? tensor : begin(trace, shard, tensor, first, n, -1, &r, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t most = sizeof piece / r.row_bytes;
    for (uint64_t done = 0, rows; done < (uint64_t)n && rc == UMBRA_OK; done += rows) {
        rows = (uint64_t)n - done < most ? (uint64_t)n - done : most;
        rc = read_rows(&r, done, rows, piece, err);
        for (uint64_t i = 0; i < rows && rc == UMBRA_OK; i++)
            if (!umbra_trace_from_f16(piece + i * used, used, out + (done + i) * used))
                rc = fail_value(&r, done + i, "a row with a weight that is not finite", err);
    }
    close(r.fd);
    return rc;
}

int umbra_trace_read_tokens(umbra_trace *trace, int shard, int first, int n, int32_t *out,
                            umbra_error *err)
{
    range r;
    if (shard < 0 || shard >= trace->m.n_shards)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: there is no shard %d", trace->folder, shard);
    int rc = begin(trace, shard, 0, first, n, -1, &r, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = read_rows(&r, 0, (uint64_t)n, out, err);
    close(r.fd);
    for (int i = 0; i < n && rc == UMBRA_OK; i++)
        if (out[i] < 0)
            rc = fail_value(&r, (uint64_t)i, "a negative token id", err);
    return rc;
}

int umbra_trace_read_gate(umbra_trace *trace, int layer, float *out, umbra_error *err)
{
    const umbra_trace_info *info = &trace->m.info;
    if (!umbra_trace_has_layer(trace, layer))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: layer %d has no experts or is none",
                          trace->folder, layer);
    int fd;
    int rc = umbra_trace_reopen(&trace->gates, &fd, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_file_read(fd, trace->gates.path, out,
                         (size_t)info->experts * (size_t)info->hidden * sizeof *out,
                         trace->gates.offsets[trace->m.layers.place[layer]], err);
    close(fd);
    return rc;
}
