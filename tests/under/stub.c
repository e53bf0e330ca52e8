/* A make-believe ggml. */
#include "stub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool stub_warmup;

/* A buffer of this address is a device's: what lies in it is fetched. */
static char device_buffer;

typedef struct pool {
    char *memory;
    size_t at, bytes;
} pool;

static void *take(pool *p, size_t bytes)
{
    bytes = (bytes + 63) / 64 * 64;
    if (p->at + bytes > p->bytes)
        abort();
    void *out = p->memory + p->at;
    p->at += bytes;
    return memset(out, 0, bytes);
}

void *ggml_init(struct ggml_init_params params)
{
    pool *p = calloc(1, sizeof *p);
    p->bytes = params.mem_size;
    p->memory = aligned_alloc(64, (params.mem_size + 63) / 64 * 64);
    return p;
}

void ggml_free(void *context)
{
    pool *p = context;
    free(p->memory);
    free(p);
}

size_t ggml_tensor_overhead(void)
{
    return sizeof(struct ggml_tensor) + 32;
}

static struct ggml_tensor *new_tensor(void *context, int type, int n, const int64_t *ne, int op)
{
    struct ggml_tensor *t = take(context, sizeof *t);
    size_t bytes = 4;
    t->type = type;
    t->op = op;
    for (int i = 0; i < 4; i++) {
        t->ne[i] = i < n ? ne[i] : 1;
        t->nb[i] = bytes;
        bytes *= (size_t)t->ne[i];
    }
    t->data = op == STUB_VIEW ? NULL : take(context, bytes);
    return t;
}

struct ggml_tensor *ggml_new_tensor(void *context, int type, int n, const int64_t *ne)
{
    return new_tensor(context, type, n, ne, STUB_NONE);
}

struct ggml_tensor *ggml_mul_mat_id(void *context, struct ggml_tensor *experts,
                                    struct ggml_tensor *x, struct ggml_tensor *ids)
{
    struct ggml_tensor *t = new_tensor(context, STUB_F32, 1, (int64_t[]){1}, STUB_MUL_MAT_ID);
    t->src[0] = experts;
    t->src[1] = x;
    t->src[2] = ids;
    return t;
}

static struct ggml_tensor *of_two(void *context, struct ggml_tensor *a, struct ggml_tensor *b,
                                  int op)
{
    struct ggml_tensor *t = new_tensor(context, STUB_F32, 2, a->ne, op);
    t->src[0] = a;
    t->src[1] = b;
    return t;
}

struct ggml_tensor *ggml_mul_mat(void *context, struct ggml_tensor *a, struct ggml_tensor *b)
{
    return of_two(context, a, b, STUB_MUL_MAT);
}

struct ggml_tensor *ggml_mul(void *context, struct ggml_tensor *a, struct ggml_tensor *b)
{
    return of_two(context, a, b, STUB_MUL);
}

struct ggml_tensor *ggml_rms_norm(void *context, struct ggml_tensor *a, float eps)
{
    (void)eps;
    return of_two(context, a, NULL, STUB_RMS_NORM);
}

struct ggml_tensor *ggml_view_1d(void *context, struct ggml_tensor *a, int64_t n, size_t offset)
{
    struct ggml_tensor *t = new_tensor(context, a->type, 1, &n, STUB_VIEW);
    t->src[0] = t->view_src = a;
    t->view_offs = offset;
    t->data = (char *)a->data + offset;
    return t;
}

struct ggml_tensor *ggml_set_name(struct ggml_tensor *a, const char *name)
{
    snprintf(a->name, sizeof a->name, "%s", name);
    return a;
}

void *ggml_get_data(const struct ggml_tensor *a)
{
    return a->data;
}

bool ggml_backend_buffer_is_host(void *buffer)
{
    return buffer != &device_buffer;
}

void ggml_backend_tensor_get(const struct ggml_tensor *t, void *data, size_t offset, size_t bytes)
{
    memcpy(data, (const char *)t->data + offset, bytes);
}

void ggml_threadpool_params_init(struct ggml_threadpool_params *params, int n_threads)
{
    memset(params->cpumask, 0, sizeof params->cpumask);
    params->n_threads = n_threads;
    params->prio = 0;
    params->poll = STUB_POLL;
    params->strict_cpu = params->paused = false;
}

/* Makes none: what it gives back is how long they would spin. */
static void *make_threads(void *params)
{
    return &((struct ggml_threadpool_params *)params)->poll;
}

void *ggml_backend_reg_get_proc_address(void *registry, const char *name)
{
    (void)registry;
    void *(*function)(void *) = make_threads;
    void *address = &device_buffer; /* also the way for tests to have its address */
    if (strcmp(name, "ggml_threadpool_new") == 0)
        memcpy(&address, &function, sizeof address);
    return address;
}

int ggml_graph_n_nodes(void *graph)
{
    return ((stub_graph *)graph)->n;
}

struct ggml_tensor *ggml_graph_node(void *graph, int i)
{
    return ((stub_graph *)graph)->node[i];
}

/* ---- the scheduler ---- */

static void add_bytes(uint64_t *sum, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *sum = (*sum ^ p[i]) * 1099511628211u;
}

/* The experts' bytes in the order of rows: what is not there yet, or gone, changes the sum. */
static void compute_node(stub_graph *g, const struct ggml_tensor *t)
{
    if (t->op != STUB_MUL_MAT_ID)
        return;
    const struct ggml_tensor *ids = t->src[2];
    for (int64_t r = 0; r < ids->ne[1]; r++)
        for (int64_t i = 0; i < ids->ne[0]; i++) {
            int32_t id;
            memcpy(&id, (char *)ids->data + (size_t)r * ids->nb[1] + (size_t)i * 4, sizeof id);
            add_bytes(&g->sum, (unsigned char *)t->src[0]->data + (size_t)id * t->src[0]->nb[2],
                      t->src[0]->nb[2]);
        }
}

bool ggml_backend_sched_reserve(void *scheduler, void *graph)
{
    (void)scheduler;
    return graph != NULL;
}

void ggml_backend_sched_set_eval_callback(void *scheduler, stub_eval *eval, void *user)
{
    stub_scheduler *s = scheduler;
    s->eval = eval;
    s->user = user;
}

/* The processor and a device. */
int ggml_backend_sched_get_n_backends(void *scheduler)
{
    return scheduler ? 2 : 0;
}

/* Nodes are computed up to the next one that the callback wants. */
int ggml_backend_sched_graph_compute_async(void *scheduler, void *graph)
{
    stub_scheduler *s = scheduler;
    stub_graph *g = graph;
    for (int first = 0, last; first < g->n; first = last + 1) {
        bool wanted = s->eval && s->eval(g->node[first], true, s->user);
        for (last = first; !wanted && last + 1 < g->n; last++)
            wanted = s->eval && s->eval(g->node[last + 1], true, s->user);
        for (int i = first; i <= last; i++)
            compute_node(g, g->node[i]);
        g->cuts += wanted && strncmp(g->node[last]->name, "ffn_moe_topk", 12) == 0;
        if (wanted && !s->eval(g->node[last], false, s->user))
            return 1;
    }
    return 0;
}

int ggml_backend_sched_graph_compute(void *scheduler, void *graph)
{
    return ggml_backend_sched_graph_compute_async(scheduler, graph);
}

void ggml_backend_sched_free(void *scheduler)
{
    free(scheduler);
}

void *gguf_init_from_file(const char *path, struct gguf_init_params params)
{
    (void)params;
    return (void *)(size_t)path;
}

void llama_set_warmup(void *context, bool warmup)
{
    (void)context;
    stub_warmup = warmup;
}
