/* What the small model of each layout holds: its keys and its tensors. */
#include "make_parts.h"

static const make_key plain_keys[] = {
    COMMON_KEYS,
    HEAD_KEYS,
    {"feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {0},
};

static const make_tensor olmoe_tensors[] = {
    ATTENTION,
    {"attn_q_norm.weight", {PROJECTION}, 0, 0},
    {"attn_k_norm.weight", {PROJECTION}, 0, 0},
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    EXPERTS(0),
    {0},
};
const make_layout make_olmoe = {"olmoe", plain_keys, olmoe_tensors};

static const make_tensor llama_tensors[] = {
    ATTENTION,
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    EXPERTS(0),
    {0},
};
const make_layout make_llama = {"llama", plain_keys, llama_tensors};

static const make_key qwen2moe_keys[] = {
    COMMON_KEYS,
    HEAD_KEYS,
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_shared_feed_forward_length", 64, MAKE_U32, NULL},
    {0},
};
static const make_tensor qwen2moe_tensors[] = {
    ATTENTION,  BIASES,        {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    EXPERTS(0), SHARED(0, 64), {"ffn_gate_inp_shexp.weight", {MAKE_HIDDEN}, 0, 0},
    {0},
};
const make_layout make_qwen2moe = {"qwen2moe", qwen2moe_keys, qwen2moe_tensors};

/* As DeepSeek-V2-Lite: no bottleneck for queries, attn_kv_b, softmax. */
static const make_key deepseek2_keys[] = {
    COMMON_KEYS,
    {"attention.head_count_kv", MAKE_HEADS, MAKE_U32, NULL},
    {"attention.key_length", MAKE_DIM + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length", MAKE_DIM, MAKE_U32, NULL},
    {"attention.kv_lora_rank", MAKE_LATENT, MAKE_U32, NULL},
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"feed_forward_length", 96, MAKE_U32, NULL},
    {"leading_dense_block_count", 1, MAKE_U32, NULL},
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_shared_count", 2, MAKE_U32, NULL},
    {0},
};
static const make_tensor deepseek2_tensors[] = {
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_q.weight", {MAKE_HIDDEN, MAKE_HEADS *(MAKE_DIM + MAKE_ROPE)}, 0, 0},
    {"attn_kv_a_mqa.weight", {MAKE_HIDDEN, MAKE_LATENT + MAKE_ROPE}, 0, 0},
    {"attn_kv_a_norm.weight", {MAKE_LATENT}, 0, 0},
    {"attn_kv_b.weight", {MAKE_LATENT, MAKE_HEADS * 2 * MAKE_DIM}, 0, 0},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0},
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"ffn_gate.weight", {MAKE_HIDDEN, 96}, 0, 1},
    {"ffn_up.weight", {MAKE_HIDDEN, 96}, 0, 1},
    {"ffn_down.weight", {96, MAKE_HIDDEN}, 0, 1},
    EXPERTS(1),
    SHARED(1, 2 * MAKE_WIDTH),
    {0},
};
const make_layout make_deepseek2 = {"deepseek2", deepseek2_keys, deepseek2_tensors};

