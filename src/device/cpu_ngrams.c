/* What the last tokens say together joins several residual streams, as far as it fits each of them,
 * and through a short convolution over what it said before. */
#include <math.h>

#include "device/device.h"

typedef struct ngram_run {
    const umbra_kernels *kernels;
    const umbra_ngram_step *s;
} ngram_run;

static float *own_row(const umbra_ngram_step *s, int t)
{
    int at;
    char *page = umbra_kv_own(&s->view[t], &at);
    return (float *)(void *)(page + umbra_kv_key_at(s->form, 0, at));
}

static float dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

/* How far a key fits a stream: sigmoid of the signed root of their product. */
static float fit(float score)
{
    double root = copysign(sqrt(fmax(fabs((double)score), 1e-6)), (double)score);
    return (float)(1 / (1 + exp(-root)));
}

/* Keys become what each stream gets of the value, whose norms are kept. */
static void weigh_rows(void *context, int begin, int end, int worker)
{
    const ngram_run *run = context;
    const umbra_ngram_step *s = run->s;
    size_t n = (size_t)s->hidden;
    float *query = s->row + (size_t)worker * n;
    for (int t = begin; t < end; t++) {
        float *kept = own_row(s, t);
        for (int i = 0; i < s->streams; i++) {
            size_t at = (size_t)i * n, row = (size_t)(t * s->streams) * n + at;
            float *given = s->key + row;
            run->kernels->rms_norm(given, given, s->key_norm + at, s->hidden, s->eps);
            run->kernels->rms_norm(query, s->x + row, s->query_norm + at, s->hidden, s->eps);
            float share = fit(dot(given, query, s->hidden) / sqrtf((float)s->hidden));
            for (size_t j = 0; j < n; j++)
                given[j] = share * s->value[(size_t)t * n + j];
            run->kernels->rms_norm(kept + at, given, s->conv_norm + at, s->hidden, s->eps);
        }
    }
}

/* The row `back` positions before the last that the runs show, or NULL. */
static const float *row_back(const umbra_kv_run *runs, int n_runs, int back, size_t width)
{
    for (int r = n_runs - 1; r >= 0; back -= runs[r--].positions)
        if (back < runs[r].positions)
            return (const float *)runs[r].k + (size_t)(runs[r].positions - 1 - back) * width;
    return NULL;
}

static void join_rows(void *context, int begin, int end, int worker)
{
    const umbra_ngram_step *s = ((const ngram_run *)context)->s;
    size_t whole = (size_t)(s->streams * s->hidden), taps = (size_t)s->taps;
    umbra_kv_run *runs = s->runs + (size_t)worker * (size_t)s->runs_stride;
    for (size_t t = (size_t)begin; t < (size_t)end; t++) {
        int n_runs = umbra_kv_runs(s->form, &s->view[t], 0, runs);
        float *x = s->x + t * whole;
        const float *given = s->key + t * whole;
        const float *row[UMBRA_MAX_TAPS];
        for (int j = 0; j < s->taps; j++)
            row[j] = row_back(runs, n_runs, (s->taps - 1 - j) * s->apart, (size_t)s->form->key);
        for (size_t i = 0; i < whole; i++) {
            float sum = 0;
            for (size_t j = 0; j < taps; j++)
                sum += row[j] ? s->conv[i * taps + j] * row[j][i] : 0;
            x[i] += given[i] + sum / (1 + expf(-sum));
        }
    }
}

void umbra_device_join_ngrams(const umbra_device *d, const umbra_ngram_step *s, int rows)
{
    ngram_run run = {d->kernels, s};
    umbra_device_run(d, rows, 1, weigh_rows, &run);
    umbra_device_run(d, rows, 1, join_rows, &run);
}
