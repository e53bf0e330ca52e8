/* The scales and offsets of a unit of eight lanes for AVX2, the same floats bit for bit as
 * avx512_rows.h forms for sixteen: numbers_NAME of every type. */
#ifndef UMBRA_KERNELS_X86_AVX2_NUMBERS_H
#define UMBRA_KERNELS_X86_AVX2_NUMBERS_H

#include "kernels/x86/avx2_grid_rows.h"
#include "kernels/x86/avx2_lanes.h"

/* By part or by half of a part, for each lane. */
typedef float lane_numbers[2 * PARTS][LANE_ROWS];

typedef struct unit_numbers {
    _Alignas(32) lane_numbers scale, offset;
    unit_signs row[LANE_ROWS]; /* code books */
} unit_numbers;

/* Numbers of 16 bits of four lanes; in general registers, which nothing else needs here. */
UMBRA_INLINE long long join_halves(const uint8_t *const at[4], int from)
{
    uint64_t front = umbra_load_u16(at[0] + from) | (uint64_t)umbra_load_u16(at[1] + from) << 16;
    uint64_t back = umbra_load_u16(at[2] + from) | (uint64_t)umbra_load_u16(at[3] + from) << 16;
    __asm__("" : "+r"(front), "+r"(back)); /* compilers make vectors of it, one by one */
    return (long long)(front | back << 32);
}

UMBRA_INLINE __m256 load_lane_halves(const lane_units *u, int from)
{
    return _mm256_cvtph_ps(_mm_set_epi64x(join_halves(u->at + 4, from), join_halves(u->at, from)));
}

/* The f16 numbers in the low halves of the lanes, and those in the high ones. */
typedef struct half_pairs {
    __m256 low, high;
} half_pairs;

UMBRA_INLINE half_pairs widen_pairs(__m256i lanes)
{
    __m256i low = _mm256_and_si256(lanes, _mm256_set1_epi32(0xffff));
    __m256i both = _mm256_packus_epi32(low, _mm256_srli_epi32(lanes, 16));
    both = _mm256_permute4x64_epi64(both, 0xd8);
    return (half_pairs){
        .low = _mm256_cvtph_ps(_mm256_castsi256_si128(both)),
        .high = _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1)),
    };
}

/* Byte i of each lane, unsigned. */
UMBRA_INLINE __m256i pick_byte(__m256i lanes, const int i)
{
    if (i == 3) {
        return _mm256_srli_epi32(lanes, 24);
    }
    __m256i moved = i ? _mm256_srli_epi32(lanes, 8 * i) : lanes;
    return _mm256_and_si256(moved, _mm256_set1_epi32(255));
}

/* a, or bits of b where the mask has some and a none. */
UMBRA_INLINE __m256i merge_bits(__m256i a, __m256i b, __m256i mask)
{
    return _mm256_or_si256(a, _mm256_and_si256(b, mask));
}

UMBRA_INLINE void store_lane_scaled(float *to, __m256i integers, __m256 number)
{
    _mm256_store_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(integers), number));
}

/* `parts` of them, which are fewer than a unit has where a row of short blocks ends. */
#define UMBRA_NUMBERS(name)                                                                        \
    UMBRA_INLINE void numbers_##name(unit_numbers *n, const lane_units *units, int parts)

/* Of part p alone, where a block is a part. */
#define UMBRA_PART_NUMBERS(name)                                                                   \
    UMBRA_INLINE void part_numbers_##name(unit_numbers *n, const lane_units *units, int p)
#define EACH_PART(name)                                                                            \
    UMBRA_NUMBERS(name)                                                                            \
    {                                                                                              \
        for (int p = 0; p < parts; p++) {                                                          \
            part_numbers_##name(n, units, p);                                                      \
        }                                                                                          \
    }

/* Blocks of 32 values with an f16 scale, and with an f16 offset behind it. */
UMBRA_INLINE void load_block_numbers(unit_numbers *n, const lane_units *units, int p,
                                     const int bytes, const bool offset)
{
    if (!offset) {
        _mm256_store_ps(n->scale[p], load_lane_halves(units, p * bytes));
        return;
    }
    half_pairs both = widen_pairs(load_words(units, p * bytes));
    _mm256_store_ps(n->scale[p], both.low);
    _mm256_store_ps(n->offset[p], both.high);
}

#define BLOCK_NUMBERS(name, BYTES, offset)                                                         \
    UMBRA_PART_NUMBERS(name)                                                                       \
    {                                                                                              \
        load_block_numbers(n, units, p, BYTES, offset);                                            \
    }                                                                                              \
    EACH_PART(name)
