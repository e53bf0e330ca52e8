/* Layouts of quantised weights: the types there are, and how 32 values at a time become integers.
 *
 * Every type is blocks of 32, 64 or 256 values; a block is parts of 32 values, the length of a
 * block of activations. Value i of a part is scale * w[i] + offset, with a small integer w[i];
 * scale and offset hold for the part or, where `halves` is set, for 16 values each. Scales are f16
 * unless said otherwise, "nibbles" are 4 bits with the low ones first, and multi-byte numbers are
 * little endian. The functions here serve the scalar and the reference table. */
#ifndef UMBRA_KERNELS_BLOCKS_H
#define UMBRA_KERNELS_BLOCKS_H

#include "kernels/half.h"
#include "kernels/internal.h"

/* X(TYPE, type, halves, offset): every quantised type that has kernels. A new one needs a line
 * here and a function below (those with code books: in grid_blocks.h); instruction sets add their
 * own way to read it. */
#define UMBRA_BLOCK_TYPES(X)                                                                       \
    X(Q8_0, q8_0, false, false)                                                                    \
    X(Q4_0, q4_0, false, false)                                                                    \
    X(Q4_1, q4_1, false, true)                                                                     \
    X(Q5_0, q5_0, false, false)                                                                    \
    X(Q5_1, q5_1, false, true)                                                                     \
    X(IQ4_NL, iq4_nl, false, false)                                                                \
    X(MXFP4, mxfp4, false, false)                                                                  \
    X(Q2_K, q2_k, true, true)                                                                      \
    X(Q3_K, q3_k, true, false)                                                                     \
    X(Q4_K, q4_k, false, true)                                                                     \
    X(Q5_K, q5_k, false, true)                                                                     \
    X(Q6_K, q6_k, true, false)                                                                     \
    X(IQ4_XS, iq4_xs, false, false)                                                                \
    X(NVFP4, nvfp4, true, false)                                                                   \
    X(TQ1_0, tq1_0, false, false)                                                                  \
    X(TQ2_0, tq2_0, false, false)                                                                  \
    X(IQ1_S, iq1_s, false, false)                                                                  \
    X(IQ1_M, iq1_m, true, false)                                                                   \
    X(IQ2_XXS, iq2_xxs, false, false)                                                              \
    X(IQ2_XS, iq2_xs, true, false)                                                                 \
    X(IQ2_S, iq2_s, true, false)                                                                   \
    X(IQ3_XXS, iq3_xxs, false, false)                                                              \
    X(IQ3_S, iq3_s, false, false)

typedef struct umbra_part {
    int8_t w[UMBRA_Q16_BLOCK];
    float scale[2];
    float offset[2];
} umbra_part;

/* Reads part `p` of a block. */
typedef void (*umbra_unpack_fn)(const uint8_t *block, int p, umbra_part *out);

/* The integers that the 4 bits of IQ4_NL and IQ4_XS stand for. */
static const int8_t umbra_iq4_values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

/* Twice the values of the 4-bit floats of MXFP4 and NVFP4: sign, two bits of exponent, one of
 * mantissa. */
static const int8_t umbra_mxfp4_values[16] = {
    0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12,
};

UMBRA_INLINE uint32_t umbra_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

UMBRA_INLINE uint64_t umbra_load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

UMBRA_INLINE float umbra_load_scale(const uint8_t *p)
{
    return umbra_f16_to_f32(umbra_load_u16(p));
}

/* 2^(e - 128), half of what the exponent byte of MXFP4 says, because the integers are doubled. The
 * two smallest are subnormal. */
UMBRA_INLINE float umbra_mxfp4_scale(uint8_t e)
{
    return umbra_f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of what a scale byte of NVFP4 says, because the integers are doubled: 4 bits of exponent,
 * less 7, and 3 of mantissa. 0x7f would be a NaN and counts as zero, bit 7 as nothing. */
UMBRA_INLINE float umbra_nvfp4_scale(uint8_t byte)
{
    uint32_t exponent = byte >> 3 & 15, mantissa = byte & 7;
    if (byte == 0x7f) {
        return 0;
    }
    uint32_t whole = exponent ? mantissa | 8 : mantissa;
    return (float)whole * umbra_f32_from_bits((exponent + !exponent + 127 - 11) << 23);
}

/* The 8 scales and 8 minima of Q4_K and Q5_K, 6 bits each in 12 bytes, as one byte each: byte i of
 * the result belongs to part i. Bytes 0..3 hold scales 0..3 and the two high bits of scales 4..7,
 * bytes 4..7 the same of the minima, bytes 8..11 the low nibbles of scales and minima 4..7. */
typedef struct umbra_six_bits {
    uint64_t scales, minima;
} umbra_six_bits;

UMBRA_INLINE umbra_six_bits umbra_unpack_six_bits(const uint8_t *p)
{
    uint32_t a = umbra_load_u32(p), b = umbra_load_u32(p + 4), c = umbra_load_u32(p + 8);
    uint32_t scales = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);
    uint32_t minima = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);
    return (umbra_six_bits){
        .scales = (uint64_t)scales << 32 | (a & 0x3f3f3f3fu),
        .minima = (uint64_t)minima << 32 | (b & 0x3f3f3f3fu),
    };
}

