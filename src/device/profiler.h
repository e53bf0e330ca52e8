/* A stopwatch over kinds of steps: whoever begins another kind says so, and the time since goes to
 * the kind before. One thread: the one that calls the device. */
#ifndef UMBRA_DEVICE_PROFILER_H
#define UMBRA_DEVICE_PROFILER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/pool.h"

typedef struct umbra_profiler_entry {
    uint64_t ns, bytes, macs, runs;
} umbra_profiler_entry;

typedef struct umbra_profiler {
    umbra_profiler_entry *entry; /* (kinds) of the phase in progress */
    int barriers;                /* the kind that gets what the pool's caller waits */
    int kind;                    /* in progress */
    uint64_t since_ns;
    umbra_pool_waits waits; /* of the pool, when the kind began */
} umbra_profiler;

/* The kind ends; `next` begins. */
static inline void umbra_profiler_enter(umbra_profiler *p, const umbra_pool *pool, int next)
{
    uint64_t now = umbra_clock_ns();
    umbra_pool_waits waits = umbra_pool_get_waits(pool);
    uint64_t waited = waits.ns - p->waits.ns;
    p->entry[p->kind].ns += now - p->since_ns - waited;
    p->entry[p->kind].runs += waits.runs - p->waits.runs;
    p->entry[p->barriers].ns += waited;
    p->kind = next;
    p->since_ns = now;
    p->waits = waits;
}

/* Work of the kind in progress. */
static inline void umbra_profiler_count(umbra_profiler *p, uint64_t bytes, uint64_t macs)
{
    p->entry[p->kind].bytes += bytes;
    p->entry[p->kind].macs += macs;
}

#endif
