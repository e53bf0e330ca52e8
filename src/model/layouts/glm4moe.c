/* glm4moe (GLM-4.5 to 4.7, Air): grouped-query attention, biases and norms on each query and key
 * head where a file has them, rotary pairs (i, i + n/2) over a part n of each head. A few leading
 * dense layers; then experts with shared ones beside them. Router: sigmoid scores, for choosing
 * with a bias. The norm before the feed-forward block is called post_attention_norm. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    c->router.gating = UMBRA_GATING_SIGMOID;
    return umbra_read_dense_and_shared(keys, c, err);
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_head_norms(c, layer, rules);
    rules[UMBRA_ATTN_Q_NORM].optional = rules[UMBRA_ATTN_K_NORM].optional = true;
    umbra_rules_feed_forward(c, layer, rules);
    rules[UMBRA_FFN_NORM].name = "post_attention_norm.weight";
}

const umbra_architecture umbra_architecture_glm4moe = {
    .name = "glm4moe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
