/* Products of quantised weights for AMX: 16 rows by up to 16 tokens at a time. Up to eight parts of
 * the rows are unpacked to bytes and turned once, and all tokens pass over them. Activations are
 * split into two planes of bytes, signed high ones and unsigned low ones, whose products with a
 * part, or half of one, are exact; 256 times the first and the second are then scaled in float.
 *
 * Each (row, token) has one sum, to which its parts are added in order, however many rows and
 * tokens are computed together. That order is not AVX2's: a lane of AVX2's accumulator would be a
 * tile product of its own here. So all numbers of tokens, one as well, are computed in this way. */
#ifndef UMBRA_KERNELS_X86_AMX_PANEL_H
#define UMBRA_KERNELS_X86_AMX_PANEL_H

#include "kernels/x86/amx.h"
#include "kernels/x86/avx2_grid_blocks.h"
#include "kernels/x86/avx512_turn.h"

enum {
    PANEL_ROWS = 16,   /* lanes of a register */
    STRIP_PANELS = 4,  /* panels that share what is prepared of the tokens */
    GROUP_TOKENS = 16, /* rows of a tile register */
    FEW_TOKENS = 3,    /* so many and fewer are multiplied without tile registers */
    STRIP_GROUPS = 8,  /* that pass over a strip; their sums are on the stack */
    LINE = 64,         /* bytes of a register */
    PART_BYTES = UMBRA_Q16_BLOCK,
    NUMBERS = 16, /* of a row or a token: scales of 8 parts, then their offsets; or of 16 halves */
};

/* As block_type in matmul_blocks.h. */
typedef struct byte_type {
    void (*load_scales)(const uint8_t *unit, umbra_block_scales *out, int parts);
    __m256i (*load_bytes)(const uint8_t *unit, const umbra_block_scales *s, int first, int p);
    int bytes, parts, block, group;
    bool offset, halves;
    bool sub; /* scales of halves are products with umbra_block_scales.sub, offsets with .minima */
} byte_type;

typedef float square[NUMBERS][NUMBERS];

/* Up to eight parts of 16 rows. */
typedef struct panel {
    /* Of a part, columns 4 i to 4 i + 3 of each row, then the next four columns. */
    _Alignas(LINE) int8_t w[UMBRA_PARTS_MAX][PANEL_ROWS * PART_BYTES];
    _Alignas(LINE) square number[2]; /* the second: offsets of 16 halves */
} panel;

/* The same before it is turned. */
typedef struct panel_lines {
    _Alignas(LINE) int8_t w[PANEL_ROWS][UMBRA_PARTS_MAX * PART_BYTES];
    _Alignas(LINE) square number[2];
} panel_lines;

/* Up to eight parts of up to 16 tokens. */
typedef struct token_group {
    /* Of a part and a token: low bytes, then high ones. */
    _Alignas(LINE) uint8_t planes[UMBRA_PARTS_MAX][GROUP_TOKENS][2 * PART_BYTES];
    _Alignas(LINE) square line, number; /* scales of parts, then their sums */
    _Alignas(LINE) square half;         /* sums of the integers of each half */
} token_group;

/* What a group's tokens add to the rows of a panel. */
typedef float panel_sums[GROUP_TOKENS][PANEL_ROWS];

/* Products of one part, or its halves, by plane. */
typedef struct part_products {
    _Alignas(LINE) int32_t high[2][GROUP_TOKENS][PANEL_ROWS];
    _Alignas(LINE) int32_t low[2][GROUP_TOKENS][PANEL_ROWS];
} part_products;

/* Parts that are computed together: whole units, or one block. */
typedef struct chunk {
    int units, parts; /* how many, and parts of each */
    int bytes;        /* of a unit */
} chunk;

UMBRA_INLINE chunk choose_chunk(size_t left, const byte_type *type)
{
    if (left < (size_t)type->parts) {
        return (chunk){1, type->block, type->bytes / type->parts * type->block};
    }
    int most = UMBRA_PARTS_MAX / type->parts, whole = (int)(left / (size_t)type->parts);
    return (chunk){umbra_min_int(most, whole), type->parts, type->bytes};
}

