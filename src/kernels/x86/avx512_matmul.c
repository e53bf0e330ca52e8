/* Products of float weights with activations for AVX-512: the tiles of avx2_matmul.c with twice the
 * lanes. */
#include <cpuid.h>

#include "kernels/x86/avx512.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, LANES = 16, SHORT_COLUMNS = 1024 };

/* Rows of more columns are asked for ahead, too: a Zen 4 gains by it, a Xeon reads them well enough
 * by itself. Written before any table is handed out. */
static bool asks_for_long_rows;

/* Float weights: 16 columns at a time. Lanes beyond the last column are read as zeros. */
typedef __m512 (*load_floats_fn)(const uint8_t *row, size_t column, __mmask16 lanes);

UMBRA_INLINE __m512 load_f32(const uint8_t *row, size_t column, __mmask16 lanes)
{
    return _mm512_maskz_loadu_ps(lanes, row + 4 * column);
}

UMBRA_INLINE __m512 load_f16(const uint8_t *row, size_t column, __mmask16 lanes)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, row + 2 * column));
}

UMBRA_INLINE __m512 load_bf16(const uint8_t *row, size_t column, __mmask16 lanes)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, row + 2 * column));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

UMBRA_INLINE void tile_floats(const umbra_matmul *m, int row, int token, const int rows,
                              const int tokens, load_floats_fn load, const size_t bytes)
{
    size_t columns = (size_t)m->x->columns;
    const uint8_t *w = umbra_weight_row(m, row);
    const bool ahead =
        tokens == 1 && rows == MAX_ROWS && (columns <= SHORT_COLUMNS || asks_for_long_rows);
    const float *x[MAX_TOKENS];
    __m512 sum[MAX_ROWS][MAX_TOKENS];
    for (int t = 0; t < tokens; t++) {
        x[t] = m->x->f32 + umbra_token_row(m, token + t) * columns;
        for (int r = 0; r < rows; r++) {
            sum[r][t] = _mm512_setzero_ps();
        }
    }
    for (size_t c = 0; c < columns; c += LANES) {
        size_t left = columns - c;
        __mmask16 lanes = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
        if (ahead) {
            size_t of_column = (size_t)rows * bytes;
            umbra_prefetch_rows(m, w + c * of_column, rows, LANES * of_column);
        }
        __m512 part[MAX_ROWS];
        for (int r = 0; r < rows; r++) {
            part[r] = load(w + (uint64_t)r * m->row_bytes, c, lanes);
        }
        for (int t = 0; t < tokens; t++) {
            __m512 value = _mm512_maskz_loadu_ps(lanes, x[t] + c);
            for (int r = 0; r < rows; r++) {
                sum[r][t] = _mm512_fmadd_ps(part[r], value, sum[r][t]);
            }
        }
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            umbra_output(m, token + t, row)[r] = umbra_avx512_sum(sum[r][t]);
        }
    }
}

UMBRA_INLINE void strip_floats(const umbra_matmul *m, int row, int row_end, int token,
                               const int tokens, load_floats_fn load, const size_t bytes)
{
    for (; row + MAX_ROWS <= row_end; row += MAX_ROWS) {
        tile_floats(m, row, token, MAX_ROWS, tokens, load, bytes);
    }
    for (; row < row_end; row++) {
        tile_floats(m, row, token, 1, tokens, load, bytes);
    }
}

UMBRA_INLINE void matmul_floats(const umbra_matmul *m, int row_begin, int row_end,
                                load_floats_fn load, const size_t bytes)
{
    int step = umbra_row_block(m, MAX_ROWS);
    for (int row = row_begin; row < row_end; row += step) {
        int end = umbra_min_int(row_end, row + step);
        int t = 0;
        for (; t + 4 <= m->tokens; t += 4) {
            strip_floats(m, row, end, t, 4, load, bytes);
        }
        for (; t < m->tokens; t++) {
            strip_floats(m, row, end, t, 1, load, bytes);
        }
    }
}

static void matmul_f32(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, load_f32, 4);
}

static void matmul_f16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, load_f16, 2);
}

static void matmul_bf16(const umbra_matmul *m, int row_begin, int row_end)
{
    matmul_floats(m, row_begin, row_end, load_bf16, 2);
}

/* By maker and family, which Zen 3 has too. */
static bool is_zen4(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_is("amd") && __get_cpuid(1, &a, &b, &c, &d) &&
           (a >> 8 & 15) + (a >> 20 & 255) == 0x19;
}

void umbra_kernels_fill_avx512(umbra_kernels *k)
{
    asks_for_long_rows = is_zen4();
    k->predict = &umbra_predict_avx512;
    umbra_kernels_fill_avx512_blocks(k, asks_for_long_rows);
    k->recur = umbra_avx512_recur;
    k->attend = umbra_avx512_attend;
    k->matmul[UMBRA_F32] = matmul_f32;
    k->matmul[UMBRA_F16] = matmul_f16;
    k->matmul[UMBRA_BF16] = matmul_bf16;
}