/* The 16 scales of Q3_K, 6 bits each in 12 bytes, plus 32: nibble i of bytes 0..7 (first the low
 * ones of all bytes) is the low part of scale i; bytes 8..11 hold the high bits of scale i at
 * 2 (i / 4) of byte i % 4. Byte j of word i of the result belongs to scale 8 i + j. */
UMBRA_INLINE void umbra_unpack_q3_k_scales(const uint8_t *p, uint64_t out[2])
{
    uint32_t a = umbra_load_u32(p), b = umbra_load_u32(p + 4), high = umbra_load_u32(p + 8);
    uint32_t low[4] = {a, b, a >> 4, b >> 4}, word[4];
    for (int i = 0; i < 4; i++) {
        word[i] = (low[i] & 0x0f0f0f0fu) | (high >> 2 * i & 0x03030303u) << 4;
    }
    out[0] = (uint64_t)word[1] << 32 | word[0];
    out[1] = (uint64_t)word[3] << 32 | word[2];
}

/* The 8 scales of IQ4_XS, plus 32, one byte each: the low nibbles lie in 4 bytes, the two high bits
 * in one 16-bit number. */
UMBRA_INLINE int umbra_iq4_xs_scale(const uint8_t *block, int p)
{
    int low = block[4 + p / 2] >> 4 * (p % 2) & 15, high = umbra_load_u16(block + 2) >> 2 * p & 3;
    return low | high << 4;
}

/* One scale for the part. An offset of -0 changes no value, not even -0. */
UMBRA_INLINE void umbra_set_scale(umbra_part *out, float scale, float offset)
{
    out->scale[0] = out->scale[1] = scale;
    out->offset[0] = out->offset[1] = offset;
}

/* 16 bytes of nibbles: value i in the low, value i + 16 in the high one of byte i. */
UMBRA_INLINE void umbra_unpack_nibbles(const uint8_t *bytes, int8_t w[UMBRA_Q16_BLOCK])
{
    for (int i = 0; i < UMBRA_HALF_PART; i++) {
        w[i] = (int8_t)(bytes[i] & 15);
        w[i + UMBRA_HALF_PART] = (int8_t)(bytes[i] >> 4);
    }
}

/* Scale, 32 int8. */
UMBRA_INLINE void umbra_unpack_q8_0(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    memcpy(out->w, block + 2, UMBRA_Q16_BLOCK);
    umbra_set_scale(out, umbra_load_scale(block), -0.0f);
}

/* Scale, 16 bytes of nibbles, each plus 8. */
UMBRA_INLINE void umbra_unpack_q4_0(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    umbra_unpack_nibbles(block + 2, out->w);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        out->w[i] = (int8_t)(out->w[i] - 8);
    }
    umbra_set_scale(out, umbra_load_scale(block), -0.0f);
}

/* Scale, offset, 16 bytes of nibbles. */
UMBRA_INLINE void umbra_unpack_q4_1(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    umbra_unpack_nibbles(block + 4, out->w);
    umbra_set_scale(out, umbra_load_scale(block), umbra_load_scale(block + 2));
}

/* Nibbles whose fifth bits lie in 4 bytes before them: bit i belongs to value i. */
UMBRA_INLINE void umbra_unpack_five_bits(const uint8_t *bytes, int minus, umbra_part *out)
{
    uint32_t high = umbra_load_u32(bytes);
    umbra_unpack_nibbles(bytes + 4, out->w);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        out->w[i] = (int8_t)((out->w[i] | (int)(high >> i & 1) << 4) - minus);
    }
}

/* Scale, 4 bytes of fifth bits, 16 bytes of nibbles; the five bits are the value plus 16. */
UMBRA_INLINE void umbra_unpack_q5_0(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    umbra_unpack_five_bits(block + 2, 16, out);
    umbra_set_scale(out, umbra_load_scale(block), -0.0f);
}