BLOCK_NUMBERS(q8_0, UMBRA_Q8_0_BYTES, false)
BLOCK_NUMBERS(q4_0, UMBRA_Q4_0_BYTES, false)
BLOCK_NUMBERS(q4_1, UMBRA_Q4_1_BYTES, true)
BLOCK_NUMBERS(q5_0, UMBRA_Q5_0_BYTES, false)
BLOCK_NUMBERS(q5_1, UMBRA_Q5_1_BYTES, true)
BLOCK_NUMBERS(iq4_nl, UMBRA_IQ4_NL_BYTES, false)

/* A byte of each of four lanes. */
UMBRA_INLINE uint64_t join_bytes(const uint8_t *const at[4], int from)
{
    return at[0][from] | (uint64_t)at[1][from] << 8 | (uint64_t)at[2][from] << 16 |
           (uint64_t)at[3][from] << 24;
}

/* As umbra_mxfp4_scale. */
UMBRA_PART_NUMBERS(mxfp4)
{
    int from = p * UMBRA_MXFP4_BYTES;
    uint64_t all = join_bytes(units->at, from) | join_bytes(units->at + 4, from) << 32;
    __asm__("" : "+r"(all));
    __m256i e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)all));
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i is_tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    __m256i bits = _mm256_blendv_epi8(normal, tiny, is_tiny);
    _mm256_store_ps(n->scale[p], _mm256_castsi256_ps(bits));
}
EACH_PART(mxfp4)

/* As umbra_nvfp4_scale: shifted by 7, a byte is an f16 whose exponent is 8 too small. */
UMBRA_NUMBERS(nvfp4)
{
    const __m256i largest = _mm256_set1_epi8(0x7f), times = _mm256_set1_epi32(0x00ff00ff);
    for (int i = 0; i < 2 * parts; i += 4) {
        __m256i bytes = load_words(units, i / 4 * UMBRA_NVFP4_BYTES);
        __m256i none = _mm256_cmpeq_epi8(bytes, largest);
        bytes = _mm256_andnot_si256(none, _mm256_and_si256(bytes, largest));
        half_pairs even = widen_pairs(_mm256_slli_epi16(_mm256_and_si256(bytes, times), 7));
        half_pairs odd = widen_pairs(_mm256_slli_epi16(_mm256_srli_epi16(bytes, 8), 7));
        const __m256 scale = _mm256_set1_ps(128);
        _mm256_store_ps(n->scale[i], _mm256_mul_ps(even.low, scale));
        _mm256_store_ps(n->scale[i + 1], _mm256_mul_ps(odd.low, scale));
        _mm256_store_ps(n->scale[i + 2], _mm256_mul_ps(even.high, scale));
        _mm256_store_ps(n->scale[i + 3], _mm256_mul_ps(odd.high, scale));
    }
}

UMBRA_INLINE __m256 negate(__m256 v)
{
    return _mm256_mul_ps(v, _mm256_set1_ps(-1));
}

/* As umbra_unpack_six_bits. */
UMBRA_NUMBERS(six_bits)
{
    (void)parts;
    const __m256i six = _mm256_set1_epi8(0x3f), four = _mm256_set1_epi8(0x0f);
    const __m256i two = _mm256_set1_epi8(0x30);
    __m256i of[4], scales[2], minima[2];
    turn_bytes(of, units, 0);
    scales[0] = _mm256_and_si256(of[1], six);
    minima[0] = _mm256_and_si256(of[2], six);
    scales[1] = merge_bits(_mm256_and_si256(of[3], four), _mm256_srli_epi32(of[1], 2), two);
    minima[1] = merge_bits(_mm256_and_si256(_mm256_srli_epi32(of[3], 4), four),
                           _mm256_srli_epi32(of[2], 2), two);
    half_pairs number = widen_pairs(of[0]);
    number.high = negate(number.high);
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        store_lane_scaled(n->scale[p], pick_byte(scales[p / 4], p % 4), number.low);
        store_lane_scaled(n->offset[p], pick_byte(minima[p / 4], p % 4), number.high);
    }
}

#define numbers_q4_k numbers_six_bits
#define numbers_q5_k numbers_six_bits

UMBRA_NUMBERS(q2_k)
{
    (void)parts;
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i of[4];
    turn_bytes(of, units, 0);
    half_pairs number = widen_pairs(load_words(units, 80));
    number.high = negate(number.high);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m256i scales = _mm256_and_si256(of[i], mask);
        __m256i minima = _mm256_and_si256(_mm256_srli_epi32(of[i], 4), mask);
        UMBRA_UNROLL(4)
        for (int j = 0; j < 4; j++) {
            store_lane_scaled(n->scale[4 * i + j], pick_byte(scales, j), number.low);
            store_lane_scaled(n->offset[4 * i + j], pick_byte(minima, j), number.high);
        }
    }
}

