/* Trains one network: steps, epochs, and the best of them. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "lab/train/checkpoint.h"
#include "lab/train/ranks.h"

enum { D = UMBRA_MAX_DISTANCE, ALIGN = 64 };

/* Numbers apart the random sequences of a network. */
enum { START_VALUES, ORDER, DROPOUT };

static uint64_t seed_for(const umbra_learner *l, int what, uint64_t index)
{
    umbra_random random;
    umbra_random_seed(&random, l->setup->options.seed);
    umbra_random_seed(&random, umbra_random_u64(&random) ^ (uint64_t)l->network);
    umbra_random_seed(&random, umbra_random_u64(&random) ^ (uint64_t)what);
    return umbra_random_u64(&random) ^ index;
}

void umbra_learner_sources(const umbra_train_setup *setup, int network, int *first, int *end)
{
    *first = setup->spec.shared ? 0 : network;
    *end = setup->spec.shared ? umbra_shadow_sources(&setup->spec) : network + 1;
}

/* ---- opening ---- */

static int allocate(umbra_learner *l, umbra_error *err)
{
    umbra_learner_state *s = &l->state;
    size_t bytes = l->parameters * sizeof(float);
    s->values = umbra_aligned_alloc(ALIGN, bytes);
    s->best = umbra_aligned_alloc(ALIGN, bytes);
    l->gradient = umbra_aligned_alloc(ALIGN, bytes);
    if (umbra_ranks_divide(l->ranks))
        l->gathered = umbra_aligned_alloc(ALIGN, umbra_train_sum_room(l->ranks) * sizeof(float));
    s->mean = umbra_calloc(l->parameters, sizeof *s->mean);
    s->square = umbra_calloc(l->parameters, sizeof *s->square);
    if (l->setup->options.average > 0.0f)
        s->averaged = umbra_aligned_alloc(ALIGN, bytes);
    s->history = umbra_calloc((size_t)l->setup->options.epochs + 1, sizeof *s->history);
    l->histograms = umbra_calloc(D, sizeof *l->histograms);
    l->outcomes = umbra_calloc((size_t)(l->end_source - l->first_source), sizeof *l->outcomes);
    if (s->values && s->best && l->gradient && s->mean && s->square && s->history &&
        l->histograms && l->outcomes && (s->averaged || !(l->setup->options.average > 0.0f)) &&
        (l->gathered || !umbra_ranks_divide(l->ranks)))
        return UMBRA_OK;
    return umbra_fail_nomem(err, "a network and its optimiser", 6 * bytes);
}

