/* Attention for AVX-512: the products in vectors of twice the width, with the bits of AVX2's. */
#include "kernels/x86/avx2_attend.h"
#include "kernels/x86/avx512.h"

enum { LANES = 16, ROWS = 8 };

typedef __m512 vec;

#define vec_zero         _mm512_setzero_ps
#define vec_set          _mm512_set1_ps
#define vec_broadcast(p) _mm512_set1_ps(*(p))
#define vec_load         _mm512_loadu_ps
#define vec_store        _mm512_storeu_ps
#define vec_keep         UMBRA_AVX512_KEEP
#define vec_mul          _mm512_mul_ps
#define vec_fma          _mm512_fmadd_ps

#include "kernels/attend_body.h"

void umbra_avx512_attend(const umbra_attend *a)
{
    attend(a);
}
