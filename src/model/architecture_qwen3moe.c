/* qwen3moe (Qwen3-30B-A3B, Qwen3-235B-A22B): grouped-query attention with RMS norms on each query
 * and key head, rotary pairs (i, i + head_dim/2); router: softmax over all experts, the k best,
 * weights renormalised to sum 1. Every layer has experts; the output matrix may be tied. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "model/lookup.h"

static const char architecture[] = "qwen3moe";

static int load_config(const umbra_gguf *gguf, umbra_config *c, umbra_error *err)
{
    const struct {
        const char *name;
        int least, most, fallback;
        int *out;
    } keys[] = {
        {"block_count", 1, 4096, -1, &c->layers},
        {"embedding_length", 1, 1 << 20, -1, &c->hidden},
        {"context_length", 1, 1 << 30, -1, &c->context},
        {"attention.head_count", 1, 4096, -1, &c->heads},
        {"attention.head_count_kv", 1, 4096, -1, &c->kv_heads},
        {"expert_count", 1, 65535, -1, &c->experts},
        {"expert_used_count", 1, UMBRA_MAX_USED, -1, &c->experts_used},
        {"expert_feed_forward_length", 1, 1 << 20, -1, &c->expert_width},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int rc = umbra_lookup_int(gguf, architecture, keys[i].name, keys[i].least, keys[i].most,
                                  keys[i].fallback, keys[i].out, err);
        if (rc != UMBRA_OK)
            return rc;
    }
    int head = c->hidden / c->heads > 0 ? c->hidden / c->heads : 1; /* where the keys are absent */
    int rc = umbra_lookup_int(gguf, architecture, "attention.key_length", 2, 4096, head,
                              &c->key_dim, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_int(gguf, architecture, "attention.value_length", 1, 4096, head,
                              &c->value_dim, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(gguf, architecture, "attention.layer_norm_rms_epsilon", 1e-6f,
                                &c->rms_eps, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(gguf, architecture, "rope.freq_base", 1e4f, &c->rope_base, err);
    return rc;
}

static int check_config(const umbra_gguf *gguf, const umbra_config *c, umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    if (c->heads % c->kv_heads != 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %d heads cannot share %d key/value heads", path,
                          c->heads, c->kv_heads);
    if (c->key_dim % 2 != 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %s.attention.key_length %d is odd", path,
                          architecture, c->key_dim);
    if (c->experts_used > c->experts)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %d experts are used of only %d", path,
                          c->experts_used, c->experts);
    umbra_string scaling;
    int rc = umbra_gguf_get_string(gguf, "qwen3moe.rope.scaling.type", &scaling, err);
    if (rc < 0)
        return rc;
    if (rc == 1 && !(scaling.bytes == 4 && memcmp(scaling.data, "none", 4) == 0))
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: rotary scaling \"%s\" is not supported (only none)", path,
                          umbra_quote(scaling.data, scaling.bytes).text);
    return UMBRA_OK;
}

static int load_layer(umbra_model *model, int layer, umbra_error *err)
{
    const umbra_config *c = &model->config;
    uint64_t hidden = (uint64_t)c->hidden, width = (uint64_t)c->expert_width;
    uint64_t q = (uint64_t)c->heads * (uint64_t)c->key_dim;
    uint64_t k = (uint64_t)c->kv_heads * (uint64_t)c->key_dim;
    uint64_t v = (uint64_t)c->kv_heads * (uint64_t)c->value_dim;
    uint64_t mixed = (uint64_t)c->heads * (uint64_t)c->value_dim;
    uint64_t experts = (uint64_t)c->experts, key_dim = (uint64_t)c->key_dim;
    const umbra_tensor_rule roles[UMBRA_LAYER_ROLES] = {
        [UMBRA_ATTN_NORM] = {"attn_norm.weight", {hidden}, true},
        [UMBRA_ATTN_Q] = {"attn_q.weight", {hidden, q}, false},
        [UMBRA_ATTN_K] = {"attn_k.weight", {hidden, k}, false},
        [UMBRA_ATTN_V] = {"attn_v.weight", {hidden, v}, false},
        [UMBRA_ATTN_Q_NORM] = {"attn_q_norm.weight", {key_dim}, true},
        [UMBRA_ATTN_K_NORM] = {"attn_k_norm.weight", {key_dim}, true},
        [UMBRA_ATTN_OUT] = {"attn_output.weight", {mixed, hidden}, false},
        [UMBRA_FFN_NORM] = {"ffn_norm.weight", {hidden}, true},
        [UMBRA_ROUTER] = {"ffn_gate_inp.weight", {hidden, experts}, false},
    };
    const umbra_tensor_rule slices[UMBRA_STORE_SLICES] = {
        [UMBRA_GATE] = {"ffn_gate_exps.weight", {hidden, width, experts}, false},
        [UMBRA_UP] = {"ffn_up_exps.weight", {hidden, width, experts}, false},
        [UMBRA_DOWN] = {"ffn_down_exps.weight", {width, hidden, experts}, false},
    };
    umbra_layer_tensors *tensors = &model->layers[layer];
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_LAYER_ROLES; i++)
        rc = umbra_lookup_tensor(model->gguf, layer, &roles[i], false, &tensors->role[i], err);
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_STORE_SLICES; i++)
        rc = umbra_lookup_tensor(model->gguf, layer, &slices[i], false, &tensors->experts[i], err);
    return rc;
}

static int load(umbra_model *model, umbra_error *err)
{
    umbra_config *c = &model->config;
    c->vocabulary = (int)umbra_tokenizer_size(model->tokenizer);
    int rc = load_config(model->gguf, c, err);
    if (rc == UMBRA_OK)
        rc = check_config(model->gguf, c, err);
    if (rc != UMBRA_OK)
        return rc;

    uint64_t hidden = (uint64_t)c->hidden, vocabulary = (uint64_t)c->vocabulary;
    const umbra_tensor_rule embedding = {"token_embd.weight", {hidden, vocabulary}, false};
    const umbra_tensor_rule norm = {"output_norm.weight", {hidden}, true};
    const umbra_tensor_rule output = {"output.weight", {hidden, vocabulary}, false};
    const umbra_gguf_tensor **role = model->role;
    rc = umbra_lookup_tensor(model->gguf, -1, &embedding, false, &role[UMBRA_TOKEN_EMBEDDING], err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_tensor(model->gguf, -1, &norm, false, &role[UMBRA_OUTPUT_NORM], err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_tensor(model->gguf, -1, &output, true, &role[UMBRA_OUTPUT], err);
    if (rc != UMBRA_OK)
        return rc;
    if (!role[UMBRA_OUTPUT])
        role[UMBRA_OUTPUT] = role[UMBRA_TOKEN_EMBEDDING];

    /* Asked for before anything is allocated per layer: a hostile count stops here. */
    const umbra_tensor_rule last = {"attn_norm.weight", {hidden}, true};
    const umbra_gguf_tensor *found;
    rc = umbra_lookup_tensor(model->gguf, c->layers - 1, &last, false, &found, err);
    if (rc != UMBRA_OK)
        return rc;
    model->layers = umbra_calloc((size_t)c->layers, sizeof *model->layers);
    if (!model->layers)
        return umbra_fail_nomem(err, "the layer table", 0);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++)
        rc = load_layer(model, l, err);
    return rc;
}

const umbra_architecture umbra_architecture_qwen3moe = {architecture, load};
