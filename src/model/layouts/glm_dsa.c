/* glm-dsa (GLM-5) and deepseek32 (DeepSeek-V3.2): deepseek2 with a sigmoid router, and an indexer
 * that picks the top_k positions which attention sees. As long as a context has no more, attention
 * sees all, and that is where contexts end. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int own_indexer; /* or that of the layer before */
    const umbra_int_key types = {"attention.indexer.types", 0, 1, 1, &own_indexer};
    c->router.gating = UMBRA_GATING_SIGMOID;
    int rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_latent(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &types, UMBRA_GGUF_I32, c->layers, 0, err);
    return rc == UMBRA_OK ? umbra_end_before_indexer(keys, 1, c, err) : rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_latent(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_glm_dsa = {
    .name = "glm-dsa",
    .rope = UMBRA_ROPE_ADJACENT,
    .idle_tensors = "indexer.",
    .configure = configure,
    .tensors = tensors,
};

const umbra_architecture umbra_architecture_deepseek32 = {
    .name = "deepseek32",
    .rope = UMBRA_ROPE_ADJACENT,
    .idle_tensors = "indexer.",
    .configure = configure,
    .tensors = tensors,
};
