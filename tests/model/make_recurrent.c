/* What the small models of layouts with recurrent layers hold. */
#include "make.h"

enum {
    PROJECTION = MAKE_HEADS * MAKE_DIM,
    KEYS = MAKE_KEY_HEADS * MAKE_STATE,
    VALUES = MAKE_STATE_HEADS * MAKE_STATE,
    CHANNELS = 2 * KEYS + VALUES,
    TAPS = 4,
};

#define KEYS_OF_GATED                                                                              \
    {"block_count", MAKE_LAYERS, MAKE_U32, NULL},                                                  \
        {"context_length", MAKE_CONTEXT, MAKE_U32, NULL},                                          \
        {"embedding_length", MAKE_HIDDEN, MAKE_U32, NULL},                                         \
        {"attention.head_count", MAKE_HEADS, MAKE_U32, NULL},                                      \
        {"attention.head_count_kv", 1, MAKE_U32, NULL},                                            \
        {"attention.key_length", MAKE_DIM, MAKE_U32, NULL},                                        \
        {"attention.value_length", MAKE_DIM, MAKE_U32, NULL},                                      \
        {"attention.layer_norm_rms_epsilon", 1e-5, MAKE_F32, NULL},                                \
        {"rope.freq_base", 1000, MAKE_F32, NULL},                                                  \
        {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},                                       \
        {"expert_count", MAKE_EXPERTS, MAKE_U32, NULL},                                            \
        {"expert_used_count", MAKE_USED, MAKE_U32, NULL},                                          \
        {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},                                \
        {"expert_shared_feed_forward_length", 64, MAKE_U32, NULL},                                 \
        {"ssm.conv_kernel", TAPS, MAKE_U32, NULL}, {"ssm.state_size", MAKE_STATE, MAKE_U32, NULL}, \
        {"ssm.group_count", MAKE_KEY_HEADS, MAKE_U32, NULL},                                       \
        {"ssm.time_step_rank", MAKE_STATE_HEADS, MAKE_U32, NULL},                                  \
    {                                                                                              \
        "ssm.inner_size", VALUES, MAKE_U32, NULL                                                   \
    }
#define NORMS_OF_GATED                                                                             \
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},                                                     \
    {                                                                                              \
        "post_attention_norm.weight", {MAKE_HIDDEN}, 0, 0                                          \
    }
/* Attention in the last layer, experts in all. */
#define TENSORS_OF_GATED                                                                           \
    {"attn_q.weight", {MAKE_HIDDEN, 2 * PROJECTION}, 2, 0},                                        \
        {"attn_k.weight", {MAKE_HIDDEN, MAKE_DIM}, 2, 0},                                          \
        {"attn_v.weight", {MAKE_HIDDEN, MAKE_DIM}, 2, 0},                                          \
        {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 2, 0},                                   \
        {"attn_q_norm.weight", {MAKE_DIM}, 2, 0}, {"attn_k_norm.weight", {MAKE_DIM}, 2, 0},        \
        {"ssm_conv1d.weight", {TAPS, CHANNELS}, 0, 2}, {"ssm_dt.bias", {MAKE_STATE_HEADS}, 0, 2},  \
        {"ssm_a", {MAKE_STATE_HEADS}, 0, 2}, {"ssm_norm.weight", {MAKE_STATE}, 0, 2},              \
        {"ssm_out.weight", {VALUES, MAKE_HIDDEN}, 0, 2},                                           \
        {"ffn_gate_inp.weight", {MAKE_HIDDEN, MAKE_EXPERTS}, 0, 0},                                \
        {"ffn_gate_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, 0, 0},                   \
        {"ffn_up_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, 0, 0},                     \
        {"ffn_down_exps.weight", {MAKE_WIDTH, MAKE_HIDDEN, MAKE_EXPERTS}, 0, 0},                   \
        {"ffn_gate_shexp.weight", {MAKE_HIDDEN, 64}, 0, 0},                                        \
        {"ffn_up_shexp.weight", {MAKE_HIDDEN, 64}, 0, 0},                                          \
        {"ffn_down_shexp.weight", {64, MAKE_HIDDEN}, 0, 0},                                        \
    {                                                                                              \
        "ffn_gate_inp_shexp.weight", {MAKE_HIDDEN}, 0, 0                                           \
    }
