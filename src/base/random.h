/* Reproducible random numbers: the same seed gives the same sequence on every machine. */
#ifndef UMBRA_BASE_RANDOM_H
#define UMBRA_BASE_RANDOM_H

#include <stdint.h>

/* xoshiro256** 1.0 (Blackman and Vigna, 2018), seeded by splitmix64. */
typedef struct umbra_random {
    uint64_t state[4];
} umbra_random;

void umbra_random_seed(umbra_random *r, uint64_t seed);
uint64_t umbra_random_u64(umbra_random *r);
/* Uniform in [0, 1), 53 bits. */
double umbra_random_unit(umbra_random *r);
/* Uniform in [0, n), n >= 1. */
uint64_t umbra_random_below(umbra_random *r, uint64_t n);
/* Uniform in [0, 1), 53 bits: the number at a position of the seed's sequence, which needs none of
 * those before it. */
double umbra_random_unit_at(uint64_t seed, uint64_t position);
/* Standard normal. */
double umbra_random_normal(umbra_random *r);

#endif
