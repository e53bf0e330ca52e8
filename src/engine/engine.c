/* Opens and closes an engine, and answers what it is. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "engine/internal.h"
#include "engine/compare.h"
#include "engine/part.h"
#include "engine/ranks.h"

static int open_store(umbra_store **out, const umbra_model *model, const umbra_slice *slices,
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
        .slices = slices,
        .budget_bytes = bytes,
        .io = o->io,
        .buffered = o->buffered,
        .verify = o->verify,
        .together = model->config.experts_used,
    };
    int rc = umbra_store_open(out, &options, err);
    umbra_free(paths);
    return rc;
}

int umbra_engine_open_store(umbra_store **out, const umbra_model *model,
                            const umbra_engine_options *o, uint64_t bytes, umbra_error *err)
{
    return open_store(out, model, model->slices, o, bytes, err);
}

/* The store of this rank's experts. */
static int open_own_store(umbra_engine *e, const umbra_engine_options *o, umbra_error *err)
{
    if (!e->division.owner)
        return open_store(&e->store, e->model, e->model->slices, o, e->plan.cache_bytes, err);
    umbra_slice *slices = umbra_division_slices(&e->division, e->model);
    int rc = slices ? open_store(&e->store, e->model, slices, o, e->plan.cache_bytes, err)
                    : umbra_fail_nomem(err, "the table of experts", 0);
    umbra_free(slices);
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
    e->forms = umbra_calloc((size_t)c->kept, sizeof *e->forms);
    e->recurrent = umbra_calloc((size_t)c->kept, sizeof *e->recurrent);
    e->rope_frequency =
        umbra_calloc((size_t)umbra_rope_at(c, UMBRA_ROPES) + 1, sizeof *e->rope_frequency);
    e->checks = umbra_calloc((size_t)e->sequences, sizeof *e->checks);
    if (!arena || !e->checks || !e->forms || !e->recurrent || !e->rope_frequency)
        return umbra_fail_nomem(err, "activations", p->scratch_bytes);
    umbra_plan_forms(e->model, e->device.kernels, e->forms);
    e->has_recurrent = umbra_plan_recurrent(e->model, e->recurrent);
    umbra_state_shape shape = {e->forms, c->kept,      e->sequences, p->context,
                               p->chunk, e->recurrent, &e->device};
    return umbra_state_open(&e->state, &shape, err);
}

static int open_ngrams(umbra_engine *e, umbra_error *err)
{
    uint64_t bytes = umbra_plan_ngram_bytes(e->model);
    if (bytes == 0)
        return UMBRA_OK;
    uint64_t row = bytes / UMBRA_NGRAM_ROWS - sizeof *e->ngram_rows.number;
    e->ngram_rows = (umbra_ngram_rows){
        .number = umbra_calloc(UMBRA_NGRAM_ROWS, sizeof *e->ngram_rows.number),
        .data = umbra_calloc(UMBRA_NGRAM_ROWS, row),
        .row_bytes = row,
    };
    return e->ngram_rows.number && e->ngram_rows.data
               ? UMBRA_OK
               : umbra_fail_nomem(err, "rows of the table of n-grams", bytes);
}

static int load_weights(umbra_engine *e, const umbra_progress *progress, umbra_error *err)
{
    int rc = umbra_weights_load(&e->weights, e->model, &e->device, progress, err);
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
        {"latent of experts", c->expert_hidden},
        {"expert", c->expert_width},
        {"dense layer", umbra_has_dense_layers(c) ? c->dense_width : 0},
        {"shared expert", c->shared_width},
        {"mixture of streams", c->streams.rank},
    };
    int rc = check_blocks(model, widths, sizeof widths / sizeof widths[0], err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        const umbra_attention *a = &c->attention[l];
        const width attention[] = {
            {"attention (heads x values)", a->heads * a->value_dim},
            {"query bottleneck", a->q_rank},
            {"bottleneck of decays", a->recurrence.key_decay ? a->key_dim : 0},
            {"latent", a->kv_rank},
            {"group of heads", a->out_groups ? a->heads * a->value_dim / a->out_groups : 0},
            {"output bottlenecks", a->out_groups * a->out_rank},
            {"unrotated key", a->kv_rank ? a->key_dim - c->rope[a->rope].dim : 0},
        };
        rc = check_blocks(model, attention, sizeof attention / sizeof attention[0], err);
    }
    return rc;
}

/* ---- with ranks ---- */

/* Rank 0's division, and the chunk that every rank has room for. */
static int plan_together(umbra_engine *e, umbra_engine_options *o, umbra_error *err)
{
    int rc = umbra_engine_plan(e->model, o, &e->plan, err);
    if (!e->division.owner)
        return rc;
    rc = umbra_division_agree(&e->division, rc, err);
    if (rc == UMBRA_OK)
        rc = umbra_compare_models(e->model, &e->division.ranks, err);
    if (rc == UMBRA_OK)
        rc = umbra_division_share(&e->division, e->model, err);
    int chunk = e->plan.chunk;
    if (rc == UMBRA_OK)
        rc = umbra_division_least(&e->division, &chunk, err);
    if (rc != UMBRA_OK || chunk == e->plan.chunk)
        return rc;
    o->chunk = chunk;
    return umbra_engine_plan(e->model, o, &e->plan, err);
}

/* Who is to be called before the weights are read, if anybody is. */
typedef struct early {
    umbra_engine_early_fn fn;
    void *user;
} early;

