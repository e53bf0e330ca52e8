/* Forward and backward through a network. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/train/blas.h"
#include "lab/train/network.h"
#include "lab/train/vector.h"

#define LAYER_NORM_EPSILON 1e-5f

enum { D = UMBRA_MAX_DISTANCE, ALIGN = 64, FACTORS = 512 /* 2^512 is a double */ };

/* ---- parameters ---- */

enum { W1, W1_FEATURES, B1, GAIN, SHIFT, W2, BIAS, W, W_FEATURES, A };

size_t umbra_train_parameters(const umbra_shadow_spec *spec, size_t first[UMBRA_SHADOW_PARTS + 1])
{
    float *parts[UMBRA_SHADOW_PARTS];
    size_t lengths[UMBRA_SHADOW_PARTS];
    umbra_shadow_parts(spec, &(umbra_shadow_network){0}, parts, lengths);
    size_t total = 0;
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++) {
        first[i] = total;
        total += lengths[i];
    }
    first[UMBRA_SHADOW_PARTS] = total;
    return total;
}

void umbra_train_bind(const umbra_shadow_spec *spec, float *values, umbra_shadow_network *out)
{
    size_t first[UMBRA_SHADOW_PARTS + 1];
    umbra_train_parameters(spec, first);
    float **const parts[UMBRA_SHADOW_PARTS] = {
        [W1] = &out->w1,       [W1_FEATURES] = &out->w1_features,
        [B1] = &out->b1,       [GAIN] = &out->gain,
        [SHIFT] = &out->shift, [W2] = &out->w2,
        [BIAS] = &out->bias,   [W] = &out->w,
        [A] = &out->a,         [W_FEATURES] = &out->w_features,
    };
    for (int i = 0; i < UMBRA_SHADOW_PARTS; i++)
        *parts[i] = first[i + 1] > first[i] ? values + first[i] : NULL;
}

bool umbra_train_part_decays(int part)
{
    return part == W1 || part == W1_FEATURES || part == W2 || part == W || part == W_FEATURES;
}

static void fill(float *values, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        values[i] = value;
}

void umbra_train_start_values(const umbra_shadow_spec *spec, umbra_random *random, float *values)
{
    size_t first[UMBRA_SHADOW_PARTS + 1];
    size_t n = umbra_train_parameters(spec, first);
    memset(values, 0, n * sizeof *values);
    /* The dense inputs have mean square 1, so this gives inner values of about unit size. */
    double deviation = 1.0 / sqrt((double)umbra_shadow_inputs(spec));
    for (size_t i = first[W1]; i < first[W1_FEATURES + 1]; i++)
        values[i] = (float)(deviation * umbra_random_normal(random));
    fill(values + first[GAIN], first[GAIN + 1] - first[GAIN], 1.0f);
    fill(values + first[A], first[A + 1] - first[A], 1.0f);
    if (spec->arch == UMBRA_SHADOW_SEED && spec->used < spec->experts)
        fill(values + first[BIAS], first[BIAS + 1] - first[BIAS],
             logf((float)spec->used / (float)(spec->experts - spec->used)));
}

/* ---- scratch ---- */

int umbra_train_pass_open(umbra_train_pass *pass, const umbra_shadow_spec *spec, int capacity,
                          umbra_error *err)
{
    *pass = (umbra_train_pass){.spec = spec, .capacity = capacity};
    size_t n = (size_t)capacity, inner = n * (size_t)spec->width * sizeof(float);
    size_t outer = n * D * (size_t)spec->experts * sizeof(float);
    pass->normed = umbra_aligned_alloc(ALIGN, inner);
    pass->inner = umbra_aligned_alloc(ALIGN, inner);
    pass->slope = umbra_aligned_alloc(ALIGN, inner);
    pass->back = umbra_aligned_alloc(ALIGN, inner);
    pass->deviation = umbra_aligned_alloc(ALIGN, n * sizeof(float));
    pass->z = umbra_aligned_alloc(ALIGN, outer);
    pass->dz = umbra_aligned_alloc(ALIGN, outer);
    if (pass->normed && pass->inner && pass->slope && pass->back && pass->deviation && pass->z &&
        pass->dz)
        return UMBRA_OK;
    umbra_train_pass_release(pass);
    return umbra_fail_nomem(err, "a batch's activations", 4 * inner + 2 * outer);
}

