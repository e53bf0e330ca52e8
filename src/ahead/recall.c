/* Counts how much of what layers used had been foretold, by distance. */
#include "ahead/recall.h"

#include <pthread.h>
#include <string.h>

#include "ahead/runahead.h"
#include "base/best.h"
#include "base/error.h"
#include "base/memory.h"

enum { D = UMBRA_MAX_DISTANCE };

typedef struct said {
    uint64_t due; /* 0: nothing was */
    bool beyond;
} said;

struct umbra_recall {
    umbra_engine *engine;
    int sequences, layers, experts, used;
    pthread_mutex_t mutex; /* guards what follows */
    said *said;            /* (S, L, D) */
    uint16_t *named;       /* (S, L, D, k) */
    umbra_recall_stats stats;
};

uint64_t umbra_recall_bytes(const umbra_model *model, int sequences)
{
    const umbra_config *c = &model->config;
    uint64_t rows = (uint64_t)(sequences > 0 ? sequences : 1) * (uint64_t)c->layers * D;
    return sizeof(umbra_recall) +
           rows * (sizeof(said) + (uint64_t)c->experts_used * sizeof(uint16_t));
}

int umbra_recall_open(umbra_recall **out, umbra_engine *engine, umbra_error *err)
{
    const umbra_model *model = umbra_engine_model(engine);
    const umbra_config *c = &model->config;
    int sequences = umbra_engine_sequences(engine);
    size_t rows = (size_t)sequences * (size_t)c->layers * D;
    umbra_recall *r = umbra_calloc(1, sizeof *r);
    *out = NULL;
    if (r) {
        *r = (umbra_recall){.engine = engine,
                            .sequences = sequences,
                            .layers = c->layers,
                            .experts = c->experts,
                            .used = c->experts_used};
        pthread_mutex_init(&r->mutex, NULL);
        r->said = umbra_calloc(rows, sizeof *r->said);
        r->named = umbra_calloc(rows * (size_t)c->experts_used, sizeof *r->named);
    }
    if (!r || !r->said || !r->named) {
        umbra_recall_close(&r);
        return umbra_fail_nomem(err, "counting what was foretold",
                                umbra_recall_bytes(model, sequences));
    }
    *out = r;
    return UMBRA_OK;
}

void umbra_recall_close(umbra_recall **recall)
{
    umbra_recall *r = *recall;
    if (!r)
        return;
    pthread_mutex_destroy(&r->mutex);
    umbra_free(r->said);
    umbra_free(r->named);
    umbra_free(r);
    *recall = NULL;
}

/* ---- what is foretold ---- */

static size_t place_of(const umbra_recall *r, int sequence, int layer, int distance)
{
    size_t layers = (size_t)sequence * (size_t)r->layers + (size_t)layer;
    return layers * D + (size_t)(distance - 1);
}

static void keep(umbra_recall *r, const umbra_recall_place *at, const uint16_t *experts)
{
    size_t place = place_of(r, at->sequence, at->layer, at->distance), k = (size_t)r->used;
    pthread_mutex_lock(&r->mutex);
    r->said[place] = (said){at->due, at->beyond};
    memcpy(r->named + place * k, experts, k * sizeof *experts);
    pthread_mutex_unlock(&r->mutex);
}

void umbra_recall_name(umbra_recall *r, const umbra_recall_place *at, const int32_t *experts)
{
    uint16_t list[UMBRA_MAX_USED];
    if (at->distance > D)
        return;
    for (int j = 0; j < r->used; j++)
        list[j] = (uint16_t)experts[j];
    keep(r, at, list);
}

void umbra_recall_rate(umbra_recall *r, const umbra_recall_place *at, const float *probability)
{
    uint16_t list[UMBRA_MAX_USED];
    int n = 0;
    for (int e = 0; e < r->experts; e++)
        n = umbra_best_offer_u16(list, n, r->used, (uint16_t)e, probability);
    keep(r, at, list);
}

/* ---- what comes true ---- */

static bool is_named(const umbra_recall *r, const uint16_t *list, int32_t expert)
{
    bool found = false;
    for (int j = 0; j < r->used; j++)
        found = found || list[j] == expert;
    return found;
}

/* Used experts (k) beside those that were named, if any were. */
static void count(const umbra_recall *r, umbra_foretold_stats *s, const uint16_t *list,
                  const int32_t *experts, const bool *missing)
{
    s->layers++;
    for (int j = 0; j < r->used; j++) {
        bool named = is_named(r, list, experts[j]);
        s->used++;
        s->named += named;
        s->missing += missing[j];
        s->missing_named += named && missing[j];
    }
}

static void count_row(umbra_recall *r, int sequence, int layer, const int32_t *experts)
{
    const umbra_store *store = umbra_engine_store(r->engine);
    bool missing[UMBRA_MAX_USED];
    for (int j = 0; j < r->used; j++) {
        missing[j] = umbra_store_was_needed(store, experts[j]);
        r->stats.missing += missing[j];
    }
    r->stats.layers++;
    for (int d = 1; d <= D; d++) {
        size_t place = place_of(r, sequence, layer, d);
        said *s = &r->said[place];
        umbra_foretold_stats *of = s->beyond ? r->stats.beyond : r->stats.within;
        if (s->due == umbra_store_clock(store))
            count(r, &of[d], r->named + place * (size_t)r->used, experts, missing);
        s->due = 0;
    }
}

void umbra_recall_routed(umbra_recall *r, const umbra_rows *rows)
{
    pthread_mutex_lock(&r->mutex);
    for (int t = 0; t < rows->n; t++)
        if (!rows->prompt[t] && !umbra_is_draft(rows, t))
            count_row(r, rows->tokens[t].sequence, rows->layer,
                      rows->experts + (size_t)t * (size_t)r->used);
    pthread_mutex_unlock(&r->mutex);
}

void umbra_recall_get(const umbra_recall *recall, umbra_recall_stats *out)
{
    umbra_recall *r = (umbra_recall *)recall; /* only the lock is changed */
    pthread_mutex_lock(&r->mutex);
    *out = r->stats;
    pthread_mutex_unlock(&r->mutex);
}
