/* What the runner's policies know: probabilities of the experts of coming layers. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "ahead/runner.h"
#include "predict/features.h"

enum { D = UMBRA_MAX_DISTANCE, NONE = 0xffff };

/* ---- ranks ---- */

static const float halve_at = 2000;

static int open_ranks(umbra_rank_counts *r, int sequences, int layers, int used, umbra_error *err)
{
    size_t n = (size_t)(2 * used), pairs = (size_t)sequences * (size_t)layers * D;
    *r = (umbra_rank_counts){
        .n = 2 * used,
        .hits = umbra_calloc(n, sizeof *r->hits),
        .seen = umbra_calloc(n, sizeof *r->seen),
        .guessed = umbra_calloc(pairs * n, sizeof *r->guessed),
        .open = umbra_calloc(pairs, sizeof *r->open),
    };
    return r->hits && r->seen && r->guessed && r->open
               ? UMBRA_OK
               : umbra_fail_nomem(err, "the ranks of a predictor", 0);
}

static size_t pair_of(const umbra_foresight *f, int sequence, int layer, int d)
{
    return ((size_t)sequence * (size_t)f->layers + (size_t)layer) * D + (size_t)d;
}

/* (E) of the i-th of the jobs that are predicted together. */
static float *probability_of(const umbra_foresight *f, int i, int d)
{
    return f->probability + ((size_t)i * D + (size_t)d) * (size_t)f->experts;
}

/* Probabilities (E) by rank of the experts in best (n), NONE where there is none. */
static void rank(const umbra_foresight *f, int d, const uint16_t *best, int n, float *p)
{
    const umbra_rank_counts *r = &f->ranks;
    memset(p, 0, (size_t)f->experts * sizeof *p);
    for (int i = 0; i < r->n && i < n; i++)
        if (best[i] != NONE)
            p[best[i]] = (r->hits[i][d] + 0.5f) / (r->seen[i][d] + 2.0f);
}

/* What a sequence's prediction ranked, to learn from. */
static void keep_ranks(umbra_foresight *f, size_t pair, const uint16_t *best, int n)
{
    umbra_rank_counts *r = &f->ranks;
    for (int i = 0; i < r->n; i++)
        r->guessed[pair * (size_t)r->n + (size_t)i] = i < n ? best[i] : NONE;
    r->open[pair] = true;
}

static bool contains(const uint16_t *list, int n, uint16_t e)
{
    for (int i = 0; i < n; i++)
        if (list[i] == e)
            return true;
    return false;
}

void umbra_foresight_learn(umbra_foresight *f, int sequence, int layer, const uint16_t *used)
{
    umbra_rank_counts *r = &f->ranks;
    for (int d = 0; r->n > 0 && d < D; d++) {
        size_t pair = pair_of(f, sequence, layer, d);
        if (!r->open[pair])
            continue;
        r->open[pair] = false;
        const uint16_t *guessed = r->guessed + pair * (size_t)r->n;
        for (int i = 0; i < r->n && guessed[i] != NONE; i++) {
            r->hits[i][d] += contains(used, f->used, guessed[i]);
            if (++r->seen[i][d] >= halve_at) {
                r->hits[i][d] /= 2;
                r->seen[i][d] /= 2;
            }
        }
    }
}

/* ---- opening ---- */

/* The gate predictor: a residual shadow as it is before any training. */
static umbra_shadow_spec gate_spec(const umbra_runner_options *o)
{
    umbra_shadow_spec spec = {
        .model_name = "gate",
        .architecture = "gate",
        .layers = o->layers,
        .hidden = o->hidden,
        .experts = o->experts,
        .used = o->used,
        .arch = UMBRA_SHADOW_RESIDUAL,
        .width = 1,
    };
    memset(spec.model_hash, '0', sizeof spec.model_hash - 1);
    return spec;
}

