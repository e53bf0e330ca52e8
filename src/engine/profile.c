/* The profile: which phase a chunk belongs to, what the machine could do at best, and figures. */
#include <umbra/profile.h>

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/internal.h"

enum {
    RATE_TOKENS = 64, /* of the product that is timed, */
    RATE_ROWS = 32,   /* and its rows: few enough to stay in a core's own caches */
    RATE_MILLISECONDS = 12,
};

typedef struct umbra_profiling {
    umbra_profiler profiler;
    umbra_profiler_entry entry[UMBRA_PROFILE_PHASES][UMBRA_PROFILE_STEPS];
    uint64_t rows[UMBRA_PROFILE_PHASES];
    uint64_t disk_bytes; /* read by the store so far */
    int phase;
} profiling;

int umbra_profile_open(umbra_engine *e, bool wanted, umbra_error *err)
{
    if (!wanted)
        return UMBRA_OK;
    profiling *p = umbra_calloc(1, sizeof *p);
    if (!p)
        return umbra_fail_nomem(err, "the profile", sizeof *p);
    e->profiling = p;
    p->profiler = (umbra_profiler){
        .entry = p->entry[0], .barriers = UMBRA_PROFILE_BARRIERS, .kind = UMBRA_PROFILE_REST};
    e->device.profiler = &p->profiler;
    umbra_pool_count_waits(e->pool);
    return UMBRA_OK;
}

/* What was read since the last look belongs to the phase in progress. */
static void count_reads(umbra_engine *e)
{
    umbra_store_stats s;
    profiling *p = e->profiling;
    umbra_store_get_stats(e->store, &s);
    if (s.bytes_read > p->disk_bytes) /* the counters may have been reset */
        p->entry[p->phase][UMBRA_PROFILE_DISK].bytes += s.bytes_read - p->disk_bytes;
    p->disk_bytes = s.bytes_read;
}

/* The time since the last chunk was the caller's. */
void umbra_profile_begin(umbra_engine *e, int rows)
{
    profiling *p = e->profiling;
    if (!p)
        return;
    count_reads(e);
    p->phase = UMBRA_PROFILE_DECODE;
    for (int t = 0; t < rows; t++)
        if (e->scratch.prompt[t])
            p->phase = UMBRA_PROFILE_PREFILL;
    p->rows[p->phase] += (uint64_t)rows;
    p->profiler.entry = p->entry[p->phase];
    p->profiler.kind = UMBRA_PROFILE_REST;
    p->profiler.since_ns = umbra_clock_ns();
    p->profiler.waits = umbra_pool_get_waits(e->pool);
}

/* ---- what the machine could do ---- */

typedef struct rate_run {
    umbra_engine *e;
    umbra_product product;
    float *out;       /* (threads, RATE_TOKENS, RATE_ROWS) */
    uint64_t *sums;   /* (threads) */
    uint64_t *amount; /* (threads) bytes or multiply-adds done */
    bool read;
} rate_run;

/* Adds up a thread's share of the weights in memory. */
static uint64_t read_share(const umbra_weights *w, int thread, int threads, uint64_t *sum)
{
    uint64_t words = w->arena_bytes / sizeof(uint64_t) / (uint64_t)threads / 8 * 8;
    const uint64_t *at = (const uint64_t *)w->arena + words * (uint64_t)thread;
    uint64_t part[8] = {0};
    for (uint64_t i = 0; i < words; i += 8)
        for (int j = 0; j < 8; j++)
            part[j] += at[i + (uint64_t)j];
    for (int j = 0; j < 8; j++)
        *sum += part[j];
    return words * sizeof(uint64_t);
}

/* One item per thread, so that each thread takes one: who ends early finds none left. */
static void run_rate(void *context, int begin, int end, int worker)
{
    (void)worker;
    rate_run *r = context;
    for (int i = begin; i < end; i++) {
        uint64_t start = umbra_clock_ns();
        umbra_matmul m = r->product.matmul;
        m.out = r->out + (size_t)i * RATE_TOKENS * RATE_ROWS;
        do {
            if (r->read) {
                r->amount[i] += read_share(&r->e->weights, i, r->e->plan.threads, &r->sums[i]);
            } else {
                r->product.fn(&m, 0, r->product.rows);
                r->amount[i] +=
                    (uint64_t)r->product.rows * (uint64_t)m.tokens * (uint64_t)m.x->columns;
            }
        } while (umbra_clock_ns() - start < (uint64_t)RATE_MILLISECONDS * 1000000);
    }
}

static double measure(rate_run *r, bool read)
{
    int threads = r->e->plan.threads;
    uint64_t all = 0;
    r->read = read;
    memset(r->amount, 0, (size_t)threads * sizeof *r->amount);
    uint64_t start = umbra_clock_ns();
    umbra_pool_run(r->e->pool, threads, 1, run_rate, r);
    double seconds = umbra_seconds_since(start);
    for (int i = 0; i < threads; i++)
        all += r->amount[i];
    return (double)all / seconds;
}

/* The first layer's output matrix of the attention, times whatever the scratch holds. */
static void measure_machine(umbra_engine *e, umbra_profile *out)
{
    size_t threads = (size_t)e->plan.threads;
    umbra_matrix w = e->weights.layer[0][UMBRA_ATTN_OUT];
    umbra_activations x = e->scratch.mixed;
    if (!w.data)
        return;
    rate_run r = {.e = e};
    r.out = umbra_calloc(threads * RATE_TOKENS * RATE_ROWS, sizeof *r.out);
    r.sums = umbra_calloc(threads, sizeof *r.sums);
    r.amount = umbra_calloc(threads, sizeof *r.amount);
    if (r.out && r.sums && r.amount) {
        w.rows = w.rows < RATE_ROWS ? w.rows : RATE_ROWS;
        x.columns = w.columns;
        int tokens = e->plan.chunk < RATE_TOKENS ? e->plan.chunk : RATE_TOKENS;
        r.product = umbra_product_make(&e->device, &w, &x, tokens, r.out);
        out->bytes_per_s = measure(&r, true);
        out->macs_per_s = measure(&r, false);
    }
    umbra_free(r.out);
    umbra_free(r.sums);
    umbra_free(r.amount);
}

/* ---- figures ---- */

void umbra_engine_get_profile(umbra_engine *e, umbra_profile *out)
{
    *out = (umbra_profile){0};
    profiling *p = e->profiling;
    if (!p)
        return;
    count_reads(e);
    for (int i = 0; i < UMBRA_PROFILE_PHASES; i++) {
        out->rows[i] = p->rows[i];
        for (int j = 0; j < UMBRA_PROFILE_STEPS; j++) {
            const umbra_profiler_entry *from = &p->entry[i][j];
            out->step[i][j] = (umbra_profile_entry){(double)from->ns * 1e-9, (double)from->bytes,
                                                    (double)from->macs, from->runs};
        }
    }
    measure_machine(e, out);
}

const char *umbra_profile_step_name(int step)
{
    static const char *const names[UMBRA_PROFILE_STEPS] = {
        "embedding",    "attention matrices", "attention", "router", "experts gate, up",
        "experts down", "shared, dense",      "output",    "disk",   "barriers",
        "rest",
    };
    return step >= 0 && step < UMBRA_PROFILE_STEPS ? names[step] : NULL;
}
