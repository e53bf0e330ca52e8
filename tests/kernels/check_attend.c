/* Attention: each table on its cache format against plain loops in double; and that a row has the
 * same bits beside other rows as alone. */
#include <math.h>
#include <string.h>

#include "check.h"

enum { ROWS_MAX = UMBRA_ATTEND_ROWS, HEAD_MAX = 136, POSITIONS_MAX = 1100 };

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

/* Keys and values of a sequence, and rows that look at it. */
typedef struct look {
    const umbra_kernels *kernels;
    umbra_attend attend;
    cache keys, values;
    const float *q;       /* (rows, head_dim) */
    const float *sink;    /* (rows), or NULL */
    const int *from, *to; /* (rows) the positions [from, to) that each sees */
    int rows;
    float *mixed; /* (rows, umbra_attend_width) */
} look;

static void exact_row(const look *l, int row, double *out)
{
    static double p[POSITIONS_MAX];
    const umbra_attend *a = &l->attend;
    const float *q = l->q + row * a->head_dim;
    double sum = l->sink ? exp(l->sink[row]) : 0;
    for (int j = l->from[row]; j < l->to[row]; j++) {
        p[j] = 0;
        for (int i = 0; i < a->head_dim; i++) {
            p[j] += (double)q[i] * l->keys.exact[j * a->head_dim + i];
        }
        p[j] = exp(p[j] * a->scale);
        sum += p[j];
    }
    for (int i = 0; i < a->value_dim; i++) {
        out[i] = 0;
        for (int j = l->from[row]; j < l->to[row]; j++) {
            out[i] += p[j] / sum * l->values.exact[j * a->value_stride + i];
        }
    }
}

/* The positions [from, to) as up to three runs of unequal length; each lies where the whole does.
 */
static int cut_runs(const look *l, int from, int to, umbra_kv_run *runs)
{
    int cuts[] = {from, from + (to - from) / 3, to - (to - from) / 4, to}, n = 0;
    size_t unit = l->kernels->kv_bytes;
    for (int i = 0; i < 3; i++) {
        size_t first = (size_t)cuts[i] * unit;
        if (cuts[i] < cuts[i + 1]) {
            runs[n++] =
                (umbra_kv_run){(char *)l->keys.bytes + first * (size_t)l->attend.head_dim,
                               (char *)l->values.bytes + first * (size_t)l->attend.value_stride,
                               cuts[i + 1] - cuts[i]};
        }
    }
    return n;
}

/* Rows [first, first + n), which see something of the positions [from, to) of one block. */
static void attend_block(const look *l, int first, int n, int from, int to, umbra_attend_row *parts)
{
    int begin = from / UMBRA_ATTEND_BLOCK * UMBRA_ATTEND_BLOCK;
    umbra_attend a = l->attend;
    umbra_kv_run runs[3];
    a.runs = runs;
    a.n_runs = cut_runs(l, from, to, runs);
    a.first = from - begin;
    a.rows = parts;
    a.n_rows = n;
    for (int r = 0; r < n; r++) {
        int row = first + r;
        parts[r].q = l->q + row * a.head_dim;
        parts[r].from = (l->from[row] > from ? l->from[row] : from) - begin;
        parts[r].to = (l->to[row] < to ? l->to[row] : to) - begin;
    }
    l->kernels->attend(&a);
}

/* out (rows, value_dim) of rows [first, first + n), block by block. */
static void attend_rows(const look *l, int first, int n, float *out)
{
    int width = (int)umbra_attend_width(l->attend.value_dim), value_dim = l->attend.value_dim;
    umbra_attend_row parts[ROWS_MAX], totals[ROWS_MAX];
    for (int r = 0; r < n; r++) {
        totals[r] = (umbra_attend_row){.mixed = out + r * value_dim, .most = -INFINITY};
        if (l->sink) {
            totals[r].most = l->sink[first + r];
            totals[r].sum = 1;
        }
        memset(totals[r].mixed, 0, sizeof(float) * (size_t)value_dim);
        parts[r].mixed = l->mixed + r * width;
    }
    int last = l->to[first + n - 1];
    for (int begin = 0; begin < last; begin += UMBRA_ATTEND_BLOCK) {
        int end = begin + UMBRA_ATTEND_BLOCK < last ? begin + UMBRA_ATTEND_BLOCK : last;
        int a = 0, b = n, from = begin;
        while (a < n && l->to[first + a] <= begin) {
            a++;
        }
        while (b > a && l->from[first + b - 1] >= end) {
            b--;
        }
        if (a == b) {
            continue;
        }
        from = l->from[first + a] > begin ? l->from[first + a] : begin;
        attend_block(l, first + a, b - a, from, end, parts + a);
        for (int r = a; r < b; r++) {
            l->kernels->join(&totals[r], &parts[r], value_dim);
        }
    }
    for (int r = 0; r < n; r++) {
        for (int i = 0; i < value_dim; i++) {
            totals[r].mixed[i] = (float)(totals[r].mixed[i] / totals[r].sum);
        }
    }
}

