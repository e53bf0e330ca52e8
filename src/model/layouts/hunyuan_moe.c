/* hunyuan-moe (Hunyuan-A13B): grouped-query attention, rotary pairs (i, i + head_dim/2), behind
 * them norms on each query and key head; router: softmax over all experts, the k best, weights
 * renormalised to sum 1; a shared expert beside them. An expert is as wide as feed_forward_length
 * says. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared;
    const umbra_int_key wanted[] = {
        {"expert_shared_feed_forward_length", 1, 1 << 20, -1, &c->shared_width},
        {"expert_shared_count", 1, 1, 1, &shared}, /* no other number has been published */
    };
    c->expert_width = c->dense_width;
    c->router.renormalise = true;
    c->usual.norms_rotated = true;
    return umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_head_norms(c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_hunyuan_moe = {
    .name = "hunyuan-moe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