static int open_file(umbra_shadow_file **file, const umbra_runner_options *o, umbra_error *err)
{
    if (!o->shadow)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "no shadow file is given to predict with");
    int rc = umbra_shadow_file_open(file, o->shadow, err);
    if (rc != UMBRA_OK)
        return rc;
    const umbra_shadow_spec *spec = umbra_shadow_file_spec(*file);
    rc = umbra_shadow_check(spec, o->shadow, o->model_hash ? o->model_hash : spec->model_hash,
                            o->model_name ? o->model_name : "another model", o->layers, o->hidden,
                            o->experts, o->used, err);
    if (rc != UMBRA_OK)
        umbra_shadow_file_close(file);
    return rc;
}

static int open_fast(umbra_foresight *f, const umbra_runner_options *o, umbra_error *err)
{
    int rc;
    if (o->policy == UMBRA_POLICY_GATE) {
        umbra_shadow_spec spec = gate_spec(o);
        rc = umbra_shadow_fast_untrained(&f->fast, &spec, f->every, o->gate, o->user,
                                         UMBRA_SHADOW_I8, o->kernels, err);
    } else {
        umbra_shadow_file *file;
        rc = open_file(&file, o, err);
        if (rc != UMBRA_OK)
            return rc;
        rc = umbra_shadow_fast_read(&f->fast, file, f->every, o->gate, o->user, UMBRA_SHADOW_I8,
                                    o->kernels, err);
        umbra_shadow_file_close(&file);
    }
    return rc == UMBRA_OK ? umbra_fast_scratch_open(&f->scratch, f->fast, err) : rc;
}

static uint64_t spec_bytes(const umbra_shadow_spec *spec, const umbra_runner_options *o, int every)
{
    uint64_t sources = (uint64_t)(spec->layers / every + 1);
    uint64_t averages = (uint64_t)spec->averages * (uint64_t)spec->hidden;
    uint64_t together = (uint64_t)umbra_runner_batch(o) - 1; /* one is among the small things */
    uint64_t row = averages + (uint64_t)spec->hidden + (uint64_t)D * (uint64_t)spec->experts;
    return umbra_shadow_fast_plan(spec, every, UMBRA_SHADOW_I8) +
           ((uint64_t)umbra_runner_sequences(o) * sources * averages + together * row) *
               sizeof(float);
}

int umbra_foresight_plan(const umbra_runner_options *o, uint64_t *bytes, umbra_error *err)
{
    int every = o->every ? o->every : 1;
    umbra_shadow_spec spec = gate_spec(o);
    *bytes = 0;
    if (o->policy == UMBRA_POLICY_SHADOW) {
        umbra_shadow_file *file;
        int rc = open_file(&file, o, err);
        if (rc != UMBRA_OK)
            return rc;
        spec = *umbra_shadow_file_spec(file);
        umbra_shadow_file_close(&file);
    }
    if (o->policy == UMBRA_POLICY_SHADOW || o->policy == UMBRA_POLICY_GATE)
        *bytes = spec_bytes(&spec, o, every);
    return UMBRA_OK;
}

/* What a sequence is remembered by, and what jobs are predicted in. */
static int open_memory(umbra_foresight *f, int batch, umbra_error *err)
{
    size_t hidden = (size_t)f->hidden, b = (size_t)batch;
    size_t averages = f->fast ? (size_t)umbra_shadow_fast_spec(f->fast)->averages : 0;
    size_t places = (size_t)f->sequences * (size_t)f->sources;
    f->averages = umbra_calloc(places * averages * hidden, sizeof(float));
    f->text = umbra_calloc(places, sizeof *f->text);
    f->r = umbra_calloc(hidden, sizeof(float));
    f->states = umbra_calloc(b * hidden, sizeof(float));
    f->gathered = umbra_calloc(b * averages * hidden, sizeof(float));
    f->probability = umbra_calloc(b * D * (size_t)f->experts, sizeof(float));
    f->best = umbra_calloc(b * D * 2 * (size_t)f->used, sizeof *f->best);
    return f->averages && f->text && f->r && f->states && f->gathered && f->probability && f->best
               ? UMBRA_OK
               : umbra_fail_nomem(err, "the shadow runner's memory", 0);
}

