/* Numbers of a trace between their stored form and float. */
#include <math.h>

#include "kernels/half.h"
#include "lab/trace/internal.h"

/* Largest F32 that rounds to a finite BF16, as bits. */
#define LARGEST_BITS 0x7f7f7fff

size_t umbra_trace_first_bad(const float *x, size_t n)
{
    /* Bits of magnitudes order like the magnitudes, NaN above all; a maximum over all of them
     * first, since it runs many values at a time and nearly always finds nothing. */
    int32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(umbra_f32_bits(x[i]) & 0x7fffffffu);
        largest = bits > largest ? bits : largest;
    }
    if (largest <= LARGEST_BITS)
        return n;
    size_t i = 0;
    while ((umbra_f32_bits(x[i]) & 0x7fffffffu) <= LARGEST_BITS)
        i++;
    return i;
}

void umbra_trace_to_bf16(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = umbra_f32_bits(x[i]);
        out[i] = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
}

float umbra_trace_to_i8(const float *x, size_t n, int8_t *out)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    float scale = largest / 127;
    for (size_t i = 0; i < n; i++) {
        /* A subnormal scale is coarse: the quotient may be well above 127, or without a divisor. */
        float q = scale > 0 ? x[i] / scale : 0;
        q = q > 127 ? 127 : q < -127 ? -127 : q;
        out[i] = (int8_t)lrintf(q);
    }
    return scale;
}

bool umbra_trace_to_f16(const float *x, size_t n, uint16_t *out)
{
    bool bad = false;
    for (size_t i = 0; i < n; i++) {
        out[i] = umbra_f16_from_f32(x[i]);
        bad |= (out[i] & 0x7c00u) == 0x7c00u;
    }
    return !bad;
}

bool umbra_trace_from_bf16(const uint16_t *x, size_t n, float *out)
{
    uint16_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = umbra_bf16_to_f32(x[i]);
        bad |= (x[i] & 0x7f80u) == 0x7f80u;
    }
    return !bad;
}

bool umbra_trace_from_f16(const uint16_t *x, size_t n, float *out)
{
    uint16_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = umbra_f16_to_f32(x[i]);
        bad |= (x[i] & 0x7c00u) == 0x7c00u;
    }
    return !bad;
}

bool umbra_trace_from_i8(const int8_t *x, size_t n, float scale, float *out)
{
    int8_t least = 0;
    for (size_t i = 0; i < n; i++) {
        out[i] = scale * (float)x[i];
        least = x[i] < least ? x[i] : least;
    }
    return scale >= 0 && isfinite(scale * 127) && least >= -127;
}
