/* The types with code books (grid_blocks.h) as avx2_columns.h has the others. Entries are copied
 * one by one to where their lane and columns are, all of a unit before the first is read. */
#ifndef UMBRA_KERNELS_X86_AVX2_GRID_COLUMNS_H
#define UMBRA_KERNELS_X86_AVX2_GRID_COLUMNS_H

#include "kernels/x86/avx2_columns.h"
#include "kernels/x86/avx2_grid_blocks.h"

enum {
    ENTRIES_OF_8 = 4, /* of a part */
    ENTRIES_OF_4 = 8,
};

/* Where the entries of a lane begin, in bytes. */
typedef uint16_t lane_entries[PARTS * ENTRIES_OF_4];

/* The lanes of an entry of 8 values lie as load_eights wants them: 0 1 4 5 2 3 6 7. */
UMBRA_INLINE void copy_eights(unit_bits *b, int lane, const void *grid, const uint16_t *at)
{
    uint32_t *to = b->entries + 2 * (lane / 4 * 2 + lane / 2 % 2 * 4 + lane % 2);
    UMBRA_UNROLL(4)
    for (int i = 0; i < PARTS * ENTRIES_OF_8; i++) {
        memcpy(to + 2 * LANE_ROWS * i, entry_at(grid, at[i]), 8);
    }
}

UMBRA_INLINE void copy_fours(unit_bits *b, int lane, const void *grid, const uint16_t *at)
{
    UMBRA_UNROLL(4)
    for (int i = 0; i < PARTS * ENTRIES_OF_4; i++) {
        memcpy(b->entries + LANE_ROWS * i + lane, entry_at(grid, at[i]), 4);
    }
}

UMBRA_INLINE __m256i load_entries(const unit_bits *b, int part, int i)
{
    return load_32((const uint8_t *)(b->entries + LANE_ROWS * (part * PART_COLUMNS + i)));
}

UMBRA_INLINE void load_eights(part_columns out, const unit_bits *b, int part)
{
    UMBRA_UNROLL(4)
    for (int i = 0; i < PART_COLUMNS; i += 2) {
        __m256 front = _mm256_castsi256_ps(load_entries(b, part, i));
        __m256 back = _mm256_castsi256_ps(load_entries(b, part, i + 1));
        out[i] = _mm256_castps_si256(_mm256_shuffle_ps(front, back, 0x88));
        out[i + 1] = _mm256_castps_si256(_mm256_shuffle_ps(front, back, 0xdd));
    }
}

UMBRA_INLINE void load_fours(part_columns out, const unit_bits *b, int part)
{
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        out[i] = load_entries(b, part, i);
    }
}

/* Bit i of the words is the sign of column i. */
UMBRA_INLINE void sign_columns(part_columns out, __m256i words)
{
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        __m256i minus = spread_columns(words, i);
        out[i] = _mm256_sub_epi8(_mm256_xor_si256(out[i], minus), minus);
    }
}

#define COLUMNS_OF(name, load)                                                                     \
    UMBRA_COLUMNS(name)                                                                            \
    {                                                                                              \
        (void)u;                                                                                   \
        load(out[0], b, first);                                                                    \
        sign_columns(out[0], b->of[first]);                                                        \
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
        lane_entries at;
        __m256i entries = load_iq2_xxs_entries(u->at[r]);
        store_whole_entries(at, _mm256_castsi256_si128(entries), 3);
        store_whole_entries(at + 16, _mm256_extracti128_si256(entries, 1), 3);
        copy_eights(b, r, umbra_byte_grid.iq2_xxs, at);
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
        lane_entries at;
        for (int i = 0; i < 2; i++) {
            __m256i entries = _mm256_and_si256(load_32(u->at[r] + 2 + 32 * i), mask);
            store_32(at + 16 * i, _mm256_slli_epi16(entries, 3));
        }
        copy_eights(b, r, umbra_byte_grid.iq2_xs, at);
    }
}

UMBRA_BITS(iq2_s)
{
    load_signs(b, u, 34);
    for (int r = 0; r < LANE_ROWS; r++) {
        lane_entries at;
        store_iq2_s_entries(at, u->at[r], 3);
        copy_eights(b, r, umbra_byte_grid.iq2_s, at);
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
        lane_entries at;
        for (int i = 0; i < PARTS * ENTRIES_OF_4; i += ENTRIES_AT_ONCE) {
            store_whole_entries(at + i, load_16(u->at[r] + 2 + i), 2);
        }
        copy_fours(b, r, umbra_byte_grid.iq3_xxs, at);
    }
}

UMBRA_BITS(iq3_s)
{
    load_signs(b, u, 74);
    for (int r = 0; r < LANE_ROWS; r++) {
        lane_entries at;
        store_iq3_s_entries(at, u->at[r], 2);
        copy_fours(b, r, umbra_byte_grid.iq3_s, at);
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
UMBRA_INLINE __m256i take_eighths(__m256i w, __m256i top)
{
    __m256i minus = _mm256_and_si256(_mm256_srai_epi32(top, 31), _mm256_set1_epi8(2));
    return _mm256_sub_epi8(w, minus);
}

UMBRA_BITS(iq1_s)
{
    load_upper_halves(b, u, 34);
    for (int r = 0; r < LANE_ROWS; r++) {
        lane_entries at;
        store_iq1_s_entries(at, u->at[r]);
        copy_eights(b, r, umbra_grid.iq1, at);
    }
}

UMBRA_COLUMNS(iq1_s)
{
    (void)u;
    load_eights(out[0], b, first);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        out[0][i] = take_eighths(out[0][i], b->of[first]);
    }
}

UMBRA_BITS(iq1_m)
{
    load_upper_halves(b, u, 32);
    for (int r = 0; r < LANE_ROWS; r++) {
        lane_entries at;
        store_iq1_m_entries(at, u->at[r]);
        copy_eights(b, r, umbra_grid.iq1, at);
    }
}

UMBRA_COLUMNS(iq1_m)
{
    (void)u;
    load_eights(out[0], b, first);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        out[0][i] = take_eighths(out[0][i], _mm256_slli_epi32(b->of[first], 12 - i / 2 * 4));
    }
}

#endif
