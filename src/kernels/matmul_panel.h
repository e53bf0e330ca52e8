/* Products with many tokens: up to 16 parts of 16 rows are unpacked once, into a panel that stays
 * in the first-level cache, and all tokens pass over it, four at a time over two rows, whose sums
 * are in registers meanwhile. Rows longer than a panel keep their sums in memory from one to the
 * next. An instruction set's file includes this behind matmul_blocks.h, whose tiles give the same
 * bits: each (row, token) has one accumulator that takes the same numbers in the same order. It
 * defines two functions more:
 *
 *   keep_values(x)            x as it is, which the compiler has to load into registers
 *   store_pair(out, n, sum)   out[t * n + r] = the lanes of sum[r * MAX_TOKENS + t] added as
 * store_sums does, of two rows and four tokens
 *
 * Types with load_minima are left to the tiles. */
#ifndef UMBRA_KERNELS_MATMUL_PANEL_H
#define UMBRA_KERNELS_MATMUL_PANEL_H

#include <string.h>

#include "kernels/matmul_blocks.h"

enum {
    PANEL_ROWS = 16,
    PANEL_PARTS = 16,
    PANEL_TOKENS = 64,       /* that pass over a panel; their sums are on the stack */
    PANEL_LEAST_TOKENS = 16, /* fewer do not repay it */
    PAIR_ROWS = 2,
};

typedef struct row_pair {
    integers row[PAIR_ROWS];
} row_pair;

typedef struct panel {
    int units, parts; /* how many, and parts of each */
    bool first, last; /* of its rows */
    float scale[PANEL_ROWS][2 * PANEL_PARTS];
    float offset[PANEL_ROWS][PANEL_PARTS];
    row_pair w[PANEL_ROWS / PAIR_ROWS][PANEL_PARTS];
} panel;

/* Sums of four tokens over all rows of a panel, two rows at a time. */
typedef lanes panel_sums[PANEL_ROWS * MAX_TOKENS];

/* Row `r` of the unit whose parts begin at `at`; parts: of a unit or of a block. */
UMBRA_INLINE void fill_row(panel *to, int r, int at, const uint8_t *unit, const int parts,
                           const block_type *type)
{
    const int group = parts < type->group ? parts : type->group, scales = type->halves ? 2 : 1;
    umbra_block_scales s;
    type->load_scales(unit, &s, parts);
    memcpy(to->scale[r] + scales * at, s.scale, (size_t)(scales * parts) * sizeof *s.scale);
    if (type->offset) {
        memcpy(to->offset[r] + at, s.offset, (size_t)parts * sizeof *s.offset);
    }
    row_pair *w = to->w[r / PAIR_ROWS] + at;
    for (int first = 0; first < parts; first += group) {
        UMBRA_UNROLL(8)
        for (int p = 0; p < group; p++) {
            w[first + p].row[r % PAIR_ROWS] = type->load_part(unit, &s, first, p);
        }
    }
}

UMBRA_INLINE void fill_unit(panel *to, int at, const uint8_t *unit, uint64_t row_bytes,
                            const int parts, const block_type *type)
{
    for (int r = 0; r < PANEL_ROWS; r++, unit += row_bytes) {
        fill_row(to, r, at, unit, parts, type);
    }
}

