/* Small pieces for the NEON files. */
#ifndef UMBRA_KERNELS_ARM_NEON_H
#define UMBRA_KERNELS_ARM_NEON_H

#include <arm_neon.h>

#include "kernels/half.h"
#include "kernels/internal.h"

void umbra_kernels_fill_neon_vector(umbra_kernels *k);
void umbra_kernels_fill_neon_blocks(umbra_kernels *k);
/* x (n) becomes exp(x - most), most its largest. Returns their sum. */
float umbra_neon_weigh(float *x, int n, float *most);
void umbra_neon_attend(const umbra_attend *a);
void umbra_neon_recur(const umbra_recur *r);

/* Four halves from any address. */
UMBRA_INLINE float32x4_t umbra_neon_load_f16(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

#endif
