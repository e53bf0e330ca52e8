/* Expansion of weights against values known from elsewhere: worked out by hand, made by another
 * implementation (block_vectors.h), or, for 16-bit floats, from their definition. */
#include <math.h>
#include <string.h>

#include "block_vectors.h"
#include "check.h"

enum { HALVES = 65536 };

typedef struct hand_case {
    umbra_dtype type;
    uint8_t block[34];
    float values[32];
} hand_case;

/* The numbers in the comments are the f16 scales. */
static const hand_case hand_cases[] = {
    {UMBRA_Q8_0, /* 0x3800 = 0.5 */
     {0x00, 0x38, 0, 1, 2, 3, 255, 254, 127, 128, 64, 192, [33] = 10},
     {0, 0.5f, 1, 1.5f, -0.5f, -1, 63.5f, -64, 32, -32, [31] = 5}},
    {UMBRA_Q8_0, /* 0xbc00 = -1 */
     {0x00, 0xbc, 1, 255, 127, 128, [33] = 129},
     {-1,    1,     -127,  128,   -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f,
      -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f,
      -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, 127}},
    {UMBRA_Q8_0, /* 0x0001 = 2^-24 */
     {0x01, 0x00, 1, 128, 127, [33] = 2},
     {0x1p-24f, -0x1p-17f, 0x1.fcp-18f, [31] = 0x1p-23f}},
    {UMBRA_Q8_0, /* 0x7bff = 65504 */
     {0xff, 0x7b, 1, 2, 255, 128},
     {65504, 131008, -65504, -8384512}},
    {UMBRA_Q4_0, /* 0x3c00 = 1: low nibbles are the first half, high ones the second */
     {0x00, 0x3c, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0x00, 0xff, 0x0f, 0xf0, 0x88,
      0x87, 0x78, 0x08},
     {-8, -6, -4, -2, 0, 2, 4, 6, -8, 7, 7,  -8, 0, -1, 0,  0,
      -7, -5, -3, -1, 1, 3, 5, 7, -8, 7, -8, 7,  0, 0,  -1, -8}},
    {UMBRA_Q4_0, /* 0xb400 = -0.25 */
     {0x00, 0xb4, 0x0f, 0xf0, 0x19, 0x91, 0x19, 0x91, 0x19, 0x91, 0x19, 0x91, 0x19, 0x91, 0x19,
      0x91, 0x19, 0x91},
     {-1.75f, 2,      -0.25f, 1.75f,  -0.25f, 1.75f,  -0.25f, 1.75f,  -0.25f, 1.75f, -0.25f,
      1.75f,  -0.25f, 1.75f,  -0.25f, 1.75f,  2,      -1.75f, 1.75f,  -0.25f, 1.75f, -0.25f,
      1.75f,  -0.25f, 1.75f,  -0.25f, 1.75f,  -0.25f, 1.75f,  -0.25f, 1.75f,  -0.25f}},
};

static void check_hand(const umbra_kernels *k)
{
    for (size_t c = 0; c < sizeof hand_cases / sizeof *hand_cases; c++) {
        const hand_case *h = &hand_cases[c];
        float got[32];
        k->dequantize[h->type](got, h->block, 32);
        for (int i = 0; i < 32; i++) {
            umbra_check(memcmp(&got[i], &h->values[i], sizeof(float)) == 0,
                        "%s dequantize %s, case %zu: value %d is %.9g, should be %.9g", k->name,
                        umbra_dtype_get(h->type).name, c, i, (double)got[i], (double)h->values[i]);
        }
    }
}

static void check_vectors(const umbra_kernels *k, umbra_dtype type, const uint8_t *blocks,
                          const uint32_t *values, int n)
{
    umbra_dtype_info info = umbra_dtype_get(type);
    size_t bytes = (size_t)umbra_dtype_row_bytes(info, (uint64_t)n);
    uint8_t *unaligned = umbra_check_alloc(bytes, 1);
    uint32_t *got = umbra_check_alloc((size_t)n * sizeof *got, 4);
    memcpy(unaligned, blocks, bytes);
    k->dequantize[type]((float *)(void *)got, unaligned, n);
    for (int i = 0; i < n; i++) {
        umbra_check(got[i] == values[i], "%s dequantize %s: value %d is 0x%08x, should be 0x%08x",
                    k->name, info.name, i, got[i], values[i]);
    }
    umbra_check_release();
}

