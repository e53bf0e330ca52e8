/* Products with many tokens for AVX-512: 16 rows lie in the lanes of a register, and all tokens
 * pass over eight parts of them. See avx512_blocks.c for the order of sums. */
#ifndef UMBRA_KERNELS_X86_AVX512_PANEL_H
#define UMBRA_KERNELS_X86_AVX512_PANEL_H

#include "kernels/x86/avx512_octet.h"

enum {
    PANEL_ROWS = 16,             /* lanes of a register */
    PAIRS = UMBRA_Q16_BLOCK / 2, /* pairs of columns of a part */
    PANEL_TOKENS = 128,          /* that pass over a panel; their sums are on the stack */
    TILE_TOKENS = 8,
};

/* Eight parts of 16 rows. */
typedef struct panel {
    /* Pair i of part p: of each row, columns 2 i and 2 i + 1. */
    __m512i w[OCTET][PAIRS];
    float scale[2 * OCTET][PANEL_ROWS], offset[OCTET][PANEL_ROWS];
} panel;

/* 16 rows of 16 numbers of 32 bits become 16 columns. */
UMBRA_INLINE void turn(__m512i out[16], const __m512i in[16])
{
    __m512i a[16], b[16];
    UMBRA_UNROLL(8)
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        const __m512i *from = a + 4 * i;
        b[4 * i] = _mm512_unpacklo_epi64(from[0], from[2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(from[0], from[2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(from[1], from[3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(from[1], from[3]);
    }
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) { /* column i of each quarter */
        __m512i even = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        __m512i even_behind = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        __m512i odd_behind = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
        out[i] = _mm512_shuffle_i32x4(even, even_behind, 0x88);
        out[4 + i] = _mm512_shuffle_i32x4(odd, odd_behind, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(even, even_behind, 0xdd);
        out[12 + i] = _mm512_shuffle_i32x4(odd, odd_behind, 0xdd);
    }
}

/* Returns the bytes of a row that the panel has. */
static size_t fill_panel(panel *to, octet rows[PANEL_ROWS], const umbra_matmul *m, const uint8_t *w,
                         int n, const block_type *type)
{
    const int scales = type->halves ? 2 : 1;
    size_t bytes = 0;
    for (int r = 0; r < PANEL_ROWS; r++) {
        bytes = type->unpack(&rows[r], w + (uint64_t)r * m->row_bytes, n);
        for (int i = 0; i < scales * n; i++) {
            to->scale[i][r] = rows[r].scale[i];
        }
        for (int i = 0; type->offset && i < n; i++) {
            to->offset[i][r] = rows[r].offset[i];
        }
    }
    for (int p = 0; p < n; p++) {
        __m512i lines[PANEL_ROWS];
        UMBRA_UNROLL(16)
        for (int r = 0; r < PANEL_ROWS; r++) {
            lines[r] = _mm512_loadu_si512(rows[r].w + (size_t)p * UMBRA_Q16_BLOCK);
        }
        turn(to->w[p], lines);
    }
    return bytes;
}

/* Sums by token and part of an octet, of 16 rows each. */
typedef float panel_sums[OCTET][PANEL_ROWS];

/* What the tokens of a tile read of an octet. */
typedef struct tile_tokens {
    const int16_t *q[TILE_TOKENS];
    const float *scale[TILE_TOKENS], *sum[TILE_TOKENS];
} tile_tokens;

UMBRA_INLINE __m512i two_columns(const int16_t *q)
{
    return _mm512_set1_epi32((int)umbra_load_u32(q));
}

/* Adds the pairs [first, first + PAIRS / scales) of part p, scaled. */
UMBRA_INLINE void add_pairs(panel_sums *sums, const panel *w, const tile_tokens *x, int p,
                            const int half, const int scales, const int tokens)
{
    __m512i dot[TILE_TOKENS];
    UMBRA_UNROLL(8)
    for (int t = 0; t < tokens; t++) {
        dot[t] = _mm512_setzero_si512();
    }
    UMBRA_UNROLL(16)
    for (int i = half * PAIRS / 2; i < half * PAIRS / 2 + PAIRS / scales; i++) {
        UMBRA_UNROLL(8)
        for (int t = 0; t < tokens; t++) {
            __m512i values = two_columns(x->q[t] + (size_t)p * UMBRA_Q16_BLOCK + 2 * (size_t)i);
            dot[t] = _mm512_dpwssd_epi32(dot[t], w->w[p][i], values);
        }
    }
    __m512 scale = _mm512_loadu_ps(w->scale[scales * p + half]);
    UMBRA_UNROLL(8)
    for (int t = 0; t < tokens; t++) {
        float *sum = sums[t][p];
        __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x->scale[t][p]));
        _mm512_storeu_ps(sum,
                         _mm512_fmadd_ps(factor, _mm512_cvtepi32_ps(dot[t]), _mm512_loadu_ps(sum)));
    }
}

UMBRA_INLINE void add_panel_offsets(panel_sums *sums, const panel *w, const tile_tokens *x, int p,
                                    const int tokens)
{
    __m512 offset = _mm512_loadu_ps(w->offset[p]);
    UMBRA_UNROLL(8)
    for (int t = 0; t < tokens; t++) {
        float *sum = sums[t][p];
        __m512 of_x = _mm512_set1_ps(x->sum[t][p]);
        _mm512_storeu_ps(sum, _mm512_fmadd_ps(offset, of_x, _mm512_loadu_ps(sum)));
    }
}

/* n parts from `at` on of a tile's tokens, the first of which is `token`. */
UMBRA_INLINE void add_tile(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                           size_t at, int n, const int tokens, const block_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    tile_tokens x;
    for (int t = 0; t < tokens; t++) {
        size_t from = umbra_token_row(m, token + t) * parts + at;
        x.q[t] = m->x->q + from * UMBRA_Q16_BLOCK;
        x.scale[t] = m->x->scale + from;
        x.sum[t] = m->x->sum + from;
    }
    for (int p = 0; p < n; p++) {
        if (type->halves) {
            add_pairs(sums, w, &x, p, 0, 2, tokens);
            add_pairs(sums, w, &x, p, 1, 2, tokens);
        } else {
            add_pairs(sums, w, &x, p, 0, 1, tokens);
        }
        if (type->offset) {
            add_panel_offsets(sums, w, &x, p, tokens);
        }
    }
}

/* All tokens of a block of them. */
static void add_tiles(panel_sums *sums, const panel *w, const umbra_matmul *m, int token,
                      int tokens, size_t at, int n, const block_type *type)
{
    int t = 0;
    for (; t + TILE_TOKENS <= tokens; t += TILE_TOKENS) {
        add_tile(sums + t, w, m, token + t, at, n, TILE_TOKENS, type);
    }
    if (t + 4 <= tokens) {
        add_tile(sums + t, w, m, token + t, at, n, 4, type);
        t += 4;
    }
    for (; t < tokens; t++) {
        add_tile(sums + t, w, m, token + t, at, n, 1, type);
    }
}

/* The eight sums of each row, in the order in which umbra_avx2_sum adds. */
static void store_panel_sums(float *out, panel_sums sum)
{
    __m512 v[OCTET];
    UMBRA_UNROLL(8)
    for (int i = 0; i < OCTET; i++) {
        v[i] = _mm512_loadu_ps(sum[i]);
    }
    __m512 even = _mm512_add_ps(_mm512_add_ps(v[0], v[4]), _mm512_add_ps(v[2], v[6]));
    __m512 odd = _mm512_add_ps(_mm512_add_ps(v[1], v[5]), _mm512_add_ps(v[3], v[7]));
    _mm512_storeu_ps(out, _mm512_add_ps(even, odd));
}

/* PANEL_ROWS rows times up to PANEL_TOKENS tokens. */
static void panel_block(const umbra_matmul *m, int row, int token, int tokens,
                        const block_type *type)
{
    panel_sums sums[PANEL_TOKENS];
    octet rows[PANEL_ROWS];
    panel w;
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const uint8_t *from = umbra_weight_row(m, row);
    memset(sums, 0, (size_t)tokens * sizeof *sums);
    for (size_t at = 0; at < parts; at += OCTET) {
        int n = parts - at < OCTET ? (int)(parts - at) : OCTET;
        from += fill_panel(&w, rows, m, from, n, type);
        add_tiles(sums, &w, m, token, tokens, at, n, type);
    }
    for (int t = 0; t < tokens; t++) {
        store_panel_sums(umbra_output(m, token + t, row), sums[t]);
    }
}

#endif
