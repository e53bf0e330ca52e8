/* Reads the rows of a network from traces. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/train/blas.h"
#include "lab/train/data.h"
#include "lab/train/vector.h"
#include "predict/features.h"

enum { D = UMBRA_MAX_DISTANCE, BEFORE = 2 /* earlier tokens whose routing is a feature */ };

/* ---- opening ---- */

static int read_gates(umbra_train_loader *l, umbra_error *err)
{
    size_t gate = (size_t)l->spec->experts * (size_t)l->spec->hidden;
    for (int i = 0; i < l->n_gates; i++) {
        if (!umbra_train_has_layer(l->data, l->first_gate + i))
            continue;
        int rc = umbra_trace_read_gate(l->data->traces[0], l->first_gate + i,
                                       l->gates + (size_t)i * gate, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

int umbra_train_loader_open(umbra_train_loader *l, const umbra_train_data *data,
                            const umbra_shadow_spec *spec, int first_source, int end_source,
                            umbra_error *err)
{
    int last_target = umbra_shadow_target(end_source - 1, D);
    if (last_target > spec->layers - 1)
        last_target = spec->layers - 1;
    *l = (umbra_train_loader){
        .data = data,
        .spec = spec,
        .first_source = first_source,
        .end_source = end_source,
        .first_gate = umbra_shadow_target(first_source, 1),
    };
    l->n_gates = last_target - l->first_gate + 1;
    int stride = 1;
    for (int i = 0; i < data->n_traces; i++)
        if (umbra_trace_get_info(data->traces[i])->stride > stride)
            stride = umbra_trace_get_info(data->traces[i])->stride;
    l->expert_tokens = (UMBRA_TRAIN_CHUNK - 1) * stride + 1 + BEFORE;
    size_t states = (size_t)UMBRA_TRAIN_CHUNK * (size_t)spec->hidden;
    size_t gates = (size_t)l->n_gates * (size_t)spec->experts * (size_t)spec->hidden;
    size_t experts = (1 + D) * (size_t)l->expert_tokens * (size_t)spec->used;
    l->states = umbra_calloc(states, sizeof *l->states);
    l->normed = umbra_calloc(states, sizeof *l->normed);
    l->gates = umbra_calloc(gates, sizeof *l->gates);
    l->experts = umbra_calloc(experts, sizeof *l->experts);
    if (!l->states || !l->normed || !l->gates || !l->experts)
        return umbra_fail_nomem(err, "reading the traces",
                                (2 * states + gates) * sizeof(float) + experts * 2);
    return read_gates(l, err);
}

void umbra_train_loader_release(umbra_train_loader *l)
{
    umbra_free(l->gates);
    umbra_free(l->states);
    umbra_free(l->normed);
    umbra_free(l->experts);
    *l = (umbra_train_loader){0};
}

/* ---- loading ---- */

/* What one call of umbra_train_load works on. */
typedef struct piece {
    umbra_train_loader *l;
    umbra_trace *trace;
    const umbra_train_document *document;
    int source, stride;
    int first, n;                 /* rows of the document */
    int token_begin, token_count; /* of the document: what l->experts holds */
    umbra_train_rows *rows;
    int at;
} piece;

static bool has_target(const piece *p, int d)
{
    return d <= umbra_shadow_distances(p->l->spec, p->source) &&
           umbra_train_has_layer(p->l->data, umbra_shadow_target(p->source, d));
}

/* Experts of a token (of the document) at layer source - 1 + d. */
static const uint16_t *experts_of(const piece *p, int d, int token)
{
    size_t at = (size_t)d * (size_t)p->l->expert_tokens + (size_t)(token - p->token_begin);
    return p->l->experts + at * (size_t)p->l->spec->used;
}

static int read_states(const piece *p, umbra_trace_state which, int layer, umbra_error *err)
{
    return umbra_trace_read_states(p->trace, p->document->at->shard, which, layer,
                                   p->document->at->first_row + p->first, p->n, p->l->states, err);
}

static int read_experts(const piece *p, umbra_error *err)
{
    for (int d = 0; d <= D; d++) {
        int layer = umbra_shadow_target(p->source, d);
        if (!umbra_train_has_layer(p->l->data, layer))
            continue;
        uint16_t *out =
            p->l->experts + (size_t)d * (size_t)p->l->expert_tokens * (size_t)p->l->spec->used;
        int rc = umbra_trace_read_experts(p->trace, p->document->at->shard, layer,
                                          p->document->at->first + p->token_begin, p->token_count,
                                          out, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

static int load_dense(const piece *p, float *carry, umbra_error *err)
{
    const umbra_shadow_spec *spec = p->l->spec;
    int rc = p->source == 0 ? read_states(p, UMBRA_TRACE_INPUT, 0, err)
                            : read_states(p, UMBRA_TRACE_HIDDEN, p->source - 1, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t h = (size_t)spec->hidden, x = (size_t)umbra_shadow_inputs(spec);
    for (int i = 0; i < p->n; i++) {
        float *r = p->rows->dense + (size_t)(p->at + i) * x;
        umbra_shadow_normalise(p->l->states + (size_t)i * h, spec->hidden, r);
        umbra_shadow_averages(spec, carry, r, p->stride, p->first + i == 0);
        if (spec->averages > 0)
            memcpy(r + h, carry, (x - h) * sizeof *r);
    }
    return UMBRA_OK;
}

/* The features of one row, whose token stands at `token` of the document. */
static void load_features(const piece *p, int token, uint32_t *out)
{
    umbra_feature_lists lists = {0};
    if (umbra_train_has_layer(p->l->data, p->source - 1))
        lists.now = experts_of(p, 0, token);
    for (int d = 1; d <= D; d++) {
        if (token >= 1 && has_target(p, d))
            lists.previous[d - 1] = experts_of(p, d, token - 1);
        if (token >= 2 && has_target(p, d))
            lists.previous2[d - 1] = experts_of(p, d, token - 2);
    }
    int n = umbra_shadow_feature_rows(p->l->spec, 0, p->source, &lists, out);
    while (n < p->rows->feature_slots)
        out[n++] = UMBRA_NO_FEATURE;
}

static void load_routing(const piece *p)
{
    size_t k = (size_t)p->l->spec->used;
    for (int i = 0; i < p->n; i++) {
        int token = (p->first + i) * p->stride;
        size_t row = (size_t)(p->at + i);
        load_features(p, token, p->rows->features + row * (size_t)p->rows->feature_slots);
        uint16_t *targets = p->rows->targets + row * D * k;
        for (int d = 1; d <= D; d++, targets += k) {
            if (has_target(p, d))
                memcpy(targets, experts_of(p, d, token), k * sizeof *targets);
            else
                memset(targets, 0xff, k * sizeof *targets); /* UMBRA_NO_TARGET */
        }
    }
}

/* out (n, D, E), distance d only: gate(target) times the rows of x (n, ldx). */
static void gate_scores(const piece *p, int d, const float *x, int ldx, float *out)
{
    const umbra_shadow_spec *spec = p->l->spec;
    int e = spec->experts, layer = umbra_shadow_target(p->source, d) - p->l->first_gate;
    const float *gate = p->l->gates + (size_t)layer * (size_t)e * (size_t)spec->hidden;
    out += (size_t)p->at * D * (size_t)e + (size_t)(d - 1) * (size_t)e;
    umbra_blas_multiply(false, true, p->n, e, spec->hidden, x, ldx, gate, spec->hidden, 0.0f, out,
                        D * e);
}

static void softmax(float *x, int n)
{
    float most = x[0];
    for (int i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int i = 0; i < n; i++)
        x[i] = umbra_exp(x[i] - most);
    float factor = 1.0f / umbra_sum(x, n);
    for (int i = 0; i < n; i++)
        x[i] *= factor;
}

/* The router's own softmax at the target: its gate on its own state. */
static int load_truth(const piece *p, int d, umbra_error *err)
{
    const umbra_shadow_spec *spec = p->l->spec;
    int rc = read_states(p, UMBRA_TRACE_HIDDEN, umbra_shadow_target(p->source, d), err);
    if (rc != UMBRA_OK)
        return rc;
    size_t h = (size_t)spec->hidden, e = (size_t)spec->experts;
    for (int i = 0; i < p->n; i++)
        umbra_shadow_normalise(p->l->states + (size_t)i * h, spec->hidden,
                               p->l->normed + (size_t)i * h);
    gate_scores(p, d, p->l->normed, spec->hidden, p->rows->truth);
    for (int i = 0; i < p->n; i++)
        softmax(p->rows->truth + ((size_t)(p->at + i) * D + (size_t)(d - 1)) * e, spec->experts);
    return UMBRA_OK;
}

int umbra_train_load(umbra_train_loader *l, int source, const umbra_train_document *document,
                     int first, int n, float *carry, umbra_train_rows *rows, int at,
                     umbra_error *err)
{
    umbra_trace *trace = l->data->traces[document->trace];
    piece p = {
        .l = l,
        .trace = trace,
        .document = document,
        .source = source,
        .stride = umbra_trace_get_info(trace)->stride,
        .first = first,
        .n = n,
        .rows = rows,
        .at = at,
    };
    p.token_begin = first * p.stride > BEFORE ? first * p.stride - BEFORE : 0;
    p.token_count = (first + n - 1) * p.stride + 1 - p.token_begin;
    int rc = load_dense(&p, carry, err);
    if (rc == UMBRA_OK)
        rc = read_experts(&p, err);
    if (rc != UMBRA_OK)
        return rc;
    load_routing(&p);
    size_t x = (size_t)umbra_shadow_inputs(l->spec), outputs = D * (size_t)l->spec->experts;
    if (rows->gate)
        memset(rows->gate + (size_t)at * outputs, 0, (size_t)n * outputs * sizeof *rows->gate);
    for (int d = 1; rc == UMBRA_OK && d <= D; d++) {
        if (!has_target(&p, d))
            continue;
        if (rows->gate)
            gate_scores(&p, d, rows->dense + (size_t)at * x, (int)x, rows->gate);
        if (rows->truth)
            rc = load_truth(&p, d, err);
    }
    return rc;
}
