/* Reads a segment of a document into memory. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/segment.h"

enum {
    MOST_ROWS = 1024,
    MOST_SPAN = 8192,
    HISTORY = 2, /* tokens before the first row that features look at */
};
static const uint64_t most_state_bytes = 64 << 20;

int umbra_eval_segment_open(umbra_eval_segment *b, const umbra_evaluation *e, umbra_error *err)
{
    *b = (umbra_eval_segment){.capacity = MOST_ROWS, .span = MOST_SPAN + HISTORY};
    size_t sources = (size_t)umbra_eval_sources(e), hidden = (size_t)e->model.hidden;
    size_t row_bytes = sources * hidden * sizeof(float), k = (size_t)e->model.used;
    if (row_bytes * MOST_ROWS > most_state_bytes)
        b->capacity = (int)(most_state_bytes / row_bytes) + 1;
    size_t rows = (size_t)b->capacity, span = (size_t)b->span;
    b->states = umbra_calloc(rows, row_bytes);
    b->routing = umbra_calloc(span * sources, k * sizeof *b->routing);
    b->layer = umbra_calloc(span, k * sizeof *b->layer);
    b->now = umbra_calloc(rows, sizeof *b->now);
    b->previous = umbra_calloc(rows, sizeof *b->previous);
    b->previous2 = umbra_calloc(rows, sizeof *b->previous2);
    if (b->states && b->routing && b->layer && b->now && b->previous && b->previous2)
        return UMBRA_OK;
    umbra_eval_segment_close(b);
    return umbra_fail_nomem(err, "a segment of states", rows * row_bytes);
}

void umbra_eval_segment_close(umbra_eval_segment *b)
{
    umbra_free(b->states);
    umbra_free(b->routing);
    umbra_free(b->layer);
    umbra_free(b->now);
    umbra_free(b->previous);
    umbra_free(b->previous2);
    *b = (umbra_eval_segment){0};
}

int umbra_eval_segment_rows(const umbra_eval_segment *b, const umbra_evaluation *e,
                            const umbra_eval_document *document)
{
    int stride = e->folders[document->folder].stride;
    int by_span = (b->span - HISTORY - 1) / stride + 1;
    return by_span < b->capacity ? by_span : b->capacity;
}

/* Routing of tokens [first, first + n) of the document at all layers, token by token. */
static int read_routing(umbra_eval_segment *b, const umbra_evaluation *e,
                        const umbra_eval_input *in, const umbra_eval_document *d, int first, int n,
                        umbra_error *err)
{
    size_t layers = (size_t)e->model.layers, k = (size_t)e->model.used;
    for (size_t l = 0; l < layers; l++) {
        if (e->has_layer[l]) {
            int rc = umbra_trace_read_experts(in->traces[d->folder], d->document->shard, (int)l,
                                              d->document->first + first, n, b->layer, err);
            if (rc != UMBRA_OK)
                return rc;
        } else {
            memset(b->layer, 0xff, (size_t)n * k * sizeof *b->layer);
        }
        for (size_t t = 0; t < (size_t)n; t++)
            memcpy(b->routing + (t * layers + l) * k, b->layer + t * k, k * sizeof *b->layer);
    }
    return UMBRA_OK;
}

static int read_states(umbra_eval_segment *b, const umbra_evaluation *e, const umbra_eval_input *in,
                       const umbra_eval_document *d, int first, umbra_error *err)
{
    for (int s = 0; s < umbra_eval_sources(e); s++) {
        int layer = s == 0 ? 0 : s - 1;
        if (!e->has_layer[layer])
            continue;
        float *out = b->states + (size_t)s * (size_t)b->capacity * (size_t)e->model.hidden;
        int rc = umbra_trace_read_states(in->traces[d->folder], d->document->shard,
                                         s == 0 ? UMBRA_TRACE_INPUT : UMBRA_TRACE_HIDDEN, layer,
                                         d->document->first_row + first, b->rows, out, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    return UMBRA_OK;
}

int umbra_eval_segment_read(umbra_eval_segment *b, const umbra_evaluation *e,
                            const umbra_eval_input *in, const umbra_eval_document *d, int first,
                            int n, umbra_error *err)
{
    int stride = e->folders[d->folder].stride;
    int begin = first * stride - HISTORY, end = (first + n - 1) * stride + 1;
    begin = begin > 0 ? begin : 0;
    b->rows = n;
    int rc = read_routing(b, e, in, d, begin, end - begin, err);
    if (rc != UMBRA_OK)
        return rc;
    size_t token = (size_t)e->model.layers * (size_t)e->model.used;
    for (int i = 0; i < n; i++) {
        int position = (first + i) * stride;
        const uint16_t *here = b->routing + (size_t)(position - begin) * token;
        b->now[i] = here;
        b->previous[i] = position >= 1 ? here - token : NULL;
        b->previous2[i] = position >= 2 ? here - 2 * token : NULL;
    }
    return read_states(b, e, in, d, first, err);
}

int umbra_eval_segment_count(umbra_eval_segment *b, const umbra_evaluation *e,
                             const umbra_eval_input *in, const umbra_eval_document *d,
                             uint64_t *counts, umbra_error *err)
{
    size_t layers = (size_t)e->model.layers, experts = (size_t)e->model.experts;
    size_t k = (size_t)e->model.used;
    for (int first = 0; first < d->tokens; first += b->span) {
        int n = d->tokens - first < b->span ? d->tokens - first : b->span;
        int rc = read_routing(b, e, in, d, first, n, err);
        if (rc != UMBRA_OK)
            return rc;
        for (size_t at = 0; at < (size_t)n * layers * k; at++)
            if (e->has_layer[at / k % layers])
                counts[at / k % layers * experts + b->routing[at]]++;
    }
    return UMBRA_OK;
}
