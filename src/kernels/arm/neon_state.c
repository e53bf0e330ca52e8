/* Recurrent states for NEON. */
#include "kernels/arm/neon.h"

enum { LANES = 4 };

typedef float32x4_t vec;

#define vec_zero()       vdupq_n_f32(0)
#define vec_set          vdupq_n_f32
#define vec_load         vld1q_f32
#define vec_store        vst1q_f32
#define vec_sub          vsubq_f32
#define vec_mul          vmulq_f32
#define vec_fma(a, b, c) vfmaq_f32(c, a, b)

#include "kernels/recur_body.h"

void umbra_neon_recur(const umbra_recur *r)
{
    recur(r);
}
