/* Attention for NEON. */
#include "kernels/arm/neon.h"

enum { LANES = 4 };

typedef float32x4_t vec;

#define vec_zero()       vdupq_n_f32(0)
#define vec_load         vld1q_f32
#define vec_store        vst1q_f32
#define vec_broadcast    vld1q_dup_f32
#define vec_load_f16     umbra_neon_load_f16
#define vec_fma(a, b, c) vfmaq_f32(c, a, b)
#define vec_sum          vaddvq_f32
#define f16_value        umbra_f16_to_f32
#define softmax          umbra_neon_softmax

UMBRA_INLINE void vec_sum4(float *out, const vec *v)
{
    for (int i = 0; i < 4; i++) {
        out[i] = vec_sum(v[i]);
    }
}

#include "kernels/attend_body.h"

void umbra_neon_attend(const umbra_attend *a)
{
    attend(a);
}
