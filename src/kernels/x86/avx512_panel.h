/* Products with many tokens for AVX-512 with VNNI. A unit of 32 rows is unpacked, turned and
 * widened once, into a panel that stays in the first-level cache, and all tokens pass over it, up
 * to six at a time: so each weight that is read is used six times, and each activation twice. */
#ifndef UMBRA_KERNELS_X86_AVX512_PANEL_H
#define UMBRA_KERNELS_X86_AVX512_PANEL_H

#include "kernels/x86/avx512_pairs.h"
#include "kernels/x86/avx512_sums.h"

enum {
    PANEL_STRIPS = 2, /* of 16 rows */
    PANEL_ROWS = PANEL_STRIPS * LANE_ROWS,
    GROUP_TOKENS = 6,            /* whose sums fit in registers */
    HALVES_TOKENS = 4,           /* the same where halves of parts are scaled */
    PANEL_TOKENS = 120,          /* that pass over a panel */
    PAIRS = UMBRA_Q16_BLOCK / 2, /* pairs of columns of a part */
};

typedef struct panel {
    /* Pair i of a part: columns 2 i and 2 i + 1 of each row. */
    __m512i w[PARTS][PAIRS][PANEL_STRIPS];
    unit_numbers strip[PANEL_STRIPS];
} panel;

/* Swaps columns 4 i + 1 and 4 i + 2, so that turned lanes have the bytes of two pairs in turn. */
UMBRA_INLINE __m512i swap_columns(__m512i line)
{
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    return _mm512_shuffle_epi8(line, order);
}

UMBRA_INLINE void fill_strip(panel *w, int strip, const unit_rows *rows, const row_type *type)
{
    unit_numbers *n = &w->strip[strip];
    type->load_numbers(n, rows);
    for (int first = 0; first < PARTS; first += type->group) {
        UMBRA_UNROLL(4)
        for (int p = 0; p < type->group; p += 2) {
            __m512i line[LANE_ROWS], turned[LANE_ROWS];
            load_lines(line, rows, n, first, p, type);
            UMBRA_UNROLL(16)
            for (int r = 0; r < LANE_ROWS; r++) {
                line[r] = swap_columns(line[r]);
            }
            turn(turned, line);
            UMBRA_UNROLL(16)
            for (int i = 0; i < LANE_ROWS; i++) {
                __m512i(*to)[PANEL_STRIPS] = w->w[first + p + i / 8] + i % 8 * 2;
                to[0][strip] = _mm512_srai_epi16(_mm512_slli_epi16(turned[i], 8), 8);
                to[1][strip] = _mm512_srai_epi16(turned[i], 8);
            }
        }
    }
}

/* Asks for the units of the panel behind this one, into the second-level cache: the first is full.
 */
UMBRA_INLINE void prefetch_panel(const umbra_matmul *m, const unit_rows *rows, size_t part,
                                 int bytes)
{
    bool last = part + PARTS >= (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    uintptr_t ahead = last ? PANEL_ROWS * (uintptr_t)m->row_bytes - part / PARTS * (size_t)bytes
                           : (uintptr_t)bytes;
    for (int r = 0; r < LANE_ROWS; r++) {
        for (int at = 0; at < bytes; at += UMBRA_CACHE_LINE) {
            uintptr_t from = (uintptr_t)rows->at[r] + ahead + (uintptr_t)at;
            __builtin_prefetch((const void *)from, 0, 2);
        }
    }
}

/* The unit of the panel's rows that begins with part `part`. */
UMBRA_INLINE void fill_panel(panel *w, const umbra_matmul *m, int row, int rows, size_t part,
                             const row_type *type)
{
    for (int i = 0; i < PANEL_STRIPS; i++) {
        int skipped = umbra_min_int(i * LANE_ROWS, rows - 1);
        unit_rows of;
        unit_tail tail;
        find_unit(&of, tail, m, row + skipped, rows - skipped, part, type);
        prefetch_panel(m, &of, part, type->bytes);
        fill_strip(w, i, &of, type);
    }
}

/* What a token has of a panel's columns. */
typedef struct panel_token {
    const int16_t *q;
    const float *scale, *sum;
    float half[2 * PARTS]; /* sums of the integers of halves of parts, where they have offsets */
} panel_token;

/* Written as the instruction: compilers copy the sum before and behind it. */
#ifndef UMBRA_ADD_COLUMNS
UMBRA_INLINE __m512i add_columns(__m512i sum, __m512i w, __m512i columns)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(columns));
    return sum;
}
#define UMBRA_ADD_COLUMNS add_columns
#endif

