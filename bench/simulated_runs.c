/* Whole runs of the engine with a clock of their own: its time, what stands between the modules to
 * take a cause away, and the run itself. */
#include "simulated_runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/best.h"
#include "base/clock.h"
#include "numbers.h"
#include "store/store_internal.h"

/* Of the run in progress: the functions that stand between the modules have no other way to it. */
static simulation *in_progress;

/* ---- time ---- */

static void spend(simulation *s, double ns)
{
    if (s->walking && s->is_free)
        return;
    if (s->walking)
        ns *= s->walk_times;
    if (s->beside) {
        s->spare_ns += ns * s->spare_times;
        return;
    }
    *(s->walking ? &s->walk_ns : &s->compute_ns) += ns;
    s->owed_ns += ns;
    uint64_t whole = (uint64_t)s->owed_ns;
    s->now_ns += whole;
    s->owed_ns -= (double)whole;
}

/* What was computed since the last look takes its time. */
uint64_t simulated_runs_now(void *user)
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

void simulated_runs_wait(void *user, uint64_t ns)
{
    simulation *s = user;
    if (ns > simulated_runs_now(s))
        s->now_ns = ns;
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
void __real_umbra_walk_limit(umbra_walk *walk, int experts);
void __wrap_umbra_walk_limit(umbra_walk *walk, int experts);
bool __real_umbra_store_ready(umbra_store *store);
bool __wrap_umbra_store_ready(umbra_store *store);
void __real_umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place at);
void __wrap_umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place at);

static void put_off(simulation *s, int layer, int distance, uint64_t due, const float *probability)
{
    simulated_forecast *f = &s->pending[s->n_pending++];
    f->at_ns = s->spare_began_ns + (uint64_t)s->spare_ns;
    f->due = due;
    f->layer = layer;
    f->distance = distance;
    memcpy(f->probability, probability, (size_t)s->model->config.experts * sizeof *probability);
}

/* Beside the truth: as many of the likeliest as are used. */
static void count_named(simulation *s, int token, int layer, int distance, const float *probability)
{
    const umbra_config *c = &s->model->config;
    simulated_recall *of = &s->recall[layer > distance];
    int32_t best[UMBRA_MAX_USED];
    int n = 0;
    if (token != s->token || !s->recorded || s->token < s->warm || distance > UMBRA_MAX_DISTANCE)
        return;
    for (int32_t e = 0; e < c->experts; e++)
        n = umbra_best_offer(best, n, c->experts_used, e, probability);
    of->layers[distance]++;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < c->experts_used; j++)
            of->named[distance] += truth_of(s, token, layer)[j] == best[i];
}

/* What the core to spare has found out by now. */
static void deliver(simulation *s)
{
    int left = 0;
    for (int i = 0; i < s->n_pending; i++) {
        simulated_forecast f = s->pending[i];
        if (f.at_ns <= s->now_ns) {
            __real_umbra_store_foretell(umbra_engine_store(s->engine), 0, f.layer, f.distance,
                                        f.due, f.probability);
            continue;
        }
        s->pending[i] = s->pending[left];
        s->pending[left++] = f;
    }
    s->n_pending = left;
}

static void tick(void *user)
{
    simulation *s = in_progress;
    spend(s, s->step_ns);
    if (!s->walking)
        deliver(s);
    s->tick(user);
}

void __wrap_umbra_store_foretell(umbra_store *store, int sequence, int layer, int distance,
                                 uint64_t due, const float *probability)
{
    simulation *s = in_progress;
    const umbra_config *c = &s->model->config;
    int token = token_of(s, due);
    float *row = s->foretold + (size_t)layer * (size_t)c->experts;
    count_named(s, token, layer, distance, probability);
    for (int e = 0; e < c->experts; e++)
        row[e] = probability[e];
    if (s->is_true && token < s->tokens) {
        memset(row, 0, (size_t)c->experts * sizeof *row);
        for (int j = 0; j < c->experts_used; j++)
            row[truth_of(s, token, layer)[j]] = 1;
    }
    s->foretold_of[layer] = token;
    if (s->beside)
        __real_umbra_walk_limit(s->walk, s->spare_experts);
    if (s->beside && s->n_pending < SIMULATED_PENDING)
        put_off(s, layer, distance, due, row);
    else if (!s->beside)
        __real_umbra_store_foretell(store, sequence, layer, distance, due, row);
}

void __wrap_umbra_walk_limit(umbra_walk *walk, int experts)
{
    simulation *s = in_progress;
    __real_umbra_walk_limit(walk, s->at_spare ? s->spare_experts : experts);
}

