/* Goes along with the engine: hands states to the shadow runner and lends it a worker to predict.
 */
#include <umbra/prefetch.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/system.h"
#include "engine/engine.h"
#include "ahead/certain.h"
#include "ahead/judge.h"
#include "ahead/recall.h"
#include "ahead/runahead.h"
#include "ahead/runner.h"

struct umbra_prefetch {
    umbra_engine *engine;
    umbra_runner *runner; /* NULL: off, or */
    umbra_runahead *runahead;
    umbra_recall *recall; /* NULL: off */
    umbra_policy policy;
    bool automatic;
    bool own_thread;
    int *next_position; /* (sequences) that the runner expects, or one behind it but at most */
    int *last_position; /* (sequences) this: guesses that were checked, and may have been right */
    float *probability; /* (experts) */
    bool on;            /* for the chunk in progress */
    int decoded;        /* rows of it that decode; the others are prompts' */
    umbra_judge judge;  /* of automatic */
    /* Of the chunk in progress: when it began, and the store's waits and needs before. */
    uint64_t begun_ns, waited_ns, needed;
    umbra_prefetch_stats stats;
};

/* ---- the engine's calls ---- */

static void predict_task(void *runner)
{
    umbra_runner_work(runner);
}

/* Predictions are made by a worker of the pool, while the others go on; without one, here, while
 * the layer's reads are under way. */
static void work(umbra_prefetch *p)
{
    if (p->own_thread || umbra_pool_send(umbra_engine_pool(p->engine), predict_task, p->runner))
        return;
    if (umbra_engine_get_plan(p->engine)->threads == 1)
        umbra_runner_work(p->runner);
}

/* Takes the chunk's rows apart: a sequence with one row decodes, one with several reads a
 * prompt. */
static void follow(umbra_prefetch *p, const umbra_rows *rows)
{
    p->decoded = 0;
    for (int t = 0; t < rows->n; t++) {
        int sequence = rows->tokens[t].sequence, position = rows->position[t];
        p->decoded += !rows->prompt[t];
        int last = p->last_position[sequence];
        p->last_position[sequence] = position + 1;
        if (umbra_is_draft(rows, t))
            continue;
        if (p->runner && (position < p->next_position[sequence] || position > last))
            umbra_runner_restart(p->runner, sequence);
        p->next_position[sequence] = position + 1;
    }
}

/* How many rows from the t-th on are of one prompt; 0: it is a row that decodes. */
static int prompt_rows(const umbra_rows *rows, int t)
{
    int n = 0;
    while (t + n < rows->n && rows->prompt[t] &&
           rows->tokens[t + n].sequence == rows->tokens[t].sequence)
        n++;
    return n;
}

/* A row that decodes, at the chunk's beginning (layer -1) or at a layer. */
static void tell(umbra_prefetch *p, int sequence, int layer, const float *x, const int32_t *experts)
{
    if (p->on && layer < 0)
        umbra_runner_enter(p->runner, sequence, x);
    else if (p->on)
        umbra_runner_routed(p->runner, sequence, layer, x, experts);
    else if (layer >= 0)
        umbra_runner_note(p->runner, sequence, layer, experts);
}

/* layer -1: the rows enter. */
static void tell_rows(umbra_prefetch *p, const umbra_rows *rows, int layer)
{
    const umbra_model_info *info = umbra_model_get_info(umbra_engine_model(p->engine));
    for (int t = 0, n; t<rows->n; t += n> 0 ? n : 1) {
        int sequence = rows->tokens[t].sequence;
        const float *x = rows->x + (size_t)t * (size_t)info->hidden;
        const int32_t *experts =
            layer < 0 ? NULL : rows->experts + (size_t)t * (size_t)info->experts_used;
        n = prompt_rows(rows, t);
        if (n > 0)
            umbra_runner_absorb(p->runner, sequence, layer, n, x, experts);
        else if (!umbra_is_draft(rows, t))
            tell(p, sequence, layer, x, experts);
        else if (p->on)
            umbra_runner_draft(p->runner, sequence, layer, x, experts);
    }
    if (p->on)
        work(p);
}

