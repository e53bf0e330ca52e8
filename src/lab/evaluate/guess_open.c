/* Opens the predictors of an evaluation, its rows and its ablations. */
#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/guess.h"

enum {
    D = UMBRA_MAX_DISTANCE,
    BATCH = UMBRA_PREDICT_BATCH,
    MOST_SAMPLES = 1 << 19, /* scores of a Platt scaling */
};

static int open_scratch(umbra_guesser *guesser, int threads, umbra_error *err)
{
    guesser->scratch = umbra_calloc((size_t)threads, sizeof *guesser->scratch);
    if (!guesser->scratch)
        return umbra_fail_nomem(err, "a predictor's scratch", (uint64_t)threads * 8);
    int rc = UMBRA_OK;
    for (int t = 0; t < threads && rc == UMBRA_OK; t++)
        rc = umbra_predict_scratch_open(&guesser->scratch[t], guesser->predictor, err);
    return rc;
}

static void close_guesser(umbra_guesser *guesser, int threads)
{
    for (int t = 0; guesser->scratch && t < threads; t++)
        umbra_predict_scratch_close(&guesser->scratch[t]);
    umbra_free(guesser->scratch);
    umbra_predictor_close(&guesser->predictor);
    *guesser = (umbra_guesser){0};
}

static int open_predictor(umbra_guess *g, const umbra_eval_row *row, const uint64_t *counts,
                          umbra_predictor **out, umbra_error *err)
{
    const umbra_gates *gates = &g->in->gates;
    int k = g->e->model.used;
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
        return umbra_predictor_shadow(out, g->in->shadows[row->shadow], gates, 0, err);
    }
}

