/* Experts divided among ranks: the bits of a single engine, an even division, and failures that end
 * all ranks together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "engine/division.h"
#include "engine/internal.h"
#include "ranks.h"

static const char tiny[] = "models/tiny-q8_0.gguf";
static const char prose[] = "When she guesses which page comes next, she walks to the shelf early "
                            "and waits for nobody; the page still has to be fetched.";

enum { PROMPT = 12, MOST_TOKENS = 24 };

typedef struct answer {
    int vocabulary, logits, status;
    uint64_t hash[MOST_TOKENS];
    umbra_store_stats stats;
    umbra_memory_plan plan;
    uint64_t uses; /* of experts, by the store's count */
    umbra_error err;
} answer;

typedef struct trial {
    umbra_engine_options options;
    int sequences;
    int stop_rank;          /* is interrupted after the prompt; -1: none */
    int other_context_rank; /* asks for another context; -1: none */
    answer answers[TEST_RANKS];
} trial;

static int take_logits(void *user, int index, const float *logits)
{
    (void)index;
    answer *a = user;
    uint64_t h = 1469598103934665603u;
    const unsigned char *bytes = (const unsigned char *)logits;
    for (size_t i = 0; i < (size_t)a->vocabulary * sizeof *logits; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    a->hash[a->logits++] = h;
    return 0;
}

static const umbra_flag always = true;

/* A prompt at once, then token by token. */
static int compute(umbra_engine *engine, const umbra_model *model, bool stops, answer *a)
{
    int32_t *ids;
    size_t n;
    int rc = umbra_tokenize(model, prose, sizeof prose - 1, true, false, &ids, &n, &a->err);
    umbra_token tokens[MOST_TOKENS];
    for (int i = 0; rc == UMBRA_OK && i < MOST_TOKENS; i++)
        tokens[i] = (umbra_token){ids[i % (int)n], 0, i >= PROMPT - 1};
    umbra_free_tokens(ids);
    umbra_tap tap = {.user = a, .logits = take_logits};
    umbra_progress interrupted = {.interrupted = &always};
    if (rc == UMBRA_OK)
        rc = umbra_engine_eval(engine, tokens, PROMPT, &tap, &a->err);
    tap.progress = stops ? &interrupted : NULL;
    for (int i = PROMPT; rc == UMBRA_OK && i < MOST_TOKENS; i++)
        rc = umbra_engine_eval(engine, tokens + i, 1, &tap, &a->err);
    return rc;
}

static void run_rank(const umbra_ranks *ranks, void *user)
{
    trial *t = user;
    int rank = ranks ? ranks->rank : 0;
    answer *a = &t->answers[rank];
    umbra_engine_options o = t->options;
    o.ranks = ranks;
    if (rank == t->other_context_rank)
        o.context = 100;
    umbra_model *model;
    umbra_engine *engine = NULL;
    a->status = umbra_model_open(&model, tiny, &a->err);
    if (a->status != UMBRA_OK)
        return;
    a->vocabulary = umbra_model_get_info(model)->vocabulary;
    a->status = umbra_engine_open(&engine, model, &o, &a->err);
    if (a->status == UMBRA_OK) {
        a->status = compute(engine, model, rank == t->stop_rank, a);
        umbra_engine_get_store_stats(engine, &a->stats);
        a->plan = *umbra_engine_get_plan(engine);
    }
    umbra_engine_close(&engine);
    umbra_model_close(&model);
}

static trial make_trial(void)
{
    /* Rings that threads open and close are beyond what a thread sanitizer sees. */
    return (trial){
        .options = {.threads = 1, .io = "threads"}, .stop_rank = -1, .other_context_rank = -1};
}

static uint64_t smallest_budget(void)
{
    umbra_model *model;
    umbra_memory_plan plan;
    umbra_engine_options o = {.ram_bytes = UINT64_C(1) << 40, .threads = 1};
    assert_int_equal(umbra_model_open(&model, tiny, NULL), UMBRA_OK);
    assert_int_equal(umbra_engine_plan(model, &o, &plan, NULL), UMBRA_OK);
    umbra_model_close(&model);
    return plan.min_bytes + 4096;
}

static void test_bits(void **state)
{
    (void)state;
    static trial alone, together;
    alone = make_trial();
    run_rank(NULL, &alone);
    const answer *one = &alone.answers[0];
    assert_int_equal(one->status, UMBRA_OK);
    for (int small = 0; small < 2; small++) {
        for (int count = 1; count <= TEST_RANKS; count++) {
            together = make_trial();
            together.options.ram_bytes = small ? smallest_budget() : 0;
            test_with_ranks(count, NULL, run_rank, &together);
            uint64_t asked = 0;
            for (int r = 0; r < count; r++) {
                const answer *a = &together.answers[r];
                if (a->status != UMBRA_OK)
                    fail_msg("rank %d of %d: %s", r, count, a->err.message);
                assert_int_equal(a->logits, one->logits);
                assert_memory_equal(a->hash, one->hash, sizeof one->hash);
                assert_true(a->stats.resident_bytes_max <= a->plan.cache_bytes);
                asked += a->stats.hits + a->stats.late + a->stats.misses;
            }
            if (!small) /* chunks are alike: each expert is asked of one rank */
                assert_int_equal(asked, one->stats.hits + one->stats.late + one->stats.misses);
        }
    }
}

/* Each layer's experts, give or take one, and the uses as even as can be. */
static void test_division(void **state)
{
    (void)state;
    umbra_model *model;
    assert_int_equal(umbra_model_open(&model, tiny, NULL), UMBRA_OK);
    int layers = model->config.layers, experts = model->config.experts;
    uint64_t uses[4096] = {0};
    assert_true(layers * experts <= 4096);
    for (int i = 0; i < layers * experts; i++)
        uses[i] = (uint64_t)(experts - i % experts);
    for (int weighed = 0; weighed < 2; weighed++) {
        for (int count = 2; count <= 7; count++) {
            umbra_division d;
            umbra_ranks r = {.count = count, .rank = count, .uses = weighed ? uses : NULL};
            assert_int_equal(umbra_division_init(&d, model, &r, NULL), UMBRA_E_ARGUMENT);
            r.rank = count - 1;
            assert_int_equal(umbra_division_init(&d, model, &r, NULL), UMBRA_OK);
            for (int l = 0; l < layers; l++) {
                int n[7] = {0};
                uint64_t load[7] = {0}, most = 0, least = UINT64_MAX;
                for (int e = 0; e < experts; e++) {
                    n[d.owner[l * experts + e]]++;
                    load[d.owner[l * experts + e]] += uses[l * experts + e];
                }
                for (int k = 0; k < count; k++) {
                    assert_in_range(n[k], experts / count, (experts + count - 1) / count);
                    most = load[k] > most ? load[k] : most;
                    least = load[k] < least ? load[k] : least;
                }
                if (weighed && experts % count == 0)
                    assert_true(most - least <= (uint64_t)experts / 4);
            }
            umbra_division_free(&d);
        }
    }
    umbra_model_close(&model);
}

static void test_weighed(void **state)
{
    (void)state;
    static trial alone, together;
    static uint64_t uses[4096];
    for (size_t i = 0; i < 4096; i++)
        uses[i] = (i * 2654435761u) % 97;
    alone = together = make_trial();
    run_rank(NULL, &alone);
    test_with_ranks(3, uses, run_rank, &together);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(together.answers[r].status, UMBRA_OK);
        assert_memory_equal(together.answers[r].hash, alone.answers[0].hash,
                            sizeof alone.answers[0].hash);
    }
}

