/* Where the bytes go. The same arithmetic serves `umbra inspect` and the opening of an engine, so
 * what the one promises the other keeps. */
#include <inttypes.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "engine/internal.h"

/* The allowance for what no arena holds: code and data of the program and its libraries, the heap's
 * small things, the main stack. Measured at about 4.5 MB on Debian 12; bench/ and the tests compare
 * the peak of the resident memory with the budget. */
static const uint64_t process_bytes = 7000000;
static const uint64_t thread_bytes = 100000; /* touched stack and thread structures */
enum {
    DEFAULT_CONTEXT = 512,
    MIN_CHUNK = 16,
    SMALL_CHUNK = 256,
    MAX_AUTO_CHUNK = 2048,
    IO_THREADS = 16,
    /* Where not all experts fit, a chunk's scratch takes at most 1/8 of what is left for them, or
     * 1/32 if it is larger than SMALL_CHUNK: a longer chunk reads each expert less often for a
     * prompt, but what it takes from the cache is missed by every token that is decoded. */
    SMALL_SHARE = 8,
    LARGE_SHARE = 32,
};

uint64_t umbra_plan_dense_bytes(const umbra_model *model)
{
    uint64_t bytes = 0;
    for (int i = 0; i < UMBRA_MODEL_ROLES; i++)
        if (model->role[i] && !umbra_weights_are_lent(model, i) &&
            (i != UMBRA_OUTPUT || model->role[i] != model->role[UMBRA_TOKEN_EMBEDDING]))
            bytes += umbra_align_up(model->role[i]->bytes, 64);
    for (int l = 0; l < model->config.layers; l++)
        for (int i = 0; i < UMBRA_LAYER_ROLES; i++)
            if (model->layers[l].role[i])
                bytes += umbra_align_up(model->layers[l].role[i]->bytes, 64);
    return bytes;
}

/* Rows pooled over `ratio` positions each. */
static umbra_kv_form pooled_form(int dim, int ratio, uint32_t unit)
{
    return (umbra_kv_form){.heads = 1, .key = dim, .every = ratio, .unit = unit};
}

/* Of what they are pooled: values and scores, or, without parts, values whose mean they are. */
static umbra_kv_form pooling_form(int dim, int ratio, int parts)
{
    return (umbra_kv_form){.heads = 1,
                           .key = parts > 0 ? 2 * parts * dim : dim,
                           .window = parts > 0 ? parts * ratio : ratio,
                           .unit = (uint32_t)sizeof(float)};
}

/* What a layer keeps beside its own; heads 0: it is not this layer's. */
static umbra_kv_form form_beside(const umbra_attention *a, int kept, uint32_t unit)
{
    const umbra_index *i = &a->index;
    if (kept == a->pooled)
        return pooled_form(a->key_dim, a->ratio, unit);
    if (kept == a->pooling)
        return pooling_form(a->key_dim, a->ratio, a->ratio_parts);
    if (kept == i->kept)
        return pooled_form(i->dim, i->ratio, (uint32_t)sizeof(float));
    if (kept == i->pooling)
        return pooling_form(i->dim, i->ratio, i->parts);
    return (umbra_kv_form){0};
}

/* Inputs of the convolution behind what the last tokens say together, and behind them the token's
 * id; so far back as either reaches. */
static umbra_kv_form ngram_form(const umbra_config *c)
{
    int reach = (c->ngrams.taps - 1) * c->ngrams.size + 1;
    return (umbra_kv_form){.heads = 1,
                           .key = c->streams.count * c->hidden + 1,
                           .window = reach > c->ngrams.size ? reach : c->ngrams.size,
                           .unit = (uint32_t)sizeof(float)};
}

umbra_kv_form umbra_engine_form(const umbra_config *c, int kept, uint32_t unit)
{
    if (c->ngrams.size && kept == c->ngrams.kept)
        return ngram_form(c);
    for (int l = 0; kept >= c->layers && l < c->layers; l++) {
        umbra_kv_form form = form_beside(&c->attention[l], kept, unit);
        if (form.heads > 0)
            return form;
    }
    const umbra_attention *a = &c->attention[kept];
    return (umbra_kv_form){
        .heads = a->cache_heads,
        .key = a->cache_key,
        .value = a->cache_value,
        .window = a->window,
        .unit = a->conv ? (uint32_t)sizeof(float) : unit,
    };
}