static const make_key gpt_oss_keys[] = {
    COMMON_KEYS,
    HEAD_KEYS,
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"attention.sliding_window", 8, MAKE_U32, NULL},
    {0},
};
static const make_tensor gpt_oss_tensors[] = {
    ATTENTION,
    BIASES,
    {"attn_output.bias", {MAKE_HIDDEN}, 0, 0},
    {"attn_sinks.weight", {MAKE_HEADS}, 0, 0},
    {"post_attention_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"ffn_gate_inp.bias", {MAKE_EXPERTS}, 0, 0},
    {"ffn_gate_exps.bias", {MAKE_WIDTH, MAKE_EXPERTS}, 0, 0},
    {"ffn_up_exps.bias", {MAKE_WIDTH, MAKE_EXPERTS}, 0, 0},
    {"ffn_down_exps.bias", {MAKE_HIDDEN, MAKE_EXPERTS}, 0, 0},
    EXPERTS(0),
    {0},
};
const make_layout make_gpt_oss = {"gpt-oss", gpt_oss_keys, gpt_oss_tensors};

/* ---- with one key/value head ---- */

static const make_key glm4moe_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    ONE_DENSE_KEYS,
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"expert_shared_count", 1, MAKE_U32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},
    {"expert_weights_scale", 1.5, MAKE_F32, NULL},
    {0},
};
static const make_tensor glm4moe_tensors[] = {
    ONE_HEAD,
    HEAD_NORMS,
    {"attn_q.bias", {PROJECTION}, 0, 0},
    {"attn_k.bias", {MAKE_DIM}, 0, 0},
    {"attn_v.bias", {MAKE_DIM}, 0, 0},
    {"post_attention_norm.weight", {MAKE_HIDDEN}, 0, 0},
    DENSE(0, 1),
    EXPERTS(1),
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    SHARED(1, MAKE_WIDTH),
    {0},
};
const make_layout make_glm4moe = {"glm4moe", glm4moe_keys, glm4moe_tensors};

static const make_key minimax_m2_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {0},
};
static const make_tensor minimax_m2_tensors[] = {
    ONE_HEAD,
    {"attn_q_norm.weight", {PROJECTION}, 0, 0},
    {"attn_k_norm.weight", {MAKE_DIM}, 0, 0},
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    EXPERTS(0),
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 0, 0},
    {0},
};
const make_layout make_minimax_m2 = {"minimax-m2", minimax_m2_keys, minimax_m2_tensors};

static const make_key bailingmoe2_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    ONE_DENSE_KEYS,
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"expert_shared_count", 2, MAKE_U32, NULL},
    {"expert_shared_feed_forward_length", 32, MAKE_U32, NULL},
    {"expert_gating_func", 2, MAKE_U32, NULL},
    {"expert_group_count", 4, MAKE_U32, NULL},
    {"expert_group_used_count", 2, MAKE_U32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},
    {"expert_weights_scale", 2.5, MAKE_F32, NULL},
    {0},
};
static const make_tensor bailingmoe2_tensors[] = {
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_qkv.weight", {MAKE_HIDDEN, PROJECTION + 2 * MAKE_DIM}, 0, 0},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0},
    HEAD_NORMS,
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    DENSE(0, 1),
    EXPERTS(1),
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    SHARED(1, 64),
    {0},
};
const make_layout make_bailingmoe2 = {"bailingmoe2", bailingmoe2_keys, bailingmoe2_tensors};

static const make_key hunyuan_moe_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    {"feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_shared_feed_forward_length", 64, MAKE_U32, NULL},
    {0},
};
static const make_tensor hunyuan_moe_tensors[] = {
    ONE_HEAD, HEAD_NORMS, {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0}, EXPERTS(0), SHARED(0, 64), {0},
};
const make_layout make_hunyuan_moe = {"hunyuan-moe", hunyuan_moe_keys, hunyuan_moe_tensors};

static const make_key granitemoe_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    {"feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_shared_feed_forward_length", 64, MAKE_U32, NULL},
    {"embedding_scale", 1.75, MAKE_F32, NULL},
    {"residual_scale", 0.625, MAKE_F32, NULL},
    {"logit_scale", 0.75, MAKE_F32, NULL},
    {"attention.scale", 0.25, MAKE_F32, NULL},
    {0},
};
static const make_tensor granitemoe_tensors[] = {
    ONE_HEAD, {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0}, EXPERTS(0), SHARED(0, 64), {0},
};
const make_layout make_granitemoe = {"granitemoe", granitemoe_keys, granitemoe_tensors};

