/* The types with code books (grid_blocks.h) for AVX2, as avx2_blocks.h has the others. Where the
 * entries of a block begin and what their signs are is worked out for the whole block at once; a
 * part then takes its entries with plain loads. */
#ifndef UMBRA_KERNELS_AVX2_GRID_BLOCKS_H
#define UMBRA_KERNELS_AVX2_GRID_BLOCKS_H

#include "kernels/x86/avx2_blocks.h"

enum {
    ENTRIES_AT_ONCE = 16,
    IQ1_BIAS = PART_BIAS_IQ1_S, /* IQ1_M's too */
};

/* Fills what the type needs of umbra_block_scales. */
#define UMBRA_SCALES(name)                                                                         \
    UMBRA_INLINE void scales_##name(const uint8_t *unit, umbra_block_scales *s, const int parts)

UMBRA_INLINE void store_32(void *out, __m256i v)
{
    _mm256_storeu_si256((__m256i *)out, v);
}

/* Eight scales, 2 b + 1 times a number; exact, as these have few bits. */
UMBRA_INLINE void store_odd_scales(float *out, __m256i bits, float number)
{
    __m256 twice = _mm256_mul_ps(_mm256_cvtepi32_ps(bits), _mm256_set1_ps(2 * number));
    _mm256_storeu_ps(out, _mm256_add_ps(twice, _mm256_set1_ps(number)));
}

/* The nibbles of 8 bytes, low ones first. */
UMBRA_INLINE __m128i ordered_nibbles(uint64_t bytes)
{
    __m128i pairs = _mm_cvtsi64_si128((long long)bytes), mask = _mm_set1_epi8(15);
    return _mm_unpacklo_epi8(_mm_and_si128(pairs, mask),
                             _mm_and_si128(_mm_srli_epi16(pairs, 4), mask));
}

/* 16 scales from 8 bytes. */
UMBRA_INLINE void store_nibble_scales(umbra_block_scales *s, const uint8_t *p, float number)
{
    __m128i bits = ordered_nibbles(umbra_load_u64(p));
    store_odd_scales(s->scale, _mm256_cvtepu8_epi32(bits), number);
    store_odd_scales(s->scale + 8, _mm256_cvtepu8_epi32(_mm_srli_si128(bits, 8)), number);
}

/* Word p holds the signs of part p. Those of either half are stored twice, so that all lanes of a
 * register of 16-bit values see them. */
UMBRA_INLINE void store_signs(umbra_block_scales *s, __m256i words)
{
    __m256i low = _mm256_unpacklo_epi16(words, words), high = _mm256_unpackhi_epi16(words, words);
    store_32(s->signs, _mm256_permute2x128_si256(low, high, 0x20));
    store_32(s->signs + 8, _mm256_permute2x128_si256(low, high, 0x31));
}

/* Adds the last sign to each byte of seven: the one that makes their number even. */
UMBRA_INLINE __m256i complete_signs(__m256i sevens)
{
    const __m128i odd =
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
    __m256i folded = _mm256_xor_si256(sevens, _mm256_srli_epi16(sevens, 4));
    folded = _mm256_and_si256(folded, _mm256_set1_epi8(15));
    return _mm256_or_si256(sevens, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(odd), folded));
}

/* Words of four even signs, completed. */
UMBRA_INLINE __m256i complete_sign_words(__m256i words)
{
    __m256i bytes = _mm256_and_si256(words, _mm256_set1_epi32(0x7f));
    UMBRA_UNROLL(3)
    for (int i = 1; i < 4; i++) {
        __m256i moved = _mm256_slli_epi32(words, i);
        bytes = _mm256_or_si256(bytes, _mm256_and_si256(moved, _mm256_set1_epi32(0x7f << 8 * i)));
    }
    return complete_signs(bytes);
}

