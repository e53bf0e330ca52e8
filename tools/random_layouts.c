/* Keys and tensors of the layouts that go beyond grouped queries and plain experts. */
#include "base/memory.h"
#include "random_shapes.h"

enum { MOST_LAYERS = 128, MOST_HEADS = 64 };

/* ---- qwen35moe ---- */

static bool attends(const maker *m, int l)
{
    return ((uint32_t)l + 1) % m->s->interval == 0;
}

void put_gated_keys(maker *m)
{
    const shape *s = m->s;
    uint32_t pairs = s->rope_dim / 2, third = (pairs + 2) / 3;
    const uint32_t sections[] = {third, third, pairs - 2 * third, 0};
    put_head_keys(m);
    key_u32(m, "rope.dimension_count", s->rope_dim);
    key_u32s(m, "rope.dimension_sections", sections, 4);
    key_u32(m, "expert_shared_feed_forward_length", s->width * s->shared_experts);
    key_u32(m, "ssm.conv_kernel", s->taps);
    key_u32(m, "ssm.inner_size", s->net_heads * s->net_dim);
    key_u32(m, "ssm.state_size", s->net_dim);
    key_u32(m, "ssm.time_step_rank", s->net_heads);
    key_u32(m, "ssm.group_count", s->net_key_heads);
    key_u32(m, "full_attention_interval", s->interval);
}

static void add_delta_net(maker *m, int l)
{
    const shape *s = m->s;
    uint64_t values = (uint64_t)s->net_heads * s->net_dim;
    uint64_t channels = values + 2 * (uint64_t)s->net_key_heads * s->net_dim;
    add_matrix(m, l, "attn_qkv", s->hidden, channels);
    add_matrix(m, l, "attn_gate", s->hidden, values);
    add(m, l, "ssm_conv1d", UMBRA_F32, s->taps, channels, 1);
    add_vector(m, l, "ssm_dt.bias", s->net_heads);
    add_vector(m, l, "=ssm_a", s->net_heads);
    add_matrix(m, l, "ssm_beta", s->hidden, s->net_heads);
    add_matrix(m, l, "ssm_alpha", s->hidden, s->net_heads);
    add_vector(m, l, "ssm_norm", s->net_dim);
    add_matrix(m, l, "ssm_out", values, s->hidden);
}

/* Queries and, head by head, their gates. */
static void add_gated_attention(maker *m, int l)
{
    const shape *s = m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    add_matrix(m, l, "attn_q", s->hidden, 2 * q);
    add_matrix(m, l, "attn_k", s->hidden, kv);
    add_matrix(m, l, "attn_v", s->hidden, kv);
    add_vector(m, l, "attn_q_norm", s->head_dim);
    add_vector(m, l, "attn_k_norm", s->head_dim);
    add_matrix(m, l, "attn_output", q, s->hidden);
}

void add_gated_layer(maker *m, int l)
{
    add_vector(m, l, "attn_norm", m->s->hidden);
    if (attends(m, l))
        add_gated_attention(m, l);
    else
        add_delta_net(m, l);
}

void add_gated_router(maker *m, int l)
{
    add_triple(m, l, "_shexp", (uint64_t)m->s->width * m->s->shared_experts, 1);
    add_vector(m, l, "ffn_gate_inp_shexp", m->s->hidden);
}

/* ---- qwen4exp ---- */

static uint32_t ngram_heads(const shape *s)
{
    return 2 * s->ngram_heads; /* of two tokens and of three */
}

static void put_ngram_keys(maker *m)
{
    const shape *s = m->s;
    uint64_t first[MOST_HEADS], rows[MOST_HEADS], odd[3];
    uint32_t n = ngram_heads(s);
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = m->ngram_rows - i; /* differ as the published primes do */
        first[i] = i ? first[i - 1] + rows[i - 1] : 0;
    }
    for (int i = 0; i < 3; i++)
        odd[i] = umbra_random_u64(&m->random) >> 19 | 1; /* 45 bits */
    key_u32s(m, "ple.layers", &s->ngram_layer, 1);
    key_u32(m, "ple.ngram_size", 3);
    key_u32(m, "ple.heads_per_ngram", s->ngram_heads);
    key_u32(m, "ple.conv_kernel", s->taps);
    key_u32(m, "ple.eos_token_id", s->vocabulary - 1);
    key_u32(m, "embedding_length_per_layer_input", s->hidden / n);
    key_u64s(m, "ple.layer_multipliers", odd, 3);
    key_u64s(m, "ple.head_offsets", first, n);
    key_u64s(m, "ple.head_vocab_sizes", rows, n);
}

static void put_index_keys(maker *m)
{
    key_u32(m, "attention.indexer.head_count", m->s->index_heads);
    key_u32(m, "attention.indexer.key_length", m->s->index_dim);
    key_u32(m, "attention.indexer.top_k", m->s->index_top);
}

