/* Opens a trace and reads its shards, checked. */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/trace/internal.h"

/* A file of the folder. It is opened for every read and not kept open: a trace may have more shards
 * than a process may have descriptors. */
typedef struct file {
    char *path;
    uint64_t bytes;
    uint64_t *offsets;     /* of the tensors: of a shard by number, of the gates by place */
    atomic_bool *verified; /* has the tensor's checksum been found right? */
} file;

struct umbra_trace {
    char *folder;
    umbra_trace_manifest m;
    file gates;
    file *shards; /* (n_shards) */
    int n_shards; /* also when the manifest has been taken */
};

/* ---- the checks at opening ---- */

int umbra_trace_hash_file(int fd, const char *path, uint64_t offset, uint64_t bytes, uint64_t *out,
                          umbra_error *err)
{
    unsigned char piece[UMBRA_TRACE_PIECE];
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (uint64_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < sizeof piece ? bytes - done : sizeof piece;
        int rc = umbra_file_read(fd, path, piece, (size_t)n, offset + done, err);
        if (rc != UMBRA_OK)
            return rc;
        XXH3_64bits_update(&state, piece, (size_t)n);
    }
    *out = XXH3_64bits_digest(&state);
    return UMBRA_OK;
}

/* kind: "tensor" or "document". */
static int fail_checksum(const char *path, const char *kind, const char *name, uint64_t offset,
                         uint64_t found, uint64_t listed, umbra_error *err)
{
    char hex[2][UMBRA_TRACE_HEX_CHARS];
    umbra_trace_hex(found, hex[0]);
    umbra_trace_hex(listed, hex[1]);
    return umbra_fail_at(
        err, UMBRA_E_CORRUPT, offset,
        "%s: %s \"%s\" has checksum %s, the manifest says %s: the file was altered or "
        "damaged",
        path, kind, name, hex[0], hex[1]);
}

/* Opens a file and checks that it is still as long as when its header was read. */
static int reopen(const file *f, int *fd, umbra_error *err)
{
    uint64_t bytes;
    int rc = umbra_file_open(fd, f->path, &bytes, err);
    if (rc == UMBRA_OK && bytes != f->bytes) {
        close(*fd);
        rc = umbra_fail(err, UMBRA_E_FORMAT, "%s: has %llu bytes, it had %llu when it was opened",
                        f->path, (unsigned long long)bytes, (unsigned long long)f->bytes);
    }
    return rc;
}

/* Finds a tensor and checks it against what it must be; `wanted` has dtype and shape. */
static int place_tensor(const umbra_safetensors *st, const char *name,
                        const umbra_safetensors_tensor *wanted, uint64_t *offset, umbra_error *err)
{
    const umbra_safetensors_tensor *t = umbra_safetensors_find(st, name);
    const char *path = umbra_safetensors_path(st);
    if (!t)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: tensor \"%s\" is missing", path, name);
    bool same = t->dtype == wanted->dtype && t->dimensions == wanted->dimensions;
    for (uint32_t i = 0; same && i < t->dimensions; i++)
        same = t->shape[i] == wanted->shape[i];
    if (!same)
        return umbra_fail_at(
            err, UMBRA_E_FORMAT, t->offset,
            "%s: tensor \"%s\" is %s of %u dimensions (%llu, %llu); the manifest makes it %s of %u "
            "(%llu, %llu)",
            path, name, umbra_safetensors_dtype_name(t->dtype), t->dimensions,
            (unsigned long long)t->shape[0], (unsigned long long)t->shape[1],
            umbra_safetensors_dtype_name(wanted->dtype), wanted->dimensions,
            (unsigned long long)wanted->shape[0], (unsigned long long)wanted->shape[1]);
    *offset = t->offset;
    return UMBRA_OK;
}

/* Opens the file's header, which must list n tensors, and makes room for what is kept of it. */
static int file_open(file *f, const char *folder, const char *name, int n, umbra_safetensors **st,
                     umbra_error *err)
{
    size_t count = (size_t)n;
    *st = NULL;
    f->path = umbra_trace_path(folder, name);
    f->offsets = umbra_calloc(count, sizeof *f->offsets);
    f->verified = umbra_calloc(count, sizeof *f->verified);
    if (!f->path || !f->offsets || !f->verified)
        return umbra_fail_nomem(err, "the tensors of a trace", count * sizeof *f->offsets);
    int rc = umbra_safetensors_open(st, f->path, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t found = umbra_safetensors_count(*st);
    if (found != count)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: has %zu tensors, %d were expected", f->path,
                          found, n);
    const umbra_safetensors_tensor *last = umbra_safetensors_at(*st, found - 1);
    f->bytes = last->offset + last->bytes; /* nothing may follow it */
    return UMBRA_OK;
}

