/* Writes a rank's part of a model, and knows one again. */
#include "engine/part.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

enum { VERSION = 1, COPY_BYTES = 4 << 20 };

static const char magic[8] = "UMBRAPRT";

typedef struct record {
    char magic[8];
    uint32_t version, rank, ranks, pairs;
    uint64_t owners;
    uint64_t hash;
} record;

static uint64_t record_hash(const record *r)
{
    return XXH3_64bits(r, offsetof(record, hash));
}

static size_t pairs_of(const umbra_model *model)
{
    return (size_t)model->config.layers * (size_t)model->config.experts;
}

/* ---- knowing one ---- */

static int damaged(const char *path, const char *what, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_FORMAT, "%s: the part of a model is damaged: %s; write it again",
                      path, what);
}

static int read_owners(int fd, const char *path, const record *r, uint64_t end, uint16_t *owners,
                       umbra_error *err)
{
    size_t bytes = r->pairs * sizeof *owners;
    if (bytes > end)
        return damaged(path, "it is too short", err);
    int rc = umbra_file_read(fd, path, owners, bytes, end - bytes, err);
    if (rc == UMBRA_OK && XXH3_64bits(owners, bytes) != r->owners)
        return damaged(path, "who has which experts does not match its hash", err);
    for (uint32_t i = 0; rc == UMBRA_OK && i < r->pairs; i++)
        if (owners[i] >= r->ranks)
            return damaged(path, "an expert is of a rank that is not there", err);
    return rc;
}

static int check_record(const umbra_model *model, const char *path, const record *r,
                        umbra_error *err)
{
    if (r->version != VERSION)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: a part of a model, of version %" PRIu32 "; this Umbra reads %d",
                          path, r->version, VERSION);
    if (r->pairs != pairs_of(model) || r->ranks > UMBRA_MAX_RANKS || r->rank >= r->ranks)
        return damaged(path, "it says ranks or experts that cannot be", err);
    return UMBRA_OK;
}

