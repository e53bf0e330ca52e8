/* Random operands, their memory, and distances between results, for the checks of kernels. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"

enum { ALIGNMENT = 64, ALLOCATIONS_MAX = 64 };

static struct {
    void *pages;
    size_t bytes;
} allocations[ALLOCATIONS_MAX];
static int allocation_count;

_Noreturn static void give_up(const char *why, size_t n)
{
    fprintf(stderr, "check_kernels: %s (%zu)\n", why, n);
    abort();
}

void *umbra_check_alloc(size_t bytes, size_t shift)
{
    if (allocation_count == ALLOCATIONS_MAX)
        give_up("too many allocations in one check", ALLOCATIONS_MAX);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = umbra_align_up(umbra_align_up(bytes, ALIGNMENT) + shift, page);
    uint8_t *p =
        mmap(NULL, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + usable, page, PROT_NONE) != 0)
        give_up("out of memory: bytes", bytes);
    allocations[allocation_count].pages = p;
    allocations[allocation_count++].bytes = usable + page;
    if (shift > 0 && shift % 2 == 0 && bytes % ALIGNMENT != 0)
        return p + usable - bytes;
    return p + (usable - shift - bytes) / ALIGNMENT * ALIGNMENT + shift;
}

void umbra_check_release(void)
{
    for (; allocation_count > 0; allocation_count--)
        munmap(allocations[allocation_count - 1].pages, allocations[allocation_count - 1].bytes);
}

static uint64_t random_state = 1;

void umbra_check_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
}

uint32_t umbra_check_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

float umbra_check_uniform(float low, float high)
{
    return low + (high - low) * (float)umbra_check_random() * 0x1p-32f;
}

float umbra_check_normal(void)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += umbra_check_uniform(-0.5f, 0.5f);
    }
    return sum;
}

double umbra_check_ulps(float got, double want)
{
    int exponent;
    frexp(want, &exponent);
    exponent = exponent < -125 ? -125 : exponent;
    return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

const umbra_dtype umbra_check_types[CHECK_TYPES] = {
    UMBRA_F32,     UMBRA_F16,    UMBRA_BF16,  UMBRA_Q8_0,    UMBRA_Q4_0,  UMBRA_Q4_1,  UMBRA_Q5_0,
    UMBRA_Q5_1,    UMBRA_Q2_K,   UMBRA_Q3_K,  UMBRA_Q4_K,    UMBRA_Q5_K,  UMBRA_Q6_K,  UMBRA_IQ4_NL,
    UMBRA_MXFP4,   UMBRA_IQ4_XS, UMBRA_NVFP4, UMBRA_TQ1_0,   UMBRA_TQ2_0, UMBRA_IQ1_S, UMBRA_IQ1_M,
    UMBRA_IQ2_XXS, UMBRA_IQ2_XS, UMBRA_IQ2_S, UMBRA_IQ3_XXS, UMBRA_IQ3_S,
};

const char *umbra_check_pattern_name(check_pattern p)
{
    static const char *const names[CHECK_PATTERNS] = {
        [CHECK_NORMAL] = "normal",     [CHECK_ZEROS] = "zeros",   [CHECK_HUGE] = "huge",
        [CHECK_DENORMAL] = "denormal", [CHECK_SPIKES] = "spikes", [CHECK_SATURATED] = "saturated",
    };
    return names[p];
}

void umbra_check_fill(float *x, size_t n, check_pattern p)
{
    for (size_t i = 0; i < n; i++) {
        switch (p) {
        case CHECK_NORMAL:
            x[i] = umbra_check_normal();
            break;
        case CHECK_HUGE:
            x[i] = umbra_check_normal() * 1e25f;
            break;
        case CHECK_DENORMAL:
            x[i] = umbra_check_normal() * 1e-39f;
            break;
        case CHECK_SPIKES:
            x[i] = umbra_check_normal() * (i % 32 == 7 ? 1e4f : 1.0f);
            break;
        case CHECK_SATURATED:
            x[i] = i % 3 == 0 ? -2.5f : 2.5f;
            break;
        default:
            x[i] = 0;
            break;
        }
    }
}

/* f16 bits of a scale: usually between 2^-8 and 2^-5 with either sign. */
static uint16_t random_scale(bool extreme)
{
    static const uint16_t special[] = {0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x0000};
    uint32_t r = umbra_check_random();
    if (extreme && r % 4 == 0) {
        return special[r / 4 % (sizeof special / sizeof *special)];
    }
    return (uint16_t)((r & 0x8000u) | (7 + r % 3) << 10 | (r >> 16 & 0x3ffu));
}

