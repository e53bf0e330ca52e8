/* The generator of random numbers. */
#include <math.h>

#include "base/random.h"

static uint64_t rotate_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static const uint64_t weyl = 0x9e3779b97f4a7c15u; /* splitmix64's step */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void umbra_random_seed(umbra_random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += weyl;
        r->state[i] = mix(seed);
    }
}

uint64_t umbra_random_u64(umbra_random *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double umbra_random_unit(umbra_random *r)
{
    return (double)(umbra_random_u64(r) >> 11) * 0x1p-53;
}

double umbra_random_unit_at(uint64_t seed, uint64_t position)
{
    return (double)(mix(mix(seed + weyl) + (position + 1) * weyl) >> 11) * 0x1p-53;
}

uint64_t umbra_random_below(umbra_random *r, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* a multiple of n: no value is favoured */
    uint64_t x;
    do
        x = umbra_random_u64(r);
    while (x >= limit);
    return x % n;
}

double umbra_random_normal(umbra_random *r)
{
    double u = 1.0 - umbra_random_unit(r);
    double v = umbra_random_unit(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
