/* Attention for AVX2. */
#include "kernels/x86/avx2.h"

enum { LANES = 8 };

typedef __m256 vec;

#define vec_zero      _mm256_setzero_ps
#define vec_load      _mm256_loadu_ps
#define vec_store     _mm256_storeu_ps
#define vec_broadcast _mm256_broadcast_ss
#define vec_load_f16  umbra_avx2_load_f16
#define vec_fma       _mm256_fmadd_ps
#define vec_sum       umbra_avx2_sum
#define f16_value     _cvtsh_ss
#define softmax       umbra_avx2_softmax

UMBRA_INLINE void vec_sum4(float *out, const vec *v)
{
    _mm_storeu_ps(out, umbra_avx2_sum4(v[0], v[1], v[2], v[3]));
}

#include "kernels/attend_body.h"

void umbra_avx2_attend(const umbra_attend *a)
{
    attend(a);
}
