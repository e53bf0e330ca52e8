/* The table of layouts, and what their hyper-parameters have in common. */
#include "model/architecture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "model/account.h"

static const umbra_architecture *const table[] = {
    &umbra_architecture_qwen3moe,       &umbra_architecture_qwen2moe,
    &umbra_architecture_olmoe,          &umbra_architecture_llama,
    &umbra_architecture_deepseek2,      &umbra_architecture_gpt_oss,
    &umbra_architecture_glm4moe,        &umbra_architecture_minimax_m2,
    &umbra_architecture_bailingmoe2,    &umbra_architecture_hunyuan_moe,
    &umbra_architecture_granitemoe,     &umbra_architecture_ernie45_moe,
    &umbra_architecture_gemma4,         &umbra_architecture_llama4,
    &umbra_architecture_lfm2moe,        &umbra_architecture_glm_dsa,
    &umbra_architecture_deepseek32,     &umbra_architecture_minimax_m3,
    &umbra_architecture_deepseek4,      &umbra_architecture_qwen35moe,
    &umbra_architecture_qwen3next,      &umbra_architecture_kimi_linear,
    &umbra_architecture_nemotron_h_moe, &umbra_architecture_qwen4exp,
};

enum { ARCHITECTURES = sizeof table / sizeof table[0] };

const umbra_architecture *umbra_architecture_find(umbra_string name)
{
    for (size_t i = 0; i < ARCHITECTURES; i++)
        if (strlen(table[i]->name) == name.bytes &&
            memcmp(table[i]->name, name.data, name.bytes) == 0)
            return table[i];
    return NULL;
}

const char *umbra_architecture_names(char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < ARCHITECTURES && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", table[i]->name);
    return out;
}

/* ---- hyper-parameters ---- */

/* The last blocks of a file may be there to foretell further tokens (multi-token prediction). They
 * come behind the output of the last layer and have no part in it, so they are left out. */
static int leave_out_mtp(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key nextn = {"nextn_predict_layers", 0, c->layers - 1, 0, &c->mtp_layers};
    int rc = umbra_lookup_ints(keys, &nextn, 1, err);
    for (int l = c->layers - c->mtp_layers; rc == UMBRA_OK && l < c->layers; l++)
        if (umbra_has_tensor(keys->gguf, l, "attn_norm.weight") &&
            !umbra_has_tensor(keys->gguf, l, "nextn.eh_proj.weight"))
            return umbra_fail(err, UMBRA_E_FORMAT,
                              "%s: after %s.nextn_predict_layers block %d is not a layer of the "
                              "model, but it has no tensor blk.%d.nextn.eh_proj.weight",
                              umbra_gguf_path(keys->gguf), keys->architecture, l, l);
    if (rc == UMBRA_OK)
        c->layers -= c->mtp_layers;
    return rc;
}

static int read_widths(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key first[] = {
        {"block_count", 1, 4096, -1, &c->layers},
        {"embedding_length", 1, 1 << 20, -1, &c->hidden},
        {"context_length", 1, 1 << 30, -1, &c->context},
        {"attention.head_count", 1, 4096, -1, &c->usual.heads},
        {"expert_count", 0, 65535, 0, &c->experts},
        {"expert_feed_forward_length", 0, 1 << 20, 0, &c->expert_width},
    };
    /* By layer in some files; then the tensors' shapes say whether all are what the first is. */
    const umbra_int_key dense = {"feed_forward_length", 0, 1 << 20, 0, &c->dense_width};
    int rc = umbra_lookup_ints(keys, first, sizeof first / sizeof first[0], err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &dense, UMBRA_GGUF_I32, 1, 0, err);
    if (rc == UMBRA_OK)
        rc = leave_out_mtp(keys, c, err);
    if (rc != UMBRA_OK)
        return rc;
    if (c->experts == 0)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: %s.expert_count is 0 or missing; a model without experts is not "
                          "supported",
                          umbra_gguf_path(keys->gguf), keys->architecture);
    int head = c->hidden / c->usual.heads > 0 ? c->hidden / c->usual.heads
                                              : 1; /* where the keys are absent */
    const umbra_int_key more[] = {
        {"attention.key_length", 2, 4096, head, &c->usual.key_dim},
        {"attention.value_length", 1, 4096, head, &c->usual.value_dim},
        {"expert_used_count", 1, UMBRA_MAX_USED, -1, &c->experts_used},
    };
    return umbra_lookup_ints(keys, more, sizeof more / sizeof more[0], err);
}

