/* Chooses the documents that count. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/selection.h"

enum { DEFAULT_ABLATION_TOKENS = 4096 };

static int refuse_leak(const umbra_evaluation *e, const umbra_eval_document *d, umbra_error *err)
{
    for (int i = 0; i < e->n_shadows; i++) {
        const umbra_eval_shadow *s = &e->shadows[i];
        bool content = umbra_training_has_hash(&s->training, d->document->hash);
        bool id = !d->document->generated && umbra_training_has_id(&s->training, d->document->id);
        if (content || id)
            return umbra_fail(
                err, UMBRA_E_MISMATCH,
                "document \"%s\" of %s is one that %s was trained or validated on (same "
                "%s, hash %016" PRIx64 "): judge the shadow on documents that it has "
                "never seen",
                d->document->id, e->folders[d->folder].path, s->path, content ? "content" : "id",
                d->document->hash);
    }
    return UMBRA_OK;
}

static int by_hash_then_order(const void *a, const void *b)
{
    const umbra_eval_document *x = *(umbra_eval_document *const *)a;
    const umbra_eval_document *y = *(umbra_eval_document *const *)b;
    if (x->document->hash != y->document->hash)
        return x->document->hash < y->document->hash ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Drops documents whose content came before, in this folder or another. */
static int drop_repeated(umbra_eval_input *in, umbra_evaluation *e, umbra_error *err)
{
    size_t n = (size_t)in->n_documents;
    umbra_eval_document **order = umbra_calloc(n, sizeof *order);
    if (!order)
        return umbra_fail_nomem(err, "the order of documents", n * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = &in->documents[i];
    qsort(order, n, sizeof *order, by_hash_then_order);
    uint64_t last = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = order[i]->document->hash;
        if (i > 0 && hash == last) {
            e->folders[order[i]->folder].repeated++;
            order[i]->document = NULL;
        }
        last = hash;
    }
    umbra_free(order);
    in->n_documents = 0;
    for (size_t i = 0; i < n; i++)
        if (in->documents[i].document)
            in->documents[in->n_documents++] = in->documents[i];
    return UMBRA_OK;
}

static int list_documents(umbra_eval_input *in, umbra_evaluation *e, umbra_error *err)
{
    size_t n = 0;
    for (int f = 0; f < in->n_traces; f++)
        n += (size_t)umbra_trace_documents(in->traces[f]);
    in->documents = umbra_calloc(n, sizeof *in->documents);
    if (!in->documents)
        return umbra_fail_nomem(err, "the list of documents", n * sizeof *in->documents);
    for (int f = 0; f < in->n_traces; f++) {
        for (int i = 0; i < umbra_trace_documents(in->traces[f]); i++) {
            const umbra_trace_document *d = umbra_trace_document_at(in->traces[f], i);
            umbra_eval_document document = {.folder = f, .document = d};
            if (d->tokens < UMBRA_EVAL_SHORT) {
                e->folders[f].short_documents++;
                continue;
            }
            int rc = refuse_leak(e, &document, err);
            if (rc != UMBRA_OK)
                return rc;
            in->documents[in->n_documents++] = document;
        }
    }
    return UMBRA_OK;
}

static uint64_t tokens_under_limit(const umbra_eval_input *in, uint64_t limit)
{
    uint64_t sum = 0;
    for (int i = 0; i < in->n_documents; i++) {
        uint64_t tokens = (uint64_t)in->documents[i].document->tokens;
        sum += tokens < limit ? tokens : limit;
    }
    return sum;
}

/* The largest limit per document that keeps the sum within max_tokens. */
static uint64_t limit_per_document(const umbra_eval_input *in, uint64_t max_tokens)
{
    uint64_t low = 1, high = INT32_MAX;
    while (low < high) {
        uint64_t middle = (low + high + 1) / 2;
        if (tokens_under_limit(in, middle) <= max_tokens)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void add_amount(umbra_eval_amount *amount, const umbra_eval_document *d)
{
    amount->documents++;
    amount->tokens += (uint64_t)d->rows;
}

/* Spreads the ablation documents evenly over those of the table. */
static void choose_ablations(umbra_eval_input *in, umbra_evaluation *e, uint64_t wanted)
{
    uint64_t every = (e->table.tokens - 1) / wanted + 1, index = 0;
    for (int i = 0; i < in->n_documents; i++) {
        umbra_eval_document *d = &in->documents[i];
        if (d->calibration || index++ % every != 0)
            continue;
        d->ablation = true;
        add_amount(&e->ablation, d);
    }
}

int umbra_eval_select_documents(umbra_eval_input *in, umbra_evaluation *e,
                                const umbra_evaluate_options *options, umbra_error *err)
{
    int rc = list_documents(in, e, err);
    if (rc == UMBRA_OK)
        rc = drop_repeated(in, e, err);
    if (rc != UMBRA_OK)
        return rc;
    if (in->n_documents == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%s%s: no document of at least %d tokens to judge "
                          "on",
                          e->folders[0].path, e->n_folders > 1 ? " and the other folders" : "",
                          UMBRA_EVAL_SHORT);
    if (options->max_tokens > 0 && tokens_under_limit(in, INT32_MAX) > options->max_tokens)
        e->document_limit = limit_per_document(in, options->max_tokens);
    for (int i = 0; i < in->n_documents; i++) {
        umbra_eval_document *d = &in->documents[i];
        int stride = e->folders[d->folder].stride, tokens = d->document->tokens;
        if (e->document_limit > 0 && (uint64_t)tokens > e->document_limit)
            tokens = (int)e->document_limit;
        d->rows = (tokens - 1) / stride + 1;
        d->tokens = (d->rows - 1) * stride + 1;
        d->half = i % 2;
        d->calibration = in->n_documents > 1 && i % UMBRA_EVAL_CALIBRATE_EVERY == 0;
        add_amount(d->calibration ? &e->calibration : &e->table, d);
    }
    if (!options->no_ablations && e->n_shadows > 0)
        choose_ablations(in, e,
                         options->ablation_tokens > 0 ? options->ablation_tokens
                                                      : DEFAULT_ABLATION_TOKENS);
    return UMBRA_OK;
}
