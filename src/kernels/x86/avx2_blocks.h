/* How blocks of quantised weights become 16-bit integers and scales with AVX2; AVX-512 joins the
 * halves. The layouts are described in blocks.h. Every pair of functions is one weight type:
 * scales_NAME fills what the type needs of umbra_block_scales, part_NAME gives 32 weights, already
 * multiplied by the scales of 16 values where the type has those. */
#ifndef UMBRA_KERNELS_X86_AVX2_BLOCKS_H
#define UMBRA_KERNELS_X86_AVX2_BLOCKS_H

#include <immintrin.h>

#include "kernels/block_scales.h"

/* 32 integers of 16 bits. */
typedef struct umbra_halves {
    __m256i low, high;
} umbra_halves;

UMBRA_INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

UMBRA_INLINE __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

UMBRA_INLINE float load_half(const uint8_t *p)
{
    return _cvtsh_ss(umbra_load_u16(p));
}

UMBRA_INLINE umbra_halves widen_signed(__m256i bytes)
{
    return (umbra_halves){
        .low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)),
        .high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(bytes, 1)),
    };
}

UMBRA_INLINE umbra_halves subtract(umbra_halves w, short number)
{
    __m256i all = _mm256_set1_epi16(number);
    return (umbra_halves){_mm256_sub_epi16(w.low, all), _mm256_sub_epi16(w.high, all)};
}

/* 16 bytes of nibbles: the low ones, then the high ones. */
UMBRA_INLINE umbra_halves nibbles(const uint8_t *p)
{
    __m256i pairs = _mm256_cvtepu8_epi16(load_16(p));
    return (umbra_halves){
        .low = _mm256_and_si256(pairs, _mm256_set1_epi16(15)),
        .high = _mm256_srli_epi16(pairs, 4),
    };
}

/* The same as bytes. */
UMBRA_INLINE __m256i nibble_bytes(const uint8_t *p)
{
    __m128i pairs = load_16(p);
    __m256i both =
        _mm256_inserti128_si256(_mm256_castsi128_si256(pairs), _mm_srli_epi16(pairs, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

UMBRA_INLINE umbra_halves from_table(const uint8_t *p, const int8_t table[16])
{
    __m128i values = load_16((const uint8_t *)table);
    __m128i pairs = load_16(p), mask = _mm_set1_epi8(15);
    __m128i low = _mm_shuffle_epi8(values, _mm_and_si128(pairs, mask));
    __m128i high = _mm_shuffle_epi8(values, _mm_and_si128(_mm_srli_epi16(pairs, 4), mask));
    return (umbra_halves){_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)};
}

/* All bits of byte i are bit i of the 4 bytes. */
UMBRA_INLINE __m256i spread_bits(const uint8_t *p)
{
    const __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i all = _mm256_set1_epi32((int)umbra_load_u32(p));
    __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(all, byte_of), bit_of);
    return _mm256_cmpeq_epi8(bits, bit_of);
}

/* Byte i of 8 becomes float i, times a number. */
UMBRA_INLINE void store_scaled_bytes(float *out, uint64_t bytes, float number)
{
    __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(number)));
}

UMBRA_INLINE void fill_scales(float *out, float number)
{
    _mm256_storeu_ps(out, _mm256_set1_ps(number));
}

UMBRA_INLINE void store_wide(int16_t *out, __m128i bytes)
{
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_cvtepi8_epi16(bytes));
}

/* Weights times the scales of both halves of a part. */
UMBRA_INLINE umbra_halves scale_halves(umbra_halves w, const int16_t *scales)
{
    return (umbra_halves){
        .low = _mm256_mullo_epi16(w.low, _mm256_set1_epi16(scales[0])),
        .high = _mm256_mullo_epi16(w.high, _mm256_set1_epi16(scales[1])),
    };
}

/* f16 numbers in front of n blocks, n being 1 or UMBRA_BLOCKS_AT_ONCE. */
UMBRA_INLINE void store_block_halves(float *out, const uint8_t *p, size_t bytes, int n)
{
    uint64_t all = umbra_load_u16(p);
    for (int i = 1; i < n; i++) {
        all |= (uint64_t)umbra_load_u16(p + (size_t)i * bytes) << 16 * i;
    }
    _mm_storeu_ps(out, _mm_cvtph_ps(_mm_cvtsi64_si128((long long)all)));
}

#define UMBRA_SCALES(name)                                                                         \
    UMBRA_INLINE void scales_##name(const uint8_t *unit, umbra_block_scales *s, const int parts)

UMBRA_SCALES(q8_0)
{
    store_block_halves(s->scale, unit, UMBRA_Q8_0_BYTES, parts);
}

