/* Small vector loops, written so that compilers turn them into SIMD code without any leave to
 * reorder sums: the same source gives the same bits whatever the vector width. */
#ifndef UMBRA_LAB_TRAIN_VECTOR_H
#define UMBRA_LAB_TRAIN_VECTOR_H

#include <stdint.h>
#include <string.h>

enum { UMBRA_LANES = 8 };

/* exp(x), relative error below 2e-7; x is clamped to [-87, 87]. */
static inline float umbra_exp(float x)
{
    const float round =
        12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    float shifted = x * 1.44269504f + round;
    float n = shifted - round;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* x - n ln 2, in two steps */
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.3334519e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    uint32_t bits, exponent;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&exponent, &shifted, sizeof exponent);
    bits += exponent << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

static inline float umbra_sigmoid(float x)
{
    return 1.0f / (1.0f + umbra_exp(-x));
}

static inline float umbra_sum(const float *x, int n)
{
    float lane[UMBRA_LANES] = {0};
    int i = 0;
    for (; i + UMBRA_LANES <= n; i += UMBRA_LANES)
        for (int j = 0; j < UMBRA_LANES; j++)
            lane[j] += x[i + j];
    for (; i < n; i++)
        lane[0] += x[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static inline float umbra_dot(const float *x, const float *y, int n)
{
    float lane[UMBRA_LANES] = {0};
    int i = 0;
    for (; i + UMBRA_LANES <= n; i += UMBRA_LANES)
        for (int j = 0; j < UMBRA_LANES; j++)
            lane[j] += x[i + j] * y[i + j];
    for (; i < n; i++)
        lane[0] += x[i] * y[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* y += x */
static inline void umbra_add(float *restrict y, const float *restrict x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += x[i];
}

#endif
