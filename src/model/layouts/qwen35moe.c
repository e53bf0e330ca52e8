/* qwen35moe (Qwen3.5, Qwen3.6): three of four layers are delta nets whose key heads go through the
 * heads in turns; the fourth has grouped-query attention with norms on each query and key head,
 * rotary pairs (i, i + dim/2) of a part of it, and a gate on its output. Router: softmax over all
 * experts, weights renormalised; beside them a shared expert, weighed by a sigmoid. */
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    c->router.renormalise = true;
    c->usual.recurrence.tiled = true;
    c->mtp_normed = true;
    return umbra_read_gated_shared(keys, c, err);
}

const umbra_architecture umbra_architecture_qwen35moe = {
    .name = "qwen35moe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .layers = umbra_read_delta_nets,
    .tensors = umbra_rules_gated_layers,
};