static const make_key ernie45_moe_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    ONE_DENSE_KEYS,
    {"expert_shared_feed_forward_length", 64, MAKE_U32, NULL},
    {"interleave_moe_layer_step", 1, MAKE_U32, NULL},
    {0},
};
static const make_tensor ernie45_moe_tensors[] = {
    ONE_HEAD,      {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},   DENSE(0, 1), EXPERTS(1),
    SHARED(1, 64), {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0}, {0},
};
const make_layout make_ernie45_moe = {"ernie4_5-moe", ernie45_moe_keys, ernie45_moe_tensors};

/* ---- with layers of two kinds ---- */

/* Two local layers with two key/value heads, a global one with one that is twice as wide. */
static const make_key gemma4_keys[] = {
    COMMON_KEYS,
    {"attention.head_count_kv", 0, MAKE_U32S, "221"},
    {"attention.key_length", 2 * MAKE_DIM, MAKE_U32, NULL},
    {"attention.value_length", 2 * MAKE_DIM, MAKE_U32, NULL},
    {"attention.key_length_swa", MAKE_DIM, MAKE_U32, NULL},
    {"attention.value_length_swa", MAKE_DIM, MAKE_U32, NULL},
    {"attention.sliding_window", 8, MAKE_U32, NULL},
    {"attention.sliding_window_pattern", 0, MAKE_BOOLS, "110"},
    {"rope.freq_base_swa", 100, MAKE_F32, NULL},
    {"rope.dimension_count_swa", MAKE_DIM, MAKE_U32, NULL},
    {"feed_forward_length", 96, MAKE_U32, NULL},
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"embedding_length_per_layer_input", 0, MAKE_U32, NULL},
    {"final_logit_softcapping", 2, MAKE_F32, NULL},
    {0},
};
static const make_tensor gemma4_tensors[] = {
    {"rope_freqs.weight", {MAKE_DIM}, 0, 0},
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, 0, 2},
    {"attn_q.weight", {MAKE_HIDDEN, 2 * PROJECTION}, 2, 0},
    {"attn_k.weight", {MAKE_HIDDEN, 2 * MAKE_DIM}, 0, 0},
    {"attn_v.weight", {MAKE_HIDDEN, 2 * MAKE_DIM}, 0, 2},
    {"attn_q_norm.weight", {MAKE_DIM}, 0, 2},
    {"attn_q_norm.weight", {2 * MAKE_DIM}, 2, 0},
    {"attn_k_norm.weight", {MAKE_DIM}, 0, 2},
    {"attn_k_norm.weight", {2 * MAKE_DIM}, 2, 0},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 2},
    {"attn_output.weight", {2 * PROJECTION, MAKE_HIDDEN}, 2, 0},
    {"post_attention_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"post_ffw_norm_1.weight", {MAKE_HIDDEN}, 0, 0},
    {"pre_ffw_norm_2.weight", {MAKE_HIDDEN}, 0, 0},
    {"post_ffw_norm_2.weight", {MAKE_HIDDEN}, 0, 0},
    {"post_ffw_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"layer_output_scale.weight", {1}, 0, 0},
    DENSE(0, 0),
    EXPERTS(0),
    {"ffn_gate_inp.scale", {MAKE_HIDDEN}, 0, 0},
    {"ffn_down_exps.scale", {MAKE_EXPERTS}, 0, 0},
    {0},
};
const make_layout make_gemma4 = {"gemma4", gemma4_keys, gemma4_tensors};

/* Of four layers the second and fourth have experts, and the fourth does not rotate. */
static const make_key llama4_keys[] = {
    KEYS_OF(4),
    ONE_HEAD_KEYS,
    {"feed_forward_length", 96, MAKE_U32, NULL},
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"interleave_moe_layer_step", 2, MAKE_U32, NULL},
    {0},
};
static const make_tensor llama4_tensors[] = {
    ONE_HEAD,
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    DENSE(0, 1),
    EXPERTS_IN(1, 2),
    SHARED_IN(1, 2, MAKE_WIDTH),
    DENSE(2, 3),
    EXPERTS_IN(3, 4),
    SHARED_IN(3, 4, MAKE_WIDTH),
    {0},
};
const make_layout make_llama4 = {"llama4", llama4_keys, llama4_tensors};

