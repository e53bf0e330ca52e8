/* Operands of the products for AMX: a unit of 16 rows, turned, and of up to 16 tokens, whose
 * activations are split into two planes of bytes. */
#ifndef UMBRA_KERNELS_X86_AMX_OPERANDS_H
#define UMBRA_KERNELS_X86_AMX_OPERANDS_H

#include "kernels/x86/avx512_pairs.h"
#include "kernels/x86/avx512_sums.h"

enum {
    TILE_ROWS = 16, /* of a tile register */
    GROUP_TOKENS = TILE_ROWS,
    NUMBERS = 16,        /* of a token: scales of 8 parts, then their sums */
    AHEAD_IN_ROWS = 512, /* bytes of each row that are asked for before they are used */
};

typedef float square[NUMBERS][NUMBERS];

/* A unit of 16 rows: as bytes, or as floats of 16 bits where amx_floats.h says. */
typedef struct panel {
    union {
        /* Of a part, columns 4 i to 4 i + 3 of each row, then the next four columns. */
        _Alignas(LINE) int8_t w[PARTS][LANE_ROWS * PART_BYTES];
        uint32_t pairs[PARTS * TILE_ROWS][LANE_ROWS];
    };
    unit_numbers numbers;
} panel;

/* A unit of up to 16 tokens. */
typedef struct token_group {
    union {
        /* Of a part and a token: low bytes, then high ones. */
        _Alignas(LINE) uint8_t planes[PARTS][GROUP_TOKENS][2 * PART_BYTES];
        uint16_t floats[PARTS][2][GROUP_TOKENS][PART_BYTES];
    };
    _Alignas(LINE) square line, number; /* scales of parts, then their sums */
} token_group;

/* Asks for bytes of the rows, and at their ends for those of the next 16. Beyond the matrix's end
 * that is no error, only a hint wasted. */
UMBRA_INLINE void prefetch_rows(const unit_rows *rows, size_t at, uint64_t row_bytes, int bytes)
{
    uint64_t ahead = AHEAD_IN_ROWS;
    if (at + ahead >= row_bytes) {
        ahead += (LANE_ROWS - 1) * row_bytes;
    }
    for (int r = 0; r < LANE_ROWS; r++) {
        uintptr_t from = (uintptr_t)rows->at[r] + ahead;
        for (int i = 0; i < bytes; i += LINE) {
            __builtin_prefetch((const void *)(from + (uintptr_t)i));
        }
    }
}

/* Finds the panel's unit of up to 16 rows that begins with part `part`, asks for the next one, and
 * loads the numbers. */
UMBRA_INLINE void open_unit(unit_rows *of, unit_tail tail, panel *w, const umbra_matmul *m, int row,
                            int rows, size_t part, const row_type *type)
{
    find_unit(of, tail, m, row, rows, part, type);
    prefetch_rows(of, part / PARTS * (size_t)type->bytes, m->row_bytes, type->bytes);
    type->load_numbers(&w->numbers, of);
}

/* The unit of up to 16 rows that begins with part `part`. */
UMBRA_INLINE void fill_panel(panel *w, const umbra_matmul *m, int row, int rows, size_t part,
                             const row_type *type)
{
    unit_rows of;
    unit_tail tail;
    open_unit(&of, tail, w, m, row, rows, part, type);
    for (int first = 0; first < PARTS; first += type->group) {
        UMBRA_UNROLL(4)
        for (int p = 0; p < type->group; p += 2) {
            __m512i line[LANE_ROWS], turned[LANE_ROWS];
            load_lines(line, &of, &w->numbers, first, p, type);
            turn(turned, line);
            UMBRA_UNROLL(16)
            for (int i = 0; i < LANE_ROWS; i++) {
                _mm512_storeu_si512(w->w[first + p] + i * LINE, turned[i]);
            }
        }
    }
}

/* By registers: compilers take the numbers of a few registers apart and join them anew. */
UMBRA_INLINE void copy_eight(float *to, const float *from)
{
    _mm256_storeu_ps(to, _mm256_loadu_ps(from));
}

static void turn_numbers(square out, square in)
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

/* The scales and sums of `parts` parts from `from` on. */
UMBRA_INLINE void load_line(token_group *to, int t, const umbra_activations *x, size_t from,
                            int parts)
{
    if (parts == PARTS) {
        copy_eight(to->line[t], x->scale + from);
        copy_eight(to->line[t] + PARTS, x->sum + from);
    } else {
        memcpy(to->line[t], x->scale + from, (size_t)parts * sizeof(float));
        memcpy(to->line[t] + PARTS, x->sum + from, (size_t)parts * sizeof(float));
    }
}

/* Parts [at, at + parts) of `tokens` tokens; those that fill the group up to `size` are zeros. */
static void load_bytes(token_group *to, const umbra_matmul *m, int token, int tokens, int size,
                       size_t at, int parts)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    for (int t = 0; t < tokens; t++) {
        size_t from = umbra_token_row(m, token + t) * all + at;
        const int16_t *q = m->x->q + from * UMBRA_Q16_BLOCK;
        for (int p = 0; p < parts; p++) {
            __m512i v = _mm512_loadu_si512(q + p * UMBRA_Q16_BLOCK);
            store_32(to->planes[p][t], _mm512_cvtepi16_epi8(v));
            store_32(to->planes[p][t] + PART_BYTES, _mm512_cvtepi16_epi8(_mm512_srai_epi16(v, 8)));
        }
        load_line(to, t, m->x, from, parts);
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
