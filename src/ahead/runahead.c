/* Walks while the engine waits, and foretells what the walk names. */
#include "ahead/runahead.h"

#include "ahead/margins.h"
#include "ahead/walk.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "engine/steps/steps.h"

enum { DEEPEST = UMBRA_MAX_DISTANCE };

/* How many experts of a layer a walk computes. Where waits are short, a walk that leaves them out
 * gets far enough to be of use, at 40 % of a layer's cost; where the disk is the bottleneck there
 * is time for the real ones, which name more of what is missing. */
static const int experts_of_level[] = {0, 2, UMBRA_MAX_USED};
enum { LEVELS = sizeof experts_of_level / sizeof experts_of_level[0] };
static const float enough = 0.6f;      /* of the waits let the walk come to its end: do more */
static const float too_few = 0.15f;    /* do: do less */
static const float recent = 1.0f / 64; /* the newest wait's part in that share */

struct umbra_runahead {
    umbra_engine *engine;
    umbra_walk *walk;
    umbra_margins margins;
    umbra_margin_row *foretold; /* (layers) */
    uint8_t *steps;             /* (layers, experts) of these */
    float *probability;         /* (experts) */
    float *order;               /* (experts) */
    int source;                 /* layer from which the walk goes, -1: none yet in this step */
    bool more;                  /* it can go on */
    int level;                  /* of experts_of_level */
    float ended;                /* share of waits in which the walk came to its end */
    umbra_runner_stats stats;
};

/* Rows of floats and bytes that belong to it beside the walk. */
static uint64_t table_bytes(const umbra_model *model)
{
    const umbra_config *c = &model->config;
    return (uint64_t)c->layers * ((uint64_t)c->experts + sizeof(umbra_margin_row)) +
           2 * (uint64_t)c->experts * sizeof(float) + sizeof(umbra_runahead);
}

uint64_t umbra_runahead_bytes(const umbra_model *model, int context, int threads)
{
    return umbra_walk_bytes(model, context, threads) + table_bytes(model);
}

int umbra_runahead_open(umbra_runahead **out, umbra_engine *engine, umbra_error *err)
{
    *out = NULL;
    const umbra_config *c = &umbra_engine_model(engine)->config;
    size_t layers = (size_t)c->layers, experts = (size_t)c->experts;
    umbra_runahead *r = umbra_calloc(1, sizeof *r);
    if (!r)
        return umbra_fail_nomem(err, "running ahead", sizeof *r);
    r->engine = engine;
    r->ended = (enough + too_few) / 2;
    umbra_margins_init(&r->margins);
    r->foretold = umbra_calloc(layers, sizeof *r->foretold);
    r->steps = umbra_calloc(layers * experts, sizeof *r->steps);
    r->probability = umbra_calloc(experts, sizeof *r->probability);
    r->order = umbra_calloc(experts, sizeof *r->order);
    int rc = UMBRA_OK;
    if (!r->foretold || !r->steps || !r->probability || !r->order)
        rc = umbra_fail_nomem(err, "running ahead", table_bytes(umbra_engine_model(engine)));
    if (rc == UMBRA_OK)
        rc = umbra_walk_open(&r->walk, engine, err);
    for (size_t l = 0; rc == UMBRA_OK && l < layers; l++)
        r->foretold[l].step = r->steps + l * experts;
    if (rc != UMBRA_OK) {
        umbra_runahead_close(&r);
        return rc;
    }
    *out = r;
    return UMBRA_OK;
}

void umbra_runahead_close(umbra_runahead **runahead)
{
    umbra_runahead *r = *runahead;
    if (!r)
        return;
    umbra_walk_close(&r->walk);
    umbra_free(r->foretold);
    umbra_free(r->steps);
    umbra_free(r->probability);
    umbra_free(r->order);
    umbra_free(r);
    *runahead = NULL;
}

void umbra_runahead_enter(umbra_runahead *r)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    r->source = -1;
    for (int l = 0; l < c->layers; l++)
        r->foretold[l].distance = 0;
}

void umbra_runahead_routed(umbra_runahead *r, const umbra_rows *rows)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    umbra_margins_learn(&r->margins, &r->foretold[rows->layer], c->experts, rows->experts,
                        c->experts_used);
}

static void foretell(umbra_runahead *r, const umbra_rows *rows, uint64_t clock)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    int layer = umbra_walk_layer(r->walk), distance = umbra_walk_distance(r->walk);
    if (umbra_engine_token_experts(r->engine, layer, 0)) /* are foretold already */
        return;
    umbra_margins_foretell(&r->margins, c->router.gating, umbra_walk_scores(r->walk),
                           umbra_walk_preference(r->walk), c->experts, c->experts_used, distance,
                           umbra_walk_missing(r->walk), r->order, r->probability,
                           &r->foretold[layer]);
    umbra_store_foretell(umbra_engine_store(r->engine), rows->tokens[0].sequence, layer, distance,
                         clock + (uint64_t)distance, r->probability);
    r->stats.predictions++;
}

/* A layer's waits are over: whether walks get far enough to do more, or should do less. */
static void choose_level(umbra_runahead *r)
{
    r->ended += recent * ((r->more ? 0.0f : 1.0f) - r->ended);
    int level = r->level;
    if (r->ended > enough && level + 1 < LEVELS)
        level++;
    else if (r->ended < too_few && level > 0)
        level--;
    if (level != r->level)
        r->ended = (enough + too_few) / 2;
    r->level = level;
    umbra_walk_limit(r->walk, experts_of_level[level]);
}

void umbra_runahead_wait(umbra_runahead *r, const umbra_rows *rows)
{
    if (rows->n != 1 || rows->prompt[0])
        return;
    umbra_store *store = umbra_engine_store(r->engine);
    uint64_t start_ns = umbra_clock_ns(), clock = umbra_store_clock(store);
    if (r->source != rows->layer) {
        choose_level(r);
        umbra_walk_begin(r->walk, rows, UMBRA_TAP_WAIT);
        r->source = rows->layer;
        r->more = true;
    }
    do {
        r->more = r->more && umbra_walk_distance(r->walk) < DEEPEST && umbra_walk_step(r->walk);
        if (r->more)
            foretell(r, rows, clock);
    } while (r->more && !umbra_store_ready(store));
    r->stats.predict_ns += umbra_clock_ns() - start_ns;
}

void umbra_runahead_get_stats(const umbra_runahead *r, umbra_runner_stats *out)
{
    *out = r->stats;
}
