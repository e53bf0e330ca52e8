/* The same text under every policy, budget and backend, in turns. One run is what a user's run is:
 * the engine is opened, reads the prompt, and goes on token by token; nothing is left of it for the
 * next run but the page cache. The text is written once and then followed, with drafts or without,
 * and the logits of every token must be those of the first time, bit for bit. */
#include <umbra/lab/bench.h>
#include <umbra/generate.h>

#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"
#include "lab/bench/bench.h"

enum { DEFAULT_WARM = 32, DEFAULT_TOKENS = 128, EVENTS = 1 << 16 };

static const char default_prompt[] =
    "The cache holds what was used last. A program that reads a table of numbers from a file asks "
    "for one page after the other, and the system reads ahead of it.";

/* ---- the text ---- */

typedef struct replay {
    umbra_bench_run *b;
    int at;       /* index of the token in progress */
    bool writing; /* the first time */
    umbra_sampler *sampler;
    umbra_drafts *drafts; /* or NULL */
    int agreed;           /* drafts of the step in progress that are the text's */
    bool differs;
} replay;

static int take_routing(void *user, const umbra_rows *rows)
{
    replay *r = user;
    size_t used = (size_t)r->b->info->experts_used, layers = (size_t)r->b->info->layers;
    for (int t = 0; r->writing && t < rows->n; t++) {
        uint16_t *row = r->b->routing +
                        ((size_t)(r->at + rows->first + t) * layers + (size_t)rows->layer) * used;
        for (size_t i = 0; i < used; i++)
            row[i] = (uint16_t)rows->experts[(size_t)t * used + i];
    }
    return 0;
}

static int take_logits(void *user, int index, const float *logits)
{
    replay *r = user;
    umbra_bench_run *b = r->b;
    if (index > r->agreed)
        return 0;
    uint64_t hash = XXH3_64bits(logits, (size_t)b->info->vocabulary * sizeof *logits);
    if (r->writing) {
        b->hashes[r->at] = hash;
        b->text[r->at + 1] = umbra_sampler_next(r->sampler, logits, b->text, r->at + 1);
    }
    r->differs = r->differs || b->hashes[r->at + index] != hash;
    return 0;
}

static int show_drafts(void *user, const umbra_rows *rows)
{
    const replay *r = user;
    if (r->drafts)
        umbra_drafts_rows(r->drafts, rows);
    return 0;
}

/* The prompt, all at once. */
static int read_prompt(replay *r, umbra_engine *engine, umbra_error *err)
{
    umbra_bench_run *b = r->b;
    umbra_token *tokens = umbra_calloc((size_t)b->prompt, sizeof *tokens);
    if (!tokens)
        return umbra_fail_nomem(err, "the prompt", 0);
    for (int i = 0; i < b->prompt; i++)
        tokens[i] = (umbra_token){b->text[i], 0, false};
    umbra_tap tap = {.user = r,
                     .at = {[UMBRA_TAP_ROUTED] = take_routing, [UMBRA_TAP_LEAVE] = show_drafts}};
    r->at = 0;
    /* The last one by itself, since its logits begin the text. */
    int rc = b->prompt > 1 ? umbra_engine_eval(engine, tokens, b->prompt - 1, &tap, err) : 0;
    umbra_free(tokens);
    r->at = b->prompt - 1;
    if (rc == UMBRA_OK && r->drafts)
        umbra_drafts_begin(r->drafts, 0, 0, b->text, b->prompt - 1, b->text[b->prompt - 1]);
    return rc;
}

/* Computes what the sequence does not hold yet of the text's first n tokens. */
static int compute_rest(const replay *r, umbra_engine *engine, int n, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (int i = umbra_engine_length(engine, 0); rc == UMBRA_OK && i < n; i++) {
        umbra_token token = {r->b->text[i], 0, false};
        rc = umbra_engine_eval(engine, &token, 1, NULL, err);
    }
    return rc;
}

