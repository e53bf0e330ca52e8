/* Evaluations of small traces, counted again the long way round. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "predict/features.h"
#include "base/memory.h"
#include "lab/evaluate/evaluation.h"
#include "lab/evaluate/fixture.h"

enum { L = FIXTURE_LAYERS, H = FIXTURE_HIDDEN, E = FIXTURE_EXPERTS, K = FIXTURE_USED };
enum { D = UMBRA_MAX_DISTANCE };

static const char no_documents[] = "{\"documents\": []}";

static umbra_evaluation *evaluate(const umbra_evaluate_options *options)
{
    umbra_error err;
    umbra_evaluation *e;
    if (umbra_evaluate(&e, options, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return e;
}

static umbra_evaluation *evaluate_one(const char *traces, const char *shadow, int threads)
{
    return evaluate(&(umbra_evaluate_options){.traces = &traces,
                                              .n_traces = 1,
                                              .shadows = &shadow,
                                              .n_shadows = shadow ? 1 : 0,
                                              .threads = threads});
}

static const umbra_eval_row *row_of(const umbra_evaluation *e, umbra_eval_kind kind)
{
    for (int r = 0; r < e->n_rows; r++)
        if (e->rows[r].kind == kind)
            return &e->rows[r];
    fail_msg("no row of kind %d", (int)kind);
    return NULL;
}

static int set_up(void **state)
{
    (void)state;
    umbra_shadow_spec spec = fixture_spec();
    fixture_trace(fixture_path("traces"), fixture_documents(), FIXTURE_DOCUMENTS, 7, 1, 0, -1);
    fixture_shadow(fixture_path("random.safetensors"), &spec, 0.2, no_documents);
    fixture_shadow(fixture_path("untrained.safetensors"), &spec, 0, no_documents);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_clean();
    return 0;
}

/* ---- against a plain recount ---- */

typedef struct recount {
    uint64_t hits[D][E + 1], positions[D]; /* inner sources; hits by m */
    uint64_t start_hits[D], start_positions[D];
} recount;

static void recount_prediction(recount *c, const float *scores, const uint16_t *used, int source,
                               int d)
{
    for (int m = 1; m <= E; m++) {
        uint16_t best[E];
        uint64_t hits = 0;
        umbra_predict_top(scores, E, m, best);
        for (int j = 0; j < K; j++)
            for (int i = 0; i < m; i++)
                hits += best[i] == used[j];
        if (source > 0)
            c->hits[d - 1][m] += hits;
        else if (m == K)
            c->start_hits[d - 1] += hits;
    }
    if (source > 0)
        c->positions[d - 1]++;
    else
        c->start_positions[d - 1]++;
}

/* One document with one predictor, row by row from whole arrays, in the plainest way. */
static void recount_document(recount *c, umbra_trace *trace, const umbra_trace_document *doc,
                             const umbra_predictor *predictor, const umbra_shadow_spec *spec,
                             umbra_predict_scratch *scratch)
{
    static float states[L][100][H], averages[2 * H], r[H], scores[D * E];
    static uint16_t routing[100][L][K], layer[100][K];
    assert_true(doc->tokens <= 100);
    for (int l = 0; l < L; l++) {
        assert_int_equal(
            umbra_trace_read_experts(trace, doc->shard, l, doc->first, doc->tokens, layer[0], NULL),
            0);
        for (int t = 0; t < doc->tokens; t++)
            memcpy(routing[t][l], layer[t], sizeof layer[t]);
        assert_int_equal(umbra_trace_read_states(
                             trace, doc->shard, l == 0 ? UMBRA_TRACE_INPUT : UMBRA_TRACE_HIDDEN,
                             l == 0 ? 0 : l - 1, doc->first_row, doc->rows, states[l][0], NULL),
                         0);
    }
    for (int source = 0; source < L; source++) {
        for (int t = 0; t < doc->tokens; t++) {
            const uint16_t *now = routing[t][0];
            const uint16_t *previous = t >= 1 ? routing[t - 1][0] : NULL;
            const uint16_t *previous2 = t >= 2 ? routing[t - 2][0] : NULL;
            umbra_shadow_normalise(states[source][t], H, r);
            for (int a = 0; spec && a < spec->averages; a++)
                umbra_shadow_average(averages + a * H, r, H, spec->decay[a], t == 0);
            umbra_predict_input in = {1,    states[source][t], spec ? averages : NULL,
                                      &now, &previous,         &previous2};
            umbra_predict(predictor, source, &in, scratch, scores);
            for (int d = 1; d <= D && source - 1 + d < L; d++)
                recount_prediction(c, scores + (d - 1) * E, routing[t][source - 1 + d], source, d);
        }
    }
}