UMBRA_INLINE void copy_floats(float *to, const float *from, const int n)
{
    UMBRA_UNROLL(16)
    for (int i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

UMBRA_INLINE void turn_numbers(square out, square in)
{
    __m512i lines[16], turned[16];
    UMBRA_UNROLL(16)
    for (int i = 0; i < 16; i++) {
        lines[i] = _mm512_loadu_si512(in[i]);
    }
    turn(turned, lines);
    UMBRA_UNROLL(16)
    for (int i = 0; i < NUMBERS; i++) {
        _mm512_storeu_si512(out[i], turned[i]);
    }
}

/* Of row r: the numbers of a unit whose first part is part `first_part` of the panel. */
UMBRA_INLINE void store_numbers(square number[2], int r, int first_part,
                                const umbra_block_scales *s, const int parts, const byte_type *type)
{
    const int scales = type->halves ? 2 : 1;
    if (!type->sub) {
        copy_floats(number[0][r] + scales * first_part, s->scale, scales * parts);
    }
    for (int i = 0; type->sub && i < NUMBERS; i++) {
        number[0][r][i] = s->scale[0] * (float)s->sub[i];
    }
    if (type->offset && !type->halves) {
        copy_floats(number[0][r] + UMBRA_PARTS_MAX + first_part, s->offset, parts);
    }
    for (int i = 0; type->offset && type->halves && i < NUMBERS; i++) {
        number[1][r][i] = s->offset[0] * (float)s->minima[i];
    }
}

/* One unit of row r; parts: of a unit or of a block. */
UMBRA_INLINE void unpack_unit(panel_lines *lines, int r, int first_part, const uint8_t *unit,
                              const int parts, const byte_type *type)
{
    const int group = parts < type->group ? parts : type->group;
    int8_t *to = lines->w[r];
    umbra_block_scales s;
    type->load_scales(unit, &s, parts);
    store_numbers(lines->number, r, first_part, &s, parts, type);
    to += first_part * PART_BYTES;
    for (int first = 0; first < parts; first += group) {
        UMBRA_UNROLL(8)
        for (int p = 0; p < group; p++, to += PART_BYTES) {
            store_32(to, type->load_bytes(unit, &s, first, p));
        }
    }
}

/* A chunk of up to 16 rows; lanes beyond the last row repeat it. Asks for the weights ahead: of a
 * strip's rows, `stream` says where the next bytes would be if they lay one behind the other. */
UMBRA_INLINE void unpack_lines(panel_lines *to, const uint8_t *from, uint64_t row_bytes, int rows,
                               const chunk *c, const uint8_t *stream, const byte_type *type)
{
    const size_t bytes = (size_t)(c->units * c->bytes);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *unit = from + (uint64_t)umbra_min_int(r, rows - 1) * row_bytes;
        umbra_prefetch_stream(stream + (size_t)r * bytes, bytes);
        if (c->parts != type->parts) {
            unpack_unit(to, r, 0, unit, type->block, type);
            continue;
        }
        for (int u = 0; u < c->units; u++, unit += type->bytes) {
            unpack_unit(to, r, u * type->parts, unit, type->parts, type);
        }
    }
}

UMBRA_INLINE void turn_all_numbers(square out[2], square in[2], const byte_type *type)
{
    turn_numbers(out[0], in[0]);
    if (type->halves && type->offset) {
        turn_numbers(out[1], in[1]);
    }
}

/* Two parts of all rows are a square of numbers of four bytes. */
static void turn_lines(panel *to, panel_lines *from, int parts, const byte_type *type)
{
    for (int p = 0; p < parts; p += 2) {
        __m512i lines[PANEL_ROWS], turned[PANEL_ROWS];
        UMBRA_UNROLL(16)
        for (int r = 0; r < PANEL_ROWS; r++) {
            lines[r] = _mm512_loadu_si512(from->w[r] + p * PART_BYTES);
        }
        turn(turned, lines);
        UMBRA_UNROLL(16)
        for (int i = 0; i < PANEL_ROWS; i++) {
            _mm512_storeu_si512(to->w[p] + i * LINE, turned[i]);
        }
    }
    turn_all_numbers(to->number, from->number, type);
}

/* Even bytes, then odd ones. */
UMBRA_INLINE __m512i split_bytes(__m512i v)
{
    static const uint8_t order[LINE] = {
        0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42,
        44, 46, 48, 50, 52, 54, 56, 58, 60, 62, 1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23,
        25, 27, 29, 31, 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63,
    };
    return _mm512_permutexvar_epi8(_mm512_loadu_si512(order), v);
}

/* 16 sums, one of each register in `of`: of the lanes in its first half, then those in its second;
 * or of each quarter. */
UMBRA_INLINE void add_lanes(__m512i *out, const __m512i of[PANEL_ROWS], const bool halves)
{
    __m512i two[8], four[4];
    UMBRA_UNROLL(8)
    for (int i = 0; i < 8; i++) {
        __m512i a = of[2 * i], b = of[2 * i + 1];
        two[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m512i a = two[2 * i], b = two[2 * i + 1];
        four[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    __m512i even = _mm512_shuffle_i32x4(four[0], four[1], 0x88);
    __m512i odd = _mm512_shuffle_i32x4(four[0], four[1], 0xdd);
    __m512i even_behind = _mm512_shuffle_i32x4(four[2], four[3], 0x88);
    __m512i odd_behind = _mm512_shuffle_i32x4(four[2], four[3], 0xdd);
    if (halves) {
        out[0] = _mm512_shuffle_i32x4(even, even_behind, 0x88);
        out[1] = _mm512_shuffle_i32x4(odd, odd_behind, 0x88);
        out[2] = _mm512_shuffle_i32x4(even, even_behind, 0xdd);
        out[3] = _mm512_shuffle_i32x4(odd, odd_behind, 0xdd);
        return;
    }
    __m512i front = _mm512_add_epi32(even, odd);
    __m512i back = _mm512_add_epi32(even_behind, odd_behind);
    out[0] = _mm512_shuffle_i32x4(front, back, 0x88);
    out[1] = _mm512_shuffle_i32x4(front, back, 0xdd);
}

/* The sums of the integers of both halves of each part. */
static void load_half_sums(token_group *to, const umbra_matmul *m, int token, int tokens, size_t at,
                           int parts)
{
    const __m512i one = _mm512_set1_epi16(1);
    for (int p = 0; p < parts; p++) {
        __m512i pairs[GROUP_TOKENS], sums[2];
        for (int t = 0; t < GROUP_TOKENS; t++) {
            size_t row = umbra_token_row(m, token + umbra_min_int(t, tokens - 1));
            size_t from = row * (size_t)m->x->columns + (at + (size_t)p) * UMBRA_Q16_BLOCK;
            pairs[t] = _mm512_madd_epi16(_mm512_loadu_si512(m->x->q + from), one);
        }
        add_lanes(sums, pairs, false);
        _mm512_storeu_ps(to->half[2 * p], _mm512_cvtepi32_ps(sums[0]));
        _mm512_storeu_ps(to->half[2 * p + 1], _mm512_cvtepi32_ps(sums[1]));
    }
}

/* Parts [at, at + parts) of `tokens` tokens; those that fill the group up to `size` are zeros. */
static void load_group(token_group *to, const umbra_matmul *m, int token, int tokens, int size,
                       size_t at, int parts, bool half_sums)
{
    if (half_sums) {
        load_half_sums(to, m, token, tokens, at, parts);
    }
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    for (int t = 0; t < tokens; t++) {
        size_t from = umbra_token_row(m, token + t) * all + at;
        const int16_t *q = m->x->q + from * UMBRA_Q16_BLOCK;
        for (int p = 0; p < parts; p++) {
            __m512i v = _mm512_loadu_si512(q + p * UMBRA_Q16_BLOCK);
            _mm512_storeu_si512(to->planes[p][t], split_bytes(v));
        }
        if (parts == UMBRA_PARTS_MAX) {
            copy_floats(to->line[t], m->x->scale + from, UMBRA_PARTS_MAX);
            copy_floats(to->line[t] + UMBRA_PARTS_MAX, m->x->sum + from, UMBRA_PARTS_MAX);
        } else {
            memcpy(to->line[t], m->x->scale + from, (size_t)parts * sizeof(float));
            memcpy(to->line[t] + UMBRA_PARTS_MAX, m->x->sum + from, (size_t)parts * sizeof(float));
        }
    }
    for (int t = tokens; t < size; t++) {
        for (int p = 0; p < parts; p++) {
            memset(to->planes[p][t], 0, sizeof to->planes[p][t]);
        }
        memset(to->line[t], 0, sizeof to->line[t]);
    }
    turn_numbers(to->number, to->line);
}

/* Tile registers 0 to 3 take sums, 4 and 5 the planes of the tokens, 6 and 7 weights. */
static void set_tiles(int tokens, bool halves)
{
    umbra_tile_shapes shapes = {.palette = 1};
    int columns = halves ? UMBRA_HALF_PART : UMBRA_Q16_BLOCK;
    for (int i = 0; i < 8; i++) {
        shapes.row_bytes[i] = i / 2 == 2 ? (uint16_t)columns : LINE;
        shapes.rows[i] = (uint8_t)(i < 6 ? tokens : columns / 4);
    }
    UMBRA_TILES_SET(&shapes);
}

#define MULTIPLY_PART(of_high, of_low, weights)                                                    \
    UMBRA_TILE_LOAD(weights, w, LINE);                                                             \
    UMBRA_TILE_LOAD(4, planes + PART_BYTES, LINE);                                                 \
    UMBRA_TILE_CLEAR(of_high);                                                                     \
    UMBRA_TILE_ADD_SIGNED(of_high, 4, weights);                                                    \
    UMBRA_TILE_LOAD(5, planes, LINE);                                                              \
    UMBRA_TILE_CLEAR(of_low);                                                                      \
    UMBRA_TILE_ADD_UNSIGNED(of_low, 5, weights);                                                   \
    UMBRA_TILE_STORE(of_high, high, LINE);                                                         \
    UMBRA_TILE_STORE(of_low, low, LINE)

/* Neighbouring products use registers of their own, so that they overlap. */
UMBRA_INLINE void multiply_even(int32_t *high, int32_t *low, const int8_t *w, const uint8_t *planes)
{
    MULTIPLY_PART(0, 1, 6);
}

UMBRA_INLINE void multiply_odd(int32_t *high, int32_t *low, const int8_t *w, const uint8_t *planes)
{
    MULTIPLY_PART(2, 3, 7);
}

UMBRA_INLINE void multiply_part(part_products *out, const panel *w, const token_group *x, int p,
                                const bool halves)
{
    const uint8_t *planes = x->planes[p][0];
    if (halves) {
        multiply_even(out->high[0][0], out->low[0][0], w->w[p], planes);
        multiply_odd(out->high[1][0], out->low[1][0], w->w[p] + UMBRA_HALF_PART * PANEL_ROWS,
                     planes + UMBRA_HALF_PART);
    } else if (p % 2) {
        multiply_odd(out->high[0][0], out->low[0][0], w->w[p], planes);
    } else {
        multiply_even(out->high[0][0], out->low[0][0], w->w[p], planes);
    }
}

/* At most 32 * 128 * 32767, exact. */
UMBRA_INLINE __m512 join_planes(const part_products *from, int half, int t)
{
    __m512i high = _mm512_loadu_si512(from->high[half][t]);
    __m512i low = _mm512_loadu_si512(from->low[half][t]);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}

/* Adds part p of token t: dot is its products, or those of its halves. */
UMBRA_INLINE __m512 add_part(__m512 sum, const __m512 *dot, const float *number,
                             const token_group *x, int p, int t, const bool halves,
                             const bool offset)
{
    __m512 of_x = _mm512_set1_ps(x->number[p][t]);
    if (halves) {
        __m512 both = _mm512_mul_ps(_mm512_loadu_ps(number + 2 * p * PANEL_ROWS), dot[0]);
        both = _mm512_fmadd_ps(_mm512_loadu_ps(number + (2 * p + 1) * PANEL_ROWS), dot[1], both);
        for (int h = 0; offset && h < 2; h++) {
            __m512 of_half = _mm512_set1_ps(x->half[2 * p + h][t]);
            const float *from = number + (NUMBERS + 2 * p + h) * PANEL_ROWS;
            both = _mm512_fmadd_ps(_mm512_loadu_ps(from), of_half, both);
        }
        return _mm512_fmadd_ps(of_x, both, sum);
    }
    if (offset) {
        __m512 sum_of_x = _mm512_set1_ps(x->number[UMBRA_PARTS_MAX + p][t]);
        sum = _mm512_fmadd_ps(_mm512_loadu_ps(number + (UMBRA_PARTS_MAX + p) * PANEL_ROWS),
                              sum_of_x, sum);
    }
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_loadu_ps(number + p * PANEL_ROWS), of_x), dot[0],
                           sum);
}

UMBRA_INLINE void add_products(__m512 *sum, const part_products *from, const panel *w,
                               const token_group *x, int p, const int tokens, const bool halves,
                               const bool offset)
{
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        __m512 dot[2] = {join_planes(from, 0, t)};
        if (halves) {
            dot[1] = join_planes(from, 1, t);
        }
        sum[t] = add_part(sum[t], dot, w->number[0][0], x, p, t, halves, offset);
    }
}

/* The panel times a group: products of a part are under way while those of the part before it are
 * scaled. */
UMBRA_INLINE void add_group(panel_sums all, const panel *w, const token_group *x, int parts,
                            const int tokens, const bool halves, const bool offset)
{
    part_products products[2];
    __m512 sum[GROUP_TOKENS];
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        sum[t] = _mm512_loadu_ps(all[t]);
    }
    multiply_part(&products[0], w, x, 0, halves);
    for (int p = 1; p < parts; p++) {
        multiply_part(&products[p % 2], w, x, p, halves);
        add_products(sum, &products[(p - 1) % 2], w, x, p - 1, tokens, halves, offset);
    }
    add_products(sum, &products[(parts - 1) % 2], w, x, parts - 1, tokens, halves, offset);
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        _mm512_storeu_ps(all[t], sum[t]);
    }
}

