/* The fast form for NEON (AArch64 without extensions). */
#include <arm_neon.h>

#include "predict/fast_body.h"

#define ISA    "neon"
#define TABLE  umbra_fast_neon
#define LIFTED 0

typedef struct lanes {
    float32x4_t v[4];
} lanes;

FAST_INLINE lanes load_f32(const void *p)
{
    const float *x = p;
    return (lanes){{vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12)}};
}

FAST_INLINE lanes load_bf16(const void *p)
{
    uint16x8_t a = vld1q_u16(p), b = vld1q_u16((const uint16_t *)p + 8);
    return (lanes){{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(a), 16)),
                    vreinterpretq_f32_u32(vshll_high_n_u16(a, 16)),
                    vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(b), 16)),
                    vreinterpretq_f32_u32(vshll_high_n_u16(b, 16))}};
}

/* Not vmlaq_f32, which compilers may fuse. */
FAST_INLINE lanes add_products(lanes s, lanes w, lanes x)
{
    for (int i = 0; i < 4; i++)
        s.v[i] = vaddq_f32(s.v[i], vmulq_f32(w.v[i], x.v[i]));
    return s;
}

FAST_INLINE void put_lanes(float *out, lanes l)
{
    for (int i = 0; i < 4; i++)
        vst1q_f32(out + 4 * i, l.v[i]);
}

typedef struct sums {
    int32x4_t row[GROUP];
} sums;

/* Two products of 8 bits fit in 16: 2 * 127 * 127 < 2^15. */
FAST_INLINE void add_narrow(sums *s, const uint8_t *w, int steps, const umbra_fast_inputs *x,
                            size_t at)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int part = 0; part < UMBRA_FAST_LINE; part += 16, at += 16) {
            int8x16_t q =
                vcombine_s8(vmovn_s16(vld1q_s16(x->q + at)), vmovn_s16(vld1q_s16(x->q + at + 8)));
            for (int r = 0; r < GROUP; r++) {
                int8x16_t line = vld1q_s8((const int8_t *)w + r * UMBRA_FAST_LINE + part);
                int16x8_t pairs = vmull_s8(vget_low_s8(line), vget_low_s8(q));
                s->row[r] = vpadalq_s16(s->row[r], vmlal_high_s8(pairs, line, q));
            }
        }
    }
}

FAST_INLINE void add_wide(sums *s, const uint8_t *w, int steps, const umbra_fast_inputs *x,
                          size_t at)
{
    for (int k = 0; k < steps; k++, w += UMBRA_FAST_STEP) {
        prefetch(w);
        for (int part = 0; part < UMBRA_FAST_LINE; part += 8, at += 8) {
            int16x8_t q = vld1q_s16(x->q + at);
            for (int r = 0; r < GROUP; r++) {
                const int8_t *line = (const int8_t *)w + r * UMBRA_FAST_LINE + part;
                int16x8_t widened = vmovl_s8(vld1_s8(line));
                s->row[r] = vmlal_s16(s->row[r], vget_low_s16(widened), vget_low_s16(q));
                s->row[r] = vmlal_high_s16(s->row[r], widened, q);
            }
        }
    }
}

FAST_INLINE void put_sums(const sums *s, int32_t lift, float scale, float total[GROUP])
{
    int32x4_t rows = vpaddq_s32(vpaddq_s32(s->row[0], s->row[1]), vpaddq_s32(s->row[2], s->row[3]));
    float32x4_t lifted = vcvtq_f32_s32(vaddq_s32(rows, vdupq_n_s32(lift)));
    vst1q_f32(total, vaddq_f32(vld1q_f32(total), vmulq_n_f32(lifted, scale)));
}

#include "predict/fast_product.h"
