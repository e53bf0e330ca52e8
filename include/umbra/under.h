/* Umbra under llama.cpp: its experts in Umbra's store, in a program of somebody else's.
 *
 * A model that llama.cpp has mapped (mmap, not repacked, not locked) looks for every expert at an
 * address of its own. umbra_under_model makes those pages the store's: they hold what was read, and
 * the budget is never passed. llama.cpp tells the callback of its contexts (llama_context_params,
 * cb_eval) of every node that it computes, among them the experts chosen, before the products that
 * use them; umbra_under_eval has them read, holds them while they are used, and lets Umbra foretell
 * the coming ones. Nothing that is computed changes by it.
 *
 *     umbra_under *under;
 *     umbra_under_context *context;
 *     umbra_under_model(&under, "model.gguf", &(umbra_under_options){.expert_bytes = 4000000000},
 *                       &err);
 *     umbra_under_context_open(&context, under, NULL, NULL, &err);
 *     params.cb_eval = umbra_under_eval;          with the model's llama_context_params
 *     params.cb_eval_user_data = context;
 *     ... llama_init_from_model, llama_decode, llama_free ...
 *     umbra_under_context_close(&context);
 *     umbra_under_detach(&under);                 before llama_model_free
 *
 * With a graphics card, link with this library before llama.cpp's: Umbra then sees a graph before
 * it is computed, and does not cut what the card computes as one.
 *
 * Or without a line of code: `umbra under --experts 4G -- llama-server -m model.gguf` starts a
 * program with this library loaded before it, which does the same for every model with experts that
 * the program opens. Both are in libumbra-llama, Linux alone. */
#ifndef UMBRA_UNDER_H
#define UMBRA_UNDER_H

#include <umbra/runner.h>
#include <umbra/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ggml's. */
struct ggml_tensor;

/* A model of llama.cpp's whose experts Umbra keeps. */
typedef struct umbra_under umbra_under;
/* A context of llama.cpp's that computes with the model. */
typedef struct umbra_under_context umbra_under_context;

/* How to keep a model's experts. */
typedef struct umbra_under_options {
    uint64_t expert_bytes; /* budget for experts, never passed; at least the largest layer's, since
                              a prompt's batch may use all of one at once. 0: all experts */
    uint64_t ram_bytes;    /* or, with expert_bytes 0: for the whole process, of which what it has
                              allocated by now and the file's other tensors are taken off; 0: no
                              such limit */
    umbra_policy policy;   /* what is foretold by: off, previous, gate, shadow, always; or auto, by
                              the shadow if there is one, else by the routers, and only while that
                              saves time */
    const char *shadow;    /* trained file; NULL: none */
    const char *io;        /* as in umbra_store_options */
    int io_depth;          /* as in umbra_store_options */
    bool buffered;         /* as in umbra_store_options */
    bool verify;           /* as in umbra_store_options */
    const char *collect;   /* folder for a trace, begun or gone on with: of every prompt that is
                              computed at once, from its first position on, but for the first one;
                              NULL: none */
    const void *mapping; /* where the first file is mapped, if it is so more than once; NULL: where
                            it is found */
    uint64_t
        mapping_bytes;    /* with mapping: how far it reaches, other files of the model included */
    uint64_t reserved[3]; /* room for options to come: zeros */
} umbra_under_options;

/* What happened since the model was taken over. */
typedef struct umbra_under_stats {
    umbra_store_stats store;   /* of the cache and its reads */
    umbra_runner_stats runner; /* of the predictions; zeros while there are none */
    umbra_policy policy;       /* that forecasts are made by now; never auto */
    bool complete;          /* the budget holds all experts: they were read at once, and llama.cpp
                               goes on as if it were alone */
    int layers;             /* with experts */
    int experts;            /* per layer */
    uint64_t expert_bytes;  /* of all experts in the file */
    uint64_t other_bytes;   /* of the file's other tensors, which llama.cpp keeps as ever */
    uint64_t tokens;        /* rows that decoded, up to 8 together */
    uint64_t prompt_tokens; /* rows of larger batches */
    uint64_t inside_ns;     /* time from the first layer of graphs to their end */
    uint64_t whole_layers;  /* times that all experts of a layer had to be there, because it was
                               not known in time which are used */
    uint64_t reserved[4];   /* room for figures to come: zeros */
} umbra_under_stats;

/* Takes over the experts of the model in `path` (of one in shards, the first), which this process
 * has mapped with llama_model_load_from_file, before anything is computed with it. On failure *out
 * is NULL and nothing has changed. UMBRA_E_UNSUPPORTED: the file has no experts (nothing to be
 * done: go on without), or not all of them are mapped; UMBRA_E_BUDGET names the smallest budget
 * that works. */
UMBRA_API int umbra_under_model(umbra_under **out, const char *path,
                                const umbra_under_options *options, umbra_error *err);
/* Gives the pages back: they are mappings of the file again, to be read by the kernel when they are
 * looked at. Contexts must be closed before, and nothing may be under way in them. Accepts NULL,
 * nulls the pointer. */
UMBRA_API void umbra_under_detach(umbra_under **under);

/* One for every llama_context of the model. host: the callback that the host itself wants to be
 * called, with host_user; NULL: none. Any thread. */
UMBRA_API int umbra_under_context_open(umbra_under_context **out, umbra_under *under,
                                       bool (*host)(struct ggml_tensor *node, bool ask, void *user),
                                       void *host_user, umbra_error *err);
/* Accepts NULL, nulls the pointer. */
UMBRA_API void umbra_under_context_close(umbra_under_context **context);
/* The callback: `context` is an umbra_under_context. For the thread that computes. An expert that
 * cannot be read ends the process, as a page of a mapping that cannot be read does. */
UMBRA_API bool umbra_under_eval(struct ggml_tensor *node, bool ask, void *context);

/* Any thread. */
UMBRA_API void umbra_under_get_stats(umbra_under *under, umbra_under_stats *out);

#ifdef __cplusplus
}
#endif
#endif
