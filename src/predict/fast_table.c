/* Which forms of the fast predictor this processor runs. */
#include <string.h>

#include "kernels/kernels.h"
#include "predict/fast_internal.h"

const umbra_fast_kernels *umbra_fast_kernels_find(const char *name)
{
    /* Which CPU has what is decided in one place, by the tables of the kernels. */
    const umbra_kernels *kernels = umbra_kernels_find(name);
    if (!kernels)
        return NULL;
#if defined(__x86_64__)
    if (strcmp(kernels->name, "avx512") == 0)
        return &umbra_fast_avx512;
    if (strcmp(kernels->name, "avx2") == 0)
        return &umbra_fast_avx2;
#elif defined(__aarch64__)
    if (strcmp(kernels->name, "neon") == 0)
        return &umbra_fast_neon;
#endif
    return &umbra_fast_scalar;
}