void put_qwen4exp_keys(maker *m)
{
    uint32_t ratios[MOST_LAYERS];
    put_gated_keys(m);
    key_u32(m, "hyper_connection.count", m->s->streams);
    key_u32(m, "hyper_connection.low_rank", m->s->stream_rank);
    put_index_keys(m);
    for (int l = 0; l < (int)m->layers; l++)
        ratios[l] = attends(m, l) ? 4 : 0;
    key_u32s(m, "attention.compress_ratios", ratios, m->layers);
    put_ngram_keys(m);
}

static void add_mix(maker *m, int l, const char *kind, bool injects)
{
    char role[64];
    const shape *s = m->s;
    uint64_t whole = (uint64_t)s->streams * s->hidden;
    snprintf(role, sizeof role, "%s_norm", kind);
    add_vector(m, l, role, whole);
    snprintf(role, sizeof role, "%s_down", kind);
    add_matrix(m, l, role, whole, s->stream_rank);
    snprintf(role, sizeof role, "%s_up", kind);
    add_matrix(m, l, role, s->stream_rank, whole);
    snprintf(role, sizeof role, "%s_inject", kind);
    if (injects)
        add(m, l, role, UMBRA_F32, whole, s->streams, 1);
}

static void add_ngrams(maker *m, int l)
{
    uint64_t hidden = m->s->hidden, whole = m->s->streams * hidden;
    add_matrix(m, l, "ple_key", hidden, whole);
    add_matrix(m, l, "ple_value", hidden, hidden);
    add_vector(m, l, "ple_norm_key", whole);
    add_vector(m, l, "ple_norm_query", whole);
    add_vector(m, l, "ple_norm_conv", whole);
    add(m, l, "ple_conv1d", UMBRA_F32, m->s->taps, whole, 1);
}

void add_qwen4exp_layer(maker *m, int l)
{
    const shape *s = m->s;
    add_mix(m, l, "hc_attn", true);
    add_mix(m, l, "hc_ffn", true);
    if (attends(m, l)) {
        add_gated_attention(m, l);
        add_matrix(m, l, "indexer.q_proj", s->hidden, (uint64_t)s->index_heads * s->index_dim);
        add_matrix(m, l, "indexer.k_proj", s->hidden, s->index_dim);
        add_vector(m, l, "indexer.q_norm", s->index_dim);
        add_vector(m, l, "indexer.k_norm", s->index_dim);
    } else {
        add_delta_net(m, l);
    }
    if (l == (int)s->ngram_layer)
        add_ngrams(m, l);
}

void add_qwen4exp_tensors(maker *m)
{
    enum { WHOLE = 128 }; /* the table's rows are padded to a multiple of this */
    uint64_t n = ngram_heads(m->s), rows = n * m->ngram_rows - n * (n - 1) / 2;
    add_mix(m, -1, "output_hc", false);
    add(m, -1, "per_layer_token_embd", m->s->types->table, m->s->hidden / n,
        (rows + WHOLE - 1) / WHOLE * WHOLE, 1);
}

/* ---- deepseek4 ---- */

static uint32_t ratio(int l)
{
    return l < 2 ? 0 : l % 2 == 0 ? 4 : 128;
}

void put_deepseek4_keys(maker *m)
{
    const shape *s = m->s;
    uint32_t ratios[MOST_LAYERS + 1];
    put_head_keys(m);
    key_u32(m, "rope.dimension_count", s->rope_dim);
    key_u32(m, "attention.q_lora_rank", s->q_rank);
    key_u32(m, "attention.sliding_window", s->window);
    key_u32(m, "expert_shared_count", s->shared_experts);
    key_f32(m, "expert_weights_scale", s->weights_scale);
    key_bool(m, "expert_weights_norm", true);
    key_u32(m, "expert_gating_func", 4); /* the root of softplus */
    key_f32s(m, "swiglu_clamp_exp", 10, m->layers);
    key_f32s(m, "swiglu_clamp_shexp", 10, m->layers);
    put_index_keys(m);
    key_u32(m, "attention.output_group_count", s->out_groups);
    key_u32(m, "attention.output_lora_rank", s->out_rank);
    for (int l = 0; l < (int)m->layers; l++)
        ratios[l] = ratio(l);
    ratios[m->layers] = 0; /* of the block for further tokens, which published files leave out */
    key_u32s(m, "attention.compress_ratios", ratios, m->layers + 1);
    key_f32(m, "attention.compress_rope_freq_base", 160000);
    key_u32(m, "hyper_connection.count", s->streams);
    key_u32(m, "hyper_connection.sinkhorn_iterations", 20);
    key_f32(m, "hyper_connection.epsilon", 1e-6f);
    key_u32(m, "hash_layer_count", s->hashed_layers);
    key_u32(m, "embedding_length_out", s->streams * s->hidden);
    key_string(m, "rope.scaling.type", "yarn");
    key_f32(m, "rope.scaling.factor", s->stretch);
    key_u32(m, "rope.scaling.original_context_length", s->context / (uint32_t)s->stretch);
    key_f32(m, "rope.scaling.yarn_beta_fast", 32);
    key_f32(m, "rope.scaling.yarn_beta_slow", 1);
}

