/* Every layout opens as it should, in each form that its files come in, and files of it that cannot
 * be are refused with a message that names what is wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <umbra/engine.h>

#include "engine/engine.h"
#include "make.h"
#include "model/model.h"

typedef struct refusal {
    const make_layout *layout;
    fault fault;
} refusal;

/* Keys and tensors that a case needs beside the layout's own. */
static const make_key yarn_keys[] = {
    {"rope.scaling.type", 0, MAKE_STRING, "yarn"},
    {"rope.scaling.factor", 8, MAKE_F32, NULL},
    {"rope.scaling.original_context_length", 32, MAKE_U32, NULL},
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"attention.q_lora_rank", 0, MAKE_U32, NULL},
    {"attention.clamp_kqv", 0, MAKE_F32, NULL},
    {"expert_gating_func", 2, MAKE_U32, NULL},
    {"expert_group_count", 4, MAKE_U32, NULL},
    {"expert_group_used_count", 2, MAKE_U32, NULL},
    {"expert_weights_scale", 2.5, MAKE_F32, NULL},
    {0},
};

static const refusal refusals[] = {
    {&make_olmoe, {"olmoe.expert_count", ABSENT, 0, NULL, "without experts is not supported"}},
    {&make_olmoe, {"olmoe.expert_used_count", VALUE, 9, NULL, "9 experts are used of only 8"}},
    {&make_olmoe, {"olmoe.feed_forward_length", ABSENT, 0, NULL, "expert_feed_forward_length"}},
    {&make_olmoe, {"olmoe.feed_forward_length", VALUE, 64, NULL, "ffn_gate_exps"}},
    {&make_olmoe, {"olmoe.attention.clamp_kqv", VALUE, 8, NULL, "clamp_kqv is 8"}},
    {&make_olmoe, {"blk.1.attn_q_norm.weight", SHAPE, 32, NULL, "attn_q_norm"}},
    {&make_olmoe, {"blk.0.attn_k_norm.weight", ABSENT, 0, NULL, "attn_k_norm"}},
    {&make_llama, {"llama.expert_count", VALUE, 0, NULL, "without experts is not supported"}},
    {&make_llama, {"llama.expert_count", VALUE, 16, NULL, "ffn_gate_inp"}},
    {&make_llama, {"llama.rope.dimension_count", VALUE, 15, NULL, "odd"}},
    {&make_llama, {"llama.rope.dimension_count", VALUE, 64, NULL, "dimension_count is 64"}},
    {&make_llama, {"llama.rope.scaling.type", TEXT, 0, "llama3", "\"llama3\" is not supported"}},
    {&make_llama, {"llama.rope.freq_base", VALUE, 1, NULL, "YaRN needs more than 1"}},
    {&make_llama, {"llama.rope.scaling.factor", VALUE, (uint64_t)-2, NULL, "factor is -2"}},
    {&make_llama, {"llama.rope.scaling.original_context_length", VALUE, 0, NULL, "is 0"}},
    {&make_llama, {"blk.2.ffn_down_exps.weight", ABSENT, 0, NULL, "ffn_down_exps"}},
    {&make_qwen2moe, {"blk.0.attn_v.bias", ABSENT, 0, NULL, "attn_v.bias"}},
    {&make_qwen2moe, {"blk.0.attn_k.bias", DTYPE, UMBRA_F16, NULL, "only F32"}},
    {&make_qwen2moe, {"blk.2.ffn_up_shexp.weight", SHAPE, 32, NULL, "ffn_up_shexp"}},
    {&make_qwen2moe, {"blk.1.ffn_gate_inp_shexp.weight", ABSENT, 0, NULL, "gate_inp_shexp"}},
    {&make_qwen2moe, {"qwen2moe.expert_shared_feed_forward_length", ABSENT, 0, NULL, "missing"}},
    {&make_qwen2moe, {"qwen2moe.expert_shared_feed_forward_length", VALUE, 0, NULL, "is 0"}},
    {&make_deepseek2, {"deepseek2.attention.kv_lora_rank", ABSENT, 0, NULL, "kv_lora_rank"}},
    {&make_deepseek2, {"deepseek2.attention.kv_lora_rank", VALUE, 96, NULL, "attn_kv_a_mqa"}},
    {&make_deepseek2, {"deepseek2.attention.key_length", VALUE, 16, NULL, "some must not be"}},
    {&make_deepseek2, {"deepseek2.rope.dimension_count", ABSENT, 0, NULL, "some must not be"}},
    {&make_deepseek2, {"deepseek2.attention.q_lora_rank", VALUE, 32, NULL, "attn_q_b"}},
    {&make_deepseek2, {"deepseek2.leading_dense_block_count", VALUE, 3, NULL, "none has experts"}},
    {&make_deepseek2, {"deepseek2.leading_dense_block_count", VALUE, 2, NULL, "blk.1.ffn_gate"}},
    {&make_deepseek2, {"deepseek2.feed_forward_length", ABSENT, 0, NULL, "feed_forward_length"}},
    {&make_deepseek2, {"deepseek2.expert_shared_count", VALUE, 3, NULL, "ffn_gate_shexp"}},
    {&make_deepseek2, {"deepseek2.expert_gating_func", VALUE, 5, NULL, "gating_func is 5"}},
    {&make_deepseek2, {"deepseek2.expert_group_count", VALUE, 3, NULL, "2 of 3 groups"}},
    {&make_deepseek2, {"deepseek2.expert_group_count", VALUE, 8, NULL, "2 of 8 groups"}},
    {&make_deepseek2, {"deepseek2.expert_group_used_count", VALUE, 5, NULL, "5 of 4 groups"}},
    {&make_deepseek2, {"deepseek2.expert_weights_scale", VALUE, (uint64_t)-1, NULL, "scale is -1"}},
    {&make_deepseek2, {"blk.1.attn_kv_b.weight", ABSENT, 0, NULL, "blk.1.attn_k_b.weight"}},
    {&make_deepseek2, {"blk.0.ffn_up.weight", ABSENT, 0, NULL, "blk.0.ffn_up"}},
    {&make_gpt_oss, {"gpt-oss.attention.sliding_window", ABSENT, 0, NULL, "sliding_window"}},
    {&make_gpt_oss, {"gpt-oss.attention.sliding_window", VALUE, 0, NULL, "sliding_window is 0"}},
    {&make_gpt_oss, {"blk.2.attn_sinks.weight", ABSENT, 0, NULL, "attn_sinks"}},
    {&make_gpt_oss, {"blk.0.attn_sinks.weight", SHAPE, 3, NULL, "attn_sinks"}},
    {&make_gpt_oss, {"blk.0.post_attention_norm.weight", ABSENT, 0, NULL, "post_attention_norm"}},
    {&make_gpt_oss, {"blk.1.ffn_gate_inp.bias", ABSENT, 0, NULL, "ffn_gate_inp.bias"}},
    {&make_gpt_oss, {"blk.1.ffn_down_exps.bias", SHAPE, 7, NULL, "ffn_down_exps.bias"}},
    {&make_gpt_oss, {"blk.1.ffn_up_exps.bias", DTYPE, UMBRA_BF16, NULL, "only F32"}},
};

