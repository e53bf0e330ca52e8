/* Everything but the matrix products for NEON. Ends that do not fill a vector are copied to and
 * from one. */
#include <math.h>

#include "kernels/arm/neon.h"

enum { LANES = 4, VECTORS = UMBRA_Q16_BLOCK / LANES };

/* The first n of 4 floats; the others are 0. */
UMBRA_INLINE float32x4_t load_first(const float *x, int n)
{
    if (n >= LANES) {
        return vld1q_f32(x);
    }
    float part[LANES] = {0};
    memcpy(part, x, (size_t)n * sizeof *x);
    return vld1q_f32(part);
}

UMBRA_INLINE void store_first(float *out, float32x4_t v, int n)
{
    if (n >= LANES) {
        vst1q_f32(out, v);
        return;
    }
    float part[LANES];
    vst1q_f32(part, v);
    memcpy(out, part, (size_t)n * sizeof *out);
}

/* v with the lanes from n on set to 0. */
UMBRA_INLINE float32x4_t keep_first(float32x4_t v, int n)
{
    static const int32_t index[LANES] = {0, 1, 2, 3};
    uint32x4_t mask = vcltq_s32(vld1q_s32(index), vdupq_n_s32(n));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), mask));
}

#define vec_zero()        vdupq_n_f32(0)
#define vec_set           vdupq_n_f32
#define vec_load          vld1q_f32
#define vec_store         vst1q_f32
#define vec_load_first    load_first
#define vec_store_first   store_first
#define vec_keep_first    keep_first
#define vec_add           vaddq_f32
#define vec_sub           vsubq_f32
#define vec_mul           vmulq_f32
#define vec_div           vdivq_f32
#define vec_negate        vnegq_f32
#define vec_min           vminq_f32 /* NaN if one is */
#define vec_max           vmaxq_f32
#define vec_fma(a, b, c)  vfmaq_f32(c, a, b)
#define vec_fnma(a, b, c) vfmsq_f32(c, a, b)
#define vec_round         vrndnq_f32
#define vec_sum           vaddvq_f32
#define vec_most          vmaxvq_f32

typedef float32x4_t vec;

UMBRA_INLINE vec vec_scale2(vec p, vec n)
{
    int32x4_t whole = vcvtq_s32_f32(n);
    int32x4_t half = vshrq_n_s32(whole, 1);
    int32x4_t rest = vsubq_s32(whole, half);
    int32x4_t bias = vdupq_n_s32(127);
    half = vshlq_n_s32(vaddq_s32(half, bias), 23);
    rest = vshlq_n_s32(vaddq_s32(rest, bias), 23);
    return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(half)), vreinterpretq_f32_s32(rest));
}

#include "kernels/vector_body.h"

enum { TAPS = 4 };

/* The weights of LANES channels, by tap. */
UMBRA_INLINE void load_taps(const float *weights, vec *tap)
{
    float32x4x4_t all = vld4q_f32(weights);
    for (int j = 0; j < TAPS; j++) {
        tap[j] = all.val[j];
    }
}

#include "kernels/convolve_body.h"

float umbra_neon_weigh(float *x, int n, float *most)
{
    return weigh(x, n, most);
}

static void dequantize_q8_0(float *out, const void *row, int n)
{
    const uint8_t *bytes = row;
    for (; n > 0; n -= UMBRA_Q16_BLOCK, bytes += UMBRA_Q8_0_BYTES) {
        float d = umbra_f16_to_f32(umbra_load_u16(bytes));
        for (int i = 0; i < UMBRA_Q16_BLOCK; i += 8, out += 8) {
            int16x8_t w = vmovl_s8(vreinterpret_s8_u8(vld1_u8(bytes + 2 + i)));
            float32x4_t low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(w)));
            float32x4_t high = vcvtq_f32_s32(vmovl_high_s16(w));
            vst1q_f32(out, vmulq_n_f32(low, d));
            vst1q_f32(out + 4, vmulq_n_f32(high, d));
        }
    }
}

