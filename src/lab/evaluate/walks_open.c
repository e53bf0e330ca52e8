/* Opens what a run of walks needs, and runs one for every residency. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/walks.h"

enum { D = UMBRA_MAX_DISTANCE, DEFAULT_TOKENS = 320, FIXED_TELLERS = 3 /* gate, roll, runahead */ };

static const double default_residencies[] = {0.3, 0.5, 0.7};

typedef umbra_eval_teller teller;
typedef umbra_eval_run run;

static int open_row(umbra_evaluation *e, umbra_eval_walk *row, umbra_error *err)
{
    size_t reach = (size_t)e->walk_reach;
    row->shares = umbra_calloc(5 * reach, sizeof *row->shares);
    if (!row->shares)
        return umbra_fail_nomem(err, "counters of a walk", 5 * reach * sizeof *row->shares);
    for (int which = 0; which < UMBRA_EVAL_WHICH; which++) {
        row->within[which] = row->shares + (size_t)which * reach;
        row->beyond[which] = row->shares + (size_t)(2 + which) * reach;
    }
    row->next = row->shares + 4 * reach;
    return UMBRA_OK;
}

static int open_predictor(run *r, teller *t, umbra_error *err)
{
    const umbra_shadow *shadow = t->row->shadow >= 0 ? r->in->shadows[t->row->shadow] : NULL;
    size_t sources = (size_t)umbra_eval_sources(r->e) + 1, hidden = (size_t)r->e->model.hidden;
    int rc = shadow ? umbra_predictor_shadow(&t->predictor, shadow, &r->in->gates, 0, err)
                    : umbra_predictor_gate(&t->predictor, &r->in->gates, r->e->model.used, err);
    if (rc == UMBRA_OK)
        rc = umbra_predict_scratch_open(&t->scratch, t->predictor, err);
    if (rc != UMBRA_OK)
        return rc;
    t->row->bytes = umbra_predictor_bytes(t->predictor);
    t->row->macs = umbra_predictor_macs(t->predictor);
    t->spec = shadow ? &shadow->spec : NULL;
    if (!shadow || shadow->spec.averages == 0)
        return UMBRA_OK;
    t->averages = umbra_calloc(sources * (size_t)shadow->spec.averages * hidden, sizeof(float));
    return t->averages ? UMBRA_OK : umbra_fail_nomem(err, "the running averages", 0);
}

/* Gate, the shadows, roll, runahead: rows [first, first + N) of the evaluation's walks. */
static int open_tellers(run *r, int first, double residency, umbra_error *err)
{
    umbra_evaluation *e = r->e;
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < r->n_tellers; i++) {
        teller *t = &r->tellers[i];
        umbra_eval_walk *row = t->row = &e->walks[first + i];
        int shadow = i - 1;
        bool is_shadow = shadow >= 0 && shadow < e->n_shadows;
        row->kind = i == 0                  ? UMBRA_EVAL_GATE
                    : is_shadow             ? UMBRA_EVAL_SHADOW
                    : i == r->n_tellers - 2 ? UMBRA_EVAL_ROLL
                                            : UMBRA_EVAL_RUNAHEAD;
        row->shadow = is_shadow ? shadow : -1;
        row->residency = residency;
        t->experts = row->kind == UMBRA_EVAL_RUNAHEAD ? UMBRA_MAX_USED : 0;
        const char *name = i == 0                             ? "gate"
                           : row->kind == UMBRA_EVAL_ROLL     ? "roll"
                           : row->kind == UMBRA_EVAL_RUNAHEAD ? "runahead"
                                                              : NULL;
        for (int n = 0; n < e->n_rows && !name; n++)
            name = e->rows[n].shadow == shadow ? e->rows[n].name : NULL;
        snprintf(row->name, sizeof row->name, "%s", name);
        rc = open_row(e, row, err);
        if (rc == UMBRA_OK && (i == 0 || is_shadow))
            rc = open_predictor(r, t, err);
    }
    return rc;
}

static int open_tables(run *r, umbra_error *err)
{
    const umbra_trace_info *m = &r->e->model;
    size_t layers = (size_t)m->layers, reach = (size_t)r->e->walk_reach, used = (size_t)m->used;
    size_t n = (size_t)r->n_tellers, cells = 2 * n * reach * reach;
    r->tellers = umbra_calloc(n, sizeof *r->tellers);
    r->ordinal = umbra_calloc(layers, sizeof *r->ordinal);
    r->said = umbra_calloc(cells * used, sizeof *r->said);
    r->spoken = umbra_calloc(cells, sizeof *r->spoken);
    r->next = umbra_calloc(n * reach, sizeof *r->next);
    r->resident = umbra_calloc((size_t)m->experts, sizeof *r->resident);
    r->routing = umbra_calloc(UMBRA_EVAL_RUN_TOKENS * layers * used, sizeof *r->routing);
    r->scores = umbra_calloc((size_t)D * (size_t)m->experts, sizeof *r->scores);
    r->r = umbra_calloc((size_t)m->hidden, sizeof *r->r);
    if (!r->tellers || !r->ordinal || !r->said || !r->spoken || !r->next || !r->resident ||
        !r->routing || !r->scores || !r->r)
        return umbra_fail_nomem(err, "what walks say", cells * (used + 1) * sizeof *r->said);
    for (int l = 0, ordinal = 0; l < m->layers; l++)
        r->ordinal[l] = r->e->has_layer[l] ? ordinal++ : -1;
    return UMBRA_OK;
}

