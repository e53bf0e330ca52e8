/* The reduced forms of weights: BF16, and I8 with one scale per row. */
#ifndef UMBRA_PREDICT_FORMS_H
#define UMBRA_PREDICT_FORMS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Nearest even; a value that rounds beyond the largest becomes infinite. Not for NaN. */
static inline uint16_t umbra_bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline void umbra_i8_with_scale(const float *x, size_t n, float scale, int8_t *q)
{
    for (size_t i = 0; i < n; i++) {
        /* A subnormal scale is coarse: the quotient may then exceed 127. */
        float v = scale > 0.0f ? rintf(x[i] / scale) : 0.0f;
        q[i] = (int8_t)fminf(fmaxf(v, -127.0f), 127.0f);
    }
}

/* One row of n finite values to scale * q, q in -127..127. Returns the scale, 0 for a row of zeros
 * (or of values so small that their scale would vanish). */
static inline float umbra_i8_from_f32(const float *x, size_t n, int8_t *q)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    umbra_i8_with_scale(x, n, most / 127.0f, q);
    return most / 127.0f;
}

#endif
