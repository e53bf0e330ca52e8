/* Products with one or two tokens for AVX2 in the order of sums that AVX-512 has. Weights are
 * unpacked row by row; the tree of additions that sums the products of eight rows turns them at the
 * same time, so that a part has one conversion and one scaled addition for all of them. */
#ifndef UMBRA_KERNELS_X86_AVX2_FEW_H
#define UMBRA_KERNELS_X86_AVX2_FEW_H

#include "kernels/x86/avx2_sums.h"

enum {
    FEW_TOKENS = UMBRA_AVX2_FEW,
    FEW_PARTS = 128,       /* whose activations are prepared at once */
    NEAR_BYTES = 16384,    /* of eight rows: the first cache has room for twice that */
    NEAR_UNIT_BYTES = 256, /* longer ones are worked at faster than they come */
    AHEAD_BYTES = 4096,
    FAR_AHEAD_BYTES = 16384,
};

/* What is asked for ahead of the unit at work: the rows behind these, which lie one behind the
 * other, as one stream; or, `far`, where the first cache would not hold it till it is needed, that
 * into the second and each row's next unit into the first. */
typedef struct few_ahead {
    uintptr_t stream;
    bool far;
} few_ahead;

/* A unit of eight rows. */
typedef struct few_unit {
    few_ahead ahead;
    unit_numbers n;
    umbra_block_scales row[LANE_ROWS]; /* code books: entries and signs */
} few_unit;

typedef struct few_type {
    void (*load_numbers)(few_unit *u, const lane_units *units, int parts);
    umbra_halves (*load_part)(const uint8_t *unit, const umbra_block_scales *s, int first, int p);
    int bytes;  /* of a unit */
    int group;  /* parts that are unpacked together */
    int bias;   /* added to all weights */
    bool split; /* columns, see avx2_blocks.h */
    bool offset, halves;
} few_type;

typedef struct few_token {
    const int16_t *q; /* in the type's order */
    const float *scale, *sum;
    /* What the bias adds to the products of each part, or of its halves. */
    int32_t excess[2 * FEW_PARTS];
    float half[2 * FEW_PARTS]; /* sums of the integers */
    int16_t split[FEW_PARTS * UMBRA_Q16_BLOCK];
} few_token;

/* The first and the second half of a part, columns of even numbers in front. */
UMBRA_INLINE __m256i even_columns_first(__m256i half)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(half, order), 0xd8);
}

