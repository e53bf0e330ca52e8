/* The ways to guess tokens, in one table. */
#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "generate/drafts.h"
#include "generate/lookup.h"
#include "generate/mtp.h"

/* ---- lookup ---- */

enum { LOOKUP_KINDS = 4 };

typedef struct lookups {
    int n;
    umbra_lookup of[]; /* (n) by sequence */
} lookups;

static void lookup_begin(void *self, int sequence, int length)
{
    umbra_lookup_cut(&((lookups *)self)->of[sequence], length);
}

static void lookup_add(void *self, int sequence, const int32_t *tokens, int n)
{
    for (int i = 0; i < n; i++)
        umbra_lookup_add(&((lookups *)self)->of[sequence], tokens[i]);
}

/* The longer the occurrence, the surer what followed it. */
static int lookup_make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    static const int from[LOOKUP_KINDS] = {0, 4, 8, 16};
    int matched, n = umbra_lookup_draft(&((lookups *)self)->of[sequence], most, out, &matched);
    *kind = LOOKUP_KINDS - 1;
    while (matched < from[*kind])
        --*kind;
    return n;
}

static void lookup_close(void *self)
{
    lookups *l = self;
    for (int i = 0; i < l->n; i++)
        umbra_lookup_close(&l->of[i]);
    umbra_free(l);
}

static int open_lookup(umbra_draft_source *out, umbra_engine *engine,
                       const umbra_draft_options *options, umbra_error *err)
{
    (void)options;
    int n = umbra_engine_sequences(engine), rc = UMBRA_OK;
    size_t bytes = sizeof(lookups) + (size_t)n * sizeof(umbra_lookup);
    lookups *l = umbra_calloc(1, bytes);
    if (!l)
        return umbra_fail_nomem(err, "looking drafts up", bytes);
    l->n = n;
    for (int i = 0; rc == UMBRA_OK && i < n; i++)
        rc = umbra_lookup_open(&l->of[i], umbra_engine_get_plan(engine)->context, err);
    if (rc != UMBRA_OK) {
        lookup_close(l);
        return rc;
    }
    *out = (umbra_draft_source){.name = UMBRA_DRAFT_LOOKUP,
                                .kinds = LOOKUP_KINDS,
                                .free = true,
                                .begin = lookup_begin,
                                .add = lookup_add,
                                .make = lookup_make,
                                .close = lookup_close,
                                .self = l};
    return UMBRA_OK;
}

static uint64_t lookup_bytes(const umbra_model *model, const umbra_memory_plan *plan, int sequences)
{
    (void)model;
    return (uint64_t)sequences * umbra_lookup_bytes(plan->context);
}

/* ---- runahead ---- */

typedef struct runahead {
    umbra_prefetch *prefetch;
    int32_t last[]; /* of each sequence's text; not computed yet */
} runahead;

static void runahead_begin(void *self, int sequence, int length)
{
    (void)self;
    (void)sequence;
    (void)length;
}

static void runahead_add(void *self, int sequence, const int32_t *tokens, int n)
{
    if (n > 0)
        ((runahead *)self)->last[sequence] = tokens[n - 1];
}

static int runahead_make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    runahead *r = self;
    umbra_token_guess guess[UMBRA_DRAFT_MOST];
    int n = umbra_prefetch_draft(r->prefetch, sequence, r->last[sequence], most, guess);
    for (int i = 0; i < n; i++)
        out[i] = guess[i].best;
    *kind = 0;
    return n;
}

static bool runs_ahead(umbra_prefetch *prefetch)
{
    umbra_prefetch_stats s = {.policy = UMBRA_POLICY_OFF};
    if (prefetch)
        umbra_prefetch_get_stats(prefetch, &s);
    return s.policy == UMBRA_POLICY_RUNAHEAD;
}

static int open_runahead(umbra_draft_source *out, umbra_engine *engine,
                         const umbra_draft_options *options, umbra_error *err)
{
    *out = (umbra_draft_source){0};
    if (!runs_ahead(options->ahead))
        return options->source == UMBRA_DRAFT_AUTO
                   ? UMBRA_OK
                   : umbra_fail(err, UMBRA_E_ARGUMENT,
                                "drafts by runahead need reading ahead by runahead (--prefetch "
                                "runahead), which is off here");
    size_t bytes = sizeof(runahead) + (size_t)umbra_engine_sequences(engine) * sizeof(int32_t);
    runahead *r = umbra_calloc(1, bytes);
    if (!r)
        return umbra_fail_nomem(err, "drafts by running ahead", bytes);
    r->prefetch = options->ahead;
    *out = (umbra_draft_source){.name = UMBRA_DRAFT_RUNAHEAD,
                                .kinds = 1,
                                .effort = 1,
                                .begin = runahead_begin,
                                .add = runahead_add,
                                .make = runahead_make,
                                .close = umbra_free,
                                .self = r};
    return UMBRA_OK;
}

