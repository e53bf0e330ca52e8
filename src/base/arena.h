/* One block of memory for many arrays that live and die together. The same function lays them out
 * twice: first with base NULL, which only counts the bytes, then over a block of so many. */
#ifndef UMBRA_BASE_ARENA_H
#define UMBRA_BASE_ARENA_H

#include "base/memory.h"

enum { UMBRA_ARENA_ALIGNMENT = 64 }; /* a cache line, and the widest vector */

/* Begins as {.base = block} with a block so aligned, or {0} to count. */
typedef struct umbra_arena {
    char *base;
    uint64_t used; /* bytes so far */
} umbra_arena;

/* The next n * size bytes, aligned; NULL while counting. */
static inline void *umbra_arena_take(umbra_arena *a, uint64_t n, uint64_t size)
{
    void *p = a->base ? a->base + a->used : NULL;
    a->used += umbra_align_up(n * size, UMBRA_ARENA_ALIGNMENT);
    return p;
}

#endif
