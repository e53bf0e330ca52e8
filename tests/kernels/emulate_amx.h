/* The instructions that the products for AMX use beside those of emulate_avx512.h, for processors
 * that lack them. Slow. Included before the sources that are to be emulated. */
#ifndef UMBRA_TESTS_EMULATE_AMX_H
#define UMBRA_TESTS_EMULATE_AMX_H

#include "emulate_avx512.h"

#include "kernels/x86/amx_shapes.h"

typedef union emulated_tile {
    uint8_t bytes[16][64];
    int8_t signed_bytes[16][64];
    int32_t sums[16][16];
    uint16_t halves[16][32]; /* of floats */
    float floats[16][16];
} emulated_tile;

typedef struct emulated_tiles {
    umbra_tile_shapes shapes; /* palette 0: released */
    emulated_tile tile[8];
} emulated_tiles;

static _Thread_local emulated_tiles emulated;

/* The processor ends a program that breaks such a rule. */
EMULATED void emulated_require(int holds)
{
    if (!holds)
        __builtin_trap();
}

EMULATED void emulated_set_shapes(const umbra_tile_shapes *shapes)
{
    memset(&emulated, 0, sizeof emulated);
    emulated.shapes = *shapes;
    emulated_require(shapes->palette == 1 && shapes->start_row == 0);
    for (int i = 0; i < 8; i++)
        emulated_require(shapes->rows[i] <= 16 && shapes->row_bytes[i] <= 64 &&
                         (shapes->rows[i] == 0) == (shapes->row_bytes[i] == 0));
    for (int i = 8; i < 16; i++)
        emulated_require(shapes->rows[i] == 0 && shapes->row_bytes[i] == 0);
}

EMULATED void emulated_release(void)
{
    memset(&emulated, 0, sizeof emulated);
}

EMULATED void emulated_clear(int tile)
{
    emulated_require(emulated.shapes.rows[tile] > 0);
    memset(&emulated.tile[tile], 0, sizeof emulated.tile[tile]);
}

EMULATED void emulated_load(int tile, const void *from, size_t stride)
{
    emulated_clear(tile);
    for (int i = 0; i < emulated.shapes.rows[tile]; i++)
        memcpy(emulated.tile[tile].bytes[i], (const uint8_t *)from + (size_t)i * stride,
               emulated.shapes.row_bytes[tile]);
}

EMULATED void emulated_store(int tile, void *to, size_t stride)
{
    emulated_require(emulated.shapes.rows[tile] > 0);
    for (int i = 0; i < emulated.shapes.rows[tile]; i++)
        memcpy((uint8_t *)to + (size_t)i * stride, emulated.tile[tile].bytes[i],
               emulated.shapes.row_bytes[tile]);
}

EMULATED void emulated_product(int sum, int a, int b, int is_signed)
{
    const umbra_tile_shapes *s = &emulated.shapes;
    const emulated_tile *left = &emulated.tile[a], *right = &emulated.tile[b];
    emulated_require(s->rows[sum] == s->rows[a] && s->row_bytes[sum] == s->row_bytes[b] &&
                     s->row_bytes[a] == 4 * s->rows[b] && s->rows[sum] > 0);
    emulated_require(sum != a && sum != b && a != b);
    for (int i = 0; i < s->rows[sum]; i++)
        for (int n = 0; n < s->row_bytes[a]; n++) {
            int x = is_signed ? left->signed_bytes[i][n] : left->bytes[i][n];
            for (int j = 0; j < s->row_bytes[sum] / 4; j++)
                emulated.tile[sum].sums[i][j] += x * right->signed_bytes[n / 4][4 * j + n % 4];
        }
}

EMULATED float emulated_from_half(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

EMULATED void emulated_float_product(int sum, int a, int b)
{
    const umbra_tile_shapes *s = &emulated.shapes;
    const emulated_tile *left = &emulated.tile[a], *right = &emulated.tile[b];
    emulated_require(s->rows[sum] == s->rows[a] && s->row_bytes[sum] == s->row_bytes[b] &&
                     s->row_bytes[a] == 4 * s->rows[b] && s->rows[sum] > 0);
    emulated_require(sum != a && sum != b && a != b);
    for (int i = 0; i < s->rows[sum]; i++)
        for (int j = 0; j < s->row_bytes[sum] / 4; j++) {
            float of[2] = {0}; /* the processor sums even and odd elements by themselves */
            for (int n = 0; n < s->row_bytes[a] / 2; n++)
                of[n % 2] += emulated_from_half(left->halves[i][n]) *
                             emulated_from_half(right->halves[n / 2][2 * j + n % 2]);
            emulated.tile[sum].floats[i][j] += of[0] + of[1];
        }
}

#define UMBRA_TILES_SET                    emulated_set_shapes
#define UMBRA_TILES_RELEASE                emulated_release
#define UMBRA_TILE_CLEAR                   emulated_clear
#define UMBRA_TILE_LOAD                    emulated_load
#define UMBRA_TILE_STORE                   emulated_store
#define UMBRA_TILE_ADD_SIGNED(sum, a, b)   emulated_product(sum, a, b, 1)
#define UMBRA_TILE_ADD_UNSIGNED(sum, a, b) emulated_product(sum, a, b, 0)
#define UMBRA_TILE_ADD_FLOATS              emulated_float_product

#endif
