/* Matrix products, shared by the threads of the pool. */
#include "device/device.h"

/* Rows claimed at once: enough to reuse an activation from cache, few enough to balance, and whole
 * panels of the kernels. With many tokens a piece takes long: there are more of them. With few,
 * some long rows are work enough. */
enum {
    LEAST_GRAIN = 16,
    LEAST_BYTES = 64 << 10, /* of long rows */
    LONG_ROW = 16 << 10,    /* bytes */
    PANEL_ROWS = 32,
    MOST_GRAIN = 256,
    PIECES_PER_THREAD = 4,
    MANY_TOKENS = 16,
    MANY_PIECES_PER_THREAD = 8,
};

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

static void count_work(umbra_profiler *profiler, const umbra_product *p)
{
    uint64_t rows = (uint64_t)p->rows;
    uint64_t macs = rows * (uint64_t)p->matmul.x->columns * (uint64_t)p->matmul.tokens;
    umbra_profiler_count(profiler, rows * p->matmul.row_bytes, macs);
}

static int divide_rows(int rows, int pieces, int unit)
{
    int grain = rows / pieces / unit * unit;
    return grain < unit ? unit : grain > MOST_GRAIN ? MOST_GRAIN : grain;
}

/* The unit for few tokens: of the longest rows. */
static int find_unit(const umbra_product *products, int n)
{
    uint64_t longest = 0;
    for (int i = 0; i < n; i++)
        if (products[i].matmul.row_bytes > longest)
            longest = products[i].matmul.row_bytes;
    if (longest < LONG_ROW)
        return LEAST_GRAIN;
    return longest < LEAST_BYTES ? (int)(LEAST_BYTES / longest) : 1;
}

static int choose_grain(const umbra_device *d, const umbra_product *products, int n, int rows)
{
    int tokens = 0;
    for (int i = 0; i < n; i++)
        tokens = products[i].matmul.tokens > tokens ? products[i].matmul.tokens : tokens;
    if (tokens >= MANY_TOKENS)
        return divide_rows(rows, d->threads * MANY_PIECES_PER_THREAD, PANEL_ROWS);
    return divide_rows(rows, d->threads * PIECES_PER_THREAD, find_unit(products, n));
}

void umbra_device_products(const umbra_device *d, const umbra_product *products, int n)
{
    int rows = 0;
    for (int i = 0; i < n; i++)
        rows += products[i].rows;
    int grain = choose_grain(d, products, n, rows);
    product_run run = {products, n};
    if (d->tick)
        d->tick(d->user);
    for (int i = 0; d->profiler && i < n; i++)
        count_work(d->profiler, &products[i]);
    umbra_device_run(d, rows, grain, run_rows, &run);
}

umbra_product umbra_product_make(const umbra_device *d, const umbra_matrix *w,
                                 const umbra_activations *x, int tokens, float *out)
{
    return (umbra_product){
        .matmul = {.weights = w->data,
                   .row_bytes = w->row_bytes,
                   .x = x,
                   .tokens = tokens,
                   .out = out,
                   .out_stride = (uint64_t)w->rows},
        .fn = d->kernels->matmul[w->dtype],
        .rows = w->rows,
    };
}
