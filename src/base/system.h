/* What the machine, its control groups and the limits of the shell leave to this process.
 *
 * `root` is put before every path that is read ("" for the machine's own), so that tests can make
 * up machines. */
#ifndef UMBRA_BASE_SYSTEM_H
#define UMBRA_BASE_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

enum { UMBRA_SOURCE_BYTES = 256 };

#define UMBRA_UNLIMITED UINT64_MAX

/* A number, and who says so: a file of /proc or /sys, or "ulimit -v"; a long path is cut at its
 * beginning. */
typedef struct umbra_bound {
    uint64_t bytes; /* UMBRA_UNLIMITED: there is none */
    char source[UMBRA_SOURCE_BYTES];
} umbra_bound;

typedef struct umbra_memory_bounds {
    umbra_bound kill;    /* the smallest limit beyond which the kernel ends a process (or swaps) */
    umbra_bound slow;    /* the smallest beyond which it makes the process wait (memory.high) */
    umbra_bound address; /* the smallest limit on address space or data (ulimit -v, -d) */
    /* What can still be taken: the least of MemAvailable and of what each limit above leaves. Page
     * cache that a group could give back counts as free. */
    umbra_bound free;
} umbra_memory_bounds;

void umbra_system_memory(const char *root, umbra_memory_bounds *out);

typedef struct umbra_processors {
    int usable;   /* how many threads can compute at a time: at least 1 */
    int allowed;  /* processors of the affinity mask */
    double quota; /* processors' worth of time per time that a group may use; 0: no quota */
    char source[UMBRA_SOURCE_BYTES]; /* of the quota */
} umbra_processors;

void umbra_system_get_processors(const char *root, umbra_processors *out);
/* Whether a thread beside so many that compute has a whole processor to itself: a quota of 1.5 is
 * usable by two threads, but the second one's half is nothing to spare. */
bool umbra_processors_have_spare(const umbra_processors *p, int threads);

/* The usable processors of this machine. */
int umbra_system_processors(void);
/* umbra_processors_have_spare of this machine. */
bool umbra_system_has_spare(int threads);
/* `asked` threads, or, for 0, one per usable processor, but at most `most`. */
int umbra_system_threads(int asked, int most);

/* VmRSS and VmHWM of this process; 0 if unknown. (ru_maxrss would include the memory of the
 * process that started us.) */
uint64_t umbra_system_rss(void);
uint64_t umbra_system_rss_max(void);

#endif
