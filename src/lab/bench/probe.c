/* The two things that umbra_bench_model looks at closely: the disk by itself, and one token. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "engine/engine.h"
#include "lab/bench/bench.h"

enum { PROBE_NS = 300000000, PROBE_SLOTS = 64 };

/* ---- the disk ---- */

/* Reads the experts of random layers, as deep as the store goes, into slots that are used for
 * nothing else. */
static int read_for_a_while(umbra_store *store, const umbra_model *model, double *rate,
                            umbra_error *err)
{
    const umbra_config *c = &model->config;
    int n = c->experts < PROBE_SLOTS ? c->experts : PROBE_SLOTS;
    int *experts = umbra_calloc((size_t)n, sizeof *experts);
    if (!experts)
        return umbra_fail_nomem(err, "the disk's probe", 0);
    umbra_random random;
    umbra_random_seed(&random, 1);
    uint64_t begin_ns = umbra_clock_ns();
    int rc = UMBRA_OK;
    while (rc == UMBRA_OK && umbra_clock_ns() - begin_ns < PROBE_NS) {
        int layer = (int)(umbra_random_u64(&random) % (uint64_t)c->layers);
        int first = (int)(umbra_random_u64(&random) % (uint64_t)c->experts);
        for (int i = 0; i < n; i++)
            experts[i] = (first + 7 * i) % c->experts;
        if (c->experts % 7 == 0)
            for (int i = 0; i < n; i++)
                experts[i] = (first + i) % c->experts;
        if (!umbra_layer_has_experts(model, layer))
            continue;
        rc = umbra_store_clear(store, err);
        if (rc == UMBRA_OK)
            rc = umbra_store_begin(
                store,
                &(umbra_batch){
                    .kind = UMBRA_BATCH_PROBE, .layer = layer, .experts = experts, .n = n},
                err);
        umbra_lease lease;
        while (rc == UMBRA_OK && (rc = umbra_store_next(store, &lease, 1, err)) > 0) {
            umbra_store_release(store, &lease);
            rc = UMBRA_OK;
        }
    }
    umbra_store_stats stats;
    umbra_store_get_stats(store, &stats);
    *rate = (double)stats.bytes_read / umbra_seconds_since(begin_ns);
    umbra_free(experts);
    return rc;
}

int umbra_bench_disk(const umbra_bench_run *b, const char *io, double *out, umbra_error *err)
{
    umbra_store *store;
    const umbra_model *model = b->model;
    umbra_engine_options o = b->o->engine;
    o.io = io;
    int rc = umbra_engine_open_store(&store, model, &o,
                                     PROBE_SLOTS * model->info.bytes_per_expert * 2, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = read_for_a_while(store, model, out, err);
    umbra_store_close(&store);
    return rc;
}

/* ---- one token ---- */

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The token whose time is the median. */
static int median_token(const umbra_bench_run *b, int *out, umbra_error *err)
{
    size_t n = (size_t)b->tokens;
    uint64_t *times = umbra_calloc(n, sizeof *times);
    if (!times)
        return umbra_fail_nomem(err, "the token's times", 0);
    for (size_t i = 0; i < n; i++)
        times[i] = b->token_begin_ns[i + 1] - b->token_begin_ns[i];
    qsort(times, n, sizeof *times, by_time);
    for (int i = 0; i < b->tokens; i++)
        if (b->token_begin_ns[i + 1] - b->token_begin_ns[i] == times[n / 2])
            *out = i;
    umbra_free(times);
    return UMBRA_OK;
}

int umbra_bench_timeline(umbra_bench_row *row, const umbra_bench_run *b, umbra_error *err)
{
    int token = 0;
    int rc = median_token(b, &token, err);
    if (rc != UMBRA_OK)
        return rc;
    row->event_begin_ns = b->token_begin_ns[token];
    row->event_end_ns = b->token_begin_ns[token + 1];
    row->layer_stall_s = umbra_calloc((size_t)b->info->layers, sizeof *row->layer_stall_s);
    int n = 0;
    for (int i = 0; i < b->n_events; i++)
        n += b->events[i].end_ns > row->event_begin_ns && b->events[i].begin_ns < row->event_end_ns;
    row->events = umbra_calloc((size_t)n, sizeof *row->events);
    if (!row->layer_stall_s || !row->events)
        return umbra_fail_nomem(err, "the timeline", 0);
    for (int i = 0; i < b->n_events; i++) {
        const umbra_store_event *e = &b->events[i];
        if (e->kind == UMBRA_EVENT_WAIT)
            row->layer_stall_s[e->layer] += (double)(e->end_ns - e->begin_ns) * 1e-9 / b->tokens;
        if (e->end_ns > row->event_begin_ns && e->begin_ns < row->event_end_ns)
            row->events[row->n_events++] = *e;
    }
    return UMBRA_OK;
}
