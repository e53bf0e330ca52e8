/* Forms in which files hold the same model give the same answers, and what a layout's attention and
 * router promise holds: small models with random F32 weights, made here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"

/* ---- forms of files ---- */

static void experts_in_any_form_are_the_same(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 2};
    answer *stacked = answer_of(&make_llama, NULL, NULL, &options);
    answer *apart = answer_of(&make_llama, NULL, make_single, &options);
    answer *joined = answer_of(&make_llama, NULL, make_fused, &options);
    assert_memory_equal(stacked, apart, sizeof *stacked);
    assert_memory_equal(stacked, joined, sizeof *stacked);
    free(stacked);
    free(apart);
    free(joined);
}

static void heads_in_any_form_are_the_same(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 2};
    answer *apart = answer_of(&make_granitemoe, NULL, NULL, &options);
    answer *joined = answer_of(&make_granitemoe, NULL, make_joined, &options);
    assert_memory_equal(apart, joined, sizeof *apart);
    free(apart);
    free(joined);
}

static void delta_nets_in_any_form_are_the_same(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 2};
    answer *mixed = answer_of(&make_qwen3next, NULL, NULL, &options);
    answer *by_head = answer_of(&make_qwen3next, NULL, make_by_key_head, &options);
    answer *by_kind = answer_of(&make_qwen3next, NULL, make_by_kind, &options);
    assert_memory_equal(mixed, by_head, sizeof *mixed);
    assert_memory_equal(mixed, by_kind, sizeof *mixed);
    free(mixed);
    free(by_head);
    free(by_kind);
}

/* K_B^T q is a product in one form and a sum of rows in the other. */
static void latents_in_any_form_are_the_same(void **state)
{
    (void)state;
    const umbra_engine_options options = {.threads = 2, .kernels = "reference"};
    answer *joint = answer_of(&make_deepseek2, NULL, NULL, &options);
    answer *apart = answer_of(&make_deepseek2, make_split_keys, make_split_latent, &options);
    assert_true(largest_difference(joint, apart) < 1e-4);
    assert_memory_equal(joint->experts, apart->experts, sizeof joint->experts);
    free(joint);
    free(apart);
}

/* ---- windows ---- */

static void a_window_ends_where_it_should(void **state)
{
    (void)state;
    /* One windowed layer over another that sees all would hide it: the window of the only layer. */
    const make_key one_layer[] = {{"block_count", 1, MAKE_U32, NULL}, {0}};
    enum { WINDOW = 8, CHANGED = 10 };
    opened o = open_it(&make_gpt_oss, one_layer, NULL, &(umbra_engine_options){.threads = 1});
    answer *plain = evaluate(&o, -1);
    umbra_engine_truncate(o.engine, 0, 0);
    answer *other = evaluate(&o, CHANGED);
    for (int t = 0; t < TOKENS; t++) {
        bool same = memcmp(plain->logits[t], other->logits[t], sizeof plain->logits[t]) == 0;
        assert_int_equal(same, t < CHANGED || t >= CHANGED + WINDOW);
    }
    free(plain);
    free(other);
    close_it(&o);
}

/* ---- bits ---- */

typedef struct variant {
    const make_layout *layout;
    const make_key *keys;
    const make_tensor *tensors;
} variant;

static const make_key grouped_keys[] = {
    {"expert_gating_func", 2, MAKE_U32, NULL},      {"expert_group_count", 4, MAKE_U32, NULL},
    {"expert_group_used_count", 2, MAKE_U32, NULL}, {"expert_weights_scale", 2.5, MAKE_F32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},    {0},
};

