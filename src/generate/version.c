/* The version and what the build is made of. */
#include <umbra/umbra.h>

#include "store/io/io.h"

const char *umbra_version(void)
{
    return UMBRA_VERSION;
}

int umbra_version_number(void)
{
    return UMBRA_VERSION_NUMBER;
}

void umbra_get_build(umbra_build *out)
{
    *out = (umbra_build)
    {
        .version = UMBRA_VERSION,
#if defined(__clang__)
        .compiler = "clang " __clang_version__,
#elif defined(__GNUC__)
        .compiler = "gcc " __VERSION__,
#else
        .compiler = "unknown",
#endif
#if defined(__x86_64__)
        .kernels = {"amx", "avx512", "avx2", "scalar", "reference"},
#elif defined(__aarch64__)
        .kernels = {"neon", "scalar", "reference"},
#else
        .kernels = {"scalar", "reference"},
#endif
        .pcre2 = UMBRA_PCRE2_VERSION, .liburing = UMBRA_URING_VERSION,
        .xxhash = UMBRA_XXHASH_VERSION, .utf8proc = UMBRA_UTF8PROC_VERSION,
        .io_uring = umbra_io_find("auto") == &umbra_io_uring,
    };
}
