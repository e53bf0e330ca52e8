/* Predictions for NEON (AArch64 without extensions). */
#include <arm_neon.h>

#include "kernels/predict_body.h"

#define TABLE  umbra_predict_neon
#define OFFSET 0

typedef struct lanes {
    float32x4_t v[4];
} lanes;

UMBRA_INLINE lanes load_f32(const void *p)
{
    const float *x = p;
    return (lanes){{vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12)}};
}

UMBRA_INLINE lanes load_bf16(const void *p)
{
    uint16x8_t a = vld1q_u16(p), b = vld1q_u16((const uint16_t *)p + 8);
    return (lanes){{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(a), 16)),
                    vreinterpretq_f32_u32(vshll_high_n_u16(a, 16)),
                    vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(b), 16)),
                    vreinterpretq_f32_u32(vshll_high_n_u16(b, 16))}};
}

/* Not vmlaq_f32, which compilers may fuse. */
UMBRA_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    for (int i = 0; i < 4; i++)
        s.v[i] = vaddq_f32(s.v[i], vmulq_f32(w.v[i], x.v[i]));
    return s;
}

UMBRA_INLINE void put_lanes(float *out, lanes l)
{
    for (int i = 0; i < 4; i++)
        vst1q_f32(out + 4 * i, l.v[i]);
}

typedef struct sums {
    int32x4_t row[GROUP];
} sums;

/* Four products fit in 16 bits: 4 * 63 * 127 < 2^15. */
UMBRA_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const uint8_t *u)
{
    const int8x16_t offset = vdupq_n_s8(64);
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int half = 0; half < UMBRA_FAST_LINE; half += 32, u += 32) {
            int8x16_t a = vsubq_s8(vreinterpretq_s8_u8(vld1q_u8(u)), offset);
            int8x16_t b = vsubq_s8(vreinterpretq_s8_u8(vld1q_u8(u + 16)), offset);
            for (int r = 0; r < GROUP; r++) {
                const int8_t *line = (const int8_t *)w + r * UMBRA_FAST_LINE + half;
                int8x16_t first = vld1q_s8(line), second = vld1q_s8(line + 16);
                int16x8_t fours = vmull_s8(vget_low_s8(first), vget_low_s8(a));
                fours = vmlal_high_s8(fours, first, a);
                fours = vmlal_s8(fours, vget_low_s8(second), vget_low_s8(b));
                fours = vmlal_high_s8(fours, second, b);
                s->row[r] = vpadalq_s16(s->row[r], fours);
            }
        }
    }
}

UMBRA_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const int16_t *q)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP)
        for (int part = 0; part < UMBRA_FAST_LINE; part += 8, q += 8) {
            int16x8_t values = vld1q_s16(q);
            for (int r = 0; r < GROUP; r++) {
                const int8_t *line = (const int8_t *)w + r * UMBRA_FAST_LINE + part;
                int16x8_t widened = vmovl_s8(vld1_s8(line));
                s->row[r] = vmlal_s16(s->row[r], vget_low_s16(widened), vget_low_s16(values));
                s->row[r] = vmlal_high_s16(s->row[r], widened, values);
            }
        }
}

UMBRA_INLINE void put_sums(const sums *s, const int32_t *less, float scale, float total[GROUP])
{
    int32x4_t rows = vpaddq_s32(vpaddq_s32(s->row[0], s->row[1]), vpaddq_s32(s->row[2], s->row[3]));
    float32x4_t sums_less = vcvtq_f32_s32(vsubq_s32(rows, vld1q_s32(less)));
    vst1q_f32(total, vaddq_f32(vld1q_f32(total), vmulq_n_f32(sums_less, scale)));
}

#include "kernels/predict_product.h"
