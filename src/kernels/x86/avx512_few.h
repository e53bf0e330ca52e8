/* Products with one to three tokens for AVX-512 with VNNI, where turning the weights does not
 * repay. A register has two parts of one row as bytes; activations are split into two planes of
 * bytes, signed high ones and unsigned low ones, so that both instructions for bytes that there are
 * take them exactly. Then the sums of 16 rows are turned by the same tree that adds them up. */
#ifndef UMBRA_KERNELS_X86_AVX512_FEW_H
#define UMBRA_KERNELS_X86_AVX512_FEW_H

#include "kernels/x86/avx512_pairs.h"
#include "kernels/x86/avx512_sums.h"

enum {
    FEW_TOKENS = 3,
    FEW_UNITS = 16, /* whose activations are split at once */
    PIECES = PARTS / 2,
    AHEAD_BYTES = 4096,
    FIRST_BYTES = 256, /* of a row, asked for before all else */
};

/* A unit of a token. */
typedef struct few_token {
    uint8_t low[PARTS / 2][LINE], high[PARTS / 2][LINE]; /* of two parts each */
    /* What the bias of the weights adds to the products of each part, or of its halves. */
    int32_t excess[2 * PARTS];
    float scale[PARTS], sum[PARTS];
    float half[2 * PARTS]; /* sums of the integers */
} few_token;

/* The sums over the halves of each part, of activations or of their high bytes. */
UMBRA_INLINE void sum_halves(int32_t sums[2][LANE_ROWS], const __m512i q[PARTS], const bool high)
{
    __m512i pairs[LANE_ROWS], turned[2];
    UMBRA_UNROLL(16)
    for (int p = 0; p < LANE_ROWS; p++) {
        pairs[p] = _mm512_setzero_si512();
        if (p < PARTS) {
            __m512i v = high ? _mm512_srai_epi16(q[p], 8) : q[p];
            pairs[p] = _mm512_dpwssd_epi32(pairs[p], v, _mm512_set1_epi32(0x10001));
        }
    }
    add_lanes(turned, pairs, false);
    _mm512_storeu_si512(sums[0], turned[0]);
    _mm512_storeu_si512(sums[1], turned[1]);
}

UMBRA_INLINE void find_excess(few_token *to, const __m512i q[PARTS], const row_type *type)
{
    const int factor = type->wide ? 128 << 8 : type->bias;
    int32_t sums[2][LANE_ROWS];
    if (factor) {
        sum_halves(sums, q, type->wide);
    }
    for (int p = 0; factor && p < PARTS; p++) {
        if (type->halves) {
            to->excess[2 * p] = factor * sums[0][p];
            to->excess[2 * p + 1] = factor * sums[1][p];
        } else {
            to->excess[p] = factor * (sums[0][p] + sums[1][p]);
        }
    }
    if (type->halves && type->offset) {
        sum_halves(sums, q, false);
        for (int i = 0; i < 2 * PARTS; i++) {
            to->half[i] = (float)sums[i % 2][i / 2];
        }
    }
}

/* The `parts` parts from `from` on, of which there are 1 to 8; zeros behind them. */
UMBRA_INLINE void split_unit(few_token *to, const umbra_activations *x, size_t from, int parts,
                             const row_type *type)
{
    __m512i q[PARTS];
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        q[p] = _mm512_setzero_si512();
        if (p < parts) {
            q[p] = _mm512_loadu_si512(x->q + (from + (size_t)p) * UMBRA_Q16_BLOCK);
        }
        store_32(to->low[p / 2] + p % 2 * PART_BYTES, _mm512_cvtepi16_epi8(q[p]));
        __m256i high = _mm512_cvtepi16_epi8(_mm512_srai_epi16(q[p], 8));
        store_32(to->high[p / 2] + p % 2 * PART_BYTES, high);
    }
    find_excess(to, q, type);
    memcpy(to->scale, x->scale + from, (size_t)parts * sizeof(float));
    memcpy(to->sum, x->sum + from, (size_t)parts * sizeof(float));
}

/* Two parts of 16 rows and of some tokens. */
typedef struct few_pair {
    const unit_rows *rows;
    const unit_numbers *numbers;
    const row_type *type;
    int first;
    const few_token *x[FEW_TOKENS];
} few_pair;