static const make_tensor bias_tensor[] = {{"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0}, {0}};

static const variant variants[] = {
    {&make_olmoe, NULL, NULL},
    {&make_llama, NULL, make_single},
    {&make_qwen2moe, NULL, make_fused},
    {&make_deepseek2, NULL, NULL},
    {&make_deepseek2, make_split_keys, make_split_latent},
    {&make_deepseek2, grouped_keys, bias_tensor},
    {&make_gpt_oss, NULL, NULL},
    {&make_glm4moe, NULL, NULL},
    {&make_minimax_m2, NULL, NULL},
    {&make_bailingmoe2, NULL, NULL},
    {&make_hunyuan_moe, NULL, make_fused},
    {&make_granitemoe, NULL, NULL},
    {&make_ernie45_moe, NULL, NULL},
    {&make_gemma4, NULL, NULL},
    {&make_gemma4, NULL, make_fused},
    {&make_llama4, NULL, NULL},
    {&make_lfm2moe, NULL, NULL},
    {&make_glm_dsa, NULL, NULL},
    {&make_deepseek32, NULL, NULL},
    {&make_minimax_m3, NULL, NULL},
    {&make_deepseek4, NULL, NULL},
    {&make_qwen35moe, NULL, make_fused},
    {&make_qwen3next, NULL, NULL},
    {&make_qwen4exp, NULL, NULL},
    {&make_kimi_linear, NULL, NULL},
    {&make_nemotron_h_moe, NULL, NULL},
};

enum { VARIANTS = sizeof variants / sizeof variants[0] };

static void bits_do_not_depend_on_the_way(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &variants[i];
        umbra_memory_plan plan;
        umbra_engine_options small = {.threads = 2, .chunk = 3, .kernels = "auto"};
        opened o = open_it(v->layout, v->keys, v->tensors, &small);
        assert_int_equal(umbra_engine_plan(o.model, &small, &plan, NULL), 0);
        close_it(&o);
        small.ram_bytes = plan.min_bytes;
        const umbra_engine_options whole = {.threads = 1}, single_tokens = {.chunk = 1};
        answer *want = answer_of(v->layout, v->keys, v->tensors, &whole);
        answer *got = answer_of(v->layout, v->keys, v->tensors, &small);
        assert_memory_equal(want, got, sizeof *want);
        free(got);
        got = answer_of(v->layout, v->keys, v->tensors, &single_tokens);
        assert_memory_equal(want, got, sizeof *want);
        free(got);
        free(want);
    }
}

/* Logits of rows by the position in their sequence, which `first` begins with. */
typedef struct rows_taken {
    float (*logits)[MAKE_TOKENS];
    int first;
} rows_taken;

static int take_row(void *user, int index, const float *logits)
{
    const rows_taken *r = user;
    memcpy(r->logits[r->first + index], logits, sizeof r->logits[0]);
    return 0;
}

/* Positions [from, to) of the fixed tokens in a sequence; their logits. */
static void go_on(const opened *o, int sequence, int from, int to, float (*logits)[MAKE_TOKENS])
{
    umbra_token tokens[TOKENS];
    rows_taken taken = {logits, from};
    const umbra_tap tap = {.user = &taken, .logits = take_row};
    umbra_error err = {0};
    for (int i = from; i < to; i++)
        tokens[i - from] = token_at(i, sequence);
    if (umbra_engine_eval(o->engine, tokens, to - from, &tap, &err) != 0)
        fail_msg("%s", err.message);
}

/* A sequence that another came from by a fork at `at`, and one that it was restored to, go on as if
 * they had been alone. */
static void check_forks(const opened *o, const answer *want, int at)
{
    float(*logits)[MAKE_TOKENS] = calloc(TOKENS, sizeof *logits);
    size_t rest = (size_t)(TOKENS - at) * sizeof *logits;
    umbra_error err = {0};
    umbra_engine_truncate(o->engine, 0, 0);
    go_on(o, 0, 0, at, logits);
    uint64_t bytes = umbra_engine_snapshot_bytes(o->engine, at);
    void *snapshot = malloc(bytes);
    assert_int_equal(umbra_engine_snapshot(o->engine, 0, snapshot, bytes, &err), 0);
    assert_int_equal(umbra_engine_fork(o->engine, 0, 1, &err), 0);
    go_on(o, 0, at, TOKENS, logits);
    assert_memory_equal(logits, want->logits, TOKENS * sizeof *logits);
    memset(logits[at], 0, rest);
    go_on(o, 1, at, TOKENS, logits);
    assert_memory_equal(logits[at], want->logits[at], rest);
    memset(logits[at], 0, rest);
    assert_int_equal(umbra_engine_restore(o->engine, 2, snapshot, bytes, &err), 0);
    go_on(o, 2, at, TOKENS, logits);
    assert_memory_equal(logits[at], want->logits[at], rest);
    free(snapshot);
    free(logits);
}

static void forks_and_snapshots_go_on_alike(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &variants[i];
        const umbra_engine_options options = {.threads = 2, .sequences = 3, .chunk = 7};
        opened o = open_it(v->layout, v->keys, v->tensors, &options);
        answer *want = evaluate(&o, -1);
        for (int at = 1; at < TOKENS; at += 9)
            check_forks(&o, want, at);
        free(want);
        close_it(&o);
    }
}