static void assert_recounted(const umbra_evaluation *e, const umbra_eval_row *row, const recount *c)
{
    for (int d = 0; d < D; d++) {
        assert_int_equal(row->inner[d].positions, c->positions[d]);
        assert_int_equal(row->start[d].positions, c->start_positions[d]);
        for (int m = K; m <= E; m++)
            assert_int_equal(umbra_tally_hits(&row->inner[d], m), c->hits[d][m]);
        assert_int_equal(umbra_tally_hits(&row->start[d], K), c->start_hits[d]);
        assert_true(e->table.tokens * (uint64_t)(L - 1 - d) == c->positions[d]);
    }
}

static void recounts_agree(void **state)
{
    (void)state;
    umbra_error err;
    umbra_trace *trace;
    umbra_shadow *shadow;
    umbra_evaluation *e =
        evaluate_one(fixture_path("traces"), fixture_path("random.safetensors"), 2);
    assert_int_equal(umbra_trace_open(&trace, fixture_path("traces"), &err), 0);
    assert_int_equal(umbra_shadow_load(&shadow, fixture_path("random.safetensors"), &err), 0);
    static float data[L * E * H];
    umbra_gates gates = {L, E, H, data};
    for (int l = 0; l < L; l++)
        assert_int_equal(umbra_trace_read_gate(trace, l, data + l * E * H, &err), 0);
    for (int kind = 0; kind < 2; kind++) {
        umbra_predictor *p;
        umbra_predict_scratch *scratch;
        recount c = {0};
        assert_int_equal(kind == 0 ? umbra_predictor_gate(&p, &gates, K, &err)
                                   : umbra_predictor_shadow(&p, shadow, &gates, 0, &err),
                         0);
        assert_int_equal(umbra_predict_scratch_open(&scratch, p, &err), 0);
        for (int i = 0; i < umbra_trace_documents(trace); i++)
            if (i % UMBRA_EVAL_CALIBRATE_EVERY != 0)
                recount_document(&c, trace, umbra_trace_document_at(trace, i), p,
                                 kind == 0 ? NULL : &shadow->spec, scratch);
        assert_recounted(e, row_of(e, kind == 0 ? UMBRA_EVAL_GATE : UMBRA_EVAL_SHADOW), &c);
        umbra_predict_scratch_close(&scratch);
        umbra_predictor_close(&p);
    }
    umbra_trace_close(&trace);
    umbra_shadow_free(&shadow);
    umbra_evaluation_free(&e);
}

/* ---- what must be so ---- */

static void oracle_and_control_are_perfect(void **state)
{
    (void)state;
    umbra_evaluation *e = evaluate_one(fixture_path("traces"), NULL, 1);
    const umbra_eval_row *oracle = row_of(e, UMBRA_EVAL_ORACLE);
    const umbra_eval_row *gate = row_of(e, UMBRA_EVAL_GATE);
    for (int d = 0; d < D; d++) {
        assert_float_equal(umbra_tally_recall(&oracle->inner[d], K, K), 1, 0);
        assert_float_equal(umbra_tally_all(&oracle->start[d], K), 1, 0);
        assert_float_equal(umbra_tally_top(&oracle->inner[d], 1), 1, 0);
        double recall = umbra_tally_recall(&gate->inner[d], K, K);
        assert_true(recall > 0.3 && recall < 1);
        assert_true(d == 0 || recall < umbra_tally_recall(&gate->inner[d - 1], K, K));
        assert_true(gate->deviation[d] > 0 && gate->deviation[d] < 0.1);
    }
    assert_float_equal(umbra_tally_recall(&e->control_sum, K, K), 1, 0);
    assert_int_equal(e->control_sum.positions, e->table.tokens * (L - 1));
    assert_int_equal(e->n_budgets, 3);
    assert_int_equal(e->budgets[0], 3);
    assert_int_equal(e->budgets[1], 5);
    assert_int_equal(e->budgets[2], 6);
    umbra_evaluation_free(&e);
}

