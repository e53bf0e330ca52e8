/* qwen2moe (Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B): grouped-query attention with biases on queries,
 * keys and values, rotary pairs (i, i + head_dim/2); router: softmax over all experts, the k best
 * with the weights that they have; beside them a shared expert, weighed by a sigmoid of its own. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared;
    const umbra_int_key wanted[] = {
        {"expert_shared_feed_forward_length", 1, 1 << 20, c->dense_width ? c->dense_width : -1,
         &c->shared_width},
        {"expert_shared_count", 1, 1, 1, &shared}, /* no other number has been published */
    };
    if (c->expert_width == 0)
        c->expert_width = c->dense_width / c->experts_used;
    return umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden;
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_router(c, rules);
    umbra_rules_ffn(c, c->shared_width, true, rules);
    umbra_rules_biased(rules);
    rules[UMBRA_SHARED_ROUTER] =
        (umbra_tensor_rule){"ffn_gate_inp_shexp.weight", {hidden}, false, false};
}

const umbra_architecture umbra_architecture_qwen2moe = {
    .name = "qwen2moe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
