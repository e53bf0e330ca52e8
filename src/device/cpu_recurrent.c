/* Recurrent states: their rows in order, heads and blocks of columns beside each other. */
#include <string.h>

#include "device/device.h"

umbra_recurrent_form umbra_recurrent_make(const umbra_attention *a)
{
    const umbra_recurrence *r = &a->recurrence;
    int keys = umbra_recurrent_keys(a), values = umbra_recurrent_values(a);
    if (r->key_heads == 0)
        return (umbra_recurrent_form){0};
    return (umbra_recurrent_form){
        .heads = a->heads,
        .key_heads = r->key_heads,
        .key_dim = a->key_dim,
        .value_dim = a->value_dim,
        .tiled = r->tiled,
        .delta = r->delta,
        .key_decay = r->key_decay,
        .channels = umbra_recurrent_channels(a),
        .query = r->delta ? 0 : values + keys,
        .key = r->delta ? keys : values,
        .value = r->delta ? 2 * keys : 0,
        .taps = r->taps,
    };
}

/* Rows of one sequence on their way through its state. */
typedef struct recur_run {
    const umbra_kernels *kernels;
    const umbra_recurrent_step *s; /* view[0] alone, with `kept` */
    const float *kept;             /* rows come from this page; NULL: they are the pass's */
    int n;                         /* so many of them */
} recur_run;

static umbra_recurrent_row row_of(const umbra_recurrent_step *s, int t)
{
    const umbra_recurrent_form *f = s->form;
    size_t row = (size_t)t;
    return (umbra_recurrent_row){
        .input = s->input + row * (size_t)f->channels,
        .mixed = s->mixed + row * (size_t)f->channels,
        .decay = s->decay + row * (size_t)umbra_recurrent_decays(f),
        .rate = s->rate + row * (size_t)f->heads,
    };
}

/* One block of a head's columns through one row; out NULL: nothing is read out. */
static void recur_row(const umbra_kernels *kernels, const umbra_recurrent_form *f,
                      const umbra_recurrent_row *row, int head, int block, const float *from,
                      float *to, float *out)
{
    int key_head = f->tiled ? head % f->key_heads : head / (f->heads / f->key_heads);
    size_t keys = (size_t)key_head * (size_t)f->key_dim, column = block * UMBRA_STATE_COLUMNS;
    size_t value = (size_t)head * (size_t)f->value_dim + column;
    int left = f->value_dim - (int)column;
    umbra_recur r = {
        .from = from,
        .to = to,
        .k = row->mixed + f->key + keys,
        .q = out ? row->mixed + f->query + keys : NULL,
        .v = row->mixed + f->value + value,
        .decay = row->decay + (size_t)head * (f->key_decay ? (size_t)f->key_dim : 1),
        .out = out ? out + value : NULL,
        .rate = row->rate[head],
        .keys = f->key_dim,
        .columns = left < UMBRA_STATE_COLUMNS ? left : UMBRA_STATE_COLUMNS,
        .key_decay = f->key_decay,
        .delta = f->delta,
    };
    kernels->recur(&r);
}

/* A block of columns of one sequence through all its rows. */
static void recur_block(const recur_run *run, int chain, int block)
{
    const umbra_recurrent_step *s = run->s;
    const umbra_recurrent_form *f = s->form;
    int blocks = umbra_recurrent_blocks(f);
    size_t at = (size_t)block * umbra_recurrent_block_size(f);
    const float *from = s->view[chain].from ? s->view[chain].from + at : NULL;
    float *to = s->view[chain].to + at;
    if (!from)
        from = memset(to, 0, umbra_recurrent_block_size(f) * sizeof *to);
    for (int i = 0; run->kept && i < run->n; i++, from = to) {
        umbra_recurrent_row row = umbra_recurrent_kept(f, (float *)run->kept, i);
        recur_row(run->kernels, f, &row, block / blocks, block % blocks, from, to, NULL);
    }
    for (int t = run->kept ? -1 : s->chains->first[chain]; t >= 0;
         t = s->chains->after[t], from = to) {
        umbra_recurrent_row row = row_of(s, t);
        recur_row(run->kernels, f, &row, block / blocks, block % blocks, from, to,
                  s->out + (size_t)t * (size_t)(f->heads * f->value_dim));
    }
}

