/* deepseek2 (DeepSeek-V2, V2-Lite, V3, R1, Kimi-K2): latent attention: keys and values of all heads
 * are expanded from one latent per position, which is what the cache keeps; the last rope.dim
 * values of each key are shared by the heads and rotated, in pairs (2i, 2i + 1). Queries come
 * through a bottleneck, but not in V2-Lite. A few leading dense layers; then experts with shared
 * ones beside them.
 *
 * Router: softmax (V2) or sigmoid (V3, Kimi-K2) scores, for choosing with a bias; experts of the
 * best groups alone, where a group is as good as its best expert (V2) or its two best (V3). */
#include <math.h>

#include "base/error.h"
#include "model/architecture.h"

/* Files with split attn_k_b and attn_v_b describe the cache in key_length and value_length, and the
 * heads in keys of their own; older ones describe the heads. */
static int read_attention(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key wanted[] = {
        {"attention.q_lora_rank", 0, 1 << 20, 0, &c->usual.q_rank},
        {"attention.kv_lora_rank", 1, 1 << 16, -1, &c->usual.kv_rank},
        {"attention.key_length_mla", 2, 4096, c->usual.key_dim, &c->usual.key_dim},
        {"attention.value_length_mla", 1, 4096, c->usual.value_dim, &c->usual.value_dim},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc == UMBRA_OK && c->rope[0].dim >= c->usual.key_dim)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: all %d values of a key are rotated (deepseek2.rope.dimension_count "
                          "%d); some must not be",
                          umbra_gguf_path(keys->gguf), c->usual.key_dim, c->rope[0].dim);
    return rc;
}

/* The stretch of the context flattens attention, which is made good in the scale of the scores and
 * not in the rotated part alone. yarn_log_multiplier is 0.1 times the model's mscale_all_dim. */
static int read_stretch(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    float multiplier;
    int rc = umbra_lookup_float(keys, "rope.scaling.yarn_log_multiplier", 0, &multiplier, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "rope.scaling.attn_factor", 1, &c->rope[0].magnitude, err);
    float stretch = 1 + multiplier * logf(c->rope[0].factor);
    c->usual.scale *= stretch * stretch;
    return rc;
}

/* Files of V2, whose router is a softmax, do not say so; nor do early ones of GLM-4.7-Flash, whose
 * router is V3's: only that one has a bias for choosing. */
static umbra_gating silent_gating(const umbra_gguf *gguf, const umbra_config *c)
{
    return umbra_has_tensor(gguf, c->dense_layers, "exp_probs_b.bias") ? UMBRA_GATING_SIGMOID
                                                                       : UMBRA_GATING_SOFTMAX;
}

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = read_attention(keys, c, err);
    if (rc == UMBRA_OK)
        rc = read_stretch(keys, c, err);
    c->router.gating = silent_gating(keys->gguf, c);
    return rc;
}

static void attention_rules(const umbra_gguf *gguf, const umbra_config *c, int layer,
                            umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    uint64_t hidden = (uint64_t)c->hidden, heads = (uint64_t)a->heads;
    uint64_t key = (uint64_t)a->key_dim, value = (uint64_t)a->value_dim;
    uint64_t rope = (uint64_t)c->rope[a->rope].dim, plain = key - rope;
    uint64_t low = (uint64_t)a->q_rank, latent = (uint64_t)a->kv_rank;
    rules[UMBRA_ATTN_NORM] = (umbra_tensor_rule){"attn_norm.weight", {hidden}, true, false};
    if (a->q_rank) {
        rules[UMBRA_ATTN_Q_A] = (umbra_tensor_rule){"attn_q_a.weight", {hidden, low}, false, false};
        rules[UMBRA_ATTN_Q_A_NORM] =
            (umbra_tensor_rule){"attn_q_a_norm.weight", {low}, true, false};
        rules[UMBRA_ATTN_Q] =
            (umbra_tensor_rule){"attn_q_b.weight", {low, heads * key}, false, false};
    } else {
        rules[UMBRA_ATTN_Q] =
            (umbra_tensor_rule){"attn_q.weight", {hidden, heads * key}, false, false};
    }
    rules[UMBRA_ATTN_KV_A] =
        (umbra_tensor_rule){"attn_kv_a_mqa.weight", {hidden, latent + rope}, false, false};
    rules[UMBRA_ATTN_KV_A_NORM] =
        (umbra_tensor_rule){"attn_kv_a_norm.weight", {latent}, true, false};
    if (umbra_has_tensor(gguf, layer, "attn_kv_b.weight")) {
        rules[UMBRA_ATTN_KV_B] = (umbra_tensor_rule){
            "attn_kv_b.weight", {latent, heads * (plain + value)}, false, false};
    } else {
        rules[UMBRA_ATTN_K_B] =
            (umbra_tensor_rule){"attn_k_b.weight", {plain, latent, heads}, false, false};
        rules[UMBRA_ATTN_V_B] =
            (umbra_tensor_rule){"attn_v_b.weight", {latent, value, heads}, false, false};
    }
    rules[UMBRA_ATTN_OUT] =
        (umbra_tensor_rule){"attn_output.weight", {heads * value, hidden}, false, false};
    rules[UMBRA_ATTN_OUT_BIAS] = (umbra_tensor_rule){"attn_output.bias", {hidden}, true, true};
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    attention_rules(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_deepseek2 = {
    .name = "deepseek2",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .tensors = tensors,
};
