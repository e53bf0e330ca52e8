/* A program that knows nothing of Umbra: computes with a model's experts and prints what came out.
 * Usage: host MODEL [copy | other | device] [wait] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graphs.h"

static int outputs, cuts;

/* The host's own callback. */
static bool see_output(struct ggml_tensor *node, bool ask, void *user)
{
    bool mine = strcmp(node->name, "output") == 0;
    if (!ask && !mine)
        fprintf(stderr, "host: handed %s, which it did not ask for\n", node->name);
    *(int *)user += mine && !ask;
    return ask ? mine : true;
}

static void compute(stub_scheduler *s, const host *h, int rows, uint64_t *seed, enum host_ids ids)
{
    host_graph g;
    host_graph_make(&g, h, rows, seed, ids);
    if (ggml_backend_sched_graph_compute_async(s, &g.graph) != 0)
        exit(1);
    cuts += g.graph.cuts;
    printf("%d rows: %016llx\n", rows, (unsigned long long)g.graph.sum);
    host_graph_free(&g);
}

/* Says whether threads that it makes will spin when they have nothing to do. */
static void make_threads(const char *which, int n, uint32_t poll)
{
    struct ggml_threadpool_params params;
    void *(*make)(void *);
    void *address = ggml_backend_reg_get_proc_address(NULL, "ggml_threadpool_new");
    memcpy(&make, &address, sizeof make);
    ggml_threadpool_params_init(&params, n);
    params.poll = poll;
    fprintf(stderr, "host: %s threads %s\n", which, *(uint32_t *)make(&params) ? "spin" : "sleep");
}

int main(int argc, char **argv)
{
    static const int rows[] = {1, 20, 1, 1, 4, 4, 1, 60, 1, 8, 9, 1};
    const char *how = argc > 2 ? argv[2] : "";
    enum host_ids ids = strcmp(how, "other") == 0    ? IDS_OTHER_NAME
                        : strcmp(how, "device") == 0 ? IDS_ON_DEVICE
                                                     : IDS_NAMED;
    uint64_t seed = 88172645463325252u;
    host h;
    gguf_init_from_file(argv[1], (struct gguf_init_params){0});
    void *repack = ggml_backend_reg_get_proc_address(NULL, "ggml_backend_dev_get_extra_bufts");
    fprintf(stderr, "host: %s\n", repack ? "may repack" : "must not repack");
    host_open(&h, argv[1], strcmp(how, "copy") != 0);
    stub_scheduler *s = calloc(1, sizeof *s);
    host_graph g;
    host_graph_make(&g, &h, 1, &seed, ids);
    ggml_backend_sched_reserve(s, &g.graph);
    host_graph_free(&g);
    make_threads("many", 4096, STUB_POLL);
    make_threads("few", 0, STUB_POLL);
    make_threads("told", 4096, 2 * STUB_POLL);
    llama_set_warmup(NULL, true);
    fprintf(stderr, "host: %s\n", stub_warmup ? "warms up" : "does not warm up");
    ggml_backend_sched_set_eval_callback(s, see_output, &outputs);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        compute(s, &h, rows[i], &seed, ids);
    printf("%d outputs\n", outputs);
    fprintf(stderr, "host: %d cuts behind chosen experts\n", cuts);
    if (argc > 3) { /* until it is told to go on */
        fflush(stdout);
        (void)getchar();
    }
    ggml_backend_sched_free(s);
    host_close(&h);
    return 0;
}
