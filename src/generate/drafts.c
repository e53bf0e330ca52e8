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

/* Of a sequence. */
typedef struct draft_text {
    int length;  /* of the text that the sources know */
    int checked; /* drafts, in the step in progress */
    umbra_watch watch;
} draft_text;

/* What a source has for a text in the step in progress, if making drafts is free. */
typedef struct made {
    int32_t token[UMBRA_DRAFT_MOST];
} made;

struct umbra_drafts {
    umbra_engine *engine;
    const umbra_clock *clock;
    int most;
    bool gated;
    umbra_draft_source source[MOST_SOURCES];
    int first_kind[MOST_SOURCES]; /* of the gate's */
    int n_sources, sequences;
    umbra_gate gate;
    draft_text *text;    /* (sequences) */
    made *made;          /* (n_sources, sequences) by the step's texts, */
    umbra_offer *offers; /* and what each source offers of each */
    /* The step in progress. */
    int from; /* which source's drafts it checks, */
    int rows; /* and how many of them */
    bool beside;
    uint64_t begun_ns, made_ns, waited_ns, asked_experts;
    double seconds;               /* of all steps that read no prompt */
    double alone_s, alone_tokens; /* of those without drafts */
    double compute_s; /* of a row of a step without drafts but for waiting; 0: not known */
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
    int sequences = engine->sequences > 0 ? engine->sequences : 1;
    engine->reserved_bytes += umbra_draft_sources_bytes(o->source, model, &plan, sequences);
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

static int allocate(umbra_drafts *d, int sequences, umbra_error *err)
{
    size_t n = (size_t)sequences;
    d->sequences = sequences;
    d->text = umbra_calloc(n, sizeof *d->text);
    d->made = umbra_calloc(n * MOST_SOURCES, sizeof *d->made);
    d->offers = umbra_calloc(n * MOST_SOURCES, sizeof *d->offers);
    return d->text && d->made && d->offers ? UMBRA_OK
                                           : umbra_fail_nomem(err, "drafting", n * sizeof *d->text);
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
    rc = allocate(d, umbra_engine_sequences(engine), err);
    if (rc != UMBRA_OK) {
        umbra_drafts_close(&d);
        return rc;
    }
    /* Ranks must all check the same drafts, and each has a clock and a cache of its own. */
    bool alone = umbra_engine_ranks(engine) == 1 || o->source == UMBRA_DRAFT_LOOKUP;
    umbra_draft asked = alone ? o->source : UMBRA_DRAFT_OFF;
    d->engine = engine;
    d->clock = clock ? clock : umbra_clock_real();
    d->stats.source = asked;
    d->gated = gated || asked == UMBRA_DRAFT_AUTO || asked == UMBRA_DRAFT_MTP;
    d->most = o->most ? o->most : d->gated ? UMBRA_DRAFT_MOST : UMBRA_DRAFT_USUAL;
    umbra_gate_init(&d->gate);
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
    umbra_free(d->text);
    umbra_free(d->made);
    umbra_free(d->offers);
    umbra_free(d);
    *drafts = NULL;
}

void umbra_drafts_get_stats(const umbra_drafts *d, umbra_draft_stats *out)
{
    *out = d->stats;
    if (d->alone_tokens > 0 && d->seconds > 0)
        out->gain = (double)d->stats.tokens * d->alone_s / d->alone_tokens / d->seconds;
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

static void add(umbra_drafts *d, int sequence, const int32_t *tokens, int n)
{
    for (int i = 0; i < d->n_sources; i++)
        d->source[i].add(d->source[i].self, sequence, tokens, n);
    d->text[sequence].length += n;
}

void umbra_drafts_rows(umbra_drafts *d, const umbra_rows *rows)
{
    for (int i = 0; i < d->n_sources; i++)
        if (d->source[i].rows)
            d->source[i].rows(d->source[i].self, rows);
}

void umbra_drafts_cut(umbra_drafts *d, int sequence, int length)
{
    for (int i = 0; i < d->n_sources; i++)
        if (d->source[i].cut)
            d->source[i].cut(d->source[i].self, sequence, length);
}

void umbra_drafts_fork(umbra_drafts *d, int from, int to)
{
    for (int i = 0; i < d->n_sources; i++)
        if (d->source[i].fork)
            d->source[i].fork(d->source[i].self, from, to);
}

/* Drafts of one source for one text, in the time that it takes. */
static int make(umbra_drafts *d, int from, int sequence, int most, int32_t *out, int *kind)
{
    const umbra_draft_source *s = &d->source[from];
    uint64_t start_ns = now_ns(d);
    int n = s->make(s->self, sequence, most, out, kind);
    uint64_t took_ns = now_ns(d) - start_ns;
    *kind += d->first_kind[from];
    d->made_ns += took_ns;
    umbra_gate_made(&d->gate, &d->text[sequence].watch, *kind, out, n,
                    s->free ? 0 : (double)took_ns * 1e-9);
    return n;
}

/* A source learns a prompt. Where drafts cost nothing, they are made on the way and held against
 * what stands there: what nothing good comes of need not be tried in earnest. */
static void read_prompt(umbra_drafts *d, int from, int sequence, const int32_t *tokens, int n)
{
    const umbra_draft_source *s = &d->source[from];
    umbra_watch *watch = &d->text[sequence].watch;
    int32_t drafts[UMBRA_DRAFT_MOST];
    int kind, known = s->free && d->gated ? n - PAPER : n;
    known = known > 0 ? known : 0;
    s->add(s->self, sequence, tokens, known);
    for (int i = known; i < n; i++) {
        make(d, from, sequence, d->most, drafts, &kind);
        s->add(s->self, sequence, tokens + i, 1);
        umbra_gate_came(&d->gate, watch, tokens[i]);
    }
    umbra_gate_forget(&d->gate, watch, true);
}

void umbra_drafts_begin(umbra_drafts *d, int sequence, int length, const int32_t *tokens, int n,
                        int32_t next)
{
    draft_text *t = &d->text[sequence];
    t->length = length <= t->length ? length : 0;
    umbra_gate_forget(&d->gate, &t->watch, false);
    for (int i = 0; i < d->n_sources; i++)
        d->source[i].begin(d->source[i].self, sequence, t->length);
    for (int i = 0; i < d->n_sources; i++)
        read_prompt(d, i, sequence, tokens, n);
    t->length += n;
    add(d, sequence, &next, 1);
}

/* ---- choosing ---- */

static int least_of(int a, int b)
{
    return a < b ? a : b;
}

static umbra_offer *offers_of(const umbra_drafts *d, int from)
{
    return d->offers + (size_t)from * (size_t)d->sequences;
}

static made *made_of(const umbra_drafts *d, int from)
{
    return d->made + (size_t)from * (size_t)d->sequences;
}

/* What a source offers for this step: its drafts where they are free, else how many it could make,
 * of its first kind. Returns what that is worth. */
static double ask(umbra_drafts *d, int from, const umbra_drafted *texts, int n, int room)
{
    umbra_offer *offers = offers_of(d, from);
    const umbra_draft_source *s = &d->source[from];
    umbra_gate_expect(&d->gate, d->first_kind[from], s->effort * d->compute_s);
    for (int i = 0; i < n; i++) {
        umbra_offer *o = &offers[i];
        *o = (umbra_offer){.kind = d->first_kind[from], .n = d->most};
        if (s->free)
            o->n = make(d, from, texts[i].sequence, d->most, made_of(d, from)[i].token, &o->kind);
        o->n = least_of(o->n, texts[i].most);
    }
    return umbra_gate_rate(&d->gate, offers, n, room);
}

/* The drafts that were chosen of a source's. Returns how many. */
static int take_offers(umbra_drafts *d, int from, umbra_drafted *texts, int n)
{
    const umbra_offer *offers = offers_of(d, from);
    int all = 0, kind;
    for (int i = 0; i < n; i++) {
        umbra_drafted *t = &texts[i];
        t->n = offers[i].taken;
        if (t->n > 0 && d->source[from].free)
            memcpy(t->token, made_of(d, from)[i].token, (size_t)t->n * sizeof *t->token);
        else if (t->n > 0)
            t->n = make(d, from, t->sequence, t->n, t->token, &kind);
        all += t->n;
    }
    return all;
}

/* The gate chooses among what the sources offer: the best first, and where that is not to be had,
 * one of the others that is to be tried. */
static int choose(umbra_drafts *d, umbra_drafted *texts, int n, int room)
{
    double rate[MOST_SOURCES];
    int best = 0;
    for (int i = 0; i < d->n_sources; i++) {
        rate[i] = ask(d, i, texts, n, room);
        if (rate[i] > rate[best])
            best = i;
    }
    for (int i = 0; i < d->n_sources; i++) {
        int from = i == 0 ? best : i <= best ? i - 1 : i;
        int all = umbra_gate_choose(&d->gate, offers_of(d, from), n, room);
        if (all > 0)
            all = take_offers(d, from, texts, n);
        d->from = from;
        if (all > 0 || d->gate.trying)
            return all;
    }
    return 0;
}

/* All that the one source makes. */
static int make_all(umbra_drafts *d, umbra_drafted *texts, int n, int room)
{
    int all = 0, kind;
    for (int i = 0; i < n; i++) {
        int most = least_of(least_of(texts[i].most, d->most), room - all);
        texts[i].n = most > 0 ? make(d, 0, texts[i].sequence, most, texts[i].token, &kind) : 0;
        all += texts[i].n;
    }
    return all;
}

int umbra_drafts_make(umbra_drafts *d, umbra_drafted *texts, int n, int room, bool beside)
{
    d->begun_ns = now_ns(d);
    d->made_ns = 0;
    d->waited_ns = umbra_store_waited_ns(umbra_engine_store(d->engine));
    d->asked_experts = experts_asked(d);
    d->from = d->rows = 0;
    d->beside = beside;
    for (int i = 0; i < n; i++)
        texts[i].n = 0;
    if (d->n_sources > 0 && room > 0 && !d->gated)
        d->rows = make_all(d, texts, n, room);
    else if (d->n_sources > 0 && room > 0 && !beside)
        d->rows = choose(d, texts, n, room);
    for (int i = 0; i < n; i++)
        d->text[texts[i].sequence].checked = texts[i].n;
    return d->rows;
}

/* ---- what came ---- */

static double waited_s(const umbra_drafts *d)
{
    return (double)(umbra_store_waited_ns(umbra_engine_store(d->engine)) - d->waited_ns) * 1e-9;
}

static void learn_compute(umbra_drafts *d, double compute_s)
{
    d->compute_s += d->compute_s > 0 ? recent_step * (compute_s - d->compute_s) : compute_s;
}

/* What a step took that gave so many tokens; beside a prompt that says nothing of drafts. */
static void learn_cost(umbra_drafts *d, int texts, int tokens, uint64_t experts)
{
    double seconds = (double)(now_ns(d) - d->begun_ns) * 1e-9;
    const umbra_step_cost cost = {.seconds = seconds - (double)d->made_ns * 1e-9,
                                  .waited_s = waited_s(d)};
    umbra_gate_step(&d->gate, texts, d->rows, tokens, &cost);
    d->seconds += seconds;
    d->stats.tokens += (uint64_t)tokens;
    d->stats.steps++;
    d->stats.checks += d->rows > 0;
    *(d->rows > 0 ? &d->stats.check_experts : &d->stats.step_experts) += experts;
    if (d->rows > 0)
        return;
    d->alone_s += seconds;
    d->alone_tokens += tokens;
    learn_compute(d, (seconds - cost.waited_s) / texts);
}

static void count_drafts(umbra_drafts *d, const draft_text *t, int came)
{
    if (t->checked == 0)
        return;
    umbra_draft name = d->source[d->from].name;
    d->stats.drafted[name] += (uint64_t)t->checked;
    d->stats.accepted[name] += came > 0 ? (uint64_t)came - 1 : 0;
}

void umbra_drafts_end(umbra_drafts *d, const umbra_drafted *texts, int n)
{
    uint64_t experts = experts_asked(d) - d->asked_experts, tokens = 0;
    for (int i = 0; i < n; i++)
        tokens += (uint64_t)texts[i].n;
    if (!d->beside && tokens > 0)
        learn_cost(d, n, (int)tokens, experts);
    for (int i = 0; i < n; i++) {
        draft_text *t = &d->text[texts[i].sequence];
        for (int k = 0; k < texts[i].n; k++)
            umbra_gate_came(&d->gate, &t->watch, texts[i].token[k]);
        add(d, texts[i].sequence, texts[i].token, texts[i].n);
        count_drafts(d, t, texts[i].n);
    }
}
