/* llama with experts (Mixtral): plain grouped-query attention, rotary pairs (2i, 2i + 1), perhaps
 * with a file's own factor per pair; router: softmax over the chosen k, which is the softmax over
 * all, renormalised. An expert is as wide as feed_forward_length says; early files have one tensor
 * per expert. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    (void)keys;
    (void)err;
    c->router.renormalise = true;
    if (c->expert_width == 0)
        c->expert_width = c->dense_width;
    return UMBRA_OK;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_router(c, rules);
}

const umbra_architecture umbra_architecture_llama = {
    .name = "llama",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .tensors = tensors,
};
