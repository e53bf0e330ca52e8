/* granitemoe (Granite 3.x and 4.0 MoE): grouped-query attention with a scale of its own, rotary
 * pairs (2i, 2i + 1); embeddings, what joins the residual stream, and logits are scaled; router:
 * softmax over the chosen k, which is the softmax over all, renormalised; perhaps a shared expert.
 * An expert is as wide as feed_forward_length says. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    float divisor = 1;
    const umbra_int_key shared = {"expert_shared_feed_forward_length", 0, 1 << 20, 0,
                                  &c->shared_width};
    c->expert_width = c->dense_width;
    c->router.renormalise = true;
    int rc = umbra_lookup_ints(keys, &shared, 1, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "embedding_scale", 1, &c->embedding_scale, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "residual_scale", 1, &c->residual_scale, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "logit_scale", 1, &divisor, err);
    c->logit_scale = 1 / divisor;
    return rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_granitemoe = {
    .name = "granitemoe",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .tensors = tensors,
};
