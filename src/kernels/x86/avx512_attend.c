/* Attention for AVX-512. */
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"

enum { LANES = 16 };

typedef __m512 vec;

#define vec_zero         _mm512_setzero_ps
#define vec_load         _mm512_loadu_ps
#define vec_store        _mm512_storeu_ps
#define vec_broadcast(p) _mm512_set1_ps(*(p))
#define vec_load_f16(p)  _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define vec_fma          _mm512_fmadd_ps
#define vec_sum          umbra_avx512_sum
#define f16_value        _cvtsh_ss
#define softmax          umbra_avx2_softmax

UMBRA_INLINE __m256 add_both_halves(vec v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

UMBRA_INLINE void vec_sum4(float *out, const vec *v)
{
    _mm_storeu_ps(out, umbra_avx2_sum4(add_both_halves(v[0]), add_both_halves(v[1]),
                                       add_both_halves(v[2]), add_both_halves(v[3])));
}

#include "kernels/attend_body.h"

void umbra_avx512_attend(const umbra_attend *a)
{
    attend(a);
}
