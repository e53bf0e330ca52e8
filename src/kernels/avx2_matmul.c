/* Products of weights with activations for AVX2.
 *
 * A tile is a few rows times a few tokens. Unpacking of weights is shared by the tile's tokens and
 * reading of activations by its rows. Each (row, token) has one accumulator of 8 lanes that
 * takes the blocks in order, whatever the shape of its tile: that is what makes the result
 * independent of the batch. */
#include <math.h>

#include "kernels/avx2.h"
#include "kernels/blocks.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, LANES = 8 };

/* 32 weights widened to 16 bits, and their scale in every lane. */
typedef struct block {
    __m256i low, high;
    __m256 scale;
} block;

typedef block (*load_block_fn)(const uint8_t *bytes);

UMBRA_INLINE __m256 load_scale(const uint8_t *bytes)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)umbra_load_u16(bytes)));
}

UMBRA_INLINE block load_q8_0(const uint8_t *bytes)
{
    return (block){
        .low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(bytes + 2))),
        .high = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(bytes + 18))),
        .scale = load_scale(bytes),
    };
}

UMBRA_INLINE block load_q4_0(const uint8_t *bytes)
{
    __m256i pairs = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(bytes + 2)));
    __m256i eight = _mm256_set1_epi16(8);
    return (block){
        .low = _mm256_sub_epi16(_mm256_and_si256(pairs, _mm256_set1_epi16(15)), eight),
        .high = _mm256_sub_epi16(_mm256_srli_epi16(pairs, 4), eight),
        .scale = load_scale(bytes),
    };
}

