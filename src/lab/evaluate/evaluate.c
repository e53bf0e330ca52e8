/* Runs an evaluation: opens, predicts segment by segment, adds up. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/system.h"
#include "lab/evaluate/prediction.h"
#include "lab/evaluate/walks.h"

enum { D = UMBRA_MAX_DISTANCE, FIXED_ROWS = 4, MOST_THREADS = 1024 };

/* Sums over documents for the standard error of a ratio of sums, hits / slots. */
typedef struct spread {
    double hits, slots, hits2, both, slots2;
    uint64_t last_hits, last_slots; /* totals before the present document */
} spread;

typedef struct evaluator {
    umbra_evaluation *e;
    const umbra_evaluate_options *options;
    umbra_eval_input in;
    umbra_prediction prediction;
    uint64_t *counted[2];      /* (L, E) frequencies for documents of either half, owned */
    const uint64_t *counts[2]; /* the ones to use */
    spread *spreads;           /* (n_rows, D) */
    uint64_t done, total;      /* rows, for progress */
} evaluator;

static int check_options(const umbra_evaluate_options *o, umbra_error *err)
{
    if (!o || o->n_traces < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "name at least one trace folder to evaluate on");
    if (o->n_shadows < 0 || o->n_shadows > UMBRA_EVAL_MAX_SHADOWS)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d shadow files: 0 to %d can be compared",
                          o->n_shadows, UMBRA_EVAL_MAX_SHADOWS);
    if (o->threads < 0 || o->threads > MOST_THREADS)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d threads: 0 (all) to %d are possible",
                          o->threads, MOST_THREADS);
    return UMBRA_CHECK_RESERVED(o, err);
}

/* ---- rows ---- */

/* "dir/lab.shadow.safetensors" -> where "lab" begins, and its length. */
static const char *stem_of(const char *path, size_t *length)
{
    const char *slash = strrchr(path, '/'), *name = slash && slash[1] ? slash + 1 : path;
    size_t n = strcspn(name, ".");
    *length = n > 0 ? n : strlen(name);
    return name;
}

static bool same_stem(const char *path, const char *other)
{
    size_t n, m;
    const char *a = stem_of(path, &n), *b = stem_of(other, &m);
    return n == m && memcmp(a, b, n) == 0;
}

/* The file's name without its endings; the path where that is the name of another row. */
static const char *shadow_name(const umbra_evaluation *e, int index, size_t *length)
{
    static const char *const taken[] = {"oracle",  "frequency", "previous", "gate",
                                        "control", "roll",      "runahead"};
    const char *path = e->shadows[index].path;
    bool unique = true;
    for (int i = 0; i < e->n_shadows; i++)
        unique = unique && (i == index || !same_stem(path, e->shadows[i].path));
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        unique = unique && !same_stem(path, taken[i]);
    if (unique)
        return stem_of(path, length);
    *length = strlen(path);
    return path;
}

static int add_row(umbra_evaluation *e, umbra_eval_kind kind, const char *name, size_t length,
                   int shadow, umbra_error *err)
{
    umbra_eval_row *row = &e->rows[e->n_rows++];
    size_t room = sizeof row->name - 1;
    row->kind = kind;
    row->shadow = shadow;
    row->forecast = kind == UMBRA_EVAL_SHADOW      ? UMBRA_EVAL_OWN
                    : kind == UMBRA_EVAL_ORACLE    ? UMBRA_EVAL_NO_FORECAST
                    : e->calibration.documents > 0 ? UMBRA_EVAL_PLATT
                                                   : UMBRA_EVAL_NO_FORECAST;
    /* The end of a long path says more than its beginning; it starts with a whole character. */
    while (length > room && ((unsigned char)name[length - room] & 0xc0) == 0x80)
        room--;
    memcpy(row->name, length > room ? name + length - room : name, length > room ? room : length);
    return umbra_eval_row_open(e, row, err);
}