uint64_t umbra_plan_ngram_bytes(const umbra_model *model)
{
    const umbra_gguf_tensor *t = model->ngrams;
    uint64_t row = t ? umbra_dtype_row_bytes(umbra_dtype_get(t->dtype), t->shape[0]) : 0;
    return t ? UMBRA_NGRAM_ROWS * (row + sizeof(uint64_t)) : 0;
}

void umbra_plan_forms(const umbra_model *model, const umbra_kernels *kernels, umbra_kv_form *forms)
{
    for (int k = 0; k < model->config.kept; k++)
        forms[k] = umbra_engine_form(&model->config, k, kernels->kv_bytes);
}

bool umbra_plan_recurrent(const umbra_model *model, umbra_recurrent_form *recurrent)
{
    const umbra_config *c = &model->config;
    bool any = false;
    for (int l = 0; l < c->layers; l++) {
        recurrent[l] = umbra_recurrent_make(&c->attention[l]);
        any = any || recurrent[l].heads > 0;
    }
    return any;
}

static int check_range(umbra_error *err, const char *what, int value, int least, int most)
{
    if (value >= least && value <= most)
        return UMBRA_OK;
    return umbra_fail(err, UMBRA_E_ARGUMENT, "%s is %d, it must be %d to %d", what, value, least,
                      most);
}

static int check_context(const umbra_config *c, int context, umbra_error *err)
{
    if (context > c->context && c->context_reason)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "the context is %d, it must be at most %d with this model: %s; ask for a "
                          "context of %d",
                          context, c->context, c->context_reason, c->context);
    return check_range(err, "the context", context, 1, c->context);
}

/* Options with their defaults put in, as far as they do not depend on the budget. */
static int complete_options(const umbra_model *model, umbra_engine_options *o, umbra_memory_plan *p,
                            const umbra_kernels **kernels, umbra_error *err)
{
    int context = model->config.context;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (o->context == 0)
        o->context = context < DEFAULT_CONTEXT ? context : DEFAULT_CONTEXT;
    if (o->threads == 0)
        o->threads = umbra_limits_threads(p->threads_note, sizeof p->threads_note);
    if (o->sequences == 0)
        o->sequences = 1;
    if (rc == UMBRA_OK)
        rc = check_range(err, "threads", o->threads, 1, UMBRA_MAX_THREADS);
    if (rc == UMBRA_OK)
        rc = check_context(&model->config, o->context, err);
    if (rc == UMBRA_OK)
        rc = check_range(err, "sequences", o->sequences, 1, 4096);
    if (rc == UMBRA_OK && o->chunk != 0)
        rc = check_range(err, "the chunk", o->chunk, 1, UMBRA_MAX_CHUNK);
    if (rc != UMBRA_OK)
        return rc;
    *kernels = umbra_kernels_find(o->kernels);
    if (!*kernels)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "kernels \"%s\" are unknown or cannot run here",
                          o->kernels);
    return UMBRA_OK;
}

/* Fills what depends neither on the chunk nor on the budget; returns its bytes. */
static uint64_t fixed_bytes(const umbra_model *model, const umbra_engine_options *o,
                            const umbra_kernels *kernels, umbra_memory_plan *p)
{
    const umbra_config *c = &model->config;
    p->threads = o->threads;
    p->kernels = kernels->name;
    p->context = o->context;
    p->process_bytes = process_bytes + thread_bytes * (uint64_t)(o->threads + IO_THREADS);
    uint64_t index = (uint64_t)c->layers * (uint64_t)c->experts * UMBRA_STORE_SLICES;
    uint64_t owners = o->ranks ? 2 * sizeof(uint16_t) : 0; /* engine/division.c */
    p->metadata_bytes = umbra_gguf_header_bytes(model->gguf) +
                        umbra_tokenizer_bytes(model->tokenizer) + 2 * index * sizeof(umbra_slice) +
                        owners * (uint64_t)c->layers * (uint64_t)c->experts;
    p->metadata_bytes += umbra_plan_ngram_bytes(model);
    p->dense_bytes = umbra_plan_dense_bytes(model);
    p->reserved_bytes = o->reserved_bytes;
    return p->process_bytes + p->metadata_bytes + p->dense_bytes + p->reserved_bytes;
}

