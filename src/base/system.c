/* Reads what this process may use: memory, processors, and the limits on both. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cgroup.h"
#include "base/system.h"

enum { PATH_BYTES = 4608, MOST_PROCESSORS = 1 << 20 };

/* Version 1 writes "no limit" as the largest number of pages. */
static const uint64_t no_limit_from = UINT64_C(1) << 62;

/* ---- files ---- */

/* A number in decimal digits at the start of the text. */
static bool parse_number(const char *text, uint64_t *out)
{
    text += strspn(text, " \t");
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return errno == 0;
}

/* The number after `key` at the start of a line of the file; UMBRA_UNLIMITED if there is none. */
static uint64_t read_field(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return UMBRA_UNLIMITED;
    char line[256];
    size_t key_bytes = strlen(key);
    uint64_t value = UMBRA_UNLIMITED;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, key_bytes) == 0) {
            if (!parse_number(line + key_bytes, &value))
                value = UMBRA_UNLIMITED;
            break;
        }
    fclose(f);
    return value;
}

static uint64_t read_below(const char *folder, const char *name, const char *key)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path ? read_field(path, key) : UMBRA_UNLIMITED;
}

/* UMBRA_UNLIMITED if unknown. */
static uint64_t kibibytes(const char *root, const char *name, const char *key)
{
    uint64_t value = read_below(root, name, key);
    return value > UINT64_MAX / 1024 ? UMBRA_UNLIMITED : value * 1024;
}

static uint64_t status_bytes(const char *key)
{
    uint64_t value = kibibytes("", "proc/self/status", key);
    return value == UMBRA_UNLIMITED ? 0 : value;
}

uint64_t umbra_system_rss(void)
{
    return status_bytes("VmRSS:");
}

uint64_t umbra_system_rss_max(void)
{
    return status_bytes("VmHWM:");
}

/* "folder/name", its end if it is too long. */
static void set_source(char out[UMBRA_SOURCE_BYTES], const char *folder, const char *name)
{
    size_t room = UMBRA_SOURCE_BYTES - 2 - strlen(name), n = strlen(folder);
    snprintf(out, UMBRA_SOURCE_BYTES, "%s%s%s", folder + (n > room ? n - room : 0),
             *folder ? "/" : "", name);
}

/* ---- memory ---- */

static void tighten(umbra_bound *bound, uint64_t bytes, const char *folder, const char *name)
{
    if (bytes >= bound->bytes || bytes >= no_limit_from)
        return;
    bound->bytes = bytes;
    set_source(bound->source, folder, name);
}

/* A limit of a group, of which `used` bytes are taken. */
static void take_limit(umbra_memory_bounds *m, umbra_bound *bound, const char *folder,
                       const char *name, const char *key, uint64_t used)
{
    uint64_t limit = read_below(folder, name, key);
    if (limit >= no_limit_from)
        return;
    tighten(bound, limit, folder, name);
    tighten(&m->free, limit > used ? limit - used : 0, folder, name);
}

static uint64_t or_none(uint64_t bytes)
{
    return bytes == UMBRA_UNLIMITED ? 0 : bytes;
}

/* What the group holds beside page cache on its lists; cache that is shared memory is not there. */
static uint64_t group_used(const char *folder, bool v2)
{
    uint64_t used =
        or_none(read_below(folder, v2 ? "memory.current" : "memory.usage_in_bytes", ""));
    const char *total = v2 ? "inactive_file " : "total_inactive_file ";
    uint64_t cache = or_none(read_below(folder, "memory.stat", total));
    total = v2 ? "active_file " : "total_active_file ";
    cache += or_none(read_below(folder, "memory.stat", total));
    return used > cache ? used - cache : 0;
}