int umbra_foresight_open(umbra_foresight *f, const umbra_runner_options *o, umbra_error *err)
{
    *f = (umbra_foresight){.policy = o->policy,
                           .sequences = umbra_runner_sequences(o),
                           .layers = o->layers,
                           .hidden = o->hidden,
                           .experts = o->experts,
                           .used = o->used,
                           .every = o->every ? o->every : 1};
    f->sources = o->layers / f->every + 1;
    int rc = UMBRA_OK;
    if (o->policy == UMBRA_POLICY_SHADOW || o->policy == UMBRA_POLICY_GATE)
        rc = open_fast(f, o, err);
    if (rc == UMBRA_OK && (o->policy == UMBRA_POLICY_GATE || o->policy == UMBRA_POLICY_PREVIOUS))
        rc = open_ranks(&f->ranks, f->sequences, o->layers, o->used, err);
    if (rc == UMBRA_OK)
        rc = open_memory(f, umbra_runner_batch(o), err);
    if (rc != UMBRA_OK)
        umbra_foresight_close(f);
    return rc;
}

void umbra_foresight_close(umbra_foresight *f)
{
    umbra_fast_scratch_close(&f->scratch);
    umbra_shadow_fast_close(&f->fast);
    umbra_free(f->averages);
    umbra_free(f->text);
    umbra_free(f->r);
    umbra_free(f->states);
    umbra_free(f->gathered);
    umbra_free(f->probability);
    umbra_free(f->best);
    umbra_free(f->ranks.hits);
    umbra_free(f->ranks.seen);
    umbra_free(f->ranks.guessed);
    umbra_free(f->ranks.open);
    *f = (umbra_foresight){0};
}

/* ---- predicting ---- */

/* Where a sequence's source has its averages. */
static size_t source_of(const umbra_foresight *f, int sequence, int source)
{
    return (size_t)sequence * (size_t)f->sources + (size_t)(source / f->every);
}

/* The running averages (averages, H) of a sequence's source, with this state in them. */
static const float *average(umbra_foresight *f, int sequence, int source, uint32_t text,
                            const float *state)
{
    const umbra_shadow_spec *spec = umbra_shadow_fast_spec(f->fast);
    size_t hidden = (size_t)f->hidden;
    size_t place = source_of(f, sequence, source);
    float *averages = f->averages + place * (size_t)spec->averages * hidden;
    if (spec->averages == 0)
        return averages;
    umbra_shadow_normalise(state, f->hidden, f->r);
    umbra_shadow_averages(spec, averages, f->r, 1, f->text[place] != text);
    f->text[place] = text;
    return averages;
}

void umbra_foresight_absorb(umbra_foresight *f, int sequence, int source, uint32_t text, int n,
                            const float *states)
{
    for (int i = 0; f->fast && i < n; i++)
        (void)average(f, sequence, source, text, states + (size_t)i * (size_t)f->hidden);
}

/* A draft's running averages (averages, H): those of its sequence with the draft's state in them,
 * which they do not keep. */
static void gather(umbra_foresight *f, const umbra_job *job, float *out)
{
    const umbra_shadow_spec *spec = umbra_shadow_fast_spec(f->fast);
    size_t n = (size_t)spec->averages * (size_t)f->hidden;
    size_t place = source_of(f, job->sequence, job->source);
    if (!job->draft) {
        memcpy(out, average(f, job->sequence, job->source, job->text, job->state), n * sizeof *out);
        return;
    }
    memcpy(out, f->averages + place * n, n * sizeof *out);
    if (n == 0)
        return;
    umbra_shadow_normalise(job->state, f->hidden, f->r);
    umbra_shadow_averages(spec, out, f->r, 1, f->text[place] != job->text);
}

