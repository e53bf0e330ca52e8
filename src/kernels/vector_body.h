/* Functions of rows of floats that are the same for every vector width. An instruction set's file
 * includes this once it has defined LANES, vec and, on vectors,
 *
 *   vec_zero, vec_set (all lanes one value), vec_load, vec_store
 *   vec_load_first    the first n lanes from memory, zeros in the others (n may be beyond LANES)
 *   vec_store_first   the first n lanes to memory
 *   vec_keep_first    the first n lanes, zeros in the others
 *   vec_add, vec_sub, vec_mul, vec_div, vec_negate; vec_min, vec_max: NaN if b is
 *   vec_fma           a * b + c, rounded once; vec_fnma: c - a * b
 *   vec_round         to the nearest integer, even in a tie
 *   vec_scale2        p * 2^n, n whole, in two steps
 *   vec_sum, vec_most of the lanes
 *
 * Ends that do not fill a vector go through vec_load_first, so every value sees the same operations
 * wherever it stands. */
#ifndef UMBRA_KERNELS_VECTOR_BODY_H
#define UMBRA_KERNELS_VECTOR_BODY_H

#include <math.h>

#include "kernels/exp_body.h"

static void rms_norm(float *out, const float *x, const float *weight, int n, float eps)
{
    vec part[4];
    for (int j = 0; j < 4; j++) {
        part[j] = vec_zero();
    }
    int i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        for (int j = 0; j < 4; j++) {
            vec v = vec_load(x + i + LANES * j);
            part[j] = vec_fma(v, v, part[j]);
        }
    }
    for (; i < n; i += LANES) {
        vec v = vec_load_first(x + i, n - i);
        part[0] = vec_fma(v, v, part[0]);
    }
    float squares = vec_sum(vec_add(vec_add(part[0], part[1]), vec_add(part[2], part[3])));

    vec inverse = vec_set(1.0f / sqrtf(squares / (float)n + eps));
    for (i = 0; i < n; i += LANES) {
        vec v = vec_mul(vec_load_first(x + i, n - i), inverse);
        if (weight) {
            v = vec_mul(v, vec_load_first(weight + i, n - i));
        }
        vec_store_first(out + i, v, n - i);
    }
}

static float largest_of(const float *x, int n)
{
    vec most = vec_set(-INFINITY);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        most = vec_max(vec_load(x + i), most);
    }
    float largest = vec_most(most);
    for (; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    return largest;
}

/* x (n) becomes exp(x - most), most its largest. Returns their sum. */
static float weigh(float *x, int n, float *most)
{
    *most = largest_of(x, n);
    vec largest = vec_set(*most), total = vec_zero();
    for (int i = 0; i < n; i += LANES) {
        vec v = exp_lanes(vec_sub(vec_load_first(x + i, n - i), largest));
        v = vec_keep_first(v, n - i);
        total = vec_add(total, v);
        vec_store_first(x + i, v, n - i);
    }
    return vec_sum(total);
}

static void softmax(float *x, int n)
{
    float most;
    vec inverse = vec_set(1.0f / weigh(x, n, &most));
    for (int i = 0; i < n; i += LANES) {
        vec_store_first(x + i, vec_mul(vec_load_first(x + i, n - i), inverse), n - i);
    }
}

static void join(umbra_attend_row *to, const umbra_attend_row *part, int value_dim)
{
    float most = to->most > part->most ? to->most : part->most;
    float factors[LANES] = {to->most - most, part->most - most};
    vec_store(factors, exp_lanes(vec_load(factors)));
    vec before = vec_set(factors[0]), here = vec_set(factors[1]);
    float *x = to->mixed, *y = part->mixed;
    for (int i = 0; i < value_dim; i += LANES) {
        vec v = vec_mul(before, vec_load_first(x + i, value_dim - i));
        vec_store_first(x + i, vec_fma(here, vec_load_first(y + i, value_dim - i), v),
                        value_dim - i);
    }
    to->sum = (double)factors[0] * to->sum + (double)factors[1] * part->sum;
    to->most = most;
}

static void swiglu(float *out, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += LANES) {
        vec g = vec_load_first(gate + i, n - i), u = vec_load_first(up + i, n - i);
        vec silu = vec_div(g, vec_add(vec_set(1.0f), exp_lanes(vec_negate(g))));
        vec_store_first(out + i, vec_mul(silu, u), n - i);
    }
}

static void open_gate(float *out, const float *gate, const float *x, int n)
{
    for (int i = 0; i < n; i += LANES) {
        vec g = vec_load_first(gate + i, n - i), v = vec_load_first(x + i, n - i);
        v = vec_div(v, vec_add(vec_set(1.0f), exp_lanes(vec_negate(g))));
        vec_store_first(out + i, v, n - i);
    }
}

/* x = silu(x) */
static void silu(float *x, int n)
{
    for (int i = 0; i < n; i += LANES) {
        vec v = vec_load_first(x + i, n - i);
        v = vec_div(v, vec_add(vec_set(1.0f), exp_lanes(vec_negate(v))));
        vec_store_first(x + i, v, n - i);
    }
}

static void add_scaled(float *y, const float *x, float a, int n)
{
    vec factor = vec_set(a);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec_store(y + i, vec_fma(factor, vec_load(x + i), vec_load(y + i)));
    }
    for (; i < n; i++) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}

#endif
