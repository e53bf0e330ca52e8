/* Rotary embedding: how fast each pair of values turns. */
#include <math.h>

#include "engine/steps/steps.h"

void umbra_rope_frequencies(const umbra_rope *r, const float *slowed, double *out)
{
    for (int i = 0; i < r->dim / 2; i++) {
        double plain = pow((double)r->base, -2.0 * i / r->dim) / (slowed ? slowed[i] : 1);
        double width = fmax((double)r->ramp_high - (double)r->ramp_low, 0.001);
        double part = fmin(fmax((i - (double)r->ramp_low) / width, 0), 1);
        out[i] = r->factor == 1 ? plain : part * plain / (double)r->factor + (1 - part) * plain;
    }
}
