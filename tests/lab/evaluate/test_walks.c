/* Running ahead on true runs: counted again the long way round, the same for any number of threads,
 * and refused where model and traces do not fit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/lab/collect.h>

#include "ahead/walk.h"
#include "base/memory.h"
#include "lab/evaluate/evaluation.h"
#include "lab/evaluate/fixture.h"

enum { L = 8, E = 32, K = 4, D = UMBRA_MAX_DISTANCE, TOKENS = 90, SKIPPED = 64, CONTEXT = 48 };

static const char tiny[] = "models/tiny-q8_0.gguf";
static const double shares[] = {0.3, 0.6};
static umbra_model *model;
static umbra_evaluation *by_one, *by_two; /* threads */

static umbra_evaluation *evaluate(int threads)
{
    const char *traces = fixture_path("tiny");
    umbra_error err = {0};
    umbra_evaluation *e;
    const umbra_evaluate_options o = {.traces = &traces,
                                      .n_traces = 1,
                                      .threads = threads,
                                      .model = model,
                                      .residencies = shares,
                                      .n_residencies = 2,
                                      .walk_tokens = TOKENS};
    if (umbra_evaluate(&e, &o, &err) != 0)
        fail_msg("%s", err.message);
    return e;
}

static int set_up(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_collection unused;
    const umbra_collect_options o = {.engine = {.threads = 2, .context = CONTEXT},
                                     .tokens = 4 * CONTEXT,
                                     .generate = true,
                                     .temperature = 1,
                                     .seed = 3};
    if (umbra_model_open(&model, tiny, &err) != 0 ||
        umbra_collect(model, fixture_path("tiny"), &o, &unused, &err) != 0)
        fail_msg("%s", err.message);
    by_one = evaluate(1);
    by_two = evaluate(2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    umbra_evaluation_free(&by_one);
    umbra_evaluation_free(&by_two);
    umbra_model_close(&model);
    fixture_clean();
    return 0;
}

static const umbra_eval_walk *walk_of(const umbra_evaluation *e, umbra_eval_kind kind, double share)
{
    for (int i = 0; i < e->n_walks; i++)
        if (e->walks[i].kind == kind && e->walks[i].residency == share)
            return &e->walks[i];
    fail_msg("no walk of kind %d at %g", (int)kind, share);
    return NULL;
}

/* ---- a plain recount ---- */

typedef struct recount {
    umbra_engine *engine;
    umbra_walk *walk;
    int token;
    int32_t named[L][D + 1][K];
    bool walked[L][D + 1], resident[E];
    umbra_eval_share all[D], missing[D];
} recount;

static int walk_here(void *user, const umbra_rows *rows)
{
    recount *r = user;
    for (int e = 0; e < E; e++) {
        umbra_lease lease;
        r->resident[e] =
            umbra_store_borrow(umbra_engine_store(r->engine), rows->layer, &e, 1, &lease) == 1;
        if (r->resident[e])
            umbra_store_release(umbra_engine_store(r->engine), &lease);
    }
    umbra_walk_begin(r->walk, rows, 0, UMBRA_TAP_HIDDEN);
    for (int d = 1; d <= D && umbra_walk_step(r->walk); d++) {
        int target = rows->layer + d;
        assert_int_equal(umbra_walk_layer(r->walk), target);
        memcpy(r->named[target][d], umbra_walk_experts(r->walk), K * sizeof(int32_t));
        r->walked[target][d] = true;
    }
    return 0;
}

static int compare(void *user, const umbra_rows *rows)
{
    recount *r = user;
    for (int d = 1; d <= D; d++) {
        for (int j = 0; r->walked[rows->layer][d] && r->token >= SKIPPED && j < K; j++) {
            int hit = 0;
            for (int i = 0; i < K; i++)
                hit |= r->named[rows->layer][d][i] == rows->experts[j];
            r->all[d - 1].slots++;
            r->all[d - 1].hits += (uint64_t)hit;
            if (!r->resident[rows->experts[j]]) {
                r->missing[d - 1].slots++;
                r->missing[d - 1].hits += (uint64_t)hit;
            }
        }
    }
    return 0;
}

static void decode_all(recount *r, umbra_trace *trace)
{
    umbra_error err = {0};
    const umbra_tap tap = {.user = r,
                           .at = {[UMBRA_TAP_HIDDEN] = walk_here, [UMBRA_TAP_ROUTED] = compare}};
    for (int i = 0; i < umbra_trace_documents(trace) && r->token < TOKENS; i++) {
        const umbra_trace_document *doc = umbra_trace_document_at(trace, i);
        int32_t ids[CONTEXT];
        assert_true(doc->tokens <= CONTEXT);
        assert_int_equal(
            umbra_trace_read_tokens(trace, doc->shard, doc->first, doc->tokens, ids, &err), 0);
        umbra_engine_truncate(r->engine, 0, 0);
        for (int t = 0; t < doc->tokens && r->token < TOKENS; t++, r->token++) {
            const umbra_token token = {ids[t], 0, false};
            memset(r->walked, 0, sizeof r->walked);
            assert_int_equal(umbra_engine_eval(r->engine, &token, 1, &tap, &err), 0);
        }
    }
}

static void recounts_agree(void **state)
{
    (void)state;
    umbra_error err = {0};
    umbra_evaluation *e = by_two;
    umbra_trace *trace;
    assert_int_equal(umbra_trace_open(&trace, fixture_path("tiny"), &err), 0);
    for (int i = 0; i < 2; i++) {
        recount r = {0};
        umbra_engine_options o = {
            .ram_bytes = UINT64_C(1) << 46, .context = 512, .chunk = 1, .threads = 1};
        umbra_memory_plan plan;
        assert_int_equal(umbra_engine_plan(model, &o, &plan, &err), 0);
        o.ram_bytes = plan.all_bytes - (uint64_t)((1 - shares[i]) * (double)plan.expert_bytes);
        assert_int_equal(umbra_engine_open(&r.engine, model, &o, &err), 0);
        assert_int_equal(umbra_walk_open(&r.walk, r.engine, &err), 0);
        decode_all(&r, trace);
        assert_int_equal(r.token, TOKENS);
        const umbra_eval_walk *w = walk_of(e, UMBRA_EVAL_RUNAHEAD, shares[i]);
        for (int d = 0; d < D; d++) {
            assert_int_equal(r.all[d].slots, (TOKENS - SKIPPED) * (L - 1 - d) * K);
            assert_memory_equal(&r.all[d], &w->within[UMBRA_EVAL_ALL][d], sizeof r.all[d]);
            assert_memory_equal(&r.missing[d], &w->within[UMBRA_EVAL_MISSING][d],
                                sizeof r.missing[d]);
        }
        umbra_walk_close(&r.walk);
        umbra_engine_close(&r.engine);
    }
    umbra_trace_close(&trace);
}

/* ---- what must hold ---- */

static void assert_share(const umbra_eval_share *s, uint64_t slots)
{
    assert_int_equal(s->slots, slots);
    assert_true(s->hits <= s->slots);
}

static void figures_hang_together(void **state)
{
    (void)state;
    umbra_evaluation *e = by_one;
    const int tokens = TOKENS - SKIPPED;
    assert_int_equal(e->n_walks, 6);
    assert_int_equal(e->walk_reach, L);
    assert_int_equal(e->walked.tokens, TOKENS);
    for (int i = 0; i < 2; i++) {
        const umbra_eval_walk *gate = walk_of(e, UMBRA_EVAL_GATE, shares[i]);
        const umbra_eval_walk *roll = walk_of(e, UMBRA_EVAL_ROLL, shares[i]);
        const umbra_eval_walk *ahead = walk_of(e, UMBRA_EVAL_RUNAHEAD, shares[i]);
        for (int d = 0; d < L; d++) {
            uint64_t slots = (uint64_t)(tokens * (L - 1 - d) * K);
            assert_share(&gate->within[UMBRA_EVAL_ALL][d], d < D ? slots : 0);
            assert_share(&roll->within[UMBRA_EVAL_ALL][d], slots);
            assert_share(&ahead->within[UMBRA_EVAL_ALL][d], slots);
            assert_share(&gate->beyond[UMBRA_EVAL_ALL][d], 0);
            /* A document's first token is foretold by none. */
            assert_true(ahead->beyond[UMBRA_EVAL_ALL][d].slots >=
                        (uint64_t)((tokens - 2) * (d + 1) * K));
            assert_share(&ahead->next[d], (uint64_t)tokens);
            assert_true(ahead->within[UMBRA_EVAL_MISSING][d].slots <= slots);
        }
        double by_gate = umbra_eval_share_of(&gate->within[UMBRA_EVAL_ALL][2]);
        double by_roll = umbra_eval_share_of(&roll->within[UMBRA_EVAL_ALL][2]);
        double by_walk = umbra_eval_share_of(&ahead->within[UMBRA_EVAL_ALL][2]);
        assert_true(by_gate < by_roll && by_roll < by_walk);
        assert_true(umbra_eval_named(e, ahead) > umbra_eval_named(e, roll));
        assert_true(ahead->macs > roll->macs && ahead->bytes > roll->bytes && roll->macs > 0);
    }
    /* The more is in memory, the better, and the less is missing. */
    const umbra_eval_walk *few = walk_of(e, UMBRA_EVAL_RUNAHEAD, shares[0]);
    const umbra_eval_walk *more = walk_of(e, UMBRA_EVAL_RUNAHEAD, shares[1]);
    assert_true(umbra_eval_share_of(&few->within[UMBRA_EVAL_ALL][3]) <
                umbra_eval_share_of(&more->within[UMBRA_EVAL_ALL][3]));
    assert_true(few->within[UMBRA_EVAL_MISSING][0].slots >
                more->within[UMBRA_EVAL_MISSING][0].slots);
}

static void threads_leave_no_trace(void **state)
{
    (void)state;
    for (int i = 0; i < by_one->n_walks; i++)
        assert_memory_equal(by_one->walks[i].shares, by_two->walks[i].shares,
                            5 * L * sizeof *by_one->walks[i].shares);
}

/* ---- what is refused ---- */

static void assert_refused(umbra_evaluate_options o, int status, const char *words)
{
    const char *traces = fixture_path("tiny");
    umbra_error err = {0};
    umbra_evaluation *e = (umbra_evaluation *)1;
    o.traces = o.traces ? o.traces : &traces;
    o.n_traces = 1;
    o.threads = 1;
    int rc = umbra_evaluate(&e, &o, &err);
    if (e)
        fail_msg("not refused with \"%s\"", words);
    if (rc != status || !strstr(err.message, words))
        fail_msg("%d, not %d and \"%s\": %s", rc, status, words, err.message);
}

static umbra_flag stop;

/* Asks to stop in the second residency. */
static void stop_late(void *user, const char *stage, const char *unit, uint64_t done,
                      uint64_t total)
{
    (void)user;
    assert_string_equal(unit, strcmp(stage, "counting experts") == 0 ? "documents" : "tokens");
    assert_true(done <= total);
    if (strcmp(stage, "running ahead") == 0 && done > 70)
        stop = true;
}

static void misfits_are_refused(void **state)
{
    (void)state;
    const double wrong[] = {0, -1, 1.5, NAN};
    const double many[9] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
    for (int i = 0; i < 4; i++)
        assert_refused(
            (umbra_evaluate_options){.model = model, .residencies = &wrong[i], .n_residencies = 1},
            UMBRA_E_ARGUMENT, "residency");
    assert_refused(
        (umbra_evaluate_options){.model = model, .residencies = many, .n_residencies = 9},
        UMBRA_E_ARGUMENT, "0 to 8");
    assert_refused((umbra_evaluate_options){.residencies = shares, .n_residencies = 2},
                   UMBRA_E_ARGUMENT, "name the model");
    const char *foreign = fixture_path("foreign");
    fixture_trace(foreign, fixture_documents(), 2, 2, 1, 0, -1);
    assert_refused((umbra_evaluate_options){.traces = &foreign, .model = model}, UMBRA_E_MISMATCH,
                   tiny);
    /* One expert of a layer cannot do. */
    const double least = 0.001;
    assert_refused(
        (umbra_evaluate_options){.model = model, .residencies = &least, .n_residencies = 1},
        UMBRA_E_BUDGET, "too small");
    const umbra_progress progress = {.report = stop_late, .interrupted = &stop};
    assert_refused(
        (umbra_evaluate_options){.model = model, .walk_tokens = 65, .progress = &progress},
        UMBRA_E_INTERRUPTED, "interrupted");
}

/* Whatever allocation fails, it is told and nothing is left behind. */
static void no_memory_is_told(void **state)
{
    (void)state;
    const char *traces = fixture_path("tiny");
    const umbra_evaluate_options o = {.traces = &traces,
                                      .n_traces = 1,
                                      .threads = 1,
                                      .max_tokens = 64,
                                      .model = model,
                                      .residencies = shares,
                                      .n_residencies = 1,
                                      .walk_tokens = 1};
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n += 1 + n / 4) {
        umbra_error err = {0};
        umbra_evaluation *e;
        umbra_memory_fail_after(n);
        rc = umbra_evaluate(&e, &o, &err);
        umbra_memory_fail_after(0);
        if (rc != UMBRA_OK && rc != UMBRA_E_NOMEM)
            fail_msg("%s", err.message);
        assert_true((rc == UMBRA_OK) == (e != NULL));
        umbra_evaluation_free(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recounts_agree),         cmocka_unit_test(figures_hang_together),
        cmocka_unit_test(threads_leave_no_trace), cmocka_unit_test(misfits_are_refused),
        cmocka_unit_test(no_memory_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