static int read_router(umbra_keys *keys, umbra_router *r, umbra_error *err)
{
    const umbra_int_key groups[] = {
        {"expert_group_count", 0, 65535, 0, &r->groups},
        {"expert_group_used_count", 0, 65535, 0, &r->groups_used},
    };
    int rc = umbra_lookup_ints(keys, groups, sizeof groups / sizeof groups[0], err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "expert_weights_scale", 0, &r->scale, err);
    if (r->groups <= 1 || r->groups_used == 0) /* some writers leave a lone 0 or 1 */
        r->groups = r->groups_used = 1;
    if (r->scale == 0)
        r->scale = 1;
    return rc;
}

/* What a file says of its router goes before what its layout takes for granted. */
static int read_gating(umbra_keys *keys, umbra_router *r, umbra_error *err)
{
    static const umbra_gating gatings[] = {UMBRA_GATING_SOFTMAX, UMBRA_GATING_SIGMOID,
                                           UMBRA_GATING_SOFTMAX_USED, UMBRA_GATING_SQRT_SOFTPLUS};
    int gating = 0;
    const umbra_int_key key = {"expert_gating_func", 0, 4, 0, &gating}; /* 0: not said */
    int rc = umbra_lookup_ints(keys, &key, 1, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_bool(keys, "expert_weights_norm", r->renormalise, &r->renormalise, err);
    if (rc == UMBRA_OK && gating > 0)
        r->gating = gatings[gating - 1];
    r->group_best = r->groups > 1 && r->gating == UMBRA_GATING_SIGMOID ? 2 : 1;
    return rc;
}

/* What scores are multiplied by: 1 / sqrt(key_dim) and what the layout found, or the file's own
 * number, which a compressed cache has no published meaning for. */
static int read_attention_scale(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    float scale = 0;
    int rc = UMBRA_OK;
    if (c->usual.kv_rank == 0)
        rc = umbra_lookup_float(keys, "attention.scale", 0, &scale, err);
    if (scale != 0)
        c->usual.scale = scale;
    else
        c->usual.scale /= sqrtf((float)c->usual.key_dim);
    return rc;
}

static int check_config(const umbra_gguf *gguf, const char *name, const umbra_config *c,
                        umbra_error *err)
{
    const char *path = umbra_gguf_path(gguf);
    const umbra_router *r = &c->router;
    if (c->experts_used > c->experts)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %d experts are used of only %d", path,
                          c->experts_used, c->experts);
    if (c->expert_width < 1)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: the key %s.expert_feed_forward_length is missing", path, name);
    int dense = 0;
    for (int l = 0; l < c->layers; l++)
        dense += !umbra_layer_wants_experts(c, l) && !c->attention[l].alone;
    if (dense == c->layers)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d of %d layers are dense, so that none has experts", path, dense,
                          c->layers);
    if (dense > 0 && c->dense_width < 1)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the key %s.feed_forward_length is missing",
                          path, name);
    if (c->experts % r->groups != 0 || r->groups_used > r->groups ||
        c->experts / r->groups * r->groups_used < c->experts_used ||
        c->experts / r->groups < r->group_best)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d experts cannot be chosen from %d of %d groups of %d experts",
                          path, c->experts_used, r->groups_used, r->groups, c->experts);
    return UMBRA_OK;
}

