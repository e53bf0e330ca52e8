/* Inside of umbra_model: hyper-parameters, the role of each tensor, and where experts lie. */
#ifndef UMBRA_MODEL_MODEL_H
#define UMBRA_MODEL_MODEL_H

#include <stdbool.h>

#include <umbra/model.h>
#include <umbra/store.h>

#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

enum {
    UMBRA_MAX_USED = 64, /* experts per token and layer */
    UMBRA_ROPES = 2,     /* rotary embeddings that a model's layers have between them */
    UMBRA_MAX_STREAMS = 8,
    UMBRA_MAX_NGRAM = 5,
    UMBRA_MAX_NGRAM_HEADS = 64,
    UMBRA_MAX_TAPS = 64, /* of a short convolution */
};

typedef enum umbra_rope_pairs {
    UMBRA_ROPE_HALVES,   /* (i, i + dim/2) */
    UMBRA_ROPE_ADJACENT, /* (2i, 2i + 1) */
} umbra_rope_pairs;

/* Rotary embedding. Pair i turns by position * base^(-2i/dim), slowed by `factor` where a context
 * was stretched: not at all below pair ramp_low, wholly from ramp_high on, linearly between
 * (YaRN; both are -1 where every pair is slowed). */
typedef struct umbra_rope {
    umbra_rope_pairs pairs;
    int dim; /* of each head: its first values; with a compressed cache, or where keys are values,
                its last ones. Even. */
    float base;
    float factor;
    float ramp_low, ramp_high;
    float magnitude; /* of cosines and sines */
} umbra_rope;

typedef enum umbra_gating {
    UMBRA_GATING_SOFTMAX,       /* over all experts */
    UMBRA_GATING_SIGMOID,       /* of each expert alone */
    UMBRA_GATING_SOFTMAX_USED,  /* raw scores choose, softmax over the chosen ones weighs */
    UMBRA_GATING_SIGMOID_USED,  /* raw scores choose, the sigmoid of each chosen one weighs */
    UMBRA_GATING_SQRT_SOFTPLUS, /* sqrt(log(1 + exp(score))) of each expert alone */
} umbra_gating;

/* How scores become experts and weights. A selection bias (UMBRA_SELECTION_BIAS) is added for
 * choosing alone. */
typedef struct umbra_router {
    umbra_gating gating;
    float input_scale;       /* of what the router sees, and so of its scores */
    bool renormalise;        /* weights are divided by their sum */
    float scale;             /* then multiplied by this */
    int groups, groups_used; /* experts come from the best groups alone; 1 and 1: from anywhere */
    int group_best;          /* a group is as good as the sum of its best so many */
    bool weighs_input;       /* weights multiply what an expert gets, not what it gives */
} umbra_router;

typedef enum umbra_activation {
    UMBRA_SWIGLU,         /* silu(gate) * up */
    UMBRA_SWIGLU_CLAMPED, /* g sigmoid(1.702 g) (u + 1), g = min(gate, 7), u = up in [-7, 7] */
    UMBRA_GEGLU,          /* gelu(gate) * up, gelu in its tanh form */
    UMBRA_RELU_SQUARED,   /* max(up, 0)^2: there is no gate */
} umbra_activation;

/* A recurrent layer: its positions go one by one into a state of (key_dim, value_dim) for each
 * head. A short convolution over queries, keys and values (their channels) stands in front. */
typedef struct umbra_recurrence {
    int key_heads;  /* of queries and keys; 0: the layer is not recurrent */
    bool tiled;     /* head h has the key head h % key_heads; else h / (heads / key_heads) */
    bool delta;     /* what is written is the difference to what its key finds, queries and keys are
                       unit vectors (delta net); else the value as it is (Mamba-2) */
    bool key_decay; /* states fade by a factor for each of key_dim, not one for a head */
    bool by_sigmoid; /* what gates the output: sigmoid, not silu */
    int taps;        /* positions that the convolution takes in */
} umbra_recurrence;

