/* The AVX-512 instructions that the products of quantised weights and attention use, made of
 * AVX2's, so that they can be checked on processors that lack them. Slow. Included before the
 * sources that are to be emulated. */
#ifndef UMBRA_TESTS_EMULATE_AVX512_H
#define UMBRA_TESTS_EMULATE_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/internal.h"

/* Kept short for the compiler: neither inlined nor unrolled. */
#undef UMBRA_UNROLL
#define UMBRA_UNROLL(n)
#define EMULATED static __attribute__((noinline, unused))

typedef struct emulated_integers {
    int32_t lane[16];
} emulated_integers;

typedef struct emulated_floats {
    float lane[16];
} emulated_floats;

EMULATED int32_t emulated_dot(int32_t sum, int32_t a, int32_t b)
{
    int32_t first = (int32_t)(int16_t)(a & 0xffff) * (int16_t)(b & 0xffff);
    int32_t second = (a >> 16) * (b >> 16);
    return (int32_t)((uint32_t)sum + (uint32_t)first + (uint32_t)second);
}

/* Within each quarter: the lanes first and second of a and b in turn. */
EMULATED emulated_integers emulated_unpack(emulated_integers a, emulated_integers b, int high,
                                           int lanes)
{
    emulated_integers out;
    for (int i = 0; i < 16; i++) {
        int quarter = i / 4 * 4, at = i % 4, unit = at / lanes;
        int from = quarter + unit / 2 * lanes + at % lanes + high * 2;
        out.lane[i] = unit % 2 ? b.lane[from] : a.lane[from];
    }
    return out;
}

EMULATED emulated_integers emulated_shuffle(emulated_integers a, emulated_integers b, int from)
{
    emulated_integers out;
    for (int q = 0; q < 4; q++)
        for (int i = 0; i < 4; i++) {
            int at = (from >> 2 * q & 3) * 4 + i;
            out.lane[4 * q + i] = q < 2 ? a.lane[at] : b.lane[at];
        }
    return out;
}

EMULATED emulated_integers emulated_load_integers(const void *p)
{
    emulated_integers out;
    memcpy(&out, p, sizeof out);
    return out;
}

EMULATED emulated_integers emulated_set_integers(int32_t value)
{
    emulated_integers out;
    for (int i = 0; i < 16; i++)
        out.lane[i] = value;
    return out;
}

/* Elements of other sizes, as arrays. */
#define EMULATED_UNARY(name, type, n, expression)                                                  \
    EMULATED emulated_integers name(emulated_integers a, unsigned by)                              \
    {                                                                                              \
        type of_a[n];                                                                              \
        memcpy(of_a, &a, sizeof of_a);                                                             \
        for (int i = 0; i < n; i++)                                                                \
            of_a[i] = (type)(expression);                                                          \
        memcpy(&a, of_a, sizeof a);                                                                \
        return a;                                                                                  \
    }
EMULATED_UNARY(emulated_shift_left, uint32_t, 16, of_a[i] << by)
EMULATED_UNARY(emulated_shift_right, uint32_t, 16, of_a[i] >> by)
EMULATED_UNARY(emulated_shift_signed, int32_t, 16, of_a[i] >> by)
EMULATED_UNARY(emulated_shift_left_16, uint16_t, 32, of_a[i] << by)
EMULATED_UNARY(emulated_shift_right_16, uint16_t, 32, of_a[i] >> by)
EMULATED_UNARY(emulated_shift_signed_16, int16_t, 32, of_a[i] >> by)

#define EMULATED_BINARY(name, type, n, expression)                                                 \
    EMULATED emulated_integers name(emulated_integers a, emulated_integers b)                      \
    {                                                                                              \
        type of_a[n], of_b[n];                                                                     \
        memcpy(of_a, &a, sizeof of_a);                                                             \
        memcpy(of_b, &b, sizeof of_b);                                                             \
        for (int i = 0; i < n; i++)                                                                \
            of_a[i] = (type)(expression);                                                          \
        memcpy(&a, of_a, sizeof a);                                                                \
        return a;                                                                                  \
    }
