/* Misses per token of true runs, by how far a walk ahead tells the store what is used: documents
 * are decoded with a part of the experts in memory, from every n-th layer a walk goes so many
 * layers ahead, over the token's end too, and what it names is kept from eviction. Nothing is read
 * ahead, and nothing depends on the clock.
 *
 *   walked_misses MODEL TRACES [--tokens N] [--warm N] [--residency SHARE...] [--known BATCHES...]
 *                 [--every N]
 *
 * known 0 is the store by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ahead/margins.h"
#include "ahead/walk.h"
#include "lab/trace/trace.h"
#include "numbers.h"
#include "store/store_internal.h"

enum { MOST = 16, DOCUMENT = 512 /* tokens taken of a document at most */ };

typedef struct run {
    umbra_engine *engine;
    umbra_walk *walk;
    umbra_margins margins;
    umbra_margin_row *rows; /* (layers) what was foretold of the layer last */
    int32_t *guessed;       /* (layers) the token it was foretold for; -1: the present one */
    uint8_t *steps;
    float *probability, *order;
    int known, every, token;
    int32_t id; /* of the token in progress */
} run;

/* sure: how likely the token is in which the walk is. */
static void foretell(run *r, uint64_t clock, int32_t guessed, float sure)
{
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    int layer = umbra_walk_layer(r->walk), distance = umbra_walk_distance(r->walk);
    umbra_margins_foretell(&r->margins, c->router.gating, umbra_walk_scores(r->walk),
                           umbra_walk_preference(r->walk), c->experts, c->experts_used, distance,
                           umbra_walk_missing(r->walk), r->order, r->probability, &r->rows[layer]);
    r->guessed[layer] = guessed;
    for (int e = 0; e < c->experts; e++)
        r->probability[e] =
            sure * r->probability[e] + (1 - sure) * (float)c->experts_used / (float)c->experts;
    umbra_store_foretell(umbra_engine_store(r->engine), 0, layer, distance,
                         clock + (uint64_t)distance, r->probability);
}

static bool is_nearer(const run *r)
{
    return umbra_walk_distance(r->walk) < r->known;
}

static void walk(run *r, const umbra_rows *rows)
{
    uint64_t clock = umbra_store_clock(umbra_engine_store(r->engine));
    umbra_walk_next next;
    umbra_walk_begin(r->walk, rows, 0, UMBRA_TAP_ROUTED);
    while (is_nearer(r) && umbra_walk_step(r->walk))
        foretell(r, clock, -1, 1);
    bool on =
        is_nearer(r) && umbra_walk_guess(r->walk, &next) && umbra_walk_token(r->walk, next.best);
    while (on && is_nearer(r) && umbra_walk_step(r->walk))
        foretell(r, clock, next.best, next.probability);
}

static int routed(void *user, const umbra_rows *rows)
{
    run *r = user;
    const umbra_config *c = &umbra_engine_model(r->engine)->config;
    int32_t guessed = r->guessed[rows->layer];
    if (guessed < 0 || guessed == rows->tokens[0].id)
        umbra_margins_learn(&r->margins, &r->rows[rows->layer], c->experts, rows->experts,
                            c->experts_used);
    r->rows[rows->layer].distance = 0;
    if (r->known > 0 && rows->layer % r->every == 0)
        walk(r, rows);
    return UMBRA_OK;
}

static void decode(run *r, umbra_trace *trace, int tokens, int warm)
{
    umbra_error err = {0};
    const umbra_tap tap = {.user = r, .at = {[UMBRA_TAP_ROUTED] = routed}};
    int32_t ids[DOCUMENT];
    for (int i = 0; i < umbra_trace_documents(trace) && r->token < tokens; i++) {
        const umbra_trace_document *d = umbra_trace_document_at(trace, i);
        int n = d->tokens < DOCUMENT ? d->tokens : DOCUMENT;
        must(umbra_trace_read_tokens(trace, d->shard, d->first, n, ids, &err), &err);
        umbra_engine_truncate(r->engine, 0, 0);
        for (int t = 0; t < n && r->token < tokens; t++, r->token++) {
            const umbra_token token = {ids[t], 0, false};
            if (r->token == warm)
                umbra_store_reset_stats(umbra_engine_store(r->engine));
            must(umbra_engine_eval(r->engine, &token, 1, &tap, &err), &err);
        }
    }
}

