/* What stands before and behind recurrent states: convolution and norms of their inputs, decays and
 * rates, norm and gate of what they give. */
#include <math.h>

#include "device/device.h"

enum { MOST_TAPS = 64 };

/* ---- inputs ---- */

typedef struct inputs_run {
    const umbra_kernels *kernels;
    const umbra_recurrent_step *s;
    const umbra_mix_inputs *m;
} inputs_run;

/* The inputs that row t takes in, oldest first; NULL: before the text. */
static void find_inputs(const umbra_recurrent_step *s, int t, const float **input)
{
    const umbra_recurrent_form *f = s->form;
    size_t width = (size_t)f->channels;
    int at = f->taps - 1, first = t;
    for (int r = t; r >= 0 && at >= 0; r = s->chains->before[r]) {
        input[at--] = s->input + (size_t)r * width;
        first = r;
    }
    const float *tail = NULL;
    for (int i = 0; at >= 0 && i < s->chains->n; i++)
        if (s->chains->first[i] == first && s->view[i].from)
            tail = s->view[i].from + umbra_recurrent_tail_at(f);
    for (int i = f->taps - 2; at >= 0; at--, i--)
        input[at] = tail ? tail + (size_t)i * width : NULL;
}

/* x / sqrt(sum x^2 + eps) * scale, by the norm of the mean. */
static void unit(const umbra_kernels *kernels, float *x, int heads, int n, float eps, float scale)
{
    for (int h = 0; h < heads; h++, x += n) {
        kernels->rms_norm(x, x, NULL, n, eps / (float)n);
        for (int i = 0; i < n; i++)
            x[i] *= scale;
    }
}

static void mix_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const inputs_run *run = context;
    const umbra_recurrent_form *f = run->s->form;
    const float *input[MOST_TAPS], *part[MOST_TAPS];
    float root = sqrtf((float)f->key_dim);
    for (int t = begin; t < end; t++) {
        float *mixed = run->s->mixed + (size_t)t * (size_t)f->channels;
        find_inputs(run->s, t, input);
        int first = 0;
        for (int w = 0; w < 3 && run->m->weights[w] && run->m->weights[w]->data; w++) {
            umbra_causal c = {
                .input = part,
                .weights = run->m->weights[w]->data,
                .bias = run->m->bias->data ? (const float *)run->m->bias->data + first : NULL,
                .out = mixed + first,
                .taps = f->taps,
                .n = run->m->weights[w]->rows,
            };
            for (int j = 0; j < f->taps; j++)
                part[j] = input[j] ? input[j] + first : NULL;
            run->kernels->convolve(&c);
            first += c.n;
        }
        if (run->m->norm_eps <= 0)
            continue;
        unit(run->kernels, mixed + f->query, f->key_heads, f->key_dim, run->m->norm_eps,
             1 / (root * root));
        unit(run->kernels, mixed + f->key, f->key_heads, f->key_dim, run->m->norm_eps, 1 / root);
    }
}

void umbra_device_mix_inputs(const umbra_device *d, const umbra_recurrent_step *s,
                             const umbra_mix_inputs *m, int rows)
{
    inputs_run run = {.kernels = d->kernels, .s = s, .m = m};
    umbra_device_run(d, rows, 1, mix_rows, &run);
}

/* ---- decays and rates ---- */

typedef struct gates_run {
    const umbra_recurrent_step *s;
    const umbra_recurrent_gates *g;
} gates_run;

static double softplus(double x)
{
    return x > 30 ? x : log1p(exp(x));
}