/* What it walks with stands in the budget of reading ahead. */
static uint64_t runahead_bytes(const umbra_model *model, const umbra_memory_plan *plan,
                               int sequences)
{
    (void)model;
    (void)plan;
    (void)sequences;
    return 0;
}

/* ---- mtp ---- */

typedef struct mtp {
    umbra_mtp *mtp;
    bool began[]; /* by sequence: what is added next is the prompt, whose rows have told of it */
} mtp;

static void mtp_begin(void *self, int sequence, int length)
{
    (void)length;
    ((mtp *)self)->began[sequence] = true;
}

static void mtp_add(void *self, int sequence, const int32_t *tokens, int n)
{
    mtp *m = self;
    if (!m->began[sequence])
        umbra_mtp_follow(m->mtp, sequence, tokens, n);
    m->began[sequence] = false;
}

static void mtp_rows(void *self, const umbra_rows *rows)
{
    umbra_mtp_rows(((mtp *)self)->mtp, rows);
}

static void mtp_cut(void *self, int sequence, int length)
{
    umbra_mtp_cut(((mtp *)self)->mtp, sequence, length);
}

static void mtp_fork(void *self, int from, int to)
{
    umbra_mtp_fork(((mtp *)self)->mtp, from, to);
}

static int mtp_make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    *kind = 0;
    return umbra_mtp_draft(((mtp *)self)->mtp, sequence, most, out);
}

static void mtp_close(void *self)
{
    umbra_mtp_close(&((mtp *)self)->mtp);
    umbra_free(self);
}

static int open_mtp(umbra_draft_source *out, umbra_engine *engine,
                    const umbra_draft_options *options, umbra_error *err)
{
    (void)options;
    size_t bytes = sizeof(mtp) + (size_t)umbra_engine_sequences(engine) * sizeof(bool);
    mtp *m = umbra_calloc(1, bytes);
    if (!m)
        return umbra_fail_nomem(err, "drafts by the model's block", bytes);
    int rc = umbra_mtp_open(&m->mtp, engine, err);
    if (rc != UMBRA_OK) {
        umbra_free(m);
        return rc;
    }
    *out = (umbra_draft_source){.name = UMBRA_DRAFT_MTP,
                                .kinds = 1,
                                .begin = mtp_begin,
                                .add = mtp_add,
                                .rows = mtp_rows,
                                .cut = mtp_cut,
                                .fork = mtp_fork,
                                .make = mtp_make,
                                .close = mtp_close,
                                .self = m};
    return UMBRA_OK;
}

/* ---- the table ---- */

typedef struct row {
    umbra_draft name;
    uint64_t (*bytes)(const umbra_model *model, const umbra_memory_plan *plan, int sequences);
    /* Leaves *out all zeros where auto is to go without. */
    int (*open)(umbra_draft_source *out, umbra_engine *engine, const umbra_draft_options *options,
                umbra_error *err);
} row;

/* In the order in which auto prefers them where they promise the same. */
static const row table[] = {
    {UMBRA_DRAFT_LOOKUP, lookup_bytes, open_lookup},
    {UMBRA_DRAFT_RUNAHEAD, runahead_bytes, open_runahead},
    {UMBRA_DRAFT_MTP, umbra_mtp_bytes, open_mtp},
};

enum { ROWS = sizeof table / sizeof table[0] };

/* The block takes memory that experts could have, so it is asked for by name. */
static bool is_wanted(const row *r, umbra_draft asked)
{
    return asked == r->name || (asked == UMBRA_DRAFT_AUTO && r->name != UMBRA_DRAFT_MTP);
}

uint64_t umbra_draft_sources_bytes(umbra_draft asked, const umbra_model *model,
                                   const umbra_memory_plan *plan, int sequences)
{
    uint64_t bytes = 0;
    for (int i = 0; i < ROWS; i++)
        if (is_wanted(&table[i], asked))
            bytes += table[i].bytes(model, plan, sequences);
    return bytes;
}

int umbra_draft_sources_open(umbra_draft asked, umbra_engine *engine,
                             const umbra_draft_options *options, umbra_draft_source *out, int *n,
                             umbra_error *err)
{
    int rc = UMBRA_OK;
    *n = 0;
    for (int i = 0; rc == UMBRA_OK && i < ROWS; i++) {
        if (!is_wanted(&table[i], asked))
            continue;
        rc = table[i].open(&out[*n], engine, options, err);
        *n += rc == UMBRA_OK && out[*n].make;
    }
    return rc;
}
