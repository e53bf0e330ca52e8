/* Products of quantised weights with activations for NEON (plain ARMv8). The layouts are described
 * in blocks.h; the functions stand for the same as those of avx2_blocks.h. */
#include "kernels/block_scales.h"
#include "kernels/arm/neon.h"

enum { MAX_ROWS = 4, MAX_TOKENS = 4, PREFETCH = 0, VECTORS = 4 };

/* 32 numbers of 16 bits, in order. */
typedef struct integers {
    int16x8_t part[VECTORS];
} integers;

/* 32 numbers of 8 bits, in order. */
typedef struct bytes {
    uint8x16_t low, high;
} bytes;

typedef float32x4_t lanes;

UMBRA_INLINE integers load_values(const int16_t *q)
{
    return (integers){{vld1q_s16(q), vld1q_s16(q + 8), vld1q_s16(q + 16), vld1q_s16(q + 24)}};
}

UMBRA_INLINE lanes no_lanes(void)
{
    return vdupq_n_f32(0);
}

UMBRA_INLINE lanes add_dot(lanes sum, integers w, integers x, float factor)
{
    int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
    for (int i = 0; i < VECTORS; i++) {
        even = vmlal_s16(even, vget_low_s16(w.part[i]), vget_low_s16(x.part[i]));
        odd = vmlal_high_s16(odd, w.part[i], x.part[i]);
    }
    return vfmaq_n_f32(sum, vcvtq_f32_s32(vaddq_s32(even, odd)), factor);
}

UMBRA_INLINE int32x4_t dot_half(const int16x8_t *w, const int16x8_t *x)
{
    int32x4_t even = vmull_s16(vget_low_s16(w[0]), vget_low_s16(x[0]));
    int32x4_t odd = vmull_high_s16(w[0], x[0]);
    even = vmlal_s16(even, vget_low_s16(w[1]), vget_low_s16(x[1]));
    odd = vmlal_high_s16(odd, w[1], x[1]);
    return vaddq_s32(even, odd);
}

UMBRA_INLINE lanes add_halves(lanes sum, integers w, integers x, const float *factors)
{
    sum = vfmaq_n_f32(sum, vcvtq_f32_s32(dot_half(w.part, x.part)), factors[0]);
    return vfmaq_n_f32(sum, vcvtq_f32_s32(dot_half(w.part + 2, x.part + 2)), factors[1]);
}

UMBRA_INLINE void multiply_scales(float *out, const float *a, const float *b, const int n)
{
    if (n == 1) {
        *out = *a * *b;
        return;
    }
    for (int i = 0; i < n; i += 4) {
        vst1q_f32(out + i, vmulq_f32(vld1q_f32(a + i), vld1q_f32(b + i)));
    }
}

UMBRA_INLINE void multiply_halves(float *out, const float *a, const float *b, const int n)
{
    for (int i = 0; i < n; i += 2) {
        float32x2_t two = vld1_f32(b + i);
        float32x4_t twice = vcombine_f32(vzip1_f32(two, two), vzip2_f32(two, two));
        vst1q_f32(out + 2 * i, vmulq_f32(vld1q_f32(a + 2 * i), twice));
    }
}

UMBRA_INLINE lanes add_offsets(lanes sum, const float *a, const float *b, const int n)
{
    if (n == 1) {
        return vaddq_f32(sum, vsetq_lane_f32(*a * *b, vdupq_n_f32(0), 0));
    }
    for (int i = 0; i < n; i += 4) {
        sum = vfmaq_f32(sum, vld1q_f32(a + i), vld1q_f32(b + i));
    }
    return sum;
}

UMBRA_INLINE void store_sums(float *out, const lanes *sum, const int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = vaddvq_f32(sum[i * MAX_TOKENS]);
    }
}

UMBRA_INLINE int tile_rows(int tokens)
{
    (void)tokens;
    return MAX_ROWS;
}

#include "kernels/matmul_blocks.h"

