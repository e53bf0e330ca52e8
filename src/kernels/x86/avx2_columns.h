/* Quantised weights of eight rows, which lie in the lanes, as columns of 16 bits for AVX2's panels
 * (avx2_panel.h). Blocks are turned as they are, 16 bytes of each row, and unpacked then: bits are
 * the same wherever their byte lies, and of nibbles there are half as many bytes. The layouts are
 * described in blocks.h. */
#ifndef UMBRA_KERNELS_X86_AVX2_COLUMNS_H
#define UMBRA_KERNELS_X86_AVX2_COLUMNS_H

#include "kernels/x86/avx2_lanes.h"

enum {
    PAIRS = UMBRA_Q16_BLOCK / 2, /* pairs of columns of a part */
    FOURS = UMBRA_Q16_BLOCK / 4,
    PANEL_STRIPS = 2, /* of 8 rows */
};

/* Pair i: columns 2 i and 2 i + 1 of each row. */
typedef __m256i part_pairs[PAIRS][PANEL_STRIPS];

/* What is worked out for a whole unit. */
typedef struct unit_bits {
    __m256i of[PARTS]; /* a word of each part, or bytes that parts share */
    /* Code books: where the entries begin, in bytes. */
    uint16_t entries[LANE_ROWS][PARTS * FOURS];
} unit_bits;

#define UMBRA_BITS(name) UMBRA_INLINE void bits_##name(unit_bits *b, const lane_units *u)

/* Fills a group's parts, those from part `first` on, which is not known at compile time;
 * to[p][i][0] is where pair i of the group's part p belongs. */
#define UMBRA_COLUMNS(name)                                                                        \
    UMBRA_INLINE void columns_##name(part_pairs *to, const lane_units *u, const unit_bits *b,      \
                                     int first)

/* From here on a "four" has four columns of each lane as bytes, in the order 0 2 1 3, so that the
 * two bytes of a pair have the same place in either half of the lane. */
UMBRA_INLINE __m256i order_four(__m256i columns)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    return _mm256_shuffle_epi8(columns, order);
}

/* 16 bytes from `at` on. */
UMBRA_INLINE void turn_fours(__m256i out[4], const lane_units *u, int at)
{
    turn_bytes(out, u, at);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        out[i] = order_four(out[i]);
    }
}

/* Four i: the `bits` bits of each byte from bit `from` on. */
UMBRA_INLINE void put_bits(part_pairs to, int i, __m256i four, const int from, const int bits)
{
    const __m256i mask = _mm256_set1_epi16((short)((1 << bits) - 1));
    __m256i front = from ? _mm256_srli_epi16(four, from) : four;
    __m256i back = _mm256_srli_epi16(four, from + 8);
    to[2 * i][0] = _mm256_and_si256(front, mask);
    to[2 * i + 1][0] = from + bits == 8 ? back : _mm256_and_si256(back, mask);
}

/* The same as signed numbers. */
UMBRA_INLINE void put_signed(part_pairs to, int i, __m256i four, const int from, const int bits)
{
    const int above = 8 - from - bits;
    __m256i back = above ? _mm256_slli_epi16(four, above) : four;
    to[2 * i][0] = _mm256_srai_epi16(_mm256_slli_epi16(four, 8 + above), 16 - bits);
    to[2 * i + 1][0] = _mm256_srai_epi16(back, 16 - bits);
}

UMBRA_INLINE __m256i flip_bits(__m256i four, const int mask)
{
    return _mm256_xor_si256(four, _mm256_set1_epi8((char)mask));
}

/* Of each lane's word bits 4 i to 4 i + 3: all bits of the four's bytes. */
UMBRA_INLINE __m256i spread_four(__m256i words, const int i)
{
    const int byte = i / 2 * 0x01010101;
    const __m256i byte_of = _mm256_broadcastsi128_si256(
        _mm_setr_epi32(byte, byte + 0x04040404, byte + 0x08080808, byte + 0x0c0c0c0c));
    const __m256i bit = _mm256_set1_epi32(i % 2 ? (int)0x80204010 : 0x08020401);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(words, byte_of), bit), bit);
}

UMBRA_INLINE void no_bits(unit_bits *b, const lane_units *u)
{
    (void)b, (void)u;
}

#define bits_q8_0 no_bits
UMBRA_COLUMNS(q8_0)
{
    (void)b;
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i v[4];
        turn_fours(v, u, first * UMBRA_Q8_0_BYTES + 2 + 16 * h);
        UMBRA_UNROLL(4)
        for (int i = 0; i < 4; i++) {
            put_signed(*to, 4 * h + i, v[i], 0, 8);
        }
    }
}

/* A nibble less 8 is signed if its top bit is turned over. */
#define bits_q4_0 no_bits
UMBRA_COLUMNS(q4_0)
{
    (void)b;
    __m256i v[4];
    turn_fours(v, u, first * UMBRA_Q4_0_BYTES + 2);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        v[i] = flip_bits(v[i], 0x88);
        put_signed(*to, i, v[i], 0, 4);
        put_signed(*to, 4 + i, v[i], 4, 4);
    }
}

