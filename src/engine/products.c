/* Matrix products and row-wise steps, shared by the threads of the pool. */
#include "engine/engine.h"

/* Rows claimed at once: enough to reuse an activation from cache, few enough to balance. */
enum { LEAST_GRAIN = 16, MOST_GRAIN = 256, PIECES_PER_THREAD = 4 };

typedef struct product_run {
    const umbra_product *products;
    int n;
} product_run;

/* Items are the rows of all products, one after the other. */
static void run_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const product_run *run = context;
    int first = 0; /* item of the product's row 0 */
    for (int i = 0; i < run->n && first < end; i++) {
        const umbra_product *p = &run->products[i];
        int from = begin > first ? begin - first : 0;
        int to = end - first < p->rows ? end - first : p->rows;
        if (from < to)
            p->fn(&p->matmul, from, to);
        first += p->rows;
    }
}

void umbra_products_run(umbra_engine *e, const umbra_product *products, int n)
{
    int rows = 0;
    for (int i = 0; i < n; i++)
        rows += products[i].rows;
    int grain = rows / (e->plan.threads * PIECES_PER_THREAD) / 8 * 8;
    grain = grain < LEAST_GRAIN ? LEAST_GRAIN : grain > MOST_GRAIN ? MOST_GRAIN : grain;
    product_run run = {products, n};
    /* Reads go on while the engine computes. A backend that fails is told by the next batch. */
    (void)umbra_store_poll(e->store, NULL);
    umbra_pool_run(e->pool, rows, grain, run_rows, &run);
}

umbra_product umbra_product_make(const umbra_engine *e, const umbra_matrix *w,
                                 const umbra_activations *x, int tokens, float *out)
{
    return (umbra_product){
        .matmul = {.weights = w->data,
                   .row_bytes = w->row_bytes,
                   .x = x,
                   .tokens = tokens,
                   .out = out,
                   .out_stride = (uint64_t)w->rows},
        .fn = e->kernels->matmul[w->dtype],
        .rows = w->rows,
    };
}

void umbra_quantize_rows(const umbra_kernels *kernels, umbra_activations *a, int first, int count)
{
    if (kernels->exact)
        return;
    size_t columns = (size_t)a->columns, blocks = columns / UMBRA_Q16_BLOCK;
    for (size_t r = (size_t)first; r < (size_t)(first + count); r++)
        kernels->quantize(a->f32 + r * columns, a->columns, a->q + r * columns,
                          a->scale + r * blocks, a->sum + r * blocks);
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
    umbra_quantize_rows(run->kernels, run->out, begin, end - begin);
}

void umbra_norm_rows(umbra_engine *e, umbra_activations *out, const float *x,
                     const umbra_matrix *weight, int tokens)
{
    norm_run run = {e->kernels, out, x, weight->data, e->model->config.rms_eps};
    umbra_pool_run(e->pool, tokens, 8, norm_rows, &run);
}

typedef struct add_run {
    const umbra_kernels *kernels;
    float *x;
    const float *y, *weight;
    int n;
} add_run;

static void add_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const add_run *run = context;
    for (int t = begin; t < end; t++) {
        size_t at = (size_t)t * (size_t)run->n;
        run->kernels->add_scaled(run->x + at, run->y + at, run->weight ? run->weight[t] : 1.0f,
                                 run->n);
    }
}

void umbra_add_rows(umbra_engine *e, float *x, const float *y, const float *weight, int tokens)
{
    add_run run = {e->kernels, x, y, weight, e->model->config.hidden};
    umbra_pool_run(e->pool, tokens, 16, add_rows, &run);
}
