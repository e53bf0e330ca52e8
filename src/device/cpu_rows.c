/* Steps over rows: embedding, norm, rounding, sums. */
#include <math.h>

#include "device/device.h"

void umbra_device_run(const umbra_device *d, int items, int grain, umbra_pool_fn fn, void *context)
{
    if (d->pool)
        umbra_pool_run(d->pool, items, grain, fn, context);
    else if (items > 0)
        fn(context, 0, items, 0);
}

typedef struct embed_run {
    const umbra_kernels *kernels;
    const umbra_matrix *table;
    const int32_t *id;
    float *x;
} embed_run;

static void embed_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const embed_run *run = context;
    const umbra_matrix *table = run->table;
    for (int t = begin; t < end; t++) {
        const char *row = (const char *)table->data + (size_t)run->id[t] * table->row_bytes;
        run->kernels->dequantize[table->dtype](run->x + (size_t)t * (size_t)table->columns, row,
                                               table->columns);
    }
}

void umbra_device_embed(const umbra_device *d, const umbra_matrix *table, const int32_t *id,
                        int rows, float *x)
{
    embed_run run = {d->kernels, table, id, x};
    umbra_device_run(d, rows, 8, embed_rows, &run);
}

void umbra_round_rows(const umbra_kernels *kernels, umbra_activations *a, int first, int count)
{
    if (kernels->exact)
        return;
    size_t columns = (size_t)a->columns, blocks = columns / UMBRA_Q16_BLOCK;
    for (size_t r = (size_t)first; r < (size_t)(first + count); r++)
        kernels->quantize(a->f32 + r * columns, a->columns, a->q + r * columns,
                          a->scale + r * blocks, a->sum + r * blocks);
}

typedef struct round_run {
    const umbra_kernels *kernels;
    umbra_activations *a;
} round_run;

static void round_items(void *context, int begin, int end, int worker)
{
    (void)worker;
    const round_run *run = context;
    umbra_round_rows(run->kernels, run->a, begin, end - begin);
}

void umbra_device_round(const umbra_device *d, umbra_activations *a, int rows)
{
    round_run run = {d->kernels, a};
    umbra_device_run(d, rows, 8, round_items, &run);
}

typedef struct norm_run {
    const umbra_kernels *kernels;
    umbra_activations *out;
    const float *x;
    const float *weight;
    float eps;
} norm_run;

static void norm_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const norm_run *run = context;
    int n = run->out->columns;
    for (int t = begin; t < end; t++)
        run->kernels->rms_norm(run->out->f32 + (size_t)t * (size_t)n,
                               run->x + (size_t)t * (size_t)n, run->weight, n, run->eps);
    umbra_round_rows(run->kernels, run->out, begin, end - begin);
}

void umbra_device_norm(const umbra_device *d, umbra_activations *out, const float *x,
                       const umbra_matrix *weight, float eps, int rows)
{
    norm_run run = {d->kernels, out, x, weight->data, eps};
    umbra_device_run(d, rows, 8, norm_rows, &run);
}

typedef struct rows_run {
    const umbra_kernels *kernels;
    float *x;
    const float *weight;
    float eps;
    int n;
} rows_run;

static void norm_in_place(void *context, int begin, int end, int worker)
{
    (void)worker;
    const rows_run *run = context;
    for (int t = begin; t < end; t++) {
        float *x = run->x + (size_t)t * (size_t)run->n;
        run->kernels->rms_norm(x, x, run->weight, run->n, run->eps);
    }
}

void umbra_device_norm_rows(const umbra_device *d, const umbra_matrix *weight, float *x, float eps,
                            int rows)
{
    rows_run run = {d->kernels, x, weight->data, eps, weight->columns};
    if (weight->data)
        umbra_device_run(d, rows, 8, norm_in_place, &run);
}

typedef struct add_run {
    const umbra_kernels *kernels;
    float *x;
    const float *y, *weight;
    float scale;
    int n;
} add_run;

static void add_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const add_run *run = context;
    for (int t = begin; t < end; t++) {
        size_t at = (size_t)t * (size_t)run->n;
        float weight = run->weight ? run->weight[t] : 1.0f;
        run->kernels->add_scaled(run->x + at, run->y + at, run->scale * weight, run->n);
    }
}

void umbra_device_add(const umbra_device *d, float *x, const float *y, const float *weight,
                      float scale, int rows, int n)
{
    add_run run = {d->kernels, x, y, weight, scale, n};
    umbra_device_run(d, rows, 16, add_rows, &run);
}

typedef struct shape_run {
    float *x;
    float scale, cap; /* cap 0: none */
} shape_run;

/* Items are values. */
static void shape_values(void *context, int begin, int end, int worker)
{
    (void)worker;
    const shape_run *run = context;
    for (int i = begin; i < end; i++) {
        float x = run->x[i] * run->scale;
        run->x[i] = run->cap > 0 ? run->cap * tanhf(x / run->cap) : x;
    }
}

void umbra_device_shape_logits(const umbra_device *d, float *x, float scale, float cap, int rows,
                               int n)
{
    for (int t = 0; (scale != 1 || cap > 0) && t < rows; t++) {
        shape_run run = {x + (size_t)t * (size_t)n, scale, cap};
        umbra_device_run(d, n, 1024, shape_values, &run);
    }
}

void umbra_device_scale(const umbra_device *d, float *x, float scale, int rows, int n)
{
    umbra_device_shape_logits(d, x, scale, 0, rows, n);
}

void umbra_device_add_bias(const umbra_device *d, const umbra_matrix *bias, float *x, int rows)
{
    for (int t = 0; bias->data && t < rows; t++)
        d->kernels->add_scaled(x + (size_t)t * (size_t)bias->columns, bias->data, 1.0f,
                               bias->columns);
}

void umbra_device_sigmoid(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)(1 / (1 + exp(-(double)x[i])));
}
