/* Small pieces for the AVX2 files. */
#ifndef UMBRA_KERNELS_X86_AVX2_H
#define UMBRA_KERNELS_X86_AVX2_H

#include <immintrin.h>

#include "kernels/half.h"
#include "kernels/internal.h"

/* Tokens that pass over no panel, in most types and in Q4_0. */
enum { UMBRA_AVX2_FEW = 2, UMBRA_AVX2_FEW_Q4_0 = 4 };

void umbra_kernels_fill_avx2_vector(umbra_kernels *k);
void umbra_kernels_fill_avx2_blocks(umbra_kernels *k);
/* Products of a quantised type with several tokens, in the order of sums of avx2_sums.h. */
void umbra_avx2_matmul_panels(const umbra_matmul *m, int row_begin, int row_end, umbra_dtype type);
/* The same by other innermost loops (avx2_panel.h). */
struct umbra_avx2_groups;
void umbra_avx2_pass_panels(const umbra_matmul *m, int row_begin, int row_end, umbra_dtype type,
                            const struct umbra_avx2_groups *by);
void umbra_avx2_matmul_q4_0(const umbra_matmul *m, int row_begin, int row_end);
/* x (n) becomes exp(x - most), most its largest. Returns their sum. */
float umbra_avx2_weigh(float *x, int n, float *most);
void umbra_avx2_attend(const umbra_attend *a);
void umbra_avx2_recur(const umbra_recur *r);

/* ((v0+v4)+(v2+v6)) + ((v1+v5)+(v3+v7)) */
UMBRA_INLINE float umbra_avx2_sum(__m256 v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

UMBRA_INLINE float umbra_avx2_max(__m256 v)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

UMBRA_INLINE __m256 umbra_avx2_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* All bits set in the first n of 8 lanes. */
UMBRA_INLINE __m256i umbra_avx2_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif
