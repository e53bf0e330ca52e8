/* random_gguf SHAPE OUT.gguf [--layers N] [--seed S]: a file with the exact shapes and weight types
 * of a published model and random weights, to measure speed, bytes and memory at sizes that the
 * text a model writes has no part in. Routing is random there: figures that depend on which experts
 * are asked for (hits, guesses) say nothing about the real model.
 *
 * Weights are uniform codes under random scales, with a spread of 1 / sqrt(columns), so that
 * activations stay of order 1. The tokenizer is byte-level BPE: the 256 bytes, all pairs of small
 * letters, and made-up words that only output can use. The same seed gives the same file. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/utf8.h"
#include "gguf_writer.h"
#include "kernels/half.h"
#include "tokenizer/internal.h"

enum { NAME_BYTES = 128, PIECE_BYTES = 1 << 20, SCALES = 16, LETTERS = 26, FILE_TYPE_Q4_K_M = 15 };

typedef struct shape {
    const char *name; /* a last '-' is followed by the number of layers */
    const char *architecture, *pre;
    uint32_t layers, dense_layers; /* the first dense_layers have no experts */
    uint32_t context, hidden, vocabulary;
    uint32_t heads, kv_heads, head_dim;
    uint32_t experts, used, width, dense_width;
    float rope_base, rms_eps;
    /* Attention with compressed keys and values (deepseek2); 0 elsewhere. */
    uint32_t q_rank, kv_rank, rope_dim, shared_experts;
    float weights_scale;
    bool biased; /* queries, keys and values; heads have no norms then */
} shape;

/* The test shapes are the same layouts at a size for tests. */
static const shape shapes[] = {
    {.name = "qwen3-30b-a3b-q4_k_m",
     .architecture = "qwen3moe",
     .pre = "qwen2",
     .layers = 48,
     .context = 40960,
     .hidden = 2048,
     .vocabulary = 151936,
     .heads = 32,
     .kv_heads = 4,
     .head_dim = 128,
     .experts = 128,
     .used = 8,
     .width = 768,
     .dense_width = 6144,
     .rope_base = 1e6f,
     .rms_eps = 1e-6f},
    {.name = "kimi-k2-",
     .architecture = "deepseek2",
     .pre = "kimi-k2",
     .layers = 61,
     .dense_layers = 1,
     .context = 131072,
     .hidden = 7168,
     .vocabulary = 163840,
     .heads = 64,
     .kv_heads = 1,
     .head_dim = 128,
     .experts = 384,
     .used = 8,
     .width = 2048,
     .dense_width = 18432,
     .rope_base = 5e4f,
     .rms_eps = 1e-6f,
     .q_rank = 1536,
     .kv_rank = 512,
     .rope_dim = 64,
     .shared_experts = 1,
     .weights_scale = 2.827f},
    {.name = "glm-4.5-air-q4_k_m",
     .architecture = "glm4moe",
     .pre = "glm4",
     .layers = 46,
     .dense_layers = 1,
     .context = 131072,
     .hidden = 4096,
     .vocabulary = 151552,
     .heads = 96,
     .kv_heads = 8,
     .head_dim = 128,
     .experts = 128,
     .used = 8,
     .width = 1408,
     .dense_width = 10944,
     .rope_base = 1e6f,
     .rms_eps = 1e-5f,
     .rope_dim = 64,
     .shared_experts = 1,
     .weights_scale = 1,
     .biased = true},
    {.name = "test-qwen3moe",
     .architecture = "qwen3moe",
     .pre = "qwen2",
     .layers = 8,
     .context = 512,
     .hidden = 256,
     .vocabulary = 1024,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 64,
     .experts = 8,
     .used = 2,
     .width = 256,
     .dense_width = 512,
     .rope_base = 1e6f,
     .rms_eps = 1e-6f},
    {.name = "test-deepseek2",
     .architecture = "deepseek2",
     .pre = "kimi-k2",
     .layers = 3,
     .dense_layers = 1,
     .context = 512,
     .hidden = 256,
     .vocabulary = 1024,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 32,
     .experts = 8,
     .used = 2,
     .width = 256,
     .dense_width = 512,
     .rope_base = 5e4f,
     .rms_eps = 1e-6f,
     .q_rank = 256,
     .kv_rank = 256,
     .rope_dim = 32,
     .shared_experts = 1,
     .weights_scale = 2.827f},
    {.name = "test-glm4moe",
     .architecture = "glm4moe",
     .pre = "glm4",
     .layers = 3,
     .dense_layers = 1,
     .context = 512,
     .hidden = 256,
     .vocabulary = 1024,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 64,
     .experts = 8,
     .used = 2,
     .width = 352,
     .dense_width = 512,
     .rope_base = 1e6f,
     .rms_eps = 1e-5f,
     .rope_dim = 32,
     .shared_experts = 1,
     .weights_scale = 1,
     .biased = true},
};

typedef struct tensor {
    uint32_t dtype;
    uint64_t columns, bytes;
    bool norm; /* around 1 */
} tensor;

typedef struct maker {
    const shape *s;
    uint32_t layers;
    umbra_random random;
    gguf_writer w;
    tensor *tensors;
    size_t n_tensors;
} maker;

/* ---- keys ---- */

static void key_u32(maker *m, const char *name, uint32_t value)
{
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.%s", m->s->architecture, name);
    gguf_put_u32(&m->w, key, value);
}

static void key_f32(maker *m, const char *name, float value)
{
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.%s", m->s->architecture, name);
    gguf_put_f32(&m->w, key, value);
}

static void put_deepseek2_keys(maker *m)
{
    const shape *s = m->s;
    key_u32(m, "attention.q_lora_rank", s->q_rank);
    key_u32(m, "attention.kv_lora_rank", s->kv_rank);
    key_u32(m, "attention.key_length", s->kv_rank + s->rope_dim);
    key_u32(m, "attention.value_length", s->kv_rank);
    key_u32(m, "attention.key_length_mla", s->head_dim + s->rope_dim);
    key_u32(m, "attention.value_length_mla", s->head_dim);
    gguf_put_string(&m->w, "deepseek2.rope.scaling.type", "yarn");
    key_f32(m, "rope.scaling.factor", 32);
    key_u32(m, "rope.scaling.original_context_length", m->s->context / 32);
    key_f32(m, "rope.scaling.yarn_log_multiplier", 0.1f);
}

/* Of layouts with shared experts and a sigmoid router. */
static void put_shared_keys(maker *m)
{
    char name[NAME_BYTES];
    key_u32(m, "leading_dense_block_count", m->s->dense_layers);
    key_u32(m, "rope.dimension_count", m->s->rope_dim);
    key_u32(m, "expert_shared_count", m->s->shared_experts);
    key_f32(m, "expert_weights_scale", m->s->weights_scale);
    snprintf(name, sizeof name, "%s.expert_weights_norm", m->s->architecture);
    gguf_put_bool(&m->w, name, true);
    key_u32(m, "expert_gating_func", 2); /* sigmoid */
}

static void put_keys(maker *m)
{
    const shape *s = m->s;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "random %s, %" PRIu32 " layers", s->name, m->layers);
    gguf_put_string(&m->w, "general.architecture", s->architecture);
    gguf_put_string(&m->w, "general.name", name);
    gguf_put_u32(&m->w, "general.quantization_version", 2);
    gguf_put_u32(&m->w, "general.file_type", FILE_TYPE_Q4_K_M);
    key_u32(m, "block_count", m->layers);
    key_u32(m, "context_length", s->context);
    key_u32(m, "embedding_length", s->hidden);
    key_u32(m, "vocab_size", s->vocabulary);
    key_u32(m, "feed_forward_length", s->dense_width);
    key_u32(m, "attention.head_count", s->heads);
    key_u32(m, "attention.head_count_kv", s->kv_heads);
    key_f32(m, "attention.layer_norm_rms_epsilon", s->rms_eps);
    key_f32(m, "rope.freq_base", s->rope_base);
    key_u32(m, "expert_count", s->experts);
    key_u32(m, "expert_used_count", s->used);
    key_u32(m, "expert_feed_forward_length", s->width);
    if (s->shared_experts > 0)
        put_shared_keys(m);
    if (s->kv_rank > 0)
        put_deepseek2_keys(m);
    else {
        key_u32(m, "attention.key_length", s->head_dim);
        key_u32(m, "attention.value_length", s->head_dim);
    }
}

/* Token `id` as the file spells it: "Ġ" and the letters of the number. Returns its bytes. */
static size_t made_up_word(uint32_t id, char out[16])
{
    size_t n = umbra_utf8_encode(umbra_alphabet_code(' '), out);
    for (int i = 0; i < 4 || id > 0; i++, id /= LETTERS)
        out[n++] = (char)('a' + id % LETTERS);
    return n;
}