/* The scale of a part in the upper bits of each of these words. */
UMBRA_INLINE void store_part_scales(umbra_block_scales *s, __m256i words, float number)
{
    store_odd_scales(s->scale, _mm256_srli_epi32(words, 28), number);
}

/* Where 16 entries begin: their low bytes shifted, and the bits in lanes of 16 that `high` has,
 * each moved to its place by a product. */
UMBRA_INLINE void store_entries(uint16_t *out, const uint8_t *low, int shift, __m256i high,
                                __m256i place)
{
    __m256i at = _mm256_slli_epi16(_mm256_cvtepu8_epi16(load_16(low)), shift);
    store_32(out, _mm256_or_si256(at, _mm256_mullo_epi16(high, place)));
}

UMBRA_INLINE void store_whole_entries(uint16_t *out, __m128i bytes, int shift)
{
    store_32(out, _mm256_slli_epi16(_mm256_cvtepu8_epi16(bytes), shift));
}

/* Four lanes of 16 bits, repeated. */
UMBRA_INLINE __m256i repeat_four(uint16_t a, uint16_t b, uint16_t c, uint16_t d)
{
    return _mm256_set1_epi64x(
        (long long)((uint64_t)d << 48 | (uint64_t)c << 32 | (uint64_t)b << 16 | a));
}

UMBRA_INLINE const void *entry_at(const void *grid, uint16_t offset)
{
    return (const uint8_t *)grid + offset;
}

/* 16 values of two entries of 8. */
UMBRA_INLINE __m256i two_entries(const void *grid, const uint16_t *at)
{
    __m256i first = _mm256_castsi128_si256(load_16(entry_at(grid, at[0])));
    return _mm256_inserti128_si256(first, load_16(entry_at(grid, at[1])), 1);
}

/* 16 bytes from two places. */
UMBRA_INLINE __m128i load_pair(const void *grid, const uint16_t *at)
{
    __m128i first = _mm_loadl_epi64(entry_at(grid, at[0]));
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(first), entry_at(grid, at[1])));
}

/* 16 values of four entries of 4. */
UMBRA_INLINE __m256i four_entries(const void *grid, const uint16_t *at)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load_pair(grid, at)),
                                   load_pair(grid, at + 2), 1);
}

/* The top bit of lane i becomes bit i of the lane. */
UMBRA_INLINE __m256i raise_bits(__m256i lanes)
{
    const __m256i place =
        _mm256_setr_epi16((short)0x8000, 0x4000, 0x2000, 0x1000, 0x0800, 0x0400, 0x0200, 0x0100,
                          0x0080, 0x0040, 0x0020, 0x0010, 0x0008, 0x0004, 0x0002, 0x0001);
    return _mm256_mullo_epi16(lanes, place);
}

/* The instruction gives w the sign of a number that must not be 0. */
UMBRA_INLINE __m256i apply_signs(__m256i w, uint32_t signs)
{
    __m256i raised = raise_bits(_mm256_set1_epi32((int)signs));
    return _mm256_sign_epi16(w, _mm256_or_si256(raised, _mm256_set1_epi16(1)));
}

UMBRA_INLINE umbra_halves part_of_two(const void *grid, const umbra_block_scales *s, int part)
{
    const uint16_t *at = s->entries + 4 * part;
    const uint32_t *signs = s->signs + 2 * part;
    return (umbra_halves){
        .low = apply_signs(two_entries(grid, at), signs[0]),
        .high = apply_signs(two_entries(grid, at + 2), signs[1]),
    };
}

UMBRA_INLINE umbra_halves part_of_four(const void *grid, const umbra_block_scales *s, int part)
{
    const uint16_t *at = s->entries + 8 * part;
    const uint32_t *signs = s->signs + 2 * part;
    return (umbra_halves){
        .low = apply_signs(four_entries(grid, at), signs[0]),
        .high = apply_signs(four_entries(grid, at + 4), signs[1]),
    };
}

