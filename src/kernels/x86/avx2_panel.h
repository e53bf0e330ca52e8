/* Products with many tokens for AVX2, in the order of sums that AVX-512 has (avx512_sums.h): up to
 * 16 parts of 16 rows are unpacked, turned and widened to 16 bits once, into a panel that stays in
 * the first-level cache, and all tokens pass over it, up to four at a time. */
#ifndef UMBRA_KERNELS_X86_AVX2_PANEL_H
#define UMBRA_KERNELS_X86_AVX2_PANEL_H

#include "kernels/x86/avx2_columns.h"
#include "kernels/x86/avx2_sums.h"

enum {
    PANEL_ROWS = PANEL_STRIPS * LANE_ROWS,
    PANEL_UNITS = 2,
    PANEL_PARTS = PANEL_UNITS * PARTS,
    PANEL_TOKENS = 128, /* that pass over a panel */
    SPAN_PARTS = 64,    /* of those tokens stay in the second-level cache */
    GROUP_TOKENS = 4,   /* at a time: their sums fit in registers */
    MOST_TOKENS = 5,    /* so that five are not two groups */
};

typedef struct panel {
    part_pairs w[PANEL_PARTS];
    unit_numbers numbers[PANEL_UNITS][PANEL_STRIPS];
} panel;

/* Tokens and parts that pass over the panels of all rows before others do, so that they stay in the
 * second-level cache. */
typedef struct panel_span {
    int token, token_end;
    size_t part, part_end;
    /* The sums of the 16 integers of each half of a part, where halves have offsets. */
    float half[PANEL_TOKENS][2 * SPAN_PARTS];
} panel_span;

/* What a token has of a panel's columns. */
typedef struct panel_token {
    const int16_t *q;
    const float *scale, *sum;
    const float *half; /* sums of the integers of halves, where these have offsets */
} panel_token;

/* Written as the instructions: compilers keep more of them open than there are registers. */
#ifndef UMBRA_ADD_PAIRS
UMBRA_INLINE __m256i add_pairs(__m256i sum, __m256i w, __m256i x)
{
    __m256i products;
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(products)
            : "x"(w), "x"(x));
    return sum;
}
#define UMBRA_ADD_PAIRS add_pairs
#endif

/* The products of pairs [pair, pair_end) of part p. */
UMBRA_INLINE void multiply_pairs(__m256i *dot, const panel *w, const panel_token *x, int p,
                                 int pair, int pair_end, const int tokens)
{
    UMBRA_UNROLL(10)
    for (int i = 0; i < tokens * PANEL_STRIPS; i++) {
        dot[i] = _mm256_setzero_si256();
    }
    UMBRA_UNROLL(1)
    for (int i = pair; i < pair_end; i++) {
        __m256i rows[PANEL_STRIPS] = {w->w[p][i][0], w->w[p][i][1]};
        __asm__("" : "+x"(rows[0]), "+x"(rows[1]));
        UMBRA_UNROLL(5)
        for (int t = 0; t < tokens; t++) {
            const int16_t *from = x[t].q + p * UMBRA_Q16_BLOCK + 2 * i;
            __m256i columns = _mm256_set1_epi32((int)umbra_load_u32(from));
            dot[2 * t] = UMBRA_ADD_PAIRS(dot[2 * t], rows[0], columns);
            dot[2 * t + 1] = UMBRA_ADD_PAIRS(dot[2 * t + 1], rows[1], columns);
        }
    }
}

/* Part p of types with one scale for a part. */
UMBRA_INLINE void add_part(__m256 *sum, const panel *w, const panel_token *x, int p,
                           const int tokens, const bool offset)
{
    __m256i dot[MOST_TOKENS * PANEL_STRIPS];
    multiply_pairs(dot, w, x, p, 0, PAIRS, tokens);
    UMBRA_UNROLL(10)
    for (int i = 0; i < tokens * PANEL_STRIPS; i++) {
        const panel_token *of = x + i / PANEL_STRIPS;
        sum[i] = add_scaled(sum[i], &w->numbers[p / PARTS][i % PANEL_STRIPS], p % PARTS,
                            of->scale[p], of->sum[p], _mm256_cvtepi32_ps(dot[i]), offset);
    }
}

