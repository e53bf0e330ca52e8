/* gpt-oss (20b, 120b): grouped-query attention with biases and a sink per head, every other layer
 * sees a window; rotary pairs (i, i + head_dim/2), stretched by YaRN with an unrounded ramp;
 * router with a bias, softmax over the chosen k; experts with biases and a clamped SwiGLU. The norm
 * before the experts is called post_attention_norm. */
#include "base/error.h"
#include "model/architecture.h"

/* Windowed layers turn their heads as the others do. */
static int check_windowed_base(umbra_keys *keys, const umbra_rope *rope, umbra_error *err)
{
    float base;
    int rc = umbra_lookup_float(keys, "rope.freq_base_swa", rope->base, &base, err);
    if (rc == UMBRA_OK && base != rope->base)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: gpt-oss.rope.freq_base_swa is %g; only that of the other layers, "
                          "%g, is supported",
                          umbra_gguf_path(keys->gguf), (double)base, (double)rope->base);
    return rc;
}

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    c->router.gating = UMBRA_GATING_SOFTMAX_USED;
    c->activation = UMBRA_SWIGLU_CLAMPED;
    if (c->expert_width == 0)
        c->expert_width = c->dense_width;
    return check_windowed_base(keys, &c->rope[0], err);
}

/* The last layer of every `period` sees everything. */
static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int window, period;
    const umbra_int_key wanted[] = {
        {"attention.sliding_window", 1, 1 << 30, -1, &window},
        {"attention.sliding_window_pattern", 1, 4096, 2, &period},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++)
        c->attention[l].window = (l + 1) % period != 0 ? window : 0;
    return rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, heads = (uint64_t)c->attention[layer].heads;
    uint64_t experts = (uint64_t)c->experts, width = (uint64_t)c->expert_width;
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_router(c, rules);
    umbra_rules_biased(rules);
    rules[UMBRA_ATTN_OUT_BIAS] = (umbra_tensor_rule){"attn_output.bias", {hidden}, true, false};
    rules[UMBRA_ATTN_SINKS] = (umbra_tensor_rule){"attn_sinks.weight", {heads}, true, false};
    rules[UMBRA_FFN_NORM].name = "post_attention_norm.weight";
    rules[UMBRA_ROUTER_BIAS] = (umbra_tensor_rule){"ffn_gate_inp.bias", {experts}, true, false};
    rules[UMBRA_GATE_BIAS] =
        (umbra_tensor_rule){"ffn_gate_exps.bias", {width, experts}, true, false};
    rules[UMBRA_UP_BIAS] = (umbra_tensor_rule){"ffn_up_exps.bias", {width, experts}, true, false};
    rules[UMBRA_DOWN_BIAS] =
        (umbra_tensor_rule){"ffn_down_exps.bias", {hidden, experts}, true, false};
}

const umbra_architecture umbra_architecture_gpt_oss = {
    .name = "gpt-oss",
    .rope = UMBRA_ROPE_HALVES,
    .ramp_unrounded = true,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