/* An index that picks what attention sees: positions, or where the layer pools, pooled rows. */
typedef struct umbra_index {
    int most;  /* units that are picked; 0: attention sees all */
    int unit;  /* positions, or pooled rows, of a unit; the last one may have fewer */
    int local; /* units at the end that are picked whatever their scores */
    /* There is a query for each key/value head, which picks for that one, by the largest of its
     * products with a unit's keys. Else the same is picked for all, by the weighed sum over heads
     * of max(query . key, 0). */
    bool by_head;
    int heads, dim; /* of its queries; keys have one */
    int ratio; /* a key is pooled of so many positions, those of a unit; what follows the last whole
                  one is picked too. 0: every position has a key */
    int parts; /* such a key is pooled as attention's rows are (ratio_parts); 0: it is normed behind
                  the mean of its positions */
    umbra_rope_pairs pairs; /* of its rotation, otherwise as attention's, which is */
    bool turns_end;         /* of the last values, not the first */
    float eps;
    int kept;    /* what the state keeps of it (umbra_config.kept): keys; 0: the layer sees what the
                    last one before it that has an index sees */
    int pooling; /* and of what keys are pooled; 0: none */
} umbra_index;

/* How a layer attends, and what it keeps of every position. */
typedef struct umbra_attention {
    umbra_recurrence recurrence; /* in place of attention; heads, key_dim, value_dim are its own */
    int conv; /* positions that a short convolution, which stands in place of attention, takes in;
                 0: none does. It keeps its inputs (hidden) as keys. */
    int heads, kv_heads, key_dim, value_dim; /* dims per head; heads 0: nothing attends */
    int q_rank;  /* queries come through a bottleneck of this width; 0: they do not */
    int kv_rank; /* keys and values are expanded from a latent of this width, which is what the
                    cache keeps, with the rotated part of the key behind it; 0: they are not */
    bool keys_are_values; /* of one head. What attention gives is turned back by its own position's
                             angles, and goes out in out_groups groups of heads, each through a
                             bottleneck of width out_rank */
    int out_groups, out_rank;
    int ratio; /* a row sees beside its window, whether it reaches them or not, one pooled row for
                  each whole block of so many positions before its end; 0: none */
    int ratio_parts; /* of a pooled row: 2 where it is pooled over the block before, too */
    umbra_index index;
    int pooled, pooling; /* what the state keeps beside the layer's own (umbra_config.kept): the
                            pooled rows, and of what they are pooled; 0: none */
    int cache_heads, cache_key, cache_value; /* what the cache keeps of a position */
    int window;         /* positions that a row sees, its own included; 0: all */
    int rope;           /* which of umbra_config.rope; -1: nothing is rotated */
    float scale;        /* of query * key */
    bool norms_rotated; /* queries and keys are normed behind the rotation, not before it */
    bool bare_qk_norm;  /* of each head, without weights */
    bool bare_v_norm;
    bool alone; /* no feed-forward block follows in the layer */
    bool gated; /* the rows of each head's query are followed by those of a gate for its output */
} umbra_attention;

/* The residual stream of some models is several, of which each half of a layer mixes its input, and
 * to which it adds its output by weights that are worked out for every token (hyper-connections).
 */
typedef struct umbra_streams {
    int count;      /* 1: the usual one */
    int iterations; /* of making rows and columns of the weights between streams sum to 1 */
    float eps;
    int rank; /* of what gates each value of the normed streams before they are averaged; what they
                 give joins each by a weight alone. 0: as above */
} umbra_streams;

/* What the last tokens say together, in front of one layer: rows of a table, from one for two
 * tokens to some for `size` of them, `heads` each, go as one state to the streams, which take it in
 * as far as it fits them, behind a short convolution over positions that lie `size` apart. */
