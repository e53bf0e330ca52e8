/* Checks every kernel table that this CPU runs, or measures them.
 *
 *   check_kernels                        all tables
 *   check_kernels avx2                   one table
 *   check_kernels --bench [NAME [TYPE]]  speeds instead of checks
 *
 * Prints each failure (the first 20) and a summary; exit status 1 if anything failed, 2 if the
 * named table is unknown here. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

enum { FAILURES_SHOWN = 20 };

static unsigned long checks, failures;

bool umbra_check(bool ok, const char *format, ...)
{
    checks++;
    if (!ok && failures++ < FAILURES_SHOWN) {
        va_list arguments;
        va_start(arguments, format);
        printf("FAIL ");
        vprintf(format, arguments);
        printf("\n");
        va_end(arguments);
    }
    return ok;
}

static void check_lookup(void)
{
    umbra_check(umbra_kernels_find(NULL) == umbra_kernels_find("auto"), "NULL is not auto");
    umbra_check(umbra_kernels_find("auto") == umbra_kernels_find(umbra_kernels_name(0)),
                "auto is not the first name");
    umbra_check(!umbra_kernels_find("none such"), "an unknown name was found");
    umbra_check(!umbra_kernels_name(-1), "a negative index has a name");
    int count = 0;
    for (; umbra_kernels_name(count); count++) {
        const umbra_kernels *k = umbra_kernels_find(umbra_kernels_name(count));
        umbra_check(k && strcmp(k->name, umbra_kernels_name(count)) == 0, "name %d", count);
        for (int t = 0; t < UMBRA_DTYPE_COUNT; t++) {
            bool supported = umbra_kernels_find("scalar")->matmul[t] != NULL;
            umbra_check((k->matmul[t] != NULL) == supported &&
                            (k->dequantize[t] != NULL) == supported,
                        "%s and scalar differ in their support of type %d", k->name, t);
        }
    }
    umbra_check(count >= 2 && strcmp(umbra_kernels_name(count - 1), "reference") == 0,
                "reference is not the last name");
}

#if defined(__x86_64__)
static void check_products(const umbra_kernels *k)
{
    unsigned long checks_before = checks, failures_before = failures;
    umbra_check_matmul(k);
    umbra_check_invariance(k);
    printf("%-10s %lu checks, %lu failed\n", k->name, checks - checks_before,
           failures - failures_before);
}

/* The tables for AVX2, AVX-VNNI, AVX-512 and AMX, those of this processor or emulated ones, have
 * the same bits; AVX2 only of quantised weights. */
static void check_same(void)
{
    const umbra_kernels *avx512 = umbra_check_emulated(), *amx = umbra_check_emulated_amx();
    const umbra_kernels *avx2 = umbra_kernels_find("avx2");
    avx512 = avx512 ? avx512 : umbra_kernels_find("avx512");
    amx = amx ? amx : umbra_kernels_find("amx");
    const umbra_kernels *avxvnni = umbra_kernels_find("avxvnni");
    if (avx2 && avxvnni) {
        umbra_check_same_products(avx2, avxvnni, true);
    }
    if (avx2 && avx512) {
        umbra_check_same_products(avx2, avx512, false);
    }
    if (avx512 && amx) {
        umbra_check_same_products(avx512, amx, true);
    }
}
#endif

static void check_table(const umbra_kernels *k)
{
    unsigned long checks_before = checks, failures_before = failures;
    umbra_check_dequantize(k);
    umbra_check_halves(k);
    umbra_check_matmul(k);
    umbra_check_invariance(k);
    umbra_check_vector(k);
    umbra_check_attend(k);
    umbra_check_state(k);
    umbra_check_predict(k);
    printf("%-10s %lu checks, %lu failed\n", k->name, checks - checks_before,
           failures - failures_before);
}

int main(int argc, char **argv)
{
    bool bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    const char *only = argc > 1 + bench ? argv[1 + bench] : NULL;
    if (only && !umbra_kernels_find(only)) {
        fprintf(stderr, "check_kernels: this CPU or build has no table \"%s\"\n", only);
        return 2;
    }
    if (!bench) {
        check_lookup();
    }
    for (int i = 0; umbra_kernels_name(i); i++) {
        const umbra_kernels *k = umbra_kernels_find(umbra_kernels_name(i));
        if (only && strcmp(only, k->name) != 0) {
            continue;
        }
        if (bench) {
            umbra_check_bench(k, argc > 3 ? argv[3] : NULL);
        } else {
            check_table(k);
        }
    }
#if defined(__x86_64__)
    if (!bench && !only) {
        umbra_check_amx_trial();
    }
    if (!bench && !only && umbra_check_emulated()) {
        check_products(umbra_check_emulated());
        umbra_check_attend(umbra_check_emulated());
    }
    if (!bench && !only && umbra_check_emulated_amx()) {
        check_products(umbra_check_emulated_amx());
    }
    if (!bench && !only) {
        check_same();
    }
#endif
    if (!bench) {
        printf("%lu checks, %lu failed\n", checks, failures);
    }
    return failures > 0;
}
