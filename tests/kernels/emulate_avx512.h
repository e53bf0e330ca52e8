/* The AVX-512 instructions that the products of quantised weights and attention use, made of
 * AVX2's, so that they can be checked on processors that lack them. Slow. Included before the
 * sources that are to be emulated. */
#ifndef UMBRA_TESTS_EMULATE_AVX512_H
#define UMBRA_TESTS_EMULATE_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct emulated_integers {
    int32_t lane[16];
} emulated_integers;

typedef struct emulated_floats {
    float lane[16];
} emulated_floats;

static inline int32_t emulated_dot(int32_t sum, int32_t a, int32_t b)
{
    int32_t first = (int32_t)(int16_t)(a & 0xffff) * (int16_t)(b & 0xffff);
    int32_t second = (a >> 16) * (b >> 16);
    return (int32_t)((uint32_t)sum + (uint32_t)first + (uint32_t)second);
}

/* Within each quarter: the lanes first and second of a and b in turn. */
static inline emulated_integers emulated_unpack(emulated_integers a, emulated_integers b, int high,
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

static inline emulated_integers emulated_shuffle(emulated_integers a, emulated_integers b, int from)
{
    emulated_integers out;
    for (int q = 0; q < 4; q++)
        for (int i = 0; i < 4; i++) {
            int at = (from >> 2 * q & 3) * 4 + i;
            out.lane[4 * q + i] = q < 2 ? a.lane[at] : b.lane[at];
        }
    return out;
}

static inline emulated_integers emulated_load_integers(const void *p)
{
    emulated_integers out;
    memcpy(&out, p, sizeof out);
    return out;
}

static inline emulated_integers emulated_set_integers(int32_t value)
{
    emulated_integers out;
    for (int i = 0; i < 16; i++)
        out.lane[i] = value;
    return out;
}

static inline emulated_integers emulated_add_columns(emulated_integers sum, emulated_integers w,
                                                     const int16_t *q)
{
    int32_t both;
    memcpy(&both, q, sizeof both);
    for (int i = 0; i < 16; i++)
        sum.lane[i] = emulated_dot(sum.lane[i], w.lane[i], both);
    return sum;
}

static inline emulated_floats emulated_load_floats(const float *p)
{
    emulated_floats out;
    memcpy(&out, p, sizeof out);
    return out;
}

static inline void emulated_store_floats(float *p, emulated_floats v)
{
    memcpy(p, &v, sizeof v);
}

static inline emulated_floats emulated_set_floats(float value)
{
    emulated_floats out;
    for (int i = 0; i < 16; i++)
        out.lane[i] = value;
    return out;
}

static inline emulated_floats emulated_add(emulated_floats a, emulated_floats b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] += b.lane[i];
    return a;
}

static inline emulated_floats emulated_multiply(emulated_floats a, emulated_floats b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] *= b.lane[i];
    return a;
}

static inline emulated_floats emulated_fma(emulated_floats a, emulated_floats b, emulated_floats c)
{
    for (int i = 0; i < 16; i++)
        c.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

static inline emulated_floats emulated_convert(emulated_integers v)
{
    emulated_floats out;
    for (int i = 0; i < 16; i++)
        out.lane[i] = (float)v.lane[i];
    return out;
}

static inline __m256 emulated_half(emulated_floats v, int half)
{
    return _mm256_loadu_ps(v.lane + 8 * half);
}

/* Clang has these two as macros. */
#undef _mm512_shuffle_i32x4
#undef _mm512_extractf32x8_ps

#define __m512i                         emulated_integers
#define __m512                          emulated_floats
#define _mm512_unpacklo_epi32(a, b)     emulated_unpack(a, b, 0, 1)
#define _mm512_unpackhi_epi32(a, b)     emulated_unpack(a, b, 1, 1)
#define _mm512_unpacklo_epi64(a, b)     emulated_unpack(a, b, 0, 2)
#define _mm512_unpackhi_epi64(a, b)     emulated_unpack(a, b, 1, 2)
#define _mm512_shuffle_i32x4            emulated_shuffle
#define _mm512_loadu_si512              emulated_load_integers
#define _mm512_setzero_si512()          emulated_set_integers(0)
#define UMBRA_ADD_COLUMNS               emulated_add_columns
#define _mm512_setzero_ps()             emulated_set_floats(0)
#define _mm512_loadu_ps                 emulated_load_floats
#define _mm512_storeu_ps                emulated_store_floats
#define _mm512_set1_ps                  emulated_set_floats
#define _mm512_add_ps                   emulated_add
#define _mm512_mul_ps                   emulated_multiply
#define _mm512_fmadd_ps                 emulated_fma
#define _mm512_cvtepi32_ps              emulated_convert
#define _mm512_castps512_ps256(v)       emulated_half(v, 0)
#define UMBRA_AVX512_KEEP(v)            ((void)(v))
#define _mm512_extractf32x8_ps(v, half) emulated_half(v, half)

#endif