#define bits_q4_1 no_bits
UMBRA_COLUMNS(q4_1)
{
    (void)b;
    __m256i v[4];
    turn_fours(v, u, first * UMBRA_Q4_1_BYTES + 4);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        put_bits(*to, i, v[i], 0, 4);
        put_bits(*to, 4 + i, v[i], 4, 4);
    }
}

/* 16 bytes of nibbles: the low ones, then the high ones. */
UMBRA_INLINE void nibble_fours(__m256i out[FOURS], const lane_units *u, int at)
{
    turn_fours(out, u, at);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        out[4 + i] = move_bits(out[i], 4, 0, 15);
        out[i] = move_bits(out[i], 0, 0, 15);
    }
}

/* A missing fifth bit takes 16 away: the upper four bits of the byte are set. */
#define bits_q5_0 no_bits
UMBRA_COLUMNS(q5_0)
{
    (void)b;
    __m256i v[FOURS];
    __m256i fifth = load_words(u, first * UMBRA_Q5_0_BYTES + 2);
    nibble_fours(v, u, first * UMBRA_Q5_0_BYTES + 6);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        __m256i minus = _mm256_andnot_si256(spread_four(fifth, i), _mm256_set1_epi8((char)0xf0));
        put_signed(*to, i, _mm256_or_si256(v[i], minus), 0, 8);
    }
}

#define bits_q5_1 no_bits
UMBRA_COLUMNS(q5_1)
{
    (void)b;
    __m256i v[FOURS];
    __m256i fifth = load_words(u, first * UMBRA_Q5_1_BYTES + 4);
    nibble_fours(v, u, first * UMBRA_Q5_1_BYTES + 8);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        __m256i plus = _mm256_and_si256(spread_four(fifth, i), _mm256_set1_epi8(16));
        put_bits(*to, i, _mm256_or_si256(v[i], plus), 0, 8);
    }
}

/* 16 bytes of nibbles that stand for values. */
UMBRA_INLINE void table_fours(__m256i out[FOURS], const lane_units *u, int at,
                              const int8_t table[16])
{
    __m256i values = _mm256_broadcastsi128_si256(load_16((const uint8_t *)table));
    nibble_fours(out, u, at);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        out[i] = _mm256_shuffle_epi8(values, out[i]);
    }
}

UMBRA_INLINE void put_table(part_pairs to, const lane_units *u, int at, const int8_t table[16])
{
    __m256i v[FOURS];
    table_fours(v, u, at, table);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        put_signed(to, i, v[i], 0, 8);
    }
}

#define bits_iq4_nl no_bits
UMBRA_COLUMNS(iq4_nl)
{
    (void)b;
    put_table(*to, u, first * UMBRA_IQ4_NL_BYTES + 2, umbra_iq4_values);
}

#define bits_iq4_xs no_bits
UMBRA_COLUMNS(iq4_xs)
{
    (void)b;
    UMBRA_UNROLL(2)
    for (int p = 0; p < 2; p++) {
        put_table(to[p], u, 8 + 16 * (first + p), umbra_iq4_values);
    }
}

#define bits_mxfp4 no_bits
UMBRA_COLUMNS(mxfp4)
{
    (void)b;
    put_table(*to, u, first * UMBRA_MXFP4_BYTES + 1, umbra_mxfp4_values);
}

/* Eight bytes of nibbles for each half: the low ones, then the high ones. */
#define bits_nvfp4 no_bits
UMBRA_COLUMNS(nvfp4)
{
    (void)b;
    __m256i v[FOURS];
    int at = first / 2 * UMBRA_NVFP4_BYTES + 4 + first % 2 * 16;
    table_fours(v, u, at, umbra_mxfp4_values);
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        put_signed(*to, i, v[i / 4 * 2 + i / 2 % 2 * 4 + i % 2], 0, 8);
    }
}

/* 32 bytes with two bits of each of four parts. */
#define bits_q2_k no_bits
UMBRA_COLUMNS(q2_k)
{
    (void)b;
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i v[4];
        turn_fours(v, u, 16 + 8 * first + 16 * h);
        UMBRA_UNROLL(16)
        for (int i = 0; i < 16; i++) {
            put_bits(to[i / 4], 4 * h + i % 4, v[i % 4], i / 4 * 2, 2);
        }
    }
}

#define bits_tq2_0 no_bits
UMBRA_COLUMNS(tq2_0)
{
    (void)b;
    const __m256i one = _mm256_set1_epi8(1);
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i v[4];
        turn_fours(v, u, 8 * first + 16 * h);
        UMBRA_UNROLL(16)
        for (int i = 0; i < 16; i++) {
            __m256i w = move_bits(v[i % 4], i / 4 * 2, 0, 3);
            put_signed(to[i / 4], 4 * h + i % 4, _mm256_sub_epi8(w, one), 0, 8);
        }
    }
}

/* The third bits, turned over: a missing one takes 4 away. */
UMBRA_BITS(q3_k)
{
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        turn_fours(b->of + 4 * h, u, 16 * h);
    }
    UMBRA_UNROLL(8)
    for (int i = 0; i < FOURS; i++) {
        b->of[i] = flip_bits(b->of[i], 0xff);
    }
}

