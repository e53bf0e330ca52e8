/* An index that picks what attention sees: every position, or every whole unit of them, keeps a
 * key, a row's queries score them, and the best units are picked. */
#include <math.h>
#include <string.h>

#include "device/device.h"

typedef struct index_run {
    const umbra_kernels *kernels;
    const umbra_index_step *s;
} index_run;

/* Mean 0, variance 1, weight and bias. */
static void norm_key(const umbra_index_step *s, float *x)
{
    double mean = 0, square = 0;
    for (int i = 0; i < s->dim; i++)
        mean += (double)x[i] / s->dim;
    for (int i = 0; i < s->dim; i++)
        square += ((double)x[i] - mean) * ((double)x[i] - mean) / s->dim;
    double scale = 1 / sqrt(square + (double)s->eps);
    for (int i = 0; i < s->dim; i++)
        x[i] = (float)(((double)x[i] - mean) * scale) * s->norm[i] + s->bias[i];
}

static void shape_key(const index_run *run, float *key)
{
    const umbra_index_step *s = run->s;
    if (s->bias)
        norm_key(s, key);
    else
        run->kernels->rms_norm(key, key, s->norm, s->dim, s->eps);
}

static void shape_query(const index_run *run, float *query, const float *angles)
{
    const umbra_index_step *s = run->s;
    if (s->query_norm)
        run->kernels->rms_norm(query, query, s->query_norm, s->dim, s->eps);
    umbra_rope_rotate(run->kernels, s->rope, query + s->turned_at, angles);
}

static void place_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const index_run *run = context;
    const umbra_index_step *s = run->s;
    for (int t = begin; t < end; t++) {
        const float *angles = s->angles + (size_t)t * (size_t)s->rope->dim;
        for (int h = 0; h < s->heads; h++)
            shape_query(run, s->query + (t * s->heads + h) * s->dim, angles);
        if (!s->key)
            continue;
        int at;
        char *page = umbra_kv_own(&s->view[t], &at);
        float *key = s->key + (size_t)t * (size_t)s->dim;
        shape_key(run, key);
        umbra_rope_rotate(run->kernels, s->rope, key + s->turned_at, angles);
        memcpy(page + umbra_kv_key_at(s->form, 0, at), key, (size_t)s->dim * sizeof *key);
    }
}

/* Products of a row's heads with the keys of a run: each (heads, UMBRA_KV_PAGE). */
static void multiply(const index_run *run, int t, const umbra_kv_run *keys, float *each)
{
    const umbra_index_step *s = run->s;
    umbra_activations query = {.rows = s->heads,
                               .columns = s->dim,
                               .f32 = s->query + (size_t)(t * s->heads) * (size_t)s->dim};
    umbra_matmul m = {.weights = keys->k,
                      .row_bytes = (uint64_t)s->dim * sizeof(float),
                      .x = &query,
                      .tokens = s->heads,
                      .out = each,
                      .out_stride = UMBRA_KV_PAGE};
    run->kernels->matmul[UMBRA_F32](&m, 0, keys->positions);
}

/* What heads find together of n keys. */
static void add_heads(const umbra_index_step *s, int t, const float *each, int n, float *scores)
{
    memset(scores, 0, (size_t)n * sizeof *scores);
    for (int h = 0; h < s->heads; h++, each += UMBRA_KV_PAGE) {
        float weight = s->weight ? s->weight[t * s->heads + h] : 1;
        for (int j = 0; j < n; j++)
            scores[j] += weight * (each[j] > 0 ? each[j] : 0);
    }
}

/* A unit is as good as the best of its keys, of which n from the key `first` on are added. */
static void add_largest(const float *each, int first, int n, int unit, float *scores)
{
    for (int j = 0; j < n; j++) {
        float *score = &scores[(first + j) / unit];
        *score = each[j] > *score ? each[j] : *score;
    }
}

