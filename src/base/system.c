/* Asks the system and its cgroups for processors and memory. */
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/system.h"

enum { PATH_BYTES = 4352, LINE_BYTES = 4352 };

/* The number after `key` at the start of a line of the file; UINT64_MAX if there is none. */
static uint64_t read_field(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return UINT64_MAX;
    char line[256];
    size_t key_bytes = strlen(key);
    uint64_t value = UINT64_MAX;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, key_bytes) == 0) {
            if (sscanf(line + key_bytes, "%" SCNu64, &value) != 1)
                value = UINT64_MAX;
            break;
        }
    }
    fclose(f);
    return value;
}

static uint64_t kibibytes(const char *path, const char *key)
{
    uint64_t value = read_field(path, key);
    return value > UINT64_MAX / 1024 ? 0 : value * 1024;
}

uint64_t umbra_system_rss(void)
{
    return kibibytes("/proc/self/status", "VmRSS:");
}

uint64_t umbra_system_rss_max(void)
{
    return kibibytes("/proc/self/status", "VmHWM:");
}

int umbra_system_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n;
}

typedef struct cgroup_files {
    const char *mount; /* where the hierarchy is mounted */
    const char *limit, *usage, *reclaimable_key;
} cgroup_files;

static const cgroup_files cgroup_v2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                       "inactive_file "};
static const cgroup_files cgroup_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                       "memory.usage_in_bytes", "total_inactive_file "};

/* What one cgroup leaves; UINT64_MAX if it has no limit or does not exist. */
static uint64_t cgroup_free(const cgroup_files *files, const char *group)
{
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s%s/%s", files->mount, group, files->limit);
    uint64_t limit = read_field(path, "");
    if (limit == UINT64_MAX)
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s%s/%s", files->mount, group, files->usage);
    uint64_t usage = read_field(path, "");
    snprintf(path, sizeof path, "%s%s/memory.stat", files->mount, group);
    uint64_t reclaimable = read_field(path, files->reclaimable_key);
    if (usage == UINT64_MAX)
        return limit;
    if (reclaimable != UINT64_MAX)
        usage = usage > reclaimable ? usage - reclaimable : 0;
    return limit > usage ? limit - usage : 0;
}

/* The least that the group and those above it leave. In a container the path that the kernel
 * names may not exist below the mount; walking up ends at the root, which does. */
static uint64_t cgroup_path_free(const cgroup_files *files, char *group)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        uint64_t here = cgroup_free(files, group);
        least = here < least ? here : least;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* Has the comma-separated list the word "memory"? */
static bool names_memory(const char *list)
{
    for (const char *p = list; (p = strstr(p, "memory")) != NULL; p += 6)
        if ((p == list || p[-1] == ',') && (p[6] == ',' || p[6] == '\0'))
            return true;
    return false;
}

static uint64_t cgroups_free(void)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return UINT64_MAX;
    uint64_t least = UINT64_MAX;
    char line[LINE_BYTES];
    while (fgets(line, sizeof line, f)) { /* "ID:CONTROLLERS:/PATH\n" */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        bool v2 = *controllers == '\0';
        if (!v2 && !names_memory(controllers))
            continue;
        uint64_t here = cgroup_path_free(v2 ? &cgroup_v2 : &cgroup_v1, group);
        least = here < least ? here : least;
    }
    fclose(f);
    return least;
}

uint64_t umbra_system_free_bytes(void)
{
    uint64_t machine = kibibytes("/proc/meminfo", "MemAvailable:");
    uint64_t cgroups = cgroups_free();
    return cgroups < machine || machine == 0 ? (cgroups == UINT64_MAX ? 0 : cgroups) : machine;
}
