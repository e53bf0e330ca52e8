/* An index that picks which positions attention sees: every position keeps a key, a row's queries
 * score them, and the best are picked. */
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

static void place_keys(void *context, int begin, int end, int worker)
{
    (void)worker;
    const index_run *run = context;
    const umbra_index_step *s = run->s;
    for (int t = begin; t < end; t++) {
        int at;
        char *page = umbra_kv_own(&s->view[t], &at);
        const float *angles = s->angles + (size_t)t * (size_t)s->rope->dim;
        float *key = s->key + (size_t)t * (size_t)s->dim;
        norm_key(s, key);
        umbra_rope_rotate(run->kernels, s->rope, key, angles);
        memcpy(page + umbra_kv_key_at(s->form, 0, at), key, (size_t)s->dim * sizeof *key);
        for (int h = 0; h < s->heads; h++)
            umbra_rope_rotate(run->kernels, s->rope, s->query + (t * s->heads + h) * s->dim,
                              angles);
    }
}

/* scores (positions): what a row's heads find, each weighed; `each` (heads, stride) is scratch. */
static void score(const index_run *run, int t, const umbra_kv_run *runs, int n_runs, float *each,
                  float *scores, int positions)
{
    const umbra_index_step *s = run->s;
    umbra_activations query = {.rows = s->heads,
                               .columns = s->dim,
                               .f32 = s->query + (size_t)(t * s->heads) * (size_t)s->dim};
    for (int r = 0, first = 0; r < n_runs; first += runs[r++].positions) {
        umbra_matmul m = {.weights = runs[r].k,
                          .row_bytes = (uint64_t)s->dim * sizeof(float),
                          .x = &query,
                          .tokens = s->heads,
                          .out = each + first,
                          .out_stride = (uint64_t)s->scores_stride};
        run->kernels->matmul[UMBRA_F32](&m, 0, runs[r].positions);
    }
    memset(scores, 0, (size_t)positions * sizeof *scores);
    for (int h = 0; h < s->heads; h++) {
        const float *found = each + (size_t)h * (size_t)s->scores_stride;
        float weight = s->weight[t * s->heads + h];
        for (int j = 0; j < positions; j++)
            scores[j] += weight * (found[j] > 0 ? found[j] : 0);
    }
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

/* The s->most best positions, ascending; of equal ones the first. order: scratch. */
static void pick(const umbra_index_step *s, const float *scores, float *order, int positions,
                 int32_t *picked)
{
    int better = 0, n = 0;
    for (int j = 0; j < positions; j++)
        order[j] = scores[j] == scores[j] ? scores[j] : -INFINITY;
    float least = find_least(order, positions, s->most);
    for (int j = 0; j < positions; j++)
        better += scores[j] > least;
    int equal = s->most - better; /* of those that are as good as the least */
    for (int j = 0; j < positions && n < s->most; j++) {
        bool level = !(scores[j] > least) && !(scores[j] < least);
        if (scores[j] > least || (level && equal-- > 0))
            picked[n++] = j;
    }
}

static void pick_rows(void *context, int begin, int end, int worker)
{
    const index_run *run = context;
    const umbra_index_step *s = run->s;
    umbra_kv_run *runs = s->runs + (size_t)worker * (size_t)s->runs_stride;
    size_t stride = (size_t)s->scores_stride;
    float *each = s->scores + (size_t)worker * (size_t)(s->heads + 2) * stride;
    float *scores = each + (size_t)s->heads * stride;
    for (int t = begin; t < end; t++) {
        int positions = umbra_kv_positions(&s->view[t]);
        s->picks[t] = positions > s->most ? s->most : 0;
        if (positions <= s->most)
            continue;
        int n_runs = umbra_kv_runs(s->form, &s->view[t], 0, runs);
        score(run, t, runs, n_runs, each, scores, positions);
        pick(s, scores, scores + stride, positions, s->picked + (size_t)t * (size_t)s->most);
    }
}

void umbra_device_index(const umbra_device *d, const umbra_index_step *s, int rows)
{
    index_run run = {d->kernels, s};
    umbra_device_run(d, rows, 4, place_keys, &run);
    umbra_device_run(d, rows, 1, pick_rows, &run);
}
