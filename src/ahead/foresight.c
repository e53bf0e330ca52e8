/* What the runner's policies know: probabilities of the experts of coming layers. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "ahead/runner.h"

enum { D = UMBRA_MAX_DISTANCE, NONE = 0xffff };

/* ---- ranks ---- */

static const float halve_at = 2000;

static int open_ranks(umbra_ranks *r, int layers, int used, umbra_error *err)
{
    size_t n = (size_t)(2 * used), pairs = (size_t)layers * D;
    *r = (umbra_ranks){
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

/* Probabilities by rank of the experts in best (n), NONE where there is none. */
static void rank(umbra_foresight *f, int layer, int d, const uint16_t *best, int n)
{
    umbra_ranks *r = &f->ranks;
    size_t pair = (size_t)layer * D + (size_t)d;
    uint16_t *guessed = r->guessed + pair * (size_t)r->n;
    float *p = f->probability + (size_t)d * (size_t)f->experts;
    memset(p, 0, (size_t)f->experts * sizeof *p);
    for (int i = 0; i < r->n; i++) {
        guessed[i] = i < n ? best[i] : NONE;
        if (guessed[i] != NONE)
            p[guessed[i]] = (r->hits[i][d] + 0.5f) / (r->seen[i][d] + 2.0f);
    }
    r->open[pair] = true;
}

static bool contains(const uint16_t *list, int n, uint16_t e)
{
    for (int i = 0; i < n; i++)
        if (list[i] == e)
            return true;
    return false;
}

void umbra_foresight_learn(umbra_foresight *f, int layer, const uint16_t *used)
{
    umbra_ranks *r = &f->ranks;
    for (int d = 0; r->n > 0 && d < D; d++) {
        size_t pair = (size_t)layer * D + (size_t)d;
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

static uint64_t spec_bytes(const umbra_shadow_spec *spec, int every)
{
    uint64_t sources = (uint64_t)(spec->layers / every + 1);
    return umbra_shadow_fast_plan(spec, every, UMBRA_SHADOW_I8) +
           sources * (uint64_t)spec->averages * (uint64_t)spec->hidden * sizeof(float);
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
        *bytes = spec_bytes(&spec, every);
    return UMBRA_OK;
}

int umbra_foresight_open(umbra_foresight *f, const umbra_runner_options *o, umbra_error *err)
{
    *f = (umbra_foresight){.policy = o->policy,
                           .layers = o->layers,
                           .hidden = o->hidden,
                           .experts = o->experts,
                           .used = o->used,
                           .every = o->every ? o->every : 1};
    int rc = UMBRA_OK;
    size_t averages = 0;
    if (o->policy == UMBRA_POLICY_SHADOW || o->policy == UMBRA_POLICY_GATE)
        rc = open_fast(f, o, err);
    if (rc == UMBRA_OK && f->fast)
        averages = (size_t)umbra_shadow_fast_spec(f->fast)->averages;
    if (rc == UMBRA_OK && (o->policy == UMBRA_POLICY_GATE || o->policy == UMBRA_POLICY_PREVIOUS))
        rc = open_ranks(&f->ranks, o->layers, o->used, err);
    if (rc != UMBRA_OK) {
        umbra_foresight_close(f);
        return rc;
    }
    size_t sources = (size_t)(o->layers / f->every + 1), hidden = (size_t)o->hidden;
    f->averages = umbra_calloc(sources * averages * hidden, sizeof(float));
    f->text = umbra_calloc(sources, sizeof *f->text);
    f->r = umbra_calloc(hidden, sizeof(float));
    f->probability = umbra_calloc((size_t)D * (size_t)o->experts, sizeof(float));
    f->best = umbra_calloc((size_t)D * 2 * (size_t)o->used, sizeof *f->best);
    if (f->averages && f->text && f->r && f->probability && f->best)
        return UMBRA_OK;
    umbra_foresight_close(f);
    return umbra_fail_nomem(err, "the shadow runner's memory", 0);
}

void umbra_foresight_close(umbra_foresight *f)
{
    umbra_fast_scratch_close(&f->scratch);
    umbra_shadow_fast_close(&f->fast);
    umbra_free(f->averages);
    umbra_free(f->text);
    umbra_free(f->r);
    umbra_free(f->probability);
    umbra_free(f->best);
    umbra_free(f->ranks.hits);
    umbra_free(f->ranks.seen);
    umbra_free(f->ranks.guessed);
    umbra_free(f->ranks.open);
    *f = (umbra_foresight){0};
}

/* ---- predicting ---- */

/* The running averages of a source, with this state in them; NULL if the shadow wants none. */
static const float *average(umbra_foresight *f, int source, uint32_t text, const float *state)
{
    const umbra_shadow_spec *spec = umbra_shadow_fast_spec(f->fast);
    size_t hidden = (size_t)f->hidden, place = (size_t)(source / f->every);
    float *averages = f->averages + place * (size_t)spec->averages * hidden;
    if (spec->averages == 0)
        return NULL;
    umbra_shadow_normalise(state, f->hidden, f->r);
    for (int i = 0; i < spec->averages; i++)
        umbra_shadow_average(averages + (size_t)i * hidden, f->r, f->hidden, spec->decay[i],
                             f->text[place] != text);
    f->text[place] = text;
    return averages;
}

void umbra_foresight_absorb(umbra_foresight *f, int source, uint32_t text, int n,
                            const float *states)
{
    for (int i = 0; f->fast && i < n; i++)
        (void)average(f, source, text, states + (size_t)i * (size_t)f->hidden);
}

static void predict_network(umbra_foresight *f, const umbra_job *job)
{
    const uint16_t *now = job->now;
    const uint16_t *previous = job->has_previous ? job->previous : NULL;
    const uint16_t *previous2 = job->has_previous2 ? job->previous2 : NULL;
    umbra_predict_input input = {
        .n = 1,
        .states = job->state,
        .averages = average(f, job->source, job->text, job->state),
        .now = &now,
        .previous = &previous,
        .previous2 = &previous2,
    };
    int m = f->ranks.n < f->experts ? f->ranks.n : f->experts;
    umbra_shadow_fast_predict(f->fast, job->source, &input, f->scratch, f->probability, m, f->best);
    for (int d = 0; m > 0 && d < D && job->source + d < f->layers; d++)
        rank(f, umbra_shadow_target(job->source, d + 1), d, f->best + d * m, m);
}

static void predict_previous(umbra_foresight *f, const umbra_job *job)
{
    size_t used = (size_t)f->used;
    for (int d = 0; d < D && job->source + d < f->layers; d++) {
        int layer = umbra_shadow_target(job->source, d + 1), n = f->used;
        memcpy(f->best, job->previous + (size_t)layer * used, used * sizeof *f->best);
        const uint16_t *older = job->previous2 + (size_t)layer * used;
        for (int i = 0; job->has_previous2 && i < f->used; i++)
            if (!contains(f->best, f->used, older[i]))
                f->best[n++] = older[i];
        rank(f, layer, d, f->best, n);
    }
}

static void predict_truth(umbra_foresight *f, const umbra_job *job)
{
    memset(f->probability, 0, (size_t)D * (size_t)f->experts * sizeof *f->probability);
    for (int d = 0; d < D && job->source + d < f->layers; d++) {
        int layer = umbra_shadow_target(job->source, d + 1);
        const uint16_t *experts = job->truth + (size_t)layer * (size_t)f->used;
        for (int i = 0; i < f->used; i++)
            if (experts[i] < f->experts)
                f->probability[(size_t)d * (size_t)f->experts + experts[i]] = 1.0f;
    }
}

bool umbra_foresight_predict(umbra_foresight *f, const umbra_job *job)
{
    switch (f->policy) {
    case UMBRA_POLICY_SHADOW:
    case UMBRA_POLICY_GATE:
        predict_network(f, job);
        return true;
    case UMBRA_POLICY_PREVIOUS:
        if (job->has_previous)
            predict_previous(f, job);
        return job->has_previous;
    case UMBRA_POLICY_ORACLE:
        if (job->truth)
            predict_truth(f, job);
        return job->truth != NULL;
    case UMBRA_POLICY_OFF:
        break;
    }
    return false;
}