static int open_parts(umbra_engine *e, const umbra_engine_options *o, const early *first,
                      umbra_error *err)
{
    int rc = umbra_part_check(e->model, &e->division, err);
    if (rc == UMBRA_OK)
        rc = open_device(e, err);
    if (rc == UMBRA_OK)
        rc = umbra_profile_open(e, o->profile, err);
    if (rc == UMBRA_OK)
        rc = open_memory(e, err);
    if (rc == UMBRA_OK)
        rc = umbra_follow_open(e, err);
    if (rc == UMBRA_OK)
        rc = open_own_store(e, o, err);
    if (rc == UMBRA_OK && first->fn)
        rc = first->fn(first->user, e, err);
    if (rc == UMBRA_OK)
        rc = load_weights(e, o->progress, err);
    return rc == UMBRA_OK ? open_ngrams(e, err) : rc;
}

int umbra_engine_open(umbra_engine **out, const umbra_model *model,
                      const umbra_engine_options *options, umbra_error *err)
{
    return umbra_engine_open_early(out, model, options, NULL, NULL, err);
}

int umbra_engine_open_early(umbra_engine **out, const umbra_model *model,
                            const umbra_engine_options *options, umbra_engine_early_fn fn,
                            void *user, umbra_error *err)
{
    const early first = {fn, user};
    *out = NULL;
    umbra_engine_options o = options ? *options : (umbra_engine_options){0};
    umbra_engine *e = umbra_calloc(1, sizeof *e);
    if (!e)
        return umbra_fail_nomem(err, "the engine", sizeof *e);
    e->model = model;
    e->sequences = o.sequences ? o.sequences : 1;
    int rc = check_widths(model, err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_check_functions(o.ranks, false, err);
    if (rc == UMBRA_OK)
        rc = umbra_division_init(&e->division, model, o.ranks, err);
    if (rc == UMBRA_OK)
        rc = plan_together(e, &o, err);
    if (rc == UMBRA_OK)
        rc = umbra_division_agree(&e->division, open_parts(e, &o, &first, err), err);
    if (rc == UMBRA_OK && e->division.owner)
        rc = umbra_compare_engines(e, &e->division.ranks, err);
    if (rc != UMBRA_OK) {
        umbra_engine_close(&e);
        return rc;
    }
    e->opened = true;
    *out = e;
    return UMBRA_OK;
}

int umbra_engine_open_block(umbra_engine **out, const umbra_model *block,
                            const umbra_engine *lender, const umbra_engine_options *options,
                            umbra_error *err)
{
    int rc = umbra_engine_open(out, block, options, err);
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_MODEL_ROLES; i++)
        if (umbra_weights_are_lent(block, i))
            (*out)->weights.model[i] = lender->weights.model[i];
    return rc;
}

float *umbra_engine_states(umbra_engine *e)
{
    return e->scratch.x;
}

void umbra_engine_close(umbra_engine **p)
{
    umbra_engine *e = *p;
    if (!e)
        return;
    umbra_follow_close(e);
    umbra_store_close(&e->store);
    umbra_weights_free(&e->weights);
    umbra_state_close(&e->state);
    umbra_free(e->forms);
    umbra_free(e->ngram_rows.number);
    umbra_free(e->ngram_rows.data);
    umbra_free(e->recurrent);
    umbra_free(e->checks);
    umbra_free(e->rope_frequency);
    umbra_unmap(e->scratch.arena, e->plan.scratch_bytes);
    umbra_pool_close(&e->pool);
    umbra_free(e->profiling);
    umbra_division_free(&e->division);
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

void umbra_engine_get_residency(const umbra_engine *e, uint8_t *out)
{
    umbra_store_get_residency(e->store, out);
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

int umbra_engine_rank(const umbra_engine *e)
{
    return e->division.ranks.rank;
}

int umbra_engine_ranks(const umbra_engine *e)
{
    return e->division.ranks.count > 1 ? e->division.ranks.count : 1;
}

bool umbra_engine_owns(const umbra_engine *e, int layer, int expert)
{
    const umbra_division *d = &e->division;
    return !d->owner ||
           d->owner[(size_t)layer * (size_t)d->experts + (size_t)expert] == d->ranks.rank;
}

int umbra_engine_uses(const umbra_engine *e, uint64_t *out, umbra_error *err)
{
    const umbra_call call = {.kind = UMBRA_CALL_USES};
    int rc = umbra_lead(e, &call, NULL, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_store_get_uses(e->store, out);
    return umbra_division_sum(&e->division, out, err);
}

void umbra_engine_pass(const umbra_engine *e, umbra_pass *out)
{
    *out = (umbra_pass){.device = &e->device,
                        .model = e->model,
                        .weights = &e->weights,
                        .forms = e->forms,
                        .recurrent = e->recurrent,
                        .rope_frequency = e->rope_frequency,
                        .ngram_rows = &e->ngram_rows,
                        .order = e->division.order};
}

void umbra_engine_lend_output(const umbra_engine *e, umbra_scratch *scratch)
{
    scratch->out = e->scratch.out;
    scratch->logits = e->scratch.logits;
}

umbra_kv_view umbra_engine_view(const umbra_engine *e, int layer, int sequence, int position)
{
    return umbra_state_view(e->state, layer, sequence, position);
}

umbra_recurrent_view umbra_engine_recurrent(const umbra_engine *e, int layer, int sequence)
{
    return umbra_state_recurrent(e->state, layer, sequence);
}

void umbra_engine_set_checking(umbra_engine *e, int sequence, bool on)
{
    e->checks[sequence] = on;
}

void umbra_engine_attach(umbra_engine *e, const umbra_tap *tap)
{
    e->attached = tap ? *tap : (umbra_tap){0};
}

void umbra_engine_attach_end(umbra_engine *e, void (*ended)(void *user), void *user)
{
    e->ended = ended;
    e->ended_user = user;
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
