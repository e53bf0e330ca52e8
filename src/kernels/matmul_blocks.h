/* The products of quantised weights with q16 activations, one body for every vector instruction
 * set. A file that includes this first defines, for its registers,
 *
 *   integers, lanes           32 values of 16 bits; the accumulator of one (row, token) pair
 *   load_values(q)            32 activations
 *   no_lanes()                zeros
 *   add_dot(sum, w, x, f)     sum + f * (w x), the products exact, summed exactly within a lane
 *   add_halves(sum, w, x, f)  the same with f[0] for the first 16 products and f[1] for the others
 *   multiply_scales(out, a, b, n) out[i] = a[i] * b[i], n being 1, 4 or 8
 *   multiply_halves(out, a, b, n) out[i] = a[i] * b[i / 2] for 2 n of them, n being 2 or 8
 *   add_offsets(sum, a, b, n) sum plus the n products a[i] * b[i], likewise
 *   store_sums(out, sum, n)   out[i] = the lanes of sum[i * MAX_TOKENS] added in a fixed order
 *   tile_rows(tokens)         rows of a tile with that many tokens, at most MAX_ROWS
 *   PREFETCH                  whether a tile of one token asks for weights ahead
 *
 * and then a block_type per weight type.
 *
 * A row is walked in units: one block of 256 values or four shorter ones, and single blocks where
 * four are too many. A tile is a few rows times a few tokens; unpacking of weights is shared by the
 * tile's tokens. Each (row, token) has one accumulator that takes the parts in order, whatever the
 * shape of its tile: that is what makes the result independent of the batch. */
#ifndef UMBRA_KERNELS_MATMUL_BLOCKS_H
#define UMBRA_KERNELS_MATMUL_BLOCKS_H

#include "kernels/block_scales.h"

typedef struct block_type {
    /* Scales and offsets of `parts` parts: those of a unit, or of a block. */
    void (*load_scales)(const uint8_t *unit, umbra_block_scales *out, int parts);
    /* Part `first` + `p` of a unit; p is known at compile time and below `group`, first is not. */
    integers (*load_part)(const uint8_t *unit, const umbra_block_scales *s, int first, int p);
    /* Integers that are multiplied with the offset and the activations; NULL where the offset is
     * one for the part. */
    integers (*load_minima)(const umbra_block_scales *s, int part);
    int bytes, parts; /* of a unit */
    int block;        /* parts of a block */
    int group;        /* parts that are unpacked together */
    bool offset;
    bool halves; /* a scale for each half of a part */
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
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        size_t at = umbra_token_row(m, token + t) * parts;
        x.q[t] = m->x->q + at * UMBRA_Q16_BLOCK;
        x.scale[t] = m->x->scale + at;
        x.sum[t] = m->x->sum + at;
    }
    return x;
}

/* What the rows of a tile multiply with: scales of weights times those of activations. */
typedef struct tile_factors {
    umbra_block_scales s[MAX_ROWS];
    float scale[MAX_ROWS][MAX_TOKENS][2 * UMBRA_PARTS_MAX];
    float offset[MAX_ROWS][MAX_TOKENS][UMBRA_PARTS_MAX];
} tile_factors;

/* Also adds the offsets of whole parts to the sums. */
UMBRA_INLINE void load_factors(tile_factors *f, lanes *sum, const uint8_t *unit, int r,
                               const tile_tokens *x, size_t at, const int parts, const int tokens,
                               const block_type *type)
{
    umbra_block_scales *s = &f->s[r];
    type->load_scales(unit, s, parts);
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        if (type->halves) {
            multiply_halves(f->scale[r][t], s->scale, x->scale[t] + at, parts);
            continue;
        }
        multiply_scales(f->scale[r][t], s->scale, x->scale[t] + at, parts);
        if (type->load_minima) {
            multiply_scales(f->offset[r][t], s->offset, x->scale[t] + at, parts);
        } else if (type->offset) {
            sum[t] = add_offsets(sum[t], s->offset, x->sum[t] + at, parts);
        }
    }
}

