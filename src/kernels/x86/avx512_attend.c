/* Attention for AVX-512: in vectors of twice the width, with the bits of AVX2's. */
#include <math.h>

#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/avx512_turn.h"

enum { LANES = 16, ROWS = 8, GROUP = 16 };

typedef __m512 vec;

#define vec_zero         _mm512_setzero_ps
#define vec_set          _mm512_set1_ps
#define vec_broadcast(p) _mm512_set1_ps(*(p))
#define vec_load         _mm512_loadu_ps
#define vec_store        _mm512_storeu_ps
#define vec_keep         UMBRA_AVX512_KEEP
#define vec_sub          _mm512_sub_ps
#define vec_mul          _mm512_mul_ps
#define vec_min          _mm512_min_ps
#define vec_max          _mm512_max_ps
#define vec_fma          _mm512_fmadd_ps
#define vec_fnma         _mm512_fnmadd_ps
#define vec_round(v)     _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vec_scale2       _mm512_scalef_ps
#define f16_value        _cvtsh_ss

#include "kernels/exp_body.h"

UMBRA_INLINE vec load_halves(const uint8_t *halves)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves));
}

UMBRA_INLINE void expand_group(float *out, const uint8_t *halves)
{
    vec_store(out, load_halves(halves));
}

UMBRA_INLINE void turn_group(const uint8_t *const *halves, size_t offset, float *out, size_t stride)
{
    __m512i rows[GROUP], turned[GROUP];
    UMBRA_UNROLL(16)
    for (int i = 0; i < GROUP; i++) {
        rows[i] = _mm512_castps_si512(load_halves(halves[i] + offset));
    }
    turn(turned, rows);
    UMBRA_UNROLL(16)
    for (int i = 0; i < GROUP; i++) {
        _mm512_storeu_si512(out + (size_t)i * stride, turned[i]);
    }
}

UMBRA_INLINE __mmask16 first_lanes(int n)
{
    return (__mmask16)(n >= LANES ? 0xffff : (1 << n) - 1);
}

static float largest_of(const float *x, int n)
{
    vec most = vec_set(-INFINITY);
    for (int i = 0; i < n; i += LANES) {
        vec v = _mm512_mask_loadu_ps(vec_set(-INFINITY), first_lanes(n - i), x + i);
        most = vec_max(v, most);
    }
    return umbra_avx2_max(
        _mm256_max_ps(_mm512_castps512_ps256(most), _mm512_extractf32x8_ps(most, 1)));
}

/* As AVX2's, with its sums of eight lanes. */
static float weigh(float *x, int n, float *most)
{
    *most = largest_of(x, n);
    vec largest = vec_set(*most);
    __m256 total = _mm256_setzero_ps();
    for (int i = 0; i < n; i += LANES) {
        __mmask16 lanes = first_lanes(n - i);
        vec v = _mm512_mask_loadu_ps(vec_zero(), lanes, x + i);
        v = exp_lanes(vec_sub(v, largest));
        v = _mm512_maskz_mov_ps(lanes, v);
        total = _mm256_add_ps(total, _mm512_castps512_ps256(v));
        total = _mm256_add_ps(total, _mm512_extractf32x8_ps(v, 1));
        _mm512_mask_storeu_ps(x + i, lanes, v);
    }
    return umbra_avx2_sum(total);
}

#include "kernels/attend_body.h"

void umbra_avx512_attend(const umbra_attend *a)
{
    attend(a);
}
