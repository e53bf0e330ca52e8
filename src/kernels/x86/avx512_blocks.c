/* Products of quantised weights with activations for AVX-512: by the tree where there are few
 * tokens, by panels where there are more. Both give the same bits, and so does AVX2's form of Q4_0,
 * which is the fastest with one token. */
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/avx512_few.h"
#include "kernels/x86/avx512_panel.h"

#define DEFINE_TYPE(TYPE, name, halves, offset)                                                    \
    static void fill_##name(panel *w, const umbra_matmul *m, int row, int rows, size_t part)       \
    {                                                                                              \
        fill_panel(w, m, row, rows, part, &rows_##name);                                           \
    }                                                                                              \
    static void one_##name(const umbra_matmul *m, int row_begin, int row_end)                      \
    {                                                                                              \
        matmul_few(m, row_begin, row_end, 1, &rows_##name);                                        \
    }                                                                                              \
    static void two_##name(const umbra_matmul *m, int row_begin, int row_end)                      \
    {                                                                                              \
        matmul_few(m, row_begin, row_end, 2, &rows_##name);                                        \
    }                                                                                              \
    static void three_##name(const umbra_matmul *m, int row_begin, int row_end)                    \
    {                                                                                              \
        matmul_few(m, row_begin, row_end, 3, &rows_##name);                                        \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const umbra_matmul_fn few[FEW_TOKENS + 1] = {                                       \
            NULL, UMBRA_##TYPE == UMBRA_Q4_0 ? umbra_avx2_matmul_q4_0 : one_##name, two_##name,    \
            three_##name};                                                                         \
        if (m->tokens > FEW_TOKENS) {                                                              \
            matmul_panels(m, row_begin, row_end, fill_##name, &rows_##name);                       \
        } else if (m->tokens > 0) {                                                                \
            few[m->tokens](m, row_begin, row_end);                                                 \
        }                                                                                          \
    }
UMBRA_BLOCK_TYPES(DEFINE_TYPE)
#define SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##name;

void umbra_kernels_fill_avx512_blocks(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(SET_MATMUL)
}
