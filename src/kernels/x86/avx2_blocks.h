/* How blocks of quantised weights become 16-bit integers with AVX2, a part of a row at a time:
 * part_NAME of every type (those with code books: avx2_grid_blocks.h). The layouts are described in
 * blocks.h. A register has 16 columns in order; or they are split, those of even numbers from the
 * others, and either register has the first half's in front. Biases are added. */
#ifndef UMBRA_KERNELS_X86_AVX2_BLOCKS_H
#define UMBRA_KERNELS_X86_AVX2_BLOCKS_H

#include <immintrin.h>

#include "kernels/block_scales.h"

/* 32 integers of 16 bits. */
typedef struct umbra_halves {
    __m256i low, high;
} umbra_halves;

UMBRA_INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

UMBRA_INLINE __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

UMBRA_INLINE float load_half(const uint8_t *p)
{
    return _cvtsh_ss(umbra_load_u16(p));
}

/* 16 bytes of nibbles: the low ones, then the high ones. */
UMBRA_INLINE umbra_halves nibbles(const uint8_t *p)
{
    __m256i pairs = _mm256_cvtepu8_epi16(load_16(p));
    return (umbra_halves){
        .low = _mm256_and_si256(pairs, _mm256_set1_epi16(15)),
        .high = _mm256_srli_epi16(pairs, 4),
    };
}

/* All bits of byte i are bit i of the 4 bytes. */
UMBRA_INLINE __m256i spread_bits(const uint8_t *p)
{
    const __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i all = _mm256_set1_epi32((int)umbra_load_u32(p));
    __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(all, byte_of), bit_of);
    return _mm256_cmpeq_epi8(bits, bit_of);
}

/* Moves bit `from` of each byte to bit `to`; other bits are 0. */
UMBRA_INLINE __m256i move_bits(__m256i bytes, int from, int to, int mask)
{
    __m256i moved =
        from > to ? _mm256_srli_epi16(bytes, from - to) : _mm256_slli_epi16(bytes, to - from);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(mask << to)));
}

/* Unsigned bytes. */
UMBRA_INLINE umbra_halves split_bytes(__m256i bytes)
{
    return (umbra_halves){
        .low = _mm256_and_si256(bytes, _mm256_set1_epi16(255)),
        .high = _mm256_srli_epi16(bytes, 8),
    };
}

/* Bits `from` and on of each byte, as many as the mask has. */
UMBRA_INLINE umbra_halves split_bits(__m256i bytes, const int from, const int mask)
{
    __m256i low = from ? _mm256_srli_epi16(bytes, from) : bytes;
    __m256i high = _mm256_srli_epi16(bytes, 8 + from);
    low = _mm256_and_si256(low, _mm256_set1_epi16((short)mask));
    if (mask << from < 128) {
        high = _mm256_and_si256(high, _mm256_set1_epi16((short)mask));
    }
    return (umbra_halves){low, high};
}

/* 16 bytes of nibbles as bytes: the low ones, then the high ones. */
UMBRA_INLINE __m256i nibble_bytes(const uint8_t *p)
{
    __m256i both = _mm256_broadcastsi128_si256(load_16(p));
    both = _mm256_srlv_epi64(both, _mm256_setr_epi64x(0, 0, 4, 4));
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* The table's values have the bias. */
UMBRA_INLINE umbra_halves split_from_table(__m256i nibbles, const int8_t table[16], const int bias)
{
    __m128i values = load_16((const uint8_t *)table);
    values = _mm_add_epi8(values, _mm_set1_epi8((char)bias));
    return split_bytes(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles));
}

enum {
    PART_BIAS_Q8_0 = 0,
    PART_BIAS_Q4_0 = 8,
    PART_BIAS_Q4_1 = 0,
    PART_BIAS_Q5_0 = 16,
    PART_BIAS_Q5_1 = 0,
    PART_BIAS_IQ4_NL = 128,
    PART_BIAS_MXFP4 = 12,
    PART_BIAS_Q2_K = 0,
    PART_BIAS_Q3_K = 4,
    PART_BIAS_Q4_K = 0,
    PART_BIAS_Q5_K = 0,
    PART_BIAS_Q6_K = 32,
    PART_BIAS_IQ4_XS = 128,
    PART_BIAS_NVFP4 = 12,
    PART_BIAS_TQ1_0 = 1,
    PART_BIAS_TQ2_0 = 1,
    PART_BIAS_IQ1_S = 9,
    PART_BIAS_IQ1_M = 9,
    PART_BIAS_IQ2_XXS = 0,
    PART_BIAS_IQ2_XS = 0,
    PART_BIAS_IQ2_S = 0,
    PART_BIAS_IQ3_XXS = 0,
    PART_BIAS_IQ3_S = 0,
    SPLIT_Q8_0 = false,
    SPLIT_Q4_0 = false,
    SPLIT_Q4_1 = false,
    SPLIT_Q5_0 = true,
    SPLIT_Q5_1 = true,
    SPLIT_IQ4_NL = true,
    SPLIT_MXFP4 = true,
    SPLIT_Q2_K = true,
    SPLIT_Q3_K = true,
    SPLIT_Q4_K = true,
    SPLIT_Q5_K = true,
    SPLIT_Q6_K = true,
    SPLIT_IQ4_XS = true,
    SPLIT_NVFP4 = true,
    SPLIT_TQ1_0 = false,
    SPLIT_TQ2_0 = true,
    SPLIT_IQ1_S = true,
    SPLIT_IQ1_M = true,
    SPLIT_IQ2_XXS = false,
    SPLIT_IQ2_XS = false,
    SPLIT_IQ2_S = false,
    SPLIT_IQ3_XXS = false,
    SPLIT_IQ3_S = false,
};

