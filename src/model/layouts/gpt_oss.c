/* gpt-oss (20b, 120b): grouped-query attention with biases and a sink per head, every other layer
 * sees a window; rotary pairs (i, i + head_dim/2), stretched by YaRN with an unrounded ramp;
 * router with a bias, softmax over the chosen k; experts with biases and a clamped SwiGLU. The norm
 * before the experts is called post_attention_norm. */
#include "model/architecture.h"

static int configure(const umbra_gguf *gguf, umbra_config *c, umbra_error *err)
{
    const umbra_int_key window = {"attention.sliding_window", 1, 1 << 30, -1, &c->window};
    c->window_period = 2;
    c->router.gating = UMBRA_GATING_SOFTMAX_USED;
    c->activation = UMBRA_SWIGLU_CLAMPED;
    if (c->expert_width == 0)
        c->expert_width = c->dense_width;
    return umbra_lookup_ints(gguf, "gpt-oss", &window, 1, err);
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    (void)gguf;
    (void)layer;
    uint64_t hidden = (uint64_t)c->hidden, heads = (uint64_t)c->heads;
    uint64_t q = heads * (uint64_t)c->key_dim;
    uint64_t k = (uint64_t)c->kv_heads * (uint64_t)c->key_dim;
    uint64_t v = (uint64_t)c->kv_heads * (uint64_t)c->value_dim;
    uint64_t experts = (uint64_t)c->experts, width = (uint64_t)c->expert_width;
    umbra_rules_attention(c, rules);
    umbra_rules_router(c, rules);
    rules[UMBRA_ATTN_Q_BIAS] = (umbra_tensor_rule){"attn_q.bias", {q}, true, false};
    rules[UMBRA_ATTN_K_BIAS] = (umbra_tensor_rule){"attn_k.bias", {k}, true, false};
    rules[UMBRA_ATTN_V_BIAS] = (umbra_tensor_rule){"attn_v.bias", {v}, true, false};
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
    .tensors = tensors,
};