static int add_rows(umbra_evaluation *e, umbra_error *err)
{
    e->rows = umbra_calloc((size_t)(FIXED_ROWS + e->n_shadows), sizeof *e->rows);
    e->control = umbra_calloc((size_t)umbra_eval_sources(e) + 1, sizeof *e->control);
    if (!e->rows || !e->control)
        return umbra_fail_nomem(err, "the rows of the table", 0);
    e->control_counts =
        umbra_eval_histograms(e->control, umbra_eval_sources(e) + 1, e->model.experts);
    if (!e->control_counts)
        return umbra_fail_nomem(err, "the control's counters", 0);
    e->control_sum = e->control[umbra_eval_sources(e)];
    static const char *const names[] = {"oracle", "frequency", "previous", "gate"};
    int rc = UMBRA_OK;
    for (int kind = UMBRA_EVAL_ORACLE; kind < UMBRA_EVAL_SHADOW && rc == UMBRA_OK; kind++)
        if (kind != UMBRA_EVAL_FREQUENCY || e->frequency_from)
            rc = add_row(e, (umbra_eval_kind)kind, names[kind], strlen(names[kind]), -1, err);
    for (int i = 0; i < e->n_shadows && rc == UMBRA_OK; i++) {
        size_t length;
        const char *name = shadow_name(e, i, &length);
        rc = add_row(e, UMBRA_EVAL_SHADOW, name, length, i, err);
    }
    return rc;
}

/* ---- frequencies ---- */

/* Counts each half of the documents for the other one. */
static int count_halves(evaluator *v, umbra_error *err)
{
    umbra_evaluation *e = v->e;
    size_t n = (size_t)e->model.layers * (size_t)e->model.experts;
    umbra_eval_segment segment;
    int rc = umbra_eval_segment_open(&segment, e, err);
    if (rc != UMBRA_OK)
        return rc;
    for (int half = 0; half < 2; half++) {
        v->counts[half] = v->counted[half] = umbra_calloc(n, sizeof *v->counted[half]);
        if (!v->counted[half])
            rc = umbra_fail_nomem(err, "expert frequencies", n * sizeof *v->counted[half]);
    }
    for (int i = 0; i < v->in.n_documents && rc == UMBRA_OK; i++) {
        const umbra_eval_document *d = &v->in.documents[i];
        rc = umbra_eval_segment_count(&segment, e, &v->in, d, v->counted[1 - d->half], err);
        umbra_progress_report(v->options->progress, "counting experts", "documents",
                              (uint64_t)i + 1, (uint64_t)v->in.n_documents);
        if (umbra_progress_interrupted(v->options->progress))
            rc = umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
    }
    umbra_eval_segment_close(&segment);
    return rc;
}

static int find_frequencies(evaluator *v, umbra_error *err)
{
    umbra_evaluation *e = v->e;
    if (e->n_shadows > 0 && e->shadows[0].training.frequency) {
        v->counts[0] = v->counts[1] = e->shadows[0].training.frequency;
        e->frequency_from = "counted on the first shadow's training documents";
        return UMBRA_OK;
    }
    if (v->in.n_documents < 2)
        return UMBRA_OK;
    e->frequency_from = "for every document counted on the other half of these documents";
    return count_halves(v, err);
}

/* ---- passes ---- */

static void take_spreads(evaluator *v)
{
    const umbra_evaluation *e = v->e;
    for (int i = 0; i < e->n_rows * D; i++) {
        spread *s = &v->spreads[i];
        uint64_t hits = 0, slots = 0;
        for (int source = 1; source < umbra_eval_sources(e); source++) {
            const umbra_tally *t = umbra_eval_tally(&e->rows[i / D], source, i % D + 1);
            hits += umbra_tally_hits(t, e->model.used);
            slots += t->positions * (uint64_t)e->model.used;
        }
        double h = (double)(hits - s->last_hits), n = (double)(slots - s->last_slots);
        s->hits += h;
        s->slots += n;
        s->hits2 += h * h;
        s->both += h * n;
        s->slots2 += n * n;
        s->last_hits = hits;
        s->last_slots = slots;
    }
}

static void set_deviations(evaluator *v)
{
    double n = (double)v->e->table.documents;
    for (int i = 0; i < v->e->n_rows * D; i++) {
        const spread *s = &v->spreads[i];
        double recall = s->hits / s->slots;
        double square = s->hits2 - 2 * recall * s->both + recall * recall * s->slots2;
        v->e->rows[i / D].deviation[i % D] =
            n > 1 && s->slots > 0 ? sqrt(fmax(square, 0) * n / (n - 1)) / s->slots : NAN;
    }
}

