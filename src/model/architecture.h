/* Model layouts: how each reads its hyper-parameters and names its tensors.
 *
 * A layout is one file layouts/NAME.c with one umbra_architecture, and a line in the table of
 * architecture.c. The engine never asks for a layout's name: it follows umbra_config and the roles
 * that are there. */
#ifndef UMBRA_MODEL_ARCHITECTURE_H
#define UMBRA_MODEL_ARCHITECTURE_H

#include "model/lookup.h"
#include "model/model.h"

typedef struct umbra_architecture {
    const char *name; /* general.architecture, and the prefix of its keys */
    umbra_rope_pairs rope;
    bool ramp_unrounded;     /* YaRN's ramp begins and ends between pairs */
    const char *output_norm; /* the tensor's name; NULL: "output_norm.weight" */
    /* Layers' tensors whose names begin so make no difference in the contexts that are run. NULL:
     * there are none. */
    const char *idle_tensors;
    const char *first_tensor; /* that every layer has; NULL: "attn_norm.weight" */
    /* Completes c, which holds what the shared keys say, and refuses what cannot be. Shared
     * defaults: no window, plain softmax router without renormalisation, plain SwiGLU, no dense
     * layers, no shared expert, widths 0 where their keys are missing, scales 1. */
    int (*configure)(umbra_keys *keys, umbra_config *c, umbra_error *err);
    /* Says how layers attend that do not as c->usual does, which each of c->attention is before.
     * NULL: all do. */
    int (*layers)(umbra_keys *keys, umbra_config *c, umbra_error *err);
    /* Names what a layer has beside its experts; rules (UMBRA_LAYER_ROLES) are all absent before.
     */
    void (*tensors)(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules);
    /* Names what the model has beside what all have. NULL: nothing. */
    void (*model_tensors)(const umbra_config *c, umbra_tensor_rule *rules);
} umbra_architecture;

/* NULL for an unknown name. */
const umbra_architecture *umbra_architecture_find(umbra_string name);
/* "qwen3moe, ..." from the table, for messages; cut short if it does not fit. Returns out. */
const char *umbra_architecture_names(char *out, size_t size);

/* Fills config, role, layers and slices of a model whose gguf and tokenizer are open. */
int umbra_architecture_load(const umbra_architecture *a, umbra_model *model, umbra_error *err);

/* The tensors of one layer, its experts' slices included; there is room for them. */
int umbra_find_layer_tensors(const umbra_architecture *a, umbra_model *model, int layer,
                             umbra_error *err);

/* ---- for the layouts ---- */

/* Leading layers without experts, and shared experts that are as wide as the others. */
int umbra_read_dense_and_shared(umbra_keys *keys, umbra_config *c, umbra_error *err);
/* The context ends behind so many positions, for a reason that completes "at most N with this
 * model: ...". */
void umbra_limit_context(umbra_config *c, int positions, const char *reason);
/* latent.c: the keys of attention over a compressed cache, and its tensors. */
int umbra_read_latent(umbra_keys *keys, umbra_config *c, umbra_error *err);
void umbra_rules_latent(const umbra_gguf *gguf, const umbra_config *c, int layer,
                        umbra_tensor_rule *rules);
/* Rules of attention with a key and value per kv head: norm, q, k and v, which may be one tensor,
 * output; biases of all where a file has them. */
void umbra_rules_attention(const umbra_gguf *gguf, const umbra_config *c, int layer,
                           umbra_tensor_rule *rules);
/* Biases of queries, keys and values must be there, after umbra_rules_attention. */
void umbra_rules_biased(umbra_tensor_rule *rules);
/* Norms of each query and key head, or of all of a kind together. */
void umbra_rules_head_norms(const umbra_config *c, int layer, umbra_tensor_rule *rules);
void umbra_rules_row_norms(const umbra_config *c, int layer, umbra_tensor_rule *rules);
/* Norm before the feed-forward block. */
void umbra_rules_ffn_norm(const umbra_config *c, umbra_tensor_rule *rules);
/* Norm before the feed-forward block, and the router; where a file has them, the router's biases,
 * and biases and scales of the experts. */
void umbra_rules_router(const umbra_config *c, umbra_tensor_rule *rules);
/* The feed-forward block that every token uses: "ffn_gate<suffix>.weight" and so on. */
void umbra_rules_ffn(const umbra_config *c, int width, bool shared, umbra_tensor_rule *rules);
/* All behind the attention: a feed-forward block where the layer is dense, or else the router, and
 * the shared expert where there is one. */
