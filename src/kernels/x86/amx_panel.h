/* Products of quantised weights for AMX: 16 rows by up to 16 tokens at a time. Activations are
 * split into two planes of bytes, signed high ones and unsigned low ones, whose products with a
 * part are exact; 256 times the first and the second are then scaled in float. The order of sums is
 * that of AVX-512. */
#ifndef UMBRA_KERNELS_X86_AMX_PANEL_H
#define UMBRA_KERNELS_X86_AMX_PANEL_H

#include "kernels/x86/amx.h"
#include "kernels/x86/amx_operands.h"

/* What a group's tokens add to the rows of a panel. */
typedef float panel_sums[GROUP_TOKENS][LANE_ROWS];

/* Products of one part, by plane. */
typedef struct part_products {
    _Alignas(LINE) int32_t high[GROUP_TOKENS][LANE_ROWS];
    _Alignas(LINE) int32_t low[GROUP_TOKENS][LANE_ROWS];
} part_products;

/* The same where products are floats. */
typedef struct float_products {
    _Alignas(LINE) float dot[GROUP_TOKENS][LANE_ROWS];
} float_products;

/* Of bytes, tile registers 0 to 3 take sums, 4 and 5 the planes of the tokens, 6 and 7 weights; of
 * floats 0 and 1 take sums, 2 to 5 tokens, 6 and 7 weights. */
static void set_tiles(int tokens, bool floats)
{
    umbra_tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shapes.row_bytes[i] = i / 2 == 2 && !floats ? UMBRA_Q16_BLOCK : LINE;
        shapes.rows[i] = (uint8_t)(i < 6 ? tokens : floats ? TILE_ROWS : UMBRA_Q16_BLOCK / 4);
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

/* Neighbouring parts use registers of their own, so that they overlap. */
UMBRA_INLINE void multiply_part(part_products *out, const panel *w_of, const token_group *x, int p)
{
    const uint8_t *planes = x->planes[p][0];
    const int8_t *w = w_of->w[p];
    int32_t *high = out->high[0], *low = out->low[0];
    if (p % 2) {
        MULTIPLY_PART(2, 3, 7);
    } else {
        MULTIPLY_PART(0, 1, 6);
    }
}

/* At most 32 * 128 * 32767, exact. */
UMBRA_INLINE __m512 join_planes(const part_products *from, int t)
{
    __m512i high = _mm512_loadu_si512(from->high[t]);
    __m512i low = _mm512_loadu_si512(from->low[t]);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}

UMBRA_INLINE void add_products(__m512 *sum, const part_products *from, const panel *w,
                               const token_group *x, int p, const int tokens, const bool offset)
{
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        __m512 of_x = _mm512_set1_ps(x->number[p][t]);
        sum[t] = add_scaled(sum[t], &w->numbers, p, of_x, &x->number[PARTS + p][t],
                            join_planes(from, t), offset);
    }
}

/* The panel times a group: products of a part are under way while those of the part before it are
 * scaled. */
UMBRA_INLINE void add_group(panel_sums all, const panel *w, const token_group *x, int parts,
                            const int tokens, const bool offset)
{
    part_products products[2];
    __m512 sum[GROUP_TOKENS];
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        sum[t] = _mm512_loadu_ps(all[t]);
    }
    multiply_part(&products[0], w, x, 0);
    for (int p = 1; p < parts; p++) {
        multiply_part(&products[p % 2], w, x, p);
        add_products(sum, &products[(p - 1) % 2], w, x, p - 1, tokens, offset);
    }
    add_products(sum, &products[(parts - 1) % 2], w, x, parts - 1, tokens, offset);
    UMBRA_UNROLL(16)
    for (int t = 0; t < tokens; t++) {
        _mm512_storeu_ps(all[t], sum[t]);
    }
}

typedef void add_group_fn(panel_sums all, const panel *w, const token_group *x, int parts);

#define DEFINE_ADD_GROUP(kind, tokens, offset)                                                     \
    static void add_group_##kind##_##tokens(panel_sums all, const panel *w, const token_group *x,  \
                                            int parts)                                             \
    {                                                                                              \
        add_group(all, w, x, parts, tokens, offset);                                               \
    }
/* Groups have a multiple of four tokens. */
#define DEFINE_ADD_GROUPS(kind, offset)                                                            \
    DEFINE_ADD_GROUP(kind, 4, offset)                                                              \
    DEFINE_ADD_GROUP(kind, 8, offset)                                                              \
    DEFINE_ADD_GROUP(kind, 12, offset)                                                             \
    DEFINE_ADD_GROUP(kind, 16, offset)                                                             \
    static add_group_fn *const add_group_##kind[] = {                                              \
        add_group_##kind##_4, add_group_##kind##_8, add_group_##kind##_12, add_group_##kind##_16};
DEFINE_ADD_GROUPS(plain, false)
DEFINE_ADD_GROUPS(offset, true)

#endif