int umbra_learner_open(umbra_learner *l, const umbra_train_setup *setup,
                       const umbra_learner_callbacks *callbacks, int network, umbra_error *err)
{
    const umbra_train_options *o = &setup->options;
    *l = (umbra_learner){
        .setup = setup,
        .callbacks = callbacks,
        .ranks = umbra_train_together(setup) ? o->ranks : NULL,
        .network = network,
        .optimizer = {.weight_decay = o->weight_decay, .clip = o->clip},
    };
    umbra_learner_sources(setup, network, &l->first_source, &l->end_source);
    l->parameters = umbra_train_parameters(&setup->spec, l->optimizer.first);
    int rc = allocate(l, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_pass_open(&l->pass, &setup->spec, o->batch, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_loader_open(&l->loader, &setup->data, &setup->spec, l->first_source,
                                     l->end_source, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_stream_open(&l->stream, &l->loader, l->first_source, l->end_source, false,
                                     seed_for(l, ORDER, 0), o->batch, o->window_bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_random random;
    umbra_random_seed(&random, seed_for(l, START_VALUES, 0));
    umbra_train_start_values(&setup->spec, &random, l->state.values);
    memcpy(l->state.best, l->state.values, l->parameters * sizeof *l->state.best);
    if (l->state.averaged)
        memcpy(l->state.averaged, l->state.values, l->parameters * sizeof *l->state.averaged);
    l->state.epoch = -1; /* not even judged untrained */
    l->state.best_score = -1.0;
    return o->resume && umbra_ranks_own(l->ranks) == 0 ? umbra_checkpoint_read(l, err) : UMBRA_OK;
}

int umbra_learner_share(umbra_learner *l, umbra_error *err)
{
    umbra_learner_state *s = &l->state, told = *s;
    size_t bytes = l->parameters * sizeof(float);
    size_t records = (size_t)l->setup->options.epochs + 1;
    int rc = umbra_ranks_share(l->ranks, &told, sizeof told, err);
    s->step = told.step;
    s->epoch = told.epoch;
    s->epoch_loss = told.epoch_loss;
    s->epoch_rows = told.epoch_rows;
    s->best_score = told.best_score;
    s->best_epoch = told.best_epoch;
    s->done = told.done;
    float *parts[] = {s->values, s->mean, s->square, s->best, s->averaged};
    for (size_t i = 0; rc == UMBRA_OK && i < sizeof parts / sizeof *parts; i++)
        rc = parts[i] ? umbra_ranks_share(l->ranks, parts[i], bytes, err) : UMBRA_OK;
    return rc == UMBRA_OK
               ? umbra_ranks_share(l->ranks, s->history, records * sizeof *s->history, err)
               : rc;
}

void umbra_learner_release(umbra_learner *l)
{
    umbra_learner_state *s = &l->state;
    umbra_free(s->values);
    umbra_free(s->mean);
    umbra_free(s->square);
    umbra_free(s->averaged);
    umbra_free(s->best);
    umbra_free(s->history);
    umbra_free(l->gradient);
    umbra_free(l->gathered);
    umbra_free(l->histograms);
    umbra_free(l->outcomes);
    umbra_train_pass_release(&l->pass);
    umbra_train_stream_release(&l->stream);
    umbra_train_loader_release(&l->loader);
    *l = (umbra_learner){0};
}

/* ---- judging ---- */

static bool has_source(const umbra_learner *l, int source)
{
    return umbra_train_has_source(&l->setup->data, &l->setup->spec, source);
}

static int meet(const umbra_learner *l, int status, umbra_error *err)
{
    return l->callbacks->meet(l->callbacks->user, status, err);
}

/* Adds one source's validation rows to a measure. The caller may stop it, with an interruption. */
static int judge_source(umbra_learner *l, float *values, int source, umbra_measure *measure,
                        umbra_histogram *histograms, umbra_error *err)
{
    umbra_shadow_network network;
    umbra_train_bind(&l->setup->spec, values, &network);
    umbra_train_stream stream;
    int rc = umbra_train_stream_open(&stream, &l->loader, source, source + 1, true, 0,
                                     l->setup->options.batch, 0, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_stream_start(&stream, 0, 0, err);
    while (rc == UMBRA_OK) {
        const umbra_train_rows *rows;
        rc = meet(l, UMBRA_OK, err);
        if (rc == UMBRA_OK)
            rc = umbra_train_stream_next(&stream, &rows, err);
        if (rc != UMBRA_OK || rows->n == 0)
            break;
        umbra_train_forward(&l->pass, &network, rows, 0.0f, NULL);
        umbra_measure_batch(measure, &l->pass, rows, histograms);
    }
    umbra_train_stream_release(&stream);
    return rc;
}

static void tell_epoch(const umbra_learner *l, bool best)
{
    const umbra_train_record *r = &l->state.history[l->state.epoch];
    umbra_train_epoch epoch = {
        .network = l->network,
        .networks = l->setup->networks,
        .source = l->setup->spec.shared ? -1 : l->first_source,
        .epoch = l->state.epoch,
        .epochs = l->setup->options.epochs,
        .loss = r->loss,
        .validation_loss = r->validation_loss,
        .best = best,
    };
    memcpy(epoch.recall, r->recall, sizeof epoch.recall);
    l->callbacks->epoch(l->callbacks->user, &epoch);
}

/* Judges the weights after an epoch (-1 + 1 = 0: before the first) and keeps them if they are the
 * best so far. */
static int end_epoch(umbra_learner *l, umbra_error *err)
{
    umbra_learner_state *s = &l->state;
    float *judged = s->averaged ? s->averaged : s->values;
    umbra_measure measure = {0};
    for (int source = l->first_source; source < l->end_source; source++) {
        int rc =
            has_source(l, source) ? judge_source(l, judged, source, &measure, NULL, err) : UMBRA_OK;
        if (rc != UMBRA_OK)
            return rc;
    }
    if (measure.rows > 0 && !isfinite(measure.loss))
        return umbra_fail(err, UMBRA_E_NONFINITE,
                          "training of network %d diverged before step %llu, its validation loss "
                          "is not finite: use a lower learning rate",
                          l->network, (unsigned long long)s->step);
    s->epoch++;
    umbra_train_record *r = &s->history[s->epoch];
    r->loss = s->epoch_rows > 0 ? s->epoch_loss / (double)s->epoch_rows : (double)NAN;
    r->validation_loss = measure.rows > 0 ? measure.loss / (double)measure.rows : (double)NAN;
    for (int d = 1; d <= D; d++)
        r->recall[d - 1] = umbra_measure_recall(&measure, 0, d);
    s->epoch_loss = 0.0;
    s->epoch_rows = 0;
    double score = umbra_measure_score(&measure);
    bool best = score > s->best_score;
    if (best) {
        s->best_score = score;
        s->best_epoch = s->epoch;
        memcpy(s->best, judged, l->parameters * sizeof *judged);
    }
    tell_epoch(l, best);
    return UMBRA_OK;
}

/* Recall and calibration by source, of the weights as the file will hold them. */
static int measure_rounded(umbra_learner *l, float *values, umbra_error *err)
{
    for (int source = l->first_source; source < l->end_source; source++) {
        umbra_train_outcome *out = &l->outcomes[source - l->first_source];
        memset(l->histograms, 0, D * sizeof *l->histograms);
        int rc = has_source(l, source)
                     ? judge_source(l, values, source, &out->measure, l->histograms, err)
                     : UMBRA_OK;
        if (rc != UMBRA_OK)
            return rc;
        for (int d = 0; d < D; d++) {
            const umbra_histogram *h = &l->histograms[d];
            double *fit = out->calibration[d];
            bool any = out->measure.slots[d] > 0;
            umbra_histogram_fit(h, &fit[0], &fit[1]);
            out->ece[d] = any ? umbra_histogram_error(h, fit[0], fit[1]) : -1.0;
            out->raw_ece[d] = any ? umbra_histogram_error(h, 1.0, 0.0) : -1.0;
        }
    }
    return UMBRA_OK;
}

/* The best weights, and what rounding them costs. They stay as they are: a run that is resumed to
 * write another form goes on from them. */
static int measure_best(umbra_learner *l, umbra_error *err)
{
    const umbra_shadow_spec *spec = &l->setup->spec;
    float *rounded = umbra_calloc(l->parameters, sizeof *rounded);
    if (!rounded)
        return umbra_fail_nomem(err, "the rounded weights", l->parameters * sizeof *rounded);
    memcpy(rounded, l->state.best, l->parameters * sizeof *rounded);
    umbra_shadow_network network;
    umbra_train_bind(spec, rounded, &network);
    umbra_shadow_round(spec, &network);
    int rc = measure_rounded(l, rounded, err);
    for (int source = l->first_source; rc == UMBRA_OK && source < l->end_source; source++) {
        umbra_train_outcome *out = &l->outcomes[source - l->first_source];
        if (spec->weights == UMBRA_SHADOW_F32)
            out->exact = out->measure;
        else if (has_source(l, source))
            rc = judge_source(l, l->state.best, source, &out->exact, NULL, err);
    }
    umbra_free(rounded);
    return rc;
}

/* ---- training ---- */

static void move_average(umbra_learner *l)
{
    umbra_learner_state *s = &l->state;
    /* Early on the average is short, so that the first weights do not linger in it. */
    float growing = (float)((1.0 + (double)s->step) / (10.0 + (double)s->step));
    float keep = l->setup->options.average < growing ? l->setup->options.average : growing;
    for (size_t i = 0; i < l->parameters; i++)
        s->averaged[i] = keep * s->averaged[i] + (1.0f - keep) * s->values[i];
}

static int diverged(const umbra_learner *l, const char *what, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_NONFINITE,
                      "training of network %d diverged at step %llu, its %s is not finite: use a "
                      "lower learning rate",
                      l->network, (unsigned long long)l->state.step, what);
}

/* Loss and gradient of this rank's rows of the batch; each row drops the values that it would in a
 * batch that is not divided. */
static int find_gradient(umbra_learner *l, const umbra_train_rows *rows, double *loss,
                         umbra_error *err)
{
    const umbra_train_options *o = &l->setup->options;
    const umbra_shadow_spec *spec = &l->setup->spec;
    int own = umbra_ranks_own(l->ranks), count = umbra_ranks_count(l->ranks);
    int first = (int)((int64_t)rows->n * own / count);
    int end = (int)((int64_t)rows->n * (own + 1) / count);
    const umbra_train_rows part = umbra_train_rows_part(rows, spec, first, end - first);
    umbra_shadow_network network, gradient;
    umbra_train_bind(spec, l->state.values, &network);
    umbra_train_bind(spec, l->gradient, &gradient);
    *loss = 0.0;
    if (part.n == 0) {
        memset(l->gradient, 0, l->parameters * sizeof *l->gradient);
        return UMBRA_OK;
    }
    umbra_random random;
    umbra_random_seed(&random, seed_for(l, DROPOUT, l->state.step));
    for (int64_t i = 0; o->dropout > 0.0f && i < (int64_t)first * spec->width; i++)
        (void)umbra_random_unit(&random);
    umbra_train_forward(&l->pass, &network, &part, o->dropout, &random);
    *loss = umbra_train_loss(&l->pass, &part, rows->n);
    if (!isfinite(*loss))
        return diverged(l, "loss", err);
    umbra_train_backward(&l->pass, &network, &part, &gradient);
    return UMBRA_OK;
}

static int take_step(umbra_learner *l, const umbra_train_rows *rows, uint64_t steps,
                     umbra_error *err)
{
    const umbra_train_options *o = &l->setup->options;
    umbra_learner_state *s = &l->state;
    double loss;
    int rc = meet(l, find_gradient(l, rows, &loss, err), err);
    if (rc == UMBRA_OK)
        rc = umbra_train_sum(l->ranks, l->gradient, l->parameters, &loss, l->gathered, err);
    if (rc != UMBRA_OK)
        return rc;
    s->epoch_loss += loss;
    s->epoch_rows += (uint64_t)rows->n;
    double share =
        umbra_optimizer_schedule(s->step, steps, (uint64_t)((double)o->warmup * (double)steps));
    double norm = umbra_optimizer_step(&l->optimizer, s->values, l->gradient, s->mean, s->square,
                                       s->step, (float)(share * (double)o->learning_rate));
    if (!isfinite(norm))
        return diverged(l, "gradient", err);
    s->step++;
    if (s->averaged)
        move_average(l);
    return UMBRA_OK;
}

static int save(const umbra_learner *l, umbra_error *err)
{
    return umbra_ranks_own(l->ranks) == 0 ? umbra_checkpoint_write(l, err) : UMBRA_OK;
}

/* Trains to the end of the epoch under way, from wherever it stands. */
static int train_epoch(umbra_learner *l, uint64_t steps_per_epoch, uint64_t *saved_ns,
                       umbra_error *err)
{
    const umbra_train_options *o = &l->setup->options;
    umbra_learner_state *s = &l->state;
    uint64_t steps = steps_per_epoch * (uint64_t)o->epochs;
    uint64_t row = s->step % steps_per_epoch * (uint64_t)o->batch;
    int rc = s->step < ((uint64_t)s->epoch + 1) * steps_per_epoch
                 ? umbra_train_stream_start(&l->stream, (uint64_t)s->epoch, row, err)
                 : UMBRA_OK;
    while (rc == UMBRA_OK && s->step < ((uint64_t)s->epoch + 1) * steps_per_epoch) {
        const umbra_train_rows *rows;
        rc = umbra_train_stream_next(&l->stream, &rows, err);
        if (rc == UMBRA_OK)
            rc = take_step(l, rows, steps, err);
        if (rc == UMBRA_OK)
            l->callbacks->advance(l->callbacks->user, (uint64_t)rows->n);
        if (rc == UMBRA_OK && umbra_seconds_since(*saved_ns) > o->checkpoint_seconds) {
            rc = save(l, err);
            *saved_ns = umbra_clock_ns();
        }
    }
    return rc == UMBRA_OK ? end_epoch(l, err) : rc;
}

static int train(umbra_learner *l, umbra_error *err)
{
    const umbra_train_options *o = &l->setup->options;
    umbra_learner_state *s = &l->state;
    uint64_t saved_ns = umbra_clock_ns();
    uint64_t per_epoch = (l->stream.rows + (uint64_t)o->batch - 1) / (uint64_t)o->batch;
    if (s->epoch > 0 || s->epoch_rows > 0)
        l->callbacks->advance(l->callbacks->user,
                              (uint64_t)s->epoch * l->stream.rows + s->epoch_rows);
    int rc = s->epoch < 0 ? end_epoch(l, err) : UMBRA_OK;
    while (rc == UMBRA_OK && s->epoch < o->epochs) {
        if (o->patience > 0 && s->epoch - s->best_epoch >= o->patience)
            break;
        rc = train_epoch(l, per_epoch, &saved_ns, err);
    }
    if (rc == UMBRA_OK)
        l->callbacks->advance(l->callbacks->user,
                              (uint64_t)(o->epochs - s->epoch) * l->stream.rows);
    return rc;
}

int umbra_learner_run(umbra_learner *l, umbra_error *err)
{
    umbra_learner_state *s = &l->state;
    int rc = UMBRA_OK;
    if (s->done) {
        l->callbacks->advance(l->callbacks->user,
                              (uint64_t)l->setup->options.epochs * l->stream.rows);
    } else if (l->stream.rows > 0) {
        rc = train(l, err);
        if (rc == UMBRA_E_INTERRUPTED) {
            int saved = save(l, err);
            return saved == UMBRA_OK ? rc : saved;
        }
    }
    if (rc == UMBRA_OK && !s->done) {
        s->done = true;
        rc = save(l, err);
    }
    return rc == UMBRA_OK ? measure_best(l, err) : rc;
}