/* Without any keys beside the layout's own. */
static const refusal more_refusals[] = {
    {&make_glm4moe, {"blk.1.post_attention_norm.weight", ABSENT, 0, NULL, "post_attention_norm"}},
    {&make_glm4moe, {"glm4moe.expert_shared_count", VALUE, 2, NULL, "ffn_gate_shexp"}},
    {&make_glm4moe, {"blk.1.attn_q_norm.weight", SHAPE, 64, NULL, "attn_q_norm"}},
    {&make_minimax_m2, {"blk.0.exp_probs_b.bias", ABSENT, 0, NULL, "exp_probs_b"}},
    {&make_minimax_m2, {"blk.2.attn_q_norm.weight", SHAPE, 32, NULL, "attn_q_norm"}},
    {&make_bailingmoe2, {"blk.1.attn_qkv.weight", ABSENT, 0, NULL, "blk.1.attn_q.weight"}},
    {&make_bailingmoe2, {"blk.1.attn_qkv.weight", SHAPE, 96, NULL, "attn_qkv"}},
    {&make_bailingmoe2, {"bailingmoe2.expert_shared_count", VALUE, 1, NULL, "ffn_gate_shexp"}},
    {&make_hunyuan_moe,
     {"hunyuan-moe.expert_shared_feed_forward_length", ABSENT, 0, NULL, "missing"}},
    {&make_hunyuan_moe, {"blk.0.attn_k_norm.weight", ABSENT, 0, NULL, "attn_k_norm"}},
    {&make_granitemoe, {"granitemoe.logit_scale", VALUE, 0, NULL, "logit_scale is 0"}},
    {&make_granitemoe, {"granitemoe.residual_scale", VALUE, (uint64_t)-1, NULL, "scale is -1"}},
    {&make_ernie45_moe,
     {"ernie4_5-moe.interleave_moe_layer_step", VALUE, 2, NULL, "blk.2.ffn_gate"}},
    {&make_ernie45_moe,
     {"ernie4_5-moe.interleave_moe_layer_step", VALUE, 4, NULL, "3 of 3 layers are dense"}},
    {&make_gemma4, {"gemma4.attention.sliding_window", ABSENT, 0, NULL, "sliding_window"}},
    {&make_gemma4, {"gemma4.attention.sliding_window_pattern", ABSENT, 0, NULL, "pattern"}},
    {&make_gemma4, {"gemma4.embedding_length_per_layer_input", VALUE, 8, NULL, "must be 0 to 0"}},
    {&make_gemma4, {"gemma4.rope.dimension_count_swa", VALUE, 31, NULL, "odd"}},
    {&make_gemma4, {"gemma4.rope.dimension_count_swa", VALUE, 64, NULL, "must be 2 to 32"}},
    {&make_gemma4, {"gemma4.attention.value_length", VALUE, 32, NULL, "blk.2.attn_v"}},
    {&make_gemma4, {"blk.1.pre_ffw_norm_2.weight", ABSENT, 0, NULL, "pre_ffw_norm_2"}},
    {&make_gemma4, {"blk.2.ffn_gate_inp.scale", SHAPE, 8, NULL, "ffn_gate_inp.scale"}},
    {&make_gemma4, {"rope_freqs.weight", SHAPE, 16, NULL, "rope_freqs"}},
    {&make_llama4, {"llama4.interleave_moe_layer_step", VALUE, 1, NULL, "blk.0.ffn_gate_inp"}},
    {&make_llama4, {"blk.2.ffn_up.weight", ABSENT, 0, NULL, "blk.2.ffn_up"}},
    {&make_glm_dsa, {"glm-dsa.attention.indexer.top_k", ABSENT, 0, NULL, "top_k is missing"}},
    {&make_glm_dsa, {"glm-dsa.attention.indexer.top_k", VALUE, 0, NULL, "top_k is 0"}},
    {&make_glm_dsa, {"glm-dsa.attention.indexer.key_length", VALUE, 8, NULL, "cannot turn 16"}},
    {&make_glm_dsa, {"blk.2.indexer.k_norm.bias", ABSENT, 0, NULL, "blk.2.indexer.k_norm.bias"}},
    {&make_deepseek32, {"blk.1.indexer.proj.weight", ABSENT, 0, NULL, "blk.1.indexer.proj"}},
    {&make_glm_dsa, {"glm-dsa.attention.kv_lora_rank", VALUE, 96, NULL, "attn_kv_a_mqa"}},
    {&make_glm_dsa, {"glm-dsa.rope.dimension_count", VALUE, 48, NULL, "some must not be"}},
    {&make_deepseek32, {"deepseek32.expert_group_count", VALUE, 3, NULL, "2 of 3 groups"}},
    {&make_deepseek32, {"blk.1.attn_q_b.weight", ABSENT, 0, NULL, "blk.1.attn_q_b"}},
    {&make_minimax_m3,
     {"minimax-m3.attention.indexer.block_size", ABSENT, 0, NULL, "block_size is missing"}},
    {&make_minimax_m3, {"blk.2.attn_q_norm.weight", ABSENT, 0, NULL, "attn_q_norm"}},
    {&make_minimax_m3, {"blk.1.indexer.q_proj.weight", ABSENT, 0, NULL, "blk.1.indexer.q_proj"}},
    {&make_minimax_m3,
     {"minimax-m3.attention.indexer.head_count", VALUE, 1, NULL, "for 2 key/value heads"}},
    {&make_minimax_m3,
     {"minimax-m3.attention.indexer.local_blocks", VALUE, 4, NULL, "4 blocks are always seen"}},
    {&make_deepseek4, {"deepseek4.hyper_connection.count", VALUE, 9, NULL, "must be 2 to 8"}},
    {&make_deepseek4, {"deepseek4.hyper_connection.count", VALUE, 2, NULL, "must be 128 to 128"}},
    {&make_deepseek4,
     {"deepseek4.hyper_connection.sinkhorn_iterations", ABSENT, 0, NULL, "missing"}},
    {&make_deepseek4, {"deepseek4.attention.output_group_count", VALUE, 3, NULL, "must be 1 to 2"}},
    {&make_deepseek4, {"deepseek4.attention.value_length", VALUE, 64, NULL, "must be 32 to 32"}},
    {&make_deepseek4, {"deepseek4.attention.indexer.top_k", ABSENT, 0, NULL, "top_k is missing"}},
    {&make_deepseek4, {"blk.1.indexer_compressor_ape.weight", SHAPE, 8, NULL, "indexer_compr"}},
    {&make_deepseek4, {"blk.1.indexer.proj.weight", ABSENT, 0, NULL, "blk.1.indexer.proj"}},
    {&make_deepseek4, {"deepseek4.swiglu_clamp_exp", VALUE, (uint64_t)-1, NULL, "clamp_exp is -1"}},
    {&make_deepseek4, {"deepseek4.hash_layer_count", VALUE, 2, NULL, "blk.1.ffn_gate_tid2eid"}},
    {&make_deepseek4, {"blk.0.ffn_gate_tid2eid.weight", DTYPE, UMBRA_F32, NULL, "only I32"}},
    {&make_deepseek4, {"blk.1.attn_compressor_ape.weight", SHAPE, 8, NULL, "compressor_ape"}},
    {&make_deepseek4, {"blk.2.attn_compressor_norm.weight", ABSENT, 0, NULL, "compressor_norm"}},
    {&make_deepseek4, {"blk.2.hc_ffn_base.weight", SHAPE, 23, NULL, "hc_ffn_base"}},
    {&make_deepseek4, {"output_hc_fn.weight", ABSENT, 0, NULL, "output_hc_fn"}},
    {&make_qwen4exp,
     {"qwen4exp.hyper_connection.low_rank", ABSENT, 0, NULL, "low_rank is missing"}},
    {&make_qwen4exp, {"qwen4exp.ple.layers", ABSENT, 0, NULL, "ple.layers is missing"}},
    {&make_qwen4exp, {"qwen4exp.ple.ngram_size", VALUE, 9, NULL, "must be 2 to 5"}},
    {&make_qwen4exp, {"qwen4exp.ple.heads_per_ngram", VALUE, 1, NULL, "are not the 64"}},
    {&make_qwen4exp, {"qwen4exp.ple.eos_token_id", VALUE, 257, NULL, "must be 0 to 256"}},
    {&make_qwen4exp, {"qwen4exp.ple.conv_kernel", VALUE, 3, NULL, "ple_conv1d"}},
    {&make_qwen4exp, {"qwen4exp.attention.indexer.top_k", ABSENT, 0, NULL, "top_k is missing"}},
    {&make_qwen4exp,
     {"qwen4exp.attention.indexer.top_k", VALUE, 9, NULL, "9 positions (qwen4exp.attention."}},
    {&make_qwen4exp, {"blk.2.indexer.k_norm.weight", SHAPE, 16, NULL, "blk.2.indexer.k_norm"}},
    {&make_qwen4exp, {"per_layer_token_embd.weight", ABSENT, 0, NULL, "per_layer_token_embd"}},
    {&make_qwen4exp, {"per_layer_token_embd.weight", SHAPE, 239, NULL, "16 x 240 or more"}},
    {&make_qwen4exp, {"blk.1.ple_norm_key.weight", ABSENT, 0, NULL, "ple_norm_key"}},
    {&make_qwen4exp, {"blk.2.hc_ffn_inject.weight", SHAPE, 3, NULL, "hc_ffn_inject"}},
    {&make_qwen4exp, {"output_hc_up.weight", ABSENT, 0, NULL, "output_hc_up"}},
    {&make_lfm2moe, {"lfm2moe.shortconv.l_cache", ABSENT, 0, NULL, "l_cache is missing"}},
    {&make_lfm2moe, {"lfm2moe.shortconv.l_cache", VALUE, 3, NULL, "shortconv.conv.weight"}},
    {&make_lfm2moe, {"blk.2.shortconv.in_proj.weight", ABSENT, 0, NULL, "in_proj"}},
    {&make_lfm2moe, {"token_embd_norm.weight", ABSENT, 0, NULL, "token_embd_norm"}},
    {&make_qwen35moe, {"qwen35moe.ssm.state_size", ABSENT, 0, NULL, "state_size is missing"}},
    {&make_qwen35moe, {"qwen35moe.ssm.group_count", VALUE, 3, NULL, "shared by 3 key heads"}},
    {&make_qwen35moe, {"qwen35moe.ssm.inner_size", VALUE, 128, NULL, "be 128 values together"}},
    {&make_qwen35moe, {"qwen35moe.ssm.conv_kernel", VALUE, 3, NULL, "ssm_conv1d"}},
    {&make_qwen35moe, {"qwen35moe.ssm.conv_kernel", VALUE, 65, NULL, "must be 1 to 64"}},
    {&make_qwen35moe, {"qwen35moe.attention.value_length", VALUE, 64, NULL, "their gates 32"}},
    {&make_qwen35moe, {"blk.2.attn_q.weight", SHAPE, 64, NULL, "attn_q"}},
    {&make_qwen35moe, {"blk.0.ssm_alpha.weight", ABSENT, 0, NULL, "ssm_alpha"}},
    {&make_qwen35moe, {"blk.1.ssm_dt.bias", SHAPE, 3, NULL, "ssm_dt"}},
    {&make_qwen35moe, {"blk.1.ffn_gate_inp_shexp.weight", ABSENT, 0, NULL, "gate_inp_shexp"}},
    {&make_qwen3next, {"qwen3next.full_attention_interval", VALUE, 2, NULL, "blk.1.attn_q"}},
    {&make_qwen3next, {"blk.0.ssm_in.weight", SHAPE, 320, NULL, "ssm_in"}},
    {&make_qwen3next, {"blk.1.attn_gate.weight", ABSENT, 0, NULL, "attn_gate"}},
    {&make_qwen3next, {"blk.0.ssm_a", DTYPE, UMBRA_F16, NULL, "only F32"}},
    {&make_kimi_linear, {"kimi-linear.kda.head_dim", ABSENT, 0, NULL, "head_dim is missing"}},
    {&make_kimi_linear, {"kimi-linear.kda.head_dim", VALUE, 64, NULL, "attn_q"}},
    {&make_kimi_linear, {"blk.0.ssm_conv1d_k.weight", SHAPE, 32, NULL, "ssm_conv1d_k"}},
    {&make_kimi_linear, {"blk.2.ssm_f_b.weight", ABSENT, 0, NULL, "ssm_f_b"}},
    {&make_kimi_linear, {"blk.2.ssm_dt.bias", SHAPE, 2, NULL, "ssm_dt"}},
    {&make_kimi_linear, {"blk.1.attn_k_b.weight", ABSENT, 0, NULL, "attn_k_b"}},
    {&make_nemotron_h_moe, {"nemotron_h_moe.ssm.inner_size", VALUE, 98, NULL, "shared by 4"}},
    {&make_nemotron_h_moe, {"nemotron_h_moe.ssm.group_count", VALUE, 3, NULL, "in 3 groups"}},
    {&make_nemotron_h_moe, {"nemotron_h_moe.moe_latent_size", VALUE, 0, NULL, "ffn_up_exps"}},
    {&make_nemotron_h_moe, {"nemotron_h_moe.feed_forward_length", ABSENT, 0, NULL, "missing"}},
    {&make_nemotron_h_moe, {"blk.0.ssm_d", ABSENT, 0, NULL, "ssm_d"}},
    {&make_nemotron_h_moe, {"blk.0.ssm_norm.weight", SHAPE, 4, NULL, "ssm_norm"}},
    {&make_nemotron_h_moe, {"blk.3.ffn_latent_up.weight", ABSENT, 0, NULL, "ffn_latent_up"}},
};

