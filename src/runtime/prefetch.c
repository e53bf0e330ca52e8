/* The engine's companion: hands states to the shadow runner and lends it a worker to predict. */
#include <umbra/prefetch.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "engine/engine.h"
#include "runtime/judge.h"

/* A sequence as this chunk has it. */
typedef struct follower {
    int position; /* that the runner expects next */
    int rows;     /* of the chunk */
} follower;

struct umbra_prefetch {
    umbra_engine *engine;
    umbra_runner *runner; /* NULL: off */
    umbra_policy policy;
    bool automatic;
    bool own_thread;
    follower *followers; /* (sequences) */
    bool on;             /* for the chunk in progress */
    int decoded;         /* rows of it that decode; the others are prompts' */
    umbra_judge judge;   /* of automatic */
    /* Of the chunk in progress: when it began, and the store's waits and needs before. */
    uint64_t begun_ns, waited_ns, needed;
    umbra_prefetch_stats stats;
};

/* ---- the engine's calls ---- */

static void errand(void *runner)
{
    umbra_runner_work(runner);
}

/* Predictions are made by a worker of the pool, while the others go on; without one, here, while
 * the layer's reads are under way. */
static void work(umbra_prefetch *p)
{
    if (p->own_thread || umbra_pool_send(p->engine->pool, errand, p->runner))
        return;
    if (p->engine->plan.threads == 1)
        umbra_runner_work(p->runner);
}

/* Takes the chunk's rows apart: a sequence with one row decodes, one with several reads a prompt.
 */
static void follow(umbra_prefetch *p, int n)
{
    const umbra_scratch *s = &p->engine->scratch;
    for (int t = 0; t < n; t++)
        p->followers[s->sequence[t]].rows = 0;
    for (int t = 0; t < n; t++) {
        follower *f = &p->followers[s->sequence[t]];
        if (f->rows++ == 0 && s->position[t] != f->position)
            umbra_runner_restart(p->runner, s->sequence[t]);
        f->position = s->position[t] + 1;
    }
    p->decoded = 0;
    for (int t = 0; t < n; t++)
        p->decoded += p->followers[s->sequence[t]].rows == 1;
}