static void file_release(file *f)
{
    umbra_free(f->path);
    umbra_free(f->offsets);
    umbra_free(f->verified);
}

/* Looks for a value that is not finite in a gate. */
static int check_gate(int fd, const char *path, int layer, uint64_t offset, uint64_t values,
                      umbra_error *err)
{
    float piece[UMBRA_TRACE_PIECE / sizeof(float)];
    size_t room = sizeof piece / sizeof *piece;
    for (uint64_t done = 0, n; done < values; done += n) {
        n = values - done < room ? values - done : room;
        uint64_t at = offset + done * sizeof *piece;
        int rc = umbra_file_read(fd, path, piece, (size_t)n * sizeof *piece, at, err);
        if (rc != UMBRA_OK)
            return rc;
        size_t bad = umbra_trace_first_bad(piece, (size_t)n);
        if (bad < n)
            return umbra_fail_at(err, UMBRA_E_FORMAT, at + bad * sizeof *piece,
                                 "%s: tensor \"%s\" holds a value that is not finite", path,
                                 umbra_trace_gate_name(layer).text);
    }
    return UMBRA_OK;
}

static int open_gates(umbra_trace *t, umbra_error *err)
{
    const umbra_trace_info *info = &t->m.info;
    const umbra_trace_layers *layers = &t->m.layers;
    umbra_safetensors *st;
    uint64_t values = (uint64_t)info->experts * (uint64_t)info->hidden, hash = 0;
    int fd;
    const umbra_safetensors_tensor wanted = {
        .dtype = UMBRA_ST_F32,
        .dimensions = 2,
        .shape = {(uint64_t)info->experts, (uint64_t)info->hidden}};
    int rc = file_open(&t->gates, t->folder, UMBRA_TRACE_GATES, layers->moe_layers, &st, err);
    for (int i = 0; i < layers->moe_layers && rc == UMBRA_OK; i++)
        rc = place_tensor(st, umbra_trace_gate_name(layers->layer[i]).text, &wanted,
                          &t->gates.offsets[i], err);
    umbra_safetensors_close(&st);
    if (rc == UMBRA_OK)
        rc = reopen(&t->gates, &fd, err);
    if (rc != UMBRA_OK)
        return rc;
    for (int i = 0; i < layers->moe_layers && rc == UMBRA_OK; i++) {
        uint64_t offset = t->gates.offsets[i];
        umbra_trace_name name = umbra_trace_gate_name(layers->layer[i]);
        rc = umbra_trace_hash_file(fd, t->gates.path, offset, values * sizeof(float), &hash, err);
        if (rc == UMBRA_OK && hash != t->m.gates[i])
            rc =
                fail_checksum(t->gates.path, "tensor", name.text, offset, hash, t->m.gates[i], err);
        if (rc == UMBRA_OK)
            rc = check_gate(fd, t->gates.path, layers->layer[i], offset, values, err);
    }
    close(fd);
    return rc;
}

/* The checksum of the tokens of a shard, and the hash of every document: ids and hashes tell
 * training documents from others, so that they must be right from the start. */
