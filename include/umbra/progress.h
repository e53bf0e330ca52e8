/* Progress and interruption of long calls.
 *
 * A caller that wants to show progress, or to be able to stop a long call, passes an
 * umbra_progress. The library calls `report` from the thread that made the call, at most a few
 * hundred times per second. The struct and what it points to must stay until the call returns. */
#ifndef UMBRA_PROGRESS_H
#define UMBRA_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#ifdef __cplusplus /* which has <stdatomic.h> from C++23 on only */
#include <atomic>
#else
#include <stdatomic.h>
#endif

#ifdef __cplusplus
/* An atomic bool, of C or of C++: one object of the same size and meaning in both. */
typedef std::atomic<bool> umbra_flag;
extern "C" {
#else
/* An atomic bool, of C or of C++: one object of the same size and meaning in both. */
typedef atomic_bool umbra_flag;
#endif

/* How a long call tells how far it is, and how it is stopped. */
typedef struct umbra_progress {
    /* May be NULL. stage: static text ("reading weights"); unit: what done and total count
     * ("bytes", "tokens"); total 0 means unknown. */
    void (*report)(void *user, const char *stage, const char *unit, uint64_t done, uint64_t total);
    void *user; /* handed to report */
    /* May be NULL. Set to true from anywhere, another thread or a signal handler included: the call
     * returns UMBRA_E_INTERRUPTED at the next safe point. */
    const umbra_flag *interrupted;
} umbra_progress;

/* Calls report, if there is one. p may be NULL. */
static inline void umbra_progress_report(const umbra_progress *p, const char *stage,
                                         const char *unit, uint64_t done, uint64_t total)
{
    if (p && p->report)
        p->report(p->user, stage, unit, done, total);
}

/* Whether the caller wants the call to end. p may be NULL. */
static inline bool umbra_progress_interrupted(const umbra_progress *p)
{
    if (!p || !p->interrupted)
        return false;
#ifdef __cplusplus
    return p->interrupted->load(std::memory_order_relaxed);
#else
    return atomic_load_explicit(p->interrupted, memory_order_relaxed);
#endif
}

#ifdef __cplusplus
}
#endif
#endif
