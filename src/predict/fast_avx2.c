/* The fast form for AVX2. */
#include <immintrin.h>

#include "predict/fast_body.h"

#define ISA    "avx2"
#define TABLE  umbra_fast_avx2
#define LIFTED 1

typedef struct lanes {
    __m256 low, high;
} lanes;

FAST_INLINE lanes load_f32(const void *p)
{
    return (lanes){_mm256_load_ps(p), _mm256_load_ps((const float *)p + 8)};
}

FAST_INLINE __m256 load_bf16_half(const __m128i *p)
{
    __m256i widened = _mm256_cvtepu16_epi32(_mm_load_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(widened, 16));
}

FAST_INLINE lanes load_bf16(const void *p)
{
    return (lanes){load_bf16_half(p), load_bf16_half((const __m128i *)p + 1)};
}

FAST_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    return (lanes){_mm256_add_ps(s.low, _mm256_mul_ps(w.low, x.low)),
                   _mm256_add_ps(s.high, _mm256_mul_ps(w.high, x.high))};
}

FAST_INLINE void put_lanes(float *out, lanes l)
{
    _mm256_storeu_ps(out, l.low);
    _mm256_storeu_ps(out + 8, l.high);
}

typedef struct sums {
    __m256i row[GROUP];
} sums;

FAST_INLINE __m256i load(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

/* |q| times (w ^ flip), pairs of which stay below 2 * 127 * 128 < 2^15: no saturation. The flip is
 * an exclusive or and not VPSIGN because that shares the multiplier's ports on some CPUs. */
FAST_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const umbra_fast_inputs *x,
                            size_t at)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int half = 0; half < UMBRA_FAST_LINE; half += 32, at += 32) {
            __m256i magnitude = load(x->magnitude + at), flip = load(x->flip + at);
            for (int r = 0; r < GROUP; r++) {
                __m256i flipped = _mm256_xor_si256(load(w + r * UMBRA_FAST_LINE + half), flip);
                __m256i pairs = _mm256_maddubs_epi16(magnitude, flipped);
                s->row[r] = _mm256_add_epi32(s->row[r], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
}

FAST_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const umbra_fast_inputs *x,
                          size_t at)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int part = 0; part < UMBRA_FAST_LINE; part += 16, at += 16) {
            __m256i q = load(x->q + at);
            for (int r = 0; r < GROUP; r++) {
                const __m128i *line = (const __m128i *)(w + r * UMBRA_FAST_LINE + part);
                __m256i widened = _mm256_cvtepi8_epi16(_mm_load_si128(line));
                s->row[r] = _mm256_add_epi32(s->row[r], _mm256_madd_epi16(widened, q));
            }
        }
    }
}

FAST_INLINE void put_sums(const sums *s, int32_t lift, float scale, float total[GROUP])
{
    __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(s->row[0], s->row[1]),
                                      _mm256_hadd_epi32(s->row[2], s->row[3]));
    __m128i rows = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    __m128 lifted = _mm_cvtepi32_ps(_mm_add_epi32(rows, _mm_set1_epi32(lift)));
    __m128 scaled = _mm_mul_ps(_mm_set1_ps(scale), lifted);
    _mm_storeu_ps(total, _mm_add_ps(_mm_loadu_ps(total), scaled));
}

#include "predict/fast_product.h"
