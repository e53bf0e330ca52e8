/* What stands around attention: queries, keys and values become what they are, and heads are turned
 * back. */
#include "device/device.h"

void umbra_rope_rotate(const umbra_kernels *kernels, const umbra_rope *rope, float *x,
                       const float *angles)
{
    if (rope->pairs == UMBRA_ROPE_HALVES)
        kernels->rope_halves(x, angles, rope->dim);
    else
        kernels->rope_adjacent(x, angles, rope->dim);
}

typedef struct place_run {
    const umbra_kernels *kernels;
    const umbra_place_step *s;
} place_run;

static void add_bias(const umbra_kernels *kernels, const umbra_matrix *bias, float *x)
{
    if (bias->data)
        kernels->add_scaled(x, bias->data, 1.0f, bias->columns);
}

/* Each head of x (n values), or all at once: as the norm is long. */
static void norm_heads(const place_run *run, const umbra_matrix *norm, float *x, int n)
{
    const umbra_place_step *s = run->s;
    int width = norm->data ? norm->columns : s->key_dim;
    for (int at = 0; (norm->data || s->bare_qk_norm) && at < n; at += width)
        run->kernels->rms_norm(x + at, x + at, norm->data, width, s->eps);
}

/* Bias, norm and rotation of one row's heads at x (heads, key_dim). */
static void shape_heads(const place_run *run, const umbra_matrix *bias, const umbra_matrix *norm,
                        float *x, int heads, const float *angles)
{
    const umbra_place_step *s = run->s;
    int n = heads * s->key_dim;
    add_bias(run->kernels, bias, x);
    if (!s->norms_rotated)
        norm_heads(run, norm, x, n);
    for (int h = 0; s->rope && h < heads; h++)
        umbra_rope_rotate(run->kernels, s->rope, x + h * s->key_dim + s->turned_at, angles);
    if (s->norms_rotated)
        norm_heads(run, norm, x, n);
}

static void place_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const place_run *run = context;
    const umbra_place_step *s = run->s;
    size_t key_dim = (size_t)s->key_dim, value_dim = (size_t)s->value_dim;
    for (int t = begin; t < end; t++) {
        float *k = s->k + (size_t)(t * s->kv_heads) * key_dim;
        float *v = value_dim ? s->v + (size_t)(t * s->kv_heads) * value_dim : NULL;
        const float *angles = s->rope ? s->angles + (size_t)t * (size_t)s->rope->dim : NULL;
        shape_heads(run, s->q_bias, s->q_norm, s->q + (size_t)(t * s->heads) * key_dim, s->heads,
                    angles);
        shape_heads(run, s->k_bias, s->k_norm, k, s->kv_heads, angles);
        if (v)
            add_bias(run->kernels, s->v_bias, v);
        for (int h = 0; s->bare_v_norm && h < s->kv_heads; h++)
            run->kernels->rms_norm(v + (size_t)h * value_dim, v + (size_t)h * value_dim, NULL,
                                   s->value_dim, s->eps);
        int row;
        char *page = umbra_kv_own(&s->view[t], &row);
        for (int h = 0; h < s->kv_heads; h++) {
            run->kernels->store_kv(page + umbra_kv_key_at(s->form, h, row), k + h * s->key_dim,
                                   s->key_dim);
            if (v)
                run->kernels->store_kv(page + umbra_kv_value_at(s->form, h, row),
                                       v + h * s->value_dim, s->value_dim);
        }
    }
}

void umbra_device_place(const umbra_device *d, const umbra_place_step *s, int rows)
{
    place_run run = {d->kernels, s};
    umbra_device_run(d, rows, 4, place_rows, &run);
}

typedef struct back_run {
    const umbra_rope *rope;
    const float *angles;
    float *x;
    int heads, dim;
} back_run;

static void turn_rows_back(void *context, int begin, int end, int worker)
{
    (void)worker;
    const back_run *run = context;
    int n = run->rope->dim;
    bool halves = run->rope->pairs == UMBRA_ROPE_HALVES;
    for (int i = begin * run->heads; i < end * run->heads; i++) {
        float *x = run->x + (size_t)i * (size_t)run->dim + (run->dim - n);
        const float *angle = run->angles + (size_t)(i / run->heads) * (size_t)n;
        for (int p = 0; p < n / 2; p++, angle += 2) {
            float *a = &x[halves ? p : 2 * p], *b = &x[halves ? p + n / 2 : 2 * p + 1];
            float first = *a * angle[0] + *b * angle[1];
            *b = *b * angle[0] - *a * angle[1];
            *a = first;
        }
    }
}

void umbra_device_turn_back(const umbra_device *d, const umbra_rope *rope, const float *angles,
                            float *x, int heads, int dim, int rows)
{
    back_run run = {rope, angles, x, heads, dim};
    umbra_device_run(d, rows, 4, turn_rows_back, &run);
}
