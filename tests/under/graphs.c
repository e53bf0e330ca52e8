/* Graphs over a model file's experts. */
#include "graphs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void need(bool what, const char *why)
{
    if (what)
        return;
    fprintf(stderr, "host: %s\n", why);
    exit(1);
}

static uint32_t number(const host *h, const char *name)
{
    char key[64];
    uint32_t value = 0;
    umbra_string arch;
    need(umbra_gguf_get_string(h->gguf, "general.architecture", &arch, NULL) == 1, "no layout");
    snprintf(key, sizeof key, "%.*s.%s", (int)arch.bytes, arch.data, name);
    need(umbra_gguf_get_u32(h->gguf, key, &value, NULL) == 1, key);
    return value;
}

void host_open(host *h, const char *path, bool mapped)
{
    struct stat st;
    *h = (host){.mapped = mapped, .fd = open(path, O_RDONLY)};
    need(h->fd >= 0 && fstat(h->fd, &st) == 0, "cannot open the model");
    need(umbra_gguf_open(&h->gguf, path, NULL) == 0, "no model");
    h->bytes = (size_t)st.st_size;
    h->layers = (int)number(h, "block_count");
    h->experts = (int)number(h, "expert_count");
    h->used = (int)number(h, "expert_used_count");
    h->hidden = (int)number(h, "embedding_length");
    if (mapped) {
        h->map = mmap(NULL, h->bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, h->fd, 0);
        need(h->map != MAP_FAILED, "cannot map the model");
        return;
    }
    h->map = malloc(h->bytes);
    need(h->map && pread(h->fd, h->map, h->bytes, 0) == (ssize_t)h->bytes, "cannot read the model");
}

void host_close(host *h)
{
    if (h->mapped)
        munmap(h->map, h->bytes);
    else
        free(h->map);
    close(h->fd);
    umbra_gguf_close(&h->gguf);
}

/* xorshift */
static uint32_t chance(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 32);
}

static struct ggml_tensor *add(host_graph *g, struct ggml_tensor *t)
{
    g->graph.node[g->graph.n++] = t;
    need(g->graph.n <= STUB_MOST_NODES, "too many nodes");
    return t;
}

/* A tensor of the file at its place. */
static struct ggml_tensor *weight(host_graph *g, const host *h, int layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    const umbra_gguf_tensor *file = umbra_gguf_tensor_find(h->gguf, full);
    need(file != NULL, full);
    struct ggml_tensor *t = ggml_new_tensor(g->context, STUB_F32, 1, (int64_t[]){1});
    for (int i = 0; i < 3; i++)
        t->ne[i] = (int64_t)file->shape[i];
    t->nb[2] = (size_t)(file->bytes / file->shape[2]);
    t->data = h->map + file->offset;
    t->buffer = h->map;
    return ggml_set_name(t, full);
}

/* Rows of distinct experts by chance. */
static void choose(struct ggml_tensor *ids, int experts, uint64_t *seed)
{
    for (int64_t r = 0; r < ids->ne[1]; r++) {
        int32_t *row = (int32_t *)(void *)((char *)ids->data + (size_t)r * ids->nb[1]);
        uint32_t first = chance(seed), step = 1 + chance(seed) % 3;
        for (int64_t i = 0; i < ids->ne[0]; i++)
            row[i] = (int32_t)((first + (uint32_t)i * step) % (uint32_t)experts);
    }
}

static void add_layer(host_graph *g, const host *h, int layer, int rows, uint64_t *seed,
                      enum host_ids kind)
{
    char name[64];
    void *c = g->context;
    struct ggml_tensor *x = ggml_new_tensor(c, STUB_F32, 2, (int64_t[]){h->hidden, rows});
    for (int i = 0; i < h->hidden * rows; i++)
        ((float *)x->data)[i] = (float)(chance(seed) % 1000) / 500 - 1;
    struct ggml_tensor *normed =
        add(g, ggml_mul(c, add(g, ggml_rms_norm(c, x, 1e-6f)), weight(g, h, layer, "ffn_norm")));
    struct ggml_tensor *scores =
        add(g, ggml_mul_mat(c, weight(g, h, layer, "ffn_gate_inp"), normed));
    struct ggml_tensor *ids = ggml_new_tensor(c, STUB_I32, 2, (int64_t[]){h->used, rows});
    ids->src[0] = scores;
    snprintf(name, sizeof name, "%s-%d", kind == IDS_OTHER_NAME ? "chosen" : "ffn_moe_topk", layer);
    ggml_set_name(ids, name);
    if (kind == IDS_ON_DEVICE)
        ids->buffer = x->buffer = ggml_backend_reg_get_proc_address(NULL, "device");
    choose(ids, h->experts, seed);
    add(g, ids);
    static const char *const parts[] = {"ffn_up_exps", "ffn_gate_exps", "ffn_down_exps"};
    for (int i = 0; i < 3; i++)
        add(g, ggml_mul_mat_id(c, weight(g, h, layer, parts[i]), normed, ids));
}

void host_graph_make(host_graph *g, const host *h, int rows, uint64_t *seed, enum host_ids ids)
{
    size_t bytes = (size_t)h->layers * ((size_t)h->hidden * (size_t)rows * 24 + 65536);
    *g = (host_graph){.context = ggml_init((struct ggml_init_params){.mem_size = bytes})};
    for (int layer = 0; layer < h->layers; layer++)
        add_layer(g, h, layer, rows, seed, ids);
    add(g, ggml_set_name(ggml_new_tensor(g->context, STUB_F32, 1, (int64_t[]){1}), "output"));
}

void host_graph_free(host_graph *g)
{
    ggml_free(g->context);
}
