/* The order of sums that AVX-512 and AMX have: how the products of a part join the sum of a row and
 * a token. The rows lie in the lanes. */
#ifndef UMBRA_KERNELS_X86_AVX512_SUMS_H
#define UMBRA_KERNELS_X86_AVX512_SUMS_H

#include "kernels/x86/avx512_rows.h"

/* Adds part p: `dot` is its products, of_x the scale of its activations, sum_of_x their sum. */
UMBRA_INLINE __m512 add_scaled(__m512 sum, const unit_numbers *n, int p, __m512 of_x,
                               const float *sum_of_x, __m512 dot, const bool offset)
{
    if (offset) {
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(n->offset[p]), _mm512_set1_ps(*sum_of_x), sum);
    }
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_loadu_ps(n->scale[p]), of_x), dot, sum);
}

UMBRA_INLINE __m512 scale_first_half(const unit_numbers *n, int p, __m512 dot)
{
    return _mm512_mul_ps(_mm512_loadu_ps(n->scale[2 * p]), dot);
}

/* Adds a part with two scales; `first` is what scale_first_half says, half_of_x has the sums of the
 * integers of its activations. */
UMBRA_INLINE __m512 add_halves(__m512 sum, const unit_numbers *n, int p, __m512 of_x,
                               const float *half_of_x, __m512 first, __m512 dot, const bool offset)
{
    __m512 both = _mm512_fmadd_ps(_mm512_loadu_ps(n->scale[2 * p + 1]), dot, first);
    for (int h = 0; offset && h < 2; h++) {
        __m512 minimum = _mm512_loadu_ps(n->offset[2 * p + h]);
        both = _mm512_fmadd_ps(minimum, _mm512_set1_ps(half_of_x[h]), both);
    }
    return _mm512_fmadd_ps(of_x, both, sum);
}

/* 16 sums, one of each register in `of`: of the lanes in its first half, then those in its second;
 * or of each quarter. */
UMBRA_INLINE void add_fours(__m512i *out, const __m512i four[4], const bool halves)
{
    __m512i even = _mm512_shuffle_i32x4(four[0], four[1], 0x88);
    __m512i odd = _mm512_shuffle_i32x4(four[0], four[1], 0xdd);
    __m512i even_behind = _mm512_shuffle_i32x4(four[2], four[3], 0x88);
    __m512i odd_behind = _mm512_shuffle_i32x4(four[2], four[3], 0xdd);
    if (halves) {
        out[0] = _mm512_shuffle_i32x4(even, even_behind, 0x88);
        out[1] = _mm512_shuffle_i32x4(odd, odd_behind, 0x88);
        out[2] = _mm512_shuffle_i32x4(even, even_behind, 0xdd);
        out[3] = _mm512_shuffle_i32x4(odd, odd_behind, 0xdd);
        return;
    }
    __m512i front = _mm512_add_epi32(even, odd);
    __m512i back = _mm512_add_epi32(even_behind, odd_behind);
    out[0] = _mm512_shuffle_i32x4(front, back, 0x88);
    out[1] = _mm512_shuffle_i32x4(front, back, 0xdd);
}

/* Of two registers: of each quarter, lanes 0 and 2 of a, then b's, lanes 1 and 3 of a, then b's. */
UMBRA_INLINE __m512i add_two(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* Of two that add_two gave: of each quarter, the sums of its lanes in four registers. */
UMBRA_INLINE __m512i add_four(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

UMBRA_INLINE void add_lanes(__m512i *out, const __m512i of[LANE_ROWS], const bool halves)
{
    __m512i four[4];
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        const __m512i *v = of + 4 * i;
        four[i] = add_four(add_two(v[0], v[1]), add_two(v[2], v[3]));
    }
    add_fours(out, four, halves);
}

#endif
