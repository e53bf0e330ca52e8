/* Attention for NEON. */
#include "kernels/arm/neon.h"

enum { LANES = 4, ROWS = 8, GROUP = 4 };

typedef float32x4_t vec;

#define vec_zero()       vdupq_n_f32(0)
#define vec_set          vdupq_n_f32
#define vec_broadcast    vld1q_dup_f32
#define vec_load         vld1q_f32
#define vec_store        vst1q_f32
#define vec_keep(v)      __asm__("" : "+w"(v))
#define vec_mul          vmulq_f32
#define vec_fma(a, b, c) vfmaq_f32(c, a, b)
#define f16_value        umbra_f16_to_f32
#define weigh            umbra_neon_weigh

UMBRA_INLINE void expand_group(float *out, const uint8_t *halves)
{
    vst1q_f32(out, umbra_neon_load_f16(halves));
}

UMBRA_INLINE void turn_group(const uint8_t *const *halves, size_t offset, float *out, size_t stride)
{
    float32x4x2_t low =
        vtrnq_f32(umbra_neon_load_f16(halves[0] + offset), umbra_neon_load_f16(halves[1] + offset));
    float32x4x2_t high =
        vtrnq_f32(umbra_neon_load_f16(halves[2] + offset), umbra_neon_load_f16(halves[3] + offset));
    for (size_t i = 0; i < 2; i++) {
        float32x4_t a = low.val[i], b = high.val[i];
        vst1q_f32(out + i * stride, vcombine_f32(vget_low_f32(a), vget_low_f32(b)));
        vst1q_f32(out + (i + 2) * stride, vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
    }
}

#include "kernels/attend_body.h"

void umbra_neon_attend(const umbra_attend *a)
{
    attend(a);
}
