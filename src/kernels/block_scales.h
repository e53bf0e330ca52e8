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

#endif
