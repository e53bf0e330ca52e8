/* Layouts of the types whose values come from code books (grids.h), as blocks.h describes the
 * others: 256 values; a part is 4 entries of 8 values or 8 entries of 4. Where a type has "even
 * signs", 7 bits give the signs of 8 values (1 is minus) and the last sign makes the number of
 * minuses even. A scale of b bits stands for 2 b + 1. */
#ifndef UMBRA_KERNELS_GRID_BLOCKS_H
#define UMBRA_KERNELS_GRID_BLOCKS_H

#include "kernels/blocks.h"
#include "kernels/scalar/grids.h"

UMBRA_INLINE unsigned umbra_even_signs(uint32_t seven)
{
    return seven | (unsigned)__builtin_parity(seven) << 7;
}

/* n values of an entry, bit i of `signs` for value i. */
UMBRA_INLINE void umbra_unpack_entry(int8_t *w, const int16_t *entry, unsigned signs, int n)
{
    for (int i = 0; i < n; i++) {
        int minus = -(int)(signs >> i & 1);
        w[i] = (int8_t)((entry[i] ^ minus) - minus);
    }
}

UMBRA_INLINE float umbra_odd_scale(float scale, int bits)
{
    return scale * (float)(2 * bits + 1);
}

/* Two scales of 4 bits in one byte, for the halves of a part. */
UMBRA_INLINE void umbra_set_nibble_scales(umbra_part *out, float scale, uint8_t both)
{
    umbra_set_scale(out, 0, -0.0f);
    out->scale[0] = umbra_odd_scale(scale, both & 15);
    out->scale[1] = umbra_odd_scale(scale, both >> 4);
}

/* Scale, then for each part 4 bytes of entries and 4 bytes of even signs and the part's scale. */
UMBRA_INLINE void umbra_unpack_iq2_xxs(const uint8_t *block, int p, umbra_part *out)
{
    const uint8_t *entries = block + 2 + 8 * p;
    uint32_t signs = umbra_load_u32(entries + 4);
    for (int i = 0; i < 4; i++) {
        umbra_unpack_entry(out->w + 8 * i, umbra_grid.iq2_xxs[entries[i]],
                           umbra_even_signs(signs >> 7 * i & 127), 8);
    }
    float scale = umbra_load_scale(block) * 0.125f;
    umbra_set_scale(out, umbra_odd_scale(scale, (int)(signs >> 28)), -0.0f);
}

/* Scale, 64 bytes of 16-bit numbers (9 bits of entry, even signs), 8 bytes of scales. */
UMBRA_INLINE void umbra_unpack_iq2_xs(const uint8_t *block, int p, umbra_part *out)
{
    for (int i = 0; i < 4; i++) {
        unsigned both = umbra_load_u16(block + 2 + 8 * p + 2 * i);
        umbra_unpack_entry(out->w + 8 * i, umbra_grid.iq2_xs[both & 511],
                           umbra_even_signs(both >> 9), 8);
    }
    umbra_set_nibble_scales(out, umbra_load_scale(block) * 0.125f, block[66 + p]);
}

/* Scale, 32 bytes of entries, 32 bytes of signs, 8 bytes with the entries' upper two bits (low ones
 * first), 8 bytes of scales. */
UMBRA_INLINE void umbra_unpack_iq2_s(const uint8_t *block, int p, umbra_part *out)
{
    for (int i = 0; i < 4; i++) {
        int entry = block[2 + 4 * p + i] | (block[66 + p] >> 2 * i & 3) << 8;
        umbra_unpack_entry(out->w + 8 * i, umbra_grid.iq2_s[entry], block[34 + 4 * p + i], 8);
    }
    umbra_set_nibble_scales(out, umbra_load_scale(block) * 0.125f, block[74 + p]);
}

