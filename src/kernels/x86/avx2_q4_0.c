/* Products of Q4_0 with up to four tokens for AVX2, in the order of sums that AVX-512 has
 * (avx512_sums.h). Rows lie in the lanes. Weights stay bytes, 0 to 15 with a bias of 8; activations
 * are split into two planes of bytes, and what the bias adds, a number of the activations, is taken
 * off. More tokens pass over panels (avx2_panel.h). */
#include "kernels/x86/avx2_sums.h"

enum {
    BLOCK_BYTES = UMBRA_Q4_0_BYTES,
    BIAS = 8,
    HALF_BYTES = 16, /* of a part's bytes, and of all its nibbles */
    FEW_TOKENS = UMBRA_AVX2_FEW_Q4_0,
    FEW_PARTS = 128, /* whose activations are split at once */
    SPREAD_PARTS = 32,
};

/* Up to 8 rows from part `part` on; the last one stands for those that are none. */
UMBRA_INLINE lane_units find_blocks(const umbra_matmul *m, int row, int row_end, size_t part)
{
    lane_units b;
    for (int r = 0; r < LANE_ROWS; r++) {
        b.at[r] = umbra_weight_row(m, umbra_min_int(row + r, row_end - 1)) + part * BLOCK_BYTES;
    }
    return b;
}

UMBRA_INLINE __m256 add_dot(__m256 sum, __m256 scale, float of_x, __m256i dot)
{
    return _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(of_x)), _mm256_cvtepi32_ps(dot),
                           sum);
}

/* Columns of a token as two planes of bytes, 256 times the first, which is signed, and the second.
 * Of two parts each, first the front halves, then the others. */
typedef struct few_token {
    uint8_t high[FEW_PARTS / 2][2][2][HALF_BYTES], low[FEW_PARTS / 2][2][2][HALF_BYTES];
    int32_t excess[FEW_PARTS][4]; /* four times what the bias adds to the products of a part */
    float scale[FEW_PARTS][4];    /* four times */
} few_token;

UMBRA_INLINE __m128i sum_integers(__m256i v)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1));
}

/* 32 bytes of two registers, whose instruction packed each quarter. */
UMBRA_INLINE void store_plane(uint8_t to[2][2][HALF_BYTES], int p, __m256i packed)
{
    packed = _mm256_permute4x64_epi64(packed, 0xd8);
    _mm_storeu_si128((__m128i *)(void *)to[0][p % 2], _mm256_castsi256_si128(packed));
    _mm_storeu_si128((__m128i *)(void *)to[1][p % 2], _mm256_extracti128_si256(packed, 1));
}

UMBRA_INLINE void split_part(few_token *to, int p, const int16_t *q, float scale)
{
    const __m256i byte = _mm256_set1_epi16(255), bias = _mm256_set1_epi16(BIAS);
    __m256i a = load_32((const uint8_t *)q);
    __m256i b = load_32((const uint8_t *)(q + UMBRA_HALF_PART));
    store_plane(to->low[p / 2], p,
                _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte)));
    store_plane(to->high[p / 2], p,
                _mm256_packs_epi16(_mm256_srai_epi16(a, 8), _mm256_srai_epi16(b, 8)));
    __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(a, bias), _mm256_madd_epi16(b, bias));
    _mm_storeu_si128((__m128i *)(void *)to->excess[p], sum_integers(sum));
    _mm_storeu_ps(to->scale[p], _mm_set1_ps(scale));
}

UMBRA_INLINE void split_token(few_token *to, const umbra_matmul *m, int token, size_t part,
                              int parts)
{
    size_t from = umbra_token_row(m, token) * ((size_t)m->x->columns / UMBRA_Q16_BLOCK) + part;
    for (int p = 0; p < parts; p++, from++) {
        split_part(to, p, m->x->q + from * UMBRA_Q16_BLOCK, m->x->scale[from]);
    }
}

/* The products of a part's lanes with a token. At most 8 pairs of high bytes times 15 join in 16
 * bits, of low ones 4. */
typedef struct few_dot {
    __m256i front, back, high;
} few_dot;

/* Written as the instructions: compilers keep more of them open than there are registers. */
UMBRA_INLINE __m256i add_bytes(__m256i sum, __m256i positive, __m256i other)
{
    __m256i pairs;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
            : "+x"(sum), "=&x"(pairs)
            : "x"(positive), "xm"(other));
    return sum;
}

/* Four columns of either half of the part; `begin`: the first ones. */
UMBRA_INLINE void add_columns(few_dot *to, const __m256i w[2], const __m256i low[2],
                              const __m256i high[2], const bool begin)
{
    if (begin) {
        to->front = _mm256_maddubs_epi16(low[0], w[0]);
        to->high = _mm256_maddubs_epi16(w[0], high[0]);
        to->back = _mm256_maddubs_epi16(low[1], w[1]);
    } else {
        to->front = add_bytes(to->front, low[0], w[0]);
        to->high = add_bytes(to->high, w[0], high[0]);
        to->back = add_bytes(to->back, low[1], w[1]);
    }
    to->high = add_bytes(to->high, w[1], high[1]);
}

