/* Everything but the matrix products for AVX2. Ends that do not fill a vector go through masked
 * loads and stores, so every value sees the same operations wherever it stands. */
#include <math.h>

#include "kernels/x86/avx2.h"

enum { LANES = 8 };

/* exp(x) to about one unit in the last place: x = n ln2 + r, |r| <= ln2 / 2, the series of
 * exp(r) up to r^7, then 2^n in two steps so that results below 2^-126 round once, correctly.
 * Below -105 the result is 0, above 88.73 infinity; NaN stays NaN. */
UMBRA_INLINE __m256 exp_lanes(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-105.0f), x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);

    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));

    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);
    half = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    rest = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(half));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(rest));
}

static void dequantize_q8_0(float *out, const void *row, int n)
{
    const uint8_t *bytes = row;
    for (; n > 0; n -= UMBRA_Q16_BLOCK, bytes += UMBRA_Q8_0_BYTES) {
        __m256 d = _mm256_set1_ps(_cvtsh_ss(umbra_load_u16(bytes)));
        for (int i = 0; i < UMBRA_Q16_BLOCK; i += LANES, out += LANES) {
            __m128i w = _mm_loadl_epi64((const __m128i *)(bytes + 2 + i));
            __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(w));
            _mm256_storeu_ps(out, _mm256_mul_ps(d, value));
        }
    }
}

static void dequantize_q4_0(float *out, const void *row, int n)
{
    const uint8_t *bytes = row;
    for (; n > 0; n -= UMBRA_Q16_BLOCK, bytes += UMBRA_Q4_0_BYTES, out += UMBRA_Q16_BLOCK) {
        __m256 d = _mm256_set1_ps(_cvtsh_ss(umbra_load_u16(bytes)));
        __m256i eight = _mm256_set1_epi32(8);
        for (int i = 0; i < UMBRA_Q16_BLOCK / 2; i += LANES) {
            __m128i half = _mm_loadl_epi64((const __m128i *)(bytes + 2 + i));
            __m256i pairs = _mm256_cvtepu8_epi32(half);
            __m256i low = _mm256_and_si256(pairs, _mm256_set1_epi32(15));
            __m256i high = _mm256_srli_epi32(pairs, 4);
            low = _mm256_sub_epi32(low, eight);
            high = _mm256_sub_epi32(high, eight);
            _mm256_storeu_ps(out + i, _mm256_mul_ps(d, _mm256_cvtepi32_ps(low)));
            _mm256_storeu_ps(out + i + 16, _mm256_mul_ps(d, _mm256_cvtepi32_ps(high)));
        }
    }
}

static void dequantize_f16(float *out, const void *row, int n)
{
    const uint8_t *bytes = row;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        _mm256_storeu_ps(out + i, umbra_avx2_load_f16(bytes + 2 * (size_t)i));
    }
    for (; i < n; i++) {
        out[i] = _cvtsh_ss(umbra_load_u16(bytes + 2 * (size_t)i));
    }
}

UMBRA_INLINE __m256i magnitude(__m256 x)
{
    return _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x));
}

/* Compared as whole numbers, NaN and infinity are the largest of all: no comparison loses them. */
UMBRA_INLINE float largest_magnitude(const __m256 v[4])
{
    __m256i most = _mm256_max_epi32(_mm256_max_epi32(magnitude(v[0]), magnitude(v[1])),
                                    _mm256_max_epi32(magnitude(v[2]), magnitude(v[3])));
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

static void quantize(const float *x, int n, int16_t *q, float *scale, float *sum)
{
    for (int b = 0; b < n / UMBRA_Q16_BLOCK; b++, x += UMBRA_Q16_BLOCK, q += UMBRA_Q16_BLOCK) {
        __m256 v[4];
        for (int i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps(x + LANES * i);
        }
        float largest = largest_magnitude(v);
        bool zeros = largest < UMBRA_Q16_TINY;
        __m256 inverse = _mm256_set1_ps(zeros ? 0.0f : UMBRA_Q16_MAX / largest);
        __m256i whole[4], total = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++) {
            whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
            total = _mm256_add_epi32(total, whole[i]);
        }
        for (int i = 0; i < 2; i++) {
            /* packs works within each half; the permutation brings the quarters into order */
            __m256i packed = _mm256_packs_epi32(whole[2 * i], whole[2 * i + 1]);
            packed = _mm256_permute4x64_epi64(packed, 0xd8);
            _mm256_storeu_si256((__m256i *)(q + 16 * i), packed);
        }
        __m128i four =
            _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
        scale[b] = zeros ? 0.0f : largest / UMBRA_Q16_MAX;
        sum[b] = scale[b] * (float)_mm_cvtsi128_si32(four);
    }
}