typedef struct umbra_ngrams {
    int size;  /* tokens at most; 0: there is no such thing */
    int heads; /* for each number of tokens: its rows [first_row, first_row + rows) */
    int layer;
    int width; /* of a row; all of a token's are as wide as a state */
    int taps;
    int end;  /* the token before which nothing counts; stands for all that is missing */
    int kept; /* what the state keeps of it (umbra_config.kept) */
    uint64_t multiplier[UMBRA_MAX_NGRAM]; /* of the token itself, the one before, ... */
    uint64_t first_row[UMBRA_MAX_NGRAM_HEADS], rows[UMBRA_MAX_NGRAM_HEADS];
} umbra_ngrams;

/* The largest values that a layer's SwiGLU takes in: gate at most so much, up in [-limit, limit];
 * 0: any. */
typedef struct umbra_clamp {
    float experts, shared;
} umbra_clamp;

typedef struct umbra_config {
    int layers, hidden, vocabulary;
    int context;                /* positions, at most */
    const char *context_reason; /* why that is less than the file's own; NULL: it is not */
    int mtp_layers;        /* blocks behind the layers that foretell further tokens (nextn.h) */
    bool mtp_normed;       /* what these get of a token is behind the output norm, not before it */
    umbra_attention usual; /* what the keys say of all layers, and most are */
    umbra_attention *attention; /* (layers) */
    int kept;                   /* what the state keeps apart: of each layer, then of those that
                                   pool, what attention[].pooled and .pooling name */
    umbra_streams streams;
    umbra_ngrams ngrams;
    umbra_clamp *clamp;  /* (layers), or NULL: none */
    int layers_by_token; /* leading layers whose experts a token's id alone names */
    umbra_rope rope[UMBRA_ROPES];
    float rms_eps;
    float embedding_scale, residual_scale; /* of embeddings; of what joins the residual stream */
    float logit_scale;                     /* of logits, which are then */
    float logit_cap;                       /* cap * tanh(logit / cap); 0: are not */
    int experts, experts_used, expert_width;
    int expert_hidden; /* of what experts get and give: hidden, or where they work on a latent of
                          the residual stream its width */
    umbra_router router;
    umbra_activation activation; /* of all feed-forward blocks */
    int dense_layers;            /* leading ones, without experts */
    int moe_period;   /* behind them layers l with (l + 1) % moe_period == 0 have experts */
    int dense_width;  /* inner width of the feed-forward block of the others */
    int shared_width; /* of the experts that every token uses, as one; 0: none */
    bool post_norms;  /* the two halves of a feed-forward block are normed and summed
                         before they join the residual stream */
} umbra_config;

/* Tensors that every token needs, by role. Shapes in the terms of umbra_config; matrices are
 * (rows, columns) with columns contiguous. A layout names those that it has. */
