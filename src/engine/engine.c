/* Opens and closes an engine, and answers what it is. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "engine/internal.h"

int umbra_engine_open_store(umbra_store **out, const umbra_model *model,
                            const umbra_engine_options *o, uint64_t bytes, umbra_error *err)
{
    uint32_t n_paths = umbra_gguf_file_count(model->gguf);
    const char **paths = umbra_calloc(n_paths, sizeof *paths);
    if (!paths)
        return umbra_fail_nomem(err, "the paths of the model", n_paths * sizeof *paths);
    for (uint32_t i = 0; i < n_paths; i++)
        paths[i] = umbra_gguf_file_path(model->gguf, i);
    umbra_store_options options = {
        .paths = paths,
        .n_paths = (int)n_paths,
        .n_layers = model->config.layers,
        .n_experts = model->config.experts,
        .n_sequences = o->sequences,
        .slices = model->slices,
        .budget_bytes = bytes,
        .io = o->io,
        .buffered = o->buffered,
        .verify = o->verify,
    };
    int rc = umbra_store_open(out, &options, err);
    umbra_free(paths);
    return rc;
}

/* Reads go on while the engine computes. A backend that fails is told by the next batch. */
static void poll_store(void *engine)
{
    (void)umbra_store_poll(((umbra_engine *)engine)->store, NULL);
}

