/* The types with code books row by row, for tables in which rows lie in lanes: scales of a unit's
 * parts, or of their halves, and signs as they are turned or become masks. */
#ifndef UMBRA_KERNELS_X86_AVX2_GRID_ROWS_H
#define UMBRA_KERNELS_X86_AVX2_GRID_ROWS_H

#include "kernels/x86/avx2_grid_blocks.h"

/* Of a row, bit i of word p is the sign of weight i of part p, where signs have to be completed. */
typedef struct unit_signs {
    uint32_t word[UMBRA_PARTS_MAX];
} unit_signs;

#define ROW(name)                                                                                  \
    UMBRA_INLINE void row_##name(const uint8_t *unit, umbra_block_scales *s, unit_signs *signs)

ROW(iq2_xxs)
{
    __m256i words = load_iq2_xxs_words(unit);
    store_part_scales(s, words, 0.125f * load_half(unit));
    store_32(signs->word, complete_sign_words(words));
}

ROW(iq2_xs)
{
    store_nibble_scales(s, unit + 66, 0.125f * load_half(unit));
    store_32(signs->word, load_iq2_xs_signs(unit));
}

ROW(iq2_s)
{
    (void)signs;
    store_nibble_scales(s, unit + 74, 0.125f * load_half(unit));
}

ROW(iq3_xxs)
{
    __m256i words = load_32(unit + 66);
    store_part_scales(s, words, 0.25f * load_half(unit));
    store_32(signs->word, complete_sign_words(words));
}

ROW(iq3_s)
{
    (void)signs;
    store_iq3_s_scales(s, unit);
}

ROW(iq1_s)
{
    (void)signs;
    store_iq1_s_scales(s, unit);
}

ROW(iq1_m)
{
    (void)signs;
    store_iq1_m_scales(s, umbra_load_u64(unit + 48));
}

/* X(type, scales of a unit) */
#define UMBRA_GRID_ROWS(X)                                                                         \
    X(iq2_xxs, UMBRA_PARTS_MAX)                                                                    \
    X(iq2_xs, 2 * UMBRA_PARTS_MAX)                                                                 \
    X(iq2_s, 2 * UMBRA_PARTS_MAX)                                                                  \
    X(iq3_xxs, UMBRA_PARTS_MAX)                                                                    \
    X(iq3_s, UMBRA_PARTS_MAX)                                                                      \
    X(iq1_s, UMBRA_PARTS_MAX)                                                                      \
    X(iq1_m, 2 * UMBRA_PARTS_MAX)

#endif