/* Eight lanes of either part, which together are its products with row r, beside the excess. */
UMBRA_INLINE void multiply_row(__m512i out[FEW_TOKENS], const few_pair *a, int r, const int p,
                               const int tokens)
{
    __m512i w = a->type->load_pair(a->rows->at[r], &a->numbers->row[r], a->first, p);
    __m512i positive = w;
    if (a->type->wide) {
        positive = _mm512_xor_si512(w, _mm512_set1_epi8((char)128));
    }
    UMBRA_UNROLL(3)
    for (int t = 0; t < tokens; t++) {
        __m512i low = _mm512_loadu_si512(a->x[t]->low[(a->first + p) / 2]);
        __m512i high = _mm512_loadu_si512(a->x[t]->high[(a->first + p) / 2]);
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), positive, high);
        out[t] = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 8), low, w);
    }
}

UMBRA_INLINE void multiply_two(__m512i out[FEW_TOKENS], const few_pair *a, int r, const int p,
                               const int tokens)
{
    __m512i of[2][FEW_TOKENS];
    multiply_row(of[0], a, r, p, tokens);
    multiply_row(of[1], a, r + 1, p, tokens);
    UMBRA_UNROLL(3)
    for (int t = 0; t < tokens; t++) {
        out[t] = add_two(of[0][t], of[1][t]);
    }
}

/* The products of both parts, or of their halves, with each token. */
UMBRA_INLINE void multiply_pair(__m512 dot[FEW_TOKENS][4], const few_pair *a, const int p,
                                const int tokens)
{
    const row_type *type = a->type;
    const int dots = type->halves ? 4 : 2;
    __m512i four[FEW_TOKENS][4];
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m512i of[2][FEW_TOKENS];
        multiply_two(of[0], a, 4 * i, p, tokens);
        multiply_two(of[1], a, 4 * i + 2, p, tokens);
        UMBRA_UNROLL(3)
        for (int t = 0; t < tokens; t++) {
            four[t][i] = add_four(of[0][t], of[1][t]);
        }
    }
    UMBRA_UNROLL(3)
    for (int t = 0; t < tokens; t++) {
        const int32_t *excess = a->x[t]->excess + (a->first + p) * dots / 2;
        __m512i sums[4];
        add_fours(sums, four[t], type->halves);
        UMBRA_UNROLL(4)
        for (int i = 0; i < dots; i++) {
            if (type->wide || type->bias) {
                sums[i] = _mm512_sub_epi32(sums[i], _mm512_set1_epi32(excess[i]));
            }
            dot[t][i] = _mm512_cvtepi32_ps(sums[i]);
        }
    }
}

/* Both parts, or the first if there are no more than `parts`. */
UMBRA_INLINE void add_pair(__m512 *sum, const few_pair *a, const int p, int parts, const int tokens)
{
    const unit_numbers *n = a->numbers;
    __m512 dot[FEW_TOKENS][4];
    multiply_pair(dot, a, p, tokens);
    UMBRA_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        int part = a->first + p + i;
        if (i == 1 && part >= parts) {
            break;
        }
        UMBRA_UNROLL(3)
        for (int t = 0; t < tokens; t++) {
            const few_token *x = a->x[t];
            __m512 of_x = _mm512_set1_ps(x->scale[part]);
            if (a->type->halves) {
                __m512 first = scale_first_half(n, part, dot[t][2 * i]);
                sum[t] = add_halves(sum[t], n, part, of_x, x->half + 2 * part, first,
                                    dot[t][2 * i + 1], a->type->offset);
            } else {
                sum[t] =
                    add_scaled(sum[t], n, part, of_x, x->sum + part, dot[t][i], a->type->offset);
            }
        }
    }
}

/* How many rows ahead of those at work are asked for: a multiple of 16, no fewer than come while a
 * line is on its way. */
UMBRA_INLINE int rows_ahead(const umbra_matmul *m)
{
    size_t bytes = LANE_ROWS * m->row_bytes;
    return LANE_ROWS * (int)((AHEAD_BYTES + bytes - 1) / bytes);
}

/* Asks for piece i of PIECES of what comes next: into the first cache for the next unit of each
 * row, into the second for the rows `ahead`. Rows lie one behind the other, and are asked for as
 * one stream: as 16, or many lines at once, they come at half the speed or less. Beyond the
 * matrix's end that is only a hint wasted. */
