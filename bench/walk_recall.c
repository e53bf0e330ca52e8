/* How many of the experts that the coming layers use a walk ahead names, on a true run: a text is
 * decoded token by token under a budget, with the store's own cache, and from every layer with
 * experts a walk goes on over what is in memory.
 *   walk_recall MODEL TEXT TOKENS SHARE...      SHARE: of the experts that fit in memory, 0 to 1 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "ahead/walk.h"

enum { DISTANCES = 4, SKIPPED = 64 /* tokens, while the cache fills */ };

typedef struct tally {
    uint64_t slots, named; /* used experts, and those of them among the k best */
} tally;

typedef struct run {
    umbra_engine *engine;
    umbra_walk *walk;
    int layers, experts, used, token;
    int32_t *named; /* (layers, DISTANCES, used) what walks named for the layer in this token */
    bool *walked;   /* (layers, DISTANCES) */
    bool *resident; /* (experts) of the layer in progress, before its demands */
    tally all[DISTANCES], missing[DISTANCES];
} run;

/* Which experts of the layer are in memory, before it asks for any. */
static int look(void *user, const umbra_rows *rows)
{
    run *r = user;
    umbra_store *store = umbra_engine_store(r->engine);
    for (int e = 0; e < r->experts; e++) {
        umbra_lease lease;
        r->resident[e] = umbra_store_borrow(store, rows->layer, &e, 1, &lease) == 1;
        if (r->resident[e])
            umbra_store_release(store, &lease);
    }
    return 0;
}

static void count(run *r, const umbra_rows *rows, int d)
{
    size_t at = (size_t)rows->layer * DISTANCES + (size_t)d;
    if (!r->walked[at] || r->token < SKIPPED)
        return;
    for (int j = 0; j < r->used; j++) {
        bool hit = false;
        for (int i = 0; i < r->used; i++)
            hit = hit || r->named[at * (size_t)r->used + (size_t)i] == rows->experts[j];
        tally *t[] = {&r->all[d], r->resident[rows->experts[j]] ? NULL : &r->missing[d]};
        for (int i = 0; i < 2; i++) {
            if (t[i]) {
                t[i]->slots++;
                t[i]->named += hit;
            }
        }
    }
}

static int routed(void *user, const umbra_rows *rows)
{
    run *r = user;
    for (int d = 0; d < DISTANCES; d++)
        count(r, rows, d);
    umbra_walk_begin(r->walk, rows, 0, UMBRA_TAP_ROUTED);
    for (int d = 0; d < DISTANCES && umbra_walk_step(r->walk); d++) {
        size_t at = (size_t)umbra_walk_layer(r->walk) * DISTANCES + (size_t)d;
        memcpy(r->named + at * (size_t)r->used, umbra_walk_experts(r->walk),
               (size_t)r->used * sizeof *r->named);
        r->walked[at] = true;
    }
    return 0;
}

static void print(const char *what, const tally *t)
{
    printf("  %-8s", what);
    for (int d = 0; d < DISTANCES; d++)
        printf(" %.3f", t[d].slots ? (double)t[d].named / (double)t[d].slots : 0);
    printf("  (%llu slots)\n", (unsigned long long)t[0].slots);
}

static int measure(const umbra_model *model, const int32_t *ids, int n, double share,
                   umbra_error *err)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_engine_options o = {.ram_bytes = UINT64_C(1) << 46, .context = n, .chunk = 1};
    umbra_memory_plan plan;
    int rc = umbra_engine_plan(model, &o, &plan, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t experts = (uint64_t)info->moe_layers * (uint64_t)info->experts;
    o.ram_bytes = plan.all_bytes - (uint64_t)((1 - share) * (double)experts) * plan.slot_bytes;
    run r = {.layers = info->layers, .experts = info->experts, .used = info->experts_used};
    size_t cells = (size_t)r.layers * DISTANCES;
    r.named = calloc(cells * (size_t)r.used, sizeof *r.named);
    r.walked = calloc(cells, sizeof *r.walked);
    r.resident = calloc((size_t)r.experts, sizeof *r.resident);
    rc = umbra_engine_open(&r.engine, model, &o, err);
    if (rc == UMBRA_OK)
        rc = umbra_walk_open(&r.walk, r.engine, err);
    const umbra_tap tap = {.user = &r,
                           .at = {[UMBRA_TAP_HIDDEN] = look, [UMBRA_TAP_ROUTED] = routed}};
    for (r.token = 0; rc == UMBRA_OK && r.token < n; r.token++) {
        umbra_token token = {ids[r.token], 0, false};
        memset(r.walked, 0, cells);
        rc = umbra_engine_eval(r.engine, &token, 1, &tap, err);
    }
    if (rc == UMBRA_OK) {
        printf("%.0f %% of the experts in memory, recall at k for 1 to %d layers ahead:\n",
               100 * umbra_engine_get_plan(r.engine)->residency, DISTANCES);
        print("all", r.all);
        print("missing", r.missing);
    }
    umbra_walk_close(&r.walk);
    umbra_engine_close(&r.engine);
    free(r.named);
    free(r.walked);
    free(r.resident);
    return rc;
}

int main(int argc, char **argv)
{
    umbra_error err = {0};
    umbra_model *model = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    static char text[1 << 20];
    if (argc < 5) {
        fprintf(stderr, "usage: walk_recall MODEL TEXT TOKENS SHARE...\n");
        return 2;
    }
    FILE *f = fopen(argv[2], "rb");
    size_t bytes = f ? fread(text, 1, sizeof text, f) : 0;
    if (f)
        fclose(f);
    int rc = umbra_model_open(&model, argv[1], &err);
    if (rc == UMBRA_OK)
        rc = umbra_tokenize(model, text, bytes, true, false, &ids, &n, &err);
    int wanted = atoi(argv[3]);
    for (int i = 4; rc == UMBRA_OK && i < argc; i++)
        rc = measure(model, ids, (size_t)wanted < n ? wanted : (int)n, atof(argv[i]), &err);
    if (rc != UMBRA_OK)
        fprintf(stderr, "walk_recall: %s\n", err.message);
    umbra_free_tokens(ids);
    umbra_model_close(&model);
    return rc != UMBRA_OK;
}