UMBRA_SCALES(q4_0)
{
    store_block_halves(s->scale, unit, UMBRA_Q4_0_BYTES, parts);
}

UMBRA_SCALES(q4_1)
{
    store_block_halves(s->scale, unit, UMBRA_Q4_1_BYTES, parts);
    store_block_halves(s->offset, unit + 2, UMBRA_Q4_1_BYTES, parts);
}

UMBRA_SCALES(q5_0)
{
    store_block_halves(s->scale, unit, UMBRA_Q5_0_BYTES, parts);
}

UMBRA_SCALES(q5_1)
{
    store_block_halves(s->scale, unit, UMBRA_Q5_1_BYTES, parts);
    store_block_halves(s->offset, unit + 2, UMBRA_Q5_1_BYTES, parts);
}

UMBRA_SCALES(iq4_nl)
{
    store_block_halves(s->scale, unit, UMBRA_IQ4_NL_BYTES, parts);
}

/* As umbra_mxfp4_scale. */
UMBRA_SCALES(mxfp4)
{
    uint32_t all = unit[0];
    for (int i = 1; i < parts; i++) {
        all |= (uint32_t)unit[i * UMBRA_MXFP4_BYTES] << 8 * i;
    }
    __m128i e = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)all));
    __m128i normal = _mm_slli_epi32(_mm_sub_epi32(e, _mm_set1_epi32(1)), 23);
    __m128i tiny = _mm_sllv_epi32(_mm_set1_epi32(0x00200000), e);
    __m128i is_tiny = _mm_cmpgt_epi32(_mm_set1_epi32(2), e);
    _mm_storeu_ps(s->scale, _mm_castsi128_ps(_mm_blendv_epi8(normal, tiny, is_tiny)));
}

/* What part_NAME gives before it is widened and multiplied by scales: 32 weights as bytes. */
#define UMBRA_BYTES(name) UMBRA_INLINE __m256i bytes_##name(const uint8_t *unit, int first, int p)

#define UMBRA_PART(name)                                                                           \
    UMBRA_INLINE umbra_halves part_##name(const uint8_t *unit, const umbra_block_scales *s,        \
                                          int first, int p)

UMBRA_PART(q8_0)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q8_0_BYTES;
    return (umbra_halves){
        .low = _mm256_cvtepi8_epi16(load_16(block + 2)),
        .high = _mm256_cvtepi8_epi16(load_16(block + 18)),
    };
}

UMBRA_PART(q4_0)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q4_0_BYTES;
    return subtract(nibbles(block + 2), 8);
}

UMBRA_PART(q4_1)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q4_1_BYTES;
    return nibbles(block + 4);
}

/* A missing fifth bit takes 16 away: the upper four bits of the byte are set. */
UMBRA_BYTES(q5_0)
{
    const uint8_t *block = unit + (first + p) * UMBRA_Q5_0_BYTES;
    __m256i minus = _mm256_andnot_si256(spread_bits(block + 2), _mm256_set1_epi8((char)0xf0));
    return _mm256_or_si256(nibble_bytes(block + 6), minus);
}

UMBRA_PART(q5_0)
{
    (void)s;
    return widen_signed(bytes_q5_0(unit, first, p));
}

UMBRA_BYTES(q5_1)
{
    const uint8_t *block = unit + (first + p) * UMBRA_Q5_1_BYTES;
    __m256i plus = _mm256_and_si256(spread_bits(block + 4), _mm256_set1_epi8(16));
    return _mm256_or_si256(nibble_bytes(block + 8), plus);
}

UMBRA_PART(q5_1)
{
    (void)s;
    return widen_signed(bytes_q5_1(unit, first, p));
}

UMBRA_PART(iq4_nl)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_IQ4_NL_BYTES;
    return from_table(block + 2, umbra_iq4_values);
}

UMBRA_PART(mxfp4)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_MXFP4_BYTES;
    return from_table(block + 1, umbra_mxfp4_values);
}

/* Scales and minima of 16 values are multiplied as integers: at most 45 and 15. */
UMBRA_SCALES(q2_k)
{
    (void)parts;
    __m128i both = load_16(unit), mask = _mm_set1_epi8(15);
    store_wide(s->sub, _mm_and_si128(both, mask));
    store_wide(s->minima, _mm_and_si128(_mm_srli_epi16(both, 4), mask));
    fill_scales(s->scale, load_half(unit + 80));
    fill_scales(s->offset, -load_half(unit + 82));
}

UMBRA_BYTES(q2_k)
{
    __m256i values = _mm256_srli_epi16(load_32(unit + 16 + 8 * first), 2 * p);
    return _mm256_and_si256(values, _mm256_set1_epi8(3));
}

