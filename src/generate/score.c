/* Scores a given text, window by window. */
#include <umbra/score.h>

#include <string.h>

#include "base/best.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"

enum { MAX_TOP = 1000 };

/* One window: tokens of the text, perhaps behind a repeated BOS. */
typedef struct window {
    umbra_scores *scores;
    const umbra_engine *engine;
    const umbra_progress *progress;
    const int32_t *tokens; /* the text */
    int count;             /* of the text */
    int vocabulary;
    int first; /* text index of the window's first own token */
    int lead;  /* 1 if a repeated BOS comes before it, else 0 */
} window;

static int take_routing(void *user, const umbra_rows *rows)
{
    window *w = user;
    umbra_scores *s = w->scores;
    for (int t = 0; t < rows->n; t++) {
        int at = w->first + rows->first + t - w->lead;
        if (rows->first + t < w->lead)
            continue;
        uint16_t *out =
            s->experts + ((size_t)rows->layer * (size_t)s->tokens + (size_t)at) * (size_t)s->used;
        for (int j = 0; j < s->used; j++)
            out[j] = (uint16_t)rows->experts[(size_t)t * (size_t)s->used + (size_t)j];
    }
    return 0;
}

static void keep_top(umbra_scores *s, size_t at, const float *logits, int vocabulary)
{
    int32_t *id = s->top_id + at * (size_t)s->top;
    float *best = s->top_logit + at * (size_t)s->top;
    int have = 0;
    for (int i = 0; i < vocabulary; i++)
        have = umbra_best_offer(id, have, s->top, i, logits);
    for (int i = 0; i < have; i++)
        best[i] = logits[id[i]];
}

static int take_logits(void *user, int index, const float *logits)
{
    window *w = user;
    umbra_scores *s = w->scores;
    int at = w->first + index - w->lead;
    double lse = umbra_engine_kernels(w->engine)->log_sum_exp(logits, w->vocabulary);
    if (at + 1 < w->count) {
        s->nll_sum += lse - (double)logits[w->tokens[at + 1]];
        s->predicted++;
    }
    s->lse[at] = lse;
    umbra_progress_report(w->progress, "scoring", "tokens", (uint64_t)at + 1, (uint64_t)w->count);
    if (s->top > 0)
        keep_top(s, (size_t)at, logits, w->vocabulary);
    return 0;
}

static int allocate(umbra_scores *s, umbra_error *err)
{
    size_t n = (size_t)s->tokens, top = n * (size_t)s->top;
    size_t experts = n * (size_t)s->layers * (size_t)s->used;
    s->lse = umbra_calloc(n, sizeof *s->lse);
    if (top > 0) {
        s->top_id = umbra_calloc(top, sizeof *s->top_id);
        s->top_logit = umbra_calloc(top, sizeof *s->top_logit);
    }
    if (s->used > 0)
        s->experts = umbra_calloc(experts, sizeof *s->experts);
    if (s->experts)
        memset(s->experts, 0xff, experts * sizeof *s->experts); /* layers without experts */
    if (!s->lse || (top > 0 && (!s->top_id || !s->top_logit)) || (s->used > 0 && !s->experts))
        return umbra_fail_nomem(err, "the scores", n * 8 + top * 8 + experts * 2);
    return UMBRA_OK;
}

/* Evaluates one window; in a later window of a long text the BOS comes first again, unscored. */
static int score_window(umbra_engine *engine, window *w, int own, umbra_token *tokens,
                        umbra_error *err)
{
    int n = 0;
    if (w->lead)
        tokens[n++] = (umbra_token){w->tokens[0], 0, false};
    for (int i = 0; i < own; i++)
        tokens[n++] = (umbra_token){w->tokens[w->first + i], 0, true};
    umbra_tap tap = {
        .user = w,
        .logits = take_logits,
        .at = {[UMBRA_TAP_ROUTED] = w->scores->experts ? take_routing : NULL},
        .progress = w->progress,
    };
    umbra_engine_truncate(engine, 0, 0);
    return umbra_engine_eval(engine, tokens, n, &tap, err);
}

int umbra_score(umbra_engine *engine, const umbra_model *model, const int32_t *tokens, int count,
                const umbra_score_options *options, umbra_scores *out, umbra_error *err)
{
    static const umbra_score_options defaults = {0};
    *out = (umbra_scores){0};
    options = options ? options : &defaults;
    const umbra_model_info *info = umbra_model_get_info(model);
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    int rc = UMBRA_CHECK_RESERVED(options, err);
    if (rc != UMBRA_OK)
        return rc;
    if (count < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no token to score");
    if (options->top < 0 || options->top > MAX_TOP || options->top > info->vocabulary)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "top %d is not in 0..%d", options->top, MAX_TOP);
    if (plan->context < 2 && count > 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "scoring needs a context of at least 2");
    out->tokens = count;
    out->layers = info->layers;
    out->used = options->experts ? info->experts_used : 0;
    out->top = options->top;
    umbra_token *buffer = umbra_calloc((size_t)plan->context, sizeof *buffer);
    rc = buffer ? allocate(out, err) : umbra_fail_nomem(err, "the window", 0);

    uint64_t start = umbra_clock_ns();
    window w = {
        .scores = out,
        .engine = engine,
        .progress = options->progress,
        .tokens = tokens,
        .count = count,
        .vocabulary = info->vocabulary,
    };
    while (rc == UMBRA_OK && w.first < count) {
        w.lead = w.first > 0;
        int room = plan->context - w.lead;
        int own = count - w.first < room ? count - w.first : room;
        rc = score_window(engine, &w, own, buffer, err);
        w.first += own;
    }
    out->seconds = umbra_seconds_since(start);
    umbra_free(buffer);
    if (rc != UMBRA_OK)
        umbra_score_free(out);
    return rc;
}

void umbra_score_free(umbra_scores *s)
{
    umbra_free(s->lse);
    umbra_free(s->top_id);
    umbra_free(s->top_logit);
    umbra_free(s->experts);
    *s = (umbra_scores){0};
}
