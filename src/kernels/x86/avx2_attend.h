/* Keys and values from halves, for attention with AVX2 and with AVX-512. */
#ifndef UMBRA_KERNELS_X86_AVX2_ATTEND_H
#define UMBRA_KERNELS_X86_AVX2_ATTEND_H

#include "kernels/x86/avx2.h"

enum { GROUP = 8 };

#define f16_value _cvtsh_ss
#define weigh     umbra_avx2_weigh

UMBRA_INLINE void expand_group(float *out, const uint8_t *halves)
{
    _mm256_storeu_ps(out, umbra_avx2_load_f16(halves));
}

/* Pairs of keys, then fours of them, then the two halves. */
UMBRA_INLINE void turn_group(const uint8_t *const *halves, size_t offset, float *out, size_t stride)
{
    __m256 v[GROUP], four[GROUP];
    for (int i = 0; i < GROUP; i++) {
        v[i] = umbra_avx2_load_f16(halves[i] + offset);
    }
    for (int i = 0; i < GROUP; i += 4) {
        __m256 low01 = _mm256_unpacklo_ps(v[i], v[i + 1]);
        __m256 high01 = _mm256_unpackhi_ps(v[i], v[i + 1]);
        __m256 low23 = _mm256_unpacklo_ps(v[i + 2], v[i + 3]);
        __m256 high23 = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        four[i] = _mm256_shuffle_ps(low01, low23, 0x44);
        four[i + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
        four[i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
        four[i + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        __m256 low = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
        __m256 high = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
        _mm256_storeu_ps(out + (size_t)i * stride, low);
        _mm256_storeu_ps(out + (size_t)(i + 4) * stride, high);
    }
}

#endif