typedef void add_group_fn(panel_sums all, const panel *w, const token_group *x, int parts);

#define DEFINE_ADD_GROUP(kind, tokens, halves, offset)                                             \
    static void add_group_##kind##_##tokens(panel_sums all, const panel *w, const token_group *x,  \
                                            int parts)                                             \
    {                                                                                              \
        add_group(all, w, x, parts, tokens, halves, offset);                                       \
    }
/* Groups have a multiple of four tokens. */
#define DEFINE_ADD_GROUPS(kind, halves, offset)                                                    \
    DEFINE_ADD_GROUP(kind, 4, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 8, halves, offset)                                                      \
    DEFINE_ADD_GROUP(kind, 12, halves, offset)                                                     \
    DEFINE_ADD_GROUP(kind, 16, halves, offset)                                                     \
    static add_group_fn *const add_group_##kind[] = {                                              \
        add_group_##kind##_4, add_group_##kind##_8, add_group_##kind##_12, add_group_##kind##_16};
DEFINE_ADD_GROUPS(plain, false, false)
DEFINE_ADD_GROUPS(offset, false, true)
DEFINE_ADD_GROUPS(halves, true, false)
DEFINE_ADD_GROUPS(minima, true, true)

/* The exact products of parts p and p + 1, or of their halves, of all rows with a token. The
 * instruction takes unsigned bytes of the token alone: 128 is added to the high ones and its
 * products are taken away. */
