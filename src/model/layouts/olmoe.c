/* olmoe (OLMoE-1B-7B): RMS norms over the whole query and key projections, rotary pairs
 * (i, i + head_dim/2); router: softmax over all experts, the k best with the weights that they
 * have. An expert is as wide as feed_forward_length says. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    (void)keys;
    (void)err;
    if (c->expert_width == 0)
        c->expert_width = c->dense_width;
    return UMBRA_OK;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    (void)gguf;
    (void)layer;
    uint64_t q = (uint64_t)c->heads * (uint64_t)c->key_dim;
    uint64_t k = (uint64_t)c->kv_heads * (uint64_t)c->key_dim;
    umbra_rules_attention(c, rules);
    umbra_rules_router(c, rules);
    rules[UMBRA_ATTN_Q_NORM] = (umbra_tensor_rule){"attn_q_norm.weight", {q}, true, false};
    rules[UMBRA_ATTN_K_NORM] = (umbra_tensor_rule){"attn_k_norm.weight", {k}, true, false};
}

const umbra_architecture umbra_architecture_olmoe = {
    .name = "olmoe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
