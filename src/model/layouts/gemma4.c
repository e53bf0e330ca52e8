/* gemma4 (Gemma 4 26B-A4B): local layers see a window, with heads, dimensions and a rotary base of
 * their own; global ones see everything, their pairs slowed by a file's own factors, and may have
 * no values but what their keys are before norm and rotation. Rotary pairs (i, i + head_dim/2);
 * norms on each query and key head, without weights on values; scores are not scaled. Beside the
 * experts a dense block; the router sees the residual stream by a norm of its own, both halves get
 * and give through norms. GELU; embeddings are scaled and logits capped. */
#include <math.h>

#include "base/error.h"
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int none;
    const umbra_int_key by_layer = {"embedding_length_per_layer_input", 0, 0, 0, &none};
    c->embedding_scale = sqrtf((float)c->hidden);
    c->router.input_scale = 1 / sqrtf((float)c->hidden);
    c->router.renormalise = true;
    c->activation = UMBRA_GEGLU;
    c->post_norms = true;
    c->shared_width = c->dense_width;
    c->usual.bare_v_norm = true;
    int rc = umbra_lookup_ints(keys, &by_layer, 1, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "final_logit_softcapping", 0, &c->logit_cap, err);
    return rc;
}

/* What local layers have of their own. */
static int read_local(umbra_keys *keys, umbra_config *c, umbra_attention *local, umbra_error *err)
{
    umbra_rope *rope = &c->rope[1];
    *local = c->usual;
    *rope = c->rope[0];
    local->rope = 1;
    const umbra_int_key wanted[] = {
        {"attention.sliding_window", 1, 1 << 30, -1, &local->window},
        {"attention.key_length_swa", 2, 4096, local->key_dim, &local->key_dim},
        {"attention.value_length_swa", 1, 4096, local->value_dim, &local->value_dim},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    const umbra_int_key dim = {"rope.dimension_count_swa", 2, local->key_dim, local->key_dim,
                               &rope->dim};
    if (rc == UMBRA_OK)
        rc = umbra_lookup_ints(keys, &dim, 1, err);
    if (rc == UMBRA_OK && rope->dim % 2 != 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: gemma4.rope.dimension_count_swa is %d, which is odd",
                          umbra_gguf_path(keys->gguf), rope->dim);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.freq_base_swa", rope->base, &rope->base, err);
    return rc;
}

static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_attention local;
    const umbra_int_key pattern = {"attention.sliding_window_pattern", 0, 1, -1,
                                   &c->attention[0].window};
    int rc = read_local(keys, c, &local, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &pattern, UMBRA_GGUF_BOOL, c->layers, sizeof *c->attention,
                                 err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_attention *a = &c->attention[l];
        local.kv_heads = a->kv_heads;
        if (a->window)
            *a = local;
        a->scale = 1;
    }
    return rc;
}

/* A norm, or a vector of scales. */
static umbra_tensor_rule vector(const char *name, int n)
{
    return (umbra_tensor_rule){name, {(uint64_t)n}, true, false};
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_head_norms(c, layer, rules);
    umbra_rules_router(c, rules);
    umbra_rules_ffn(c, c->dense_width, false, rules);
    rules[UMBRA_ATTN_V].optional = a->key_dim == a->value_dim;
    rules[UMBRA_ATTN_POST_NORM] = vector("post_attention_norm.weight", c->hidden);
    rules[UMBRA_ROUTER_NORM] = vector("ffn_gate_inp.scale", c->hidden);
    rules[UMBRA_EXPERT_NORM] = vector("pre_ffw_norm_2.weight", c->hidden);
    rules[UMBRA_FFN_POST_NORM] = vector("post_ffw_norm_1.weight", c->hidden);
    rules[UMBRA_EXPERT_POST_NORM] = vector("post_ffw_norm_2.weight", c->hidden);
    rules[UMBRA_BLOCK_POST_NORM] = vector("post_ffw_norm.weight", c->hidden);
    rules[UMBRA_LAYER_SCALE] = vector("layer_output_scale.weight", 1);
    rules[UMBRA_LAYER_SCALE].optional = true;
}

const umbra_architecture umbra_architecture_gemma4 = {
    .name = "gemma4",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
