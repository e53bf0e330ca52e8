/* Number formats of tensors, by the ids that GGUF files use.
 * Values come in blocks: `block_values` values take `block_bytes` bytes. */
#ifndef UMBRA_BASE_DTYPE_H
#define UMBRA_BASE_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

/* X(id, NAME, block_values, block_bytes) */
#define UMBRA_DTYPE_MAP(X)                                                                         \
    X(0, F32, 1, 4)                                                                                \
    X(1, F16, 1, 2)                                                                                \
    X(2, Q4_0, 32, 18)                                                                             \
    X(3, Q4_1, 32, 20)                                                                             \
    X(6, Q5_0, 32, 22)                                                                             \
    X(7, Q5_1, 32, 24)                                                                             \
    X(8, Q8_0, 32, 34)                                                                             \
    X(9, Q8_1, 32, 36)                                                                             \
    X(10, Q2_K, 256, 84)                                                                           \
    X(11, Q3_K, 256, 110)                                                                          \
    X(12, Q4_K, 256, 144)                                                                          \
    X(13, Q5_K, 256, 176)                                                                          \
    X(14, Q6_K, 256, 210)                                                                          \
    X(15, Q8_K, 256, 292)                                                                          \
    X(16, IQ2_XXS, 256, 66)                                                                        \
    X(17, IQ2_XS, 256, 74)                                                                         \
    X(18, IQ3_XXS, 256, 98)                                                                        \
    X(19, IQ1_S, 256, 50)                                                                          \
    X(20, IQ4_NL, 32, 18)                                                                          \
    X(21, IQ3_S, 256, 110)                                                                         \
    X(22, IQ2_S, 256, 82)                                                                          \
    X(23, IQ4_XS, 256, 136)                                                                        \
    X(24, I8, 1, 1)                                                                                \
    X(25, I16, 1, 2)                                                                               \
    X(26, I32, 1, 4)                                                                               \
    X(27, I64, 1, 8)                                                                               \
    X(28, F64, 1, 8)                                                                               \
    X(29, IQ1_M, 256, 56)                                                                          \
    X(30, BF16, 1, 2)                                                                              \
    X(34, TQ1_0, 256, 54)                                                                          \
    X(35, TQ2_0, 256, 66)                                                                          \
    X(39, MXFP4, 32, 17)                                                                           \
    X(40, NVFP4, 64, 36)

typedef enum umbra_dtype {
#define UMBRA_DTYPE_ENUM(id, name, values, bytes) UMBRA_##name = id,
    UMBRA_DTYPE_MAP(UMBRA_DTYPE_ENUM)
#undef UMBRA_DTYPE_ENUM
        UMBRA_DTYPE_COUNT = 41
} umbra_dtype;

typedef struct umbra_dtype_info {
    const char *name; /* "Q4_0"; NULL for an id that is not in the list */
    uint32_t block_values;
    uint32_t block_bytes;
} umbra_dtype_info;

/* Info of any id, listed or not (name NULL then). */
umbra_dtype_info umbra_dtype_get(uint32_t id);

/* Bytes of a row of n values; n must be a multiple of the block. */
static inline uint64_t umbra_dtype_row_bytes(umbra_dtype_info info, uint64_t n)
{
    return n / info.block_values * info.block_bytes;
}

#endif
