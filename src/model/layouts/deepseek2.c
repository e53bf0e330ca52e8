/* deepseek2 (DeepSeek-V2, V2-Lite, V3, R1, Kimi-K2): attention over a compressed cache, rotary
 * pairs (2i, 2i + 1); queries come through a bottleneck, but not in V2-Lite. A few leading dense
 * layers; then experts with shared ones beside them.
 *
 * Router: softmax (V2) or sigmoid (V3, Kimi-K2) scores, for choosing with a bias; experts of the
 * best groups alone, where a group is as good as its best expert (V2) or its two best (V3). */
#include "model/architecture.h"

/* Files of V2, whose router is a softmax, do not say so; nor do early ones of GLM-4.7-Flash, whose
 * router is V3's: only that one has a bias for choosing. */
static umbra_gating silent_gating(const umbra_gguf *gguf, const umbra_config *c)
{
    return umbra_has_tensor(gguf, c->dense_layers, "exp_probs_b.bias") ? UMBRA_GATING_SIGMOID
                                                                       : UMBRA_GATING_SOFTMAX;
}

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_latent(keys, c, err);
    c->router.gating = silent_gating(keys->gguf, c);
    return rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_latent(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_deepseek2 = {
    .name = "deepseek2",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .tensors = tensors,
};
