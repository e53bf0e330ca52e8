/* Attention for AVX2. */
#include "kernels/x86/avx2_attend.h"

enum { LANES = 8, ROWS = 4 };

typedef __m256 vec;

#define vec_zero      _mm256_setzero_ps
#define vec_set       _mm256_set1_ps
#define vec_broadcast _mm256_broadcast_ss
#define vec_load      _mm256_loadu_ps
#define vec_store     _mm256_storeu_ps
#define vec_keep(v)   __asm__("" : "+x"(v))
#define vec_mul       _mm256_mul_ps
#define vec_fma       _mm256_fmadd_ps

#include "kernels/attend_body.h"

void umbra_avx2_attend(const umbra_attend *a)
{
    attend(a);
}