UMBRA_INLINE void tile_blocks(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, load_block_fn load, size_t block_bytes)
{
    size_t blocks = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *first = umbra_weight_row(m, row), *w = first;
    const int16_t *q[MAX_TOKENS];
    const float *scale[MAX_TOKENS];
    __m256 sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        size_t at = umbra_token_row(m, token + t) * blocks;
        q[t] = m->x->q + at * UMBRA_Q16_BLOCK;
        scale[t] = m->x->scale + at;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = _mm256_setzero_ps();
        }
    }
    for (size_t b = 0; b < blocks; b++, w += block_bytes) {
        if (tokens == 1 && rows == MAX_ROWS) {
            size_t bytes = (size_t)rows * block_bytes;
            umbra_prefetch_stream(first + b * bytes, bytes);
        }
        block weights[MAX_ROWS];
        for (int r = 0; r < rows; r++) {
            weights[r] = load(w + (uint64_t)r * m->row_bytes);
        }
        for (int t = 0; t < tokens; t++) {
            const __m256i *x = (const __m256i *)(q[t] + b * UMBRA_Q16_BLOCK);
            __m256i low = _mm256_loadu_si256(x), high = _mm256_loadu_si256(x + 1);
            __m256 token_scale = _mm256_broadcast_ss(scale[t] + b);
            for (int r = 0; r < rows; r++) {
                __m256i dot = _mm256_add_epi32(_mm256_madd_epi16(weights[r].low, low),
                                               _mm256_madd_epi16(weights[r].high, high));
                sum[r][t] = _mm256_fmadd_ps(_mm256_mul_ps(weights[r].scale, token_scale),
                                            _mm256_cvtepi32_ps(dot), sum[r][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        float *out = umbra_output(m, token + t, row);
        if (rows == MAX_ROWS) {
            _mm_storeu_ps(out, umbra_avx2_sum4(sum[0][t], sum[1][t], sum[2][t], sum[3][t]));
            continue;
        }
        for (int r = 0; r < rows; r++) {
            out[r] = umbra_avx2_sum(sum[r][t]);
        }
    }
}

/* All rows against 1 to 4 tokens. Few tokens take more rows, so that a tile has at least four
 * independent accumulators and at most eight. */
UMBRA_INLINE void strip_blocks(const umbra_matmul *m, int row, int row_end, int token,
                               const int tokens, load_block_fn load, size_t block_bytes)
{
    const int rows = tokens <= 2 ? 4 : 2;
    for (; row + rows <= row_end; row += rows) {
        tile_blocks(m, row, token, rows, tokens, load, block_bytes);
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

/* Float weights: the same tiles over 8 columns at a time. */
typedef struct float_type {
    size_t bytes;
    __m256 (*load)(const uint8_t *p); /* 8 values */
    float (*load_one)(const uint8_t *p);
} float_type;

UMBRA_INLINE __m256 load_f32(const uint8_t *p)
{
    return _mm256_loadu_ps((const float *)(const void *)p);
}

UMBRA_INLINE float load_one_f32(const uint8_t *p)
{
    return umbra_load_f32(p);
}

UMBRA_INLINE __m256 load_f16(const uint8_t *p)
{
    return umbra_avx2_load_f16(p);
}

UMBRA_INLINE float load_one_f16(const uint8_t *p)
{
    return _cvtsh_ss(umbra_load_u16(p));
}

UMBRA_INLINE __m256 load_bf16(const uint8_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

UMBRA_INLINE float load_one_bf16(const uint8_t *p)
{
    return umbra_bf16_to_f32(umbra_load_u16(p));
}

static const float_type type_f32 = {4, load_f32, load_one_f32};
static const float_type type_f16 = {2, load_f16, load_one_f16};
static const float_type type_bf16 = {2, load_bf16, load_one_bf16};

UMBRA_INLINE void tile_floats(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, const float_type *type)
{
    size_t columns = (size_t)m->x->columns, whole = columns / LANES * LANES;
    const uint8_t *w = umbra_weight_row(m, row);
    const float *x[MAX_TOKENS];
    __m256 sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        x[t] = m->x->f32 + umbra_token_row(m, token + t) * columns;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = _mm256_setzero_ps();
        }
    }
    for (size_t c = 0; c < whole; c += LANES) {
        if (tokens == 1 && rows == MAX_ROWS) {
            size_t bytes = (size_t)rows * type->bytes;
            umbra_prefetch_stream(w + c * bytes, LANES * bytes);
        }
        __m256 weights[MAX_ROWS];
        for (int r = 0; r < rows; r++) {
            weights[r] = type->load(w + (uint64_t)r * m->row_bytes + c * type->bytes);
        }
        for (int t = 0; t < tokens; t++) {
            __m256 value = _mm256_loadu_ps(x[t] + c);
            for (int r = 0; r < rows; r++) {
                sum[r][t] = _mm256_fmadd_ps(weights[r], value, sum[r][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            float total = umbra_avx2_sum(sum[r][t]);
            const uint8_t *end = w + (uint64_t)r * m->row_bytes;
            for (size_t c = whole; c < columns; c++) {
                total = fmaf(type->load_one(end + c * type->bytes), x[t][c], total);
            }
            umbra_output(m, token + t, row)[r] = total;
        }
    }
}

UMBRA_INLINE void strip_floats(const umbra_matmul *m, int row, int row_end, int token,
                               const int tokens, const float_type *type)
{
    const int rows = tokens == 1 ? 4 : 2;
    for (; row + rows <= row_end; row += rows) {
        tile_floats(m, row, token, rows, tokens, type);
    }
    for (; row < row_end; row++) {
        tile_floats(m, row, token, 1, tokens, type);
    }
}

UMBRA_INLINE void matmul_floats(const umbra_matmul *m, int row_begin, int row_end,
                                const float_type *type)
{
    int step = umbra_row_block(m, MAX_ROWS);
    for (int row = row_begin; row < row_end; row += step) {
        int end = umbra_min_int(row_end, row + step);
        int t = 0;
        for (; t + 4 <= m->tokens; t += 4) {
            strip_floats(m, row, end, t, 4, type);
        }
        for (; t < m->tokens; t++) {
            strip_floats(m, row, end, t, 1, type);
        }
    }
}

static void matmul_f32(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, &type_f32);
}

static void matmul_f16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, &type_f16);
}

static void matmul_bf16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, &type_bf16);
}

void umbra_kernels_fill_avx2(umbra_kernels *k)
{
    umbra_kernels_fill_avx2_vector(k);
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
    k->matmul[UMBRA_Q8_0] = matmul_q8_0;
    k->matmul[UMBRA_Q4_0] = matmul_q4_0;
}