EMULATED_BINARY(emulated_add_integers, uint32_t, 16, of_a[i] + of_b[i])
EMULATED_BINARY(emulated_subtract, uint32_t, 16, of_a[i] - of_b[i])
EMULATED_BINARY(emulated_add_bytes, uint8_t, 64, of_a[i] + of_b[i])
EMULATED_BINARY(emulated_subtract_bytes, uint8_t, 64, of_a[i] - of_b[i])
EMULATED_BINARY(emulated_and, uint32_t, 16, of_a[i] & of_b[i])
EMULATED_BINARY(emulated_or, uint32_t, 16, of_a[i] | of_b[i])
EMULATED_BINARY(emulated_xor, uint32_t, 16, of_a[i] ^ of_b[i])
EMULATED_BINARY(emulated_shift_right_by, uint16_t, 32, of_a[i] >> of_b[i])
EMULATED_BINARY(emulated_rotate_by, uint64_t, 8,
                of_a[i] << (of_b[i] & 63) | of_a[i] >> (-of_b[i] & 63))

EMULATED_BINARY(emulated_shift_right_long, uint64_t, 8, of_b[i] < 64 ? of_a[i] >> of_b[i] : 0)
EMULATED_BINARY(emulated_and_not, uint32_t, 16, ~of_a[i] & of_b[i])
EMULATED_BINARY(emulated_subtract_long, uint64_t, 8, of_a[i] - of_b[i])
EMULATED_BINARY(emulated_multiply_16, uint16_t, 32, (uint32_t)of_a[i] * of_b[i])
EMULATED_BINARY(emulated_multiply_32, uint32_t, 16, of_a[i] * of_b[i])
EMULATED_BINARY(emulated_least, int32_t, 16, of_a[i] < of_b[i] ? of_a[i] : of_b[i])
EMULATED_BINARY(emulated_shift_left_by, uint32_t, 16, of_b[i] < 32 ? of_a[i] << of_b[i] : 0)

/* Elements of `bytes` bytes: of v where the mask has bits, else of other. */
EMULATED emulated_integers emulated_select(emulated_integers other, uint64_t mask,
                                           emulated_integers v, size_t bytes)
{
    for (size_t i = 0; i < sizeof v / bytes; i++)
        if (mask >> i & 1)
            memcpy((char *)&other + i * bytes, (const char *)&v + i * bytes, bytes);
    return other;
}

/* Bit i: lane i of the difference of a and b is what the table says, bit 0 for less, 1 for equal,
 * 2 for more. */
EMULATED uint16_t emulated_compare(emulated_integers a, emulated_integers b, unsigned table)
{
    unsigned mask = 0;
    for (int i = 0; i < 16; i++) {
        int order = (a.lane[i] >= b.lane[i]) + (a.lane[i] > b.lane[i]);
        mask |= (table >> order & 1) << i;
    }
    return (uint16_t)mask;
}

EMULATED uint64_t emulated_bytes_from(emulated_integers a, emulated_integers b)
{
    uint8_t of_a[64], of_b[64];
    uint64_t mask = 0;
    memcpy(of_a, &a, sizeof of_a);
    memcpy(of_b, &b, sizeof of_b);
    for (int i = 0; i < 64; i++)
        mask |= (uint64_t)(of_a[i] >= of_b[i]) << i;
    return mask;
}

EMULATED emulated_integers emulated_gather(emulated_integers at, const void *from, int scale)
{
    emulated_integers out;
    for (int i = 0; i < 16; i++)
        memcpy(&out.lane[i], (const char *)from + (ptrdiff_t)at.lane[i] * scale, 4);
    return out;
}

EMULATED emulated_integers emulated_gather_long(__m256i at, const void *from, int scale)
{
    int32_t index[8];
    uint64_t out[8];
    memcpy(index, &at, sizeof index);
    for (int i = 0; i < 8; i++)
        memcpy(&out[i], (const char *)from + (ptrdiff_t)index[i] * scale, 8);
    return emulated_load_integers(out);
}

EMULATED emulated_integers emulated_permute_long(emulated_integers from, emulated_integers v)
{
    uint64_t at[8], all[8], out[8];
    memcpy(at, &from, sizeof at);
    memcpy(all, &v, sizeof all);
    for (int i = 0; i < 8; i++)
        out[i] = all[at[i] & 7];
    return emulated_load_integers(out);
}

