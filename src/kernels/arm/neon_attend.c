/* Attention of one query group over one head's f16 keys and values for NEON.
 *
 * Keys: tiles of four positions times two query heads. Values: blocks of positions that stay in
 * the first-level cache while the columns pass, 8 columns times up to four heads at a time.
 * So each key and value comes from memory once, and its conversion is shared by the heads. */
#include <math.h>

#include "kernels/arm/neon.h"

enum { LANES = 4, KEYS = 4, KEY_HEADS = 2, VALUE_HEADS = 4, VALUE_POSITIONS = 64 };

UMBRA_INLINE void score_tile(const umbra_attend *a, int head, int position, const int heads,
                             const int keys)
{
    size_t n = (size_t)a->head_dim, whole = n / LANES * LANES;
    const float *q = a->q + (size_t)head * n;
    const uint8_t *k = (const uint8_t *)a->k + 2 * n * (size_t)position;
    float *scores = a->scores + (size_t)head * (size_t)a->scores_stride + position;
    float32x4_t sum[KEY_HEADS][KEYS];
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < keys; j++) {
            sum[h][j] = vdupq_n_f32(0);
        }
    }
    for (size_t i = 0; i < whole; i += LANES) {
        float32x4_t query[KEY_HEADS];
        for (int h = 0; h < heads; h++) {
            query[h] = vld1q_f32(q + (size_t)h * n + i);
        }
        for (int j = 0; j < keys; j++) {
            float32x4_t key = umbra_neon_load_f16(k + 2 * ((size_t)j * n + i));
            for (int h = 0; h < heads; h++) {
                sum[h][j] = vfmaq_f32(sum[h][j], query[h], key);
            }
        }
    }
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < keys; j++) {
            float total = vaddvq_f32(sum[h][j]);
            for (size_t i = whole; i < n; i++) {
                float key = umbra_f16_to_f32(umbra_load_u16(k + 2 * ((size_t)j * n + i)));
                total = fmaf(q[(size_t)h * n + i], key, total);
            }
            scores[(size_t)h * (size_t)a->scores_stride + (size_t)j] = a->scale * total;
        }
    }
}

UMBRA_INLINE void score_keys(const umbra_attend *a, int position, const int keys)
{
    int head = 0;
    for (; head + KEY_HEADS <= a->group; head += KEY_HEADS) {
        score_tile(a, head, position, KEY_HEADS, keys);
    }
    if (head < a->group) {
        score_tile(a, head, position, 1, keys);
    }
}

/* out[head ..][column .. column + 8 or 4) += scores * values of [position, end) */
UMBRA_INLINE void value_tile(const umbra_attend *a, int head, size_t column, int position, int end,
                             const int heads, const int vectors)
{
    size_t n = (size_t)a->value_dim, stride = (size_t)a->scores_stride;
    size_t row = (size_t)a->value_stride;
    const uint8_t *v = (const uint8_t *)a->v + 2 * (row * (size_t)position + column);
    const float *scores = a->scores + (size_t)head * stride;
    float *out = a->out + (size_t)head * n + column;
    float32x4_t sum[VALUE_HEADS][2];
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < vectors; i++) {
            sum[h][i] = vld1q_f32(out + (size_t)h * n + (size_t)(LANES * i));
        }
    }
    for (int j = position; j < end; j++, v += 2 * row) {
        float32x4_t value[2];
        for (int i = 0; i < vectors; i++) {
            value[i] = umbra_neon_load_f16(v + 2 * LANES * i);
        }
        for (int h = 0; h < heads; h++) {
            float weight = scores[(size_t)h * stride + (size_t)j];
            for (int i = 0; i < vectors; i++) {
                sum[h][i] = vfmaq_n_f32(sum[h][i], value[i], weight);
            }
        }
    }
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < vectors; i++) {
            vst1q_f32(out + (size_t)h * n + (size_t)(LANES * i), sum[h][i]);
        }
    }
}

UMBRA_INLINE void value_heads(const umbra_attend *a, int head, int position, int end,
                              const int heads)
{
    size_t n = (size_t)a->value_dim, row = (size_t)a->value_stride, column = 0;
    for (; column + 2 * LANES <= n; column += 2 * LANES) {
        value_tile(a, head, column, position, end, heads, 2);
    }
    if (column + LANES <= n) {
        value_tile(a, head, column, position, end, heads, 1);
        column += LANES;
    }
    for (int h = head; h < head + heads; h++) {
        const float *scores = a->scores + (size_t)h * (size_t)a->scores_stride;
        for (size_t i = column; i < n; i++) {
            const uint8_t *v = (const uint8_t *)a->v + 2 * i;
            float *out = a->out + (size_t)h * n + i;
            for (int j = position; j < end; j++) {
                float value = umbra_f16_to_f32(umbra_load_u16(v + 2 * row * (size_t)j));
                *out = fmaf(scores[j], value, *out);
            }
        }
    }
}

void umbra_neon_attend(const umbra_attend *a)
{
    int position = 0;
    for (; position + KEYS <= a->positions; position += KEYS) {
        score_keys(a, position, KEYS);
    }
    for (; position < a->positions; position++) {
        score_keys(a, position, 1);
    }
    for (int h = 0; h < a->group; h++) {
        float *scores = a->scores + (size_t)h * (size_t)a->scores_stride;
        if (a->sinks) {
            scores[a->positions] = a->sinks[h];
        }
        umbra_neon_softmax(scores, a->positions + (a->sinks != NULL));
    }
    memset(a->out, 0, (size_t)a->group * (size_t)a->value_dim * sizeof *a->out);
    for (position = 0; position < a->positions; position += VALUE_POSITIONS) {
        int end = umbra_min_int(position + VALUE_POSITIONS, a->positions);
        int head = 0;
        for (; head + VALUE_HEADS <= a->group; head += VALUE_HEADS) {
            value_heads(a, head, position, end, VALUE_HEADS);
        }
        for (; head < a->group; head++) {
            value_heads(a, head, position, end, 1);
        }
    }
}
