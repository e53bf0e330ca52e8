/* Inside of the engine. A token's way: embedding -> (attention -> router -> experts) per layer ->
 * output. Everything is laid out at opening; evaluating allocates nothing.
 *
 * Letters: C tokens of a chunk, P = C * k pairs (token, used expert), S sequences. */
#ifndef UMBRA_ENGINE_INTERNAL_H
#define UMBRA_ENGINE_INTERNAL_H

#include <umbra/engine.h>

#include "base/pool.h"
#include "kernels/kernels.h"
#include "model/model.h"

enum {
    UMBRA_LOGITS_ROWS = 8, /* output rows computed together */
    UMBRA_MAX_THREADS = 256,
    UMBRA_MAX_CHUNK = 4096,
    UMBRA_LATENT_HEADS = 8,   /* query heads that go through a compressed cache together */
    UMBRA_LATENT_TOKENS = 16, /* tokens whose queries are in the latent's space at a time */
};

/* A dense weight in memory. */
typedef struct umbra_matrix {
    const void *data; /* (rows, columns) */
    uint64_t row_bytes;
    uint32_t dtype;
    int rows, columns;
} umbra_matrix;

typedef struct umbra_weights {
    umbra_matrix model[UMBRA_MODEL_ROLES];
    umbra_matrix (*layer)[UMBRA_LAYER_ROLES]; /* (layers) */
    void *arena;
    uint64_t arena_bytes;
} umbra_weights;

/* Keys and values of all sequences: (layers, S, cache_heads, context, cache_key or cache_value) of
 * kernels->kv_bytes. */
typedef struct umbra_kv {
    char *k, *v;
    int *length; /* (S) tokens held */
} umbra_kv;

/* One pair of a chunk: token `token` goes through an expert. Sorted by expert. */
typedef struct umbra_expert_span {
    int expert;
    int first, count; /* its pairs */
} umbra_expert_span;

/* Attention over a compressed cache; T at most UMBRA_LATENT_TOKENS. */
typedef struct umbra_latent {
    umbra_activations plain; /* (T * heads, key_dim - rope.dim) the part of q that is not rotated */
    float *query;            /* (T, heads, cache_key) q as the cache's rows see it */
    umbra_activations mixed; /* (T * heads, kv_rank) attention's output */
    int32_t *rows; /* (heads, UMBRA_LATENT_TOKENS) row t * heads + h of `plain` and `mixed` */
    float *row;    /* (threads, kv_rank) one row of weights */
    struct umbra_product *products; /* (heads) */
} umbra_latent;

typedef struct umbra_scratch {
    float *x;                 /* (C, hidden) residual stream */
    umbra_activations normed; /* (C, hidden) input of a block */
    umbra_activations q_low;  /* (C, q_rank) bottleneck of the queries */
    float *q, *k, *v;         /* (C, heads * dim); k and v as the cache keeps them */
    umbra_activations mixed;  /* (C, heads * value_dim) attention's output */
    float *block;             /* (C, hidden) output of a block, before it joins x */
    float *rope;              /* (C, rope.dim / 2, 2) cos, sin */
    float *scores;            /* (threads, heads per item, context + 1) */
    umbra_latent latent;
    float *router;                /* (C, experts) */
    float *selection;             /* (threads, experts + groups) */
    int32_t *groups;              /* (threads, groups) */
    float *shared_weight;         /* (C) */
    int32_t *experts;             /* (C, k) used experts, best first */
    float *weights;               /* (C, k) */
    int32_t *pair_token;          /* (P) token of each pair, pairs sorted by expert */
    int32_t *token_pair;          /* (C, k) the pair of a token's j-th expert */
    umbra_expert_span *spans;     /* (experts) the distinct experts of a chunk, ascending */
    int *span_expert;             /* (experts) their ids alone */
    int *span_uses;               /* (experts) how many rows that decode use each of these */
    float *up;                    /* (P, width) */
    umbra_activations inner;      /* (P, width): gate's output, then silu(gate) * up */
    umbra_activations ffn;        /* (C, dense or shared width): the same place and purpose for
                                     the block that every token uses, as is `up` */
    float *contribution;          /* (P, hidden) */
    umbra_activations out;        /* (UMBRA_LOGITS_ROWS, hidden) */
    float *logits;                /* (UMBRA_LOGITS_ROWS, vocabulary) */
    int32_t *sequence, *position; /* (C) */
    bool *prompt;                 /* (C) the row's sequence has more rows in the chunk */
    void *arena;
    uint64_t arena_bytes;
} umbra_scratch;

/* Who goes along with the engine and reads ahead (runtime/prefetch.c). All may be NULL. Called from
 * the thread that evaluates; scratch holds what the chunk's tokens are, x and experts. */
