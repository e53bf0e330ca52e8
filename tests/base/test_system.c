/* Limits of made-up machines: folders with files as /proc and /sys have them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/system.h"

/* ---- an affinity mask of any size ---- */

static int allowed;      /* processors in the mask; 0: the machine's own mask */
static int mask_bytes;   /* a smaller set is refused, as the kernel does */
static int mask_failure; /* errno that the call always gives, 0: none */

int __real_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *set)
{
    if (allowed == 0 && mask_failure == 0)
        return __real_sched_getaffinity(pid, bytes, set);
    if (mask_failure != 0 || bytes < (size_t)mask_bytes) {
        errno = mask_failure ? mask_failure : EINVAL;
        return -1;
    }
    memset(set, 0, bytes);
    for (int i = 0; i < allowed; i++)
        CPU_SET_S((size_t)mask_bytes * 8 - 1 - (size_t)i, bytes, set);
    return 0;
}

/* ---- made-up machines ---- */

static char root[64];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/umbra-system-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int remove_root(void **state)
{
    (void)state;
    allowed = mask_failure = 0;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Writes root/path, and the folders above it. */
static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = strchr(full + strlen(root) + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static umbra_memory_bounds memory(void)
{
    umbra_memory_bounds m;
    umbra_system_memory(root, &m);
    return m;
}

static umbra_processors processors(void)
{
    umbra_processors p;
    umbra_system_get_processors(root, &p);
    return p;
}

static void assert_source(const char *source, const char *path)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    assert_string_equal(source, full);
}

#define MEMINFO(kilobytes) "MemTotal: 9999999 kB\nMemAvailable:   " kilobytes " kB\n"
#define V2_MOUNT(mounted, point)                                                                   \
    "30 23 0:26 " mounted " " point " rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT(mounted, point, controllers)                                                      \
    "31 23 0:27 " mounted " " point " rw,nosuid - cgroup cgroup rw," controllers "\n"

/* ---- memory ---- */

static void version_2_at_every_level(void **state)
{
    (void)state;
    put("proc/meminfo", MEMINFO("8000000"));
    put("proc/self/cgroup", "0::/a/b/c\n");
    put("proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda rw\n" V2_MOUNT("/", "/cg"));
    put("cg/a/memory.max", "500000000\n");
    put("cg/a/memory.current", "100000000\n");
    put("cg/a/memory.stat", "anon 5\nfile 7\ninactive_file 20000000\nactive_file 30000000\n");
    put("cg/a/b/memory.max", "max\n");
    put("cg/a/b/memory.high", "300000000\n");
    put("cg/a/b/memory.current", "1000\n");
    put("cg/a/b/c/memory.max", "700000000\n");
    put("cg/a/b/c/memory.high", "garbage\n");
    umbra_memory_bounds m = memory();
    assert_int_equal(m.kill.bytes, 500000000);
    assert_source(m.kill.source, "cg/a/memory.max");
    assert_int_equal(m.slow.bytes, 300000000);
    assert_source(m.slow.source, "cg/a/b/memory.high");
    assert_int_equal(m.free.bytes, 299999000);
    put("cg/a/memory.current", "400000000\n");
    m = memory();
    assert_int_equal(m.free.bytes, 150000000); /* 500 - (400 - 20 - 30) */
    assert_source(m.free.source, "cg/a/memory.max");
}

static void version_1_and_what_is_above_the_mount(void **state)
{
    (void)state;
    put("proc/meminfo", MEMINFO("8000000"));
    put("proc/self/cgroup", "9:name=systemd:/x\n4:hugetlb,memory:/docker/id\n3:cpuset:/\n");
    put("proc/self/mountinfo", V1_MOUNT("/docker/id", "/odd\\040place", "memory,hugetlb"));
    put("odd place/memory.limit_in_bytes", "9223372036854771712\n");
    put("odd place/memory.usage_in_bytes", "50000000\n");
    put("odd place/memory.stat", "inactive_file 1\nhierarchical_memory_limit 200000000\n"
                                 "total_inactive_file 10000000\ntotal_active_file 0\n");
    umbra_memory_bounds m = memory();
    assert_int_equal(m.kill.bytes, 200000000);
    assert_source(m.kill.source, "odd place/memory.stat");
    assert_int_equal(m.free.bytes, 160000000);
    assert_int_equal(m.slow.bytes, UMBRA_UNLIMITED);
}

/* Both versions at once: the memory controller is version 1's, and the other tree has no such
 * files. */
static void hybrid(void **state)
{
    (void)state;
    put("proc/meminfo", MEMINFO("100000"));
    put("proc/self/cgroup", "4:memory:/m\n0::/u/s\n");
    put("proc/self/mountinfo", V2_MOUNT("/", "/cg/unified") V1_MOUNT("/", "/cg/memory", "memory"));
    put("cg/unified/u/s/cgroup.procs", "1\n");
    put("cg/memory/m/memory.limit_in_bytes", "50000000\n");
    umbra_memory_bounds m = memory();
    assert_int_equal(m.kill.bytes, 50000000);
    assert_int_equal(m.free.bytes, 50000000); /* nothing is known of its use */
}

/* A container that sees the host's name of its group, with its own group mounted as the top, or
 * something else, or a namespace whose top is not the mount's. */
static void names_of_the_host(void **state)
{
    (void)state;
    static const char *const cgroups[] = {"0::/kubepods/pod/id\n", "0::/../other\n", "0::/\n",
                                          "garbage\n", ""};
    static const char *const mounts[] = {V2_MOUNT("/", "/cg"), V2_MOUNT("/kubepods/pod", "/cg"),
                                         V2_MOUNT("/kubepods/pod/id", "/cg"),
                                         V2_MOUNT("/../../x", "/cg"), V2_MOUNT("/kube", "/cg")};
    put("cg/memory.max", "77000000\n");
    put("other/memory.max", "1\n");
    for (size_t i = 0; i < sizeof cgroups / sizeof *cgroups; i++)
        for (size_t k = 0; k < sizeof mounts / sizeof *mounts; k++) {
            put("proc/self/cgroup", cgroups[i]);
            put("proc/self/mountinfo", mounts[k]);
            assert_int_equal(memory().kill.bytes, 77000000);
        }
}

/* A part of the tree that is mounted elsewhere and is not this process's does not count. */
static void groups_of_others(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/mine\n");
    put("proc/self/mountinfo", V2_MOUNT("/theirs", "/bind") V2_MOUNT("/", "/cg"));
    put("bind/memory.max", "1000\n");
    put("cg/mine/memory.max", "2000000\n");
    assert_int_equal(memory().kill.bytes, 2000000);
}

static void usual_places(void **state)
{
    (void)state;
    put("proc/self/cgroup", "7:memory:/g\n0::/h\n");
    put("sys/fs/cgroup/memory/g/memory.limit_in_bytes", "3000000\n");
    assert_int_equal(memory().kill.bytes, 3000000);
    put("sys/fs/cgroup/h/memory.max", "2000000\n");
    assert_int_equal(memory().kill.bytes, 2000000);
}

static void nothing_is_known(void **state)
{
    (void)state;
    umbra_memory_bounds m = memory();
    assert_int_equal(m.kill.bytes, UMBRA_UNLIMITED);
    assert_int_equal(m.slow.bytes, UMBRA_UNLIMITED);
    put("proc/meminfo", "MemAvailable: lots kB\n");
    put("proc/self/mountinfo", "\n - \n1 2 3 - cgroup2\n - cgroup2 a b\n1 2 3 / /cg - cgroup x\n");
    put("proc/self/cgroup", "\n:\n::\n0:\n0::relative\n4:memory\n");
    put("cg/memory.max", "-5\n");
    assert_int_equal(memory().kill.bytes, UMBRA_UNLIMITED);
    put("proc/meminfo", MEMINFO("99999999999999999999999"));
    m = memory();
    assert_int_equal(m.free.bytes, m.address.bytes); /* the tests may run under a ulimit */
}

static void a_full_group_leaves_nothing(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", V2_MOUNT("/", "/cg"));
    put("cg/memory.max", "1000\n");
    put("cg/memory.current", "5000\n");
    assert_int_equal(memory().free.bytes, 0);
    put("cg/memory.max", "0\n");
    assert_int_equal(memory().kill.bytes, 0);
}

static void limits_of_the_shell(void **state)
{
    (void)state;
    struct rlimit before, less;
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    less = before;
    less.rlim_cur = UINT64_C(3000000000);
    if (before.rlim_cur != RLIM_INFINITY && before.rlim_cur < less.rlim_cur)
        skip();
    put("proc/meminfo", MEMINFO("8000000"));
    put("proc/self/status", "VmSize:\t 900 kB\nVmData:\t  1000 kB\n");
    assert_int_equal(setrlimit(RLIMIT_DATA, &less), 0);
    umbra_memory_bounds m = memory();
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
    if (m.address.bytes < less.rlim_cur)
        skip(); /* ulimit -v is smaller still */
    assert_int_equal(m.address.bytes, 3000000000);
    assert_string_equal(m.address.source, "ulimit -d");
    assert_int_equal(m.free.bytes, 3000000000 - 1024000);
}

/* Long names of groups are cut, not run over. */
static void long_names(void **state)
{
    (void)state;
    char text[3000] = "0::", path[600] = "cg";
    for (int i = 0; i < 4; i++) {
        strcat(path, "/");
        memset(path + strlen(path), 'a' + i, 100);
    }
    strcat(strcat(text, path + 2), "\n");
    put("proc/self/cgroup", text);
    put("proc/self/mountinfo", V2_MOUNT("/", "/cg"));
    strcat(path, "/memory.max");
    put(path, "5000\n");
    umbra_memory_bounds m = memory();
    assert_int_equal(m.kill.bytes, 5000);
    assert_int_equal(strlen(m.kill.source), UMBRA_SOURCE_BYTES - 1);
    assert_string_equal(m.kill.source + UMBRA_SOURCE_BYTES - 1 - 15, "dddd/memory.max");
}

/* ---- processors ---- */

static void quotas(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int usable;
    } cases[] = {
        {"100000 100000\n", 1}, {"150000 100000\n", 2},  {"10000 100000\n", 1},
        {"400000 100000\n", 4}, {"1600000 100000\n", 8}, {"max 100000\n", 8},
        {"250000 50000\n", 5},  {"0 100000\n", 8},       {"100000 0\n", 8},
        {"100000\n", 8},        {"much 100000\n", 8},    {"", 8},
        {"-1 100000\n", 8},
    };
    allowed = 8;
    mask_bytes = 8;
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/self/mountinfo", V2_MOUNT("/", "/cg"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("cg/a/cpu.max", cases[i].text);
        umbra_processors p = processors();
        assert_int_equal(p.usable, cases[i].usable);
        assert_int_equal(p.allowed, 8);
    }
    put("cg/a/cpu.max", "300000 100000\n");
    put("cg/a/b/cpu.max", "600000 100000\n");
    umbra_processors p = processors();
    assert_int_equal(p.usable, 3);
    assert_source(p.source, "cg/a/cpu.max");
}

