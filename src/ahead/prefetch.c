/* Goes along with the engine: hands states to the shadow runner and lends it a worker to predict.
 */
#include <umbra/prefetch.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "engine/engine.h"
#include "ahead/certain.h"
#include "ahead/judge.h"
#include "ahead/prefetch_choose.h"
#include "ahead/recall.h"
#include "ahead/runahead.h"

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

static int open_runner(umbra_prefetch *p, const umbra_prefetch_options *o, umbra_error *err)
{
    umbra_engine *e = p->engine;
    umbra_choice c;
    umbra_error why = {0};
    int rc = umbra_choose(&c, umbra_engine_model(e), umbra_engine_sequences(e), o, &why);
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
    if (rc != UMBRA_OK && umbra_choice_passes_over(&c, o, &why)) {
        c.policy = UMBRA_POLICY_OFF; /* the budget was planned for the shadow, not for the gate */
        rc = UMBRA_OK;
    }
    p->policy = c.policy;
    if (p->runner)
        umbra_runner_set_recall(p->runner, p->recall);
    if (rc == UMBRA_OK && (p->runner || p->runahead))
        rc = umbra_store_probe(umbra_engine_store(e), &why);
    umbra_choice_release(&c);
    return rc == UMBRA_OK ? rc : umbra_fail_as(&why, err);
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