/* Two layers convolve, the one between them attends. */
static const make_key lfm2moe_keys[] = {
    COMMON_KEYS,
    ONE_DENSE_KEYS,
    {"attention.head_count_kv", 0, MAKE_U32S, "010"},
    {"shortconv.l_cache", 4, MAKE_U32, NULL},
    {0},
};
#define CONVOLUTION(FROM, TO)                                                                      \
    {"shortconv.in_proj.weight", {MAKE_HIDDEN, 3 * MAKE_HIDDEN}, FROM, TO},                        \
        {"shortconv.conv.weight", {4, MAKE_HIDDEN}, FROM, TO},                                     \
    {                                                                                              \
        "shortconv.out_proj.weight", {MAKE_HIDDEN, MAKE_HIDDEN}, FROM, TO                          \
    }
static const make_tensor lfm2moe_tensors[] = {
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, 1, 2},
    {"attn_k.weight", {MAKE_HIDDEN, MAKE_DIM}, 1, 2},
    {"attn_v.weight", {MAKE_HIDDEN, MAKE_DIM}, 1, 2},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 1, 2},
    {"attn_q_norm.weight", {MAKE_DIM}, 1, 2},
    {"attn_k_norm.weight", {MAKE_DIM}, 1, 2},
    CONVOLUTION(0, 1),
    CONVOLUTION(2, 3),
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    DENSE(0, 1),
    EXPERTS(1),
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    {"token_embd_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {0},
};
const make_layout make_lfm2moe = {"lfm2moe", lfm2moe_keys, lfm2moe_tensors};

/* ---- other forms ---- */

#define NO(NAME)                                                                                   \
    {                                                                                              \
        NAME, {0}, 0, 0                                                                            \
    }
#define SINGLE(E)                                                                                  \
    {"ffn_gate." #E ".weight", {MAKE_HIDDEN, MAKE_WIDTH}, 0, 0},                                   \
        {"ffn_up." #E ".weight", {MAKE_HIDDEN, MAKE_WIDTH}, 0, 0},                                 \
    {                                                                                              \
        "ffn_down." #E ".weight", {MAKE_WIDTH, MAKE_HIDDEN}, 0, 0                                  \
    }

const make_tensor make_single[] = {
    NO("ffn_gate_exps.weight"),
    NO("ffn_up_exps.weight"),
    NO("ffn_down_exps.weight"),
    SINGLE(0),
    SINGLE(1),
    SINGLE(2),
    SINGLE(3),
    SINGLE(4),
    SINGLE(5),
    SINGLE(6),
    SINGLE(7),
    {0},
};

const make_tensor make_fused[] = {
    NO("ffn_gate_exps.weight"),
    NO("ffn_up_exps.weight"),
    {"ffn_gate_up_exps.weight", {MAKE_HIDDEN, 2 * MAKE_WIDTH, MAKE_EXPERTS}, 0, 0},
    {0},
};

const make_tensor make_joined[] = {
    NO("attn_q.weight"),
    NO("attn_k.weight"),
    NO("attn_v.weight"),
    {"attn_qkv.weight", {MAKE_HIDDEN, PROJECTION + 2 * MAKE_DIM}, 0, 0},
    {0},
};

const make_tensor make_split_latent[] = {
    NO("attn_kv_b.weight"),
    {"attn_k_b.weight", {MAKE_DIM, MAKE_LATENT, MAKE_HEADS}, 0, 0},
    {"attn_v_b.weight", {MAKE_LATENT, MAKE_DIM, MAKE_HEADS}, 0, 0},
    {0},
};

const make_key make_split_keys[] = {
    {"attention.head_count_kv", 1, MAKE_U32, NULL},
    {"attention.key_length", MAKE_LATENT + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length", MAKE_LATENT, MAKE_U32, NULL},
    {"attention.key_length_mla", MAKE_DIM + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length_mla", MAKE_DIM, MAKE_U32, NULL},
    {0},
};
