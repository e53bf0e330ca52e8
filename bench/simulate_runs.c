/* Reading ahead by the engine itself with a clock of its own: documents are decoded, walks walked,
 * experts computed as ever, but time is what the steps are said to cost and what a simulated disk
 * takes, so that nothing depends on the machine that runs it, and every run gives the same.
 *
 *   simulate_runs MODEL TRACES [--disk RATE,LATENCY...] [--residency SHARE...] [--policy NAME...]
 *                 [--tokens N] [--warm N] [--widen N] [--rate GB/S] [--output GB/S] [--step US]
 *                 [--predict US]
 *
 * A step of products takes --step microseconds, for its barrier and the small things before it, and
 * the time in which --rate would read its weights; the output matrix, which is long, is read at
 * --output. --widen: experts are so many times as large, for
 * the processor and the disk. --predict: microseconds of a prediction by gate or shadow.
 *
 * What a policy loses is found by taking away from it what may be the cause. Behind its name:
 *   +true    what is foretold is what will be used, of the same layers at the same time
 *   +free    walks take no time
 *   +routed  every layer's walk begins when its experts are known, and comes to its end, whether
 *            anything is waited for or not
 * For instance runahead+true+free. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/prefetch.h>
#include <umbra/profile.h>

#include "ahead/walk.h"
#include "base/clock.h"
#include "engine/internal.h"
#include "lab/trace/trace.h"
#include "numbers.h"
#include "store/store_internal.h"

enum { MOST = 16, DOCUMENT = 512 /* tokens taken of a document at most */ };

/* What became of a used expert that was not there when its layer came to it. */
typedef enum fate {
    FATE_UNSEEN,  /* nothing was foretold of its layer */
    FATE_DOUBTED, /* less than .5 was */
    FATE_UNREAD,  /* it was foretold, and not read */
    FATE_LATE,    /* it was being read */
    FATES
} fate;

static const char *const fate_name[FATES] = {"unseen", "doubted", "unread", "late"};

typedef struct simulation {
    const umbra_model *model;
    /* How time goes. */
    double ns_per_byte, output_ns_per_byte, step_ns, predict_ns;
    int widen;
    uint64_t now_ns;
    double owed_ns; /* a part of a nanosecond */
    umbra_profiler profiler;
    umbra_profiler_entry entry[UMBRA_PROFILE_STEPS];
    /* What is taken away. */
    bool is_true, is_free, at_routed;
    bool walking, forced;
    /* The run. */
    umbra_engine *engine;
    umbra_prefetch *prefetch;
    umbra_tap attached;       /* the prefetch's */
    void (*tick)(void *user); /* the engine's */
    int tokens, warm;
    uint16_t *routing; /* (tokens, layers, used) of all tokens, once they are known */
    bool recorded;
    int token;
    uint64_t clock;   /* the store's when the token began */
    float *foretold;  /* (layers, experts) of the next batch of each layer; */
    int *foretold_of; /* (layers) of the token; -1: nothing */
    double compute_ns, walk_ns;
    uint64_t predictions;
    uint64_t fates[FATES];
} simulation;

/* Of the run in progress: the functions that stand between the modules have no other way to it. */
static simulation *in_progress;

/* ---- time ---- */

static void spend(simulation *s, double ns)
{
    if (s->walking && s->is_free)
        return;
    *(s->walking ? &s->walk_ns : &s->compute_ns) += ns;
    s->owed_ns += ns;
    uint64_t whole = (uint64_t)s->owed_ns;
    s->now_ns += whole;
    s->owed_ns -= (double)whole;
}

/* What was computed since the last look takes its time. */
static uint64_t now_of(void *user)
{
    simulation *s = user;
    for (int i = 0; i < UMBRA_PROFILE_STEPS; i++) {
        bool experts = i == UMBRA_PROFILE_GATE_UP || i == UMBRA_PROFILE_DOWN;
        double bytes = (double)s->entry[i].bytes * (experts ? s->widen : 1);
        s->entry[i].bytes = 0;
        spend(s, bytes * (i == UMBRA_PROFILE_OUTPUT ? s->output_ns_per_byte : s->ns_per_byte));
    }
    return s->now_ns;
}

