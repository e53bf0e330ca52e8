/* Products with many tokens for AVX-512 with VNNI: 16 rows lie in the lanes of a register. Up to
 * eight parts of them are unpacked and turned once, into a panel that stays in the caches, and all
 * tokens pass over it. Sums lie in memory meanwhile. The bits are those of AVX2's tiles, which
 * compute what is not enough for a panel: lane j of a tile's accumulator is register j here. */
#ifndef UMBRA_KERNELS_X86_AVX512_PANEL_H
#define UMBRA_KERNELS_X86_AVX512_PANEL_H

#include "kernels/x86/avx2_grid_blocks.h"
#include "kernels/x86/avx512_turn.h"

enum {
    PANEL_ROWS = 16,             /* lanes of a register */
    PANEL_TOKENS = 64,           /* that pass over a panel; their sums are on the stack */
    PAIRS = UMBRA_Q16_BLOCK / 2, /* pairs of columns of a part */
    SUMS = 8,        /* of a row and a token: sum j has pairs j and j + 8 of each part */
    PANEL_UNITS = 2, /* units of four parts that a panel has */
};

/* As block_type in matmul_blocks.h. */
typedef struct unit_type {
    void (*load_scales)(const uint8_t *unit, umbra_block_scales *out, int parts);
    umbra_halves (*load_part)(const uint8_t *unit, const umbra_block_scales *s, int first, int p);
    int bytes, parts, block, group;
    bool offset, halves;
} unit_type;

/* Some parts of 16 rows. */
typedef struct panel {
    int units, parts; /* how many, and parts of each */
    /* Pair i of part p: of each row, columns 2 i and 2 i + 1. */
    __m512i w[UMBRA_PARTS_MAX][PAIRS];
    float scale[2 * UMBRA_PARTS_MAX][PANEL_ROWS]; /* by part, or by half of a part */
    float offset[UMBRA_PARTS_MAX][PANEL_ROWS];
} panel;

/* What a token adds to the rows of a panel. */
typedef float panel_sums[SUMS][PANEL_ROWS];

/* `parts` parts of one row, unpacked: weights to `to`, scales to column r of the panel. */
UMBRA_INLINE void unpack_row(panel *w, int16_t *to, int first_part, int r, const uint8_t *unit,
                             const int parts, const unit_type *type)
{
    const int group = parts < type->group ? parts : type->group, scales = type->halves ? 2 : 1;
    umbra_block_scales s;
    type->load_scales(unit, &s, parts);
    for (int i = 0; i < scales * parts; i++) {
        w->scale[scales * first_part + i][r] = s.scale[i];
    }
    for (int i = 0; type->offset && i < parts; i++) {
        w->offset[first_part + i][r] = s.offset[i];
    }
    for (int first = 0; first < parts; first += group) {
        UMBRA_UNROLL(8)
        for (int p = 0; p < group; p++, to += UMBRA_Q16_BLOCK) {
            umbra_halves values = type->load_part(unit, &s, first, p);
            store_32(to, values.low);
            store_32(to + UMBRA_HALF_PART, values.high);
        }
    }
}

/* Unpacked parts of the rows. */
typedef int16_t panel_rows[PANEL_ROWS][UMBRA_PARTS_MAX * UMBRA_Q16_BLOCK];

/* One unit of all rows behind those that the panel has; parts: of a unit or of a block. */
UMBRA_INLINE void unpack_unit(panel *w, panel_rows rows, const uint8_t *unit, uint64_t row_bytes,
                              const int parts, const unit_type *type)
{
    int first = w->units * parts;
    for (int r = 0; r < PANEL_ROWS; r++, unit += row_bytes) {
        unpack_row(w, rows[r] + (size_t)first * UMBRA_Q16_BLOCK, first, r, unit, parts, type);
    }
    w->parts = parts;
    w->units++;
}