EMULATED emulated_integers emulated_widen_bytes(__m128i bytes)
{
    uint8_t of[16];
    emulated_integers out;
    memcpy(of, &bytes, sizeof of);
    for (int i = 0; i < 16; i++)
        out.lane[i] = of[i];
    return out;
}

EMULATED __m256i emulated_rotate_eight(__m256i v, __m256i by)
{
    __m256i back = _mm256_sub_epi32(_mm256_set1_epi32(32), by);
    return _mm256_or_si256(_mm256_sllv_epi32(v, by), _mm256_srlv_epi32(v, back));
}

EMULATED uint8_t emulated_test_eight(__m256i a, __m256i b)
{
    __m256i none = _mm256_cmpeq_epi32(_mm256_and_si256(a, b), _mm256_setzero_si256());
    return (uint8_t)~_mm256_movemask_ps(_mm256_castsi256_ps(none));
}

EMULATED emulated_integers emulated_set_bytes(char byte)
{
    emulated_integers v;
    memset(&v, byte, sizeof v);
    return v;
}

EMULATED emulated_integers emulated_set_long(long long a, long long b, long long c, long long d,
                                             long long e, long long f, long long g, long long h)
{
    const long long all[8] = {a, b, c, d, e, f, g, h};
    return emulated_load_integers(all);
}

EMULATED emulated_integers emulated_set_each(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e,
                                             int32_t f, int32_t g, int32_t h, int32_t i, int32_t j,
                                             int32_t k, int32_t l, int32_t m, int32_t n, int32_t o,
                                             int32_t p)
{
    return (emulated_integers){{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p}};
}

EMULATED void emulated_store_integers(void *p, emulated_integers v)
{
    memcpy(p, &v, sizeof v);
}

/* Bit i of the table says what becomes of the bits of a, b and c that are number i. */
EMULATED emulated_integers emulated_choose_bits(emulated_integers a, emulated_integers b,
                                                emulated_integers c, unsigned table)
{
    emulated_integers out = emulated_set_integers(0);
    for (int i = 0; i < 16; i++)
        for (unsigned n = 0; n < 8; n++)
            if (table >> n & 1)
                out.lane[i] |= (n & 4 ? a.lane[i] : ~a.lane[i]) & (n & 2 ? b.lane[i] : ~b.lane[i]) &
                               (n & 1 ? c.lane[i] : ~c.lane[i]);
    return out;
}

/* Bytes within quarters. */
EMULATED emulated_integers emulated_shuffle_bytes(emulated_integers v, emulated_integers from)
{
    uint8_t at[64], all[64], out[64];
    memcpy(at, &from, sizeof at);
    memcpy(all, &v, sizeof all);
    for (int i = 0; i < 64; i++)
        out[i] = at[i] & 128 ? 0 : all[i / 16 * 16 + at[i] % 16];
    memcpy(&v, out, sizeof v);
    return v;
}

/* Puts a vector of `bytes` in place number `place`. */
EMULATED emulated_integers emulated_insert(emulated_integers v, const void *from, size_t bytes,
                                           size_t place)
{
    memcpy((char *)&v + place * bytes, from, bytes);
    return v;
}

EMULATED emulated_integers emulated_insert_quarter(emulated_integers v, __m128i part, int at)
{
    return emulated_insert(v, &part, sizeof part, (size_t)at);
}

EMULATED emulated_integers emulated_insert_half(emulated_integers v, __m256i part, int at)
{
    return emulated_insert(v, &part, sizeof part, (size_t)at);
}

EMULATED emulated_integers emulated_fill_quarters(emulated_integers v, unsigned lanes, __m128i part)
{
    for (int i = 0; i < 4; i++)
        v = lanes >> 4 * i & 1 ? emulated_insert_quarter(v, part, i) : v;
    return v;
}

EMULATED __m256i emulated_narrow_16(emulated_integers v)
{
    int16_t from[32];
    int8_t to[32];
    memcpy(from, &v, sizeof from);
    for (int i = 0; i < 32; i++)
        to[i] = (int8_t)from[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)to);
}