UMBRA_INLINE void multiply_pair(__m512 *out, const panel_lines *w, const token_group *x, int t,
                                int p, const bool halves)
{
    const uint8_t *first = x->planes[p][t], *second = x->planes[p + 1][t];
    const __m512i bias = _mm512_set1_epi8((char)128);
    __m512i a = _mm512_loadu_si512(first), b = _mm512_loadu_si512(second);
    __m512i low = _mm512_shuffle_i32x4(a, b, 0x44);
    __m512i high = _mm512_xor_si512(_mm512_shuffle_i32x4(a, b, 0xee), bias);
    __m512i lanes[PANEL_ROWS], dot[4];
    UMBRA_UNROLL(16)
    for (int r = 0; r < PANEL_ROWS; r++) {
        __m512i of_row = _mm512_loadu_si512(w->w[r] + p * PART_BYTES),
                zero = _mm512_setzero_si512();
        __m512i upper = _mm512_sub_epi32(_mm512_dpbusd_epi32(zero, high, of_row),
                                         _mm512_dpbusd_epi32(zero, bias, of_row));
        lanes[r] = _mm512_dpbusd_epi32(_mm512_slli_epi32(upper, 8), low, of_row);
    }
    add_lanes(dot, lanes, halves);
    const int dots = halves ? 4 : 2;
    UMBRA_UNROLL(4)
    for (int i = 0; i < dots; i++) {
        out[i] = _mm512_cvtepi32_ps(dot[i]);
    }
}

