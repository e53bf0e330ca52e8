/* Products of float weights with activations for AVX2: tiles of a few rows times a few tokens over
 * 8 columns at a time. Each (row, token) has one accumulator of 8 lanes that takes the columns in
 * order, whatever the shape of its tile: that is what makes the result independent of the batch. */
#include <math.h>

#include "kernels/x86/avx2.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, LANES = 8 };

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
            umbra_prefetch_rows(m, w + c * bytes, rows, LANES * bytes);
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
    k->predict = &umbra_predict_avx2;
    umbra_kernels_fill_avx2_vector(k);
    umbra_kernels_fill_avx2_blocks(k);
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
}
