#ifndef UMBRA_BASE_CLOCK_H
#define UMBRA_BASE_CLOCK_H

#include <stdint.h>

/* Monotonic time in nanoseconds; only differences mean anything. */
uint64_t umbra_clock_ns(void);

/* Time as a parameter, where a test or a simulation brings its own. */
typedef struct umbra_clock {
    uint64_t (*now_ns)(void *user);
    void (*wait_until)(void *user, uint64_t ns); /* returns at that time or a little later */
    void *user;
} umbra_clock;

/* The machine's, or what stands in its place; static storage. */
const umbra_clock *umbra_clock_real(void);
/* For simulations of a whole engine: from now on this is what the machine's clock says, to
 * everybody. NULL: the machine's own again. Before anything that asks for time is opened, by a
 * program with one thread; what the clock points to stays the caller's. */
void umbra_clock_replace(const umbra_clock *clock);

static inline double umbra_seconds_since(uint64_t start_ns)
{
    return (double)(umbra_clock_ns() - start_ns) * 1e-9;
}

#endif
