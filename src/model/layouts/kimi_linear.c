/* kimi-linear (Kimi-Linear-48B-A3B): most layers have delta attention, whose states fade by a
 * factor for each value of a key, and whose output is gated by a sigmoid; the others attend over a
 * compressed cache. Nothing is rotated. A few leading dense layers; then experts with shared ones
 * beside them. Router: sigmoid scores, for choosing with a bias, weights renormalised. */
#include <math.h>

#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->router.renormalise = true;
    int rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_latent(keys, c, err);
    c->rope[0].factor = INFINITY; /* the part of keys that heads share stands still */
    return rc;
}

/* Layers without key/value heads are recurrent. */
static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_attention delta = {
        .recurrence = {.key_heads = c->usual.heads,
                       .delta = true,
                       .key_decay = true,
                       .by_sigmoid = true},
        .heads = c->usual.heads,
        .rope = -1,
    };
    const umbra_int_key wanted[] = {
        {"kda.head_dim", 1, 4096, -1, &delta.key_dim},
        {"ssm.conv_kernel", 1, 64, -1, &delta.recurrence.taps},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    delta.value_dim = delta.key_dim;
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++)
        if (c->attention[l].kv_heads == 0)
            c->attention[l] = delta;
    return rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    if (c->attention[layer].recurrence.key_heads > 0)
        umbra_rules_delta_attention(c, layer, rules);
    else
        umbra_rules_latent(gguf, c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_kimi_linear = {
    .name = "kimi-linear",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
