/* qwen3moe (Qwen3-30B-A3B, Qwen3-235B-A22B): grouped-query attention with RMS norms on each query
 * and key head, rotary pairs (i, i + head_dim/2); router: softmax over all experts, the k best,
 * weights renormalised to sum 1. Every layer has experts; the output matrix may be tied. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    (void)keys;
    (void)err;
    c->router.renormalise = true;
    return UMBRA_OK;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_router(c, rules);
    umbra_rules_head_norms(c, layer, rules);
}

const umbra_architecture umbra_architecture_qwen3moe = {
    .name = "qwen3moe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