void umbra_train_pass_release(umbra_train_pass *pass)
{
    umbra_free(pass->normed);
    umbra_free(pass->inner);
    umbra_free(pass->slope);
    umbra_free(pass->back);
    umbra_free(pass->deviation);
    umbra_free(pass->z);
    umbra_free(pass->dz);
    *pass = (umbra_train_pass){0};
}

/* ---- forward ---- */

/* c (m, n) = a (m, k) * b (n, k)^T + beta * c; a has rows lda apart. */
static void multiply_transposed(int m, int n, int k, const float *a, int lda, const float *b,
                                float beta, float *c)
{
    umbra_blas_multiply(false, true, m, n, k, a, lda, b, k, beta, c, n);
}

/* c (m, n) = a (r, m)^T * b (r, n): gradients of a matrix, summed over r rows. */
static void multiply_outer(int m, int n, int r, const float *a, const float *b, float *c)
{
    umbra_blas_multiply(true, false, m, n, r, a, m, b, n, 0.0f, c, n);
}

/* out (columns) += the n rows of matrix (F, columns) that f names; four at a time, for `out` is
 * read and written each time. */
static void add_rows(const uint32_t *f, int n, const float *matrix, int columns,
                     float *restrict out)
{
    size_t stride = (size_t)columns;
    int j = 0;
    for (; j + 4 <= n; j += 4) {
        const float *a = matrix + f[j] * stride, *b = matrix + f[j + 1] * stride;
        const float *c = matrix + f[j + 2] * stride, *d = matrix + f[j + 3] * stride;
        for (int i = 0; i < columns; i++)
            out[i] += (a[i] + b[i]) + (c[i] + d[i]);
    }
    for (; j < n; j++)
        umbra_add(out, matrix + f[j] * stride, columns);
}

/* out (n, columns) += for every row its features' rows of matrix (F, columns). */
static void add_features(const umbra_train_rows *rows, const float *matrix, int columns, float *out)
{
    for (int i = 0; i < rows->n; i++) {
        const uint32_t *f = rows->features + (size_t)i * (size_t)rows->feature_slots;
        int n = 0;
        while (n < rows->feature_slots && f[n] != UMBRA_NO_FEATURE)
            n++;
        add_rows(f, n, matrix, columns, out + (size_t)i * (size_t)columns);
    }
}

/* The transposed step: gradient (F, columns) += each row of `in` where its features point. */
static void scatter_features(const umbra_train_rows *rows, const float *in, int features,
                             int columns, float *gradient)
{
    memset(gradient, 0, (size_t)features * (size_t)columns * sizeof *gradient);
    for (int i = 0; i < rows->n; i++) {
        const uint32_t *f = rows->features + (size_t)i * (size_t)rows->feature_slots;
        for (int j = 0; j < rows->feature_slots && f[j] != UMBRA_NO_FEATURE; j++)
            umbra_add(gradient + (size_t)f[j] * (size_t)columns, in + (size_t)i * (size_t)columns,
                      columns);
    }
}

/* LayerNorm, gain, shift and silu of one row; v comes in `normed`. */
static void activate(const umbra_shadow_network *net, int width, float *normed, float *deviation,
                     float *inner, float *slope)
{
    float mean = umbra_sum(normed, width) / (float)width;
    for (int j = 0; j < width; j++)
        normed[j] -= mean;
    float variance = umbra_dot(normed, normed, width) / (float)width;
    *deviation = 1.0f / sqrtf(variance + LAYER_NORM_EPSILON);
    for (int j = 0; j < width; j++) {
        normed[j] *= *deviation;
        float u = normed[j] * net->gain[j] + net->shift[j];
        float s = umbra_sigmoid(u);
        inner[j] = u * s;
        slope[j] = s * (1.0f + u * (1.0f - s));
    }
}

