/* Speeds of the matrix products, beside a plain read of the same bytes. For the eye: nothing here
 * fails. Decode uses many matrices of the shape, so that they come from the level of memory named;
 * prefill repeats one. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "check.h"

enum { SHAPES = 8, TOKENS_MAX = 64 };

static const struct shape {
    int rows, columns;
} shapes[SHAPES] = {
    {64, 256},  {128, 384},  {384, 128},  {384, 384},
    {640, 384}, {768, 2048}, {2048, 768}, {16384, 384},
};

static const double seconds_least = 0.008;
static volatile uint64_t sink;

/* The ground to compare with: every byte read once and added up, in four vector chains. */
typedef uint64_t pair __attribute__((vector_size(16)));

static void read_bytes(const uint8_t *p, size_t bytes)
{
    pair a = {0}, b = {0}, c = {0}, d = {0}, in[4];
    for (size_t i = 0; i + sizeof in <= bytes; i += sizeof in) {
        memcpy(in, p + i, sizeof in);
        a += in[0];
        b += in[1];
        c += in[2];
        d += in[3];
    }
    a += b + c + d;
    sink = a[0] + a[1];
}

typedef struct work {
    const umbra_kernels *k;
    umbra_dtype type;
    umbra_matmul m;
    int rows;
    size_t matrix_bytes, matrices;
} work;

/* Seconds per matrix; the best of several rounds, because the machine may be shared. */
static double time_work(const work *w, bool only_read)
{
    double best = 1e9;
    for (int round = 0; round < 12; round++) {
        size_t done = 0;
        uint64_t start = umbra_clock_ns();
        double seconds = 0;
        do {
            for (size_t i = 0; i < w->matrices; i++, done++) {
                umbra_matmul m = w->m;
                m.weights = (const uint8_t *)w->m.weights + i * w->matrix_bytes;
                if (only_read) {
                    read_bytes(m.weights, w->matrix_bytes);
                } else {
                    w->k->matmul[w->type](&m, 0, w->rows);
                }
            }
            seconds = umbra_seconds_since(start);
        } while (seconds < seconds_least);
        best = seconds / (double)done < best ? seconds / (double)done : best;
    }
    return best;
}

static void bench_shape(const umbra_kernels *k, umbra_dtype type, const struct shape *s)
{
    static const size_t footprints[] = {256 << 10, 8 << 20, 128 << 20};
    static const int token_counts[] = {2, 3, 4, 8, 32, 64};
    umbra_activations x = umbra_check_activations(k, TOKENS_MAX, s->columns, CHECK_NORMAL, 0);
    work w = {
        .k = k,
        .type = type,
        .rows = s->rows,
        .m = {.x = &x, .tokens = 1, .out_stride = (uint64_t)s->rows},
    };
    w.m.row_bytes = umbra_dtype_row_bytes(umbra_dtype_get(type), (uint64_t)s->columns);
    w.matrix_bytes = (size_t)w.m.row_bytes * (size_t)s->rows;
    size_t copies = footprints[2] / w.matrix_bytes;
    w.m.weights = umbra_check_weights(type, s->rows * (int)copies, s->columns, false, 0);
    w.m.out = umbra_check_alloc(sizeof(float) * TOKENS_MAX * (size_t)s->rows, 0);
    printf("%-9s %-6s %5dx%-4d decode GB/s (of read):", k->name, umbra_dtype_get(type).name,
           s->rows, s->columns);
    for (int f = 0; f < 3; f++) {
        w.matrices = footprints[f] / w.matrix_bytes;
        if (w.matrices == 0) {
            w.matrices = 1;
        }
        double bytes = (double)w.matrix_bytes * 1e-9;
        printf(" %4zuK %5.1f (%4.1f)", w.matrices * w.matrix_bytes >> 10,
               bytes / time_work(&w, false), bytes / time_work(&w, true));
    }
    printf("  GMAC/s:");
    w.matrices = 1;
    for (int t = 0; t < 6; t++) {
        w.m.tokens = token_counts[t];
        double products = (double)s->rows * s->columns * w.m.tokens * 1e-9;
        printf(" %d:%.1f", w.m.tokens, products / time_work(&w, false));
    }
    printf("\n");
    fflush(stdout);
    umbra_check_release();
}

void umbra_check_bench(const umbra_kernels *k, const char *only)
{
    umbra_check_seed(6);
    for (int i = 0; i < CHECK_TYPES; i++) {
        umbra_dtype type = umbra_check_types[i];
        umbra_dtype_info info = umbra_dtype_get(type);
        if (only && strcmp(only, info.name) != 0) {
            continue;
        }
        for (int s = 0; s < SHAPES; s++) {
            if ((uint32_t)shapes[s].columns % info.block_values == 0) {
                bench_shape(k, type, &shapes[s]);
            }
        }
    }
}
