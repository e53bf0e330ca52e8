/* Attention of one query group over one head's f16 keys and values for AVX2.
 *
 * Keys: tiles of four positions times two query heads. Values: blocks of positions that stay in
 * the first-level cache while the columns pass, 16 columns times up to four heads at a time.
 * So each key and value comes from memory once, and its conversion is shared by the heads. */
#include <math.h>

#include "kernels/x86/avx2.h"

enum { LANES = 8, KEYS = 4, KEY_HEADS = 2, VALUE_HEADS = 4, VALUE_POSITIONS = 64 };

/* k: keys of the positions [position, position + keys). */
UMBRA_INLINE void score_tile(const umbra_attend *a, const uint8_t *k, int head, int position,
                             const int heads, const int keys)
{
    size_t n = (size_t)a->head_dim, whole = n / LANES * LANES;
    const float *q = a->q + (size_t)head * n;
    float *scores = a->scores + (size_t)head * (size_t)a->scores_stride + position;
    __m256 sum[KEY_HEADS][KEYS];
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < keys; j++) {
            sum[h][j] = _mm256_setzero_ps();
        }
    }
    for (size_t i = 0; i < whole; i += LANES) {
        __m256 query[KEY_HEADS];
        for (int h = 0; h < heads; h++) {
            query[h] = _mm256_loadu_ps(q + (size_t)h * n + i);
        }
        for (int j = 0; j < keys; j++) {
            __m256 key = umbra_avx2_load_f16(k + 2 * ((size_t)j * n + i));
            for (int h = 0; h < heads; h++) {
                sum[h][j] = _mm256_fmadd_ps(query[h], key, sum[h][j]);
            }
        }
    }
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < keys; j++) {
            float total = umbra_avx2_sum(sum[h][j]);
            for (size_t i = whole; i < n; i++) {
                float key = _cvtsh_ss(umbra_load_u16(k + 2 * ((size_t)j * n + i)));
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

/* out[head ..][column .. column + 16 or 8) += scores * values of [position, end) */
/* v: values of the position `position`. */
UMBRA_INLINE void value_tile(const umbra_attend *a, const uint8_t *v, int head, size_t column,
                             int position, int end, const int heads, const int vectors)
{
    size_t n = (size_t)a->value_dim, stride = (size_t)a->scores_stride;
    size_t row = (size_t)a->value_stride;
    const float *scores = a->scores + (size_t)head * stride;
    float *out = a->out + (size_t)head * n + column;
    __m256 sum[VALUE_HEADS][2];
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < vectors; i++) {
            sum[h][i] = _mm256_loadu_ps(out + (size_t)h * n + (size_t)(LANES * i));
        }
    }
    for (int j = position; j < end; j++, v += 2 * row) {
        __m256 value[2];
        for (int i = 0; i < vectors; i++) {
            value[i] = umbra_avx2_load_f16(v + 2 * LANES * i);
        }
        for (int h = 0; h < heads; h++) {
            __m256 weight = _mm256_broadcast_ss(scores + (size_t)h * stride + (size_t)j);
            for (int i = 0; i < vectors; i++) {
                sum[h][i] = _mm256_fmadd_ps(weight, value[i], sum[h][i]);
            }
        }
    }
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < vectors; i++) {
            _mm256_storeu_ps(out + (size_t)h * n + (size_t)(LANES * i), sum[h][i]);
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
                *out = fmaf(scores[j], _cvtsh_ss(umbra_load_u16(v)), *out);
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

void umbra_avx2_attend(const umbra_attend *a)
{
    for (int i = 0, first = 0; i < a->n_runs; first += a->runs[i++].positions) {
        score_run(a, &a->runs[i], first);
    }
    for (int h = 0; h < a->group; h++) {
        float *scores = a->scores + (size_t)h * (size_t)a->scores_stride;
        if (a->sinks) {
            scores[a->positions] = a->sinks[h];
        }
        umbra_avx2_softmax(scores, a->positions + (a->sinks != NULL));
    }
    memset(a->out, 0, (size_t)a->group * (size_t)a->value_dim * sizeof *a->out);
    for (int i = 0, first = 0; i < a->n_runs; first += a->runs[i++].positions) {
        add_values(a, &a->runs[i], first);
    }
}
