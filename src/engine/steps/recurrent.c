/* Recurrent layers: delta nets, delta attention, Mamba-2. All rows' projections, convolutions and
 * gates are computed together; then each sequence's rows go through its state in order, so that the
 * bits do not depend on how a text is cut. */
#include "engine/steps/steps.h"

/* Queries, keys and values to s->q, what gates the output to s->gate, rates and steps to s->steps,
 * whose rows are `stride` long. */
static int project_inputs(const umbra_pass *p, int layer, int stride, umbra_product *products)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_attention *a = &p->model->config.attention[layer];
    const umbra_recurrent_form *f = &p->recurrent[layer];
    umbra_scratch *s = p->scratch;
    int keys = a->key_dim, values = umbra_recurrent_values(a), group = values / f->key_heads;
    const umbra_share by_head[] = {{keys, s->q + f->query, f->channels},
                                   {keys, s->q + f->key, f->channels},
                                   {group, s->q + f->value, f->channels},
                                   {group, s->gate, values}};
    const umbra_share whole[] = {{values, s->gate, values},
                                 {f->channels, s->q, f->channels},
                                 {a->heads, s->steps + a->heads, stride}};
    const umbra_share parts[] = {{umbra_recurrent_keys(a), s->q + f->query, f->channels},
                                 {umbra_recurrent_keys(a), s->q + f->key, f->channels},
                                 {values, s->q + f->value, f->channels}};
    if (w[UMBRA_SSM_IN].data && f->delta)
        return umbra_step_deal(p, &w[UMBRA_SSM_IN], f->key_heads, by_head, 4, products);
    if (w[UMBRA_SSM_IN].data)
        return umbra_step_deal(p, &w[UMBRA_SSM_IN], 1, whole, 3, products);
    if (w[UMBRA_ATTN_QKV].data)
        return umbra_step_deal(p, &w[UMBRA_ATTN_QKV], 1, &whole[1], 1, products);
    for (int i = 0; i < 3; i++)
        umbra_step_deal(p, &w[UMBRA_ATTN_Q + i], 1, &parts[i], 1, &products[i]);
    return 3;
}

/* What else comes from the normed rows in one product: out is at `products`. */
static int project_others(const umbra_pass *p, int layer, int stride, umbra_product *products)
{
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    const struct {
        umbra_role role;
        float *out;
        int stride;
    } others[] = {
        {UMBRA_SSM_GATE, s->gate, w[UMBRA_SSM_GATE].rows},
        {UMBRA_SSM_RATES, s->steps, stride},
        {UMBRA_SSM_RATE, s->steps, stride},
        {UMBRA_SSM_STEP, s->steps + w[UMBRA_SSM_STEP].rows, stride},
    };
    int n = 0;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const umbra_matrix *m = &w[others[i].role];
        const umbra_share share = {m->rows, others[i].out, others[i].stride};
        if (m->data)
            n += umbra_step_deal(p, m, 1, &share, 1, products + n);
    }
    return n;
}

/* out (C, stride) = b (a normed), through a bottleneck; nothing where there is none. */
static void project_low(const umbra_pass *p, const umbra_matrix *a, const umbra_matrix *b,
                        float *out, int stride)
{
    umbra_activations *low = &p->scratch->q_low;
    if (!a->data)
        return;
    low->columns = a->rows;
    umbra_product down = umbra_product_make(p->device, a, &p->scratch->normed, p->rows, low->f32);
    umbra_device_products(p->device, &down, 1);
    umbra_device_round(p->device, low, p->rows);
    umbra_product up = umbra_product_make(p->device, b, low, p->rows, out);
    up.matmul.out_stride = (uint64_t)stride;
    umbra_device_products(p->device, &up, 1);
}

/* Where rates and steps lie: behind each other, or in turns by key head. */
static umbra_recurrent_gates find_gates(const umbra_pass *p, int layer, int stride)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_recurrent_form *f = &p->recurrent[layer];
    umbra_scratch *s = p->scratch;
    int group = w[UMBRA_SSM_RATES].data ? f->heads / f->key_heads : f->heads;
    return (umbra_recurrent_gates){
        .rates = f->delta ? s->steps : NULL,
        .steps = s->steps + group,
        .stride = stride,
        .group = group,
        .group_stride = 2 * group,
        .bias = &w[UMBRA_SSM_STEP_BIAS],
        .a = &w[UMBRA_SSM_A],
    };
}

void umbra_step_recurrent(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_recurrence *r = &c->attention[layer].recurrence;
    const umbra_recurrent_form *f = &p->recurrent[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    int stride = f->heads + umbra_recurrent_decays(f), values = f->heads * f->value_dim;
    int n = project_inputs(p, layer, stride, s->dealt);
    n += project_others(p, layer, stride, s->dealt + n);
    umbra_device_products(d, s->dealt, n);
    project_low(p, &w[UMBRA_SSM_STEP_A], &w[UMBRA_SSM_STEP_B], s->steps + f->heads, stride);
    project_low(p, &w[UMBRA_SSM_GATE_A], &w[UMBRA_SSM_GATE_B], s->gate, values);

    umbra_recurrent_step step = {.form = f,
                                 .chains = &s->chains,
                                 .view = s->recurrent,
                                 .input = s->q,
                                 .mixed = s->k,
                                 .decay = s->decay,
                                 .rate = s->rate,
                                 .out = s->mixed.f32};
    const umbra_matrix *conv = &w[UMBRA_SSM_CONV];
    umbra_mix_inputs inputs = {
        .weights = {conv}, .bias = &w[UMBRA_SSM_CONV_BIAS], .norm_eps = r->delta ? c->rms_eps : 0};
    for (int i = 0; !conv->data && i < 3; i++)
        inputs.weights[i] = &w[UMBRA_SSM_CONV_Q + i];
    umbra_device_profile(d, UMBRA_PROFILE_ATTEND);
    umbra_device_mix_inputs(d, &step, &inputs, p->rows);
    umbra_recurrent_gates gates = find_gates(p, layer, stride);
    umbra_device_open_gates(d, &step, &gates, p->rows);
    umbra_device_recur(d, &step);
    umbra_recurrent_close close = {.gate = s->gate,
                                   .norm = &w[UMBRA_SSM_NORM],
                                   .skip = &w[UMBRA_SSM_SKIP],
                                   .gate_first = !r->delta,
                                   .by_sigmoid = r->by_sigmoid,
                                   .groups = f->key_heads,
                                   .eps = c->rms_eps};
    umbra_device_close_gates(d, &step, &close, p->rows);
}
