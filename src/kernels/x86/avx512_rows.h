/* Sixteen rows of quantised weights, which lie in the lanes of registers, for AVX-512 and AMX: a
 * unit of 256 values at a time, that is eight parts. All products of these tables have one order
 * of sums: a row and a token have one float sum, to which the parts are added in turn; the integer
 * sum over a part, or over each of its halves, is exact. So it is of no matter in which way the
 * integers are summed. */
#ifndef UMBRA_KERNELS_X86_AVX512_ROWS_H
#define UMBRA_KERNELS_X86_AVX512_ROWS_H

#include "kernels/x86/avx2_grid_rows.h"
#include "kernels/x86/avx512_turn.h"

enum {
    LANE_ROWS = 16, /* lanes of a register */
    PARTS = UMBRA_PARTS_MAX,
    LINE = 64, /* bytes of a register */
    PART_BYTES = UMBRA_Q16_BLOCK,
    UNIT_BYTES_MAX = PARTS * UMBRA_Q8_0_BYTES,
};

/* A unit of each row; rows beyond the last repeat it. */
typedef struct unit_rows {
    const uint8_t *at[LANE_ROWS];
} unit_rows;

/* By part or by half of a part, for each row. */
typedef float row_numbers[2 * PARTS][LANE_ROWS];

typedef struct unit_numbers {
    _Alignas(LINE) row_numbers scale, offset;
    unit_signs row[LANE_ROWS];
} unit_numbers;

typedef struct row_type {
    void (*load_numbers)(unit_numbers *out, const unit_rows *rows);
    /* Parts `first` + `p` and the next of a row's unit as bytes, to each of which `bias` is added;
     * p is even, known at compile time and below `group`, first is not. */
    __m512i (*load_pair)(const uint8_t *unit, const unit_signs *s, int first, int p);
    int bytes; /* of a unit */
    int group; /* parts that are unpacked together */
    int bias;
    bool wide; /* weights that may be any signed byte; in others byte and bias are at most 127 */
    bool offset, halves;
} row_type;

/* Room for what is left of rows that do not end with a unit. */
typedef uint8_t unit_tail[LANE_ROWS][UNIT_BYTES_MAX];

/* Copies the units that end beyond `end`, behind which nothing may be read. */
UMBRA_INLINE void copy_tails(unit_rows *to, unit_tail tail, const uint8_t *end, int bytes)
{
    for (int r = 0; r < LANE_ROWS; r++) {
        size_t there = (size_t)(end - to->at[r]);
        if (there < (size_t)bytes) {
            memset(tail[r], 0, (size_t)bytes);
            memcpy(tail[r], to->at[r], there);
            to->at[r] = tail[r];
        }
    }
}

/* The unit that begins with part `part` of the first 16 of `rows` rows. Behind a row's end lies
 * what is of no meaning, the next row or zeros. */
UMBRA_INLINE void find_unit(unit_rows *to, unit_tail tail, const umbra_matmul *m, int row, int rows,
                            size_t part, const row_type *type)
{
    const uint8_t *from = umbra_weight_row(m, row) + part / PARTS * (size_t)type->bytes;
    for (int r = 0; r < LANE_ROWS; r++) {
        to->at[r] = from + (uint64_t)umbra_min_int(r, rows - 1) * m->row_bytes;
    }
    if ((size_t)m->x->columns / UMBRA_Q16_BLOCK - part < PARTS) {
        copy_tails(to, tail, umbra_weight_row(m, row + rows), type->bytes);
    }
}

/* Four bytes of each row's unit: one by one, since some processors gather slowly. */
UMBRA_INLINE __m512i load_words(const unit_rows *rows, int at)
{
    int32_t w[LANE_ROWS];
    UMBRA_UNROLL(16)
    for (int r = 0; r < LANE_ROWS; r++) {
        w[r] = (int32_t)umbra_load_u32(rows->at[r] + at);
    }
    return _mm512_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10],
                             w[11], w[12], w[13], w[14], w[15]);
}