UMBRA_COLUMNS(q3_k)
{
    __m128i up = _mm_cvtsi32_si128(4 - first);
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i v[4];
        turn_fours(v, u, 32 + 8 * first + 16 * h);
        UMBRA_UNROLL(4)
        for (int i = 0; i < 4; i++) {
            __m256i third = _mm256_sll_epi16(b->of[4 * h + i], up); /* from bit 4 on */
            UMBRA_UNROLL(4)
            for (int p = 0; p < 4; p++) {
                __m256i w =
                    _mm256_or_si256(move_bits(v[i], 2 * p, 5, 3), move_bits(third, 4 + p, 7, 1));
                put_signed(to[p], 4 * h + i, w, 5, 3);
            }
        }
    }
}

/* 32 bytes with the nibbles of two parts. */
#define bits_q4_k no_bits
UMBRA_COLUMNS(q4_k)
{
    (void)b;
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i v[4];
        turn_fours(v, u, 16 + 16 * first + 16 * h);
        UMBRA_UNROLL(4)
        for (int i = 0; i < 4; i++) {
            put_bits(to[0], 4 * h + i, v[i], 0, 4);
            put_bits(to[1], 4 * h + i, v[i], 4, 4);
        }
    }
}

UMBRA_BITS(q5_k)
{
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        turn_fours(b->of + 4 * h, u, 16 + 16 * h);
    }
}

UMBRA_COLUMNS(q5_k)
{
    __m128i down = _mm_cvtsi32_si128(first);
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i v[4];
        turn_fours(v, u, 48 + 16 * first + 16 * h);
        UMBRA_UNROLL(4)
        for (int i = 0; i < 4; i++) {
            __m256i fifth = _mm256_srl_epi16(b->of[4 * h + i], down);
            UMBRA_UNROLL(2)
            for (int p = 0; p < 2; p++) {
                __m256i w =
                    _mm256_or_si256(move_bits(v[i], 4 * p, 0, 15), move_bits(fifth, p, 4, 1));
                put_bits(to[p], 4 * h + i, w, 0, 5);
            }
        }
    }
}

/* Low nibbles of 64 bytes are two parts, their high ones two others. Less 32, six bits are signed
 * if the top one is turned over. */
#define bits_q6_k no_bits
UMBRA_COLUMNS(q6_k)
{
    (void)b;
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i high[4];
        turn_fours(high, u, 128 + 8 * first + 16 * h);
        UMBRA_UNROLL(8)
        for (int i = 0; i < 4; i++) {
            high[i] = flip_bits(high[i], 0xaa);
        }
        UMBRA_UNROLL(2)
        for (int p = 0; p < 2; p++) {
            __m256i low[4];
            turn_fours(low, u, 16 * first + 32 * p + 16 * h);
            UMBRA_UNROLL(8)
            for (int i = 0; i < 8; i++) {
                const int of = p + i / 4 * 2;
                __m256i w = _mm256_or_si256(move_bits(low[i % 4], i / 4 * 4, 2, 15),
                                            move_bits(high[i % 4], 2 * of, 6, 3));
                put_signed(to[of], 4 * h + i % 4, w, 2, 6);
            }
        }
    }
}

/* A digit of each byte, as umbra_tq1_value has it: what is above 8 bits of the byte times a power
 * of 3 is lost, as the byte lies in the upper half of 16. */
UMBRA_INLINE void put_digits(part_pairs to, int i, __m256i four, int power)
{
    const __m256i one = _mm256_set1_epi16(1), three = _mm256_set1_epi16(3);
    __m256i upper = _mm256_andnot_si256(_mm256_set1_epi16(255), four);
    __m256i front = _mm256_mullo_epi16(four, _mm256_set1_epi16((short)(power << 8)));
    __m256i back = _mm256_mullo_epi16(upper, _mm256_set1_epi16((short)power));
    to[2 * i][0] = _mm256_sub_epi16(_mm256_mulhi_epu16(front, three), one);
    to[2 * i + 1][0] = _mm256_sub_epi16(_mm256_mulhi_epu16(back, three), one);
}

/* Which digits of which bytes: umbra_find_tq1_half. */
#define bits_tq1_0 no_bits
UMBRA_COLUMNS(tq1_0)
{
    (void)b, (void)first;
    UMBRA_UNROLL(3)
    for (int at = 0; at < 48; at += 16) {
        __m256i v[4];
        turn_fours(v, u, at);
        UMBRA_UNROLL(20)
        for (int i = 0; i < 20; i++) {
            int digit = i / 4, half = at < 32 ? 2 * digit + at / 16 : 10 + digit;
            put_digits(to[half / 2], half % 2 * 4 + i % 4, v[i % 4], umbra_powers_of_3[digit]);
        }
    }
    __m256i last = order_four(load_words(u, 48));
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        put_digits(to[7], 4 + i, last, umbra_powers_of_3[i]);
    }
}

#endif
