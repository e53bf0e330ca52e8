/* Writes one shard of a trace, tensor by tensor. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "lab/trace/writer.h"

/* ---- beginning ---- */

/* Makes room for n more documents and one more shard in the manifest. */
static int reserve(umbra_trace_writer *w, int n, umbra_error *err)
{
    umbra_trace_manifest *m = &w->m;
    if (n > m->documents_room - m->n_documents) {
        size_t room = (size_t)m->n_documents + (size_t)n + (size_t)m->n_documents / 2;
        void *p = umbra_reallocarray(m->documents, room, sizeof *m->documents);
        if (!p)
            return umbra_fail_nomem(err, "a list of documents", room * sizeof *m->documents);
        m->documents = p;
        m->documents_room = (int)room;
    }
    if (m->n_shards == m->shards_room) {
        size_t room = (size_t)m->n_shards + (size_t)m->n_shards / 2 + 16;
        void *p = umbra_reallocarray(m->shards, room, sizeof *m->shards);
        if (!p)
            return umbra_fail_nomem(err, "a list of shards", room * sizeof *m->shards);
        m->shards = p;
        m->shards_room = (int)room;
    }
    return UMBRA_OK;
}

/* Checks the documents of a shard and puts them behind those of the manifest, not yet counted. */
static int take_documents(umbra_trace_writer *w, const umbra_trace_document *documents, int n,
                          const int32_t *tokens, umbra_error *err)
{
    umbra_trace_manifest *m = &w->m;
    umbra_trace_document *to = m->documents + m->n_documents;
    umbra_trace_shard s = {.first_document = m->n_documents, .documents = n};
    for (int i = 0; i < n; i++) {
        const umbra_trace_document *d = &documents[i];
        if (!d->id[0] || !umbra_trace_is_text(d->id, sizeof d->id))
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: the id of document %d of the shard is not 1 to %d bytes of text",
                              w->folder, i, UMBRA_DOCUMENT_ID_CHARS - 1);
        if (d->tokens < 1 || d->tokens > INT32_MAX - s.tokens)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: document \"%s\" has %d tokens, after %d of the shard", w->folder,
                              d->id, d->tokens, s.tokens);
        to[i] = (umbra_trace_document){.generated = d->generated,
                                       .shard = m->n_shards,
                                       .first = s.tokens,
                                       .tokens = d->tokens,
                                       .first_row = s.rows,
                                       .rows = umbra_trace_rows(d->tokens, m->info.stride)};
        memcpy(to[i].id, d->id, strlen(d->id) + 1);
        for (int t = s.tokens; t < s.tokens + d->tokens; t++)
            if (tokens[t] < 0)
                return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: document \"%s\": token %d is %d",
                                  w->folder, d->id, t - s.tokens, tokens[t]);
        to[i].hash = umbra_trace_hash(tokens + s.tokens, (size_t)d->tokens);
        s.tokens += d->tokens;
        s.rows += to[i].rows;
    }
    w->shard = s;
    return UMBRA_OK;
}

static int check_begin(umbra_trace_writer *w, int n, umbra_error *err)
{
    if (w->file || n < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: %s", w->folder,
                          w->file ? "a shard is open already" : "a shard needs a document");
    if (w->m.n_shards == UMBRA_TRACE_SHARDS_MAX || n > INT32_MAX / 2 - w->m.n_documents)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: a trace has at most %d shards: use another folder", w->folder,
                          UMBRA_TRACE_SHARDS_MAX);
    return UMBRA_OK;
}

static int allocate_streams(umbra_trace_writer *w, umbra_error *err)
{
    size_t tensors = (size_t)umbra_trace_tensors(&w->m.info, &w->m.layers);
    size_t streams = (size_t)w->m.layers.moe_layers * UMBRA_TRACE_STREAMS;
    w->words = ((size_t)w->shard.tokens + 63) / 64;
    umbra_free(w->seen);
    w->seen = umbra_calloc(streams * w->words, sizeof *w->seen);
    if (!w->streams)
        w->streams = umbra_calloc(streams, sizeof *w->streams);
    if (!w->hashes)
        w->hashes = umbra_aligned_alloc(_Alignof(XXH3_state_t), tensors * sizeof *w->hashes);
    w->shard.checksums = umbra_calloc(tensors, sizeof *w->shard.checksums);
    if (!w->seen || !w->streams || !w->hashes || !w->shard.checksums)
        return umbra_fail_nomem(err, "a shard",
                                streams * w->words * sizeof *w->seen + tensors * sizeof *w->hashes);
    memset(w->streams, 0, streams * sizeof *w->streams);
    for (size_t i = 0; i < tensors; i++)
        XXH3_64bits_reset(&w->hashes[i]);
    return UMBRA_OK;
}

