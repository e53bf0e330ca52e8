/* Records states and routing of documents into a trace. */
#include <umbra/lab/collect.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"
#include "lab/collect/documents.h"
#include "lab/trace/trace.h"

enum {
    LONGEST_DOCUMENT = 1024,
    DEFAULT_TOKENS = 100000,
    MOST_WRITERS = 32,
    READERS = 4, /* documents computed together: short ones fill a chunk */
    LEAST_SHARD_TOKENS = 256,
    MOST_SHARD_TOKENS = 65536,
};

static const uint64_t default_shard_bytes = UINT64_C(256) << 20;

typedef struct collector {
    const umbra_model *model;
    const umbra_collect_options *options;
    const umbra_progress *progress;
    umbra_engine *engine;
    umbra_trace_info info;
    umbra_trace_writer *trace;
    umbra_documents *documents;
    int writers;     /* sequences [0, writers) write, [writers, + READERS) read */
    uint64_t wanted; /* tokens in all */
    uint64_t shard_tokens;
    uint64_t started_with; /* tokens found at a resume */
    umbra_error *err;

    /* The shard at hand. */
    umbra_trace_document *list;
    int n_list, list_room;
    int32_t *tokens;
    size_t n_tokens, tokens_room;
    umbra_token *batch;  /* (n of one evaluation) */
    int batch_first;     /* shard token of batch[0] */
    int batch_documents; /* first document of the batch */
} collector;

/* ---- recording ---- */

/* Calls `put` for each part of the rows that lies in one document of the shard. */
typedef int (*put_part)(collector *c, int layer, int first, int n, const float *data);

static int split(collector *c, const umbra_rows *rows, put_part put)
{
    if (!umbra_layer_has_experts(c->model, rows->layer))
        return UMBRA_OK; /* a trace has nothing of layers without a router */
    const float *data = rows->x;
    int at = c->batch_first + rows->first, end = at + rows->n;
    int hidden = c->info.hidden;
    for (int i = c->batch_documents; i < c->n_list && at < end; i++) {
        const umbra_trace_document *d = &c->list[i];
        int stop = d->first + d->tokens < end ? d->first + d->tokens : end;
        if (stop <= at)
            continue;
        int rc = put(c, rows->layer, at, stop - at, data);
        if (rc != UMBRA_OK)
            return rc;
        data += (size_t)(stop - at) * (size_t)hidden;
        at = stop;
    }
    return UMBRA_OK;
}

static int put_input(collector *c, int layer, int first, int n, const float *data)
{
    return umbra_trace_put_states(c->trace, UMBRA_TRACE_INPUT, layer, first, n, data, c->err);
}

static int put_hidden(collector *c, int layer, int first, int n, const float *data)
{
    return umbra_trace_put_states(c->trace, UMBRA_TRACE_HIDDEN, layer, first, n, data, c->err);
}

static int take_input(void *user, const umbra_rows *rows)
{
    return split(user, rows, put_input);
}

static int take_hidden(void *user, const umbra_rows *rows)
{
    return split(user, rows, put_hidden);
}

static int take_routing(void *user, const umbra_rows *rows)
{
    collector *c = user;
    int first = c->batch_first + rows->first;
    if (rows->layer == c->info.layers - 1) {
        uint64_t done = umbra_trace_writer_tokens(c->trace) + (uint64_t)(first + rows->n);
        umbra_progress_report(c->progress, "recording", "tokens", done, c->wanted);
    }
    return umbra_trace_put_routing(c->trace, rows->layer, first, rows->n, rows->experts,
                                   rows->weights, c->err);
}

