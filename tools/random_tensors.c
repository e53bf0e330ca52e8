/* Keys and tensors that layouts have in common, of random_gguf's files. */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "random_shapes.h"

enum { NAME_BYTES = 128 };

/* ---- keys ---- */

static const char *spell(const maker *m, const char *name, char key[NAME_BYTES])
{
    snprintf(key, NAME_BYTES, "%s.%s", m->s->architecture, name);
    return key;
}

void key_u32(maker *m, const char *name, uint32_t value)
{
    char key[NAME_BYTES];
    gguf_put_u32(&m->w, spell(m, name, key), value);
}

void key_f32(maker *m, const char *name, float value)
{
    char key[NAME_BYTES];
    gguf_put_f32(&m->w, spell(m, name, key), value);
}

void key_bool(maker *m, const char *name, bool value)
{
    char key[NAME_BYTES];
    gguf_put_bool(&m->w, spell(m, name, key), value);
}

void key_string(maker *m, const char *name, const char *value)
{
    char key[NAME_BYTES];
    gguf_put_string(&m->w, spell(m, name, key), value);
}

void key_u32s(maker *m, const char *name, const uint32_t *values, uint32_t n)
{
    char key[NAME_BYTES];
    gguf_put_array(&m->w, spell(m, name, key), UMBRA_GGUF_U32, n);
    gguf_put_bytes(&m->w, values, n * sizeof *values);
}

void key_u64s(maker *m, const char *name, const uint64_t *values, uint32_t n)
{
    char key[NAME_BYTES];
    gguf_put_array(&m->w, spell(m, name, key), UMBRA_GGUF_U64, n);
    gguf_put_bytes(&m->w, values, n * sizeof *values);
}

void key_f32s(maker *m, const char *name, float value, uint32_t n)
{
    char key[NAME_BYTES];
    gguf_put_array(&m->w, spell(m, name, key), UMBRA_GGUF_F32, n);
    for (uint32_t i = 0; i < n; i++)
        gguf_put_bytes(&m->w, &value, sizeof value);
}

void put_head_keys(maker *m)
{
    key_u32(m, "attention.key_length", m->s->head_dim);
    key_u32(m, "attention.value_length", m->s->head_dim);
}

/* Of layouts with shared experts and a sigmoid router. */
static void put_shared_keys(maker *m)
{
    key_u32(m, "leading_dense_block_count", m->s->dense_layers);
    key_u32(m, "rope.dimension_count", m->s->rope_dim);
    key_u32(m, "expert_shared_count", m->s->shared_experts);
    key_f32(m, "expert_weights_scale", m->s->weights_scale);
    key_bool(m, "expert_weights_norm", true);
    key_u32(m, "expert_gating_func", 2); /* sigmoid */
}

void put_glm4moe_keys(maker *m)
{
    put_shared_keys(m);
    put_head_keys(m);
}

void put_deepseek2_keys(maker *m)
{
    const shape *s = m->s;
    put_shared_keys(m);
    key_u32(m, "attention.q_lora_rank", s->q_rank);
    key_u32(m, "attention.kv_lora_rank", s->kv_rank);
    key_u32(m, "attention.key_length", s->kv_rank + s->rope_dim);
    key_u32(m, "attention.value_length", s->kv_rank);
    key_u32(m, "attention.key_length_mla", s->head_dim + s->rope_dim);
    key_u32(m, "attention.value_length_mla", s->head_dim);
    key_string(m, "rope.scaling.type", "yarn");
    key_f32(m, "rope.scaling.factor", 32);
    key_u32(m, "rope.scaling.original_context_length", s->context / 32);
    key_f32(m, "rope.scaling.yarn_log_multiplier", 0.1f);
}

void put_keys(maker *m)
{
    const shape *s = m->s;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "random %s, %" PRIu32 " layers", s->name, m->layers);
    gguf_put_string(&m->w, "general.architecture", s->architecture);
    gguf_put_string(&m->w, "general.name", name);
    gguf_put_u32(&m->w, "general.quantization_version", 2);
    gguf_put_u32(&m->w, "general.file_type", s->types->file_type);
    key_u32(m, "block_count", m->layers);
    key_u32(m, "context_length", s->context);
    key_u32(m, "embedding_length", s->hidden);
    key_u32(m, "vocab_size", s->vocabulary);
    if (s->dense_width > 0)
        key_u32(m, "feed_forward_length", s->dense_width);
    key_u32(m, "attention.head_count", s->heads);
    key_u32(m, "attention.head_count_kv", s->kv_heads);
    key_f32(m, "attention.layer_norm_rms_epsilon", s->rms_eps);
    key_f32(m, "rope.freq_base", s->rope_base);
    key_u32(m, "expert_count", s->experts);
    key_u32(m, "expert_used_count", s->used);
    key_u32(m, "expert_feed_forward_length", s->width);
    s->put_keys(m);
}

/* ---- the table of tensors ---- */

/* Of rows that are no whole blocks, as the usual quantiser does. */
static uint32_t fall_back(uint32_t dtype)
{
    if (dtype == UMBRA_Q4_K)
        return UMBRA_Q5_0;
    return dtype == UMBRA_IQ3_XXS || dtype == UMBRA_IQ2_XXS || dtype == UMBRA_Q2_K ? UMBRA_IQ4_NL
                                                                                   : UMBRA_Q8_0;
}