/* Scale, offset, 4 bytes of fifth bits, 16 bytes of nibbles. */
UMBRA_INLINE void umbra_unpack_q5_1(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    umbra_unpack_five_bits(block + 4, 0, out);
    umbra_set_scale(out, umbra_load_scale(block), umbra_load_scale(block + 2));
}

UMBRA_INLINE void umbra_unpack_table(const uint8_t *bytes, const int8_t table[16],
                                     int8_t w[UMBRA_Q16_BLOCK])
{
    umbra_unpack_nibbles(bytes, w);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        w[i] = table[w[i]];
    }
}

/* Scale, 16 bytes of nibbles that choose from a table. */
UMBRA_INLINE void umbra_unpack_iq4_nl(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    umbra_unpack_table(block + 2, umbra_iq4_values, out->w);
    umbra_set_scale(out, umbra_load_scale(block), -0.0f);
}

/* One byte of exponent, 16 bytes of nibbles that are floats of 4 bits. */
UMBRA_INLINE void umbra_unpack_mxfp4(const uint8_t *block, int p, umbra_part *out)
{
    (void)p;
    umbra_unpack_table(block + 1, umbra_mxfp4_values, out->w);
    umbra_set_scale(out, umbra_mxfp4_scale(block[0]), -0.0f);
}

/* 16 bytes (scale of 16 values in the low, minimum in the high nibble), 64 bytes of values, scale
 * of the scales, scale of the minima. Byte i of 32 holds value i of four parts, 2 bits each. */
UMBRA_INLINE void umbra_unpack_q2_k(const uint8_t *block, int p, umbra_part *out)
{
    const uint8_t *values = block + 16 + 32 * (p / 4);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        out->w[i] = (int8_t)(values[i] >> 2 * (p % 4) & 3);
    }
    for (int h = 0; h < 2; h++) {
        uint8_t both = block[2 * p + h];
        out->scale[h] = umbra_load_scale(block + 80) * (float)(both & 15);
        out->offset[h] = -(umbra_load_scale(block + 82) * (float)(both >> 4));
    }
}

/* 32 bytes of third bits (bit p of byte i: value i of part p), 64 bytes of lower two bits as in
 * Q2_K, 12 bytes of scales, scale of the scales. The three bits are the value plus 4. */
UMBRA_INLINE void umbra_unpack_q3_k(const uint8_t *block, int p, umbra_part *out)
{
    const uint8_t *values = block + 32 + 32 * (p / 4);
    uint64_t scales[2];
    umbra_unpack_q3_k_scales(block + 96, scales);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        int low = values[i] >> 2 * (p % 4) & 3, high = block[i] >> p & 1;
        out->w[i] = (int8_t)((low | high << 2) - 4);
    }
    umbra_set_scale(out, 0, -0.0f);
    for (int h = 0; h < 2; h++) {
        int scale = (int)(scales[p / 4] >> (16 * (p % 4) + 8 * h) & 63) - 32;
        out->scale[h] = umbra_load_scale(block + 108) * (float)scale;
    }
}

/* What Q4_K and Q5_K share: scale of the scales, scale of the minima, 12 bytes of both. */
UMBRA_INLINE void umbra_set_six_bits(const uint8_t *block, int p, umbra_part *out)
{
    umbra_six_bits six = umbra_unpack_six_bits(block + 4);
    float scale = (float)(six.scales >> 8 * p & 63), minimum = (float)(six.minima >> 8 * p & 63);
    umbra_set_scale(out, umbra_load_scale(block) * scale, -(umbra_load_scale(block + 2) * minimum));
}

/* The above, then 128 bytes of values: byte i of 32 holds value i of two parts. */
UMBRA_INLINE void umbra_unpack_q4_k(const uint8_t *block, int p, umbra_part *out)
{
    const uint8_t *values = block + 16 + 32 * (p / 2);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        out->w[i] = (int8_t)(values[i] >> 4 * (p % 2) & 15);
    }
    umbra_set_six_bits(block, p, out);
}

/* The same with 32 bytes of fifth bits before the values (bit p of byte i: value i of part p). */
UMBRA_INLINE void umbra_unpack_q5_k(const uint8_t *block, int p, umbra_part *out)
{
    const uint8_t *values = block + 48 + 32 * (p / 2);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        int low = values[i] >> 4 * (p % 2) & 15, high = block[16 + i] >> p & 1;
        out->w[i] = (int8_t)(low | high << 4);
    }
    umbra_set_six_bits(block, p, out);
}

