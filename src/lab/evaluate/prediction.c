/* Runs all predictors on a segment and counts what they hit. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "lab/evaluate/prediction.h"
#include "predict/features.h"

enum { D = UMBRA_MAX_DISTANCE, BATCH = UMBRA_PREDICT_BATCH };

/* One batch of rows at one source, on one thread. */
typedef struct batch {
    umbra_prediction *run;
    umbra_prediction_worker *worker;
    int source, thread;
    int first; /* row of the segment */
    umbra_predict_input input;
} batch;

static float *scores_of(const batch *b, int row, int distance)
{
    size_t experts = (size_t)b->run->e->model.experts;
    return b->worker->scores + ((size_t)row * D + (size_t)(distance - 1)) * experts;
}

static const uint16_t *used_at(const batch *b, int row, int layer)
{
    return b->input.now[row] + (size_t)layer * (size_t)b->run->e->model.used;
}

/* Score -> what Platt's sigmoid is fitted on: logits that mean the same in every row. */
static void forecast_input(umbra_eval_kind kind, float *scores, int experts)
{
    if (kind == UMBRA_EVAL_GATE) {
        float most = -INFINITY;
        double sum = 0;
        for (int e = 0; e < experts; e++)
            most = scores[e] > most ? scores[e] : most;
        for (int e = 0; e < experts; e++)
            sum += (double)expf(scores[e] - most);
        for (int e = 0; e < experts; e++)
            scores[e] -= most + (float)log(sum);
    } else if (kind == UMBRA_EVAL_FREQUENCY) {
        for (int e = 0; e < experts; e++) { /* shares of the tokens */
            float share = scores[e] < 1e-4f ? 1e-4f : scores[e] > 0.9999f ? 0.9999f : scores[e];
            scores[e] = logf(share / (1 - share));
        }
    }
}

static void forecast(const batch *b, umbra_eval_row *row)
{
    const umbra_evaluation *e = b->run->e;
    int experts = e->model.experts;
    if (row->forecast == UMBRA_EVAL_OWN)
        umbra_predict_calibrate(b->run->in->shadows[row->shadow], b->source, b->input.n,
                                b->worker->scores);
    for (int d = 1; d <= D; d++) {
        if (!umbra_eval_predicts(e, b->source, d))
            continue;
        float slope = row->platt[d - 1][0], offset = row->platt[d - 1][1];
        for (int i = 0; i < b->input.n; i++) {
            float *p = scores_of(b, i, d);
            if (row->forecast == UMBRA_EVAL_PLATT) {
                forecast_input(row->kind, p, experts);
                for (int x = 0; x < experts; x++)
                    p[x] = 1 / (1 + expf(-(slope * p[x] + offset)));
            }
            umbra_tally_forecast(umbra_eval_tally(row, b->source, d), p, experts,
                                 used_at(b, i, umbra_shadow_target(b->source, d)), e->model.used);
        }
    }
}

/* A score that is NaN would rank last without a word: the first one is noted. */
static void check_scores(batch *b, const char *name)
{
    umbra_prediction *run = b->run;
    size_t n = (size_t)run->e->model.experts;
    for (int d = 1; d <= D; d++)
        for (int i = 0; umbra_eval_predicts(run->e, b->source, d) && i < b->input.n; i++) {
            const float *scores = scores_of(b, i, d);
            int none = -1;
            for (size_t x = 0; x < n; x++)
                if (isnan(scores[x]) &&
                    atomic_compare_exchange_strong(&run->bad_layer, &none,
                                                   umbra_shadow_target(b->source, d)))
                    run->bad_name = name;
        }
}

static void predict(batch *b, const umbra_eval_predictor *predictor, const char *name)
{
    umbra_predict(predictor->predictor, b->source, &b->input, predictor->scratch[b->thread],
                  b->worker->scores);
    check_scores(b, name);
}

/* Counts the batch's predictions into the source's D tallies, and used experts whose rank is below
 * k into hits (D); either may be NULL. */
static void count(batch *b, umbra_tally *tallies, uint64_t *hits)
{
    const umbra_trace_info *m = &b->run->e->model;
    uint16_t *ranks = b->worker->ranks;
    for (int d = 1; d <= D; d++) {
        if (!umbra_eval_predicts(b->run->e, b->source, d))
            continue;
        for (int i = 0; i < b->input.n; i++) {
            umbra_tally_rank(scores_of(b, i, d), m->experts,
                             used_at(b, i, umbra_shadow_target(b->source, d)), m->used, ranks);
            if (tallies)
                umbra_tally_add(&tallies[d - 1], ranks, m->used);
            for (int j = 0; hits && j < m->used; j++)
                hits[d - 1] += ranks[j] < m->used;
        }
    }
}