/* The next token and its drafts, of which those that are the text's are kept, up to place `end`. */
static int step(replay *r, umbra_engine *engine, int end, umbra_error *err)
{
    umbra_tap tap = {.user = r, .logits = take_logits, .at = {[UMBRA_TAP_LEAVE] = show_drafts}};
    umbra_token rows[UMBRA_DRAFT_MOST + 1];
    const int32_t *text = r->b->text + r->at;
    int chunk = umbra_engine_get_plan(engine)->chunk, room = end - r->at;
    if (r->writing)
        tap.at[UMBRA_TAP_ROUTED] = take_routing;
    umbra_drafted part = {.most = (room < chunk ? room : chunk) - 1};
    const int32_t *draft = part.token;
    int n = r->drafts ? umbra_drafts_make(r->drafts, &part, 1, part.most, false) : 0;
    rows[0] = (umbra_token){text[0], 0, true};
    for (int i = 0; i < n; i++)
        rows[i + 1] = (umbra_token){draft[i], 0, true};
    r->agreed = 0;
    while (r->agreed < n && draft[r->agreed] == text[r->agreed + 1])
        r->agreed++;
    umbra_engine_set_checking(engine, 0, n > 0);
    int rc = umbra_engine_eval(engine, rows, n + 1, &tap, err);
    umbra_engine_set_checking(engine, 0, false);
    r->at += r->agreed + 1;
    if (rc == UMBRA_OK && r->agreed < n) {
        umbra_engine_truncate(engine, 0, r->at);
        rc = compute_rest(r, engine, r->at, err);
    }
    if (rc == UMBRA_OK && r->drafts) {
        part.n = r->agreed + 1;
        memcpy(part.token, text + 1, (size_t)part.n * sizeof *part.token);
        umbra_drafts_end(r->drafts, &part, 1);
    }
    return rc;
}

/* ---- one run ---- */

static int open_run(replay *r, const umbra_bench_setup *setup, umbra_engine **engine,
                    umbra_prefetch **prefetch, umbra_error *err)
{
    umbra_bench_run *b = r->b;
    bool resident = setup->resident;
    umbra_prefetch_options po = {.policy = resident ? UMBRA_POLICY_OFF : setup->policy,
                                 .shadow = b->o->shadow,
                                 .every = b->o->every};
    umbra_engine_options eo = b->o->engine;
    eo.ram_bytes = resident ? 0 : setup->ram;
    eo.io = resident ? NULL : setup->io;
    eo.context = b->total;
    eo.sequences = 1;
    eo.progress = NULL;
    *engine = NULL;
    *prefetch = NULL;
    int rc = umbra_prefetch_fit(b->model, &eo, &po, err);
    if (rc == UMBRA_OK)
        rc = umbra_bench_fit_drafts(b, &setup->draft, &eo, err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_open(engine, b->model, &eo, err);
    if (rc == UMBRA_OK)
        rc = umbra_prefetch_open(prefetch, *engine, &po, err);
    if (rc == UMBRA_OK)
        rc = umbra_bench_open_drafts(&r->drafts, b, &setup->draft, *engine, *prefetch, err);
    if (rc == UMBRA_OK) {
        size_t row = (size_t)b->info->layers * (size_t)b->info->experts_used;
        umbra_prefetch_set_oracle(*prefetch, 0, b->routing + (size_t)(b->prompt - 1) * row,
                                  b->total - b->prompt + 1);
    }
    return rc;
}

static int interrupted(const umbra_bench_run *b, umbra_error *err)
{
    if (!umbra_progress_interrupted(b->o->engine.progress))
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
}

static int timed_tokens(replay *r, umbra_engine *engine, umbra_bench_sample *sample,
                        umbra_error *err)
{
    umbra_bench_run *b = r->b;
    int rc = UMBRA_OK;
    uint64_t begin_ns = umbra_clock_ns();
    b->token_begin_ns[0] = begin_ns;
    for (int i = 0; rc == UMBRA_OK && i < b->tokens;) {
        int first = i;
        rc = step(r, engine, b->total, err);
        uint64_t end_ns = umbra_clock_ns(), step_ns = end_ns - b->token_begin_ns[first];
        for (int n = r->agreed + 1; i < first + n; i++)
            b->token_begin_ns[i + 1] =
                b->token_begin_ns[first] + step_ns * (uint64_t)(i + 1 - first) / (uint64_t)n;
    }
    sample->seconds = umbra_seconds_since(begin_ns);
    return rc;
}

static void hand_out_profile(const umbra_bench_run *b, const umbra_bench_setup *setup,
                             umbra_engine *engine)
{
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    umbra_bench_profile p = {
        .policy = setup->name,
        .io = setup->io,
        .ram_bytes = plan->ram_bytes,
        .threads = plan->threads,
        .kernels = plan->kernels,
    };
    umbra_engine_get_profile(engine, &p.profile);
    b->o->profile(b->o->user, &p);
}

static void subtract(umbra_foretold_stats *of, const umbra_foretold_stats *before)
{
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        of[d].layers -= before[d].layers;
        of[d].used -= before[d].used;
        of[d].named -= before[d].named;
        of[d].missing -= before[d].missing;
        of[d].missing_named -= before[d].missing_named;
    }
}