static int enter(void *user, const umbra_rows *rows)
{
    umbra_prefetch *p = user;
    umbra_store *store = umbra_engine_store(p->engine);
    follow(p, rows);
    p->on = p->decoded > 0 && (!p->automatic || p->judge.on);
    umbra_store_set_guessing(store, p->on);
    p->begun_ns = umbra_clock_ns();
    p->waited_ns = umbra_store_waited_ns(store);
    p->needed = umbra_store_needed(store);
    if (p->on)
        umbra_certain_foretell(p->engine, rows, p->probability);
    if (p->runahead)
        umbra_runahead_enter(p->runahead, rows);
    else
        tell_rows(p, rows, -1);
    return UMBRA_OK;
}

static int routed(void *user, const umbra_rows *rows)
{
    umbra_prefetch *p = user;
    umbra_recall_routed(p->recall, rows);
    if (p->runahead)
        umbra_runahead_routed(p->runahead, rows);
    if (p->runahead && p->on)
        umbra_runahead_beside(p->runahead, rows);
    if (p->runner)
        tell_rows(p, rows, rows->layer);
    return UMBRA_OK;
}

static int wait(void *user, const umbra_rows *rows)
{
    umbra_prefetch *p = user;
    if (p->on)
        umbra_runahead_wait(p->runahead, rows);
    return UMBRA_OK;
}

static int leave(void *user, const umbra_rows *rows)
{
    umbra_prefetch *p = user;
    for (int t = 0; t < rows->n; t++)
        if (p->runner && !rows->prompt[t] && !umbra_is_draft(rows, t))
            umbra_runner_leave(p->runner, rows->tokens[t].sequence);
    p->stats.tokens += (uint64_t)p->decoded;
    p->stats.tokens_on += p->on ? (uint64_t)p->decoded : 0;
    if (p->decoded < rows->n)
        return UMBRA_OK; /* what a prompt takes says nothing of reading ahead */
    const umbra_store *store = umbra_engine_store(p->engine);
    umbra_judge_step(&p->judge, rows->n, umbra_seconds_since(p->begun_ns),
                     (double)(umbra_store_waited_ns(store) - p->waited_ns) * 1e-9,
                     (double)(umbra_store_needed(store) - p->needed));
    return UMBRA_OK;
}

/* ---- opening ---- */

static const umbra_prefetch_options defaults = {0};

static void gate(void *user, int layer, float *out)
{
    umbra_engine_gate(user, layer, out);
}

/* The shadow file beside the model: its path with another ending. NULL if there is no memory. */
static char *path_beside(const char *model)
{
    static const char ending[] = ".shadow.safetensors", gguf[] = ".gguf";
    size_t n = strlen(model), cut = n;
    if (n > strlen(gguf) && strcmp(model + n - strlen(gguf), gguf) == 0)
        cut = n - strlen(gguf);
    char *path = umbra_calloc(cut + sizeof ending, 1);
    if (path) {
        memcpy(path, model, cut);
        memcpy(path + cut, ending, sizeof ending);
    }
    return path;
}

bool umbra_prefetch_has_shadow(const umbra_model *model, const char *shadow)
{
    if (shadow)
        return true;
    char *beside = path_beside(umbra_gguf_path(model->gguf));
    bool there = beside && access(beside, R_OK) == 0;
    umbra_free(beside);
    return there;
}

/* What the options come to for this model; the paths live as long as beside. */
typedef struct choice {
    umbra_policy policy;
    bool automatic;
    bool found;           /* automatic by a shadow that nobody named */
    char *beside;         /* owned */
    bool *sparse, *known; /* owned: (layers) */
    char hash[UMBRA_MODEL_HASH_CHARS];
    umbra_runner_options runner; /* but for the store and the routers */
} choice;

static void release(choice *c)
{
    umbra_free(c->beside);
    umbra_free(c->sparse);
    umbra_free(c->known);
}

/* How often to predict: so that predictions read at most an eighth of the bytes that the layers
 * themselves read per token, and take about as small a share of the time. */