UMBRA_PART(q2_k)
{
    return scale_halves(widen_signed(bytes_q2_k(unit, first, p)), s->sub + 2 * (first + p));
}

UMBRA_INLINE umbra_halves minima_q2_k(const umbra_block_scales *s, int part)
{
    return (umbra_halves){
        .low = _mm256_set1_epi16(s->minima[2 * part]),
        .high = _mm256_set1_epi16(s->minima[2 * part + 1]),
    };
}

UMBRA_SCALES(q3_k)
{
    (void)parts;
    uint64_t bytes[2];
    umbra_unpack_q3_k_scales(unit + 96, bytes);
    __m128i both = _mm_set_epi64x((long long)bytes[1], (long long)bytes[0]);
    store_wide(s->sub, _mm_sub_epi8(both, _mm_set1_epi8(32)));
    fill_scales(s->scale, load_half(unit + 108));
}

/* A missing third bit takes 4 away. */
UMBRA_BYTES(q3_k)
{
    __m256i low = _mm256_srli_epi16(load_32(unit + 32 + 8 * first), 2 * p);
    __m256i bit = _mm256_set1_epi8((char)(1 << (first + p)));
    __m256i missing =
        _mm256_cmpeq_epi8(_mm256_and_si256(load_32(unit), bit), _mm256_setzero_si256());
    low = _mm256_and_si256(low, _mm256_set1_epi8(3));
    return _mm256_or_si256(low, _mm256_and_si256(missing, _mm256_set1_epi8(-4)));
}

UMBRA_PART(q3_k)
{
    return scale_halves(widen_signed(bytes_q3_k(unit, first, p)), s->sub + 2 * (first + p));
}

UMBRA_SCALES(six_bits)
{
    (void)parts;
    umbra_six_bits six = umbra_unpack_six_bits(unit + 4);
    store_scaled_bytes(s->scale, six.scales, load_half(unit));
    store_scaled_bytes(s->offset, six.minima, -load_half(unit + 2));
}

#define scales_q4_k scales_six_bits
#define scales_q5_k scales_six_bits

UMBRA_PART(q4_k)
{
    (void)s;
    const uint8_t *values = unit + 16 + 16 * first + p / 2 * 32;
    __m256i low = _mm256_cvtepu8_epi16(load_16(values));
    __m256i high = _mm256_cvtepu8_epi16(load_16(values + 16));
    if (p % 2) {
        return (umbra_halves){_mm256_srli_epi16(low, 4), _mm256_srli_epi16(high, 4)};
    }
    __m256i mask = _mm256_set1_epi16(15);
    return (umbra_halves){_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)};
}

/* Moves bit `from` of each byte to bit `to`; other bits are 0. */
UMBRA_INLINE __m256i move_bits(__m256i bytes, int from, int to, int mask)
{
    __m256i moved =
        from > to ? _mm256_srli_epi16(bytes, from - to) : _mm256_slli_epi16(bytes, to - from);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(mask << to)));
}

UMBRA_BYTES(q5_k)
{
    __m256i low = move_bits(load_32(unit + 48 + 16 * first + p / 2 * 32), p % 2 * 4, 0, 15);
    __m256i high = _mm256_srl_epi16(load_32(unit + 16), _mm_cvtsi32_si128(first));
    high = move_bits(high, p, 4, 1);
    return _mm256_or_si256(low, high);
}

UMBRA_PART(q5_k)
{
    (void)s;
    return widen_signed(bytes_q5_k(unit, first, p));
}

/* Weight times scale is at most 32 * 128, four products of that with an activation 2^29. */
UMBRA_SCALES(q6_k)
{
    (void)parts;
    store_wide(s->sub, load_16(unit + 192));
    fill_scales(s->scale, load_half(unit + 208));
}

UMBRA_BYTES(q6_k)
{
    __m256i low = move_bits(load_32(unit + 16 * first + 32 * (p % 2)), p / 2 * 4, 0, 15);
    __m256i high = move_bits(load_32(unit + 128 + 8 * first), 2 * p, 4, 3);
    return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

UMBRA_PART(q6_k)
{
    return scale_halves(widen_signed(bytes_q6_k(unit, first, p)), s->sub + 2 * (first + p));
}

UMBRA_SCALES(iq4_xs)
{
    (void)parts;
    const __m256i part = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i low = _mm256_set1_epi32((int)umbra_load_u32(unit + 4));
    __m256i high = _mm256_set1_epi32(umbra_load_u16(unit + 2));
    low = _mm256_srlv_epi32(low, _mm256_slli_epi32(part, 2));
    high = _mm256_srlv_epi32(high, _mm256_slli_epi32(part, 1));
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i scales = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    __m256 all = _mm256_set1_ps(load_half(unit));
    _mm256_storeu_ps(s->scale, _mm256_mul_ps(_mm256_cvtepi32_ps(scales), all));
}

UMBRA_PART(iq4_xs)
{
    (void)s;
    return from_table(unit + 8 + 16 * (first + p), umbra_iq4_values);
}

/* Shifted by 7, a scale byte is an f16 whose exponent is 8 too small. 0x7f counts as zero. */
UMBRA_INLINE __m256 nvfp4_scales(__m128i bytes)
{
    __m128i halves = _mm_slli_epi16(_mm_cvtepu8_epi16(bytes), 7);
    return _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(128));
}

