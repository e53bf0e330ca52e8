/* What the small models hold of layouts whose attention picks what it sees of a long context. */
#include "make_parts.h"

enum { INDEX_HEADS = 2, INDEX_DIM = 32, LOW = 32 };

#define INDEX_KEYS(TOP_K)                                                                          \
    {"attention.indexer.head_count", INDEX_HEADS, MAKE_U32, NULL},                                 \
        {"attention.indexer.key_length", INDEX_DIM, MAKE_U32, NULL},                               \
    {                                                                                              \
        "attention.indexer.top_k", TOP_K, MAKE_U32, NULL                                           \
    }

/* ---- over a compressed cache ---- */

#define LATENT_KEYS                                                                                \
    {"attention.head_count_kv", 1, MAKE_U32, NULL},                                                \
        {"attention.key_length", MAKE_LATENT + MAKE_ROPE, MAKE_U32, NULL},                         \
        {"attention.value_length", MAKE_LATENT, MAKE_U32, NULL},                                   \
        {"attention.key_length_mla", MAKE_DIM + MAKE_ROPE, MAKE_U32, NULL},                        \
        {"attention.value_length_mla", MAKE_DIM, MAKE_U32, NULL},                                  \
        {"attention.q_lora_rank", LOW, MAKE_U32, NULL},                                            \
        {"attention.kv_lora_rank", MAKE_LATENT, MAKE_U32, NULL},                                   \
        {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},                                       \
        {"expert_shared_count", 1, MAKE_U32, NULL}, {"expert_weights_norm", 1, MAKE_BOOL, NULL},   \
    {                                                                                              \
        "expert_weights_scale", 2.5, MAKE_F32, NULL                                                \
    }

static const make_key glm_dsa_keys[] = {
    COMMON_KEYS,
    ONE_DENSE_KEYS,
    LATENT_KEYS,
    INDEX_KEYS(MAKE_PICKED),
    {"attention.indexer.types", 0, MAKE_U32S, "101"},
    {0},
};
/* The layer in the middle has no indexer of its own. */
#define INDEXER(FROM, TO)                                                                          \
    {"indexer.attn_q_b.weight", {LOW, INDEX_HEADS * INDEX_DIM}, FROM, TO},                         \
        {"indexer.attn_k.weight", {MAKE_HIDDEN, INDEX_DIM}, FROM, TO},                             \
        {"indexer.k_norm.weight", {INDEX_DIM}, FROM, TO},                                          \
        {"indexer.k_norm.bias", {INDEX_DIM}, FROM, TO},                                            \
    {                                                                                              \
        "indexer.proj.weight", {MAKE_HIDDEN, INDEX_HEADS}, FROM, TO                                \
    }
#define OVER_LATENTS                                                                               \
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0}, {"attn_q_a.weight", {MAKE_HIDDEN, LOW}, 0, 0},      \
        {"attn_q_a_norm.weight", {LOW}, 0, 0},                                                     \
        {"attn_q_b.weight", {LOW, MAKE_HEADS * (MAKE_DIM + MAKE_ROPE)}, 0, 0},                     \
        {"attn_kv_a_mqa.weight", {MAKE_HIDDEN, MAKE_LATENT + MAKE_ROPE}, 0, 0},                    \
        {"attn_kv_a_norm.weight", {MAKE_LATENT}, 0, 0},                                            \
        {"attn_k_b.weight", {MAKE_DIM, MAKE_LATENT, MAKE_HEADS}, 0, 0},                            \
        {"attn_v_b.weight", {MAKE_LATENT, MAKE_DIM, MAKE_HEADS}, 0, 0},                            \
        {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0},                                   \
        {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0}, DENSE(0, 1), EXPERTS(1),                         \
        {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0}, SHARED(1, MAKE_WIDTH)
static const make_tensor glm_dsa_tensors[] = {OVER_LATENTS, INDEXER(0, 1), INDEXER(2, 3), {0}};
const make_layout make_glm_dsa = {"glm-dsa", glm_dsa_keys, glm_dsa_tensors};

static const make_key deepseek32_keys[] = {
    COMMON_KEYS,
    ONE_DENSE_KEYS,
    LATENT_KEYS,
    INDEX_KEYS(MAKE_PICKED),
    {"expert_gating_func", 2, MAKE_U32, NULL},
    {"expert_group_count", 4, MAKE_U32, NULL},
    {"expert_group_used_count", 2, MAKE_U32, NULL},
    {0},
};
static const make_tensor deepseek32_tensors[] = {OVER_LATENTS, INDEXER(0, 0), {0}};
const make_layout make_deepseek32 = {"deepseek32", deepseek32_keys, deepseek32_tensors};

/* ---- in blocks ---- */

/* An index' head for each key/value head. */
static const make_key minimax_m3_keys[] = {
    COMMON_KEYS,
    ONE_DENSE_KEYS,
    {"attention.head_count_kv", INDEX_HEADS, MAKE_U32, NULL},
    {"attention.key_length", MAKE_DIM, MAKE_U32, NULL},
    {"attention.value_length", MAKE_DIM, MAKE_U32, NULL},
    INDEX_KEYS(3),
    {"attention.indexer.block_size", 5, MAKE_U32, NULL},
    {"attention.indexer.local_blocks", 1, MAKE_U32, NULL},
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"expert_shared_count", 1, MAKE_U32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},
    {"expert_weights_scale", 1.5, MAKE_F32, NULL},
    {0},
};
static const make_tensor minimax_m3_tensors[] = {
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, 0, 0},
    {"attn_k.weight", {MAKE_HIDDEN, INDEX_HEADS *MAKE_DIM}, 0, 0},
    {"attn_v.weight", {MAKE_HIDDEN, INDEX_HEADS *MAKE_DIM}, 0, 0},
    {"attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0},
    HEAD_NORMS,
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    DENSE(0, 1),
    EXPERTS(1),
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    SHARED(1, MAKE_WIDTH),
    {"indexer.q_proj.weight", {MAKE_HIDDEN, INDEX_HEADS *INDEX_DIM}, 1, 0},
    {"indexer.k_proj.weight", {MAKE_HIDDEN, INDEX_DIM}, 1, 0},
    {"indexer.q_norm.weight", {INDEX_DIM}, 1, 0},
    {"indexer.k_norm.weight", {INDEX_DIM}, 1, 0},
    {0},
};
const make_layout make_minimax_m3 = {"minimax-m3", minimax_m3_keys, minimax_m3_tensors};

