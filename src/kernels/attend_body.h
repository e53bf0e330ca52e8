/* Attention of one query group over one head's f16 keys and values. An instruction set's file
 * includes this once it has defined
 *
 *   LANES          floats in a vector
 *   vec            a vector; vec_zero, vec_load, vec_store, vec_broadcast (of the float at p)
 *   vec_load_f16   LANES halves from any address
 *   vec_fma        a * b + c, rounded once
 *   vec_sum        the sum of the lanes, in a fixed order
 *   vec_sum4       out[i] = vec_sum of v[i], i below 4, in the same order
 *   f16_value      one half as a float
 *   softmax        of the table, in place
 *
 * Keys: tiles of four positions times two query heads. Values: blocks of positions that stay in
 * the first-level cache while the columns pass, two vectors times up to four heads at a time.
 * So each key and value comes from memory once, and its conversion is shared by the heads. */
#ifndef UMBRA_KERNELS_ATTEND_BODY_H
#define UMBRA_KERNELS_ATTEND_BODY_H

#include <math.h>
#include <string.h>

enum { KEYS = 4, KEY_HEADS = 2, VALUE_HEADS = 4, VALUE_POSITIONS = 64 };

/* k: keys of the positions [position, position + keys). */
UMBRA_INLINE void score_tile(const umbra_attend *a, const uint8_t *k, int head, int position,
                             const int heads, const int keys)
{
    size_t n = (size_t)a->head_dim, whole = n / LANES * LANES;
    const float *q = a->q + (size_t)head * n;
    float *scores = a->scores + (size_t)head * (size_t)a->scores_stride + position;
    vec sum[KEY_HEADS][KEYS];
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < keys; j++) {
            sum[h][j] = vec_zero();
        }
    }
    for (size_t i = 0; i < whole; i += LANES) {
        vec query[KEY_HEADS];
        for (int h = 0; h < heads; h++) {
            query[h] = vec_load(q + (size_t)h * n + i);
        }
        for (int j = 0; j < keys; j++) {
            vec key = vec_load_f16(k + 2 * ((size_t)j * n + i));
            for (int h = 0; h < heads; h++) {
                sum[h][j] = vec_fma(query[h], key, sum[h][j]);
            }
        }
    }
    for (int h = 0; h < heads; h++) {
        float totals[KEYS];
        if (keys == KEYS) {
            vec_sum4(totals, sum[h]);
        }
        for (int j = 0; j < keys; j++) {
            float total = keys == KEYS ? totals[j] : vec_sum(sum[h][j]);
            for (size_t i = whole; i < n; i++) {
                float key = f16_value(umbra_load_u16(k + 2 * ((size_t)j * n + i)));
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

/* out[head ..][column .. column + vectors * LANES) += scores * values of [position, end); v: values
 * of the position `position`. */
UMBRA_INLINE void value_tile(const umbra_attend *a, const uint8_t *v, int head, size_t column,
                             int position, int end, const int heads, const int vectors)
{
    size_t n = (size_t)a->value_dim, stride = (size_t)a->scores_stride;
    size_t row = (size_t)a->value_stride;
    const float *scores = a->scores + (size_t)head * stride;
    float *out = a->out + (size_t)head * n + column;
    vec sum[VALUE_HEADS][2];
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < vectors; i++) {
            sum[h][i] = vec_load(out + (size_t)h * n + (size_t)(LANES * i));
        }
    }
    for (int j = position; j < end; j++, v += 2 * row) {
        vec value[2];
        for (int i = 0; i < vectors; i++) {
            value[i] = vec_load_f16(v + 2 * LANES * i);
        }
        for (int h = 0; h < heads; h++) {
            vec weight = vec_broadcast(scores + (size_t)h * stride + (size_t)j);
            for (int i = 0; i < vectors; i++) {
                sum[h][i] = vec_fma(weight, value[i], sum[h][i]);
            }
        }
    }
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < vectors; i++) {
            vec_store(out + (size_t)h * n + (size_t)(LANES * i), sum[h][i]);
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
                *out = fmaf(scores[j], f16_value(umbra_load_u16(v)), *out);
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

static void attend(const umbra_attend *a)
{
    for (int i = 0, first = 0; i < a->n_runs; first += a->runs[i++].positions) {
        score_run(a, &a->runs[i], first);
    }
    for (int h = 0; h < a->group; h++) {
        float *scores = a->scores + (size_t)h * (size_t)a->scores_stride;
        if (a->sinks) {
            scores[a->positions] = a->sinks[h];
        }
        softmax(scores, a->positions + (a->sinks != NULL));
    }
    memset(a->out, 0, (size_t)a->group * (size_t)a->value_dim * sizeof *a->out);
    for (int i = 0, first = 0; i < a->n_runs; first += a->runs[i++].positions) {
        add_values(a, &a->runs[i], first);
    }
}

#endif