UMBRA_INLINE int nvfp4_bytes(const uint8_t *unit, int block)
{
    return (int)umbra_load_u32(unit + block * UMBRA_NVFP4_BYTES);
}

UMBRA_SCALES(nvfp4)
{
    const __m128i largest = _mm_set1_epi8(0x7f);
    bool one = parts == UMBRA_NVFP4_PARTS;
    __m128i bytes = one ? _mm_cvtsi32_si128(nvfp4_bytes(unit, 0))
                        : _mm_setr_epi32(nvfp4_bytes(unit, 0), nvfp4_bytes(unit, 1),
                                         nvfp4_bytes(unit, 2), nvfp4_bytes(unit, 3));
    bytes = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, largest), _mm_and_si128(bytes, largest));
    _mm256_storeu_ps(s->scale, nvfp4_scales(bytes));
    if (!one) {
        _mm256_storeu_ps(s->scale + 8, nvfp4_scales(_mm_srli_si128(bytes, 8)));
    }
}

UMBRA_PART(nvfp4)
{
    (void)s;
    const uint8_t *block = unit + (first + p) / 2 * UMBRA_NVFP4_BYTES;
    __m128i values = load_16((const uint8_t *)umbra_mxfp4_values), mask = _mm_set1_epi8(15);
    __m128i pairs = load_16(block + 4 + (first + p) % 2 * 16);
    __m128i low = _mm_shuffle_epi8(values, _mm_and_si128(pairs, mask));
    __m128i high = _mm_shuffle_epi8(values, _mm_and_si128(_mm_srli_epi16(pairs, 4), mask));
    return (umbra_halves){
        .low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(low, high)),
        .high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi64(low, high)),
    };
}

UMBRA_SCALES(tq1_0)
{
    (void)parts;
    fill_scales(s->scale, load_half(unit + 52));
}

/* The value, plus 1, of a digit of 16 bytes: the byte times a power of 3 loses what is above 8 bits
 * by lying in the upper half of 16. */
UMBRA_INLINE __m256i tq1_digits(__m128i bytes, __m256i power)
{
    __m256i fraction = _mm256_mullo_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_slli_epi16(power, 8));
    __m256i digit = _mm256_mulhi_epu16(fraction, _mm256_set1_epi16(3));
    return _mm256_sub_epi16(digit, _mm256_set1_epi16(1));
}

UMBRA_INLINE __m256i tq1_half(const uint8_t *unit, int half)
{
    if (half == 2 * UMBRA_PARTS_MAX - 1) {
        const __m256i powers = _mm256_setr_epi64x(0x0001000100010001, 0x0003000300030003,
                                                  0x0009000900090009, 0x001b001b001b001b);
        return tq1_digits(_mm_set1_epi32((int)umbra_load_u32(unit + 48)), powers);
    }
    umbra_tq1_half from = umbra_find_tq1_half(half);
    return tq1_digits(load_16(unit + from.first_byte),
                      _mm256_set1_epi16(umbra_powers_of_3[from.digit]));
}

UMBRA_PART(tq1_0)
{
    (void)s;
    return (umbra_halves){tq1_half(unit, 2 * (first + p)), tq1_half(unit, 2 * (first + p) + 1)};
}

UMBRA_SCALES(tq2_0)
{
    (void)parts;
    fill_scales(s->scale, load_half(unit + 64));
}

UMBRA_PART(tq2_0)
{
    (void)s;
    const __m256i mask = _mm256_set1_epi16(3);
    __m256i low = _mm256_cvtepu8_epi16(load_16(unit + 8 * first));
    __m256i high = _mm256_cvtepu8_epi16(load_16(unit + 8 * first + 16));
    low = _mm256_srli_epi16(low, 2 * p);
    high = _mm256_srli_epi16(high, 2 * p);
    if (p < 3) {
        low = _mm256_and_si256(low, mask);
        high = _mm256_and_si256(high, mask);
    }
    return subtract((umbra_halves){low, high}, 1);
}

#endif
