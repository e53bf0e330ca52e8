/* minimax-m3 (MiniMax M3): grouped-query attention with norms on each query and key head, rotary
 * pairs (i, i + n/2) over a part n of each head. A few leading dense layers; then experts with
 * shared ones beside them, all with a clamped SwiGLU. Router: sigmoid scores, for choosing with a
 * bias.
 *
 * Behind the dense layers an index picks the top_k blocks of positions which attention sees. As
 * long as a context has no more, attention sees all, and that is where contexts end. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int block, local;
    const umbra_int_key wanted[] = {
        {"attention.indexer.block_size", 1, 1 << 16, -1, &block},
        {"attention.indexer.local_blocks", 0, 1 << 16, 0, &local},
    };
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->activation = UMBRA_SWIGLU_CLAMPED;
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc == UMBRA_OK)
        rc = umbra_read_dense_and_shared(keys, c, err);
    return rc == UMBRA_OK ? umbra_end_before_indexer(keys, block, c, err) : rc;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_head_norms(c, layer, rules);
    umbra_rules_feed_forward(c, layer, rules);
}

const umbra_architecture umbra_architecture_minimax_m3 = {
    .name = "minimax-m3",
    .rope = UMBRA_ROPE_HALVES,
    .idle_tensors = "indexer.",
    .configure = configure,
    .tensors = tensors,
};