static int visit_document(evaluator *v, const umbra_eval_document *d, const char *stage,
                          umbra_error *err)
{
    umbra_prediction *run = &v->prediction;
    int most = umbra_eval_segment_rows(&run->segment, v->e, d);
    run->document = d;
    for (int first = 0; first < d->rows; first += most) {
        int n = d->rows - first < most ? d->rows - first : most;
        int rc = umbra_eval_segment_read(&run->segment, v->e, &v->in, d, first, n, err);
        if (rc != UMBRA_OK)
            return rc;
        run->begins = first == 0;
        rc = umbra_prediction_segment(run, err);
        if (rc != UMBRA_OK)
            return rc;
        v->done += (uint64_t)n;
        umbra_progress_report(v->options->progress, stage, "tokens", v->done, v->total);
        if (umbra_progress_interrupted(v->options->progress))
            return umbra_fail(err, UMBRA_E_INTERRUPTED, "interrupted");
    }
    return UMBRA_OK;
}

static int visit_all(evaluator *v, bool calibration, umbra_error *err)
{
    const char *stage = calibration ? "calibrating" : "evaluating";
    v->done = 0;
    v->total = calibration ? v->e->calibration.tokens : v->e->table.tokens;
    for (int i = 0; i < v->in.n_documents; i++) {
        const umbra_eval_document *d = &v->in.documents[i];
        if (d->calibration != calibration)
            continue;
        int rc = visit_document(v, d, stage, err);
        if (rc != UMBRA_OK)
            return rc;
        if (!calibration)
            take_spreads(v);
    }
    return UMBRA_OK;
}

static int evaluate(evaluator *v, umbra_error *err)
{
    umbra_evaluation *e = v->e;
    e->threads = umbra_system_threads(v->options->threads, MOST_THREADS);
    int rc = umbra_eval_input_open(&v->in, e, v->options, err);
    if (rc == UMBRA_OK)
        rc = umbra_eval_walks_check(e, v->options, err);
    if (rc == UMBRA_OK)
        rc = find_frequencies(v, err);
    if (rc == UMBRA_OK)
        rc = add_rows(e, err);
    if (rc != UMBRA_OK)
        return rc;
    v->spreads = umbra_calloc((size_t)e->n_rows * D, sizeof *v->spreads);
    if (!v->spreads)
        return umbra_fail_nomem(err, "sums over documents", 0);
    rc = umbra_prediction_open(&v->prediction, e, &v->in, e->threads, v->counts, err);
    if (rc == UMBRA_OK)
        rc = visit_all(v, true, err);
    if (rc == UMBRA_OK) {
        umbra_prediction_fit(&v->prediction);
        rc = visit_all(v, false, err);
    }
    if (rc == UMBRA_OK) {
        umbra_prediction_finish(&v->prediction);
        umbra_eval_sum(e);
        set_deviations(v);
    }
    umbra_prediction_close(&v->prediction);
    if (rc == UMBRA_OK)
        rc = umbra_eval_walks_run(e, &v->in, v->options, err);
    return rc;
}

int umbra_evaluate(umbra_evaluation **out, const umbra_evaluate_options *options, umbra_error *err)
{
    *out = NULL;
    uint64_t start = umbra_clock_ns();
    int rc = check_options(options, err);
    if (rc != UMBRA_OK)
        return rc;
    evaluator v = {.options = options, .e = umbra_calloc(1, sizeof *v.e)};
    if (!v.e)
        return umbra_fail_nomem(err, "the evaluation", sizeof *v.e);
    rc = evaluate(&v, err);
    umbra_eval_input_close(&v.in);
    umbra_free(v.counted[0]);
    umbra_free(v.counted[1]);
    umbra_free(v.spreads);
    if (rc != UMBRA_OK) {
        umbra_evaluation_free(&v.e);
        return rc;
    }
    v.e->seconds = umbra_seconds_since(start);
    *out = v.e;
    return UMBRA_OK;
}
