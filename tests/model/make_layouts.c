/* What the small model of each layout holds: its keys and its tensors. */
#include "make.h"

enum { PROJECTION = MAKE_HEADS * MAKE_DIM };

#define COMMON_KEYS                                                                                \
    {"block_count", MAKE_LAYERS, MAKE_U32, NULL},                                                  \
        {"context_length", MAKE_CONTEXT, MAKE_U32, NULL},                                          \
        {"embedding_length", MAKE_HIDDEN, MAKE_U32, NULL},                                         \
        {"attention.head_count", MAKE_HEADS, MAKE_U32, NULL},                                      \
        {"attention.layer_norm_rms_epsilon", 1e-5, MAKE_F32, NULL},                                \
        {"rope.freq_base", 1000, MAKE_F32, NULL}, {"expert_count", MAKE_EXPERTS, MAKE_U32, NULL},  \
    {                                                                                              \
        "expert_used_count", MAKE_USED, MAKE_U32, NULL                                             \
    }
#define HEAD_KEYS                                                                                  \
    {"attention.head_count_kv", MAKE_HEADS, MAKE_U32, NULL},                                       \
        {"attention.key_length", MAKE_DIM, MAKE_U32, NULL},                                        \
    {                                                                                              \
        "attention.value_length", MAKE_DIM, MAKE_U32, NULL                                         \
    }
#define ATTENTION                                                                                  \
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0}, {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, 0, 0}, \
        {"attn_k.weight", {MAKE_HIDDEN, PROJECTION}, 0, 0},                                        \
        {"attn_v.weight", {MAKE_HIDDEN, PROJECTION}, 0, 0},                                        \
    {                                                                                              \
        "attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0                                      \
    }
#define EXPERTS(FROM)                                                                              \
    {"ffn_gate_inp.weight", {MAKE_HIDDEN, MAKE_EXPERTS}, FROM, 0},                                 \
        {"ffn_gate_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, FROM, 0},                \
        {"ffn_up_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, FROM, 0},                  \
    {                                                                                              \
        "ffn_down_exps.weight", {MAKE_WIDTH, MAKE_HIDDEN, MAKE_EXPERTS}, FROM, 0                   \
    }
#define SHARED(FROM, WIDTH)                                                                        \
    {"ffn_gate_shexp.weight", {MAKE_HIDDEN, WIDTH}, FROM, 0},                                      \
        {"ffn_up_shexp.weight", {MAKE_HIDDEN, WIDTH}, FROM, 0},                                    \
    {                                                                                              \
        "ffn_down_shexp.weight", {WIDTH, MAKE_HIDDEN}, FROM, 0                                     \
    }
#define BIASES                                                                                     \
    {"attn_q.bias", {PROJECTION}, 0, 0}, {"attn_k.bias", {PROJECTION}, 0, 0},                      \
    {                                                                                              \
        "attn_v.bias", {PROJECTION}, 0, 0                                                          \
    }

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
