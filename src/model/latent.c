/* What layouts with a compressed cache have in common: keys and values of all heads are expanded
 * from one latent per position, which is what the cache keeps; the last rope.dim values of each key
 * are shared by the heads and rotated. Queries come through a bottleneck where there is one. */
#include <math.h>

#include "base/error.h"
#include "model/architecture.h"

/* Files with split attn_k_b and attn_v_b describe the cache in key_length and value_length, and the
 * heads in keys of their own; older ones describe the heads. */
static int read_widths(umbra_keys *keys, umbra_config *c, umbra_error *err)
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
                          "%s: all %d values of a key are rotated (%s.rope.dimension_count %d); "
                          "some must not be",
                          umbra_gguf_path(keys->gguf), c->usual.key_dim, keys->architecture,
                          c->rope[0].dim);
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

int umbra_read_latent(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int rc = read_widths(keys, c, err);
    return rc == UMBRA_OK ? read_stretch(keys, c, err) : rc;
}

static void query_rules(const umbra_config *c, const umbra_attention *a, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, low = (uint64_t)a->q_rank;
    uint64_t all = (uint64_t)a->heads * (uint64_t)a->key_dim;
    if (!a->q_rank) {
        rules[UMBRA_ATTN_Q] = (umbra_tensor_rule){"attn_q.weight", {hidden, all}, false, false};
        return;
    }
    rules[UMBRA_ATTN_Q_A] = (umbra_tensor_rule){"attn_q_a.weight", {hidden, low}, false, false};
    rules[UMBRA_ATTN_Q_A_NORM] = (umbra_tensor_rule){"attn_q_a_norm.weight", {low}, true, false};
    rules[UMBRA_ATTN_Q] = (umbra_tensor_rule){"attn_q_b.weight", {low, all}, false, false};
}

void umbra_rules_latent(const umbra_gguf *gguf, const umbra_config *c, int layer,
                        umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    uint64_t hidden = (uint64_t)c->hidden, heads = (uint64_t)a->heads;
    uint64_t key = (uint64_t)a->key_dim, value = (uint64_t)a->value_dim;
    uint64_t rope = (uint64_t)c->rope[a->rope].dim, plain = key - rope;
    uint64_t latent = (uint64_t)a->kv_rank;
    rules[UMBRA_ATTN_NORM] = (umbra_tensor_rule){"attn_norm.weight", {hidden}, true, false};
    query_rules(c, a, rules);
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