void add(maker *m, int layer, const char *role, uint32_t dtype, uint64_t columns, uint64_t rows,
         uint64_t depth)
{
    char name[NAME_BYTES];
    bool whole = *role == '=';
    const char *ending = whole || strstr(role, ".bias") ? "" : ".weight";
    role += whole;
    if (layer < 0)
        snprintf(name, sizeof name, "%s%s", role, ending);
    else
        snprintf(name, sizeof name, "blk.%d.%s%s", layer, role, ending);
    if (columns % umbra_dtype_get(dtype).block_values != 0)
        dtype = fall_back(dtype);
    uint64_t dims[3] = {columns, rows, depth};
    m->tensors = umbra_reallocarray(m->tensors, m->n_tensors + 1, sizeof *m->tensors);
    if (!m->tensors)
        gguf_die("no memory for the table of tensors");
    tensor *t = &m->tensors[m->n_tensors++];
    *t = (tensor){.dtype = dtype, .columns = columns};
    t->norm = strstr(name, "norm") != NULL;
    t->decay = strcmp(role, "ssm_a") == 0;
    t->bytes = gguf_put_tensor(&m->w, name, dtype, depth > 1 ? 3 : rows > 1 ? 2 : 1, dims);
}

void add_vector(maker *m, int layer, const char *role, uint64_t n)
{
    add(m, layer, role, UMBRA_F32, n, 1, 1);
}

void add_matrix(maker *m, int layer, const char *role, uint64_t columns, uint64_t rows)
{
    add(m, layer, role, m->s->types->dense, columns, rows, 1);
}

static uint32_t where_sensitive(const maker *m, int l, uint32_t more, uint32_t usual)
{
    uint32_t layer = (uint32_t)l, eighth = m->layers / 8;
    bool sensitive = layer < eighth || layer >= 7 * m->layers / 8 || (layer - eighth) % 3 == 2;
    return more && sensitive ? more : usual;
}

void add_triple(maker *m, int l, const char *kind, uint64_t width, uint64_t depth)
{
    char role[NAME_BYTES];
    const mix *t = m->s->types;
    uint64_t hidden = m->s->hidden;
    bool experts = strcmp(kind, "_exps") == 0;
    uint32_t in = experts ? t->gate_up : t->dense, out = experts ? t->down : t->dense;
    if (experts || t->dense_down_too)
        out = where_sensitive(m, l, t->sensitive_down, out);
    snprintf(role, sizeof role, "ffn_gate%s", kind);
    add(m, l, role, in, hidden, width, depth);
    snprintf(role, sizeof role, "ffn_up%s", kind);
    add(m, l, role, in, hidden, width, depth);
    snprintf(role, sizeof role, "ffn_down%s", kind);
    add(m, l, role, out, width, hidden, depth);
}

void add_biased_router(maker *m, int l)
{
    add_vector(m, l, "exp_probs_b.bias", m->s->experts);
    add_triple(m, l, "_shexp", (uint64_t)m->s->width * m->s->shared_experts, 1);
}

void add_grouped_attention(maker *m, int l)
{
    const shape *s = m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    add_vector(m, l, "attn_norm", s->hidden);
    add_matrix(m, l, "attn_q", s->hidden, q);
    add_matrix(m, l, "attn_k", s->hidden, kv);
    add(m, l, "attn_v", where_sensitive(m, l, s->types->sensitive_value, s->types->dense),
        s->hidden, kv, 1);
    if (s->biased) {
        add_vector(m, l, "attn_q.bias", q);
        add_vector(m, l, "attn_k.bias", kv);
        add_vector(m, l, "attn_v.bias", kv);
    } else {
        add_vector(m, l, "attn_q_norm", s->head_dim);
        add_vector(m, l, "attn_k_norm", s->head_dim);
    }
    add_matrix(m, l, "attn_output", q, s->hidden);
}

void add_deepseek2_attention(maker *m, int l)
{
    const shape *s = m->s;
    uint32_t type = s->types->dense;
    uint64_t q = (uint64_t)s->heads * (s->head_dim + s->rope_dim);
    add_vector(m, l, "attn_norm", s->hidden);
    add_matrix(m, l, "attn_q_a", s->hidden, s->q_rank);
    add_vector(m, l, "attn_q_a_norm", s->q_rank);
    add_matrix(m, l, "attn_q_b", s->q_rank, q);
    add_matrix(m, l, "attn_kv_a_mqa", s->hidden, s->kv_rank + s->rope_dim);
    add_vector(m, l, "attn_kv_a_norm", s->kv_rank);
    add(m, l, "attn_k_b", type, s->head_dim, s->kv_rank, s->heads);
    add(m, l, "attn_v_b", type, s->kv_rank, s->head_dim, s->heads);
    add_matrix(m, l, "attn_output", (uint64_t)s->heads * s->head_dim, s->hidden);
}

static void add_feed_forward(maker *m, int l)
{
    const shape *s = m->s;
    if (s->ffn_norm)
        add_vector(m, l, s->ffn_norm, s->hidden);
    if (l < (int)s->dense_layers) {
        add_triple(m, l, "", s->dense_width, 1);
        return;
    }
    add(m, l, "ffn_gate_inp", UMBRA_F32, s->hidden, s->experts, 1);
    if (s->add_router)
        s->add_router(m, l);
    add_triple(m, l, "_exps", s->width, s->experts);
}

void add_tensors(maker *m)
{
    const shape *s = m->s;
    add(m, -1, "token_embd", s->types->embedding, s->hidden, s->vocabulary, 1);
    for (int l = 0; l < (int)m->layers; l++) {
        s->add_attention(m, l);
        add_feed_forward(m, l);
    }
    if (s->add_model_tensors)
        s->add_model_tensors(m);
    if (s->ffn_norm) /* what has none in its layers has none at its end */
        add_vector(m, -1, "output_norm", s->hidden);
    add(m, -1, "output", s->types->output, s->hidden, s->vocabulary, 1);
}