/* An untrained residual is the gate; so are its parts, which give nothing. */
static void untrained_shadow_equals_gate(void **state)
{
    (void)state;
    umbra_evaluation *e =
        evaluate_one(fixture_path("traces"), fixture_path("untrained.safetensors"), 2);
    const umbra_eval_row *gate = row_of(e, UMBRA_EVAL_GATE);
    const umbra_eval_row *shadow = row_of(e, UMBRA_EVAL_SHADOW);
    assert_string_equal(shadow->name, "untrained");
    for (int d = 0; d < D; d++)
        for (int m = K; m <= E; m++)
            assert_int_equal(umbra_tally_hits(&gate->inner[d], m),
                             umbra_tally_hits(&shadow->inner[d], m));
    assert_int_equal(e->shadows[0].n_ablations, 8);
    assert_true(e->ablation.tokens > 0);
    for (int a = 0; a < e->shadows[0].n_ablations; a++)
        for (int d = 1; d <= D; d++)
            assert_float_equal(umbra_eval_loss(e, 0, a, d), 0, 0);
    umbra_evaluation_free(&e);
}

/* With everything trainable off only the gate and biases are left; a random shadow changes with
 * each part. */
static void ablations_change_a_random_shadow(void **state)
{
    (void)state;
    umbra_evaluation *e =
        evaluate_one(fixture_path("traces"), fixture_path("random.safetensors"), 2);
    const umbra_eval_shadow *s = &e->shadows[0];
    assert_int_equal(e->ablation.tokens, e->table.tokens); /* few enough for all */
    for (int d = 0; d < D; d++)
        assert_int_equal(s->hits[d],
                         umbra_tally_hits(&row_of(e, UMBRA_EVAL_SHADOW)->inner[d], e->model.used));
    for (int a = 0; a < s->n_ablations; a++)
        assert_true(s->ablations[a].hits[0] != s->hits[0]);
    umbra_evaluation_free(&e);
}

static void assert_same(const umbra_evaluation *a, const umbra_evaluation *b)
{
    assert_int_equal(a->n_rows, b->n_rows);
    for (int r = 0; r < a->n_rows; r++) {
        for (int s = 0; s < L; s++)
            for (int d = 1; d <= D; d++) {
                const umbra_tally *x = umbra_eval_tally(&a->rows[r], s, d);
                const umbra_tally *y = umbra_eval_tally(&b->rows[r], s, d);
                assert_int_equal(x->positions, y->positions);
                assert_memory_equal(x->ranks, y->ranks, E * sizeof *x->ranks);
                assert_memory_equal(x->worst, y->worst, E * sizeof *x->worst);
                assert_memory_equal(x->bins, y->bins, sizeof x->bins);
                assert_memory_equal(&x->nll, &y->nll, sizeof x->nll);
            }
        assert_memory_equal(a->rows[r].platt, b->rows[r].platt, sizeof a->rows[r].platt);
        assert_memory_equal(a->rows[r].deviation, b->rows[r].deviation, sizeof(double) * D);
    }
}

static void threads_change_nothing(void **state)
{
    (void)state;
    const char *shadow = fixture_path("random.safetensors");
    umbra_evaluation *one = evaluate_one(fixture_path("traces"), shadow, 1);
    for (int threads = 2; threads <= 5; threads += 3) {
        umbra_evaluation *more = evaluate_one(fixture_path("traces"), shadow, threads);
        assert_same(one, more);
        umbra_evaluation_free(&more);
    }
    umbra_evaluation_free(&one);
}

/* Fitted on one part of the documents, the probabilities hold on the others. */
static void forecasts_are_calibrated(void **state)
{
    (void)state;
    umbra_evaluation *e = evaluate_one(fixture_path("traces"), NULL, 1);
    assert_int_equal(e->calibration.documents, 3);
    for (int r = 0; r < e->n_rows; r++) {
        for (int d = 0; d < D; d++) {
            double ece = umbra_tally_ece(&e->rows[r].inner[d]);
            double nll = umbra_tally_nll(&e->rows[r].inner[d]);
            if (e->rows[r].kind == UMBRA_EVAL_ORACLE) {
                assert_true(isnan(ece));
                continue;
            }
            assert_true(ece < 0.05);
            assert_true(nll < 0.6); /* the base rate of 3 in 12 alone costs 0.56 */
        }
    }
    umbra_evaluation_free(&e);
}

