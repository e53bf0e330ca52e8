/* The table of umbra_bench_model: which setups there are, their turns, and the figures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "lab/bench/bench.h"

enum { MOST_ROUNDS = 1000, DEFAULT_ROUNDS = 5 };

typedef struct table {
    umbra_bench_run run;
    const umbra_bench_options *o;
    umbra_bench_setup *setups;   /* (n) */
    umbra_bench_sample *samples; /* (n, rounds) */
    double *rates;               /* (n_io) */
    double *peer;                /* (rounds) */
    int n, rounds, n_io, n_policies, n_drafts;
    bool shadow; /* there is one to bench */
    const char *const *io;
} table;

/* ---- setups ---- */

static const umbra_policy all_policies[] = {
    UMBRA_POLICY_OFF,      UMBRA_POLICY_PREVIOUS, UMBRA_POLICY_GATE,  UMBRA_POLICY_SHADOW,
    UMBRA_POLICY_RUNAHEAD, UMBRA_POLICY_AUTO,     UMBRA_POLICY_ORACLE};
static const char *const any_io[] = {"auto"};
static const uint64_t any_ram[] = {0};

/* Whether there is a shadow file that was named, or one beside the model that belongs to it. */
static bool has_shadow(const table *t)
{
    const umbra_bench_options *o = t->o;
    umbra_prefetch_options beside = {.policy = UMBRA_POLICY_SHADOW};
    umbra_engine_options engine = o->engine;
    umbra_error why = {0};
    if (o->shadow || !umbra_prefetch_has_shadow(t->run.model, NULL))
        return o->shadow != NULL;
    int rc = umbra_prefetch_fit(t->run.model, &engine, &beside, &why);
    if (rc != UMBRA_OK && o->warn)
        o->warn(o->user, why.message);
    return rc == UMBRA_OK;
}

static int allocate(table *t, size_t most, umbra_error *err)
{
    t->setups = umbra_calloc(most, sizeof *t->setups);
    t->samples = umbra_calloc(most * (size_t)t->rounds, sizeof *t->samples);
    t->rates = umbra_calloc((size_t)t->n_io, sizeof *t->rates);
    t->peer = umbra_calloc((size_t)t->rounds, sizeof *t->peer);
    return t->setups && t->samples && t->rates && t->peer
               ? UMBRA_OK
               : umbra_fail_nomem(err, "the benchmark's table", 0);
}

static void add_setup(table *t, umbra_policy policy, const char *io, uint64_t ram,
                      const umbra_bench_draft *draft)
{
    umbra_bench_setup *s = &t->setups[t->n++];
    bool off = !draft->told && draft->source == UMBRA_DRAFT_OFF;
    *s = (umbra_bench_setup){.policy = policy, .io = io, .ram = ram, .draft = *draft};
    snprintf(s->name, sizeof s->name, "%s%s%.32s", umbra_policy_name(policy), off ? "" : "+",
             off ? "" : draft->word);
}

/* Drafts by running ahead need that policy; shadows that nobody named may be missing. */
static bool is_possible(const table *t, umbra_policy policy, const umbra_bench_draft *draft)
{
    if (draft->source == UMBRA_DRAFT_RUNAHEAD && policy != UMBRA_POLICY_RUNAHEAD)
        return false;
    return t->shadow || t->o->n_policies > 0 || policy != UMBRA_POLICY_SHADOW;
}

/* Every policy with every way to draft. */
static int add_policies(table *t, const char *io, uint64_t ram, umbra_error *err)
{
    const umbra_bench_options *o = t->o;
    static const char *const no_drafts[] = {"off"};
    const umbra_policy *policies = o->n_policies > 0 ? o->policies : all_policies;
    const char *const *drafts = o->n_drafts > 0 ? o->drafts : no_drafts;
    umbra_bench_draft draft;
    int rc = UMBRA_OK;
    for (int p = 0; p < t->n_policies; p++)
        for (int d = 0; rc == UMBRA_OK && d < t->n_drafts; d++) {
            rc = umbra_bench_parse_draft(drafts[d], &draft, err);
            if (rc == UMBRA_OK && is_possible(t, policies[p], &draft))
                add_setup(t, policies[p], io, ram, &draft);
        }
    return rc;
}