UMBRA_INLINE int sum_half(__m256i half)
{
    __m256i pairs = _mm256_madd_epi16(half, _mm256_set1_epi16(1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

UMBRA_INLINE void prepare_part(few_token *to, int p, const int16_t *q, const few_type *type)
{
    __m256i half[2] = {load_32((const uint8_t *)q),
                       load_32((const uint8_t *)(q + UMBRA_HALF_PART))};
    if (type->split) {
        __m256i a = even_columns_first(half[0]), b = even_columns_first(half[1]);
        int16_t *split = to->split + p * UMBRA_Q16_BLOCK;
        store_32(split, _mm256_permute2x128_si256(a, b, 0x20));
        store_32(split + UMBRA_HALF_PART, _mm256_permute2x128_si256(a, b, 0x31));
    }
    if (type->bias || (type->halves && type->offset)) {
        int first = sum_half(half[0]), second = sum_half(half[1]);
        to->half[2 * p] = (float)first;
        to->half[2 * p + 1] = (float)second;
        to->excess[2 * p] = type->bias * (type->halves ? first : first + second);
        to->excess[2 * p + 1] = type->bias * second;
    }
}

UMBRA_INLINE void prepare_token(few_token *to, const umbra_matmul *m, int token, size_t part,
                                int parts, const few_type *type)
{
    size_t from = umbra_token_row(m, token) * ((size_t)m->x->columns / UMBRA_Q16_BLOCK) + part;
    const int16_t *q = m->x->q + from * UMBRA_Q16_BLOCK;
    to->q = type->split ? to->split : q;
    to->scale = m->x->scale + from;
    to->sum = m->x->sum + from;
    for (int p = 0; p < parts; p++) {
        prepare_part(to, p, q + p * UMBRA_Q16_BLOCK, type);
    }
}

/* Lanes 0 and 2 of a, then b's, lanes 1 and 3 of a, then b's; of each half. */
UMBRA_INLINE __m256i add_two(__m256i a, __m256i b)
{
    return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}

/* Of two that add_two gave: of each half, the sums of its lanes in four registers. */
UMBRA_INLINE __m256i add_four(__m256i a, __m256i b)
{
    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

/* Halves of a part whose columns are in order have a tree each. */
UMBRA_INLINE int few_trees(const few_type *type)
{
    return type->halves && !type->split ? 2 : 1;
}

typedef __m256i few_products[FEW_TOKENS][2];

/* Lanes that together are the products of a row's part; `part` counts from the first of what was
 * prepared. */
UMBRA_INLINE void multiply_row(few_products out, const few_unit *u, const uint8_t *unit, int r,
                               int first, const int p, int part, few_token *const *x,
                               const int tokens, const few_type *type)
{
    umbra_halves w = type->load_part(unit, u->row + r, first, p);
    UMBRA_UNROLL(2)
    for (int t = 0; t < tokens; t++) {
        const uint8_t *q = (const uint8_t *)(x[t]->q + part * UMBRA_Q16_BLOCK);
        __m256i low = _mm256_madd_epi16(w.low, load_32(q));
        __m256i high = _mm256_madd_epi16(w.high, load_32(q + 32));
        if (few_trees(type) == 2) {
            out[t][0] = low;
            out[t][1] = high;
        } else {
            out[t][0] = _mm256_add_epi32(low, high);
        }
    }
}

UMBRA_INLINE bool reads_far(const umbra_matmul *m, const few_type *type)
{
    return type->bytes > NEAR_UNIT_BYTES || LANE_ROWS * m->row_bytes > NEAR_BYTES;
}

/* So many rows ahead of row `row`: 8, or more if fewer bytes come while a line is on its way. */
UMBRA_INLINE uintptr_t find_stream(const umbra_matmul *m, int row, const bool far)
{
    size_t strip = LANE_ROWS * m->row_bytes, least = far ? FAR_AHEAD_BYTES : AHEAD_BYTES;
    return (uintptr_t)umbra_weight_row(m, row) + (least + strip - 1) / strip * strip;
}

/* Piece i of `pieces` of what belongs to a unit: many lines at once come at half the speed. Beyond
 * the matrix's end that is only a hint wasted. */
UMBRA_INLINE void prefetch_piece(const few_unit *u, const lane_units *units, int i,
                                 const int pieces, const int bytes)
{
    const int piece = LANE_ROWS * bytes / pieces;
    int at = (i * piece + UMBRA_CACHE_LINE - 1) & -UMBRA_CACHE_LINE;
    if (!u->ahead.far) {
        for (; at < (i + 1) * piece; at += UMBRA_CACHE_LINE) {
            __builtin_prefetch((const void *)(u->ahead.stream + (uintptr_t)at), 0, 3);
        }
        return;
    }
    for (; at < (i + 1) * piece; at += UMBRA_CACHE_LINE) {
        __builtin_prefetch((const void *)(u->ahead.stream + (uintptr_t)at), 0, 2);
    }
    const int of_row = pieces / LANE_ROWS;
    uintptr_t next = (uintptr_t)units->at[i / of_row] + (uintptr_t)bytes;
    for (at = i % of_row * UMBRA_CACHE_LINE; at < bytes; at += of_row * UMBRA_CACHE_LINE) {
        __builtin_prefetch((const void *)(next + (uintptr_t)at), 0, 3);
    }
}

/* Sums of the halves of registers in either half: of rows 0 to 3 and of 4 to 7. */
UMBRA_INLINE void multiply_rows(few_products out[2], const few_unit *u, const lane_units *units,
                                int first, const int p, int part, few_token *const *x,
                                const int tokens, const few_type *type)
{
    const int trees = few_trees(type), pieces = type->bytes > NEAR_UNIT_BYTES ? 2 : 1;
    UMBRA_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        few_products two[2];
        if (i == 0 || pieces == 2) {
            prefetch_piece(u, units, pieces * (first + p) + i, pieces * PARTS, type->bytes);
        }
        UMBRA_UNROLL(2)
        for (int j = 0; j < 2; j++) {
            const int r = 4 * i + 2 * j;
            few_products a, b;
            multiply_row(a, u, units->at[r], r, first, p, part, x, tokens, type);
            multiply_row(b, u, units->at[r + 1], r + 1, first, p, part, x, tokens, type);
            UMBRA_UNROLL(4)
            for (int k = 0; k < trees * tokens; k++) {
                int t = k / trees, h = k % trees;
                two[j][t][h] = add_two(a[t][h], b[t][h]);
            }
        }
        UMBRA_UNROLL(4)
        for (int k = 0; k < trees * tokens; k++) {
            int t = k / trees, h = k % trees;
            out[i][t][h] = add_four(two[0][t][h], two[1][t][h]);
        }
    }
}

/* The two halves of registers. */
UMBRA_INLINE __m256i join_halves_of(__m256i a, __m256i b)
{
    return _mm256_add_epi32(_mm256_blend_epi32(a, b, 0xf0), _mm256_permute2x128_si256(a, b, 0x21));
}

UMBRA_INLINE __m256 convert(__m256i dot, const int32_t *excess, const few_type *type)
{
    if (type->bias) {
        dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(*excess));
    }
    return _mm256_cvtepi32_ps(dot);
}

/* Part `first` + `p` of a unit of eight rows. */
UMBRA_INLINE void add_part(__m256 *sum, const few_unit *u, const lane_units *units, int first,
                           const int p, int part, few_token *const *x, const int tokens,
                           const few_type *type)
{
    few_products four[2];
    multiply_rows(four, u, units, first, p, part, x, tokens, type);
    UMBRA_UNROLL(2)
    for (int t = 0; t < tokens; t++) {
        const int32_t *excess = x[t]->excess + 2 * part;
        __m256i a = four[0][t][0], b = four[1][t][0];
        if (!type->halves) {
            __m256 dot = convert(join_halves_of(a, b), excess, type);
            sum[t] = add_scaled(sum[t], &u->n, first + p, x[t]->scale[part], x[t]->sum[part], dot,
                                type->offset);
            continue;
        }
        __m256i half[2];
        if (few_trees(type) == 2) {
            half[0] = join_halves_of(a, b);
            half[1] = join_halves_of(four[0][t][1], four[1][t][1]);
        } else {
            half[0] = _mm256_permute2x128_si256(a, b, 0x20);
            half[1] = _mm256_permute2x128_si256(a, b, 0x31);
        }
        __m256 dot[2] = {convert(half[0], excess, type), convert(half[1], excess + 1, type)};
        sum[t] = add_halves(sum[t], &u->n, first + p, x[t]->scale[part], x[t]->half + 2 * part, dot,
                            type->offset);
    }
}

/* `parts` parts from `part` on of up to eight rows join their sums, which lie in the output. */
UMBRA_INLINE void add_rows(const umbra_matmul *m, int row, int rows, size_t part, int parts,
                           few_token *const *x, const int tokens, const bool far,
                           const few_type *type)
{
    const size_t before = part / PARTS * (size_t)type->bytes;
    __m256 sum[FEW_TOKENS];
    lane_units units;
    few_unit u;
    u.ahead = (few_ahead){find_stream(m, row, far) + LANE_ROWS * before, far};
    for (int r = 0; r < LANE_ROWS; r++) {
        units.at[r] = umbra_weight_row(m, row + umbra_min_int(r, rows - 1)) + before;
    }
    UMBRA_UNROLL(2)
    for (int t = 0; t < tokens; t++) {
        sum[t] = part ? load_sums(umbra_output(m, t, row), rows) : _mm256_setzero_ps();
    }
    for (int done = 0; done < parts; done += PARTS) {
        const int here = umbra_min_int(PARTS, parts - done);
        type->load_numbers(&u, &units, here);
        for (int first = 0; first < here; first += type->group) {
            UMBRA_UNROLL(8)
            for (int p = 0; p < type->group; p++) {
                add_part(sum, &u, &units, first, p, done + first + p, x, tokens, type);
            }
        }
        for (int r = 0; r < LANE_ROWS; r++) {
            units.at[r] += type->bytes;
        }
        u.ahead.stream += (uintptr_t)(LANE_ROWS * type->bytes);
    }
    UMBRA_UNROLL(2)
    for (int t = 0; t < tokens; t++) {
        store_sums(umbra_output(m, t, row), sum[t], rows);
    }
}

UMBRA_INLINE void add_strips(const umbra_matmul *m, int row, int row_end, size_t part, int parts,
                             few_token *const *x, const int tokens, const bool far,
                             const few_type *type)
{
    for (; row < row_end; row += LANE_ROWS) {
        int rows = umbra_min_int(LANE_ROWS, row_end - row);
        add_rows(m, row, rows, part, parts, x, tokens, far, type);
    }
}

/* All rows times all tokens, `tokens` of them. */
UMBRA_INLINE void matmul_few(const umbra_matmul *m, int row_begin, int row_end, const int tokens,
                             const few_type *type)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    const bool far = reads_far(m, type);
    few_token room[FEW_TOKENS], *x[FEW_TOKENS] = {room, room + 1};
    for (size_t part = 0; part < all; part += FEW_PARTS) {
        int parts = all - part < FEW_PARTS ? (int)(all - part) : FEW_PARTS;
        for (int t = 0; t < tokens; t++) {
            prepare_token(x[t], m, t, part, parts, type);
        }
        if (tokens > 1) {
            add_strips(m, row_begin, row_end, part, parts, x, tokens, far, type);
        } else if (far) {
            add_strips(m, row_begin, row_end, part, parts, x, 1, true, type);
        } else {
            add_strips(m, row_begin, row_end, part, parts, x, 1, false, type);
        }
    }
}

/* load_numbers of types without a code book, and of the others. */
#define PLAIN_NUMBERS(name)                                                                        \
    UMBRA_INLINE void few_numbers_##name(few_unit *u, const lane_units *units, int parts)          \
    {                                                                                              \
        numbers_##name(&u->n, units, parts);                                                       \
    }
#define BOOK_NUMBERS(name, SCALES)                                                                 \
    UMBRA_INLINE void few_numbers_##name(few_unit *u, const lane_units *units, int parts)          \
    {                                                                                              \
        for (int r = 0; r < LANE_ROWS; r++) {                                                      \
            scales_##name(units->at[r], u->row + r, parts);                                        \
        }                                                                                          \
        turn_scales(&u->n, u->row, SCALES);                                                        \
    }
UMBRA_GRID_ROWS(BOOK_NUMBERS)
PLAIN_NUMBERS(q8_0)
PLAIN_NUMBERS(q4_0)
PLAIN_NUMBERS(q4_1)
PLAIN_NUMBERS(q5_0)
PLAIN_NUMBERS(q5_1)
PLAIN_NUMBERS(iq4_nl)
PLAIN_NUMBERS(mxfp4)
PLAIN_NUMBERS(q2_k)
PLAIN_NUMBERS(q3_k)
PLAIN_NUMBERS(q4_k)
PLAIN_NUMBERS(q5_k)
PLAIN_NUMBERS(q6_k)
PLAIN_NUMBERS(iq4_xs)
PLAIN_NUMBERS(nvfp4)
PLAIN_NUMBERS(tq1_0)
PLAIN_NUMBERS(tq2_0)

/* Types whose scales of halves are integers times a number. */
#define HAS_SUB(TYPE)                                                                              \
    (UMBRA_##TYPE == UMBRA_Q6_K || UMBRA_##TYPE == UMBRA_Q3_K || UMBRA_##TYPE == UMBRA_Q2_K)

/* The few_type of each line of UMBRA_BLOCK_UNITS; short blocks may end a row anywhere. */
#define DEFINE_FEW_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)         \
    static const few_type few_type_##name = {                                                      \
        .load_numbers = few_numbers_##name,                                                        \
        .load_part = part_##name,                                                                  \
        .bytes = UMBRA_##TYPE##_BYTES * PARTS / UMBRA_##TYPE##_PARTS,                              \
        .group = (blocks) > 1 ? 1 : (parts_at_once),                                               \
        .bias = PART_BIAS_##TYPE,                                                                  \
        .split = SPLIT_##TYPE,                                                                     \
        .offset = has_offset,                                                                      \
        .halves = has_halves || HAS_SUB(TYPE),                                                     \
    };
UMBRA_BLOCK_UNITS(DEFINE_FEW_TYPE)

#endif
