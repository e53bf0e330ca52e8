/* Opens traces for training and splits their documents. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/train/data.h"

/* ---- documents ---- */

/* A document while the split is made. */
typedef struct candidate {
    umbra_train_document document;
    uint64_t draw;
    bool validates;
} candidate;

/* Spreads a hash over all 64 bits (the finaliser of splitmix64), so that its order says nothing. */
static uint64_t spread(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static int check_same_model(const umbra_trace *a, const umbra_trace *b, umbra_error *err)
{
    const umbra_trace_info *x = umbra_trace_get_info(a), *y = umbra_trace_get_info(b);
    if (strcmp(x->model_hash, y->model_hash) != 0)
        return umbra_fail(
            err, UMBRA_E_MISMATCH,
            "%s is of model %s (%s), %s of model %s (%s): train on traces of one model",
            umbra_trace_folder(a), x->model_name, x->model_hash, umbra_trace_folder(b),
            y->model_name, y->model_hash);
    bool same = x->layers == y->layers && x->hidden == y->hidden && x->experts == y->experts &&
                x->used == y->used;
    for (int layer = 0; same && layer < x->layers; layer++)
        same = umbra_trace_has_layer(a, layer) == umbra_trace_has_layer(b, layer);
    if (same)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_MISMATCH,
                      "%s has %d layers, hidden %d, %d of %d experts; %s has %d layers, hidden %d, "
                      "%d of %d experts, or other layers have experts: one of them was altered",
                      umbra_trace_folder(a), x->layers, x->hidden, x->used, x->experts,
                      umbra_trace_folder(b), y->layers, y->hidden, y->used, y->experts);
}