/* Adds part `first` + `p` of all rows. */
UMBRA_INLINE void add_part(lanes *sum, const uint8_t *unit, uint64_t row_bytes,
                           const tile_factors *f, int first, const int p, const tile_tokens *x,
                           size_t at, const int rows, const int tokens, const block_type *type)
{
    integers w[MAX_ROWS];
    UMBRA_UNROLL(4)
    for (int r = 0; r < rows; r++) {
        w[r] = type->load_part(unit + (uint64_t)r * row_bytes, &f->s[r], first, p);
    }
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        integers v = load_values(x->q[t] + (at + (size_t)(first + p)) * UMBRA_Q16_BLOCK);
        UMBRA_UNROLL(4)
        for (int r = 0; r < rows; r++) {
            lanes *to = sum + r * MAX_TOKENS + t;
            if (type->halves) {
                *to = add_halves(*to, w[r], v, f->scale[r][t] + 2 * (first + p));
                continue;
            }
            *to = add_dot(*to, w[r], v, f->scale[r][t][first + p]);
            if (type->load_minima) {
                integers minima = type->load_minima(&f->s[r], first + p);
                *to = add_dot(*to, minima, v, f->offset[r][t][first + p]);
            }
        }
    }
}

UMBRA_INLINE void add_unit(lanes *sum, const uint8_t *unit, uint64_t row_bytes,
                           const tile_tokens *x, size_t at, const int parts, const int rows,
                           const int tokens, const block_type *type)
{
    const int group = parts < type->group ? parts : type->group;
    tile_factors f;
    UMBRA_UNROLL(4)
    for (int r = 0; r < rows; r++) {
        load_factors(&f, sum + r * MAX_TOKENS, unit + (uint64_t)r * row_bytes, r, x, at, parts,
                     tokens, type);
    }
    UMBRA_KEEP_IN_MEMORY(f);
    for (int first = 0; first < parts; first += group) {
        UMBRA_UNROLL(8)
        for (int p = 0; p < group; p++) {
            add_part(sum, unit, row_bytes, &f, first, p, x, at, rows, tokens, type);
        }
    }
}

UMBRA_INLINE void tile_blocks(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, const block_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK, at = 0;
    const size_t step = (size_t)type->parts, bytes = (size_t)type->bytes;
    const size_t block = (size_t)type->block;
    const uint8_t *first = umbra_weight_row(m, row), *w = first;
    tile_tokens x = find_tokens(m, token, tokens);
    lanes sum[MAX_ROWS * MAX_TOKENS];
    UMBRA_UNROLL(4)
    for (int r = 0; r < rows; r++) {
        UMBRA_UNROLL(4)
        for (int t = 0; t < tokens; t++) {
            sum[r * MAX_TOKENS + t] = no_lanes();
        }
    }
    for (; at + step <= parts; at += step, w += bytes) {
        if (PREFETCH && tokens == 1 && rows == MAX_ROWS) {
            umbra_prefetch_stream(first + (size_t)(w - first) * (size_t)rows, (size_t)rows * bytes);
        }
        add_unit(sum, w, m->row_bytes, &x, at, type->parts, rows, tokens, type);
    }
    if (block < step) { /* a unit of several blocks */
        for (; at < parts; at += block, w += bytes / step * block) {
            add_unit(sum, w, m->row_bytes, &x, at, type->block, rows, tokens, type);
        }
    }
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        store_sums(umbra_output(m, token + t, row), sum + t, rows);
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

/* Tokens from `first` on. */
UMBRA_INLINE void matmul_tiles(const umbra_matmul *m, int row_begin, int row_end, int first,
                               const block_type *type)
{
    int step = umbra_row_block(m, MAX_ROWS);
    for (int row = row_begin; row < row_end; row += step) {
        int end = umbra_min_int(row_end, row + step);
        int t = first;
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

#define UMBRA_DEFINE_MATMUL(TYPE, name, halves, offset)                                            \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        matmul_tiles(m, row_begin, row_end, 0, &type_##name);                                      \
    }
#define UMBRA_SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##name;

#endif