/* Computes documents [first, end) of the shard's list, each in a sequence of its own. */
static int compute_documents(collector *c, int first, int end)
{
    const umbra_tap tap = {
        .user = c,
        .at = {[UMBRA_TAP_INPUT] = take_input,
               [UMBRA_TAP_HIDDEN] = take_hidden,
               [UMBRA_TAP_ROUTED] = take_routing},
        .progress = c->progress,
    };
    int n = 0;
    for (int i = first; i < end; i++) {
        umbra_engine_truncate(c->engine, c->writers + i - first, 0);
        for (int t = 0; t < c->list[i].tokens; t++)
            c->batch[n++] =
                (umbra_token){c->tokens[c->list[i].first + t], c->writers + i - first, false};
    }
    c->batch_first = c->list[first].first;
    c->batch_documents = first;
    return umbra_engine_eval(c->engine, c->batch, n, &tap, c->err);
}

static int record_shard(collector *c)
{
    int rc = umbra_trace_shard_begin(c->trace, c->list, c->n_list, c->tokens, c->err);
    for (int i = 0; rc == UMBRA_OK && i < c->n_list; i += READERS)
        rc = compute_documents(c, i, i + READERS < c->n_list ? i + READERS : c->n_list);
    if (rc == UMBRA_OK)
        rc = umbra_trace_shard_end(c->trace, c->err);
    return rc;
}

/* ---- the shard's texts ---- */

static int add_document(collector *c, const umbra_document_text *text)
{
    if (c->n_list == c->list_room) {
        int room = c->list_room ? c->list_room * 2 : 64;
        umbra_trace_document *larger = umbra_reallocarray(c->list, (size_t)room, sizeof *larger);
        if (!larger)
            return umbra_fail_nomem(c->err, "the documents", (uint64_t)room * sizeof *larger);
        c->list = larger;
        c->list_room = room;
    }
    if (c->n_tokens + (size_t)text->count > c->tokens_room) {
        size_t room = (c->n_tokens + (size_t)text->count) * 2;
        int32_t *larger = umbra_reallocarray(c->tokens, room, sizeof *larger);
        if (!larger)
            return umbra_fail_nomem(c->err, "the documents", room * sizeof *larger);
        c->tokens = larger;
        c->tokens_room = room;
    }
    umbra_trace_document *d = &c->list[c->n_list++];
    *d = (umbra_trace_document){
        .generated = text->generated,
        .first = (int)c->n_tokens,
        .tokens = text->count,
    };
    memcpy(d->id, text->id, sizeof d->id);
    memcpy(c->tokens + c->n_tokens, text->tokens, (size_t)text->count * sizeof *c->tokens);
    c->n_tokens += (size_t)text->count;
    return UMBRA_OK;
}

/* Gathers the documents of the next shard. 1, 0 when there are no more, or negative. */
static int gather_shard(collector *c)
{
    uint64_t before = umbra_trace_writer_tokens(c->trace);
    c->n_list = 0;
    c->n_tokens = 0;
    while (c->n_tokens < c->shard_tokens && (!c->wanted || before + c->n_tokens < c->wanted)) {
        umbra_document_text text;
        int rc = umbra_documents_next(c->documents, &text, c->err);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        rc = add_document(c, &text);
        if (rc != UMBRA_OK)
            return rc;
        if (c->options->generate)
            umbra_progress_report(c->progress, "writing", "tokens", before + c->n_tokens,
                                  c->wanted);
    }
    return c->n_list > 0;
}

/* ---- opening ---- */

/* Opens the engine with as many writing sequences as leave most of the budget to the experts. */
static int open_engine(collector *c)
{
    umbra_engine_options o = c->options->engine;
    int most = umbra_model_get_info(c->model)->context;
    if (o.context == 0)
        o.context = most < LONGEST_DOCUMENT ? most : LONGEST_DOCUMENT;
    if (o.context < 2)
        return umbra_fail(c->err, UMBRA_E_ARGUMENT, "a document needs at least 2 tokens");
    int rc = UMBRA_OK;
    for (c->writers = c->options->generate ? MOST_WRITERS : 0;; c->writers /= 2) {
        umbra_memory_plan plan;
        o.sequences = c->writers + READERS;
        rc = umbra_engine_plan(c->model, &o, &plan, c->err);
        bool last = c->writers <= c->options->generate;
        if (last || (rc == UMBRA_OK && plan.kv_bytes <= plan.ram_bytes / 4))
            break;
        if (rc != UMBRA_OK && rc != UMBRA_E_BUDGET)
            break;
    }
    return rc == UMBRA_OK ? umbra_engine_open(&c->engine, c->model, &o, c->err) : rc;
}