/* ---- with rows pooled over blocks ---- */

enum { STREAMS = 4, WHOLE = STREAMS * MAKE_HIDDEN, MIXES = STREAMS * (STREAMS + 2), GROUPS = 2 };

static const make_key deepseek4_keys[] = {
    COMMON_KEYS,
    ONE_HEAD_KEYS,
    INDEX_KEYS(MAKE_PICKED / 2),
    {"rope.dimension_count", MAKE_ROPE, MAKE_U32, NULL},
    {"attention.q_lora_rank", LOW, MAKE_U32, NULL},
    {"attention.sliding_window", 8, MAKE_U32, NULL},
    {"attention.output_group_count", GROUPS, MAKE_U32, NULL},
    {"attention.output_lora_rank", LOW, MAKE_U32, NULL},
    {"attention.compress_ratios", 0, MAKE_U32S, "048"},
    {"attention.compress_rope_freq_base", 5000, MAKE_F32, NULL},
    {"hyper_connection.count", STREAMS, MAKE_U32, NULL},
    {"hyper_connection.sinkhorn_iterations", 3, MAKE_U32, NULL},
    {"hyper_connection.epsilon", 1e-6, MAKE_F32, NULL},
    {"embedding_length_out", WHOLE, MAKE_U32, NULL},
    {"hash_layer_count", 1, MAKE_U32, NULL},
    {"swiglu_clamp_exp", 0.25, MAKE_F32, NULL},
    {"swiglu_clamp_shexp", 0.5, MAKE_F32, NULL},
    {"expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL},
    {"expert_shared_count", 1, MAKE_U32, NULL},
    {"expert_gating_func", 4, MAKE_U32, NULL},
    {"expert_weights_norm", 1, MAKE_BOOL, NULL},
    {"expert_weights_scale", 1.5, MAKE_F32, NULL},
    {0},
};
#define POOL(PREFIX, WIDTH, DIM, RATIO, FROM)                                                      \
    {PREFIX "_kv.weight", {MAKE_HIDDEN, WIDTH}, FROM, (FROM) + 1},                                 \
        {PREFIX "_gate.weight", {MAKE_HIDDEN, WIDTH}, FROM, (FROM) + 1},                           \
        {PREFIX "_ape.weight", {WIDTH, RATIO}, FROM, (FROM) + 1},                                  \
    {                                                                                              \
        PREFIX "_norm.weight", {DIM}, FROM, (FROM) + 1                                             \
    }
#define MIX(HALF)                                                                                  \
    {"hc_" HALF "_fn.weight", {WHOLE, MIXES}, 0, 0}, {"hc_" HALF "_scale.weight", {3}, 0, 0},      \
    {                                                                                              \
        "hc_" HALF "_base.weight", {MIXES}, 0, 0                                                   \
    }
static const make_tensor deepseek4_tensors[] = {
    {"output_hc_fn.weight", {WHOLE, STREAMS}, 0, 0},
    {"output_hc_scale.weight", {1}, 0, 0},
    {"output_hc_base.weight", {STREAMS}, 0, 0},
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    {"attn_q_a.weight", {MAKE_HIDDEN, LOW}, 0, 0},
    {"attn_q_a_norm.weight", {LOW}, 0, 0},
    {"attn_q_b.weight", {LOW, PROJECTION}, 0, 0},
    {"attn_kv.weight", {MAKE_HIDDEN, MAKE_DIM}, 0, 0},
    {"attn_kv_a_norm.weight", {MAKE_DIM}, 0, 0},
    {"attn_sinks.weight", {MAKE_HEADS}, 0, 0},
    {"attn_output_a.weight", {PROJECTION / GROUPS, GROUPS *LOW}, 0, 0},
    {"attn_output_b.weight", {GROUPS * LOW, MAKE_HIDDEN}, 0, 0},
    POOL("attn_compressor", 2 * MAKE_DIM, MAKE_DIM, 4, 1),
    POOL("attn_compressor", MAKE_DIM, MAKE_DIM, 8, 2),
    POOL("indexer_compressor", 2 * INDEX_DIM, INDEX_DIM, 4, 1),
    {"indexer.attn_q_b.weight", {LOW, INDEX_HEADS *INDEX_DIM}, 1, 2},
    {"indexer.proj.weight", {MAKE_HIDDEN, INDEX_HEADS}, 1, 2},
    MIX("attn"),
    MIX("ffn"),
    {"ffn_norm.weight", {MAKE_HIDDEN}, 0, 0},
    EXPERTS(0),
    {"ffn_gate_tid2eid.weight", {MAKE_USED, MAKE_TOKENS}, 0, 1},
    {"exp_probs_b.bias", {MAKE_EXPERTS}, 1, 0},
    SHARED(0, MAKE_WIDTH),
    {0},
};
const make_layout make_deepseek4 = {"deepseek4", deepseek4_keys, deepseek4_tensors};
