/* bench_kernels [NAME|TYPE]... : the speed of the matrix products by weight type, for every
 * instruction set of this machine (or those named): one core, bytes of weights per second and
 * multiply-adds for one token, from cache and from memory, and multiply-adds per second for 8, 64
 * and 512 tokens, all of 768 x 2048 weights. The tables take turns; the best of several rounds
 * counts, since cores are shared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "kernels/kernels.h"

enum { ROWS = 768, COLUMNS = 2048, MOST_TOKENS = 512, ROUNDS = 5, MOST_TABLES = 8, FAR = 64 << 20 };

#define WEIGHT_BYTES (FAR + ROWS * COLUMNS * sizeof(float))

static const double least_seconds = 0.004;
static const int token_counts[] = {1, 8, 64, 512};
enum { COUNTS = sizeof token_counts / sizeof token_counts[0] };

typedef struct figures {
    double seconds[COUNTS]; /* per matrix */
    double far_seconds;     /* per matrix that comes from memory, one token */
} figures;

typedef struct bench {
    const umbra_kernels *tables[MOST_TABLES];
    int n_tables;
    uint8_t *weights; /* FAR bytes and more, of the type in progress */
    umbra_activations x;
    float *out;
    umbra_random random;
} bench;

static void *allocate(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        fputs("bench_kernels: no memory\n", stderr);
        exit(1);
    }
    return p;
}

static void open_bench(bench *b)
{
    size_t n = (size_t)MOST_TOKENS * COLUMNS, blocks = n / UMBRA_Q16_BLOCK;
    const umbra_kernels *scalar = umbra_kernels_find("scalar");
    umbra_random_seed(&b->random, 1);
    b->weights = allocate(WEIGHT_BYTES);
    b->out = allocate(sizeof(float) * MOST_TOKENS * ROWS);
    b->x = (umbra_activations){
        .rows = MOST_TOKENS,
        .columns = COLUMNS,
        .f32 = allocate(n * sizeof(float)),
        .q = allocate(n * sizeof(int16_t)),
        .scale = allocate(blocks * sizeof(float)),
        .sum = allocate(blocks * sizeof(float)),
    };
    for (size_t i = 0; i < n; i++)
        b->x.f32[i] = (float)(umbra_random_u64(&b->random) % 2001) * 1e-3f - 1;
    for (int t = 0; t < MOST_TOKENS; t++)
        scalar->quantize(b->x.f32 + (size_t)t * COLUMNS, COLUMNS, b->x.q + (size_t)t * COLUMNS,
                         b->x.scale + (size_t)t * (COLUMNS / UMBRA_Q16_BLOCK),
                         b->x.sum + (size_t)t * (COLUMNS / UMBRA_Q16_BLOCK));
}

/* Bytes without a pattern. */
static void fill(bench *b)
{
    for (size_t i = 0; i < WEIGHT_BYTES; i += sizeof(uint64_t)) {
        uint64_t bits = umbra_random_u64(&b->random);
        memcpy(b->weights + i, &bits, sizeof bits);
    }
}

/* Gives the numbers of a type exponents near 1, since some processors are slow with tiny ones. */
static void tame(bench *b, umbra_dtype type)
{
    if (type == UMBRA_MXFP4)
        for (size_t i = 0; i < WEIGHT_BYTES; i += umbra_dtype_get(type).block_bytes)
            b->weights[i] = 120;
    for (size_t i = 0; type == UMBRA_F32 && i < WEIGHT_BYTES; i += sizeof(float))
        memcpy(b->weights + i, &(float){(float)(i % 8191) * 1e-4f}, sizeof(float));
    for (size_t i = 1; type == UMBRA_BF16 && i < WEIGHT_BYTES; i += 2)
        b->weights[i] = 0x3f;
}

/* Of this thread's processor: others may run on the core. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds per matrix of `matrices` that lie one behind the other. */
static double time_matrices(const bench *b, const umbra_kernels *k, umbra_dtype type, int tokens,
                            size_t matrices)
{
    umbra_matmul m = {.row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(type), COLUMNS),
                      .x = &b->x,
                      .tokens = tokens,
                      .out = b->out,
                      .out_stride = ROWS};
    size_t done = 0;
    double start = now();
    do {
        for (size_t i = 0; i < matrices; i++, done++) {
            m.weights = b->weights + i * m.row_bytes * ROWS;
            k->matmul[type](&m, 0, ROWS);
        }
    } while (now() - start < least_seconds);
    return (now() - start) / (double)done;
}

static double least(double a, double b)
{
    return a > 0 && a < b ? a : b;
}

static void bench_type(bench *b, umbra_dtype type)
{
    figures f[MOST_TABLES] = {0};
    umbra_dtype_info info = umbra_dtype_get(type);
    double bytes = (double)umbra_dtype_row_bytes(info, COLUMNS) * ROWS;
    tame(b, type);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < b->n_tables; i++) {
            const umbra_kernels *k = b->tables[i];
            for (int c = 0; c < COUNTS; c++)
                f[i].seconds[c] =
                    least(f[i].seconds[c], time_matrices(b, k, type, token_counts[c], 1));
            f[i].far_seconds =
                least(f[i].far_seconds, time_matrices(b, k, type, 1, (size_t)(FAR / bytes)));
        }
    for (int i = 0; i < b->n_tables; i++) {
        printf("%-8s %-9s %6.1f %6.1f", info.name, b->tables[i]->name,
               bytes / f[i].seconds[0] * 1e-9, bytes / f[i].far_seconds * 1e-9);
        for (int c = 0; c < COUNTS; c++)
            printf(" %7.1f", (double)ROWS * COLUMNS * token_counts[c] / f[i].seconds[c] * 1e-9);
        putchar('\n');
    }
    fflush(stdout);
}

static bool is_named(int argc, char **argv, const char *name)
{
    for (int i = 1; name && i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return false;
}

/* Tables that are named, or all that are no standard for others. */
static void choose_tables(bench *b, int argc, char **argv)
{
    const char *name;
    bool any = false;
    for (int i = 0; (name = umbra_kernels_name(i)); i++)
        any = any || is_named(argc, argv, name);
    for (int i = 0; b->n_tables < MOST_TABLES && (name = umbra_kernels_name(i)); i++) {
        bool standard = strcmp(name, "reference") == 0 || (strcmp(name, "scalar") == 0 && i > 0);
        if (any ? is_named(argc, argv, name) : !standard)
            b->tables[b->n_tables++] = umbra_kernels_find(name);
    }
}

int main(int argc, char **argv)
{
    bench b = {0};
    bool any = false;
    choose_tables(&b, argc, argv);
    open_bench(&b);
    fill(&b);
    for (int t = 0; t < UMBRA_DTYPE_COUNT; t++)
        any = any || is_named(argc, argv, umbra_dtype_get((umbra_dtype)t).name);
    printf(
        "%d x %d weights, one core; cache, memory: GB/s of weights with one token; then GMAC/s\n",
        ROWS, COLUMNS);
    printf("%-8s %-9s %6s %6s", "type", "kernels", "cache", "memory");
    for (int c = 0; c < COUNTS; c++)
        printf(" %5d t", token_counts[c]);
    putchar('\n');
    for (int t = 0; t < UMBRA_DTYPE_COUNT; t++)
        if (b.tables[0]->matmul[t] &&
            (!any || is_named(argc, argv, umbra_dtype_get((umbra_dtype)t).name)))
            bench_type(&b, (umbra_dtype)t);
    free(b.weights);
    free(b.out);
    free(b.x.f32);
    free(b.x.q);
    free(b.x.scale);
    free(b.x.sum);
    return 0;
}
