/* How two parts of a row become bytes in a register, for AVX-512 and AMX: load_pair of row_type for
 * every weight type. The layouts are described in blocks.h and grid_blocks.h. */
#ifndef UMBRA_KERNELS_X86_AVX512_PAIRS_H
#define UMBRA_KERNELS_X86_AVX512_PAIRS_H

#include "kernels/x86/avx512_grids.h"

/* Types whose weights may be any byte have none. */
enum {
    BIAS_Q8_0 = 0,
    BIAS_Q4_0 = 8,
    BIAS_Q4_1 = 0,
    BIAS_Q5_0 = 16,
    BIAS_Q5_1 = 0,
    BIAS_IQ4_NL = 0,
    BIAS_MXFP4 = 12,
    BIAS_Q2_K = 0,
    BIAS_Q3_K = 4,
    BIAS_Q4_K = 0,
    BIAS_Q5_K = 0,
    BIAS_Q6_K = 32,
    BIAS_IQ4_XS = 0,
    BIAS_NVFP4 = 12,
    BIAS_TQ1_0 = 1,
    BIAS_TQ2_0 = 1,
    BIAS_IQ1_S = BIAS_IQ1,
    BIAS_IQ1_M = BIAS_IQ1,
    BIAS_IQ2_XXS = BIAS_GRID,
    BIAS_IQ2_XS = BIAS_GRID,
    BIAS_IQ2_S = BIAS_GRID,
    BIAS_IQ3_XXS = BIAS_GRID,
    BIAS_IQ3_S = BIAS_GRID,
};

UMBRA_INLINE __m512i join_parts(__m256i a, __m256i b)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

/* Numbers of 64 bits: two for the first part, two for the second. */
UMBRA_INLINE __m512i by_part(long long a, long long b)
{
    return _mm512_setr_epi64(a, a, a, a, b, b, b, b);
}

/* 16 bytes of nibbles for each part: the low ones, then the high ones. */
UMBRA_INLINE __m512i pair_nibbles(const uint8_t *a, const uint8_t *b)
{
    const __m512i shift = _mm512_setr_epi64(0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0,
                                            0x0004000400040004, 0x0004000400040004);
    __m512i both = _mm512_broadcast_i32x4(load_16(a));
    both = _mm512_mask_broadcast_i32x4(both, 0xff00, load_16(b));
    return _mm512_and_si512(_mm512_srlv_epi16(both, shift), _mm512_set1_epi8(15));
}

UMBRA_INLINE __m512i pair_from_table(const uint8_t *a, const uint8_t *b, const int8_t table[16])
{
    __m512i values = _mm512_broadcast_i32x4(load_16((const uint8_t *)table));
    return _mm512_shuffle_epi8(values, pair_nibbles(a, b));
}

/* Adds 16 where a bit of the two words is set. */
UMBRA_INLINE __m512i add_fifth_bits(__m512i w, const uint8_t *a, const uint8_t *b)
{
    __mmask64 bits = (uint64_t)umbra_load_u32(b) << 32 | umbra_load_u32(a);
    return _mm512_mask_add_epi8(w, bits, w, _mm512_set1_epi8(16));
}

/* Moves bits `from` and higher of 32 bytes to `to` for the first part, and those `step` above for
 * the second. What is not wanted stays beside them. */
UMBRA_INLINE __m512i move_pair(const uint8_t *bytes, int from, int to, int step)
{
    __m512i both = _mm512_broadcast_i64x4(load_32(bytes));
    return _mm512_rolv_epi64(both, by_part((to - from) & 63, (to - from - step) & 63));
}

PAIR(q8_0)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_Q8_0_BYTES + 2;
    return join_parts(load_32(a), load_32(a + UMBRA_Q8_0_BYTES));
}

PAIR(q4_0)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_Q4_0_BYTES + 2;
    return pair_nibbles(a, a + UMBRA_Q4_0_BYTES);
}

PAIR(q4_1)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_Q4_1_BYTES + 4;
    return pair_nibbles(a, a + UMBRA_Q4_1_BYTES);
}

PAIR(q5_0)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_Q5_0_BYTES + 2, *b = a + UMBRA_Q5_0_BYTES;
    return add_fifth_bits(pair_nibbles(a + 4, b + 4), a, b);
}

PAIR(q5_1)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_Q5_1_BYTES + 4, *b = a + UMBRA_Q5_1_BYTES;
    return add_fifth_bits(pair_nibbles(a + 4, b + 4), a, b);
}

PAIR(iq4_nl)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_IQ4_NL_BYTES + 2;
    return pair_from_table(a, a + UMBRA_IQ4_NL_BYTES, umbra_iq4_values);
}

PAIR(iq4_xs)
{
    (void)s;
    const uint8_t *a = unit + 8 + 16 * (first + p);
    return pair_from_table(a, a + 16, umbra_iq4_values);
}

PAIR(mxfp4)
{
    (void)s;
    const uint8_t *a = unit + (first + p) * UMBRA_MXFP4_BYTES + 1;
    __m512i w = pair_from_table(a, a + UMBRA_MXFP4_BYTES, umbra_mxfp4_values);
    return _mm512_add_epi8(w, _mm512_set1_epi8(BIAS_MXFP4));
}

PAIR(q2_k)
{
    (void)s;
    __m512i values = move_pair(unit + 16 + 8 * first, 2 * p, 0, 2);
    return _mm512_and_si512(values, _mm512_set1_epi8(3));
}

PAIR(tq2_0)
{
    (void)s;
    __m512i values = move_pair(unit + 8 * first, 2 * p, 0, 2);
    return _mm512_and_si512(values, _mm512_set1_epi8(3));
}

