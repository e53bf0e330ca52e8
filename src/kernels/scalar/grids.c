/* Decodes the code books of the IQ types from their packed form. */
#include "kernels/scalar/grids.h"

#include <stddef.h>

#include "kernels/scalar/grid_bits.h"

enum { WORD_BITS = 64, IQ1_VALUES = 2048 * 8 };

_Alignas(64) umbra_grids umbra_grid;
_Alignas(64) umbra_byte_grids umbra_byte_grid;

typedef struct digits {
    int base, count;
    int16_t values[8];
} digits;

static const digits ternary = {3, 8, {-7, 1, 9}};
static const digits iq2_digits = {3, 8, {8, 25, 43}};
static const digits iq3_xxs_digits = {8, 4, {4, 12, 20, 28, 36, 44, 52, 62}};
static const digits iq3_s_digits = {8, 4, {1, 3, 5, 7, 9, 11, 13, 15}};

/* The numbers whose bit is set are the entries, ascending; an entry's digits name its values. */
static void decode(int16_t *out, const uint64_t *bits, int words, const digits *d)
{
    for (int n = 0; n < words * WORD_BITS; n++) {
        if (!(bits[n / WORD_BITS] >> n % WORD_BITS & 1)) {
            continue;
        }
        for (int i = 0, rest = n; i < d->count; i++, rest /= d->base) {
            *out++ = d->values[rest % d->base];
        }
    }
}

#define DECODE(out, bits, d) decode(out, bits, (int)(sizeof(bits) / sizeof *(bits)), d)

static void narrow(int8_t *out, const int16_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (int8_t)values[i];
    }
}

#define NARROW(name)                                                                               \
    narrow(umbra_byte_grid.name[0], umbra_grid.name[0], sizeof umbra_byte_grid.name)

void umbra_grids_fill(void)
{
    int16_t wide[IQ1_VALUES];
    DECODE(wide, iq1_s_bits, &ternary);
    narrow(umbra_grid.iq1[0], wide, IQ1_VALUES);
    DECODE(umbra_grid.iq2_xxs[0], iq2_xxs_bits, &iq2_digits);
    DECODE(umbra_grid.iq2_xs[0], iq2_xs_bits, &iq2_digits);
    DECODE(umbra_grid.iq2_s[0], iq2_s_bits, &iq2_digits);
    DECODE(umbra_grid.iq3_xxs[0], iq3_xxs_bits, &iq3_xxs_digits);
    DECODE(umbra_grid.iq3_s[0], iq3_s_bits, &iq3_s_digits);
    NARROW(iq2_xxs);
    NARROW(iq2_xs);
    NARROW(iq2_s);
    NARROW(iq3_xxs);
    NARROW(iq3_s);
}
