/* Opens a collection, and goes from shard to shard. */
#include <umbra/lab/collect.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"
#include "lab/collect/collector.h"

enum {
    LONGEST_DOCUMENT = 1024,
    DEFAULT_TOKENS = 100000,
    MOST_WRITERS = 32,
    LEAST_SHARD_TOKENS = 256,
    MOST_SHARD_TOKENS = 65536,
};

static const uint64_t default_shard_bytes = UINT64_C(256) << 20;

/* ---- opening ---- */

/* Opens the engine with as many writing sequences as leave most of the budget to the experts. */
static int open_engine(umbra_collector *c)
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
        o.sequences = c->writers + UMBRA_COLLECT_READERS;
        rc = umbra_engine_plan(c->model, &o, &plan, c->err);
        bool last = c->writers <= c->options->generate;
        if (last || (rc == UMBRA_OK && plan.kv_bytes <= plan.ram_bytes / 4))
            break;
        if (rc != UMBRA_OK && rc != UMBRA_E_BUDGET)
            break;
    }
    return rc == UMBRA_OK ? umbra_engine_open(&c->engine, c->model, &o, c->err) : rc;
}

static int describe(umbra_collector *c)
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
static void describe_collection(const umbra_collector *c, char *out, size_t size)
{
    const umbra_collect_options *o = c->options;
    const char *quote = o->seed > INT64_MAX ? "\"" : ""; /* readers of JSON know no such number */
    snprintf(out, size,
             "{\"generated\":%s,\"texts\":%d,\"temperature\":%.6g,\"top_p\":%.6g,"
             "\"seed\":%s%" PRIu64 "%s,\"longest\":%d}",
             o->generate ? "true" : "false", o->n_texts, (double)o->temperature, (double)o->top_p,
             quote, o->seed, quote, umbra_engine_get_plan(c->engine)->context);
}

static int put_gates(umbra_collector *c)
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
static int count_wanted(umbra_collector *c)
{
    const umbra_collect_options *o = c->options;
    int rc = umbra_documents_total(c->model, o, umbra_engine_get_plan(c->engine)->context,
                                   &c->state.wanted, c->err);
    if (rc == UMBRA_OK && o->generate)
        c->state.wanted = o->tokens ? o->tokens : DEFAULT_TOKENS;
    return rc;
}

