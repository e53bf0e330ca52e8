/* Products with many tokens: up to eight parts of 16 rows are unpacked once, into a panel that
 * stays in the first-level cache, and all tokens pass over it, four at a time over two rows. Sums
 * lie in memory meanwhile. An instruction set's file includes this behind matmul_blocks.h, whose
 * tiles give the same bits: each (row, token) has one accumulator that takes the same numbers in
 * the same order.
 *
 * Types with load_minima are left to the tiles. */
#ifndef UMBRA_KERNELS_MATMUL_PANEL_H
#define UMBRA_KERNELS_MATMUL_PANEL_H

#include "kernels/matmul_blocks.h"

enum {
    PANEL_ROWS = 16,
    PANEL_TOKENS = 64,       /* that pass over a panel; their sums are on the stack */
    PANEL_LEAST_TOKENS = 16, /* fewer do not repay it */
    PANEL_UNITS = 2,         /* units of four parts that a panel has */
    PAIR_ROWS = 2,
};

typedef struct panel {
    int units, parts; /* how many, and parts of each */
    umbra_block_scales s[PANEL_UNITS][PANEL_ROWS];
    integers w[UMBRA_PARTS_MAX][PANEL_ROWS];
} panel;

/* Sums of four tokens, rows in order: as store_sums takes them. */
typedef lanes panel_sums[PANEL_ROWS * MAX_TOKENS];

/* Unit `u` of all rows; parts: of a unit or of a block. */
UMBRA_INLINE void fill_unit(panel *to, int u, const uint8_t *unit, uint64_t row_bytes,
                            const int parts, const block_type *type)
{
    const int group = parts < type->group ? parts : type->group;
    for (int r = 0; r < PANEL_ROWS; r++, unit += row_bytes) {
        umbra_block_scales *s = &to->s[u][r];
        type->load_scales(unit, s, parts);
        for (int first = 0; first < parts; first += group) {
            UMBRA_UNROLL(8)
            for (int p = 0; p < group; p++) {
                to->w[u * parts + first + p][r] = type->load_part(unit, s, first, p);
            }
        }
    }
}

/* As much as fits of what `left` parts of the rows have. Returns the bytes of it in a row. */
UMBRA_INLINE size_t fill_panel(panel *to, const uint8_t *w, uint64_t row_bytes, size_t left,
                               const block_type *type)
{
    const size_t bytes = (size_t)type->bytes;
    to->units = 0;
    to->parts = type->parts;
    while (to->units * type->parts < UMBRA_PARTS_MAX &&
           left >= (size_t)((to->units + 1) * type->parts)) {
        fill_unit(to, to->units, w + (size_t)to->units * bytes, row_bytes, type->parts, type);
        to->units++;
    }
    if (to->units == 0) { /* a unit of several blocks: one of them */
        fill_unit(to, 0, w, row_bytes, type->block, type);
        to->units = 1;
        to->parts = type->block;
        return bytes / (size_t)type->parts * (size_t)type->block;
    }
    return (size_t)to->units * bytes;
}

/* Scales of weights times those of activations: those of a unit's parts, or of their halves. */
UMBRA_INLINE void multiply_all(float *out, const umbra_block_scales *s, const float *scale,
                               int parts, const bool halves)
{
    if (parts == UMBRA_PARTS_MAX && halves) {
        multiply_halves(out, s->scale, scale, UMBRA_PARTS_MAX);
    } else if (parts == UMBRA_PARTS_MAX) {
        multiply_scales(out, s->scale, scale, UMBRA_PARTS_MAX);
    } else if (halves) {
        multiply_halves(out, s->scale, scale, 2);
    } else if (parts == UMBRA_BLOCKS_AT_ONCE) {
        multiply_scales(out, s->scale, scale, UMBRA_BLOCKS_AT_ONCE);
    } else {
        multiply_scales(out, s->scale, scale, 1);
    }
}

UMBRA_INLINE lanes add_all_offsets(lanes sum, const umbra_block_scales *s, const float *x_sum,
                                   int parts)
{
    return parts == UMBRA_PARTS_MAX ? add_offsets(sum, s->offset, x_sum, UMBRA_PARTS_MAX)
           : parts == UMBRA_BLOCKS_AT_ONCE
               ? add_offsets(sum, s->offset, x_sum, UMBRA_BLOCKS_AT_ONCE)
               : add_offsets(sum, s->offset, x_sum, 1);
}

/* Unit `u` of rows `row` and the next, times four tokens, whose parts begin at `at`. */
UMBRA_INLINE void add_pair_unit(lanes *sum, const panel *w, int u, int row, const tile_tokens *x,
                                size_t at, const bool halves, const bool offset)
{
    const int scales = halves ? 2 : 1;
    float factor[PAIR_ROWS][MAX_TOKENS][2 * UMBRA_PARTS_MAX];
    UMBRA_UNROLL(2)
    for (int r = 0; r < PAIR_ROWS; r++) {
        const umbra_block_scales *s = &w->s[u][row + r];
        UMBRA_UNROLL(4)
        for (int t = 0; t < MAX_TOKENS; t++) {
            lanes *to = sum + r * MAX_TOKENS + t;
            multiply_all(factor[r][t], s, x->scale[t] + at, w->parts, halves);
            *to = offset ? add_all_offsets(*to, s, x->sum[t] + at, w->parts) : *to;
        }
    }
    UMBRA_KEEP_IN_MEMORY(factor);
    for (int p = 0; p < w->parts; p++) {
        const integers *weights = w->w[u * w->parts + p] + row;
        UMBRA_UNROLL(4)
        for (int t = 0; t < MAX_TOKENS; t++) {
            integers v = load_values(x->q[t] + (at + (size_t)p) * UMBRA_Q16_BLOCK);
            UMBRA_UNROLL(2)
            for (int r = 0; r < PAIR_ROWS; r++) {
                lanes *to = sum + r * MAX_TOKENS + t;
                const float *f = factor[r][t] + scales * p;
                *to = halves ? add_halves(*to, weights[r], v, f) : add_dot(*to, weights[r], v, *f);
            }
        }
    }
}

