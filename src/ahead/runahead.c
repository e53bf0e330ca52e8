/* Walks while the engine waits, and foretells what the walk names. */
#include "ahead/runahead.h"

#include "ahead/margins.h"
#include "ahead/walk.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "engine/steps/steps.h"

enum { DEEPEST = UMBRA_STORE_DISTANCES };

struct umbra_runahead {
    umbra_engine *engine;
    umbra_walk *walk;
    umbra_margins margins;
    umbra_margin_row *foretold; /* (layers) */
    uint8_t *steps;             /* (layers, experts) of these */
    float *probability;         /* (experts) */
    float *order;               /* (experts) */
    int source;                 /* layer from which the walk goes, -1: none yet in this step */
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
    umbra_margins_foretell(&r->margins, c->router.gating, umbra_walk_scores(r->walk),
                           umbra_walk_preference(r->walk), c->experts, c->experts_used, distance,
                           umbra_walk_missing(r->walk), r->order, r->probability,
                           &r->foretold[layer]);
    umbra_store_foretell(umbra_engine_store(r->engine), rows->tokens[0].sequence, layer, distance,
                         clock + (uint64_t)distance, r->probability);
    r->stats.predictions++;
}

void umbra_runahead_wait(umbra_runahead *r, const umbra_rows *rows)
{
    if (rows->n != 1 || rows->prompt[0])
        return;
    umbra_store *store = umbra_engine_store(r->engine);
    uint64_t start_ns = umbra_clock_ns(), clock = umbra_store_clock(store);
    if (r->source != rows->layer) {
        umbra_walk_begin(r->walk, rows, UMBRA_TAP_WAIT);
        r->source = rows->layer;
    }
    umbra_walk_result result = UMBRA_WALK_ROUTED;
    while (result == UMBRA_WALK_ROUTED && umbra_walk_distance(r->walk) < DEEPEST &&
           !umbra_store_ready(store)) {
        result = umbra_walk_step(r->walk);
        if (result == UMBRA_WALK_ROUTED)
            foretell(r, rows, clock);
    }
    r->stats.predict_ns += umbra_seconds_since(start_ns) * 1e9;
}

void umbra_runahead_get_stats(const umbra_runahead *r, umbra_runner_stats *out)
{
    *out = r->stats;
}
