/* The code books ("grids") of the types IQ1, IQ2 and IQ3: what an index in a block stands for. They
 * belong to the file format. */
#ifndef UMBRA_KERNELS_GRIDS_H
#define UMBRA_KERNELS_GRIDS_H

#include <stdint.h>

typedef struct umbra_grids {
    int8_t iq1[2048][8]; /* IQ1_S and IQ1_M: -1, 0 and 1, times 8, plus 1 */
    int16_t iq2_xxs[256][8], iq2_xs[512][8], iq2_s[1024][8];
    int16_t iq3_xxs[256][4], iq3_s[512][4];
} umbra_grids;

/* The same as bytes. */
typedef struct umbra_byte_grids {
    int8_t iq2_xxs[256][8], iq2_xs[512][8], iq2_s[1024][8];
    int8_t iq3_xxs[256][4], iq3_s[512][4];
} umbra_byte_grids;

/* Filled before any table of functions is handed out, and constant from then on. */
extern umbra_grids umbra_grid;
extern umbra_byte_grids umbra_byte_grid;
void umbra_grids_fill(void);

#endif
