/* The shapes of AMX's tile registers. */
#ifndef UMBRA_KERNELS_X86_AMX_SHAPES_H
#define UMBRA_KERNELS_X86_AMX_SHAPES_H

#include <stdint.h>

/* What the instruction that sets the shapes reads. */
typedef struct umbra_tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16]; /* of each register */
    uint8_t rows[16];
} umbra_tile_shapes;

#endif
