/* Layers with recurrent states: keys and tensors that layouts have in common. */
#include "base/error.h"
#include "model/architecture.h"

/* Which layers are recurrent: an array, or all but every interval-th. recurrent (layers). */
static int read_pattern(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    enum { UNSAID = 2 };
    int interval;
    const umbra_int_key every = {"full_attention_interval", 1, 4096, 4, &interval};
    const umbra_int_key pattern = {"attention.recurrent_layers", 0, UNSAID, UNSAID,
                                   &c->attention[0].recurrence.key_heads};
    int rc = umbra_lookup_ints(keys, &every, 1, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &pattern, UMBRA_GGUF_BOOL, c->layers, sizeof *c->attention,
                                 err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        int *recurrent = &c->attention[l].recurrence.key_heads;
        if (*recurrent == UNSAID)
            *recurrent = (l + 1) % interval != 0;
    }
    return rc;
}

static int read_sizes(umbra_keys *keys, umbra_attention *a, umbra_error *err)
{
    int inner, dim;
    umbra_recurrence *r = &a->recurrence;
    const umbra_int_key wanted[] = {
        {"ssm.state_size", 1, 4096, -1, &dim},
        {"ssm.group_count", 1, 4096, -1, &r->key_heads},
        {"ssm.time_step_rank", 1, 4096, -1, &a->heads},
        {"ssm.conv_kernel", 1, 64, -1, &r->taps},
        {"ssm.inner_size", 1, 1 << 24, -1, &inner},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc != UMBRA_OK)
        return rc;
    a->key_dim = a->value_dim = dim;
    if (a->heads % r->key_heads != 0 || a->heads * dim != inner)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d heads of %d values (%s.ssm.time_step_rank, ssm.state_size) must "
                          "be shared by %d key heads (ssm.group_count) and be %d values together "
                          "(ssm.inner_size)",
                          umbra_gguf_path(keys->gguf), a->heads, dim, keys->architecture,
                          r->key_heads, inner);
    return UMBRA_OK;
}

int umbra_read_delta_nets(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_attention net = {.recurrence = c->usual.recurrence, .rope = -1};
    net.recurrence.delta = true;
    int rc = read_pattern(keys, c, err);
    if (rc == UMBRA_OK)
        rc = read_sizes(keys, &net, err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_attention *a = &c->attention[l];
        bool recurrent = a->recurrence.key_heads > 0;
        if (recurrent)
            *a = net;
        else
            a->recurrence = (umbra_recurrence){0};
        a->gated = !recurrent;
    }
    if (rc == UMBRA_OK && c->usual.key_dim != c->usual.value_dim)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: heads have %d values and their gates %d "
                          "(attention.value_length, attention.key_length)",
                          umbra_gguf_path(keys->gguf), c->usual.value_dim, c->usual.key_dim);
    return rc;
}

static umbra_tensor_rule matrix(const char *name, int columns, int rows)
{
    return (umbra_tensor_rule){name, {(uint64_t)columns, (uint64_t)rows}, false, false};
}

static umbra_tensor_rule vector(const char *name, int n)
{
    return (umbra_tensor_rule){name, {(uint64_t)n}, true, false};
}

/* Newer files have queries, keys and values in one tensor and gates in another, older ones
 * everything by key head in one; the same goes for rates and steps, the other way round. */