static char *shard_path(const umbra_trace_writer *w, const char *suffix)
{
    char name[UMBRA_TRACE_NAME_CHARS + 16];
    snprintf(name, sizeof name, "%s%s", umbra_trace_shard_name(w->m.n_shards).text, suffix);
    return umbra_trace_path(w->folder, name);
}

static int create_file(umbra_trace_writer *w, umbra_error *err)
{
    size_t n = (size_t)umbra_trace_tensors(&w->m.info, &w->m.layers);
    umbra_safetensors_tensor *tensors = umbra_calloc(n, sizeof *tensors);
    umbra_trace_name *names = umbra_calloc(n, sizeof *names);
    char *path = shard_path(w, "");
    int rc = UMBRA_OK;
    if (tensors && names && path) {
        for (size_t i = 0; i < n; i++) {
            names[i] =
                umbra_trace_tensor(&w->m.info, &w->m.layers, (int)i, (uint64_t)w->shard.tokens,
                                   (uint64_t)w->shard.rows, &tensors[i]);
            tensors[i].name = names[i].text;
        }
        rc = umbra_safetensors_create(&w->file, path, tensors, n, NULL, 0, err);
    } else {
        rc = umbra_fail_nomem(err, "the tensors of a shard", n * sizeof *tensors);
    }
    umbra_free(tensors);
    umbra_free(names);
    umbra_free(path);
    return rc;
}

int umbra_trace_put_piece(umbra_trace_writer *w, int tensor, uint64_t offset, const void *data,
                          uint64_t bytes, bool hashed, umbra_error *err)
{
    if (hashed)
        XXH3_64bits_update(&w->hashes[tensor], data, (size_t)bytes);
    return umbra_safetensors_write(w->file, (size_t)tensor, offset, data, bytes, err);
}

int umbra_trace_shard_begin(umbra_trace_writer *writer, const umbra_trace_document *documents,
                            int n, const int32_t *tokens, umbra_error *err)
{
    umbra_trace_writer *w = writer;
    int rc = check_begin(w, n, err);
    if (rc != UMBRA_OK)
        return rc; /* a shard that is open stays so */
    rc = umbra_trace_finish_gates(w, err);
    if (rc == UMBRA_OK)
        rc = reserve(w, n, err);
    if (rc == UMBRA_OK)
        rc = take_documents(w, documents, n, tokens, err);
    if (rc == UMBRA_OK &&
        w->m.bytes + umbra_trace_manifest_growth(&w->m, documents, n) > UMBRA_TRACE_MANIFEST_MAX)
        rc = umbra_fail(err, UMBRA_E_UNSUPPORTED,
                        "%s: the manifest would grow beyond %d bytes: use another folder",
                        w->folder, UMBRA_TRACE_MANIFEST_MAX);
    if (rc == UMBRA_OK)
        rc = allocate_streams(w, err);
    if (rc == UMBRA_OK)
        rc = create_file(w, err);
    if (rc == UMBRA_OK)
        rc = umbra_trace_put_piece(w, 0, 0, tokens, (uint64_t)w->shard.tokens * sizeof *tokens,
                                   true, err);
    if (rc != UMBRA_OK)
        umbra_trace_shard_abandon(w);
    return rc;
}

void umbra_trace_shard_abandon(umbra_trace_writer *w)
{
    umbra_safetensors_abandon(&w->file);
    umbra_free(w->shard.checksums);
    w->shard = (umbra_trace_shard){0};
}

/* ---- putting ---- */

/* Checks that tokens [first, first + n) belong to the shard and the layer has experts; *place is
 * its number among those. what: for the message. */