/* Two threads may compute by a quota of 1.5, but beside one the other half is no core to spare. */
static void what_is_to_spare_is_a_whole_processor(void **state)
{
    (void)state;
    static const struct {
        int allowed;
        double quota;
        int most; /* threads beside which one is to spare; 0: none */
    } cases[] = {
        {1, 0, 0}, {2, 0, 1},   {8, 0, 7}, {8, 1.5, 0},
        {8, 2, 1}, {8, 2.9, 1}, {2, 4, 1}, {8, 0.1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const umbra_processors p = {.allowed = cases[i].allowed, .quota = cases[i].quota};
        for (int threads = 1; threads <= 8; threads++)
            assert_int_equal(umbra_processors_have_spare(&p, threads), threads <= cases[i].most);
    }
    allowed = 8;
    mask_bytes = 8;
    put("proc/self/cgroup", "0::/a\n");
    put("proc/self/mountinfo", V2_MOUNT("/", "/cg"));
    put("cg/a/cpu.max", "150000 100000\n");
    umbra_processors p = processors();
    assert_int_equal(p.usable, 2);
    assert_false(umbra_processors_have_spare(&p, 1));
}

static void quotas_of_version_1(void **state)
{
    (void)state;
    allowed = 8;
    mask_bytes = 8;
    put("proc/self/cgroup", "3:cpuset:/\n2:cpu,cpuacct:/g/h\n");
    put("proc/self/mountinfo",
        V1_MOUNT("/", "/cg/cpuset", "cpuset") V1_MOUNT("/g", "/cg/cpu,cpuacct", "cpu,cpuacct"));
    put("cg/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
    put("cg/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("cg/cpu,cpuacct/h/cpu.cfs_quota_us", "-1\n");
    put("cg/cpu,cpuacct/h/cpu.cfs_period_us", "100000\n");
    umbra_processors p = processors();
    assert_int_equal(p.usable, 3);
    assert_source(p.source, "cg/cpu,cpuacct/cpu.cfs_quota_us");
    put("cg/cpu,cpuacct/h/cpu.cfs_quota_us", "50000\n");
    assert_int_equal(processors().usable, 1);
}

static void many_processors(void **state)
{
    (void)state;
    static const int counts[] = {1, 1024, 1025, 4096, 5000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        allowed = counts[i];
        mask_bytes = 1024; /* a kernel made for 8,192 */
        assert_int_equal(processors().usable, counts[i]);
    }
    assert_int_equal(umbra_system_threads(0, 256), 256);
    assert_int_equal(umbra_system_threads(300, 256),
                     300); /* what is asked for is checked elsewhere */
    mask_failure = EPERM;
    assert_int_equal(processors().usable, 1);
    mask_failure = EINVAL;
    assert_int_equal(processors().usable, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(version_2_at_every_level),
        CASE(version_1_and_what_is_above_the_mount),
        CASE(hybrid),
        CASE(names_of_the_host),
        CASE(groups_of_others),
        CASE(usual_places),
        CASE(nothing_is_known),
        CASE(a_full_group_leaves_nothing),
        CASE(limits_of_the_shell),
        CASE(long_names),
        CASE(quotas),
        CASE(what_is_to_spare_is_a_whole_processor),
        CASE(quotas_of_version_1),
        CASE(many_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
