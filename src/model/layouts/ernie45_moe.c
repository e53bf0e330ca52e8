/* ernie4_5-moe (ERNIE-4.5-21B-A3B, -300B-A47B): plain grouped-query attention, rotary pairs
 * (2i, 2i + 1). A few leading dense layers; then experts, in every layer or every few, with shared
 * ones beside them. Router: softmax scores, for choosing with a bias, weights renormalised. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared;
    const umbra_int_key wanted[] = {
        {"leading_dense_block_count", 0, 4096, 0, &c->dense_layers},
        {"interleave_moe_layer_step", 1, 4096, 1, &c->moe_period},
        {"expert_shared_feed_forward_length", 0, 1 << 20, 0, &c->shared_width},
        {"expert_shared_count", 0, 64, 0, &shared}, /* the width is that of all of them */
    };
    c->router.renormalise = true;
    return umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_ernie45_moe = {
    .name = "ernie4_5-moe",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .tensors = tensors,
};
