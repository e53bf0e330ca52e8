/* The kernels that need no intrinsics, in loops that compilers turn into vectors. Every ISA's file
 * includes this and compiles it with its own flags: the order of every sum is written down here, so
 * the bits are the same whatever the width of the vectors (the build never contracts a product and
 * a sum into one rounding).
 *
 * Static functions only: nothing compiled for one ISA may be linked into another's. */
#ifndef UMBRA_KERNELS_PREDICT_BODY_H
#define UMBRA_KERNELS_PREDICT_BODY_H

#include <math.h>
#include <string.h>

#include "kernels/internal.h"
#include "kernels/predict.h"

enum { GROUP = UMBRA_FAST_GROUP, LANES = UMBRA_FAST_LANES };

UMBRA_INLINE float sum_lanes(float *lanes)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

UMBRA_INLINE void prefetch(const uint8_t *p)
{
    for (int i = 0; i < UMBRA_FAST_STEP; i += UMBRA_FAST_LINE)
        __builtin_prefetch((const void *)((uintptr_t)p + UMBRA_FAST_PREFETCH + (uintptr_t)i));
}

UMBRA_INLINE float bits_to_f32(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x; relative error below 2e-7 where the result is normal; 0 and infinity are not reached: x is
 * held in [-87, 88]. NaN gives e^88. */
UMBRA_INLINE float exponential(float x)
{
    x = x < 88.0f ? x : 88.0f;
    x = x > -87.0f ? x : -87.0f;
    /* x = n ln 2 + r; adding 1.5 * 2^23 rounds to an integer, found in the low bits. ln 2 in two
     * parts, so that n times the first is exact. */
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    return p * bits_to_f32((uint32_t)((int32_t)n + 127) << 23);
}

UMBRA_INLINE float sigmoid(float x)
{
    return 1.0f / (1.0f + exponential(-x));
}

static void normalise(const float *restrict state, int n, float *restrict r)
{
    float lanes[LANES] = {0};
    int whole = n / LANES * LANES;
    for (int i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += state[i + k] * state[i + k];
    for (int i = whole; i < n; i++)
        lanes[i - whole] += state[i] * state[i];
    float factor = 1.0f / sqrtf(sum_lanes(lanes) / (float)n + 1e-12f);
    for (int i = 0; i < n; i++)
        r[i] = state[i] * factor;
}

UMBRA_INLINE uint32_t f32_to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Largest |x| of a block; NaN counts as larger than all. Without their sign, floats order like the
 * integers of their bits, and a maximum of integers is one instruction everywhere. */
UMBRA_INLINE float largest(const float *restrict x)
{
    uint32_t most = 0;
    for (int i = 0; i < UMBRA_FAST_BLOCK; i++) {
        uint32_t bits = f32_to_bits(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return bits_to_f32(most);
}

UMBRA_INLINE float mean_square(const float *restrict x)
{
    float lanes[LANES] = {0};
    for (int i = 0; i < UMBRA_FAST_BLOCK; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += x[i + k] * x[i + k];
    return sum_lanes(lanes) / UMBRA_FAST_BLOCK;
}

/* A block whose largest value is beyond this many times its root mean square is wide. */
#define NARROW_MOST  6.0f
#define NARROW_LIMIT 63.0f
#define WIDE_LIMIT   32767.0f

/* Factor that brings `most` to `limit`; 0 for what is too small, too large or not a number. */
UMBRA_INLINE float inverse_scale(float limit, float most)
{
    return most > 0x1p-100f && most < 0x1p+127f ? limit / most : 0.0f;
}

/* To the nearest integer, even in a tie, in [-limit, limit]; NaN gives limit. Adding 1.5 * 2^23
 * leaves no bits for fractions. */
UMBRA_INLINE int32_t round_to(float x, float limit)
{
    x = x < limit ? x : limit;
    x = x > -limit ? x : -limit;
    return (int32_t)((x + 12582912.0f) - 12582912.0f);
}

static void quantise(const umbra_fast_inputs *x, int i)
{
    size_t first = (size_t)i * (size_t)x->stride, blocks = (size_t)x->stride / UMBRA_FAST_BLOCK;
    float *wide = x->wide + (size_t)i * blocks, most_narrow = 0.0f;
    x->widest[i] = 0;
    for (size_t b = 0; b < blocks; b++) {
        const float *values = x->f32 + first + b * UMBRA_FAST_BLOCK;
        float most = largest(values);
        bool narrow = !(most * most > NARROW_MOST * NARROW_MOST * mean_square(values)) ||
                      inverse_scale(1.0f, most) == 0.0f;
        wide[b] = narrow ? 0.0f : most / WIDE_LIMIT;
        x->widest[i] = narrow ? x->widest[i] : (int)b + 1;
        most_narrow = narrow && !(most <= most_narrow) ? most : most_narrow;
    }
    float inverse = inverse_scale(NARROW_LIMIT, most_narrow);
    x->scale[i] = inverse > 0.0f ? most_narrow / NARROW_LIMIT : 0.0f;
    for (size_t b = 0; b < blocks; b++) {
        const float *restrict values = x->f32 + first + b * UMBRA_FAST_BLOCK;
        uint8_t *restrict u = x->u + first + b * UMBRA_FAST_BLOCK;
        int16_t *restrict q = x->q + first + b * UMBRA_FAST_BLOCK;
        float factor = wide[b] > 0.0f ? 0.0f : inverse;
        for (int k = 0; k < UMBRA_FAST_BLOCK; k++)
            u[k] = (uint8_t)(64 + round_to(values[k] * factor, NARROW_LIMIT));
        for (int k = 0; k < UMBRA_FAST_BLOCK && wide[b] > 0.0f; k++)
            q[k] = (int16_t)round_to(values[k] / wide[b], WIDE_LIMIT);
    }
}

static void activate(const float *v, const float *gain, const float *shift, int n, float *out)
{
    float lanes[LANES] = {0};
    int whole = n / LANES * LANES;
    for (int i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += v[i + k];
    for (int i = whole; i < n; i++)
        lanes[i - whole] += v[i];
    float mean = sum_lanes(lanes) / (float)n;
    memset(lanes, 0, sizeof lanes);
    for (int i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += (v[i + k] - mean) * (v[i + k] - mean);
    for (int i = whole; i < n; i++)
        lanes[i - whole] += (v[i] - mean) * (v[i] - mean);
    float factor = 1.0f / sqrtf(sum_lanes(lanes) / (float)n + 1e-5f);
    for (int i = 0; i < n; i++) {
        float y = (v[i] - mean) * factor * gain[i] + shift[i];
        out[i] = y * sigmoid(y);
    }
}

/* log(sum(exp(x))) */
static float log_sum_exp(const float *x, int n)
{
    float most = x[0], lanes[LANES] = {0};
    for (int i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    int whole = n / LANES * LANES;
    for (int i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += exponential(x[i + k] - most);
    for (int i = whole; i < n; i++)
        lanes[i - whole] += exponential(x[i] - most);
    return most + logf(sum_lanes(lanes));
}

static void calibrate(const float *scores, int n, bool kl, float slope, float offset, float *out)
{
    float shift = kl ? log_sum_exp(scores, n) : 0.0f;
    for (int i = 0; i < n; i++)
        out[i] = sigmoid(slope * (scores[i] - shift) + offset);
}

/* Scores that reach `least`. */
UMBRA_INLINE int count_from(const float *restrict scores, int n, float least)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += scores[i] >= least;
    return count;
}

/* Each of the 16 lanes has one score that reaches the least of their maxima: a floor for up to 16.
 * Halving raises it. */
static float floor_of(const float *scores, int n, int m)
{
    float most[LANES], low, high;
    if (m > LANES || n < 2 * LANES)
        return -INFINITY;
    memcpy(most, scores, sizeof most);
    for (int i = LANES; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            most[k] = scores[i + k] > most[k] ? scores[i + k] : most[k];
    low = high = most[0];
    for (int k = 1; k < LANES; k++) {
        low = most[k] < low ? most[k] : low;
        high = most[k] > high ? most[k] : high;
    }
    if (count_from(scores, n, low) < m) /* there are NaNs */
        return -INFINITY;
    for (int round = 0; round < 8; round++) {
        float middle = 0.5f * (low + high);
        int count = count_from(scores, n, middle);
        if (count < m)
            high = middle;
        else
            low = middle;
        if (count >= m && count <= m + m / 4)
            break;
    }
    return low;
}

static void add_f32(float *restrict y, const void *row, float scale, int n)
{
    const float *restrict w = row;
    (void)scale;
    for (int i = 0; i < n; i++)
        y[i] += w[i];
}

static void add_bf16(float *restrict y, const void *row, float scale, int n)
{
    const uint16_t *restrict w = row;
    (void)scale;
    for (int i = 0; i < n; i++)
        y[i] += bits_to_f32((uint32_t)w[i] << 16);
}

static void add_i8(float *restrict y, const void *row, float scale, int n)
{
    const int8_t *restrict w = row;
    for (int i = 0; i < n; i++)
        y[i] += scale * (float)w[i];
}

static uint64_t touch(const void *data, size_t bytes)
{
    const uint64_t *p = data;
    uint64_t sum = 0;
#pragma GCC unroll 8 /* without it, how the loop happens to be aligned decides its speed */
    for (size_t i = 0; i < bytes / sizeof *p; i++)
        sum ^= p[i];
    return sum;
}

#endif
