/* Keeps what is foretold of coming batches. */
#include "store/forecast.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Less likely experts are not worth a look: no rule would read them. */
static const float least_probability = 0.1f;

int umbra_forecast_init(umbra_forecast *f, int n_layers, int n_experts, umbra_error *err)
{
    *f = (umbra_forecast){
        .n_layers = n_layers,
        .n_experts = n_experts,
        .heat = umbra_calloc((size_t)n_layers * (size_t)n_experts, sizeof *f->heat),
        .outlook = umbra_calloc((size_t)n_layers, sizeof *f->outlook),
        .live = umbra_calloc((size_t)n_layers, sizeof *f->live),
    };
    if (f->heat && f->outlook && f->live)
        return UMBRA_OK;
    umbra_forecast_free(f);
    return umbra_fail_nomem(err, "the forecast of experts", 0);
}

void umbra_forecast_free(umbra_forecast *f)
{
    umbra_free(f->heat);
    umbra_free(f->outlook);
    umbra_free(f->live);
    *f = (umbra_forecast){0};
}

static float *heat_of(umbra_forecast *f, int layer)
{
    return f->heat + (size_t)layer * (size_t)f->n_experts;
}

/* Inserts into the candidates, best first; the lower id wins a tie. */
static void keep(umbra_outlook *o, int expert, float p)
{
    int at = o->n < UMBRA_CANDIDATES ? o->n++ : UMBRA_CANDIDATES - 1;
    for (; at > 0 && o->candidate[at - 1].probability < p; at--)
        o->candidate[at] = o->candidate[at - 1];
    o->candidate[at] = (umbra_candidate){expert, p};
}

bool umbra_forecast_take(umbra_forecast *f, int layer, int distance, uint64_t due,
                         const float *probability)
{
    umbra_outlook *o = &f->outlook[layer];
    if (due <= f->clock || (o->due == due && o->distance < distance))
        return false;
    if (o->due == 0)
        f->live[f->n_live++] = layer;
    o->due = due;
    o->distance = distance;
    o->n = o->next = 0;
    float *heat = heat_of(f, layer);
    for (int e = 0; e < f->n_experts; e++) {
        /* What is no probability, or no number, must not keep an expert in its slot for good. */
        float p = probability[e] > 0 ? fminf(probability[e], 1) : 0;
        heat[e] = p;
        if (p < least_probability)
            continue;
        if (o->n == UMBRA_CANDIDATES && p <= o->candidate[o->n - 1].probability)
            continue;
        keep(o, e, p);
    }
    return true;
}

static void drop(umbra_forecast *f, int place)
{
    int layer = f->live[place];
    f->outlook[layer].due = 0;
    f->live[place] = f->live[--f->n_live];
    memset(heat_of(f, layer), 0, (size_t)f->n_experts * sizeof *f->heat);
}

void umbra_forecast_begin(umbra_forecast *f, int layer)
{
    f->clock++;
    for (int i = f->n_live - 1; i >= 0; i--)
        if (f->live[i] == layer || f->outlook[f->live[i]].due <= f->clock)
            drop(f, i);
}

void umbra_forecast_clear(umbra_forecast *f)
{
    while (f->n_live > 0)
        drop(f, f->n_live - 1);
}

/* ---- experience ---- */

static const float halve_at = 500; /* so that a new text is noticed */
static const float trust = 8;      /* candidates that a forecast's own word weighs as much as */

/* Tenths, and the last one in three. */
static int step_of(float p)
{
    return p >= 0.99f ? 11 : p >= 0.95f ? 10 : (int)(p * 10);
}

void umbra_experience_take(umbra_experience *x, int distance, float foretold, bool used)
{
    float *seen = &x->seen[distance][step_of(foretold)];
    float *were = &x->used[distance][step_of(foretold)];
    *were += used;
    if (++*seen < halve_at)
        return;
    *seen /= 2;
    *were /= 2;
}

float umbra_experience_apply(const umbra_experience *x, int distance, float foretold)
{
    int step = step_of(foretold);
    return (x->used[distance][step] + trust * foretold) / (x->seen[distance][step] + trust);
}
