/* Adds up what the process has allocated, by /proc/self/smaps. */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "under/maps.h"

/* What the table says of a mapping. */
typedef struct area {
    uint64_t begin, end, inode;
    char mode[5]; /* "rw-p" */
    uint64_t touched;
    bool behind_guard; /* a page that nobody may look at lies before it: a stack grows down to it */
} area;

/* "7f00-7f01 rw-p 0 00:00 0", the first of an area's lines. */
static bool parse_head(const char *line, area *a)
{
    return sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64, &a->begin, &a->end,
                  a->mode, &a->inode) == 4;
}

static uint64_t stack_bytes(void)
{
    pthread_attr_t attr;
    size_t bytes = 0;
    if (pthread_attr_init(&attr) != 0)
        return 0;
    if (pthread_attr_getstacksize(&attr, &bytes) != 0)
        bytes = 0;
    pthread_attr_destroy(&attr);
    return bytes;
}

/* The kernel joins a stack with what was allocated behind it, of which all counts. */
static uint64_t count(const area *a, uint64_t stack)
{
    uint64_t bytes = a->end - a->begin, untouched = bytes - a->touched;
    if (strcmp(a->mode, "rw-p") != 0 || a->inode != 0)
        return 0;
    if (!a->behind_guard || bytes < stack || a->touched > bytes)
        return bytes;
    return bytes - (untouched < stack ? untouched : stack);
}

uint64_t umbra_maps_allocated(void)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    if (!f)
        return 0;
    const uint64_t stack = stack_bytes(), page = (uint64_t)sysconf(_SC_PAGESIZE);
    char line[512];
    uint64_t sum = 0, kib;
    area a = {0}, next = {0};
    while (fgets(line, sizeof line, f)) {
        if (parse_head(line, &next)) {
            next.behind_guard = strcmp(a.mode, "---p") == 0 && a.end - a.begin == page &&
                                a.end == next.begin && a.inode == 0;
            sum += count(&a, stack);
            a = next;
            a.touched = 0;
        } else if (sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
            a.touched = kib << 10;
        }
    }
    fclose(f);
    return sum + count(&a, stack);
}