static int choose_every(const umbra_runner_options *r, const umbra_model_info *info, int *every,
                        umbra_error *err)
{
    umbra_runner_options dense = *r;
    uint64_t bytes;
    dense.every = 1;
    int rc = umbra_runner_bytes(&dense, &bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t used =
        (uint64_t)info->moe_layers * (uint64_t)info->experts_used * info->bytes_per_expert;
    uint64_t budget = (used + info->dense_bytes) / 8;
    *every = budget > 0 && bytes / budget < UMBRA_MAX_DISTANCE ? (int)(bytes / budget) + 1
                                                               : UMBRA_MAX_DISTANCE;
    return UMBRA_OK;
}

static int choose(choice *c, const umbra_model *model, int sequences,
                  const umbra_prefetch_options *o, umbra_error *err)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    *c = (choice){.policy = o->policy, .automatic = o->policy == UMBRA_POLICY_AUTO};
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK && !umbra_policy_name(o->policy))
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "there is no policy %d", (int)o->policy);
    if (rc == UMBRA_OK)
        rc = umbra_model_hash(model, c->hash, err);
    if (rc != UMBRA_OK)
        return rc;
    c->beside = path_beside(umbra_gguf_path(model->gguf));
    c->sparse = umbra_calloc((size_t)info->layers, sizeof *c->sparse);
    c->known = umbra_calloc((size_t)info->layers, sizeof *c->known);
    if (!c->beside || !c->sparse || !c->known)
        return umbra_fail_nomem(err, "the choice of a predictor", 0);
    for (int l = 0; l < info->layers; l++) {
        c->sparse[l] = umbra_layer_has_experts(model, l);
        c->known[l] = model->layers[l].role[UMBRA_TOKEN_EXPERTS] != NULL;
    }
    if (c->automatic)
        c->policy = !o->no_shadow && umbra_prefetch_has_shadow(model, o->shadow)
                        ? UMBRA_POLICY_SHADOW
                        : UMBRA_POLICY_RUNAHEAD;
    c->found = c->automatic && c->policy == UMBRA_POLICY_SHADOW && !o->shadow;
    c->runner = (umbra_runner_options){
        .policy = c->policy,
        .layers = info->layers,
        .hidden = info->hidden,
        .experts = info->experts,
        .used = info->experts_used,
        .sparse = c->sparse,
        .known = c->known,
        .shadow = o->shadow ? o->shadow : c->beside,
        .model_hash = c->hash,
        .model_name = info->name,
        .sequences = sequences,
        .every = o->every,
    };
    if (o->every == 0 && (c->policy == UMBRA_POLICY_SHADOW || c->policy == UMBRA_POLICY_GATE))
        rc = choose_every(&c->runner, info, &c->runner.every, err);
    return rc;
}

/* Whether a failure is that of a shadow file which nobody asked for: then it is told, and the run
 * goes on without it. */
static bool is_passed_over(const choice *c, const umbra_prefetch_options *o, const umbra_error *why)
{
    bool of_the_file = why->status == UMBRA_E_FORMAT || why->status == UMBRA_E_UNSUPPORTED ||
                       why->status == UMBRA_E_MISMATCH || why->status == UMBRA_E_CORRUPT ||
                       why->status == UMBRA_E_IO;
    if (!c->found || !of_the_file)
        return false;
    if (o->warn)
        o->warn(o->user, why->message);
    return true;
}

static int fail_by(const umbra_error *why, umbra_error *err)
{
    if (err)
        *err = *why;
    return why->status;
}

/* What the store keeps of sequences beyond the first, which is among the small things. */
static uint64_t forecast_bytes(const umbra_model_info *info, int sequences)
{
    return umbra_store_forecast_bytes(info->layers, info->experts, sequences) -
           umbra_store_forecast_bytes(info->layers, info->experts, 1);
}

/* What the options come to, and the memory that it takes. */
static int measure(choice *c, const umbra_model *model, const umbra_engine_options *engine,
                   const umbra_prefetch_options *o, uint64_t *bytes, umbra_error *err)
{
    *bytes = 0;
    int rc = choose(c, model, engine->sequences, o, err);
    if (rc != UMBRA_OK || c->policy == UMBRA_POLICY_OFF)
        return rc;
    if (c->policy == UMBRA_POLICY_RUNAHEAD) {
        umbra_memory_plan plan; /* also where the budget is too small: that is told at opening */
        rc = umbra_engine_plan(model, engine, &plan, err);
        rc = rc == UMBRA_E_BUDGET ? UMBRA_OK : rc;
        *bytes = umbra_runahead_bytes(model, plan.context, plan.threads, engine->sequences);
    } else {
        rc = umbra_runner_bytes(&c->runner, bytes, err);
    }
    *bytes += forecast_bytes(umbra_model_get_info(model), engine->sequences) +
              umbra_recall_bytes(model, engine->sequences);
    return rc;
}