UMBRA_INLINE integers widen(bytes w)
{
    int8x16_t low = vreinterpretq_s8_u8(w.low), high = vreinterpretq_s8_u8(w.high);
    return (integers){{vmovl_s8(vget_low_s8(low)), vmovl_high_s8(low), vmovl_s8(vget_low_s8(high)),
                       vmovl_high_s8(high)}};
}

UMBRA_INLINE bytes load_bytes(const uint8_t *p)
{
    return (bytes){vld1q_u8(p), vld1q_u8(p + 16)};
}

/* (bytes >> shift) & mask; a negative shift is one to the left. */
UMBRA_INLINE bytes take_bits(bytes w, int shift, int mask)
{
    int8x16_t by = vdupq_n_s8((int8_t)-shift);
    uint8x16_t kept = vdupq_n_u8((uint8_t)mask);
    return (bytes){vandq_u8(vshlq_u8(w.low, by), kept), vandq_u8(vshlq_u8(w.high, by), kept)};
}

UMBRA_INLINE bytes join_bits(bytes a, bytes b)
{
    return (bytes){vorrq_u8(a.low, b.low), vorrq_u8(a.high, b.high)};
}

UMBRA_INLINE bytes subtract(bytes w, int number)
{
    uint8x16_t all = vdupq_n_u8((uint8_t)number);
    return (bytes){vsubq_u8(w.low, all), vsubq_u8(w.high, all)};
}

/* 16 bytes of nibbles: the low ones, then the high ones. */
UMBRA_INLINE bytes nibbles(const uint8_t *p)
{
    uint8x16_t pairs = vld1q_u8(p);
    return (bytes){vandq_u8(pairs, vdupq_n_u8(15)), vshrq_n_u8(pairs, 4)};
}

UMBRA_INLINE integers from_table(const uint8_t *p, const int8_t table[16])
{
    uint8x16_t values = vreinterpretq_u8_s8(vld1q_s8(table));
    bytes index = nibbles(p);
    return widen((bytes){vqtbl1q_u8(values, index.low), vqtbl1q_u8(values, index.high)});
}

/* 16 in byte i where bit i of the 4 bytes is set. */
UMBRA_INLINE bytes fifth_bits(const uint8_t *p)
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    const uint8x16_t sixteen = vdupq_n_u8(16);
    uint8x16_t low = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));
    uint8x16_t high = vcombine_u8(vdup_n_u8(p[2]), vdup_n_u8(p[3]));
    return (bytes){vandq_u8(vtstq_u8(low, bit), sixteen), vandq_u8(vtstq_u8(high, bit), sixteen)};
}

/* Weights times the scales of both halves of a part. */
UMBRA_INLINE integers scale_halves(integers w, const int16_t *scales)
{
    for (int i = 0; i < VECTORS; i++) {
        w.part[i] = vmulq_n_s16(w.part[i], scales[i / 2]);
    }
    return w;
}

/* Scales come from the functions that the scalar table uses: one unpacks a whole part, of which the
 * compiler keeps what is needed. Called, not inlined into every shape of tile: they are long. */
UMBRA_INLINE void load_scales(umbra_unpack_fn unpack, const uint8_t *unit, umbra_block_scales *s,
                              int parts, int parts_of_block, size_t block_bytes, bool halves)
{
    for (int p = 0; p < parts; p++) {
        umbra_part part;
        unpack(unit + (size_t)(p / parts_of_block) * block_bytes, p % parts_of_block, &part);
        s->scale[halves ? 2 * p : p] = part.scale[0];
        s->scale[halves ? 2 * p + 1 : p] = part.scale[halves];
        s->offset[p] = part.offset[0];
    }
}