/* Scale, 64 bytes of entries, then for each part 4 bytes of even signs and the part's scale. */
UMBRA_INLINE void umbra_unpack_iq3_xxs(const uint8_t *block, int p, umbra_part *out)
{
    uint32_t signs = umbra_load_u32(block + 66 + 4 * p);
    for (int i = 0; i < 8; i++) {
        unsigned eight = umbra_even_signs(signs >> 7 * (i / 2) & 127);
        umbra_unpack_entry(out->w + 4 * i, umbra_grid.iq3_xxs[block[2 + 8 * p + i]],
                           eight >> 4 * (i % 2), 4);
    }
    float scale = umbra_load_scale(block) * 0.25f;
    umbra_set_scale(out, umbra_odd_scale(scale, (int)(signs >> 28)), -0.0f);
}

/* Scale, 64 bytes of entries, 8 bytes with the entries' ninth bits, 32 bytes of signs, 4 bytes of
 * scales of parts (low nibble first). */
UMBRA_INLINE void umbra_unpack_iq3_s(const uint8_t *block, int p, umbra_part *out)
{
    for (int i = 0; i < 8; i++) {
        int entry = block[2 + 8 * p + i] | (block[66 + p] >> i & 1) << 8;
        umbra_unpack_entry(out->w + 4 * i, umbra_grid.iq3_s[entry],
                           block[74 + 4 * p + i / 2] >> 4 * (i % 2), 4);
    }
    int bits = block[106 + p / 2] >> 4 * (p % 2) & 15;
    umbra_set_scale(out, umbra_odd_scale(umbra_load_scale(block), bits), -0.0f);
}

/* 8 values of -1, 0 and 1 to which an eighth is added or, if `minus`, taken away: all times 8. */
UMBRA_INLINE void umbra_unpack_ternary(int8_t *w, int entry, bool minus)
{
    for (int i = 0; i < 8; i++) {
        w[i] = (int8_t)(umbra_grid.iq1[entry][i] - (minus ? 2 : 0));
    }
}

/* Scale, 32 bytes of entries, one 16-bit number for each part: the upper three bits of its four
 * entries (low ones first), three bits of scale, the sign of the eighth. */
UMBRA_INLINE void umbra_unpack_iq1_s(const uint8_t *block, int p, umbra_part *out)
{
    unsigned high = umbra_load_u16(block + 34 + 2 * p);
    for (int i = 0; i < 4; i++) {
        int entry = block[2 + 4 * p + i] | (int)(high >> 3 * i & 7) << 8;
        umbra_unpack_ternary(out->w + 8 * i, entry, high >> 15);
    }
    float scale = umbra_load_scale(block) * 0.125f;
    umbra_set_scale(out, umbra_odd_scale(scale, (int)(high >> 12 & 7)), -0.0f);
}

/* The f16 scale of IQ1_M lies in the upper four bits of four 16-bit numbers. */
UMBRA_INLINE uint16_t umbra_iq1_m_scale(uint64_t scales)
{
    return (uint16_t)((scales >> 12 & 0xf) | (scales >> 24 & 0xf0) | (scales >> 36 & 0xf00) |
                      (scales >> 48 & 0xf000));
}

/* 32 bytes of entries, 16 bytes of nibbles (an entry's upper three bits and the sign of its
 * eighth), 8 bytes of scales: four times four of 3 bits and four bits of their scale. */
UMBRA_INLINE void umbra_unpack_iq1_m(const uint8_t *block, int p, umbra_part *out)
{
    uint64_t scales = umbra_load_u64(block + 48);
    for (int i = 0; i < 4; i++) {
        int high = block[32 + 2 * p + i / 2] >> 4 * (i % 2) & 15;
        umbra_unpack_ternary(out->w + 8 * i, block[4 * p + i] | (high & 7) << 8, high >> 3);
    }
    float scale = umbra_f16_to_f32(umbra_iq1_m_scale(scales)) * 0.125f;
    umbra_set_scale(out, 0, -0.0f);
    for (int h = 0; h < 2; h++) {
        int bits = (int)(scales >> (16 * (p / 2) + 3 * (2 * (p % 2) + h)) & 7);
        out->scale[h] = umbra_odd_scale(scale, bits);
    }
}

#endif