enum { LEAST_SHARE = 8 };

/* What a predictor takes is not there for experts: too much where it is an eighth of the cache, or
 * of what does not fit into it, since as many more misses are then there to win back. */
static bool is_worth_its_memory(uint64_t bytes, const umbra_memory_plan *plan)
{
    double cache = (double)plan->cache_bytes;
    double missing = cache / plan->residency - cache;
    return (double)bytes <= fmin(cache, missing) / LEAST_SHARE;
}

/* Auto goes without a shadow that takes too much where running ahead would not, and off where both
 * would. */
static int fit_auto(const choice *c, const umbra_model *model, const umbra_engine_options *engine,
                    umbra_prefetch_options *prefetch, uint64_t *bytes, umbra_error *err)
{
    umbra_memory_plan plan;
    int rc = umbra_engine_plan(model, engine, &plan, err);
    if (rc != UMBRA_OK || is_worth_its_memory(*bytes, &plan))
        return rc;
    if (c->policy == UMBRA_POLICY_SHADOW) {
        umbra_prefetch_options without = *prefetch;
        choice other;
        without.no_shadow = true;
        rc = measure(&other, model, engine, &without, bytes, err);
        release(&other);
        if (rc == UMBRA_OK && is_worth_its_memory(*bytes, &plan))
            prefetch->no_shadow = true;
        if (rc != UMBRA_OK || prefetch->no_shadow)
            return rc;
    }
    prefetch->policy = UMBRA_POLICY_OFF;
    *bytes = 0;
    return UMBRA_OK;
}

int umbra_prefetch_fit(const umbra_model *model, umbra_engine_options *engine,
                       umbra_prefetch_options *prefetch, umbra_error *err)
{
    choice c;
    umbra_error why = {0};
    uint64_t bytes = 0;
    int rc = measure(&c, model, engine, prefetch, &bytes, &why);
    if (rc != UMBRA_OK && is_passed_over(&c, prefetch, &why)) {
        release(&c);
        prefetch->no_shadow = true;
        rc = measure(&c, model, engine, prefetch, &bytes, &why);
    }
    release(&c);
    if (rc != UMBRA_OK)
        fail_by(&why, err);
    engine->reserved_bytes = 0;
    if (rc == UMBRA_OK && c.automatic)
        rc = fit_auto(&c, model, engine, prefetch, &bytes, err);
    engine->reserved_bytes = bytes;
    return rc;
}

static int open_runner(umbra_prefetch *p, const umbra_prefetch_options *o, umbra_error *err)
{
    umbra_engine *e = p->engine;
    choice c;
    umbra_error why = {0};
    int rc = choose(&c, umbra_engine_model(e), umbra_engine_sequences(e), o, &why);
    p->automatic = c.automatic;
    p->own_thread = umbra_system_has_spare(umbra_engine_get_plan(e)->threads);
    c.runner.store = umbra_engine_store(e);
    c.runner.gate = gate;
    c.runner.user = e;
    c.runner.kernels = umbra_engine_kernels(e)->name;
    c.runner.own_thread = p->own_thread;
    if (rc == UMBRA_OK && c.policy != UMBRA_POLICY_OFF)
        rc = umbra_recall_open(&p->recall, e, &why);
    if (rc == UMBRA_OK && c.policy == UMBRA_POLICY_RUNAHEAD)
        rc = umbra_runahead_open(&p->runahead, e, p->recall, &why);
    else if (rc == UMBRA_OK && c.policy != UMBRA_POLICY_OFF)
        rc = umbra_runner_open(&p->runner, &c.runner, &why);
    if (rc == UMBRA_E_SYSTEM &&
        p->own_thread) { /* no thread to be had: those that compute predict */
        p->own_thread = c.runner.own_thread = false;
        rc = umbra_runner_open(&p->runner, &c.runner, &why);
    }
    if (rc != UMBRA_OK && is_passed_over(&c, o, &why)) {
        c.policy = UMBRA_POLICY_OFF; /* the budget was planned for the shadow, not for the gate */
        rc = UMBRA_OK;
    }
    p->policy = c.policy;
    if (p->runner)
        umbra_runner_set_recall(p->runner, p->recall);
    if (rc == UMBRA_OK && (p->runner || p->runahead))
        rc = umbra_store_probe(umbra_engine_store(e), &why);
    release(&c);
    return rc == UMBRA_OK ? rc : fail_by(&why, err);
}

