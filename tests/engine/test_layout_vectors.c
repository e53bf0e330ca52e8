/* Every layout but the plainest, with everything that files of it have (YaRN, groups, queries
 * without a bottleneck, windows that end, layers of two kinds), against layout_vectors.h: what
 * make_layout_vectors.py computes in double, one token and head at a time, from the published
 * formulas.
 *
 *     test_layout_vectors FOLDER    writes the models there, for that script */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <umbra/umbra.h>

#include "../model/make.h"
#include "generate/mtp.h"
#include "layout_vectors.h"

#define YARN                                                                                       \
    {"rope.scaling.type", 0, MAKE_STRING, "yarn"}, {"rope.scaling.factor", 8, MAKE_F32, NULL},     \
        {"rope.scaling.original_context_length", 32, MAKE_U32, NULL},                              \
    {                                                                                              \
        "rope.scaling.yarn_beta_fast", 4, MAKE_F32, NULL                                           \
    }

static const make_key yarn_keys[] = {YARN, {0}};

/* As DeepSeek-V2-Lite. */
static const make_key lite_keys[] = {
    YARN,
    {"rope.scaling.yarn_log_multiplier", 0.0707, MAKE_F32, NULL},
    {0},
};

/* As DeepSeek-V3. */
static const make_key whole_keys[] = {
    YARN,
    {"rope.scaling.yarn_log_multiplier", 0.1, MAKE_F32, NULL},
    {"attention.head_count_kv", 1, MAKE_U32, NULL},
    {"attention.key_length", MAKE_LATENT + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length", MAKE_LATENT, MAKE_U32, NULL},
    {"attention.key_length_mla", MAKE_DIM + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length_mla", MAKE_DIM, MAKE_U32, NULL},
    {"attention.q_lora_rank", 32, MAKE_U32, NULL},
    {"expert_gating_func", 2, MAKE_U32, NULL},
    {"expert_weights_scale", 2.5, MAKE_F32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},
    {"expert_group_count", 4, MAKE_U32, NULL},
    {"expert_group_used_count", 2, MAKE_U32, NULL},
    {0},
};
static const make_tensor whole_tensors[] = {
    {"attn_q.weight", {0}, 0, 0},
    {"attn_kv_b.weight", {0}, 0, 0},
    {"attn_q_a.weight", {MAKE_HIDDEN, 32}, 0, 0},
    {"attn_q_a_norm.weight", {32}, 0, 0},
    {"attn_q_b.weight", {32, MAKE_HEADS *(MAKE_DIM + MAKE_ROPE)}, 0, 0},
    {"attn_k_b.weight", {MAKE_DIM, MAKE_LATENT, MAKE_HEADS}, 0, 0},
    {"attn_v_b.weight", {MAKE_LATENT, MAKE_DIM, MAKE_HEADS}, 0, 0},
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    {0},
};

static const make_key stretched_keys[] = {
    YARN,
    {"rope.scaling.yarn_log_multiplier", 0.1, MAKE_F32, NULL},
    {0},
};

/* A block for further tokens, with a head's norm under either name, with and without an embedding
 * and a head of its own. */
static const make_key further_keys[] = {{"block_count", MAKE_LAYERS + 1, MAKE_U32, NULL},
                                        {"nextn_predict_layers", 1, MAKE_U32, NULL},
                                        {0}};
#define FURTHER                                                                                    \
    {"nextn.eh_proj.weight", {2 * MAKE_HIDDEN, MAKE_HIDDEN}, MAKE_LAYERS, 0},                      \
        {"nextn.enorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},                                     \
    {                                                                                              \
        "nextn.hnorm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0                                        \
    }
static const make_tensor further_tensors[] = {
    FURTHER, {"nextn.shared_head_norm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0}, {0}};
static const make_tensor own_tensors[] = {
    FURTHER,
    {"layer_output_norm.weight", {MAKE_HIDDEN}, MAKE_LAYERS, 0},
    {"nextn.embed_tokens.weight", {MAKE_HIDDEN, MAKE_TOKENS}, MAKE_LAYERS, 0},
    {"nextn.shared_head_head.weight", {MAKE_HIDDEN, MAKE_TOKENS}, MAKE_LAYERS, 0},
    {0}};
static const make_tensor plain_tensors[] = {FURTHER, {0}};

static const struct {
    const char *name;
    const make_layout *layout;
    const make_key *keys;
    const make_tensor *tensors;
    const double *lse; /* (LAYOUT_VECTOR_TOKENS) */
} cases[] = {
    {"llama", &make_llama, yarn_keys, NULL, vector_llama},
    {"lite", &make_deepseek2, lite_keys, NULL, vector_lite},
    {"whole", &make_deepseek2, whole_keys, whole_tensors, vector_whole},
    {"gpt-oss", &make_gpt_oss, yarn_keys, NULL, vector_gpt_oss},
    {"glm4moe", &make_glm4moe, NULL, NULL, vector_glm4moe},
    {"minimax-m2", &make_minimax_m2, NULL, NULL, vector_minimax_m2},
    {"bailingmoe2", &make_bailingmoe2, NULL, NULL, vector_bailingmoe2},
    {"hunyuan-moe", &make_hunyuan_moe, NULL, NULL, vector_hunyuan_moe},
    {"granitemoe", &make_granitemoe, NULL, NULL, vector_granitemoe},
    {"ernie45-moe", &make_ernie45_moe, NULL, NULL, vector_ernie45_moe},
    {"gemma4", &make_gemma4, NULL, NULL, vector_gemma4},
    {"llama4", &make_llama4, NULL, NULL, vector_llama4},
    {"lfm2moe", &make_lfm2moe, NULL, NULL, vector_lfm2moe},
    {"glm-dsa", &make_glm_dsa, NULL, NULL, vector_glm_dsa},
    {"deepseek32", &make_deepseek32, stretched_keys, NULL, vector_deepseek32},
    {"minimax-m3", &make_minimax_m3, NULL, NULL, vector_minimax_m3},
    {"deepseek4", &make_deepseek4, yarn_keys, NULL, vector_deepseek4},
    {"qwen35moe", &make_qwen35moe, NULL, NULL, vector_qwen35moe},
    {"qwen3next", &make_qwen3next, NULL, NULL, vector_qwen3next},
    {"qwen4exp", &make_qwen4exp, NULL, NULL, vector_qwen4exp},
    {"kimi-linear", &make_kimi_linear, NULL, NULL, vector_kimi_linear},
    {"nemotron-h-moe", &make_nemotron_h_moe, NULL, NULL, vector_nemotron_h_moe},
};

enum { CASES = sizeof cases / sizeof cases[0] };

static const struct {
    const char *name;
    const make_layout *layout;
    const make_tensor *tensors;
    const double *lse; /* (LAYOUT_VECTOR_TOKENS) */
} blocks[] = {
    {"further-glm4moe", &make_glm4moe, further_tensors, vector_further_glm4moe},
    {"further-bailingmoe2", &make_bailingmoe2, own_tensors, vector_further_bailingmoe2},
    {"further-glm-dsa", &make_glm_dsa, plain_tensors, vector_further_glm_dsa},
};

enum { BLOCKS = sizeof blocks / sizeof blocks[0] };

static int32_t token_of(int t)
{
    return t == 0 ? 256 : (t * 37 + 11) % 250;
}

static void layouts_compute_the_published_formulas(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_engine *engine;
        umbra_error err = {0};
        umbra_engine_options options = {.kernels = "reference"};
        if (make_open(cases[i].layout, cases[i].keys, cases[i].tensors, NULL, &file, &model,
                      &err) != 0 ||
            umbra_engine_open(&engine, model, &options, &err) != 0)
            fail_msg("%s", err.message);
        int32_t tokens[LAYOUT_VECTOR_TOKENS];
        for (int t = 0; t < LAYOUT_VECTOR_TOKENS; t++)
            tokens[t] = token_of(t);
        umbra_scores scores;
        const umbra_score_options wanted = {.top = 1};
        assert_int_equal(
            umbra_score(engine, model, tokens, LAYOUT_VECTOR_TOKENS, &wanted, &scores, &err), 0);
        for (int t = 0; t < LAYOUT_VECTOR_TOKENS; t++)
            if (!(fabs(scores.lse[t] - cases[i].lse[t]) < 2e-5))
                fail_msg("%s, token %d: %.7f, should be %.7f", cases[i].name, t, scores.lse[t],
                         cases[i].lse[t]);
        umbra_score_free(&scores);
        umbra_engine_close(&engine);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

static double log_sum_exp(const float *logits)
{
    double sum = 0;
    for (int i = 0; i < MAKE_TOKENS; i++)
        sum += exp((double)logits[i]);
    return log(sum);
}

static void blocks_for_further_tokens_compute_theirs(void **state)
{
    (void)state;
    static float states[LAYOUT_VECTOR_TOKENS][MAKE_HIDDEN],
        logits[LAYOUT_VECTOR_TOKENS][MAKE_TOKENS];
    int32_t tokens[LAYOUT_VECTOR_TOKENS];
    for (int t = 0; t < LAYOUT_VECTOR_TOKENS; t++) {
        tokens[t] = token_of(t);
        for (int i = 0; i < MAKE_HIDDEN; i++)
            states[t][i] = (float)((t * 37 + i * 11) % 19 - 9) / 8;
    }
    for (int i = 0; i < BLOCKS; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_engine *engine;
        umbra_mtp *mtp;
        umbra_error err = {0};
        umbra_engine_options options = {.kernels = "reference", .context = 96};
        if (make_open(blocks[i].layout, further_keys, blocks[i].tensors, NULL, &file, &model,
                      &err) != 0 ||
            umbra_engine_open(&engine, model, &options, &err) != 0 ||
            umbra_mtp_open(&mtp, engine, &err) != 0 ||
            umbra_mtp_logits(mtp, states[0], tokens, LAYOUT_VECTOR_TOKENS, logits[0], &err) != 0)
            fail_msg("%s: %s", blocks[i].name, err.message);
        for (int t = 0; t < LAYOUT_VECTOR_TOKENS; t++)
            if (!(fabs(log_sum_exp(logits[t]) - blocks[i].lse[t]) < 2e-5))
                fail_msg("%s, token %d: %.7f, should be %.7f", blocks[i].name, t,
                         log_sum_exp(logits[t]), blocks[i].lse[t]);
        umbra_mtp_close(&mtp);
        umbra_engine_close(&engine);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

static void write_model(const char *folder, const char *name, const make_layout *layout,
                        const make_key *keys, const make_tensor *tensors)
{
    char path[512];
    umbra_builder b;
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    make_build(&b, layout, keys, tensors, NULL);
    umbra_builder_write(&b, path);
    umbra_builder_release(&b);
}

static int write_models(const char *folder)
{
    for (int i = 0; i < CASES; i++)
        write_model(folder, cases[i].name, cases[i].layout, cases[i].keys, cases[i].tensors);
    for (int i = 0; i < BLOCKS; i++)
        write_model(folder, blocks[i].name, blocks[i].layout, further_keys, blocks[i].tensors);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return write_models(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_compute_the_published_formulas),
        cmocka_unit_test(blocks_for_further_tokens_compute_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
