/* Products of quantised weights with activations for AVX-512: by the tree where there are few
 * tokens, by panels where there are more. Both give the same bits, and so do AVX2's forms, to which
 * few tokens are left where these are the faster ones. */
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
    }
UMBRA_BLOCK_TYPES(DEFINE_TYPE)

/* AVX2's forms, which have up to so many tokens, and single ones of rows shorter than that. */
typedef struct avx2_form {
    umbra_matmul_fn of;
    int tokens, short_columns;
} avx2_form;

static avx2_form of_avx2[UMBRA_DTYPE_COUNT];

static bool is_left_to(const avx2_form *form, const umbra_matmul *m)
{
    return m->tokens <= form->tokens || (m->tokens == 1 && m->x->columns < form->short_columns);
}

#define DEFINE_MATMUL(TYPE, name, halves, offset)                                                  \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const umbra_matmul_fn few[FEW_TOKENS + 1] = {NULL, one_##name, two_##name,          \
                                                            three_##name};                         \
        if (is_left_to(&of_avx2[UMBRA_##TYPE], m)) {                                               \
            of_avx2[UMBRA_##TYPE].of(m, row_begin, row_end);                                       \
        } else if (m->tokens > FEW_TOKENS) {                                                       \
            matmul_panels(m, row_begin, row_end, fill_##name, &rows_##name);                       \
        } else if (m->tokens > 0) {                                                                \
            few[m->tokens](m, row_begin, row_end);                                                 \
        }                                                                                          \
    }
UMBRA_BLOCK_TYPES(DEFINE_MATMUL)

/* On a Zen 4 shorter rows of one token come from memory more quickly by AVX2's forms. */
enum { SHORT_COLUMNS = 1024 };

/* Up to so many tokens AVX2's form is the faster one; `zen4`: on a Zen 4, which gathers slowly and
 * takes a register in two turns (docs/measuring.md, "Many tokens"). */
static int tokens_of_avx2(umbra_dtype type, bool zen4)
{
    switch (type) {
    case UMBRA_IQ2_XS:
        return zen4 ? 8 : 1;
    case UMBRA_IQ1_S:
    case UMBRA_IQ1_M:
    case UMBRA_IQ2_XXS:
    case UMBRA_IQ2_S:
    case UMBRA_IQ3_XXS:
    case UMBRA_IQ3_S:
        return zen4 ? 8 : 0;
    case UMBRA_Q4_0:
        return zen4 ? 4 : 1;
    case UMBRA_Q4_1:
    case UMBRA_Q4_K:
    case UMBRA_IQ4_NL:
    case UMBRA_IQ4_XS:
    case UMBRA_MXFP4:
    case UMBRA_TQ1_0:
        return zen4 ? 4 : 0;
    case UMBRA_TQ2_0:
        return zen4 ? 1 : 0;
    default:
        return 0;
    }
}

#define SET_MATMUL(TYPE, name, halves, offset)                                                     \
    of_avx2[UMBRA_##TYPE] = (avx2_form){                                                           \
        k->matmul[UMBRA_##TYPE], tokens_of_avx2(UMBRA_##TYPE, zen4), zen4 ? SHORT_COLUMNS : 0};    \
    k->matmul[UMBRA_##TYPE] = matmul_##name;

void umbra_kernels_fill_avx512_blocks(umbra_kernels *k, bool zen4)
{
    UMBRA_BLOCK_TYPES(SET_MATMUL)
}