static void put_tokenizer(maker *m)
{
    static const char *const specials[] = {"<|begin|>", "<|endoftext|>"};
    const uint32_t n = m->s->vocabulary, pairs = LETTERS * LETTERS, n_specials = 2;
    gguf_put_string(&m->w, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(&m->w, "tokenizer.ggml.pre", m->s->pre);
    gguf_put_array(&m->w, "tokenizer.ggml.tokens", UMBRA_GGUF_STRING, n);
    for (uint32_t id = 0; id < n; id++) {
        char text[16];
        size_t bytes;
        if (id < 256)
            bytes = umbra_utf8_encode(umbra_alphabet_code((unsigned char)id), text);
        else if (id < 256 + pairs) {
            text[0] = (char)('a' + (id - 256) / LETTERS);
            text[1] = (char)('a' + (id - 256) % LETTERS);
            bytes = 2;
        } else
            bytes = made_up_word(id, text);
        if (id >= n - n_specials) {
            const char *special = specials[id - (n - n_specials)];
            gguf_put_text(&m->w, special, strlen(special));
        } else
            gguf_put_text(&m->w, text, bytes);
    }
    gguf_put_array(&m->w, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, n);
    for (uint32_t id = 0; id < n; id++) {
        int32_t type = id >= n - n_specials ? UMBRA_TOKEN_CONTROL : UMBRA_TOKEN_NORMAL;
        gguf_put_bytes(&m->w, &type, sizeof type);
    }
    gguf_put_array(&m->w, "tokenizer.ggml.merges", UMBRA_GGUF_STRING, pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        char text[] = {(char)('a' + i / LETTERS), ' ', (char)('a' + i % LETTERS)};
        gguf_put_text(&m->w, text, sizeof text);
    }
    gguf_put_u32(&m->w, "tokenizer.ggml.bos_token_id", n - 2);
    gguf_put_u32(&m->w, "tokenizer.ggml.eos_token_id", n - 1);
    gguf_put_bool(&m->w, "tokenizer.ggml.add_bos_token", false);
}

/* ---- the table of tensors ---- */

/* "blk.LAYER.NAME.weight", or "NAME.weight" if layer < 0; a bias brings its own ending. depth 1: a
 * matrix or vector; more: stacked. */
static void add(maker *m, int layer, const char *role, uint32_t dtype, uint64_t columns,
                uint64_t rows, uint64_t depth)
{
    char name[NAME_BYTES];
    const char *ending = strchr(role, '.') ? "" : ".weight";
    if (layer < 0)
        snprintf(name, sizeof name, "%s%s", role, ending);
    else
        snprintf(name, sizeof name, "blk.%d.%s%s", layer, role, ending);
    if (columns % umbra_dtype_get(dtype).block_values != 0)
        /* as the usual quantiser does for rows that are no whole blocks */
        dtype = dtype == UMBRA_Q4_K ? UMBRA_Q5_0 : UMBRA_Q8_0;
    uint64_t dims[3] = {columns, rows, depth};
    m->tensors = umbra_reallocarray(m->tensors, m->n_tensors + 1, sizeof *m->tensors);
    if (!m->tensors)
        gguf_die("no memory for the table of tensors");
    tensor *t = &m->tensors[m->n_tensors++];
    *t = (tensor){.dtype = dtype, .columns = columns};
    t->norm = strstr(name, "norm") != NULL;
    t->bytes = gguf_put_tensor(&m->w, name, dtype, depth > 1 ? 3 : rows > 1 ? 2 : 1, dims);
}

/* Where the Q4_K_M mix takes Q6_K for the sensitive matrices: the first and the last eighth of the
 * layers and every third between. */
static uint32_t sensitive(uint32_t layer, uint32_t layers)
{
    uint32_t eighth = layers / 8;
    bool more = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
    return more ? UMBRA_Q6_K : UMBRA_Q4_K;
}

static void add_attention(maker *m, int l)
{
    const shape *s = m->s;
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    add(m, l, "attn_norm", UMBRA_F32, s->hidden, 1, 1);
    if (s->kv_rank == 0) {
        add(m, l, "attn_q", UMBRA_Q4_K, s->hidden, q, 1);
        add(m, l, "attn_k", UMBRA_Q4_K, s->hidden, kv, 1);
        add(m, l, "attn_v", sensitive((uint32_t)l, m->layers), s->hidden, kv, 1);
        if (s->biased) {
            add(m, l, "attn_q.bias", UMBRA_F32, q, 1, 1);
            add(m, l, "attn_k.bias", UMBRA_F32, kv, 1, 1);
            add(m, l, "attn_v.bias", UMBRA_F32, kv, 1, 1);
        } else {
            add(m, l, "attn_q_norm", UMBRA_F32, s->head_dim, 1, 1);
            add(m, l, "attn_k_norm", UMBRA_F32, s->head_dim, 1, 1);
        }
    } else {
        uint64_t q_all = (uint64_t)s->heads * (s->head_dim + s->rope_dim);
        add(m, l, "attn_q_a", UMBRA_Q4_K, s->hidden, s->q_rank, 1);
        add(m, l, "attn_q_a_norm", UMBRA_F32, s->q_rank, 1, 1);
        add(m, l, "attn_q_b", UMBRA_Q4_K, s->q_rank, q_all, 1);
        add(m, l, "attn_kv_a_mqa", UMBRA_Q4_K, s->hidden, s->kv_rank + s->rope_dim, 1);
        add(m, l, "attn_kv_a_norm", UMBRA_F32, s->kv_rank, 1, 1);
        add(m, l, "attn_k_b", UMBRA_Q4_K, s->head_dim, s->kv_rank, s->heads);
        add(m, l, "attn_v_b", UMBRA_Q4_K, s->kv_rank, s->head_dim, s->heads);
    }
    add(m, l, "attn_output", UMBRA_Q4_K, q, s->hidden, 1);
    bool glm = strcmp(s->architecture, "glm4moe") == 0;
    add(m, l, glm ? "post_attention_norm" : "ffn_norm", UMBRA_F32, s->hidden, 1, 1);
}

/* gate, up and down of one kind: "" (dense), "_exps", "_shexp". */
static void add_triple(maker *m, int l, const char *kind, uint64_t width, uint64_t depth)
{
    char role[NAME_BYTES];
    uint64_t hidden = m->s->hidden;
    snprintf(role, sizeof role, "ffn_gate%s", kind);
    add(m, l, role, UMBRA_Q4_K, hidden, width, depth);
    snprintf(role, sizeof role, "ffn_up%s", kind);
    add(m, l, role, UMBRA_Q4_K, hidden, width, depth);
    snprintf(role, sizeof role, "ffn_down%s", kind);
    add(m, l, role, sensitive((uint32_t)l, m->layers), width, hidden, depth);
}

static void add_tensors(maker *m)
{
    const shape *s = m->s;
    add(m, -1, "token_embd", UMBRA_Q4_K, s->hidden, s->vocabulary, 1);
    for (int l = 0; l < (int)m->layers; l++) {
        add_attention(m, l);
        if (l < (int)s->dense_layers) {
            add_triple(m, l, "", s->dense_width, 1);
            continue;
        }
        add(m, l, "ffn_gate_inp", UMBRA_F32, s->hidden, s->experts, 1);
        if (s->shared_experts > 0) {
            add(m, l, "exp_probs_b.bias", UMBRA_F32, s->experts, 1, 1);
            add_triple(m, l, "_shexp", (uint64_t)s->width * s->shared_experts, 1);
        }
        add_triple(m, l, "_exps", s->width, s->experts);
    }
    add(m, -1, "output_norm", UMBRA_F32, s->hidden, 1, 1);
    add(m, -1, "output", UMBRA_Q6_K, s->hidden, s->vocabulary, 1);
}

/* ---- weights ---- */

/* How a block of random bytes becomes weights of a known spread: its 16-bit scales, and the spread
 * of the weights under a scale of 1 and uniformly random codes. */
static const struct format {
    uint32_t dtype;
    uint32_t scale_at; /* of the scale in the block */
    int32_t least_at;  /* of the scale of the least values, or -1 */
    float spread;
    float least; /* the second scale in terms of the first, so that the mean is 0 */
} formats[] = {
    {UMBRA_Q4_K, 0, 2, 257, 7.5f}, {UMBRA_Q5_K, 0, 2, 526, 15.5f}, {UMBRA_Q6_K, 208, -1, 1365, 0},
    {UMBRA_Q5_0, 0, -1, 9.2f, 0},  {UMBRA_Q8_0, 0, -1, 73.9f, 0},
};

static void put_half(unsigned char *at, float value)
{
    uint16_t half = umbra_f16_from_f32(value);
    memcpy(at, &half, sizeof half);
}

static void fill_floats(maker *m, const tensor *t, float *out, size_t n)
{
    float reach = sqrtf(3.0f / (float)t->columns);
    for (size_t i = 0; i < n; i++) {
        float x = 2 * (float)umbra_random_unit(&m->random) - 1;
        out[i] = t->norm ? 1 + 0.1f * x : reach * x;
    }
}

/* n bytes (whole blocks) of random codes with sane scales. */
static void fill_blocks(maker *m, const tensor *t, unsigned char *out, size_t n)
{
    const struct format *f = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].dtype == t->dtype)
            f = &formats[i];
    umbra_dtype_info info = umbra_dtype_get(t->dtype);
    if (!f)
        gguf_die("no random blocks of %s are known", info.name);
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t bits = umbra_random_u64(&m->random);
        memcpy(out + i, &bits, n - i < sizeof bits ? n - i : sizeof bits);
    }
    unsigned char scales[SCALES][2], leasts[SCALES][2];
    float scale = 1 / (sqrtf((float)t->columns) * f->spread);
    for (int i = 0; i < SCALES; i++) {
        float vary = 0.5f + (float)i / (SCALES - 1);
        put_half(scales[i], vary * scale);
        put_half(leasts[i], vary * scale * f->least);
    }
    for (unsigned char *block = out; block < out + n; block += info.block_bytes) {
        int i = block[f->scale_at] % SCALES; /* as random as the codes */
        memcpy(block + f->scale_at, scales[i], 2);
        if (f->least_at >= 0)
            memcpy(block + f->least_at, leasts[i], 2);
    }
}