/* Part `first` + `p` of a unit; p is known at compile time, first is not. */
#define UMBRA_PART(name)                                                                           \
    UMBRA_INLINE umbra_halves part_##name(const uint8_t *unit, const umbra_block_scales *s,        \
                                          int first, const int p)

UMBRA_PART(q8_0)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q8_0_BYTES;
    return (umbra_halves){
        .low = _mm256_cvtepi8_epi16(load_16(block + 2)),
        .high = _mm256_cvtepi8_epi16(load_16(block + 18)),
    };
}

UMBRA_PART(q4_0)
{
    (void)s;
    return nibbles(unit + (first + p) * UMBRA_Q4_0_BYTES + 2);
}

UMBRA_PART(q4_1)
{
    (void)s;
    return nibbles(unit + (first + p) * UMBRA_Q4_1_BYTES + 4);
}

UMBRA_PART(q5_0)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q5_0_BYTES;
    __m256i plus = _mm256_and_si256(spread_bits(block + 2), _mm256_set1_epi8(16));
    return split_bytes(_mm256_or_si256(nibble_bytes(block + 6), plus));
}

UMBRA_PART(q5_1)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q5_1_BYTES;
    __m256i plus = _mm256_and_si256(spread_bits(block + 4), _mm256_set1_epi8(16));
    return split_bytes(_mm256_or_si256(nibble_bytes(block + 8), plus));
}

UMBRA_PART(iq4_nl)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_IQ4_NL_BYTES;
    return split_from_table(nibble_bytes(block + 2), umbra_iq4_values, PART_BIAS_IQ4_NL);
}

UMBRA_PART(iq4_xs)
{
    (void)s;
    const uint8_t *values = unit + 8 + 16 * (first + p);
    return split_from_table(nibble_bytes(values), umbra_iq4_values, PART_BIAS_IQ4_XS);
}

UMBRA_PART(mxfp4)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_MXFP4_BYTES;
    return split_from_table(nibble_bytes(block + 1), umbra_mxfp4_values, PART_BIAS_MXFP4);
}

/* Eight bytes of nibbles for each half: the low ones, then the high ones. */
UMBRA_PART(nvfp4)
{
    (void)s;
    const uint8_t *block = unit + (first + p) / 2 * UMBRA_NVFP4_BYTES + 4 + (first + p) % 2 * 16;
    __m256i both = _mm256_permute4x64_epi64(_mm256_castsi128_si256(load_16(block)), 0x50);
    both = _mm256_srlv_epi64(both, _mm256_setr_epi64x(0, 4, 0, 4));
    both = _mm256_and_si256(both, _mm256_set1_epi8(15));
    return split_from_table(both, umbra_mxfp4_values, PART_BIAS_NVFP4);
}

UMBRA_PART(q2_k)
{
    (void)s;
    return split_bits(load_32(unit + 16 + 8 * first), 2 * p, 3);
}

UMBRA_PART(tq2_0)
{
    (void)s;
    return split_bits(load_32(unit + 8 * first), 2 * p, 3);
}

UMBRA_PART(q3_k)
{
    (void)s;
    __m256i low = move_bits(load_32(unit + 32 + 8 * first), 2 * p, 0, 3);
    __m256i high = _mm256_srl_epi16(load_32(unit), _mm_cvtsi32_si128(first));
    return split_bytes(_mm256_or_si256(low, move_bits(high, p, 2, 1)));
}

UMBRA_PART(q4_k)
{
    (void)s;
    return split_bits(load_32(unit + 16 + 16 * first + p / 2 * 32), p % 2 * 4, 15);
}

UMBRA_PART(q5_k)
{
    (void)s;
    __m256i low = move_bits(load_32(unit + 48 + 16 * first + p / 2 * 32), p % 2 * 4, 0, 15);
    __m256i high = _mm256_srl_epi16(load_32(unit + 16), _mm_cvtsi32_si128(first));
    return split_bytes(_mm256_or_si256(low, move_bits(high, p, 4, 1)));
}

UMBRA_PART(q6_k)
{
    (void)s;
    __m256i low = move_bits(load_32(unit + 16 * first + 32 * (p % 2)), p / 2 * 4, 0, 15);
    __m256i high = move_bits(load_32(unit + 128 + 8 * first), 2 * p, 4, 3);
    return split_bytes(_mm256_or_si256(low, high));
}

/* A digit of 16 bytes: the byte times a power of 3 loses what is above 8 bits by lying in the upper
 * half of 16. */
UMBRA_INLINE __m256i tq1_digits(__m128i bytes, __m256i power)
{
    __m256i fraction = _mm256_mullo_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_slli_epi16(power, 8));
    return _mm256_mulhi_epu16(fraction, _mm256_set1_epi16(3));
}

UMBRA_INLINE __m256i tq1_half(const uint8_t *unit, const int half)
{
    if (half == 2 * UMBRA_PARTS_MAX - 1) {
        const __m256i powers = _mm256_setr_epi64x(0x0001000100010001, 0x0003000300030003,
                                                  0x0009000900090009, 0x001b001b001b001b);
        return tq1_digits(_mm_set1_epi32((int)umbra_load_u32(unit + 48)), powers);
    }
    umbra_tq1_half from = umbra_find_tq1_half(half);
    return tq1_digits(load_16(unit + from.first_byte),
                      _mm256_set1_epi16(umbra_powers_of_3[from.digit]));
}

UMBRA_PART(tq1_0)
{
    (void)s, (void)first;
    return (umbra_halves){tq1_half(unit, 2 * p), tq1_half(unit, 2 * p + 1)};
}

#endif