#define GRID_PART(name, part_of)                                                                   \
    UMBRA_PART(name)                                                                               \
    {                                                                                              \
        (void)unit;                                                                                \
        return part_of(umbra_grid.name, s, first + p);                                             \
    }

/* Entries and signs take turns in words of 4 bytes: the even or the odd ones. */
#define IQ2_XXS_WORDS(unit, select)                                                                \
    _mm256_permute4x64_epi64(                                                                      \
        _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(load_32((unit) + 2)),            \
                                              _mm256_castsi256_ps(load_32((unit) + 34)), select)), \
        0xd8)

UMBRA_INLINE __m256i load_iq2_xxs_entries(const uint8_t *unit)
{
    return IQ2_XXS_WORDS(unit, 0x88);
}

UMBRA_INLINE __m256i load_iq2_xxs_words(const uint8_t *unit)
{
    return IQ2_XXS_WORDS(unit, 0xdd);
}

UMBRA_SCALES(iq2_xxs)
{
    (void)parts;
    __m256i entries = load_iq2_xxs_entries(unit), words = load_iq2_xxs_words(unit);
    store_whole_entries(s->entries, _mm256_castsi256_si128(entries), 4);
    store_whole_entries(s->entries + 16, _mm256_extracti128_si256(entries, 1), 4);
    store_signs(s, complete_sign_words(words));
    store_part_scales(s, words, 0.125f * load_half(unit));
}

GRID_PART(iq2_xxs, part_of_two)

UMBRA_INLINE __m256i load_iq2_xs_signs(const uint8_t *unit)
{
    __m256i front = load_32(unit + 2), back = load_32(unit + 34);
    __m256i sevens = _mm256_packus_epi16(_mm256_srli_epi16(front, 9), _mm256_srli_epi16(back, 9));
    return complete_signs(_mm256_permute4x64_epi64(sevens, 0xd8));
}

UMBRA_SCALES(iq2_xs)
{
    (void)parts;
    const __m256i mask = _mm256_set1_epi16(511);
    __m256i front = load_32(unit + 2), back = load_32(unit + 34);
    store_32(s->entries, _mm256_slli_epi16(_mm256_and_si256(front, mask), 4));
    store_32(s->entries + 16, _mm256_slli_epi16(_mm256_and_si256(back, mask), 4));
    store_signs(s, load_iq2_xs_signs(unit));
    store_nibble_scales(s, unit + 66, 0.125f * load_half(unit));
}

GRID_PART(iq2_xs, part_of_two)

/* Where entries begin, if each has 1 << shift bytes. */
UMBRA_INLINE void store_iq2_s_entries(uint16_t *out, const uint8_t *unit, const int shift)
{
    const __m256i byte_of =
        _mm256_setr_epi64x((long long)0x8000800080008000, (long long)0x8001800180018001,
                           (long long)0x8002800280028002, (long long)0x8003800380038003);
    const __m256i mask = repeat_four(0x03, 0x0c, 0x30, 0xc0);
    const __m256i place = repeat_four((uint16_t)(1 << 8 << shift), (uint16_t)(1 << 6 << shift),
                                      (uint16_t)(1 << 4 << shift), (uint16_t)(1 << 2 << shift));
    for (int i = 0; i < 2; i++) {
        __m256i high = _mm256_set1_epi32((int)umbra_load_u32(unit + 66 + 4 * i));
        high = _mm256_and_si256(_mm256_shuffle_epi8(high, byte_of), mask);
        store_entries(out + ENTRIES_AT_ONCE * i, unit + 2 + ENTRIES_AT_ONCE * i, shift, high,
                      place);
    }
}

UMBRA_SCALES(iq2_s)
{
    (void)parts;
    store_iq2_s_entries(s->entries, unit, 4);
    store_signs(s, load_32(unit + 34));
    store_nibble_scales(s, unit + 74, 0.125f * load_half(unit));
}

GRID_PART(iq2_s, part_of_two)

