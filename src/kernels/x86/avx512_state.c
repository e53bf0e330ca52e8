/* Recurrent states for AVX-512. */
#include "kernels/x86/avx512.h"

enum { LANES = 16 };

typedef __m512 vec;

#define vec_zero  _mm512_setzero_ps
#define vec_set   _mm512_set1_ps
#define vec_load  _mm512_loadu_ps
#define vec_store _mm512_storeu_ps
#define vec_sub   _mm512_sub_ps
#define vec_mul   _mm512_mul_ps
#define vec_fma   _mm512_fmadd_ps

#include "kernels/recur_body.h"

void umbra_avx512_recur(const umbra_recur *r)
{
    recur(r);
}