UMBRA_INLINE void add_pair(lanes *all, const panel *w, int row, const tile_tokens *x, size_t at,
                           const bool halves, const bool offset)
{
    lanes sum[PAIR_ROWS * MAX_TOKENS];
    UMBRA_UNROLL(8)
    for (int i = 0; i < PAIR_ROWS * MAX_TOKENS; i++) {
        sum[i] = all[i];
    }
    for (int u = 0; u < w->units; u++) {
        add_pair_unit(sum, w, u, row, x, at + (size_t)(u * w->parts), halves, offset);
    }
    UMBRA_UNROLL(8)
    for (int i = 0; i < PAIR_ROWS * MAX_TOKENS; i++) {
        all[i] = sum[i];
    }
}

/* All rows times the four tokens from `token` on. */
UMBRA_INLINE void add_four(lanes *sums, const panel *w, const umbra_matmul *m, int token, size_t at,
                           const bool halves, const bool offset)
{
    tile_tokens x = find_tokens(m, token, MAX_TOKENS);
    for (int row = 0; row < PANEL_ROWS; row += PAIR_ROWS) {
        add_pair(sums + row * MAX_TOKENS, w, row, &x, at, halves, offset);
    }
}

typedef void add_four_fn(lanes *sums, const panel *w, const umbra_matmul *m, int token, size_t at);

static void add_four_plain(lanes *sums, const panel *w, const umbra_matmul *m, int token, size_t at)
{
    add_four(sums, w, m, token, at, false, false);
}

static void add_four_offset(lanes *sums, const panel *w, const umbra_matmul *m, int token,
                            size_t at)
{
    add_four(sums, w, m, token, at, false, true);
}

static void add_four_halves(lanes *sums, const panel *w, const umbra_matmul *m, int token,
                            size_t at)
{
    add_four(sums, w, m, token, at, true, false);
}

/* A weight type as the panels see it. */
typedef struct panel_type {
    /* fill_panel of the type; NULL: it has none. */
    size_t (*fill)(panel *to, const uint8_t *w, uint64_t row_bytes, size_t left);
    add_four_fn *add;
    /* matmul_tiles of the type. */
    void (*tiles)(const umbra_matmul *m, int row_begin, int row_end, int first);
} panel_type;

/* PANEL_ROWS rows times `tokens` tokens, a multiple of four and at most PANEL_TOKENS. */
static void panel_block(const umbra_matmul *m, int row, int token, int tokens,
                        const panel_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *from = umbra_weight_row(m, row);
    panel_sums sums[PANEL_TOKENS / MAX_TOKENS];
    panel w;
    for (int i = 0; i < tokens / MAX_TOKENS; i++) {
        for (int j = 0; j < PANEL_ROWS * MAX_TOKENS; j++) {
            sums[i][j] = no_lanes();
        }
    }
    for (size_t at = 0; at < parts; at += (size_t)(w.units * w.parts)) {
        from += type->fill(&w, from, m->row_bytes, parts - at);
        for (int t = 0; t < tokens; t += MAX_TOKENS) {
            type->add(sums[t / MAX_TOKENS], &w, m, token + t, at);
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < PANEL_ROWS; r += MAX_ROWS) {
            store_sums(umbra_output(m, token + t, row + r),
                       sums[t / MAX_TOKENS] + r * MAX_TOKENS + t % MAX_TOKENS, MAX_ROWS);
        }
    }
}

/* Panels where rows and tokens fill them, tiles for the rest. */
static void matmul_panels(const umbra_matmul *m, int row_begin, int row_end, const panel_type *type)
{
    int tokens = m->tokens / MAX_TOKENS * MAX_TOKENS, row = row_begin;
    bool repays = type->fill && tokens >= PANEL_LEAST_TOKENS;
    for (; repays && row + PANEL_ROWS <= row_end; row += PANEL_ROWS) {
        for (int t = 0; t < tokens; t += PANEL_TOKENS) {
            panel_block(m, row, t, umbra_min_int(PANEL_TOKENS, tokens - t), type);
        }
    }
    type->tiles(m, row_begin, row, tokens);
    type->tiles(m, row, row_end, 0);
}

/* matmul_NAME with panels, for a type of which type_NAME is known. */
#define UMBRA_DEFINE_PANEL_MATMUL(TYPE, name, has_halves, has_offset)                              \
    static size_t fill_##name(panel *to, const uint8_t *w, uint64_t row_bytes, size_t left)        \
    {                                                                                              \
        return fill_panel(to, w, row_bytes, left, &type_##name);                                   \
    }                                                                                              \
    static void tiles_##name(const umbra_matmul *m, int row_begin, int row_end, int first)         \
    {                                                                                              \
        matmul_tiles(m, row_begin, row_end, first, &type_##name);                                  \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        const panel_type type = {                                                                  \
            .fill = type_##name.load_minima ? NULL : fill_##name,                                  \
            .add = type_##name.halves   ? add_four_halves                                          \
                   : type_##name.offset ? add_four_offset                                          \
                                        : add_four_plain,                                          \
            .tiles = tiles_##name,                                                                 \
        };                                                                                         \
        matmul_panels(m, row_begin, row_end, &type);                                               \
    }

#endif
