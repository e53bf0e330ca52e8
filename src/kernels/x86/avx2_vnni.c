/* AVX2 with AVX-VNNI: the innermost loops of panels multiply and add in one instruction. The same
 * integers, so the same bits. */
#include "kernels/x86/avx2.h"

/* Written as the instruction: compilers copy the sum before and behind it. */
UMBRA_INLINE __m256i add_products(__m256i sum, __m256i w, __m256i x)
{
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    return sum;
}
#define UMBRA_ADD_PAIRS add_products
#include "kernels/x86/avx2_panel.h"

/* AVX2's, for few tokens; written before any table is handed out. */
static umbra_matmul_fn avx2[UMBRA_DTYPE_COUNT];

#define DEFINE_MATMUL(TYPE, name, halves, offset)                                                  \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        const int few = UMBRA_##TYPE == UMBRA_Q4_0 ? UMBRA_AVX2_FEW_Q4_0 : UMBRA_AVX2_FEW;         \
        if (m->tokens > few) {                                                                     \
            umbra_avx2_pass_panels(m, row_begin, row_end, UMBRA_##TYPE, &groups);                  \
        } else {                                                                                   \
            avx2[UMBRA_##TYPE](m, row_begin, row_end);                                             \
        }                                                                                          \
    }
UMBRA_BLOCK_TYPES(DEFINE_MATMUL)
#define SET_MATMUL(TYPE, name, halves, offset)                                                     \
    avx2[UMBRA_##TYPE] = k->matmul[UMBRA_##TYPE];                                                  \
    k->matmul[UMBRA_##TYPE] = matmul_##name;

void umbra_kernels_fill_avxvnni(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(SET_MATMUL)
}
