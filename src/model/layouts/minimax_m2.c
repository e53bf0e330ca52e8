/* minimax-m2 (MiniMax M2): grouped-query attention with norms over the whole query and key
 * projections, rotary pairs (i, i + n/2) over a part n of each head; router: sigmoid scores, for
 * choosing with a bias, weights renormalised. An expert is as wide as feed_forward_length says. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    (void)keys;
    (void)err;
    c->expert_width = c->dense_width;
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->router.renormalise = true;
    return UMBRA_OK;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_attention(gguf, c, layer, rules);
    umbra_rules_row_norms(c, layer, rules);
    umbra_rules_router(c, rules);
    rules[UMBRA_SELECTION_BIAS].optional = false;
}

const umbra_architecture umbra_architecture_minimax_m2 = {
    .name = "minimax-m2",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .tensors = tensors,
};