UMBRA_INLINE void prefetch_next(const umbra_matmul *m, int row, size_t part, const unit_rows *of,
                                int bytes, int ahead, int i)
{
    const int rows = LANE_ROWS / PIECES;
    uintptr_t far =
        (uintptr_t)umbra_weight_row(m, row + ahead) + part / PARTS * (size_t)(LANE_ROWS * bytes);
    for (int at = (i * rows * bytes + LINE - 1) & -LINE; at < (i + 1) * rows * bytes; at += LINE) {
        __builtin_prefetch((const void *)(far + (uintptr_t)at), 0, 2);
    }
    for (int r = i * rows; r < (i + 1) * rows; r++) {
        uintptr_t near = (uintptr_t)of->at[r] + (uintptr_t)bytes;
        for (int at = 0; at < bytes; at += LINE) {
            __builtin_prefetch((const void *)(near + (uintptr_t)at), 0, 3);
        }
    }
}

/* Parts [part, part_end) of up to 16 rows, of which `left` are left, join their sums, which lie in
 * the output. */
UMBRA_INLINE void add_rows(const umbra_matmul *m, int row, int left, size_t part, size_t part_end,
                           int ahead, few_token x[FEW_UNITS][FEW_TOKENS], const int tokens,
                           const row_type *type)
{
    const int rows = umbra_min_int(LANE_ROWS, left);
    __m512 sum[FEW_TOKENS];
    UMBRA_UNROLL(3)
    for (int t = 0; t < tokens; t++) {
        sum[t] = part ? load_sums(umbra_output(m, t, row), rows) : _mm512_setzero_ps();
    }
    for (; part < part_end; part += PARTS, x++) {
        unit_rows of;
        unit_tail tail;
        unit_numbers n;
        few_pair pair = {&of, &n, type, 0, {x[0], x[0] + 1, x[0] + 2}};
        int parts = part_end - part < PARTS ? (int)(part_end - part) : PARTS;
        find_unit(&of, tail, m, row, left, part, type);
        type->load_numbers(&n, &of);
        for (; pair.first < parts; pair.first += type->group) {
            UMBRA_UNROLL(4)
            for (int p = 0; p < type->group; p += 2) {
                prefetch_next(m, row, part, &of, type->bytes, ahead, (pair.first + p) / 2);
                add_pair(sum, &pair, p, parts, tokens);
            }
        }
    }
    UMBRA_UNROLL(3)
    for (int t = 0; t < tokens; t++) {
        store_sums(umbra_output(m, t, row), sum[t], rows);
    }
}

/* Asks for the beginnings of rows that are nobody's rows ahead. */
UMBRA_INLINE void prefetch_first(const umbra_matmul *m, int row_begin, int row_end, int ahead)
{
    size_t bytes = m->row_bytes < FIRST_BYTES ? m->row_bytes : FIRST_BYTES;
    int end = umbra_min_int(row_end, row_begin + ahead);
    for (int row = row_begin; row < end; row++) {
        for (size_t at = 0; at < bytes; at += LINE) {
            __builtin_prefetch(umbra_weight_row(m, row) + at, 0, 3);
        }
    }
}

/* All rows times all tokens, `tokens` of them. */
UMBRA_INLINE void matmul_few(const umbra_matmul *m, int row_begin, int row_end, const int tokens,
                             const row_type *type)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK, end;
    few_token x[FEW_UNITS][FEW_TOKENS];
    const int ahead = rows_ahead(m);
    prefetch_first(m, row_begin, row_end, ahead);
    for (size_t part = 0; part < all; part = end) {
        end = all - part < FEW_UNITS * PARTS ? all : part + FEW_UNITS * PARTS;
        for (size_t at = part; at < end; at += PARTS) {
            int parts = end - at < PARTS ? (int)(end - at) : PARTS;
            for (int t = 0; t < tokens; t++) {
                size_t from = umbra_token_row(m, t) * all + at;
                split_unit(&x[(at - part) / PARTS][t], m->x, from, parts, type);
            }
        }
        for (int row = row_begin; row < row_end; row += LANE_ROWS) {
            add_rows(m, row, row_end - row, part, end, ahead, x, tokens, type);
        }
    }
}

#endif
