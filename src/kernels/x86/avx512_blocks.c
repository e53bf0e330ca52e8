/* Products of quantised weights with activations for AVX-512 with VNNI, whose dot product takes
 * pairs of 16-bit integers and adds exactly in 32 bits.
 *
 * The value of a (row, token) pair is defined once, and computed in two ways that give the same
 * bits. Part p of 32 columns has an exact integer dot product, or one for each half where a scale
 * holds for 16 values. It is scaled and joins sum p mod 8, one part after the other, then the
 * part's offset does; at the end the eight sums are added in a fixed order.
 *
 *  - Few tokens: eight parts of a row at a time; the dot products of eight parts are gathered into
 *    one register by a tree of additions, so that scaling is done for eight at once.
 *  - Many tokens: a panel of 16 rows and eight parts is unpacked and turned once, rows in the lanes
 *    of a register and columns two by two behind each other, and all tokens pass over it. An
 *    instruction then multiplies 16 rows by two columns of a token, and a lane has its sum by
 *    itself.
 *
 * Nothing is stored under a mask that is read soon after: processors do not forward such stores. */
#include "kernels/x86/avx512_panel.h"
#include "kernels/x86/avx512_stream.h"

enum { PANEL_LEAST_TOKENS = 4 /* fewer do not repay the turning */ };

/* Rows that do not fill a panel, or tokens that do not repay one. */
static void stream_tokens(const umbra_matmul *m, int row, int row_end, int token, int tokens,
                          const block_type *type)
{
    for (; tokens >= 3; token += 3, tokens -= 3) {
        stream_rows(m, row, row_end, token, 3, type);
    }
    if (tokens == 2) {
        stream_rows(m, row, row_end, token, 2, type);
    } else if (tokens == 1) {
        stream_rows(m, row, row_end, token, 1, type);
    }
}

static void matmul_blocks(const umbra_matmul *m, int row_begin, int row_end, const block_type *type)
{
    int row = row_begin;
    for (; m->tokens >= PANEL_LEAST_TOKENS && row + PANEL_ROWS <= row_end; row += PANEL_ROWS) {
        for (int t = 0; t < m->tokens; t += PANEL_TOKENS) {
            panel_block(m, row, t, umbra_min_int(PANEL_TOKENS, m->tokens - t), type);
        }
    }
    int step = umbra_row_block(m, STREAM_ROWS);
    for (; row < row_end; row += step) {
        stream_tokens(m, row, umbra_min_int(row_end, row + step), 0, m->tokens, type);
    }
}

#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const unit_type unit_##name = {                                                         \
        .load_scales = scales_##name,                                                              \
        .load_part = part_##name,                                                                  \
        .bytes = UMBRA_##TYPE##_BYTES * blocks,                                                    \
        .parts = UMBRA_##TYPE##_PARTS * blocks,                                                    \
        .block = UMBRA_##TYPE##_PARTS,                                                             \
        .group = parts_at_once,                                                                    \
        .offset = has_offset,                                                                      \
        .halves = has_halves,                                                                      \
        .sub = UMBRA_##TYPE == UMBRA_Q3_K || UMBRA_##TYPE == UMBRA_Q6_K,                           \
    };                                                                                             \
    static size_t unpack_##name(octet *to, const uint8_t *w, int n)                                \
    {                                                                                              \
        return unpack_octet(to, w, n, &unit_##name);                                               \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const block_type type = {                                                           \
            .unpack = unpack_##name,                                                               \
            .octet_bytes = UMBRA_##TYPE##_BYTES * OCTET / UMBRA_##TYPE##_PARTS,                    \
            .offset = has_offset,                                                                  \
            .halves = has_halves || UMBRA_##TYPE == UMBRA_Q3_K || UMBRA_##TYPE == UMBRA_Q6_K,      \
        };                                                                                         \
        matmul_blocks(m, row_begin, row_end, &type);                                               \
    }
UMBRA_BLOCK_UNITS(DEFINE_TYPE)
#define SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##name;

/* Q2_K stays AVX2's: the minima of its halves are multiplied with sums that activations do not
 * carry. */
void umbra_kernels_fill_avx512_blocks(umbra_kernels *k)
{
    umbra_matmul_fn q2_k = k->matmul[UMBRA_Q2_K];
    UMBRA_BLOCK_TYPES(SET_MATMUL)
    k->matmul[UMBRA_Q2_K] = q2_k;
}
