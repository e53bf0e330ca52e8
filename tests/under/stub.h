/* A library with those functions of ggml and llama.cpp that Umbra calls or stands before, and just
 * enough behind them: graphs of a few operations, computed node by node as ggml's scheduler does,
 * with the same callbacks. A product with experts is a checksum of the bytes of those that its rows
 * use. */
#ifndef UMBRA_TESTS_UNDER_STUB_H
#define UMBRA_TESTS_UNDER_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stub_op { STUB_NONE, STUB_MUL, STUB_RMS_NORM, STUB_MUL_MAT, STUB_MUL_MAT_ID, STUB_VIEW };
enum { STUB_F32 = 0, STUB_I32 = 26, STUB_MOST_NODES = 512 };

struct ggml_tensor {
    int32_t type;
    void *buffer;
#ifdef STUB_OTHER_LAYOUT /* a version that nobody has seen yet */
    int64_t stamp;
#endif
    int64_t ne[4];
    size_t nb[4];
    int32_t op;
    int32_t op_params[16];
    int32_t flags;
    struct ggml_tensor *src[10];
    struct ggml_tensor *view_src;
    size_t view_offs;
    void *data;
    char name[64];
    void *extra;
    char padding[8];
};

struct ggml_init_params {
    size_t mem_size;
    void *mem_buffer;
    bool no_alloc;
};

struct gguf_init_params {
    bool no_alloc;
    void **ctx;
};

enum { STUB_POLL = 50 /* by default */ };

struct ggml_threadpool_params {
    bool cpumask[512];
    int n_threads, prio;
    uint32_t poll;
    bool strict_cpu, paused;
};

typedef bool stub_eval(struct ggml_tensor *node, bool ask, void *user);

typedef struct stub_graph {
    struct ggml_tensor *node[STUB_MOST_NODES];
    int n;
    uint64_t sum; /* of all products, when it has been computed */
    int cuts;     /* of what is computed as one, right behind chosen experts */
} stub_graph;

typedef struct stub_scheduler {
    stub_eval *eval;
    void *user;
} stub_scheduler;

void *ggml_init(struct ggml_init_params params);
void ggml_free(void *context);
size_t ggml_tensor_overhead(void);
struct ggml_tensor *ggml_new_tensor(void *context, int type, int n, const int64_t *ne);
struct ggml_tensor *ggml_mul_mat_id(void *context, struct ggml_tensor *experts,
                                    struct ggml_tensor *x, struct ggml_tensor *ids);
struct ggml_tensor *ggml_mul_mat(void *context, struct ggml_tensor *a, struct ggml_tensor *b);
struct ggml_tensor *ggml_mul(void *context, struct ggml_tensor *a, struct ggml_tensor *b);
struct ggml_tensor *ggml_rms_norm(void *context, struct ggml_tensor *a, float eps);
struct ggml_tensor *ggml_view_1d(void *context, struct ggml_tensor *a, int64_t n, size_t offset);
struct ggml_tensor *ggml_set_name(struct ggml_tensor *a, const char *name);
void *ggml_get_data(const struct ggml_tensor *a);

bool ggml_backend_buffer_is_host(void *buffer);
void ggml_backend_tensor_get(const struct ggml_tensor *t, void *data, size_t offset, size_t bytes);
void *ggml_backend_reg_get_proc_address(void *registry, const char *name);
void ggml_threadpool_params_init(struct ggml_threadpool_params *params, int n_threads);
int ggml_graph_n_nodes(void *graph);
struct ggml_tensor *ggml_graph_node(void *graph, int i);
bool ggml_backend_sched_reserve(void *scheduler, void *graph);
void ggml_backend_sched_set_eval_callback(void *scheduler, stub_eval *eval, void *user);
int ggml_backend_sched_get_n_backends(void *scheduler);
int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph);
int ggml_backend_sched_graph_compute(void *scheduler, void *graph);
void ggml_backend_sched_free(void *scheduler);
void *gguf_init_from_file(const char *path, struct gguf_init_params params);
void llama_set_warmup(void *context, bool warmup);
extern bool stub_warmup; /* as llama_set_warmup had it last */

#endif
