/* Operands of the products for AMX: up to eight parts of 16 rows, unpacked to bytes and turned, and
 * of up to 16 tokens, whose activations are split into two planes of bytes. */
#ifndef UMBRA_KERNELS_X86_AMX_OPERANDS_H
#define UMBRA_KERNELS_X86_AMX_OPERANDS_H

#include "kernels/x86/avx2_grid_blocks.h"
#include "kernels/x86/avx512_turn.h"

enum {
    PANEL_ROWS = 16,   /* lanes of a register */
    GROUP_TOKENS = 16, /* rows of a tile register */
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

/* By registers: compilers take the numbers of a few registers apart and join them anew. */
UMBRA_INLINE void copy_floats(float *to, const float *from, const int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(to + i, _mm256_loadu_ps(from + i));
    }
    for (; i + 4 <= n; i += 4) {
        _mm_storeu_ps(to + i, _mm_loadu_ps(from + i));
    }
    for (; i < n; i++) {
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

/* 16 integers times a number. */
UMBRA_INLINE void store_scaled(float *to, const int16_t *from, float number)
{
    UMBRA_UNROLL(2)
    for (int i = 0; i < NUMBERS; i += 8) {
        __m256i wide = _mm256_cvtepi16_epi32(load_16((const uint8_t *)(from + i)));
        _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(number)));
    }
}

/* Of row r: the numbers of a unit whose first part is part `first_part` of the panel. */
UMBRA_INLINE void store_numbers(square number[2], int r, int first_part,
                                const umbra_block_scales *s, const int parts, const byte_type *type)
{
    const int scales = type->halves ? 2 : 1;
    if (type->sub) {
        store_scaled(number[0][r], s->sub, s->scale[0]);
    } else {
        copy_floats(number[0][r] + scales * first_part, s->scale, scales * parts);
    }
    if (type->offset && type->halves) {
        store_scaled(number[1][r], s->minima, s->offset[0]);
    } else if (type->offset) {
        copy_floats(number[0][r] + UMBRA_PARTS_MAX + first_part, s->offset, parts);
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

#endif