PAIR(q3_k)
{
    (void)s;
    __m512i low = move_pair(unit + 32 + 8 * first, 2 * p, 0, 2);
    __m512i high = move_pair(unit, first + p, 2, 1);
    low = _mm512_and_si512(low, _mm512_set1_epi8(3));
    return merge_bits(low, high, _mm512_set1_epi8(4));
}

PAIR(q4_k)
{
    (void)s;
    __m512i low = move_pair(unit + 16 + 16 * first + p / 2 * 32, 0, 0, 4);
    return _mm512_and_si512(low, _mm512_set1_epi8(15));
}

PAIR(q5_k)
{
    (void)s;
    __m512i low = move_pair(unit + 48 + 16 * first + p / 2 * 32, 0, 0, 4);
    __m512i high = move_pair(unit + 16, first + p, 4, 1);
    low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    return merge_bits(low, high, _mm512_set1_epi8(16));
}

/* Low nibbles of 64 bytes are two parts, their high ones two others. */
PAIR(q6_k)
{
    (void)s;
    __m512i low = _mm512_loadu_si512(unit + 16 * first);
    __m512i high = move_pair(unit + 128 + 8 * first, 2 * p, 4, 2);
    low = p / 2 ? _mm512_srli_epi16(low, 4) : low;
    low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    return merge_bits(low, high, _mm512_set1_epi8(0x30));
}

/* Eight bytes of nibbles for each half: the low ones, then the high ones. */
PAIR(nvfp4)
{
    const __m512i twice = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    const __m512i shift = _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    (void)s;
    __m256i bytes = load_32(unit + (first + p) / 2 * UMBRA_NVFP4_BYTES + 4);
    __m512i w = _mm512_permutexvar_epi64(twice, _mm512_castsi256_si512(bytes));
    w = _mm512_and_si512(_mm512_srlv_epi64(w, shift), _mm512_set1_epi8(15));
    __m512i values = _mm512_broadcast_i32x4(load_16((const uint8_t *)umbra_mxfp4_values));
    return _mm512_add_epi8(_mm512_shuffle_epi8(values, w), _mm512_set1_epi8(BIAS_NVFP4));
}

/* Digits of bytes, which are multiplied by powers of 3 in lanes of 16 bits: three times what 8 bits
 * keep of that has the digit above them. */
UMBRA_INLINE __m512i ternary_digits(__m512i bytes, __m512i powers)
{
    const __m512i even = _mm512_set1_epi32(0x00ff00ff), one = _mm512_set1_epi8(1);
    __m512i odd = _mm512_andnot_si512(even, bytes);
    __m512i kept =
        merge_bits(_mm512_mullo_epi16(odd, powers), _mm512_mullo_epi16(bytes, powers), even);
    __mmask64 ones = _mm512_cmpge_epu8_mask(kept, _mm512_set1_epi8(86));
    __mmask64 twos = _mm512_cmpge_epu8_mask(kept, _mm512_set1_epi8((char)171));
    __m512i digits = _mm512_maskz_mov_epi8(ones, one);
    return _mm512_mask_add_epi8(digits, twos, digits, one);
}

/* The number in four lanes of 16 bits. */
#define FOUR(n) ((n)*0x0001000100010001)

/* Which digits of which bytes: umbra_find_tq1_half. */
PAIR(tq1_0)
{
    (void)s, (void)first;
    __m512i front = _mm512_broadcast_i64x4(load_32(unit));
    __m512i back = _mm512_broadcast_i32x4(load_16(unit + 32));
    switch (p) {
    case 0:
        return ternary_digits(front, by_part(FOUR(1), FOUR(3)));
    case 2:
        return ternary_digits(front, by_part(FOUR(9), FOUR(27)));
    case 4:
        back = _mm512_inserti64x4(back, load_32(unit), 0);
        return ternary_digits(back, _mm512_setr_epi64(FOUR(81), FOUR(81), FOUR(81), FOUR(81),
                                                      FOUR(1), FOUR(1), FOUR(3), FOUR(3)));
    default:
        back = _mm512_inserti32x4(back, _mm_set1_epi32((int)umbra_load_u32(unit + 48)), 3);
        return ternary_digits(back,
                              _mm512_setr_epi64(FOUR(9), FOUR(9), FOUR(27), FOUR(27), FOUR(81),
                                                FOUR(81), 0x0003000300010001, 0x001b001b00090009));
    }
}

/* Types whose scales of halves are integers times a number. */
#define HAS_SUB(TYPE)                                                                              \
    (UMBRA_##TYPE == UMBRA_Q6_K || UMBRA_##TYPE == UMBRA_Q3_K || UMBRA_##TYPE == UMBRA_Q2_K)
#define IS_WIDE(TYPE)                                                                              \
    (UMBRA_##TYPE == UMBRA_Q8_0 || UMBRA_##TYPE == UMBRA_IQ4_NL || UMBRA_##TYPE == UMBRA_IQ4_XS)

/* The row_type of each line of UMBRA_BLOCK_UNITS. */
#define DEFINE_ROW_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)         \
    static const row_type rows_##name = {                                                          \
        .load_numbers = numbers_##name,                                                            \
        .load_pair = pair_##name,                                                                  \
        .bytes = UMBRA_##TYPE##_BYTES * PARTS / UMBRA_##TYPE##_PARTS,                              \
        .group = (parts_at_once) > 2 ? (parts_at_once) : 2,                                        \
        .bias = BIAS_##TYPE,                                                                       \
        .wide = IS_WIDE(TYPE),                                                                     \
        .offset = has_offset,                                                                      \
        .halves = has_halves || HAS_SUB(TYPE),                                                     \
    };
UMBRA_BLOCK_UNITS(DEFINE_ROW_TYPE)

#endif