static int make_setups(table *t, umbra_error *err)
{
    const umbra_bench_options *o = t->o;
    const uint64_t *ram = o->n_ram > 0 ? o->ram : any_ram;
    int n_ram = o->n_ram > 0 ? o->n_ram : 1;
    t->n_policies =
        o->n_policies > 0 ? o->n_policies : (int)(sizeof all_policies / sizeof *all_policies);
    t->n_drafts = o->n_drafts > 0 ? o->n_drafts : 1;
    t->io = o->n_io > 0 ? o->io : any_io;
    t->n_io = o->n_io > 0 ? o->n_io : 1;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc != UMBRA_OK)
        return rc;
    t->rounds = o->rounds > 0 ? o->rounds : DEFAULT_ROUNDS;
    if (t->rounds > MOST_ROUNDS)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d rounds: at most %d", t->rounds,
                          (int)MOST_ROUNDS);
    rc = allocate(
        t, 1 + (size_t)t->n_io * (size_t)n_ram * (size_t)t->n_policies * (size_t)t->n_drafts, err);
    if (rc != UMBRA_OK)
        return rc;

    umbra_engine_options all = o->engine;
    umbra_memory_plan plan;
    all.ram_bytes = 0;
    rc = umbra_engine_plan(t->run.model, &all, &plan, err);
    if (rc == UMBRA_OK && plan.residency == 1)
        t->setups[t->n++] = (umbra_bench_setup){.policy = UMBRA_POLICY_OFF,
                                                .io = "memory",
                                                .resident = true,
                                                .draft.source = UMBRA_DRAFT_OFF,
                                                .name = "resident"};
    rc = rc == UMBRA_E_BUDGET ? UMBRA_OK : rc;
    t->shadow = has_shadow(t);
    for (int i = 0; i < t->n_io; i++)
        for (int r = 0; rc == UMBRA_OK && r < n_ram; r++)
            rc = add_policies(t, t->io[i], ram[r], err);
    return rc;
}

/* ---- turns ---- */

static int run_round(table *t, int round, umbra_bench_row *rows, umbra_error *err)
{
    bool record = round == t->rounds - 1;
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < t->n; i++) {
        umbra_bench_sample *s = &t->samples[i * t->rounds + round];
        umbra_progress_report(t->o->engine.progress, "measuring", "runs",
                              (uint64_t)(round * t->n + i), (uint64_t)(t->rounds * t->n));
        rc = umbra_bench_run_once(&t->run, &t->setups[i], record, s, err);
        if (rc == UMBRA_OK && record)
            rc = umbra_bench_timeline(&rows[i], &t->run, err);
    }
    if (rc == UMBRA_OK && t->o->against)
        rc = umbra_bench_peer(t->o->against, &t->peer[round], err);
    return rc;
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static umbra_spread spread_of(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (umbra_spread){values[n / 2], values[0], values[n - 1]};
}

/* The round whose speed is the median that spread_of takes. */
static const umbra_bench_sample *median_sample(const table *t, int setup)
{
    const umbra_bench_sample *s = &t->samples[setup * t->rounds];
    for (int i = 0; i < t->rounds; i++) {
        int below = 0;
        for (int k = 0; k < t->rounds; k++)
            below += s[k].seconds > s[i].seconds || (s[k].seconds == s[i].seconds && k < i);
        if (below == t->rounds / 2)
            return &s[i];
    }
    return s;
}

static void fill_row(const table *t, int setup, umbra_bench_row *row, double *speeds)
{
    const umbra_bench_setup *s = &t->setups[setup];
    const umbra_bench_sample *m = median_sample(t, setup);
    double tokens = t->run.tokens;
    for (int i = 0; i < t->rounds; i++)
        speeds[i] = tokens / t->samples[setup * t->rounds + i].seconds;
    const umbra_store_stats *st = &m->store;
    row->policy = row->name;
    memcpy(row->name, s->name, sizeof row->name);
    row->drafts = m->drafts;
    row->recall = m->recall;
    row->io = s->io;
    row->ram_bytes = m->plan.ram_bytes;
    row->residency = m->plan.residency;
    row->tok_s = spread_of(speeds, t->rounds);
    row->token_s = m->seconds / tokens;
    uint64_t asked = st->hits + st->late + st->misses;
    row->hits = asked > 0 ? (double)st->hits / (double)asked : 0;
    row->bytes_per_token = (double)st->bytes_read / tokens;
    row->stall_s = (double)st->wait_ns * 1e-9 / tokens;
    row->predict_s = (double)m->prefetch.runner.predict_ns * 1e-9 / tokens;
    row->on =
        m->prefetch.tokens > 0 ? (double)m->prefetch.tokens_on / (double)m->prefetch.tokens : 0;
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        const umbra_ahead_stats *a = &st->ahead[d];
        row->distance_bytes[d][0] = (double)a->useful_bytes / tokens;
        row->distance_bytes[d][1] = (double)a->late_bytes / tokens;
        row->distance_bytes[d][2] = (double)a->wasted_bytes / tokens;
        row->useful_bytes += row->distance_bytes[d][0];
        row->late_bytes += row->distance_bytes[d][1];
        row->wasted_bytes += row->distance_bytes[d][2];
    }
}

static double rate_of(const table *t, const char *io)
{
    for (int i = 0; i < t->n_io; i++)
        if (t->io[i] == io)
            return t->rates[i];
    return 0;
}

static bool is_off(const umbra_bench_setup *s)
{
    return s->policy == UMBRA_POLICY_OFF && !s->resident && !s->draft.told &&
           s->draft.source == UMBRA_DRAFT_OFF;
}