#define BY_KIND(FROM, TO)                                                                          \
    {"attn_qkv.weight", {MAKE_HIDDEN, CHANNELS}, FROM, TO},                                        \
    {                                                                                              \
        "attn_gate.weight", {MAKE_HIDDEN, VALUES}, FROM, TO                                        \
    }
#define RATES_BY_KIND(FROM, TO)                                                                    \
    {"ssm_beta.weight", {MAKE_HIDDEN, MAKE_STATE_HEADS}, FROM, TO},                                \
    {                                                                                              \
        "ssm_alpha.weight", {MAKE_HIDDEN, MAKE_STATE_HEADS}, FROM, TO                              \
    }
#define BY_KEY_HEAD(FROM, TO)                                                                      \
    {"ssm_in.weight", {MAKE_HIDDEN, CHANNELS + VALUES}, FROM, TO},                                 \
    {                                                                                              \
        "ssm_ba.weight", {MAKE_HIDDEN, 2 * MAKE_STATE_HEADS}, FROM, TO                             \
    }
#define NO(NAME)                                                                                   \
    {                                                                                              \
        NAME, {0}, 0, 0                                                                            \
    }

static const make_key qwen35moe_keys[] = {
    KEYS_OF_GATED,
    {"attention.recurrent_layers", 0, MAKE_BOOLS, "110"},
    {"rope.dimension_sections", 0, MAKE_U32S, "3320"},
    {0},
};
static const make_tensor qwen35moe_tensors[] = {
    NORMS_OF_GATED, TENSORS_OF_GATED, BY_KIND(0, 2), RATES_BY_KIND(0, 2), {0},
};
const make_layout make_qwen35moe = {"qwen35moe", qwen35moe_keys, qwen35moe_tensors};

/* The first layer as older files have it. */
static const make_key qwen3next_keys[] = {
    KEYS_OF_GATED,
    {"full_attention_interval", 3, MAKE_U32, NULL},
    {0},
};
static const make_tensor qwen3next_tensors[] = {
    NORMS_OF_GATED,
    TENSORS_OF_GATED,
    BY_KEY_HEAD(0, 1),
    BY_KIND(1, 2),
    {"ssm_ba.weight", {MAKE_HIDDEN, 2 * MAKE_STATE_HEADS}, 1, 2},
    {0},
};
const make_layout make_qwen3next = {"qwen3next", qwen3next_keys, qwen3next_tensors};

/* What the last tokens say joins in front of the second layer; the 196 ends texts. */
enum { STREAMS = 4, WHOLE = STREAMS * MAKE_HIDDEN, LOW = 32, NGRAM_WIDTH = MAKE_HIDDEN / 4 };
static const make_key qwen4exp_keys[] = {
    KEYS_OF_GATED,
    {"full_attention_interval", 3, MAKE_U32, NULL},
    {"rope.dimension_sections", 0, MAKE_U32S, "3320"},
    {"hyper_connection.count", STREAMS, MAKE_U32, NULL},
    {"hyper_connection.low_rank", LOW, MAKE_U32, NULL},
    {"attention.indexer.head_count", 2, MAKE_U32, NULL},
    {"attention.indexer.key_length", MAKE_DIM, MAKE_U32, NULL},
    {"attention.indexer.top_k", MAKE_PICKED, MAKE_U32, NULL},
    {"attention.compress_ratios", 0, MAKE_U32S, "004"},
    {"ple.layers", 0, MAKE_U32S, "1"},
    {"ple.ngram_size", 3, MAKE_U32, NULL},
    {"ple.heads_per_ngram", 2, MAKE_U32, NULL},
    {"ple.conv_kernel", 4, MAKE_U32, NULL},
    {"ple.eos_token_id", 196, MAKE_U32, NULL},
    {"embedding_length_per_layer_input", NGRAM_WIDTH, MAKE_U32, NULL},
    {"ple.layer_multipliers", 0, MAKE_U64S, "25864358869441,16019221006381,10823021099703"},
    {"ple.head_offsets", 0, MAKE_U64S, "0,53,112,173"},
    {"ple.head_vocab_sizes", 0, MAKE_U64S, "53,59,61,67"},
    {0},
};
#define MIX(PREFIX)                                                                                \
    {PREFIX "_norm.weight", {WHOLE}, 0, 0}, {PREFIX "_down.weight", {WHOLE, LOW}, 0, 0},           \
    {                                                                                              \
        PREFIX "_up.weight", {LOW, WHOLE}, 0, 0                                                    \
    }
