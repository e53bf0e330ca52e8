/* Products of weights with activations for AVX-512: the tiles of avx2_matmul.c with twice the
 * lanes, so that one register holds a block of 32 weights or activations of 16 bits. The dot
 * product instruction of VNNI would have to add to zero for every block, because each has its own
 * scale; the older multiply-and-add is the same work. */
#include <immintrin.h>

#include "kernels/blocks.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, LANES = 16 };

/* 32 weights widened to 16 bits, and their scale in every lane. */
typedef struct block {
    __m512i weights;
    __m512 scale;
} block;

typedef block (*load_block_fn)(const uint8_t *bytes);

UMBRA_INLINE __m512 load_scale(const uint8_t *bytes)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)umbra_load_u16(bytes)));
}

UMBRA_INLINE block load_q8_0(const uint8_t *bytes)
{
    return (block){
        .weights = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(bytes + 2))),
        .scale = load_scale(bytes),
    };
}

UMBRA_INLINE block load_q4_0(const uint8_t *bytes)
{
    __m128i pairs = _mm_loadu_si128((const __m128i *)(bytes + 2));
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(pairs),
                                           _mm_srli_epi16(pairs, 4), 1);
    both = _mm256_and_si256(both, _mm256_set1_epi8(15));
    return (block){
        .weights = _mm512_sub_epi16(_mm512_cvtepu8_epi16(both), _mm512_set1_epi16(8)),
        .scale = load_scale(bytes),
    };
}

/* Adds in a fixed order: halves, quarters, and so on. */
UMBRA_INLINE float sum_lanes(__m512 v)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

UMBRA_INLINE void tile_blocks(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, load_block_fn load, size_t block_bytes)
{
    size_t blocks = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *first = umbra_weight_row(m, row), *w = first;
    const int16_t *q[MAX_TOKENS];
    const float *scale[MAX_TOKENS];
    __m512 sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        size_t at = umbra_token_row(m, token + t) * blocks;
        q[t] = m->x->q + at * UMBRA_Q16_BLOCK;
        scale[t] = m->x->scale + at;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = _mm512_setzero_ps();
        }
    }
    for (size_t b = 0; b < blocks; b++, w += block_bytes) {
        if (tokens == 1 && rows == MAX_ROWS) {
            size_t bytes = (size_t)rows * block_bytes;
            umbra_prefetch_stream(first + b * bytes, bytes);
        }
        block part[MAX_ROWS];
        for (int r = 0; r < rows; r++) {
            part[r] = load(w + (uint64_t)r * m->row_bytes);
        }
        for (int t = 0; t < tokens; t++) {
            __m512i x = _mm512_loadu_si512(q[t] + b * UMBRA_Q16_BLOCK);
            __m512 token_scale = _mm512_set1_ps(scale[t][b]);
            for (int r = 0; r < rows; r++) {
                __m512i dot = _mm512_madd_epi16(part[r].weights, x);
                sum[r][t] = _mm512_fmadd_ps(_mm512_mul_ps(part[r].scale, token_scale),
                                            _mm512_cvtepi32_ps(dot), sum[r][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            umbra_output(m, token + t, row)[r] = sum_lanes(sum[r][t]);
        }
    }
}

UMBRA_INLINE void strip_blocks(const umbra_matmul *m, int row, int row_end, int token,
                               const int tokens, load_block_fn load, size_t block_bytes)
{
    for (; row + MAX_ROWS <= row_end; row += MAX_ROWS) {
        tile_blocks(m, row, token, MAX_ROWS, tokens, load, block_bytes);
    }
    for (; row < row_end; row++) {
        tile_blocks(m, row, token, 1, tokens, load, block_bytes);
    }
}

UMBRA_INLINE void matmul_blocks(const umbra_matmul *m, int row_begin, int row_end,
                                load_block_fn load, size_t block_bytes)
{
    int step = umbra_row_block(m, MAX_ROWS);
    for (int row = row_begin; row < row_end; row += step) {
        int end = umbra_min_int(row_end, row + step);
        int t = 0;
        for (; t + 4 <= m->tokens; t += 4) {
            strip_blocks(m, row, end, t, 4, load, block_bytes);
        }
        switch (m->tokens - t) {
        case 3:
            strip_blocks(m, row, end, t, 3, load, block_bytes);
            break;
        case 2:
            strip_blocks(m, row, end, t, 2, load, block_bytes);
            break;
        case 1:
            strip_blocks(m, row, end, t, 1, load, block_bytes);
            break;
        default:
            break;
        }
    }
}

static void matmul_q8_0(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_blocks(m, row_begin, row_end, load_q8_0, UMBRA_Q8_0_BYTES);
}

static void matmul_q4_0(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_blocks(m, row_begin, row_end, load_q4_0, UMBRA_Q4_0_BYTES);
}

/* Float weights: 16 columns at a time. Lanes beyond the last column are read as zeros. */
typedef __m512 (*load_floats_fn)(const uint8_t *row, size_t column, __mmask16 lanes);

UMBRA_INLINE __m512 load_f32(const uint8_t *row, size_t column, __mmask16 lanes)
{
    return _mm512_maskz_loadu_ps(lanes, row + 4 * column);
}

UMBRA_INLINE __m512 load_f16(const uint8_t *row, size_t column, __mmask16 lanes)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, row + 2 * column));
}