static void recall_since(const umbra_prefetch *prefetch, const umbra_recall_stats *before,
                         umbra_recall_stats *out)
{
    umbra_prefetch_get_recall(prefetch, out);
    out->layers -= before->layers;
    out->missing -= before->missing;
    subtract(out->within, before->within);
    subtract(out->beyond, before->beyond);
}

int umbra_bench_run_once(umbra_bench_run *b, const umbra_bench_setup *setup, bool record,
                         umbra_bench_sample *sample, umbra_error *err)
{
    replay r = {.b = b};
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    *sample = (umbra_bench_sample){0};
    int rc = interrupted(b, err);
    if (rc == UMBRA_OK)
        rc = open_run(&r, setup, &engine, &prefetch, err);
    else
        return rc;
    if (rc == UMBRA_OK)
        rc = read_prompt(&r, engine, err);
    while (rc == UMBRA_OK && r.at < b->total - b->tokens)
        rc = step(&r, engine, b->total - b->tokens, err);
    umbra_prefetch_stats before = {0};
    umbra_recall_stats foretold = {0};
    umbra_draft_stats drafted;
    umbra_bench_draft_stats(r.drafts, NULL, &drafted);
    if (rc == UMBRA_OK) {
        umbra_prefetch_get_stats(prefetch, &before);
        umbra_prefetch_get_recall(prefetch, &foretold);
        umbra_store_reset_stats(umbra_engine_store(engine));
        if (record)
            umbra_store_record(umbra_engine_store(engine), b->events, EVENTS);
        rc = timed_tokens(&r, engine, sample, err);
    }
    if (rc == UMBRA_OK && r.differs)
        rc = umbra_fail(err, UMBRA_E_CORRUPT,
                        "policy %s wrote other logits than the first run; this is a defect of "
                        "Umbra, please report it",
                        setup->name);
    if (rc == UMBRA_OK) {
        umbra_prefetch_get_stats(prefetch, &sample->prefetch);
        sample->prefetch.tokens -= before.tokens;
        sample->prefetch.tokens_on -= before.tokens_on;
        sample->prefetch.runner.predict_ns -= before.runner.predict_ns;
        recall_since(prefetch, &foretold, &sample->recall);
        umbra_engine_get_store_stats(engine, &sample->store);
        umbra_bench_draft_stats(r.drafts, &drafted, &sample->drafts);
        sample->plan = *umbra_engine_get_plan(engine);
        b->n_events = record ? umbra_store_recorded(umbra_engine_store(engine)) : b->n_events;
        umbra_store_record(umbra_engine_store(engine), NULL, 0);
    }
    if (rc == UMBRA_OK && record && b->o->engine.profile && b->o->profile)
        hand_out_profile(b, setup, engine);
    umbra_drafts_close(&r.drafts);
    umbra_prefetch_close(&prefetch);
    umbra_engine_close(&engine);
    return rc;
}