UMBRA_SCALES(iq3_xxs)
{
    (void)parts;
    for (int i = 0; i < 4; i++) {
        store_whole_entries(s->entries + ENTRIES_AT_ONCE * i,
                            load_16(unit + 2 + ENTRIES_AT_ONCE * i), 3);
    }
    __m256i words = load_32(unit + 66);
    store_signs(s, complete_sign_words(words));
    store_part_scales(s, words, 0.25f * load_half(unit));
}

GRID_PART(iq3_xxs, part_of_four)

UMBRA_INLINE void store_iq3_s_scales(umbra_block_scales *s, const uint8_t *unit)
{
    __m128i scales = ordered_nibbles(umbra_load_u32(unit + 106));
    store_odd_scales(s->scale, _mm256_cvtepu8_epi32(scales), load_half(unit));
}

/* As store_iq2_s_entries. Bit i of the ninth bits belongs to entry i. */
UMBRA_INLINE void store_iq3_s_entries(uint16_t *out, const uint8_t *unit, const int shift)
{
    const __m256i top = _mm256_set1_epi16((short)0x8000);
    for (int i = 0; i < 4; i++) {
        __m256i low = _mm256_cvtepu8_epi16(load_16(unit + 2 + ENTRIES_AT_ONCE * i));
        __m256i high = _mm256_set1_epi16((short)umbra_load_u16(unit + 66 + 2 * i));
        high = _mm256_srli_epi16(_mm256_and_si256(raise_bits(high), top), 7 - shift);
        store_32(out + ENTRIES_AT_ONCE * i, _mm256_or_si256(_mm256_slli_epi16(low, shift), high));
    }
}

UMBRA_SCALES(iq3_s)
{
    (void)parts;
    store_iq3_s_entries(s->entries, unit, 3);
    store_signs(s, load_32(unit + 74));
    store_iq3_s_scales(s, unit);
}

GRID_PART(iq3_s, part_of_four)

/* A part of four ternary entries; `plus` is added to their bytes. */
UMBRA_INLINE umbra_halves ternary_part(const uint16_t *at, __m256i plus)
{
    __m256i front = _mm256_castsi128_si256(load_pair(umbra_grid.iq1, at));
    __m256i w = _mm256_inserti128_si256(front, load_pair(umbra_grid.iq1, at + 2), 1);
    return split_bytes(_mm256_add_epi8(w, plus));
}

/* What is added to the values of entries: the bias, less 2 where a lane has bits. */
UMBRA_INLINE __m256i ternary_plus(__m256i minus)
{
    return _mm256_add_epi8(_mm256_and_si256(minus, _mm256_set1_epi8(-2)),
                           _mm256_set1_epi8(IQ1_BIAS));
}

/* Each of four 16-bit numbers in four lanes, of which lane i keeps the number's bits 3 i to 3 i
 * + 2. */
UMBRA_INLINE __m256i spread_threes(uint64_t numbers)
{
    const __m256i number_of = _mm256_setr_epi64x(0x0100010001000100, 0x0302030203020302,
                                                 0x0504050405040504, 0x0706070607060706);
    __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)numbers), number_of);
    return _mm256_and_si256(spread, repeat_four(7, 7 << 3, 7 << 6, 7 << 9));
}

/* The numbers behind the entries, one for each part. */
UMBRA_INLINE __m256i load_iq1_s_numbers(const uint8_t *unit)
{
    return _mm256_cvtepi16_epi32(load_16(unit + 34));
}

UMBRA_INLINE void store_iq1_s_scales(umbra_block_scales *s, const uint8_t *unit)
{
    __m256i bits = _mm256_srli_epi32(load_iq1_s_numbers(unit), 12);
    bits = _mm256_and_si256(bits, _mm256_set1_epi32(7));
    store_odd_scales(s->scale, bits, 0.125f * load_half(unit));
}

