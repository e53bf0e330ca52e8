/* The scales of one unit of quantised weights (a block of 256 values, or several of 32), spread out
 * for vector code. */
#ifndef UMBRA_KERNELS_BLOCK_SCALES_H
#define UMBRA_KERNELS_BLOCK_SCALES_H

#include "kernels/blocks.h"

/* Types fill what they use. Weight i of part p is scale[p] * w + offset[p], where w includes the
 * factor sub[2 p + i / 16] for types with scales of 16 values. */
typedef struct umbra_block_scales {
    float scale[UMBRA_PARTS_MAX];
    float offset[UMBRA_PARTS_MAX];
    int16_t sub[2 * UMBRA_PARTS_MAX];
    int16_t minima[2 * UMBRA_PARTS_MAX]; /* Q2_K: offset[p] * minima[2 p + i / 16] */
} umbra_block_scales;

/* Blocks of 32 values are taken four at a time, as one unit. */
enum { UMBRA_BLOCKS_AT_ONCE = 4 };

/* X(TYPE, type, blocks of a unit, parts of a group, minima_NAME, offset): the fields of block_type
 * in matmul_blocks.h. Groups of 2 and 4 share the bytes that they unpack. */
#define minima_none NULL
#define UMBRA_BLOCK_UNITS(X) \
    X(Q8_0, q8_0, 4, 1, none, false) \
    X(Q4_0, q4_0, 4, 1, none, false) \
    X(Q4_1, q4_1, 4, 1, none, true) \
    X(Q5_0, q5_0, 4, 2, none, false) \
    X(Q5_1, q5_1, 4, 2, none, true) \
    X(IQ4_NL, iq4_nl, 4, 1, none, false) \
    X(MXFP4, mxfp4, 4, 1, none, false) \
    X(Q2_K, q2_k, 1, 4, q2_k, true) \
    X(Q3_K, q3_k, 1, 4, none, false) \
    X(Q4_K, q4_k, 1, 2, none, true) \
    X(Q5_K, q5_k, 1, 2, none, true) \
    X(Q6_K, q6_k, 1, 4, none, false) \
    X(IQ4_XS, iq4_xs, 1, 2, none, false)

#endif
