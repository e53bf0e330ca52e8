/* What Umbra uses of ggml in a process of another's: some functions, found when they are first
 * needed, and the structure of a tensor. The structure is declared here as libggml has had it for
 * years; whether the library at hand still has it is tried before anything is believed. */
#ifndef UMBRA_UNDER_FOREIGN_H
#define UMBRA_UNDER_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/status.h>

enum {
    UMBRA_FOREIGN_DIMENSIONS = 4,
    UMBRA_FOREIGN_SOURCES = 10,
    UMBRA_FOREIGN_NAME = 64,
    UMBRA_FOREIGN_F32 = 0, /* ids of types, which files hold too */
    UMBRA_FOREIGN_I32 = 26,
};

/* struct ggml_tensor. */
typedef struct umbra_foreign_tensor umbra_foreign_tensor;
struct umbra_foreign_tensor {
    int32_t type;
    void *buffer;
    int64_t ne[UMBRA_FOREIGN_DIMENSIONS]; /* values, fastest first */
    size_t nb[UMBRA_FOREIGN_DIMENSIONS];  /* strides in bytes */
    int32_t op;
    int32_t op_params[16];
    int32_t flags;
    umbra_foreign_tensor *src[UMBRA_FOREIGN_SOURCES];
    umbra_foreign_tensor *view_src;
    size_t view_offs;
    void *data;
    char name[UMBRA_FOREIGN_NAME];
    void *extra;
    char padding[8];
};

/* Callback of a scheduler: asked for each node (ask), then handed those it wanted. */
typedef bool umbra_foreign_eval(umbra_foreign_tensor *node, bool ask, void *user);

typedef struct umbra_foreign {
    /* Numbers of operations, which change from version to version. */
    int32_t mul_mat_id, mul_mat, mul, rms_norm;
    bool (*buffer_is_host)(void *buffer);
    void (*tensor_get)(const umbra_foreign_tensor *tensor, void *data, size_t offset, size_t bytes);
    int (*graph_n_nodes)(void *graph);
    umbra_foreign_tensor *(*graph_node)(void *graph, int i);
} umbra_foreign;

/* The functions of the ggml in this process; NULL, with an error, where there is none or its
 * tensors are not those above. Any thread; tried once. */
const umbra_foreign *umbra_foreign_get(umbra_error *err);

/* A function of libggml or libllama, wherever the process has it, past hooks of the same name in
 * this library; NULL: there is none. */
typedef void umbra_foreign_function(void);
umbra_foreign_function *umbra_foreign_find(const char *name);

/* Whether the processor may look at the tensor's data. */
bool umbra_foreign_is_host(const umbra_foreign *f, const umbra_foreign_tensor *t);

#endif
