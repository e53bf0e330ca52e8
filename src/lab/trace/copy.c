/* Moves a shard from the writer that made it to the one whose folder it belongs to. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/trace/writer.h"

/* In front of every piece; tensor 0 ends the shard, with the giver's status in place of bytes. */
typedef struct piece_head {
    int32_t tensor;
    int32_t bytes;
    uint64_t offset;
} piece_head;

/* ---- giving ---- */

static int give_tensor(umbra_trace_writer *w, const umbra_safetensors *file, int tensor,
                       umbra_trace_move move, void *user, umbra_error *err)
{
    const umbra_safetensors_tensor *t = umbra_safetensors_at(file, (size_t)tensor);
    uint64_t row = t->shape[0] > 0 ? t->bytes / t->shape[0] : 0;
    uint64_t most = row > 0 && row < UMBRA_TRACE_PIECE ? UMBRA_TRACE_PIECE / row : 1;
    int rc = UMBRA_OK;
    for (uint64_t at = 0, n; rc == UMBRA_OK && at < t->shape[0]; at += n) {
        n = t->shape[0] - at < most ? t->shape[0] - at : most;
        piece_head head = {tensor, (int32_t)(n * row), at * row};
        rc = umbra_safetensors_read_rows(file, t, at, n, w->piece, err);
        if (rc == UMBRA_OK)
            rc = move(user, &head, sizeof head, err);
        if (rc == UMBRA_OK)
            rc = move(user, w->piece, n * row, err);
    }
    return rc;
}

int umbra_trace_shard_give(umbra_trace_writer *w, umbra_trace_move move, void *user,
                           umbra_error *err)
{
    umbra_safetensors *file = NULL;
    char *path = umbra_trace_path(w->folder, umbra_trace_shard_name(w->m.n_shards - 1).text);
    int rc = path ? umbra_safetensors_open(&file, path, err)
                  : umbra_fail_nomem(err, "a path", strlen(w->folder));
    for (int i = 1; rc == UMBRA_OK && i < umbra_trace_tensors(&w->m.info, &w->m.layers); i++)
        rc = give_tensor(w, file, i, move, user, err);
    piece_head end = {.bytes = rc};
    int moved = move(user, &end, sizeof end, rc == UMBRA_OK ? err : NULL);
    umbra_safetensors_close(&file);
    if (path)
        unlink(path);
    umbra_free(path);
    return rc == UMBRA_OK ? moved : rc;
}

/* ---- taking ---- */

/* Takes every piece, also once it can no longer be kept: the giver does not stop for that. */
static int take_pieces(umbra_trace_writer *w, int status, umbra_trace_move move, void *user,
                       umbra_error *err)
{
    piece_head head;
    for (;;) {
        int rc = move(user, &head, sizeof head, status == UMBRA_OK ? err : NULL);
        if (rc != UMBRA_OK)
            return rc;
        if (head.tensor == 0) /* what failed over there is told there */
            return status == UMBRA_OK && head.bytes != UMBRA_OK ? UMBRA_E_NONFINITE : status;
        rc = move(user, w->piece, (uint64_t)head.bytes, status == UMBRA_OK ? err : NULL);
        if (rc != UMBRA_OK)
            return rc;
        if (status == UMBRA_OK)
            status = umbra_trace_put_piece(w, head.tensor, head.offset, w->piece,
                                           (uint64_t)head.bytes, true, err);
    }
}

int umbra_trace_shard_take(umbra_trace_writer *w, const umbra_trace_document *documents, int n,
                           const int32_t *tokens, umbra_trace_move move, void *user,
                           umbra_error *err)
{
    int rc = umbra_trace_shard_begin(w, documents, n, tokens, err);
    rc = take_pieces(w, rc, move, user, err);
    for (int i = 0; rc == UMBRA_OK && i < w->m.layers.moe_layers * UMBRA_TRACE_STREAMS; i++)
        w->streams[i].count = w->shard.tokens;
    if (rc == UMBRA_OK)
        return umbra_trace_shard_end(w, err);
    umbra_trace_shard_abandon(w);
    return rc;
}

void umbra_trace_shard_drop(umbra_trace_writer *w, umbra_trace_move move, void *user)
{
    (void)take_pieces(w, UMBRA_E_NONFINITE, move, user, NULL);
}