/* What depends on the tokens computed together: activations, and the keys and values that windowed
 * layers keep. */
typedef struct chunk_plan {
    const umbra_model *model;
    const umbra_memory_plan *plan;
    umbra_state_shape shape; /* but for the step */
} chunk_plan;

static uint64_t scratch_bytes(const chunk_plan *c, int chunk)
{
    umbra_scratch unused;
    return umbra_scratch_place(&unused, NULL, &c->model->config, chunk, UMBRA_LOGITS_ROWS,
                               c->plan->context, c->plan->threads);
}

static uint64_t state_bytes(const chunk_plan *c, int chunk)
{
    umbra_state_shape shape = c->shape;
    shape.step = chunk;
    return umbra_state_bytes(&shape);
}

static uint64_t chunk_bytes(const chunk_plan *c, int chunk)
{
    return scratch_bytes(c, chunk) + state_bytes(c, chunk);
}

/* The largest chunk that is ever of use: all positions that there are may be given at once. */
static int largest_chunk(const chunk_plan *c)
{
    int64_t positions = (int64_t)c->shape.context * c->shape.sequences;
    int chunk = MIN_CHUNK;
    while (chunk < positions && chunk < MAX_AUTO_CHUNK)
        chunk *= 2;
    return chunk;
}

static bool leaves(const chunk_plan *c, int chunk, uint64_t rest, uint64_t experts)
{
    uint64_t moving = chunk_bytes(c, chunk);
    return rest >= moving && rest - moving >= experts;
}

static bool has_share(const chunk_plan *c, int chunk, uint64_t rest)
{
    uint64_t kept = state_bytes(c, chunk);
    uint64_t share = chunk > SMALL_CHUNK ? LARGE_SHARE : SMALL_SHARE;
    return rest > kept && scratch_bytes(c, chunk) <= (rest - kept) / share;
}

/* The largest chunk that leaves room for all experts, in bytes, or most of `rest` to those that
 * fit. */
static int choose_chunk(const chunk_plan *c, uint64_t rest, uint64_t experts)
{
    int largest = largest_chunk(c);
    for (int chunk = largest; chunk == largest || chunk >= SMALL_CHUNK; chunk /= 2)
        if (leaves(c, chunk, rest, experts))
            return chunk;
    int chunk = largest;
    while (chunk > MIN_CHUNK && !has_share(c, chunk, rest))
        chunk /= 2;
    return chunk;
}

static int find_alignment(const umbra_model *model, const umbra_engine_options *o, uint32_t *out,
                          umbra_error *err)
{
    int rc = UMBRA_OK;
    *out = 1;
    for (uint32_t i = 0; rc == UMBRA_OK && i < umbra_gguf_file_count(model->gguf); i++) {
        uint32_t needed = 1;
        rc = umbra_store_alignment(umbra_gguf_file_path(model->gguf, i), o->buffered, &needed, err);
        *out = needed > *out ? needed : *out;
    }
    return rc;
}

/* The experts that are to be kept, at most. */
typedef struct expert_plan {
    const umbra_slice *slices;
    uint32_t alignment;
} expert_plan;

static void plan_slots(const chunk_plan *c, const expert_plan *e, uint64_t budget_bytes,
                       umbra_slot_plan *out)
{
    const umbra_config *config = &c->model->config;
    umbra_store_plan_slots(out, e->slices, config->layers, config->experts, e->alignment,
                           budget_bytes);
}

/* What the experts need, whatever the budget; returns the least number of slots. */
static uint64_t measure_experts(const chunk_plan *c, const expert_plan *e, umbra_memory_plan *p)
{
    umbra_slot_plan all;
    plan_slots(c, e, UINT64_MAX, &all);
    uint64_t used = (uint64_t)c->model->config.experts_used;
    p->slot_bytes = all.n > 0 ? all.size[all.n - 1].bytes : 0;
    p->expert_bytes = all.all_bytes;
    return used < all.experts ? used : all.experts;
}

