/* The products of quantised weights and attention for AVX-512, with its instructions emulated by
 * AVX2's: a table for check_kernels on processors that have no AVX-512. */
#include "emulate_avx512.h"

#define umbra_kernels_fill_avx512_blocks fill_emulated_blocks
#include "kernels/x86/avx512_blocks.c"

#include "check.h"

void umbra_check_emulated_attend(const umbra_attend *a);

const umbra_kernels *umbra_check_emulated(void)
{
    static umbra_kernels k;
    const umbra_kernels *avx2 = umbra_kernels_find("avx2");
    if (!avx2 || umbra_kernels_find("avx512")) {
        return NULL;
    }
    k = *avx2;
    k.name = "avx512, emulated";
    fill_emulated_blocks(&k, false);
    k.attend = umbra_check_emulated_attend;
    return &k;
}
