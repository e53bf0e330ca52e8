/* Attention for AVX-512, with its instructions emulated by AVX2's. */
#include "emulate_avx512.h"

#define umbra_avx512_attend umbra_check_emulated_attend
#include "kernels/x86/avx512_attend.c"
