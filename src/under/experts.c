/* Finds a file's experts by the names of their tensors. */
#include "under/experts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"

/* "blk.12.ffn_up_exps.weight" */
static bool parse_name(const char *name, int *layer, int *which)
{
    static const struct {
        const char *name;
        int which;
    } kinds[] = {{"gate", 0}, {"up", 1}, {"down", 2}, {"gate_up", 0}};
    int used = 0;
    char kind[16];
    if (sscanf(name, "blk.%d.ffn_%15[a-z_]%n", layer, kind, &used) != 2 ||
        strcmp(name + used, ".weight") != 0)
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(kind, kinds[i].name, n) == 0 && strcmp(kind + n, "_exps") == 0) {
            *which = kinds[i].which;
            return *layer >= 0 && *layer < 65536;
        }
    }
    return false;
}

static int add_tensor(umbra_experts *e, const umbra_gguf_tensor *t, umbra_error *err)
{
    umbra_stacked s = {.file = (int)t->file, .offset = t->offset, .bytes = t->bytes};
    snprintf(s.name, sizeof s.name, "%.*s", (int)t->name.bytes, t->name.data);
    if (t->name.bytes >= sizeof s.name || !parse_name(s.name, &s.layer, &s.which)) {
        e->other_bytes += t->bytes;
        return UMBRA_OK;
    }
    if (t->dimensions != 3 || t->shape[2] > 65535 || t->bytes % t->shape[2] != 0)
        return umbra_fail_at(err, UMBRA_E_FORMAT, t->offset,
                             "%s: \"%s\" is not made of as many equal parts as it has experts",
                             umbra_gguf_path(e->gguf), umbra_quote(s.name, strlen(s.name)).text);
    s.experts = (int)t->shape[2];
    e->expert_bytes += t->bytes;
    e->layers = s.layer >= e->layers ? s.layer + 1 : e->layers;
    e->experts = s.experts > e->experts ? s.experts : e->experts;
    e->stacked[e->n++] = s;
    return UMBRA_OK;
}

static int list_tensors(umbra_experts *e, umbra_error *err)
{
    uint64_t n = umbra_gguf_tensor_count(e->gguf);
    int rc = UMBRA_OK;
    e->stacked = umbra_calloc(n, sizeof *e->stacked);
    if (!e->stacked)
        return umbra_fail_nomem(err, "the table of experts", n * sizeof *e->stacked);
    for (uint64_t i = 0; rc == UMBRA_OK && i < n; i++)
        rc = add_tensor(e, umbra_gguf_tensor_at(e->gguf, i), err);
    return rc;
}

static int copy_paths(umbra_experts *e, umbra_error *err)
{
    e->n_paths = (int)umbra_gguf_file_count(e->gguf);
    e->paths = umbra_calloc((size_t)e->n_paths, sizeof *e->paths);
    for (int i = 0; e->paths && i < e->n_paths; i++) {
        e->paths[i] = umbra_strdup(umbra_gguf_file_path(e->gguf, (uint32_t)i));
        if (!e->paths[i])
            return umbra_fail_nomem(err, "a path", 0);
    }
    return e->paths ? UMBRA_OK : umbra_fail_nomem(err, "the table of files", 0);
}

/* Numbers that the file need not have: without them less can be foretold. */
static void read_numbers(umbra_experts *e)
{
    umbra_string arch;
    char key[128];
    uint32_t value;
    if (umbra_gguf_get_string(e->gguf, "general.architecture", &arch, NULL) == 1) {
        snprintf(key, sizeof key, "%.*s.expert_used_count", (int)arch.bytes, arch.data);
        if (umbra_gguf_get_u32(e->gguf, key, &value, NULL) == 1 && value <= 65535)
            e->used = (int)value;
    }
    for (int i = 0; i < e->n && e->hidden == 0; i++) {
        snprintf(key, sizeof key, "blk.%d.ffn_gate_inp.weight", e->stacked[i].layer);
        const umbra_gguf_tensor *router = umbra_gguf_tensor_find(e->gguf, key);
        if (router && router->dimensions == 2)
            e->hidden = (int)router->shape[0];
    }
}

int umbra_experts_open(umbra_experts *e, const char *path, umbra_error *err)
{
    *e = (umbra_experts){0};
    int rc = umbra_gguf_open_all(&e->gguf, path, err);
    if (rc == UMBRA_OK)
        rc = copy_paths(e, err);
    if (rc == UMBRA_OK)
        rc = list_tensors(e, err);
    if (rc == UMBRA_OK)
        read_numbers(e);
    else
        umbra_experts_close(e);
    return rc;
}

void umbra_experts_close(umbra_experts *e)
{
    for (int i = 0; e->paths && i < e->n_paths; i++)
        umbra_free(e->paths[i]);
    umbra_free(e->paths);
    umbra_free(e->stacked);
    umbra_gguf_close(&e->gguf);
    *e = (umbra_experts){0};
}

static int by_place(const void *a, const void *b)
{
    const umbra_stacked *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Tensors of layers that are not mapped whole are left out: blocks at the file's end that the host
 * did not load. */
static void leave_out_unmapped(umbra_experts *e)
{
    bool *gone = umbra_calloc((size_t)e->layers, sizeof *gone);
    int n = 0;
    for (int i = 0; gone && i < e->n; i++)
        gone[e->stacked[i].layer] |= !e->stacked[i].at;
    for (int i = 0; gone && i < e->n; i++) {
        if (gone[e->stacked[i].layer])
            e->expert_bytes -= e->stacked[i].bytes;
        else
            e->stacked[n++] = e->stacked[i];
    }
    e->n = n;
    umbra_free(gone);
}

int umbra_experts_locate(umbra_experts *e, const umbra_maps *maps, umbra_error *err)
{
    for (int i = 0; i < e->n; i++) {
        umbra_stacked *s = &e->stacked[i];
        s->at = umbra_maps_find(maps, s->file, s->offset, s->bytes);
    }
    leave_out_unmapped(e);
    if (e->n == 0)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: no layer's experts are mapped into memory; the model must be loaded "
                          "with mmap",
                          umbra_gguf_path(e->gguf));
    qsort(e->stacked, (size_t)e->n, sizeof *e->stacked, by_place);
    return UMBRA_OK;
}

void umbra_experts_slices(const umbra_experts *e, umbra_slice *slices, void **places)
{
    for (int i = 0; i < e->n; i++) {
        const umbra_stacked *s = &e->stacked[i];
        uint64_t bytes = s->bytes / (uint64_t)s->experts;
        for (int x = 0; x < s->experts; x++) {
            size_t at = ((size_t)s->layer * (size_t)e->experts + (size_t)x) * UMBRA_STORE_SLICES +
                        (size_t)s->which;
            slices[at] = (umbra_slice){
                .offset = s->offset + (uint64_t)x * bytes, .bytes = bytes, .file = s->file};
            places[at] = s->at + (uint64_t)x * bytes;
        }
    }
}

const umbra_stacked *umbra_experts_at(const umbra_experts *e, const void *data)
{
    umbra_stacked key;
    key.at = (char *)data;
    return bsearch(&key, e->stacked, (size_t)e->n, sizeof *e->stacked, by_place);
}

int umbra_experts_of(const umbra_experts *e, int layer)
{
    for (int i = 0; i < e->n; i++)
        if (e->stacked[i].layer == layer)
            return e->stacked[i].experts;
    return 0;
}
