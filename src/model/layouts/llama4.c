/* llama4 (Llama 4 Scout and Maverick): grouped-query attention; three layers of four rotate pairs
 * (2i, 2i + 1) and, but for Maverick's, norm each query and key head without weights behind that;
 * the fourth does neither. Every few layers have experts with a shared one beside them, the others
 * are dense. Router: the best score, whose sigmoid multiplies what the expert gets.
 *
 * Behind CHUNK positions rotating layers see their own chunk of the context alone, and the others
 * sharpen their scores: contexts end there. */
#include "model/architecture.h"

enum {
    CHUNK = 8192,
    ROTATION_PERIOD = 4,
    WITHOUT_NORMS = 128, /* experts of the model that has no norms on heads */
};

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int chunk;
    const umbra_int_key wanted[] = {
        {"interleave_moe_layer_step", 1, 4096, 1, &c->moe_period},
        {"attention.sliding_window", CHUNK, CHUNK, CHUNK, &chunk},
    };
    umbra_limit_context(c, CHUNK,
                        "behind that its layers see chunks of the context alone, which is not "
                        "supported");
    c->shared_width = c->expert_width;
    c->router.gating = UMBRA_GATING_SIGMOID_USED;
    c->router.weighs_input = true;
    c->usual.norms_rotated = true;
    c->usual.bare_qk_norm = c->experts != WITHOUT_NORMS;
    return umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
}

static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    (void)keys;
    (void)err;
    for (int l = ROTATION_PERIOD - 1; l < c->layers; l += ROTATION_PERIOD) {
        c->attention[l].rope = -1;
        c->attention[l].bare_qk_norm = false;
    }
    return UMBRA_OK;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_llama4 = {
    .name = "llama4",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
