/* A model file: what it says about itself, and its tokenizer.
 *
 * Opening reads only the file's header (metadata and tensor table), never weights. The handle is
 * immutable: every function of it may be called by any number of threads at once, and any number of
 * engines may use it; it must outlive them. */
#ifndef UMBRA_MODEL_H
#define UMBRA_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened model file. */
typedef struct umbra_model umbra_model;

/* The shape of a model. */
typedef struct umbra_model_info {
    char architecture[32];     /* "qwen3moe" */
    char name[128];            /* general.name, or "": UTF-8, cut between characters; control
                                  characters and bytes that are no UTF-8 are escaped in hex */
    int layers;                /* all of them */
    int mtp_layers;            /* blocks behind them that foretell further tokens, for drafts */
    int moe_layers;            /* layers with experts */
    int hidden;                /* width of the residual stream */
    int heads;                 /* query heads */
    int kv_heads;              /* key/value heads of the first layer that has any */
    int head_dim;              /* width of a head of that layer */
    int latent_width;          /* keys and values are one latent of this width; 0: per head */
    int cached_values;         /* the most that a layer's key/value cache keeps per position */
    int window;                /* positions that the layers with a window see; 0: none has one */
    int windowed_layers;       /* how many have one */
    int recurrent_layers;      /* that keep a state of all positions in place of keys and values */
    uint64_t state_bytes;      /* of one sequence's states in all of these; kept twice */
    int experts;               /* per layer */
    int experts_used;          /* per token and layer (k) */
    int expert_width;          /* inner width of an expert */
    int shared_width;          /* of the experts that every token uses, together; 0: none */
    char router[64];           /* how it chooses: "sigmoid, selection bias, 4 of 8 groups" */
    int vocabulary;            /* tokens */
    int context;               /* positions the model was trained for */
    uint64_t file_bytes;       /* of all shards */
    uint64_t bytes_per_expert; /* of the largest expert: its gate, up and down slices */
    uint64_t expert_bytes;     /* of all experts of all layers */
    uint64_t dense_bytes;      /* of everything that stays in memory */
    uint64_t table_bytes;      /* of a table that stays in the file: what a text's last tokens say
                                  together names its rows (n-gram memory); 0: there is none */
    uint64_t table_row_bytes;  /* of one of its rows */
} umbra_model_info;

/* One weight type that occurs in the file. */
typedef struct umbra_model_type {
    const char *name;     /* "Q4_0"; static storage */
    uint64_t tensors;     /* of this type */
    uint64_t bytes;       /* of these tensors */
    bool supported;       /* there are kernels for it (or no product needs it) */
    uint64_t reserved[2]; /* room for figures to come: zeros */
} umbra_model_type;

/* Opens and checks a GGUF file; of a model in shards (NAME-00001-of-00003.gguf) any one stands for
 * all, which must lie beside it. UMBRA_E_FORMAT: malformed (message with the byte offset);
 * UMBRA_E_UNSUPPORTED: an architecture or tokenizer that Umbra does not know, by name;
 * UMBRA_E_MISMATCH: a shard that does not belong to the others, by name.
 * On failure *out is NULL. */
