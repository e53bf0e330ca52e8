/* Inside of random_gguf: the shapes that it knows, and the keys and tensors of their layouts. */
#ifndef UMBRA_TOOLS_RANDOM_SHAPES_H
#define UMBRA_TOOLS_RANDOM_SHAPES_H

#include "base/random.h"
#include "gguf_writer.h"

typedef struct maker maker;

/* The types of a file's matrices. Rows that are no whole blocks of a type fall back as with the
 * usual quantiser. */
typedef struct mix {
    uint32_t file_type; /* general.file_type */
    uint32_t embedding, output;
    uint32_t dense;         /* attention, shared experts, dense layers */
    uint32_t gate_up, down; /* of experts */
    uint32_t table;         /* of n-grams */
    /* Where quantisers spend more: the first and the last eighth of the layers and every third
     * between; 0: nowhere. */
    uint32_t sensitive_down, sensitive_value;
    bool dense_down_too; /* the down matrices of dense parts are those of the experts in type */
} mix;

typedef struct shape {
    const char *name; /* a last '-' is followed by the number of layers */
    const char *architecture, *pre;
    const mix *types;
    uint32_t layers, dense_layers; /* the first dense_layers have no experts */
    uint32_t context, hidden, vocabulary;
    uint32_t heads, kv_heads, head_dim;
    uint32_t experts, used, width, dense_width;
    float rope_base, rms_eps;
    void (*put_keys)(maker *m);             /* beyond those that all have */
    void (*add_attention)(maker *m, int l); /* all of a layer but what is below */
    void (*add_router)(maker *m, int l);    /* beside its matrix, and shared experts */
    void (*add_model_tensors)(maker *m);    /* beyond embedding, output and its norm */
    const char *ffn_norm;                   /* NULL: none */
    uint32_t rope_dim, shared_experts;
    float weights_scale;
    bool biased;              /* queries, keys and values; heads have no norms then */
    uint32_t q_rank, kv_rank; /* of compressed queries, keys and values */
    uint32_t window;
    float stretch; /* YaRN's factor, of context / stretch positions */
    uint32_t interval, net_key_heads, net_heads, net_dim,
        taps;                                      /* delta nets, but each interval-th */
    uint32_t streams, stream_rank;                 /* hyper-connections */
    uint32_t index_heads, index_dim, index_top;    /* of what picks what attention sees */
    uint32_t out_groups, out_rank, hashed_layers;  /* deepseek4 */
    uint32_t ngram_layer, ngram_heads, ngram_rows; /* qwen4exp; rows of a head's table */
} shape;

typedef struct tensor {
    uint32_t dtype;
    uint64_t columns, bytes;
    bool norm;  /* around 1 */
    bool decay; /* negative */
} tensor;

struct maker {
    const shape *s;
    uint32_t layers, ngram_rows;
    umbra_random random;
    gguf_writer w;
    tensor *tensors;
    size_t n_tensors;
};

extern const shape shapes[];
extern const size_t n_shapes;

/* All keys but the tokenizer's, and all tensors by name, shape and type. */
void put_keys(maker *m);
void add_tensors(maker *m);

/* ---- for the layouts ---- */

void key_u32(maker *m, const char *name, uint32_t value);
void key_f32(maker *m, const char *name, float value);
void key_bool(maker *m, const char *name, bool value);
void key_string(maker *m, const char *name, const char *value);
void key_u32s(maker *m, const char *name, const uint32_t *values, uint32_t n);
void key_u64s(maker *m, const char *name, const uint64_t *values, uint32_t n);
void key_f32s(maker *m, const char *name, float value, uint32_t n); /* n times the same */

/* "blk.LAYER.NAME.weight", or "NAME.weight" if layer < 0; a bias brings its own ending, and what
 * has neither begins with "=". depth 1: a matrix or vector; more: stacked. */
void add(maker *m, int layer, const char *role, uint32_t dtype, uint64_t columns, uint64_t rows,
         uint64_t depth);
void add_vector(maker *m, int layer, const char *role, uint64_t n);
void add_matrix(maker *m, int layer, const char *role, uint64_t columns, uint64_t rows);

/* gate, up and down of a kind: "" (dense), "_exps", "_shexp". */
void add_triple(maker *m, int l, const char *kind, uint64_t width, uint64_t depth);
/* A selection bias, and the shared experts. */
void add_biased_router(maker *m, int l);

void put_gated_keys(maker *m); /* qwen35moe */
void add_gated_layer(maker *m, int l);
void add_gated_router(maker *m, int l);
void put_qwen4exp_keys(maker *m);
void add_qwen4exp_layer(maker *m, int l);
void add_qwen4exp_tensors(maker *m);
void put_deepseek4_keys(maker *m);
void add_deepseek4_layer(maker *m, int l);
void add_deepseek4_router(maker *m, int l);
void add_deepseek4_tensors(maker *m);
void put_deepseek2_keys(maker *m);
void add_deepseek2_attention(maker *m, int l);
void put_glm4moe_keys(maker *m);
void put_gpt_oss_keys(maker *m);
void add_gpt_oss_attention(maker *m, int l);
void add_gpt_oss_router(maker *m, int l);
void put_head_keys(maker *m); /* of grouped queries */
void add_grouped_attention(maker *m, int l);

#endif