void umbra_rules_feed_forward(const umbra_config *c, int layer, umbra_tensor_rule *rules);

/* index.c: an index' keys attention.indexer.* to c->usual.index, most being their top_k, a unit one
 * position. */
int umbra_read_index(umbra_keys *keys, umbra_config *c, umbra_error *err);
/* Queries and keys of an index, both normed, where a layer has one. */
void umbra_rules_index(const umbra_config *c, int layer, umbra_tensor_rule *rules);

/* recurrent.c: layers with a delta net, and full attention with gated output between them (the
 * Qwen3-Next family): which layers are recurrent, with the keys ssm.*; and what these have
 * before their feed-forward block. */
int umbra_read_delta_nets(umbra_keys *keys, umbra_config *c, umbra_error *err);
void umbra_rules_delta_net(const umbra_gguf *gguf, const umbra_config *c, int layer,
                           umbra_tensor_rule *rules);
/* The same of a layer with delta attention (Kimi Linear). */
void umbra_rules_delta_attention(const umbra_config *c, int layer, umbra_tensor_rule *rules);
/* A whole layer of the Qwen3-Next family. */
void umbra_rules_gated_layers(const umbra_gguf *gguf, const umbra_config *c, int layer,
                              umbra_tensor_rule *rules);
/* A shared expert of its own width, weighed by a sigmoid; width 0: as wide as the others. */
int umbra_read_gated_shared(umbra_keys *keys, umbra_config *c, umbra_error *err);

/* experts.c: finds the experts of a layer and where their slices lie. They are stacked in one
 * tensor per slice, gate and up may be in one, or each expert has tensors of its own. */
int umbra_find_experts(umbra_model *model, int layer, umbra_error *err);
/* Is t, whose name behind "blk.N." is `name`, one of the layer's that hold experts? */
bool umbra_is_expert_tensor(const umbra_model *model, int layer, umbra_string name,
                            const umbra_gguf_tensor *t);
/* ngrams.c: the table of c->ngrams, where there is one. */
int umbra_find_ngrams(umbra_model *model, umbra_error *err);
/* layers.c: how each layer attends, with c->usual complete. */
int umbra_read_layers(umbra_keys *keys, const umbra_architecture *a, umbra_config *c,
                      umbra_error *err);
/* rope.c: the keys rope.* to c->rope[0], with c->usual.key_dim and c->context known. */
int umbra_read_rope(umbra_keys *keys, const umbra_architecture *a, umbra_config *c,
                    umbra_error *err);
/* The keys rope.scaling.* to r, whose base and dim are known. */
int umbra_read_rope_scaling(umbra_keys *keys, const umbra_architecture *a, const umbra_config *c,
                            umbra_rope *r, umbra_error *err);

extern const umbra_architecture umbra_architecture_qwen3moe;
extern const umbra_architecture umbra_architecture_qwen2moe;
extern const umbra_architecture umbra_architecture_olmoe;
extern const umbra_architecture umbra_architecture_llama;
extern const umbra_architecture umbra_architecture_deepseek2;
extern const umbra_architecture umbra_architecture_gpt_oss;
extern const umbra_architecture umbra_architecture_glm4moe;
extern const umbra_architecture umbra_architecture_minimax_m2;
extern const umbra_architecture umbra_architecture_bailingmoe2;
extern const umbra_architecture umbra_architecture_hunyuan_moe;
extern const umbra_architecture umbra_architecture_granitemoe;
extern const umbra_architecture umbra_architecture_ernie45_moe;
extern const umbra_architecture umbra_architecture_gemma4;
extern const umbra_architecture umbra_architecture_llama4;
extern const umbra_architecture umbra_architecture_lfm2moe;
extern const umbra_architecture umbra_architecture_glm_dsa;
extern const umbra_architecture umbra_architecture_deepseek32;
extern const umbra_architecture umbra_architecture_minimax_m3;
extern const umbra_architecture umbra_architecture_deepseek4;
extern const umbra_architecture umbra_architecture_qwen4exp;
extern const umbra_architecture umbra_architecture_qwen35moe;
extern const umbra_architecture umbra_architecture_qwen3next;
extern const umbra_architecture umbra_architecture_kimi_linear;
extern const umbra_architecture umbra_architecture_nemotron_h_moe;

#endif