/* Adds the products of pairs [pair, pair_end) of part p. */
UMBRA_INLINE void multiply_pairs(__m512i *dot, const panel *w, const panel_token *x, int p,
                                 int pair, int pair_end, const int tokens)
{
    UMBRA_UNROLL(12)
    for (int i = 0; i < PANEL_STRIPS * tokens; i++) {
        dot[i] = _mm512_setzero_si512();
    }
    UMBRA_UNROLL(1)
    for (int i = pair; i < pair_end; i++) {
        const __m512i *weights = w->w[p][i];
        UMBRA_UNROLL(6)
        for (int t = 0; t < tokens; t++) {
            const int16_t *q = x[t].q + (size_t)p * UMBRA_Q16_BLOCK + 2 * (size_t)i;
            __m512i columns = _mm512_set1_epi32((int)umbra_load_u32(q));
            UMBRA_UNROLL(2)
            for (int k = 0; k < PANEL_STRIPS; k++) {
                __m512i *to = dot + t * PANEL_STRIPS + k;
                *to = UMBRA_ADD_COLUMNS(*to, weights[k], columns);
            }
        }
    }
}

/* Part p of types with one scale for a part. */
UMBRA_INLINE void add_part(__m512 *sum, const panel *w, const panel_token *x, int p,
                           const int tokens, const bool offset)
{
    __m512i dot[PANEL_STRIPS * GROUP_TOKENS];
    multiply_pairs(dot, w, x, p, 0, PAIRS, tokens);
    UMBRA_UNROLL(6)
    for (int t = 0; t < tokens; t++) {
        __m512 of_x = _mm512_set1_ps(x[t].scale[p]);
        UMBRA_UNROLL(2)
        for (int k = 0; k < PANEL_STRIPS; k++) {
            int i = t * PANEL_STRIPS + k;
            sum[i] = add_scaled(sum[i], &w->strip[k], p, of_x, x[t].sum + p,
                                _mm512_cvtepi32_ps(dot[i]), offset);
        }
    }
}

/* The same of types with a scale for each half. */
UMBRA_INLINE void add_part_halves(__m512 *sum, const panel *w, const panel_token *x, int p,
                                  const int tokens, const bool offset)
{
    __m512i dot[PANEL_STRIPS * HALVES_TOKENS];
    __m512 first[PANEL_STRIPS * HALVES_TOKENS];
    multiply_pairs(dot, w, x, p, 0, PAIRS / 2, tokens);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PANEL_STRIPS * tokens; i++) {
        first[i] = scale_first_half(&w->strip[i % PANEL_STRIPS], p, _mm512_cvtepi32_ps(dot[i]));
    }
    multiply_pairs(dot, w, x, p, PAIRS / 2, PAIRS, tokens);
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        __m512 of_x = _mm512_set1_ps(x[t].scale[p]);
        UMBRA_UNROLL(2)
        for (int k = 0; k < PANEL_STRIPS; k++) {
            int i = t * PANEL_STRIPS + k;
            sum[i] = add_halves(sum[i], &w->strip[k], p, of_x, x[t].half + 2 * p, first[i],
                                _mm512_cvtepi32_ps(dot[i]), offset);
        }
    }
}

/* The panel's first `parts` parts times a group, whose sums lie in the output. */
UMBRA_INLINE void add_group(float *const *out, int rows, bool begin, const panel *w,
                            const panel_token *x, int parts, const int tokens, const bool halves,
                            const bool offset)
{
    __m512 sum[PANEL_STRIPS * GROUP_TOKENS];
    const int second = umbra_min_int(LANE_ROWS, rows - LANE_ROWS);
    UMBRA_UNROLL(6)
    for (int t = 0; t < tokens; t++) {
        __m512 *of = sum + t * PANEL_STRIPS;
        of[0] = begin ? _mm512_setzero_ps() : load_sums(out[t], rows);
        of[1] = begin || second <= 0 ? _mm512_setzero_ps() : load_sums(out[t] + LANE_ROWS, second);
    }
    for (int p = 0; p < parts; p++) {
        if (halves) {
            add_part_halves(sum, w, x, p, tokens, offset);
        } else {
            add_part(sum, w, x, p, tokens, offset);
        }
    }
    UMBRA_UNROLL(6)
    for (int t = 0; t < tokens; t++) {
        store_sums(out[t], sum[t * PANEL_STRIPS], rows);
        if (second > 0) {
            store_sums(out[t] + LANE_ROWS, sum[t * PANEL_STRIPS + 1], second);
        }
    }
}

typedef void add_group_fn(float *const *out, int rows, bool begin, const panel *w,
                          const panel_token *x, int parts);

