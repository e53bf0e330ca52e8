/* Small models of every layout with random weights, one field of which can be spoiled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "make.h"

bool make_hits(const fault *f, const char *name, int kind)
{
    return f && f->name && strcmp(f->name, name) == 0 && (int)f->kind == kind;
}

void make_u32(umbra_builder *b, const fault *f, const char *key, uint32_t value)
{
    if (!make_hits(f, key, ABSENT))
        umbra_builder_u32(b, key, make_hits(f, key, VALUE) ? (uint32_t)f->value : value);
}

void make_string(umbra_builder *b, const fault *f, const char *key, const char *value)
{
    if (!make_hits(f, key, ABSENT))
        umbra_builder_string(b, key, make_hits(f, key, TEXT) ? f->text : value);
}

const char *make_controls[MAKE_CONTROLS];

/* The 256 single bytes in GPT-2's alphabet, and an end token. */
void make_tokenizer(umbra_builder *b, const fault *f)
{
    static char texts[MAKE_TOKENS][8];
    const char *pointers[MAKE_TOKENS];
    int32_t types[MAKE_TOKENS];
    uint32_t others = 256;
    for (uint32_t i = 0; i < 256; i++) {
        bool shown = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        uint32_t code = shown ? i : others++;
        size_t n = 0;
        if (code >= 0x80)
            texts[i][n++] = (char)(0xc0 | code >> 6);
        texts[i][n++] = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
        texts[i][n] = '\0';
        pointers[i] = texts[i];
        types[i] = 1;
        if (i >= 256 - MAKE_CONTROLS && make_controls[255 - i]) {
            pointers[i] = make_controls[255 - i];
            types[i] = 3;
        }
    }
    pointers[256] = "<|endoftext|>";
    types[256] = 3;
    const char *merges[] = {"a b"};
    make_string(b, f, "tokenizer.ggml.model", "gpt2");
    make_string(b, f, "tokenizer.ggml.pre", "gpt-2");
    umbra_builder_strings(b, "tokenizer.ggml.tokens", pointers, MAKE_TOKENS);
    umbra_builder_array(b, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, types, MAKE_TOKENS);
    umbra_builder_strings(b, "tokenizer.ggml.merges", merges, 0);
    make_u32(b, f, "tokenizer.ggml.bos_token_id", 256);
    make_u32(b, f, "tokenizer.ggml.eos_token_id", 256);
}

/* ---- values ---- */

static void random_values(const char *name, uint64_t columns, uint64_t n, float *out)
{
    uint64_t state = 1469598103934665603u;
    for (const char *c = name; *c; c++)
        state = (state ^ (unsigned char)*c) * 1099511628211u;
    bool norm = strstr(name, "norm.weight") || strstr(name, "rope_freqs"), one = n == columns;
    for (uint64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        float u = (float)(int32_t)(state >> 32) / 2147483648.0f; /* in [-1, 1) */
        out[i] = norm ? 1 + 0.3f * u : one || columns < 8 ? u : u * 1.7f / (float)(columns / 6);
    }
}

/* Copies `rows` rows of `width` floats from one place to another. */
static void copy_rows(float *to, size_t to_stride, const float *from, size_t from_stride,
                      size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++)
        memcpy(to + r * to_stride, from + r * from_stride, width * sizeof *to);
}

/* Values of the tensor beside `name` in its layer. */
static float *sibling(const char *name, const char *other, uint64_t d0, uint64_t d1, uint64_t d2)
{
    char whole[64];
    int layer = atoi(name + 4);
    snprintf(whole, sizeof whole, "blk.%d.%s", layer, other);
    float *values = malloc(d0 * d1 * d2 * sizeof *values);
    make_values(whole, (uint64_t[]){d0, d1, d2}, values);
    return values;
}

/* attn_k_b (plain, latent, heads) is the transposed upper part of each head in attn_kv_b, attn_v_b
 * (latent, value, heads) the lower one. */