static void check_refusals(const refusal *refused, size_t n, const make_key *keys)
{
    for (size_t i = 0; i < n; i++) {
        const refusal *r = &refused[i];
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        int rc = make_open(r->layout, keys, NULL, &r->fault, &file, &model, &err);
        if (rc == UMBRA_OK || model || !strstr(err.message, r->fault.message) ||
            !strstr(err.message, file.path))
            fail_msg("%s: %d, \"%s\"", r->fault.name, rc, err.message);
        umbra_memory_file_release(&file);
    }
}

static void impossible_files_are_refused(void **state)
{
    (void)state;
    const make_key windowless[] = {{"attention.sliding_window", 8192, MAKE_U32, NULL}, {0}};
    const refusal chunk = {
        &make_llama4, {"llama4.attention.sliding_window", VALUE, 0, NULL, "sliding_window is 0"}};
    check_refusals(refusals, sizeof refusals / sizeof refusals[0], yarn_keys);
    check_refusals(more_refusals, sizeof more_refusals / sizeof more_refusals[0], NULL);
    check_refusals(&chunk, 1, windowless);
}

/* A list for layers must have an element for each. */
static void lists_must_name_every_layer(void **state)
{
    (void)state;
    const fault none = {NULL, VALUE, 0, NULL, NULL};
    const struct {
        make_key keys[2];
        const char *message;
    } cases[] = {
        {{{"attention.head_count_kv", 0, MAKE_U32S, "22"}, {0}}, "has 2 elements for 3 layers"},
        {{{"attention.head_count_kv", 0, MAKE_U32S, "203"}, {0}}, "head_count_kv is 0"},
        {{{"attention.head_count_kv", 0, MAKE_U32S, "223"}, {0}}, "2 heads cannot share 3"},
        {{{"attention.sliding_window_pattern", 0, MAKE_U32S, "110"}, {0}}, "not bool"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        int rc = make_open(&make_gemma4, cases[i].keys, NULL, &none, &file, &model, &err);
        if (rc == UMBRA_OK || !strstr(err.message, cases[i].message))
            fail_msg("%s: %d, \"%s\"", cases[i].message, rc, err.message);
        umbra_memory_file_release(&file);
    }
}

/* Positions of a picture's: a text must not need the fourth section. */
static void sections_must_follow_the_text(void **state)
{
    (void)state;
    static const struct {
        const char *sections;
        bool sound;
    } cases[] = {{"3320", true}, {"3311", false}, {"8", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const make_key keys[] = {{"rope.dimension_sections", 0, MAKE_U32S, cases[i].sections}, {0}};
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        int rc = make_open(&make_glm4moe, keys, NULL, NULL, &file, &model, &err);
        if (cases[i].sound != (rc == UMBRA_OK) ||
            (!cases[i].sound && !strstr(err.message, "rope.dimension_sections")))
            fail_msg("%s: %d, \"%s\"", cases[i].sections, rc, err.message);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

/* In files with one tensor per expert. */
static void single_experts_must_be_alike(void **state)
{
    (void)state;
    static const fault faults[] = {
        {"blk.1.ffn_up.3.weight", DTYPE, UMBRA_Q8_0, NULL, "blk.1.ffn_up.3.weight has type Q8_0"},
        {"blk.2.ffn_down.7.weight", ABSENT, 0, NULL, "blk.2.ffn_down.7.weight is missing"},
        {"blk.0.ffn_gate.1.weight", SHAPE, 64, NULL, "shape 64 x 64"},
    };
    for (size_t i = 0; i < 3; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        int rc = make_open(&make_llama, NULL, make_single, &faults[i], &file, &model, &err);
        if (rc == UMBRA_OK || !strstr(err.message, faults[i].message))
            fail_msg("%s: %d, \"%s\"", faults[i].name, rc, err.message);
        umbra_memory_file_release(&file);
    }
}

/* ---- what is told of a file ---- */

typedef struct description {
    const make_layout *layout;
    const make_key *keys;
    int moe_layers, cached_values, latent, window, shared;
    const char *router;
    int beside; /* values of a position that layers keep beside their own */
} description;

static const description descriptions[] = {
    {&make_olmoe, NULL, 3, 128, 0, 0, 0, "softmax", 0},
    {&make_llama, NULL, 3, 128, 0, 0, 0, "softmax, renormalised", 0},
    {&make_qwen2moe, NULL, 3, 128, 0, 0, 64, "softmax", 0},
    {&make_deepseek2, NULL, 2, 80, 64, 0, 64, "softmax", 0},
    {&make_deepseek2, yarn_keys, 2, 80, 64, 0, 64, "sigmoid, 2 of 4 groups", 0},
    {&make_gpt_oss, NULL, 3, 128, 0, 8, 0, "softmax of the chosen", 0},
    {&make_glm4moe, NULL, 2, 64, 0, 0, 32, "sigmoid, renormalised, selection bias", 0},
    {&make_minimax_m2, NULL, 3, 64, 0, 0, 0, "sigmoid, renormalised, selection bias", 0},
    {&make_bailingmoe2, NULL, 2, 64, 0, 0, 64,
     "sigmoid, renormalised, selection bias, 2 of 4 groups", 0},
    {&make_hunyuan_moe, NULL, 3, 64, 0, 0, 64, "softmax, renormalised", 0},
    {&make_granitemoe, NULL, 3, 64, 0, 0, 64, "softmax, renormalised", 0},
    {&make_ernie45_moe, NULL, 2, 64, 0, 0, 64, "softmax, renormalised, selection bias", 0},
    {&make_gemma4, NULL, 3, 128, 0, 8, 96, "softmax, renormalised", 0},
    {&make_llama4, NULL, 2, 64, 0, 0, 32, "sigmoid of the chosen", 0},
    {&make_lfm2moe, NULL, 2, 64, 0, 4, 0, "sigmoid, renormalised, selection bias", 0},
    {&make_glm_dsa, NULL, 2, 80, 64, 0, 32, "sigmoid, renormalised, selection bias", 2 * 32},
    {&make_deepseek32, NULL, 2, 80, 64, 0, 32,
     "sigmoid, renormalised, selection bias, 2 of 4 groups", 3 * 32},
    {&make_minimax_m3, NULL, 2, 128, 0, 0, 32, "sigmoid, renormalised, selection bias", 2 * 32},
    {&make_deepseek4, NULL, 3, 32, 0, 8, 32, "sqrt-softplus, renormalised, selection bias",
     2 * (32 + 4 * 32) + 32 + 2 * 32},
};

static void files_are_described(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof descriptions / sizeof descriptions[0]; i++) {
        const description *d = &descriptions[i];
        umbra_memory_file file;
        umbra_model *model;
        umbra_error err = {0};
        if (make_open(d->layout, d->keys, NULL, NULL, &file, &model, &err) != 0)
            fail_msg("%s", err.message);
        const umbra_model_info *info = umbra_model_get_info(model);
        assert_string_equal(info->architecture, d->layout->name);
        assert_string_equal(info->router, d->router);
        assert_int_equal(info->moe_layers, d->moe_layers);
        assert_int_equal(info->cached_values, d->cached_values);
        assert_int_equal(info->latent_width, d->latent);
        assert_int_equal(info->window, d->window);
        assert_int_equal(info->shared_width, d->shared);
        uint64_t one = 3 * MAKE_WIDTH * MAKE_HIDDEN * sizeof(float);
        assert_int_equal(info->bytes_per_expert, one);
        assert_int_equal(info->expert_bytes, (uint64_t)(d->moe_layers * MAKE_EXPERTS) * one);
        umbra_memory_plan plan;
        umbra_engine_options options = {.threads = 1, .kernels = "reference", .context = 10};
        assert_int_equal(umbra_engine_plan(model, &options, &plan, &err), 0);
        /* Ten positions take a page of 64, and what keeps account of it. */
        uint64_t page = 4 * 64 * (uint64_t)(info->layers * d->cached_values + d->beside);
        assert_in_range(plan.kv_bytes, page, page + 64 * (uint64_t)(info->layers + 4));
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

/* A sequence has two states of (key, value) for each head, whatever the context, and pages where
 * layers attend; nothing for layers that do not. */
static void recurrent_layers_are_planned(void **state)
{
    (void)state;
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    if (make_open(&make_qwen35moe, NULL, NULL, NULL, &file, &model, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_model_info *info = umbra_model_get_info(model);
    assert_int_equal(info->heads, MAKE_HEADS);
    assert_int_equal(info->kv_heads, 1);
    assert_int_equal(info->head_dim, MAKE_DIM);
    assert_int_equal(info->cached_values, 2 * MAKE_DIM);
    assert_int_equal(info->recurrent_layers, 2);
    assert_int_equal(info->state_bytes, 2 * 4 * MAKE_STATE * MAKE_STATE * sizeof(float));
    uint64_t padded = 64, heads = 4; /* blocks of 32 columns */
    uint64_t s = heads * MAKE_STATE * padded * sizeof(float), page = 4 * 64 * 2 * MAKE_DIM;
    umbra_memory_plan plan;
    umbra_engine_options options = {.threads = 1, .kernels = "reference", .context = 10};
    assert_int_equal(umbra_engine_plan(model, &options, &plan, &err), 0);
    assert_true(plan.kv_bytes > page + 2 * 2 * s && plan.kv_bytes < page + 2 * 2 * 2 * s);
    uint64_t one = plan.kv_bytes;
    options.sequences = 5;
    assert_int_equal(umbra_engine_plan(model, &options, &plan, &err), 0);
    assert_int_equal(plan.kv_bytes, 5 * one);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

/* What picks what attention sees keeps keys of its own, for positions or for blocks of them, and
 * contexts do not end where it begins to pick. */
static void indexes_are_planned(void **state)
{
    (void)state;
    const struct {
        const make_layout *layout;
        int layers, most, unit, ratio; /* those with an index; of the last of them */
    } cases[] = {
        {&make_glm_dsa, 2, MAKE_PICKED, 1, 0},
        {&make_minimax_m3, 2, 3, 5, 0},
        {&make_deepseek4, 1, MAKE_PICKED / 2, 1, 4},
        {&make_qwen4exp, 1, MAKE_PICKED / 4, 4, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        umbra_memory_file file;
        umbra_model *model;
        umbra_memory_plan plan;
        umbra_error err = {0};
        if (make_open(cases[i].layout, NULL, NULL, NULL, &file, &model, &err) != 0)
            fail_msg("%s", err.message);
        const umbra_config *c = &model->config;
        int layers = 0;
        for (int l = 0; l < c->layers; l++) {
            const umbra_index *index = &c->attention[l].index;
            if (!index->kept)
                continue;
            layers++;
            assert_int_equal(index->most, cases[i].most);
            assert_int_equal(index->unit, cases[i].unit);
            assert_int_equal(index->ratio, cases[i].ratio);
            umbra_kv_form form = umbra_engine_form(c, index->kept, 2);
            assert_int_equal(form.unit, sizeof(float));
            assert_int_equal(umbra_kv_rows(&form, 12), cases[i].ratio ? 12 / cases[i].ratio : 12);
        }
        assert_int_equal(layers, cases[i].layers);
        assert_int_equal(umbra_model_get_info(model)->context, MAKE_CONTEXT);
        umbra_engine_options options = {.threads = 1, .context = MAKE_CONTEXT};
        assert_int_equal(umbra_engine_plan(model, &options, &plan, &err), 0);
        umbra_model_close(&model);
        umbra_memory_file_release(&file);
    }
}

/* YaRN's figures, worked out by hand: 16 rotated values, base 1000, 32 positions stretched by 8.
 * Pair p turns 32 / (2 pi 1000^(p/8)) times; once at p = 8 ln(5.093) / ln(1000) = 1.885. */
static void yarn_is_read(void **state)
{
    (void)state;
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    if (make_open(&make_deepseek2, yarn_keys, NULL, NULL, &file, &model, &err) != 0)
        fail_msg("%s", err.message);
    const umbra_rope *r = &model->config.rope[0];
    assert_float_equal(r->factor, 8, 0);
    assert_float_equal(r->ramp_low, 0, 0);
    assert_float_equal(r->ramp_high, 2, 0);
    assert_float_equal(r->magnitude, 1, 0);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);

    if (make_open(&make_gpt_oss, yarn_keys, NULL, NULL, &file, &model, &err) != 0)
        fail_msg("%s", err.message);
    r = &model->config.rope[0];
    assert_float_equal(r->ramp_high, 1.8852, 1e-3);
    assert_float_equal(r->magnitude, 1.20794, 1e-5);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_files_are_refused),
        cmocka_unit_test(lists_must_name_every_layer),
        cmocka_unit_test(sections_must_follow_the_text),
        cmocka_unit_test(single_experts_must_be_alike),
        cmocka_unit_test(files_are_described),
        cmocka_unit_test(recurrent_layers_are_planned),
        cmocka_unit_test(indexes_are_planned),
        cmocka_unit_test(yarn_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