UMBRA_INLINE __m512 load_bf16(const uint8_t *row, size_t column, __mmask16 lanes)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, row + 2 * column));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

UMBRA_INLINE void tile_floats(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, load_floats_fn load)
{
    size_t columns = (size_t)m->x->columns;
    const uint8_t *w = umbra_weight_row(m, row);
    const float *x[MAX_TOKENS];
    __m512 sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        x[t] = m->x->f32 + umbra_token_row(m, token + t) * columns;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = _mm512_setzero_ps();
        }
    }
    for (size_t c = 0; c < columns; c += LANES) {
        size_t left = columns - c;
        __mmask16 lanes = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
        __m512 part[MAX_ROWS];
        for (int r = 0; r < rows; r++) {
            part[r] = load(w + (uint64_t)r * m->row_bytes, c, lanes);
        }
        for (int t = 0; t < tokens; t++) {
            __m512 value = _mm512_maskz_loadu_ps(lanes, x[t] + c);
            for (int r = 0; r < rows; r++) {
                sum[r][t] = _mm512_fmadd_ps(part[r], value, sum[r][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            umbra_output(m, token + t, row)[r] = sum_lanes(sum[r][t]);
        }
    }
}

UMBRA_INLINE void strip_floats(const umbra_matmul *m, int row, int row_end, int token,
                               const int tokens, load_floats_fn load)
{
    for (; row + MAX_ROWS <= row_end; row += MAX_ROWS) {
        tile_floats(m, row, token, MAX_ROWS, tokens, load);
    }
    for (; row < row_end; row++) {
        tile_floats(m, row, token, 1, tokens, load);
    }
}

UMBRA_INLINE void matmul_floats(const umbra_matmul *m, int row_begin, int row_end,
                                load_floats_fn load)
{
    int step = umbra_row_block(m, MAX_ROWS);
    for (int row = row_begin; row < row_end; row += step) {
        int end = umbra_min_int(row_end, row + step);
        int t = 0;
        for (; t + 4 <= m->tokens; t += 4) {
            strip_floats(m, row, end, t, 4, load);
        }
        for (; t < m->tokens; t++) {
            strip_floats(m, row, end, t, 1, load);
        }
    }
}

static void matmul_f32(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, load_f32);
}

static void matmul_f16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, load_f16);
}

static void matmul_bf16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, load_bf16);
}

void umbra_kernels_fill_avx512(umbra_kernels *k)
{
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
    k->matmul[UMBRA_Q8_0] = matmul_q8_0;
    k->matmul[UMBRA_Q4_0] = matmul_q4_0;
}