/* What the engine takes from layer to layer. */
static double layer_ns(const simulation *s)
{
    return umbra_engine_store(s->engine)->driver.timing.interval_ns;
}

bool __wrap_umbra_store_ready(umbra_store *store)
{
    simulation *s = in_progress;
    if (s->beside)
        return umbra_walk_distance(s->walk) >= s->spare_layers || s->spare_ns >= layer_ns(s);
    return __real_umbra_store_ready(store) && !s->forced;
}

void __wrap_umbra_walk_begin(umbra_walk *walk, const umbra_rows *rows, int t, umbra_tap_place at)
{
    simulation *s = in_progress;
    __real_umbra_walk_begin(walk, rows, t, s->forced ? UMBRA_TAP_ROUTED : at);
    s->walk = walk;
    umbra_walk_take_experts(walk, s->beside);
    if (s->beside)
        umbra_walk_take_known(walk, true);
    if (s->beside && rows->layer == 0)
        __real_umbra_walk_limit(walk, UMBRA_MAX_USED);
}

/* ---- the engine's calls ---- */

/* In the place of the prefetch's own function, whose user is not this program's. */
static int walk(void *user, const umbra_rows *rows)
{
    (void)user;
    simulation *s = in_progress;
    (void)simulated_runs_now(s);
    s->walking = true;
    int rc = s->attached.at[UMBRA_TAP_WAIT](s->attached.user, rows);
    (void)simulated_runs_now(s);
    s->walking = false;
    return rc;
}

/* On the core to spare, when it has done the layer that it is at: from here as far as it is to go,
 * or until the engine has come to another layer. What it says is known as late as its steps take
 * there. */
static int walk_beside(simulation *s, const umbra_rows *rows)
{
    (void)simulated_runs_now(s);
    deliver(s);
    s->spare_began_ns = s->now_ns > s->spare_until_ns ? s->now_ns : s->spare_until_ns;
    if ((double)(s->spare_began_ns - s->now_ns) > layer_ns(s))
        return UMBRA_OK;
    s->spare_ns = 0;
    s->beside = s->forced = true;
    int rc = walk(s, rows);
    s->beside = s->forced = false;
    s->spare_until_ns = s->spare_began_ns + (uint64_t)s->spare_ns;
    return rc;
}

/* The engine waits; the core to spare goes on meanwhile. */
static int wait_beside(void *user, const umbra_rows *rows)
{
    enum { LOOK_NS = 5000 };
    (void)user;
    (void)rows;
    simulation *s = in_progress;
    (void)simulated_runs_now(s);
    while (s->n_pending > 0 && !__real_umbra_store_ready(umbra_engine_store(s->engine))) {
        s->now_ns += LOOK_NS;
        deliver(s);
    }
    return UMBRA_OK;
}

static void count_stall(simulation *s)
{
    uint64_t waited_ns = umbra_store_waited_ns(umbra_engine_store(s->engine));
    if (s->token > s->warm && s->stalls_ns)
        s->stalls_ns[s->n_stalls++] = (double)(waited_ns - s->waited_ns);
    s->waited_ns = waited_ns;
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
    if (s->at_spare)
        return walk_beside(s, rows);
    if (stats.policy == UMBRA_POLICY_OFF)
        count_stall(s);
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

static void open_run(simulation *s, const char *policy, const char *disk, double residency)
{
    umbra_error err = {0};
    char name[32], io[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(policy, "+"), policy);
    s->is_true = strstr(policy, "+true") != NULL;
    s->is_free = strstr(policy, "+free") != NULL;
    s->at_routed = strstr(policy, "+routed") != NULL;
    s->at_spare = strstr(policy, "+spare") != NULL;
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
        s->engine->attached.at[UMBRA_TAP_WAIT] = s->at_spare ? wait_beside : walk;
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
    (void)simulated_runs_now(s);
    s->compute_ns = s->walk_ns = 0;
    memset(s->fates, 0, sizeof s->fates);
    memset(s->recall, 0, sizeof s->recall);
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

outcome simulated_run(simulation *s, umbra_trace *trace, const char *policy, const char *disk,
                      double residency)
{
    outcome out = {0};
    in_progress = s;
    s->clock = 0;
    s->predictions = 0;
    s->spare_until_ns = s->waited_ns = 0;
    s->n_pending = 0;
    if (strcmp(policy, "off") == 0)
        s->n_stalls = 0;
    for (int l = 0; l < s->model->config.layers; l++)
        s->foretold_of[l] = -1;
    open_run(s, policy, disk, residency);
    decode(s, trace, &out);
    out.seconds += (double)simulated_runs_now(s) * 1e-9;
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
