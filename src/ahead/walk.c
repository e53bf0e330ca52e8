/* The walk ahead: a second pass of one row through the engine's steps, over what is in memory. */
#include "ahead/walk.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/steps/steps.h"

struct umbra_walk {
    umbra_engine *engine;
    umbra_pass pass; /* one row */
    umbra_scratch scratch;
    uint64_t scratch_bytes, page_bytes;
    char *page; /* the row's own key and value in the layer in progress */
    int sequence, position;
    int layer, distance;
    int most_experts; /* computed of a layer */
    float missing;
    bool routed; /* the layer's experts are named, and not yet computed */
};

/* The largest page of a layer. */
static uint64_t page_bytes_of(const umbra_kv_form *forms, int layers)
{
    uint64_t largest = 0;
    for (int l = 0; l < layers; l++)
        if (umbra_kv_page_bytes(&forms[l]) > largest)
            largest = umbra_kv_page_bytes(&forms[l]);
    return largest;
}

uint64_t umbra_walk_bytes(const umbra_model *model, int context, int threads)
{
    const umbra_config *c = &model->config;
    umbra_scratch unused;
    uint64_t most = 0; /* values of a position */
    for (int l = 0; l < c->layers; l++) {
        const umbra_attention *a = &c->attention[l];
        uint64_t kept = (uint64_t)a->cache_heads * (uint64_t)(a->cache_key + a->cache_value);
        most = kept > most ? kept : most;
    }
    return umbra_scratch_place(&unused, NULL, c, 1, 0, context + 1, threads) +
           UMBRA_KV_PAGE * most * sizeof(float);
}

int umbra_walk_open(umbra_walk **out, umbra_engine *engine, umbra_error *err)
{
    *out = NULL;
    umbra_walk *w = umbra_calloc(1, sizeof *w);
    if (!w)
        return umbra_fail_nomem(err, "the walk ahead", sizeof *w);
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    const umbra_config *c = &umbra_engine_model(engine)->config;
    umbra_scratch sizes;
    w->engine = engine;
    w->scratch_bytes = umbra_scratch_place(&sizes, NULL, c, 1, 0, plan->context + 1, plan->threads);
    umbra_engine_pass(engine, &w->pass);
    w->page_bytes = page_bytes_of(w->pass.forms, c->layers);
    char *arena = umbra_map(w->scratch_bytes);
    w->page = umbra_map(w->page_bytes);
    if (!arena || !w->page) {
        umbra_unmap(arena, w->scratch_bytes);
        umbra_unmap(w->page, w->page_bytes);
        umbra_free(w);
        return umbra_fail_nomem(err, "the walk ahead", sizes.arena_bytes);
    }
    umbra_scratch_place(&w->scratch, arena, c, 1, 0, plan->context + 1, plan->threads);
    w->pass.scratch = &w->scratch;
    w->pass.rows = 1;
    w->pass.aside = true;
    w->most_experts = UMBRA_MAX_USED;
    *out = w;
    return UMBRA_OK;
}

void umbra_walk_close(umbra_walk **walk)
{
    umbra_walk *w = *walk;
    if (!w)
        return;
    umbra_unmap(w->scratch.arena, w->scratch_bytes);
    umbra_unmap(w->page, w->page_bytes);
    umbra_free(w);
    *walk = NULL;
}

void umbra_walk_begin(umbra_walk *w, const umbra_rows *rows, umbra_tap_place place)
{
    w->sequence = rows->tokens[0].sequence;
    w->position = rows->position[0];
    w->layer = rows->layer;
    w->distance = 0;
    w->routed = false;
    w->scratch.prompt[0] = false;
    w->missing = 0;
    umbra_engine_first_row(w->engine, &w->scratch);
    if (place == UMBRA_TAP_WAIT)
        w->missing = umbra_engine_partial(w->engine, w->layer, umbra_residual(&w->scratch));
    else
        w->routed = umbra_step_route(&w->pass, w->layer) == UMBRA_NO_ROW;
}

void umbra_walk_limit(umbra_walk *w, int experts)
{
    w->most_experts = experts;
}

/* Of the experts named, those that are in the cache: their weighted sum joins x. */
static void add_experts(umbra_walk *w)
{
    umbra_scratch *s = &w->scratch;
    umbra_store *store = umbra_engine_store(w->engine);
    umbra_lease leases[UMBRA_MAX_USED];
    int n = 0;
    float all = 0, missing = 0;
    umbra_step_sort_pairs(&w->pass);
    umbra_step_ffn(&w->pass, w->layer);
    for (int j = 0; j < w->pass.model->config.experts_used; j++) {
        bool there = n < w->most_experts &&
                     umbra_store_borrow(store, w->layer, &s->experts[j], 1, &leases[n]) == 1;
        n += there;
        all += s->weights[j];
        missing += there ? 0 : s->weights[j];
        if (!there)
            s->token_pair[j] = -1; /* left out of the sum */
    }
    if (n > 0)
        umbra_step_experts(&w->pass, w->layer, leases, n);
    umbra_step_mix(&w->pass, w->layer);
    for (int i = 0; i < n; i++)
        umbra_store_release(store, &leases[i]);
    if (all > 0 && missing / all > w->missing)
        w->missing = missing / all;
}

/* Attention over what the sequence holds and the row's own key. */
static void attend(umbra_walk *w)
{
    const umbra_attention *a = &w->pass.model->config.attention[w->layer];
    umbra_kv_view view = umbra_engine_view(w->engine, w->layer, w->sequence, w->position);
    if (a->ratio) /* a block that ends with the row is not pooled */
        w->scratch.pooled[0] =
            umbra_engine_view(w->engine, a->pooled, w->sequence, w->position - 1);
    umbra_step_enter(&w->pass, w->layer, UMBRA_HALF_ATTENTION);
    view.kept = w->position;
    view.extra = w->page;
    view.extras = 1;
    w->scratch.view[0] = view;
    umbra_step_attention(&w->pass, w->layer);
}

bool umbra_walk_step(umbra_walk *w)
{
    const umbra_model *model = w->pass.model;
    if (w->routed)
        add_experts(w);
    w->routed = false;
    while (++w->layer < model->config.layers) {
        attend(w);
        if (umbra_layer_has_experts(model, w->layer)) {
            w->distance++;
            w->routed = umbra_step_route(&w->pass, w->layer) == UMBRA_NO_ROW;
            return w->routed;
        }
        umbra_step_ffn_dense(&w->pass, w->layer);
    }
    return false;
}

int umbra_walk_layer(const umbra_walk *w)
{
    return w->layer;
}

int umbra_walk_distance(const umbra_walk *w)
{
    return w->distance;
}

float umbra_walk_missing(const umbra_walk *w)
{
    return w->missing;
}

const float *umbra_walk_scores(const umbra_walk *w)
{
    return w->scratch.router;
}

const float *umbra_walk_preference(const umbra_walk *w)
{
    return w->pass.weights->layer[w->layer][UMBRA_SELECTION_BIAS].data;
}

const int32_t *umbra_walk_experts(const umbra_walk *w)
{
    return w->scratch.experts;
}
