/* Products of small weights for AMX, as floats of 16 bits: 16 rows by up to 16 tokens at a time.
 * An activation of 16 bits is the sum of two floats of 8 bits' precision, and so are the weights.
 * Where no weight is larger than 16, or 32 with a scale for each half of a part, all sums of the
 * products are integers below 2^24, which a float holds: so they are exact in any order, and need
 * neither to be joined from planes nor converted. The order of sums is that of AVX-512. */
#ifndef UMBRA_KERNELS_X86_AMX_FLOATS_H
#define UMBRA_KERNELS_X86_AMX_FLOATS_H

#include "kernels/x86/amx_panel.h"

/* Types whose weights are that small. */
#define IS_SMALL(TYPE)                                                                             \
    (UMBRA_##TYPE == UMBRA_Q4_0 || UMBRA_##TYPE == UMBRA_Q4_1 || UMBRA_##TYPE == UMBRA_Q5_0 ||     \
     UMBRA_##TYPE == UMBRA_MXFP4 || UMBRA_##TYPE == UMBRA_Q2_K || UMBRA_##TYPE == UMBRA_Q3_K ||    \
     UMBRA_##TYPE == UMBRA_Q4_K || UMBRA_##TYPE == UMBRA_Q6_K || UMBRA_##TYPE == UMBRA_NVFP4 ||    \
     UMBRA_##TYPE == UMBRA_TQ1_0 || UMBRA_##TYPE == UMBRA_TQ2_0 || UMBRA_##TYPE == UMBRA_IQ1_S ||  \
     UMBRA_##TYPE == UMBRA_IQ1_M)

/* The floats of 32 numbers from `first` on. */
UMBRA_INLINE __m512i make_floats(int first)
{
    __m512i n = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i half[2];
    for (int i = 0; i < 2; i++) {
        __m512i numbers = _mm512_add_epi32(n, _mm512_set1_epi32(first + 16 * i));
        half[i] = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(numbers)), 16);
    }
    return join_parts(_mm512_cvtepi32_epi16(half[0]), _mm512_cvtepi32_epi16(half[1]));
}

/* Columns 4 i to 4 i + 3 of part p as two lines of pairs: the even of the four, then the odd ones.
 * Halves of parts that have sums of their own stand twice: for either float of an activation. */
UMBRA_INLINE void store_pairs(panel *w, int p, int i, __m512i even, __m512i odd, const bool halves)
{
    int at = halves ? (2 * p + i / 4) * TILE_ROWS + i % 4 * 2 : p * TILE_ROWS + 2 * i;
    for (int twice = 0; twice <= halves; twice++, at += TILE_ROWS / 2) {
        _mm512_storeu_si512(w->pairs[at], even);
        _mm512_storeu_si512(w->pairs[at + 1], odd);
    }
}

/* As fill_panel. Of a lane's bytes a table's entry is chosen by the low bits of either half. */
UMBRA_INLINE void fill_floats(panel *w, const umbra_matmul *m, int row, int rows, size_t part,
                              const row_type *type)
{
    unit_rows of;
    unit_tail tail;
    __m512i low = make_floats(-type->bias), high = make_floats(32 - type->bias);
    find_unit(&of, tail, m, row, rows, part, type);
    prefetch_rows(&of, part / PARTS * (size_t)type->bytes, m->row_bytes, type->bytes);
    type->load_numbers(&w->numbers, &of);
    for (int first = 0; first < PARTS; first += type->group) {
        UMBRA_UNROLL(4)
        for (int p = 0; p < type->group; p += 2) {
            __m512i line[LANE_ROWS], turned[LANE_ROWS];
            load_biased(line, &of, &w->numbers, first, p, type);
            turn(turned, line);
            UMBRA_UNROLL(16)
            for (int i = 0; i < LANE_ROWS; i++) {
                __m512i even = turned[i], odd = _mm512_srli_epi16(turned[i], 8);
                even = _mm512_permutex2var_epi16(low, even, high);
                odd = _mm512_permutex2var_epi16(low, odd, high);
                store_pairs(w, first + p + i / 8, i % 8, even, odd, type->halves);
            }
        }
    }
}

/* Q4_K, whose nibbles are turned before they are taken apart. A choice sees five bits: the entries
 * for four of them stand twice. */
