/* Predictions for AVX2. */
#include <immintrin.h>

#include "kernels/predict_body.h"

#define TABLE  umbra_predict_avx2
#define OFFSET 1

typedef struct lanes {
    __m256 low, high;
} lanes;

UMBRA_INLINE lanes load_f32(const void *p)
{
    return (lanes){_mm256_load_ps(p), _mm256_load_ps((const float *)p + 8)};
}

UMBRA_INLINE __m256 load_bf16_half(const __m128i *p)
{
    __m256i widened = _mm256_cvtepu16_epi32(_mm_load_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(widened, 16));
}

UMBRA_INLINE lanes load_bf16(const void *p)
{
    return (lanes){load_bf16_half(p), load_bf16_half((const __m128i *)p + 1)};
}

UMBRA_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    return (lanes){_mm256_add_ps(s.low, _mm256_mul_ps(w.low, x.low)),
                   _mm256_add_ps(s.high, _mm256_mul_ps(w.high, x.high))};
}

UMBRA_INLINE void put_lanes(float *out, lanes l)
{
    _mm256_storeu_ps(out, l.low);
    _mm256_storeu_ps(out + 8, l.high);
}

typedef struct sums {
    __m256i row[GROUP];
} sums;

UMBRA_INLINE __m256i load(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

/* Pairs of products stay below 2 * 127 * 127 < 2^15: no saturation. */
UMBRA_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const uint8_t *u)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int half = 0; half < UMBRA_FAST_LINE; half += 32, u += 32) {
            __m256i values = load(u);
            for (int r = 0; r < GROUP; r++) {
                __m256i line = load(w + r * UMBRA_FAST_LINE + half);
                __m256i dots = _mm256_madd_epi16(_mm256_maddubs_epi16(values, line), ones);
                s->row[r] = _mm256_add_epi32(s->row[r], dots);
            }
        }
    }
}

UMBRA_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const int16_t *q)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP)
        for (int part = 0; part < UMBRA_FAST_LINE; part += 16, q += 16) {
            __m256i values = load(q);
            for (int r = 0; r < GROUP; r++) {
                const __m128i *line = (const __m128i *)(w + r * UMBRA_FAST_LINE + part);
                __m256i widened = _mm256_cvtepi8_epi16(_mm_load_si128(line));
                s->row[r] = _mm256_add_epi32(s->row[r], _mm256_madd_epi16(widened, values));
            }
        }
}

UMBRA_INLINE void put_sums(const sums *s, const int32_t *less, float scale, float total[GROUP])
{
    __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(s->row[0], s->row[1]),
                                      _mm256_hadd_epi32(s->row[2], s->row[3]));
    __m128i rows = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    rows = _mm_sub_epi32(rows, _mm_loadu_si128((const __m128i *)less));
    __m128 scaled = _mm_mul_ps(_mm_set1_ps(scale), _mm_cvtepi32_ps(rows));
    _mm_storeu_ps(total, _mm_add_ps(_mm_loadu_ps(total), scaled));
}

#include "kernels/predict_product.h"