/* Blocks whose bytes follow from their position, so that only a sum of their values needs to be
 * known; `at` is where the f16 scale lies, or -1. make_block_vectors.py makes the same. */
static uint8_t *numbered_blocks(size_t block_bytes, int at)
{
    size_t bytes = BLOCKS_SUMMED * block_bytes;
    uint8_t *blocks = umbra_check_alloc(bytes, 1);
    for (size_t i = 0; i < bytes; i++) {
        uint64_t mixed = i * 0x9e3779b97f4a7c15u;
        mixed = (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9u;
        blocks[i] = (uint8_t)(mixed >> 56);
        if (at >= 0 && i % block_bytes == (size_t)at + 1) {
            blocks[i] &= 0xbf;
        }
    }
    return blocks;
}

/* Enough blocks for every entry of a code book. */
static void check_sum(const umbra_kernels *k, umbra_dtype type, int at, uint64_t want)
{
    umbra_dtype_info info = umbra_dtype_get(type);
    size_t n = (size_t)BLOCKS_SUMMED * info.block_values;
    uint8_t *blocks = numbered_blocks(info.block_bytes, at);
    uint32_t *got = umbra_check_alloc(n * sizeof *got, 0);
    k->dequantize[type]((float *)(void *)got, blocks, (int)n);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (2 * i + 1) * got[i];
    }
    umbra_check(sum == want, "%s dequantize %s: the values' sum is 0x%llx, should be 0x%llx",
                k->name, info.name, (unsigned long long)sum, (unsigned long long)want);
    umbra_check_release();
}

/* The value of an IEEE half or bfloat16 from its definition; NaN for the NaNs. */
static double value_of(uint32_t bits, int mantissa_bits, int exponent_bits)
{
    uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
    int largest = (1 << exponent_bits) - 1;
    int exponent = (int)(bits >> mantissa_bits) & largest;
    double sign = bits & 0x8000u ? -1 : 1;
    if (exponent == largest) {
        return mantissa ? (double)NAN : sign * (double)INFINITY;
    }
    int implied = exponent > 0;
    double fraction = implied * ldexp(1, mantissa_bits) + mantissa;
    return sign * ldexp(fraction, exponent + 1 - implied - largest / 2 - mantissa_bits);
}

static void check_all_halves(const umbra_kernels *k, umbra_dtype type, int mantissa_bits,
                             int exponent_bits)
{
    uint16_t *bits = umbra_check_alloc(HALVES * sizeof *bits, 2);
    float *got = umbra_check_alloc(HALVES * sizeof *got, 4);
    for (int i = 0; i < HALVES; i++) {
        bits[i] = (uint16_t)i;
    }
    k->dequantize[type](got, bits, HALVES);
    for (int i = 0; i < HALVES; i++) {
        double want = value_of((uint32_t)i, mantissa_bits, exponent_bits);
        bool same = isnan(want) ? isnan(got[i]) : got[i] == want && !signbit(got[i]) == !(i >> 15);
        umbra_check(same, "%s dequantize %s: 0x%04x is %.9g, should be %.9g", k->name,
                    umbra_dtype_get(type).name, (unsigned)i, (double)got[i], want);
    }
    for (int n = 0; n < 20; n++) { /* sizes that do not fill a vector */
        float part[21] = {0};
        k->dequantize[type](part, bits + 0x3c00, n);
        umbra_check(memcmp(part, got + 0x3c00, (size_t)n * sizeof(float)) == 0 && part[n] == 0,
                    "%s dequantize %s of %d values", k->name, umbra_dtype_get(type).name, n);
    }
    umbra_check_release();
}

