/* Forecasts: a row for each sequence and layer, merged when somebody looks. */
#include "store/forecast.h"

#include <math.h>
#include <string.h>

#include "base/best.h"
#include "base/error.h"
#include "base/memory.h"

/* Less likely experts are not worth a look: no rule would read them. */
static const float least_probability = 0.1f;

static size_t times(int a, int b)
{
    return (size_t)a * (size_t)b;
}

static int candidates_of(int n_sequences, int n_experts)
{
    return n_sequences < n_experts / UMBRA_CANDIDATES + 1 ? n_sequences * UMBRA_CANDIDATES
                                                          : n_experts;
}

int umbra_forecast_init(umbra_forecast *f, int n_sequences, int n_layers, int n_experts,
                        umbra_error *err)
{
    size_t rows = times(n_sequences, n_layers), layers = (size_t)n_layers;
    *f = (umbra_forecast){
        .n_sequences = n_sequences,
        .n_layers = n_layers,
        .n_experts = n_experts,
        .n_candidates = candidates_of(n_sequences, n_experts),
        .row = umbra_calloc(rows, sizeof *f->row),
        .probability = umbra_calloc(rows * (size_t)n_experts, sizeof *f->probability),
        .merged = umbra_calloc(times(n_layers, n_experts), sizeof *f->merged),
        .layers = umbra_calloc(layers, sizeof *f->layers),
        .live = umbra_calloc(layers, sizeof *f->live),
    };
    f->candidate = umbra_calloc(times(n_layers, f->n_candidates), sizeof *f->candidate);
    for (int l = 0; f->layers && f->candidate && l < n_layers; l++)
        f->layers[l].candidate = f->candidate + times(l, f->n_candidates);
    if (f->row && f->probability && f->merged && f->layers && f->live && f->candidate)
        return UMBRA_OK;
    umbra_forecast_free(f);
    return umbra_fail_nomem(err, "the forecast of experts",
                            umbra_store_forecast_bytes(n_layers, n_experts, n_sequences));
}

void umbra_forecast_free(umbra_forecast *f)
{
    umbra_free(f->row);
    umbra_free(f->probability);
    umbra_free(f->merged);
    umbra_free(f->candidate);
    umbra_free(f->layers);
    umbra_free(f->live);
    *f = (umbra_forecast){0};
}

uint64_t umbra_store_forecast_bytes(int n_layers, int n_experts, int n_sequences)
{
    uint64_t sequences = n_sequences > 0 ? (uint64_t)n_sequences : 1;
    uint64_t layers = (uint64_t)n_layers, experts = (uint64_t)n_experts;
    uint64_t candidates = (uint64_t)candidates_of((int)sequences, n_experts);
    return layers * (sequences * (sizeof(umbra_sequence_forecast) + experts * sizeof(float)) +
                     experts * sizeof(float) + candidates * sizeof(umbra_candidate) +
                     sizeof(umbra_layer_forecast) + sizeof(int32_t));
}

static umbra_sequence_forecast *row_of(umbra_forecast *f, int sequence, int layer)
{
    return f->row + times(sequence, f->n_layers) + layer;
}

static float *probability_of(umbra_forecast *f, int sequence, int layer)
{
    return f->probability + times(row_of(f, sequence, layer) - f->row, f->n_experts);
}

static float *merged_of(umbra_forecast *f, int layer)
{
    return f->merged + times(layer, f->n_experts);
}

/* ---- taking ---- */

static void set_changed(umbra_forecast *f, int layer)
{
    f->layers[layer].changed = true;
    f->changed = true;
}

static void enliven(umbra_forecast *f, int layer)
{
    for (int i = 0; i < f->n_live; i++)
        if (f->live[i] == layer)
            return;
    f->live[f->n_live++] = layer;
}

bool umbra_forecast_take(umbra_forecast *f, int sequence, int layer, int distance, uint64_t due,
                         const float *probability)
{
    umbra_sequence_forecast *row = row_of(f, sequence, layer);
    if (due <= f->clock || (row->due == due && row->distance < distance))
        return false;
    bool joins = row->due == due && row->distance == distance;
    *row = (umbra_sequence_forecast){due, distance};
    float *own = probability_of(f, sequence, layer);
    for (int e = 0; e < f->n_experts; e++) {
        /* What is no probability, or no number, must not keep an expert in its slot for good. */
        float p = probability[e] > 0 ? fminf(probability[e], 1) : 0;
        own[e] = joins ? own[e] + p * (1 - own[e]) : p;
    }
    enliven(f, layer);
    set_changed(f, layer);
    return true;
}