static void take_memory_group(void *user, const char *folder, bool v2)
{
    umbra_memory_bounds *m = user;
    uint64_t used = group_used(folder, v2);
    if (v2) {
        take_limit(m, &m->kill, folder, "memory.max", "", used);
        take_limit(m, &m->slow, folder, "memory.high", "", used);
    } else {
        take_limit(m, &m->kill, folder, "memory.limit_in_bytes", "", used);
        /* The least of the groups above, those that are not mounted here among them. */
        take_limit(m, &m->kill, folder, "memory.stat", "hierarchical_memory_limit ", used);
    }
}

static void take_rlimit(umbra_memory_bounds *m, int resource, const char *name, const char *root,
                        const char *key)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    uint64_t used = or_none(kibibytes(root, "proc/self/status", key));
    tighten(&m->address, limit.rlim_cur, "", name);
    tighten(&m->free, limit.rlim_cur > used ? limit.rlim_cur - used : 0, "", name);
}

void umbra_system_memory(const char *root, umbra_memory_bounds *out)
{
    const umbra_bound none = {.bytes = UMBRA_UNLIMITED};
    *out = (umbra_memory_bounds){none, none, none, none};
    tighten(&out->free, kibibytes(root, "proc/meminfo", "MemAvailable:"), root, "proc/meminfo");
    umbra_cgroup_visit(root, "memory", take_memory_group, out);
    take_rlimit(out, RLIMIT_AS, "ulimit -v", root, "VmSize:");
    take_rlimit(out, RLIMIT_DATA, "ulimit -d", root, "VmData:");
}

/* ---- processors ---- */

/* Processors of the affinity mask. The kernel refuses a set smaller than its own. */
static int count_allowed(void)
{
    for (int n = CPU_SETSIZE; n <= MOST_PROCESSORS; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (!set)
            break;
        int rc = sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)n), set), error = errno;
        int count = rc == 0 ? CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)n), set) : 0;
        CPU_FREE(set);
        if (rc == 0 || error != EINVAL)
            return count < 1 ? 1 : count;
    }
    return 1;
}

static void take_quota(umbra_processors *p, uint64_t time, uint64_t period, const char *folder,
                       const char *name)
{
    double quota = (double)time / (double)period;
    if (time >= no_limit_from || period >= no_limit_from || time == 0 || period == 0 ||
        (p->quota > 0 && quota >= p->quota))
        return;
    p->quota = quota;
    set_source(p->source, folder, name);
}

/* Version 2 has both numbers in one file: "150000 100000", or "max 100000". */
static void take_cpu_group(void *user, const char *folder, bool v2)
{
    umbra_processors *p = user;
    if (!v2) {
        take_quota(p, read_below(folder, "cpu.cfs_quota_us", ""),
                   read_below(folder, "cpu.cfs_period_us", ""), folder, "cpu.cfs_quota_us");
        return;
    }
    char path[PATH_BYTES], line[64] = "";
    int n = snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (!f)
        return;
    uint64_t time, period;
    if (fgets(line, sizeof line, f) && parse_number(line, &time) && strchr(line, ' ') &&
        parse_number(strchr(line, ' '), &period))
        take_quota(p, time, period, folder, "cpu.max");
    fclose(f);
}

void umbra_system_get_processors(const char *root, umbra_processors *out)
{
    *out = (umbra_processors){.allowed = count_allowed()};
    umbra_cgroup_visit(root, "cpu", take_cpu_group, out);
    out->usable = out->allowed;
    if (out->quota > 0 && ceil(out->quota) < out->usable)
        out->usable = (int)ceil(out->quota);
}

bool umbra_processors_have_spare(const umbra_processors *p, int threads)
{
    return p->allowed > threads && (p->quota <= 0 || p->quota >= threads + 1);
}

bool umbra_system_has_spare(int threads)
{
    umbra_processors p;
    umbra_system_get_processors("", &p);
    return umbra_processors_have_spare(&p, threads);
}

int umbra_system_processors(void)
{
    umbra_processors p;
    umbra_system_get_processors("", &p);
    return p.usable;
}

int umbra_system_threads(int asked, int most)
{
    int usable = asked > 0 ? asked : umbra_system_processors();
    return asked > 0 || usable < most ? usable : most;
}