/* As much as fits of what `left` parts of the rows have. Returns the bytes of it in a row. */
UMBRA_INLINE size_t fill_panel(panel *to, const uint8_t *w, uint64_t row_bytes, size_t left,
                               const block_type *type)
{
    const size_t bytes = (size_t)type->bytes;
    to->units = 0;
    to->parts = type->parts;
    while ((to->units + 1) * type->parts <= PANEL_PARTS &&
           left >= (size_t)((to->units + 1) * type->parts)) {
        fill_unit(to, to->units * type->parts, w + (size_t)to->units * bytes, row_bytes,
                  type->parts, type);
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

UMBRA_INLINE lanes add_all_offsets(lanes sum, const float *offset, const float *x_sum, int parts)
{
    return parts == UMBRA_PARTS_MAX        ? add_offsets(sum, offset, x_sum, UMBRA_PARTS_MAX)
           : parts == UMBRA_BLOCKS_AT_ONCE ? add_offsets(sum, offset, x_sum, UMBRA_BLOCKS_AT_ONCE)
                                           : add_offsets(sum, offset, x_sum, 1);
}

/* Scales of two rows times those of four tokens. */
typedef struct pair_factors {
    float of[PAIR_ROWS][MAX_TOKENS][2 * PANEL_PARTS];
} pair_factors;

/* Those of all units, of `parts` parts or twice as many halves each. */
UMBRA_INLINE void multiply_units(pair_factors *to, const panel *w, int row, const tile_tokens *x,
                                 size_t at, const int parts, const bool halves)
{
    for (int first = 0; first < w->units * parts; first += parts) {
        UMBRA_UNROLL(8)
        for (int i = 0; i < PAIR_ROWS * MAX_TOKENS; i++) {
            int r = i / MAX_TOKENS, t = i % MAX_TOKENS;
            const float *scale = x->scale[t] + at + first;
            if (halves) {
                multiply_halves(to->of[r][t] + 2 * first, w->scale[row + r] + 2 * first, scale,
                                parts);
            } else {
                multiply_scales(to->of[r][t] + first, w->scale[row + r] + first, scale, parts);
            }
        }
    }
}

UMBRA_INLINE void multiply_all(pair_factors *to, const panel *w, int row, const tile_tokens *x,
                               size_t at, const bool halves)
{
    if (w->parts == UMBRA_PARTS_MAX) {
        multiply_units(to, w, row, x, at, UMBRA_PARTS_MAX, halves);
    } else if (halves) {
        multiply_units(to, w, row, x, at, 2, true);
    } else if (w->parts == UMBRA_BLOCKS_AT_ONCE) {
        multiply_units(to, w, row, x, at, UMBRA_BLOCKS_AT_ONCE, false);
    } else {
        multiply_units(to, w, row, x, at, 1, false);
    }
}

/* Parts [from, to) of two rows times four tokens, whose parts of the panel begin at `at`. */
UMBRA_INLINE void add_pair_parts(lanes *sum, const row_pair *w, const pair_factors *factor,
                                 const tile_tokens *x, size_t at, int from, int to,
                                 const bool halves)
{
    for (int p = from; p < to; p++) {
        UMBRA_UNROLL(4)
        for (int t = 0; t < MAX_TOKENS; t++) {
            integers v = keep_values(load_values(x->q[t] + (at + (size_t)p) * UMBRA_Q16_BLOCK));
            UMBRA_UNROLL(2)
            for (int r = 0; r < PAIR_ROWS; r++) {
                lanes *sum_of = sum + r * MAX_TOKENS + t;
                const float *f = factor->of[r][t] + (halves ? 2 : 1) * p;
                *sum_of = halves ? add_halves(*sum_of, w[p].row[r], v, f)
                                 : add_dot(*sum_of, w[p].row[r], v, *f);
            }
        }
    }
}

/* Rows `row` and the next of the panel times four tokens, whose parts of it begin at `at`. */
UMBRA_INLINE void add_pair(lanes *sum, const panel *w, int row, const tile_tokens *x, size_t at,
                           const bool halves, const bool offset)
{
    pair_factors factor;
    int parts = w->units * w->parts;
    multiply_all(&factor, w, row, x, at, halves);
    UMBRA_KEEP_IN_MEMORY(factor);
    const row_pair *weights = w->w[row / PAIR_ROWS];
    if (!offset) {
        add_pair_parts(sum, weights, &factor, x, at, 0, parts, halves);
        return;
    }
    for (int first = 0; first < parts; first += w->parts) {
        UMBRA_UNROLL(8)
        for (int i = 0; i < PAIR_ROWS * MAX_TOKENS; i++) {
            const float *offsets = w->offset[row + i / MAX_TOKENS] + first;
            const float *x_sum = x->sum[i % MAX_TOKENS] + at + first;
            sum[i] = add_all_offsets(sum[i], offsets, x_sum, w->parts);
        }
        add_pair_parts(sum, weights, &factor, x, at, first, first + w->parts, halves);
    }
}

/* The panel, of rows `row` and on of the matrix, times the four tokens from `token` on. */
UMBRA_INLINE void add_four(lanes *sums, const panel *w, const umbra_matmul *m, int row, int token,
                           size_t at, const bool halves, const bool offset)
{
    tile_tokens x = find_tokens(m, token, MAX_TOKENS);
    for (int r = 0; r < PANEL_ROWS; r += PAIR_ROWS) {
        lanes sum[PAIR_ROWS * MAX_TOKENS], *kept = sums + r * MAX_TOKENS;
        UMBRA_UNROLL(8)
        for (int i = 0; i < PAIR_ROWS * MAX_TOKENS; i++) {
            sum[i] = w->first ? no_lanes() : kept[i];
        }
        add_pair(sum, w, r, &x, at, halves, offset);
        if (w->last) {
            store_pair(umbra_output(m, token, row + r), m->out_stride, sum);
            continue;
        }
        UMBRA_UNROLL(8)
        for (int i = 0; i < PAIR_ROWS * MAX_TOKENS; i++) {
            kept[i] = sum[i];
        }
    }
}

typedef void add_four_fn(lanes *sums, const panel *w, const umbra_matmul *m, int row, int token,
                         size_t at);

static void add_four_plain(lanes *sums, const panel *w, const umbra_matmul *m, int row, int token,
                           size_t at)
{
    add_four(sums, w, m, row, token, at, false, false);
}

static void add_four_offset(lanes *sums, const panel *w, const umbra_matmul *m, int row, int token,
                            size_t at)
{
    add_four(sums, w, m, row, token, at, false, true);
}

static void add_four_halves(lanes *sums, const panel *w, const umbra_matmul *m, int row, int token,
                            size_t at)
{
    add_four(sums, w, m, row, token, at, true, false);
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
    for (size_t at = 0; at < parts; at += (size_t)(w.units * w.parts)) {
        from += type->fill(&w, from, m->row_bytes, parts - at);
        w.first = at == 0;
        w.last = at + (size_t)(w.units * w.parts) == parts;
        for (int t = 0; t < tokens; t += MAX_TOKENS) {
            type->add(sums[t / MAX_TOKENS], &w, m, row, token + t, at);
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