typedef enum umbra_role {
    UMBRA_ATTN_NORM,      /* (hidden) */
    UMBRA_ATTN_Q,         /* (heads * key_dim, hidden or q_rank); twice the rows if gated */
    UMBRA_ATTN_K,         /* (kv_heads * key_dim, hidden) */
    UMBRA_ATTN_V,         /* (kv_heads * value_dim, hidden); neither it nor QKV: what K gives */
    UMBRA_ATTN_QKV,       /* the rows of all three, in place of them */
    UMBRA_ATTN_Q_BIAS,    /* (heads * key_dim) */
    UMBRA_ATTN_K_BIAS,    /* (kv_heads * key_dim) */
    UMBRA_ATTN_V_BIAS,    /* (kv_heads * value_dim) */
    UMBRA_ATTN_QKV_BIAS,  /* of all three */
    UMBRA_ATTN_Q_NORM,    /* (key_dim), each head alone, or (heads * key_dim) */
    UMBRA_ATTN_K_NORM,    /* (key_dim) or (kv_heads * key_dim) */
    UMBRA_ATTN_SINKS,     /* (heads) a score that takes part in the softmax and has no value */
    UMBRA_ATTN_Q_A,       /* (q_rank, hidden) */
    UMBRA_ATTN_Q_A_NORM,  /* (q_rank) */
    UMBRA_ATTN_KV_A,      /* (kv_rank + rope.dim, hidden) */
    UMBRA_ATTN_KV_A_NORM, /* (kv_rank) */
    UMBRA_ATTN_K_B,       /* (heads, kv_rank, key_dim - rope.dim), with V_B, or else KV_B */
    UMBRA_ATTN_V_B,       /* (heads, value_dim, kv_rank) */
    UMBRA_ATTN_KV_B,      /* (heads, key_dim - rope.dim + value_dim, kv_rank) */
    UMBRA_INDEX_Q,        /* (index heads * dim, q_rank or hidden) */
    UMBRA_INDEX_Q_NORM,   /* (index dim) of each head; may be NULL */
    UMBRA_INDEX_K,      /* (index dim, hidden), or of what is pooled (index parts * dim, hidden) */
    UMBRA_INDEX_K_NORM, /* (index dim) */
    UMBRA_INDEX_K_BIAS, /* (index dim) of that norm, which is then one with a mean */
    UMBRA_INDEX_WEIGHT, /* (index heads, hidden); NULL: 1 */
    UMBRA_INDEX_SCORES, /* (index parts * dim, hidden); INDEX_PLACE: (ratio, the same); of pooled
                           keys, as POOL_SCORES and POOL_PLACE */
    UMBRA_INDEX_PLACE,
    UMBRA_ATTN_KV,     /* (key_dim, hidden) keys that are values; KV_A_NORM norms them */
    UMBRA_ATTN_OUT_A,  /* (out_groups * out_rank, heads * value_dim / out_groups), before OUT */
    UMBRA_POOL_VALUES, /* (ratio_parts * key_dim, hidden) of what is pooled */
    UMBRA_POOL_SCORES, /* the same; their softmax over a block's positions weighs the values */
    UMBRA_POOL_PLACE,  /* (ratio, ratio_parts * key_dim) added to the scores, by place in a block */
    UMBRA_POOL_NORM,   /* (key_dim) of pooled rows */
    UMBRA_ATTN_MIX,    /* (streams * (streams + 2), streams * hidden) how attention mixes them */
    UMBRA_ATTN_MIX_SCALE, /* (3) of what that gives for input, output and between streams */
    UMBRA_ATTN_MIX_BASE,  /* (streams * (streams + 2)) added to it */
    UMBRA_FFN_MIX,        /* the same for the second half of a layer */
    UMBRA_FFN_MIX_SCALE,
    UMBRA_FFN_MIX_BASE,
    /* Of recurrent layers. Their channels are queries, keys, values (ATTN_QKV, or Q, K and V); in
     * Mamba-2 values, keys, queries. K: key_heads * key_dim, V: heads * value_dim. */
    UMBRA_SSM_IN,          /* (2 K + 2 V, hidden) for each key head in turn query, key, values of
                              its heads, gates of its heads; in place of ATTN_QKV and SSM_GATE. */
    UMBRA_SSM_GATE,        /* (V, hidden) */
    UMBRA_SSM_GATE_A,      /* (bottleneck, hidden), with SSM_GATE_B in place of SSM_GATE */
    UMBRA_SSM_GATE_B,      /* (V, bottleneck) */
    UMBRA_SSM_RATES,       /* (2 heads, hidden) for each key head in turn rates of its heads, steps
                              of its heads; or */
    UMBRA_SSM_RATE,        /* (heads, hidden) */
    UMBRA_SSM_STEP,        /* (heads, hidden) */
    UMBRA_SSM_STEP_A,      /* (bottleneck, hidden), with SSM_STEP_B in place of SSM_STEP */
    UMBRA_SSM_STEP_B,      /* (heads * key_dim, bottleneck) */
    UMBRA_SSM_STEP_BIAS,   /* (heads), or (heads * key_dim) */
    UMBRA_SSM_A,           /* (heads) states fade by exp(softplus(step + bias) * it) */
    UMBRA_SSM_SKIP,        /* (heads) how much of a value goes by the state */
    UMBRA_SSM_CONV,        /* (channels, taps) oldest position first, or one of each: */
    UMBRA_SSM_CONV_Q,      /* (K, taps) */
    UMBRA_SSM_CONV_K,      /* (K, taps) */
    UMBRA_SSM_CONV_V,      /* (V, taps) */
    UMBRA_SSM_CONV_BIAS,   /* (channels) */
    UMBRA_SSM_NORM,        /* (value_dim) of each head's output, or in Mamba-2 (groups, V / groups)
                              of all heads of a group, behind the gate */
    UMBRA_ATTN_MIX_NORM,   /* (streams, hidden); these four in place of ATTN_MIX and so on */
    UMBRA_ATTN_MIX_DOWN,   /* (streams.rank, streams * hidden) */
    UMBRA_ATTN_MIX_UP,     /* (streams * hidden, streams.rank) */
    UMBRA_ATTN_MIX_INJECT, /* (streams, streams * hidden) */
    UMBRA_FFN_MIX_NORM,    /* the same for the second half of a layer */
    UMBRA_FFN_MIX_DOWN,
    UMBRA_FFN_MIX_UP,
    UMBRA_FFN_MIX_INJECT,
    UMBRA_NGRAM_KEY,        /* (streams * hidden, hidden) of config.ngrams */
    UMBRA_NGRAM_VALUE,      /* (hidden, hidden) */
    UMBRA_NGRAM_KEY_NORM,   /* (streams, hidden) */
    UMBRA_NGRAM_QUERY_NORM, /* (streams, hidden) of the streams */
    UMBRA_NGRAM_CONV_NORM,  /* (streams, hidden) */
    UMBRA_NGRAM_CONV,       /* (streams * hidden, taps) oldest position first */
    UMBRA_CONV_IN,          /* (3 * hidden, hidden) what opens, what closes, the input */
    UMBRA_CONV,             /* (hidden, conv) oldest position first */
    UMBRA_ATTN_OUT,         /* (hidden, heads * value_dim or out_groups * out_rank) */
    UMBRA_ATTN_OUT_BIAS,    /* (hidden) */
    UMBRA_ATTN_POST_NORM,   /* (hidden) of what attention gives, before it joins x */
    UMBRA_FFN_NORM,         /* (hidden) */
    UMBRA_EXPERT_NORM,      /* (hidden) of x before the experts, where FFN_NORM is of FFN_* alone */
    UMBRA_ROUTER_NORM,      /* (hidden) of x before the router, where that has one of its own */
    UMBRA_FFN_POST_NORM,    /* (hidden) of what FFN_* give; with BLOCK_POST_NORM, as the next */
    UMBRA_EXPERT_POST_NORM, /* (hidden) of what the experts give */
    UMBRA_BLOCK_POST_NORM,  /* (hidden) of the sum of both, before it joins x */
    UMBRA_LAYER_SCALE,      /* (1) of x, behind all else */
    UMBRA_LATENT_DOWN,      /* (expert_hidden, hidden) what experts get of the normed x, and */
    UMBRA_LATENT_UP,        /* (hidden, expert_hidden) of the sum of what they give */
    UMBRA_ROUTER,           /* (experts, hidden) */
    UMBRA_ROUTER_BIAS,      /* (experts) */
    UMBRA_SELECTION_BIAS,   /* (experts) */
    UMBRA_TOKEN_EXPERTS,    /* (vocabulary, experts_used) ids, in place of choosing; I32 */
    UMBRA_GATE_SCALE,       /* (experts) factors of what an expert's slices give, before biases */
    UMBRA_UP_SCALE,         /* (experts) */
    UMBRA_DOWN_SCALE,       /* (experts) */
    UMBRA_GATE_BIAS,        /* (experts, width) */
    UMBRA_UP_BIAS,          /* (experts, width) */
    UMBRA_DOWN_BIAS,        /* (experts, expert_hidden) */
    UMBRA_FFN_GATE,      /* (dense_width or shared_width, hidden): all of a dense layer, or what */
    UMBRA_FFN_UP,        /* the same   every token uses beside the chosen experts */
    UMBRA_FFN_DOWN,      /* (hidden, dense_width or shared_width) */
    UMBRA_SHARED_ROUTER, /* (1, hidden): sigmoid of it weighs the shared expert */
    /* Of a block that foretells a further token alone (nextn.h). */
    UMBRA_NEXTN_PROJECTION,     /* (hidden, 2 * hidden) */
    UMBRA_NEXTN_EMBEDDING_NORM, /* (hidden) */
    UMBRA_NEXTN_STATE_NORM,     /* (hidden) */
    UMBRA_LAYER_ROLES
} umbra_role;