/* Token t of a group times 16 rows: as add_group. */
UMBRA_INLINE void add_token(float *all, const panel_lines *w, const float *number,
                            const token_group *x, int t, int parts, const bool halves,
                            const bool offset)
{
    __m512 sum = _mm512_loadu_ps(all), dot[4];
    for (int p = 0; p < parts; p += 2) {
        multiply_pair(dot, w, x, t, p, halves);
        sum = add_part(sum, dot, number, x, p, t, halves, offset);
        if (p + 1 < parts) {
            sum = add_part(sum, dot + 1 + halves, number, x, p + 1, t, halves, offset);
        }
    }
    _mm512_storeu_ps(all, sum);
}

typedef void add_token_fn(float *all, const panel_lines *w, const float *number,
                          const token_group *x, int t, int parts);

#define DEFINE_ADD_TOKEN(kind, halves, offset)                                                     \
    static void add_token_##kind(float *all, const panel_lines *w, const float *number,            \
                                 const token_group *x, int t, int parts)                           \
    {                                                                                              \
        add_token(all, w, number, x, t, parts, halves, offset);                                    \
    }
DEFINE_ADD_TOKEN(plain, false, false)
DEFINE_ADD_TOKEN(offset, false, true)
DEFINE_ADD_TOKEN(halves, true, false)
DEFINE_ADD_TOKEN(minima, true, true)