typedef struct umbra_companion {
    void *user;
    void (*enter)(void *user, const umbra_token *tokens, int n); /* embeddings are in x */
    /* x is h[layer], and the demands of the layer's experts are with the store. */
    void (*routed)(void *user, int layer, int n);
    void (*leave)(void *user, int n); /* the chunk is computed, but for its logits */
} umbra_companion;

struct umbra_engine {
    const umbra_model *model;
    const umbra_kernels *kernels;
    const umbra_progress *progress;
    umbra_memory_plan plan;
    int sequences;
    double *rope_frequency; /* (rope.dim / 2) radians per position */
    umbra_pool *pool;
    umbra_store *store;
    umbra_weights weights;
    umbra_kv kv;
    umbra_scratch scratch;
    umbra_companion companion;
};

/* One product of a parallel step. */
typedef struct umbra_product {
    umbra_matmul matmul;
    umbra_matmul_fn fn;
    int rows;
} umbra_product;

/* engine.c: a store of so many bytes for the model's experts. */
int umbra_engine_open_store(umbra_store **out, const umbra_model *model,
                            const umbra_engine_options *options, uint64_t bytes, umbra_error *err);

/* plan.c */
uint64_t umbra_plan_dense_bytes(const umbra_model *model);
/* dim: cache_key, cache_value or their sum. */
uint64_t umbra_plan_kv_bytes(const umbra_model *model, const umbra_kernels *kernels, int context,
                             int sequences, int dim);

/* scratch.c: sizes for a chunk (base NULL), or places in an arena of that size. Returns bytes. */
uint64_t umbra_scratch_layout(umbra_scratch *s, char *base, const umbra_config *c, int chunk,
                              int context, int threads);

/* weights.c */
int umbra_weights_load(umbra_weights *w, const umbra_model *model, const umbra_kernels *kernels,
                       const umbra_progress *progress, umbra_error *err);
void umbra_weights_free(umbra_weights *w);

/* products.c: all rows of all products, shared by the threads. */
void umbra_products_run(umbra_engine *e, const umbra_product *products, int n);
umbra_product umbra_product_make(const umbra_engine *e, const umbra_matrix *w,
                                 const umbra_activations *x, int tokens, float *out);
/* normed rows of x -> out (f32 and q16), T of them. */
void umbra_norm_rows(umbra_engine *e, umbra_activations *out, const float *x,
                     const umbra_matrix *weight, int tokens);
/* q16 of rows [first, first + count) of a, on the calling thread. */
void umbra_quantize_rows(const umbra_kernels *kernels, umbra_activations *a, int first, int count);

/* x[t] += weight[t] * y[t] for T tokens; weight NULL: 1. */
void umbra_add_rows(umbra_engine *e, float *x, const float *y, const float *weight, int tokens);

/* rope.c */
int umbra_rope_open(umbra_engine *e, umbra_error *err); /* fills rope_frequency */
/* (rope.dim / 2, 2) cos, sin of a position. */
void umbra_rope_angles(const umbra_engine *e, int position, float *angles);
/* Turns the rope.dim values at x by a token's angles. */
void umbra_rope_turn(const umbra_engine *e, float *x, int token);

/* attention.c: x += attention(norm(x)) for the chunk's tokens of one layer. */
void umbra_attention(umbra_engine *e, int layer, int tokens);
/* Bytes from the start of a cache to the row of (layer, sequence, cache head, position 0). */
size_t umbra_kv_offset(const umbra_engine *e, int layer, int sequence, int head, int dim);
/* attention_latent.c: the same for a compressed cache, from normed to mixed.f32. */
void umbra_attention_latent(umbra_engine *e, int layer, int tokens);

/* gate.c: the router of a layer with the norm before it folded in, (experts, hidden): its scores
 * for a state h are gate * (h / rms(h)), without the biases that some layouts add. All 0 for a
 * layer without experts. */
void umbra_engine_gate(const umbra_engine *e, int layer, float *gate);

/* router.c: which experts each token of the chunk uses; fills normed, experts, weights. */
void umbra_route(umbra_engine *e, int layer, int tokens);

/* ffn.c: x += ffn(normed), the block that every token uses; nothing where a layer has none. */
void umbra_ffn(umbra_engine *e, int layer, int tokens);
/* x += ffn(norm(x)): all that a layer without experts has after attention. */
void umbra_ffn_dense(umbra_engine *e, int layer, int tokens);

/* moe.c: x += experts(normed), computed in the order in which the store delivers. */
int umbra_experts(umbra_engine *e, int layer, int tokens, umbra_error *err);

#endif
