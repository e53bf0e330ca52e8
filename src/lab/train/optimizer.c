/* One step of AdamW. */
#include <math.h>

#include "lab/train/network.h"
#include "lab/train/optimizer.h"

#define MEAN_DECAY   0.9
#define SQUARE_DECAY 0.99
#define EPSILON      1e-8f

double umbra_optimizer_schedule(uint64_t step, uint64_t total, uint64_t warmup)
{
    if (step < warmup)
        return (double)(step + 1) / (double)warmup;
    if (step >= total)
        return 0.0;
    double done = (double)(step - warmup) / (double)(total - warmup);
    return 0.5 * (1.0 + cos(3.14159265358979324 * done));
}

/* Sums of short runs in double: as exact as needed, and quick. */
static double norm_of(const float *x, size_t n)
{
    double lane[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    double sum = 0.0;
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t j = 0; j < 8; j++)
        sum += lane[j];
    return sqrt(sum);
}

typedef struct rates {
    float scale;                      /* of the gradient, for clipping */
    float rate, decay;                /* step length, and what the decay takes of a value */
    float mean_factor, square_factor; /* undo the moments' start at zero */
} rates;

static void update(const rates *r, size_t n, float *restrict values, const float *restrict gradient,
                   float *restrict mean, float *restrict square)
{
    const float b1 = (float)MEAN_DECAY, b2 = (float)SQUARE_DECAY;
    for (size_t i = 0; i < n; i++) {
        float g = gradient[i] * r->scale;
        mean[i] = b1 * mean[i] + (1.0f - b1) * g;
        square[i] = b2 * square[i] + (1.0f - b2) * g * g;
        float step = mean[i] * r->mean_factor / (sqrtf(square[i] * r->square_factor) + EPSILON);
        values[i] -= r->rate * step + r->decay * values[i];
    }
}

double umbra_optimizer_step(const umbra_optimizer *o, float *values, const float *gradient,
                            float *mean, float *square, uint64_t step, float rate)
{
    double norm = norm_of(gradient, o->first[UMBRA_SHADOW_PARTS]);
    if (!isfinite(norm))
        return norm;
    rates r = {
        .scale = o->clip > 0.0f && norm > (double)o->clip ? (float)((double)o->clip / norm) : 1.0f,
        .rate = rate,
        .mean_factor = (float)(1.0 / (1.0 - pow(MEAN_DECAY, (double)step + 1.0))),
        .square_factor = (float)(1.0 / (1.0 - pow(SQUARE_DECAY, (double)step + 1.0))),
    };
    for (int part = 0; part < UMBRA_SHADOW_PARTS; part++) {
        size_t at = o->first[part], n = o->first[part + 1] - at;
        r.decay = umbra_train_part_decays(part) ? rate * o->weight_decay : 0.0f;
        update(&r, n, values + at, gradient + at, mean + at, square + at);
    }
    return norm;
}