static void write_tensor(maker *m, const tensor *t, void *piece)
{
    uint32_t block = umbra_dtype_get(t->dtype).block_bytes;
    size_t most = PIECE_BYTES - PIECE_BYTES % block;
    for (uint64_t at = 0; at < t->bytes;) {
        size_t n = t->bytes - at < most ? (size_t)(t->bytes - at) : most;
        if (t->dtype == UMBRA_F32)
            fill_floats(m, t, piece, n / sizeof(float));
        else
            fill_blocks(m, t, piece, n);
        gguf_write(&m->w, piece, n);
        at += n;
    }
    gguf_end_tensor(&m->w);
}

/* ---- the command line ---- */

static void usage(void)
{
    fprintf(stderr, "usage: random_gguf SHAPE OUT.gguf [--layers N] [--seed S]\n"
                    "Writes a model file with the shapes and types of a published model and random "
                    "weights.\nshapes:");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        fprintf(stderr, " %s%s", shapes[i].name,
                shapes[i].name[strlen(shapes[i].name) - 1] == '-' ? "LAYERS" : "");
    fputc('\n', stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end != '\0' || n < least || n > most)
        gguf_die("\"%s\" must be a number from %" PRIu64 " to %" PRIu64, text, least, most);
    return n;
}

static void choose_shape(maker *m, const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];
        size_t n = strlen(s->name);
        bool open = s->name[n - 1] == '-';
        if (open ? strncmp(name, s->name, n) != 0 : strcmp(name, s->name) != 0)
            continue;
        m->s = s;
        m->layers = open ? (uint32_t)number(name + n, 1, s->layers) : s->layers;
        return;
    }
    usage();
}

int main(int argc, char **argv)
{
    maker m = {0};
    uint64_t seed = 1;
    if (argc < 3 || argc % 2 == 0)
        usage();
    choose_shape(&m, argv[1]);
    for (int i = 3; i < argc; i += 2) {
        if (strcmp(argv[i], "--layers") == 0)
            m.layers = (uint32_t)number(argv[i + 1], 1, m.s->layers);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = number(argv[i + 1], 0, UINT64_MAX);
        else
            usage();
    }
    void *piece = malloc(PIECE_BYTES);
    if (!piece)
        gguf_die("no memory");
    umbra_random_seed(&m.random, seed);
    gguf_writer_begin(&m.w, argv[2], 3);
    put_keys(&m);
    put_tokenizer(&m);
    add_tensors(&m);
    gguf_writer_data(&m.w);
    for (size_t i = 0; i < m.n_tensors; i++)
        write_tensor(&m, &m.tensors[i], piece);
    gguf_writer_commit(&m.w);
    umbra_free(m.tensors);
    free(piece);
    return 0;
}
