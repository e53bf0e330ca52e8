/* The dense weights: read once, at opening, into one arena. */
#include <stdio.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "engine/internal.h"

enum { READ_BYTES = 1 << 20, PIECE_BYTES = 2 << 20, PIECES_AT_ONCE = 64 };

typedef struct loader {
    const umbra_model *model;
    const umbra_device *device;
    const umbra_progress *progress;
    char *next; /* free place in the arena */
    uint64_t done, total;
    umbra_error *err;
} loader;

static int read_tensor(loader *ld, const umbra_gguf_tensor *t)
{
    for (uint64_t at = 0; at < t->bytes; at += READ_BYTES) {
        uint64_t n = t->bytes - at < READ_BYTES ? t->bytes - at : READ_BYTES;
        if (ld->device->tick)
            ld->device->tick(ld->device->user);
        int rc = umbra_gguf_read_tensor(ld->model->gguf, t, at, ld->next + at, n, ld->err);
        if (rc != UMBRA_OK)
            return rc;
        ld->done += n;
        umbra_progress_report(ld->progress, "reading weights", "bytes", ld->done, ld->total);
        if (umbra_progress_interrupted(ld->progress))
            return umbra_fail(ld->err, UMBRA_E_INTERRUPTED, "interrupted while reading weights");
    }
    return UMBRA_OK;
}

/* "F32, F16, ..." of the types that the kernels multiply. */
static const char *type_names(const umbra_kernels *kernels, char *out, size_t size)
{
    size_t used = 0;
    for (uint32_t id = 0; id < UMBRA_DTYPE_COUNT && used < size; id++)
        if (kernels->matmul[id])
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     umbra_dtype_get(id).name);
    return out;
}

static int check_type(const loader *ld, const umbra_gguf_tensor *t)
{
    if (ld->device->kernels->matmul[t->dtype])
        return UMBRA_OK;
    char names[256];
    return umbra_fail_at(ld->err, UMBRA_E_UNSUPPORTED, t->offset,
                         "%s: tensor %s has type %s, which is not supported; supported: %s",
                         umbra_gguf_file_path(ld->model->gguf, t->file),
                         umbra_quote(t->name.data, t->name.bytes).text,
                         umbra_dtype_get(t->dtype).name,
                         type_names(ld->device->kernels, names, sizeof names));
}

static int load_tensor(loader *ld, const umbra_gguf_tensor *t, umbra_matrix *out)
{
    int rc = read_tensor(ld, t);
    if (rc != UMBRA_OK)
        return rc;
    *out = (umbra_matrix){
        .data = ld->next,
        .row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(t->dtype), t->shape[0]),
        .dtype = t->dtype,
        .rows = (int)(t->shape[1] * t->shape[2] * t->shape[3]),
        .columns = (int)t->shape[0],
    };
    ld->next += umbra_align_up(t->bytes, 64);
    return UMBRA_OK;
}

/* Numbers to compute with. */
static int load_weights(loader *ld, const umbra_gguf_tensor *t, umbra_matrix *out)
{
    int rc = check_type(ld, t);
    return rc == UMBRA_OK ? load_tensor(ld, t, out) : rc;
}

/* Ids of experts: in range, and every token's are distinct. */
static int load_ids(loader *ld, const umbra_gguf_tensor *t, umbra_matrix *out)
{
    int rc = load_tensor(ld, t, out);
    const int32_t *ids = out->data;
    int n = out->columns, experts = ld->model->config.experts;
    for (int i = 0; rc == UMBRA_OK && i < out->rows * n; i++) {
        bool sound = ids[i] >= 0 && ids[i] < experts;
        for (int j = i / n * n; j < i; j++)
            sound = sound && ids[j] != ids[i];
        if (!sound)
            return umbra_fail_at(ld->err, UMBRA_E_FORMAT, t->offset + (uint64_t)i * sizeof *ids,
                                 "%s: tensor %s names expert %d for token %d, which must be a "
                                 "distinct one of 0..%d",
                                 umbra_gguf_file_path(ld->model->gguf, t->file),
                                 umbra_quote(t->name.data, t->name.bytes).text, ids[i], i / n,
                                 experts - 1);
    }
    return rc;
}

static int load_all(loader *ld, umbra_weights *w)
{
    const umbra_model *model = ld->model;
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_MODEL_ROLES; i++) {
        if (umbra_weights_are_lent(model, i))
            continue;
        if (i == UMBRA_OUTPUT && model->role[i] == model->role[UMBRA_TOKEN_EMBEDDING])
            w->model[i] = w->model[UMBRA_TOKEN_EMBEDDING];
        else if (model->role[i])
            rc = load_weights(ld, model->role[i], &w->model[i]);
    }
    for (int l = 0; rc == UMBRA_OK && l < model->config.layers; l++) {
        for (int i = 0; rc == UMBRA_OK && i < UMBRA_LAYER_ROLES; i++)
            if (model->layers[l].role[i])
                rc = (i == UMBRA_TOKEN_EXPERTS ? load_ids : load_weights)(
                    ld, model->layers[l].role[i], &w->layer[l][i]);
        for (int i = 0; rc == UMBRA_OK && i < UMBRA_STORE_SLICES; i++)
            if (model->layers[l].experts[i].tensor)
                rc = check_type(ld, model->layers[l].experts[i].tensor);
    }
    return rc;
}

int umbra_weights_load(umbra_weights *w, const umbra_model *model, const umbra_device *device,
                       const umbra_progress *progress, umbra_error *err)
{
    w->arena_bytes = umbra_plan_dense_bytes(model);
    w->layer = umbra_calloc((size_t)model->config.layers, sizeof *w->layer);
    w->arena = umbra_map(w->arena_bytes);
    int rc = w->layer && w->arena ? UMBRA_OK
                                  : umbra_fail_nomem(err, "the dense weights", w->arena_bytes);
    loader ld = {model, device, progress, w->arena, 0, w->arena_bytes, err};
    if (rc == UMBRA_OK)
        rc = load_all(&ld, w);
    if (rc != UMBRA_OK)
        umbra_weights_free(w);
    return rc;
}

void umbra_weights_free(umbra_weights *w)
{
    umbra_unmap(w->arena, w->arena_bytes);
    umbra_free(w->layer);
    *w = (umbra_weights){0};
}

typedef struct pieces {
    const char *data;
    uint64_t bytes;
    uint64_t hash[PIECES_AT_ONCE];
} pieces;

static void hash_pieces(void *context, int begin, int end, int worker)
{
    pieces *p = context;
    (void)worker;
    for (int i = begin; i < end; i++) {
        uint64_t at = (uint64_t)i * PIECE_BYTES, left = p->bytes - at;
        p->hash[i] = XXH3_64bits(p->data + at, left < PIECE_BYTES ? left : PIECE_BYTES);
    }
}

uint64_t umbra_weights_hash(const umbra_weights *w, const umbra_device *device)
{
    const uint64_t together = (uint64_t)PIECE_BYTES * PIECES_AT_ONCE;
    uint64_t hash = 0;
    for (uint64_t at = 0; at < w->arena_bytes; at += together) {
        uint64_t left = w->arena_bytes - at;
        pieces p = {.data = (const char *)w->arena + at,
                    .bytes = left < together ? left : together};
        int n = (int)((p.bytes + PIECE_BYTES - 1) / PIECE_BYTES);
        if (device->tick)
            device->tick(device->user);
        umbra_device_run(device, n, 1, hash_pieces, &p);
        hash = XXH3_64bits_withSeed(p.hash, (size_t)n * sizeof p.hash[0], hash);
    }
    return hash;
}
