/* Inside of umbra_model: hyper-parameters, the role of each tensor, and where experts lie. */
#ifndef UMBRA_MODEL_MODEL_H
#define UMBRA_MODEL_MODEL_H

#include <umbra/model.h>
#include <umbra/store.h>

#include "gguf/gguf.h"
#include "model/tokenizer.h"

enum { UMBRA_MAX_USED = 64 /* experts per token and layer */ };

typedef struct umbra_config {
    int layers, hidden, vocabulary, context;
    int heads, kv_heads, key_dim, value_dim; /* dims per head */
    float rms_eps;
    float rope_base;
    int experts, experts_used, expert_width;
} umbra_config;

/* Tensors that every token needs, by role. Shapes in the terms of umbra_config; matrices are
 * (rows, columns) with columns contiguous. */
typedef enum umbra_role {
    UMBRA_ATTN_NORM,   /* (hidden) */
    UMBRA_ATTN_Q,      /* (heads * key_dim, hidden) */
    UMBRA_ATTN_K,      /* (kv_heads * key_dim, hidden) */
    UMBRA_ATTN_V,      /* (kv_heads * value_dim, hidden) */
    UMBRA_ATTN_Q_NORM, /* (key_dim) */
    UMBRA_ATTN_K_NORM, /* (key_dim) */
    UMBRA_ATTN_OUT,    /* (hidden, heads * value_dim) */
    UMBRA_FFN_NORM,    /* (hidden) */
    UMBRA_ROUTER,      /* (experts, hidden) */
    UMBRA_LAYER_ROLES
} umbra_role;

typedef enum umbra_model_role {
    UMBRA_TOKEN_EMBEDDING, /* (vocabulary, hidden) */
    UMBRA_OUTPUT_NORM,     /* (hidden) */
    UMBRA_OUTPUT,          /* (vocabulary, hidden); the embedding where it is tied */
    UMBRA_MODEL_ROLES
} umbra_model_role;

/* The slices of an expert, in the order of umbra_store slices. */
enum { UMBRA_GATE, UMBRA_UP, UMBRA_DOWN };

typedef struct umbra_layer_tensors {
    const umbra_gguf_tensor *role[UMBRA_LAYER_ROLES];
    const umbra_gguf_tensor *experts[UMBRA_STORE_SLICES]; /* gate, up (experts, width, hidden),
                                                             down (experts, hidden, width) */
} umbra_layer_tensors;

struct umbra_model {
    umbra_gguf *gguf;
    umbra_tokenizer *tokenizer;
    umbra_config config;
    umbra_model_info info;
    const umbra_gguf_tensor *role[UMBRA_MODEL_ROLES];
    umbra_layer_tensors *layers; /* (layers) */
    umbra_slice *slices;         /* (layers, experts, UMBRA_STORE_SLICES) */
};

/* One model layout: reads the hyper-parameters and finds the tensors. To add one, write a file
 * architecture_NAME.c and a line in architecture.c. */
typedef struct umbra_architecture {
    const char *name; /* general.architecture */
    int (*load)(umbra_model *model, umbra_error *err);
} umbra_architecture;

/* NULL for an unknown name. */
const umbra_architecture *umbra_architecture_find(umbra_string name);
/* "qwen3moe, ..." for messages. */
const char *umbra_architecture_names(void);

extern const umbra_architecture umbra_architecture_qwen3moe;

#endif