UMBRA_INLINE __m512 load_sums(const float *from, int rows)
{
    float all[LANE_ROWS] = {0};
    if (rows >= LANE_ROWS) {
        return _mm512_loadu_ps(from);
    }
    memcpy(all, from, (size_t)rows * sizeof *from);
    return _mm512_loadu_ps(all);
}

UMBRA_INLINE void store_sums(float *to, __m512 sums, int rows)
{
    float all[LANE_ROWS];
    if (rows >= LANE_ROWS) {
        _mm512_storeu_ps(to, sums);
        return;
    }
    _mm512_storeu_ps(all, sums);
    memcpy(to, all, (size_t)rows * sizeof *to);
}

/* a, or bits of b where the mask has some and a none. */
UMBRA_INLINE __m512i merge_bits(__m512i a, __m512i b, __m512i mask)
{
    return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}

/* 16 bytes of each row as four columns of 32 bits. */
UMBRA_INLINE void turn_bytes(__m512i out[4], const uint8_t *const rows[LANE_ROWS], int at)
{
    __m512i four[4];
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m512i v = _mm512_castsi128_si512(load_16(rows[i] + at));
        v = _mm512_inserti32x4(v, load_16(rows[4 + i] + at), 1);
        v = _mm512_inserti32x4(v, load_16(rows[8 + i] + at), 2);
        four[i] = _mm512_inserti32x4(v, load_16(rows[12 + i] + at), 3);
    }
    __m512i low = _mm512_unpacklo_epi32(four[0], four[1]);
    __m512i high = _mm512_unpackhi_epi32(four[0], four[1]);
    __m512i low_behind = _mm512_unpacklo_epi32(four[2], four[3]);
    __m512i high_behind = _mm512_unpackhi_epi32(four[2], four[3]);
    out[0] = _mm512_unpacklo_epi64(low, low_behind);
    out[1] = _mm512_unpackhi_epi64(low, low_behind);
    out[2] = _mm512_unpacklo_epi64(high, high_behind);
    out[3] = _mm512_unpackhi_epi64(high, high_behind);
}

/* The f16 numbers in the low halves of the lanes. */
UMBRA_INLINE __m512 widen_halves(__m512i lanes)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(lanes));
}

/* The f16 number at the end of a unit of so many bytes. */
UMBRA_INLINE __m512 load_last_half(const unit_rows *rows, int bytes)
{
    return widen_halves(_mm512_srli_epi32(load_words(rows, bytes - 4), 16));
}

/* Byte i of each lane, unsigned. */
UMBRA_INLINE __m512i pick_byte(__m512i lanes, int i)
{
    return _mm512_and_si512(_mm512_srli_epi32(lanes, (unsigned)(8 * i)), _mm512_set1_epi32(255));
}

UMBRA_INLINE void store_scaled(float *to, __m512i integers, __m512 number)
{
    _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_cvtepi32_ps(integers), number));
}

#define UMBRA_NUMBERS(name) UMBRA_INLINE void numbers_##name(unit_numbers *n, const unit_rows *rows)

/* Blocks of 32 values with an f16 scale, and with an f16 offset behind it. */
UMBRA_INLINE void load_block_numbers(unit_numbers *n, const unit_rows *rows, int bytes,
                                     const bool offset)
{
    for (int p = 0; p < PARTS; p++) {
        __m512i both = load_words(rows, p * bytes);
        _mm512_storeu_ps(n->scale[p], widen_halves(both));
        if (offset) {
            _mm512_storeu_ps(n->offset[p], widen_halves(_mm512_srli_epi32(both, 16)));
        }
    }
}

#define BLOCK_NUMBERS(name, BYTES, offset)                                                         \
    UMBRA_NUMBERS(name)                                                                            \
    {                                                                                              \
        load_block_numbers(n, rows, BYTES, offset);                                                \
    }
