/* Decodes documents under a budget and lets predictors say at every layer which experts come. */
#include <string.h>

#include "lab/evaluate/walks.h"
#include "predict/features.h"

enum { D = UMBRA_MAX_DISTANCE };

typedef umbra_eval_teller teller;
typedef umbra_eval_run run;

/* ---- what was said, and what came ---- */

static size_t place_of(const run *r, int half, int index, int source, int distance)
{
    size_t reach = (size_t)r->e->walk_reach;
    size_t sources = ((size_t)half * (size_t)r->n_tellers + (size_t)index) * reach;
    return (sources + (size_t)source) * reach + (size_t)(distance - 1);
}

/* An empty list to be filled, of what the teller says from here of the layers at this distance. */
static uint16_t *say(run *r, int index, int source, int distance)
{
    size_t at = place_of(r, (int)(r->token % 2), index, source, distance);
    r->spoken[at] = true;
    return r->said + at * (size_t)r->e->model.used;
}

static void count_list(run *r, const uint16_t *list, const int32_t *used,
                       umbra_eval_share *const shares[UMBRA_EVAL_WHICH], int distance)
{
    int k = r->e->model.used;
    for (int j = 0; j < k; j++) {
        bool hit = false;
        for (int i = 0; i < k; i++)
            hit = hit || list[i] == used[j];
        for (int which = 0; which < UMBRA_EVAL_WHICH; which++) {
            if (which == UMBRA_EVAL_MISSING && r->resident[used[j]])
                continue;
            shares[which][distance - 1].slots++;
            shares[which][distance - 1].hits += hit;
        }
    }
}

/* A layer's experts are known: from the sources before it in this token, and from those behind it
 * in the token before. */
static void count_layer(run *r, int target, const int32_t *used)
{
    int reach = r->e->walk_reach, half = (int)(r->token % 2);
    for (int t = 0; t < r->n_tellers; t++) {
        umbra_eval_walk *row = r->tellers[t].row;
        for (int d = 1; d <= reach; d++) {
            bool beyond = d > target;
            int source = beyond ? target - d + reach : target - d;
            size_t at = place_of(r, beyond ? 1 - half : half, t, source, d);
            if (r->spoken[at])
                count_list(r, r->said + at * (size_t)r->e->model.used, used,
                           beyond ? row->beyond : row->within, d);
        }
    }
}

static void count_next(run *r, int32_t best)
{
    int reach = r->e->walk_reach;
    for (int i = 0; i < r->n_tellers * reach; i++) {
        if (r->next[i] < 0)
            continue;
        umbra_eval_share *share = &r->tellers[i / reach].row->next[i % reach];
        share->slots++;
        share->hits += r->next[i] == best;
    }
}

/* ---- saying ---- */

static uint16_t *routing_of(const run *r, uint64_t token)
{
    size_t row = (size_t)r->e->model.layers * (size_t)r->e->model.used;
    return r->routing + token % UMBRA_EVAL_RUN_TOKENS * row;
}

/* Predictors that go by the state: up to D layers of the same token. */
static void predict(run *r, int teller_index, int layer, const float *x)
{
    const umbra_trace_info *m = &r->e->model;
    teller *t = &r->tellers[teller_index];
    const int source = layer + 1;
    const uint16_t *now = routing_of(r, r->token);
    const uint16_t *previous = r->position > 0 ? routing_of(r, r->token - 1) : NULL;
    const uint16_t *previous2 = r->position > 1 ? routing_of(r, r->token - 2) : NULL;
    float *averages = NULL;
    if (source >= umbra_eval_sources(r->e))
        return;
    if (t->averages) {
        averages = t->averages + (size_t)source * (size_t)t->spec->averages * (size_t)m->hidden;
        umbra_shadow_normalise(x, m->hidden, r->r);
        umbra_shadow_averages(t->spec, averages, r->r, 1, r->position == 0);
    }
    const umbra_predict_input input = {1, x, averages, &now, &previous, &previous2};
    umbra_predict(t->predictor, source, &input, t->scratch, r->scores);
    for (int d = 1; d <= D; d++) {
        int target = umbra_shadow_target(source, d);
        if (!umbra_eval_predicts(r->e, source, d))
            continue;
        int distance = r->ordinal[target] - r->ordinal[layer];
        umbra_predict_top(r->scores + (size_t)(d - 1) * (size_t)m->experts, m->experts, m->used,
                          say(r, teller_index, r->ordinal[layer], distance));
    }
}

static void take_step(run *r, int teller_index, int source)
{
    const int32_t *named = umbra_walk_experts(r->walk);
    uint16_t *list = say(r, teller_index, source, umbra_walk_distance(r->walk));
    for (int j = 0; j < r->e->model.used; j++)
        list[j] = (uint16_t)named[j];
}

/* To the token's end, and with the guess as far into the next as what was said of it is kept. */
static void walk(run *r, int teller_index, const umbra_rows *rows)
{
    teller *t = &r->tellers[teller_index];
    int source = r->ordinal[rows->layer], reach = r->e->walk_reach;
    umbra_walk_next next;
    umbra_walk_limit(r->walk, t->experts);
    umbra_walk_begin(r->walk, rows, 0, UMBRA_TAP_ROUTED);
    while (umbra_walk_step(r->walk))
        take_step(r, teller_index, source);
    if (umbra_walk_guess(r->walk, &next)) {
        r->next[teller_index * reach + source] = next.best;
        bool on = umbra_walk_token(r->walk, next.best);
        while (on && umbra_walk_distance(r->walk) < reach && umbra_walk_step(r->walk))
            take_step(r, teller_index, source);
    }
    t->layers += (uint64_t)umbra_walk_distance(r->walk);
    t->computed += (uint64_t)umbra_walk_computed(r->walk);
}

