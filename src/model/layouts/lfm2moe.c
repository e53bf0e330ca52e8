/* lfm2moe (LFM2-8B-A1B): most layers have a short convolution in place of attention; the others
 * grouped-query attention with norms on each query and key head, rotary pairs (i, i + head_dim/2).
 * A few leading dense layers; then experts. Router: sigmoid scores, for choosing with a bias,
 * weights renormalised. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key dense = {"leading_dense_block_count", 0, 4096, 0, &c->dense_layers};
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->router.renormalise = true;
    return umbra_lookup_ints(keys, &dense, 1, err);
}

/* Layers without key/value heads convolve: each value by itself, over what one head would keep. */
static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int taps;
    const umbra_int_key wanted = {"shortconv.l_cache", 1, 64, -1, &taps};
    int rc = umbra_lookup_ints(keys, &wanted, 1, err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++)
        if (c->attention[l].kv_heads == 0)
            c->attention[l] = (umbra_attention){
                .conv = taps,
                .heads = 1,
                .kv_heads = 1,
                .key_dim = c->hidden,
                .value_dim = c->hidden,
                .window = taps,
                .rope = -1,
            };
    return rc;
}

static void convolution_rules(const umbra_config *c, int layer, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, taps = (uint64_t)c->attention[layer].conv;
    rules[UMBRA_ATTN_NORM] = (umbra_tensor_rule){"attn_norm.weight", {hidden}, true, false};
    rules[UMBRA_CONV_IN] =
        (umbra_tensor_rule){"shortconv.in_proj.weight", {hidden, 3 * hidden}, false, false};
    rules[UMBRA_CONV] = (umbra_tensor_rule){"shortconv.conv.weight", {taps, hidden}, true, false};
    rules[UMBRA_ATTN_OUT] =
        (umbra_tensor_rule){"shortconv.out_proj.weight", {hidden, hidden}, false, false};
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    if (c->attention[layer].conv) {
        convolution_rules(c, layer, rules);
    } else {
        umbra_rules_attention(gguf, c, layer, rules);
        umbra_rules_head_norms(c, layer, rules);
    }
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_lfm2moe = {
    .name = "lfm2moe",
    .rope = UMBRA_ROPE_HALVES,
    .output_norm = "token_embd_norm.weight",
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
