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
} emulated_tile;

typedef struct emulated_tiles {
    umbra_tile_shapes shapes; /* palette 0: released */
    emulated_tile tile[8];
} emulated_tiles;

static _Thread_local emulated_tiles emulated;

/* The processor ends a program that breaks such a rule. */
static inline void emulated_require(int holds)
{
    if (!holds)
        __builtin_trap();
}

static inline void emulated_set_shapes(const umbra_tile_shapes *shapes)
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

static inline void emulated_release(void)
{
    memset(&emulated, 0, sizeof emulated);
}

static inline void emulated_clear(int tile)
{
    emulated_require(emulated.shapes.rows[tile] > 0);
    memset(&emulated.tile[tile], 0, sizeof emulated.tile[tile]);
}

static inline void emulated_load(int tile, const void *from, size_t stride)
{
    emulated_clear(tile);
    for (int i = 0; i < emulated.shapes.rows[tile]; i++)
        memcpy(emulated.tile[tile].bytes[i], (const uint8_t *)from + (size_t)i * stride,
               emulated.shapes.row_bytes[tile]);
}

static inline void emulated_store(int tile, void *to, size_t stride)
{
    emulated_require(emulated.shapes.rows[tile] > 0);
    for (int i = 0; i < emulated.shapes.rows[tile]; i++)
        memcpy((uint8_t *)to + (size_t)i * stride, emulated.tile[tile].bytes[i],
               emulated.shapes.row_bytes[tile]);
}

static inline void emulated_product(int sum, int a, int b, int is_signed)
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

static inline emulated_integers emulated_permute_bytes(emulated_integers order, emulated_integers v)
{
    uint8_t at[64], from[64], to[64];
    memcpy(at, &order, sizeof at);
    memcpy(from, &v, sizeof from);
    for (int i = 0; i < 64; i++)
        to[i] = from[at[i] & 63];
    memcpy(&v, to, sizeof v);
    return v;
}

static inline void emulated_store_integers(void *p, emulated_integers v)
{
    memcpy(p, &v, sizeof v);
}

static inline emulated_integers emulated_add_integers(emulated_integers a, emulated_integers b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i]);
    return a;
}

static inline emulated_integers emulated_shift_left(emulated_integers v, unsigned bits)
{
    for (int i = 0; i < 16; i++)
        v.lane[i] = (int32_t)((uint32_t)v.lane[i] << bits);
    return v;
}

static inline emulated_integers emulated_subtract(emulated_integers a, emulated_integers b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = (int32_t)((uint32_t)a.lane[i] - (uint32_t)b.lane[i]);
    return a;
}

static inline emulated_integers emulated_xor(emulated_integers a, emulated_integers b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] ^= b.lane[i];
    return a;
}

/* Four unsigned bytes of a by as many signed ones of b. */
static inline emulated_integers emulated_dot_bytes(emulated_integers sum, emulated_integers a,
                                                   emulated_integers b)
{
    uint8_t of_a[64];
    int8_t of_b[64];
    memcpy(of_a, &a, sizeof of_a);
    memcpy(of_b, &b, sizeof of_b);
    for (int i = 0; i < 64; i++)
        sum.lane[i / 4] += of_a[i] * of_b[i];
    return sum;
}

static inline emulated_integers emulated_products(emulated_integers a, emulated_integers b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = emulated_dot(0, a.lane[i], b.lane[i]);
    return a;
}

static inline emulated_integers emulated_set_bytes(char byte)
{
    emulated_integers v;
    memset(&v, byte, sizeof v);
    return v;
}

#undef _mm512_slli_epi32

#define _mm512_permutexvar_epi8            emulated_permute_bytes
#define _mm512_storeu_si512                emulated_store_integers
#define _mm512_add_epi32                   emulated_add_integers
#define _mm512_sub_epi32                   emulated_subtract
#define _mm512_xor_si512                   emulated_xor
#define _mm512_dpbusd_epi32                emulated_dot_bytes
#define _mm512_madd_epi16                  emulated_products
#define _mm512_set1_epi16(v)               emulated_set_integers((v) | (v) << 16)
#define _mm512_set1_epi8                   emulated_set_bytes
#define _mm512_slli_epi32                  emulated_shift_left
#define UMBRA_TILES_SET                    emulated_set_shapes
#define UMBRA_TILES_RELEASE                emulated_release
#define UMBRA_TILE_CLEAR                   emulated_clear
#define UMBRA_TILE_LOAD                    emulated_load
#define UMBRA_TILE_STORE                   emulated_store
#define UMBRA_TILE_ADD_SIGNED(sum, a, b)   emulated_product(sum, a, b, 1)
#define UMBRA_TILE_ADD_UNSIGNED(sum, a, b) emulated_product(sum, a, b, 0)

#endif
