/* Products of small weights for AMX, as floats of 16 bits: 16 rows by up to 16 tokens at a time.
 * An activation of 16 bits is the sum of two floats of 8 bits' precision. Where no weight is larger
 * than 16, all sums of a part's products are integers up to 2^24, which a float holds: so they are
 * exact in any order, and need neither to be joined from planes nor converted. The order of sums is
 * that of AVX-512. */
#ifndef UMBRA_KERNELS_X86_AMX_FLOATS_H
#define UMBRA_KERNELS_X86_AMX_FLOATS_H

#include "kernels/x86/amx_panel.h"

/* Types whose weights are that small, with one scale for a part. */
#define IS_SMALL(TYPE)                                                                             \
    (UMBRA_##TYPE == UMBRA_Q4_0 || UMBRA_##TYPE == UMBRA_Q4_1 || UMBRA_##TYPE == UMBRA_Q5_0 ||     \
     UMBRA_##TYPE == UMBRA_MXFP4 || UMBRA_##TYPE == UMBRA_Q4_K || UMBRA_##TYPE == UMBRA_TQ1_0 ||   \
     UMBRA_##TYPE == UMBRA_TQ2_0 || UMBRA_##TYPE == UMBRA_IQ1_S)

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
 */
UMBRA_INLINE void store_pairs(panel *w, int p, int i, __m512i even, __m512i odd)
{
    _mm512_storeu_si512(w->pairs[p * TILE_ROWS + 2 * i], even);
    _mm512_storeu_si512(w->pairs[p * TILE_ROWS + 2 * i + 1], odd);
}

/* As fill_panel. The low five bits of either half of a lane choose one of 32 floats. */
UMBRA_INLINE void fill_floats(panel *w, const umbra_matmul *m, int row, int rows, size_t part,
                              const row_type *type)
{
    unit_rows of;
    unit_tail tail;
    __m512i floats = make_floats(-type->bias);
    open_unit(&of, tail, w, m, row, rows, part, type);
    for (int first = 0; first < PARTS; first += type->group) {
        UMBRA_UNROLL(4)
        for (int p = 0; p < type->group; p += 2) {
            __m512i line[LANE_ROWS], turned[LANE_ROWS];
            load_biased(line, &of, &w->numbers, first, p, type);
            turn(turned, line);
            UMBRA_UNROLL(16)
            for (int i = 0; i < LANE_ROWS; i++) {
                __m512i even = _mm512_permutexvar_epi16(turned[i], floats);
                __m512i odd = _mm512_permutexvar_epi16(_mm512_srli_epi16(turned[i], 8), floats);
                store_pairs(w, first + p + i / 8, i % 8, even, odd);
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
    open_unit(&of, tail, w, m, row, rows, part, type);
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
            store_pairs(w, p, i % 8, nibbles[0], nibbles[2]);
            store_pairs(w, p + 1, i % 8, nibbles[1], nibbles[3]);
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

/* As load_bytes: of a part the high floats, then the low ones. */
static void load_floats(token_group *to, const umbra_matmul *m, int token, int tokens, int size,
                        size_t at, int parts)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    for (int t = 0; t < tokens; t++) {
        size_t from = umbra_token_row(m, token + t) * all + at;
        const int16_t *q = m->x->q + from * UMBRA_Q16_BLOCK;
        for (int p = 0; p < parts; p++) {
            two_floats v = split_part(q + p * UMBRA_Q16_BLOCK);
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

#define MULTIPLY_FLOATS(sum, of_high, of_low, weights)                                             \
    UMBRA_TILE_LOAD(weights, w, LINE);                                                             \
    UMBRA_TILE_LOAD(of_high, high, LINE);                                                          \
    UMBRA_TILE_CLEAR(sum);                                                                         \
    UMBRA_TILE_ADD_FLOATS(sum, of_high, weights);                                                  \
    UMBRA_TILE_LOAD(of_low, low, LINE);                                                            \
    UMBRA_TILE_ADD_FLOATS(sum, of_low, weights);                                                   \
    UMBRA_TILE_STORE(sum, out->dot[0], LINE)

/* As multiply_part. */
UMBRA_INLINE void multiply_floats(float_products *out, const panel *w_of, const token_group *x,
                                  int p)
{
    const uint16_t *high = x->floats[p][0][0], *low = x->floats[p][1][0];
    const uint32_t *w = w_of->pairs[p * TILE_ROWS];
    if (p % 2) {
        MULTIPLY_FLOATS(1, 4, 5, 7);
    } else {
        MULTIPLY_FLOATS(0, 2, 3, 6);
    }
}

UMBRA_INLINE void add_dots(__m512 *sum, const float_products *from, const panel *w,
                           const token_group *x, int p, const int tokens, const bool offset)
{
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        __m512 of_x = _mm512_set1_ps(x->number[p][t]);
        sum[t] = add_scaled(sum[t], &w->numbers, p, of_x, &x->number[PARTS + p][t],
                            _mm512_loadu_ps(from->dot[t]), offset);
    }
}

/* As add_group. */
UMBRA_INLINE void add_floats(panel_sums all, const panel *w, const token_group *x, int parts,
                             const int tokens, const bool offset)
{
    float_products products[2];
    __m512 sum[GROUP_TOKENS];
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        sum[t] = _mm512_loadu_ps(all[t]);
    }
    multiply_floats(&products[0], w, x, 0);
    for (int p = 1; p < parts; p++) {
        multiply_floats(&products[p % 2], w, x, p);
        add_dots(sum, &products[(p - 1) % 2], w, x, p - 1, tokens, offset);
    }
    add_dots(sum, &products[(parts - 1) % 2], w, x, parts - 1, tokens, offset);
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        _mm512_storeu_ps(all[t], sum[t]);
    }
}

#define DEFINE_ADD_FLOATS(kind, tokens, offset)                                                    \
    static void add_floats_##kind##_##tokens(panel_sums all, const panel *w, const token_group *x, \
                                             int parts)                                            \
    {                                                                                              \
        add_floats(all, w, x, parts, tokens, offset);                                              \
    }
#define DEFINE_ADD_FLOATS_OF(kind, offset)                                                         \
    DEFINE_ADD_FLOATS(kind, 4, offset)                                                             \
    DEFINE_ADD_FLOATS(kind, 8, offset)                                                             \
    DEFINE_ADD_FLOATS(kind, 12, offset)                                                            \
    DEFINE_ADD_FLOATS(kind, 16, offset)                                                            \
    static add_group_fn *const add_floats_##kind[] = {                                             \
        add_floats_##kind##_4, add_floats_##kind##_8, add_floats_##kind##_12,                      \
        add_floats_##kind##_16};
DEFINE_ADD_FLOATS_OF(plain, false)
DEFINE_ADD_FLOATS_OF(offset, true)

#endif