/* Where the one or two f16 numbers of a block lie. */
static const struct halves {
    int count, at[2];
} halves_of[UMBRA_DTYPE_COUNT] = {
    [UMBRA_F16] = {1, {0}},     [UMBRA_BF16] = {1, {0}},      [UMBRA_Q8_0] = {1, {0}},
    [UMBRA_Q4_0] = {1, {0}},    [UMBRA_Q4_1] = {2, {0, 2}},   [UMBRA_Q5_0] = {1, {0}},
    [UMBRA_Q5_1] = {2, {0, 2}}, [UMBRA_Q2_K] = {2, {80, 82}}, [UMBRA_Q3_K] = {1, {108}},
    [UMBRA_Q4_K] = {2, {0, 2}}, [UMBRA_Q5_K] = {2, {0, 2}},   [UMBRA_Q6_K] = {1, {208}},
    [UMBRA_IQ4_NL] = {1, {0}},  [UMBRA_IQ4_XS] = {1, {0}},    [UMBRA_TQ1_0] = {1, {52}},
    [UMBRA_TQ2_0] = {1, {64}},  [UMBRA_IQ1_S] = {1, {0}},     [UMBRA_IQ2_XXS] = {1, {0}},
    [UMBRA_IQ2_XS] = {1, {0}},  [UMBRA_IQ2_S] = {1, {0}},     [UMBRA_IQ3_XXS] = {1, {0}},
    [UMBRA_IQ3_S] = {1, {0}},
};

bool umbra_check_clear_values(umbra_dtype type, uint8_t *blocks, size_t count)
{
    size_t bytes = umbra_dtype_get(type).block_bytes, first = 0, end = bytes;
    switch (type) {
    case UMBRA_Q4_1:
    case UMBRA_Q5_1:
        first = 4;
        break;
    case UMBRA_Q2_K:
        first = 16;
        end = 80;
        break;
    case UMBRA_Q4_K:
    case UMBRA_Q5_K:
        first = 16;
        break;
    default:
        return false;
    }
    for (size_t b = 0; b < count; b++) {
        memset(blocks + b * bytes + first, 0, end - first);
    }
    return true;
}

/* The f16 number of IQ1_M lies in the upper nibbles of every other byte. */
static void spread_half(uint8_t *block, uint16_t half)
{
    for (int i = 0; i < 4; i++) {
        uint8_t *byte = &block[49 + 2 * i];
        *byte = (uint8_t)((*byte & 15) | (half >> 4 * i & 15) << 4);
    }
}

static void fill_block(uint8_t *block, umbra_dtype type, size_t bytes, bool extreme)
{
    if (type == UMBRA_F32) {
        static const float special[] = {0x1p-149f, -0x1p-130f, 1e8f, -1e8f, 0.0f, -0.0f};
        uint32_t r = umbra_check_random();
        float value = extreme && r % 4 == 0 ? special[r / 4 % 6] : umbra_check_normal();
        memcpy(block, &value, sizeof value);
        return;
    }
    static const uint8_t fills[] = {0x00, 0xff, 0x80, 0x7f, 0x88};
    uint32_t kind = extreme ? umbra_check_random() % 8 : 7;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)umbra_check_random();
        block[i] = kind < sizeof fills ? fills[kind] : byte;
    }
    if (type == UMBRA_MXFP4) { /* an exponent; 128 is one */
        uint32_t r = umbra_check_random();
        block[0] = (uint8_t)(extreme && r % 4 == 0 ? 60 + r / 4 % 100 : 120 + r / 4 % 4);
    }
    if (type == UMBRA_IQ1_M) {
        spread_half(block, random_scale(extreme));
    }
    const struct halves *halves = &halves_of[type];
    for (int i = 0; i < halves->count; i++) {
        uint16_t half = random_scale(extreme);
        if (type == UMBRA_BF16) { /* the same magnitudes in the other layout */
            half = (uint16_t)((half & 0x8000u) | (0x3c00u + (half & 0x3ffu)));
        }
        memcpy(block + halves->at[i], &half, sizeof half);
    }
}

void *umbra_check_weights(umbra_dtype type, int rows, int columns, bool extreme, size_t shift)
{
    umbra_dtype_info info = umbra_dtype_get(type);
    size_t blocks = (size_t)rows * (size_t)columns / info.block_values;
    uint8_t *w = umbra_check_alloc(blocks * info.block_bytes, shift);
    for (size_t b = 0; b < blocks; b++) {
        fill_block(w + b * info.block_bytes, type, info.block_bytes, extreme);
    }
    return w;
}

umbra_activations umbra_check_activations(const umbra_kernels *k, int rows, int columns,
                                          check_pattern p, size_t shift)
{
    size_t n = (size_t)rows * (size_t)columns, blocks = n / UMBRA_Q16_BLOCK;
    umbra_activations x = {
        .rows = rows,
        .columns = columns,
        .f32 = umbra_check_alloc(n * sizeof(float), shift * sizeof(float)),
        .q = umbra_check_alloc(n * sizeof(int16_t), shift * sizeof(int16_t)),
        .scale = umbra_check_alloc(blocks * sizeof(float), shift * sizeof(float)),
        .sum = umbra_check_alloc(blocks * sizeof(float), shift * sizeof(float)),
    };
    umbra_check_fill(x.f32, n, p);
    if (columns % UMBRA_Q16_BLOCK == 0) {
        k->quantize(x.f32, (int)n, x.q, x.scale, x.sum);
    }
    return x;
}