static void strided_traces_work(void **state)
{
    (void)state;
    fixture_trace(fixture_path("strided"), fixture_documents(), FIXTURE_DOCUMENTS, 25, 3, 0, -1);
    umbra_evaluation *e =
        evaluate_one(fixture_path("strided"), fixture_path("random.safetensors"), 2);
    uint64_t rows = 0;
    for (int i = 0; i < FIXTURE_DOCUMENTS; i++)
        if (i % UMBRA_EVAL_CALIBRATE_EVERY != 0)
            rows += (uint64_t)(fixture_documents()[i].tokens - 1) / 3 + 1;
    assert_int_equal(e->table.tokens, rows);
    assert_float_equal(umbra_tally_recall(&e->control_sum, K, K), 1, 0);
    assert_float_equal(umbra_tally_recall(&row_of(e, UMBRA_EVAL_ORACLE)->inner[3], K, K), 1, 0);
    umbra_evaluation_free(&e);
}

static void layers_without_experts_are_passed_over(void **state)
{
    (void)state;
    fixture_trace(fixture_path("bare"), fixture_documents(), FIXTURE_DOCUMENTS, 9, 1, 0, 2);
    umbra_evaluation *e = evaluate_one(fixture_path("bare"), NULL, 2);
    const umbra_eval_row *oracle = row_of(e, UMBRA_EVAL_ORACLE);
    assert_null(umbra_eval_at_layer(e, oracle, 2, 1)); /* no experts to predict */
    assert_null(umbra_eval_at_layer(e, oracle, 3, 1)); /* no states to predict from */
    assert_int_equal(umbra_eval_at_layer(e, oracle, 3, 2)->positions, e->table.tokens);
    assert_int_equal(umbra_eval_tally(oracle, 1, 2)->positions, 0);
    assert_float_equal(umbra_tally_recall(&oracle->inner[1], K, K), 1, 0);
    assert_int_equal(oracle->inner[0].positions, 3 * e->table.tokens); /* layers 1, 4, 5 */
    assert_int_equal(e->control_sum.positions, 4 * e->table.tokens);   /* layers 0, 1, 3, 4 */
    umbra_evaluation_free(&e);
}

static void token_limit_takes_the_heads(void **state)
{
    (void)state;
    const char *traces = fixture_path("traces");
    umbra_evaluation *e =
        evaluate(&(umbra_evaluate_options){.traces = &traces, .n_traces = 1, .max_tokens = 600});
    uint64_t all = e->table.tokens + e->calibration.tokens;
    assert_int_equal(e->table.documents + e->calibration.documents, FIXTURE_DOCUMENTS);
    assert_true(all <= 600 && all > 600 - FIXTURE_DOCUMENTS);
    assert_true(e->document_limit > 0);
    umbra_evaluation_free(&e);
}

/* Documents of under 16 tokens and repeated ones do not count, in whichever folder. */
static void short_and_repeated_documents_are_left_out(void **state)
{
    (void)state;
    const fixture_document list[] = {
        {"a", 30, false, 1},
        {"short", 15, false, 2},
        {"b", 40, false, 3},
        {"a again", 30, true, 1},
    };
    const fixture_document other[] = {{"b elsewhere", 40, false, 3}, {"c", 16, false, 5}};
    fixture_trace(fixture_path("first"), list, 4, 4, 1, 0, -1);
    fixture_trace(fixture_path("second"), other, 2, 1, 1, 0, -1);
    const char *traces[] = {fixture_path("first"), fixture_path("second")};
    umbra_evaluation *e = evaluate(&(umbra_evaluate_options){.traces = traces, .n_traces = 2});
    assert_int_equal(e->calibration.tokens, 30);
    assert_int_equal(e->table.documents, 2);
    assert_int_equal(e->table.tokens, 56);
    assert_int_equal(e->folders[0].short_documents, 1);
    assert_int_equal(e->folders[0].repeated, 1);
    assert_int_equal(e->folders[1].repeated, 1);
    assert_int_equal(e->folders[0].generated.documents, 1);
    assert_string_equal(e->folders[0].collection, "{\"made by\":\"a test\"}");
    umbra_evaluation_free(&e);
}

/* One document: nothing to calibrate on, nothing to count frequencies on. */
static void one_document_is_enough(void **state)
{
    (void)state;
    const fixture_document list[] = {{"alone", 70, false, 1}};
    fixture_trace(fixture_path("alone"), list, 1, 1, 1, 0, -1);
    umbra_evaluation *e = evaluate_one(fixture_path("alone"), NULL, 1);
    assert_null(e->frequency_from);
    assert_int_equal(e->n_rows, 3);
    assert_int_equal(e->table.tokens, 70);
    assert_int_equal(row_of(e, UMBRA_EVAL_GATE)->forecast, UMBRA_EVAL_NO_FORECAST);
    assert_true(isnan(row_of(e, UMBRA_EVAL_GATE)->deviation[0]));
    umbra_evaluation_free(&e);
}