static int check_tokens(umbra_trace *t, int shard, umbra_error *err)
{
    const umbra_trace_shard *s = &t->m.shards[shard];
    const file *f = &t->shards[shard];
    uint64_t hash = 0;
    int fd;
    int rc = reopen(f, &fd, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_trace_hash_file(fd, f->path, f->offsets[0], (uint64_t)s->tokens * sizeof(int32_t),
                               &hash, err);
    if (rc == UMBRA_OK && hash != s->checksums[0])
        rc = fail_checksum(f->path, "tensor", "tokens", f->offsets[0], hash, s->checksums[0], err);
    for (int i = 0; i < s->documents && rc == UMBRA_OK; i++) {
        const umbra_trace_document *d = &t->m.documents[s->first_document + i];
        uint64_t offset = f->offsets[0] + (uint64_t)d->first * sizeof(int32_t);
        rc = umbra_trace_hash_file(fd, f->path, offset, (uint64_t)d->tokens * sizeof(int32_t),
                                   &hash, err);
        if (rc == UMBRA_OK && hash != d->hash)
            rc = fail_checksum(f->path, "document", d->id, offset, hash, d->hash, err);
    }
    close(fd);
    if (rc == UMBRA_OK)
        atomic_store_explicit(&f->verified[0], true, memory_order_relaxed);
    return rc;
}

static int open_shard(umbra_trace *t, int shard, umbra_error *err)
{
    const umbra_trace_info *info = &t->m.info;
    const umbra_trace_shard *s = &t->m.shards[shard];
    int n = umbra_trace_tensors(info, &t->m.layers);
    umbra_safetensors *st;
    int rc =
        file_open(&t->shards[shard], t->folder, umbra_trace_shard_name(shard).text, n, &st, err);
    for (int i = 0; i < n && rc == UMBRA_OK; i++) {
        umbra_safetensors_tensor wanted;
        umbra_trace_name name = umbra_trace_tensor(info, &t->m.layers, i, (uint64_t)s->tokens,
                                                   (uint64_t)s->rows, &wanted);
        rc = place_tensor(st, name.text, &wanted, &t->shards[shard].offsets[i], err);
    }
    umbra_safetensors_close(&st);
    return rc == UMBRA_OK ? check_tokens(t, shard, err) : rc;
}

static int open_all(umbra_trace *t, const char *folder, umbra_error *err)
{
    char *path = umbra_trace_path(folder, UMBRA_TRACE_MANIFEST);
    t->folder = umbra_strdup(folder);
    int rc = path && t->folder ? umbra_trace_manifest_read(&t->m, path, err)
                               : umbra_fail_nomem(err, "a path", strlen(folder));
    umbra_free(path);
    if (rc != UMBRA_OK)
        return rc;
    size_t n = (size_t)t->m.n_shards;
    t->shards = umbra_calloc(n, sizeof *t->shards);
    if (!t->shards)
        return umbra_fail_nomem(err, "the shards of a trace", n * sizeof *t->shards);
    t->n_shards = t->m.n_shards;
    rc = open_gates(t, err);
    for (int i = 0; i < t->n_shards && rc == UMBRA_OK; i++)
        rc = open_shard(t, i, err);
    return rc;
}

int umbra_trace_open(umbra_trace **out, const char *folder, umbra_error *err)
{
    *out = NULL;
    umbra_trace *t = umbra_calloc(1, sizeof *t);
    if (!t)
        return umbra_fail_nomem(err, "a trace", sizeof *t);
    int rc = open_all(t, folder, err);
    if (rc != UMBRA_OK)
        umbra_trace_close(&t);
    *out = t;
    return rc;
}

void umbra_trace_close(umbra_trace **trace)
{
    umbra_trace *t = *trace;
    if (!t)
        return;
    for (int i = 0; i < t->n_shards; i++)
        file_release(&t->shards[i]);
    umbra_free(t->shards);
    file_release(&t->gates);
    umbra_trace_manifest_release(&t->m);
    umbra_free(t->folder);
    umbra_free(t);
    *trace = NULL;
}

void umbra_trace_take_manifest(umbra_trace *trace, umbra_trace_manifest *out)
{
    *out = trace->m;
    trace->m = (umbra_trace_manifest){0};
}

/* ---- what it says ---- */

const umbra_trace_info *umbra_trace_get_info(const umbra_trace *trace)
{
    return &trace->m.info;
}

const char *umbra_trace_folder(const umbra_trace *trace)
{
    return trace->folder;
}

int umbra_trace_shards(const umbra_trace *trace)
{
    return trace->m.n_shards;
}

int umbra_trace_shard_tokens(const umbra_trace *trace, int shard)
{
    return trace->m.shards[shard].tokens;
}

int umbra_trace_shard_rows(const umbra_trace *trace, int shard)
{
    return trace->m.shards[shard].rows;
}

uint64_t umbra_trace_tokens(const umbra_trace *trace)
{
    return trace->m.tokens;
}

int umbra_trace_documents(const umbra_trace *trace)
{
    return trace->m.n_documents;
}

const umbra_trace_document *umbra_trace_document_at(const umbra_trace *trace, int i)
{
    return &trace->m.documents[i];
}

bool umbra_trace_has_layer(const umbra_trace *trace, int layer)
{
    return layer >= 0 && layer < trace->m.info.layers && trace->m.layers.place[layer] >= 0;
}

/* ---- reading ---- */

/* A range of rows of a tensor, being read. */
typedef struct range {
    const file *file;
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
    const file *f = &t->shards[shard];
    uint64_t listed = t->m.shards[shard].checksums[tensor], hash = 0;
    if (atomic_load_explicit(&f->verified[tensor], memory_order_relaxed))
        return UMBRA_OK;
    int rc = umbra_trace_hash_file(fd, f->path, f->offsets[tensor], bytes, &hash, err);
    if (rc != UMBRA_OK)
        return rc;
    if (hash != listed)
        return fail_checksum(f->path, "tensor",
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
    int rc = fd < 0 ? reopen(r->file, &r->fd, err) : UMBRA_OK;
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
    int rc = reopen(&trace->gates, &fd, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_file_read(fd, trace->gates.path, out,
                         (size_t)info->experts * (size_t)info->hidden * sizeof *out,
                         trace->gates.offsets[trace->m.layers.place[layer]], err);
    close(fd);
    return rc;
}
