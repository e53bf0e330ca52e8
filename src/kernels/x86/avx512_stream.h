/* Products with few tokens for AVX-512: a row's octets are multiplied with each token's, and the
 * dot products of eight parts gathered into one register. See avx512_blocks.c for the order of
 * sums. */
#ifndef UMBRA_KERNELS_X86_AVX512_STREAM_H
#define UMBRA_KERNELS_X86_AVX512_STREAM_H

#include "kernels/x86/avx512_octet.h"

enum {
    STREAM_ROWS = 4, /* rows read side by side for one token */
    STREAM_TOKENS = 3,
};

/* Lane p: the sum of the lanes of d[p]. */
UMBRA_INLINE __m256i gather_sums(const __m256i d[OCTET])
{
    __m256i four[2];
    UMBRA_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        const __m256i *v = d + 4 * i;
        __m256i a =
            _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
        __m256i b =
            _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
        four[i] = _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    }
    return _mm256_add_epi32(_mm256_permute2x128_si256(four[0], four[1], 0x20),
                            _mm256_permute2x128_si256(four[0], four[1], 0x31));
}

UMBRA_INLINE __m256i load_values(const int16_t *p)
{
    return load_32((const uint8_t *)p);
}

/* Dot products of the first or second halves of n parts. */
UMBRA_INLINE __m256i half_dots(const octet *o, const int16_t *x, int half, const int n)
{
    __m256i d[OCTET];
    UMBRA_UNROLL(8)
    for (int p = 0; p < OCTET; p++) {
        size_t at = (size_t)p * UMBRA_Q16_BLOCK + (size_t)half * UMBRA_HALF_PART;
        d[p] = _mm256_setzero_si256();
        if (p < n) {
            d[p] = _mm256_dpwssd_epi32(d[p], load_values(o->w + at), load_values(x + at));
        }
    }
    return gather_sums(d);
}

/* Dot products of n parts. */
UMBRA_INLINE __m256i whole_dots(const octet *o, const int16_t *x, const int n)
{
    __m256i d[OCTET];
    UMBRA_UNROLL(8)
    for (int p = 0; p < OCTET; p++) {
        size_t at = (size_t)p * UMBRA_Q16_BLOCK, high = at + UMBRA_HALF_PART;
        d[p] = _mm256_setzero_si256();
        if (p < n) {
            d[p] = _mm256_dpwssd_epi32(d[p], load_values(o->w + at), load_values(x + at));
            d[p] = _mm256_dpwssd_epi32(d[p], load_values(o->w + high), load_values(x + high));
        }
    }
    return gather_sums(d);
}

/* Of 16 scales of halves, the eight first or second ones. */
UMBRA_INLINE __m256 every_other(const float *scale, int half)
{
    __m256i low = _mm256_castps_si256(_mm256_loadu_ps(scale));
    __m256i high = _mm256_castps_si256(_mm256_loadu_ps(scale + OCTET));
    const __m256i from = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    __m256i at = _mm256_add_epi32(from, _mm256_set1_epi32(half));
    return _mm256_castsi256_ps(_mm256_permutex2var_epi32(low, at, high));
}

/* The lanes of `used` of sum + a * b; the others stay what they are. */
UMBRA_INLINE __m256 add_used(__m256 sum, __m256 a, __m256 b, __mmask8 used)
{
    return _mm256_mask3_fmadd_ps(a, b, sum, used);
}

UMBRA_INLINE __m256 add_octet(__m256 sum, const octet *o, const int16_t *x, const float *scale,
                              const float *x_sum, const int n, const block_type *type)
{
    const __mmask8 used = (__mmask8)((1u << n) - 1);
    __m256 of_x = _mm256_maskz_loadu_ps(used, scale);
    if (type->halves) {
        UMBRA_UNROLL(2)
        for (int h = 0; h < 2; h++) {
            __m256 factor = _mm256_mul_ps(every_other(o->scale, h), of_x);
            sum = add_used(sum, factor, _mm256_cvtepi32_ps(half_dots(o, x, h, n)), used);
        }
    } else {
        __m256 factor = _mm256_mul_ps(_mm256_loadu_ps(o->scale), of_x);
        sum = add_used(sum, factor, _mm256_cvtepi32_ps(whole_dots(o, x, n)), used);
    }
    if (type->offset) {
        sum = add_used(sum, _mm256_loadu_ps(o->offset), _mm256_maskz_loadu_ps(used, x_sum), used);
    }
    return sum;
}

/* Rows times tokens, both few. */
UMBRA_INLINE void stream_tile(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, const block_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *w = umbra_weight_row(m, row), *start = w;
    size_t first[STREAM_TOKENS];
    __m256 sum[STREAM_ROWS][STREAM_TOKENS];
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        first[t] = umbra_token_row(m, token + t) * parts;
        UMBRA_UNROLL(4)
        for (int r = 0; r < rows; r++) {
            sum[r][t] = _mm256_setzero_ps();
        }
    }
    octet o = {0};
    for (size_t at = 0; at < parts; at += OCTET) {
        int n = parts - at < OCTET ? (int)(parts - at) : OCTET;
        size_t bytes = 0;
        if (tokens == 1 && rows == STREAM_ROWS) {
            umbra_prefetch_stream(start + (size_t)(w - start) * (size_t)rows,
                                  (size_t)rows * type->octet_bytes);
        }
        UMBRA_UNROLL(4)
        for (int r = 0; r < rows; r++) {
            bytes = type->unpack(&o, w + (uint64_t)r * m->row_bytes, n);
            UMBRA_UNROLL(4)
            for (int t = 0; t < tokens; t++) {
                size_t from = first[t] + at;
                const int16_t *q = m->x->q + from * UMBRA_Q16_BLOCK;
                const float *scale = m->x->scale + from, *x_sum = m->x->sum + from;
                sum[r][t] = n == OCTET ? add_octet(sum[r][t], &o, q, scale, x_sum, OCTET, type)
                                       : add_octet(sum[r][t], &o, q, scale, x_sum, n, type);
            }
        }
        w += bytes;
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            umbra_output(m, token + t, row)[r] = umbra_avx2_sum(sum[r][t]);
        }
    }
}

static void stream_rows(const umbra_matmul *m, int row, int row_end, int token, const int tokens,
                        const block_type *type)
{
    const int rows = tokens == 1 ? STREAM_ROWS : 1;
    for (; row + rows <= row_end; row += rows) {
        stream_tile(m, row, token, rows, tokens, type);
    }
    for (; rows > 1 && row < row_end; row++) {
        stream_tile(m, row, token, 1, tokens, type);
    }
}

#endif