static void close_run(run *r)
{
    for (int i = 0; r->tellers && i < r->n_tellers; i++) {
        umbra_predictor_close(&r->tellers[i].predictor);
        umbra_predict_scratch_close(&r->tellers[i].scratch);
        umbra_free(r->tellers[i].averages);
    }
    umbra_walk_close(&r->walk);
    umbra_engine_close(&r->engine);
    umbra_free(r->tellers);
    umbra_free(r->ordinal);
    umbra_free(r->said);
    umbra_free(r->spoken);
    umbra_free(r->next);
    umbra_free(r->resident);
    umbra_free(r->routing);
    umbra_free(r->scores);
    umbra_free(r->r);
}

/* An engine with room for that share of the experts. */
static int open_engine(umbra_engine **out, const umbra_model *model, double residency, int threads,
                       umbra_error *err)
{
    int context = model->config.context;
    umbra_engine_options o = {
        .ram_bytes = UINT64_C(1) << 46,
        .context = context < UMBRA_EVAL_RUN_POSITIONS ? context : UMBRA_EVAL_RUN_POSITIONS,
        .chunk = 1,
        .threads = threads};
    umbra_memory_plan plan;
    int rc = umbra_engine_plan(model, &o, &plan, err);
    if (rc != UMBRA_OK)
        return rc;
    o.ram_bytes = plan.all_bytes - (uint64_t)((1 - residency) * (double)plan.expert_bytes);
    return umbra_engine_open(out, model, &o, err);
}

/* The index-th of n residencies. */
static int run_one(umbra_evaluation *e, const umbra_eval_input *in, const umbra_evaluate_options *o,
                   int index, int n, double residency, umbra_error *err)
{
    uint64_t tokens = o->walk_tokens > 0 ? o->walk_tokens : DEFAULT_TOKENS;
    run r = {.e = e,
             .in = in,
             .progress = o->progress,
             .n_tellers = FIXED_TELLERS + e->n_shadows,
             .done_before = (uint64_t)index * tokens,
             .all_tokens = (uint64_t)n * tokens,
             .err = err};
    int rc = open_tables(&r, err);
    if (rc == UMBRA_OK)
        rc = open_tellers(&r, index * r.n_tellers, residency, err);
    if (rc == UMBRA_OK)
        rc = open_engine(&r.engine, o->model, residency, e->threads, err);
    if (rc == UMBRA_OK)
        rc = umbra_walk_open(&r.walk, r.engine, err);
    if (rc == UMBRA_OK)
        rc = umbra_eval_run_decode(&r, tokens);
    if (rc == UMBRA_OK)
        umbra_eval_run_costs(&r);
    close_run(&r);
    return rc;
}

int umbra_eval_walks_check(const umbra_evaluation *e, const umbra_evaluate_options *o,
                           umbra_error *err)
{
    char hash[UMBRA_MODEL_HASH_CHARS];
    if (o->n_residencies < 0 || o->n_residencies > UMBRA_EVAL_MOST_RESIDENCIES)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d residencies: 0 to %d can be compared",
                          o->n_residencies, UMBRA_EVAL_MOST_RESIDENCIES);
    for (int i = 0; i < o->n_residencies; i++)
        if (!(o->residencies[i] > 0 && o->residencies[i] <= 1))
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "a residency of %g: a share of the experts, above 0 and at most 1",
                              o->residencies[i]);
    if (!o->model)
        return o->n_residencies == 0
                   ? UMBRA_OK
                   : umbra_fail(err, UMBRA_E_ARGUMENT,
                                "a residency says how much of a model is in memory: name the model "
                                "that the traces are of");
    int rc = umbra_model_hash(o->model, hash, err);
    if (rc == UMBRA_OK && strcmp(hash, e->model.model_hash) != 0)
        rc = umbra_fail(err, UMBRA_E_MISMATCH,
                        "%s is %s (hash %s), the traces of %s are of %s (hash %s)",
                        umbra_gguf_path(o->model->gguf), umbra_model_get_info(o->model)->name, hash,
                        e->folders[0].path, e->model.model_name, e->model.model_hash);
    return rc;
}

int umbra_eval_walks_run(umbra_evaluation *e, const umbra_eval_input *in,
                         const umbra_evaluate_options *o, umbra_error *err)
{
    const double *residencies = o->n_residencies > 0 ? o->residencies : default_residencies;
    int n = o->n_residencies > 0
                ? o->n_residencies
                : (int)(sizeof default_residencies / sizeof default_residencies[0]);
    int tellers = FIXED_TELLERS + e->n_shadows, rc = UMBRA_OK;
    if (!o->model)
        return UMBRA_OK;
    e->walk_reach = umbra_model_get_info(o->model)->moe_layers;
    e->walks = umbra_calloc((size_t)(n * tellers), sizeof *e->walks);
    if (!e->walks)
        return umbra_fail_nomem(err, "the table of walks", 0);
    e->n_walks = n * tellers;
    for (int i = 0; rc == UMBRA_OK && i < n; i++)
        rc = run_one(e, in, o, i, n, residencies[i], err);
    return rc;
}
