/* qwen3next (Qwen3-Next, Qwen3-Coder-Next): three of four layers are delta nets, each key head with
 * the next few heads; the fourth has grouped-query attention with norms on each query and key head,
 * rotary pairs (i, i + dim/2) of a part of it, and a gate on its output. Router: softmax over all
 * experts, weights renormalised; beside them a shared expert, weighed by a sigmoid. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    c->router.renormalise = true;
    return umbra_read_gated_shared(keys, c, err);
}

const umbra_architecture umbra_architecture_qwen3next = {
    .name = "qwen3next",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .layers = umbra_read_delta_nets,
    .tensors = umbra_rules_gated_layers,
};