/* ---- merging ---- */

#define PROBABILITY_OF(item, score) (item).probability
UMBRA_DEFINE_BEST(offer, umbra_candidate, PROBABILITY_OF)

/* Of the rows, the batch that comes first, and the nearest forecast of it. What was foretold from
 * farther away counts as from UMBRA_MAX_DISTANCE. */
static void find_due(umbra_forecast *f, int layer)
{
    umbra_layer_forecast *o = &f->layers[layer];
    o->due = 0;
    for (int s = 0; s < f->n_sequences; s++) {
        const umbra_sequence_forecast *row = row_of(f, s, layer);
        if (row->due == 0 || (o->due > 0 && row->due > o->due))
            continue;
        if (row->due != o->due || row->distance < o->distance)
            o->distance = row->distance < UMBRA_MAX_DISTANCE ? row->distance : UMBRA_MAX_DISTANCE;
        o->due = row->due;
    }
}

/* The probability that one of the sequences uses an expert; a single one's is left as it is. */
static void merge_rows(umbra_forecast *f, int layer)
{
    float *merged = merged_of(f, layer);
    memset(merged, 0, (size_t)f->n_experts * sizeof *merged);
    for (int s = 0; s < f->n_sequences; s++) {
        if (f->layers[layer].due == 0 || row_of(f, s, layer)->due != f->layers[layer].due)
            continue;
        const float *p = probability_of(f, s, layer);
        for (int e = 0; e < f->n_experts; e++)
            merged[e] += p[e] * (1 - merged[e]);
    }
}

static void merge(umbra_forecast *f, int layer)
{
    umbra_layer_forecast *o = &f->layers[layer];
    const float *merged = merged_of(f, layer);
    find_due(f, layer);
    merge_rows(f, layer);
    o->changed = false;
    o->n = o->next = 0;
    for (int e = 0; o->due > 0 && e < f->n_experts; e++)
        if (merged[e] >= least_probability)
            o->n =
                offer(o->candidate, o->n, f->n_candidates, (umbra_candidate){e, merged[e]}, NULL);
}

void umbra_forecast_merge(umbra_forecast *f)
{
    for (int i = f->n_live - 1; f->changed && i >= 0; i--) {
        int layer = f->live[i];
        if (f->layers[layer].changed)
            merge(f, layer);
        if (f->layers[layer].due == 0)
            f->live[i] = f->live[--f->n_live];
    }
    f->changed = false;
}

/* ---- forgetting ---- */

static void drop_row(umbra_forecast *f, int sequence, int layer)
{
    umbra_sequence_forecast *row = row_of(f, sequence, layer);
    if (row->due > 0)
        set_changed(f, layer);
    row->due = 0;
}

void umbra_forecast_begin(umbra_forecast *f, int layer)
{
    f->clock++;
    for (int i = 0; i < f->n_live; i++)
        for (int s = 0; s < f->n_sequences; s++)
            if (f->live[i] == layer || row_of(f, s, f->live[i])->due <= f->clock)
                drop_row(f, s, f->live[i]);
}

void umbra_forecast_forget(umbra_forecast *f, int sequence)
{
    for (int i = 0; i < f->n_live; i++)
        drop_row(f, sequence, f->live[i]);
}

void umbra_forecast_clear(umbra_forecast *f)
{
    for (int s = 0; s < f->n_sequences; s++)
        umbra_forecast_forget(f, s);
}

/* ---- calibration ---- */

static const float halve_at = 500; /* so that a new text is noticed */
static const float trust = 8;      /* candidates that a forecast's own word weighs as much as */

/* Tenths, and the last one in three. */
static int bin_of(float p)
{
    return p >= 0.99f ? 11 : p >= 0.95f ? 10 : (int)(p * 10);
}

void umbra_calibration_add(umbra_calibration *x, int distance, float foretold, bool used)
{
    float *seen = &x->seen[distance][bin_of(foretold)];
    float *were = &x->used[distance][bin_of(foretold)];
    *were += used;
    if (++*seen < halve_at)
        return;
    *seen /= 2;
    *were /= 2;
}

float umbra_calibration_apply(const umbra_calibration *x, int distance, float foretold)
{
    int bin = bin_of(foretold);
    return (x->used[distance][bin] + trust * foretold) / (x->seen[distance][bin] + trust);
}
