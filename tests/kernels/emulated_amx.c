/* The products of quantised weights for AMX, with its instructions and those of AVX-512 emulated: a
 * table for check_kernels on processors that have no AMX. Few tokens are those of AVX-512's table,
 * the processor's or an emulated one. */
#include "emulate_amx.h"

#define umbra_kernels_fill_amx fill_emulated_amx
void fill_emulated_amx(umbra_kernels *k);
#include "kernels/x86/amx_blocks.c"

#include "check.h"

const umbra_kernels *umbra_check_emulated_amx(void)
{
    static umbra_kernels k;
    const umbra_kernels *avx512 = umbra_check_emulated();
    avx512 = avx512 ? avx512 : umbra_kernels_find("avx512");
    if (!avx512 || umbra_kernels_find("amx")) {
        return NULL;
    }
    k = *avx512;
    k.name = "amx, emulated";
    fill_emulated_amx(&k);
    return &k;
}