typedef enum umbra_model_role {
    UMBRA_TOKEN_EMBEDDING,  /* (vocabulary, hidden) */
    UMBRA_OUTPUT_NORM,      /* (hidden) */
    UMBRA_OUTPUT,           /* (vocabulary, hidden); the embedding where it is tied */
    UMBRA_ROPE_FACTORS,     /* (rope[0].dim / 2) by which each pair is slowed; may be NULL */
    UMBRA_OUTPUT_MIX,       /* (streams, streams * hidden) how the output mixes streams */
    UMBRA_OUTPUT_MIX_SCALE, /* (1) */
    UMBRA_OUTPUT_MIX_BASE,  /* (streams) */
    UMBRA_OUTPUT_MIX_NORM,  /* (streams, hidden); these three in place of OUTPUT_MIX and so on */
    UMBRA_OUTPUT_MIX_DOWN,  /* (streams.rank, streams * hidden) */
    UMBRA_OUTPUT_MIX_UP,    /* (streams * hidden, streams.rank) */
    UMBRA_MODEL_ROLES
} umbra_model_role;

/* The slices of an expert, in the order of umbra_store slices. */
enum { UMBRA_GATE, UMBRA_UP, UMBRA_DOWN };

/* What a layer's experts have in common: gate and up are (width, expert_hidden), down
 * (expert_hidden, width). There may be no gate. */