static int read_config(const umbra_architecture *a, umbra_keys *keys, umbra_config *c,
                       umbra_error *err)
{
    int rc = read_widths(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "attention.layer_norm_rms_epsilon", 1e-6f, &c->rms_eps, err);
    if (rc == UMBRA_OK)
        rc = read_router(keys, &c->router, err);
    c->moe_period = 1;
    c->expert_hidden = c->hidden;
    c->streams.count = 1;
    c->usual.scale = 1;
    c->router.input_scale = 1;
    c->embedding_scale = c->residual_scale = c->logit_scale = 1;
    if (rc == UMBRA_OK)
        rc = umbra_read_rope(keys, a, c, err);
    if (rc == UMBRA_OK)
        rc = a->configure(keys, c, err);
    if (rc == UMBRA_OK)
        rc = read_gating(keys, &c->router, err);
    if (rc == UMBRA_OK)
        rc = read_attention_scale(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_layers(keys, a, c, err);
    return rc == UMBRA_OK ? check_config(keys->gguf, a->name, c, err) : rc;
}

int umbra_read_dense_and_shared(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    int shared = 0;
    const umbra_int_key wanted[] = {
        {"leading_dense_block_count", 0, 4096, 0, &c->dense_layers},
        {"expert_shared_count", 0, 64, 0, &shared},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    c->shared_width = shared * c->expert_width;
    return rc;
}

void umbra_limit_context(umbra_config *c, int positions, const char *reason)
{
    if (c->context <= positions)
        return;
    c->context = positions;
    c->context_reason = reason;
}

/* ---- tensors ---- */

void umbra_rules_attention(const umbra_gguf *gguf, const umbra_config *c, int layer,
                           umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    uint64_t hidden = (uint64_t)c->hidden, values = (uint64_t)(a->heads * a->value_dim);
    uint64_t q = (uint64_t)(a->heads * a->key_dim * (a->gated ? 2 : 1));
    uint64_t k = (uint64_t)(a->kv_heads * a->key_dim);
    uint64_t v = (uint64_t)(a->kv_heads * a->value_dim);
    rules[UMBRA_ATTN_NORM] = (umbra_tensor_rule){"attn_norm.weight", {hidden}, true, false};
    rules[UMBRA_ATTN_OUT] =
        (umbra_tensor_rule){"attn_output.weight", {values, hidden}, false, false};
    rules[UMBRA_ATTN_OUT_BIAS] = (umbra_tensor_rule){"attn_output.bias", {hidden}, true, true};
    if (!a->gated && umbra_has_tensor(gguf, layer, "attn_qkv.weight")) {
        rules[UMBRA_ATTN_QKV] =
            (umbra_tensor_rule){"attn_qkv.weight", {hidden, q + k + v}, false, false};
        rules[UMBRA_ATTN_QKV_BIAS] = (umbra_tensor_rule){"attn_qkv.bias", {q + k + v}, true, true};
        return;
    }
    rules[UMBRA_ATTN_Q] = (umbra_tensor_rule){"attn_q.weight", {hidden, q}, false, false};
    rules[UMBRA_ATTN_K] = (umbra_tensor_rule){"attn_k.weight", {hidden, k}, false, false};
    rules[UMBRA_ATTN_V] = (umbra_tensor_rule){"attn_v.weight", {hidden, v}, false, false};
    rules[UMBRA_ATTN_Q_BIAS] = (umbra_tensor_rule){"attn_q.bias", {q}, true, true};
    rules[UMBRA_ATTN_K_BIAS] = (umbra_tensor_rule){"attn_k.bias", {k}, true, true};
    rules[UMBRA_ATTN_V_BIAS] = (umbra_tensor_rule){"attn_v.bias", {v}, true, true};
}

void umbra_rules_biased(umbra_tensor_rule *rules)
{
    static const umbra_role biases[] = {UMBRA_ATTN_Q_BIAS, UMBRA_ATTN_K_BIAS, UMBRA_ATTN_V_BIAS,
                                        UMBRA_ATTN_QKV_BIAS};
    for (size_t i = 0; i < sizeof biases / sizeof biases[0]; i++)
        rules[biases[i]].optional = false;
}

static void name_norms(uint64_t q, uint64_t k, umbra_tensor_rule *rules)
{
    rules[UMBRA_ATTN_Q_NORM] = (umbra_tensor_rule){"attn_q_norm.weight", {q}, true, false};
    rules[UMBRA_ATTN_K_NORM] = (umbra_tensor_rule){"attn_k_norm.weight", {k}, true, false};
}

void umbra_rules_head_norms(const umbra_config *c, int layer, umbra_tensor_rule *rules)
{
    uint64_t key_dim = (uint64_t)c->attention[layer].key_dim;
    name_norms(key_dim, key_dim, rules);
}

void umbra_rules_row_norms(const umbra_config *c, int layer, umbra_tensor_rule *rules)
{
    const umbra_attention *a = &c->attention[layer];
    name_norms((uint64_t)(a->heads * a->key_dim), (uint64_t)(a->kv_heads * a->key_dim), rules);
}

void umbra_rules_ffn_norm(const umbra_config *c, umbra_tensor_rule *rules)
{
    rules[UMBRA_FFN_NORM] =
        (umbra_tensor_rule){"ffn_norm.weight", {(uint64_t)c->hidden}, true, false};
}

void umbra_rules_router(const umbra_config *c, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, experts = (uint64_t)c->experts;
    uint64_t width = (uint64_t)c->expert_width, given = (uint64_t)c->expert_hidden;
    umbra_rules_ffn_norm(c, rules);
    rules[UMBRA_ROUTER] =
        (umbra_tensor_rule){"ffn_gate_inp.weight", {hidden, experts}, false, false};
    rules[UMBRA_ROUTER_BIAS] = (umbra_tensor_rule){"ffn_gate_inp.bias", {experts}, true, true};
    rules[UMBRA_SELECTION_BIAS] = (umbra_tensor_rule){"exp_probs_b.bias", {experts}, true, true};
    rules[UMBRA_GATE_SCALE] = (umbra_tensor_rule){"ffn_gate_exps.scale", {experts}, true, true};
    rules[UMBRA_UP_SCALE] = (umbra_tensor_rule){"ffn_up_exps.scale", {experts}, true, true};
    rules[UMBRA_DOWN_SCALE] = (umbra_tensor_rule){"ffn_down_exps.scale", {experts}, true, true};
    rules[UMBRA_GATE_BIAS] =
        (umbra_tensor_rule){"ffn_gate_exps.bias", {width, experts}, true, true};
    rules[UMBRA_UP_BIAS] = (umbra_tensor_rule){"ffn_up_exps.bias", {width, experts}, true, true};
    rules[UMBRA_DOWN_BIAS] =
        (umbra_tensor_rule){"ffn_down_exps.bias", {given, experts}, true, true};
}

void umbra_rules_ffn(const umbra_config *c, int width, bool shared, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, inner = (uint64_t)width;
    if (c->activation != UMBRA_RELU_SQUARED)
        rules[UMBRA_FFN_GATE] = (umbra_tensor_rule){
            shared ? "ffn_gate_shexp.weight" : "ffn_gate.weight", {hidden, inner}, false, false};
    rules[UMBRA_FFN_UP] = (umbra_tensor_rule){
        shared ? "ffn_up_shexp.weight" : "ffn_up.weight", {hidden, inner}, false, false};
    rules[UMBRA_FFN_DOWN] = (umbra_tensor_rule){
        shared ? "ffn_down_shexp.weight" : "ffn_down.weight", {inner, hidden}, false, false};
}

void umbra_rules_feed_forward(const umbra_config *c, int layer, umbra_tensor_rule *rules)
{
    if (!umbra_layer_wants_experts(c, layer)) {
        umbra_rules_ffn_norm(c, rules);
        umbra_rules_ffn(c, c->dense_width, false, rules);
        return;
    }
    umbra_rules_router(c, rules);
    if (c->shared_width)
        umbra_rules_ffn(c, c->shared_width, true, rules);
}

static int find_model_tensors(const umbra_architecture *a, umbra_model *model, umbra_error *err)
{
    const umbra_config *c = &model->config;
    uint64_t hidden = (uint64_t)c->hidden, vocabulary = (uint64_t)c->vocabulary;
    umbra_tensor_rule rules[UMBRA_MODEL_ROLES] = {
        [UMBRA_TOKEN_EMBEDDING] = {"token_embd.weight", {hidden, vocabulary}, false, false},
        [UMBRA_OUTPUT_NORM] = {a->output_norm ? a->output_norm : "output_norm.weight",
                               {hidden},
                               true,
                               false},
        [UMBRA_OUTPUT] = {"output.weight", {hidden, vocabulary}, false, true},
        [UMBRA_ROPE_FACTORS] = {"rope_freqs.weight", {(uint64_t)c->rope[0].dim / 2}, true, true},
    };
    int rc = UMBRA_OK;
    if (a->model_tensors)
        a->model_tensors(c, rules);
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_MODEL_ROLES; i++)
        if (rules[i].name)
            rc = umbra_lookup_tensor(model->gguf, -1, &rules[i], &model->role[i], err);
    if (!model->role[UMBRA_OUTPUT])
        model->role[UMBRA_OUTPUT] = model->role[UMBRA_TOKEN_EMBEDDING];
    return rc;
}

/* What a role holds that is not numbers to compute with. */
static int check_ids(const umbra_model *model, const umbra_gguf_tensor *t, umbra_error *err)
{
    if (!t || t->dtype == UMBRA_I32)
        return UMBRA_OK;
    return umbra_fail_at(err, UMBRA_E_UNSUPPORTED, t->offset,
                         "%s: tensor %s has type %s; only I32 is supported for it",
                         umbra_gguf_file_path(model->gguf, t->file),
                         umbra_quote(t->name.data, t->name.bytes).text,
                         umbra_dtype_get(t->dtype).name);
}

int umbra_find_layer_tensors(const umbra_architecture *a, umbra_model *model, int layer,
                             umbra_error *err)
{
    const umbra_config *c = &model->config;
    umbra_tensor_rule rules[UMBRA_LAYER_ROLES] = {0};
    a->tensors(model->gguf, c, layer, rules);
    int rc = UMBRA_OK;
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_LAYER_ROLES; i++)
        if (rules[i].name)
            rc = umbra_lookup_tensor(model->gguf, layer, &rules[i], &model->layers[layer].role[i],
                                     err);
    if (rc == UMBRA_OK)
        rc = check_ids(model, model->layers[layer].role[UMBRA_TOKEN_EXPERTS], err);
    if (rc == UMBRA_OK && umbra_layer_wants_experts(c, layer))
        rc = umbra_find_experts(model, layer, err);
    return rc;
}

