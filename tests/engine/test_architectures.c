/* Every model layout against golden files of small random-weight models. `exact` ones come from
 * 32-bit arithmetic on the same weights; the reference kernels must agree with them, and every
 * other table must be no further from them than llama.cpp on a CPU is. Random weights have
 * many near ties, which forgive no difference in arithmetic. And the bits must not depend on
 * budget, chunks, threads.
 *
 *     test_architectures NAME    this layout alone */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "shared.h"

/* One layout, and llama.cpp's distance from exact. */
typedef struct layout {
    const char *name; /* of its golden files */
    const char *folder, *file;
    double lse_p95, lse_p99, best, experts;
    bool has_long; /* the last of the texts too */
} layout;

static const layout layouts[] = {
    {"olmoe", "arch", "olmoe-q6_k.gguf", .028, .061, .985, .994, false},
    {"mixtral", "arch", "mixtral-q5_k_m.gguf", .037, .115, .969, .993, false},
    {"qwen2moe", "arch", "qwen2moe-q4_k_m.gguf", .026, .053, .996, .995, false},
    {"deepseek2", "arch", "deepseek2-q4_k_m.gguf", .119, .367, .902, .981, false},
    {"gptoss", "arch", "gptoss-mxfp4_moe.gguf", .019, .032, 1.0, .996, false},
    {"glm4moe", "arch2", "glm4moe-iq1_m.gguf", .064, .149, .9688, .9872, false},
    {"minimaxm2", "arch2", "minimaxm2-iq3_xxs.gguf", .094, .240, .9424, .9864, true},
    {"bailingmoe2", "arch2", "bailingmoe2-iq4_nl.gguf", .084, .199, .9572, .9829, false},
    {"hunyuanmoe", "arch2", "hunyuanmoe-bf16.gguf", .027, .045, 1.0, .9989, false},
    {"granitemoe", "arch2", "granitemoe-q8_0.gguf", .038, .061, .9961, .9989, false},
    {"ernie45moe", "arch2", "ernie45moe-q5_0.gguf", .070, .118, .9808, .9879, false},
    {"gemma4", "arch2", "gemma4-q4_0.gguf", .113, .266, .9095, .9831, true},
    {"llama4", "arch2", "llama4-q4_0.gguf", .201, .527, .9346, .9791, false},
    {"lfm2moe", "arch2", "lfm2moe-q4_0.gguf", .079, .106, .9585, .9816, false},
    {"glmdsa", "arch2", "glmdsa-iq1_s.gguf", .108, .237, .8992, .9781, true},
    {"deepseek32", "arch2", "deepseek32-q5_0.gguf", .125, .197, .8989, .9695, false},
    {"deepseek4", "arch2", "deepseek4-mxfp4.gguf", .133, .203, .9000, .9835, true},
    {"minimaxm3", "arch2", "minimaxm3-mxfp4.gguf", .062, .204, .9562, .9887, false},
    {"qwen3next", "arch2", "qwen3next-iq4_nl.gguf", .126, .176, .9451, .9849, true},
    {"qwen35moe", "arch2", "qwen35moe-iq2_m.gguf", .075, .139, .9458, .9865, true},
    {"qwen35fused", "arch2", "qwen35fused-q4_k_m.gguf", .094, .142, .8926, .9866, false},
    {"kimilinear", "arch2", "kimilinear-iq3_xxs.gguf", .126, .215, .9108, .9846, true},
    {"nemotronhmoe", "arch2", "nemotronhmoe-q5_0.gguf", .125, .274, .9170, .9839, true},
};

static const char *const texts[] = {"own-chat", "own-code", "own-mixed", "own-prose", "own-long"};

enum { LAYOUTS = sizeof layouts / sizeof layouts[0], TEXTS = 4, MIXED = 2, LONG = 4 };

static bool find_file(char *path, size_t size, const layout *l)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", l->folder, l->file);
    return shared_path(path, size, name);
}

static umbra_model *open_model(const layout *l)
{
    char path[512];
    umbra_error err = {0};
    umbra_model *model;
    find_file(path, sizeof path, l);
    if (umbra_model_open(&model, path, &err) != 0)
        fail_msg("%s", err.message);
    return model;
}

static umbra_engine *open_engine(const umbra_model *model, const umbra_engine_options *options)
{
    umbra_error err = {0};
    umbra_engine *engine;
    if (umbra_engine_open(&engine, model, options, &err) != 0)
        fail_msg("%s", err.message);
    return engine;
}

static void read_golden(golden *g, const umbra_model *model, const layout *l, int text)
{
    char folder[512], exact[512], name[64];
    const umbra_model_info *info = umbra_model_get_info(model);
    snprintf(name, sizeof name, "%s/exact", l->folder);
    shared_path(folder, sizeof folder, l->folder);
    shared_path(exact, sizeof exact, name);
    snprintf(name, sizeof name, "%s-%s", l->name, texts[text]);
    golden_read(g, folder, exact, name, info->layers, info->experts_used);
}

static distance measure(const layout *l, const char *kernels)
{
    umbra_model *model = open_model(l);
    umbra_engine_options options = {.kernels = kernels};
    umbra_engine *engine = open_engine(model, &options);
    distance d = {0};
    for (int i = 0; i < TEXTS + l->has_long; i++) {
        golden g;
        umbra_scores scores;
        umbra_error err = {0};
        umbra_score_options wanted = {.top = 1, .experts = true};
        read_golden(&g, model, l, i);
        if (umbra_score(engine, model, g.token, g.tokens, &wanted, &scores, &err) != 0)
            fail_msg("%s", err.message);
        distance_add(&d, &g, &scores);
        umbra_score_free(&scores);
        golden_free(&g);
    }
    umbra_engine_close(&engine);
    umbra_model_close(&model);
    print_message("%s, %s kernels: %d positions, lse error p95 %.5f p99 %.5f, best %.5f, "
                  "experts %.5f\n",
                  l->name, kernels, d.count, distance_quantile(&d, 0.95),
                  distance_quantile(&d, 0.99), distance_best(&d), distance_experts(&d));
    return d;
}

