/* Several residual streams: what a block takes of them, and what becomes of them behind it. */
#include <math.h>
#include <string.h>

#include "device/device.h"

enum { COLUMNS = 256 /* of all streams at once, which the nearest cache holds */ };

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Row by row: m[i] to the softmax of the row's scores. */
static void softmax_rows(const umbra_enter_step *s, const float *scores, double *m)
{
    int n = s->streams;
    for (int from = 0; from < n; from++) {
        double largest = -INFINITY, sum = 0;
        double *row = m + from * n;
        for (int to = 0; to < n; to++) {
            int at = 2 * n + from * n + to;
            row[to] = (double)scores[at] * (double)s->scale[2] + (double)s->base[at];
            largest = fmax(largest, row[to]);
        }
        for (int to = 0; to < n; to++)
            sum += row[to] = exp(row[to] - largest);
        for (int to = 0; to < n; to++)
            row[to] = row[to] / sum + (double)s->eps;
    }
}

/* Makes the n values from `first` on, `stride` apart, sum to 1. */
static void even_out(double *m, int first, int stride, int n, double eps)
{
    double sum = eps;
    for (int i = 0; i < n; i++)
        sum += m[first + i * stride];
    for (int i = 0; i < n; i++)
        m[first + i * stride] /= sum;
}

/* Weights (from, to) between streams: a matrix whose rows and columns all but sum to 1. */
static void balance(const umbra_enter_step *s, const float *scores, float *out)
{
    double m[UMBRA_MAX_STREAMS * UMBRA_MAX_STREAMS];
    int n = s->streams;
    softmax_rows(s, scores, m);
    for (int i = 0; i < s->iterations; i++) {
        for (int from = 0; i > 0 && from < n; from++)
            even_out(m, from * n, 1, n, (double)s->eps);
        for (int to = 0; to < n; to++)
            even_out(m, to, n, n, (double)s->eps);
    }
    for (int i = 0; i < n * n; i++)
        out[i] = (float)m[i];
}

static void enter_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const umbra_enter_step *s = context;
    int n = s->streams, each = s->carry ? n * (n + 2) : n;
    size_t width = (size_t)s->hidden;
    for (size_t t = (size_t)begin; t < (size_t)end; t++) {
        const float *scores = s->scores + t * (size_t)each;
        const float *streams = s->x + t * (size_t)n * width;
        float *out = s->out + t * width;
        float *carry = s->carry ? s->carry + t * (size_t)(n * (n + 1)) : NULL;
        for (size_t i = 0; i < width; i++)
            out[i] = 0;
        for (int from = 0; from < n; from++) {
            double share =
                sigmoid((double)scores[from] * (double)s->scale[0] + (double)s->base[from]);
            s->kernels->add_scaled(out, streams + (size_t)from * width,
                                   (float)(share + (double)s->eps), s->hidden);
        }
        for (int to = 0; carry && to < n; to++)
            carry[to] = (float)(2 * sigmoid((double)scores[n + to] * (double)s->scale[1] +
                                            (double)s->base[n + to]));
        if (carry)
            balance(s, scores, carry + n);
    }
}

void umbra_device_enter(const umbra_device *d, umbra_enter_step *s, int rows)
{
    s->kernels = d->kernels;
    umbra_device_run(d, rows, 4, enter_rows, s);
}

typedef struct leave_run {
    float *x;
    const float *carry, *block;
    int streams, hidden;
} leave_run;

/* Columns [first, first + n) of a row's streams, x (streams, hidden). */
static void leave_columns(const leave_run *s, const float *carry, const float *block, float *x,
                          int first, int n)
{
    const float *between = carry + s->streams;
    size_t width = (size_t)s->hidden;
    float before[UMBRA_MAX_STREAMS][COLUMNS];
    for (int from = 0; from < s->streams; from++)
        memcpy(before[from], x + (size_t)from * width + first, (size_t)n * sizeof *x);
    for (int to = 0; to < s->streams; to++) {
        float *out = x + (size_t)to * width + first;
        for (int i = 0; i < n; i++)
            out[i] = carry[to] * block[first + i];
        for (int from = 0; from < s->streams; from++) {
            float share = between[from * s->streams + to];
            for (int i = 0; i < n; i++)
                out[i] += share * before[from][i];
        }
    }
}

static void leave_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const leave_run *s = context;
    size_t n = (size_t)s->streams, width = (size_t)s->hidden;
    for (size_t t = (size_t)begin; t < (size_t)end; t++)
        for (int i = 0; i < s->hidden; i += COLUMNS)
            leave_columns(s, s->carry + t * n * (n + 1), s->block + t * width, s->x + t * n * width,
                          i, s->hidden - i < COLUMNS ? s->hidden - i : COLUMNS);
}

void umbra_device_leave(const umbra_device *d, float *x, const float *carry, const float *block,
                        int streams, int hidden, int rows)
{
    leave_run run = {x, carry, block, streams, hidden};
    umbra_device_run(d, rows, 4, leave_rows, &run);
}

/* ---- mixtures of normed streams ---- */

typedef struct norm_run {
    const umbra_kernels *kernels;
    umbra_activations *out;
    const float *x, *weight;
    int streams;
    float eps;
} norm_run;

static void norm_streams(void *context, int begin, int end, int worker)
{
    (void)worker;
    const norm_run *s = context;
    int hidden = s->out->columns / s->streams;
    for (int i = begin * s->streams; i < end * s->streams; i++) {
        size_t at = (size_t)i * (size_t)hidden;
        s->kernels->rms_norm(s->out->f32 + at, s->x + at,
                             s->weight + (size_t)(i % s->streams) * (size_t)hidden, hidden, s->eps);
    }
    umbra_round_rows(s->kernels, s->out, begin, end - begin);
}

void umbra_device_norm_streams(const umbra_device *d, umbra_activations *out, const float *x,
                               const float *weight, int streams, float eps, int rows)
{
    norm_run run = {d->kernels, out, x, weight, streams, eps};
    umbra_device_run(d, rows, 4, norm_streams, &run);
}

void umbra_device_silu(const umbra_device *d, umbra_activations *a, float scale, int rows)
{
    size_t n = (size_t)rows * (size_t)a->columns;
    for (size_t i = 0; i < n; i++) {
        float x = scale * a->f32[i];
        a->f32[i] = x / (1 + expf(-x));
    }
    umbra_device_round(d, a, rows);
}

static void average_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const umbra_average_step *s = context;
    int n = s->streams;
    size_t width = (size_t)s->hidden;
    for (size_t t = (size_t)begin; t < (size_t)end; t++) {
        const float *normed = s->normed + t * (size_t)n * width;
        const float *gates = s->gates + t * (size_t)n * width;
        float *out = s->out + t * width;
        for (size_t i = 0; i < width; i++)
            out[i] = 0;
        for (size_t i = 0; i < (size_t)n * width; i++)
            out[i % width] += normed[i] / (1 + expf(-gates[i]));
        for (size_t i = 0; i < width; i++)
            out[i] /= (float)n;
        float *carry = s->scores ? s->carry + t * (size_t)(n * (n + 1)) : NULL;
        for (int to = 0; carry && to < n; to++)
            carry[to] = (float)(2 * sigmoid((double)s->scores[t * (size_t)n + (size_t)to] / n));
        for (int i = 0; carry && i < n * n; i++)
            carry[n + i] = i / n == i % n;
    }
}

void umbra_device_average(const umbra_device *d, const umbra_average_step *s, int rows)
{
    umbra_device_run(d, rows, 4, average_rows, (void *)s);
}
