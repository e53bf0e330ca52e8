/* A made-up benchmark for tests of its report. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lab/bench/fixture.h"

enum { LAYERS = 12, POLICIES = 6, TOKEN_NS = 9000000 };

static const char nasty[] = "<script>alert(1)</script>&\"'</td>\x1b[31m\xff\xc0\x80.gguf";
static const char *const policies[POLICIES] = {"off",    "previous", "gate",
                                               "shadow", "auto",     "oracle"};
/* Against off. */
static const double speeds[POLICIES] = {1, 0.97, 0.8, 1.3, 1.25, 1.5};

static void add_event(umbra_bench_row *row, umbra_event_kind kind, double begin_ms, double end_ms,
                      int layer, int expert, int distance)
{
    int64_t origin = (int64_t)row->event_begin_ns;
    row->events[row->n_events++] =
        (umbra_store_event){.kind = kind,
                            .begin_ns = (uint64_t)(origin + (int64_t)(1e6 * begin_ms)),
                            .end_ns = (uint64_t)(origin + (int64_t)(1e6 * end_ms)),
                            .layer = layer,
                            .expert = expert,
                            .distance = (int8_t)distance};
}

/* Per layer three reads, of which the policy makes some ahead, and a wait for what is late. They
 * are not in the order of time, and the first ones begin before the token. */
static void add_token(umbra_bench_row *row, int policy, umbra_random *random)
{
    double step = (double)TOKEN_NS * 1e-6 / speeds[policy] / LAYERS;
    row->events = umbra_calloc(LAYERS * 5, sizeof *row->events);
    row->layer_stall_s = umbra_calloc(LAYERS, sizeof *row->layer_stall_s);
    assert_non_null(row->events);
    assert_non_null(row->layer_stall_s);
    row->event_begin_ns = 5000000000;
    row->event_end_ns = row->event_begin_ns + (uint64_t)(step * 1e6 * LAYERS);
    for (int l = LAYERS - 1; l >= 0; l--) {
        double at = l * step, wait = step * (policy == 0 ? 0.5 : policy == 5 ? 0 : 0.2);
        for (int i = 0; i < 3; i++) {
            int d = policy < 2 ? 0 : (int)umbra_random_below(random, 5);
            add_event(row, UMBRA_EVENT_READ, at - d * step * 0.8, at + wait, l, 10 * i + l, d);
        }
        if (wait > 0)
            add_event(row, UMBRA_EVENT_WAIT, at + 0.02, at + wait, l, -1, 0);
        add_event(row, UMBRA_EVENT_BATCH, at, at + 0.8 * step, l, -1, 0);
        row->layer_stall_s[l] = wait * 1e-3 * (1 + 0.1 * l);
    }
}

static void fill_row(umbra_bench_row *row, int io, int budget, int budgets, int policy,
                     umbra_random *random)
{
    double off = 100 + 90.0 * budget + 15 * io, speed = off * speeds[policy];
    row->policy = policies[policy];
    row->ram_bytes = (uint64_t)(60 + 20 * budget) * 1000000;
    row->residency = 0.3 + 0.5 * budget / budgets;
    row->tok_s = (umbra_spread){speed, speed * 0.93, speed * 1.04};
    row->token_s = 1 / speed;
    row->compute_s = io == 0 ? 0.0042 : 0.0005;
    row->io_s = (io == 0 ? 0.009 : 0.002) / (1 + 3 * budget);
    row->bound_share = (row->compute_s > row->io_s ? row->compute_s : row->io_s) / row->token_s;
    row->disk_bytes_per_s = 5e8;
    row->disk_busy = 0.6;
    row->hits = 0.7 + 0.02 * policy;
    row->stall_s = policy == 5 ? 0 : 0.3 / speed;
    row->bytes_per_token = 3e6 / (1 + budget);
    for (int d = 1; d <= UMBRA_MAX_DISTANCE && policy > 1; d++) {
        row->distance_bytes[d][0] = 3e5 / (1 + budget);
        row->distance_bytes[d][1] = 8e4;
        row->distance_bytes[d][2] = policy == 5 ? 0 : 4e4 * d;
        row->useful_bytes += row->distance_bytes[d][0];
        row->late_bytes += row->distance_bytes[d][1];
        row->wasted_bytes += row->distance_bytes[d][2];
    }
    if (policy != 2)
        add_token(row, policy, random);
}

umbra_bench *fixture_bench(int budgets, int what)
{
    umbra_random random;
    umbra_random_seed(&random, 7);
    umbra_bench *b = umbra_calloc(1, sizeof *b);
    assert_non_null(b);
    b->layers = LAYERS;
    b->tokens = 128;
    b->warm_tokens = 32;
    b->rounds = 5;
    b->threads = 2;
    b->kernels = "avx2";
    b->expert_bytes = 85000000;
    snprintf(b->model, sizeof b->model, "%s", what & FIXTURE_HOSTILE ? nasty : "made-up");
    b->rows = umbra_calloc((size_t)(1 + 2 * budgets * POLICIES), sizeof *b->rows);
    assert_non_null(b->rows);
    if (what & FIXTURE_RESIDENT)
        b->rows[b->n_rows++] = (umbra_bench_row){.policy = "resident",
                                                 .io = "memory",
                                                 .ram_bytes = 130000000,
                                                 .residency = 1,
                                                 .tok_s = {238, 230, 241},
                                                 .token_s = 0.0042,
                                                 .compute_s = 0.0042,
                                                 .bound_share = 1,
                                                 .hits = 1};
    for (int io = 0; io < 2; io++)
        for (int r = 0; r < budgets; r++)
            for (int i = 0; i < POLICIES; i++) {
                umbra_bench_row *row = &b->rows[b->n_rows++];
                row->io = io == 0 ? "uring" : what & FIXTURE_HOSTILE ? nasty : "sim:500M,100us";
                row->compute_is_estimate = !(what & FIXTURE_RESIDENT);
                fill_row(row, io, r, budgets, i, &random);
            }
    if (what & FIXTURE_PEER) {
        b->against = what & FIXTURE_HOSTILE ? nasty : "peer-bench -m model.gguf";
        b->against_tok_s = (umbra_spread){20, 18, 21};
    }
    return b;
}
