/* Conversions of single 16-bit floats, exact in every case, and unaligned reads. */
#ifndef UMBRA_KERNELS_HALF_H
#define UMBRA_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float umbra_f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t umbra_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline uint16_t umbra_load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float umbra_load_f32(const void *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Exponent and mantissa are moved into place as they are; one product with 2^112 then corrects the
 * exponent's bias and normalises subnormals. Infinity and NaN need the exponent filled up.
 * Signalling NaNs become quiet, as in the CPU's own conversion. */
static inline float umbra_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(h & 0x7fffu) << 13;
    if (rest > 0x0f800000u) {
        rest |= 0x7fc00000u;
    } else if (rest == 0x0f800000u) {
        rest = 0x7f800000u;
    } else {
        rest = umbra_f32_bits(umbra_f32_from_bits(rest) * 0x1p112f);
    }
    return umbra_f32_from_bits(sign | rest);
}

/* Nearest even; too large becomes infinity; NaN stays NaN (quiet, upper payload kept). */
static inline uint16_t umbra_f16_from_f32(float x)
{
    uint32_t bits = umbra_f32_bits(x);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x1ffu));
    }
    if (rest >= 0x47800000u) { /* 65536 and up; 65520..65535 overflow by their rounding below */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (rest < 0x38800000u) { /* below 2^-14: with 1/2 added the FPU rounds at bit 2^-24 */
        float shifted = umbra_f32_from_bits(rest) + 0.5f;
        return (uint16_t)(sign | (umbra_f32_bits(shifted) - 0x3f000000u));
    }
    uint32_t odd = rest >> 13 & 1u;
    return (uint16_t)(sign | (rest - 0x38000000u + 0xfffu + odd) >> 13);
}

static inline float umbra_bf16_to_f32(uint16_t h)
{
    return umbra_f32_from_bits((uint32_t)h << 16);
}

#endif