static int check_put(const umbra_trace_writer *w, const char *what, int layer, int first, int n,
                     int *place, umbra_error *err)
{
    if (!w->file)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: %s comes while no shard is open", w->folder,
                          what);
    *place = layer >= 0 && layer < w->m.info.layers ? w->m.layers.place[layer] : -1;
    if (*place < 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: %s comes for layer %d, which has no router",
                          w->folder, what, layer);
    if (first < 0 || n < 0 || first > w->shard.tokens || n > w->shard.tokens - first)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: %s comes for %d tokens from %d on, the shard has %d", w->folder,
                          what, n, first, w->shard.tokens);
    return UMBRA_OK;
}

/* Marks the tokens as having come; none may have come before. */
static int mark(umbra_trace_writer *w, const char *what, int layer, int stream, int first, int n,
                umbra_error *err)
{
    umbra_trace_stream *s = &w->streams[stream];
    uint64_t *seen = w->seen + (size_t)stream * w->words;
    for (int t = first; t < first + n; t++)
        if (seen[t / 64] >> (t % 64) & 1)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: %s of layer %d comes twice for token %d of the shard", w->folder,
                              what, layer, t);
    for (int t = first; t < first + n; t++)
        seen[t / 64] |= (uint64_t)1 << (t % 64);
    s->unsorted |= first != s->next;
    s->next = first + n;
    s->count += n;
    return UMBRA_OK;
}

/* The document in which token `first` of the open shard lies. */
static const umbra_trace_document *document_of(const umbra_trace_writer *w, int first)
{
    const umbra_trace_document *d = w->m.documents + w->shard.first_document;
    int low = 0, high = w->shard.documents - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (d[middle].first <= first)
            low = middle;
        else
            high = middle - 1;
    }
    return &d[low];
}

/* Writes rows [row, end) of a tensor of states. states: of the first of them, `step` floats from
 * one to the next. */
static int put_rows(umbra_trace_writer *w, int tensor, int row, int end, const float *states,
                    size_t step, bool hashed, umbra_error *err)
{
    size_t hidden = (size_t)w->m.info.hidden;
    size_t row_bytes = w->m.info.int8 ? hidden : 2 * hidden;
    int most = (int)(UMBRA_TRACE_PIECE / row_bytes);
    int rc = UMBRA_OK;
    if (most > UMBRA_TRACE_PIECE_ROWS)
        most = UMBRA_TRACE_PIECE_ROWS;
    for (int n; row < end && rc == UMBRA_OK; row += n, states += (size_t)n * step) {
        n = end - row < most ? end - row : most;
        for (size_t i = 0; i < (size_t)n; i++) {
            const float *from = states + i * step;
            unsigned char *to = w->piece + i * row_bytes;
            if (w->m.info.int8)
                w->scales[i] = umbra_trace_to_i8(from, hidden, (int8_t *)to);
            else
                umbra_trace_to_bf16(from, hidden, (uint16_t *)(void *)to);
        }
        rc = umbra_trace_put_piece(w, tensor, (uint64_t)row * row_bytes, w->piece,
                                   (uint64_t)n * row_bytes, hashed, err);
        if (rc == UMBRA_OK && w->m.info.int8)
            rc = umbra_trace_put_piece(w, tensor + UMBRA_TRACE_PART_INPUT_SCALE,
                                       (uint64_t)row * sizeof(float), w->scales,
                                       (uint64_t)n * sizeof(float), hashed, err);
    }
    return rc;
}

int umbra_trace_put_states(umbra_trace_writer *writer, umbra_trace_state which, int layer,
                           int first, int n, const float *states, umbra_error *err)
{
    umbra_trace_writer *w = writer;
    const char *what = which == UMBRA_TRACE_INPUT ? "the input" : "the hidden state";
    size_t hidden = (size_t)w->m.info.hidden;
    int stride = w->m.info.stride, place;
    int rc = check_put(w, what, layer, first, n, &place, err);
    if (rc != UMBRA_OK || n == 0)
        return rc;
    const umbra_trace_document *d = document_of(w, first);
    int offset = first - d->first;
    if (n > d->tokens - offset)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s: %d states from token %d on reach past the document \"%s\"",
                          w->folder, n, first, d->id);
    size_t bad = umbra_trace_first_bad(states, (size_t)n * hidden);
    if (bad < (size_t)n * hidden)
        return umbra_fail(err, UMBRA_E_NONFINITE,
                          "%s: %s of layer %d for token %d of document \"%s\" holds %g in column "
                          "%zu",
                          w->folder, what, layer, offset + (int)(bad / hidden), d->id,
                          (double)states[bad], bad % hidden);
    int stream = place * UMBRA_TRACE_STREAMS + (int)which;
    rc = mark(w, what, layer, stream, first, n, err);
    if (rc != UMBRA_OK)
        return rc;
    int row = umbra_trace_rows(offset, stride), end = umbra_trace_rows(offset + n, stride);
    if (row == end)
        return UMBRA_OK; /* the stride leaves all of them out */
    size_t skipped = (size_t)row * (size_t)stride - (size_t)offset;
    return put_rows(w, umbra_trace_tensor_number(&w->m.info, place, (umbra_trace_part)which),
                    d->first_row + row, d->first_row + end, states + skipped * hidden,
                    (size_t)stride * hidden, !w->streams[stream].unsorted, err);
}

