/* The types with code books (grid_blocks.h) for AVX-512 and AMX: load_numbers and load_pair of
 * row_type. A pair's entries are bytes, gathered at once; signs are a mask. */
#ifndef UMBRA_KERNELS_X86_AVX512_GRIDS_H
#define UMBRA_KERNELS_X86_AVX512_GRIDS_H

#include "kernels/x86/avx512_rows.h"

enum {
    BIAS_IQ1 = 9,
    BIAS_GRID = 62, /* the largest value */
};

/* Scales (of parts, or of their halves) are worked out for each row by itself, then turned. */
#define GRID_NUMBERS(name, SCALES)                                                                 \
    UMBRA_NUMBERS(name)                                                                            \
    {                                                                                              \
        umbra_block_scales of[LANE_ROWS];                                                          \
        const uint8_t *scales[LANE_ROWS];                                                          \
        for (int r = 0; r < LANE_ROWS; r++) {                                                      \
            row_##name(rows->at[r], of + r, n->row + r);                                           \
            scales[r] = (const uint8_t *)of[r].scale;                                              \
        }                                                                                          \
        for (int i = 0; i < (SCALES); i += 4) {                                                    \
            __m512i turned[4];                                                                     \
            turn_bytes(turned, scales, i *(int)sizeof(float));                                     \
            UMBRA_UNROLL(4)                                                                        \
            for (int j = 0; j < 4; j++) {                                                          \
                _mm512_storeu_si512(n->scale[i + j], turned[j]);                                   \
            }                                                                                      \
        }                                                                                          \
    }
UMBRA_GRID_ROWS(GRID_NUMBERS)

UMBRA_INLINE __m128i load_8(const uint8_t *p)
{
    return _mm_cvtsi64_si128((long long)umbra_load_u64(p));
}

/* Bit i of the signs belongs to byte i; the bias is added. */
UMBRA_INLINE __m512i sign_entries(__m512i w, uint64_t signs)
{
    w = _mm512_mask_sub_epi8(w, signs, _mm512_setzero_si512(), w);
    return _mm512_add_epi8(w, _mm512_set1_epi8(BIAS_GRID));
}

/* Eight entries of 8 values. */
UMBRA_INLINE __m512i entries_of_8(__m256i at, const void *grid)
{
    return _mm512_i32gather_epi64(at, grid, 8);
}

/* Sixteen entries of 4. */
UMBRA_INLINE __m512i entries_of_4(__m512i at, const void *grid)
{
    return _mm512_i32gather_epi32(at, grid, 4);
}

PAIR(iq2_xxs)
{
    const __m128i entries = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, -1, -1, -1, -1, -1, -1, -1, -1);
    int part = first + p;
    __m128i both = _mm_shuffle_epi8(load_16(unit + 2 + 8 * part), entries);
    __m512i w = entries_of_8(_mm256_cvtepu8_epi32(both), umbra_byte_grid.iq2_xxs);
    return sign_entries(w, umbra_load_u64(s->word + part));
}

PAIR(iq2_xs)
{
    int part = first + p;
    __m256i both = _mm256_cvtepu16_epi32(load_16(unit + 2 + 8 * part));
    __m512i w =
        entries_of_8(_mm256_and_si256(both, _mm256_set1_epi32(511)), umbra_byte_grid.iq2_xs);
    return sign_entries(w, umbra_load_u64(s->word + part));
}

PAIR(iq2_s)
{
    const __m256i shift = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    (void)s;
    int part = first + p;
    __m256i high = _mm256_set1_epi32(umbra_load_u16(unit + 66 + part) << 8);
    high = _mm256_and_si256(_mm256_srlv_epi32(high, shift), _mm256_set1_epi32(0x300));
    __m256i low = _mm256_cvtepu8_epi32(load_8(unit + 2 + 4 * part));
    __m512i w = entries_of_8(_mm256_or_si256(low, high), umbra_byte_grid.iq2_s);
    return sign_entries(w, umbra_load_u64(unit + 34 + 4 * part));
}

PAIR(iq3_xxs)
{
    int part = first + p;
    __m512i at = _mm512_cvtepu8_epi32(load_16(unit + 2 + 8 * part));
    __m512i w = entries_of_4(at, umbra_byte_grid.iq3_xxs);
    return sign_entries(w, umbra_load_u64(s->word + part));
}

PAIR(iq3_s)
{
    (void)s;
    int part = first + p;
    __m512i at = _mm512_cvtepu8_epi32(load_16(unit + 2 + 8 * part));
    __mmask16 ninth = umbra_load_u16(unit + 66 + part);
    at = _mm512_mask_add_epi32(at, ninth, at, _mm512_set1_epi32(256));
    __m512i w = entries_of_4(at, umbra_byte_grid.iq3_s);
    return sign_entries(w, umbra_load_u64(unit + 74 + 4 * part));
}

/* Entries whose upper three bits `high` has, rotated, from bit 8 on; from the values of those of
 * which `minus` has a bit 2 is taken. The bias is added. */
UMBRA_INLINE __m512i ternary_pair(const uint8_t *low, __m256i high, __mmask8 minus)
{
    high = _mm256_and_si256(high, _mm256_set1_epi32(0x700));
    __m256i at = _mm256_or_si256(_mm256_cvtepu8_epi32(load_8(low)), high);
    __m512i w = _mm512_add_epi8(entries_of_8(at, umbra_grid.iq1), _mm512_set1_epi8(BIAS_IQ1));
    return _mm512_mask_sub_epi64(w, minus, w, _mm512_set1_epi8(2)); /* no byte is below 2 */
}

PAIR(iq1_s)
{
    const __m256i place = _mm256_setr_epi32(8, 5, 2, 31, 24, 21, 18, 15);
    const __m256i minus =
        _mm256_setr_epi64x(0x0000800000008000, 0x0000800000008000, (long long)0x8000000080000000,
                           (long long)0x8000000080000000);
    (void)s;
    int part = first + p;
    __m256i both = _mm256_set1_epi32((int)umbra_load_u32(unit + 34 + 2 * part));
    return ternary_pair(unit + 2 + 4 * part, _mm256_rolv_epi32(both, place),
                        _mm256_test_epi32_mask(both, minus));
}

PAIR(iq1_m)
{
    const __m256i place = _mm256_setr_epi32(8, 4, 0, 28, 24, 20, 16, 12);
    (void)s;
    int part = first + p;
    __m256i both = _mm256_set1_epi32((int)umbra_load_u32(unit + 32 + 2 * part));
    both = _mm256_rolv_epi32(both, place);
    return ternary_pair(unit + 4 * part, both,
                        _mm256_test_epi32_mask(both, _mm256_set1_epi32(0x800)));
}

#endif