/* ---- the engine's calls ---- */

/* Before the layer asks for its experts: which are in memory, and what walks name with those. */
static int before_demands(void *user, const umbra_rows *rows)
{
    run *r = user;
    umbra_store *store = umbra_engine_store(r->engine);
    if (r->ordinal[rows->layer] < 0)
        return UMBRA_OK;
    for (int e = 0; e < r->e->model.experts; e++) {
        umbra_lease lease;
        r->resident[e] = umbra_store_borrow(store, rows->layer, &e, 1, &lease) == 1;
        if (r->resident[e])
            umbra_store_release(store, &lease);
    }
    for (int t = 0; t < r->n_tellers; t++)
        if (!r->tellers[t].predictor)
            walk(r, t, rows);
    return UMBRA_OK;
}

static int routed(void *user, const umbra_rows *rows)
{
    run *r = user;
    int k = r->e->model.used;
    uint16_t *now = routing_of(r, r->token) + (size_t)rows->layer * (size_t)k;
    for (int j = 0; j < k; j++)
        now[j] = (uint16_t)rows->experts[j];
    if (r->token >= UMBRA_EVAL_WALK_SKIPPED)
        count_layer(r, r->ordinal[rows->layer], rows->experts);
    for (int t = 0; t < r->n_tellers; t++)
        if (r->tellers[t].predictor)
            predict(r, t, rows->layer, rows->x);
    return UMBRA_OK;
}

static int take_logits(void *user, int index, const float *logits)
{
    run *r = user;
    (void)index;
    int32_t best = 0, vocabulary = umbra_model_get_info(umbra_engine_model(r->engine))->vocabulary;
    for (int32_t id = 1; id < vocabulary; id++)
        best = logits[id] > logits[best] ? id : best;
    if (r->token >= UMBRA_EVAL_WALK_SKIPPED)
        count_next(r, best);
    return UMBRA_OK;
}

/* ---- runs ---- */

static int decode(run *r, int32_t id)
{
    size_t reach = (size_t)r->e->walk_reach, half = (size_t)r->n_tellers * reach * reach;
    const umbra_tap tap = {.user = r,
                           .at = {[UMBRA_TAP_HIDDEN] = before_demands, [UMBRA_TAP_ROUTED] = routed},
                           .logits = take_logits,
                           .progress = r->progress};
    const umbra_token token = {id, 0, true};
    memset(r->spoken + r->token % 2 * half, 0, half * sizeof *r->spoken);
    memset(r->next, 0xff, (size_t)r->n_tellers * reach * sizeof *r->next);
    int rc = umbra_engine_eval(r->engine, &token, 1, &tap, r->err);
    r->positions += r->position;
    r->position++;
    r->token++;
    return rc;
}

/* The first n tokens of a document, as a text of its own. */
static int decode_document(run *r, const umbra_eval_document *d, int n)
{
    int32_t ids[UMBRA_EVAL_RUN_POSITIONS];
    size_t cells = 2 * (size_t)r->n_tellers * (size_t)r->e->walk_reach * (size_t)r->e->walk_reach;
    int rc = umbra_trace_read_tokens(r->in->traces[d->folder], d->document->shard,
                                     d->document->first, n, ids, r->err);
    umbra_engine_truncate(r->engine, 0, 0);
    memset(r->spoken, 0, cells * sizeof *r->spoken);
    r->position = 0;
    for (int i = 0; rc == UMBRA_OK && i < n; i++) {
        rc = decode(r, ids[i]);
        umbra_progress_report(r->progress, "running ahead", "tokens", r->done_before + r->token,
                              r->all_tokens);
    }
    return rc;
}

/* How much of a document a run takes. */
static int tokens_of(const umbra_eval_document *d, int context, uint64_t left)
{
    int n = d->document->tokens < context ? d->document->tokens : context;
    n = n < UMBRA_EVAL_RUN_POSITIONS ? n : UMBRA_EVAL_RUN_POSITIONS;
    return (uint64_t)n < left ? n : (int)left;
}

int umbra_eval_run_decode(run *r, uint64_t tokens)
{
    int rc = UMBRA_OK, context = umbra_engine_get_plan(r->engine)->context;
    umbra_eval_amount *walked = &r->e->walked;
    *walked = (umbra_eval_amount){0};
    for (int i = 0; rc == UMBRA_OK && i < r->in->n_documents && walked->tokens < tokens; i++) {
        int n = tokens_of(&r->in->documents[i], context, tokens - walked->tokens);
        rc = decode_document(r, &r->in->documents[i], n);
        walked->tokens += (uint64_t)n;
        walked->documents++;
    }
    return rc;
}

void umbra_eval_run_costs(run *r)
{
    double positions = r->token > 0 ? r->positions / (double)r->token : 0;
    for (int i = 0; i < r->n_tellers; i++) {
        teller *t = &r->tellers[i];
        if (!t->predictor)
            umbra_eval_walk_cost(r->engine, positions,
                                 t->layers > 0 ? (double)t->computed / (double)t->layers : 0,
                                 &t->row->bytes, &t->row->macs);
    }
}
