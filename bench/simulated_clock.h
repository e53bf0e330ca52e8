/* A clock that stands still but where a simulation moves it. */
#ifndef UMBRA_BENCH_SIMULATED_CLOCK_H
#define UMBRA_BENCH_SIMULATED_CLOCK_H

#include "base/clock.h"

static inline uint64_t simulated_now(void *now_ns)
{
    return *(uint64_t *)now_ns;
}

static inline void simulated_wait(void *now_ns, uint64_t until_ns)
{
    uint64_t *now = now_ns;
    if (until_ns > *now)
        *now = until_ns;
}

/* Shows *now_ns, which outlives it; who waits moves that on. */
static inline umbra_clock simulated_clock(uint64_t *now_ns)
{
    return (umbra_clock){simulated_now, simulated_wait, now_ns};
}

#endif