#define DEFINE_ADD_GROUP(kind, tokens, halves, offset)                                             \
    static void add_group_##kind##_##tokens(float *const *out, int rows, bool begin,               \
                                            const panel *w, const panel_token *x, int parts)       \
    {                                                                                              \
        add_group(out, rows, begin, w, x, parts, tokens, halves, offset);                          \
    }
#define DEFINE_ADD_GROUPS(kind, halves, offset)                                                    \
    DEFINE_ADD_GROUP(kind, 2, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 3, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 4, halves, offset)
#define DEFINE_LARGE_GROUPS(kind, halves, offset)                                                  \
    DEFINE_ADD_GROUPS(kind, halves, offset)                                                        \
    DEFINE_ADD_GROUP(kind, 5, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 6, halves, offset)
#define FOUR_GROUPS(kind)                                                                          \
    [2] = add_group_##kind##_2, [3] = add_group_##kind##_3, [4] = add_group_##kind##_4
DEFINE_LARGE_GROUPS(plain, false, false)
DEFINE_LARGE_GROUPS(offset, false, true)
DEFINE_ADD_GROUPS(halves, true, false)
DEFINE_ADD_GROUPS(minima, true, true)

/* By halves, by offset, by tokens. */
static add_group_fn *const groups[2][2][GROUP_TOKENS + 1] = {
    {{FOUR_GROUPS(plain), add_group_plain_5, add_group_plain_6},
     {FOUR_GROUPS(offset), add_group_offset_5, add_group_offset_6}},
    {{FOUR_GROUPS(halves)}, {FOUR_GROUPS(minima)}},
};

static void find_half_sums(float half[2 * PARTS], const int16_t *q, int parts)
{
    __m512i pairs[LANE_ROWS], sums[2];
    for (int p = 0; p < LANE_ROWS; p++) {
        pairs[p] = _mm512_setzero_si512();
        if (p < parts) {
            pairs[p] = _mm512_dpwssd_epi32(pairs[p], _mm512_loadu_si512(q + p * UMBRA_Q16_BLOCK),
                                           _mm512_set1_epi32(0x10001));
        }
    }
    float of[2][LANE_ROWS];
    add_lanes(sums, pairs, false);
    _mm512_storeu_ps(of[0], _mm512_cvtepi32_ps(sums[0]));
    _mm512_storeu_ps(of[1], _mm512_cvtepi32_ps(sums[1]));
    for (int i = 0; i < 2 * parts; i++) {
        half[i] = of[i % 2][i / 2];
    }
}

typedef void fill_panel_fn(panel *w, const umbra_matmul *m, int row, int rows, size_t part);

/* Tokens [token, token_end) over the panel of up to 32 rows whose columns begin with part `part`.
 */
static void pass_tokens(const umbra_matmul *m, const panel *w, int row, int rows, int token,
                        int token_end, size_t part, const row_type *type)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    int parts = all - part < PARTS ? (int)(all - part) : PARTS;
    const int most = type->halves ? HALVES_TOKENS : GROUP_TOKENS;
    while (token < token_end) {
        panel_token x[GROUP_TOKENS];
        float *out[GROUP_TOKENS];
        int left = token_end - token, count = (left + most - 1) / most;
        int tokens = (left + count - 1) / count;
        for (int t = 0; t < tokens; t++) {
            size_t from = umbra_token_row(m, token + t) * all + part;
            x[t].q = m->x->q + from * UMBRA_Q16_BLOCK;
            x[t].scale = m->x->scale + from;
            x[t].sum = m->x->sum + from;
            out[t] = umbra_output(m, token + t, row);
            if (type->halves && type->offset) {
                find_half_sums(x[t].half, x[t].q, parts);
            }
        }
        groups[type->halves][type->offset][tokens](out, rows, part == 0, w, x, parts);
        token += tokens;
    }
}

/* At least four tokens. A block of them stays in the second-level cache while the rows go by. */
static void matmul_panels(const umbra_matmul *m, int row_begin, int row_end, fill_panel_fn *fill,
                          const row_type *type)
{
    size_t parts = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    int blocks = (m->tokens + PANEL_TOKENS - 1) / PANEL_TOKENS;
    for (int b = 0, token = 0; b < blocks; b++) {
        int end = token + (m->tokens - token + blocks - b - 1) / (blocks - b);
        for (int row = row_begin; row < row_end; row += PANEL_ROWS) {
            int rows = umbra_min_int(PANEL_ROWS, row_end - row);
            for (size_t part = 0; part < parts; part += PARTS) {
                panel w;
                fill(&w, m, row, rows, part);
                pass_tokens(m, &w, row, rows, token, end, part, type);
            }
        }
        token = end;
    }
}

#endif
