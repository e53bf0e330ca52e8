/* Quantised weights of eight lanes, each a row or a stretch of one, as bytes whose columns lie
 * beside each other, for AVX2. Blocks are turned as they are, 16 bytes of each lane, and unpacked
 * then: bits are the same wherever their byte lies, and of nibbles there are half as many bytes.
 * The layouts are described in blocks.h. */
#ifndef UMBRA_KERNELS_X86_AVX2_COLUMNS_H
#define UMBRA_KERNELS_X86_AVX2_COLUMNS_H

#include "kernels/x86/avx2_lanes.h"

enum { PART_COLUMNS = UMBRA_Q16_BLOCK / 4 };

/* Number i has columns 4 i to 4 i + 3 of each lane: signed bytes, or unsigned ones with the type's
 * bias. */
typedef __m256i part_columns[PART_COLUMNS];

/* What is worked out for a whole unit. */
typedef struct unit_bits {
    __m256i of[PARTS]; /* a word of each part, or four columns that parts share */
    uint32_t entries[PARTS * PART_COLUMNS * LANE_ROWS]; /* code books: the entries' bytes */
} unit_bits;

#define UMBRA_BITS(name) UMBRA_INLINE void bits_##name(unit_bits *b, const lane_units *u)

/* The parts of a group from part `first` on; first is not known at compile time. */
#define UMBRA_COLUMNS(name)                                                                        \
    UMBRA_INLINE void columns_##name(part_columns *out, const lane_units *u, const unit_bits *b,   \
                                     int first)

/* 16 bytes of nibbles: the low ones, then the high ones. */
UMBRA_INLINE void nibble_columns(part_columns out, const lane_units *u, int at)
{
    __m256i v[4];
    turn_bytes(v, u, at);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        out[i] = move_bits(v[i], 0, 0, 15);
        out[4 + i] = move_bits(v[i], 4, 0, 15);
    }
}

UMBRA_INLINE void table_columns(part_columns out, const lane_units *u, int at,
                                const int8_t table[16])
{
    __m256i values = _mm256_broadcastsi128_si256(load_16((const uint8_t *)table));
    nibble_columns(out, u, at);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        out[i] = _mm256_shuffle_epi8(values, out[i]);
    }
}

/* Of each lane's word bit 4 i + j: all bits of byte j. */
UMBRA_INLINE __m256i spread_columns(__m256i words, const int i)
{
    const int byte = i / 2 * 0x01010101;
    const __m256i byte_of =
        _mm256_setr_epi32(byte, byte + 0x04040404, byte + 0x08080808, byte + 0x0c0c0c0c, byte,
                          byte + 0x04040404, byte + 0x08080808, byte + 0x0c0c0c0c);
    const __m256i bit = _mm256_set1_epi32(i % 2 ? (int)0x80402010 : 0x08040201);
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
    turn_bytes(out[0], u, first * UMBRA_Q8_0_BYTES + 2);
    turn_bytes(out[0] + 4, u, first * UMBRA_Q8_0_BYTES + 18);
}

#define bits_q4_0 no_bits
UMBRA_COLUMNS(q4_0)
{
    (void)b;
    nibble_columns(out[0], u, first * UMBRA_Q4_0_BYTES + 2);
}

#define bits_q4_1 no_bits
UMBRA_COLUMNS(q4_1)
{
    (void)b;
    nibble_columns(out[0], u, first * UMBRA_Q4_1_BYTES + 4);
}

UMBRA_INLINE void add_fifth_bits(part_columns out, __m256i words)
{
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        __m256i plus = _mm256_and_si256(spread_columns(words, i), _mm256_set1_epi8(16));
        out[i] = _mm256_or_si256(out[i], plus);
    }
}

#define bits_q5_0 no_bits
UMBRA_COLUMNS(q5_0)
{
    (void)b;
    nibble_columns(out[0], u, first * UMBRA_Q5_0_BYTES + 6);
    add_fifth_bits(out[0], load_words(u, first * UMBRA_Q5_0_BYTES + 2));
}

#define bits_q5_1 no_bits
UMBRA_COLUMNS(q5_1)
{
    (void)b;
    nibble_columns(out[0], u, first * UMBRA_Q5_1_BYTES + 8);
    add_fifth_bits(out[0], load_words(u, first * UMBRA_Q5_1_BYTES + 4));
}

#define bits_iq4_nl no_bits
UMBRA_COLUMNS(iq4_nl)
{
    (void)b;
    table_columns(out[0], u, first * UMBRA_IQ4_NL_BYTES + 2, umbra_iq4_values);
}

#define bits_iq4_xs no_bits
UMBRA_COLUMNS(iq4_xs)
{
    (void)b;
    table_columns(out[0], u, 8 + 16 * first, umbra_iq4_values);
}

#define bits_mxfp4 no_bits
UMBRA_COLUMNS(mxfp4)
{
    (void)b;
    table_columns(out[0], u, first * UMBRA_MXFP4_BYTES + 1, umbra_mxfp4_values);
}

/* Eight bytes of nibbles for each half: the low ones, then the high ones. */
#define bits_nvfp4 no_bits
UMBRA_COLUMNS(nvfp4)
{
    (void)b;
    part_columns w;
    table_columns(w, u, first / 2 * UMBRA_NVFP4_BYTES + 4 + first % 2 * 16, umbra_mxfp4_values);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        out[0][i] = w[i / 4 * 2 + i / 2 % 2 * 4 + i % 2];
    }
}