static void drop(float *inner, float *slope, int width, float dropout, umbra_random *random)
{
    float keep = 1.0f / (1.0f - dropout);
    for (int j = 0; j < width; j++) {
        float factor = umbra_random_unit(random) < (double)dropout ? 0.0f : keep;
        inner[j] *= factor;
        slope[j] *= factor;
    }
}

void umbra_train_forward(umbra_train_pass *pass, const umbra_shadow_network *net,
                         const umbra_train_rows *rows, float dropout, umbra_random *random)
{
    const umbra_shadow_spec *spec = pass->spec;
    int x = umbra_shadow_inputs(spec), n = spec->width, e = spec->experts, k = D * e;
    for (int i = 0; i < rows->n; i++)
        memcpy(pass->normed + (size_t)i * (size_t)n, net->b1, (size_t)n * sizeof *net->b1);
    multiply_transposed(rows->n, n, x, rows->dense, x, net->w1, 1.0f, pass->normed);
    if (net->w1_features)
        add_features(rows, net->w1_features, n, pass->normed);
    for (int i = 0; i < rows->n; i++) {
        size_t at = (size_t)i * (size_t)n;
        activate(net, n, pass->normed + at, &pass->deviation[i], pass->inner + at,
                 pass->slope + at);
        if (dropout > 0.0f)
            drop(pass->inner + at, pass->slope + at, n, dropout, random);
    }

    for (int i = 0; i < rows->n; i++) {
        float *z = pass->z + (size_t)i * (size_t)k;
        memcpy(z, net->bias, (size_t)k * sizeof *z);
        if (!net->a)
            continue;
        const float *gate = rows->gate + (size_t)i * (size_t)k;
        for (int j = 0; j < k; j++)
            z[j] += net->a[j / e] * gate[j];
    }
    multiply_transposed(rows->n, k, n, pass->inner, n, net->w2, 1.0f, pass->z);
    if (net->w)
        multiply_transposed(rows->n, k, x, rows->dense, x, net->w, 1.0f, pass->z);
    if (net->w_features)
        add_features(rows, net->w_features, k, pass->z);
}

/* ---- losses: sum over experts of one row and distance, and its derivative ---- */

/* -log sigmoid(z) of the used, -log sigmoid(-z) of the others; softplus(z) = max(z, 0) +
 * log1p(exp(-|z|)). */
static double binary_cross_entropy(const float *z, const uint16_t *used, int k, int experts,
                                   float scale, float *dz)
{
    double loss = 0.0, product = 1.0, positive = 0.0;
    for (int e = 0; e < experts; e++)
        dz[e] = umbra_exp(z[e] < 0.0f ? z[e] : -z[e]);
    for (int e = 0; e < experts; e++) {
        /* The logarithm of a product of factors between 1 and 2 saves most of the logarithms. */
        product *= 1.0 + (double)dz[e];
        if (e % FACTORS == FACTORS - 1) {
            loss += log(product);
            product = 1.0;
        }
        positive += (double)(z[e] > 0.0f ? z[e] : 0.0f);
    }
    for (int e = 0; e < experts; e++)
        dz[e] = scale * (z[e] < 0.0f ? dz[e] : 1.0f) / (1.0f + dz[e]);
    loss += positive;
    loss += log(product);
    for (int j = 0; j < k; j++) {
        loss -= (double)z[used[j]];
        dz[used[j]] -= scale;
    }
    return loss;
}

static double kullback_leibler(const float *z, const float *truth, int experts, float scale,
                               float *dz)
{
    float most = z[0];
    for (int e = 1; e < experts; e++)
        most = z[e] > most ? z[e] : most;
    for (int e = 0; e < experts; e++)
        dz[e] = umbra_exp(z[e] - most);
    float sum = umbra_sum(dz, experts);
    double log_sum = (double)most + log((double)sum), loss = 0.0;
    for (int e = 0; e < experts; e++) {
        if (truth[e] > 0.0f)
            loss += (double)truth[e] * (log((double)truth[e]) - ((double)z[e] - log_sum));
        dz[e] = scale * (dz[e] / sum - truth[e]);
    }
    return loss;
}