/* Taken back to any position, a sequence goes on as if it had never been further. */
static void truncated_sequences_go_on_alike(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &variants[i];
        const umbra_engine_options options = {.threads = 2, .chunk = 9};
        opened o = open_it(v->layout, v->keys, v->tensors, &options);
        answer *want = evaluate(&o, -1);
        float(*logits)[MAKE_TOKENS] = calloc(TOKENS, sizeof *logits);
        for (int at = TOKENS - 1; at > 0; at -= 7) {
            int end = at + 11 < TOKENS ? at + 11 : TOKENS;
            umbra_token other = token_at(at + 1, 0);
            int held = umbra_engine_truncate(o.engine, 0, at);
            assert_true(held == at || held == 0); /* recurrent layers go a few positions back */
            if (held == 0)
                go_on(&o, 0, 0, at, logits);
            assert_int_equal(umbra_engine_eval(o.engine, &other, 1, NULL, NULL), 0);
            assert_int_equal(umbra_engine_truncate(o.engine, 0, at), at);
            go_on(&o, 0, at, end, logits);
            assert_memory_equal(logits[at], want->logits[at], (size_t)(end - at) * sizeof *logits);
        }
        free(logits);
        free(want);
        close_it(&o);
    }
}

/* Rows of three sequences in one step, each a position behind the one before. */
static void sequences_do_not_see_each_other(void **state)
{
    (void)state;
    enum { SEQUENCES = 3 };
    for (int i = 0; i < VARIANTS; i++) {
        const variant *v = &variants[i];
        const umbra_engine_options options = {.threads = 2, .sequences = SEQUENCES};
        opened o = open_it(v->layout, v->keys, v->tensors, &options);
        answer *want = evaluate(&o, -1);
        float(*logits)[MAKE_TOKENS] = calloc(SEQUENCES, sizeof *logits);
        umbra_engine_truncate(o.engine, 0, 0);
        for (int step = 0; step < TOKENS + SEQUENCES - 1; step++) {
            umbra_token tokens[SEQUENCES];
            rows_taken taken = {logits, 0};
            const umbra_tap tap = {.user = &taken, .logits = take_row};
            int n = 0;
            for (int s = 0; s < SEQUENCES; s++)
                if (step >= s && step - s < TOKENS)
                    tokens[n++] = token_at(step - s, s);
            assert_int_equal(umbra_engine_eval(o.engine, tokens, n, &tap, NULL), 0);
            for (int row = 0; row < n; row++)
                assert_memory_equal(logits[row], want->logits[step - tokens[row].sequence],
                                    sizeof *logits);
        }
        free(logits);
        free(want);
        close_it(&o);
    }
}

/* ---- routers ---- */

