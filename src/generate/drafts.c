/* Where drafts come from, and how many of them a step checks. */
#include "generate/drafts.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/engine.h"

enum {
    MOST_SOURCES = UMBRA_DRAFT_SOURCES,
    PAPER = 256 /* last tokens of a prompt on which free drafts are tried: those of a text alike */
};

static const double recent_step = 1.0 / 8; /* the newest one's part in what a step computes */

struct umbra_drafts {
    umbra_engine *engine;
    const umbra_clock *clock;
    int most;
    bool gated;
    umbra_draft_source source[MOST_SOURCES];
    int first_kind[MOST_SOURCES]; /* of the gate's */
    int n_sources;
    umbra_gate gate;
    int sequence, length; /* of the text that the sources know */
    /* The step in progress. */
    int32_t token[UMBRA_DRAFT_MOST];
    int checked, from; /* drafts, of which source */
    uint64_t begun_ns, made_ns, waited_ns, asked_experts;
    double seconds;   /* of all steps */
    double alone_s;   /* of those without drafts */
    double compute_s; /* of a step without drafts but for waiting; 0: not known */
    umbra_draft_stats stats;
};

const char *umbra_draft_name(umbra_draft draft)
{
    static const char *const names[UMBRA_DRAFT_SOURCES] = {
        [UMBRA_DRAFT_AUTO] = "auto",     [UMBRA_DRAFT_OFF] = "off",
        [UMBRA_DRAFT_LOOKUP] = "lookup", [UMBRA_DRAFT_RUNAHEAD] = "runahead",
        [UMBRA_DRAFT_MTP] = "mtp",
    };
    return (unsigned)draft < UMBRA_DRAFT_SOURCES ? names[draft] : NULL;
}

int umbra_draft_parse(const char *name, umbra_draft *out, umbra_error *err)
{
    umbra_draft d = UMBRA_DRAFT_AUTO;
    while (name && umbra_draft_name(d) && strcmp(name, umbra_draft_name(d)) != 0)
        d++;
    if (!umbra_draft_name(d))
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "no source of drafts is called \"%s\"; there are auto, off, lookup, "
                          "runahead, mtp",
                          name);
    *out = d;
    return UMBRA_OK;
}

static int check(const umbra_draft_options *o, umbra_error *err)
{
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK && !umbra_draft_name(o->source))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no source of drafts %d", (int)o->source);
    if (rc == UMBRA_OK && (o->most < 0 || o->most > UMBRA_DRAFT_MOST))
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d drafts of a step: must be 1 to %d", o->most,
                          (int)UMBRA_DRAFT_MOST);
    return rc;
}