static int open_row(umbra_guess *g, int index, const uint64_t *const counts[2], umbra_error *err)
{
    umbra_eval_row *row = &g->e->rows[index];
    int rc = UMBRA_OK;
    for (int half = 0; half < 2 && rc == UMBRA_OK; half++) {
        umbra_guesser *guesser = &g->guessers[2 * index + half];
        rc = open_predictor(g, row, counts[half], &guesser->predictor, err);
        if (rc == UMBRA_OK)
            rc = open_scratch(guesser, g->threads, err);
    }
    if (rc == UMBRA_OK) {
        row->bytes = umbra_predictor_bytes(g->guessers[2 * index].predictor);
        row->macs = umbra_predictor_macs(g->guessers[2 * index].predictor);
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

static int open_ablations(umbra_guess *g, int index, umbra_error *err)
{
    umbra_eval_shadow *s = &g->e->shadows[index];
    list_ablations(s);
    int rc = UMBRA_OK;
    for (int a = 0; a < s->n_ablations && rc == UMBRA_OK; a++) {
        umbra_guesser *guesser = &g->ablated[index * UMBRA_EVAL_ABLATIONS + a];
        rc = umbra_predictor_shadow(&guesser->predictor, g->in->shadows[index], &g->in->gates,
                                    s->ablations[a].off, err);
        if (rc == UMBRA_OK)
            rc = open_scratch(guesser, g->threads, err);
    }
    return rc;
}

static int open_workers(umbra_guess *g, int averages, umbra_error *err)
{
    const umbra_trace_info *m = &g->e->model;
    size_t dense = (size_t)averages * (size_t)m->hidden;
    g->workers = umbra_calloc((size_t)g->threads, sizeof *g->workers);
    for (int t = 0; g->workers && t < g->threads; t++) {
        umbra_guess_worker *w = &g->workers[t];
        w->scores = umbra_calloc((size_t)BATCH * D * (size_t)m->experts, sizeof *w->scores);
        w->ranks = umbra_calloc((size_t)m->used, sizeof *w->ranks);
        w->r = umbra_calloc((size_t)m->hidden, sizeof *w->r);
        w->averages = umbra_calloc(BATCH * dense, sizeof *w->averages);
        w->zeros = umbra_calloc(BATCH * dense, sizeof *w->zeros);
        if (!w->scores || !w->ranks || !w->r || !w->averages || !w->zeros)
            return umbra_fail_nomem(err, "a worker's scratch", BATCH * dense * sizeof(float));
    }
    return g->workers ? UMBRA_OK : umbra_fail_nomem(err, "the workers", 0);
}

static int open_running(umbra_guess *g, umbra_error *err)
{
    const umbra_evaluation *e = g->e;
    int most = 0;
    g->running = umbra_calloc((size_t)e->n_shadows, sizeof *g->running);
    if (!g->running)
        return umbra_fail_nomem(err, "the running averages", 0);
    for (int i = 0; i < e->n_shadows; i++) {
        int averages = e->shadows[i].spec.averages;
        size_t n = (size_t)umbra_eval_sources(e) * (size_t)averages * (size_t)e->model.hidden;
        g->running[i] = umbra_calloc(n, sizeof(float));
        if (!g->running[i])
            return umbra_fail_nomem(err, "the running averages", n * sizeof(float));
        most = averages > most ? averages : most;
    }
    return open_workers(g, most, err);
}

/* Room for the samples, and how many rows lie between two. */
static int open_samples(umbra_guess *g, umbra_error *err)
{
    const umbra_evaluation *e = g->e;
    uint64_t sources = (uint64_t)umbra_eval_sources(e), experts = (uint64_t)e->model.experts;
    uint64_t most = MOST_SAMPLES / (sources * experts) + 1, rows = e->calibration.tokens;
    g->sample_every = rows > most ? (rows + most - 1) / most : 1;
    g->sample_rows = (int)((rows + g->sample_every - 1) / g->sample_every);
    g->samples = umbra_calloc((size_t)e->n_rows * D, sizeof *g->samples);
    if (!g->samples)
        return umbra_fail_nomem(err, "calibration samples", 0);
    size_t n = (size_t)(sources * experts) * (size_t)g->sample_rows;
    for (int i = 0; i < e->n_rows * D; i++) {
        umbra_guess_samples *s = &g->samples[i];
        if (e->rows[i / D].forecast != UMBRA_EVAL_PLATT)
            continue;
        s->z = umbra_calloc(n, sizeof *s->z);
        s->outcome = umbra_calloc(n, sizeof *s->outcome);
        if (!s->z || !s->outcome)
            return umbra_fail_nomem(err, "calibration samples", n * sizeof *s->z);
    }
    return UMBRA_OK;
}

int umbra_guess_open(umbra_guess *g, umbra_evaluation *e, const umbra_eval_input *in, int threads,
                     const uint64_t *const counts[2], umbra_error *err)
{
    *g = (umbra_guess){.e = e, .in = in, .threads = threads};
    size_t sources = (size_t)umbra_eval_sources(e), shadows = (size_t)e->n_shadows;
    g->guessers = umbra_calloc((size_t)e->n_rows * 2, sizeof *g->guessers);
    g->ablated = umbra_calloc(shadows * UMBRA_EVAL_ABLATIONS, sizeof *g->ablated);
    g->hits = umbra_calloc(sources * shadows * (UMBRA_EVAL_ABLATIONS + 1) * D, sizeof *g->hits);
    g->slots = umbra_calloc(sources * D, sizeof *g->slots);
    if (!g->guessers || !g->ablated || !g->hits || !g->slots)
        return umbra_fail_nomem(err, "the predictors", 0);
    int rc = umbra_pool_open(&g->pool, threads, err);
    for (int r = 0; r < e->n_rows && rc == UMBRA_OK; r++)
        rc = open_row(g, r, counts, err);
    for (int s = 0; s < e->n_shadows && e->ablation.documents > 0 && rc == UMBRA_OK; s++)
        rc = open_ablations(g, s, err);
    if (rc == UMBRA_OK)
        rc = open_running(g, err);
    if (rc == UMBRA_OK)
        rc = open_samples(g, err);
    if (rc == UMBRA_OK)
        rc = umbra_eval_block_open(&g->block, e, err);
    return rc;
}

static void close_workers(umbra_guess *g)
{
    for (int t = 0; g->workers && t < g->threads; t++) {
        umbra_free(g->workers[t].scores);
        umbra_free(g->workers[t].ranks);
        umbra_free(g->workers[t].r);
        umbra_free(g->workers[t].averages);
        umbra_free(g->workers[t].zeros);
    }
    umbra_free(g->workers);
}

void umbra_guess_close(umbra_guess *g)
{
    for (int i = 0; g->guessers && i < 2 * g->e->n_rows; i++)
        close_guesser(&g->guessers[i], g->threads);
    for (int i = 0; g->ablated && i < g->e->n_shadows * UMBRA_EVAL_ABLATIONS; i++)
        close_guesser(&g->ablated[i], g->threads);
    for (int i = 0; g->samples && i < g->e->n_rows * D; i++) {
        umbra_free(g->samples[i].z);
        umbra_free(g->samples[i].outcome);
    }
    for (int i = 0; g->running && i < g->e->n_shadows; i++)
        umbra_free(g->running[i]);
    close_workers(g);
    umbra_free(g->guessers);
    umbra_free(g->ablated);
    umbra_free(g->hits);
    umbra_free(g->slots);
    umbra_free(g->samples);
    umbra_free(g->running);
    umbra_pool_close(&g->pool);
    umbra_eval_block_close(&g->block);
    *g = (umbra_guess){0};
}