/* Are these the ids of different experts of the model? */
static bool good_experts(const int32_t *experts, int used, int n_experts)
{
    for (int i = 0; i < used; i++) {
        if (experts[i] < 0 || experts[i] >= n_experts)
            return false;
        for (int j = 0; j < i; j++)
            if (experts[j] == experts[i])
                return false;
    }
    return true;
}

static int check_routing(const umbra_trace_writer *w, int layer, int first, int n,
                         const int32_t *experts, const float *weights, umbra_error *err)
{
    size_t used = (size_t)w->m.info.used;
    uint16_t f16[UMBRA_TRACE_USED_MAX];
    for (int t = 0; t < n; t++) {
        size_t at = (size_t)t * used;
        bool good = good_experts(experts + at, w->m.info.used, w->m.info.experts);
        if (!good || !umbra_trace_to_f16(weights + at, used, f16))
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: %s of layer %d for token %d of the shard %s", w->folder,
                              good ? "the weights" : "the experts", layer, first + t,
                              good ? "do not fit F16" : "are not different ones of the model");
    }
    return UMBRA_OK;
}

int umbra_trace_put_routing(umbra_trace_writer *writer, int layer, int first, int n,
                            const int32_t *experts, const float *weights, umbra_error *err)
{
    umbra_trace_writer *w = writer;
    size_t used = (size_t)w->m.info.used;
    uint16_t *piece = (uint16_t *)(void *)w->piece;
    int place;
    int rc = check_put(w, "the routing", layer, first, n, &place, err);
    if (rc == UMBRA_OK)
        rc = check_routing(w, layer, first, n, experts, weights, err);
    if (rc != UMBRA_OK)
        return rc;
    int stream = place * UMBRA_TRACE_STREAMS + UMBRA_TRACE_ROUTING;
    rc = mark(w, "the routing", layer, stream, first, n, err);
    int tensor = umbra_trace_tensor_number(&w->m.info, place, UMBRA_TRACE_PART_EXPERTS);
    size_t most = UMBRA_TRACE_PIECE / (used * sizeof *piece);
    for (size_t done = 0, rows; done < (size_t)n && rc == UMBRA_OK; done += rows) {
        rows = (size_t)n - done < most ? (size_t)n - done : most;
        uint64_t bytes = rows * used * sizeof *piece;
        uint64_t offset = ((uint64_t)first + done) * used * sizeof *piece;
        bool hashed = !w->streams[stream].unsorted;
        for (size_t i = 0; i < rows * used; i++)
            piece[i] = (uint16_t)experts[done * used + i];
        rc = umbra_trace_put_piece(w, tensor, offset, piece, bytes, hashed, err);
        (void)umbra_trace_to_f16(weights + done * used, rows * used, piece); /* checked above */
        if (rc == UMBRA_OK)
            rc = umbra_trace_put_piece(w, tensor + 1, offset, piece, bytes, hashed, err);
    }
    return rc;
}

/* ---- ending ---- */

static int check_complete(const umbra_trace_writer *w, umbra_error *err)
{
    static const char *const names[UMBRA_TRACE_STREAMS] = {"input", "hidden state", "routing"};
    if (!w->file)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: no shard is open", w->folder);
    for (int i = 0; i < w->m.layers.moe_layers * UMBRA_TRACE_STREAMS; i++)
        if (w->streams[i].count != w->shard.tokens)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s: the %s of layer %d has come for %d of the shard's %d tokens",
                              w->folder, names[i % UMBRA_TRACE_STREAMS],
                              w->m.layers.layer[i / UMBRA_TRACE_STREAMS], w->streams[i].count,
                              w->shard.tokens);
    return UMBRA_OK;
}