#define SCALES_OF_PARTS(TYPE, name, halves)                                                        \
    static __attribute__((noinline)) void scales_##name(const uint8_t *unit,                       \
                                                        umbra_block_scales *s, int parts)          \
    {                                                                                              \
        load_scales(umbra_unpack_##name, unit, s, parts, UMBRA_##TYPE##_PARTS,                     \
                    UMBRA_##TYPE##_BYTES, halves);                                                 \
    }
SCALES_OF_PARTS(Q8_0, q8_0, false)
SCALES_OF_PARTS(Q4_0, q4_0, false)
SCALES_OF_PARTS(Q4_1, q4_1, false)
SCALES_OF_PARTS(Q5_0, q5_0, false)
SCALES_OF_PARTS(Q5_1, q5_1, false)
SCALES_OF_PARTS(IQ4_NL, iq4_nl, false)
SCALES_OF_PARTS(MXFP4, mxfp4, false)
SCALES_OF_PARTS(Q4_K, q4_k, false)
SCALES_OF_PARTS(Q5_K, q5_k, false)
SCALES_OF_PARTS(IQ4_XS, iq4_xs, false)
SCALES_OF_PARTS(NVFP4, nvfp4, true)
SCALES_OF_PARTS(TQ1_0, tq1_0, false)
SCALES_OF_PARTS(TQ2_0, tq2_0, false)
SCALES_OF_PARTS(IQ1_S, iq1_s, false)
SCALES_OF_PARTS(IQ1_M, iq1_m, true)
SCALES_OF_PARTS(IQ2_XXS, iq2_xxs, false)
SCALES_OF_PARTS(IQ2_XS, iq2_xs, true)
SCALES_OF_PARTS(IQ2_S, iq2_s, true)
SCALES_OF_PARTS(IQ3_XXS, iq3_xxs, false)
SCALES_OF_PARTS(IQ3_S, iq3_s, false)

UMBRA_INLINE void fill_scales(float *out, float number)
{
    for (int i = 0; i < UMBRA_PARTS_MAX; i++) {
        out[i] = number;
    }
}

static void scales_q2_k(const uint8_t *unit, umbra_block_scales *s, int parts)
{
    for (int i = 0; i < 2 * parts; i++) {
        s->sub[i] = unit[i] & 15;
        s->minima[i] = unit[i] >> 4;
    }
    fill_scales(s->scale, umbra_load_scale(unit + 80));
    fill_scales(s->offset, -umbra_load_scale(unit + 82));
}

static void scales_q3_k(const uint8_t *unit, umbra_block_scales *s, int parts)
{
    uint64_t scales[2];
    umbra_unpack_q3_k_scales(unit + 96, scales);
    for (int i = 0; i < 2 * parts; i++) {
        s->sub[i] = (int16_t)((int)(scales[i / 8] >> 8 * (i % 8) & 63) - 32);
    }
    fill_scales(s->scale, umbra_load_scale(unit + 108));
}

static void scales_q6_k(const uint8_t *unit, umbra_block_scales *s, int parts)
{
    for (int i = 0; i < 2 * parts; i++) {
        s->sub[i] = (int8_t)unit[192 + i];
    }
    fill_scales(s->scale, umbra_load_scale(unit + 208));
}

#define PART(name)                                                                                 \
    UMBRA_INLINE integers part_##name(const uint8_t *unit, const umbra_block_scales *s, int first, \
                                      int p)

PART(q8_0)
{
    (void)s;
    return widen(load_bytes(unit + (first + p) * UMBRA_Q8_0_BYTES + 2));
}

PART(q4_0)
{
    (void)s;
    return widen(subtract(nibbles(unit + (first + p) * UMBRA_Q4_0_BYTES + 2), 8));
}

PART(q4_1)
{
    (void)s;
    return widen(nibbles(unit + (first + p) * UMBRA_Q4_1_BYTES + 4));
}

PART(q5_0)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q5_0_BYTES;
    return widen(subtract(join_bits(nibbles(block + 6), fifth_bits(block + 2)), 16));
}

PART(q5_1)
{
    (void)s;
    const uint8_t *block = unit + (first + p) * UMBRA_Q5_1_BYTES;
    return widen(join_bits(nibbles(block + 8), fifth_bits(block + 4)));
}

PART(iq4_nl)
{
    (void)s;
    return from_table(unit + (first + p) * UMBRA_IQ4_NL_BYTES + 2, umbra_iq4_values);
}

