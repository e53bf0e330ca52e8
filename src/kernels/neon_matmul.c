/* Products of weights with activations for NEON (plain ARMv8): the tiles of avx2_matmul.c with
 * four lanes. */
#include <math.h>

#include "kernels/blocks.h"
#include "kernels/neon.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, LANES = 4, PARTS = 4 };

/* 32 weights widened to 16 bits, in order, and their scale. */
typedef struct block {
    int16x8_t part[PARTS];
    float scale;
} block;

typedef block (*load_block_fn)(const uint8_t *bytes);

UMBRA_INLINE block load_q8_0(const uint8_t *bytes)
{
    block b = {.scale = umbra_f16_to_f32(umbra_load_u16(bytes))};
    for (int i = 0; i < PARTS; i++) {
        b.part[i] = vmovl_s8(vreinterpret_s8_u8(vld1_u8(bytes + 2 + 8 * i)));
    }
    return b;
}

UMBRA_INLINE block load_q4_0(const uint8_t *bytes)
{
    uint8x16_t pairs = vld1q_u8(bytes + 2);
    int8x16_t eight = vdupq_n_s8(8);
    int8x16_t low = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15))), eight);
    int8x16_t high = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4)), eight);
    return (block){
        .part = {vmovl_s8(vget_low_s8(low)), vmovl_high_s8(low),
                 vmovl_s8(vget_low_s8(high)), vmovl_high_s8(high)},
        .scale = umbra_f16_to_f32(umbra_load_u16(bytes)),
    };
}

UMBRA_INLINE int32x4_t dot_block(const block *w, const int16_t *q)
{
    int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
    for (int i = 0; i < PARTS; i++) {
        int16x8_t x = vld1q_s16(q + 8 * i);
        even = vmlal_s16(even, vget_low_s16(w->part[i]), vget_low_s16(x));
        odd = vmlal_high_s16(odd, w->part[i], x);
    }
    return vaddq_s32(even, odd);
}

UMBRA_INLINE void tile_blocks(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, load_block_fn load, size_t block_bytes)
{
    size_t blocks = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *w = umbra_weight_row(m, row);
    const int16_t *q[MAX_TOKENS];
    const float *scale[MAX_TOKENS];
    float32x4_t sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        size_t at = umbra_token_row(m, token + t) * blocks;
        q[t] = m->x->q + at * UMBRA_Q16_BLOCK;
        scale[t] = m->x->scale + at;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = vdupq_n_f32(0);
        }
    }
    for (size_t b = 0; b < blocks; b++, w += block_bytes) {
        for (int r = 0; r < rows; r++) {
            block weights = load(w + (uint64_t)r * m->row_bytes);
            for (int t = 0; t < tokens; t++) {
                int32x4_t dot = dot_block(&weights, q[t] + b * UMBRA_Q16_BLOCK);
                sum[r][t] = vfmaq_n_f32(sum[r][t], vcvtq_f32_s32(dot),
                                        weights.scale * scale[t][b]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            umbra_output(m, token + t, row)[r] = vaddvq_f32(sum[r][t]);
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
        if (t + 2 <= m->tokens) {
            strip_blocks(m, row, end, t, 2, load, block_bytes);
            t += 2;
        }
        if (t < m->tokens) {
            strip_blocks(m, row, end, t, 1, load, block_bytes);
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

/* Float weights: the same tiles over 4 columns at a time. */
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
    umbra_kernels_fill_neon_vector(k);
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
    k->matmul[UMBRA_Q8_0] = matmul_q8_0;
    k->matmul[UMBRA_Q4_0] = matmul_q4_0;
}
