/* Products of quantised weights with activations for AVX2: row by row where there are few tokens,
 * by panels where there are more. Both give the same bits, and so does Q4_0's own form of few. */
#include "kernels/x86/avx2_few.h"

#define DEFINE_TYPE(TYPE, name, halves, offset)                                                    \
    static void one_##name(const umbra_matmul *m, int row_begin, int row_end)                      \
    {                                                                                              \
        matmul_few(m, row_begin, row_end, 1, &few_type_##name);                                    \
    }                                                                                              \
    static void two_##name(const umbra_matmul *m, int row_begin, int row_end)                      \
    {                                                                                              \
        matmul_few(m, row_begin, row_end, 2, &few_type_##name);                                    \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const umbra_matmul_fn few[FEW_TOKENS + 1] = {NULL, one_##name, two_##name};         \
        if (m->tokens > FEW_TOKENS) {                                                              \
            umbra_avx2_matmul_panels(m, row_begin, row_end, UMBRA_##TYPE);                         \
        } else if (m->tokens > 0) {                                                                \
            few[m->tokens](m, row_begin, row_end);                                                 \
        }                                                                                          \
    }
UMBRA_BLOCK_TYPES(DEFINE_TYPE)
#define SET_MATMUL(TYPE, name, halves, offset)                                                     \
    k->matmul[UMBRA_##TYPE] = UMBRA_##TYPE == UMBRA_Q4_0 ? umbra_avx2_matmul_q4_0 : matmul_##name;

void umbra_kernels_fill_avx2_blocks(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(SET_MATMUL)
}