static double misses_per_token(const umbra_model *model, umbra_trace *trace, double residency,
                               int known, int every, int tokens, int warm)
{
    umbra_error err = {0};
    const umbra_model_info *info = umbra_model_get_info(model);
    size_t layers = (size_t)info->layers, experts = (size_t)info->experts;
    umbra_engine_options o = {.ram_bytes = UINT64_C(1) << 46, .context = DOCUMENT, .chunk = 1};
    umbra_memory_plan plan;
    must(umbra_engine_plan(model, &o, &plan, &err), &err);
    o.ram_bytes = plan.all_bytes - (uint64_t)((1 - residency) * (double)plan.expert_bytes);
    run r = {.known = known, .every = every};
    must(umbra_engine_open(&r.engine, model, &o, &err), &err);
    must(umbra_walk_open(&r.walk, r.engine, &err), &err);
    umbra_store *store = umbra_engine_store(r.engine);
    store->guarded.keeps_only = true;
    umbra_store_set_guessing(store, known > 0);
    umbra_margins_init(&r.margins);
    r.rows = need(calloc(layers, sizeof *r.rows));
    r.guessed = need(calloc(layers, sizeof *r.guessed));
    r.steps = need(calloc(layers * experts, 1));
    r.probability = need(calloc(experts, sizeof *r.probability));
    r.order = need(calloc(experts, sizeof *r.order));
    for (size_t l = 0; l < layers; l++)
        r.rows[l].step = r.steps + l * experts;
    decode(&r, trace, tokens, warm);
    umbra_store_stats stats;
    umbra_store_get_stats(store, &stats);
    umbra_walk_close(&r.walk);
    umbra_engine_close(&r.engine);
    free(r.rows);
    free(r.guessed);
    free(r.steps);
    free(r.probability);
    free(r.order);
    return (double)stats.misses / (double)(r.token - warm);
}

int main(int argc, char **argv)
{
    double residencies[MOST] = {0.3, 0.5, 0.7}, known[MOST] = {0, 4, 16};
    int n_residencies = 3, n_known = 3, tokens = 320, warm = 64, every = 1;
    if (argc < 3) {
        fputs("usage: walked_misses MODEL TRACES [OPTIONS]; the source's head explains them\n",
              stderr);
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        const char *option = argv[i];
        double one = 0;
        if (strcmp(option, "--residency") == 0)
            n_residencies = numbers_of(argc, argv, &i, residencies, MOST);
        else if (strcmp(option, "--known") == 0)
            n_known = numbers_of(argc, argv, &i, known, MOST);
        else if (numbers_of(argc, argv, &i, &one, 1) == 0)
            continue;
        else if (strcmp(option, "--tokens") == 0)
            tokens = (int)one;
        else if (strcmp(option, "--warm") == 0)
            warm = (int)one;
        else if (strcmp(option, "--every") == 0 && one >= 1)
            every = (int)one;
    }
    umbra_error err = {0};
    umbra_model *model;
    umbra_trace *trace;
    must(umbra_model_open(&model, argv[1], &err), &err);
    must(umbra_trace_open(&trace, argv[2], &err), &err);
    printf("misses per token, %d tokens\nresident    ", tokens);
    for (int i = 0; i < n_residencies; i++)
        printf(" %6.0f%%", 100 * residencies[i]);
    for (int k = 0; k < n_known; k++) {
        printf("\nknown %-6.0f", known[k]);
        for (int i = 0; i < n_residencies; i++) {
            printf(" %7.2f", misses_per_token(model, trace, residencies[i], (int)known[k], every,
                                              tokens, warm));
            fflush(stdout);
        }
    }
    putchar('\n');
    umbra_trace_close(&trace);
    umbra_model_close(&model);
    return 0;
}