static void rms_norm(float *out, const float *x, const float *weight, int n, float eps)
{
    __m256 part[4];
    for (int i = 0; i < 4; i++) {
        part[i] = _mm256_setzero_ps();
    }
    int i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        for (int j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + LANES * j);
            part[j] = _mm256_fmadd_ps(v, v, part[j]);
        }
    }
    for (; i < n; i += LANES) {
        __m256 v = _mm256_maskload_ps(x + i, umbra_avx2_mask(n - i));
        part[0] = _mm256_fmadd_ps(v, v, part[0]);
    }
    float squares = umbra_avx2_sum(
        _mm256_add_ps(_mm256_add_ps(part[0], part[1]), _mm256_add_ps(part[2], part[3])));

    __m256 inverse = _mm256_set1_ps(1.0f / sqrtf(squares / (float)n + eps));
    for (i = 0; i < n; i += LANES) {
        __m256i mask = umbra_avx2_mask(n - i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), inverse);
        if (weight) {
            v = _mm256_mul_ps(v, _mm256_maskload_ps(weight + i, mask));
        }
        _mm256_maskstore_ps(out + i, mask, v);
    }
}

static void rope_halves(float *x, const float *table, int n)
{
    int half = n / 2;
    float *y = x + half;
    int i = 0;
    for (; i + LANES <= half; i += LANES) {
        __m256 first = _mm256_loadu_ps(table + 2 * i);
        __m256 second = _mm256_loadu_ps(table + 2 * i + LANES);
        __m256 front = _mm256_permute2f128_ps(first, second, 0x20);
        __m256 back = _mm256_permute2f128_ps(first, second, 0x31);
        __m256 c = _mm256_shuffle_ps(front, back, 0x88);
        __m256 s = _mm256_shuffle_ps(front, back, 0xdd);
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(y + i);
        _mm256_storeu_ps(x + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
    for (; i < half; i++) {
        float c = table[2 * i], s = table[2 * i + 1];
        float a = x[i], b = y[i];
        x[i] = fmaf(a, c, -(b * s));
        y[i] = fmaf(a, s, b * c);
    }
}

static float largest_of(const float *x, int n)
{
    __m256 most = _mm256_set1_ps(-INFINITY);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        most = _mm256_max_ps(_mm256_loadu_ps(x + i), most);
    }
    float largest = umbra_avx2_max(most);
    for (; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest;
}

void umbra_avx2_softmax(float *x, int n)
{
    __m256 largest = _mm256_set1_ps(largest_of(x, n));
    __m256 total = _mm256_setzero_ps();
    for (int i = 0; i < n; i += LANES) {
        __m256i mask = umbra_avx2_mask(n - i);
        __m256 v = exp_lanes(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), largest));
        v = _mm256_and_ps(v, _mm256_castsi256_ps(mask));
        total = _mm256_add_ps(total, v);
        _mm256_maskstore_ps(x + i, mask, v);
    }
    __m256 inverse = _mm256_set1_ps(1.0f / umbra_avx2_sum(total));
    for (int i = 0; i < n; i += LANES) {
        __m256i mask = umbra_avx2_mask(n - i);
        _mm256_maskstore_ps(x + i, mask, _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), inverse));
    }
}

static double log_sum_exp(const float *x, int n)
{
    float largest = largest_of(x, n);
    if (isinf(largest)) {
        return largest;
    }
    __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
    for (int i = 0; i < n; i += LANES) {
        __m256i mask = umbra_avx2_mask(n - i);
        __m256 v = _mm256_maskload_ps(x + i, mask);
        v = exp_lanes(_mm256_sub_ps(v, _mm256_set1_ps(largest)));
        v = _mm256_and_ps(v, _mm256_castsi256_ps(mask));
        low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
        high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
    }
    double part[4];
    _mm256_storeu_pd(part, _mm256_add_pd(low, high));
    return largest + log((part[0] + part[1]) + (part[2] + part[3]));
}

static void swiglu(float *out, const float *gate, const float *up, int n)
{
    __m256 one = _mm256_set1_ps(1.0f);
    for (int i = 0; i < n; i += LANES) {
        __m256i mask = umbra_avx2_mask(n - i);
        __m256 g = _mm256_maskload_ps(gate + i, mask);
        __m256 u = _mm256_maskload_ps(up + i, mask);
        __m256 e = exp_lanes(_mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
        __m256 silu = _mm256_div_ps(g, _mm256_add_ps(one, e));
        _mm256_maskstore_ps(out + i, mask, _mm256_mul_ps(silu, u));
    }
}

static void add_scaled(float *y, const float *x, float a, int n)
{
    __m256 factor = _mm256_set1_ps(a);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 v = _mm256_loadu_ps(y + i);
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), v));
    }
    for (; i < n; i++) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}

static void store_kv(void *out, const float *x, int n)
{
    uint8_t *bytes = out;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(bytes + 2 * (size_t)i), h);
    }
    for (; i < n; i++) {
        uint16_t h = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
        memcpy(bytes + 2 * (size_t)i, &h, sizeof h);
    }
}

void umbra_kernels_fill_avx2_vector(umbra_kernels *k)
{
    k->dequantize[UMBRA_F16] = dequantize_f16;
    k->dequantize[UMBRA_Q8_0] = dequantize_q8_0;
    k->dequantize[UMBRA_Q4_0] = dequantize_q4_0;
    k->quantize = quantize;
    k->rms_norm = rms_norm;
    k->rope_halves = rope_halves;
    k->softmax = umbra_avx2_softmax;
    k->swiglu = swiglu;
    k->add_scaled = add_scaled;
    k->attend = umbra_avx2_attend;
    k->store_kv = store_kv;
    k->log_sum_exp = log_sum_exp;
}