/* A weight type as the strips see it. */
typedef struct strip_type {
    const byte_type *unit;
    /* unpack_lines of the type. */
    void (*unpack)(panel_lines *to, const uint8_t *from, uint64_t row_bytes, int rows,
                   const chunk *c, const uint8_t *stream);
    add_group_fn *const *add_group;
    add_token_fn *add_token;
} strip_type;

/* Sums of a strip: of each panel, the groups. */
typedef panel_sums strip_sums[STRIP_PANELS][STRIP_GROUPS];

/* Some rows times some tokens. */
typedef struct strip {
    const umbra_matmul *m;
    const strip_type *type;
    int row, rows, panels;
    int token, tokens, groups;
} strip;

UMBRA_INLINE int group_tokens(const strip *s, int group)
{
    return umbra_min_int(GROUP_TOKENS, s->tokens - group * GROUP_TOKENS);
}

/* Rows of panel i, from byte `from` of each. */
static void unpack_panel(panel_lines *to, const strip *s, int i, size_t from, const chunk *c)
{
    const uint8_t *w = umbra_weight_row(s->m, s->row);
    int first = i * PANEL_ROWS;
    size_t before = from * (size_t)s->rows + (size_t)first * (size_t)(c->units * c->bytes);
    s->type->unpack(to, w + (uint64_t)first * s->m->row_bytes + from, s->m->row_bytes,
                    umbra_min_int(PANEL_ROWS, s->rows - first), c, w + before);
}

static void clear_sums(strip_sums sums, const strip *s)
{
    for (int i = 0; i < s->panels; i++) {
        memset(sums[i], 0, (size_t)s->groups * sizeof sums[i][0]);
    }
}