static void split_latent(const char *name, float *out)
{
    size_t rows = 2 * MAKE_DIM, n = MAKE_LATENT;
    float *both = sibling(name, "attn_kv_b.weight", n, rows * MAKE_HEADS, 1);
    for (size_t h = 0; h < MAKE_HEADS; h++) {
        const float *head = both + h * rows * n;
        for (size_t l = 0; l < n; l++)
            for (size_t i = 0; i < MAKE_DIM; i++)
                if (strstr(name, "attn_k_b"))
                    out[(h * n + l) * MAKE_DIM + i] = head[i * n + l];
                else
                    out[(h * MAKE_DIM + i) * n + l] = head[(MAKE_DIM + i) * n + l];
    }
    free(both);
}

static void fuse_experts(const char *name, float *out)
{
    size_t n = MAKE_WIDTH * MAKE_HIDDEN;
    float *gate = sibling(name, "ffn_gate_exps.weight", MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS);
    float *up = sibling(name, "ffn_up_exps.weight", MAKE_HIDDEN, MAKE_WIDTH, MAKE_EXPERTS);
    copy_rows(out, 2 * n, gate, n, MAKE_EXPERTS, n);
    copy_rows(out + n, 2 * n, up, n, MAKE_EXPERTS, n);
    free(gate);
    free(up);
}