/* Scores of the last layer's gate for the state before it; biases are not in a gate. */
static void gate_scores(const opened *o, const float *h, const char *bias, double *scores)
{
    float gate[MAKE_EXPERTS * MAKE_HIDDEN], biases[MAKE_EXPERTS] = {0};
    const float eps = o->model->config.rms_eps;
    umbra_engine_gate(o->engine, MAKE_LAYERS - 1, gate);
    if (bias)
        make_values(bias, (uint64_t[]){MAKE_EXPERTS, 0, 0}, biases);
    double squares = 0;
    for (int i = 0; i < MAKE_HIDDEN; i++)
        squares += (double)h[i] * h[i];
    for (int x = 0; x < MAKE_EXPERTS; x++) {
        scores[x] = (double)biases[x];
        for (int i = 0; i < MAKE_HIDDEN; i++)
            scores[x] += (double)gate[x * MAKE_HIDDEN + i] * h[i] /
                         sqrt(squares / MAKE_HIDDEN + (double)eps);
    }
}

static int best_of(const double *scores, const bool *allowed)
{
    int best = -1;
    for (int x = 0; x < MAKE_EXPERTS; x++)
        if (allowed[x] && (best < 0 || scores[x] > scores[best]))
            best = x;
    return best;
}

/* Checks the last layer's routing of an answer against scores that choose and scores that weigh.
 * total: what the weights sum to, or 0 for the scores themselves. */
static void check_used(const answer *a, int t, const double *choose, const double *weigh,
                       bool *allowed, double total, double scale)
{
    const int32_t *used = a->experts[MAKE_LAYERS - 1][t];
    double sum = 0;
    for (int j = 0; j < MAKE_USED; j++) {
        assert_int_equal(used[j], best_of(choose, allowed));
        allowed[used[j]] = false;
        sum += weigh[used[j]];
    }
    for (int j = 0; j < MAKE_USED; j++) {
        double want = weigh[used[j]] * scale * (total > 0 ? total / sum : 1);
        assert_float_equal(a->weights[MAKE_LAYERS - 1][t][j], want, 1e-5);
    }
}

static void allow_all(bool *allowed)
{
    memset(allowed, true, MAKE_EXPERTS);
}

static void softmax_routers_use_the_best(void **state)
{
    (void)state;
    const variant cases[] = {{&make_olmoe, NULL, NULL},      {&make_llama, NULL, NULL},
                             {&make_qwen2moe, NULL, NULL},   {&make_gpt_oss, NULL, NULL},
                             {&make_granitemoe, NULL, NULL}, {&make_gemma4, NULL, NULL}};
    for (int i = 0; i < 6; i++) {
        opened o = open_it(cases[i].layout, NULL, NULL, &(umbra_engine_options){.threads = 1});
        answer *a = evaluate(&o, -1);
        bool normed = i == 1 || i >= 3;
        for (int t = 0; t < TOKENS; t++) {
            double z[MAKE_EXPERTS], p[MAKE_EXPERTS], sum = 0;
            bool allowed[MAKE_EXPERTS];
            gate_scores(&o, a->state[t], i == 3 ? "blk.2.ffn_gate_inp.bias" : NULL, z);
            for (int x = 0; x < MAKE_EXPERTS; x++)
                sum += p[x] = exp(z[x]);
            for (int x = 0; x < MAKE_EXPERTS; x++)
                p[x] /= sum;
            allow_all(allowed);
            check_used(a, t, z, p, allowed, normed, 1);
        }
        free(a);
        close_it(&o);
    }
}

/* Marks the experts of the two best groups of two; a group is as good as the sum of both. */
static void allow_groups(const double *choose, bool *allowed)
{
    for (int g = 0; g < 4; g++) {
        int better = 0;
        for (int i = 0; i < 4; i++)
            better += choose[2 * i] + choose[2 * i + 1] > choose[2 * g] + choose[2 * g + 1];
        allowed[2 * g] = allowed[2 * g + 1] = better < 2;
    }
}