/* The row of policy off with the same backend and budget; NULL if it was not measured. */
static const umbra_bench_row *off_row(const table *t, const umbra_bench_row *rows, int setup)
{
    for (int i = 0; i < t->n; i++)
        if (is_off(&t->setups[i]) && t->setups[i].io == t->setups[setup].io &&
            t->setups[i].ram == t->setups[setup].ram)
            return &rows[i];
    return NULL;
}

static void fill_bounds(const table *t, umbra_bench_row *rows)
{
    const umbra_bench_row *resident = t->n > 0 && t->setups[0].resident ? &rows[0] : NULL;
    for (int i = 0; i < t->n; i++) {
        umbra_bench_row *row = &rows[i];
        const umbra_bench_row *off = off_row(t, rows, i);
        row->disk_bytes_per_s = rate_of(t, row->io);
        if (row->disk_bytes_per_s > 0) {
            row->disk_busy = row->bytes_per_token / row->disk_bytes_per_s / row->token_s;
            row->io_s = (off ? off : row)->bytes_per_token / row->disk_bytes_per_s;
        }
        row->compute_is_estimate = !resident;
        /* Experts that are used for the first time are waited for even there. */
        row->compute_s = resident ? resident->token_s - resident->stall_s
                         : off    ? off->token_s - off->stall_s
                                  : row->token_s - row->stall_s;
        row->bound_share = (row->compute_s > row->io_s ? row->compute_s : row->io_s) / row->token_s;
    }
}

static int measure_all(table *t, umbra_bench *out, umbra_error *err)
{
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < t->n_io; i++)
        rc = umbra_bench_disk(&t->run, t->io[i], &t->rates[i], err);
    for (int round = 0; rc == UMBRA_OK && round < t->rounds; round++)
        rc = run_round(t, round, out->rows, err);
    double *speeds = umbra_calloc((size_t)t->rounds, sizeof *speeds);
    if (rc == UMBRA_OK && !speeds)
        rc = umbra_fail_nomem(err, "the benchmark's table", 0);
    for (int i = 0; rc == UMBRA_OK && i < t->n; i++)
        fill_row(t, i, &out->rows[i], speeds);
    umbra_free(speeds);
    if (rc == UMBRA_OK) {
        fill_bounds(t, out->rows);
        out->against_tok_s = spread_of(t->peer, t->rounds);
    }
    return rc;
}

/* Without a name of their own, models go by their file's. */
static void describe(const table *t, umbra_bench *out)
{
    const umbra_memory_plan *plan = &t->samples[0].plan;
    const umbra_model_info *info = t->run.info;
    strncpy(out->model, info->name, sizeof out->model - 1);
    out->layers = info->layers;
    out->expert_bytes = info->expert_bytes;
    out->tokens = t->run.tokens;
    out->warm_tokens = t->run.total - t->run.tokens - t->run.prompt;
    out->rounds = t->rounds;
    out->threads = plan->threads;
    out->kernels = plan->kernels;
    out->against = t->o->against;
}

int umbra_bench_model(umbra_bench **out, const umbra_model *model,
                      const umbra_bench_options *options, umbra_error *err)
{
    static const umbra_bench_options defaults = {0};
    *out = NULL;
    options = options ? options : &defaults;
    table t = {.run = {.model = model, .info = umbra_model_get_info(model), .o = options},
               .o = options};
    umbra_bench *b = umbra_calloc(1, sizeof *b);
    int rc = b ? make_setups(&t, err) : umbra_fail_nomem(err, "the benchmark", sizeof *b);
    if (rc == UMBRA_OK) {
        b->rows = umbra_calloc((size_t)t.n, sizeof *b->rows);
        b->n_rows = t.n;
        rc = b->rows ? UMBRA_OK : umbra_fail_nomem(err, "the benchmark's table", 0);
    }
    umbra_bench_setup first = t.n > 0 ? t.setups[t.n - 1] : (umbra_bench_setup){0};
    first.policy = UMBRA_POLICY_OFF;
    first.draft = (umbra_bench_draft){.source = UMBRA_DRAFT_OFF};
    if (rc == UMBRA_OK)
        rc = umbra_bench_write_text(&t.run, &first, err);
    if (rc == UMBRA_OK)
        rc = measure_all(&t, b, err);
    if (rc == UMBRA_OK)
        describe(&t, b);
    umbra_bench_run_release(&t.run);
    umbra_free(t.setups);
    umbra_free(t.samples);
    umbra_free(t.rates);
    umbra_free(t.peer);
    if (rc != UMBRA_OK)
        umbra_bench_free(&b);
    *out = b;
    return rc;
}

void umbra_bench_free(umbra_bench **bench)
{
    umbra_bench *b = *bench;
    if (!b)
        return;
    for (int i = 0; i < b->n_rows && b->rows; i++) {
        umbra_free(b->rows[i].layer_stall_s);
        umbra_free(b->rows[i].events);
    }
    umbra_free(b->rows);
    umbra_free(b);
    *bench = NULL;
}
