/* Attention: each table on its cache format against plain loops in double. */
#include <math.h>
#include <string.h>

#include "check.h"

enum { GROUP_MAX = 9, HEAD_MAX = 136, POSITIONS_MAX = 1100 };

typedef struct cache {
    void *bytes;  /* (positions, dim) in the table's format, unaligned */
    float *exact; /* the same values as floats */
} cache;

static cache make_cache(const umbra_kernels *k, size_t n)
{
    cache c = {
        .bytes = umbra_check_alloc(n * k->kv_bytes, k->kv_bytes),
        .exact = umbra_check_alloc(n * sizeof(float), 0),
    };
    float *values = umbra_check_alloc(n * sizeof(float), 0);
    umbra_check_fill(values, n, CHECK_NORMAL);
    k->store_kv(c.bytes, values, (int)n);
    umbra_dtype type = k->kv_bytes == 2 ? UMBRA_F16 : UMBRA_F32;
    umbra_kernels_find("reference")->dequantize[type](c.exact, c.bytes, (int)n);
    return c;
}

static void exact_head(const umbra_attend *a, const float *q, const float *k, const float *v,
                       const float *sink, double *out)
{
    static double p[POSITIONS_MAX];
    double sum = 0;
    for (int j = 0; j < a->positions; j++) {
        p[j] = 0;
        for (int i = 0; i < a->head_dim; i++) {
            p[j] += (double)q[i] * k[j * a->head_dim + i];
        }
        p[j] = exp(p[j] * a->scale);
        sum += p[j];
    }
    if (sink) {
        sum += exp(*sink);
    }
    for (int i = 0; i < a->value_dim; i++) {
        out[i] = 0;
        for (int j = 0; j < a->positions; j++) {
            out[i] += p[j] / sum * v[j * a->value_stride + i];
        }
    }
}

/* Cuts the positions into up to three runs of unequal length; each lies where the whole does. */
static void cut_runs(umbra_attend *a, umbra_kv_run *runs, const char *k, const char *v,
                     uint32_t kv_bytes)
{
    int cuts[] = {0, a->positions / 3, a->positions - a->positions / 4, a->positions};
    a->runs = runs;
    for (int i = 0; i < 3; i++) {
        size_t first = (size_t)cuts[i] * kv_bytes;
        if (cuts[i] < cuts[i + 1]) {
            runs[a->n_runs++] =
                (umbra_kv_run){k + first * (size_t)a->head_dim, v + first * (size_t)a->value_stride,
                               cuts[i + 1] - cuts[i]};
        }
    }
}

/* spare: values between one position's and the next. */
static void check_shape(const umbra_kernels *kernels, int group, int head_dim, int value_dim,
                        int positions, int spare, bool sinks)
{
    umbra_attend a = {
        .group = group,
        .head_dim = head_dim,
        .value_dim = value_dim,
        .value_stride = value_dim + spare,
        .positions = positions,
        .scores_stride = positions + 5,
        .scale = (float)(1 / sqrt(head_dim)),
    };
    float *q = umbra_check_alloc(sizeof(float) * (size_t)(group * head_dim), 4);
    umbra_check_fill(q, (size_t)(group * head_dim), CHECK_NORMAL);
    cache keys = make_cache(kernels, (size_t)positions * (size_t)head_dim);
    cache values = make_cache(kernels, (size_t)positions * (size_t)a.value_stride);
    float sink[GROUP_MAX];
    umbra_check_fill(sink, GROUP_MAX, CHECK_NORMAL);
    a.sinks = sinks ? sink : NULL;
    a.q = q;
    umbra_kv_run runs[3];
    cut_runs(&a, runs, keys.bytes, values.bytes, kernels->kv_bytes);
    a.out = umbra_check_alloc(sizeof(float) * (size_t)(group * value_dim + 1), 4);
    a.scores = umbra_check_alloc(sizeof(float) * (size_t)(group * a.scores_stride), 4);
    memset(a.out, 0x7f, sizeof(float) * (size_t)(group * value_dim));
    kernels->attend(&a);
    for (int g = 0; g < group; g++) {
        double want[HEAD_MAX];
        exact_head(&a, q + g * head_dim, keys.exact, values.exact, sinks ? &sink[g] : NULL, want);
        for (int i = 0; i < value_dim; i++) {
            float got = a.out[g * value_dim + i];
            umbra_check(fabs(got - want[i]) <= 4e-6,
                        "%s attend group %d, head %d/%d, %d positions: out[%d][%d] is %.9g, should "
                        "be %.9g",
                        kernels->name, group, head_dim, value_dim, positions, g, i, (double)got,
                        want[i]);
        }
    }
    umbra_check(a.out[group * value_dim] == 0, "%s attend wrote past its output", kernels->name);
    umbra_check_release();
}

void umbra_check_attend(const umbra_kernels *k)
{
    static const int positions[] = {1, 2, 3, 4, 5, 63, 64, 65, 130};
    static const int heads[][2] = {{64, 64}, {128, 128}, {24, 40}, {100, 5}, {1, 33}, {136, 72}};
    umbra_check_seed(5);
    for (int group = 1; group <= GROUP_MAX; group++) {
        for (int h = 0; h < 6; h++) {
            for (int p = group % 3; p < 9; p += 3) {
                check_shape(k, group, heads[h][0], heads[h][1], positions[p], p % 2 * 24, h % 2);
            }
        }
    }
    check_shape(k, 3, 64, 64, POSITIONS_MAX, 0, false);
    check_shape(k, 2, 128, 128, POSITIONS_MAX - 1, 3, true);
}