/* Queries have MAKE_HEADS heads, keys and values half of the other rows each. */
static void join_heads(const char *name, uint64_t rows, float *out)
{
    static const char *const parts[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight"};
    uint64_t queries = MAKE_HEADS * MAKE_DIM;
    for (int i = 0; i < 3; i++) {
        uint64_t n = i == 0 ? queries : (rows - queries) / 2;
        float *part = sibling(name, parts[i], MAKE_HIDDEN, n, 1);
        memcpy(out, part, n * MAKE_HIDDEN * sizeof *out);
        out += n * MAKE_HIDDEN;
        free(part);
    }
}

/* For each key head in turn, its rows of each of the parts (groups, rows of it, MAKE_HIDDEN). */
static void deal_rows(float *out, float *const *parts, const size_t *rows, int n)
{
    for (size_t g = 0; g < MAKE_KEY_HEADS; g++)
        for (int i = 0; i < n; i++) {
            size_t values = rows[i] * MAKE_HIDDEN;
            memcpy(out, parts[i] + g * values, values * sizeof *out);
            out += values;
        }
}

/* ssm_in by key head of attn_qkv and attn_gate, ssm_ba of ssm_beta and ssm_alpha. */
static void deal_heads(const char *name, bool rates, float *out)
{
    const size_t keys = MAKE_KEY_HEADS * MAKE_STATE, values = MAKE_STATE_HEADS * MAKE_STATE;
    const size_t heads = MAKE_STATE_HEADS / MAKE_KEY_HEADS;
    if (rates) {
        float *b = sibling(name, "ssm_beta.weight", MAKE_HIDDEN, MAKE_STATE_HEADS, 1);
        float *a = sibling(name, "ssm_alpha.weight", MAKE_HIDDEN, MAKE_STATE_HEADS, 1);
        deal_rows(out, (float *[]){b, a}, (size_t[]){heads, heads}, 2);
        free(a);
        free(b);
        return;
    }
    float *qkv = sibling(name, "attn_qkv.weight", MAKE_HIDDEN, 2 * keys + values, 1);
    float *gate = sibling(name, "attn_gate.weight", MAKE_HIDDEN, values, 1);
    deal_rows(out, (float *[]){qkv, qkv + keys * MAKE_HIDDEN, qkv + 2 * keys * MAKE_HIDDEN, gate},
              (size_t[]){MAKE_STATE, MAKE_STATE, heads * MAKE_STATE, heads * MAKE_STATE}, 4);
    free(qkv);
    free(gate);
}

/* States must fade: negative numbers. */
static void make_fading(float *out, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = -0.05f - (out[i] < 0 ? -out[i] : out[i]);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* "blk.N.ffn_gate.E.weight" of "ffn_gate_exps". */
static bool single_expert(const char *name, const uint64_t *shape, float *out)
{
    static const char *const kinds[] = {"ffn_gate", "ffn_up", "ffn_down"};
    for (int i = 0; i < 3; i++) {
        char stacked[32];
        const char *at = strstr(name, kinds[i]);
        int expert;
        if (!at || sscanf(at + strlen(kinds[i]), ".%d.weight", &expert) != 1 ||
            expert >= MAKE_EXPERTS)
            continue;
        snprintf(stacked, sizeof stacked, "%s_exps.weight", kinds[i]);
        size_t n = MAKE_WIDTH * MAKE_HIDDEN;
        float *all = sibling(name, stacked, shape[0], shape[1], MAKE_EXPERTS);
        memcpy(out, all + (size_t)expert * n, n * sizeof *out);
        free(all);
        return true;
    }
    return false;
}

static bool holds_ids(const char *name)
{
    return strstr(name, "tid2eid") != NULL;
}

static void name_experts(uint64_t used, uint64_t tokens, float *out)
{
    int32_t *ids = (int32_t *)(void *)out;
    for (uint64_t t = 0; t < tokens; t++)
        for (uint64_t j = 0; j < used; j++)
            *ids++ = (int32_t)((t * t + 3 * j + t / 7) % MAKE_EXPERTS);
}

void make_values(const char *name, const uint64_t *shape, float *out)
{
    uint64_t n = shape[0] * (shape[1] ? shape[1] : 1) * (shape[2] ? shape[2] : 1);
    if (strstr(name, "attn_k_b.weight") || strstr(name, "attn_v_b.weight"))
        split_latent(name, out);
    else if (strstr(name, "ffn_gate_up_exps"))
        fuse_experts(name, out);
    else if (holds_ids(name))
        name_experts(shape[0], shape[1], out);
    else if (strstr(name, "attn_qkv.weight"))
        join_heads(name, shape[1], out);
    else if ((ends_with(name, "ssm_in.weight") && shape[1] == MAKE_BY_KEY_HEAD) ||
             ends_with(name, "ssm_ba.weight"))
        deal_heads(name, ends_with(name, "ssm_ba.weight"), out);
    else if (!single_expert(name, shape, out))
        random_values(name, shape[0], n, out);
    if (ends_with(name, ".ssm_a"))
        make_fading(out, n);
}

/* ---- building ---- */

static void put_numbers(umbra_builder *b, const char *key, const make_key *k)
{
    uint64_t numbers[16], n = 0;
    char *end;
    for (const char *at = k->text; *at; at = *end ? end + 1 : end)
        numbers[n++] = strtoull(at, &end, 10);
    umbra_builder_array(b, key, UMBRA_GGUF_U64, numbers, n);
}

static void put_array(umbra_builder *b, const char *key, const make_key *k)
{
    uint32_t numbers[16] = {0};
    uint8_t truths[16] = {0};
    size_t n = strlen(k->text);
    for (size_t i = 0; i < n; i++)
        truths[i] = (uint8_t)(numbers[i] = (uint32_t)(k->text[i] - '0'));
    if (k->type == MAKE_BOOLS)
        umbra_builder_array(b, key, UMBRA_GGUF_BOOL, truths, n);
    else
        umbra_builder_array(b, key, UMBRA_GGUF_U32, numbers, n);
}

static void put_key(umbra_builder *b, const make_layout *layout, const make_key *k, const fault *f)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", layout->name, k->name);
    if (make_hits(f, key, ABSENT))
        return;
    bool changed = make_hits(f, key, VALUE);
    if (k->type == MAKE_U32S || k->type == MAKE_BOOLS)
        put_array(b, key, k);
    else if (k->type == MAKE_U64S)
        put_numbers(b, key, k);
    else if (k->type == MAKE_STRING)
        umbra_builder_string(b, key, make_hits(f, key, TEXT) ? f->text : k->text);
    else if (k->type == MAKE_BOOL)
        umbra_builder_bool(b, key, k->value != 0);
    else if (k->type == MAKE_F32)
        umbra_builder_f32(b, key, changed ? (float)(int64_t)f->value : (float)k->value);
    else
        umbra_builder_u32(b, key, changed ? (uint32_t)f->value : (uint32_t)k->value);
}

static const make_key *find_key(const make_key *keys, const char *name)
{
    for (; keys && keys->name; keys++)
        if (strcmp(keys->name, name) == 0)
            return keys;
    return NULL;
}

static void put_keys(umbra_builder *b, const make_layout *layout, const make_key *keys,
                     const fault *f)
{
    for (const make_key *k = layout->keys; k->name; k++)
        if (!find_key(keys, k->name))
            put_key(b, layout, k, f);
    for (const make_key *k = keys; k && k->name; k++)
        put_key(b, layout, k, f);
}

static void put_tensor(umbra_builder *b, const char *name, const uint64_t *shape, const fault *f)
{
    if (make_hits(f, name, ABSENT) || shape[0] == 0)
        return;
    uint64_t changed[3] = {shape[0], shape[1], shape[2]};
    uint32_t dimensions = shape[2] ? 3 : shape[1] ? 2 : 1;
    uint32_t usual = holds_ids(name) ? UMBRA_I32 : UMBRA_F32;
    uint32_t dtype = make_hits(f, name, DTYPE) ? (uint32_t)f->value : usual;
    bool same = dtype == usual;
    if (make_hits(f, name, SHAPE)) {
        changed[dimensions - 1] = f->value;
        same = false;
    }
    float *values = NULL;
    if (same) {
        values = malloc(shape[0] * (shape[1] ? shape[1] : 1) * (shape[2] ? shape[2] : 1) *
                        sizeof *values);
        make_values(name, shape, values);
    }
    umbra_builder_tensor(b, name, dtype, dimensions, changed, values);
    free(values);
}

static bool names_tensor(const make_tensor *tensors, const char *name)
{
    for (; tensors && tensors->name; tensors++)
        if (strcmp(tensors->name, name) == 0)
            return true;
    return false;
}

static bool is_of_model(const char *name)
{
    return strcmp(name, "rope_freqs.weight") == 0 || strcmp(name, "token_embd_norm.weight") == 0 ||
           strncmp(name, "output_hc_", 10) == 0 || strcmp(name, "per_layer_token_embd.weight") == 0;
}

static void put_layer(umbra_builder *b, const make_tensor *t, int layer, const fault *f)
{
    char name[64];
    if (layer < t->from || (t->to > 0 && layer >= t->to))
        return;
    snprintf(name, sizeof name, "blk.%d.%s", layer, t->name);
    if (!is_of_model(t->name))
        put_tensor(b, name, t->shape, f);
    else if (layer == t->from)
        put_tensor(b, t->name, t->shape, f);
}

void make_build(umbra_builder *b, const make_layout *layout, const make_key *keys,
                const make_tensor *tensors, const fault *f)
{
    umbra_builder_init(b, 3);
    umbra_builder_string(b, "general.architecture", layout->name);
    put_keys(b, layout, keys, f);
    make_tokenizer(b, f);
    put_tensor(b, "token_embd.weight", (uint64_t[]){MAKE_HIDDEN, MAKE_TOKENS, 0}, f);
    if (!names_tensor(layout->tensors, "token_embd_norm.weight") &&
        !names_tensor(layout->tensors, "output_hc_norm.weight"))
        put_tensor(b, "output_norm.weight", (uint64_t[]){MAKE_HIDDEN, 0, 0}, f);
    put_tensor(b, "output.weight", (uint64_t[]){MAKE_HIDDEN, MAKE_TOKENS, 0}, f);
    const make_key *blocks = find_key(keys, "block_count");
    if (!blocks)
        blocks = find_key(layout->keys, "block_count");
    for (int l = 0; l < (int)blocks->value; l++) {
        for (const make_tensor *t = layout->tensors; t->name; t++)
            if (!names_tensor(tensors, t->name))
                put_layer(b, t, l, f);
        for (const make_tensor *t = tensors; t && t->name; t++)
            put_layer(b, t, l, f);
    }
    umbra_builder_finish(b);
}

int make_open(const make_layout *layout, const make_key *keys, const make_tensor *tensors,
              const fault *f, umbra_memory_file *file, umbra_model **model, umbra_error *err)
{
    umbra_builder b;
    make_build(&b, layout, keys, tensors, f);
    umbra_memory_file_init(file);
    umbra_memory_file_set(file, b.bytes, b.count, b.count);
    umbra_builder_release(&b);
    return umbra_model_open(model, file->path, err);
}