static void check_rows(const look *l)
{
    const umbra_attend *a = &l->attend;
    float *out = umbra_check_alloc(sizeof(float) * (size_t)(l->rows * a->value_dim + 1), 4);
    float *alone = umbra_check_alloc(sizeof(float) * (size_t)a->value_dim, 4);
    attend_rows(l, 0, l->rows, out);
    umbra_check(out[l->rows * a->value_dim] == 0, "%s attend wrote past its output",
                l->kernels->name);
    for (int r = 0; r < l->rows; r++) {
        double want[HEAD_MAX];
        const float *got = out + r * a->value_dim;
        exact_row(l, r, want);
        for (int i = 0; i < a->value_dim; i++) {
            umbra_check(fabs(got[i] - want[i]) <= 4e-6,
                        "%s attend %d rows, head %d/%d, %d positions: out[%d][%d] is %.9g, should "
                        "be %.9g",
                        l->kernels->name, l->rows, a->head_dim, a->value_dim, l->to[r], r, i,
                        (double)got[i], want[i]);
        }
        attend_rows(l, r, 1, alone);
        umbra_check(memcmp(alone, got, sizeof(float) * (size_t)a->value_dim) == 0,
                    "%s attend %d rows, head %d/%d, %d positions: row %d alone has other bits",
                    l->kernels->name, l->rows, a->head_dim, a->value_dim, l->to[r], r);
    }
}

/* Rows as those of several tokens, `heads` of each; the last token is at the last of `positions`,
 * and each sees `window` of them, its own included. spare: values between one position's and the
 * next. */
static void check_shape(const umbra_kernels *kernels, int rows, int heads, int head_dim,
                        int value_dim, int positions, int window, int spare, bool sinks)
{
    look l = {.kernels = kernels, .rows = rows};
    int from[ROWS_MAX], to[ROWS_MAX];
    l.attend = (umbra_attend){
        .head_dim = head_dim,
        .value_dim = value_dim,
        .value_stride = value_dim + spare,
        .scale = (float)(1 / sqrt(head_dim)),
        .scratch = umbra_check_alloc(sizeof(float) * umbra_attend_scratch(head_dim, value_dim), 0),
    };
    float *q = umbra_check_alloc(sizeof(float) * (size_t)(rows * head_dim), 4);
    umbra_check_fill(q, (size_t)(rows * head_dim), CHECK_NORMAL);
    l.keys = make_cache(kernels, (size_t)positions * (size_t)head_dim);
    l.values = make_cache(kernels, (size_t)positions * (size_t)(value_dim + spare));
    float sink[ROWS_MAX];
    umbra_check_fill(sink, ROWS_MAX, CHECK_NORMAL);
    for (int r = 0; r < rows; r++) {
        int after = (rows - 1) / heads - r / heads;
        to[r] = positions > after ? positions - after : 1;
        from[r] = to[r] > window ? to[r] - window : 0;
    }
    l.q = q;
    l.mixed = umbra_check_alloc(sizeof(float) * (size_t)rows * umbra_attend_width(value_dim), 0);
    l.sink = sinks ? sink : NULL;
    l.from = from;
    l.to = to;
    check_rows(&l);
    umbra_check_release();
}

void umbra_check_attend(const umbra_kernels *k)
{
    static const int positions[] = {1, 2, 3, 4, 5, 63, 64, 65, 130};
    static const int heads[][2] = {{64, 64}, {128, 128}, {24, 40}, {100, 5}, {1, 33}, {136, 72}};
    umbra_check_seed(5);
    for (int rows = 1; rows <= 9; rows++) {
        for (int h = 0; h < 6; h++) {
            for (int p = rows % 3; p < 9; p += 3) {
                check_shape(k, rows, 1 + (rows + h) % 4, heads[h][0], heads[h][1], positions[p],
                            p % 2 ? POSITIONS_MAX : 40 + h, p % 2 * 24, h % 2);
            }
        }
    }
    check_shape(k, ROWS_MAX, 8, 128, 128, 200, POSITIONS_MAX, 0, false);
    check_shape(k, ROWS_MAX, 1, 64, 64, 190, 30, 0, true);
    check_shape(k, 3, 3, 64, 64, POSITIONS_MAX, POSITIONS_MAX, 0, false);
    check_shape(k, 2, 1, 128, 128, POSITIONS_MAX - 1, POSITIONS_MAX, 3, true);
}
