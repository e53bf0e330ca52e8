/* Products of quantised weights for AMX. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/amx_strip.h"

/* 16-bit weights that fit in bytes. */
UMBRA_INLINE __m256i pack(umbra_halves w)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi16(w.low, w.high), 0xd8);
}

#define LOAD_BYTES(name)                                                                           \
    UMBRA_INLINE __m256i load_##name(const uint8_t *unit, const umbra_block_scales *s, int first,  \
                                     int p)

/* Types whose bytes need no scales. */
#define LOAD_PLAIN(name)                                                                           \
    LOAD_BYTES(name)                                                                               \
    {                                                                                              \
        (void)s;                                                                                   \
        return bytes_##name(unit, first, p);                                                       \
    }
LOAD_PLAIN(q5_0)
LOAD_PLAIN(q5_1)
LOAD_PLAIN(q2_k)
LOAD_PLAIN(q3_k)
LOAD_PLAIN(q5_k)
LOAD_PLAIN(q6_k)

/* Types whose weights are no more than bytes, widened. */
#define LOAD_PACKED(name)                                                                          \
    LOAD_BYTES(name)                                                                               \
    {                                                                                              \
        return pack(part_##name(unit, s, first, p));                                               \
    }
LOAD_PACKED(nvfp4)
LOAD_PACKED(tq1_0)
LOAD_PACKED(tq2_0)
LOAD_PACKED(iq1_s)
LOAD_PACKED(iq1_m)
LOAD_PACKED(iq2_xxs)
LOAD_PACKED(iq2_xs)
LOAD_PACKED(iq2_s)
LOAD_PACKED(iq3_xxs)
LOAD_PACKED(iq3_s)

LOAD_BYTES(q8_0)
{
    (void)s;
    return load_32(unit + (first + p) * UMBRA_Q8_0_BYTES + 2);
}

LOAD_BYTES(q4_0)
{
    (void)s;
    return _mm256_sub_epi8(nibble_bytes(unit + (first + p) * UMBRA_Q4_0_BYTES + 2),
                           _mm256_set1_epi8(8));
}

LOAD_BYTES(q4_1)
{
    (void)s;
    return nibble_bytes(unit + (first + p) * UMBRA_Q4_1_BYTES + 4);
}

LOAD_BYTES(q4_k)
{
    (void)s;
    return move_bits(load_32(unit + 16 + 16 * first + p / 2 * 32), p % 2 * 4, 0, 15);
}

UMBRA_INLINE __m256i bytes_from_table(const uint8_t *p, const int8_t table[16])
{
    __m256i values = _mm256_broadcastsi128_si256(load_16((const uint8_t *)table));
    return _mm256_shuffle_epi8(values, nibble_bytes(p));
}

LOAD_BYTES(iq4_nl)
{
    (void)s;
    return bytes_from_table(unit + (first + p) * UMBRA_IQ4_NL_BYTES + 2, umbra_iq4_values);
}

LOAD_BYTES(mxfp4)
{
    (void)s;
    return bytes_from_table(unit + (first + p) * UMBRA_MXFP4_BYTES + 1, umbra_mxfp4_values);
}

LOAD_BYTES(iq4_xs)
{
    (void)s;
    return bytes_from_table(unit + 8 + 16 * (first + p), umbra_iq4_values);
}

/* Types whose scales of halves are integers times a number. */
#define HAS_SUB(TYPE)                                                                              \
    (UMBRA_##TYPE == UMBRA_Q6_K || UMBRA_##TYPE == UMBRA_Q3_K || UMBRA_##TYPE == UMBRA_Q2_K)

#define CHOOSE(name, halves, offset)                                                               \
    ((halves) ? (offset) ? name##_minima : name##_halves : (offset) ? name##_offset : name##_plain)

#define DEFINE_TYPE(TYPE, name, blocks, parts_at_once, minima, has_offset, has_halves)             \
    static const byte_type unit_##name = {                                                         \
        .load_scales = scales_##name,                                                              \
        .load_bytes = load_##name,                                                                 \
        .bytes = UMBRA_##TYPE##_BYTES * blocks,                                                    \
        .parts = UMBRA_##TYPE##_PARTS * blocks,                                                    \
        .block = UMBRA_##TYPE##_PARTS,                                                             \
        .group = parts_at_once,                                                                    \
        .offset = has_offset,                                                                      \
        .halves = has_halves || HAS_SUB(TYPE),                                                     \
        .sub = HAS_SUB(TYPE),                                                                      \
    };                                                                                             \
    static void unpack_##name(panel_lines *to, const uint8_t *from, uint64_t row_bytes, int rows,  \
                              const chunk *c, const uint8_t *stream)                               \
    {                                                                                              \
        unpack_lines(to, from, row_bytes, rows, c, stream, &unit_##name);                          \
    }                                                                                              \
    static void matmul_##name(const umbra_matmul *m, int row_begin, int row_end)                   \
    {                                                                                              \
        static const strip_type type = {                                                           \
            .unit = &unit_##name,                                                                  \
            .unpack = unpack_##name,                                                               \
            .add_group = CHOOSE(add_group, has_halves || HAS_SUB(TYPE), has_offset),               \
            .add_token = CHOOSE(add_token, has_halves || HAS_SUB(TYPE), has_offset),               \
        };                                                                                         \
        matmul_strips(m, row_begin, row_end, &type);                                               \
    }
UMBRA_BLOCK_UNITS(DEFINE_TYPE)
#define SET_MATMUL(TYPE, name, halves, offset) k->matmul[UMBRA_##TYPE] = matmul_##name;

void umbra_kernels_fill_amx(umbra_kernels *k)
{
    UMBRA_BLOCK_TYPES(SET_MATMUL)
}