/* Items are (sequence, block of a head's columns). */
static void recur_blocks(void *context, int begin, int end, int worker)
{
    (void)worker;
    const recur_run *run = context;
    int blocks = run->s->form->heads * umbra_recurrent_blocks(run->s->form);
    for (int i = begin; i < end; i++)
        recur_block(run, i / blocks, i % blocks);
}

/* Moves the last inputs on by one: those of `from` (NULL: zeros), then n rows' in order. */
static void keep_inputs(const umbra_recurrent_form *f, const float *from, float *to,
                        const umbra_recurrent_row *last, int n)
{
    size_t width = (size_t)f->channels, row = width * sizeof *to;
    int kept = f->taps - 1;
    for (int i = 0; i < kept; i++, to += width) {
        int back = kept - i; /* positions before the next */
        if (back <= n)
            memmove(to, last[back - 1].input, row);
        else if (from)
            memmove(to, from + (size_t)(i + n) * width, row);
        else
            memset(to, 0, row);
    }
}

enum { MOST_TAPS = 64 };

/* What the state behind a sequence's rows keeps beside S. */
static void keep_rows(const umbra_recurrent_step *s, int chain)
{
    const umbra_recurrent_form *f = s->form;
    const umbra_recurrent_view *v = &s->view[chain];
    umbra_recurrent_row last[MOST_TAPS];
    int rows = 0, end = -1, n = 0;
    for (int t = s->chains->first[chain]; t >= 0; t = s->chains->after[t], rows++)
        end = t;
    for (int t = end; t >= 0 && n < f->taps - 1; t = s->chains->before[t])
        last[n++] = row_of(s, t);
    size_t tail = umbra_recurrent_tail_at(f), width = (size_t)f->channels;
    keep_inputs(f, v->from ? v->from + tail : NULL, v->to + tail, last, n);
    int i = 0;
    for (int t = s->chains->first[chain]; rows <= UMBRA_TAKE_BACK && t >= 0;
         t = s->chains->after[t], i++) {
        umbra_recurrent_row row = row_of(s, t), to = umbra_recurrent_kept(f, v->to, i);
        memcpy(to.input, row.input, width * sizeof *to.input);
        memcpy(to.mixed, row.mixed, width * sizeof *to.mixed);
        memcpy(to.decay, row.decay, (size_t)umbra_recurrent_decays(f) * sizeof *to.decay);
        memcpy(to.rate, row.rate, (size_t)f->heads * sizeof *to.rate);
    }
}

static void keep_items(void *context, int begin, int end, int worker)
{
    (void)worker;
    for (int chain = begin; chain < end; chain++)
        keep_rows(context, chain);
}

void umbra_device_recur(const umbra_device *d, const umbra_recurrent_step *s)
{
    recur_run run = {.kernels = d->kernels, .s = s};
    int blocks = s->form->heads * umbra_recurrent_blocks(s->form);
    umbra_device_run(d, s->chains->n * blocks, 1, recur_blocks, &run);
    umbra_device_run(d, s->chains->n, 1, keep_items, (void *)s);
}

void umbra_device_recur_again(const umbra_device *d, const umbra_recurrent_form *f,
                              const umbra_recurrent_view *view, const float *kept, int n)
{
    umbra_recurrent_step s = {.form = f, .view = view};
    recur_run run = {.kernels = d->kernels, .s = &s, .kept = kept, .n = n};
    umbra_device_run(d, f->heads * umbra_recurrent_blocks(f), 1, recur_blocks, &run);
    umbra_recurrent_row last[MOST_TAPS];
    size_t tail = umbra_recurrent_tail_at(f), rows = umbra_recurrent_rows_at(f);
    int taken = 0;
    for (int i = n - 1; i >= 0 && taken < f->taps - 1; i--)
        last[taken++] = umbra_recurrent_kept(f, (float *)kept, i);
    keep_inputs(f, view->from ? view->from + tail : NULL, view->to + tail, last, taken);
    memmove(view->to + rows, kept + rows, (size_t)n * umbra_recurrent_row_size(f) * sizeof *kept);
}