EMULATED __m256i emulated_narrow_32(emulated_integers v)
{
    int16_t to[16];
    for (int i = 0; i < 16; i++)
        to[i] = (int16_t)v.lane[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)to);
}

/* Adds the products of pairs. */
EMULATED emulated_integers emulated_dot_pairs(emulated_integers sum, emulated_integers a,
                                              emulated_integers b)
{
    for (int i = 0; i < 16; i++)
        sum.lane[i] = emulated_dot(sum.lane[i], a.lane[i], b.lane[i]);
    return sum;
}

/* Four unsigned bytes of a by as many signed ones of b. */
EMULATED emulated_integers emulated_dot_bytes(emulated_integers sum, emulated_integers a,
                                              emulated_integers b)
{
    uint8_t of_a[64];
    int8_t of_b[64];
    uint32_t sums[16];
    memcpy(of_a, &a, sizeof of_a);
    memcpy(of_b, &b, sizeof of_b);
    memcpy(sums, &sum, sizeof sums);
    for (int i = 0; i < 64; i++)
        sums[i / 4] += (uint32_t)(of_a[i] * of_b[i]);
    memcpy(&sum, sums, sizeof sum);
    return sum;
}

EMULATED emulated_floats emulated_load_floats(const float *p)
{
    emulated_floats out;
    memcpy(&out, p, sizeof out);
    return out;
}

EMULATED void emulated_store_floats(float *p, emulated_floats v)
{
    memcpy(p, &v, sizeof v);
}

EMULATED emulated_floats emulated_set_floats(float value)
{
    emulated_floats out;
    for (int i = 0; i < 16; i++)
        out.lane[i] = value;
    return out;
}

EMULATED emulated_floats emulated_add(emulated_floats a, emulated_floats b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] += b.lane[i];
    return a;
}

EMULATED emulated_floats emulated_multiply(emulated_floats a, emulated_floats b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] *= b.lane[i];
    return a;
}

EMULATED emulated_floats emulated_fma(emulated_floats a, emulated_floats b, emulated_floats c)
{
    for (int i = 0; i < 16; i++)
        c.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

EMULATED emulated_floats emulated_convert(emulated_integers v)
{
    emulated_floats out;
    for (int i = 0; i < 16; i++)
        out.lane[i] = (float)v.lane[i];
    return out;
}

EMULATED emulated_floats emulated_widen(__m256i halves)
{
    emulated_floats out;
    _mm256_storeu_ps(out.lane, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
    _mm256_storeu_ps(out.lane + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
    return out;
}

EMULATED __m256 emulated_half(emulated_floats v, int half)
{
    return _mm256_loadu_ps(v.lane + 8 * half);
}

/* The 16-bit elements of a, then b, that the low bits of `at` name. */
EMULATED emulated_integers emulated_choose_16(emulated_integers a, emulated_integers at,
                                              emulated_integers b)
{
    uint16_t from[64], chosen[32];
    memcpy(from, &a, sizeof a);
    memcpy(from + 32, &b, sizeof b);
    memcpy(chosen, &at, sizeof at);
    for (int i = 0; i < 32; i++)
        chosen[i] = from[chosen[i] & 63];
    memcpy(&a, chosen, sizeof a);
    return a;
}

EMULATED emulated_floats emulated_subtract_floats(emulated_floats a, emulated_floats b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] -= b.lane[i];
    return a;
}

EMULATED emulated_integers emulated_bits(emulated_floats v)
{
    emulated_integers out;
    memcpy(&out, &v, sizeof out);
    return out;
}

#define EMULATED_FLOATS(name, expression)                                                          \
    EMULATED emulated_floats name(emulated_floats a, emulated_floats b)                            \
    {                                                                                              \
        for (int i = 0; i < 16; i++)                                                               \
            a.lane[i] = expression;                                                                \
        return a;                                                                                  \
    }
EMULATED_FLOATS(emulated_min, a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i])
EMULATED_FLOATS(emulated_max, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
EMULATED_FLOATS(emulated_scale, (float)__builtin_scalbn((double)a.lane[i], (int)b.lane[i]))

EMULATED emulated_floats emulated_round(emulated_floats a)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] = __builtin_rintf(a.lane[i]);
    return a;
}

