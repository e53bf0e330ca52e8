/* Allocation. Every allocation of the library goes through here, so that tests can make the n-th
 * one fail. Sizes are checked for overflow. */
#ifndef UMBRA_BASE_MEMORY_H
#define UMBRA_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n * size zeroed bytes, or NULL (no memory, or the product overflows). n or size 0 gives a
 * pointer that may be freed. Free with umbra_free. */
void *umbra_calloc(size_t n, size_t size);

/* Like realloc of an array; old contents kept, new part not zeroed. On failure NULL and p stays. */
void *umbra_reallocarray(void *p, size_t n, size_t size);

/* Bytes aligned to `align` (a power of two), not zeroed. Free with umbra_free. */
void *umbra_aligned_alloc(size_t align, size_t bytes);

char *umbra_strdup(const char *s);

void umbra_free(void *p);

/* Page-aligned, zeroed, backed by pages only when touched: for arenas counted in the budget.
 * Transparent huge pages are asked for from 8 MiB upward. Free with umbra_unmap (same bytes). */
void *umbra_map(size_t bytes);
void umbra_unmap(void *p, size_t bytes);

/* a * b and a + b that report overflow: true when the result is right. */
static inline bool umbra_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool umbra_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline uint64_t umbra_align_down(uint64_t x, uint64_t align)
{
    return x & ~(align - 1);
}
static inline uint64_t umbra_align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

/* Test support: the allocation number `countdown` from now (1 = the next) fails, once. 0 = never.
 */
void umbra_memory_fail_after(long countdown);

/* Test support: bytes of the largest allocation asked for since the last call. */
size_t umbra_memory_largest(void);

#endif
