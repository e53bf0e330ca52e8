/* Computes the documents of a shard and records what the engine sees. */
#include "lab/collect/collector.h"

/* Calls `put` for each part of the rows that lies in one document of the shard. */
typedef int (*put_part)(umbra_collector *c, int layer, int first, int n, const float *data);

static int split(umbra_collector *c, const umbra_rows *rows, put_part put)
{
    if (!umbra_layer_has_experts(c->model, rows->layer))
        return UMBRA_OK; /* a trace has nothing of layers without a router */
    const float *data = rows->x;
    int at = c->batch_first + rows->first, end = at + rows->n;
    int hidden = c->info.hidden;
    for (int i = c->batch_documents; i < c->shard->n_list && at < end; i++) {
        const umbra_trace_document *d = &c->shard->list[i];
        int stop = d->first + d->tokens < end ? d->first + d->tokens : end;
        if (stop <= at)
            continue;
        int rc = put(c, rows->layer, at, stop - at, data);
        if (rc != UMBRA_OK)
            return rc;
        data += (size_t)(stop - at) * (size_t)hidden;
        at = stop;
    }
    return UMBRA_OK;
}

static int put_input(umbra_collector *c, int layer, int first, int n, const float *data)
{
    return umbra_trace_put_states(c->trace, UMBRA_TRACE_INPUT, layer, first, n, data, c->err);
}

static int put_hidden(umbra_collector *c, int layer, int first, int n, const float *data)
{
    return umbra_trace_put_states(c->trace, UMBRA_TRACE_HIDDEN, layer, first, n, data, c->err);
}

static int take_input(void *user, const umbra_rows *rows)
{
    return split(user, rows, put_input);
}

static int take_hidden(void *user, const umbra_rows *rows)
{
    return split(user, rows, put_hidden);
}

static int take_routing(void *user, const umbra_rows *rows)
{
    umbra_collector *c = user;
    int first = c->batch_first + rows->first;
    if (rows->layer == c->info.layers - 1) {
        /* The others are taken to be as far. */
        uint64_t done = (uint64_t)(first + rows->n) * (uint64_t)c->in_round;
        done = done < c->round_tokens ? done : c->round_tokens;
        umbra_progress_report(c->progress, "recording", "tokens", c->state.tokens + done,
                              c->state.wanted);
    }
    return umbra_trace_put_routing(c->trace, rows->layer, first, rows->n, rows->experts,
                                   rows->weights, c->err);
}

/* Computes documents [first, end) of the shard's list, each in a sequence of its own. */
static int compute_documents(umbra_collector *c, int first, int end)
{
    const umbra_tap tap = {
        .user = c,
        .at = {[UMBRA_TAP_INPUT] = take_input,
               [UMBRA_TAP_HIDDEN] = take_hidden,
               [UMBRA_TAP_ROUTED] = take_routing},
        .progress = c->progress,
    };
    int n = 0;
    for (int i = first; i < end; i++) {
        umbra_engine_truncate(c->engine, c->writers + i - first, 0);
        for (int t = 0; t < c->shard->list[i].tokens; t++)
            c->batch[n++] = (umbra_token){c->shard->tokens[c->shard->list[i].first + t],
                                          c->writers + i - first, false};
    }
    c->batch_first = c->shard->list[first].first;
    c->batch_documents = first;
    return umbra_engine_eval(c->engine, c->batch, n, &tap, c->err);
}

int umbra_collect_record(umbra_collector *c)
{
    if (umbra_ranks_own(c->ranks) >= c->in_round)
        return UMBRA_OK;
    const umbra_shard_texts *s = c->shard = &c->round[umbra_ranks_own(c->ranks)];
    int rc = umbra_trace_shard_begin(c->trace, s->list, s->n_list, s->tokens, c->err);
    for (int i = 0; rc == UMBRA_OK && i < s->n_list; i += UMBRA_COLLECT_READERS)
        rc = compute_documents(
            c, i, i + UMBRA_COLLECT_READERS < s->n_list ? i + UMBRA_COLLECT_READERS : s->n_list);
    if (rc == UMBRA_OK)
        rc = umbra_trace_shard_end(c->trace, c->err);
    return rc;
}
