/* Test support: keys and tensors that the small models of several layouts have in common. */
#ifndef UMBRA_TESTS_MODEL_MAKE_PARTS_H
#define UMBRA_TESTS_MODEL_MAKE_PARTS_H

#include "make.h"

enum { PROJECTION = MAKE_HEADS * MAKE_DIM };

#define COMMON_KEYS KEYS_OF(MAKE_LAYERS)
#define KEYS_OF(LAYERS)                                                                            \
    {"block_count", LAYERS, MAKE_U32, NULL}, {"context_length", MAKE_CONTEXT, MAKE_U32, NULL},     \
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
#define EXPERTS(FROM) EXPERTS_IN(FROM, 0)
#define EXPERTS_IN(FROM, TO)                                                                       \
    {"ffn_gate_inp.weight", {MAKE_HIDDEN, MAKE_EXPERTS}, FROM, TO},                                \
        {"ffn_gate_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, FROM, TO},               \
        {"ffn_up_exps.weight", {MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS}, FROM, TO},                 \
    {                                                                                              \
        "ffn_down_exps.weight", {MAKE_WIDTH, MAKE_HIDDEN, MAKE_EXPERTS}, FROM, TO                  \
    }
#define SHARED(FROM, WIDTH) SHARED_IN(FROM, 0, WIDTH)
#define SHARED_IN(FROM, TO, WIDTH)                                                                 \
    {"ffn_gate_shexp.weight", {MAKE_HIDDEN, WIDTH}, FROM, TO},                                     \
        {"ffn_up_shexp.weight", {MAKE_HIDDEN, WIDTH}, FROM, TO},                                   \
    {                                                                                              \
        "ffn_down_shexp.weight", {WIDTH, MAKE_HIDDEN}, FROM, TO                                    \
    }
#define BIASES                                                                                     \
    {"attn_q.bias", {PROJECTION}, 0, 0}, {"attn_k.bias", {PROJECTION}, 0, 0},                      \
    {                                                                                              \
        "attn_v.bias", {PROJECTION}, 0, 0                                                          \
    }

/* With one key/value head. */
#define ONE_HEAD_KEYS                                                                              \
    {"attention.head_count_kv", 1, MAKE_U32, NULL},                                                \
        {"attention.key_length", MAKE_DIM, MAKE_U32, NULL},                                        \
    {                                                                                              \
        "attention.value_length", MAKE_DIM, MAKE_U32, NULL                                         \
    }
#define ONE_HEAD                                                                                   \
    {"attn_norm.weight", {MAKE_HIDDEN}, 0, 0}, {"attn_q.weight", {MAKE_HIDDEN, PROJECTION}, 0, 0}, \
        {"attn_k.weight", {MAKE_HIDDEN, MAKE_DIM}, 0, 0},                                          \
        {"attn_v.weight", {MAKE_HIDDEN, MAKE_DIM}, 0, 0},                                          \
    {                                                                                              \
        "attn_output.weight", {PROJECTION, MAKE_HIDDEN}, 0, 0                                      \
    }
#define HEAD_NORMS                                                                                 \
    {"attn_q_norm.weight", {MAKE_DIM}, 0, 0},                                                      \
    {                                                                                              \
        "attn_k_norm.weight", {MAKE_DIM}, 0, 0                                                     \
    }
#define DENSE(FROM, TO)                                                                            \
    {"ffn_gate.weight", {MAKE_HIDDEN, 96}, FROM, TO},                                              \
        {"ffn_up.weight", {MAKE_HIDDEN, 96}, FROM, TO},                                            \
    {                                                                                              \
        "ffn_down.weight", {96, MAKE_HIDDEN}, FROM, TO                                             \
    }
#define ONE_DENSE_KEYS                                                                             \
    {"leading_dense_block_count", 1, MAKE_U32, NULL}, {"feed_forward_length", 96, MAKE_U32, NULL}, \
    {                                                                                              \
        "expert_feed_forward_length", MAKE_WIDTH, MAKE_U32, NULL                                   \
    }

#endif
