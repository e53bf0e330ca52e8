/* The types with code books (grid_blocks.h) as avx2_columns.h has the others. Where the entries of
 * a unit begin is worked out for each lane by itself; they are loaded one by one, since some
 * processors gather slowly, and need no turning. */
#ifndef UMBRA_KERNELS_X86_AVX2_GRID_COLUMNS_H
#define UMBRA_KERNELS_X86_AVX2_GRID_COLUMNS_H

#include "kernels/x86/avx2_columns.h"
#include "kernels/x86/avx2_grid_blocks.h"

/* Entry `i` of a lane. */
UMBRA_INLINE const void *lane_entry(const void *grid, const unit_bits *b, int lane, int i)
{
    return entry_at(grid, b->entries[lane][i]);
}

/* An entry of 8 values of two lanes. */
UMBRA_INLINE __m128i two_lanes(const void *grid, const unit_bits *b, int lane, int i)
{
    __m128i first = _mm_loadl_epi64(lane_entry(grid, b, lane, i));
    return _mm_castps_si128(
        _mm_loadh_pi(_mm_castsi128_ps(first), lane_entry(grid, b, lane + 1, i)));
}

/* The same of lanes `lane`, the next and those four above. */
UMBRA_INLINE __m256 four_lanes(const void *grid, const unit_bits *b, int lane, int i)
{
    __m256i front = _mm256_castsi128_si256(two_lanes(grid, b, lane, i));
    return _mm256_castsi256_ps(_mm256_inserti128_si256(front, two_lanes(grid, b, lane + 4, i), 1));
}

UMBRA_INLINE void load_eights(__m256i out[FOURS], const unit_bits *b, int part, const void *grid)
{
    UMBRA_UNROLL(4)
    for (int i = 0; i < FOURS / 2; i++) {
        __m256 front = four_lanes(grid, b, 0, part * FOURS / 2 + i);
        __m256 back = four_lanes(grid, b, 2, part * FOURS / 2 + i);
        out[2 * i] = order_four(_mm256_castps_si256(_mm256_shuffle_ps(front, back, 0x88)));
        out[2 * i + 1] = order_four(_mm256_castps_si256(_mm256_shuffle_ps(front, back, 0xdd)));
    }
}

UMBRA_INLINE void load_fours(__m256i out[FOURS], const unit_bits *b, int part, const void *grid)
{
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        int w[LANE_ROWS];
        UMBRA_UNROLL(8)
        for (int r = 0; r < LANE_ROWS; r++) {
            w[r] = (int)umbra_load_u32(lane_entry(grid, b, r, part * FOURS + i));
        }
        out[i] = order_four(_mm256_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]));
    }
}

/* Bit i of the words is the sign of column i. */
UMBRA_INLINE void put_with_signs(part_pairs to, const __m256i v[FOURS], __m256i words)
{
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        __m256i minus = spread_four(words, i);
        put_signed(to, i, _mm256_sub_epi8(_mm256_xor_si256(v[i], minus), minus), 0, 8);
    }
}

#define COLUMNS_OF(name, load)                                                                     \
    UMBRA_COLUMNS(name)                                                                            \
    {                                                                                              \
        (void)u;                                                                                   \
        __m256i v[FOURS];                                                                          \
        load(v, b, first, umbra_byte_grid.name);                                                   \
        put_with_signs(*to, v, b->of[first]);                                                      \
    }
COLUMNS_OF(iq2_xxs, load_eights)
COLUMNS_OF(iq2_xs, load_eights)
COLUMNS_OF(iq2_s, load_eights)
COLUMNS_OF(iq3_xxs, load_fours)
COLUMNS_OF(iq3_s, load_fours)

/* A word of signs for each part. */
UMBRA_INLINE void load_signs(unit_bits *b, const lane_units *u, int at)
{
    turn_bytes(b->of, u, at);
    turn_bytes(b->of + 4, u, at + 16);
}