static int open_device(umbra_engine *e, umbra_error *err)
{
    int rc = umbra_pool_open(&e->pool, e->plan.threads, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_limits_started(&e->plan, umbra_pool_threads(e->pool));
    e->device = (umbra_device){
        .kernels = umbra_kernels_find(e->plan.kernels),
        .pool = e->pool,
        .threads = e->plan.threads,
        .tick = poll_store,
        .user = e,
    };
    return UMBRA_OK;
}

static int open_memory(umbra_engine *e, umbra_error *err)
{
    const umbra_config *c = &e->model->config;
    umbra_memory_plan *p = &e->plan;
    char *arena = umbra_map(p->scratch_bytes);
    umbra_scratch_place(&e->scratch, arena, c, p->chunk, UMBRA_LOGITS_ROWS, p->context, p->threads);
    e->forms = umbra_calloc((size_t)c->layers, sizeof *e->forms);
    e->rope_frequency =
        umbra_calloc((size_t)umbra_rope_at(c, UMBRA_ROPES) + 1, sizeof *e->rope_frequency);
    if (!arena || !e->forms || !e->rope_frequency)
        return umbra_fail_nomem(err, "activations", p->scratch_bytes);
    umbra_plan_forms(e->model, e->device.kernels, e->forms);
    umbra_state_shape shape = {e->forms, c->layers, e->sequences, p->context, p->chunk};
    return umbra_state_open(&e->state, &shape, err);
}

static int load_weights(umbra_engine *e, const umbra_progress *progress, umbra_error *err)
{
    int rc = umbra_weights_load(&e->weights, e->model, e->device.kernels, progress, err);
    const umbra_config *c = &e->model->config;
    const float *slowed = rc == UMBRA_OK ? e->weights.model[UMBRA_ROPE_FACTORS].data : NULL;
    for (int r = 0; rc == UMBRA_OK && r < UMBRA_ROPES; r++)
        umbra_rope_frequencies(&c->rope[r], r == 0 ? slowed : NULL,
                               e->rope_frequency + umbra_rope_at(c, r));
    return rc;
}

/* A width of what is multiplied by weights. */
typedef struct width {
    const char *what;
    int width; /* 0: there is none */
} width;

/* q16 blocks and the kernels' speed ask for whole blocks of 32. */
static int check_blocks(const umbra_model *model, const width *widths, int n, umbra_error *err)
{
    for (int i = 0; i < n; i++)
        if (widths[i].width % UMBRA_Q16_BLOCK != 0)
            return umbra_fail(
                err, UMBRA_E_UNSUPPORTED, "%s: the width %d (%s) is no multiple of %d",
                umbra_gguf_path(model->gguf), widths[i].width, widths[i].what, UMBRA_Q16_BLOCK);
    return UMBRA_OK;
}

static int check_widths(const umbra_model *model, umbra_error *err)
{
    const umbra_config *c = &model->config;
    const width widths[] = {
        {"hidden", c->hidden},
        {"expert", c->expert_width},
        {"dense layer", umbra_has_dense_layers(c) ? c->dense_width : 0},
        {"shared expert", c->shared_width},
    };
    int rc = check_blocks(model, widths, sizeof widths / sizeof widths[0], err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        const umbra_attention *a = &c->attention[l];
        const width attention[] = {
            {"attention (heads x values)", a->heads * a->value_dim},
            {"query bottleneck", a->q_rank},
            {"latent", a->kv_rank},
            {"unrotated key", a->kv_rank ? a->key_dim - c->rope[a->rope].dim : 0},
        };
        rc = check_blocks(model, attention, sizeof attention / sizeof attention[0], err);
    }
    return rc;
}

int umbra_engine_open(umbra_engine **out, const umbra_model *model,
                      const umbra_engine_options *options, umbra_error *err)
{
    *out = NULL;
    umbra_engine_options o = options ? *options : (umbra_engine_options){0};
    umbra_engine *e = umbra_calloc(1, sizeof *e);
    if (!e)
        return umbra_fail_nomem(err, "the engine", sizeof *e);
    e->model = model;
    e->sequences = o.sequences ? o.sequences : 1;
    int rc = check_widths(model, err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_plan(model, &o, &e->plan, err);
    if (rc == UMBRA_OK)
        rc = open_device(e, err);
    if (rc == UMBRA_OK)
        umbra_limits_started(&e->plan, umbra_pool_threads(e->pool));
    if (rc == UMBRA_OK)
        rc = umbra_profile_open(e, o.profile, err);
    if (rc == UMBRA_OK)
        rc = open_memory(e, err);
    if (rc == UMBRA_OK)
        rc = load_weights(e, o.progress, err);
    if (rc == UMBRA_OK)
        rc = umbra_engine_open_store(&e->store, model, &o, e->plan.cache_bytes, err);
    if (rc != UMBRA_OK) {
        umbra_engine_close(&e);
        return rc;
    }
    *out = e;
    return UMBRA_OK;
}

void umbra_engine_close(umbra_engine **p)
{
    umbra_engine *e = *p;
    if (!e)
        return;
    umbra_store_close(&e->store);
    umbra_weights_free(&e->weights);
    umbra_state_close(&e->state);
    umbra_free(e->forms);
    umbra_free(e->rope_frequency);
    umbra_unmap(e->scratch.arena, e->plan.scratch_bytes);
    umbra_pool_close(&e->pool);
    umbra_free(e->profiling);
    umbra_free(e);
    *p = NULL;
}

const umbra_memory_plan *umbra_engine_get_plan(const umbra_engine *e)
{
    return &e->plan;
}

void umbra_engine_get_store_stats(const umbra_engine *e, umbra_store_stats *out)
{
    umbra_store_get_stats(e->store, out);
}

const umbra_model *umbra_engine_model(const umbra_engine *e)
{
    return e->model;
}

const umbra_kernels *umbra_engine_kernels(const umbra_engine *e)
{
    return e->device.kernels;
}

umbra_store *umbra_engine_store(const umbra_engine *e)
{
    return e->store;
}

int umbra_engine_sequences(const umbra_engine *e)
{
    return e->sequences;
}

umbra_pool *umbra_engine_pool(const umbra_engine *e)
{
    return e->pool;
}

void umbra_engine_pass(const umbra_engine *e, umbra_pass *out)
{
    *out = (umbra_pass){.device = &e->device,
                        .model = e->model,
                        .weights = &e->weights,
                        .forms = e->forms,
                        .rope_frequency = e->rope_frequency};
}

umbra_kv_view umbra_engine_view(const umbra_engine *e, int layer, int sequence, int position)
{
    return umbra_state_view(e->state, layer, sequence, position);
}

void umbra_engine_attach(umbra_engine *e, const umbra_tap *tap)
{
    e->attached = tap ? *tap : (umbra_tap){0};
}

const char *umbra_kernel_name(int index)
{
    return umbra_kernels_name(index);
}

uint64_t umbra_process_rss_max(void)
{
    return umbra_system_rss_max();
}

uint64_t umbra_process_rss(void)
{
    return umbra_system_rss();
}