static void dequantize_f16(float *out, const void *row, int n)
{
    const uint8_t *bytes = row;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        vst1q_f32(out + i, umbra_neon_load_f16(bytes + 2 * (size_t)i));
    }
    for (; i < n; i++) {
        out[i] = umbra_f16_to_f32(umbra_load_u16(bytes + 2 * (size_t)i));
    }
}

static void quantize(const float *x, int n, int16_t *q, float *scale, float *sum)
{
    for (int b = 0; b < n / UMBRA_Q16_BLOCK; b++, x += UMBRA_Q16_BLOCK, q += UMBRA_Q16_BLOCK) {
        float32x4_t v[VECTORS], most = vdupq_n_f32(0);
        for (int i = 0; i < VECTORS; i++) {
            v[i] = vld1q_f32(x + LANES * i);
            most = vmaxq_f32(most, vabsq_f32(v[i]));
        }
        float largest = vmaxvq_f32(most);
        bool zeros = largest < UMBRA_Q16_TINY;
        float inverse = zeros ? 0.0f : UMBRA_Q16_MAX / largest;
        int32x4_t total = vdupq_n_s32(0);
        for (int i = 0; i < VECTORS; i++) {
            int32x4_t whole = vcvtnq_s32_f32(vmulq_n_f32(v[i], inverse));
            total = vaddq_s32(total, whole);
            vst1_s16(q + LANES * i, vqmovn_s32(whole));
        }
        scale[b] = zeros ? 0.0f : largest / UMBRA_Q16_MAX;
        sum[b] = scale[b] * (float)vaddvq_s32(total);
    }
}

static void rope_halves(float *x, const float *table, int n)
{
    int half = n / 2;
    float *y = x + half;
    int i = 0;
    for (; i + LANES <= half; i += LANES) {
        float32x4x2_t angle = vld2q_f32(table + 2 * i);
        float32x4_t c = angle.val[0], s = angle.val[1];
        float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(y + i);
        vst1q_f32(x + i, vfmsq_f32(vmulq_f32(a, c), b, s));
        vst1q_f32(y + i, vfmaq_f32(vmulq_f32(b, c), a, s));
    }
    for (; i < half; i++) {
        float c = table[2 * i], s = table[2 * i + 1];
        float a = x[i], b = y[i];
        x[i] = fmaf(-b, s, a * c);
        y[i] = fmaf(a, s, b * c);
    }
}

static double log_sum_exp(const float *x, int n)
{
    float largest = largest_of(x, n);
    if (isinf(largest)) {
        return largest;
    }
    float64x2_t low = vdupq_n_f64(0), high = vdupq_n_f64(0);
    for (int i = 0; i < n; i += LANES) {
        float32x4_t v = vsubq_f32(load_first(x + i, n - i), vdupq_n_f32(largest));
        v = keep_first(exp_lanes(v), n - i);
        low = vaddq_f64(low, vcvt_f64_f32(vget_low_f32(v)));
        high = vaddq_f64(high, vcvt_high_f64_f32(v));
    }
    return largest + log(vaddvq_f64(vaddq_f64(low, high)));
}

static void store_kv(void *out, const float *x, int n)
{
    uint8_t *bytes = out;
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        float16x4_t h = vcvt_f16_f32(vld1q_f32(x + i));
        vst1_u8(bytes + 2 * (size_t)i, vreinterpret_u8_f16(h));
    }
    for (; i < n; i++) {
        uint16_t h = umbra_f16_from_f32(x[i]);
        memcpy(bytes + 2 * (size_t)i, &h, sizeof h);
    }
}

void umbra_kernels_fill_neon_vector(umbra_kernels *k)
{
    k->dequantize[UMBRA_F16] = dequantize_f16;
    k->dequantize[UMBRA_Q8_0] = dequantize_q8_0;
    k->quantize = quantize;
    k->rms_norm = rms_norm;
    k->rope_halves = rope_halves;
    k->softmax = softmax;
    k->swiglu = swiglu;
    k->open_gate = open_gate;
    k->add_scaled = add_scaled;
    k->attend = umbra_neon_attend;
    k->join = join;
    k->recur = umbra_neon_recur;
    k->convolve = convolve;
    k->store_kv = store_kv;
    k->log_sum_exp = log_sum_exp;
}
