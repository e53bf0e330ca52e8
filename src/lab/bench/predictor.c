/* Measures predictions of made-up or real shadow models. */
#include <umbra/lab/bench.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/random.h"
#include "base/thread.h"
#include "predict/form.h"
#include "predict/fast.h"

enum {
    DEFAULT_LAYERS = 61,
    DEFAULT_CALLS = 4000,
    MOST_CALLS = 1000000,
    MOST_THREADS = 256,
    STACK_BYTES = 8 << 20,
    WARM_UP = 20,
    BEST = 8,
    USED = 8,
};

typedef struct subject {
    umbra_shadow *shadow;
    umbra_shadow_fast *fast;
    int calls;
    int best;
    const umbra_progress *progress;
} subject;

/* One thread's measurements, in nanoseconds. */
typedef struct worker {
    const subject *s;
    umbra_fast_scratch *scratch;
    float *state, *averages, *probability;
    uint16_t *routing; /* (layers, k) for now and before */
    uint16_t *best;
    double *predict[2], *read[2]; /* (calls) */
    uint64_t sink;                /* keeps the plain reads from being left out */
} worker;

/* ---- the network ---- */

/* Small weights around zero; a sum over `columns` of them has a variance of one. */
static void fill(float *w, size_t n, int columns, umbra_random *random)
{
    float scale = 1.7f / sqrtf((float)columns);
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = umbra_random_u64(random);
        w[i] = scale * ((float)(int32_t)(uint32_t)bits * 0x1p-31f);
    }
}

static int random_shadow(umbra_shadow **out, const umbra_bench_predictor_options *o,
                         umbra_error *err)
{
    umbra_shadow_spec spec = {
        .model_name = "random",
        .architecture = "random",
        .layers = o->layers ? o->layers : DEFAULT_LAYERS,
        .hidden = o->hidden,
        .experts = o->experts,
        .used = USED < o->experts ? USED : o->experts,
        .arch = UMBRA_SHADOW_SEED,
        .width = o->width,
    };
    memset(spec.model_hash, '0', sizeof spec.model_hash - 1);
    if (o->hidden < 32 || o->width < 1 || o->experts < 1 || o->hidden > 1 << 16 ||
        o->width > 1 << 16 || o->experts > 1 << 14 || spec.layers < 5 || spec.layers > 1024)
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "a shape of %d x %d x 4 x %d in %d layers is out of range", o->hidden,
                          o->width, o->experts, spec.layers);
    int rc = umbra_shadow_create(out, &spec, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_random random;
    umbra_random_seed(&random, 1);
    for (int i = 0; i < (*out)->count && !umbra_progress_interrupted(o->progress); i++) {
        umbra_shadow_network *n = &(*out)->networks[i];
        fill(n->w1, (size_t)o->width * (size_t)o->hidden, o->hidden, &random);
        fill(n->w2, 4 * (size_t)o->experts * (size_t)o->width, o->width, &random);
    }
    return UMBRA_OK;
}

/* The routers of a file's model are not at hand; their values do not matter for the time. */
static int random_gates(umbra_gates *gates, const umbra_shadow_spec *spec, umbra_error *err)
{
    size_t n = (size_t)spec->layers * (size_t)spec->experts * (size_t)spec->hidden;
    *gates =
        (umbra_gates){spec->layers, spec->experts, spec->hidden, umbra_calloc(n, sizeof(float))};
    if (!gates->data)
        return umbra_fail_nomem(err, "the routers", n * sizeof(float));
    umbra_random random;
    umbra_random_seed(&random, 2);
    fill(gates->data, n, spec->hidden, &random);
    return UMBRA_OK;
}

