/* What bench/machines foretells of a purchase against counts of true runs: the share of experts
 * that a rank's cache has, and the bytes that it reads, of two and four ranks within a tenth. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "simulated_ranks.h"
#include "ranks.h"
#include "shared.h"

static const char prose[] =
    "When she guesses which page comes next, she walks to the shelf early and waits for nobody; "
    "the page still has to be fetched. A cache is a promise about tomorrow made from what was "
    "wanted yesterday, and most days it is kept. On the others somebody goes down to the archive, "
    "where the corridors are long, the lamps are few and every drawer is heavier than the last.";

enum { MOST_TOKENS = 120 };

/* A run by several ranks. */
typedef struct trial {
    const char *path;
    double resident; /* share of a rank's experts for which there is room */
    int layers, experts, used, tokens;
    uint64_t cache_bytes, expert_bytes;
    int32_t *routing; /* (tokens, layers, used), recorded by rank 0 */
    int layer_rows;   /* recorded so far */
    umbra_store_stats stats[TEST_RANKS];
} trial;

static int take_routing(void *user, const umbra_rows *rows)
{
    trial *t = user;
    size_t at = (size_t)t->layer_rows++ * (size_t)t->used;
    memcpy(t->routing + at, rows->experts, (size_t)t->used * sizeof *t->routing);
    return 0;
}

static void must_do(int rc, const umbra_error *err)
{
    if (rc != UMBRA_OK)
        fail_msg("%s", err->message);
}

/* A budget that leaves room for that share of the rank's experts. */
static uint64_t budget_of(const umbra_model *model, umbra_engine_options o, double resident)
{
    umbra_error err = {0};
    umbra_memory_plan plan;
    o.ram_bytes = UINT64_C(1) << 40;
    must_do(umbra_engine_plan(model, &o, &plan, &err), &err);
    return plan.all_bytes - (uint64_t)((1 - resident) * (double)plan.expert_bytes);
}

static void run_rank(const umbra_ranks *ranks, void *user)
{
    trial *t = user;
    umbra_error err = {0};
    umbra_engine_options o = {
        .ranks = ranks, .threads = 1, .context = MOST_TOKENS, .io = "threads"};
    umbra_model *model;
    umbra_engine *engine;
    int32_t *ids;
    size_t n;
    must_do(umbra_model_open(&model, t->path, &err), &err);
    o.ram_bytes = budget_of(model, o, t->resident);
    must_do(umbra_engine_open(&engine, model, &o, &err), &err);
    must_do(umbra_tokenize(model, prose, sizeof prose - 1, true, false, &ids, &n, &err), &err);
    umbra_tap tap = {.user = t};
    if (ranks->rank == 0)
        tap.at[UMBRA_TAP_ROUTED] = take_routing;
    for (int i = 0; i < t->tokens; i++) {
        const umbra_token token = {ids[(size_t)i % n], 0, false};
        must_do(umbra_engine_eval(engine, &token, 1, &tap, &err), &err);
    }
    umbra_engine_get_store_stats(engine, &t->stats[ranks->rank]);
    if (ranks->rank == 0) { /* a slot and a read hold an expert with what alignment adds */
        t->cache_bytes = umbra_engine_get_plan(engine)->cache_bytes;
        t->expert_bytes = umbra_engine_get_plan(engine)->slot_bytes;
    }
    umbra_free_tokens(ids);
    umbra_engine_close(&engine);
    umbra_model_close(&model);
}

static void route(void *user, int layer, int token, int *experts)
{
    const trial *t = user;
    for (int j = 0; j < t->used; j++)
        experts[j] =
            t->routing[((size_t)token * (size_t)t->layers + (size_t)layer) * (size_t)t->used +
                       (size_t)j];
}

static void read_shape(trial *t)
{
    umbra_error err = {0};
    umbra_model *model;
    must_do(umbra_model_open(&model, t->path, &err), &err);
    const umbra_model_info *info = umbra_model_get_info(model);
    t->layers = info->moe_layers;
    t->experts = info->experts;
    t->used = info->experts_used;
    umbra_model_close(&model);
    t->routing =
        calloc((size_t)t->tokens * (size_t)t->layers * (size_t)t->used, sizeof *t->routing);
    assert_non_null(t->routing);
}

static double hits_of(const umbra_store_stats *s)
{
    return (double)s->hits / (double)(s->hits + s->late + s->misses);
}

static void check_close(const char *what, int ranks, int rank, double real, double simulated)
{
    printf("  %d ranks, rank %d, %s: %.4g, simulated %.4g\n", ranks, rank, what, real, simulated);
    assert_true(real > 0 && fabs(simulated - real) <= 0.1 * real);
}

static void compare(trial *t, int ranks)
{
    t->layer_rows = 0;
    test_with_ranks(ranks, NULL, run_rank, t);
    const model_shape shape = {.layers = t->layers,
                               .experts = t->experts,
                               .used = t->used,
                               .hidden = 64,
                               .expert_bytes = (double)t->expert_bytes};
    simulation s = {.shape = &shape,
                    .ranks = ranks,
                    .cache_bytes = t->cache_bytes,
                    .scale = 1,
                    .memory = 1e10,
                    .disk = 1e9,
                    .route = route,
                    .user = t};
    simulation_open(&s);
    for (int i = 0; i < t->tokens; i++)
        simulation_token(&s, i, 0);
    for (int r = 0; r < ranks; r++) {
        umbra_store_stats found;
        umbra_store_get_stats(s.machine[r].store, &found);
        check_close("hits", ranks, r, hits_of(&t->stats[r]), hits_of(&found));
        check_close("bytes read", ranks, r, (double)t->stats[r].bytes_read,
                    (double)found.bytes_read);
    }
    simulation_close(&s);
}

static void compare_all(const char *path, int tokens)
{
    static const double residents[] = {0.3, 0.6};
    for (size_t i = 0; i < sizeof residents / sizeof *residents; i++)
        for (int ranks = 2; ranks <= 4; ranks += 2) {
            trial t = {.path = path, .resident = residents[i], .tokens = tokens};
            printf("%s, %.0f %% of a rank's experts fit\n", path, 100 * residents[i]);
            read_shape(&t);
            compare(&t, ranks);
            free(t.routing);
        }
}

static void test_tiny(void **state)
{
    (void)state;
    compare_all("models/tiny-q8_0.gguf", MOST_TOKENS);
}

static void test_lab(void **state)
{
    (void)state;
    char path[512];
    if (!shared_path(path, sizeof path, "models/lab-q4_0.gguf")) {
        say_skipped("ranks of lab against their simulation", path);
        skip();
    }
    compare_all(path, MOST_TOKENS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny), cmocka_unit_test(test_lab)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