static void wait_until(void *user, uint64_t ns)
{
    simulation *s = user;
    if (ns > now_of(s))
        s->now_ns = ns;
}

static void tick(void *user)
{
    spend(in_progress, in_progress->step_ns);
    in_progress->tick(user);
}

/* ---- what is taken away ---- */

static const uint16_t *truth_of(const simulation *s, int token, int layer)
{
    const umbra_config *c = &s->model->config;
    return s->routing +
           ((size_t)token * (size_t)c->layers + (size_t)layer) * (size_t)c->experts_used;
}

/* Which token's batch of the layer is due then. Every layer has experts. */
static int token_of(const simulation *s, uint64_t due)
{
    return s->token + (int)((due - s->clock - 1) / (uint64_t)s->model->config.layers);
}

/* The linker puts these in the place of the functions that they are named after; __real_ are
 * those. */
void __real_umbra_store_foretell(umbra_store *store, int sequence, int layer, int distance,
                                 uint64_t due, const float *probability);
void __wrap_umbra_store_foretell(umbra_store *store, int sequence, int layer, int distance,
                                 uint64_t due, const float *probability);
bool __real_umbra_store_ready(umbra_store *store);
bool __wrap_umbra_store_ready(umbra_store *store);
void __real_umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place at);
void __wrap_umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place at);

void __wrap_umbra_store_foretell(umbra_store *store, int sequence, int layer, int distance,
                                 uint64_t due, const float *probability)
{
    simulation *s = in_progress;
    const umbra_config *c = &s->model->config;
    int token = token_of(s, due);
    float *row = s->foretold + (size_t)layer * (size_t)c->experts;
    for (int e = 0; e < c->experts; e++)
        row[e] = probability[e];
    if (s->is_true && token < s->tokens) {
        memset(row, 0, (size_t)c->experts * sizeof *row);
        for (int j = 0; j < c->experts_used; j++)
            row[truth_of(s, token, layer)[j]] = 1;
    }
    s->foretold_of[layer] = token;
    __real_umbra_store_foretell(store, sequence, layer, distance, due, row);
}

bool __wrap_umbra_store_ready(umbra_store *store)
{
    return __real_umbra_store_ready(store) && !in_progress->forced;
}

void __wrap_umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place at)
{
    __real_umbra_walk_begin(walk, rows, t, in_progress->forced ? UMBRA_TAP_ROUTED : at);
}

/* ---- the engine's calls ---- */

/* In the place of the prefetch's own function, whose user is not this program's. */
static int walk(void *user, const umbra_rows *rows)
{
    (void)user;
    simulation *s = in_progress;
    (void)now_of(s);
    s->walking = true;
    int rc = s->attached.at[UMBRA_TAP_WAIT](s->attached.user, rows);
    (void)now_of(s);
    s->walking = false;
    return rc;
}

static fate fate_of(const simulation *s, int layer, int expert, const umbra_slot *slot)
{
    const float *p = s->foretold + (size_t)layer * (size_t)s->model->config.experts;
    if (slot)
        return FATE_LATE;
    if (s->foretold_of[layer] != s->token)
        return FATE_UNSEEN;
    return p[expert] < 0.5f ? FATE_DOUBTED : FATE_UNREAD;
}

/* Before the layer's batch begins. */
static int look(void *user, const umbra_rows *rows)
{
    simulation *s = user;
    const umbra_slots *slots = &umbra_engine_store(s->engine)->guarded.slots;
    for (int j = 0; s->recorded && s->token >= s->warm && j < s->model->config.experts_used; j++) {
        int expert = truth_of(s, s->token, rows->layer)[j];
        int32_t at = umbra_slots_find(slots, rows->layer, expert);
        if (at < 0 || slots->slot[at].state == UMBRA_SLOT_READING)
            s->fates[fate_of(s, rows->layer, expert, at < 0 ? NULL : &slots->slot[at])]++;
    }
    return UMBRA_OK;
}

