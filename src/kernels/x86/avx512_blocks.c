/* Products of quantised weights with activations for AVX-512: panels where there are many tokens,
 * AVX2's tiles elsewhere. Both give the same bits. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/avx512_panel.h"

enum { PANEL_LEAST_TOKENS = 6 /* fewer do not repay the turning */ };

static umbra_matmul_fn tiles[UMBRA_DTYPE_COUNT]; /* AVX2's */

static void matmul(const umbra_matmul *m, int row_begin, int row_end, umbra_matmul_fn rest,
                   const panel_type *type)
{
    int row = row_begin;
    for (; m->tokens >= PANEL_LEAST_TOKENS && row + PANEL_ROWS <= row_end; row += PANEL_ROWS) {
        for (int t = 0; t < m->tokens; t += PANEL_TOKENS) {
            panel_block(m, row, t, umbra_min_int(PANEL_TOKENS, m->tokens - t), type);
        }
    }
    rest(m, row, row_end);
}

#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const unit_type unit_##name = {                                                         \
        .load_scales = scales_##name,                                                              \
        .load_part = part_##name,                                                                  \
        .bytes = UMBRA_##TYPE##_BYTES * blocks,                                                    \
        .parts = UMBRA_##TYPE##_PARTS * blocks,                                                    \
        .block = UMBRA_##TYPE##_PARTS,                                                             \
        .group = parts_at_once,                                                                    \
        .offset = has_offset,                                                                      \
        .halves = has_halves,                                                                      \
    };                                                                                             \
    static size_t unpack_##name(panel *w, panel_rows rows, const uint8_t *from,                    \
                                uint64_t row_bytes, size_t left)                                   \
    {                                                                                              \
        return unpack_units(w, rows, from, row_bytes, left, &unit_##name);                         \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const panel_type type = {                                                           \
            .unpack = unpack_##name,                                                               \
            .add = has_halves   ? add_panel_halves                                                 \
                   : has_offset ? add_panel_offset                                                 \
                                : add_panel_plain,                                                 \
        };                                                                                         \
        matmul(m, row_begin, row_end, tiles[UMBRA_##TYPE], &type);                                 \
    }
UMBRA_BLOCK_UNITS(DEFINE_TYPE)
#define SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##name;

/* Q2_K stays AVX2's: the minima of its halves are multiplied, too. */
void umbra_kernels_fill_avx512_blocks(umbra_kernels *k)
{
    memcpy(tiles, k->matmul, sizeof tiles);
    UMBRA_BLOCK_TYPES(SET_MATMUL)
    k->matmul[UMBRA_Q2_K] = tiles[UMBRA_Q2_K];
}