/* 128 bytes of low nibbles, 64 bytes of upper two bits, 16 int8 scales, scale of the scales. Four
 * parts share 64 bytes of nibbles (parts 0 and 1 the low, 2 and 3 the high ones) and 32 bytes of
 * upper bits. The six bits are the value plus 32. */
UMBRA_INLINE void umbra_unpack_q6_k(const uint8_t *block, int p, umbra_part *out)
{
    int group = p / 4, member = p % 4;
    const uint8_t *nibbles = block + 64 * group + 32 * (member % 2);
    const uint8_t *upper = block + 128 + 32 * group;
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        int low = nibbles[i] >> 4 * (member / 2) & 15, high = upper[i] >> 2 * member & 3;
        out->w[i] = (int8_t)((low | high << 4) - 32);
    }
    umbra_set_scale(out, 0, -0.0f);
    for (int h = 0; h < 2; h++) {
        out->scale[h] = umbra_load_scale(block + 208) * (float)(int8_t)block[192 + 2 * p + h];
    }
}

/* Scale of the scales, 2 and 4 bytes of scales, then 16 bytes per part as in IQ4_NL. */
UMBRA_INLINE void umbra_unpack_iq4_xs(const uint8_t *block, int p, umbra_part *out)
{
    umbra_unpack_table(block + 8 + 16 * p, umbra_iq4_values, out->w);
    float scale = (float)(umbra_iq4_xs_scale(block, p) - 32);
    umbra_set_scale(out, umbra_load_scale(block) * scale, -0.0f);
}

/* Four bytes of scales, 32 bytes of nibbles that are floats of 4 bits. A scale and 8 bytes belong
 * to 16 values: first the low nibbles, then the high ones. */
UMBRA_INLINE void umbra_unpack_nvfp4(const uint8_t *block, int p, umbra_part *out)
{
    umbra_set_scale(out, 0, -0.0f);
    for (int h = 0; h < 2; h++) {
        const uint8_t *nibbles = block + 4 + 16 * p + 8 * h;
        int8_t *w = out->w + UMBRA_HALF_PART * h;
        for (int i = 0; i < 8; i++) {
            w[i] = umbra_mxfp4_values[nibbles[i] & 15];
            w[i + 8] = umbra_mxfp4_values[nibbles[i] >> 4];
        }
        out->scale[h] = umbra_nvfp4_scale(block[2 * p + h]);
    }
}

/* TQ1_0 keeps 16 values each in a digit of 16 bytes. Digit n of a byte is the whole part of 3 times
 * the byte's fraction (of 256) after n multiplications by 3. Halves of parts 0 to 4 are the digits
 * of bytes 0..15 and 16..31 in turn, then come five of bytes 32..47; the last half is four digits
 * of bytes 48..51. */
typedef struct umbra_tq1_half {
    int first_byte, digit;
} umbra_tq1_half;

UMBRA_INLINE umbra_tq1_half umbra_find_tq1_half(int half)
{
    return half < 10   ? (umbra_tq1_half){half % 2 * 16, half / 2}
           : half < 15 ? (umbra_tq1_half){32, half - 10}
                       : (umbra_tq1_half){48, 0};
}

static const uint8_t umbra_powers_of_3[5] = {1, 3, 9, 27, 81};

UMBRA_INLINE int8_t umbra_tq1_value(uint8_t byte, int digit)
{
    return (int8_t)(((uint8_t)(byte * umbra_powers_of_3[digit]) * 3 >> 8) - 1);
}

/* 52 bytes of digits, which are the value plus 1; scale. */
UMBRA_INLINE void umbra_unpack_tq1_0(const uint8_t *block, int p, umbra_part *out)
{
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        int half = 2 * p + i / UMBRA_HALF_PART, at = i % UMBRA_HALF_PART;
        umbra_tq1_half from = umbra_find_tq1_half(half);
        out->w[i] = half < 15 ? umbra_tq1_value(block[from.first_byte + at], from.digit)
                              : umbra_tq1_value(block[from.first_byte + at % 4], at / 4);
    }
    umbra_set_scale(out, umbra_load_scale(block + 52), -0.0f);
}

/* 64 bytes of two bits as in Q2_K, which are the value plus 1; scale. */
UMBRA_INLINE void umbra_unpack_tq2_0(const uint8_t *block, int p, umbra_part *out)
{
    const uint8_t *values = block + 32 * (p / 4);
    for (int i = 0; i < UMBRA_Q16_BLOCK; i++) {
        out->w[i] = (int8_t)((values[i] >> 2 * (p % 4) & 3) - 1);
    }
    umbra_set_scale(out, umbra_load_scale(block + 64), -0.0f);
}

#endif