static int open_traces(umbra_train_data *data, const char *const *folders, int n, umbra_error *err)
{
    if (n < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no trace folder to train on");
    data->traces = umbra_calloc((size_t)n, sizeof *data->traces);
    if (!data->traces)
        return umbra_fail_nomem(err, "the list of traces", (uint64_t)n * sizeof *data->traces);
    for (int i = 0; i < n; i++) {
        int rc = umbra_trace_open(&data->traces[i], folders[i], err);
        if (rc != UMBRA_OK)
            return rc;
        data->n_traces++;
        rc = i > 0 ? check_same_model(data->traces[0], data->traces[i], err) : UMBRA_OK;
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

static int collect(const umbra_train_data *data, candidate *out)
{
    int n = 0;
    for (int t = 0; t < data->n_traces; t++) {
        for (int i = 0; i < umbra_trace_documents(data->traces[t]); i++) {
            const umbra_trace_document *d = umbra_trace_document_at(data->traces[t], i);
            if (d->rows < 1)
                continue;
            out[n++] = (candidate){
                .document = {t, d},
                .draw = spread(d->hash),
            };
        }
    }
    return n;
}

/* Marks the documents that validate; false if all are copies of one. */
static bool split(candidate *list, int n, float validation)
{
    uint64_t least = UINT64_MAX, most = 0;
    double limit = (double)validation * 0x1p64;
    for (int i = 0; i < n; i++) {
        least = list[i].draw < least ? list[i].draw : least;
        most = list[i].draw > most ? list[i].draw : most;
    }
    for (int i = 0; i < n; i++) {
        bool drawn = (double)list[i].draw < limit;
        list[i].validates = list[i].draw == least || (drawn && list[i].draw != most);
    }
    return least < most;
}

static void take(umbra_train_data *data, const candidate *list, int n)
{
    int at = 0;
    for (int pass = 0; pass < 2; pass++) {
        bool validates = pass == 1;
        for (int i = 0; i < n; i++) {
            if (list[i].validates != validates)
                continue;
            const umbra_trace_document *d = list[i].document.at;
            data->documents[at++] = list[i].document;
            *(validates ? &data->validation_rows : &data->training_rows) += (uint64_t)d->rows;
            *(validates ? &data->n_validation : &data->n_training) += 1;
            data->tokens += (uint64_t)d->tokens;
            data->fingerprint =
                spread(data->fingerprint ^ d->hash ^ (uint64_t)d->rows << 1 ^ validates);
        }
    }
}

int umbra_train_data_open(umbra_train_data *data, const char *const *folders, int n_folders,
                          float validation, umbra_error *err)
{
    *data = (umbra_train_data){0};
    int rc = open_traces(data, folders, n_folders, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t most = 0;
    for (int i = 0; i < n_folders; i++)
        most += (size_t)umbra_trace_documents(data->traces[i]);
    candidate *list = umbra_calloc(most, sizeof *list);
    data->documents = umbra_calloc(most, sizeof *data->documents);
    if (!list || !data->documents)
        rc = umbra_fail_nomem(err, "the list of documents", most * sizeof *list);
    if (rc == UMBRA_OK) {
        int n = collect(data, list);
        if (split(list, n, validation))
            take(data, list, n);
        else
            rc = umbra_fail(err, UMBRA_E_ARGUMENT,
                            "%s: there is %s document; training needs one and validation another: "
                            "collect more",
                            folders[0], n == 0 ? "no" : "only one");
    }
    umbra_free(list);
    return rc;
}

void umbra_train_data_release(umbra_train_data *data)
{
    for (int i = 0; i < data->n_traces; i++)
        umbra_trace_close(&data->traces[i]);
    umbra_free(data->traces);
    umbra_free(data->documents);
    *data = (umbra_train_data){0};
}

const umbra_trace_info *umbra_train_info(const umbra_train_data *data)
{
    return umbra_trace_get_info(data->traces[0]);
}

bool umbra_train_has_layer(const umbra_train_data *data, int layer)
{
    return layer >= 0 && layer < umbra_train_info(data)->layers &&
           umbra_trace_has_layer(data->traces[0], layer);
}

static int count_document(const umbra_train_data *data, const umbra_train_document *document,
                          uint16_t *experts, uint64_t *counts, umbra_error *err)
{
    const umbra_trace_info *info = umbra_train_info(data);
    const umbra_trace_document *d = document->at;
    for (int layer = 0; layer < info->layers; layer++) {
        uint64_t *count = counts + (size_t)layer * (size_t)info->experts;
        for (int at = 0; umbra_train_has_layer(data, layer) && at < d->tokens;) {
            int n = d->tokens - at < UMBRA_TRAIN_CHUNK ? d->tokens - at : UMBRA_TRAIN_CHUNK;
            int rc = umbra_trace_read_experts(data->traces[document->trace], d->shard, layer,
                                              d->first + at, n, experts, err);
            if (rc != UMBRA_OK)
                return rc;
            for (int i = 0; i < n * info->used; i++)
                count[experts[i]]++;
            at += n;
        }
    }
    return UMBRA_OK;
}

int umbra_train_count_experts(const umbra_train_data *data, uint64_t *counts, umbra_error *err)
{
    size_t n = (size_t)UMBRA_TRAIN_CHUNK * (size_t)umbra_train_info(data)->used;
    uint16_t *experts = umbra_calloc(n, sizeof *experts);
    int rc = experts ? UMBRA_OK : umbra_fail_nomem(err, "expert ids", n * sizeof *experts);
    for (int i = 0; rc == UMBRA_OK && i < data->n_training; i++)
        rc = count_document(data, &data->documents[i], experts, counts, err);
    umbra_free(experts);
    return rc;
}

bool umbra_train_has_source(const umbra_train_data *data, const umbra_shadow_spec *spec, int source)
{
    if (!umbra_train_has_layer(data, source == 0 ? 0 : source - 1))
        return false; /* a layer without experts leaves no states in a trace */
    for (int d = 1; d <= umbra_shadow_distances(spec, source); d++)
        if (umbra_train_has_layer(data, umbra_shadow_target(source, d)))
            return true;
    return false;
}
