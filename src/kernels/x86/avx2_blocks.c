/* Products of quantised weights with activations for AVX2. */
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx2_grid_blocks.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, PREFETCH = 1 };

typedef umbra_halves integers;
typedef __m256 lanes;

UMBRA_INLINE integers load_values(const int16_t *q)
{
    return (integers){
        .low = load_32((const uint8_t *)q),
        .high = load_32((const uint8_t *)(q + UMBRA_HALF_PART)),
    };
}

UMBRA_INLINE lanes no_lanes(void)
{
    return _mm256_setzero_ps();
}

UMBRA_INLINE lanes add_dot(lanes sum, integers w, integers x, float factor)
{
    __m256i dot =
        _mm256_add_epi32(_mm256_madd_epi16(w.low, x.low), _mm256_madd_epi16(w.high, x.high));
    return _mm256_fmadd_ps(_mm256_set1_ps(factor), _mm256_cvtepi32_ps(dot), sum);
}

UMBRA_INLINE lanes add_halves(lanes sum, integers w, integers x, const float *factors)
{
    __m256 low = _mm256_cvtepi32_ps(_mm256_madd_epi16(w.low, x.low));
    __m256 high = _mm256_cvtepi32_ps(_mm256_madd_epi16(w.high, x.high));
    sum = _mm256_fmadd_ps(_mm256_set1_ps(factors[0]), low, sum);
    return _mm256_fmadd_ps(_mm256_set1_ps(factors[1]), high, sum);
}

UMBRA_INLINE void multiply_scales(float *out, const float *a, const float *b, const int n)
{
    if (n == UMBRA_PARTS_MAX) {
        _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b)));
    } else if (n == UMBRA_BLOCKS_AT_ONCE) {
        _mm_storeu_ps(out, _mm_mul_ps(_mm_loadu_ps(a), _mm_loadu_ps(b)));
    } else {
        *out = *a * *b;
    }
}

UMBRA_INLINE void multiply_halves(float *out, const float *a, const float *b, const int n)
{
    if (n < UMBRA_PARTS_MAX) {
        __m128 two = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)b));
        _mm_storeu_ps(out, _mm_mul_ps(_mm_loadu_ps(a), _mm_unpacklo_ps(two, two)));
        return;
    }
    __m256 all = _mm256_loadu_ps(b);
    __m256 front = _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    __m256 back = _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_loadu_ps(a), front));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(_mm256_loadu_ps(a + 8), back));
}

UMBRA_INLINE lanes add_offsets(lanes sum, const float *a, const float *b, const int n)
{
    if (n == UMBRA_PARTS_MAX) {
        return _mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b), sum);
    }
    __m128 first = n == 1 ? _mm_mul_ss(_mm_load_ss(a), _mm_load_ss(b))
                          : _mm_mul_ps(_mm_loadu_ps(a), _mm_loadu_ps(b));
    return _mm256_add_ps(sum, _mm256_zextps128_ps256(first));
}

UMBRA_INLINE void store_sums(float *out, const lanes *sum, const int n)
{
    if (n == MAX_ROWS) {
        _mm_storeu_ps(out, umbra_avx2_sum4(sum[0], sum[MAX_TOKENS], sum[2 * MAX_TOKENS],
                                           sum[3 * MAX_TOKENS]));
        return;
    }
    for (int i = 0; i < n; i++) {
        out[i] = umbra_avx2_sum(sum[i * MAX_TOKENS]);
    }
}

UMBRA_INLINE integers keep_values(integers x)
{
    __asm__("" : "+x"(x.low), "+x"(x.high));
    return x;
}

UMBRA_INLINE void store_pair(float *out, uint64_t stride, const lanes *sum)
{
    __m128 first = umbra_avx2_sum4(sum[0], sum[1], sum[2], sum[3]);
    __m128 second = umbra_avx2_sum4(sum[4], sum[5], sum[6], sum[7]);
    __m128 front = _mm_unpacklo_ps(first, second), back = _mm_unpackhi_ps(first, second);
    _mm_storel_pi((__m64 *)(void *)out, front);
    _mm_storeh_pi((__m64 *)(void *)(out + stride), front);
    _mm_storel_pi((__m64 *)(void *)(out + 2 * stride), back);
    _mm_storeh_pi((__m64 *)(void *)(out + 3 * stride), back);
}

/* At least four independent accumulators and at most eight. */
UMBRA_INLINE int tile_rows(int tokens)
{
    return tokens <= 2 ? 4 : 2;
}

#include "kernels/matmul_panel.h"

#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const block_type type_##name = {                                                        \
        .load_scales = scales_##name,                                                              \
        .load_part = part_##name,                                                                  \
        .load_minima = minima_##minima,                                                            \
        .bytes = UMBRA_##TYPE##_BYTES * blocks,                                                    \
        .parts = UMBRA_##TYPE##_PARTS * blocks,                                                    \
        .block = UMBRA_##TYPE##_PARTS,                                                             \
        .group = parts_at_once,                                                                    \
        .offset = has_offset,                                                                      \
        .halves = has_halves,                                                                      \
    };
UMBRA_BLOCK_UNITS(DEFINE_TYPE)
UMBRA_BLOCK_TYPES(UMBRA_DEFINE_PANEL_MATMUL)

void umbra_kernels_fill_avx2_blocks(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(UMBRA_SET_MATMUL)
}
