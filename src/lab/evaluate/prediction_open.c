/* Opens the predictors of an evaluation, its rows and its ablations. */
#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/prediction.h"

enum {
    D = UMBRA_MAX_DISTANCE,
    BATCH = UMBRA_PREDICT_BATCH,
    MOST_SAMPLES = 1 << 19, /* scores of a Platt scaling */
};

static int open_scratch(umbra_eval_predictor *predictor, int threads, umbra_error *err)
{
    predictor->scratch = umbra_calloc((size_t)threads, sizeof *predictor->scratch);
    if (!predictor->scratch)
        return umbra_fail_nomem(err, "a predictor's scratch", (uint64_t)threads * 8);
    int rc = UMBRA_OK;
    for (int t = 0; t < threads && rc == UMBRA_OK; t++)
        rc = umbra_predict_scratch_open(&predictor->scratch[t], predictor->predictor, err);
    return rc;
}

static void close_predictor(umbra_eval_predictor *predictor, int threads)
{
    for (int t = 0; predictor->scratch && t < threads; t++)
        umbra_predict_scratch_close(&predictor->scratch[t]);
    umbra_free(predictor->scratch);
    umbra_predictor_close(&predictor->predictor);
    *predictor = (umbra_eval_predictor){0};
}

static int open_predictor(umbra_prediction *run, const umbra_eval_row *row, const uint64_t *counts,
                          umbra_predictor **out, umbra_error *err)
{
    const umbra_gates *gates = &run->in->gates;
    int k = run->e->model.used;
    switch (row->kind) {
    case UMBRA_EVAL_ORACLE:
        return umbra_predictor_oracle(out, gates, k, err);
    case UMBRA_EVAL_FREQUENCY:
        return umbra_predictor_frequency(out, gates, k, counts, err);
    case UMBRA_EVAL_PREVIOUS:
        return umbra_predictor_previous(out, gates, k, err);
    case UMBRA_EVAL_GATE:
        return umbra_predictor_gate(out, gates, k, err);
    default:
        return umbra_predictor_shadow(out, run->in->shadows[row->shadow], gates, 0, err);
    }
}

static int open_row(umbra_prediction *run, int index, const uint64_t *const counts[2],
                    umbra_error *err)
{
    umbra_eval_row *row = &run->e->rows[index];
    int rc = UMBRA_OK;
    for (int half = 0; half < 2 && rc == UMBRA_OK; half++) {
        umbra_eval_predictor *predictor = &run->predictors[2 * index + half];
        rc = open_predictor(run, row, counts[half], &predictor->predictor, err);
        if (rc == UMBRA_OK)
            rc = open_scratch(predictor, run->threads, err);
    }
    if (rc == UMBRA_OK) {
        row->bytes = umbra_predictor_bytes(run->predictors[2 * index].predictor);
        row->macs = umbra_predictor_macs(run->predictors[2 * index].predictor);
    }
    return rc;
}

/* What can be switched off in this shadow. */
static void list_ablations(umbra_eval_shadow *s)
{
    const unsigned all = UMBRA_FEATURE_NOW | UMBRA_FEATURE_PREVIOUS | UMBRA_FEATURE_PREVIOUS2;
    const unsigned parts = UMBRA_OFF_INNER | UMBRA_OFF_LINEAR;
    static const umbra_eval_ablation every[] = {
        {.without = "experts used now", .off = UMBRA_FEATURE_NOW},
        {.without = "experts of the token before", .off = UMBRA_FEATURE_PREVIOUS},
        {.without = "experts of the token before that", .off = UMBRA_FEATURE_PREVIOUS2},
        {.without = "all routing features", .off = all},
        {.without = "running averages", .no_averages = true},
        {.without = "inner part (MLP)", .off = UMBRA_OFF_INNER},
        {.without = "linear part", .off = UMBRA_OFF_LINEAR},
        {.without = "inner and linear parts", .off = parts},
    };
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        const umbra_eval_ablation *a = &every[i];
        bool has = a->no_averages   ? s->spec.averages > 0
                   : a->off & parts ? s->spec.arch == UMBRA_SHADOW_RESIDUAL
                   : a->off == all  ? (s->spec.features & (s->spec.features - 1)) != 0
                                    : (s->spec.features & a->off) != 0;
        if (has)
            s->ablations[s->n_ablations++] = *a;
    }
}

static int open_ablations(umbra_prediction *run, int index, umbra_error *err)
{
    umbra_eval_shadow *s = &run->e->shadows[index];
    list_ablations(s);
    int rc = UMBRA_OK;
    for (int a = 0; a < s->n_ablations && rc == UMBRA_OK; a++) {
        umbra_eval_predictor *predictor = &run->ablated[index * UMBRA_EVAL_ABLATIONS + a];
        rc = umbra_predictor_shadow(&predictor->predictor, run->in->shadows[index], &run->in->gates,
                                    s->ablations[a].off, err);
        if (rc == UMBRA_OK)
            rc = open_scratch(predictor, run->threads, err);
    }
    return rc;
}

static int open_workers(umbra_prediction *run, int averages, umbra_error *err)
{
    const umbra_trace_info *m = &run->e->model;
    size_t dense = (size_t)averages * (size_t)m->hidden;
    run->workers = umbra_calloc((size_t)run->threads, sizeof *run->workers);
    for (int t = 0; run->workers && t < run->threads; t++) {
        umbra_prediction_worker *w = &run->workers[t];
        w->scores = umbra_calloc((size_t)BATCH * D * (size_t)m->experts, sizeof *w->scores);
        w->ranks = umbra_calloc((size_t)m->used, sizeof *w->ranks);
        w->r = umbra_calloc((size_t)m->hidden, sizeof *w->r);
        w->averages = umbra_calloc(BATCH * dense, sizeof *w->averages);
        w->zeros = umbra_calloc(BATCH * dense, sizeof *w->zeros);
        if (!w->scores || !w->ranks || !w->r || !w->averages || !w->zeros)
            return umbra_fail_nomem(err, "a worker's scratch", BATCH * dense * sizeof(float));
    }
    return run->workers ? UMBRA_OK : umbra_fail_nomem(err, "the workers", 0);
}

