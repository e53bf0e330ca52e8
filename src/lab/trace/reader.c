/* Opens a trace, checked, and says what it holds. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/trace/reader.h"

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

int umbra_trace_fail_checksum(const char *path, const char *kind, const char *name, uint64_t offset,
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

int umbra_trace_reopen(const umbra_trace_file *f, int *fd, umbra_error *err)
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
static int file_open(umbra_trace_file *f, const char *folder, const char *name, int n,
                     umbra_safetensors **st, umbra_error *err)
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

static void file_release(umbra_trace_file *f)
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
        rc = umbra_trace_reopen(&t->gates, &fd, err);
    if (rc != UMBRA_OK)
        return rc;
    for (int i = 0; i < layers->moe_layers && rc == UMBRA_OK; i++) {
        uint64_t offset = t->gates.offsets[i];
        umbra_trace_name name = umbra_trace_gate_name(layers->layer[i]);
        rc = umbra_trace_hash_file(fd, t->gates.path, offset, values * sizeof(float), &hash, err);
        if (rc == UMBRA_OK && hash != t->m.gates[i])
            rc = umbra_trace_fail_checksum(t->gates.path, "tensor", name.text, offset, hash,
                                           t->m.gates[i], err);
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
    const umbra_trace_file *f = &t->shards[shard];
    uint64_t hash = 0;
    int fd;
    int rc = umbra_trace_reopen(f, &fd, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_trace_hash_file(fd, f->path, f->offsets[0], (uint64_t)s->tokens * sizeof(int32_t),
                               &hash, err);
    if (rc == UMBRA_OK && hash != s->checksums[0])
        rc = umbra_trace_fail_checksum(f->path, "tensor", "tokens", f->offsets[0], hash,
                                       s->checksums[0], err);
    for (int i = 0; i < s->documents && rc == UMBRA_OK; i++) {
        const umbra_trace_document *d = &t->m.documents[s->first_document + i];
        uint64_t offset = f->offsets[0] + (uint64_t)d->first * sizeof(int32_t);
        rc = umbra_trace_hash_file(fd, f->path, offset, (uint64_t)d->tokens * sizeof(int32_t),
                                   &hash, err);
        if (rc == UMBRA_OK && hash != d->hash)
            rc = umbra_trace_fail_checksum(f->path, "document", d->id, offset, hash, d->hash, err);
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