BLOCK_NUMBERS(q8_0, UMBRA_Q8_0_BYTES, false)
BLOCK_NUMBERS(q4_0, UMBRA_Q4_0_BYTES, false)
BLOCK_NUMBERS(q4_1, UMBRA_Q4_1_BYTES, true)
BLOCK_NUMBERS(q5_0, UMBRA_Q5_0_BYTES, false)
BLOCK_NUMBERS(q5_1, UMBRA_Q5_1_BYTES, true)
BLOCK_NUMBERS(iq4_nl, UMBRA_IQ4_NL_BYTES, false)

/* As umbra_mxfp4_scale. */
UMBRA_NUMBERS(mxfp4)
{
    for (int p = 0; p < PARTS; p++) {
        __m512i e = pick_byte(load_words(rows, p * UMBRA_MXFP4_BYTES), 0);
        __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        __mmask16 tiny = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
        bits = _mm512_mask_sllv_epi32(bits, tiny, _mm512_set1_epi32(0x00200000), e);
        _mm512_storeu_si512(n->scale[p], bits);
    }
}

/* As umbra_nvfp4_scale: shifted by 7, a byte is an f16 whose exponent is 8 too small. */
UMBRA_NUMBERS(nvfp4)
{
    const __m512i largest = _mm512_set1_epi32(0x7f);
    UMBRA_UNROLL(16)
    for (int i = 0; i < 2 * PARTS; i++) {
        __m512i four = load_words(rows, i / 4 * UMBRA_NVFP4_BYTES);
        __m512i byte = pick_byte(four, i % 4);
        __mmask16 numbers = _mm512_cmpneq_epi32_mask(byte, largest);
        byte = _mm512_and_si512(byte, largest);
        __m512 scale = widen_halves(_mm512_maskz_slli_epi32(numbers, byte, 7));
        _mm512_storeu_ps(n->scale[i], _mm512_mul_ps(scale, _mm512_set1_ps(128)));
    }
}

/* As umbra_unpack_six_bits. */
UMBRA_NUMBERS(six_bits)
{
    const __m512i six = _mm512_set1_epi8(0x3f), four = _mm512_set1_epi8(0x0f);
    const __m512i two = _mm512_set1_epi8(0x30);
    __m512i of[4];
    turn_bytes(of, rows->at, 0);
    __m512i scales[2], minima[2];
    scales[0] = _mm512_and_si512(of[1], six);
    minima[0] = _mm512_and_si512(of[2], six);
    scales[1] = merge_bits(_mm512_and_si512(of[3], four), _mm512_srli_epi32(of[1], 2), two);
    minima[1] = merge_bits(_mm512_and_si512(_mm512_srli_epi32(of[3], 4), four),
                           _mm512_srli_epi32(of[2], 2), two);
    __m512 scale = widen_halves(of[0]), minimum = widen_halves(_mm512_srli_epi32(of[0], 16));
    minimum = _mm512_mul_ps(minimum, _mm512_set1_ps(-1));
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        store_scaled(n->scale[p], pick_byte(scales[p / 4], p % 4), scale);
        store_scaled(n->offset[p], pick_byte(minima[p / 4], p % 4), minimum);
    }
}

#define numbers_q4_k numbers_six_bits
#define numbers_q5_k numbers_six_bits

UMBRA_NUMBERS(q2_k)
{
    __m512i of[4];
    turn_bytes(of, rows->at, 0);
    __m512i numbers = load_words(rows, 80);
    __m512 scale = widen_halves(numbers), minimum = widen_halves(_mm512_srli_epi32(numbers, 16));
    minimum = _mm512_mul_ps(minimum, _mm512_set1_ps(-1));
    UMBRA_UNROLL(16)
    for (int i = 0; i < 2 * PARTS; i++) {
        __m512i both = pick_byte(of[i / 4], i % 4);
        store_scaled(n->scale[i], _mm512_and_si512(both, _mm512_set1_epi32(15)), scale);
        store_scaled(n->offset[i], _mm512_srli_epi32(both, 4), minimum);
    }
}