int umbra_part_read(const umbra_model *model, int *rank, int *ranks, uint16_t *owners,
                    umbra_error *err)
{
    const char *path = umbra_gguf_file_path(model->gguf, umbra_gguf_file_count(model->gguf) - 1);
    record r = {0};
    int fd;
    uint64_t bytes;
    *rank = *ranks = 0;
    int rc = umbra_file_open(&fd, path, &bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    if (bytes >= sizeof r)
        rc = umbra_file_read(fd, path, &r, sizeof r, bytes - sizeof r, err);
    bool found =
        rc == UMBRA_OK && memcmp(r.magic, magic, sizeof magic) == 0 && r.hash == record_hash(&r);
    if (found)
        rc = check_record(model, path, &r, err);
    if (found && rc == UMBRA_OK && owners)
        rc = read_owners(fd, path, &r, bytes - sizeof r, owners, err);
    close(fd);
    if (found && rc == UMBRA_OK) {
        *rank = (int)r.rank;
        *ranks = (int)r.ranks;
    }
    return rc;
}

int umbra_part_check(const umbra_model *model, const umbra_division *d, umbra_error *err)
{
    int rank, ranks;
    size_t bytes = pairs_of(model) * sizeof(uint16_t);
    uint16_t *owners = umbra_calloc(bytes, 1);
    if (!owners)
        return umbra_fail_nomem(err, "the division of experts", bytes);
    int rc = umbra_part_read(model, &rank, &ranks, owners, err);
    const char *path = umbra_gguf_path(model->gguf);
    if (rc == UMBRA_OK && ranks > 0 &&
        (!d->owner || ranks != d->ranks.count || rank != d->ranks.rank))
        rc = umbra_fail(err, UMBRA_E_MISMATCH,
                        "%s: has the experts of rank %d of %d alone; let mpirun start %d ranks, "
                        "each with its own part",
                        path, rank, ranks, ranks);
    else if (rc == UMBRA_OK && ranks > 0 && memcmp(owners, d->owner, bytes) != 0)
        rc = umbra_fail(err, UMBRA_E_MISMATCH,
                        "%s: its experts were divided otherwise than those of rank 0; write the "
                        "parts of all ranks from one usage file",
                        path);
    umbra_free(owners);
    return rc;
}

/* ---- writing one ---- */

/* Bytes of a file. */
typedef struct range {
    uint64_t begin, end;
} range;

/* A file that is being copied. */
typedef struct copy {
    const char *path;
    int fd;
    char *buffer; /* COPY_BYTES */
    umbra_replacement to;
    const umbra_progress *progress;
    uint64_t done, total; /* bytes looked at, of all files */
} copy;

static int by_begin(const void *a, const void *b)
{
    const range *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* The places of other ranks' experts in a file, ascending; returns their number. */
static size_t find_holes(const umbra_division *d, const umbra_model *model, int file, range *out)
{
    size_t pairs = (size_t)d->layers * (size_t)d->experts, n = 0;
    for (size_t i = 0; i < pairs; i++) {
        const umbra_slice *s = model->slices + i * UMBRA_STORE_SLICES;
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            if (d->owner[i] != d->ranks.rank && s[which].bytes > 0 && s[which].file == file)
                out[n++] = (range){s[which].offset, s[which].offset + s[which].bytes};
    }
    qsort(out, n, sizeof *out, by_begin);
    return n;
}

static int copy_range(copy *c, range r, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (uint64_t at = r.begin; rc == UMBRA_OK && at < r.end; at += COPY_BYTES) {
        uint64_t n = r.end - at < COPY_BYTES ? r.end - at : COPY_BYTES;
        if (umbra_progress_interrupted(c->progress))
            return umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
        rc = umbra_file_read(c->fd, c->path, c->buffer, n, at, err);
        if (rc == UMBRA_OK)
            rc = umbra_replace_write(&c->to, c->buffer, n, at, err);
        c->done += n;
        umbra_progress_report(c->progress, "writing the part", "bytes", c->done, c->total);
    }
    return rc;
}

/* Everything but the holes. Slices that lie side by side leave nothing between them. */
static int copy_around(copy *c, const range *holes, size_t n, uint64_t bytes, umbra_error *err)
{
    uint64_t at = 0;
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < n; i++) {
        rc = copy_range(c, (range){at, holes[i].begin > at ? holes[i].begin : at}, err);
        c->done += holes[i].end - holes[i].begin;
        at = holes[i].end;
    }
    return rc == UMBRA_OK ? copy_range(c, (range){at, bytes}, err) : rc;
}

static int write_record(copy *c, const umbra_division *d, uint64_t at, umbra_error *err)
{
    size_t pairs = (size_t)d->layers * (size_t)d->experts, bytes = pairs * sizeof *d->owner;
    record r = {.version = VERSION,
                .rank = (uint32_t)d->ranks.rank,
                .ranks = (uint32_t)d->ranks.count,
                .pairs = (uint32_t)pairs,
                .owners = XXH3_64bits(d->owner, bytes)};
    memcpy(r.magic, magic, sizeof magic);
    r.hash = record_hash(&r);
    int rc = umbra_replace_write(&c->to, d->owner, bytes, at, err);
    return rc == UMBRA_OK ? umbra_replace_write(&c->to, &r, sizeof r, at + bytes, err) : rc;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int copy_file(copy *c, const umbra_division *d, const umbra_model *model, uint32_t file,
                     const char *folder, range *holes, umbra_error *err)
{
    bool last = file + 1 == umbra_gguf_file_count(model->gguf);
    c->path = umbra_gguf_file_path(model->gguf, file);
    size_t room = strlen(folder) + strlen(c->path) + 2;
    char *out = umbra_calloc(room, 1);
    uint64_t bytes;
    if (!out)
        return umbra_fail_nomem(err, "a path", room);
    snprintf(out, room, "%s/%s", folder, base_name(c->path));
    int rc = umbra_file_open(&c->fd, c->path, &bytes, err);
    if (rc == UMBRA_OK) {
        rc = umbra_replace_begin(&c->to, out, err);
        if (rc == UMBRA_OK)
            rc = copy_around(c, holes, find_holes(d, model, (int)file, holes), bytes, err);
        if (rc == UMBRA_OK && last)
            rc = write_record(c, d, bytes, err);
        if (rc == UMBRA_OK)
            rc = umbra_replace_commit(&c->to, NULL, err);
        else
            umbra_replace_abort(&c->to);
        close(c->fd);
    }
    umbra_free(out);
    return rc;
}

int umbra_write_part(const umbra_model *model, const umbra_ranks *ranks, const char *folder,
                     const umbra_progress *progress, umbra_error *err)
{
    umbra_division d = {0};
    int of_rank, of_ranks;
    size_t slices = pairs_of(model) * UMBRA_STORE_SLICES;
    int rc = umbra_part_read(model, &of_rank, &of_ranks, NULL, err);
    if (rc == UMBRA_OK)
        rc = umbra_division_init(&d, model, ranks, err);
    if (rc == UMBRA_OK && !d.owner)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "a model is divided among 2 ranks or more");
    if (rc == UMBRA_OK && of_ranks > 0)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "%s: is itself a part of a model",
                        umbra_gguf_path(model->gguf));
    range *holes = umbra_calloc(slices, sizeof *holes);
    copy c = {.buffer = umbra_calloc(COPY_BYTES, 1),
              .to.fd = -1,
              .progress = progress,
              .total = umbra_gguf_file_bytes(model->gguf)};
    if (rc == UMBRA_OK && (!holes || !c.buffer))
        rc = umbra_fail_nomem(err, "copying a model", COPY_BYTES);
    for (uint32_t i = 0; rc == UMBRA_OK && i < umbra_gguf_file_count(model->gguf); i++)
        rc = copy_file(&c, &d, model, i, folder, holes, err);
    umbra_free(c.buffer);
    umbra_free(holes);
    umbra_division_free(&d);
    return rc;
}