/* Slots for what is left. */
static void fill_cache(const chunk_plan *c, const expert_plan *e, uint64_t rest,
                       umbra_memory_plan *p)
{
    umbra_slot_plan slots;
    plan_slots(c, e, rest, &slots);
    p->slots = slots.slots;
    p->slot_sizes = (uint64_t)slots.n;
    p->slot_waste = umbra_slot_plan_waste(&slots);
    p->cache_bytes = slots.bytes;
    p->residency = slots.experts > 0 ? (double)p->slots / (double)slots.experts : 1;
}

/* The budget's division, when the options are complete. */
static int divide(const umbra_engine_options *o, const chunk_plan *c, const expert_plan *e,
                  uint64_t fixed, umbra_memory_plan *p, umbra_error *err)
{
    const umbra_model *model = c->model;
    uint64_t used = measure_experts(c, e, p), experts = p->expert_bytes;
    p->min_bytes = fixed + chunk_bytes(c, o->chunk ? o->chunk : MIN_CHUNK) + used * p->slot_bytes;
    p->all_bytes = fixed + chunk_bytes(c, o->chunk ? o->chunk : largest_chunk(c)) + experts;
    umbra_limits_budget(p, o->ram_bytes);

    uint64_t rest = p->ram_bytes > fixed ? p->ram_bytes - fixed : 0;
    p->chunk = o->chunk ? o->chunk : choose_chunk(c, rest, experts);
    p->scratch_bytes = scratch_bytes(c, p->chunk);
    p->kv_bytes = state_bytes(c, p->chunk);
    uint64_t moving = p->scratch_bytes + p->kv_bytes;
    fill_cache(c, e, rest > moving ? rest - moving : 0, p);
    if (p->slots < used)
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "%s: a budget of %" PRIu64 " bytes is too small; the smallest that works "
                          "with a context of %d is %" PRIu64 " bytes (%.1f MB)",
                          umbra_gguf_path(model->gguf), p->ram_bytes, p->context, p->min_bytes,
                          (double)p->min_bytes * 1e-6);
    return UMBRA_OK;
}

/* The same for what of the experts is this rank's. */
static int divide_own(const umbra_engine_options *o, const chunk_plan *c, uint32_t alignment,
                      uint64_t fixed, umbra_memory_plan *p, umbra_error *err)
{
    umbra_division division;
    umbra_slice *own = NULL;
    int rc = umbra_division_init(&division, c->model, o->ranks, err);
    if (rc == UMBRA_OK && division.owner) {
        own = umbra_division_slices(&division, c->model);
        if (!own)
            rc = umbra_fail_nomem(err, "the table of experts", 0);
    }
    const expert_plan e = {own ? own : c->model->slices, alignment};
    if (rc == UMBRA_OK)
        rc = divide(o, c, &e, fixed, p, err);
    umbra_free(own);
    umbra_division_free(&division);
    return rc;
}

int umbra_engine_plan(const umbra_model *model, const umbra_engine_options *options,
                      umbra_memory_plan *p, umbra_error *err)
{
    *p = (umbra_memory_plan){0};
    umbra_engine_options o = options ? *options : (umbra_engine_options){0};
    const umbra_kernels *kernels;
    uint32_t alignment;
    int rc = complete_options(model, &o, p, &kernels, err);
    if (rc == UMBRA_OK)
        rc = find_alignment(model, &o, &alignment, err);
    if (rc != UMBRA_OK)
        return rc;
    const umbra_config *config = &model->config;
    size_t kept = (size_t)config->kept;
    umbra_kv_form *forms = umbra_calloc(kept, sizeof *forms);
    umbra_recurrent_form *recurrent = umbra_calloc(kept, sizeof *recurrent);
    if (!forms || !recurrent) {
        umbra_free(forms);
        umbra_free(recurrent);
        return umbra_fail_nomem(err, "the plan", kept * (sizeof *forms + sizeof *recurrent));
    }
    umbra_plan_forms(model, kernels, forms);
    umbra_plan_recurrent(model, recurrent);
    uint64_t fixed = fixed_bytes(model, &o, kernels, p);
    chunk_plan c = {model, p, {forms, config->kept, o.sequences, o.context, 0, recurrent, NULL}};
    rc = divide_own(&o, &c, alignment, fixed, p, err);
    umbra_free(forms);
    umbra_free(recurrent);
    return rc;
}