UMBRA_INLINE void fill_nibbles(panel *w, const umbra_matmul *m, int row, int rows, size_t part,
                               const row_type *type)
{
    unit_rows of;
    unit_tail tail;
    __m512i floats = make_floats(0);
    floats = _mm512_inserti64x4(floats, _mm512_castsi512_si256(floats), 1);
    find_unit(&of, tail, m, row, rows, part, type);
    prefetch_rows(&of, part / PARTS * (size_t)type->bytes, m->row_bytes, type->bytes);
    type->load_numbers(&w->numbers, &of);
    for (int first = 0; first < PARTS; first += 4) {
        __m512i line[LANE_ROWS], turned[LANE_ROWS];
        UMBRA_UNROLL(16)
        for (int r = 0; r < LANE_ROWS; r++) {
            line[r] = _mm512_loadu_si512(of.at[r] + 16 + 16 * first);
        }
        turn(turned, line);
        UMBRA_UNROLL(16)
        for (int i = 0; i < LANE_ROWS; i++) {
            __m512i nibbles[4];
            UMBRA_UNROLL(4)
            for (int k = 0; k < 4; k++) {
                __m512i at = _mm512_srli_epi16(turned[i], (unsigned)(4 * k));
                nibbles[k] = _mm512_permutexvar_epi16(at, floats);
            }
            int p = first + i / 8 * 2;
            store_pairs(w, p, i % 8, nibbles[0], nibbles[2], false);
            store_pairs(w, p + 1, i % 8, nibbles[1], nibbles[3], false);
        }
    }
}

/* An activation's float of 8 bits, and what is left of it. */
typedef struct two_floats {
    __m512i high, low;
} two_floats;

/* A part, its columns in the order of a panel's pairs. */
UMBRA_INLINE two_floats split_part(const int16_t *q)
{
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    const __m512i front = _mm512_set1_epi32((int)0xffff0000);
    __m512i v = _mm512_shuffle_epi8(_mm512_loadu_si512(q), order);
    __m512 even = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(v, 16), 16));
    __m512 odd = _mm512_cvtepi32_ps(_mm512_srai_epi32(v, 16));
    __m512i even_high = _mm512_and_si512(_mm512_castps_si512(even), front);
    __m512i odd_high = _mm512_and_si512(_mm512_castps_si512(odd), front);
    __m512i even_low = _mm512_castps_si512(_mm512_sub_ps(even, _mm512_castsi512_ps(even_high)));
    __m512i odd_low = _mm512_castps_si512(_mm512_sub_ps(odd, _mm512_castsi512_ps(odd_high)));
    return (two_floats){
        .high = _mm512_or_si512(_mm512_srli_epi32(even_high, 16), odd_high),
        .low = _mm512_or_si512(_mm512_srli_epi32(even_low, 16), odd_low),
    };
}

/* As load_bytes: of a part the high floats, then the low ones, or both of either half. */
UMBRA_INLINE void split_group(token_group *to, const umbra_matmul *m, int token, int tokens,
                              int size, size_t at, int parts, const bool halves)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    for (int t = 0; t < tokens; t++) {
        size_t from = umbra_token_row(m, token + t) * all + at;
        const int16_t *q = m->x->q + from * UMBRA_Q16_BLOCK;
        for (int p = 0; p < parts; p++) {
            two_floats v = split_part(q + p * UMBRA_Q16_BLOCK);
            if (halves) {
                __m512i a = _mm512_shuffle_i32x4(v.high, v.low, 0x44);
                v.low = _mm512_shuffle_i32x4(v.high, v.low, 0xee);
                v.high = a;
            }
            _mm512_storeu_si512(to->floats[p][0][t], v.high);
            _mm512_storeu_si512(to->floats[p][1][t], v.low);
        }
        load_line(to, t, m->x, from, parts);
    }
    for (int t = tokens; t < size; t++) {
        for (int p = 0; p < parts; p++) {
            memset(to->floats[p][0][t], 0, sizeof to->floats[p][0][t]);
            memset(to->floats[p][1][t], 0, sizeof to->floats[p][1][t]);
        }
        memset(to->line[t], 0, sizeof to->line[t]);
    }
    turn_numbers(to->number, to->line);
}

static void load_floats(token_group *to, const umbra_matmul *m, int token, int tokens, int size,
                        size_t at, int parts)
{
    split_group(to, m, token, tokens, size, at, parts, false);
}

static void load_halves(token_group *to, const umbra_matmul *m, int token, int tokens, int size,
                        size_t at, int parts)
{
    split_group(to, m, token, tokens, size, at, parts, true);
}

#define MULTIPLY_FLOATS(sum)                                                                       \
    UMBRA_TILE_LOAD(6, w, LINE);                                                                   \
    UMBRA_TILE_LOAD(4, high, LINE);                                                                \
    UMBRA_TILE_CLEAR(sum);                                                                         \
    UMBRA_TILE_ADD_FLOATS(sum, 4, 6);                                                              \
    UMBRA_TILE_LOAD(5, low, LINE);                                                                 \
    UMBRA_TILE_ADD_FLOATS(sum, 5, 6);                                                              \
    UMBRA_TILE_STORE(sum, out->dot[0][0], LINE)