static void sigmoid_routers_use_the_best_of_groups(void **state)
{
    (void)state;
    opened o =
        open_it(&make_deepseek2, grouped_keys, bias_tensor, &(umbra_engine_options){.threads = 1});
    answer *a = evaluate(&o, -1);
    float bias[MAKE_EXPERTS];
    make_values("blk.2.exp_probs_b.bias", (uint64_t[]){MAKE_EXPERTS, 0, 0}, bias);
    int elsewhere = 0; /* tokens for which groups and bias matter */
    for (int t = 0; t < TOKENS; t++) {
        double p[MAKE_EXPERTS], choose[MAKE_EXPERTS];
        bool allowed[MAKE_EXPERTS];
        gate_scores(&o, a->state[t], NULL, p);
        for (int x = 0; x < MAKE_EXPERTS; x++) {
            p[x] = 1 / (1 + exp(-p[x]));
            choose[x] = p[x] + (double)bias[x];
        }
        allow_all(allowed);
        elsewhere += a->experts[2][t][0] != best_of(p, allowed);
        allow_groups(choose, allowed);
        check_used(a, t, choose, p, allowed, 1, 2.5);
        assert_int_equal(a->experts[0][t][0], -1);
    }
    assert_true(elsewhere > 0);
    free(a);
    close_it(&o);
}

/* V2: a group is as good as its best expert. */
static void softmax_routers_use_the_best_groups(void **state)
{
    (void)state;
    const make_key keys[] = {{"expert_group_count", 4, MAKE_U32, NULL},
                             {"expert_group_used_count", 1, MAKE_U32, NULL},
                             {"expert_weights_scale", 16, MAKE_F32, NULL},
                             {0}};
    opened o = open_it(&make_deepseek2, keys, NULL, &(umbra_engine_options){.threads = 1});
    answer *a = evaluate(&o, -1);
    for (int t = 0; t < TOKENS; t++) {
        double p[MAKE_EXPERTS], sum = 0;
        bool allowed[MAKE_EXPERTS];
        gate_scores(&o, a->state[t], NULL, p);
        for (int x = 0; x < MAKE_EXPERTS; x++)
            sum += p[x] = exp(p[x]);
        for (int x = 0; x < MAKE_EXPERTS; x++)
            p[x] /= sum;
        allow_all(allowed);
        int group = best_of(p, allowed) / 2;
        for (int x = 0; x < MAKE_EXPERTS; x++)
            allowed[x] = x / 2 == group;
        check_used(a, t, p, p, allowed, 0, 16);
    }
    free(a);
    close_it(&o);
}

static void layers_without_experts_have_no_gate(void **state)
{
    (void)state;
    opened o = open_it(&make_deepseek2, NULL, NULL, &(umbra_engine_options){.threads = 1});
    float gate[MAKE_EXPERTS * MAKE_HIDDEN];
    gate[7] = 1;
    umbra_engine_gate(o.engine, 0, gate);
    for (int i = 0; i < MAKE_EXPERTS * MAKE_HIDDEN; i++)
        assert_float_equal(gate[i], 0, 0);
    close_it(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_in_any_form_are_the_same),
        cmocka_unit_test(heads_in_any_form_are_the_same),
        cmocka_unit_test(delta_nets_in_any_form_are_the_same),
        cmocka_unit_test(latents_in_any_form_are_the_same),
        cmocka_unit_test(a_window_ends_where_it_should),
        cmocka_unit_test(bits_do_not_depend_on_the_way),
        cmocka_unit_test(forks_and_snapshots_go_on_alike),
        cmocka_unit_test(truncated_sequences_go_on_alike),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(softmax_routers_use_the_best),
        cmocka_unit_test(sigmoid_routers_use_the_best_of_groups),
        cmocka_unit_test(softmax_routers_use_the_best_groups),
        cmocka_unit_test(layers_without_experts_have_no_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
