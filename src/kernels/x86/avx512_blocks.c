/* Products of quantised weights with activations for AVX-512: one register holds 32 weights or
 * activations of 16 bits. Weights are unpacked as with AVX2 and joined. The dot product instruction
 * of VNNI would have to add to zero for every part, because each has its own scale; the older
 * multiply-and-add is the same work. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/avx2_grid_blocks.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, PREFETCH = 1 };

typedef __m512i integers;
typedef __m512 lanes;

UMBRA_INLINE integers load_values(const int16_t *q)
{
    return _mm512_loadu_si512(q);
}

UMBRA_INLINE lanes no_lanes(void)
{
    return _mm512_setzero_ps();
}

UMBRA_INLINE lanes add_dot(lanes sum, integers w, integers x, float factor)
{
    return _mm512_fmadd_ps(_mm512_set1_ps(factor), _mm512_cvtepi32_ps(_mm512_madd_epi16(w, x)),
                           sum);
}

UMBRA_INLINE lanes add_halves(lanes sum, integers w, integers x, const float *factors)
{
    __m512 factor =
        _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(factors[0]), _mm512_set1_ps(factors[1]));
    return _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(_mm512_madd_epi16(w, x)), sum);
}

UMBRA_INLINE __mmask8 first_lanes(int n)
{
    return (__mmask8)((1u << n) - 1);
}

UMBRA_INLINE __m256 product(const float *a, const float *b, const int n)
{
    __mmask8 lanes_used = first_lanes(n);
    return _mm256_mul_ps(_mm256_maskz_loadu_ps(lanes_used, a),
                         _mm256_maskz_loadu_ps(lanes_used, b));
}

UMBRA_INLINE void multiply_scales(float *out, const float *a, const float *b, const int n)
{
    _mm256_mask_storeu_ps(out, first_lanes(n), product(a, b, n));
}

UMBRA_INLINE void multiply_halves(float *out, const float *a, const float *b, const int n)
{
    const __m512i half = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    __mmask16 lanes_used = (__mmask16)((1u << 2 * n) - 1);
    __m512 all = _mm512_castps256_ps512(_mm256_maskz_loadu_ps(first_lanes(n), b));
    __m512 twice = _mm512_permutexvar_ps(half, all);
    _mm512_mask_storeu_ps(out, lanes_used,
                          _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes_used, a), twice));
}

UMBRA_INLINE lanes add_offsets(lanes sum, const float *a, const float *b, const int n)
{
    return _mm512_add_ps(sum, _mm512_zextps256_ps512(product(a, b, n)));
}

UMBRA_INLINE void store_sums(float *out, const lanes *sum, const int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = umbra_avx512_sum(sum[i * MAX_TOKENS]);
    }
}

UMBRA_INLINE int tile_rows(int tokens)
{
    (void)tokens;
    return MAX_ROWS;
}

UMBRA_INLINE integers join(umbra_halves w)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(w.low), w.high, 1);
}

#include "kernels/matmul_blocks.h"

/* Where all 32 weights widen at once, there is nothing to join. */
UMBRA_INLINE integers whole_q8_0(const uint8_t *unit, const umbra_block_scales *s, int first, int p)
{
    (void)s;
    return _mm512_cvtepi8_epi16(load_32(unit + (first + p) * UMBRA_Q8_0_BYTES + 2));
}

UMBRA_INLINE integers whole_q4_0(const uint8_t *unit, const umbra_block_scales *s, int first, int p)
{
    (void)s;
    __m256i bytes = nibble_bytes(unit + (first + p) * UMBRA_Q4_0_BYTES + 2);
    return _mm512_sub_epi16(_mm512_cvtepu8_epi16(bytes), _mm512_set1_epi16(8));
}

UMBRA_INLINE integers joined_minima_q2_k(const umbra_block_scales *s, int part)
{
    return join(minima_q2_k(s, part));
}

/* Unused for the types of whole_. */
#define DEFINE_JOINED(TYPE, name, halves, offset)                                                  \
    __attribute__((unused)) UMBRA_INLINE integers joined_##name(                                   \
        const uint8_t *unit, const umbra_block_scales *s, int first, int p)                        \
    {                                                                                              \
        return join(part_##name(unit, s, first, p));                                               \
    }
UMBRA_BLOCK_TYPES(DEFINE_JOINED)
#define joined_minima_none NULL
#define joined_q8_0        whole_q8_0
#define joined_q4_0        whole_q4_0

#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const block_type type_##name = {                                                        \
        .load_scales = scales_##name,                                                              \
        .load_part = joined_##name,                                                                \
        .load_minima = joined_minima_##minima,                                                     \
        .bytes = UMBRA_##TYPE##_BYTES * blocks,                                                    \
        .parts = UMBRA_##TYPE##_PARTS * blocks,                                                    \
        .block = UMBRA_##TYPE##_PARTS,                                                             \
        .group = parts_at_once,                                                                    \
        .offset = has_offset,                                                                      \
        .halves = has_halves,                                                                      \
    };
UMBRA_BLOCK_UNITS(DEFINE_TYPE)
UMBRA_BLOCK_TYPES(UMBRA_DEFINE_MATMUL)

void umbra_kernels_fill_avx512_blocks(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(UMBRA_SET_MATMUL)
}
