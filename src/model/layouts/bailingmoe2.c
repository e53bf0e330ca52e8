/* bailingmoe2 (Ling 2.0, Ring 2.0): grouped-query attention with norms on each query and key head,
 * rotary pairs (i, i + n/2) over a part n of each head; queries, keys and values come from one
 * matrix. A few leading dense layers; then experts with shared ones beside them. Router: sigmoid
 * scores, for choosing with a bias; experts of the best groups alone. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared, width;
    const umbra_int_key wanted[] = {
        {"leading_dense_block_count", 0, 4096, 0, &c->dense_layers},
        {"expert_shared_count", 0, 64, 0, &shared},
        {"expert_shared_feed_forward_length", 0, 1 << 20, c->expert_width, &width},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc == UMBRA_OK)
        c->shared_width = shared * width;
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->router.renormalise = true;
    return rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_head_norms(c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_bailingmoe2 = {
    .name = "bailingmoe2",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