static int routed(void *user, const umbra_rows *rows)
{
    simulation *s = user;
    const umbra_config *c = &s->model->config;
    uint16_t *row = s->routing + ((size_t)s->token * (size_t)c->layers + (size_t)rows->layer) *
                                     (size_t)c->experts_used;
    for (int j = 0; j < c->experts_used; j++)
        row[j] = (uint16_t)rows->experts[j];
    umbra_prefetch_stats stats;
    umbra_prefetch_get_stats(s->prefetch, &stats);
    if (stats.policy == UMBRA_POLICY_RUNAHEAD) {
        s->forced = s->at_routed;
        int rc = s->forced ? walk(s, rows) : UMBRA_OK;
        s->forced = false;
        return rc;
    }
    if (stats.policy != UMBRA_POLICY_ORACLE)
        spend(s, s->predict_ns * (double)(stats.runner.predictions - s->predictions));
    s->predictions = stats.runner.predictions;
    return UMBRA_OK;
}

static int enter(void *user, const umbra_rows *rows)
{
    simulation *s = user;
    (void)rows;
    s->clock = umbra_store_clock(umbra_engine_store(s->engine));
    return UMBRA_OK;
}

static int take_logits(void *user, int index, const float *logits)
{
    (void)user;
    (void)index;
    (void)logits;
    return UMBRA_OK;
}

/* ---- runs ---- */

typedef struct outcome {
    double seconds;
    umbra_store_stats stats;
    umbra_prefetch_stats prefetch;
} outcome;

static void open_run(simulation *s, const char *policy, const char *disk, double residency)
{
    umbra_error err = {0};
    char name[32], io[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(policy, "+"), policy);
    s->is_true = strstr(policy, "+true") != NULL;
    s->is_free = strstr(policy, "+free") != NULL;
    s->at_routed = strstr(policy, "+routed") != NULL;
    char *end;
    double rate = strtod(disk, &end);
    snprintf(io, sizeof io, "sim:%.9g%s", rate / s->widen, end);
    umbra_prefetch_options po = {.no_shadow = true};
    umbra_engine_options o = {
        .ram_bytes = UINT64_C(1) << 46, .context = DOCUMENT, .chunk = 1, .threads = 1, .io = io};
    must(umbra_policy_parse(name, &po.policy, &err), &err);
    umbra_memory_plan plan;
    must(umbra_engine_plan(s->model, &o, &plan, &err), &err);
    o.ram_bytes = plan.all_bytes - (uint64_t)((1 - residency) * (double)plan.expert_bytes);
    must(umbra_engine_open(&s->engine, s->model, &o, &err), &err);
    must(umbra_prefetch_open(&s->prefetch, s->engine, &po, &err), &err);
    s->attached = s->engine->attached;
    if (s->attached.at[UMBRA_TAP_WAIT])
        s->engine->attached.at[UMBRA_TAP_WAIT] = walk;
    s->tick = s->engine->device.tick;
    s->engine->device.tick = tick;
    s->profiler = (umbra_profiler){
        .entry = s->entry, .barriers = UMBRA_PROFILE_BARRIERS, .kind = UMBRA_PROFILE_REST};
    s->engine->device.profiler = &s->profiler;
    if (s->recorded)
        umbra_prefetch_set_oracle(s->prefetch, 0, s->routing, s->tokens);
}

static void begin_counting(simulation *s, outcome *out)
{
    umbra_store_reset_stats(umbra_engine_store(s->engine));
    umbra_prefetch_get_stats(s->prefetch, &out->prefetch);
    (void)now_of(s);
    s->compute_ns = s->walk_ns = 0;
    memset(s->fates, 0, sizeof s->fates);
    out->seconds = -(double)s->now_ns * 1e-9;
}

