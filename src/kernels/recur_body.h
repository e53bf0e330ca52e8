/* One position's step of a recurrent state. An instruction set's file includes this once it has
 * defined
 *
 *   LANES          floats in a vector, a part of UMBRA_STATE_COLUMNS
 *   vec            a vector; vec_zero, vec_set (all lanes one value), vec_load, vec_store
 *   vec_sub, vec_mul
 *   vec_fma        a * b + c, rounded once
 *
 * All columns of a row are in registers side by side, so that the sums over the keys do not wait
 * for each other, and S comes from memory twice: to find what the key has, and to be written. */
#ifndef UMBRA_KERNELS_RECUR_BODY_H
#define UMBRA_KERNELS_RECUR_BODY_H

#include <string.h>

enum { VECTORS = UMBRA_STATE_COLUMNS / LANES };

/* S fades; found = S^T k. */
UMBRA_INLINE void fade_state(const umbra_recur *r, const int key_decay, vec *found)
{
    vec decay = vec_set(r->decay[0]);
    for (int j = 0; j < VECTORS; j++) {
        found[j] = vec_zero();
    }
    for (int i = 0; i < r->keys; i++) {
        const float *from = r->from + (size_t)i * UMBRA_STATE_COLUMNS;
        float *to = r->to + (size_t)i * UMBRA_STATE_COLUMNS;
        vec k = vec_set(r->k[i]);
        if (key_decay) {
            decay = vec_set(r->decay[i]);
        }
        UMBRA_UNROLL(8)
        for (int j = 0; j < VECTORS; j++) {
            vec s = vec_mul(vec_load(from + LANES * j), decay);
            vec_store(to + LANES * j, s);
            found[j] = vec_fma(k, s, found[j]);
        }
    }
}

/* S += k w^T; out = S^T q. */
UMBRA_INLINE void write_state(const umbra_recur *r, const float *q, const vec *written, vec *out)
{
    for (int j = 0; j < VECTORS; j++) {
        out[j] = vec_zero();
    }
    for (int i = 0; i < r->keys; i++) {
        float *to = r->to + (size_t)i * UMBRA_STATE_COLUMNS;
        vec k = vec_set(r->k[i]), read = vec_set(q[i]);
        UMBRA_UNROLL(8)
        for (int j = 0; j < VECTORS; j++) {
            vec s = vec_fma(k, written[j], vec_load(to + LANES * j));
            vec_store(to + LANES * j, s);
            out[j] = vec_fma(read, s, out[j]);
        }
    }
}

/* The same without a delta: S goes through memory once. */
UMBRA_INLINE void fade_and_write(const umbra_recur *r, const float *q, const vec *written, vec *out)
{
    for (int j = 0; j < VECTORS; j++) {
        out[j] = vec_zero();
    }
    for (int i = 0; i < r->keys; i++) {
        const float *from = r->from + (size_t)i * UMBRA_STATE_COLUMNS;
        float *to = r->to + (size_t)i * UMBRA_STATE_COLUMNS;
        vec k = vec_set(r->k[i]), read = vec_set(q[i]);
        vec decay = vec_set(r->decay[r->key_decay ? i : 0]);
        UMBRA_UNROLL(8)
        for (int j = 0; j < VECTORS; j++) {
            vec s = vec_mul(vec_load(from + LANES * j), decay);
            s = vec_fma(k, written[j], s);
            vec_store(to + LANES * j, s);
            out[j] = vec_fma(read, s, out[j]);
        }
    }
}

static void recur(const umbra_recur *r)
{
    float values[UMBRA_STATE_COLUMNS] = {0};
    vec found[VECTORS], written[VECTORS], out[VECTORS], rate = vec_set(r->rate);
    const float *q = r->q ? r->q : r->k; /* what is read with k is not used */
    memcpy(values, r->v, (size_t)r->columns * sizeof *values);
    if (r->delta && r->key_decay) {
        fade_state(r, 1, found);
    } else if (r->delta) {
        fade_state(r, 0, found);
    }
    for (int j = 0; j < VECTORS; j++) {
        vec v = vec_load(values + LANES * j);
        written[j] = vec_mul(rate, r->delta ? vec_sub(v, found[j]) : v);
    }
    if (r->delta) {
        write_state(r, q, written, out);
    } else {
        fade_and_write(r, q, written, out);
    }
    for (int j = 0; r->q && j < VECTORS; j++) {
        vec_store(values + LANES * j, out[j]);
    }
    if (r->q) {
        memcpy(r->out, values, (size_t)r->columns * sizeof *values);
    }
}

#endif