/* (ablations + 1, D): the whole shadow, then each ablation. */
static uint64_t *ablation_hits(const batch *b, int shadow)
{
    size_t pair = (size_t)b->source * (size_t)b->run->e->n_shadows + (size_t)shadow;
    return b->run->hits + pair * (UMBRA_EVAL_ABLATIONS + 1) * D;
}

static void ablate(batch *b, int shadow)
{
    umbra_prediction *run = b->run;
    umbra_eval_shadow *s = &run->e->shadows[shadow];
    const float *averages = b->input.averages;
    for (int a = 0; a < s->n_ablations; a++) {
        b->input.averages = averages && s->ablations[a].no_averages ? b->worker->zeros : averages;
        predict(b, &run->ablated[shadow * UMBRA_EVAL_ABLATIONS + a], s->path);
        count(b, NULL, ablation_hits(b, shadow) + (size_t)(a + 1) * D);
    }
}

/* The running averages of the batch's rows for one shadow, carried on from the rows before. */
static void average(batch *b, int shadow)
{
    umbra_prediction *run = b->run;
    const umbra_shadow_spec *spec = &run->e->shadows[shadow].spec;
    b->input.averages = NULL;
    if (spec->averages == 0)
        return;
    int stride = run->e->folders[run->document->folder].stride;
    size_t hidden = (size_t)spec->hidden, width = (size_t)spec->averages * hidden;
    float *running = run->running[shadow] + (size_t)b->source * width;
    for (int i = 0; i < b->input.n; i++) {
        bool first = run->begins && b->first + i == 0;
        umbra_shadow_normalise(b->input.states + (size_t)i * hidden, spec->hidden, b->worker->r);
        umbra_shadow_averages(spec, running, b->worker->r, stride, first);
        memcpy(b->worker->averages + (size_t)i * width, running, width * sizeof *running);
    }
    b->input.averages = b->worker->averages;
}

static void visit_row(batch *b, int index)
{
    umbra_prediction *run = b->run;
    umbra_eval_row *row = &run->e->rows[index];
    bool ablates = row->shadow >= 0 && run->document->ablation && b->source > 0;
    if (row->shadow >= 0)
        average(b, row->shadow);
    predict(b, &run->predictors[2 * index + run->document->half], row->name);
    count(b, &row->tallies[b->source * D], ablates ? ablation_hits(b, row->shadow) : NULL);
    if (row->forecast != UMBRA_EVAL_NO_FORECAST)
        forecast(b, row);
    if (ablates)
        ablate(b, row->shadow);
}

static void visit_control(batch *b)
{
    umbra_prediction *run = b->run;
    const umbra_trace_info *m = &run->e->model;
    umbra_predict_control(&run->in->gates, b->source, b->input.n, b->input.states,
                          b->worker->scores);
    for (int i = 0; i < b->input.n; i++) {
        umbra_tally_rank(b->worker->scores + (size_t)i * (size_t)m->experts, m->experts,
                         used_at(b, i, b->source - 1), m->used, b->worker->ranks);
        umbra_tally_add(&run->e->control[b->source], b->worker->ranks, m->used);
    }
}

/* Every sample_every-th row of the calibration documents, the same ones at every source. */
static void take_samples(batch *b, int index)
{
    umbra_prediction *run = b->run;
    const umbra_trace_info *m = &run->e->model;
    size_t experts = (size_t)m->experts;
    predict(b, &run->predictors[2 * index + run->document->half], run->e->rows[index].name);
    for (int i = 0; i < b->input.n; i++) {
        uint64_t number = run->sample_seen + (uint64_t)(b->first + i);
        if (number % run->sample_every != 0)
            continue;
        size_t place =
            ((size_t)b->source * (size_t)run->sample_rows + (size_t)(number / run->sample_every)) *
            experts;
        for (int d = 1; d <= D; d++) {
            if (!umbra_eval_predicts(run->e, b->source, d))
                continue;
            umbra_prediction_samples *s = &run->samples[index * D + d - 1];
            float *scores = scores_of(b, i, d);
            const uint16_t *used = used_at(b, i, umbra_shadow_target(b->source, d));
            forecast_input(run->e->rows[index].kind, scores, m->experts);
            memcpy(s->z + place, scores, experts * sizeof *scores);
            for (int j = 0; j < m->used; j++)
                s->outcome[place + used[j]] = 1;
        }
    }
}

