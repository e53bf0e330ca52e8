/* Rows that stand for whole blocks of positions: each position leaves values, and scores where
 * these weigh them, and the last one of a block pools them. */
#include <math.h>
#include <string.h>

#include "device/device.h"

enum { COLUMNS = 64 /* pooled together */ };

typedef struct pool_run {
    const umbra_kernels *kernels;
    const umbra_pool_step *s;
} pool_run;

static void place_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const umbra_pool_step *s = ((const pool_run *)context)->s;
    size_t width = (size_t)((s->parts > 0 ? s->parts : 1) * s->dim);
    for (int t = begin; t < end; t++) {
        int at;
        char *page = umbra_kv_own(&s->from_view[t], &at);
        float *kept = (float *)(void *)(page + umbra_kv_key_at(s->from, 0, at));
        memcpy(kept, s->values + (size_t)t * width, width * sizeof *kept);
        if (s->parts == 0)
            continue;
        const float *place = s->place + (size_t)(s->position[t] % s->ratio) * width;
        for (size_t i = 0; i < width; i++)
            kept[width + i] = s->scores[(size_t)t * width + i] + place[i];
    }
}

/* The softmax of the scores of `n` columns weighs their values: two passes over the rows that the
 * block, and with two parts the block before, left. Rows of the block before give the first part
 * of their columns, the block's own the last. */
static void pool_columns(const umbra_pool_step *s, const umbra_kv_run *runs, int n_runs, int rows,
                         int first, int n, float *out)
{
    size_t width = (size_t)(s->parts * s->dim);
    float largest[COLUMNS], sum[COLUMNS], value[COLUMNS];
    for (int i = 0; i < n; i++) {
        largest[i] = -INFINITY;
        sum[i] = value[i] = 0;
    }
    for (int pass = 0; pass < 2; pass++) {
        int before = rows - s->ratio; /* rows of the block before */
        for (int r = 0; r < n_runs; r++) {
            const float *row = runs[r].k;
            for (int j = 0; j < runs[r].positions; j++, before--, row += 2 * width) {
                int part = before > 0 ? 0 : s->parts - 1;
                const float *v = row + (size_t)(part * s->dim + first), *score = v + width;
                for (int i = 0; pass == 0 && i < n; i++)
                    largest[i] = score[i] > largest[i] ? score[i] : largest[i];
                for (int i = 0; pass == 1 && i < n; i++) {
                    float e = expf(score[i] - largest[i]);
                    sum[i] += e;
                    value[i] += e * v[i];
                }
            }
        }
    }
    for (int i = 0; i < n; i++)
        out[first + i] = value[i] / sum[i];
}

static void average(const umbra_pool_step *s, const umbra_kv_run *runs, int n_runs, float *out)
{
    memset(out, 0, (size_t)s->dim * sizeof *out);
    for (int r = 0; r < n_runs; r++) {
        const float *row = runs[r].k;
        for (int j = 0; j < runs[r].positions; j++, row += s->dim)
            for (int i = 0; i < s->dim; i++)
                out[i] += row[i];
    }
    for (int i = 0; i < s->dim; i++)
        out[i] /= (float)s->ratio;
}

static void pool_block(const umbra_pool_step *s, int t, umbra_kv_run *runs, float *out)
{
    int n_runs = umbra_kv_runs(s->from, &s->from_view[t], 0, runs);
    int rows = umbra_kv_positions(&s->from_view[t]);
    if (s->parts == 0)
        average(s, runs, n_runs, out);
    for (int i = 0; s->parts > 0 && i < s->dim; i += COLUMNS)
        pool_columns(s, runs, n_runs, rows, i, s->dim - i < COLUMNS ? s->dim - i : COLUMNS, out);
}

static void pool_rows(void *context, int begin, int end, int worker)
{
    const pool_run *run = context;
    const umbra_pool_step *s = run->s;
    umbra_kv_run *runs = s->runs + (size_t)worker * (size_t)s->runs_stride;
    for (int t = begin; t < end; t++) {
        if ((s->position[t] + 1) % s->ratio != 0)
            continue;
        float *out = s->out + (size_t)t * (size_t)s->dim;
        int at;
        pool_block(s, t, runs, out);
        run->kernels->rms_norm(out, out, s->norm, s->dim, s->eps);
        umbra_rope_rotate(run->kernels, s->rope, out + s->turned_at,
                          s->angles + (size_t)t * (size_t)s->rope->dim);
        char *row = umbra_kv_own(&s->to_view[t], &at) + umbra_kv_key_at(s->to, 0, at);
        if (s->plain)
            memcpy(row, out, (size_t)s->dim * sizeof *out);
        else
            run->kernels->store_kv(row, out, s->dim);
    }
}

void umbra_device_pool(const umbra_device *d, const umbra_pool_step *s, int rows)
{
    pool_run run = {d->kernels, s};
    umbra_device_run(d, rows, 4, place_rows, &run);
    umbra_device_run(d, rows, 4, pool_rows, &run);
}
