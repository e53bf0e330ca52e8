/* Drafts in a benchmark: by name, or told the true text with so many errors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "lab/bench/bench.h"

static const char told_name[] = "told:";

static int refuse(const char *word, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_ARGUMENT,
                      "not a way to draft: %s; there are off, auto, lookup, runahead, mtp, each "
                      "with :N for N drafts of a step at most (1 to %d), and told:SHARE, where "
                      "that share of the drafts is the text's, with :N for always N",
                      umbra_quote(word, strlen(word)).text, (int)UMBRA_DRAFT_MOST);
}

/* ":N" at the end of a word, or nothing. */
static bool parse_most(const char *at, int *most)
{
    char *end = NULL;
    if (*at == '\0')
        return true;
    long n = strtol(at + 1, &end, 10);
    *most = (int)n;
    return at[0] == ':' && at[1] >= '0' && at[1] <= '9' && *end == '\0' && n >= 1 &&
           n <= UMBRA_DRAFT_MOST;
}

int umbra_bench_parse_draft(const char *word, umbra_bench_draft *out, umbra_error *err)
{
    size_t head = strlen(told_name);
    *out = (umbra_bench_draft){.word = word};
    if (strncmp(word, told_name, head) == 0) {
        char *end = NULL;
        out->told = true;
        out->agree = strtod(word + head, &end);
        bool good = end > word + head && out->agree >= 0 && out->agree <= 1;
        return good && parse_most(end, &out->most) ? UMBRA_OK : refuse(word, err);
    }
    char name[16] = "";
    size_t n = strcspn(word, ":");
    if (n < sizeof name)
        memcpy(name, word, n);
    if (n >= sizeof name || umbra_draft_parse(name, &out->source, NULL) != UMBRA_OK ||
        !parse_most(word + n, &out->most))
        return refuse(word, err);
    return UMBRA_OK;
}

/* ---- the true text ---- */

typedef struct teller {
    const umbra_bench_run *b;
    double agree;
    int at; /* tokens that came */
    umbra_random random;
} teller;

static void teller_begin(void *self, int sequence, int length)
{
    (void)sequence;
    ((teller *)self)->at = length;
}

static void teller_add(void *self, int sequence, const int32_t *tokens, int n)
{
    (void)sequence;
    (void)tokens;
    ((teller *)self)->at += n;
}

static int teller_make(void *self, int sequence, int most, int32_t *out, int *kind)
{
    (void)sequence;
    teller *t = self;
    const umbra_bench_run *b = t->b;
    uint64_t vocabulary = (uint64_t)b->info->vocabulary;
    *kind = 0;
    for (int i = 0; i < most; i++) {
        bool agrees = t->at + i <= b->total && umbra_random_unit(&t->random) < t->agree;
        out[i] = agrees ? b->text[t->at + i] : (int32_t)umbra_random_below(&t->random, vocabulary);
    }
    return most;
}

static int open_told(umbra_drafts **out, umbra_engine *engine, const umbra_bench_run *b,
                     const umbra_bench_draft *draft, umbra_error *err)
{
    const umbra_draft_options options = {.source = UMBRA_DRAFT_LOOKUP, .most = draft->most};
    teller *t = umbra_calloc(1, sizeof *t);
    if (!t)
        return umbra_fail_nomem(err, "drafts of a known text", sizeof *t);
    *t = (teller){.b = b, .agree = draft->agree};
    umbra_random_seed(&t->random, 1);
    const umbra_draft_source source = {.name = UMBRA_DRAFT_AUTO, /* none of those there are */
                                       .kinds = 1,
                                       .free = true,
                                       .begin = teller_begin,
                                       .add = teller_add,
                                       .make = teller_make,
                                       .close = umbra_free,
                                       .self = t};
    int rc = umbra_drafts_open_with(out, engine, &options, &source, draft->most == 0, NULL, err);
    if (rc != UMBRA_OK && !*out)
        umbra_free(t);
    return rc;
}

int umbra_bench_fit_drafts(const umbra_bench_run *b, const umbra_bench_draft *draft,
                           umbra_engine_options *engine, umbra_error *err)
{
    umbra_draft_options o = {.source = draft->source, .most = draft->most};
    return draft->told ? UMBRA_OK : umbra_drafts_fit(b->model, engine, &o, err);
}

int umbra_bench_open_drafts(umbra_drafts **out, const umbra_bench_run *b,
                            const umbra_bench_draft *draft, umbra_engine *engine,
                            umbra_prefetch *prefetch, umbra_error *err)
{
    const umbra_draft_options o = {.source = draft->source, .most = draft->most, .ahead = prefetch};
    *out = NULL;
    if (!draft->told && draft->source == UMBRA_DRAFT_OFF)
        return UMBRA_OK;
    return draft->told ? open_told(out, engine, b, draft, err)
                       : umbra_drafts_open(out, engine, &o, err);
}

/* ---- what came of them ---- */

static void subtract(umbra_draft_stats *s, const umbra_draft_stats *before)
{
    s->tokens -= before->tokens;
    s->steps -= before->steps;
    s->checks -= before->checks;
    s->step_experts -= before->step_experts;
    s->check_experts -= before->check_experts;
    for (int i = 0; i < UMBRA_DRAFT_SOURCES; i++) {
        s->drafted[i] -= before->drafted[i];
        s->accepted[i] -= before->accepted[i];
    }
}

void umbra_bench_draft_stats(const umbra_drafts *drafts, const umbra_draft_stats *before,
                             umbra_draft_stats *out)
{
    *out = (umbra_draft_stats){.source = UMBRA_DRAFT_OFF};
    if (drafts)
        umbra_drafts_get_stats(drafts, out);
    if (before)
        subtract(out, before);
}
