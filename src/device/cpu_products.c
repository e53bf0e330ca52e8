/* Matrix products, shared by the threads of the pool. */
#include "device/device.h"

/* Rows claimed at once: enough to reuse an activation from cache, few enough to balance, and whole
 * panels of the kernels. With many tokens a piece takes long: there are more of them, and the
 * tokens are dealt in blocks as well, since the last piece of a matrix keeps all threads waiting.
 * With few, some long rows are work enough. */
enum {
    LEAST_GRAIN = 16,
    LEAST_BYTES = 64 << 10, /* of long rows */
    LONG_ROW = 16 << 10,    /* bytes */
    PANEL_ROWS = 32,
    STRIP_ROWS = 64, /* whose panels share what is prepared of the tokens */
    MOST_GRAIN = 256,
    PIECES_PER_THREAD = 4,
    MANY_TOKENS = 16,
    MANY_PIECES_PER_THREAD = 12,
    BLOCK_TOKENS = 128, /* most of a block; kernels unpack weights once for up to 128 of them, */
    BLOCK_STEP = 16,    /* which they take in groups of so many */
};

typedef struct product_run {
    const umbra_product *products;
    int n;
} product_run;

static int count_blocks(const umbra_product *p)
{
    return p->matmul.tokens > BLOCK_TOKENS ? (p->matmul.tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS
                                           : 1;
}

/* Rows [from, to) times the tokens of a block. */
static void run_block(const umbra_product *p, int block, int from, int to)
{
    int blocks = count_blocks(p), all = p->matmul.tokens;
    int size = ((all + blocks - 1) / blocks + BLOCK_STEP - 1) / BLOCK_STEP * BLOCK_STEP;
    size_t first = (size_t)block * (size_t)size, columns = (size_t)p->matmul.x->columns;
    size_t parts = columns / UMBRA_Q16_BLOCK;
    umbra_activations x = *p->matmul.x;
    umbra_matmul m = p->matmul;
    m.tokens = all - (int)first < size ? all - (int)first : size;
    m.out += first * m.out_stride;
    if (m.gather) {
        m.gather += first;
    } else {
        x.f32 += first * columns;
        x.q += first * columns;
        x.scale += first * parts;
        x.sum += first * parts;
        m.x = &x;
    }
    p->fn(&m, from, to);
}

/* Items are the rows of all products, one after the other, those of each once per block. */
static void run_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const product_run *run = context;
    int first = 0; /* item of the block's row 0 */
    for (int i = 0; i < run->n && first < end; i++) {
        const umbra_product *p = &run->products[i];
        for (int b = 0, blocks = count_blocks(p); b < blocks; b++, first += p->rows) {
            int from = begin > first ? begin - first : 0;
            int to = end - first < p->rows ? end - first : p->rows;
            if (from < to && blocks == 1)
                p->fn(&p->matmul, from, to);
            else if (from < to)
                run_block(p, b, from, to);
        }
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

/* Whole strips where there are enough of them. */
static int divide_many(int rows, int pieces)
{
    return divide_rows(rows, pieces, rows / pieces < STRIP_ROWS ? PANEL_ROWS : STRIP_ROWS);
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
        return divide_many(rows, d->threads * MANY_PIECES_PER_THREAD);
    return divide_rows(rows, d->threads * PIECES_PER_THREAD, find_unit(products, n));
}

void umbra_device_products(const umbra_device *d, const umbra_product *products, int n)
{
    int rows = 0;
    for (int i = 0; i < n; i++)
        rows += products[i].rows * count_blocks(&products[i]);
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