/* 32 bytes with two bits of each of four parts. */
UMBRA_INLINE void two_bit_columns(part_columns *out, const lane_units *u, int at)
{
    part_columns v;
    turn_bytes(v, u, at);
    turn_bytes(v + 4, u, at + 16);
    UMBRA_UNROLL(4)
    for (int p = 0; p < 4; p++) {
        UMBRA_UNROLL(8)
        for (int i = 0; i < PART_COLUMNS; i++) {
            out[p][i] = move_bits(v[i], 2 * p, 0, 3);
        }
    }
}

#define bits_q2_k no_bits
UMBRA_COLUMNS(q2_k)
{
    (void)b;
    two_bit_columns(out, u, 16 + 8 * first);
}

#define bits_tq2_0 no_bits
UMBRA_COLUMNS(tq2_0)
{
    (void)b;
    two_bit_columns(out, u, 8 * first);
}

/* Puts bit first + p of shared bytes at bit `to` of part p's. */
UMBRA_INLINE void add_shared_bits(part_columns *out, const unit_bits *b, int first, const int to,
                                  const int parts)
{
    __m128i count = _mm_cvtsi32_si128(first);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        __m256i bits = _mm256_srl_epi16(b->of[i], count);
        UMBRA_UNROLL(4)
        for (int p = 0; p < parts; p++) {
            __m256i moved =
                p > to ? _mm256_srli_epi16(bits, p - to) : _mm256_slli_epi16(bits, to - p);
            moved = _mm256_and_si256(moved, _mm256_set1_epi8((char)(1 << to)));
            out[p][i] = _mm256_or_si256(out[p][i], moved);
        }
    }
}

UMBRA_BITS(q3_k)
{
    turn_bytes(b->of, u, 0);
    turn_bytes(b->of + 4, u, 16);
}

UMBRA_COLUMNS(q3_k)
{
    two_bit_columns(out, u, 32 + 8 * first);
    add_shared_bits(out, b, first, 2, 4);
}

/* 32 bytes with the nibbles of two parts. */
UMBRA_INLINE void two_nibble_columns(part_columns *out, const lane_units *u, int at)
{
    part_columns v;
    turn_bytes(v, u, at);
    turn_bytes(v + 4, u, at + 16);
    UMBRA_UNROLL(8)
    for (int i = 0; i < PART_COLUMNS; i++) {
        out[0][i] = move_bits(v[i], 0, 0, 15);
        out[1][i] = move_bits(v[i], 4, 0, 15);
    }
}

#define bits_q4_k no_bits
UMBRA_COLUMNS(q4_k)
{
    (void)b;
    two_nibble_columns(out, u, 16 + 16 * first);
}

UMBRA_BITS(q5_k)
{
    turn_bytes(b->of, u, 16);
    turn_bytes(b->of + 4, u, 32);
}

UMBRA_COLUMNS(q5_k)
{
    two_nibble_columns(out, u, 48 + 16 * first);
    add_shared_bits(out, b, first, 4, 2);
}

/* Low nibbles of 64 bytes are two parts, their high ones two others. */
#define bits_q6_k no_bits
UMBRA_COLUMNS(q6_k)
{
    (void)b;
    UMBRA_UNROLL(2)
    for (int h = 0; h < 2; h++) {
        __m256i high[4];
        turn_bytes(high, u, 128 + 8 * first + 16 * h);
        UMBRA_UNROLL(2)
        for (int p = 0; p < 2; p++) {
            __m256i low[4];
            turn_bytes(low, u, 16 * first + 32 * p + 16 * h);
            UMBRA_UNROLL(4)
            for (int i = 0; i < 4; i++) {
                out[p][4 * h + i] =
                    _mm256_or_si256(move_bits(low[i], 0, 0, 15), move_bits(high[i], 2 * p, 4, 3));
                out[p + 2][4 * h + i] = _mm256_or_si256(move_bits(low[i], 4, 0, 15),
                                                        move_bits(high[i], 2 * p + 4, 4, 3));
            }
        }
    }
}

/* Digits of bytes, as umbra_tq1_value has them but for the 1. */
UMBRA_INLINE __m256i ternary_digits(__m256i bytes, __m256i powers)
{
    const __m256i even = _mm256_set1_epi16(255);
    __m256i odd = _mm256_mullo_epi16(_mm256_andnot_si256(even, bytes), powers);
    __m256i kept = _mm256_and_si256(_mm256_mullo_epi16(bytes, powers), even);
    kept = _mm256_or_si256(kept, odd);
    __m256i ones = _mm256_cmpeq_epi8(_mm256_max_epu8(kept, _mm256_set1_epi8(86)), kept);
    __m256i twos = _mm256_cmpeq_epi8(_mm256_max_epu8(kept, _mm256_set1_epi8((char)171)), kept);
    return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(ones, twos));
}

#define bits_tq1_0 no_bits
/* Which digits of which bytes: umbra_find_tq1_half. */
UMBRA_COLUMNS(tq1_0)
{
    (void)b, (void)first;
    UMBRA_UNROLL(3)
    for (int at = 0; at < 48; at += 16) {
        __m256i v[4];
        turn_bytes(v, u, at);
        UMBRA_UNROLL(5)
        for (int digit = 0; digit < 5; digit++) {
            int half = at < 32 ? 2 * digit + at / 16 : 10 + digit;
            UMBRA_UNROLL(4)
            for (int i = 0; i < 4; i++) {
                out[half / 2][half % 2 * 4 + i] =
                    ternary_digits(v[i], _mm256_set1_epi16(umbra_powers_of_3[digit]));
            }
        }
    }
    __m256i last = load_words(u, 48);
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        out[7][4 + i] = ternary_digits(last, _mm256_set1_epi16(umbra_powers_of_3[i]));
    }
}

#endif