/* scores (lists, units) of a row; each is scratch. */
static void score(const index_run *run, int t, umbra_kv_run *runs, float *each, float *scores,
                  int units)
{
    const umbra_index_step *s = run->s;
    const umbra_picks *p = s->picks;
    int n_runs = umbra_kv_runs(s->form, &s->view[t], 0, runs);
    for (int i = 0; s->by_head && i < p->lists * units; i++)
        scores[i] = -INFINITY;
    for (int r = 0, first = 0; r < n_runs; first += runs[r++].positions) {
        multiply(run, t, &runs[r], each);
        if (!s->by_head)
            add_heads(s, t, each, runs[r].positions, scores + first);
        for (int h = 0; s->by_head && h < s->heads; h++)
            add_largest(each + h * UMBRA_KV_PAGE, first, runs[r].positions, p->positions,
                        scores + (size_t)h * (size_t)units);
    }
    for (int list = 0; list < p->lists; list++)
        for (int i = 0; i < s->local; i++)
            scores[(size_t)(list + 1) * (size_t)units - (size_t)(i + 1)] = INFINITY;
}

/* The k-th largest of x (n), whose order is changed. */
static float find_least(float *x, int n, int k)
{
    int low = 0, high = n - 1, want = k - 1;
    while (low < high) {
        float middle = x[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (x[i] > middle)
                i++;
            while (x[j] < middle)
                j--;
            if (i <= j) {
                float swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        if (want <= j)
            high = j;
        else if (want >= i)
            low = i;
        else
            break;
    }
    return x[want];
}

/* The s->most best units, ascending; of equal ones the first. order: scratch. */
static void pick(const umbra_index_step *s, const float *scores, float *order, int units,
                 int32_t *picked)
{
    int better = 0, n = 0;
    for (int j = 0; j < units; j++)
        order[j] = scores[j] == scores[j] ? scores[j] : -INFINITY;
    float least = find_least(order, units, s->most);
    for (int j = 0; j < units; j++)
        better += scores[j] > least;
    int equal = s->most - better; /* of those that are as good as the least */
    for (int j = 0; j < units && n < s->most; j++) {
        bool level = !(scores[j] > least) && !(scores[j] < least);
        if (scores[j] > least || (level && equal-- > 0))
            picked[n++] = j;
    }
}

/* Positions behind the last key are picked too: an unfinished unit. */
static void pick_row(const index_run *run, int t, umbra_kv_run *runs, float *each)
{
    const umbra_index_step *s = run->s;
    const umbra_picks *p = s->picks;
    int positions = umbra_kv_positions(&s->seen[t]), keys = umbra_kv_positions(&s->view[t]);
    int units = s->key ? (positions + p->positions - 1) / p->positions : keys;
    bool unfinished = positions > units * p->positions;
    float *scores = each + s->heads * UMBRA_KV_PAGE;
    p->n[t] = 0;
    if (units <= s->most)
        return;
    score(run, t, runs, each, scores, units);
    for (int list = 0; list < p->lists; list++) {
        int32_t *picked = umbra_picks_of(p, t, list);
        pick(s, scores + (size_t)list * (size_t)units, scores + (size_t)p->lists * (size_t)units,
             units, picked);
        if (unfinished)
            picked[s->most] = units;
    }
    p->n[t] = s->most + unfinished;
}

static void pick_rows(void *context, int begin, int end, int worker)
{
    const index_run *run = context;
    const umbra_index_step *s = run->s;
    for (int t = begin; t < end; t++)
        pick_row(run, t, s->runs + (size_t)worker * (size_t)s->runs_stride,
                 s->scores + (size_t)worker * (size_t)s->scores_stride);
}

void umbra_device_index(const umbra_device *d, const umbra_index_step *s, int rows)
{
    index_run run = {d->kernels, s};
    umbra_device_run(d, rows, 4, place_rows, &run);
    umbra_device_run(d, rows, 1, pick_rows, &run);
}