typedef struct umbra_expert_matrix {
    const umbra_gguf_tensor *tensor; /* of expert 0, or of all; for its type and messages */
    int rows, columns;               /* of one expert */
} umbra_expert_matrix;

typedef struct umbra_layer_tensors {
    const umbra_gguf_tensor *role[UMBRA_LAYER_ROLES]; /* NULL: the layer has none */
    umbra_expert_matrix experts[UMBRA_STORE_SLICES];  /* tensor NULL: a layer without experts */
} umbra_layer_tensors;

struct umbra_model {
    umbra_gguf *gguf;
    umbra_tokenizer *tokenizer;
    umbra_config config;
    umbra_model_info info;
    const umbra_gguf_tensor *role[UMBRA_MODEL_ROLES];
    umbra_layer_tensors *layers;      /* (layers) */
    const umbra_gguf_tensor *ngrams;  /* the table of config.ngrams, which stays in the file */
    umbra_slice *slices;              /* (layers, experts, UMBRA_STORE_SLICES) */
    const struct umbra_model *lender; /* a block's (nextn.h): whose weights serve for the roles that
                                         are the same tensor */
};

/* Whether a layer is to have experts. */
static inline bool umbra_layer_wants_experts(const umbra_config *c, int layer)
{
    return !c->attention[layer].alone && layer >= c->dense_layers &&
           (layer + 1) % c->moe_period == 0;
}

/* Whether one of the layers is to have none. */
static inline bool umbra_has_dense_layers(const umbra_config *c)
{
    return c->dense_layers > 0 || c->moe_period > 1;
}

static inline bool umbra_layer_has_experts(const umbra_model *model, int layer)
{
    return model->layers[layer].experts[UMBRA_DOWN].tensor != NULL;
}

/* Rows of queries or keys, and of values, of a recurrent layer; and its convolved channels. */
static inline int umbra_recurrent_keys(const umbra_attention *a)
{
    return a->recurrence.key_heads * a->key_dim;
}

static inline int umbra_recurrent_values(const umbra_attention *a)
{
    return a->heads * a->value_dim;
}

static inline int umbra_recurrent_channels(const umbra_attention *a)
{
    return 2 * umbra_recurrent_keys(a) + umbra_recurrent_values(a);
}

#endif
