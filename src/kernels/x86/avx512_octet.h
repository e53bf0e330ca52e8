/* Eight parts of a row of quantised weights as 16-bit integers with their scales: what the products
 * for AVX-512 are made of (avx512_blocks.c). */
#ifndef UMBRA_KERNELS_X86_AVX512_OCTET_H
#define UMBRA_KERNELS_X86_AVX512_OCTET_H

#include "kernels/x86/avx2.h"
#include "kernels/x86/avx2_grid_blocks.h"
#include "kernels/x86/avx512.h"

enum {
    OCTET = UMBRA_PARTS_MAX, /* parts at a time */
    OCTET_VALUES = OCTET * UMBRA_Q16_BLOCK,
};

/* Up to eight parts of a row, unpacked. */
typedef struct octet {
    int16_t w[OCTET_VALUES] __attribute__((aligned(64)));
    float scale[2 * OCTET], offset[OCTET]; /* scale: by part, or by half of a part */
} octet;

/* What is known of a weight type before anything is read; the same fields as in matmul_blocks.h. */
typedef struct unit_type {
    void (*load_scales)(const uint8_t *unit, umbra_block_scales *out, int parts);
    umbra_halves (*load_part)(const uint8_t *unit, const umbra_block_scales *s, int first, int p);
    int bytes, parts, block, group;
    bool offset, halves;
    bool sub; /* halves have integer scales, which load_part multiplies with: here they go into the
                 scales, since 32 products with them need not fit into a lane */
} unit_type;

/* A weight type as the products see it. */
typedef struct block_type {
    /* The next n parts of a row, n below OCTET only at its end. Returns the bytes that they have.
     */
    size_t (*unpack)(octet *to, const uint8_t *w, int n);
    size_t octet_bytes;
    bool offset;
    bool halves; /* a scale for each half of a part */
} block_type;

/* Puts `parts` parts behind `at` parts of an octet. parts: those of a unit or of a block. */
UMBRA_INLINE void unpack_unit(octet *o, int at, const uint8_t *unit, const int parts,
                              const unit_type *type)
{
    const int group = parts < type->group ? parts : type->group;
    const int scales = type->halves || type->sub ? 2 : 1;
    umbra_block_scales s;
    float sub[2 * OCTET];
    type->load_scales(unit, &s, parts);
    for (int i = 0; type->sub && i < 2 * parts; i++) {
        sub[i] = s.scale[i / 2] * (float)s.sub[i];
        s.sub[i] = 1;
    }
    memcpy(o->scale + scales * at, type->sub ? sub : s.scale,
           (size_t)(scales * parts) * sizeof *s.scale);
    if (type->offset) {
        memcpy(o->offset + at, s.offset, (size_t)parts * sizeof *s.offset);
    }
    int16_t *to = o->w + (size_t)at * UMBRA_Q16_BLOCK;
    for (int first = 0; first < parts; first += group) {
        UMBRA_UNROLL(8)
        for (int p = 0; p < group; p++, to += UMBRA_Q16_BLOCK) {
            umbra_halves w = type->load_part(unit, &s, first, p);
            store_32(to, w.low);
            store_32(to + UMBRA_HALF_PART, w.high);
        }
    }
}

UMBRA_INLINE size_t unpack_octet(octet *o, const uint8_t *w, int n, const unit_type *type)
{
    const uint8_t *start = w;
    int at = 0;
    for (; at + type->parts <= n; at += type->parts, w += type->bytes) {
        unpack_unit(o, at, w, type->parts, type);
    }
    for (; type->block < type->parts && at < n; at += type->block) {
        unpack_unit(o, at, w, type->block, type);
        w += type->bytes / type->parts * type->block;
    }
    return (size_t)(w - start);
}

#endif