/* Rows of one source go through the network together: its weights are read once. */
static void predict_network(umbra_foresight *f, const umbra_job *const *jobs, int n)
{
    const uint16_t *now[UMBRA_RUNNER_BATCH], *previous[UMBRA_RUNNER_BATCH],
        *previous2[UMBRA_RUNNER_BATCH];
    size_t hidden = (size_t)f->hidden;
    size_t averages = (size_t)umbra_shadow_fast_spec(f->fast)->averages * hidden;
    int source = jobs[0]->source;
    for (int i = 0; i < n; i++) {
        const umbra_job *job = jobs[i];
        now[i] = job->now;
        previous[i] = job->has_previous ? job->previous : NULL;
        previous2[i] = job->has_previous2 ? job->previous2 : NULL;
        memcpy(f->states + (size_t)i * hidden, job->state, hidden * sizeof *job->state);
        gather(f, job, f->gathered + (size_t)i * averages);
    }
    umbra_predict_input input = {
        .n = n,
        .states = f->states,
        .averages = averages > 0 ? f->gathered : NULL,
        .now = now,
        .previous = previous,
        .previous2 = previous2,
    };
    int m = f->ranks.n < f->experts ? f->ranks.n : f->experts;
    umbra_shadow_fast_predict(f->fast, source, &input, f->scratch, f->probability, m, f->best);
    for (int i = 0; m > 0 && i < n; i++)
        for (int d = 0; d < D && source + d < f->layers; d++) {
            const uint16_t *best = f->best + ((size_t)i * D + (size_t)d) * (size_t)m;
            int layer = umbra_shadow_target(source, d + 1);
            rank(f, d, best, m, probability_of(f, i, d));
            if (!jobs[i]->draft)
                keep_ranks(f, pair_of(f, jobs[i]->sequence, layer, d), best, m);
        }
}

static void predict_previous(umbra_foresight *f, const umbra_job *job, int i)
{
    size_t used = (size_t)f->used;
    for (int d = 0; d < D && job->source + d < f->layers; d++) {
        int layer = umbra_shadow_target(job->source, d + 1), n = f->used;
        memcpy(f->best, job->previous + (size_t)layer * used, used * sizeof *f->best);
        const uint16_t *older = job->previous2 + (size_t)layer * used;
        for (int j = 0; job->has_previous2 && j < f->used; j++)
            if (!contains(f->best, f->used, older[j]))
                f->best[n++] = older[j];
        rank(f, d, f->best, n, probability_of(f, i, d));
        keep_ranks(f, pair_of(f, job->sequence, layer, d), f->best, n);
    }
}

static void predict_truth(umbra_foresight *f, const umbra_job *job, int i)
{
    memset(probability_of(f, i, 0), 0, (size_t)D * (size_t)f->experts * sizeof *f->probability);
    for (int d = 0; d < D && job->source + d < f->layers; d++) {
        int layer = umbra_shadow_target(job->source, d + 1);
        const uint16_t *experts = job->truth + (size_t)layer * (size_t)f->used;
        for (int j = 0; j < f->used; j++)
            if (experts[j] < f->experts)
                probability_of(f, i, d)[experts[j]] = 1.0f;
    }
}

bool umbra_foresight_knows(const umbra_foresight *f, const umbra_job *job)
{
    switch (f->policy) {
    case UMBRA_POLICY_SHADOW:
    case UMBRA_POLICY_GATE:
        return true;
    case UMBRA_POLICY_PREVIOUS:
        return job->has_previous;
    case UMBRA_POLICY_ORACLE:
        return job->truth != NULL;
    case UMBRA_POLICY_AUTO: /* the runner has chosen */
    case UMBRA_POLICY_OFF:
    case UMBRA_POLICY_RUNAHEAD:
        break;
    }
    return false;
}

void umbra_foresight_predict(umbra_foresight *f, const umbra_job *const *jobs, int n)
{
    if (n > 0 && f->fast)
        predict_network(f, jobs, n);
    for (int i = 0; !f->fast && i < n; i++) {
        if (f->policy == UMBRA_POLICY_PREVIOUS)
            predict_previous(f, jobs[i], i);
        else
            predict_truth(f, jobs[i], i);
    }
}