/* As much as fits of what `left` parts of the rows have. Returns the bytes of it in a row. */
UMBRA_INLINE size_t unpack_units(panel *w, panel_rows rows, const uint8_t *from, uint64_t row_bytes,
                                 size_t left, const unit_type *type)
{
    const uint8_t *start = from;
    w->units = 0;
    if (left < (size_t)type->parts) { /* a unit of several blocks: one of them */
        unpack_unit(w, rows, from, row_bytes, type->block, type);
        return (size_t)(type->bytes / type->parts * type->block);
    }
    for (int at = type->parts; at <= UMBRA_PARTS_MAX && (size_t)at <= left; at += type->parts) {
        unpack_unit(w, rows, from, row_bytes, type->parts, type);
        from += type->bytes;
    }
    return (size_t)(from - start);
}

static void turn_parts(panel *w, panel_rows rows)
{
    for (int p = 0; p < w->units * w->parts; p++) {
        __m512i lines[PANEL_ROWS];
        UMBRA_UNROLL(16)
        for (int r = 0; r < PANEL_ROWS; r++) {
            lines[r] = _mm512_loadu_si512(rows[r] + (size_t)p * UMBRA_Q16_BLOCK);
        }
        turn(w->w[p], lines);
    }
}

/* What a token has of a panel's columns. */
typedef struct panel_token {
    const int16_t *q;
    const float *scale, *sum;
} panel_token;

/* The products of two columns of a token, q[0] and q[1], join the sums of all rows. Written as the
 * instruction: compilers put the columns of all pairs into registers first, and run out of them. */
#ifndef UMBRA_ADD_COLUMNS
typedef struct two_columns {
    int16_t q[2];
} __attribute__((may_alias)) two_columns;

UMBRA_INLINE __m512i add_columns(__m512i sum, __m512i w, const int16_t *q)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0"
            : "+v"(sum)
            : "v"(w), "m"(*(const two_columns *)(const void *)q));
    return sum;
}
#define UMBRA_ADD_COLUMNS add_columns
#endif

UMBRA_INLINE __m512 add_scaled(__m512 sum, __m512 factor, __m512i dot)
{
    return _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(dot), sum);
}

/* Part p. */
UMBRA_INLINE void add_part(__m512 *sum, const panel *w, int p, const panel_token *x,
                           const int tokens, const bool halves)
{
    __m512 factor[2][2];
    UMBRA_UNROLL(2)
    for (int t = 0; t < tokens; t++) {
        __m512 of_x = _mm512_set1_ps(x[t].scale[p]);
        UMBRA_UNROLL(2)
        for (int h = 0; h < 1 + halves; h++) {
            factor[t][h] = _mm512_mul_ps(_mm512_loadu_ps(w->scale[(1 + halves) * p + h]), of_x);
        }
    }
    UMBRA_UNROLL(8)
    for (int j = 0; j < SUMS; j++) {
        UMBRA_UNROLL(2)
        for (int t = 0; t < tokens; t++) {
            const int16_t *q = x[t].q + (size_t)p * UMBRA_Q16_BLOCK + 2 * (size_t)j;
            __m512 *to = sum + t * SUMS + j;
            __m512i dot = UMBRA_ADD_COLUMNS(_mm512_setzero_si512(), w->w[p][j], q);
            if (halves) {
                *to = add_scaled(*to, factor[t][0], dot);
                dot = _mm512_setzero_si512();
            }
            dot = UMBRA_ADD_COLUMNS(dot, w->w[p][SUMS + j], q + UMBRA_HALF_PART);
            *to = add_scaled(*to, factor[t][halves], dot);
        }
    }
}

/* The offsets of a unit's parts, in the order and with the roundings of add_offsets for AVX2. */
UMBRA_INLINE void add_unit_offsets(__m512 *sum, const panel *w, int first, const float *x_sum)
{
    UMBRA_UNROLL(8)
    for (int p = 0; p < UMBRA_PARTS_MAX; p++) {
        if (w->parts == UMBRA_PARTS_MAX) {
            sum[p] =
                _mm512_fmadd_ps(_mm512_loadu_ps(w->offset[p]), _mm512_set1_ps(x_sum[p]), sum[p]);
        } else {
            __m512 product = p >= w->parts ? _mm512_setzero_ps()
                                           : _mm512_mul_ps(_mm512_loadu_ps(w->offset[first + p]),
                                                           _mm512_set1_ps(x_sum[first + p]));
            sum[p] = _mm512_add_ps(sum[p], product);
        }
    }
}