void umbra_check_dequantize(const umbra_kernels *k)
{
    check_hand(k);
#define CHECK_VECTORS(TYPE, name)                                                                  \
    check_vectors(k, UMBRA_##TYPE, name##_blocks, name##_values, (int)(sizeof name##_values / 4));
    CHECK_VECTORS(Q8_0, q8_0)
    CHECK_VECTORS(Q4_0, q4_0)
    CHECK_VECTORS(Q4_1, q4_1)
    CHECK_VECTORS(Q5_0, q5_0)
    CHECK_VECTORS(Q5_1, q5_1)
    CHECK_VECTORS(Q2_K, q2_k)
    CHECK_VECTORS(Q3_K, q3_k)
    CHECK_VECTORS(Q4_K, q4_k)
    CHECK_VECTORS(Q5_K, q5_k)
    CHECK_VECTORS(Q6_K, q6_k)
    CHECK_VECTORS(IQ4_NL, iq4_nl)
    CHECK_VECTORS(IQ4_XS, iq4_xs)
    CHECK_VECTORS(MXFP4, mxfp4)
    CHECK_VECTORS(BF16, bf16)
#define CHECK_SUM(TYPE, name, at)                                                                  \
    CHECK_VECTORS(TYPE, name)                                                                      \
    check_sum(k, UMBRA_##TYPE, at, name##_sum);
    CHECK_SUM(NVFP4, nvfp4, -1)
    CHECK_SUM(TQ1_0, tq1_0, 52)
    CHECK_SUM(TQ2_0, tq2_0, 64)
    CHECK_SUM(IQ1_S, iq1_s, 0)
    CHECK_SUM(IQ1_M, iq1_m, 54) /* the upper nibble of its last number */
    CHECK_SUM(IQ2_XXS, iq2_xxs, 0)
    CHECK_SUM(IQ2_XS, iq2_xs, 0)
    CHECK_SUM(IQ2_S, iq2_s, 0)
    CHECK_SUM(IQ3_XXS, iq3_xxs, 0)
    CHECK_SUM(IQ3_S, iq3_s, 0)
    check_all_halves(k, UMBRA_F16, 10, 5);
    check_all_halves(k, UMBRA_BF16, 7, 8);
    static const float floats[] = {1, -0.0f, 0x1p-149f, 3.4e38f, INFINITY};
    float got[5];
    k->dequantize[UMBRA_F32](got, floats, 5);
    umbra_check(memcmp(got, floats, sizeof got) == 0, "%s dequantize F32", k->name);
}

static uint16_t stored(const umbra_kernels *k, float x)
{
    /* nine values, so that both the vector part and the end of the row are used */
    float row[9];
    uint16_t bits[9];
    for (int i = 0; i < 9; i++) {
        row[i] = x;
    }
    k->store_kv(bits, row, 9);
    umbra_check(bits[0] == bits[8], "%s store_kv(%.9g) differs within a row: 0x%04x, 0x%04x",
                k->name, (double)x, (unsigned)bits[0], (unsigned)bits[8]);
    return bits[0];
}

static void expect_stored(const umbra_kernels *k, float x, unsigned want)
{
    unsigned got = stored(k, x);
    umbra_check(got == want, "%s store_kv(%.9g) is 0x%04x, should be 0x%04x", k->name, (double)x,
                got, want);
}

/* Every half comes back as itself. Between two neighbours the nearest is taken, in the middle
 * the even one; 65520, the middle between the largest half and 65536, and all above is infinity. */
void umbra_check_halves(const umbra_kernels *k)
{
    if (k->kv_bytes != 2) {
        float x[3] = {1.5f, 0x1p-149f, -INFINITY}, got[3];
        k->store_kv(got, x, 3);
        umbra_check(memcmp(x, got, sizeof x) == 0, "%s store_kv", k->name);
        return;
    }
    for (unsigned i = 0; i < 0x7c00; i++) {
        double here = value_of(i, 10, 5);
        double next = i == 0x7bff ? 65536 : value_of(i + 1, 10, 5);
        float middle = (float)((here + next) / 2);
        expect_stored(k, (float)here, i);
        expect_stored(k, -(float)here, i | 0x8000u);
        expect_stored(k, middle, i % 2 ? i + 1 : i);
        expect_stored(k, nextafterf(middle, 0), i);
        expect_stored(k, -nextafterf(middle, INFINITY), (i + 1) | 0x8000u);
    }
    expect_stored(k, 1e30f, 0x7c00);
    expect_stored(k, -INFINITY, 0xfc00);
    expect_stored(k, 0x1p-149f, 0);
    expect_stored(k, 0x1p-25f, 0);
    unsigned nan = stored(k, NAN);
    umbra_check((nan & 0x7c00) == 0x7c00 && (nan & 0x3ff), "%s store_kv(NaN) is 0x%04x", k->name,
                nan);
}
