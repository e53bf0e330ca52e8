/* The order of sums that AVX-512 has (avx512_sums.h) for AVX2, with eight rows in the lanes: a row
 * and a token have one float sum, to which the parts are added in turn; the integer sum over a
 * part, or over each of its halves, is exact, so that it may be taken in any way. */
#ifndef UMBRA_KERNELS_X86_AVX2_SUMS_H
#define UMBRA_KERNELS_X86_AVX2_SUMS_H

#include "kernels/x86/avx2.h"
#include "kernels/x86/avx2_numbers.h"

UMBRA_INLINE __m256 load_sums(const float *from, int rows)
{
    return rows >= LANE_ROWS ? _mm256_loadu_ps(from)
                             : _mm256_maskload_ps(from, umbra_avx2_mask(rows));
}

UMBRA_INLINE void store_sums(float *to, __m256 sums, int rows)
{
    if (rows >= LANE_ROWS) {
        _mm256_storeu_ps(to, sums);
    } else {
        _mm256_maskstore_ps(to, umbra_avx2_mask(rows), sums);
    }
}

/* Adds part p: `dot` is its products, of_x the scale of its activations,
 * sum_of_x their sum. */
UMBRA_INLINE __m256 add_scaled(__m256 sum, const unit_numbers *n, int p, float of_x, float sum_of_x,
                               __m256 dot, const bool offset)
{
    if (offset) {
        sum = _mm256_fmadd_ps(_mm256_load_ps(n->offset[p]), _mm256_set1_ps(sum_of_x), sum);
    }
    __m256 scale = _mm256_mul_ps(_mm256_load_ps(n->scale[p]), _mm256_set1_ps(of_x));
    return _mm256_fmadd_ps(scale, dot, sum);
}

/* Adds a part with two scales: dot[h] is the products of half h, half_of_x[h] the sum of the
 * integers of its activations. */
UMBRA_INLINE __m256 add_halves(__m256 sum, const unit_numbers *n, int p, float of_x,
                               const float *half_of_x, const __m256 dot[2], const bool offset)
{
    __m256 both = _mm256_mul_ps(_mm256_load_ps(n->scale[2 * p]), dot[0]);
    both = _mm256_fmadd_ps(_mm256_load_ps(n->scale[2 * p + 1]), dot[1], both);
    for (int h = 0; offset && h < 2; h++) {
        __m256 minimum = _mm256_load_ps(n->offset[2 * p + h]);
        both = _mm256_fmadd_ps(minimum, _mm256_set1_ps(half_of_x[h]), both);
    }
    return _mm256_fmadd_ps(_mm256_set1_ps(of_x), both, sum);
}

#endif