static void frequencies_come_from_the_training(void **state)
{
    (void)state;
    /* Experts 0..2 were used most at every layer, 9..11 never. */
    char text[2048] = "{\"documents\":[],\"frequency\":[";
    for (int l = 0; l < L; l++)
        strcat(text, l > 0 ? ",[9,8,7,1,1,1,1,1,1,0,0,0]" : "[9,8,7,1,1,1,1,1,1,0,0,0]");
    strcat(text, "],\"epochs\":[{\"loss\":0.5,\"recall\":[0.1,0.2,0.3,0.4]},{\"loss\":0.4}],"
                 "\"tokens\":1234,\"seconds\":5}");
    umbra_shadow_spec spec = fixture_spec();
    fixture_shadow(fixture_path("counted.safetensors"), &spec, 0, text);
    umbra_evaluation *e =
        evaluate_one(fixture_path("traces"), fixture_path("counted.safetensors"), 1);
    const umbra_training *t = &e->shadows[0].training;
    assert_non_null(strstr(e->frequency_from, "training"));
    assert_int_equal(t->frequency[(L - 1) * E + 2], 7);
    assert_int_equal(t->n_epochs, 2);
    assert_float_equal(t->epochs[0].recall[3], 0.4, 0);
    assert_true(isnan(t->epochs[1].recall[0]));
    assert_float_equal(t->tokens, 1234, 0);
    /* The experts ranked first at m = k are 0, 1 and 2: recount them. */
    umbra_trace *trace;
    uint16_t used[100][K];
    uint64_t hits = 0;
    assert_int_equal(umbra_trace_open(&trace, fixture_path("traces"), NULL), 0);
    for (int i = 0; i < umbra_trace_documents(trace); i++) {
        const umbra_trace_document *doc = umbra_trace_document_at(trace, i);
        for (int l = 1; l < L && i % UMBRA_EVAL_CALIBRATE_EVERY != 0; l++) {
            assert_int_equal(umbra_trace_read_experts(trace, doc->shard, l, doc->first, doc->tokens,
                                                      used[0], NULL),
                             0);
            for (int j = 0; j < doc->tokens * K; j++)
                hits += used[j / K][j % K] < 3;
        }
    }
    assert_int_equal(umbra_tally_hits(&row_of(e, UMBRA_EVAL_FREQUENCY)->inner[0], K), hits);
    umbra_trace_close(&trace);
    umbra_evaluation_free(&e);
}

/* Two files of the same name are told apart by their paths. */
static void names_are_unique(void **state)
{
    (void)state;
    umbra_shadow_spec spec = fixture_spec();
    fixture_shadow(fixture_path("gate.shadow.safetensors"), &spec, 0, no_documents);
    fixture_shadow(fixture_path("x.one.safetensors"), &spec, 0, no_documents);
    fixture_shadow(fixture_path("x.two.safetensors"), &spec, 0.1, no_documents);
    const char *traces = fixture_path("traces");
    const char *shadows[] = {fixture_path("gate.shadow.safetensors"),
                             fixture_path("x.one.safetensors"), fixture_path("x.two.safetensors"),
                             fixture_path("random.safetensors")};
    umbra_evaluation *e = evaluate(&(umbra_evaluate_options){.traces = &traces,
                                                             .n_traces = 1,
                                                             .shadows = shadows,
                                                             .n_shadows = 4,
                                                             .no_ablations = true});
    assert_int_equal(e->n_rows, 8);
    assert_string_equal(e->rows[4].name, shadows[0]);
    assert_string_equal(e->rows[5].name, shadows[1]);
    assert_string_equal(e->rows[6].name, shadows[2]);
    assert_string_equal(e->rows[7].name, "random");
    assert_int_equal(e->shadows[3].n_ablations, 0);
    umbra_evaluation_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recounts_agree),
        cmocka_unit_test(oracle_and_control_are_perfect),
        cmocka_unit_test(untrained_shadow_equals_gate),
        cmocka_unit_test(ablations_change_a_random_shadow),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(forecasts_are_calibrated),
        cmocka_unit_test(strided_traces_work),
        cmocka_unit_test(layers_without_experts_are_passed_over),
        cmocka_unit_test(token_limit_takes_the_heads),
        cmocka_unit_test(short_and_repeated_documents_are_left_out),
        cmocka_unit_test(one_document_is_enough),
        cmocka_unit_test(frequencies_come_from_the_training),
        cmocka_unit_test(names_are_unique),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
