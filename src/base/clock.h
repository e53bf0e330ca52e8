#ifndef UMBRA_BASE_CLOCK_H
#define UMBRA_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Monotonic time in nanoseconds; only differences mean anything. */
static inline uint64_t umbra_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Time as a parameter, where a test or a simulation brings its own. */
typedef struct umbra_clock {
    uint64_t (*now_ns)(void *user);
    void (*wait_until)(void *user, uint64_t ns); /* returns at that time or a little later */
    void *user;
} umbra_clock;

/* The machine's; static storage. */
const umbra_clock *umbra_clock_real(void);

static inline double umbra_seconds_since(uint64_t start_ns)
{
    return (double)(umbra_clock_ns() - start_ns) * 1e-9;
}

#endif