UMBRA_INLINE __m256i join_planes(const few_dot *d, __m256i excess)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i low =
        _mm256_add_epi32(_mm256_madd_epi16(d->front, one), _mm256_madd_epi16(d->back, one));
    __m256i high = _mm256_madd_epi16(d->high, _mm256_set1_epi16(256));
    return _mm256_add_epi32(low, _mm256_sub_epi32(high, excess));
}

UMBRA_INLINE void split_nibbles(__m256i w[2], __m256i both)
{
    w[0] = _mm256_and_si256(both, _mm256_set1_epi8(15));
    w[1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
}

/* Columns 4 i to 4 i + 3 of two parts' halves, each for four lanes. */
UMBRA_INLINE __m256i spread_columns(const uint8_t half[2][HALF_BYTES], int i)
{
    __m256 both = _mm256_castsi256_ps(load_32(half[0]));
    return _mm256_castps_si256(_mm256_permutevar_ps(both, _mm256_set1_epi32(i)));
}

/* All of a token, which saves doing it for each strip of rows, where the first-level cache has
 * room for it beside what is read ahead. */
typedef struct spread_token {
    __m256i high[SPREAD_PARTS / 2][2][4], low[SPREAD_PARTS / 2][2][4];
} spread_token;

static void spread_token_columns(spread_token *to, const few_token *x, int parts)
{
    for (int p = 0; p < parts; p += 2) {
        UMBRA_UNROLL(8)
        for (int i = 0; i < 8; i++) {
            to->high[p / 2][i / 4][i % 4] = spread_columns(x->high[p / 2][i / 4], i % 4);
            to->low[p / 2][i / 4][i % 4] = spread_columns(x->low[p / 2][i / 4], i % 4);
        }
    }
}

/* Two parts of four rows, or one if step is 0, times a token: the lanes are the rows of the first
 * part, then those of the other. */
UMBRA_INLINE __m128 add_two_parts(__m128 sum, const lane_units *rows, const few_token *x,
                                  const spread_token *columns, int p, const int step)
{
    int from = p * BLOCK_BYTES;
    lane_units b;
    few_dot dot;
    __m256i v[4];
    UMBRA_UNROLL(4)
    for (int r = 0; r < 4; r++) {
        b.at[r] = rows->at[r];
        b.at[r + 4] = rows->at[r] + step;
    }
    turn_bytes(v, &b, from + 2);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m256i w[2], low[2], high[2];
        split_nibbles(w, v[i]);
        UMBRA_UNROLL(2)
        for (int h = 0; h < 2; h++) {
            low[h] = columns ? columns->low[p / 2][h][i] : spread_columns(x->low[p / 2][h], i);
            high[h] = columns ? columns->high[p / 2][h][i] : spread_columns(x->high[p / 2][h], i);
        }
        add_columns(&dot, w, low, high, i == 0);
    }
    __m256 of = _mm256_cvtepi32_ps(join_planes(&dot, load_32((const uint8_t *)x->excess[p])));
    __m256 scale = _mm256_mul_ps(load_lane_halves(&b, from), _mm256_loadu_ps(x->scale[p]));
    sum = _mm_fmadd_ps(_mm256_castps256_ps128(scale), _mm256_castps256_ps128(of), sum);
    if (step) {
        sum = _mm_fmadd_ps(_mm256_extractf128_ps(scale, 1), _mm256_extractf128_ps(of, 1), sum);
    }
    return sum;
}

/* Asks for the bytes that come behind `rows` rows and lie as far into them as [p, p + bytes) into
 * these. Beyond the matrix's end that is only a hint wasted. */
UMBRA_INLINE void prefetch_rows(const umbra_matmul *m, const uint8_t *p, const int rows,
                                const int bytes)
{
    uint64_t strip = (uint64_t)rows * m->row_bytes;
    uintptr_t ahead = (uintptr_t)p + (strip > UMBRA_PREFETCH_BYTES ? strip : UMBRA_PREFETCH_BYTES);
    for (int at = 0; at < bytes; at += UMBRA_CACHE_LINE) {
        __builtin_prefetch((const void *)(ahead + (uintptr_t)at));
    }
}

/* Four rows times one token: what is read ahead has to be near, or it does not last in the cache.
 */
UMBRA_INLINE void one_strip(const umbra_matmul *m, int row, int row_end, const few_token *x,
                            const spread_token *columns, size_t part, int parts)
{
    lane_units rows = find_blocks(m, row, row_end, part);
    int count = umbra_min_int(4, row_end - row), p = 0;
    float *out = umbra_output(m, 0, row);
    const uint8_t *ahead = umbra_weight_row(m, row) + 4 * part * BLOCK_BYTES;
    __m128 sum = part ? _mm256_castps256_ps128(load_sums(out, count)) : _mm_setzero_ps();
    for (; p + 2 <= parts; p += 2, ahead += 8 * BLOCK_BYTES) {
        prefetch_rows(m, ahead, 4, 8 * BLOCK_BYTES);
        sum = add_two_parts(sum, &rows, x, columns, p, BLOCK_BYTES);
    }
    if (p < parts) {
        sum = add_two_parts(sum, &rows, x, columns, p, 0);
    }
    store_sums(out, _mm256_zextps128_ps256(sum), count);
}

