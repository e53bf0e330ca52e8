/* What attention over a compressed cache has of its own: placing latents, splitting queries, and
 * K_B^T q where K_B lies row by row. */
#include <string.h>

#include "device/device.h"

typedef struct latent_run {
    const umbra_kernels *kernels;
    const umbra_latent_step *s;
} latent_run;

static void place_latents(void *context, int begin, int end, int worker)
{
    (void)worker;
    const latent_run *run = context;
    const umbra_latent_step *s = run->s;
    for (int t = begin; t < end; t++) {
        float *latent = s->latent + (size_t)t * (size_t)s->form->key;
        run->kernels->rms_norm(latent, latent, s->norm->data, s->kv_rank, s->eps);
        umbra_rope_rotate(run->kernels, s->rope, latent + s->kv_rank,
                          s->angles + (size_t)t * (size_t)s->rope->dim);
        int row;
        char *page = umbra_kv_own(&s->view[t], &row);
        run->kernels->store_kv(page + umbra_kv_key_at(s->form, 0, row), latent, s->form->key);
    }
}

void umbra_device_place_latents(const umbra_device *d, const umbra_latent_step *s, int rows)
{
    latent_run run = {d->kernels, s};
    umbra_device_run(d, rows, 4, place_latents, &run);
}

typedef struct split_run {
    const umbra_kernels *kernels;
    const umbra_split_step *s;
} split_run;

static void split_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const split_run *run = context;
    const umbra_split_step *s = run->s;
    size_t plain = (size_t)s->plain->columns, turned = (size_t)s->rope->dim;
    for (int i = begin * s->heads; i < end * s->heads; i++) {
        const float *q = s->q + (size_t)i * (plain + turned);
        float *out = s->query + (size_t)i * ((size_t)s->kv_rank + turned) + s->kv_rank;
        memcpy(s->plain->f32 + (size_t)i * plain, q, plain * sizeof *q);
        memcpy(out, q + plain, turned * sizeof *q);
        umbra_rope_rotate(run->kernels, s->rope, out,
                          s->angles + (size_t)(i / s->heads) * (size_t)s->rope->dim);
    }
    umbra_round_rows(run->kernels, s->plain, begin * s->heads, (end - begin) * s->heads);
}

void umbra_device_split(const umbra_device *d, const umbra_split_step *s, int rows)
{
    split_run run = {d->kernels, s};
    umbra_device_run(d, rows, 1, split_rows, &run);
}

typedef struct sum_run {
    const umbra_kernels *kernels;
    const umbra_sum_step *s;
    int rows;
} sum_run;

/* Items are heads. */
static void sum_heads(void *context, int begin, int end, int worker)
{
    const sum_run *run = context;
    const umbra_sum_step *s = run->s;
    const umbra_matrix *w = s->w;
    int plain = s->plain->columns;
    float *row = s->row + (size_t)worker * (size_t)w->columns;
    for (int h = begin; h < end; h++) {
        for (int t = 0; t < run->rows; t++)
            memset(s->query + (size_t)(t * s->heads + h) * (size_t)s->query_dim, 0,
                   (size_t)w->columns * sizeof *s->query);
        for (int r = 0; r < plain; r++) {
            size_t at = (size_t)(h * s->head_rows + r);
            run->kernels->dequantize[w->dtype](row, (const char *)w->data + at * w->row_bytes,
                                               w->columns);
            for (int t = 0; t < run->rows; t++) {
                size_t pair = (size_t)(t * s->heads + h);
                run->kernels->add_scaled(s->query + pair * (size_t)s->query_dim, row,
                                         s->plain->f32[pair * (size_t)plain + (size_t)r],
                                         w->columns);
            }
        }
    }
}

void umbra_device_sum_rows(const umbra_device *d, const umbra_sum_step *s, int rows)
{
    sum_run run = {d->kernels, s, rows};
    umbra_device_run(d, s->heads, 1, sum_heads, &run);
}
