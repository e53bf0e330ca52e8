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
    bool ramp_unrounded; /* YaRN's ramp begins and ends between pairs */
    /* Completes c, which holds what the shared keys say, and refuses what cannot be. Shared
     * defaults: no window, plain softmax router without renormalisation, plain SwiGLU, no dense
     * layers, no shared expert, widths 0 where their keys are missing. */
    int (*configure)(umbra_keys *keys, umbra_config *c, umbra_error *err);
    /* Names what a layer has beside its experts; rules (UMBRA_LAYER_ROLES) are all absent before.
     */
    void (*tensors)(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules);
} umbra_architecture;

/* NULL for an unknown name. */
const umbra_architecture *umbra_architecture_find(umbra_string name);
/* "qwen3moe, ..." from the table, for messages; cut short if it does not fit. Returns out. */
const char *umbra_architecture_names(char *out, size_t size);

/* Fills config, role, layers and slices of a model whose gguf and tokenizer are open. */
int umbra_architecture_load(const umbra_architecture *a, umbra_model *model, umbra_error *err);

/* ---- for the layouts ---- */

/* Rules of attention with a key and value per kv head: norm, q, k, v, output; biases of the four
 * where a file has them. */
void umbra_rules_attention(const umbra_config *c, umbra_tensor_rule *rules);
/* Norm before the feed-forward block. */
void umbra_rules_ffn_norm(const umbra_config *c, umbra_tensor_rule *rules);
/* Norm before the feed-forward block, and the router; where a file has them, the router's biases,
 * and biases and scales of the experts. */
void umbra_rules_router(const umbra_config *c, umbra_tensor_rule *rules);
/* The feed-forward block that every token uses: "ffn_gate<suffix>.weight" and so on. */
void umbra_rules_ffn(const umbra_config *c, int width, bool shared, umbra_tensor_rule *rules);

/* experts.c: finds the experts of a layer and where their slices lie. They are stacked in one
 * tensor per slice, gate and up may be in one, or each expert has tensors of its own. */
int umbra_find_experts(umbra_model *model, int layer, umbra_error *err);
/* Is t, whose name behind "blk.N." is `name`, one of the layer's that hold experts? */
bool umbra_is_expert_tensor(const umbra_model *model, int layer, umbra_string name,
                            const umbra_gguf_tensor *t);
/* rope.c: the keys rope.*, with c->key_dim and c->context known. */
int umbra_read_rope(umbra_keys *keys, const umbra_architecture *a, umbra_config *c,
                    umbra_error *err);

extern const umbra_architecture umbra_architecture_qwen3moe;
extern const umbra_architecture umbra_architecture_qwen2moe;
extern const umbra_architecture umbra_architecture_olmoe;
extern const umbra_architecture umbra_architecture_llama;
extern const umbra_architecture umbra_architecture_deepseek2;
extern const umbra_architecture umbra_architecture_gpt_oss;

#endif