static const make_tensor qwen4exp_tensors[] = {
    MIX("output_hc"),
    {"per_layer_token_embd.weight", {NGRAM_WIDTH, 256}, 0, 0},
    MIX("hc_attn"),
    {"hc_attn_inject.weight", {WHOLE, STREAMS}, 0, 0},
    MIX("hc_ffn"),
    {"hc_ffn_inject.weight", {WHOLE, STREAMS}, 0, 0},
    TENSORS_OF_GATED,
    BY_KIND(0, 2),
    RATES_BY_KIND(0, 2),
    {"indexer.q_proj.weight", {MAKE_HIDDEN, 2 * MAKE_DIM}, 2, 0},
    {"indexer.k_proj.weight", {MAKE_HIDDEN, MAKE_DIM}, 2, 0},
    {"indexer.q_norm.weight", {MAKE_DIM}, 2, 0},
    {"indexer.k_norm.weight", {MAKE_DIM}, 2, 0},
    {"ple_key.weight", {MAKE_HIDDEN, WHOLE}, 1, 2},
    {"ple_value.weight", {MAKE_HIDDEN, MAKE_HIDDEN}, 1, 2},
    {"ple_norm_key.weight", {WHOLE}, 1, 2},
    {"ple_norm_query.weight", {WHOLE}, 1, 2},
    {"ple_norm_conv.weight", {WHOLE}, 1, 2},
    {"ple_conv1d.weight", {4, WHOLE}, 1, 2},
    {0},
};
const make_layout make_qwen4exp = {"qwen4exp", qwen4exp_keys, qwen4exp_tensors};

/* Two layers of delta attention with one between them that attends over a compressed cache; nothing
 * is rotated. The first is dense. */
static const make_key kimi_linear_keys[] = {
    {"block_count", MAKE_LAYERS, MAKE_U32, NULL},
    {"context_length", MAKE_CONTEXT, MAKE_U32, NULL},
    {"embedding_length", MAKE_HIDDEN, MAKE_U32, NULL},
    {"attention.head_count", MAKE_HEADS, MAKE_U32, NULL},
    {"attention.head_count_kv", 0, MAKE_U32S, "010"},
    {"attention.key_length", MAKE_LATENT + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length", MAKE_LATENT, MAKE_U32, NULL},
    {"attention.key_length_mla", MAKE_DIM + MAKE_ROPE, MAKE_U32, NULL},
    {"attention.value_length_mla", MAKE_DIM, MAKE_U32, NULL},
    {"attention.kv_lora_rank", MAKE_LATENT, MAKE_U32, NULL},
    {"attention.layer_norm_rms_epsilon", 1e-5, MAKE_F32, NULL},
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"rope.freq_base", 1000, MAKE_F32, NULL},
    {"kda.head_dim", MAKE_DIM, MAKE_U32, NULL},
    {"ssm.conv_kernel", TAPS, MAKE_U32, NULL},
    {"feed_forward_length", 96, MAKE_U32, NULL},
    {"leading_dense_block_count", 1, MAKE_U32, NULL},
    {"expert_count", MAKE_EXPERTS, MAKE_U32, NULL},
    {"expert_used_count", MAKE_USED, MAKE_U32, NULL},
    {"expert_shared_count", 1, MAKE_U32, NULL},
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_weights_scale", 2.5, MAKE_F32, NULL},
    {0},
};
#define DELTA_ATTENTION(FROM, TO)                                                                  \
    {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, FROM, TO},                                        \
        {"attn_k.weight", {MAKE_HIDDEN, PROJECTION}, FROM, TO},                                    \
        {"attn_v.weight", {MAKE_HIDDEN, PROJECTION}, FROM, TO},                                    \
        {"ssm_conv1d_q.weight", {TAPS, 1, PROJECTION}, FROM, TO},                                  \
        {"ssm_conv1d_k.weight", {TAPS, 1, PROJECTION}, FROM, TO},                                  \
        {"ssm_conv1d_v.weight", {TAPS, 1, PROJECTION}, FROM, TO},                                  \
        {"ssm_f_a.weight", {MAKE_HIDDEN, MAKE_DIM}, FROM, TO},                                     \
        {"ssm_f_b.weight", {MAKE_DIM, PROJECTION}, FROM, TO},                                      \
        {"ssm_g_a.weight", {MAKE_HIDDEN, MAKE_DIM}, FROM, TO},                                     \
        {"ssm_g_b.weight", {MAKE_DIM, PROJECTION}, FROM, TO},                                      \
        {"ssm_beta.weight", {MAKE_HIDDEN, MAKE_HEADS}, FROM, TO},                                  \
        {"ssm_a", {1, MAKE_HEADS}, FROM, TO}, {"ssm_dt.bias", {PROJECTION}, FROM, TO},             \
    {                                                                                              \
        "ssm_norm.weight", {MAKE_DIM}, FROM, TO                                                    \
    }
