/* Small pieces for the AVX-512 files. */
#ifndef UMBRA_KERNELS_X86_AVX512_H
#define UMBRA_KERNELS_X86_AVX512_H

#include <immintrin.h>

#include "kernels/internal.h"

#ifndef UMBRA_AVX512_KEEP /* where vectors are emulated */
#define UMBRA_AVX512_KEEP(v) __asm__("" : "+v"(v))
#endif

/* Over AVX2; see tokens_of_avx2. */
void umbra_kernels_fill_avx512_blocks(umbra_kernels *k, bool zen4);
void umbra_avx512_recur(const umbra_recur *r);
void umbra_avx512_attend(const umbra_attend *a);

/* Adds in a fixed order: halves, quarters, and so on. */
UMBRA_INLINE float umbra_avx512_sum(__m512 v)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