/* As umbra_unpack_q3_k_scales; of the last 16 bytes of a block the first two are values. */
UMBRA_NUMBERS(q3_k)
{
    (void)parts;
    const __m256i four = _mm256_set1_epi8(0x0f), two = _mm256_set1_epi8(0x30);
    __m256i of[4], word[3];
    turn_bytes(of, units, UMBRA_Q3_K_BYTES - 16);
    UMBRA_UNROLL(3)
    for (int i = 0; i < 3; i++) {
        word[i] = _mm256_or_si256(_mm256_srli_epi32(of[i], 16), _mm256_slli_epi32(of[i + 1], 16));
    }
    __m256 scale = widen_pairs(of[3]).high;
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m256i low = _mm256_srli_epi32(word[i % 2], i / 2 * 4), high = word[2];
        high = i < 2 ? _mm256_slli_epi32(high, 4 - 2 * i) : _mm256_srli_epi32(high, 2 * i - 4);
        __m256i all = merge_bits(_mm256_and_si256(low, four), high, two);
        UMBRA_UNROLL(4)
        for (int j = 0; j < 4; j++) {
            __m256i one = _mm256_sub_epi32(pick_byte(all, j), _mm256_set1_epi32(32));
            store_lane_scaled(n->scale[4 * i + j], one, scale);
        }
    }
}

UMBRA_NUMBERS(q6_k)
{
    (void)parts;
    __m256i of[4];
    turn_bytes(of, units, 192);
    __m256 scale = load_lane_halves(units, UMBRA_Q6_K_BYTES - 2);
    UMBRA_UNROLL(16)
    for (int i = 0; i < 2 * PARTS; i++) {
        __m256i top = _mm256_slli_epi32(of[i / 4], 24 - i % 4 * 8);
        store_lane_scaled(n->scale[i], _mm256_srai_epi32(top, 24), scale);
    }
}

/* As umbra_iq4_xs_scale. */
UMBRA_NUMBERS(iq4_xs)
{
    (void)parts;
    __m256i of[4];
    turn_bytes(of, units, 0);
    __m256 scale = widen_pairs(of[0]).low;
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        __m256i low = _mm256_srli_epi32(of[1], 4 * p);
        __m256i high = _mm256_srli_epi32(of[0], 12 + 2 * p); /* from bit 4 on */
        low = _mm256_and_si256(low, _mm256_set1_epi32(15));
        low = merge_bits(low, high, _mm256_set1_epi32(0x30));
        store_lane_scaled(n->scale[p], _mm256_sub_epi32(low, _mm256_set1_epi32(32)), scale);
    }
}

UMBRA_INLINE void fill_numbers(lane_numbers to, __m256 number)
{
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        _mm256_store_ps(to[p], number);
    }
}

UMBRA_NUMBERS(tq1_0)
{
    (void)parts;
    fill_numbers(n->scale, load_lane_halves(units, UMBRA_TQ1_0_BYTES - 2));
}

UMBRA_NUMBERS(tq2_0)
{
    (void)parts;
    fill_numbers(n->scale, load_lane_halves(units, UMBRA_TQ2_0_BYTES - 2));
}

/* Scales that were worked out for each lane by itself. */
UMBRA_INLINE void turn_scales(unit_numbers *n, const umbra_block_scales of[LANE_ROWS],
                              const int scales)
{
    lane_units from;
    for (int r = 0; r < LANE_ROWS; r++) {
        from.at[r] = (const uint8_t *)of[r].scale;
    }
    for (int i = 0; i < scales; i += 4) {
        __m256i turned[4];
        turn_bytes(turned, &from, i * (int)sizeof(float));
        UMBRA_UNROLL(4)
        for (int j = 0; j < 4; j++) {
            _mm256_store_ps(n->scale[i + j], _mm256_castsi256_ps(turned[j]));
        }
    }
}

#define GRID_NUMBERS(name, SCALES)                                                                 \
    UMBRA_NUMBERS(name)                                                                            \
    {                                                                                              \
        (void)parts;                                                                               \
        umbra_block_scales of[LANE_ROWS];                                                          \
        for (int r = 0; r < LANE_ROWS; r++) {                                                      \
            row_##name(units->at[r], of + r, n->row + r);                                          \
        }                                                                                          \
        turn_scales(n, of, SCALES);                                                                \
    }
UMBRA_GRID_ROWS(GRID_NUMBERS)

#endif