UMBRA_API int umbra_model_open(umbra_model **out, const char *path, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
UMBRA_API void umbra_model_close(umbra_model **model);

/* The chat template in a GGUF file of any architecture (tokenizer.chat_template; of a model in
 * shards, name the first). *text is NUL-terminated and to be freed with free(); it may hold any
 * bytes. UMBRA_E_UNSUPPORTED: the file has none. On failure *text is NULL. */
UMBRA_API int umbra_model_read_template(const char *path, char **text, size_t *bytes,
                                        umbra_error *err);

/* Valid until the model is closed. */
UMBRA_API const umbra_model_info *umbra_model_get_info(const umbra_model *model);

enum { UMBRA_MODEL_HASH_CHARS = 33 /* 128 bits in hex and a NUL */ };

/* 128 bits in hex that name the model's routing: shapes, and samples of its routers, their norms
 * and the embedding. Files of one model that differ only in their experts' types share it; traces
 * and shadow models carry it. Reads a few megabytes at most. */
UMBRA_API int umbra_model_hash(const umbra_model *model, char out[UMBRA_MODEL_HASH_CHARS],
                               umbra_error *err);

/* The weight types in the file, most bytes first: writes at most max, returns how many there are.
 */
UMBRA_API int umbra_model_get_types(const umbra_model *model, umbra_model_type *out, int max);

enum {
    UMBRA_SURVEY_TYPES = 40,    /* weight types that a survey lists, at most */
    UMBRA_SURVEY_OBSTACLES = 4, /* reasons that it lists, at most */
};

/* What a GGUF file is, whether Umbra runs it or not. Texts are made fit to be printed, and "" where
 * the file does not say; so are numbers 0. */
typedef struct umbra_model_survey {
    char architecture[64];                      /* general.architecture */
    char name[128];                             /* general.name */
    char tokenizer[128];                        /* its model and its pre-tokeniser: "gpt2, qwen2" */
    char roles[2048];                           /* of a layer's tensors, "attn_norm, attn_q, ..." */
    bool architecture_known;                    /* there is a layout of that name */
    uint64_t file_bytes;                        /* of all shards */
    uint64_t files;                             /* shards */
    uint64_t keys;                              /* of metadata */
    uint64_t tensors;                           /* in all */
    uint64_t layers;                            /* blocks */
    uint64_t hidden;                            /* width of the residual stream */
    uint64_t experts;                           /* per layer */
    uint64_t experts_used;                      /* per token and layer */
    uint64_t context;                           /* positions the model was trained for */
    uint64_t expert_bytes;                      /* of tensors that hold experts, by their names */
    uint64_t other_bytes;                       /* of all others */
    umbra_model_type type[UMBRA_SURVEY_TYPES];  /* (n_types) most bytes first */
    int n_types;                                /* weight types in the file */
    int n_obstacles;                            /* 0: umbra_model_open opens it */
    char obstacle[UMBRA_SURVEY_OBSTACLES][512]; /* (n_obstacles) what stands in the way: the
                                                   architecture, the tokenizer, the first key or
                                                   tensor that is missing or not known */
} umbra_model_survey;

/* Looks at a GGUF file of any architecture; of a model in shards any one stands for all.
 * UMBRA_E_FORMAT, UMBRA_E_UNSUPPORTED, UMBRA_E_MISMATCH, UMBRA_E_IO: its header cannot be read.
 * What keeps a sound file from being run is no error but an obstacle. */
UMBRA_API int umbra_model_survey_file(umbra_model_survey *out, const char *path, umbra_error *err);

/* What opening the file took otherwise than it is written there, or left out: sentence i (from 0),
 * or NULL after the last. Valid until the model is closed. */
UMBRA_API const char *umbra_model_get_note(const umbra_model *model, int i);

/* Text to token ids. bos: begin with BOS if the file asks for it. special: the texts of control
 * tokens ("<|endoftext|>") become those tokens; those of user-defined ones always do. On success
 * *ids holds *count ids; free it with umbra_free_tokens. Bytes that are not UTF-8 are kept; what
 * the vocabulary has no token for becomes its unknown token, or nothing. Needs a few bytes of
 * memory per byte of text, and time in proportion to it. */
UMBRA_API int umbra_tokenize(const umbra_model *model, const char *text, size_t bytes, bool bos,
                             bool special, int32_t **ids, size_t *count, umbra_error *err);
/* The same, but stops after `most` tokens, and costs no more than those: to learn whether a text of
 * any length fits. */
UMBRA_API int umbra_tokenize_first(const umbra_model *model, const char *text, size_t bytes,
                                   bool bos, bool special, size_t most, int32_t **ids,
                                   size_t *count, umbra_error *err);
/* Accepts NULL. */
UMBRA_API void umbra_free_tokens(int32_t *ids);

/* The bytes of one token: at most size are written (none if it has more); returns how many it
 * has. Special tokens have none unless `special`. The bytes of one token need not be whole UTF-8
 * characters; those of consecutive tokens together are. With SentencePiece the first token of a
 * text begins with the space that the tokenizer has put before it. */
UMBRA_API size_t umbra_detokenize(const umbra_model *model, int32_t id, bool special, char *out,
                                  size_t size);

/* The token ends a text or a turn: by a key of the file, or by its well-known name. */
UMBRA_API bool umbra_is_end_token(const umbra_model *model, int32_t id);
/* All tokens that do: writes the ids of at most max, returns how many there are. */
UMBRA_API int umbra_model_get_end_tokens(const umbra_model *model, int32_t *out, int max);
/* BOS, or -1 if the file has none. */
UMBRA_API int32_t umbra_bos_token(const umbra_model *model);

#ifdef __cplusplus
}
#endif
#endif