PART(mxfp4)
{
    (void)s;
    return from_table(unit + (first + p) * UMBRA_MXFP4_BYTES + 1, umbra_mxfp4_values);
}

PART(q2_k)
{
    bytes w = take_bits(load_bytes(unit + 16 + 8 * first), 2 * p, 3);
    return scale_halves(widen(w), s->sub + 2 * (first + p));
}

UMBRA_INLINE integers minima_q2_k(const umbra_block_scales *s, int part)
{
    int16x8_t low = vdupq_n_s16(s->minima[2 * part]), high = vdupq_n_s16(s->minima[2 * part + 1]);
    return (integers){{low, low, high, high}};
}

PART(q3_k)
{
    bytes low = take_bits(load_bytes(unit + 32 + 8 * first), 2 * p, 3);
    bytes high = take_bits(load_bytes(unit), first + p - 2, 4);
    return scale_halves(widen(subtract(join_bits(low, high), 4)), s->sub + 2 * (first + p));
}

PART(q4_k)
{
    (void)s;
    return widen(take_bits(load_bytes(unit + 16 + 16 * first), 4 * p, 15));
}

PART(q5_k)
{
    (void)s;
    bytes low = take_bits(load_bytes(unit + 48 + 16 * first), 4 * p, 15);
    return widen(join_bits(low, take_bits(load_bytes(unit + 16), first + p - 4, 16)));
}

PART(q6_k)
{
    bytes low = take_bits(load_bytes(unit + 16 * first + 32 * (p % 2)), p / 2 * 4, 15);
    bytes high = take_bits(load_bytes(unit + 128 + 8 * first), 2 * p - 4, 48);
    return scale_halves(widen(subtract(join_bits(low, high), 32)), s->sub + 2 * (first + p));
}

PART(iq4_xs)
{
    (void)s;
    return from_table(unit + 8 + 16 * (first + p), umbra_iq4_values);
}

PART(tq2_0)
{
    (void)s;
    return widen(subtract(take_bits(load_bytes(unit + 8 * first), 2 * p, 3), 1));
}

/* Types without code of their own here are unpacked as the scalar table does it. */
#define PART_BY_UNPACKING(TYPE, name)                                                              \
    PART(name)                                                                                     \
    {                                                                                              \
        (void)s;                                                                                   \
        umbra_part part;                                                                           \
        umbra_unpack_##name(unit + (first + p) / UMBRA_##TYPE##_PARTS * UMBRA_##TYPE##_BYTES,      \
                            (first + p) % UMBRA_##TYPE##_PARTS, &part);                            \
        return widen(load_bytes((const uint8_t *)part.w));                                         \
    }
PART_BY_UNPACKING(NVFP4, nvfp4)
PART_BY_UNPACKING(TQ1_0, tq1_0)
PART_BY_UNPACKING(IQ1_S, iq1_s)
PART_BY_UNPACKING(IQ1_M, iq1_m)
PART_BY_UNPACKING(IQ2_XXS, iq2_xxs)
PART_BY_UNPACKING(IQ2_XS, iq2_xs)
PART_BY_UNPACKING(IQ2_S, iq2_s)
PART_BY_UNPACKING(IQ3_XXS, iq3_xxs)
PART_BY_UNPACKING(IQ3_S, iq3_s)

#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const block_type type_##name = {                                                        \
        .load_scales = scales_##name,                                                              \
        .load_part = part_##name,                                                                  \
        .load_minima = minima_##minima,                                                            \
        .bytes = UMBRA_##TYPE##_BYTES * blocks,                                                    \
        .parts = UMBRA_##TYPE##_PARTS * blocks,                                                    \
        .block = UMBRA_##TYPE##_PARTS,                                                             \
        .group = parts_at_once,                                                                    \
        .offset = has_offset,                                                                      \
        .halves = has_halves,                                                                      \
    };
UMBRA_BLOCK_UNITS(DEFINE_TYPE)
UMBRA_BLOCK_TYPES(UMBRA_DEFINE_MATMUL)

void umbra_kernels_fill_neon_blocks(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(UMBRA_SET_MATMUL)
}