EMULATED emulated_floats emulated_negative_fma(emulated_floats a, emulated_floats b,
                                               emulated_floats c)
{
    for (int i = 0; i < 16; i++)
        c.lane[i] = __builtin_fmaf(-a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

EMULATED emulated_floats emulated_load_some(emulated_floats v, unsigned mask, const float *from)
{
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            v.lane[i] = from[i];
    return v;
}

EMULATED void emulated_store_some(float *to, unsigned mask, emulated_floats v)
{
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            to[i] = v.lane[i];
}

EMULATED __m256i emulated_take_half(emulated_integers v)
{
    return _mm256_loadu_si256((const __m256i *)v.lane);
}

EMULATED emulated_floats emulated_floats_of(emulated_integers v)
{
    emulated_floats out;
    memcpy(&out, &v, sizeof out);
    return out;
}

/* Compilers have some of these as macros. */
#undef _mm512_shuffle_i32x4
#undef _mm512_extractf32x8_ps
#undef _mm512_inserti32x4
#undef _mm512_inserti64x4
#undef _mm512_ternarylogic_epi32
#undef _mm512_slli_epi32
#undef _mm512_setr_epi64
#undef _mm512_setr_epi32
#undef _mm512_i32gather_epi32
#undef _mm512_i32gather_epi64
#undef _mm512_maskz_slli_epi32
#undef _mm512_cmplt_epi32_mask
#undef _mm512_cmpneq_epi32_mask
#undef _mm512_cmpge_epu8_mask
#undef _mm512_roundscale_ps

#define __m512i                            emulated_integers
#define __m512                             emulated_floats
#define _mm512_unpacklo_epi32(a, b)        emulated_unpack(a, b, 0, 1)
#define _mm512_unpackhi_epi32(a, b)        emulated_unpack(a, b, 1, 1)
#define _mm512_unpacklo_epi64(a, b)        emulated_unpack(a, b, 0, 2)
#define _mm512_unpackhi_epi64(a, b)        emulated_unpack(a, b, 1, 2)
#define _mm512_shuffle_i32x4               emulated_shuffle
#define _mm512_loadu_si512                 emulated_load_integers
#define _mm512_setzero_si512()             emulated_set_integers(0)
#define _mm512_storeu_si512                emulated_store_integers
#define _mm512_set1_epi32                  emulated_set_integers
#define _mm512_set1_epi8                   emulated_set_bytes
#define _mm512_setr_epi64                  emulated_set_long
#define _mm512_slli_epi32                  emulated_shift_left
#define _mm512_srli_epi32                  emulated_shift_right
#define _mm512_srai_epi32                  emulated_shift_signed
#define _mm512_slli_epi16                  emulated_shift_left_16
#define _mm512_srli_epi16                  emulated_shift_right_16
#define _mm512_srai_epi16                  emulated_shift_signed_16
#define _mm512_add_epi32                   emulated_add_integers
#define _mm512_sub_epi32                   emulated_subtract
#define _mm512_add_epi8                    emulated_add_bytes
#define _mm512_sub_epi8                    emulated_subtract_bytes
#define _mm512_and_si512                   emulated_and
#define _mm512_or_si512                    emulated_or
#define _mm512_xor_si512                   emulated_xor
#define _mm512_srlv_epi16                  emulated_shift_right_by
#define _mm512_rolv_epi64                  emulated_rotate_by
#define _mm512_ternarylogic_epi32          emulated_choose_bits
#define _mm512_shuffle_epi8                emulated_shuffle_bytes
#define _mm512_mask_add_epi8(o, m, a, b)   emulated_select(o, m, emulated_add_bytes(a, b), 1)
#define _mm512_mask_sub_epi8(o, m, a, b)   emulated_select(o, m, emulated_subtract_bytes(a, b), 1)
#define _mm512_mask_sub_epi64(o, m, a, b)  emulated_select(o, m, emulated_subtract_long(a, b), 8)
#define _mm512_mask_add_epi32(o, m, a, b)  emulated_select(o, m, emulated_add_integers(a, b), 4)
#define _mm512_mask_sllv_epi32(o, m, a, b) emulated_select(o, m, emulated_shift_left_by(a, b), 4)
#define _mm512_maskz_slli_epi32(m, a, by)                                                          \
    emulated_select(emulated_set_integers(0), m, emulated_shift_left(a, by), 4)
#define _mm512_maskz_mov_epi8(m, a)     emulated_select(emulated_set_integers(0), m, a, 1)
#define _mm512_cmplt_epi32_mask(a, b)   emulated_compare(a, b, 1)
#define _mm512_cmpneq_epi32_mask(a, b)  emulated_compare(a, b, 5)
#define _mm512_cmpge_epu8_mask          emulated_bytes_from
#define _mm512_i32gather_epi32          emulated_gather
#define _mm512_i32gather_epi64          emulated_gather_long
#define _mm512_permutexvar_epi64        emulated_permute_long
#define _mm512_permutexvar_epi16(at, v) emulated_choose_16(v, at, v)
#define _mm512_cvtepu8_epi32            emulated_widen_bytes
#define _mm512_srlv_epi64               emulated_shift_right_long
#define _mm512_andnot_si512             emulated_and_not
#define _mm512_mullo_epi16              emulated_multiply_16
#define _mm512_mullo_epi32              emulated_multiply_32
#define _mm512_min_epi32                emulated_least
#define _mm512_setr_epi32               emulated_set_each
#define _mm256_rolv_epi32               emulated_rotate_eight
#define _mm256_test_epi32_mask          emulated_test_eight
#define _mm512_castsi128_si512(v)       emulated_insert_quarter(emulated_set_integers(0), v, 0)
#define _mm512_castsi256_si512(v)       emulated_insert_half(emulated_set_integers(0), v, 0)
#define _mm512_inserti32x4              emulated_insert_quarter
#define _mm512_inserti64x4              emulated_insert_half
#define _mm512_broadcast_i32x4(v)       emulated_fill_quarters(emulated_set_integers(0), 0xffff, v)
#define _mm512_mask_broadcast_i32x4     emulated_fill_quarters
#define _mm512_broadcast_i64x4(v)       emulated_insert_half(_mm512_castsi256_si512(v), v, 1)
#define _mm512_cvtepi16_epi8            emulated_narrow_16
#define _mm512_cvtepi32_epi16           emulated_narrow_32
#define _mm512_dpwssd_epi32             emulated_dot_pairs
#define _mm512_dpbusd_epi32             emulated_dot_bytes
#define _mm512_cvtph_ps                 emulated_widen
#define UMBRA_ADD_COLUMNS               emulated_dot_pairs
#define _mm512_setzero_ps()             emulated_set_floats(0)
#define _mm512_loadu_ps                 emulated_load_floats
#define _mm512_storeu_ps                emulated_store_floats
#define _mm512_set1_ps                  emulated_set_floats
#define _mm512_add_ps                   emulated_add
#define _mm512_sub_ps                   emulated_subtract_floats
#define _mm512_min_ps                   emulated_min
#define _mm512_max_ps                   emulated_max
#define _mm512_fnmadd_ps                emulated_negative_fma
#define _mm512_scalef_ps                emulated_scale
#define _mm512_roundscale_ps(v, how)    emulated_round(v)
#define _mm512_mask_loadu_ps            emulated_load_some
#define _mm512_mask_storeu_ps           emulated_store_some
#define _mm512_maskz_mov_ps(mask, v)    emulated_load_some(emulated_set_floats(0), mask, (v).lane)
#define _mm512_castps_si512             emulated_bits
#define _mm512_castsi512_ps             emulated_floats_of
#define _mm512_castsi512_si256(v)       emulated_take_half(v)
#define _mm512_mul_ps                   emulated_multiply
#define _mm512_fmadd_ps                 emulated_fma
#define _mm512_cvtepi32_ps              emulated_convert
#define _mm512_castps512_ps256(v)       emulated_half(v, 0)
#define UMBRA_AVX512_KEEP(v)            ((void)(v))
#define _mm512_extractf32x8_ps(v, half) emulated_half(v, half)

#endif
