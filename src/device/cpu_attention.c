/* Attention: queries, keys and values become what they are, and every row attends to what it
 * sees. */
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

typedef struct attend_run {
    const umbra_kernels *kernels;
    const umbra_attend_step *s;
    int group;  /* query heads of a key/value head */
    int pieces; /* of a group */
} attend_run;

/* Of one head, those of what a view shows that a row sees. */
static int find_picked(const umbra_attend_step *s, const umbra_kv_form *form,
                       const umbra_kv_view *view, int t, int head, umbra_kv_run *runs)
{
    const umbra_picks *p = s->picks;
    if (!p || p->n[t] == 0)
        return umbra_kv_runs(form, view, head, runs);
    return umbra_kv_picked_runs(form, view, head, umbra_picks_of(p, t, p->lists > 1 ? head : 0),
                                p->n[t], p->positions, runs);
}

static int find_runs(const umbra_attend_step *s, int t, int head, umbra_kv_run *runs)
{
    if (!s->pooled_form)
        return find_picked(s, s->form, &s->view[t], t, head, runs);
    int n = umbra_kv_runs(s->form, &s->view[t], head, runs);
    return n + find_picked(s, s->pooled_form, &s->pooled_view[t], t, head, runs + n);
}

static void attend_piece(const attend_run *run, int t, int kv_head, int first, int worker)
{
    const umbra_attend_step *s = run->s;
    size_t row = (size_t)(t * s->heads + kv_head * run->group + first);
    umbra_kv_run *runs = s->runs + (size_t)worker * (size_t)s->runs_stride;
    int n_runs = find_runs(s, t, kv_head, runs), positions = 0;
    for (int r = 0; r < n_runs; r++)
        positions += runs[r].positions;
    umbra_attend a = {
        .q = s->q + row * (size_t)s->form->key,
        .runs = runs,
        .n_runs = n_runs,
        .positions = positions,
        .sinks = s->sinks ? s->sinks + kv_head * run->group + first : NULL,
        .out = s->out->f32 + row * (size_t)s->value_dim,
        .scores = s->scores + (size_t)(worker * s->together) * (size_t)s->scores_stride,
        .group = run->group - first < s->together ? run->group - first : s->together,
        .head_dim = s->form->key,
        .value_dim = s->value_dim,
        .value_stride = s->form->value ? s->form->value : s->form->key,
        .scores_stride = s->scores_stride,
        .scale = s->scale,
    };
    run->kernels->attend(&a);
    if (s->round_heads)
        umbra_round_rows(run->kernels, s->out, (int)row, a.group);
}

/* Items are (row, key/value head, piece of its query heads). */
static void attend_items(void *context, int begin, int end, int worker)
{
    const attend_run *run = context;
    for (int i = begin; i < end; i++) {
        int head = i / run->pieces;
        attend_piece(run, head / run->s->form->heads, head % run->s->form->heads,
                     i % run->pieces * run->s->together, worker);
    }
}

/* Rows that a row sees, an unfinished unit taken for whole. */
static int count_seen(const umbra_attend_step *s, int t)
{
    int own = umbra_kv_positions(&s->view[t]);
    int pooled = s->pooled_form ? umbra_kv_positions(&s->pooled_view[t]) : 0;
    int picked = s->picks ? s->picks->n[t] * s->picks->positions : 0;
    if (picked == 0)
        return own + pooled;
    return s->pooled_form ? own + picked : picked;
}

static void count_work(umbra_profiler *profiler, const umbra_attend_step *s, int rows)
{
    const umbra_kv_form *f = s->form;
    uint64_t positions = 0, kept = (uint64_t)(f->key + f->value) * f->unit * (uint64_t)f->heads;
    for (int t = 0; t < rows; t++)
        positions += (uint64_t)count_seen(s, t);
    uint64_t per_position = (uint64_t)s->heads * (uint64_t)(f->key + s->value_dim);
    uint64_t seen = rows > 0 ? (uint64_t)count_seen(s, rows - 1) : 0;
    umbra_profiler_count(profiler, seen * kept, positions * per_position);
}

void umbra_device_attend(const umbra_device *d, const umbra_attend_step *s, int rows)
{
    int group = s->heads / s->form->heads;
    int pieces = (group + s->together - 1) / s->together;
    if (d->profiler)
        count_work(d->profiler, s, rows);
    attend_run run = {d->kernels, s, group, pieces};
    umbra_device_run(d, rows * s->form->heads * pieces, 1, attend_items, &run);
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