/* One rank is interrupted, all end alike. */
static void test_interruption(void **state)
{
    (void)state;
    static trial t;
    for (int rank = 0; rank < 3; rank++) {
        t = make_trial();
        t.stop_rank = rank;
        test_with_ranks(3, NULL, run_rank, &t);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(t.answers[r].status, UMBRA_E_INTERRUPTED);
            assert_string_equal(t.answers[r].err.message, "interrupted");
            assert_int_equal(t.answers[r].logits, t.answers[0].logits);
        }
    }
}

static void test_mismatch(void **state)
{
    (void)state;
    static trial t;
    t = make_trial();
    t.other_context_rank = 1;
    test_with_ranks(3, NULL, run_rank, &t);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(t.answers[r].status, UMBRA_E_MISMATCH);
        assert_non_null(strstr(t.answers[r].err.message, "the context differs from rank 0's"));
    }
    t = make_trial();
    t.options.ram_bytes = 1000;
    test_with_ranks(2, NULL, run_rank, &t);
    for (int r = 0; r < 2; r++)
        assert_int_equal(t.answers[r].status, UMBRA_E_BUDGET);
}

/* What rank 0 does with several sequences; returns its logits in a. */
static int lead(umbra_engine *engine, answer *a)
{
    umbra_tap tap = {.user = a, .logits = take_logits};
    umbra_token tokens[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        tokens[i] = (umbra_token){100 + 7 * i, 0, i == PROMPT - 1};
    int rc = umbra_engine_eval(engine, tokens, PROMPT, &tap, &a->err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_fork(engine, 0, 1, &a->err);
    umbra_token both[] = {{40, 0, true}, {41, 1, true}};
    if (rc == UMBRA_OK)
        rc = umbra_engine_eval(engine, both, 2, &tap, &a->err);
    assert_int_equal(umbra_engine_truncate(engine, 1, 5), 5);
    uint64_t bytes = umbra_engine_snapshot_bytes(engine, 5);
    char *kept = malloc(bytes);
    if (rc == UMBRA_OK)
        rc = umbra_engine_snapshot(engine, 1, kept, bytes, &a->err);
    umbra_token other = {42, 1, true};
    if (rc == UMBRA_OK)
        rc = umbra_engine_eval(engine, &other, 1, &tap, &a->err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_restore(engine, 0, kept, bytes, &a->err);
    /* Misuse and a failure of the caller's own change nothing for the others. */
    umbra_token wrong = {-1, 0, true};
    assert_int_equal(umbra_engine_eval(engine, &wrong, 1, &tap, NULL), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_engine_length(engine, 0), 5);
    umbra_token last = {43, 0, true};
    if (rc == UMBRA_OK)
        rc = umbra_engine_eval(engine, &last, 1, &tap, &a->err);
    free(kept);
    return rc;
}

static void lead_or_follow(const umbra_ranks *ranks, void *user)
{
    trial *t = user;
    int rank = ranks ? ranks->rank : 0;
    answer *a = &t->answers[rank];
    umbra_engine_options o = t->options;
    o.ranks = ranks;
    o.sequences = 2;
    umbra_model *model;
    umbra_engine *engine = NULL;
    a->status = umbra_model_open(&model, tiny, &a->err);
    if (a->status != UMBRA_OK)
        return;
    a->vocabulary = umbra_model_get_info(model)->vocabulary;
    a->status = umbra_engine_open(&engine, model, &o, &a->err);
    if (a->status == UMBRA_OK)
        a->status = rank == 0 ? lead(engine, a) : umbra_engine_follow(engine, NULL, &a->err);
    umbra_engine_close(&engine);
    umbra_model_close(&model);
}

static void test_follow(void **state)
{
    (void)state;
    static trial alone, together;
    alone = together = make_trial();
    lead_or_follow(NULL, &alone);
    assert_int_equal(alone.answers[0].status, UMBRA_OK);
    test_with_ranks(3, NULL, lead_or_follow, &together);
    for (int r = 0; r < 3; r++)
        if (together.answers[r].status != UMBRA_OK)
            fail_msg("rank %d: %s", r, together.answers[r].err.message);
    assert_int_equal(together.answers[0].logits, 5);
    assert_memory_equal(together.answers[0].hash, alone.answers[0].hash,
                        sizeof alone.answers[0].hash);
}

/* A rank that calls its engine otherwise than rank 0. */
static void call_otherwise(const umbra_ranks *ranks, void *user)
{
    trial *t = user;
    answer *a = &t->answers[ranks->rank];
    umbra_engine_options o = {.threads = 1, .io = "threads", .ranks = ranks};
    umbra_model *model;
    umbra_engine *engine = NULL;
    a->status = umbra_model_open(&model, tiny, &a->err);
    if (a->status == UMBRA_OK)
        a->status = umbra_engine_open(&engine, model, &o, &a->err);
    if (ranks->rank == 0) {
        assert_int_equal(umbra_engine_truncate(engine, 0, 0), 0);
    } else {
        umbra_token token = {1, 0, false};
        a->status = umbra_engine_eval(engine, &token, 1, NULL, &a->err);
    }
    umbra_engine_close(&engine);
    umbra_model_close(&model);
}

static void test_other_calls(void **state)
{
    (void)state;
    static trial t;
    t = make_trial();
    test_with_ranks(2, NULL, call_otherwise, &t);
    assert_int_equal(t.answers[0].status, UMBRA_OK);
    assert_int_equal(t.answers[1].status, UMBRA_E_ARGUMENT);
    assert_non_null(strstr(t.answers[1].err.message, "as rank 0 does"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_division),    cmocka_unit_test(test_bits),
        cmocka_unit_test(test_weighed),     cmocka_unit_test(test_interruption),
        cmocka_unit_test(test_mismatch),    cmocka_unit_test(test_follow),
        cmocka_unit_test(test_other_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