UMBRA_INLINE void one_token(const umbra_matmul *m, int row_begin, int row_end, const few_token *x,
                            size_t part, int parts)
{
    spread_token columns;
    if (parts > SPREAD_PARTS) {
        for (int row = row_begin; row < row_end; row += 4) {
            one_strip(m, row, row_end, x, NULL, part, parts);
        }
        return;
    }
    spread_token_columns(&columns, x, parts);
    for (int row = row_begin; row < row_end; row += 4) {
        one_strip(m, row, row_end, x, &columns, part, parts);
    }
}

UMBRA_INLINE __m256i broadcast_4(const uint8_t *p)
{
    return _mm256_set1_epi32((int)umbra_load_u32(p));
}

/* A part of 8 rows times some tokens. */
UMBRA_INLINE void add_few(__m256 *sum, const lane_units *rows, const few_token *x, int p,
                          const int tokens)
{
    __m256i v[4];
    few_dot dot[FEW_TOKENS];
    turn_bytes(v, rows, p * BLOCK_BYTES + 2);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m256i w[2];
        split_nibbles(w, v[i]);
        UMBRA_UNROLL(4)
        for (int t = 0; t < tokens; t++) {
            const uint8_t *l = x[t].low[p / 2][0][p % 2] + 4 * i;
            const uint8_t *h = x[t].high[p / 2][0][p % 2] + 4 * i;
            __m256i low[2] = {broadcast_4(l), broadcast_4(l + 2 * HALF_BYTES)};
            __m256i high[2] = {broadcast_4(h), broadcast_4(h + 2 * HALF_BYTES)};
            add_columns(dot + t, w, low, high, i == 0);
        }
    }
    __m256 scale = load_lane_halves(rows, p * BLOCK_BYTES);
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        __m256i of = join_planes(dot + t, _mm256_set1_epi32(x[t].excess[p][0]));
        sum[t] = add_dot(sum[t], scale, x[t].scale[p][0], of);
    }
}

UMBRA_INLINE void few_strip(const umbra_matmul *m, int row, int row_end, const few_token *x,
                            size_t part, int parts, const int tokens)
{
    lane_units rows = find_blocks(m, row, row_end, part);
    const uint8_t *ahead = umbra_weight_row(m, row) + LANE_ROWS * part * BLOCK_BYTES;
    __m256 sum[FEW_TOKENS];
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        sum[t] = part ? load_sums(umbra_output(m, t, row), row_end - row) : _mm256_setzero_ps();
    }
    for (int p = 0; p < parts; p++, ahead += LANE_ROWS * BLOCK_BYTES) {
        prefetch_rows(m, ahead, LANE_ROWS, LANE_ROWS * BLOCK_BYTES);
        add_few(sum, &rows, x, p, tokens);
    }
    UMBRA_UNROLL(4)
    for (int t = 0; t < tokens; t++) {
        store_sums(umbra_output(m, t, row), sum[t], row_end - row);
    }
}

UMBRA_INLINE void matmul_few(const umbra_matmul *m, int row_begin, int row_end, const int tokens)
{
    size_t all = (size_t)m->x->columns / UMBRA_Q16_BLOCK;
    for (size_t part = 0; part < all; part += FEW_PARTS) {
        int parts = all - part < FEW_PARTS ? (int)(all - part) : FEW_PARTS;
        few_token x[FEW_TOKENS];
        for (int t = 0; t < tokens; t++) {
            split_token(x + t, m, t, part, parts);
        }
        if (tokens == 1) {
            one_token(m, row_begin, row_end, x, part, parts);
            continue;
        }
        for (int row = row_begin; row < row_end; row += LANE_ROWS) {
            few_strip(m, row, row_end, x, part, parts, tokens);
        }
    }
}

#define DEFINE_TOKENS(n)                                                                           \
    static void matmul_##n(const umbra_matmul *m, int row_begin, int row_end)                      \
    {                                                                                              \
        matmul_few(m, row_begin, row_end, n);                                                      \
    }
DEFINE_TOKENS(1)
DEFINE_TOKENS(2)
DEFINE_TOKENS(3)
DEFINE_TOKENS(4)

void umbra_avx2_matmul_q4_0(const umbra_matmul *m, int row_begin, int row_end)
{
    static const umbra_matmul_fn few[FEW_TOKENS + 1] = {NULL, matmul_1, matmul_2, matmul_3,
                                                        matmul_4};
    if (m->tokens > FEW_TOKENS) {
        umbra_avx2_matmul_panels(m, row_begin, row_end, UMBRA_Q4_0);
    } else if (m->tokens > 0) {
        few[m->tokens](m, row_begin, row_end);
    }
}