static int describe(collector *c)
{
    const umbra_model_info *m = umbra_model_get_info(c->model);
    umbra_trace_info *info = &c->info;
    memcpy(info->architecture, m->architecture, sizeof info->architecture);
    memcpy(info->model_name, m->name, sizeof info->model_name);
    info->layers = m->layers;
    info->hidden = m->hidden;
    info->experts = m->experts;
    info->used = m->experts_used;
    info->int8 = c->options->int8;
    info->stride = c->options->stride ? c->options->stride : 1;
    uint64_t bytes = c->options->shard_bytes ? c->options->shard_bytes : default_shard_bytes;
    uint64_t per_token = umbra_trace_shard_bytes(info, 1024, 1) / 1024;
    c->shard_tokens = bytes / (per_token ? per_token : 1);
    if (c->shard_tokens < LEAST_SHARD_TOKENS)
        c->shard_tokens = LEAST_SHARD_TOKENS;
    if (c->shard_tokens > MOST_SHARD_TOKENS)
        c->shard_tokens = MOST_SHARD_TOKENS;
    return umbra_model_hash(c->model, info->model_hash, c->err);
}

/* How the data was made: kept in the manifest, and compared when a collection is resumed. */
static void describe_collection(const collector *c, char *out, size_t size)
{
    const umbra_collect_options *o = c->options;
    const char *quote = o->seed > INT64_MAX ? "\"" : ""; /* readers of JSON know no such number */
    snprintf(out, size,
             "{\"generated\":%s,\"texts\":%d,\"temperature\":%.6g,\"top_p\":%.6g,"
             "\"seed\":%s%" PRIu64 "%s,\"longest\":%d}",
             o->generate ? "true" : "false", o->n_texts, (double)o->temperature, (double)o->top_p,
             quote, o->seed, quote, umbra_engine_get_plan(c->engine)->context);
}

static int put_gates(collector *c)
{
    size_t n = (size_t)c->info.experts * (size_t)c->info.hidden;
    float *gate = umbra_calloc(n, sizeof *gate);
    int rc = gate ? UMBRA_OK : umbra_fail_nomem(c->err, "a router", n * sizeof *gate);
    for (int l = 0; rc == UMBRA_OK && l < c->info.layers; l++) {
        if (!umbra_layer_has_experts(c->model, l))
            continue;
        umbra_engine_gate(c->engine, l, gate);
        rc = umbra_trace_put_gate(c->trace, l, gate, c->err);
    }
    umbra_free(gate);
    return rc;
}

/* Before the folder is made: where there is nothing to read, there shall be no folder. */
static int count_wanted(collector *c)
{
    const umbra_collect_options *o = c->options;
    int rc = umbra_documents_total(c->model, o, umbra_engine_get_plan(c->engine)->context,
                                   &c->wanted, c->err);
    if (rc == UMBRA_OK && o->generate)
        c->wanted = o->tokens ? o->tokens : DEFAULT_TOKENS;
    return rc;
}

