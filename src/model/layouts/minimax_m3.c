/* minimax-m3 (MiniMax M3): grouped-query attention with norms on each query and key head, rotary
 * pairs (i, i + n/2) over a part n of each head. A few leading dense layers; then experts with
 * shared ones beside them, all with a clamped SwiGLU. Router: sigmoid scores, for choosing with a
 * bias.
 *
 * Behind the dense layers an index picks for each key/value head the top_k blocks of positions
 * which attention sees, the last ones among them. */
#include "base/error.h"
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_index *index = &c->usual.index;
    const umbra_int_key wanted[] = {
        {"attention.indexer.block_size", 1, 1 << 16, -1, &index->unit},
        {"attention.indexer.local_blocks", 0, 1 << 16, 0, &index->local},
    };
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->activation = UMBRA_SWIGLU_CLAMPED;
    int rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_index(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    index->by_head = true;
    index->pairs = UMBRA_ROPE_HALVES;
    index->kept = 1;
    return rc;
}

static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_index *index = &c->usual.index;
    if (index->local > index->most)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d blocks are always seen (minimax-m3.attention.indexer."
                          "local_blocks), but %d in all (top_k)",
                          umbra_gguf_path(keys->gguf), index->local, index->most);
    for (int l = 0; l < c->layers; l++) {
        umbra_attention *a = &c->attention[l];
        if (l < c->dense_layers)
            a->index = (umbra_index){0};
        else if (index->heads != a->kv_heads)
            return umbra_fail(err, UMBRA_E_FORMAT,
                              "%s: an index of %d heads (minimax-m3.attention.indexer.head_count) "
                              "cannot pick for %d key/value heads",
                              umbra_gguf_path(keys->gguf), index->heads, a->kv_heads);
    }
    return UMBRA_OK;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_head_norms(c, layer, rules);
    umbra_rules_index(c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_minimax_m3 = {
    .name = "minimax-m3",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
