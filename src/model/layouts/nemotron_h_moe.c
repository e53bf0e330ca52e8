/* nemotron_h_moe (Nemotron 3): every layer does one thing: Mamba-2, attention without rotation, or
 * experts. These have no gate, only the square of relu; they may work on a latent of the residual
 * stream, with a shared expert on the stream itself beside them. Router: sigmoid scores, for
 * choosing with a bias. */
#include "base/error.h"
#include "model/architecture.h"

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared;
    const umbra_int_key wanted[] = {
        {"expert_shared_feed_forward_length", 0, 1 << 20, 0, &c->shared_width},
        {"expert_shared_count", 0, 1, 1, &shared},
        {"moe_latent_size", 0, 1 << 20, 0, &c->expert_hidden},
    };
    c->router.gating = UMBRA_GATING_SIGMOID;
    c->activation = UMBRA_RELU_SQUARED;
    c->usual.rope = -1;
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (c->expert_hidden == 0)
        c->expert_hidden = c->hidden;
    return rc;
}

static int read_mamba(umbra_keys *keys, umbra_attention *a, umbra_error *err)
{
    int inner = 0;
    const umbra_int_key wanted[] = {
        {"ssm.state_size", 1, 4096, -1, &a->key_dim},
        {"ssm.group_count", 1, 4096, -1, &a->recurrence.key_heads},
        {"ssm.time_step_rank", 1, 4096, -1, &a->heads},
        {"ssm.conv_kernel", 1, 64, -1, &a->recurrence.taps},
        {"ssm.inner_size", 1, 1 << 24, -1, &inner},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc != UMBRA_OK)
        return rc;
    a->value_dim = inner / a->heads;
    if (a->heads % a->recurrence.key_heads != 0 || a->value_dim * a->heads != inner ||
        a->value_dim == 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d values (%s.ssm.inner_size) cannot be shared by %d heads "
                          "(ssm.time_step_rank) in %d groups (ssm.group_count)",
                          umbra_gguf_path(keys->gguf), inner, keys->architecture, a->heads,
                          a->recurrence.key_heads);
    return UMBRA_OK;
}

/* Layers with key/value heads attend, those with a feed-forward length have experts. */
static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_attention mamba = {.rope = -1, .alone = true};
    const umbra_int_key lengths = {"feed_forward_length", 0, 1 << 20, 0, &c->attention[0].window};
    int rc = read_mamba(keys, &mamba, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &lengths, UMBRA_GGUF_I32, c->layers, sizeof *c->attention,
                                 err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_attention *a = &c->attention[l];
        int length = a->window;
        a->window = 0;
        if (a->kv_heads > 0)
            a->alone = true;
        else
            *a = length > 0 ? (umbra_attention){.rope = -1} : mamba;
    }
    return rc;
}

static umbra_tensor_rule matrix(const char *name, int columns, int rows)
{
    return (umbra_tensor_rule){name, {(uint64_t)columns, (uint64_t)rows}, false, false};
}

static umbra_tensor_rule vectors(const char *name, int n, int rows)
{
    return (umbra_tensor_rule){name, {(uint64_t)n, (uint64_t)rows}, true, false};
}

static void mamba_rules(const umbra_config *c, const umbra_attention *a, umbra_tensor_rule *rules)
{
    int values = umbra_recurrent_values(a), channels = umbra_recurrent_channels(a);
    int groups = a->recurrence.key_heads;
    rules[UMBRA_ATTN_NORM] = vectors("attn_norm.weight", c->hidden, 0);
    rules[UMBRA_SSM_IN] = matrix("ssm_in.weight", c->hidden, values + channels + a->heads);
    rules[UMBRA_SSM_CONV] = vectors("ssm_conv1d.weight", a->recurrence.taps, channels);
    rules[UMBRA_SSM_CONV_BIAS] = vectors("ssm_conv1d.bias", channels, 0);
    rules[UMBRA_SSM_STEP_BIAS] = vectors("ssm_dt.bias", a->heads, 0);
    rules[UMBRA_SSM_A] = vectors("ssm_a", 1, a->heads);
    rules[UMBRA_SSM_SKIP] = vectors("ssm_d", 1, a->heads);
    rules[UMBRA_SSM_NORM] = vectors("ssm_norm.weight", values / groups, groups);
    rules[UMBRA_ATTN_OUT] = matrix("ssm_out.weight", values, c->hidden);
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    if (a->recurrence.key_heads > 0) {
        mamba_rules(c, a, rules);
    } else if (a->alone) {
        umbra_rules_attention(gguf, c, layer, rules);
    } else {
        umbra_rules_feed_forward(c, layer, rules);
        rules[UMBRA_FFN_NORM].name = "attn_norm.weight";
        if (c->expert_hidden != c->hidden) {
            rules[UMBRA_LATENT_DOWN] =
                matrix("ffn_latent_down.weight", c->hidden, c->expert_hidden);
            rules[UMBRA_LATENT_UP] = matrix("ffn_latent_up.weight", c->expert_hidden, c->hidden);
        }
    }
}

const umbra_architecture umbra_architecture_nemotron_h_moe = {
    .name = "nemotron_h_moe",
    .rope = UMBRA_ROPE_HALVES,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
};
