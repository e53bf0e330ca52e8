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
#include "kernels/x86/amx_operands.h"

/* What a group's tokens add to the rows of a panel. */
typedef float panel_sums[GROUP_TOKENS][PANEL_ROWS];

/* Products of one part, or its halves, by plane. */
typedef struct part_products {
    _Alignas(LINE) int32_t high[2][GROUP_TOKENS][PANEL_ROWS];
    _Alignas(LINE) int32_t low[2][GROUP_TOKENS][PANEL_ROWS];
} part_products;

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

#endif
