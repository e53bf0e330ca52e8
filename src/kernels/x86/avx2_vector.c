/* Everything but the matrix products for AVX2. Ends that do not fill a vector go through masked
 * loads and stores. */
#include <math.h>

#include "kernels/x86/avx2.h"

enum { LANES = 8 };

typedef __m256 vec;

/* Whole vectors without masks, which cost some processors dozens of cycles. */
UMBRA_INLINE vec load_first(const float *x, int n)
{
    return n >= LANES ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, umbra_avx2_mask(n));
}

UMBRA_INLINE void store_first(float *out, vec v, int n)
{
    if (n >= LANES) {
        _mm256_storeu_ps(out, v);
    } else {
        _mm256_maskstore_ps(out, umbra_avx2_mask(n), v);
    }
}

#define vec_zero             _mm256_setzero_ps
#define vec_set              _mm256_set1_ps
#define vec_load             _mm256_loadu_ps
#define vec_store            _mm256_storeu_ps
#define vec_load_first       load_first
#define vec_store_first      store_first
#define vec_keep_first(v, n) _mm256_and_ps(v, _mm256_castsi256_ps(umbra_avx2_mask(n)))
#define vec_add              _mm256_add_ps
#define vec_sub              _mm256_sub_ps
#define vec_mul              _mm256_mul_ps
#define vec_div              _mm256_div_ps
#define vec_negate(v)        _mm256_xor_ps(v, _mm256_set1_ps(-0.0f))
#define vec_min              _mm256_min_ps
#define vec_max              _mm256_max_ps
#define vec_fma              _mm256_fmadd_ps
#define vec_fnma             _mm256_fnmadd_ps
#define vec_round(v)         _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vec_sum              umbra_avx2_sum
#define vec_most             umbra_avx2_max

UMBRA_INLINE vec vec_scale2(vec p, vec n)
{
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);
    half = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    rest = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(half));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(rest));
}

#include "kernels/vector_body.h"

enum { TAPS = 4 };

/* The weights of LANES channels, by tap. */
UMBRA_INLINE void load_taps(const float *weights, vec *tap)
{
    vec a = vec_load(weights), b = vec_load(weights + LANES);
    vec c = vec_load(weights + 2 * LANES), d = vec_load(weights + 3 * LANES);
    /* Rows of four channels in either half, then columns of them. */
    vec row0 = _mm256_permute2f128_ps(a, c, 0x20), row1 = _mm256_permute2f128_ps(a, c, 0x31);
    vec row2 = _mm256_permute2f128_ps(b, d, 0x20), row3 = _mm256_permute2f128_ps(b, d, 0x31);
    vec low01 = _mm256_unpacklo_ps(row0, row1), high01 = _mm256_unpackhi_ps(row0, row1);
    vec low23 = _mm256_unpacklo_ps(row2, row3), high23 = _mm256_unpackhi_ps(row2, row3);
    tap[0] = _mm256_shuffle_ps(low01, low23, 0x44);
    tap[1] = _mm256_shuffle_ps(low01, low23, 0xee);
    tap[2] = _mm256_shuffle_ps(high01, high23, 0x44);
    tap[3] = _mm256_shuffle_ps(high01, high23, 0xee);
}

#include "kernels/convolve_body.h"

float umbra_avx2_weigh(float *x, int n, float *most)
{
    return weigh(x, n, most);
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
    k->softmax = softmax;
    k->swiglu = swiglu;
    k->open_gate = open_gate;
    k->add_scaled = add_scaled;
    k->attend = umbra_avx2_attend;
    k->join = join;
    k->recur = umbra_avx2_recur;
    k->convolve = convolve;
    k->store_kv = store_kv;
    k->log_sum_exp = log_sum_exp;
}