static int open_running(umbra_prediction *run, umbra_error *err)
{
    const umbra_evaluation *e = run->e;
    int most = 0;
    run->running = umbra_calloc((size_t)e->n_shadows, sizeof *run->running);
    if (!run->running)
        return umbra_fail_nomem(err, "the running averages", 0);
    for (int i = 0; i < e->n_shadows; i++) {
        int averages = e->shadows[i].spec.averages;
        size_t n = (size_t)umbra_eval_sources(e) * (size_t)averages * (size_t)e->model.hidden;
        run->running[i] = umbra_calloc(n, sizeof(float));
        if (!run->running[i])
            return umbra_fail_nomem(err, "the running averages", n * sizeof(float));
        most = averages > most ? averages : most;
    }
    return open_workers(run, most, err);
}

/* Room for the samples, and how many rows lie between two. */
static int open_samples(umbra_prediction *run, umbra_error *err)
{
    const umbra_evaluation *e = run->e;
    uint64_t sources = (uint64_t)umbra_eval_sources(e), experts = (uint64_t)e->model.experts;
    uint64_t most = MOST_SAMPLES / (sources * experts) + 1, rows = e->calibration.tokens;
    run->sample_every = rows > most ? (rows + most - 1) / most : 1;
    run->sample_rows = (int)((rows + run->sample_every - 1) / run->sample_every);
    run->samples = umbra_calloc((size_t)e->n_rows * D, sizeof *run->samples);
    if (!run->samples)
        return umbra_fail_nomem(err, "calibration samples", 0);
    size_t n = (size_t)(sources * experts) * (size_t)run->sample_rows;
    for (int i = 0; i < e->n_rows * D; i++) {
        umbra_prediction_samples *s = &run->samples[i];
        if (e->rows[i / D].forecast != UMBRA_EVAL_PLATT)
            continue;
        s->z = umbra_calloc(n, sizeof *s->z);
        s->outcome = umbra_calloc(n, sizeof *s->outcome);
        if (!s->z || !s->outcome)
            return umbra_fail_nomem(err, "calibration samples", n * sizeof *s->z);
    }
    return UMBRA_OK;
}

int umbra_prediction_open(umbra_prediction *run, umbra_evaluation *e, const umbra_eval_input *in,
                          int threads, const uint64_t *const counts[2], umbra_error *err)
{
    *run = (umbra_prediction){.e = e, .in = in, .threads = threads};
    size_t sources = (size_t)umbra_eval_sources(e), shadows = (size_t)e->n_shadows;
    run->predictors = umbra_calloc((size_t)e->n_rows * 2, sizeof *run->predictors);
    run->ablated = umbra_calloc(shadows * UMBRA_EVAL_ABLATIONS, sizeof *run->ablated);
    run->hits = umbra_calloc(sources * shadows * (UMBRA_EVAL_ABLATIONS + 1) * D, sizeof *run->hits);
    run->slots = umbra_calloc(sources * D, sizeof *run->slots);
    if (!run->predictors || !run->ablated || !run->hits || !run->slots)
        return umbra_fail_nomem(err, "the predictors", 0);
    int rc = umbra_pool_open(&run->pool, threads, err);
    for (int r = 0; r < e->n_rows && rc == UMBRA_OK; r++)
        rc = open_row(run, r, counts, err);
    for (int s = 0; s < e->n_shadows && e->ablation.documents > 0 && rc == UMBRA_OK; s++)
        rc = open_ablations(run, s, err);
    if (rc == UMBRA_OK)
        rc = open_running(run, err);
    if (rc == UMBRA_OK)
        rc = open_samples(run, err);
    if (rc == UMBRA_OK)
        rc = umbra_eval_segment_open(&run->segment, e, err);
    return rc;
}

static void close_workers(umbra_prediction *run)
{
    for (int t = 0; run->workers && t < run->threads; t++) {
        umbra_free(run->workers[t].scores);
        umbra_free(run->workers[t].ranks);
        umbra_free(run->workers[t].r);
        umbra_free(run->workers[t].averages);
        umbra_free(run->workers[t].zeros);
    }
    umbra_free(run->workers);
}

void umbra_prediction_close(umbra_prediction *run)
{
    for (int i = 0; run->predictors && i < 2 * run->e->n_rows; i++)
        close_predictor(&run->predictors[i], run->threads);
    for (int i = 0; run->ablated && i < run->e->n_shadows * UMBRA_EVAL_ABLATIONS; i++)
        close_predictor(&run->ablated[i], run->threads);
    for (int i = 0; run->samples && i < run->e->n_rows * D; i++) {
        umbra_free(run->samples[i].z);
        umbra_free(run->samples[i].outcome);
    }
    for (int i = 0; run->running && i < run->e->n_shadows; i++)
        umbra_free(run->running[i]);
    close_workers(run);
    umbra_free(run->predictors);
    umbra_free(run->ablated);
    umbra_free(run->hits);
    umbra_free(run->slots);
    umbra_free(run->samples);
    umbra_free(run->running);
    umbra_pool_close(&run->pool);
    umbra_eval_segment_close(&run->segment);
    *run = (umbra_prediction){0};
}
