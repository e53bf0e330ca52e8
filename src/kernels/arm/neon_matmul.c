/* Products of float weights with activations for NEON (plain ARMv8): the tiles of avx2_matmul.c
 * with four lanes. */
#include <math.h>

#include "kernels/arm/neon.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, LANES = 4 };

typedef struct float_type {
    size_t bytes;
    float32x4_t (*load)(const uint8_t *p); /* 4 values */
    float (*load_one)(const uint8_t *p);
} float_type;

UMBRA_INLINE float32x4_t load_f32(const uint8_t *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

UMBRA_INLINE float load_one_f32(const uint8_t *p)
{
    return umbra_load_f32(p);
}

UMBRA_INLINE float32x4_t load_f16(const uint8_t *p)
{
    return umbra_neon_load_f16(p);
}

UMBRA_INLINE float load_one_f16(const uint8_t *p)
{
    return umbra_f16_to_f32(umbra_load_u16(p));
}

UMBRA_INLINE float32x4_t load_bf16(const uint8_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
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
    float32x4_t sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        x[t] = m->x->f32 + umbra_token_row(m, token + t) * columns;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = vdupq_n_f32(0);
        }
    }
    for (size_t c = 0; c < whole; c += LANES) {
        float32x4_t weights[MAX_ROWS];
        for (int r = 0; r < rows; r++) {
            weights[r] = type->load(w + (uint64_t)r * m->row_bytes + c * type->bytes);
        }
        for (int t = 0; t < tokens; t++) {
            float32x4_t value = vld1q_f32(x[t] + c);
            for (int r = 0; r < rows; r++) {
                sum[r][t] = vfmaq_f32(sum[r][t], weights[r], value);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            float total = vaddvq_f32(sum[r][t]);
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
    for (; row + MAX_ROWS <= row_end; row += MAX_ROWS) {
        tile_floats(m, row, token, MAX_ROWS, tokens, type);
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

void umbra_kernels_fill_neon(umbra_kernels *k)
{
    k->predict = &umbra_predict_neon;
    umbra_kernels_fill_neon_vector(k);
    umbra_kernels_fill_neon_blocks(k);
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
}
