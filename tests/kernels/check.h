/* What the parts of the kernel check share. The check is a plain program without a test library,
 * so that it also runs under an emulator and as a static binary on other machines. */
#ifndef UMBRA_TESTS_KERNELS_CHECK_H
#define UMBRA_TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Counts one check; on failure also prints the message (the first few of a run). Returns ok. */
bool umbra_check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Zeros, with memory behind them that nobody may touch, so that a kernel that leaves its operands
 * crashes in every build. They begin `shift` bytes beyond an aligned address; where shift is even
 * and not 0 they end with the memory instead, unless that is an aligned address, as they do with
 * shift 0 where they fill whole alignments. Aborts the program when there is no memory. */
void *umbra_check_alloc(size_t bytes, size_t shift);
/* Releases everything that umbra_check_alloc gave out. */
void umbra_check_release(void);

/* Repeatable random numbers. */
void umbra_check_seed(uint64_t seed);
uint32_t umbra_check_random(void);
float umbra_check_uniform(float low, float high);
float umbra_check_normal(void);

/* Distance in units of the last place of the larger one's format, for finite numbers. */
double umbra_check_ulps(float got, double want);

enum { CHECK_TYPES = 26 };
extern const umbra_dtype umbra_check_types[CHECK_TYPES];

/* Ways to fill activations. */
typedef enum check_pattern {
    CHECK_NORMAL,
    CHECK_ZEROS,
    CHECK_HUGE,
    CHECK_DENORMAL,
    CHECK_SPIKES,    /* one value per block dwarfs the others */
    CHECK_SATURATED, /* every value plus or minus the block's largest */
    CHECK_PATTERNS
} check_pattern;
const char *umbra_check_pattern_name(check_pattern p);
void umbra_check_fill(float *x, size_t n, check_pattern p);

/* A (rows, columns) matrix of the type, `shift` bytes beyond an aligned address. `extreme` puts
 * the smallest and largest scales and integers into some blocks. */
void *umbra_check_weights(umbra_dtype type, int rows, int columns, bool extreme, size_t shift);

/* Clears the values in blocks of a type with offsets, so that only the offsets are left; in others
 * does nothing and returns false. */
bool umbra_check_clear_values(umbra_dtype type, uint8_t *blocks, size_t count);

/* Activations with the q16 part filled by the kernels given. */
umbra_activations umbra_check_activations(const umbra_kernels *k, int rows, int columns,
                                          check_pattern p, size_t shift);

/* emulated_avx512.c: a table for processors without the instructions, or NULL where it is not
 * needed. Only on x86-64. */
const umbra_kernels *umbra_check_emulated(void);
/* The same of emulated_amx.c. */
const umbra_kernels *umbra_check_emulated_amx(void);
/* How AMX is tried before it is used. Only on x86-64. */
void umbra_check_amx_trial(void);

void umbra_check_dequantize(const umbra_kernels *k);
void umbra_check_halves(const umbra_kernels *k);
void umbra_check_matmul(const umbra_kernels *k);
void umbra_check_invariance(const umbra_kernels *k);
/* That two tables have the same bits. */
void umbra_check_same_products(const umbra_kernels *a, const umbra_kernels *b, bool floats);
void umbra_check_vector(const umbra_kernels *k);
void umbra_check_attend(const umbra_kernels *k);
void umbra_check_state(const umbra_kernels *k);
void umbra_check_predict(const umbra_kernels *k);
/* Only the type of that name, or all if it is NULL. */
void umbra_check_bench(const umbra_kernels *k, const char *only);

#endif
