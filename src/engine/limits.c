/* What the machine's limits make of a plan: default threads and budget, and notes for people. */
#include <inttypes.h>
#include <stdio.h>

#include "base/system.h"
#include "engine/internal.h"

/* The kernel rounds limits down to whole pages. */
static const uint64_t largest_page = 64 << 10;

static double megabytes(uint64_t bytes)
{
    return (double)bytes * 1e-6;
}

int umbra_limits_threads(char *note, size_t note_bytes)
{
    umbra_processors p;
    umbra_system_get_processors("", &p);
    int threads = p.usable < UMBRA_MAX_THREADS ? p.usable : UMBRA_MAX_THREADS;
    if (threads < p.usable)
        snprintf(note, note_bytes,
                 "%d of the %d processors are used: more threads are not possible", threads,
                 p.usable);
    else if (threads < p.allowed)
        snprintf(note, note_bytes, "%s allows the time of %.4g of %d processors", p.source, p.quota,
                 p.allowed);
    return threads;
}

void umbra_limits_started(umbra_memory_plan *plan, int threads)
{
    if (threads < plan->threads)
        snprintf(plan->threads_note, sizeof plan->threads_note,
                 "the system let %d of %d threads start (ulimit -u, pids.max, ulimit -v)", threads,
                 plan->threads);
    plan->threads = threads;
}

/* What may be taken when no budget is given: all that is free but a twentieth. */
static uint64_t automatic_budget(const umbra_memory_bounds *m, uint64_t all_bytes)
{
    if (m->free.bytes == UMBRA_UNLIMITED)
        return all_bytes;
    uint64_t usable = umbra_system_rss() + (m->free.bytes - m->free.bytes / 20);
    return all_bytes < usable ? all_bytes : usable;
}

static bool exceeds(umbra_memory_plan *p, const umbra_bound *bound, const char *consequence)
{
    if (p->ram_bytes <= bound->bytes || p->ram_bytes - bound->bytes < largest_page)
        return false;
    snprintf(p->memory_note, sizeof p->memory_note,
             "the budget is %.1f MB, but %s limits this process to %.1f MB: %s; give at most that",
             megabytes(p->ram_bytes), bound->source, megabytes(bound->bytes), consequence);
    return true;
}

/* The first thing that stands against the budget. The kernel counts a little of its own into a
 * group, so a budget of the whole limit passes for free. */
static void note_budget(umbra_memory_plan *p, const umbra_memory_bounds *m)
{
    if (exceeds(p, &m->kill, "the kernel ends a process that uses more, unless it can swap") ||
        exceeds(p, &m->slow, "the kernel makes a process that uses more wait") ||
        exceeds(p, &m->address, "what is asked for beyond that is refused"))
        return;
    uint64_t needed = p->ram_bytes < p->all_bytes ? p->ram_bytes : p->all_bytes;
    uint64_t rss = umbra_system_rss();
    if (m->free.bytes == UMBRA_UNLIMITED || needed - needed / 10 <= rss + m->free.bytes)
        return;
    snprintf(p->memory_note, sizeof p->memory_note,
             "%.1f MB of the budget are to be used, but only %.1f MB are free (%s): the kernel may "
             "swap, or end this process; give less",
             megabytes(needed), megabytes(rss + m->free.bytes), m->free.source);
}

void umbra_limits_budget(umbra_memory_plan *p, uint64_t asked_bytes)
{
    umbra_memory_bounds m;
    umbra_system_memory("", &m);
    p->ram_bytes = asked_bytes ? asked_bytes : automatic_budget(&m, p->all_bytes);
    if (asked_bytes)
        note_budget(p, &m);
}
