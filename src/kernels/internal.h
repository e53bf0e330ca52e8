/* What the files of this layer share. Every ISA has one function that overwrites the entries it
 * does better in a table filled before by the ISA below it. */
#ifndef UMBRA_KERNELS_INTERNAL_H
#define UMBRA_KERNELS_INTERNAL_H

#include "kernels/kernels.h"

/* The matmul templates take the function that reads one block as an argument and rely on the
 * compiler to inline it; only then do they become one loop per weight type. */
#define UMBRA_INLINE static inline __attribute__((always_inline))

#define UMBRA_PRAGMA(text) _Pragma(#text)
#define UMBRA_UNROLL(n)    UMBRA_PRAGMA(GCC unroll n)

/* Lets the compiler know nothing of what the object holds, so that it reads it from memory: to
 * broadcast a number from there is only a load, from a lane of a register it is shuffles. */
#define UMBRA_KEEP_IN_MEMORY(object) __asm__("" : "+m"(object))

/* UMBRA_Q4_K_BYTES, the bytes of a block, and UMBRA_Q4_K_PARTS, how many blocks of activations it
 * covers; so for every number format. */
#define UMBRA_BLOCK_SIZES(id, name, values, bytes)                                                 \
    UMBRA_##name##_BYTES = (bytes), UMBRA_##name##_PARTS = (values) / UMBRA_Q16_BLOCK,
enum { UMBRA_DTYPE_MAP(UMBRA_BLOCK_SIZES) UMBRA_PARTS_MAX = 8, UMBRA_HALF_PART = 16 };
#undef UMBRA_BLOCK_SIZES

enum {
    /* Weight rows of a prefill are walked in blocks of about this size, so that a block stays in
     * the first-level cache while all tokens pass over it. */
    UMBRA_ROW_BLOCK_BYTES = 16384,
    /* Far enough ahead to cover a memory latency at the rate at which one core reads. */
    UMBRA_PREFETCH_BYTES = 4096,
    UMBRA_CACHE_LINE = 64,
};

/* Blocks whose largest value is below 2^-100 are rounded to zeros: 32767 / max would overflow. */
#define UMBRA_Q16_TINY 0x1p-100f
#define UMBRA_Q16_MAX  32767.0f

void umbra_kernels_fill_scalar(umbra_kernels *k);
void umbra_kernels_fill_reference(umbra_kernels *k);    /* over scalar */
void umbra_kernels_fill_scalar_state(umbra_kernels *k); /* of these two, recurrent states */
void umbra_kernels_fill_reference_state(umbra_kernels *k);
void umbra_kernels_fill_avx2(umbra_kernels *k);    /* over scalar */
void umbra_kernels_fill_avxvnni(umbra_kernels *k); /* over AVX2 */
void umbra_kernels_fill_avx512(umbra_kernels *k);  /* over avx2 */
void umbra_kernels_fill_amx(umbra_kernels *k);     /* over avx512 */
void umbra_kernels_fill_neon(umbra_kernels *k);    /* over scalar */

extern const struct umbra_predict_kernels umbra_predict_scalar; /* the standard for the others */
extern const struct umbra_predict_kernels umbra_predict_avx2;
extern const struct umbra_predict_kernels umbra_predict_avx512;
extern const struct umbra_predict_kernels umbra_predict_neon;

UMBRA_INLINE int umbra_min_int(int a, int b)
{
    return a < b ? a : b;
}

UMBRA_INLINE const uint8_t *umbra_weight_row(const umbra_matmul *m, int row)
{
    return (const uint8_t *)m->weights + (uint64_t)row * m->row_bytes;
}

UMBRA_INLINE size_t umbra_token_row(const umbra_matmul *m, int token)
{
    return (size_t)(m->gather ? m->gather[token] : token);
}

UMBRA_INLINE float *umbra_output(const umbra_matmul *m, int token, int row)
{
    return m->out + (uint64_t)token * m->out_stride + (uint64_t)row;
}

/* Rows per block of a prefill, a multiple of `step`. */
UMBRA_INLINE int umbra_row_block(const umbra_matmul *m, int step)
{
    uint64_t rows = UMBRA_ROW_BLOCK_BYTES / (m->row_bytes + 1) / (uint64_t)step;
    return rows < 1 ? step : (int)rows * step;
}

/* A tile of a few rows reads them side by side, which hardware prefetchers follow badly. Asks for
 * the lines UMBRA_PREFETCH_BYTES after [p, p + bytes), taking the rows as contiguous. Beyond the
 * matrix's end that is no error, only a hint wasted. */
UMBRA_INLINE void umbra_prefetch_stream(const uint8_t *p, size_t bytes)
{
    uintptr_t ahead = (uintptr_t)p + UMBRA_PREFETCH_BYTES;
    for (size_t i = 0; i < bytes; i += UMBRA_CACHE_LINE) {
        __builtin_prefetch((const void *)(ahead + i));
    }
}

/* The same for tiles of `rows` rows: into the second-level cache, and at least so far ahead as
 * these rows reach, since rows of any length have to be there when the next tile begins. */
UMBRA_INLINE void umbra_prefetch_rows(const umbra_matmul *m, const uint8_t *p, int rows,
                                      size_t bytes)
{
    uint64_t tile = (uint64_t)rows * m->row_bytes;
    uintptr_t ahead = (uintptr_t)p + (tile > UMBRA_PREFETCH_BYTES ? tile : UMBRA_PREFETCH_BYTES);
    for (size_t i = 0; i < bytes; i += UMBRA_CACHE_LINE) {
        __builtin_prefetch((const void *)(ahead + i), 0, 2);
    }
}

#endif