static void visit_batch(batch *b)
{
    umbra_prediction *run = b->run;
    if (run->document->calibration) {
        for (int r = 0; r < run->e->n_rows; r++)
            if (run->e->rows[r].forecast == UMBRA_EVAL_PLATT && b->source > 0)
                take_samples(b, r);
        return;
    }
    if (b->source > 0)
        visit_control(b);
    for (int d = 1; d <= D && b->source > 0 && run->document->ablation; d++)
        if (umbra_eval_predicts(run->e, b->source, d))
            run->slots[b->source * D + d - 1] +=
                (uint64_t)b->input.n * (uint64_t)run->e->model.used;
    for (int r = 0; r < run->e->n_rows; r++)
        visit_row(b, r);
}

static void visit_sources(void *context, int begin, int end, int thread)
{
    umbra_prediction *run = context;
    const umbra_eval_segment *segment = &run->segment;
    size_t hidden = (size_t)run->e->model.hidden;
    for (int s = begin; s < end; s++) {
        if (!run->e->has_layer[s == 0 ? 0 : s - 1])
            continue;
        const float *states = segment->states + (size_t)s * (size_t)segment->capacity * hidden;
        for (int first = 0; first < segment->rows; first += BATCH) {
            int left = segment->rows - first;
            batch b = {run,
                       &run->workers[thread],
                       s,
                       thread,
                       first,
                       {.n = left < BATCH ? left : BATCH,
                        .states = states + (size_t)first * hidden,
                        .now = segment->now + first,
                        .previous = segment->previous + first,
                        .previous2 = segment->previous2 + first}};
            visit_batch(&b);
        }
    }
}

int umbra_prediction_segment(umbra_prediction *run, umbra_error *err)
{
    atomic_store(&run->bad_layer, -1);
    umbra_pool_run(run->pool, umbra_eval_sources(run->e), 1, visit_sources, run);
    if (atomic_load(&run->bad_layer) >= 0)
        return umbra_fail(err, UMBRA_E_NONFINITE,
                          "%s: its scores for layer %d are not numbers (NaN): its weights, or the "
                          "states of the trace, are out of range",
                          run->bad_name, atomic_load(&run->bad_layer));
    if (run->document->calibration)
        run->sample_seen += (uint64_t)run->segment.rows;
    return UMBRA_OK;
}

/* Draws the samples of the sources that predict at this distance together at the front. */
static uint64_t gather(const umbra_prediction *run, umbra_prediction_samples *s, int distance,
                       uint64_t rows)
{
    size_t experts = (size_t)run->e->model.experts, n = (size_t)rows * experts, at = 0;
    for (int source = 1; source < umbra_eval_sources(run->e); source++) {
        size_t from = (size_t)source * (size_t)run->sample_rows * experts;
        if (!umbra_eval_predicts(run->e, source, distance))
            continue;
        memmove(s->z + at, s->z + from, n * sizeof *s->z);
        memmove(s->outcome + at, s->outcome + from, n * sizeof *s->outcome);
        at += n;
    }
    return at;
}

void umbra_prediction_fit(umbra_prediction *run)
{
    uint64_t rows = (run->sample_seen + run->sample_every - 1) / run->sample_every;
    for (int r = 0; r < run->e->n_rows; r++) {
        umbra_eval_row *row = &run->e->rows[r];
        for (int d = 1; d <= D && row->forecast == UMBRA_EVAL_PLATT; d++) {
            umbra_prediction_samples *s = &run->samples[r * D + d - 1];
            uint64_t n = gather(run, s, d, rows);
            umbra_platt_fit(s->z, s->outcome, n, &row->platt[d - 1][0], &row->platt[d - 1][1]);
        }
    }
}

void umbra_prediction_finish(umbra_prediction *run)
{
    umbra_evaluation *e = run->e;
    for (int s = 1; s < umbra_eval_sources(e); s++) {
        for (int d = 0; d < D; d++)
            e->ablation_slots[d] += run->slots[s * D + d];
        for (int x = 0; x < e->n_shadows; x++) {
            umbra_eval_shadow *shadow = &e->shadows[x];
            const uint64_t *hits = run->hits + ((size_t)s * (size_t)e->n_shadows + (size_t)x) *
                                                   (UMBRA_EVAL_ABLATIONS + 1) * D;
            for (int d = 0; d < D; d++) {
                shadow->hits[d] += hits[d];
                for (int a = 0; a < shadow->n_ablations; a++)
                    shadow->ablations[a].hits[d] += hits[(a + 1) * D + d];
            }
        }
    }
}
