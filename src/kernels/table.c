/* Which kernels this build has and this processor runs. */
#include "kernels/kernels.h"

#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>

#include "kernels/x86/amx.h"
#endif

#include "kernels/scalar/grids.h"
#include "kernels/internal.h"

enum { TABLES_MAX = 6 };

static umbra_kernels tables[TABLES_MAX]; /* those this CPU runs, best first */
static int table_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)

/* Some compilers do not know "f16c" by name. That the system saves the registers it needs follows
 * from AVX2 being usable. */
static bool cpu_has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool cpu_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
}

/* VNNI also marks the CPUs on which 512-bit vectors do not lower the clock. */
static bool cpu_has_avx512(void)
{
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}

#ifdef UMBRA_AVXVNNI
static bool cpu_has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

static void add_vector_tables(const umbra_kernels *scalar)
{
    __builtin_cpu_init();
    if (!cpu_has_avx2()) {
        return;
    }
    umbra_kernels avx2 = *scalar;
    avx2.name = "avx2";
    umbra_kernels_fill_avx2(&avx2);
    if (cpu_has_avx512()) {
        umbra_kernels avx512 = avx2;
        avx512.name = "avx512";
        umbra_kernels_fill_avx512(&avx512);
        if (umbra_amx_works()) {
            umbra_kernels *amx = &tables[table_count++];
            *amx = avx512;
            amx->name = "amx";
            umbra_kernels_fill_amx(amx);
        }
        tables[table_count++] = avx512;
    }
#ifdef UMBRA_AVXVNNI
    if (cpu_has_avxvnni()) {
        umbra_kernels *k = &tables[table_count++];
        *k = avx2;
        k->name = "avxvnni";
        umbra_kernels_fill_avxvnni(k);
    }
#endif
    tables[table_count++] = avx2;
}

#elif defined(__aarch64__)

static void add_vector_tables(const umbra_kernels *scalar)
{
    umbra_kernels *k = &tables[table_count++];
    *k = *scalar;
    k->name = "neon";
    umbra_kernels_fill_neon(k);
}

#else

static void add_vector_tables(const umbra_kernels *scalar)
{
    (void)scalar;
}

#endif

static void fill_tables(void)
{
    umbra_grids_fill();
    umbra_kernels scalar = {.name = "scalar"};
    umbra_kernels_fill_scalar(&scalar);
    umbra_kernels reference = scalar;
    reference.name = "reference";
    umbra_kernels_fill_reference(&reference);

    add_vector_tables(&scalar);
    tables[table_count++] = scalar;
    tables[table_count++] = reference;
}

const umbra_kernels *umbra_kernels_find(const char *name)
{
    pthread_once(&once, fill_tables);
    if (!name || strcmp(name, "auto") == 0) {
        return &tables[0];
    }
    for (int i = 0; i < table_count; i++) {
        if (strcmp(tables[i].name, name) == 0) {
            return &tables[i];
        }
    }
    return NULL;
}

const char *umbra_kernels_name(int index)
{
    pthread_once(&once, fill_tables);
    return index >= 0 && index < table_count ? tables[index].name : NULL;
}
