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
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_router(c, rules);
    umbra_rules_row_norms(c, layer, rules);
}

const umbra_architecture umbra_architecture_olmoe = {
    .name = "olmoe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