void umbra_rules_delta_net(const umbra_gguf *gguf, const umbra_config *c, int layer,
                           umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    int values = umbra_recurrent_values(a), channels = umbra_recurrent_channels(a);
    rules[UMBRA_ATTN_NORM] = vector("attn_norm.weight", c->hidden);
    if (umbra_has_tensor(gguf, layer, "ssm_in.weight")) {
        rules[UMBRA_SSM_IN] = matrix("ssm_in.weight", c->hidden, channels + values);
    } else {
        rules[UMBRA_ATTN_QKV] = matrix("attn_qkv.weight", c->hidden, channels);
        rules[UMBRA_SSM_GATE] = matrix("attn_gate.weight", c->hidden, values);
    }
    if (umbra_has_tensor(gguf, layer, "ssm_ba.weight")) {
        rules[UMBRA_SSM_RATES] = matrix("ssm_ba.weight", c->hidden, 2 * a->heads);
    } else {
        rules[UMBRA_SSM_RATE] = matrix("ssm_beta.weight", c->hidden, a->heads);
        rules[UMBRA_SSM_STEP] = matrix("ssm_alpha.weight", c->hidden, a->heads);
    }
    rules[UMBRA_SSM_CONV] = matrix("ssm_conv1d.weight", a->recurrence.taps, channels);
    rules[UMBRA_SSM_CONV].vector = true;
    rules[UMBRA_SSM_STEP_BIAS] = vector("ssm_dt.bias", a->heads);
    rules[UMBRA_SSM_A] = vector("ssm_a", a->heads);
    rules[UMBRA_SSM_NORM] = vector("ssm_norm.weight", a->value_dim);
    rules[UMBRA_ATTN_OUT] = matrix("ssm_out.weight", values, c->hidden);
}

void umbra_rules_delta_attention(const umbra_config *c, int layer, umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    int values = umbra_recurrent_values(a), low = a->key_dim;
    uint64_t taps = (uint64_t)a->recurrence.taps;
    rules[UMBRA_ATTN_NORM] = vector("attn_norm.weight", c->hidden);
    rules[UMBRA_ATTN_Q] = matrix("attn_q.weight", c->hidden, values);
    rules[UMBRA_ATTN_K] = matrix("attn_k.weight", c->hidden, values);
    rules[UMBRA_ATTN_V] = matrix("attn_v.weight", c->hidden, values);
    rules[UMBRA_SSM_STEP_A] = matrix("ssm_f_a.weight", c->hidden, low);
    rules[UMBRA_SSM_STEP_B] = matrix("ssm_f_b.weight", low, values);
    rules[UMBRA_SSM_GATE_A] = matrix("ssm_g_a.weight", c->hidden, low);
    rules[UMBRA_SSM_GATE_B] = matrix("ssm_g_b.weight", low, values);
    rules[UMBRA_SSM_RATE] = matrix("ssm_beta.weight", c->hidden, a->heads);
    static const char *const convs[] = {"ssm_conv1d_q.weight", "ssm_conv1d_k.weight",
                                        "ssm_conv1d_v.weight"};
    for (int i = 0; i < 3; i++)
        rules[UMBRA_SSM_CONV_Q + i] =
            (umbra_tensor_rule){convs[i], {taps, 1, (uint64_t)values}, true, false};
    rules[UMBRA_SSM_STEP_BIAS] = vector("ssm_dt.bias", values);
    rules[UMBRA_SSM_A] = (umbra_tensor_rule){"ssm_a", {1, (uint64_t)a->heads}, true, false};
    rules[UMBRA_SSM_NORM] = vector("ssm_norm.weight", a->value_dim);
    rules[UMBRA_ATTN_OUT] = matrix("attn_output.weight", values, c->hidden);
}

void umbra_rules_gated_layers(const umbra_gguf *gguf, const umbra_config *c, int layer,
                              umbra_tensor_rule *rules)
{
    if (c->attention[layer].recurrence.key_heads > 0) {
        umbra_rules_delta_net(gguf, c, layer, rules);
    } else {
        umbra_rules_attention(gguf, c, layer, rules);
        umbra_rules_head_norms(c, layer, rules);
    }
    umbra_rules_feed_forward(c, layer, rules);
    rules[UMBRA_FFN_NORM].name = "post_attention_norm.weight";
    rules[UMBRA_SHARED_ROUTER] = matrix("ffn_gate_inp_shexp.weight", c->hidden, 0);
}

int umbra_read_gated_shared(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared;
    const umbra_int_key wanted[] = {
        {"expert_shared_feed_forward_length", 0, 1 << 20, 0, &c->shared_width},
        {"expert_shared_count", 1, 1, 1, &shared}, /* no other number has been published */
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (c->shared_width == 0)
        c->shared_width = c->expert_width;
    return rc;
}
