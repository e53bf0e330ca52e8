/* Blocks of 32 weights with one scale: value i = scale * w[i]. A new type of this shape needs one
 * more function here for the scalar and the reference table. */
#ifndef UMBRA_KERNELS_BLOCKS_H
#define UMBRA_KERNELS_BLOCKS_H

#include "kernels/half.h"
#include "kernels/internal.h"

/* Unpacks the block's integers and returns its scale. */
typedef float (*umbra_unpack_fn)(const uint8_t *block, int8_t w[UMBRA_Q16_BLOCK]);

/* Q8_0: f16 scale, then 32 int8. */
UMBRA_INLINE float umbra_unpack_q8_0(const uint8_t *block, int8_t w[UMBRA_Q16_BLOCK])
{
    memcpy(w, block + 2, UMBRA_Q16_BLOCK);
    return umbra_f16_to_f32(umbra_load_u16(block));
}

/* Q4_0: f16 scale, then 16 bytes; byte i holds value i in its low and value i + 16 in its high
 * nibble, both plus 8. */
UMBRA_INLINE float umbra_unpack_q4_0(const uint8_t *block, int8_t w[UMBRA_Q16_BLOCK])
{
    for (int i = 0; i < UMBRA_Q16_BLOCK / 2; i++) {
        w[i] = (int8_t)((block[2 + i] & 15) - 8);
        w[i + UMBRA_Q16_BLOCK / 2] = (int8_t)((block[2 + i] >> 4) - 8);
    }
    return umbra_f16_to_f32(umbra_load_u16(block));
}

#endif