static void store_strip(strip_sums sums, const strip *s)
{
    for (int t = 0; t < s->tokens; t++) {
        float *out = umbra_output(s->m, s->token + t, s->row);
        for (int i = 0; i < s->panels; i++, out += PANEL_ROWS) {
            const float *from = sums[i][t / GROUP_TOKENS][t % GROUP_TOKENS];
            int rows = umbra_min_int(PANEL_ROWS, s->rows - i * PANEL_ROWS);
            if (rows == PANEL_ROWS) {
                copy_floats(out, from, PANEL_ROWS);
            } else {
                memcpy(out, from, (size_t)rows * sizeof *out);
            }
        }
    }
}

static void multiply_strip(const strip *s)
{
    size_t parts = (size_t)s->m->x->columns / UMBRA_Q16_BLOCK, byte = 0, at = 0;
    strip_sums sums;
    panel w[STRIP_PANELS];
    panel_lines lines;
    token_group x;
    bool half_sums = s->type->unit->halves && s->type->unit->offset;
    int size = 0;
    clear_sums(sums, s);
    while (at < parts) {
        chunk c = choose_chunk(parts - at, s->type->unit);
        int of_chunk = c.units * c.parts;
        for (int i = 0; i < s->panels; i++) {
            unpack_panel(&lines, s, i, byte, &c);
            turn_lines(&w[i], &lines, of_chunk, s->type->unit);
        }
        for (int g = 0; g < s->groups; g++) {
            int tokens = group_tokens(s, g), fours = (tokens + 3) / 4;
            if (4 * fours != size) {
                set_tiles(size = 4 * fours, s->type->unit->halves);
            }
            load_group(&x, s->m, s->token + g * GROUP_TOKENS, tokens, size, at, of_chunk,
                       half_sums);
            for (int i = 0; i < s->panels; i++) {
                s->type->add_group[fours - 1](sums[i][g], &w[i], &x, of_chunk);
            }
        }
        at += (size_t)of_chunk;
        byte += (size_t)(c.units * c.bytes);
    }
    store_strip(sums, s);
}

/* Too few tokens to repay the turning. */
static void multiply_few(const strip *s)
{
    size_t parts = (size_t)s->m->x->columns / UMBRA_Q16_BLOCK, byte = 0, at = 0;
    strip_sums sums;
    panel_lines w;
    square number[2];
    token_group x;
    bool half_sums = s->type->unit->halves && s->type->unit->offset;
    clear_sums(sums, s);
    while (at < parts) {
        chunk c = choose_chunk(parts - at, s->type->unit);
        int of_chunk = c.units * c.parts;
        load_group(&x, s->m, s->token, s->tokens, s->tokens, at, of_chunk, half_sums);
        for (int i = 0; i < s->panels; i++) {
            unpack_panel(&w, s, i, byte, &c);
            turn_all_numbers(number, w.number, s->type->unit);
            for (int t = 0; t < s->tokens; t++) {
                s->type->add_token(sums[i][0][t], &w, number[0][0], &x, t, of_chunk);
            }
        }
        at += (size_t)of_chunk;
        byte += (size_t)(c.units * c.bytes);
    }
    store_strip(sums, s);
}

/* A block of tokens stays in the second-level cache while the strips of the rows go by. */
static void matmul_strips(const umbra_matmul *m, int row_begin, int row_end, const strip_type *type)
{
    strip s = {.m = m, .type = type};
    for (; s.token < m->tokens; s.token += s.tokens) {
        s.tokens = umbra_min_int(STRIP_GROUPS * GROUP_TOKENS, m->tokens - s.token);
        s.groups = (s.tokens + GROUP_TOKENS - 1) / GROUP_TOKENS;
        for (s.row = row_begin; s.row < row_end; s.row += s.rows) {
            s.rows = umbra_min_int(STRIP_PANELS * PANEL_ROWS, row_end - s.row);
            s.panels = (s.rows + PANEL_ROWS - 1) / PANEL_ROWS;
            if (s.tokens <= FEW_TOKENS) {
                multiply_few(&s);
            } else {
                multiply_strip(&s);
            }
        }
    }
    if (m->tokens > FEW_TOKENS && row_begin < row_end) {
        UMBRA_TILES_RELEASE();
    }
}

#endif
