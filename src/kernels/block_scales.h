/* The scales of one unit of quantised weights (a block of 256 values, or several of 32), spread out
 * for vector code. */
#ifndef UMBRA_KERNELS_BLOCK_SCALES_H
#define UMBRA_KERNELS_BLOCK_SCALES_H

#include "kernels/scalar/grid_blocks.h"

/* Types fill what they use. Weight i of part p is scale[p] * w + offset[p], where w includes the
 * factor sub[2 p + i / 16] for some types with scales of 16 values; for the others ("halves")
 * scale[2 p + i / 16] is in the place of scale[p]. */
typedef struct umbra_block_scales {
    float scale[2 * UMBRA_PARTS_MAX];
    float offset[UMBRA_PARTS_MAX];
    int16_t sub[2 * UMBRA_PARTS_MAX];
    int16_t minima[2 * UMBRA_PARTS_MAX];   /* Q2_K: offset[p] * minima[2 p + i / 16] */
    uint16_t entries[8 * UMBRA_PARTS_MAX]; /* code books: where an entry begins, in bytes */
    uint32_t signs[2 * UMBRA_PARTS_MAX];   /* code books: signs, in a form of their reader's */
} umbra_block_scales;

/* Blocks of 32 and 64 values are taken four at a time, as one unit. */
enum { UMBRA_BLOCKS_AT_ONCE = 4 };

/* X(TYPE, type, blocks of a unit, parts of a group, minima_NAME, offset, halves): the fields of
 * block_type in matmul_blocks.h. Groups of 2, 4 and 8 share bytes that they unpack. */
#define minima_none NULL
#define UMBRA_BLOCK_UNITS(X)                                                                       \
    X(Q8_0, q8_0, 4, 1, none, false, false)                                                        \
    X(Q4_0, q4_0, 4, 1, none, false, false)                                                        \
    X(Q4_1, q4_1, 4, 1, none, true, false)                                                         \
    X(Q5_0, q5_0, 4, 2, none, false, false)                                                        \
    X(Q5_1, q5_1, 4, 2, none, true, false)                                                         \
    X(IQ4_NL, iq4_nl, 4, 1, none, false, false)                                                    \
    X(MXFP4, mxfp4, 4, 1, none, false, false)                                                      \
    X(Q2_K, q2_k, 1, 4, q2_k, true, false)                                                         \
    X(Q3_K, q3_k, 1, 4, none, false, false)                                                        \
    X(Q4_K, q4_k, 1, 2, none, true, false)                                                         \
    X(Q5_K, q5_k, 1, 2, none, true, false)                                                         \
    X(Q6_K, q6_k, 1, 4, none, false, false)                                                        \
    X(IQ4_XS, iq4_xs, 1, 2, none, false, false)                                                    \
    X(NVFP4, nvfp4, 4, 1, none, false, true)                                                       \
    X(TQ1_0, tq1_0, 1, 8, none, false, false)                                                      \
    X(TQ2_0, tq2_0, 1, 4, none, false, false)                                                      \
    X(IQ1_S, iq1_s, 1, 1, none, false, false)                                                      \
    X(IQ1_M, iq1_m, 1, 1, none, false, true)                                                       \
    X(IQ2_XXS, iq2_xxs, 1, 1, none, false, false)                                                  \
    X(IQ2_XS, iq2_xs, 1, 1, none, false, true)                                                     \
    X(IQ2_S, iq2_s, 1, 1, none, false, true)                                                       \
    X(IQ3_XXS, iq3_xxs, 1, 1, none, false, false)                                                  \
    X(IQ3_S, iq3_s, 1, 1, none, false, false)

#endif
