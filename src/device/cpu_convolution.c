/* Short convolutions: what rows put in is kept where their views say, and mixed with what was put
 * in before. */
#include <string.h>

#include "device/device.h"

/* Input of one row: what it opens of it. */
static void place_inputs(void *context, int begin, int end, int worker)
{
    (void)worker;
    const umbra_convolve_step *s = context;
    size_t n = (size_t)s->form->key;
    for (int t = begin; t < end; t++) {
        int at;
        char *page = umbra_kv_own(&s->view[t], &at);
        float *kept = (float *)(void *)(page + umbra_kv_key_at(s->form, 0, at));
        const float *opens = s->in + (size_t)t * 3 * n, *input = opens + 2 * n;
        for (size_t i = 0; i < n; i++)
            kept[i] = opens[i] * input[i];
    }
}

/* out[i] += kept[i] * taps[i][tap] */
static void add_tap(const umbra_convolve_step *s, const float *kept, int tap, float *out)
{
    size_t n = (size_t)s->form->key, width = (size_t)s->width;
    for (size_t i = 0; i < n; i++)
        out[i] += kept[i] * s->taps[i * width + (size_t)tap];
}

static void convolve_rows(void *context, int begin, int end, int worker)
{
    const umbra_convolve_step *s = context;
    size_t n = (size_t)s->form->key;
    umbra_kv_run *runs = s->runs + (size_t)worker * (size_t)s->runs_stride;
    for (int t = begin; t < end; t++) {
        float *out = s->out + (size_t)t * n;
        const float *closes = s->in + (size_t)t * 3 * n + n;
        int n_runs = umbra_kv_runs(s->form, &s->view[t], 0, runs);
        int tap = s->width - umbra_kv_positions(&s->view[t]); /* before the text there is nothing */
        memset(out, 0, n * sizeof *out);
        for (int r = 0; r < n_runs; r++)
            for (int j = 0; j < runs[r].positions; j++)
                add_tap(s, (const float *)runs[r].k + (size_t)j * n, tap++, out);
        for (size_t i = 0; i < n; i++)
            out[i] *= closes[i];
    }
}

void umbra_device_convolve(const umbra_device *d, const umbra_convolve_step *s, int rows)
{
    umbra_device_run(d, rows, 4, place_inputs, (void *)s);
    umbra_device_run(d, rows, 4, convolve_rows, (void *)s);
}
