/* A library that is loaded before all others and fails the program:
 *   FAIL_ALLOCATION=N   the N-th allocation, by whomever, gets no memory
 *   COUNT=FILE          how many there were is written there at the end
 *   CLOCK_JUMPS=N       every N-th look at a clock finds it an hour further, and the wall clock in
 *                       turns a day back */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static atomic_long allocations, looks, failed;
static long failing, jumps;

__attribute__((constructor)) static void begin(void)
{
    const char *n = getenv("FAIL_ALLOCATION"), *every = getenv("CLOCK_JUMPS");
    failing = n ? atol(n) : 0;
    jumps = every ? atol(every) : 0;
    atomic_store(&allocations, 0);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("COUNT");
    long n = atomic_load(&allocations);
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fprintf(f, "%ld\n", n);
        fclose(f);
    }
}

/* Fortran's library, which OpenBLAS brings along, ends the program where it finds no memory; nor do
 * the tests' program that stands for one of llama.cpp's, and its library, look. */
static int bears_it(const void *caller)
{
    Dl_info in;
    return !dladdr(caller, &in) || !in.dli_fname ||
           (!strstr(in.dli_fname, "libgfortran") && !strstr(in.dli_fname, "libopenblas") &&
            !strstr(in.dli_fname, "under_host") && !strstr(in.dli_fname, "libumbra_stub"));
}

/* The N-th, or the first behind it that somebody asks for who can bear it. */
static int fails(const void *caller)
{
    long n = atomic_fetch_add(&allocations, 1) + 1;
    if (failing == 0 || n < failing || atomic_load(&failed) || !bears_it(caller) ||
        atomic_exchange(&failed, 1))
        return 0;
    errno = ENOMEM;
    return 1;
}

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, bytes);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, bytes);
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
}

__attribute__((visibility("default"))) int posix_memalign(void **out, size_t alignment,
                                                          size_t bytes)
{
    void *p = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(clock, out);
    if (jumps > 0 && rc == 0) {
        long n = atomic_fetch_add(&looks, 1) / jumps;
        out->tv_sec += clock == CLOCK_MONOTONIC ? 3600 * n : n % 2 ? -86400 : 0;
    }
    return rc;
}
