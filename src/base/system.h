/* What the machine and its memory cgroups leave to this process. */
#ifndef UMBRA_BASE_SYSTEM_H
#define UMBRA_BASE_SYSTEM_H

#include <stdint.h>

/* Bytes that can still be taken: the least of MemAvailable and, for every memory cgroup (v1, v2)
 * from this process's up to the root, limit - use + reclaimable file cache. 0 if nothing is known.
 */
uint64_t umbra_system_free_bytes(void);

/* Processors this process may run on (affinity mask), at least 1. */
int umbra_system_processors(void);

/* VmRSS and VmHWM of this process; 0 if unknown. (ru_maxrss would include the memory of the
 * process that started us.) */
uint64_t umbra_system_rss(void);
uint64_t umbra_system_rss_max(void);

#endif