/* ---- the first run ---- */

static int tokenize(umbra_bench_run *b, umbra_error *err)
{
    const char *prompt = b->o->prompt ? b->o->prompt : default_prompt;
    int32_t *ids;
    size_t count;
    int rc = umbra_tokenize(b->model, prompt, strlen(prompt), true, false, &ids, &count, err);
    if (rc != UMBRA_OK)
        return rc;
    int warm = b->o->warm_tokens > 0 ? b->o->warm_tokens : DEFAULT_WARM;
    b->tokens = b->o->tokens > 0 ? b->o->tokens : DEFAULT_TOKENS;
    int64_t total = (int64_t)count + warm + b->tokens;
    if (count < 1 || total > b->info->context)
        rc = umbra_fail(err, UMBRA_E_ARGUMENT,
                        "a prompt of %zu tokens and %d decoded ones do not fit into the model's "
                        "context of %d",
                        count, warm + b->tokens, b->info->context);
    if (rc == UMBRA_OK) {
        b->prompt = (int)count;
        b->total = (int)total;
        size_t n = (size_t)b->total + 1;
        b->text = umbra_calloc(n, sizeof *b->text);
        b->hashes = umbra_calloc(n, sizeof *b->hashes);
        b->routing = umbra_calloc(n * (size_t)b->info->layers * (size_t)b->info->experts_used,
                                  sizeof *b->routing);
        b->token_begin_ns = umbra_calloc((size_t)b->tokens + 1, sizeof *b->token_begin_ns);
        b->events = umbra_calloc(EVENTS, sizeof *b->events);
        if (!b->text || !b->hashes || !b->routing || !b->token_begin_ns || !b->events)
            rc = umbra_fail_nomem(err, "the text of the benchmark", 0);
        else
            memcpy(b->text, ids, count * sizeof *ids);
    }
    umbra_free_tokens(ids);
    return rc;
}

int umbra_bench_write_text(umbra_bench_run *b, const umbra_bench_setup *setup, umbra_error *err)
{
    int rc = tokenize(b, err);
    if (rc != UMBRA_OK)
        return rc;
    replay r = {.b = b, .writing = true};
    umbra_sampling sampling = {.temperature =
                                   (float)umbra_option_or((double)b->o->temperature, 0.8),
                               .top_p = 0.95f,
                               .seed = b->o->seed ? b->o->seed : 1};
    umbra_engine *engine = NULL;
    umbra_prefetch *prefetch = NULL;
    rc = umbra_sampler_open(&r.sampler, &sampling, b->info->vocabulary, err);
    if (rc == UMBRA_OK)
        rc = open_run(&r, setup, &engine, &prefetch, err);
    if (rc == UMBRA_OK)
        rc = read_prompt(&r, engine, err);
    while (rc == UMBRA_OK && r.at < b->total) {
        rc = step(&r, engine, b->total, err);
        umbra_progress_report(b->o->engine.progress, "writing the text", "tokens", (uint64_t)r.at,
                              (uint64_t)b->total);
        if (rc == UMBRA_OK)
            rc = interrupted(b, err);
    }
    umbra_prefetch_close(&prefetch);
    umbra_engine_close(&engine);
    umbra_sampler_close(&r.sampler);
    return rc;
}

void umbra_bench_run_release(umbra_bench_run *b)
{
    umbra_free(b->text);
    umbra_free(b->hashes);
    umbra_free(b->routing);
    umbra_free(b->token_begin_ns);
    umbra_free(b->events);
}
