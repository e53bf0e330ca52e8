/* deepseek4 (DeepSeek-V4): the residual stream is several that every half of a layer mixes. Queries
 * come through a bottleneck and are normed by head; one head's keys are the values too, rotary
 * pairs (2i, 2i + 1) at the end of each. A layer sees a window, a sink per head, and, where it
 * pools, one row for every whole block of 4 positions (pooled over two blocks) or 128. The output
 * goes through groups of heads. All layers have experts with a shared one beside them, with a
 * clamped SwiGLU. Router: sqrt(softplus) scores, for choosing with a bias; in the first layers the
 * token's id alone names the experts.
 *
 * Of blocks of 4 an index picks those that attention sees, by keys that are pooled as rows are. */
#include "base/error.h"
#include "base/memory.h"
#include "model/architecture.h"

enum { TWO_BLOCKS = 4 /* the ratio with which rows are pooled over two, and picked by an index */ };

static int read_streams(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_streams *s = &c->streams;
    int out;
    const umbra_int_key wanted[] = {
        {"hyper_connection.count", 2, UMBRA_MAX_STREAMS, -1, &s->count},
        {"hyper_connection.sinkhorn_iterations", 1, 1000, -1, &s->iterations},
        {"hash_layer_count", 0, 4096, 0, &c->layers_by_token},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_float(keys, "hyper_connection.epsilon", 1e-6f, &s->eps, err);
    if (rc != UMBRA_OK)
        return rc;
    int whole = s->count * c->hidden;
    const umbra_int_key all = {"embedding_length_out", whole, whole, whole, &out};
    return umbra_lookup_ints(keys, &all, 1, err);
}

static int read_clamps(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    size_t one = sizeof *c->clamp;
    c->clamp = umbra_calloc((size_t)c->layers, one);
    if (!c->clamp)
        return umbra_fail_nomem(err, "the layers' clamps", (uint64_t)c->layers * one);
    int rc = umbra_lookup_layer_floats(keys, "swiglu_clamp_exp", c->layers, &c->clamp[0].experts,
                                       one, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layer_floats(keys, "swiglu_clamp_shexp", c->layers, &c->clamp[0].shared,
                                       one, err);
    return rc;
}

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_attention *a = &c->usual;
    const umbra_int_key wanted[] = {
        {"attention.q_lora_rank", 1, 1 << 20, -1, &a->q_rank},
        {"attention.sliding_window", 1, 1 << 30, -1, &a->window},
        {"attention.output_group_count", 1, a->heads, -1, &a->out_groups},
        {"attention.output_lora_rank", 1, 1 << 16, -1, &a->out_rank},
        {"attention.value_length", a->key_dim, a->key_dim, a->key_dim, &a->value_dim},
    };
    a->keys_are_values = true;
    a->bare_qk_norm = true;
    c->router.gating = UMBRA_GATING_SQRT_SOFTPLUS;
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc == UMBRA_OK && a->heads % a->out_groups != 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d heads cannot go out in %d groups "
                          "(deepseek4.attention.output_group_count)",
                          umbra_gguf_path(keys->gguf), a->heads, a->out_groups);
    if (rc == UMBRA_OK)
        rc = umbra_read_dense_and_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = read_streams(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_index(keys, c, err);
    return rc == UMBRA_OK ? read_clamps(keys, c, err) : rc;
}

/* Layers that pool turn by a base of their own, and theirs alone is stretched; no magnitude makes
 * that good. */
static int read_ropes(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_rope *plain = &c->rope[0], *pooling = &c->rope[1];
    *pooling = *plain;
    int rc = umbra_lookup_float(keys, "attention.compress_rope_freq_base", plain->base,
                                &pooling->base, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_rope_scaling(keys, &umbra_architecture_deepseek4, c, pooling, err);
    plain->factor = 1;
    plain->ramp_low = plain->ramp_high = -1;
    plain->magnitude = pooling->magnitude = 1;
    return rc;
}

static void make_index(const umbra_attention *a, umbra_index *index)
{
    if (a->ratio != TWO_BLOCKS) {
        *index = (umbra_index){0};
        return;
    }
    index->ratio = a->ratio;
    index->parts = a->ratio_parts;
    index->pairs = UMBRA_ROPE_ADJACENT;
    index->turns_end = true;
    index->kept = 1;
}

static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key ratios = {"attention.compress_ratios", 0, 4096, 0, &c->attention[0].ratio};
    int rc = read_ropes(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &ratios, UMBRA_GGUF_I32, c->layers, sizeof *c->attention,
                                 err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_attention *a = &c->attention[l];
        a->kv_heads = 1;
        a->rope = a->ratio > 0;
        a->ratio_parts = a->ratio == TWO_BLOCKS ? 2 : 1;
        make_index(a, &a->index);
    }
    return rc;
}

static void index_rules(const umbra_config *c, const umbra_attention *a, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, low = (uint64_t)a->q_rank;
    uint64_t heads = (uint64_t)a->index.heads, dim = (uint64_t)a->index.dim;
    uint64_t all = dim * (uint64_t)a->index.parts, ratio = (uint64_t)a->index.ratio;
    rules[UMBRA_INDEX_Q] =
        (umbra_tensor_rule){"indexer.attn_q_b.weight", {low, heads * dim}, false, false};
    rules[UMBRA_INDEX_WEIGHT] =
        (umbra_tensor_rule){"indexer.proj.weight", {hidden, heads}, false, false};
    rules[UMBRA_INDEX_K] =
        (umbra_tensor_rule){"indexer_compressor_kv.weight", {hidden, all}, false, false};
    rules[UMBRA_INDEX_SCORES] =
        (umbra_tensor_rule){"indexer_compressor_gate.weight", {hidden, all}, false, false};
    rules[UMBRA_INDEX_PLACE] =
        (umbra_tensor_rule){"indexer_compressor_ape.weight", {all, ratio}, true, false};
    rules[UMBRA_INDEX_K_NORM] =
        (umbra_tensor_rule){"indexer_compressor_norm.weight", {dim}, true, false};
}

static void pooling_rules(const umbra_config *c, const umbra_attention *a, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, dim = (uint64_t)a->key_dim;
    uint64_t all = dim * (uint64_t)a->ratio_parts, ratio = (uint64_t)a->ratio;
    rules[UMBRA_POOL_VALUES] =
        (umbra_tensor_rule){"attn_compressor_kv.weight", {hidden, all}, false, false};
    rules[UMBRA_POOL_SCORES] =
        (umbra_tensor_rule){"attn_compressor_gate.weight", {hidden, all}, false, false};
    rules[UMBRA_POOL_PLACE] =
        (umbra_tensor_rule){"attn_compressor_ape.weight", {all, ratio}, true, false};
    rules[UMBRA_POOL_NORM] = (umbra_tensor_rule){"attn_compressor_norm.weight", {dim}, true, false};
}

static void attention_rules(const umbra_config *c, const umbra_attention *a,
                            umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, low = (uint64_t)a->q_rank, dim = (uint64_t)a->key_dim;
    uint64_t heads = (uint64_t)a->heads, groups = (uint64_t)a->out_groups;
    uint64_t out = groups * (uint64_t)a->out_rank;
    rules[UMBRA_ATTN_NORM] = (umbra_tensor_rule){"attn_norm.weight", {hidden}, true, false};
    rules[UMBRA_ATTN_Q_A] = (umbra_tensor_rule){"attn_q_a.weight", {hidden, low}, false, false};
    rules[UMBRA_ATTN_Q_A_NORM] = (umbra_tensor_rule){"attn_q_a_norm.weight", {low}, true, false};
    rules[UMBRA_ATTN_Q] = (umbra_tensor_rule){"attn_q_b.weight", {low, heads * dim}, false, false};
    rules[UMBRA_ATTN_KV] = (umbra_tensor_rule){"attn_kv.weight", {hidden, dim}, false, false};
    rules[UMBRA_ATTN_KV_A_NORM] = (umbra_tensor_rule){"attn_kv_a_norm.weight", {dim}, true, false};
    rules[UMBRA_ATTN_SINKS] = (umbra_tensor_rule){"attn_sinks.weight", {heads}, true, false};
    rules[UMBRA_ATTN_OUT_A] =
        (umbra_tensor_rule){"attn_output_a.weight", {heads * dim / groups, out}, false, false};
    rules[UMBRA_ATTN_OUT] =
        (umbra_tensor_rule){"attn_output_b.weight", {out, hidden}, false, false};
    if (a->ratio)
        pooling_rules(c, a, rules);
    if (a->index.kept)
        index_rules(c, a, rules);
}

static void mix_rules(const umbra_config *c, umbra_tensor_rule *rules)
{
    uint64_t n = (uint64_t)c->streams.count, whole = n * (uint64_t)c->hidden, m = n * (n + 2);
    rules[UMBRA_ATTN_MIX] = (umbra_tensor_rule){"hc_attn_fn.weight", {whole, m}, true, false};
    rules[UMBRA_ATTN_MIX_SCALE] = (umbra_tensor_rule){"hc_attn_scale.weight", {3}, true, false};
    rules[UMBRA_ATTN_MIX_BASE] = (umbra_tensor_rule){"hc_attn_base.weight", {m}, true, false};
    rules[UMBRA_FFN_MIX] = (umbra_tensor_rule){"hc_ffn_fn.weight", {whole, m}, true, false};
    rules[UMBRA_FFN_MIX_SCALE] = (umbra_tensor_rule){"hc_ffn_scale.weight", {3}, true, false};
    rules[UMBRA_FFN_MIX_BASE] = (umbra_tensor_rule){"hc_ffn_base.weight", {m}, true, false};
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    uint64_t used = (uint64_t)c->experts_used, vocabulary = (uint64_t)c->vocabulary;
    (void)gguf;
    attention_rules(c, &c->attention[layer], rules);
    mix_rules(c, rules);
    umbra_rules_feed_forward(c, layer, rules);
    if (layer < c->layers_by_token)
        rules[UMBRA_TOKEN_EXPERTS] =
            (umbra_tensor_rule){"ffn_gate_tid2eid.weight", {used, vocabulary}, false, false};
}

static void model_tensors(const umbra_config *c, umbra_tensor_rule *rules)
{
    uint64_t n = (uint64_t)c->streams.count, whole = n * (uint64_t)c->hidden;
    rules[UMBRA_OUTPUT_MIX] = (umbra_tensor_rule){"output_hc_fn.weight", {whole, n}, true, false};
    rules[UMBRA_OUTPUT_MIX_SCALE] = (umbra_tensor_rule){"output_hc_scale.weight", {1}, true, false};
    rules[UMBRA_OUTPUT_MIX_BASE] = (umbra_tensor_rule){"output_hc_base.weight", {n}, true, false};
}

const umbra_architecture umbra_architecture_deepseek4 = {
    .name = "deepseek4",
    .rope = UMBRA_ROPE_ADJACENT,
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
    .model_tensors = model_tensors,
};
