/* Quantised weights of eight lanes, each a row or a stretch of one, for AVX2. */
#ifndef UMBRA_KERNELS_X86_AVX2_LANES_H
#define UMBRA_KERNELS_X86_AVX2_LANES_H

#include "kernels/x86/avx2_blocks.h"

enum {
    LANE_ROWS = 8, /* lanes of a register */
    PARTS = UMBRA_PARTS_MAX,
};

/* Where a unit of each lane begins, 256 values: a block or several. */
typedef struct lane_units {
    const uint8_t *at[LANE_ROWS];
} lane_units;

/* 16 bytes: number i has bytes 4 i to 4 i + 3 of each lane. */
UMBRA_INLINE void turn_bytes(__m256i out[4], const lane_units *u, int at)
{
    __m256i v[4];
    UMBRA_UNROLL(4)
    for (int r = 0; r < 4; r++) {
        v[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(u->at[r] + at)),
                                       load_16(u->at[r + 4] + at), 1);
    }
    __m256i front = _mm256_unpacklo_epi32(v[0], v[1]), back = _mm256_unpackhi_epi32(v[0], v[1]);
    __m256i front_2 = _mm256_unpacklo_epi32(v[2], v[3]), back_2 = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(front, front_2);
    out[1] = _mm256_unpackhi_epi64(front, front_2);
    out[2] = _mm256_unpacklo_epi64(back, back_2);
    out[3] = _mm256_unpackhi_epi64(back, back_2);
}

/* Four bytes of each lane. */
UMBRA_INLINE __m256i load_words(const lane_units *u, int at)
{
    int w[LANE_ROWS];
    UMBRA_UNROLL(8)
    for (int r = 0; r < LANE_ROWS; r++) {
        w[r] = (int)umbra_load_u32(u->at[r] + at);
    }
    return _mm256_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]);
}

#endif
