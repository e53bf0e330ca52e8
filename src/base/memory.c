/* Allocation that checks sizes and fails on demand. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"

enum { HUGE_PAGES_FROM = 8 << 20 };

static atomic_long fail_countdown;

static atomic_size_t largest;

/* Keeps count of the largest request; true: it must fail. */
static bool must_fail(size_t bytes)
{
    size_t known = atomic_load_explicit(&largest, memory_order_relaxed);
    while (bytes > known && !atomic_compare_exchange_weak(&largest, &known, bytes))
        ;
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) <= 0)
        return false;
    return atomic_fetch_sub_explicit(&fail_countdown, 1, memory_order_relaxed) == 1;
}

void umbra_memory_fail_after(long countdown)
{
    atomic_store(&fail_countdown, countdown);
}

size_t umbra_memory_largest(void)
{
    return atomic_exchange(&largest, 0);
}

void *umbra_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || must_fail(bytes))
        return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *umbra_reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || must_fail(bytes))
        return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *umbra_aligned_alloc(size_t align, size_t bytes)
{
    if (must_fail(bytes) || bytes > SIZE_MAX - align)
        return NULL;
    return aligned_alloc(align, umbra_align_up(bytes ? bytes : 1, align));
}

char *umbra_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = umbra_calloc(n, 1);
    return copy ? memcpy(copy, s, n) : NULL;
}

void umbra_free(void *p)
{
    free(p);
}

void *umbra_map(size_t bytes)
{
    if (must_fail(bytes))
        return NULL;
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (bytes >= HUGE_PAGES_FROM)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* a hint: refusal costs only speed */
    return p;
}

void umbra_unmap(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}