/* The stream that fills a tensor, or NULL: the tokens. */
static const umbra_trace_stream *stream_of(const umbra_trace_writer *w, int tensor)
{
    static const int streams[UMBRA_TRACE_PARTS] = {UMBRA_TRACE_INPUT,   UMBRA_TRACE_HIDDEN,
                                                   UMBRA_TRACE_ROUTING, UMBRA_TRACE_ROUTING,
                                                   UMBRA_TRACE_INPUT,   UMBRA_TRACE_HIDDEN};
    int parts = umbra_trace_parts(&w->m.info);
    if (tensor == 0)
        return NULL;
    return &w->streams[(tensor - 1) / parts * UMBRA_TRACE_STREAMS + streams[(tensor - 1) % parts]];
}

/* Reads what did not come in order once more, from the file that is not called by its name yet. */
static int hash_again(umbra_trace_writer *w, const bool *unsorted, int n, umbra_error *err)
{
    umbra_safetensors *st = NULL;
    int fd = -1;
    uint64_t bytes;
    char *path = shard_path(w, UMBRA_REPLACE_SUFFIX);
    int rc = path ? umbra_safetensors_open(&st, path, err)
                  : umbra_fail_nomem(err, "a path", strlen(w->folder));
    if (rc == UMBRA_OK)
        rc = umbra_file_open(&fd, path, &bytes, err);
    for (int i = 0; i < n && rc == UMBRA_OK; i++) {
        const umbra_safetensors_tensor *t = umbra_safetensors_at(st, (size_t)i);
        if (unsorted[i])
            rc = umbra_trace_hash_file(fd, path, t->offset, t->bytes, &w->shard.checksums[i], err);
    }
    if (fd >= 0)
        close(fd);
    umbra_safetensors_close(&st);
    umbra_free(path);
    return rc;
}

/* Fills in the checksums. */
static int finish_hashes(umbra_trace_writer *w, umbra_error *err)
{
    int n = umbra_trace_tensors(&w->m.info, &w->m.layers), rc = UMBRA_OK;
    bool *unsorted = umbra_calloc((size_t)n, sizeof *unsorted);
    bool any = false;
    if (!unsorted)
        return umbra_fail_nomem(err, "a shard", (uint64_t)n);
    for (int i = 0; i < n; i++) {
        const umbra_trace_stream *s = stream_of(w, i);
        unsorted[i] = s && s->unsorted;
        any |= unsorted[i];
        if (!unsorted[i])
            w->shard.checksums[i] = XXH3_64bits_digest(&w->hashes[i]);
    }
    if (any)
        rc = hash_again(w, unsorted, n, err);
    umbra_free(unsorted);
    return rc;
}

/* Counts the open shard as finished, or takes that back. */
static void count_shard(umbra_trace_writer *w, int sign)
{
    umbra_trace_manifest *m = &w->m;
    if (sign > 0)
        m->shards[m->n_shards] = w->shard;
    m->n_shards += sign;
    m->n_documents += sign * w->shard.documents;
    m->tokens += (uint64_t)((int64_t)sign * w->shard.tokens);
}

int umbra_trace_shard_end(umbra_trace_writer *writer, umbra_error *err)
{
    umbra_trace_writer *w = writer;
    bool listed = false;
    int rc = check_complete(w, err);
    if (rc != UMBRA_OK)
        return rc; /* the rest may still come */
    char *path = shard_path(w, "");
    rc = path ? finish_hashes(w, err) : umbra_fail_nomem(err, "a path", strlen(w->folder));
    if (rc == UMBRA_OK) {
        rc = umbra_safetensors_finish(&w->file, err);
        if (rc == UMBRA_OK) {
            count_shard(w, 1);
            rc = umbra_trace_manifest_write(&w->m, w->folder, &listed, err);
            if (!listed)
                count_shard(w, -1);
        }
        if (!listed)
            unlink(path); /* it is no part of the trace */
    }
    umbra_free(path);
    if (listed)
        w->shard = (umbra_trace_shard){0}; /* its checksums belong to the manifest now */
    else
        umbra_trace_shard_abandon(w);
    return rc;
}