static void decode(simulation *s, umbra_trace *trace, outcome *out)
{
    umbra_error err = {0};
    const umbra_tap tap = {
        .user = s,
        .at = {[UMBRA_TAP_ENTER] = enter, [UMBRA_TAP_HIDDEN] = look, [UMBRA_TAP_ROUTED] = routed},
        .logits = take_logits};
    int32_t ids[DOCUMENT];
    s->token = 0;
    for (int i = 0; i < umbra_trace_documents(trace) && s->token < s->tokens; i++) {
        const umbra_trace_document *d = umbra_trace_document_at(trace, i);
        int n = d->tokens < DOCUMENT ? d->tokens : DOCUMENT;
        must(umbra_trace_read_tokens(trace, d->shard, d->first, n, ids, &err), &err);
        umbra_engine_truncate(s->engine, 0, 0);
        for (int t = 0; t < n && s->token < s->tokens; t++, s->token++) {
            const umbra_token token = {ids[t], 0, true};
            if (s->token == s->warm)
                begin_counting(s, out);
            must(umbra_engine_eval(s->engine, &token, 1, &tap, &err), &err);
        }
    }
    s->tokens = s->token;
}

static outcome run(simulation *s, umbra_trace *trace, const char *policy, const char *disk,
                   double residency)
{
    outcome out = {0};
    in_progress = s;
    s->clock = 0;
    s->predictions = 0;
    for (int l = 0; l < s->model->config.layers; l++)
        s->foretold_of[l] = -1;
    open_run(s, policy, disk, residency);
    decode(s, trace, &out);
    out.seconds += (double)now_of(s) * 1e-9;
    s->recorded = true;
    umbra_engine_get_store_stats(s->engine, &out.stats);
    umbra_prefetch_stats before = out.prefetch;
    umbra_prefetch_get_stats(s->prefetch, &out.prefetch);
    out.prefetch.tokens_on -= before.tokens_on;
    out.prefetch.runner.predictions -= before.runner.predictions;
    umbra_prefetch_close(&s->prefetch);
    umbra_engine_close(&s->engine);
    return out;
}

static void print_outcome(const simulation *s, const outcome *o, const char *policy, double off_s)
{
    double tokens = s->tokens - s->warm, mb = 1e-6 * s->widen / tokens;
    double used = (double)(o->stats.hits + o->stats.late + o->stats.misses);
    umbra_ahead_stats ahead;
    umbra_store_sum_ahead(&o->stats, &ahead);
    double all_ms = o->seconds * 1e3 / tokens, compute_ms = s->compute_ns * 1e-6 / tokens,
           walk_ms = s->walk_ns * 1e-6 / tokens;
    printf("%-22s %7.1f %+6.1f%% %6.2f %6.2f %6.2f %5.1f%% %6.2f %6.2f %6.2f %6.2f ", policy,
           tokens / o->seconds, off_s > 0 ? 100 * (off_s / o->seconds - 1) : 0, compute_ms, walk_ms,
           all_ms - compute_ms - walk_ms, 100 * (double)o->stats.hits / used,
           (double)o->stats.bytes_read * mb, (double)ahead.useful_bytes * mb,
           (double)ahead.late_bytes * mb, (double)ahead.wasted_bytes * mb);
    for (int i = 0; i < FATES; i++)
        printf(" %7.2f", (double)s->fates[i] / tokens);
    printf(" %4.0f\n", (double)o->prefetch.runner.predictions / tokens);
    fflush(stdout);
}

static void print_head(const char *disk, double residency)
{
    printf("\ndisk %s, %.1f %% resident\n%-22s %7s %7s %6s %6s %6s %6s %6s %6s %6s %6s ", disk,
           100 * residency, "policy", "tok/s", "to off", "comp", "walk", "wait", "hits", "read",
           "useful", "late", "wasted");
    for (int i = 0; i < FATES; i++)
        printf(" %7s", fate_name[i]);
    printf(" %4s\n", "told");
}

