/* The machine's clock, as a clock that can be passed on. */
#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

/* Threads may look at the clock while it is replaced. */
static const umbra_clock *_Atomic replacement;

uint64_t umbra_clock_ns(void)
{
    struct timespec t;
    const umbra_clock *other = replacement;
    if (other)
        return other->now_ns(other->user);
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A sleeping thread wakes tens of microseconds late; the last stretch is spent looking. */
enum { LOOK_NS = 60000 };

static uint64_t real_now_ns(void *user)
{
    (void)user;
    return umbra_clock_ns();
}

static void real_wait_until(void *user, uint64_t ns)
{
    (void)user;
    const umbra_clock *other = replacement;
    if (other) {
        other->wait_until(other->user, ns);
        return;
    }
    uint64_t wake_ns = ns > LOOK_NS ? ns - LOOK_NS : 0;
    if (wake_ns > umbra_clock_ns()) {
        struct timespec t = {.tv_sec = (time_t)(wake_ns / 1000000000u),
                             .tv_nsec = (long)(wake_ns % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
            ;
    }
    while (umbra_clock_ns() < ns)
        ;
}

static const umbra_clock real = {real_now_ns, real_wait_until, NULL};

const umbra_clock *umbra_clock_real(void)
{
    return &real;
}

void umbra_clock_replace(const umbra_clock *clock)
{
    replacement = clock;
}