/* What pools the rows of `ratio` positions, each over two blocks of 4 or one of 128. */
static void add_pooling(maker *m, int l, const char *kind, uint64_t dim)
{
    char role[64];
    uint64_t parts = ratio(l) == 4 ? 2 : 1;
    snprintf(role, sizeof role, "%s_kv", kind);
    add_matrix(m, l, role, m->s->hidden, parts * dim);
    snprintf(role, sizeof role, "%s_gate", kind);
    add_matrix(m, l, role, m->s->hidden, parts * dim);
    snprintf(role, sizeof role, "%s_ape", kind);
    add(m, l, role, UMBRA_F32, parts * dim, ratio(l), 1);
    snprintf(role, sizeof role, "%s_norm", kind);
    add_vector(m, l, role, dim);
}

static void add_sinkhorn_mix(maker *m, int l, const char *kind, uint64_t n, uint64_t scales)
{
    char role[64];
    snprintf(role, sizeof role, "%s_fn", kind);
    add(m, l, role, UMBRA_F32, (uint64_t)m->s->streams * m->s->hidden, n, 1);
    snprintf(role, sizeof role, "%s_base", kind);
    add_vector(m, l, role, n);
    snprintf(role, sizeof role, "%s_scale", kind);
    add_vector(m, l, role, scales);
}

void add_deepseek4_layer(maker *m, int l)
{
    const shape *s = m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, out = (uint64_t)s->out_groups * s->out_rank;
    add_vector(m, l, "attn_norm", s->hidden);
    add_vector(m, l, "attn_sinks", s->heads);
    add_matrix(m, l, "attn_q_a", s->hidden, s->q_rank);
    add_vector(m, l, "attn_q_a_norm", s->q_rank);
    add_matrix(m, l, "attn_q_b", s->q_rank, q);
    add_matrix(m, l, "attn_kv", s->hidden, s->head_dim);
    add_vector(m, l, "attn_kv_a_norm", s->head_dim);
    add_matrix(m, l, "attn_output_a", q / s->out_groups, out);
    add_matrix(m, l, "attn_output_b", out, s->hidden);
    add_sinkhorn_mix(m, l, "hc_attn", (uint64_t)s->streams * (s->streams + 2), 3);
    add_sinkhorn_mix(m, l, "hc_ffn", (uint64_t)s->streams * (s->streams + 2), 3);
    if (ratio(l) == 0)
        return;
    add_pooling(m, l, "attn_compressor", s->head_dim);
    if (ratio(l) == 4) {
        add(m, l, "indexer.proj", UMBRA_F32, s->hidden, s->index_heads, 1);
        add_matrix(m, l, "indexer.attn_q_b", s->q_rank, (uint64_t)s->index_heads * s->index_dim);
        add_pooling(m, l, "indexer_compressor", s->index_dim);
    }
}

void add_deepseek4_router(maker *m, int l)
{
    const shape *s = m->s;
    if (l < (int)s->hashed_layers)
        add(m, l, "ffn_gate_tid2eid", UMBRA_I32, s->used, s->vocabulary, 1);
    else
        add_vector(m, l, "exp_probs_b.bias", s->experts);
    add_triple(m, l, "_shexp", (uint64_t)s->width * s->shared_experts, 1);
}

void add_deepseek4_tensors(maker *m)
{
    add_sinkhorn_mix(m, -1, "output_hc", m->s->streams, 1);
}

/* ---- gpt-oss ---- */

void put_gpt_oss_keys(maker *m)
{
    const shape *s = m->s;
    put_head_keys(m);
    key_u32(m, "rope.dimension_count", s->head_dim);
    key_u32(m, "attention.sliding_window", s->window);
    key_string(m, "rope.scaling.type", "yarn");
    key_f32(m, "rope.scaling.factor", s->stretch);
    key_u32(m, "rope.scaling.original_context_length", s->context / (uint32_t)s->stretch);
}

void add_gpt_oss_attention(maker *m, int l)
{
    add_grouped_attention(m, l);
    add_vector(m, l, "attn_output.bias", m->s->hidden);
    add_vector(m, l, "attn_sinks", m->s->heads);
}

void add_gpt_oss_router(maker *m, int l)
{
    const shape *s = m->s;
    add_vector(m, l, "ffn_gate_inp.bias", s->experts);
    add(m, l, "ffn_gate_exps.bias", UMBRA_F32, s->width, s->experts, 1);
    add(m, l, "ffn_up_exps.bias", UMBRA_F32, s->width, s->experts, 1);
    add(m, l, "ffn_down_exps.bias", UMBRA_F32, s->hidden, s->experts, 1);
}