#define MULTIPLY_HALVES(first, second)                                                             \
    UMBRA_TILE_LOAD(6, w, LINE);                                                                   \
    UMBRA_TILE_LOAD(4, high, LINE);                                                                \
    UMBRA_TILE_CLEAR(first);                                                                       \
    UMBRA_TILE_ADD_FLOATS(first, 4, 6);                                                            \
    UMBRA_TILE_LOAD(7, w + (size_t)TILE_ROWS * LANE_ROWS, LINE);                                   \
    UMBRA_TILE_LOAD(5, low, LINE);                                                                 \
    UMBRA_TILE_CLEAR(second);                                                                      \
    UMBRA_TILE_ADD_FLOATS(second, 5, 7);                                                           \
    UMBRA_TILE_STORE(first, out->dot[0][0], LINE);                                                 \
    UMBRA_TILE_STORE(second, out->dot[1][0], LINE)

/* As multiply_part. */
UMBRA_INLINE void multiply_floats(float_products *out, const panel *w_of, const token_group *x,
                                  int p, const bool halves)
{
    const uint16_t *high = x->floats[p][0][0], *low = x->floats[p][1][0];
    const uint32_t *w = w_of->pairs[p * TILE_ROWS * (halves ? 2 : 1)];
    if (halves && p % 2) {
        MULTIPLY_HALVES(2, 3);
    } else if (halves) {
        MULTIPLY_HALVES(0, 1);
    } else if (p % 2) {
        MULTIPLY_FLOATS(1);
    } else {
        MULTIPLY_FLOATS(0);
    }
}

UMBRA_INLINE void add_dots(__m512 *sum, const float_products *from, const panel *w,
                           const token_group *x, int p, const int tokens, const bool halves,
                           const bool offset)
{
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        __m512 of_x = _mm512_set1_ps(x->number[p][t]);
        __m512 dot = _mm512_loadu_ps(from->dot[0][t]);
        if (halves) {
            sum[t] = add_halves(sum[t], &w->numbers, p, of_x, NULL,
                                scale_first_half(&w->numbers, p, dot),
                                _mm512_loadu_ps(from->dot[1][t]), false);
        } else {
            sum[t] =
                add_scaled(sum[t], &w->numbers, p, of_x, &x->number[PARTS + p][t], dot, offset);
        }
    }
}

/* As add_group. */
UMBRA_INLINE void add_floats(panel_sums all, const panel *w, const token_group *x, int parts,
                             const int tokens, const bool halves, const bool offset)
{
    float_products products[2];
    __m512 sum[GROUP_TOKENS];
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        sum[t] = _mm512_loadu_ps(all[t]);
    }
    multiply_floats(&products[0], w, x, 0, halves);
    for (int p = 1; p < parts; p++) {
        multiply_floats(&products[p % 2], w, x, p, halves);
        add_dots(sum, &products[(p - 1) % 2], w, x, p - 1, tokens, halves, offset);
    }
    add_dots(sum, &products[(parts - 1) % 2], w, x, parts - 1, tokens, halves, offset);
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        _mm512_storeu_ps(all[t], sum[t]);
    }
}

#define DEFINE_ADD_FLOATS(kind, tokens, halves, offset)                                            \
    static void add_floats_##kind##_##tokens(panel_sums all, const panel *w, const token_group *x, \
                                             int parts)                                            \
    {                                                                                              \
        add_floats(all, w, x, parts, tokens, halves, offset);                                      \
    }
#define DEFINE_ADD_FLOATS_OF(kind, halves, offset)                                                 \
    DEFINE_ADD_FLOATS(kind, 4, halves, offset)                                                     \
    DEFINE_ADD_FLOATS(kind, 8, halves, offset)                                                     \
    DEFINE_ADD_FLOATS(kind, 12, halves, offset)                                                    \
    DEFINE_ADD_FLOATS(kind, 16, halves, offset)                                                    \
    static add_group_fn *const add_floats_##kind[] = {                                             \
        add_floats_##kind##_4, add_floats_##kind##_8, add_floats_##kind##_12,                      \
        add_floats_##kind##_16};
DEFINE_ADD_FLOATS_OF(plain, false, false)
DEFINE_ADD_FLOATS_OF(offset, false, true)
DEFINE_ADD_FLOATS_OF(halves, true, false)

#endif
