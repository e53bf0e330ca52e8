/* What a shadow model is shown of a token. */
#include "predict/features.h"

#include <math.h>

enum { D = UMBRA_MAX_DISTANCE };

float umbra_shadow_scale(const float *state, int hidden)
{
    double sum = 0.0;
    for (int i = 0; i < hidden; i++)
        sum += (double)state[i] * (double)state[i];
    return (float)(1.0 / sqrt(sum / hidden + 1e-12));
}

void umbra_shadow_normalise(const float *state, int hidden, float *r)
{
    float factor = umbra_shadow_scale(state, hidden);
    for (int i = 0; i < hidden; i++)
        r[i] = state[i] * factor;
}

void umbra_shadow_average(float *average, const float *r, int hidden, float decay, bool first)
{
    float keep = first ? 0.0f : decay, take = first ? 1.0f : 1.0f - decay;
    for (int i = 0; i < hidden; i++)
        average[i] = keep * (first ? 0.0f : average[i]) + take * r[i];
}

void umbra_shadow_averages(const umbra_shadow_spec *spec, float *averages, const float *r,
                           int stride, bool first)
{
    for (int i = 0; i < spec->averages; i++) {
        float decay = stride == 1 ? spec->decay[i] : powf(spec->decay[i], (float)stride);
        umbra_shadow_average(averages + (size_t)i * (size_t)spec->hidden, r, spec->hidden, decay,
                             first);
    }
}

static const uint16_t *list_of(const umbra_shadow_spec *spec, const uint16_t *experts, int layer)
{
    return experts ? experts + (size_t)layer * (size_t)spec->used : NULL;
}

umbra_feature_lists umbra_feature_lists_of(const umbra_shadow_spec *spec, int source,
                                           const uint16_t *now, const uint16_t *previous,
                                           const uint16_t *previous2)
{
    umbra_feature_lists lists = {.now = source > 0 ? list_of(spec, now, source - 1) : NULL};
    for (int d = 1; d <= umbra_shadow_distances(spec, source); d++) {
        int layer = umbra_shadow_target(source, d);
        lists.previous[d - 1] = list_of(spec, previous, layer);
        lists.previous2[d - 1] = list_of(spec, previous2, layer);
    }
    return lists;
}

int umbra_shadow_feature_most(const umbra_shadow_spec *spec, unsigned off)
{
    unsigned on = spec->features & ~off;
    int lists = (on & UMBRA_FEATURE_NOW ? 1 : 0) + (on & UMBRA_FEATURE_PREVIOUS ? D : 0) +
                (on & UMBRA_FEATURE_PREVIOUS2 ? D : 0);
    return lists * spec->used + (spec->shared ? 1 : 0);
}

/* Rows in the making: a block of E rows for each of `lists` lists of a feature, one after the
 * other; those of a feature that is off count, but are not on. */
typedef struct feature_rows {
    const umbra_shadow_spec *spec;
    unsigned off;
    uint32_t base, *rows;
    int n;
} feature_rows;

static void add_feature(feature_rows *f, unsigned feature, const uint16_t *const *lists, int n)
{
    const umbra_shadow_spec *spec = f->spec;
    if (!(spec->features & feature))
        return;
    for (int i = 0; i < n; i++, f->base += (uint32_t)spec->experts) {
        if (!lists[i] || (f->off & feature))
            continue;
        for (int j = 0; j < spec->used; j++)
            if (lists[i][j] < spec->experts)
                f->rows[f->n++] = f->base + lists[i][j];
    }
}

int umbra_shadow_feature_rows(const umbra_shadow_spec *spec, unsigned off, int source,
                              const umbra_feature_lists *lists, uint32_t *rows)
{
    feature_rows f = {.spec = spec, .off = off, .rows = rows};
    add_feature(&f, UMBRA_FEATURE_NOW, &lists->now, 1);
    add_feature(&f, UMBRA_FEATURE_PREVIOUS, lists->previous, D);
    add_feature(&f, UMBRA_FEATURE_PREVIOUS2, lists->previous2, D);
    if (spec->shared)
        rows[f.n++] = f.base + (uint32_t)source;
    return f.n;
}