/* One processor is all that it needs: then predictions are made by the thread that computes. */
static void stay_on_one_processor(void)
{
    cpu_set_t one;
    int here = sched_getcpu();
    CPU_ZERO(&one);
    CPU_SET(here < 0 ? 0 : here, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

/* The words behind an option. */
static int words_of(int argc, char **argv, int *i, const char **out)
{
    int n = 0;
    while (*i + 1 < argc && argv[*i + 1][0] != '-' && n < MOST)
        out[n++] = argv[++*i];
    return n;
}

int main(int argc, char **argv)
{
    const char *disks[MOST] = {"2G,100us", "5G,100us", "8G,100us"};
    const char *policies[MOST] = {"off", "gate", "runahead", "auto", "oracle"};
    double residencies[MOST] = {0.411}, rate = 12.5, output = 38, step_us = 1, predict_us = 15;
    int n_disks = 3, n_policies = 5, n_residencies = 1;
    simulation s = {.tokens = 224, .warm = 64, .widen = 1};
    if (argc < 3) {
        fputs("usage: simulate_runs MODEL TRACES [OPTIONS]; the source's head explains them\n",
              stderr);
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        const char *option = argv[i];
        double one = 0;
        if (strcmp(option, "--disk") == 0)
            n_disks = words_of(argc, argv, &i, disks);
        else if (strcmp(option, "--policy") == 0)
            n_policies = words_of(argc, argv, &i, policies);
        else if (strcmp(option, "--residency") == 0)
            n_residencies = numbers_of(argc, argv, &i, residencies, MOST);
        else if (numbers_of(argc, argv, &i, &one, 1) == 0)
            continue;
        else if (strcmp(option, "--tokens") == 0)
            s.tokens = (int)one;
        else if (strcmp(option, "--warm") == 0)
            s.warm = (int)one;
        else if (strcmp(option, "--widen") == 0 && one >= 1)
            s.widen = (int)one;
        else if (strcmp(option, "--rate") == 0 && one > 0)
            rate = one;
        else if (strcmp(option, "--output") == 0 && one > 0)
            output = one;
        else if (strcmp(option, "--step") == 0)
            step_us = one;
        else if (strcmp(option, "--predict") == 0)
            predict_us = one;
    }
    umbra_error err = {0};
    umbra_model *model;
    umbra_trace *trace;
    stay_on_one_processor();
    must(umbra_model_open(&model, argv[1], &err), &err);
    must(umbra_trace_open(&trace, argv[2], &err), &err);
    const umbra_config *c = &model->config;
    const umbra_clock clock = {now_of, wait_until, &s};
    s.model = model;
    s.ns_per_byte = 1 / rate;
    s.output_ns_per_byte = 1 / output;
    s.step_ns = step_us * 1e3;
    s.predict_ns = predict_us * 1e3;
    s.now_ns = 1;
    s.routing = need(calloc((size_t)s.tokens * (size_t)c->layers, (size_t)c->experts_used * 2));
    s.foretold = need(calloc((size_t)c->layers * (size_t)c->experts, sizeof *s.foretold));
    s.foretold_of = need(calloc((size_t)c->layers, sizeof *s.foretold_of));
    umbra_clock_replace(&clock);
    run(&s, trace, "off", "100G,1us", 1); /* to know what is used */
    printf("tokens/s; ms per token that are computed, walked, waited; MB per token; of the used "
           "experts per token that\nwere not there: nothing foretold of their layer, foretold as "
           "unlikely, foretold but not read, being read\n");
    for (int d = 0; d < n_disks; d++) {
        for (int r = 0; r < n_residencies; r++) {
            print_head(disks[d], residencies[r]);
            double off_s = 0;
            for (int p = 0; p < n_policies; p++) {
                outcome o = run(&s, trace, policies[p], disks[d], residencies[r]);
                off_s = strcmp(policies[p], "off") == 0 ? o.seconds : off_s;
                print_outcome(&s, &o, policies[p], off_s);
            }
        }
    }
    umbra_clock_replace(NULL);
    free(s.routing);
    free(s.foretold);
    free(s.foretold_of);
    umbra_trace_close(&trace);
    umbra_model_close(&model);
    return 0;
}