/* As umbra_unpack_q3_k_scales; of the last 16 bytes of a block the first two are values. */
UMBRA_NUMBERS(q3_k)
{
    const __m512i four = _mm512_set1_epi8(0x0f), two = _mm512_set1_epi8(0x30);
    __m512i of[4], word[3];
    turn_bytes(of, rows->at, UMBRA_Q3_K_BYTES - 16);
    UMBRA_UNROLL(3)
    for (int i = 0; i < 3; i++) {
        word[i] = _mm512_or_si512(_mm512_srli_epi32(of[i], 16), _mm512_slli_epi32(of[i + 1], 16));
    }
    __m512 scale = widen_halves(_mm512_srli_epi32(of[3], 16));
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m512i low = _mm512_srli_epi32(word[i % 2], (unsigned)(i / 2 * 4)), high = word[2];
        high = i < 2 ? _mm512_slli_epi32(high, (unsigned)(4 - 2 * i))
                     : _mm512_srli_epi32(high, (unsigned)(2 * i - 4));
        __m512i all = merge_bits(_mm512_and_si512(low, four), high, two);
        UMBRA_UNROLL(4)
        for (int j = 0; j < 4; j++) {
            __m512i one = _mm512_sub_epi32(pick_byte(all, j), _mm512_set1_epi32(32));
            store_scaled(n->scale[4 * i + j], one, scale);
        }
    }
}

UMBRA_NUMBERS(q6_k)
{
    __m512i of[4];
    turn_bytes(of, rows->at, 192);
    __m512 scale = load_last_half(rows, UMBRA_Q6_K_BYTES);
    UMBRA_UNROLL(16)
    for (int i = 0; i < 2 * PARTS; i++) {
        __m512i top = _mm512_slli_epi32(of[i / 4], (unsigned)(24 - i % 4 * 8));
        store_scaled(n->scale[i], _mm512_srai_epi32(top, 24), scale);
    }
}

/* As umbra_iq4_xs_scale. */
UMBRA_NUMBERS(iq4_xs)
{
    __m512i of[4];
    turn_bytes(of, rows->at, 0);
    __m512 scale = widen_halves(of[0]);
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        __m512i low = _mm512_srli_epi32(of[1], (unsigned)(4 * p));
        __m512i high = _mm512_srli_epi32(of[0], (unsigned)(12 + 2 * p)); /* from bit 4 on */
        low = _mm512_and_si512(low, _mm512_set1_epi32(15));
        low = merge_bits(low, high, _mm512_set1_epi32(0x30));
        store_scaled(n->scale[p], _mm512_sub_epi32(low, _mm512_set1_epi32(32)), scale);
    }
}

UMBRA_INLINE void fill_numbers(row_numbers to, __m512 number)
{
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        _mm512_storeu_ps(to[p], number);
    }
}

UMBRA_NUMBERS(tq1_0)
{
    fill_numbers(n->scale, load_last_half(rows, UMBRA_TQ1_0_BYTES));
}

UMBRA_NUMBERS(tq2_0)
{
    fill_numbers(n->scale, load_last_half(rows, UMBRA_TQ2_0_BYTES));
}

/* load_pair of a type. */
#define PAIR(name)                                                                                 \
    UMBRA_INLINE __m512i pair_##name(const uint8_t *unit, const unit_signs *s, int first, int p)

/* Two parts of each row as load_pair has them. */
UMBRA_INLINE void load_biased(__m512i line[LANE_ROWS], const unit_rows *rows, const unit_numbers *n,
                              int first, const int p, const row_type *type)
{
    UMBRA_UNROLL(16)
    for (int r = 0; r < LANE_ROWS; r++) {
        line[r] = type->load_pair(rows->at[r], &n->row[r], first, p);
    }
}

/* The same as signed bytes. */
UMBRA_INLINE void load_lines(__m512i line[LANE_ROWS], const unit_rows *rows, const unit_numbers *n,
                             int first, const int p, const row_type *type)
{
    load_biased(line, rows, n, first, p, type);
    if (type->bias) {
        UMBRA_UNROLL(16)
        for (int r = 0; r < LANE_ROWS; r++) {
            line[r] = _mm512_sub_epi8(line[r], _mm512_set1_epi8((char)type->bias));
        }
    }
}

#endif