/* The same of types with a scale for each half. */
UMBRA_INLINE void add_part_halves(__m256 *sum, const panel *w, const panel_token *x, int p,
                                  const int tokens, const bool offset)
{
    __m256i dot[MOST_TOKENS * PANEL_STRIPS];
    __m256 first[MOST_TOKENS * PANEL_STRIPS];
    multiply_pairs(dot, w, x, p, 0, PAIRS / 2, tokens);
    UMBRA_UNROLL(10)
    for (int i = 0; i < tokens * PANEL_STRIPS; i++) {
        first[i] = _mm256_cvtepi32_ps(dot[i]);
    }
    multiply_pairs(dot, w, x, p, PAIRS / 2, PAIRS, tokens);
    UMBRA_UNROLL(10)
    for (int i = 0; i < tokens * PANEL_STRIPS; i++) {
        const panel_token *of = x + i / PANEL_STRIPS;
        const __m256 halves[2] = {first[i], _mm256_cvtepi32_ps(dot[i])};
        sum[i] = add_halves(sum[i], &w->numbers[p / PARTS][i % PANEL_STRIPS], p % PARTS,
                            of->scale[p], of->half + 2 * p, halves, offset);
    }
}

UMBRA_INLINE panel_token find_token(const umbra_matmul *m, const panel_span *s, int token,
                                    size_t part)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    size_t from = umbra_token_row(m, token) * all + part;
    return (panel_token){
        .q = m->x->q + from * UMBRA_Q16_BLOCK,
        .scale = m->x->scale + from,
        .sum = m->x->sum + from,
        .half = s->half[token - s->token] + 2 * (part - s->part),
    };
}

/* The panel of up to 16 rows, whose `parts` parts begin with `part`, times tokens from `token` on,
 * whose sums lie in the output. */
UMBRA_INLINE void add_group(const umbra_matmul *m, const panel *w, const panel_span *s, int row,
                            int rows, int token, size_t part, int parts, const int tokens,
                            const bool halves, const bool offset)
{
    panel_token x[MOST_TOKENS];
    __m256 sum[MOST_TOKENS * PANEL_STRIPS];
    UMBRA_UNROLL(5)
    for (int t = 0; t < tokens; t++) {
        x[t] = find_token(m, s, token + t, part);
    }
    UMBRA_UNROLL(10)
    for (int i = 0; i < tokens * PANEL_STRIPS; i++) {
        int first = i % PANEL_STRIPS * LANE_ROWS;
        sum[i] = _mm256_setzero_ps();
        if (part && first < rows) {
            sum[i] =
                load_sums(umbra_output(m, token + i / PANEL_STRIPS, row + first), rows - first);
        }
    }
    for (int p = 0; p < parts; p++) {
        if (halves) {
            add_part_halves(sum, w, x, p, tokens, offset);
        } else {
            add_part(sum, w, x, p, tokens, offset);
        }
    }
    UMBRA_UNROLL(10)
    for (int i = 0; i < tokens * PANEL_STRIPS; i++) {
        int first = i % PANEL_STRIPS * LANE_ROWS;
        if (first < rows) {
            store_sums(umbra_output(m, token + i / PANEL_STRIPS, row + first), sum[i],
                       rows - first);
        }
    }
}

typedef void add_group_fn(const umbra_matmul *m, const panel *w, const panel_span *s, int row,
                          int rows, int token, size_t part, int parts);

#define DEFINE_ADD_GROUP(kind, tokens, halves, offset)                                             \
    static void add_group_##kind##_##tokens(const umbra_matmul *m, const panel *w,                 \
                                            const panel_span *s, int row, int rows, int token,     \
                                            size_t part, int parts)                                \
    {                                                                                              \
        add_group(m, w, s, row, rows, token, part, parts, tokens, halves, offset);                 \
    }
#define DEFINE_ADD_GROUPS(kind, halves, offset)                                                    \
    DEFINE_ADD_GROUP(kind, 1, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 2, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 3, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 4, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 5, halves, offset)
#define GROUPS(kind)                                                                               \
    {                                                                                              \
        NULL, add_group_##kind##_1, add_group_##kind##_2, add_group_##kind##_3,                    \
            add_group_##kind##_4, add_group_##kind##_5                                             \
    }
DEFINE_ADD_GROUPS(plain, false, false)
DEFINE_ADD_GROUPS(offset, false, true)
DEFINE_ADD_GROUPS(halves, true, false)
DEFINE_ADD_GROUPS(minima, true, true)

/* By halves, by offset, by tokens. */
struct umbra_avx2_groups {
    add_group_fn *of[2][2][MOST_TOKENS + 1];
};

static const struct umbra_avx2_groups groups = {{
    {GROUPS(plain), GROUPS(offset)},
    {GROUPS(halves), GROUPS(minima)},
}};

#endif