/* How many rows from the t-th on are of one prompt; 0: it is a row that decodes. */
static int prompt_rows(const umbra_prefetch *p, int t, int n)
{
    const int32_t *sequence = p->engine->scratch.sequence;
    int rows = 0;
    if (p->followers[sequence[t]].rows == 1)
        return 0;
    while (t + rows < n && sequence[t + rows] == sequence[t])
        rows++;
    return rows;
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

static void tell_rows(umbra_prefetch *p, int layer, int n)
{
    const umbra_scratch *s = &p->engine->scratch;
    const umbra_config *c = &p->engine->model->config;
    for (int t = 0, rows; t<n; t += rows> 0 ? rows : 1) {
        const float *x = s->x + (size_t)t * (size_t)c->hidden;
        const int32_t *experts =
            layer < 0 ? NULL : s->experts + (size_t)t * (size_t)c->experts_used;
        rows = prompt_rows(p, t, n);
        if (rows > 0)
            umbra_runner_absorb(p->runner, s->sequence[t], layer, rows, x, experts);
        else
            tell(p, s->sequence[t], layer, x, experts);
    }
    if (p->on)
        work(p);
}

static void enter(void *user, const umbra_token *tokens, int n)
{
    umbra_prefetch *p = user;
    (void)tokens;
    follow(p, n);
    p->on = p->decoded > 0 && (!p->automatic || p->judge.on);
    umbra_store_set_guessing(p->engine->store, p->on);
    p->begun_ns = umbra_clock_ns();
    p->waited_ns = umbra_store_waited_ns(p->engine->store);
    p->needed = umbra_store_needed(p->engine->store);
    tell_rows(p, -1, n);
}

static void routed(void *user, int layer, int n)
{
    tell_rows(user, layer, n);
}

static void leave(void *user, int n)
{
    umbra_prefetch *p = user;
    const int32_t *sequence = p->engine->scratch.sequence;
    for (int t = 0; t < n; t++)
        if (p->followers[sequence[t]].rows == 1)
            umbra_runner_leave(p->runner, sequence[t]);
    p->stats.tokens += (uint64_t)p->decoded;
    p->stats.tokens_on += p->on ? (uint64_t)p->decoded : 0;
    if (p->decoded < n)
        return; /* what a prompt takes says nothing of reading ahead */
    const umbra_store *store = p->engine->store;
    umbra_judge_step(&p->judge, n, umbra_seconds_since(p->begun_ns),
                     (double)(umbra_store_waited_ns(store) - p->waited_ns) * 1e-9,
                     (double)(umbra_store_needed(store) - p->needed));
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

static int parse_policy(const char *name, umbra_policy *policy, bool *automatic, umbra_error *err)
{
    *automatic = !name || strcmp(name, "auto") == 0;
    *policy = UMBRA_POLICY_SHADOW;
    if (*automatic)
        return UMBRA_OK;
    for (int i = 0; umbra_policy_name((umbra_policy)i); i++) {
        *policy = (umbra_policy)i;
        if (strcmp(name, umbra_policy_name(*policy)) == 0)
            return UMBRA_OK;
    }
    return umbra_fail(err, UMBRA_E_ARGUMENT,
                      "no policy is called \"%s\"; there are auto, off, previous, gate, shadow, "
                      "oracle",
                      name);
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
    char *beside; /* owned */
    bool *sparse; /* owned: (layers) */
    char hash[UMBRA_MODEL_HASH_CHARS];
    umbra_runner_options runner; /* but for the store and the routers */
} choice;

static void release(choice *c)
{
    umbra_free(c->beside);
    umbra_free(c->sparse);
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
    *every = budget > 0 && bytes / budget < UMBRA_STORE_DISTANCES ? (int)(bytes / budget) + 1
                                                                  : UMBRA_STORE_DISTANCES;
    return UMBRA_OK;
}

static int choose(choice *c, const umbra_model *model, int sequences,
                  const umbra_prefetch_options *o, umbra_error *err)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    *c = (choice){0};
    int rc = parse_policy(o->policy, &c->policy, &c->automatic, err);
    if (rc == UMBRA_OK)
        rc = umbra_model_hash(model, c->hash, err);
    if (rc != UMBRA_OK)
        return rc;
    c->beside = path_beside(umbra_gguf_path(model->gguf));
    c->sparse = umbra_calloc((size_t)info->layers, sizeof *c->sparse);
    if (!c->beside || !c->sparse)
        return umbra_fail_nomem(err, "the choice of a predictor", 0);
    for (int l = 0; l < info->layers; l++)
        c->sparse[l] = umbra_layer_has_experts(model, l);
    if (c->automatic && !umbra_prefetch_has_shadow(model, o->shadow))
        c->policy = UMBRA_POLICY_GATE;
    c->runner = (umbra_runner_options){
        .policy = c->policy,
        .layers = info->layers,
        .hidden = info->hidden,
        .experts = info->experts,
        .used = info->experts_used,
        .sparse = c->sparse,
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

enum { LEAST_SHARE = 8 };

/* What the store keeps of sequences beyond the first, which is among the small things. */
static uint64_t forecast_bytes(const umbra_model_info *info, int sequences)
{
    return umbra_store_forecast_bytes(info->layers, info->experts, sequences) -
           umbra_store_forecast_bytes(info->layers, info->experts, 1);
}

/* What a predictor takes is not there for experts: too much where it is an eighth of the cache, or
 * of what does not fit into it, since as many more misses are then there to win back. */
static bool is_worth_its_memory(uint64_t bytes, const umbra_memory_plan *plan)
{
    double cache = (double)plan->cache_bytes;
    double missing = cache / plan->residency - cache;
    return (double)bytes <= fmin(cache, missing) / LEAST_SHARE;
}

int umbra_prefetch_fit(const umbra_model *model, umbra_engine_options *engine,
                       umbra_prefetch_options *prefetch, umbra_error *err)
{
    choice c;
    uint64_t bytes = 0;
    int rc = choose(&c, model, engine->sequences, prefetch, err);
    if (rc == UMBRA_OK && c.policy != UMBRA_POLICY_OFF) {
        rc = umbra_runner_bytes(&c.runner, &bytes, err);
        bytes += forecast_bytes(umbra_model_get_info(model), engine->sequences);
    }
    release(&c);
    engine->reserved_bytes = 0;
    if (rc == UMBRA_OK && c.automatic) {
        umbra_memory_plan plan;
        rc = umbra_engine_plan(model, engine, &plan, err);
        if (rc == UMBRA_OK && !is_worth_its_memory(bytes, &plan)) {
            prefetch->policy = umbra_policy_name(UMBRA_POLICY_OFF);
            bytes = 0;
        }
    }
    engine->reserved_bytes = bytes;
    return rc;
}

static int open_runner(umbra_prefetch *p, const umbra_prefetch_options *o, umbra_error *err)
{
    umbra_engine *e = p->engine;
    choice c;
    int rc = choose(&c, e->model, e->sequences, o, err);
    p->policy = c.policy;
    p->automatic = c.automatic;
    p->own_thread = umbra_system_processors() > e->plan.threads;
    c.runner.store = e->store;
    c.runner.gate = gate;
    c.runner.user = e;
    c.runner.own_thread = p->own_thread;
    if (rc == UMBRA_OK && c.policy != UMBRA_POLICY_OFF)
        rc = umbra_runner_open(&p->runner, &c.runner, err);
    if (rc == UMBRA_OK && p->runner)
        rc = umbra_store_probe(e->store, err);
    release(&c);
    return rc;
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
    p->followers = umbra_calloc((size_t)engine->sequences, sizeof *p->followers);
    int rc = p->followers ? open_runner(p, options ? options : &defaults, err)
                          : umbra_fail_nomem(err, "reading ahead", 0);
    for (int i = 0; p->followers && i < engine->sequences; i++)
        p->followers[i].position = -1;
    if (rc != UMBRA_OK) {
        umbra_prefetch_close(&p);
        return rc;
    }
    if (p->runner)
        engine->companion =
            (umbra_companion){.user = p, .enter = enter, .routed = routed, .leave = leave};
    *out = p;
    return UMBRA_OK;
}

void umbra_prefetch_close(umbra_prefetch **prefetch)
{
    umbra_prefetch *p = *prefetch;
    if (!p)
        return;
    if (p->runner) {
        p->engine->companion = (umbra_companion){0};
        umbra_pool_settle(p->engine->pool);
        umbra_store_set_guessing(p->engine->store, false);
    }
    umbra_runner_close(&p->runner);
    umbra_free(p->followers);
    umbra_free(p);
    *prefetch = NULL;
}

void umbra_prefetch_get_stats(const umbra_prefetch *p, umbra_prefetch_stats *out)
{
    *out = p->stats;
    out->policy = umbra_policy_name(p->policy);
    out->automatic = p->automatic;
    if (p->runner)
        umbra_runner_get_stats(p->runner, &out->runner);
}

void umbra_prefetch_set_oracle(umbra_prefetch *p, int sequence, const uint16_t *routing, int tokens)
{
    if (p->runner && sequence >= 0 && sequence < p->engine->sequences)
        umbra_runner_set_oracle(p->runner, sequence, routing, tokens);
}