static int announce(collector *c, const char *folder)
{
    const umbra_collect_options *o = c->options;
    struct statvfs fs;
    uint64_t left = c->wanted > c->started_with ? c->wanted - c->started_with : 0;
    uint64_t shards = left / c->shard_tokens + 1;
    umbra_collect_plan plan = {
        .tokens = c->wanted,
        .bytes = umbra_trace_shard_bytes(&c->info, left + shards * (uint64_t)LONGEST_DOCUMENT,
                                         left / 64 + shards),
        .bytes_per_token = umbra_trace_shard_bytes(&c->info, 1024, 1) / 1024,
        .done_tokens = c->started_with,
        .free_bytes = statvfs(folder, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX,
    };
    if (left == 0)
        plan.bytes = 0;
    if (o->planned)
        o->planned(o->user, &plan);
    if (plan.bytes > plan.free_bytes)
        return umbra_fail(c->err, UMBRA_E_IO,
                          "%s: %" PRIu64 " bytes are to be written, but the disk has %" PRIu64
                          " free; collect fewer tokens, or with a stride or 8 bits",
                          folder, plan.bytes, plan.free_bytes);
    return UMBRA_OK;
}

static int open_collector(collector *c, const char *folder)
{
    int rc = describe(c);
    if (rc == UMBRA_OK)
        rc = open_engine(c);
    if (rc == UMBRA_OK)
        rc = count_wanted(c);
    if (rc != UMBRA_OK)
        return rc;
    char collection[512];
    describe_collection(c, collection, sizeof collection);
    c->info.collection = collection;
    rc = umbra_trace_writer_open(&c->trace, folder, &c->info, c->options->resume, c->err);
    c->info.collection = NULL;
    if (rc != UMBRA_OK)
        return rc;
    c->started_with = umbra_trace_writer_tokens(c->trace);
    rc = announce(c, folder);
    if (rc == UMBRA_OK)
        rc = put_gates(c);
    if (rc == UMBRA_OK)
        rc = umbra_documents_open(&c->documents, c->model, c->options, c->engine, c->writers,
                                  umbra_trace_writer_documents(c->trace), c->err);
    size_t batch = (size_t)READERS * (size_t)umbra_engine_get_plan(c->engine)->context;
    c->batch = umbra_calloc(batch, sizeof *c->batch);
    if (rc == UMBRA_OK && !c->batch)
        rc = umbra_fail_nomem(c->err, "a batch", batch * sizeof *c->batch);
    return rc;
}

static void close_collector(collector *c)
{
    umbra_free(c->batch);
    umbra_free(c->list);
    umbra_free(c->tokens);
    umbra_documents_close(&c->documents);
    umbra_trace_writer_close(&c->trace);
    umbra_engine_close(&c->engine);
}

static void summarise(const collector *c, umbra_collection *out, uint64_t start_ns)
{
    memcpy(out->model_hash, c->info.model_hash, sizeof out->model_hash);
    out->seconds = umbra_seconds_since(start_ns);
    if (c->trace) {
        out->tokens = umbra_trace_writer_tokens(c->trace);
        out->documents = umbra_trace_writer_documents(c->trace);
        out->shards = (uint64_t)umbra_trace_writer_shards(c->trace);
        out->new_tokens = out->tokens - c->started_with;
    }
    if (c->documents)
        out->write_seconds = (double)umbra_documents_write_ns(c->documents) * 1e-9;
    if (c->engine) {
        umbra_store_stats stats;
        umbra_engine_get_store_stats(c->engine, &stats);
        out->bytes_read = stats.bytes_read;
    }
}

static int check_options(const umbra_collect_options *o, umbra_error *err)
{
    if (o->stride < 0 || o->stride > 1024)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "stride %d is not in 1..1024", o->stride);
    if (!o->generate && o->n_texts == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "there is neither text to read nor leave to write");
    return UMBRA_CHECK_RESERVED(o, err);
}

int umbra_collect(const umbra_model *model, const char *folder,
                  const umbra_collect_options *options, umbra_collection *out, umbra_error *err)
{
    static const umbra_collect_options defaults = {0};
    *out = (umbra_collection){0};
    options = options ? options : &defaults;
    uint64_t start = umbra_clock_ns();
    collector c = {.model = model, .options = options, .err = err};
    c.progress = options->engine.progress;
    int rc = check_options(options, err);
    if (rc == UMBRA_OK)
        rc = open_collector(&c, folder);
    while (rc == UMBRA_OK && (!c.wanted || umbra_trace_writer_tokens(c.trace) < c.wanted)) {
        rc = gather_shard(&c);
        if (rc <= 0)
            break;
        rc = record_shard(&c);
    }
    summarise(&c, out, start);
    close_collector(&c);
    return rc < 0 ? rc : UMBRA_OK;
}
