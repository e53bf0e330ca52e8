/* Rows of numbers into the lanes of registers, for AVX-512. */
#ifndef UMBRA_KERNELS_X86_AVX512_TURN_H
#define UMBRA_KERNELS_X86_AVX512_TURN_H

#include <immintrin.h>

#include "kernels/internal.h"

/* 16 rows of 16 numbers of 32 bits become 16 columns. */
UMBRA_INLINE void turn(__m512i out[16], const __m512i in[16])
{
    __m512i a[16], b[16];
    UMBRA_UNROLL(8)
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        const __m512i *from = a + 4 * i;
        b[4 * i] = _mm512_unpacklo_epi64(from[0], from[2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(from[0], from[2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(from[1], from[3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(from[1], from[3]);
    }
    UMBRA_UNROLL(4)
    for (int i = 0; i < 4; i++) { /* column i of each quarter */
        __m512i even = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        __m512i even_behind = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        __m512i odd_behind = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
        out[i] = _mm512_shuffle_i32x4(even, even_behind, 0x88);
        out[4 + i] = _mm512_shuffle_i32x4(odd, odd_behind, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(even, even_behind, 0xdd);
        out[12 + i] = _mm512_shuffle_i32x4(odd, odd_behind, 0xdd);
    }
}

#endif
