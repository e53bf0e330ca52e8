/* Attention of one query group over one head's f16 keys and values for NEON.
 *
 * Keys: tiles of four positions times two query heads. Values: blocks of positions that stay in
 * the first-level cache while the columns pass, 8 columns times up to four heads at a time.
 * So each key and value comes from memory once, and its conversion is shared by the heads. */
#include <math.h>

#include "kernels/arm/neon.h"

enum { LANES = 4, KEYS = 4, KEY_HEADS = 2, VALUE_HEADS = 4, VALUE_POSITIONS = 64 };

/* k: keys of the positions [position, position + keys). */
UMBRA_INLINE void score_tile(const umbra_attend *a, const uint8_t *k, int head, int position,
                             const int heads, const int keys)
{
    size_t n = (size_t)a->head_dim, whole = n / LANES * LANES;
    const float *q = a->q + (size_t)head * n;
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

UMBRA_INLINE void score_keys(const umbra_attend *a, const uint8_t *k, int position, const int keys)
{
    int head = 0;
    for (; head + KEY_HEADS <= a->group; head += KEY_HEADS) {
        score_tile(a, k, head, position, KEY_HEADS, keys);
    }
    if (head < a->group) {
        score_tile(a, k, head, position, 1, keys);
    }
}

/* out[head ..][column .. column + 8 or 4) += scores * values of [position, end) */
/* v: values of the position `position`. */
UMBRA_INLINE void value_tile(const umbra_attend *a, const uint8_t *v, int head, size_t column,
                             int position, int end, const int heads, const int vectors)
{
    size_t n = (size_t)a->value_dim, stride = (size_t)a->scores_stride;
    size_t row = (size_t)a->value_stride;
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

UMBRA_INLINE void value_heads(const umbra_attend *a, const uint8_t *values, int head, int position,
                              int end, const int heads)
{
    size_t n = (size_t)a->value_dim, row = (size_t)a->value_stride, column = 0;
    for (; column + 2 * LANES <= n; column += 2 * LANES) {
        value_tile(a, values + 2 * column, head, column, position, end, heads, 2);
    }
    if (column + LANES <= n) {
        value_tile(a, values + 2 * column, head, column, position, end, heads, 1);
        column += LANES;
    }
    for (int h = head; h < head + heads; h++) {
        const float *scores = a->scores + (size_t)h * (size_t)a->scores_stride;
        for (size_t i = column; i < n; i++) {
            const uint8_t *v = values + 2 * i;
            float *out = a->out + (size_t)h * n + i;
            for (int j = position; j < end; j++, v += 2 * row) {
                float value = umbra_f16_to_f32(umbra_load_u16(v));
                *out = fmaf(scores[j], value, *out);
            }
        }
    }
}

/* first: position of the run's first key. */
static void score_run(const umbra_attend *a, const umbra_kv_run *run, int first)
{
    size_t key = 2 * (size_t)a->head_dim;
    const uint8_t *k = run->k;
    int j = 0;
    for (; j + KEYS <= run->positions; j += KEYS, k += KEYS * key) {
        score_keys(a, k, first + j, KEYS);
    }
    for (; j < run->positions; j++, k += key) {
        score_keys(a, k, first + j, 1);
    }
}

static void add_values(const umbra_attend *a, const umbra_kv_run *run, int first)
{
    const uint8_t *values = run->v;
    for (int j = 0; j < run->positions; j += VALUE_POSITIONS) {
        const uint8_t *v = values + 2 * (size_t)a->value_stride * (size_t)j;
        int position = first + j;
        int end = first + umbra_min_int(j + VALUE_POSITIONS, run->positions);
        int head = 0;
        for (; head + VALUE_HEADS <= a->group; head += VALUE_HEADS) {
            value_heads(a, v, head, position, end, VALUE_HEADS);
        }
        for (; head < a->group; head++) {
            value_heads(a, v, head, position, end, 1);
        }
    }
}

void umbra_neon_attend(const umbra_attend *a)
{
    for (int i = 0, first = 0; i < a->n_runs; first += a->runs[i++].positions) {
        score_run(a, &a->runs[i], first);
    }
    for (int h = 0; h < a->group; h++) {
        float *scores = a->scores + (size_t)h * (size_t)a->scores_stride;
        if (a->sinks) {
            scores[a->positions] = a->sinks[h];
        }
        umbra_neon_softmax(scores, a->positions + (a->sinks != NULL));
    }
    memset(a->out, 0, (size_t)a->group * (size_t)a->value_dim * sizeof *a->out);
    for (int i = 0, first = 0; i < a->n_runs; first += a->runs[i++].positions) {
        add_values(a, &a->runs[i], first);
    }
}