double umbra_train_loss(umbra_train_pass *pass, const umbra_train_rows *rows, int batch)
{
    const umbra_shadow_spec *spec = pass->spec;
    int e = spec->experts, k = spec->used;
    float scale = 1.0f / (float)batch;
    double loss = 0.0;
    for (int i = 0; i < rows->n * D; i++) {
        const float *z = pass->z + (size_t)i * (size_t)e;
        float *dz = pass->dz + (size_t)i * (size_t)e;
        const uint16_t *used = rows->targets + (size_t)i * (size_t)k;
        if (used[0] == UMBRA_NO_TARGET)
            memset(dz, 0, (size_t)e * sizeof *dz);
        else if (spec->loss == UMBRA_LOSS_KL)
            loss += kullback_leibler(z, rows->truth + (size_t)i * (size_t)e, e, scale, dz);
        else
            loss += binary_cross_entropy(z, used, k, e, scale, dz);
    }
    return loss;
}

/* ---- backward ---- */

/* From d/d inner of one row (in `back`) to d/dv, in place; gain and shift gather their part. */
static void activate_backward(const umbra_shadow_network *net, int width, const float *normed,
                              float deviation, const float *slope, float *restrict back,
                              umbra_shadow_network *gradient)
{
    float *restrict gain = gradient->gain, *restrict shift = gradient->shift;
    for (int j = 0; j < width; j++) {
        float du = back[j] * slope[j];
        gain[j] += du * normed[j];
        shift[j] += du;
        back[j] = du * net->gain[j];
    }
    float mean = umbra_sum(back, width) / (float)width;
    float along = umbra_dot(back, normed, width) / (float)width;
    for (int j = 0; j < width; j++)
        back[j] = deviation * (back[j] - mean - normed[j] * along);
}

static void outer_gradients(const umbra_train_pass *pass, const umbra_train_rows *rows,
                            umbra_shadow_network *gradient)
{
    const umbra_shadow_spec *spec = pass->spec;
    int x = umbra_shadow_inputs(spec), e = spec->experts, k = D * e;
    multiply_outer(k, spec->width, rows->n, pass->dz, pass->inner, gradient->w2);
    memset(gradient->bias, 0, (size_t)k * sizeof *gradient->bias);
    for (int i = 0; i < rows->n; i++)
        umbra_add(gradient->bias, pass->dz + (size_t)i * (size_t)k, k);
    if (gradient->w)
        multiply_outer(k, x, rows->n, pass->dz, rows->dense, gradient->w);
    if (gradient->w_features)
        scatter_features(rows, pass->dz, umbra_shadow_features(spec), k, gradient->w_features);
    for (int d = 0; gradient->a && d < D; d++) {
        double sum = 0.0;
        for (int i = 0; i < rows->n; i++) {
            size_t at = (size_t)i * (size_t)k + (size_t)d * (size_t)e;
            sum += (double)umbra_dot(pass->dz + at, rows->gate + at, e);
        }
        gradient->a[d] = (float)sum;
    }
}

void umbra_train_backward(umbra_train_pass *pass, const umbra_shadow_network *net,
                          const umbra_train_rows *rows, umbra_shadow_network *gradient)
{
    const umbra_shadow_spec *spec = pass->spec;
    int x = umbra_shadow_inputs(spec), n = spec->width, k = D * spec->experts;
    outer_gradients(pass, rows, gradient);

    umbra_blas_multiply(false, false, rows->n, n, k, pass->dz, k, net->w2, n, 0.0f, pass->back, n);
    size_t bytes = (size_t)n * sizeof(float);
    memset(gradient->gain, 0, bytes);
    memset(gradient->shift, 0, bytes);
    memset(gradient->b1, 0, bytes);
    for (int i = 0; i < rows->n; i++) {
        size_t at = (size_t)i * (size_t)n;
        activate_backward(net, n, pass->normed + at, pass->deviation[i], pass->slope + at,
                          pass->back + at, gradient);
        umbra_add(gradient->b1, pass->back + at, n);
    }
    multiply_outer(n, x, rows->n, pass->back, rows->dense, gradient->w1);
    if (gradient->w1_features)
        scatter_features(rows, pass->back, umbra_shadow_features(spec), n, gradient->w1_features);
}