UMBRA_INLINE void store_iq1_s_entries(uint16_t *out, const uint8_t *unit)
{
    const __m256i place = repeat_four(1 << 11, 1 << 8, 1 << 5, 1 << 2);
    for (int i = 0; i < 2; i++) {
        store_entries(out + ENTRIES_AT_ONCE * i, unit + 2 + ENTRIES_AT_ONCE * i, 3,
                      spread_threes(umbra_load_u64(unit + 34 + 8 * i)), place);
    }
}

/* In the place of signs: the byte that is added to all values of an entry. */
UMBRA_SCALES(iq1_s)
{
    (void)parts;
    store_iq1_s_entries(s->entries, unit);
    store_iq1_s_scales(s, unit);
    __m256i minus = _mm256_srai_epi32(load_iq1_s_numbers(unit), 31);
    store_32(s->signs, ternary_plus(minus));
}

UMBRA_PART(iq1_s)
{
    (void)unit;
    __m256i plus = _mm256_set1_epi32((int)s->signs[first + p]);
    return ternary_part(s->entries + 4 * (first + p), plus);
}

/* The 16 scales of 3 bits in four numbers of 16 bits. */
UMBRA_INLINE void store_iq1_m_scales(umbra_block_scales *s, uint64_t numbers)
{
    const __m256i place = repeat_four(1 << 9, 1 << 6, 1 << 3, 1);
    __m256i bits = _mm256_srli_epi16(_mm256_mullo_epi16(spread_threes(numbers), place), 9);
    float scale = 0.125f * _cvtsh_ss(umbra_iq1_m_scale(numbers));
    __m128i front = _mm256_castsi256_si128(bits), back = _mm256_extracti128_si256(bits, 1);
    store_odd_scales(s->scale, _mm256_cvtepu16_epi32(front), scale);
    store_odd_scales(s->scale + 8, _mm256_cvtepu16_epi32(back), scale);
}

/* Nibbles behind 16 entries, each in a lane that has others beside it. */
UMBRA_INLINE __m256i load_iq1_m_nibbles(const uint8_t *unit, int entry)
{
    const __m256i byte_of =
        _mm256_setr_epi64x((long long)0x8001800180008000, (long long)0x8003800380028002,
                           (long long)0x8005800580048004, (long long)0x8007800780068006);
    uint64_t eight = umbra_load_u64(unit + 32 + entry / 2);
    return _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)eight), byte_of);
}

UMBRA_INLINE void store_iq1_m_entries(uint16_t *out, const uint8_t *unit)
{
    const __m256i mask = repeat_four(0x07, 0x70, 0x07, 0x70);
    const __m256i place = repeat_four(1 << 11, 1 << 7, 1 << 11, 1 << 7);
    for (int i = 0; i < 2; i++) {
        __m256i high = load_iq1_m_nibbles(unit, ENTRIES_AT_ONCE * i);
        store_entries(out + ENTRIES_AT_ONCE * i, unit + ENTRIES_AT_ONCE * i, 3,
                      _mm256_and_si256(high, mask), place);
    }
}

UMBRA_SCALES(iq1_m)
{
    (void)parts;
    const __m256i minus = repeat_four(8, 128, 8, 128);
    __m256i plus[2];
    for (int i = 0; i < 2; i++) {
        __m256i high = load_iq1_m_nibbles(unit, ENTRIES_AT_ONCE * i);
        plus[i] = _mm256_cmpeq_epi16(_mm256_and_si256(high, minus), minus);
    }
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(plus[0], plus[1]), 0xd8);
    store_iq1_m_entries(s->entries, unit);
    store_32(s->signs, ternary_plus(bytes));
    store_iq1_m_scales(s, umbra_load_u64(unit + 48));
}

UMBRA_PART(iq1_m)
{
    (void)unit;
    const __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i plus = _mm256_shuffle_epi8(_mm256_set1_epi32((int)s->signs[first + p]), byte_of);
    return ternary_part(s->entries + 4 * (first + p), plus);
}

#endif