static const make_tensor kimi_linear_tensors[] = {
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0},
    DELTA_ATTENTION(0, 1),
    DELTA_ATTENTION(2, 3),
    {"attn_q.weight", {MAKE_HIDDEN, MAKE_HEADS *(MAKE_DIM + MAKE_ROPE)}, 1, 2},
    {"attn_kv_a_mqa.weight", {MAKE_HIDDEN, MAKE_LATENT + MAKE_ROPE}, 1, 2},
    {"attn_kv_a_norm.weight", {MAKE_LATENT}, 1, 2},
    {"attn_k_b.weight", {MAKE_DIM, MAKE_LATENT, MAKE_HEADS}, 1, 2},
    {"attn_v_b.weight", {MAKE_LATENT, MAKE_DIM, MAKE_HEADS}, 1, 2},
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"ffn_gate.weight", {MAKE_HIDDEN, 96}, 0, 1},
    {"ffn_up.weight", {MAKE_HIDDEN, 96}, 0, 1},
    {"ffn_down.weight", {96, MAKE_HIDDEN}, 0, 1},
    {"ffn_gate_inp.weight", {MAKE_HIDDEN, MAKE_EXPERTS}, 1, 0},
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    {"ffn_gate_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, 1, 0},
    {"ffn_up_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, 1, 0},
    {"ffn_down_exps.weight", {MAKE_WIDTH, MAKE_HIDDEN, MAKE_EXPERTS}, 1, 0},
    {"ffn_gate_shexp.weight", {MAKE_HIDDEN, MAKE_WIDTH}, 1, 0},
    {"ffn_up_shexp.weight", {MAKE_HIDDEN, MAKE_WIDTH}, 1, 0},
    {"ffn_down_shexp.weight", {MAKE_WIDTH, MAKE_HIDDEN}, 1, 0},
    {0},
};
const make_layout make_kimi_linear = {"kimi-linear", kimi_linear_keys, kimi_linear_tensors};

/* Mamba-2, experts, attention, experts. */
enum { INNER = 96, GROUPS = 2, MIXED = INNER + 2 * GROUPS * MAKE_STATE };
static const make_key nemotron_keys[] = {
    {"block_count", 4, MAKE_U32, NULL},
    {"context_length", MAKE_CONTEXT, MAKE_U32, NULL},
    {"embedding_length", MAKE_HIDDEN, MAKE_U32, NULL},
    {"attention.head_count", MAKE_HEADS, MAKE_U32, NULL},
    {"attention.head_count_kv", 0, MAKE_U32S, "0010"},
    {"attention.key_length", MAKE_DIM, MAKE_U32, NULL},
    {"attention.value_length", MAKE_DIM, MAKE_U32, NULL},
    {"attention.layer_norm_rms_epsilon", 1e-5, MAKE_F32, NULL},
    {"rope.freq_base", 1000, MAKE_F32, NULL},
    {"feed_forward_length", 0, MAKE_U32S, "0303"},
    {"expert_count", MAKE_EXPERTS, MAKE_U32, NULL},
    {"expert_used_count", MAKE_USED, MAKE_U32, NULL},
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_shared_feed_forward_length", 64, MAKE_U32, NULL},
    {"expert_shared_count", 1, MAKE_U32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},
    {"expert_weights_scale", 2.5, MAKE_F32, NULL},
    {"moe_latent_size", LOW, MAKE_U32, NULL},
    {"ssm.conv_kernel", TAPS, MAKE_U32, NULL},
    {"ssm.state_size", MAKE_STATE, MAKE_U32, NULL},
    {"ssm.group_count", GROUPS, MAKE_U32, NULL},
    {"ssm.time_step_rank", MAKE_STATE_HEADS, MAKE_U32, NULL},
    {"ssm.inner_size", INNER, MAKE_U32, NULL},
    {0},
};
#define LATENT_EXPERTS(FROM, TO)                                                                   \
    {"ffn_latent_down.weight", {MAKE_HIDDEN, LOW}, FROM, TO},                                      \
        {"ffn_latent_up.weight", {LOW, MAKE_HIDDEN}, FROM, TO},                                    \
        {"ffn_gate_inp.weight", {MAKE_HIDDEN, MAKE_EXPERTS}, FROM, TO},                            \
        {"exp_probs_b.bias", {MAKE_EXPERTS}, FROM, TO},                                            \
        {"ffn_up_exps.weight", {LOW, MAKE_WIDTH, MAKE_EXPERTS}, FROM, TO},                         \
        {"ffn_down_exps.weight", {MAKE_WIDTH, LOW, MAKE_EXPERTS}, FROM, TO},                       \
        {"ffn_up_shexp.weight", {MAKE_HIDDEN, 64}, FROM, TO},                                      \
    {                                                                                              \
        "ffn_down_shexp.weight", {64, MAKE_HIDDEN}, FROM, TO                                       \
    }
static const make_tensor nemotron_tensors[] = {
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"ssm_in.weight", {MAKE_HIDDEN, INNER + MIXED + MAKE_STATE_HEADS}, 0, 1},
    {"ssm_conv1d.weight", {TAPS, MIXED}, 0, 1},
    {"ssm_conv1d.bias", {MIXED}, 0, 1},
    {"ssm_dt.bias", {MAKE_STATE_HEADS}, 0, 1},
    {"ssm_a", {1, MAKE_STATE_HEADS}, 0, 1},
    {"ssm_d", {1, MAKE_STATE_HEADS}, 0, 1},
    {"ssm_norm.weight", {INNER / GROUPS, GROUPS}, 0, 1},
    {"ssm_out.weight", {INNER, MAKE_HIDDEN}, 0, 1},
    LATENT_EXPERTS(1, 2),
    {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, 2, 3},
    {"attn_k.weight", {MAKE_HIDDEN, MAKE_DIM}, 2, 3},
    {"attn_v.weight", {MAKE_HIDDEN, MAKE_DIM}, 2, 3},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 2, 3},
    LATENT_EXPERTS(3, 4),
    {0},
};
const make_layout make_nemotron_h_moe = {"nemotron_h_moe", nemotron_keys, nemotron_tensors};

const make_tensor make_by_key_head[] = {
    NO("attn_qkv.weight"),
    NO("attn_gate.weight"),
    BY_KEY_HEAD(0, 2),
    {0},
};

const make_tensor make_by_kind[] = {
    NO("ssm_in.weight"), NO("ssm_ba.weight"), BY_KIND(0, 2), RATES_BY_KIND(0, 2), {0},
};
