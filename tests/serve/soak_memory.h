/* What a server under load takes. */
#ifndef UMBRA_TESTS_SERVE_SOAK_MEMORY_H
#define UMBRA_TESTS_SERVE_SOAK_MEMORY_H

#include <stdbool.h>
#include <time.h>

int soak_open_files(int pid);
/* Looks at the server's memory every second until the end. False: it is gone, over its budget, or
 * still growing in the last third of so many seconds. */
bool soak_watch(int pid, long budget_kib, time_t end, int seconds);
/* Whether a memory limit killed, by its file (NULL: there is no limit). */
bool soak_was_killed(const char *path);

#endif
