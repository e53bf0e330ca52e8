/* Predictions for AVX-512 with VNNI. */
#include <immintrin.h>

#include "kernels/predict_body.h"

#define TABLE  umbra_predict_avx512
#define OFFSET 1

typedef struct lanes {
    __m512 v;
} lanes;

UMBRA_INLINE lanes load_f32(const void *p)
{
    return (lanes){_mm512_load_ps(p)};
}

UMBRA_INLINE lanes load_bf16(const void *p)
{
    __m512i widened = _mm512_cvtepu16_epi32(_mm256_load_si256(p));
    return (lanes){_mm512_castsi512_ps(_mm512_slli_epi32(widened, 16))};
}

UMBRA_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    return (lanes){_mm512_add_ps(s.v, _mm512_mul_ps(w.v, x.v))};
}

UMBRA_INLINE void put_lanes(float *out, lanes l)
{
    _mm512_storeu_ps(out, l.v);
}

typedef struct sums {
    __m512i row[GROUP];
} sums;

UMBRA_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const uint8_t *u)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP, u += UMBRA_FAST_LINE) {
        __m512i values = _mm512_load_si512(u);
        prefetch(w);
        for (int r = 0; r < GROUP; r++) {
            __m512i line = _mm512_load_si512(w + r * UMBRA_FAST_LINE);
            s->row[r] = _mm512_dpbusd_epi32(s->row[r], values, line);
        }
    }
}

UMBRA_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const int16_t *q)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP)
        for (int half = 0; half < UMBRA_FAST_LINE; half += 32, q += 32) {
            __m512i values = _mm512_load_si512(q);
            for (int r = 0; r < GROUP; r++) {
                const __m256i *line = (const __m256i *)(w + r * UMBRA_FAST_LINE + half);
                __m512i widened = _mm512_cvtepi8_epi16(_mm256_load_si256(line));
                s->row[r] = _mm512_dpwssd_epi32(s->row[r], widened, values);
            }
        }
}

UMBRA_INLINE __m256i halves(__m512i v)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
}

UMBRA_INLINE void put_sums(const sums *s, const int32_t *less, float scale, float total[GROUP])
{
    __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(halves(s->row[0]), halves(s->row[1])),
                                      _mm256_hadd_epi32(halves(s->row[2]), halves(s->row[3])));
    __m128i rows = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    rows = _mm_sub_epi32(rows, _mm_loadu_si128((const __m128i *)less));
    __m128 scaled = _mm_mul_ps(_mm_set1_ps(scale), _mm_cvtepi32_ps(rows));
    _mm_storeu_ps(total, _mm_add_ps(_mm_loadu_ps(total), scaled));
}

#include "kernels/predict_product.h"