int umbra_drafts_fit(const umbra_model *model, umbra_engine_options *engine, umbra_draft_options *o,
                     umbra_error *err)
{
    umbra_memory_plan plan;
    int rc = check(o, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t others = engine->reserved_bytes;
    if (engine->ranks && engine->ranks->count > 1 && o->source != UMBRA_DRAFT_LOOKUP)
        o->source = UMBRA_DRAFT_OFF;
    rc = umbra_engine_plan(model, engine, &plan, err);
    if (rc != UMBRA_OK) /* where the budget is too small, that is told at opening */
        return rc == UMBRA_E_BUDGET ? UMBRA_OK : rc;
    engine->reserved_bytes += umbra_draft_sources_bytes(o->source, model, &plan);
    if (o->source != UMBRA_DRAFT_AUTO)
        return UMBRA_OK;
    rc = umbra_engine_plan(model, engine, &plan, err);
    if (rc == UMBRA_E_BUDGET) {
        o->source = UMBRA_DRAFT_OFF;
        engine->reserved_bytes = others;
        rc = UMBRA_OK;
    }
    return rc;
}

static void join(umbra_drafts *d, const umbra_draft_source *source)
{
    int at = d->n_sources++;
    d->source[at] = *source;
    d->first_kind[at] = at > 0 ? d->first_kind[at - 1] + d->source[at - 1].kinds : 0;
}

int umbra_drafts_open_with(umbra_drafts **out, umbra_engine *engine,
                           const umbra_draft_options *options, const umbra_draft_source *source,
                           bool gated, const umbra_clock *clock, umbra_error *err)
{
    static const umbra_draft_options defaults = {0};
    const umbra_draft_options *o = options ? options : &defaults;
    *out = NULL;
    int rc = check(o, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_drafts *d = umbra_calloc(1, sizeof *d);
    if (!d)
        return umbra_fail_nomem(err, "drafting", sizeof *d);
    /* Ranks must all check the same drafts, and each has a clock and a cache of its own. */
    bool alone = umbra_engine_ranks(engine) == 1 || o->source == UMBRA_DRAFT_LOOKUP;
    umbra_draft asked = alone ? o->source : UMBRA_DRAFT_OFF;
    d->engine = engine;
    d->clock = clock ? clock : umbra_clock_real();
    d->stats.source = asked;
    d->gated = gated || asked == UMBRA_DRAFT_AUTO || asked == UMBRA_DRAFT_MTP;
    d->most = o->most ? o->most : d->gated ? UMBRA_DRAFT_MOST : UMBRA_DRAFT_USUAL;
    d->sequence = -1;
    umbra_gate_init(&d->gate, d->most);
    if (source)
        join(d, source);
    umbra_draft_source opened[MOST_SOURCES];
    int n = 0;
    if (!source)
        rc = umbra_draft_sources_open(asked, engine, o, opened, &n, err);
    for (int i = 0; i < n; i++)
        join(d, &opened[i]);
    if (rc != UMBRA_OK)
        umbra_drafts_close(&d);
    *out = d;
    return rc;
}

int umbra_drafts_open(umbra_drafts **out, umbra_engine *engine, const umbra_draft_options *options,
                      umbra_error *err)
{
    return umbra_drafts_open_with(out, engine, options, NULL, false, NULL, err);
}

void umbra_drafts_close(umbra_drafts **drafts)
{
    umbra_drafts *d = *drafts;
    if (!d)
        return;
    for (int i = 0; i < d->n_sources; i++)
        if (d->source[i].close)
            d->source[i].close(d->source[i].self);
    umbra_free(d);
    *drafts = NULL;
}

void umbra_drafts_get_stats(const umbra_drafts *d, umbra_draft_stats *out)
{
    uint64_t alone = d->stats.steps - d->stats.checks;
    *out = d->stats;
    if (alone > 0 && d->seconds > 0)
        out->gain = (double)d->stats.tokens * d->alone_s / (double)alone / d->seconds;
}

/* ---- a step ---- */

static uint64_t now_ns(const umbra_drafts *d)
{
    return d->clock->now_ns(d->clock->user);
}

static uint64_t experts_asked(const umbra_drafts *d)
{
    umbra_store_stats s;
    umbra_engine_get_store_stats(d->engine, &s);
    return s.hits + s.late + s.misses;
}

static void add(umbra_drafts *d, const int32_t *tokens, int n)
{
    for (int i = 0; i < d->n_sources; i++)
        d->source[i].add(d->source[i].self, tokens, n);
    d->length += n;
}

void umbra_drafts_rows(umbra_drafts *d, const umbra_rows *rows)
{
    for (int i = 0; i < d->n_sources; i++)
        if (d->source[i].rows)
            d->source[i].rows(d->source[i].self, rows);
}

/* Drafts of one source, in the time that it takes. */
static int make(umbra_drafts *d, int from, int most, int32_t *out, int *kind)
{
    const umbra_draft_source *s = &d->source[from];
    uint64_t start_ns = now_ns(d);
    int n = s->make(s->self, most, out, kind);
    uint64_t took_ns = now_ns(d) - start_ns;
    *kind += d->first_kind[from];
    d->made_ns += took_ns;
    umbra_gate_made(&d->gate, *kind, out, n, s->free ? 0 : (double)took_ns * 1e-9);
    return n;
}

/* A source learns a prompt. Where drafts cost nothing, they are made on the way and held against
 * what stands there: what nothing good comes of need not be tried in earnest. */
static void read_prompt(umbra_drafts *d, int from, const int32_t *tokens, int n)
{
    const umbra_draft_source *s = &d->source[from];
    int32_t drafts[UMBRA_DRAFT_MOST];
    int kind, known = s->free && d->gated ? n - PAPER : n;
    known = known > 0 ? known : 0;
    s->add(s->self, tokens, known);
    for (int i = known; i < n; i++) {
        make(d, from, d->most, drafts, &kind);
        s->add(s->self, tokens + i, 1);
        umbra_gate_came(&d->gate, tokens[i]);
    }
    umbra_gate_forget(&d->gate);
}

void umbra_drafts_begin(umbra_drafts *d, int sequence, int length, const int32_t *tokens, int n,
                        int32_t next)
{
    bool goes_on = sequence == d->sequence && length <= d->length;
    d->sequence = sequence;
    d->length = goes_on ? length : 0;
    umbra_gate_forget(&d->gate);
    for (int i = 0; i < d->n_sources; i++)
        d->source[i].begin(d->source[i].self, sequence, d->length);
    for (int i = 0; i < d->n_sources; i++)
        read_prompt(d, i, tokens, n);
    d->length += n;
    add(d, &next, 1);
}

/* What a source offers for this step: its drafts where they are free, else how many it could make,
 * of its first kind. */
typedef struct offer {
    int32_t token[UMBRA_DRAFT_MOST];
    int n, kind;
    double rate;
} offer;

static offer offer_of(umbra_drafts *d, int from, int most)
{
    offer o = {.n = most, .kind = d->first_kind[from]};
    umbra_gate_expect(&d->gate, o.kind, d->source[from].effort * d->compute_s);
    if (d->source[from].free)
        o.n = make(d, from, d->most, o.token, &o.kind);
    o.n = o.n < most ? o.n : most;
    o.rate = umbra_gate_rate(&d->gate, o.kind, o.n);
    return o;
}

/* The gate chooses among what the sources offer: the best first, and where that is not to be had,
 * one of the others that is to be tried. */
static int choose(umbra_drafts *d, int most, int32_t *out)
{
    offer offers[MOST_SOURCES];
    int best = 0;
    for (int i = 0; i < d->n_sources; i++) {
        offers[i] = offer_of(d, i, most);
        if (offers[i].rate > offers[best].rate)
            best = i;
    }
    for (int i = 0; i < d->n_sources; i++) {
        int from = i == 0 ? best : i <= best ? i - 1 : i;
        int kind, n = umbra_gate_choose(&d->gate, offers[from].kind, offers[from].n);
        if (n > 0 && !d->source[from].free)
            n = make(d, from, n, offers[from].token, &kind);
        if (n > 0)
            memcpy(out, offers[from].token, (size_t)n * sizeof *out);
        d->from = from;
        if (n > 0 || d->gate.trying)
            return n;
    }
    return 0;
}

int umbra_drafts_make(umbra_drafts *d, int most, int32_t *out)
{
    int kind;
    d->begun_ns = now_ns(d);
    d->made_ns = 0;
    d->waited_ns = umbra_store_waited_ns(umbra_engine_store(d->engine));
    d->asked_experts = experts_asked(d);
    d->from = d->checked = 0;
    most = most < d->most ? most : d->most;
    if (d->n_sources == 0 || most < 1)
        return 0;
    d->checked = d->gated ? choose(d, most, out) : make(d, 0, most, out, &kind);
    return d->checked;
}

static double waited_s(const umbra_drafts *d)
{
    return (double)(umbra_store_waited_ns(umbra_engine_store(d->engine)) - d->waited_ns) * 1e-9;
}

static void learn_compute(umbra_drafts *d, double compute_s)
{
    d->compute_s += d->compute_s > 0 ? recent_step * (compute_s - d->compute_s) : compute_s;
}

void umbra_drafts_end(umbra_drafts *d, const int32_t *tokens, int n)
{
    double seconds = (double)(now_ns(d) - d->begun_ns) * 1e-9;
    bool checks = d->checked > 0;
    uint64_t experts = experts_asked(d) - d->asked_experts;
    const umbra_step_cost cost = {.seconds = seconds - (double)d->made_ns * 1e-9,
                                  .waited_s = waited_s(d),
                                  .experts = (double)experts};
    umbra_gate_step(&d->gate, d->checked, n, &cost);
    for (int i = 0; i < n; i++)
        umbra_gate_came(&d->gate, tokens[i]);
    add(d, tokens, n);
    d->seconds += seconds;
    if (!checks) {
        d->alone_s += seconds;
        learn_compute(d, seconds - cost.waited_s);
    }
    d->stats.tokens += (uint64_t)n;
    d->stats.steps++;
    d->stats.checks += checks;
    *(checks ? &d->stats.check_experts : &d->stats.step_experts) += experts;
    if (checks) {
        umbra_draft name = d->source[d->from].name;
        d->stats.drafted[name] += (uint64_t)d->checked;
        d->stats.accepted[name] += (uint64_t)n - 1;
    }
}