UMBRA_BITS(iq2_xxs)
{
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m256i v[4];
        turn_bytes(v, u, 2 + 16 * i);
        b->of[2 * i] = complete_sign_words(v[1]);
        b->of[2 * i + 1] = complete_sign_words(v[3]);
    }
    for (int r = 0; r < LANE_ROWS; r++) {
        __m256i entries = load_iq2_xxs_entries(u->at[r]);
        store_whole_entries(b->entries[r], _mm256_castsi256_si128(entries), 3);
        store_whole_entries(b->entries[r] + 16, _mm256_extracti128_si256(entries, 1), 3);
    }
}

/* Two numbers of 16 bits in each lane of two registers: the upper seven bits of each as bytes. */
UMBRA_INLINE __m256i pack_sevens(__m256i front, __m256i back)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    __m256i sevens = _mm256_packus_epi16(_mm256_srli_epi16(front, 9), _mm256_srli_epi16(back, 9));
    return _mm256_shuffle_epi8(sevens, order);
}

UMBRA_BITS(iq2_xs)
{
    const __m256i mask = _mm256_set1_epi16(511);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        __m256i v[4];
        turn_bytes(v, u, 2 + 16 * i);
        b->of[2 * i] = complete_signs(pack_sevens(v[0], v[1]));
        b->of[2 * i + 1] = complete_signs(pack_sevens(v[2], v[3]));
    }
    for (int r = 0; r < LANE_ROWS; r++) {
        for (int i = 0; i < 2; i++) {
            __m256i entries = _mm256_and_si256(load_32(u->at[r] + 2 + 32 * i), mask);
            store_32(b->entries[r] + 16 * i, _mm256_slli_epi16(entries, 3));
        }
    }
}

UMBRA_BITS(iq2_s)
{
    load_signs(b, u, 34);
    for (int r = 0; r < LANE_ROWS; r++) {
        store_iq2_s_entries(b->entries[r], u->at[r], 3);
    }
}

UMBRA_BITS(iq3_xxs)
{
    load_signs(b, u, 66);
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        b->of[p] = complete_sign_words(b->of[p]);
    }
    for (int r = 0; r < LANE_ROWS; r++) {
        for (int i = 0; i < PARTS * FOURS; i += ENTRIES_AT_ONCE) {
            store_whole_entries(b->entries[r] + i, load_16(u->at[r] + 2 + i), 2);
        }
    }
}

UMBRA_BITS(iq3_s)
{
    load_signs(b, u, 74);
    for (int r = 0; r < LANE_ROWS; r++) {
        store_iq3_s_entries(b->entries[r], u->at[r], 2);
    }
}

/* Of two parts, numbers of 16 bits in each lane: the second one's in the upper half. */
UMBRA_INLINE void load_upper_halves(unit_bits *b, const lane_units *u, int at)
{
    __m256i v[4];
    turn_bytes(v, u, at);
    UMBRA_UNROLL(8)
    for (int p = 0; p < PARTS; p++) {
        b->of[p] = p % 2 ? v[p / 2] : _mm256_slli_epi32(v[p / 2], 16);
    }
}

/* Takes 2 from each byte of the lanes whose top bit is set. */
UMBRA_INLINE void put_eighths(part_pairs to, int i, __m256i four, __m256i top)
{
    __m256i minus = _mm256_and_si256(_mm256_srai_epi32(top, 31), _mm256_set1_epi8(2));
    put_signed(to, i, _mm256_sub_epi8(four, minus), 0, 8);
}

UMBRA_BITS(iq1_s)
{
    load_upper_halves(b, u, 34);
    for (int r = 0; r < LANE_ROWS; r++) {
        store_iq1_s_entries(b->entries[r], u->at[r]);
    }
}

UMBRA_COLUMNS(iq1_s)
{
    (void)u;
    __m256i v[FOURS];
    load_eights(v, b, first, umbra_grid.iq1);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        put_eighths(*to, i, v[i], b->of[first]);
    }
}

UMBRA_BITS(iq1_m)
{
    load_upper_halves(b, u, 32);
    for (int r = 0; r < LANE_ROWS; r++) {
        store_iq1_m_entries(b->entries[r], u->at[r]);
    }
}

UMBRA_COLUMNS(iq1_m)
{
    (void)u;
    __m256i v[FOURS];
    load_eights(v, b, first, umbra_grid.iq1);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        put_eighths(*to, i, v[i], _mm256_slli_epi32(b->of[first], 12 - i / 2 * 4));
    }
}

#endif
