/* Test support: small models of every layout with random weights, one field of which can be
 * spoiled. */
#ifndef UMBRA_TESTS_MODEL_MAKE_H
#define UMBRA_TESTS_MODEL_MAKE_H

#include <umbra/model.h>

#include "../gguf/builder.h"

enum {
    MAKE_TOKENS = 257, /* vocabulary */
    MAKE_LAYERS = 3,
    MAKE_HIDDEN = 64,
    MAKE_HEADS = 2,
    MAKE_DIM = 32,  /* of a head: its value, and the part of its key that is not rotated */
    MAKE_ROPE = 16, /* deepseek2: the part that is */
    MAKE_LATENT = 64,
    MAKE_WIDTH = 32,
    MAKE_EXPERTS = 8,
    MAKE_USED = 2,
    MAKE_CONTEXT = 128, /* pages of keys and values have 64 positions */
    MAKE_PICKED = 8,    /* positions that an index picks */
    MAKE_STATE = 40,    /* recurrent layers: of a head's keys and values */
    MAKE_KEY_HEADS = 2,
    MAKE_STATE_HEADS = 4,
    MAKE_BY_KEY_HEAD = 2 * (MAKE_KEY_HEADS + MAKE_STATE_HEADS) * MAKE_STATE, /* rows of ssm_in */
};

/* What a case changes: a key's value, or a tensor's type, shape or presence. */
typedef struct fault {
    const char *name; /* key or tensor; NULL: no fault */
    enum { VALUE, ABSENT, TEXT, DTYPE, SHAPE } kind;
    uint64_t value;      /* VALUE; DTYPE; SHAPE: of the last dimension */
    const char *text;    /* TEXT */
    const char *message; /* must be in the refusal */
} fault;

bool make_hits(const fault *f, const char *name, int kind);
void make_u32(umbra_builder *b, const fault *f, const char *key, uint32_t value);
void make_string(umbra_builder *b, const fault *f, const char *key, const char *value);
/* Texts (NULL: none) of control tokens in the place of the last bytes, which no text has. */
enum { MAKE_CONTROLS = 11 };
extern const char *make_controls[MAKE_CONTROLS];
/* Byte-level BPE over single bytes, and an end token. */
void make_tokenizer(umbra_builder *b, const fault *f);

/* A key "{layout}.{name}". */
typedef struct make_key {
    const char *name;
    double value;
    /* The last three: arrays, an element of one digit for each layer; numbers between commas. */
    enum { MAKE_U32, MAKE_F32, MAKE_BOOL, MAKE_STRING, MAKE_U32S, MAKE_BOOLS, MAKE_U64S } type;
    const char *text;
} make_key;

/* "blk.N.{name}" in layers [from, to); to 0: from `from` on. Shape fastest first.
 * rope_freqs.weight, token_embd_norm.weight, in place of output_norm.weight, output_hc_* and
 * per_layer_token_embd.weight are the model's. */
typedef struct make_tensor {
    const char *name;
    uint64_t shape[3]; /* shape[0] 0: no such tensor (in place of a layout's own) */
    int from, to;
} make_tensor;

/* Lists end with an entry without a name. */
typedef struct make_layout {
    const char *name;
    const make_key *keys;
    const make_tensor *tensors;
} make_layout;

/* The values of a tensor (n of them, by its whole name): random, the same for the same name. Norms
 * are near 1, ids of a token's experts are distinct I32. Tensors that hold what others do in
 * another form (attn_k_b and attn_v_b, fused and single experts, attn_qkv, ssm_in, ssm_ba) are
 * derived from those. */
void make_values(const char *name, const uint64_t *shape, float *out);

/* Builds the model in memory. Entries of keys and tensors (NULL: none) replace the layout's of the
 * same name or are added; the fault (NULL: none) comes last. */
void make_build(umbra_builder *b, const make_layout *layout, const make_key *keys,
                const make_tensor *tensors, const fault *f);
/* The same, and opens it. The file must live as long as the model. */
int make_open(const make_layout *layout, const make_key *keys, const make_tensor *tensors,
              const fault *f, umbra_memory_file *file, umbra_model **model, umbra_error *err);

extern const make_layout make_olmoe, make_llama, make_qwen2moe, make_deepseek2, make_gpt_oss;
/* These have one key/value head in (most of) their layers. */
extern const make_layout make_glm4moe, make_minimax_m2, make_bailingmoe2, make_hunyuan_moe,
    make_granitemoe, make_ernie45_moe, make_gemma4, make_llama4, make_lfm2moe;
extern const make_layout make_glm_dsa, make_deepseek32, make_minimax_m3, make_deepseek4;

/* make_recurrent.c: two recurrent layers, and one that attends. */
extern const make_layout make_qwen35moe, make_qwen3next, make_qwen4exp, make_kimi_linear;
/* Mamba-2, experts, attention, experts. */
extern const make_layout make_nemotron_h_moe;
/* Two forms of qwen3next's, by key head and by kind. */
extern const make_tensor make_by_key_head[], make_by_kind[];

/* Other forms of the same weights: one tensor per expert, gate and up in one; queries, keys and
 * values in one; for deepseek2 attn_k_b and attn_v_b, with the keys that come with them. */
extern const make_tensor make_single[], make_fused[], make_joined[], make_split_latent[];
extern const make_key make_split_keys[];

#endif