static void open_head(const gates_run *run, int t, int h)
{
    const umbra_recurrent_form *f = run->s->form;
    const umbra_recurrent_gates *g = run->g;
    const float *bias = g->bias->data, *a = g->a->data;
    const float *steps = g->steps + (size_t)t * (size_t)g->stride;
    const float *rates = g->rates ? g->rates + (size_t)t * (size_t)g->stride : NULL;
    float *decay = run->s->decay + (size_t)t * (size_t)umbra_recurrent_decays(f);
    float *rate = run->s->rate + (size_t)t * (size_t)f->heads;
    int of_head = f->key_decay ? f->key_dim : 1;
    int at = h / g->group * g->group_stride + h % g->group;
    double step = 0;
    for (int i = 0; i < of_head; i++) {
        step = softplus((double)steps[at * of_head + i] + (double)bias[h * of_head + i]);
        decay[h * of_head + i] = (float)exp(step * (double)a[h]);
    }
    rate[h] = (float)(rates ? 1 / (1 + exp(-(double)rates[at])) : step);
}

/* Items are (row, head). */
static void open_heads(void *context, int begin, int end, int worker)
{
    (void)worker;
    const gates_run *run = context;
    for (int i = begin; i < end; i++)
        open_head(run, i / run->s->form->heads, i % run->s->form->heads);
}

void umbra_device_open_gates(const umbra_device *d, const umbra_recurrent_step *s,
                             const umbra_recurrent_gates *g, int rows)
{
    gates_run run = {s, g};
    int grain = s->form->key_decay ? 2 : 64; /* numbers of a head */
    umbra_device_run(d, rows * s->form->heads, grain, open_heads, &run);
}

/* ---- what states give ---- */

typedef struct close_run {
    const umbra_kernels *kernels;
    const umbra_recurrent_step *s;
    const umbra_recurrent_close *c;
} close_run;

static void add_skip(const close_run *run, int t, float *out)
{
    const umbra_recurrent_form *f = run->s->form;
    const float *skip = run->c->skip->data;
    const float *value = run->s->mixed + (size_t)t * (size_t)f->channels + f->value;
    for (int h = 0; skip && h < f->heads; h++)
        run->kernels->add_scaled(out + (size_t)h * (size_t)f->value_dim,
                                 value + (size_t)h * (size_t)f->value_dim, skip[h], f->value_dim);
}

static void close_row(const close_run *run, int t)
{
    const umbra_recurrent_form *f = run->s->form;
    const umbra_recurrent_close *c = run->c;
    int n = f->heads * f->value_dim, groups = c->gate_first ? c->groups : f->heads;
    float *out = run->s->out + (size_t)t * (size_t)n;
    const float *gate = c->gate + (size_t)t * (size_t)n, *norm = c->norm->data;
    int width = n / groups;
    add_skip(run, t, out);
    if (c->gate_first)
        run->kernels->swiglu(out, gate, out, n);
    for (int g = 0; g < groups; g++)
        run->kernels->rms_norm(out + (size_t)g * (size_t)width, out + (size_t)g * (size_t)width,
                               norm + (c->gate_first ? (size_t)g * (size_t)width : 0), width,
                               c->eps);
    if (!c->gate_first && c->by_sigmoid)
        run->kernels->open_gate(out, gate, out, n);
    else if (!c->gate_first)
        run->kernels->swiglu(out, gate, out, n);
}

static void close_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    for (int t = begin; t < end; t++)
        close_row(context, t);
}

void umbra_device_close_gates(const umbra_device *d, const umbra_recurrent_step *s,
                              const umbra_recurrent_close *c, int rows)
{
    close_run run = {d->kernels, s, c};
    umbra_device_run(d, rows, 2, close_rows, &run);
}

typedef struct gate_run {
    const umbra_kernels *kernels;
    float *x;
    const float *gate;
    int n;
} gate_run;

static void gate_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const gate_run *run = context;
    for (int t = begin; t < end; t++) {
        size_t at = (size_t)t * (size_t)run->n;
        run->kernels->open_gate(run->x + at, run->gate + at, run->x + at, run->n);
    }
}

void umbra_device_gate(const umbra_device *d, float *x, const float *gate, int rows, int n)
{
    gate_run run = {d->kernels, x, gate, n};
    umbra_device_run(d, rows, 4, gate_rows, &run);
}
