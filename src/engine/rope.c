#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"

int umbra_rope_open(umbra_engine *e, umbra_error *err)
{
    const umbra_rope *r = &e->model->config.rope;
    const float *slowed = e->weights.model[UMBRA_ROPE_FACTORS].data;
    e->rope_frequency = umbra_calloc((size_t)r->dim / 2, sizeof *e->rope_frequency);
    if (!e->rope_frequency)
        return umbra_fail_nomem(err, "the rotary frequencies", (uint64_t)r->dim * 4);
    for (int i = 0; i < r->dim / 2; i++) {
        double plain = pow((double)r->base, -2.0 * i / r->dim) / (slowed ? slowed[i] : 1);
        double width = fmax((double)r->ramp_high - (double)r->ramp_low, 0.001);
        double part = fmin(fmax((i - (double)r->ramp_low) / width, 0), 1);
        e->rope_frequency[i] =
            r->factor == 1 ? plain : part * plain / (double)r->factor + (1 - part) * plain;
    }
    return UMBRA_OK;
}

void umbra_rope_angles(const umbra_engine *e, int position, float *angles)
{
    const umbra_rope *r = &e->model->config.rope;
    for (int i = 0; i < r->dim / 2; i++) {
        double angle = position * e->rope_frequency[i];
        angles[2 * i] = (float)cos(angle) * r->magnitude;
        angles[2 * i + 1] = (float)sin(angle) * r->magnitude;
    }
}

void umbra_rope_turn(const umbra_engine *e, float *x, int token)
{
    const umbra_rope *r = &e->model->config.rope;
    const float *angles = e->scratch.rope + (size_t)token * (size_t)r->dim;
    if (r->pairs == UMBRA_ROPE_HALVES)
        e->kernels->rope_halves(x, angles, r->dim);
    else
        e->kernels->rope_adjacent(x, angles, r->dim);
}
