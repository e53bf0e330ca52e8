/* Opens traces and shadows and checks that they belong together. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/selection.h"
#include "lab/evaluate/input.h"

/* ---- traces ---- */

static int same_model(const umbra_trace *a, const umbra_trace *b, umbra_error *err)
{
    const umbra_trace_info *x = umbra_trace_get_info(a), *y = umbra_trace_get_info(b);
    if (strcmp(x->model_hash, y->model_hash) == 0 && x->layers == y->layers &&
        x->hidden == y->hidden && x->experts == y->experts && x->used == y->used)
        return UMBRA_OK;
    return umbra_fail(
        err, UMBRA_E_MISMATCH,
        "%s holds traces of %s (hash %s, %d layers, %d of %d experts), %s of %s (hash "
        "%s, %d layers, %d of %d experts): evaluate one model at a time",
        umbra_trace_folder(a), x->model_name, x->model_hash, x->layers, x->used, x->experts,
        umbra_trace_folder(b), y->model_name, y->model_hash, y->layers, y->used, y->experts);
}

static void count_documents(umbra_eval_folder *folder, const umbra_trace *trace)
{
    for (int i = 0; i < umbra_trace_documents(trace); i++) {
        const umbra_trace_document *d = umbra_trace_document_at(trace, i);
        umbra_eval_amount *amount = d->generated ? &folder->generated : &folder->read;
        amount->documents++;
        amount->tokens += (uint64_t)d->tokens;
    }
}

static int open_trace(umbra_eval_input *in, umbra_evaluation *e, int i, const char *path,
                      umbra_error *err)
{
    int rc = umbra_trace_open(&in->traces[i], path, err);
    if (rc != UMBRA_OK)
        return rc;
    in->n_traces = i + 1;
    const umbra_trace_info *info = umbra_trace_get_info(in->traces[i]);
    umbra_eval_folder *folder = &e->folders[i];
    folder->path = umbra_strdup(path);
    folder->collection = info->collection ? umbra_strdup(info->collection) : NULL;
    if (!folder->path || (info->collection && !folder->collection))
        return umbra_fail_nomem(err, "the folder's description", strlen(path));
    folder->int8 = info->int8;
    folder->stride = info->stride;
    count_documents(folder, in->traces[i]);
    return i == 0 ? UMBRA_OK : same_model(in->traces[0], in->traces[i], err);
}

static int open_traces(umbra_eval_input *in, umbra_evaluation *e,
                       const umbra_evaluate_options *options, umbra_error *err)
{
    size_t n = (size_t)options->n_traces;
    in->traces = umbra_calloc(n, sizeof *in->traces);
    e->folders = umbra_calloc(n, sizeof *e->folders);
    if (!in->traces || !e->folders)
        return umbra_fail_nomem(err, "the trace folders", n * sizeof *e->folders);
    e->n_folders = options->n_traces;
    int rc = UMBRA_OK;
    for (int i = 0; i < options->n_traces && rc == UMBRA_OK; i++)
        rc = open_trace(in, e, i, options->traces[i], err);
    return rc;
}

/* Shape, layers and routers of the model, from the first folder. */
static int read_model(umbra_eval_input *in, umbra_evaluation *e, umbra_error *err)
{
    const umbra_trace *trace = in->traces[0];
    e->model = *umbra_trace_get_info(trace);
    e->model.collection = NULL;
    int layers = e->model.layers, k = e->model.used, experts = e->model.experts;
    int wanted[UMBRA_EVAL_BUDGETS] = {k, (3 * k + 1) / 2, 2 * k};
    for (int i = 0; i < UMBRA_EVAL_BUDGETS; i++) {
        int m = wanted[i] < experts ? wanted[i] : experts;
        if (i == 0 || m > e->budgets[e->n_budgets - 1])
            e->budgets[e->n_budgets++] = m;
    }
    e->curve_last = 4 * k < experts ? 4 * k : experts;

    size_t per_layer = (size_t)experts * (size_t)e->model.hidden;
    in->gates = (umbra_gates){layers, experts, e->model.hidden,
                              umbra_calloc((size_t)layers * per_layer, sizeof(float))};
    e->has_layer = umbra_calloc((size_t)layers, sizeof *e->has_layer);
    if (!in->gates.data || !e->has_layer)
        return umbra_fail_nomem(err, "the routers", (uint64_t)layers * per_layer * sizeof(float));
    int rc = UMBRA_OK;
    for (int l = 0; l < layers && rc == UMBRA_OK; l++) {
        e->has_layer[l] = umbra_trace_has_layer(trace, l);
        if (e->has_layer[l])
            rc = umbra_trace_read_gate(in->traces[0], l, in->gates.data + (size_t)l * per_layer,
                                       err);
    }
    return rc;
}

/* ---- shadows ---- */

static int load_shadow(umbra_eval_input *in, umbra_evaluation *e, int i, const char *path,
                       umbra_error *err)
{
    const umbra_trace_info *m = &e->model;
    umbra_eval_shadow *shadow = &e->shadows[i];
    int rc = umbra_shadow_load(&in->shadows[i], path, err);
    if (rc != UMBRA_OK)
        return rc;
    in->n_shadows = i + 1;
    rc = umbra_shadow_check(&in->shadows[i]->spec, path, m->model_hash, m->model_name, m->layers,
                            m->hidden, m->experts, m->used, err);
    if (rc != UMBRA_OK)
        return rc;
    shadow->spec = in->shadows[i]->spec;
    shadow->path = umbra_strdup(path);
    if (!shadow->path)
        return umbra_fail_nomem(err, "the shadow's path", strlen(path));
    return umbra_training_read(&shadow->training, in->shadows[i]->training, path, m->layers,
                               m->experts, err);
}

static int load_shadows(umbra_eval_input *in, umbra_evaluation *e,
                        const umbra_evaluate_options *options, umbra_error *err)
{
    size_t n = (size_t)options->n_shadows;
    in->shadows = umbra_calloc(n, sizeof *in->shadows);
    e->shadows = umbra_calloc(n, sizeof *e->shadows);
    if (!in->shadows || !e->shadows)
        return umbra_fail_nomem(err, "the shadows", n * sizeof *e->shadows);
    e->n_shadows = options->n_shadows;
    int rc = UMBRA_OK;
    for (int i = 0; i < options->n_shadows && rc == UMBRA_OK; i++)
        rc = load_shadow(in, e, i, options->shadows[i], err);
    return rc;
}

int umbra_eval_input_open(umbra_eval_input *in, umbra_evaluation *e,
                          const umbra_evaluate_options *options, umbra_error *err)
{
    *in = (umbra_eval_input){0};
    int rc = open_traces(in, e, options, err);
    if (rc == UMBRA_OK)
        rc = read_model(in, e, err);
    if (rc == UMBRA_OK)
        rc = load_shadows(in, e, options, err);
    if (rc == UMBRA_OK)
        rc = umbra_eval_select_documents(in, e, options, err);
    return rc;
}

void umbra_eval_input_close(umbra_eval_input *in)
{
    for (int i = 0; i < in->n_shadows; i++)
        umbra_shadow_free(&in->shadows[i]);
    for (int i = 0; i < in->n_traces; i++)
        umbra_trace_close(&in->traces[i]);
    umbra_free(in->shadows);
    umbra_free(in->traces);
    umbra_free(in->gates.data);
    umbra_free(in->documents);
    *in = (umbra_eval_input){0};
}