static int announce(umbra_collector *c, const char *folder)
{
    const umbra_collect_options *o = c->options;
    struct statvfs fs;
    uint64_t left = c->state.wanted > c->state.started ? c->state.wanted - c->state.started : 0;
    uint64_t shards = left / c->shard_tokens + 1;
    umbra_collect_plan plan = {
        .tokens = c->state.wanted,
        .bytes = umbra_trace_shard_bytes(&c->info, left + shards * (uint64_t)LONGEST_DOCUMENT,
                                         left / 64 + shards),
        .bytes_per_token = umbra_trace_shard_bytes(&c->info, 1024, 1) / 1024,
        .done_tokens = c->state.started,
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

/* Rank 0's: the folder, and what is to come into it. */
static int open_folder(umbra_collector *c, const char *folder)
{
    char collection[512];
    int rc = count_wanted(c);
    if (rc != UMBRA_OK)
        return rc;
    describe_collection(c, collection, sizeof collection);
    c->info.collection = collection;
    rc = umbra_trace_writer_open(&c->trace, folder, &c->info, c->options->resume, c->err);
    c->info.collection = NULL;
    if (rc != UMBRA_OK)
        return rc;
    c->state.tokens = c->state.started = umbra_trace_writer_tokens(c->trace);
    c->state.documents = umbra_trace_writer_documents(c->trace);
    c->state.shards = (uint64_t)umbra_trace_writer_shards(c->trace);
    rc = announce(c, folder);
    return rc == UMBRA_OK ? put_gates(c) : rc;
}

/* Another rank's: a folder in the folder, or where it would be on that machine. */
static int open_aside(umbra_collector *c, const char *folder)
{
    size_t room = strlen(folder) + 32;
    c->aside = umbra_calloc(room, 1);
    if (!c->aside)
        return umbra_fail_nomem(c->err, "a path", room);
    snprintf(c->aside, room, "%s/rank-%d" UMBRA_REPLACE_SUFFIX, folder, c->ranks->rank);
    umbra_trace_remove(c->aside); /* what a run that was killed left */
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return umbra_fail(c->err, UMBRA_E_IO, "%s: cannot create the folder: %s", folder,
                          strerror(errno));
    int rc = umbra_trace_writer_open(&c->trace, c->aside, &c->info, false, c->err);
    return rc == UMBRA_OK ? put_gates(c) : rc;
}

static void close_aside(umbra_collector *c, const char *folder)
{
    umbra_trace_writer_close(&c->trace);
    umbra_trace_remove(c->aside);
    (void)rmdir(folder); /* where nothing lies in it: on another machine than rank 0's */
    umbra_free(c->aside);
}

static int hash_texts(const umbra_collect_options *o, uint64_t *hash, umbra_error *err)
{
    umbra_corpus corpus;
    *hash = 0;
    if (!o->generate || o->n_texts == 0)
        return UMBRA_OK; /* rank 0 reads alone */
    int rc = umbra_corpus_open(&corpus, o->texts, o->n_texts, err);
    if (rc == UMBRA_OK)
        rc = umbra_corpus_hash(&corpus, hash, err);
    umbra_corpus_close(&corpus);
    return rc;
}

/* That all ranks would record the same. */
static int compare_ranks(umbra_collector *c)
{
    enum { CLAIMS = 3 };
    const umbra_collect_options *o = c->options;
    umbra_ranks_claim claims[CLAIMS];
    char text[64];
    uint64_t hash;
    if (!umbra_ranks_divide(c->ranks))
        return UMBRA_OK;
    int rc = umbra_ranks_agree(c->ranks, hash_texts(o, &hash, c->err), c->err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_compare(c->engine, c->ranks, c->err);
    if (rc != UMBRA_OK)
        return rc;
    snprintf(text, sizeof text, "%" PRIu64 " tokens, stride %d, %s, shards of %" PRIu64, o->tokens,
             o->stride, o->int8 ? "i8" : "bf16", c->shard_tokens);
    umbra_ranks_claim_set(&claims[0], "what is collected", text);
    snprintf(text, sizeof text, "%s, seed %" PRIu64 ", temperature %g, top-p %g",
             o->generate ? "written" : "read", o->seed, (double)o->temperature, (double)o->top_p);
    umbra_ranks_claim_set(&claims[1], "how texts are made", text);
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    umbra_ranks_claim_set(&claims[2], "what the texts hold", text);
    return umbra_ranks_compare(c->ranks, claims, CLAIMS, c->err);
}

static int open_documents(umbra_collector *c)
{
    size_t batch =
        (size_t)UMBRA_COLLECT_READERS * (size_t)umbra_engine_get_plan(c->engine)->context;
    int rc = umbra_documents_open(&c->documents, c->model, c->options, c->engine, c->writers,
                                  c->state.documents, c->err);
    c->batch = umbra_calloc(batch, sizeof *c->batch);
    if (rc == UMBRA_OK && !c->batch)
        rc = umbra_fail_nomem(c->err, "a batch", batch * sizeof *c->batch);
    return rc;
}

/* Each step ends with all ranks agreeing, so that none waits for one that has failed. */
static int open_collector(umbra_collector *c, const char *folder)
{
    bool first = umbra_ranks_own(c->ranks) == 0;
    int rc = describe(c);
    if (rc == UMBRA_OK)
        rc = open_engine(c);
    rc = umbra_ranks_agree(c->ranks, rc, c->err);
    if (rc == UMBRA_OK)
        rc = compare_ranks(c);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_ranks_agree(c->ranks, first ? open_folder(c, folder) : UMBRA_OK, c->err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_share(c->ranks, &c->state, sizeof c->state, c->err);
    if (rc != UMBRA_OK)
        return rc;
    rc = first ? UMBRA_OK : open_aside(c, folder);
    if (rc == UMBRA_OK)
        rc = open_documents(c);
    return umbra_ranks_agree(c->ranks, rc, c->err);
}

static void close_collector(umbra_collector *c, const char *folder)
{
    umbra_free(c->batch);
    umbra_collect_release_round(c);
    umbra_documents_close(&c->documents);
    if (c->aside)
        close_aside(c, folder);
    (void)umbra_ranks_agree(c->ranks, UMBRA_OK, NULL); /* what lies in the folder is gone */
    umbra_trace_writer_close(&c->trace);
    umbra_engine_close(&c->engine);
}

/* Expert bytes that all ranks read; where they cannot be asked, this one's. */
static uint64_t sum_bytes(const umbra_ranks *r, uint64_t own)
{
    uint64_t sum = 0, *all = umbra_calloc((size_t)umbra_ranks_count(r), sizeof *all);
    if (!all)
        return own;
    all[umbra_ranks_own(r)] = own;
    int rc = umbra_ranks_gather(r, all, sizeof *all, NULL);
    for (int i = 0; i < umbra_ranks_count(r); i++)
        sum += all[i];
    umbra_free(all);
    return rc == UMBRA_OK ? sum : own;
}

static void summarise(const umbra_collector *c, umbra_collection *out, uint64_t start_ns)
{
    memcpy(out->model_hash, c->info.model_hash, sizeof out->model_hash);
    out->seconds = umbra_seconds_since(start_ns);
    out->tokens = c->state.tokens;
    out->documents = c->state.documents;
    out->shards = c->state.shards;
    out->new_tokens = c->state.tokens - c->state.started;
    if (c->documents)
        out->write_seconds = (double)umbra_documents_write_ns(c->documents) * 1e-9;
    umbra_store_stats stats = {0};
    if (c->engine)
        umbra_engine_get_store_stats(c->engine, &stats);
    out->bytes_read = sum_bytes(c->ranks, stats.bytes_read);
}

static int check_options(const umbra_collect_options *o, umbra_error *err)
{
    if (o->stride < 0 || o->stride > 1024)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "stride %d is not in 1..1024", o->stride);
    if (!o->generate && o->n_texts == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "there is neither text to read nor leave to write");
    if (o->engine.ranks)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a collection divides documents among ranks, not experts");
    int rc = umbra_ranks_check(o->ranks, err);
    if (rc == UMBRA_OK && umbra_ranks_divide(o->ranks))
        rc = umbra_ranks_check_functions(o->ranks, true, err);
    return rc == UMBRA_OK ? UMBRA_CHECK_RESERVED(o, err) : rc;
}

int umbra_collect(const umbra_model *model, const char *folder,
                  const umbra_collect_options *options, umbra_collection *out, umbra_error *err)
{
    static const umbra_collect_options defaults = {0};
    *out = (umbra_collection){0};
    options = options ? options : &defaults;
    uint64_t start = umbra_clock_ns();
    umbra_collector c = {.model = model, .options = options, .err = err, .ranks = options->ranks};
    c.progress = options->engine.progress;
    int rc = check_options(options, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = open_collector(&c, folder);
    while (rc == UMBRA_OK && (!c.state.wanted || c.state.tokens < c.state.wanted)) {
        rc = umbra_collect_gather(&c);
        if (rc <= 0)
            break;
        rc = umbra_collect_keep(&c, umbra_collect_record(&c));
    }
    summarise(&c, out, start);
    close_collector(&c, folder);
    return rc;
}