static void check_distance(const layout *l)
{
    distance d = measure(l, "reference");
    assert_true(distance_share_within(&d, 0.01) >= 0.99);
    assert_true(distance_experts(&d) >= 0.998);
    distance_free(&d);
    for (int i = 0; umbra_kernel_name(i); i++) {
        d = measure(l, umbra_kernel_name(i));
        assert_true(distance_quantile(&d, 0.95) <= l->lse_p95);
        assert_true(distance_quantile(&d, 0.99) <= l->lse_p99);
        assert_true(distance_best(&d) >= l->best);
        assert_true(distance_experts(&d) >= l->experts);
        distance_free(&d);
    }
}

/* ---- the same bits ---- */

typedef struct run {
    float *logits; /* (tokens, vocabulary) */
    float *states; /* (tokens, hidden) of the last layer */
    int vocabulary, hidden, layers, tokens;
    int state_layers; /* layers of which states were handed out, over all chunks' tokens */
} run;

static int take_logits(void *user, int index, const float *logits)
{
    run *r = user;
    memcpy(r->logits + (size_t)index * (size_t)r->vocabulary, logits,
           (size_t)r->vocabulary * sizeof *logits);
    return 0;
}

static int take_state(void *user, const umbra_rows *rows)
{
    run *r = user;
    size_t hidden = (size_t)r->hidden;
    r->state_layers += rows->n;
    if (rows->layer == r->layers - 1)
        memcpy(r->states + (size_t)rows->first * hidden, rows->x,
               (size_t)rows->n * hidden * sizeof *rows->x);
    return 0;
}

/* Evaluates a text as one sequence, `step` tokens per call. */
static run evaluate(const umbra_model *model, const golden *g, const umbra_engine_options *options,
                    int step)
{
    const umbra_model_info *info = umbra_model_get_info(model);
    run r = {.vocabulary = info->vocabulary,
             .hidden = info->hidden,
             .layers = info->layers,
             .tokens = g->tokens};
    size_t n = (size_t)g->tokens;
    r.logits = malloc(n * (size_t)r.vocabulary * sizeof *r.logits);
    r.states = malloc(n * (size_t)r.hidden * sizeof *r.states);
    umbra_engine *engine = open_engine(model, options);
    umbra_token *tokens = malloc(n * sizeof *tokens);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (umbra_token){g->token[i], 0, true};
    umbra_error err = {0};
    run part = r;
    for (int at = 0; at < g->tokens; at += step) {
        umbra_tap tap = {
            .user = &part, .logits = take_logits, .at = {[UMBRA_TAP_HIDDEN] = take_state}};
        part.logits = r.logits + (size_t)at * (size_t)r.vocabulary;
        part.states = r.states + (size_t)at * (size_t)r.hidden;
        int count = g->tokens - at < step ? g->tokens - at : step;
        if (umbra_engine_eval(engine, tokens + at, count, &tap, &err) != 0)
            fail_msg("%s", err.message);
    }
    r.state_layers = part.state_layers;
    free(tokens);
    umbra_engine_close(&engine);
    return r;
}

static void check_bits(const layout *l)
{
    umbra_model *model = open_model(l);
    umbra_memory_plan plan;
    umbra_engine_options whole = {.threads = 2}, small = {.threads = 2, .chunk = 16};
    assert_int_equal(umbra_engine_plan(model, &small, &plan, NULL), 0);
    small.ram_bytes = plan.min_bytes;
    const struct {
        umbra_engine_options options;
        int step;
    } ways[] = {
        {small, 1000},
        {{.threads = 1, .chunk = 1}, 1000},
        {{.threads = 2, .chunk = 7}, 1000},
        {{.threads = 1, .chunk = 33}, 50},
        {{.threads = 1}, 1},
    };
    golden g;
    read_golden(&g, model, l, l->has_long ? LONG : MIXED);
    run want = evaluate(model, &g, &whole, 1000);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        run got = evaluate(model, &g, &ways[i].options, ways[i].step);
        size_t n = (size_t)g.tokens;
        assert_memory_equal(got.logits, want.logits, n * (size_t)got.vocabulary * sizeof(float));
        assert_memory_equal(got.states, want.states, n * (size_t)got.hidden * sizeof(float));
        assert_int_equal(got.state_layers, g.tokens * got.layers); /* dense layers too */
        free(got.logits);
        free(got.states);
    }
    free(want.logits);
    free(want.states);
    golden_free(&g);
    umbra_model_close(&model);
}

static const char *only; /* NULL: all */

static void for_each_layout(void (*check)(const layout *l))
{
    char path[512];
    for (int i = 0; i < LAYOUTS; i++)
        if (only && strcmp(only, layouts[i].name) != 0)
            continue;
        else if (find_file(path, sizeof path, &layouts[i]))
            check(&layouts[i]);
        else
            say_skipped(layouts[i].name, layouts[i].file);
}

static void layouts_agree(void **state)
{
    (void)state;
    for_each_layout(check_distance);
}

static void bits_do_not_depend_on_the_way(void **state)
{
    (void)state;
    for_each_layout(check_bits);
}

int main(int argc, char **argv)
{
    char path[512];
    only = argc > 1 ? argv[1] : NULL;
    if (!find_file(path, sizeof path, &layouts[0])) {
        say_skipped("model layouts", layouts[0].file);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_agree),
        cmocka_unit_test(bits_do_not_depend_on_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