static int find_tensors(const umbra_architecture *a, umbra_model *model, umbra_error *err)
{
    const umbra_config *c = &model->config;
    int rc = find_model_tensors(a, model, err);
    if (rc != UMBRA_OK)
        return rc;
    /* Asked for before anything is allocated per layer: a hostile count stops here. */
    const char *first = a->first_tensor ? a->first_tensor : "attn_norm.weight";
    if (!umbra_has_tensor(model->gguf, c->layers - 1, first))
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the tensor blk.%d.%s is missing",
                          umbra_gguf_path(model->gguf), c->layers - 1, first);
    model->layers = umbra_calloc((size_t)c->layers, sizeof *model->layers);
    model->slices = umbra_calloc((size_t)c->layers * (size_t)c->experts,
                                 sizeof *model->slices * UMBRA_STORE_SLICES);
    if (!model->layers || !model->slices)
        return umbra_fail_nomem(err, "the tables of layers and experts", 0);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++)
        rc = umbra_find_layer_tensors(a, model, l, err);
    return rc == UMBRA_OK ? umbra_find_ngrams(model, err) : rc;
}

int umbra_architecture_load(const umbra_architecture *a, umbra_model *model, umbra_error *err)
{
    umbra_config *c = &model->config;
    c->vocabulary = (int)umbra_tokenizer_size(model->tokenizer);
    umbra_keys keys = {.gguf = model->gguf, .architecture = a->name};
    int rc = read_config(a, &keys, c, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = find_tensors(a, model, err);
    if (rc == UMBRA_OK)
        rc = umbra_account_keys(&keys, c, err);
    return rc == UMBRA_OK ? umbra_account_tensors(a, model, err) : rc;
}
