/* Products of quantised weights for AMX, with many tokens. Few are left to AVX-512, and so are
 * types with a scale for half a part, which would fill a tile by half. Both give the same bits. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/amx_strip.h"

static umbra_matmul_fn few_tokens[UMBRA_DTYPE_COUNT]; /* AVX-512's */

static void matmul(const umbra_matmul *m, int row_begin, int row_end, umbra_matmul_fn few,
                   const strip_type *type)
{
    if (m->tokens < LEAST_TOKENS) {
        few(m, row_begin, row_end);
    } else if (row_begin < row_end) {
        matmul_strips(m, row_begin, row_end, type);
    }
}

#define DEFINE_TYPE(TYPE, name, has_halves, has_offset)                                            \
    static void fill_##name(panel *w, const umbra_matmul *m, int row, int rows, size_t part)       \
    {                                                                                              \
        if (UMBRA_##TYPE == UMBRA_Q4_K) {                                                          \
            fill_nibbles(w, m, row, rows, part, &rows_##name);                                     \
        } else if (IS_SMALL(TYPE)) {                                                               \
            fill_floats(w, m, row, rows, part, &rows_##name);                                      \
        } else {                                                                                   \
            fill_panel(w, m, row, rows, part, &rows_##name);                                       \
        }                                                                                          \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const strip_type bytes = {                                                          \
            .rows = &rows_##name,                                                                  \
            .fill = fill_##name,                                                                   \
            .load_group = load_bytes,                                                              \
            .add_group = has_offset ? add_group_offset : add_group_plain,                          \
        };                                                                                         \
        static const strip_type floats = {                                                         \
            .rows = &rows_##name,                                                                  \
            .fill = fill_##name,                                                                   \
            .load_group = load_floats,                                                             \
            .add_group = has_offset ? add_floats_offset : add_floats_plain,                        \
            .floats = true,                                                                        \
        };                                                                                         \
        matmul(m, row_begin, row_end, few_tokens[UMBRA_##TYPE],                                    \
               IS_SMALL(TYPE) ? &floats : &bytes);                                                 \
    }
UMBRA_BLOCK_TYPES(DEFINE_TYPE)
#define SET_MATMUL(TYPE, name, halves, offset)                                                     \
    if (!(halves)) {                                                                               \
        k->matmul[UMBRA_##TYPE] = matmul_##name;                                                   \
    }

void umbra_kernels_fill_amx(umbra_kernels *k)
{
    memcpy(few_tokens, k->matmul, sizeof few_tokens);
    UMBRA_BLOCK_TYPES(SET_MATMUL)
}
