/* glm-dsa (GLM-5) and deepseek32 (DeepSeek-V3.2): deepseek2 with a sigmoid router, and an index
 * that picks the positions which attention sees; layers without one see what the last that has one
 * does.
 */
#include "base/error.h"
#include "model/architecture.h"

enum {
    LONG_CONTEXT = 1 << 20, /* of GLM-5.2: behind the first layers every fourth has an index */
    FIRST_LAYERS = 2,
    PERIOD = 4,
};

/* Whether a layer has an index of its own, where a file does not say so. */
static bool has_index(const umbra_config *c, int layer)
{
    return c->context < LONG_CONTEXT || layer < FIRST_LAYERS ||
           (layer - FIRST_LAYERS) % PERIOD == 0;
}

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    c->router.gating = UMBRA_GATING_SIGMOID;
    int rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_latent(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_index(keys, c, err);
    return rc == UMBRA_OK ? umbra_lookup_float(keys, "attention.layer_norm_epsilon", 1e-6f,
                                               &c->usual.index.eps, err)
                          : rc;
}

static int check_index(umbra_keys *keys, const umbra_config *c, umbra_error *err)
{
    if (c->usual.q_rank == 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: an index needs queries that come through a bottleneck "
                          "(%s.attention.q_lora_rank)",
                          umbra_gguf_path(keys->gguf), keys->architecture);
    if (c->attention[0].index.kept == 0)
        return umbra_fail(
            err, UMBRA_E_FORMAT,
            "%s: the first layer has no index of its own (%s.attention.indexer.types)",
            umbra_gguf_path(keys->gguf), keys->architecture);
    return UMBRA_OK;
}

/* pairs: how the index turns. */
static int read_layers(umbra_keys *keys, umbra_config *c, umbra_rope_pairs pairs, umbra_error *err)
{
    enum { UNSAID = 2 };
    const umbra_int_key types = {"attention.indexer.types", 0, UNSAID, UNSAID,
                                 &c->attention[0].index.kept};
    int rc =
        umbra_lookup_layers(keys, &types, UMBRA_GGUF_I32, c->layers, sizeof *c->attention, err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_index *index = &c->attention[l].index;
        index->pairs = pairs;
        if (index->kept == UNSAID)
            index->kept = has_index(c, l);
    }
    return rc == UMBRA_OK ? check_index(keys, c, err) : rc;
}

static int layers_by_halves(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    return read_layers(keys, c, UMBRA_ROPE_HALVES, err);
}

static int layers_by_neighbours(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    return read_layers(keys, c, UMBRA_ROPE_ADJACENT, err);
}

static void index_rules(const umbra_config *c, const umbra_attention *a, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, low = (uint64_t)a->q_rank;
    uint64_t heads = (uint64_t)a->index.heads, dim = (uint64_t)a->index.dim;
    rules[UMBRA_INDEX_Q] =
        (umbra_tensor_rule){"indexer.attn_q_b.weight", {low, heads * dim}, false, false};
    rules[UMBRA_INDEX_K] =
        (umbra_tensor_rule){"indexer.attn_k.weight", {hidden, dim}, false, false};
    rules[UMBRA_INDEX_K_NORM] = (umbra_tensor_rule){"indexer.k_norm.weight", {dim}, true, false};
    rules[UMBRA_INDEX_K_BIAS] = (umbra_tensor_rule){"indexer.k_norm.bias", {dim}, true, false};
    rules[UMBRA_INDEX_WEIGHT] =
        (umbra_tensor_rule){"indexer.proj.weight", {hidden, heads}, false, false};
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_latent(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
    if (c->attention[layer].index.kept)
        index_rules(c, &c->attention[layer], rules);
}

const umbra_architecture umbra_architecture_glm_dsa = {
    .name = "glm-dsa",
    .rope = UMBRA_ROPE_ADJACENT,
    .idle_tensors = "indexer.",
    .configure = configure,
    .layers = layers_by_neighbours,
    .tensors = tensors,
};

const umbra_architecture umbra_architecture_deepseek32 = {
    .name = "deepseek32",
    .rope = UMBRA_ROPE_ADJACENT,
    .idle_tensors = "indexer.",
    .configure = configure,
    .layers = layers_by_halves,
    .tensors = tensors,
};