/* The panel times one token or two. */
UMBRA_INLINE void add_tokens(panel_sums *all, const panel *w, const panel_token *x,
                             const int tokens, const bool halves, const bool offset)
{
    __m512 sum[2 * SUMS];
    UMBRA_UNROLL(16)
    for (int i = 0; i < tokens * SUMS; i++) {
        sum[i] = _mm512_loadu_ps(all[i / SUMS][i % SUMS]);
    }
    for (int u = 0; u < w->units; u++) {
        UMBRA_UNROLL(2)
        for (int t = 0; offset && t < tokens; t++) {
            add_unit_offsets(sum + t * SUMS, w, u * w->parts, x[t].sum);
        }
        for (int p = u * w->parts; p < (u + 1) * w->parts; p++) {
            add_part(sum, w, p, x, tokens, halves);
        }
    }
    UMBRA_UNROLL(16)
    for (int i = 0; i < tokens * SUMS; i++) {
        _mm512_storeu_ps(all[i / SUMS][i % SUMS], sum[i]);
    }
}

/* The panel, whose first part is part `at` of the rows, times `tokens` tokens. */
UMBRA_INLINE void add_panel(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                            int tokens, size_t at, const bool halves, const bool offset)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    for (int t = 0; t < tokens; t += 2) {
        panel_token x[2];
        for (int i = 0; i < 2 && t + i < tokens; i++) {
            size_t from = umbra_token_row(m, token + t + i) * parts + at;
            x[i] = (panel_token){m->x->q + from * UMBRA_Q16_BLOCK, m->x->scale + from,
                                 m->x->sum + from};
        }
        if (t + 1 < tokens) {
            add_tokens(sums + t, w, x, 2, halves, offset);
        } else {
            add_tokens(sums + t, w, x, 1, halves, offset);
        }
    }
}

typedef void add_panel_fn(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                          int tokens, size_t at);

static void add_panel_plain(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                            int tokens, size_t at)
{
    add_panel(sums, w, m, token, tokens, at, false, false);
}

static void add_panel_offset(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                             int tokens, size_t at)
{
    add_panel(sums, w, m, token, tokens, at, false, true);
}

static void add_panel_halves(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                             int tokens, size_t at)
{
    add_panel(sums, w, m, token, tokens, at, true, false);
}

/* The sums of each row, in the order in which umbra_avx2_sum adds. */
UMBRA_INLINE void store_panel_sums(float *out, panel_sums sum)
{
    __m512 v[SUMS];
    UMBRA_UNROLL(8)
    for (int i = 0; i < SUMS; i++) {
        v[i] = _mm512_loadu_ps(sum[i]);
    }
    __m512 even = _mm512_add_ps(_mm512_add_ps(v[0], v[4]), _mm512_add_ps(v[2], v[6]));
    __m512 odd = _mm512_add_ps(_mm512_add_ps(v[1], v[5]), _mm512_add_ps(v[3], v[7]));
    _mm512_storeu_ps(out, _mm512_add_ps(even, odd));
}

/* A weight type as the panels see it. */
typedef struct panel_type {
    /* unpack_units of the type. */
    size_t (*unpack)(panel *w, panel_rows rows, const uint8_t *from, uint64_t row_bytes,
                     size_t left);
    add_panel_fn *add;
} panel_type;

/* PANEL_ROWS rows times up to PANEL_TOKENS tokens. */
static void panel_block(const umbra_matmul *m, int row, int token, int tokens,
                        const panel_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *from = umbra_weight_row(m, row);
    panel_sums sums[PANEL_TOKENS];
    panel_rows rows;
    panel w;
    memset(sums, 0, (size_t)tokens * sizeof *sums);
    for (size_t at = 0; at < parts; at += (size_t)(w.units * w.parts)) {
        from += type->unpack(&w, rows, from, m->row_bytes, parts - at);
        turn_parts(&w, rows);
        type->add(sums, &w, m, token, tokens, at);
    }
    for (int t = 0; t < tokens; t++) {
        store_panel_sums(umbra_output(m, token + t, row), sums[t]);
    }
}

#endif