int umbra_prefetch_open(umbra_prefetch **out, umbra_engine *engine,
                        const umbra_prefetch_options *options, umbra_error *err)
{
    *out = NULL;
    umbra_prefetch *p = umbra_calloc(1, sizeof *p);
    if (!p)
        return umbra_fail_nomem(err, "reading ahead", sizeof *p);
    p->engine = engine;
    umbra_judge_init(&p->judge);
    int sequences = umbra_engine_sequences(engine);
    p->next_position = umbra_calloc((size_t)sequences, sizeof *p->next_position);
    p->last_position = umbra_calloc((size_t)sequences, sizeof *p->last_position);
    int experts = umbra_engine_model(engine)->config.experts;
    p->probability = umbra_calloc((size_t)experts, sizeof *p->probability);
    bool room = p->next_position && p->last_position && p->probability;
    int rc = room ? open_runner(p, options ? options : &defaults, err)
                  : umbra_fail_nomem(err, "reading ahead", 0);
    for (int i = 0; room && i < sequences; i++)
        p->next_position[i] = p->last_position[i] = -1;
    if (rc != UMBRA_OK) {
        umbra_prefetch_close(&p);
        return rc;
    }
    const umbra_tap tap = {.user = p,
                           .at = {[UMBRA_TAP_ENTER] = enter,
                                  [UMBRA_TAP_ROUTED] = routed,
                                  [UMBRA_TAP_WAIT] = p->runahead ? wait : NULL,
                                  [UMBRA_TAP_LEAVE] = leave}};
    if (p->runner || p->runahead)
        umbra_engine_attach(engine, &tap);
    *out = p;
    return UMBRA_OK;
}

void umbra_prefetch_close(umbra_prefetch **prefetch)
{
    umbra_prefetch *p = *prefetch;
    if (!p)
        return;
    if (p->runner || p->runahead) {
        umbra_engine_attach(p->engine, NULL);
        umbra_pool_wait(umbra_engine_pool(p->engine));
        umbra_store_set_guessing(umbra_engine_store(p->engine), false);
    }
    umbra_runner_close(&p->runner);
    umbra_runahead_close(&p->runahead);
    umbra_recall_close(&p->recall);
    umbra_free(p->next_position);
    umbra_free(p->last_position);
    umbra_free(p->probability);
    umbra_free(p);
    *prefetch = NULL;
}

void umbra_prefetch_get_stats(const umbra_prefetch *p, umbra_prefetch_stats *out)
{
    *out = p->stats;
    out->policy = p->policy;
    out->automatic = p->automatic;
    if (p->runner)
        umbra_runner_get_stats(p->runner, &out->runner);
    if (p->runahead)
        umbra_runahead_get_stats(p->runahead, &out->runner);
}

void umbra_prefetch_get_recall(const umbra_prefetch *p, umbra_recall_stats *out)
{
    *out = (umbra_recall_stats){0};
    if (p->recall)
        umbra_recall_get(p->recall, out);
}

bool umbra_prefetch_get_guess(const umbra_prefetch *p, int sequence, umbra_token_guess *out)
{
    return p->runahead && umbra_runahead_get_guess(p->runahead, sequence, out);
}

int umbra_prefetch_draft(umbra_prefetch *p, int sequence, int32_t id, int n, umbra_token_guess *out)
{
    return p->runahead ? umbra_runahead_draft(p->runahead, sequence, id, n, out) : 0;
}

void umbra_prefetch_set_oracle(umbra_prefetch *p, int sequence, const uint16_t *routing, int tokens)
{
    if (p->runner && sequence >= 0 && sequence < umbra_engine_sequences(p->engine))
        umbra_runner_set_oracle(p->runner, sequence, routing, tokens);
}