static int open_subject(subject *s, const umbra_bench_predictor_options *o,
                        umbra_shadow_weights weights, umbra_error *err)
{
    const char *isa = o->kernels && strcmp(o->kernels, "auto") != 0 ? o->kernels : NULL;
    umbra_gates gates = {0};
    int rc = o->shadow ? umbra_shadow_load(&s->shadow, o->shadow, err)
                       : random_shadow(&s->shadow, o, err);
    if (rc == UMBRA_OK && umbra_progress_interrupted(o->progress))
        rc = umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
    if (rc == UMBRA_OK && s->shadow->spec.arch == UMBRA_SHADOW_RESIDUAL)
        rc = random_gates(&gates, &s->shadow->spec, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_fast_open(&s->fast, s->shadow, gates.data ? &gates : NULL, weights, isa,
                                    err);
    umbra_free(gates.data);
    if (rc != UMBRA_OK)
        return rc;
    s->best = BEST < s->shadow->spec.experts ? BEST : s->shadow->spec.experts;
    return UMBRA_OK;
}

/* ---- measuring ---- */

static void close_worker(worker *w)
{
    umbra_fast_scratch_close(&w->scratch);
    umbra_free(w->state);
    umbra_free(w->averages);
    umbra_free(w->probability);
    umbra_free(w->routing);
    umbra_free(w->best);
    for (int mode = 0; mode < 2; mode++) {
        umbra_free(w->predict[mode]);
        umbra_free(w->read[mode]);
    }
}

static int open_worker(worker *w, const subject *s, int number, umbra_error *err)
{
    const umbra_shadow_spec *spec = &s->shadow->spec;
    size_t hidden = (size_t)spec->hidden, distances = UMBRA_MAX_DISTANCE;
    size_t ids = (size_t)spec->layers * (size_t)spec->used;
    *w = (worker){.s = s};
    int rc = umbra_fast_scratch_open(&w->scratch, s->fast, err);
    w->state = umbra_calloc(hidden, sizeof *w->state);
    w->averages = umbra_calloc(hidden * UMBRA_MAX_AVERAGES, sizeof *w->averages);
    w->probability = umbra_calloc(distances * (size_t)spec->experts, sizeof *w->probability);
    w->routing = umbra_calloc(ids, sizeof *w->routing);
    w->best = umbra_calloc(distances * (size_t)s->best, sizeof *w->best);
    bool there = w->state && w->averages && w->probability && w->routing && w->best;
    for (int mode = 0; mode < 2; mode++) {
        w->predict[mode] = umbra_calloc((size_t)s->calls, sizeof *w->predict[mode]);
        w->read[mode] = umbra_calloc((size_t)s->calls, sizeof *w->read[mode]);
        there = there && w->predict[mode] && w->read[mode];
    }
    if (rc == UMBRA_OK && !there)
        rc = umbra_fail_nomem(err, "the measurements", (uint64_t)s->calls * 32);
    if (rc != UMBRA_OK)
        return rc;
    umbra_random random;
    umbra_random_seed(&random, (uint64_t)number + 3);
    for (size_t i = 0; i < hidden; i++)
        w->state[i] = (float)umbra_random_normal(&random);
    for (size_t i = 0; i < ids; i++)
        w->routing[i] = (uint16_t)(i % (size_t)spec->used);
    return UMBRA_OK;
}

static double nanoseconds(uint64_t start)
{
    return (double)(umbra_clock_ns() - start);
}

/* A prediction and a plain read of the same bytes, in turn; in mode 1 the read is of another
 * source, far from the one just used, so that neither finds what the other fetched. */
static void *measure(void *argument)
{
    worker *w = argument;
    const subject *s = w->s;
    const umbra_shadow_spec *spec = &s->shadow->spec;
    const uint16_t *rows[1] = {w->routing};
    umbra_predict_input input = {1,    w->state, spec->averages ? w->averages : NULL,
                                 rows, rows,     rows};
    int sources = spec->layers - UMBRA_MAX_DISTANCE; /* those with all distances, but source 0 */
    for (int mode = 0; mode < 2; mode++) {
        for (int i = -WARM_UP; i < s->calls; i++) {
            int source = mode == 0 ? 1 : 1 + (i + WARM_UP) % sources;
            int other = mode == 0 ? 1 : 1 + (i + WARM_UP + sources / 2) % sources;
            uint64_t start = umbra_clock_ns();
            umbra_shadow_fast_predict(s->fast, source, &input, w->scratch, w->probability, s->best,
                                      w->best);
            double predicted = nanoseconds(start);
            start = umbra_clock_ns();
            w->sink += umbra_shadow_fast_touch(s->fast, other);
            double read = nanoseconds(start);
            if (i >= 0) {
                w->predict[mode][i] = predicted;
                w->read[mode][i] = read;
            }
            if (umbra_progress_interrupted(s->progress))
                return NULL;
        }
    }
    return NULL;
}

static int run_workers(worker *workers, int n, umbra_error *err)
{
    pthread_t threads[MOST_THREADS];
    int started = 0, rc = UMBRA_OK;
    for (; started < n; started++) {
        int error = umbra_thread_start(&threads[started], measure, &workers[started], STACK_BYTES);
        if (error) {
            rc = umbra_fail(err, UMBRA_E_SYSTEM, "cannot start a thread: %s", strerror(error));
            break;
        }
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return rc;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static umbra_latency summarise(double *ns, size_t n)
{
    qsort(ns, n, sizeof *ns, compare);
    return (umbra_latency){ns[n / 2] * 1e-9, ns[n * 95 / 100] * 1e-9, ns[n * 99 / 100] * 1e-9};
}

/* All threads' figures of a mode together. */
static int collect(const worker *workers, int n, int calls, int mode,
                   umbra_bench_predictor_result *out, umbra_error *err)
{
    size_t count = (size_t)n * (size_t)calls;
    double *all = umbra_calloc(count, sizeof *all);
    if (!all)
        return umbra_fail_nomem(err, "the figures", count * sizeof *all);
    for (int i = 0; i < n; i++)
        memcpy(all + (size_t)i * (size_t)calls, workers[i].predict[mode],
               (size_t)calls * sizeof *all);
    out->predict[mode] = summarise(all, count);
    for (int i = 0; i < n; i++)
        memcpy(all + (size_t)i * (size_t)calls, workers[i].read[mode], (size_t)calls * sizeof *all);
    out->read[mode] = summarise(all, count);
    out->ratio[mode] = out->predict[mode].median_s / out->read[mode].median_s;
    umbra_free(all);
    return UMBRA_OK;
}

static void describe(const subject *s, umbra_shadow_weights weights,
                     umbra_bench_predictor_result *out)
{
    const umbra_shadow_spec *spec = &s->shadow->spec;
    out->hidden = spec->hidden;
    out->width = spec->width;
    out->experts = spec->experts;
    out->layers = spec->layers;
    out->best = s->best;
    out->arch = spec->arch == UMBRA_SHADOW_SEED ? "seed" : "residual";
    out->weights = weights == UMBRA_SHADOW_F32    ? "f32"
                   : weights == UMBRA_SHADOW_BF16 ? "bf16"
                                                  : "i8";
    out->kernels = umbra_shadow_fast_isa(s->fast);
    out->bytes = umbra_shadow_fast_read_bytes(s->fast, 1);
}

int umbra_bench_predictor(const umbra_bench_predictor_options *o, umbra_bench_predictor_result *out,
                          umbra_error *err)
{
    static const umbra_bench_predictor_options defaults = {0};
    *out = (umbra_bench_predictor_result){0};
    o = o ? o : &defaults;
    int threads = o->threads ? o->threads : 1;
    subject s = {.calls = o->calls ? o->calls : DEFAULT_CALLS, .progress = o->progress};
    umbra_shadow_weights weights;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK)
        rc = umbra_weight_form_find(o->weights, UMBRA_SHADOW_I8, &weights, err);
    if (rc == UMBRA_OK &&
        (threads < 1 || threads > MOST_THREADS || s.calls < 1 || s.calls > MOST_CALLS))
        rc = umbra_fail(err, UMBRA_E_ARGUMENT, "%d threads or %d calls are out of range", threads,
                        s.calls);
    if (rc == UMBRA_OK)
        rc = open_subject(&s, o, weights, err);
    worker *workers = umbra_calloc((size_t)(threads > 0 ? threads : 1), sizeof *workers);
    if (rc == UMBRA_OK && !workers)
        rc = umbra_fail_nomem(err, "the threads", 0);
    for (int i = 0; rc == UMBRA_OK && i < threads; i++)
        rc = open_worker(&workers[i], &s, i, err);
    if (rc == UMBRA_OK)
        rc = run_workers(workers, threads, err);
    if (rc == UMBRA_OK && umbra_progress_interrupted(o->progress))
        rc = umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
    for (int mode = 0; rc == UMBRA_OK && mode < 2; mode++)
        rc = collect(workers, threads, s.calls, mode, out, err);
    if (rc == UMBRA_OK)
        describe(&s, weights, out);
    for (int i = 0; workers && i < threads; i++)
        close_worker(&workers[i]);
    umbra_free(workers);
    umbra_shadow_fast_close(&s.fast);
    umbra_shadow_free(&s.shadow);
    return rc;
}
