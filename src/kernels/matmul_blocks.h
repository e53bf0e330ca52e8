/* The products of quantised weights with q16 activations, one body for every vector instruction
 * set. A file that includes this first defines, for its registers,
 *
 *   integers, lanes           32 values of 16 bits; the accumulator of one (row, token) pair
 *   load_values(q)            32 activations
 *   no_lanes()                zeros
 *   add_dot(sum, w, x, f)     sum + *f * (w x), the products exact, summed exactly within a lane
 *   add_offsets(sum, a, b, n) sum plus the n products a[i] * b[i], n being 1 or UMBRA_PARTS_MAX
 *   store_sums(out, sum, n)   out[i] = the lanes of sum[i * MAX_TOKENS] added in a fixed order
 *   tile_rows(tokens)         rows of a tile with that many tokens, at most MAX_ROWS
 *   PREFETCH                  whether a tile of one token asks for weights ahead
 *
 * and then a block_type per weight type.
 *
 * A tile is a few rows times a few tokens. Unpacking of weights is shared by the tile's tokens.
 * Each pair has one accumulator that takes the parts in order, whatever the shape of its tile:
 * that is what makes the result independent of the batch. */
#ifndef UMBRA_KERNELS_MATMUL_BLOCKS_H
#define UMBRA_KERNELS_MATMUL_BLOCKS_H

#include "kernels/block_scales.h"

typedef struct block_type {
    umbra_load_scales_fn load_scales;
    /* Part `first` + `p` of a block; p is known at compile time and below `group`, first is not. */
    integers (*load_part)(const uint8_t *block, const umbra_block_scales *s, int first, int p);
    /* Integers that are multiplied with the offset and the activations; NULL where the offset is
     * one for the part. */
    integers (*load_minima)(const umbra_block_scales *s, int part);
    size_t bytes;
    int parts, group;
    bool offset;
} block_type;

/* What the tokens of a tile read. */
typedef struct tile_tokens {
    const int16_t *q[MAX_TOKENS];
    const float *scale[MAX_TOKENS], *sum[MAX_TOKENS];
} tile_tokens;

UMBRA_INLINE tile_tokens find_tokens(const umbra_matmul *m, int token, const int tokens)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    tile_tokens x = {0};
    for (int t = 0; t < tokens; t++) {
        size_t at = umbra_token_row(m, token + t) * parts;
        x.q[t] = m->x->q + at * UMBRA_Q16_BLOCK;
        x.scale[t] = m->x->scale + at;
        x.sum[t] = m->x->sum + at;
    }
    return x;
}

/* Adds one block of one row to the row's sums. `at` counts blocks of activations. */
UMBRA_INLINE void add_block(lanes *sum, const uint8_t *block, const tile_tokens *x, size_t at,
                            const int tokens, const block_type *type)
{
    umbra_block_scales s;
    float factor[MAX_TOKENS][UMBRA_PARTS_MAX], offset[MAX_TOKENS][UMBRA_PARTS_MAX];
    type->load_scales(block, &s);
    for (int t = 0; t < tokens; t++) {
        for (int p = 0; p < type->parts; p++) {
            factor[t][p] = s.scale[p] * x->scale[t][at + (size_t)p];
        }
        if (type->load_minima) {
            for (int p = 0; p < type->parts; p++) {
                offset[t][p] = s.offset[p] * x->scale[t][at + (size_t)p];
            }
        } else if (type->offset) {
            sum[t] = add_offsets(sum[t], s.offset, x->sum[t] + at, type->parts);
        }
    }
    for (int first = 0; first < type->parts; first += type->group) {
#pragma GCC unroll 8
        for (int p = 0; p < type->group; p++) {
            integers w = type->load_part(block, &s, first, p);
            for (int t = 0; t < tokens; t++) {
                integers v = load_values(x->q[t] + (at + (size_t)(first + p)) * UMBRA_Q16_BLOCK);
                sum[t] = add_dot(sum[t], w, v, &factor[t][first + p]);
                if (type->load_minima) {
                    integers minima = type->load_minima(&s, first + p);
                    sum[t] = add_dot(sum[t], minima, v, &offset[t][first + p]);
                }
            }
        }
    }
}

UMBRA_INLINE void tile_blocks(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, const block_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *first = umbra_weight_row(m, row), *w = first;
    tile_tokens x = find_tokens(m, token, tokens);
    lanes sum[MAX_ROWS][MAX_TOKENS];
    for (int r = 0; r < rows; r++) {
        for (int t = 0; t < tokens; t++) {
            sum[r][t] = no_lanes();
        }
    }
    for (size_t at = 0; at < parts; at += (size_t)type->parts, w += type->bytes) {
        if (PREFETCH && tokens == 1 && rows == MAX_ROWS) {
            umbra_prefetch_stream(first + (size_t)(w - first) * (size_t)rows,
                                  (size_t)rows * type->bytes);
        }
        for (int r = 0; r < rows; r++) {
            add_block(sum[r], w + (uint64_t)r * m->row_bytes, &x, at, tokens, type);
        }
    }
    for (int t = 0; t < tokens; t++) {
        store_sums(umbra_output(m, token + t, row), &sum[0][t], rows);
    }
}

/* All rows against 1 to 4 tokens. */
UMBRA_INLINE void strip_blocks(const umbra_matmul *m, int row, int row_end, int token,
                               const int tokens, const block_type *type)
{
    const int rows = tile_rows(tokens);
    for (; row + rows <= row_end; row += rows) {
        tile_blocks(m, row, token, rows, tokens, type);
    }
    for (; row < row_end; row++) {
        tile_blocks(m, row, token, 1, tokens, type);
    }
}

UMBRA_INLINE void matmul_blocks(const umbra_matmul *m, int row_begin, int row_end,
                                const block_type *type)
{
    int step = umbra_row_block(m, MAX_ROWS);
    for (int row = row_begin; row < row_end; row += step) {
        int end = umbra_min_int(row_end, row + step);
        int t = 0;
        for (; t + 4 <= m->tokens; t += 4) {
            strip_blocks(m, row, end, t, 4, type);
        }
        switch (m->tokens - t) {
        case 3:
            strip_blocks(m, row, end, t, 3, type);
            break;
        case 2:
            strip_blocks(m, row, end, t, 2, type);
            break;
        case 1:
            strip_blocks(m, row, end, t, 1, type);
            break;
        default:
            break;
        }
    }
}

#define UMBRA_DEFINE_MATMUL(TYPE, name, halves, offset) \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end) \
    { \
        matmul_blocks(m, row_begin, row_end, &type_##name); \
    }
#define UMBRA_SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##name;

#endif
