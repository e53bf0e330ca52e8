/* Takes over a model's experts and gives them back. */
#include "under/under.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"

enum { SPARE_BYTES = 16 << 20 /* of a budget for the process: for what it will still allocate */ };

/* ---- the budget ---- */

/* Experts' bytes for the options; taken: of a budget for the process, what others need of it. */
static uint64_t settle_budget(const umbra_under *u, const umbra_under_options *o, uint64_t *taken)
{
    *taken = 0;
    if (o->expert_bytes > 0)
        return o->expert_bytes;
    if (o->ram_bytes == 0)
        return UINT64_MAX;
    *taken = umbra_maps_allocated() + u->experts.other_bytes + SPARE_BYTES;
    return *taken < o->ram_bytes ? o->ram_bytes - *taken : 1; /* too little for any */
}

static int most_experts(const umbra_under *u)
{
    int most = 0;
    for (int layer = 0; layer < u->experts.layers; layer++)
        most = u->layer[layer].experts > most ? u->layer[layer].experts : most;
    return most;
}

/* How many experts can be held at once, whatever their size. The store may have been opened with
 * another budget, to learn what it takes. */
static uint64_t least_slots(const umbra_under *u, uint64_t budget_bytes)
{
    umbra_slot_plan p;
    umbra_store_get_slots(u->store, &p);
    if (p.slots == p.experts && p.bytes <= budget_bytes)
        return p.slots;
    uint64_t least = budget_bytes / p.size[p.n - 1].bytes;
    for (int i = 0; i < p.n; i++)
        if (p.size[i].slots < p.size[i].experts && p.size[i].slots < least)
            least = p.size[i].slots;
    return least;
}

static int refuse_budget(const umbra_under *u, uint64_t budget_bytes, uint64_t taken,
                         umbra_error *err)
{
    umbra_store_stats stats;
    umbra_store_get_stats(u->store, &stats);
    int most = most_experts(u);
    uint64_t least = (uint64_t)most * stats.slot_bytes;
    if (taken == 0)
        return umbra_fail(err, UMBRA_E_BUDGET,
                          "%" PRIu64
                          " bytes for experts are too few: llama.cpp computes all experts of a "
                          "layer together, %d of %" PRIu64 " bytes; give at least %" PRIu64,
                          budget_bytes, most, stats.slot_bytes, least);
    return umbra_fail(err, UMBRA_E_BUDGET,
                      "the budget is too small: the process without experts takes %" PRIu64
                      " bytes (%" PRIu64
                      " of them weights that every token needs), and llama.cpp computes all "
                      "experts of a layer together, %d of %" PRIu64 "; give at least %" PRIu64,
                      taken, u->experts.other_bytes, most, stats.slot_bytes, taken + least);
}

/* The store takes one expert's room for enough; llama.cpp computes all that a batch uses at once.
 */
static int check_slots(umbra_under *u, uint64_t budget_bytes, uint64_t taken, umbra_error *err)
{
    u->slots = least_slots(u, budget_bytes);
    return u->slots >= (uint64_t)most_experts(u) ? UMBRA_OK
                                                 : refuse_budget(u, budget_bytes, taken, err);
}

/* ---- opening ---- */

static int locate(umbra_under *u, const umbra_under_options *o, umbra_error *err)
{
    uintptr_t low = (uintptr_t)o->mapping;
    uintptr_t high = o->mapping ? low + umbra_align_up(o->mapping_bytes, 4096) : UINTPTR_MAX;
    umbra_maps maps = {0};
    int rc = umbra_maps_read(&maps, (const char *const *)u->experts.paths, u->experts.n_paths, low,
                             high, err);
    if (rc == UMBRA_OK)
        rc = umbra_experts_locate(&u->experts, &maps, err);
    umbra_maps_free(&maps);
    return rc;
}

static int list_layers(umbra_under *u, umbra_error *err)
{
    u->layer = umbra_calloc((size_t)u->experts.layers, sizeof *u->layer);
    if (!u->layer)
        return umbra_fail_nomem(err, "the table of layers", 0);
    for (int i = 0; i < u->experts.layers; i++) {
        u->layer[i].experts = umbra_experts_of(&u->experts, i);
        u->last_layer = u->layer[i].experts > 0 ? i : u->last_layer;
        u->stats.layers += u->layer[i].experts > 0;
    }
    u->stats.experts = u->experts.experts;
    u->stats.expert_bytes = u->experts.expert_bytes;
    u->stats.other_bytes = u->experts.other_bytes;
    return UMBRA_OK;
}

static int open_store(umbra_under *u, const umbra_under_options *o, umbra_error *err)
{
    const umbra_experts *e = &u->experts;
    size_t n = (size_t)e->layers * (size_t)e->experts * UMBRA_STORE_SLICES;
    umbra_slice *slices = umbra_calloc(n, sizeof *slices);
    void **places = umbra_calloc(n, sizeof *places);
    umbra_store_options store = {
        .paths = (const char *const *)e->paths,
        .n_paths = e->n_paths,
        .n_layers = e->layers,
        .n_experts = e->experts,
        .slices = slices,
        .places = places,
        .io = o->io,
        .io_depth = o->io_depth,
        .buffered = o->buffered,
        .verify = o->verify,
        .n_sequences = UMBRA_UNDER_SEQUENCES,
        .together = most_experts(u),
    };
    int rc = slices && places ? UMBRA_OK
                              : umbra_fail_nomem(err, "the table of slices", n * sizeof *slices);
    if (rc == UMBRA_OK) {
        umbra_experts_slices(e, slices, places);
        uint64_t taken, budget_bytes = settle_budget(u, o, &taken);
        store.budget_bytes = budget_bytes;
        rc = umbra_store_open(&u->store, &store, err);
        store.budget_bytes = UINT64_MAX;
        if (rc == UMBRA_E_BUDGET) /* to learn what would do */
            rc = umbra_store_open(&u->store, &store, err);
        if (rc == UMBRA_OK)
            rc = check_slots(u, budget_bytes, taken, err);
    }
    umbra_free(slices);
    umbra_free(places);
    return rc;
}

/* All experts of a layer, as long as each has a slot of its own. */
static int read_layer(umbra_under *u, int layer, int *all, umbra_error *err)
{
    const umbra_batch batch = {
        .kind = UMBRA_BATCH_PROBE, .layer = layer, .experts = all, .n = u->layer[layer].experts};
    umbra_lease lease;
    int rc = umbra_store_begin(u->store, &batch, err);
    while (rc == UMBRA_OK && (rc = umbra_store_next(u->store, &lease, 1, err)) > 0) {
        umbra_store_release(u->store, &lease);
        rc = UMBRA_OK;
    }
    return rc;
}

static uint64_t all_experts(const umbra_under *u)
{
    uint64_t n = 0;
    for (int layer = 0; layer < u->experts.layers; layer++)
        n += (uint64_t)u->layer[layer].experts;
    return n;
}

/* The first layers, as many as fit, are read now, in the file's order, as llama.cpp alone would
 * have the kernel do: a prompt begins with them. Where all fit they never leave. */
static int read_first(umbra_under *u, umbra_error *err)
{
    uint64_t left = u->slots;
    int *all = umbra_calloc((size_t)u->experts.experts, sizeof *all), rc = UMBRA_OK;
    if (!all)
        return umbra_fail_nomem(err, "the table of experts", 0);
    for (int e = 0; e < u->experts.experts; e++)
        all[e] = e;
    for (int layer = 0; rc == UMBRA_OK && layer < u->experts.layers; layer++) {
        if (left < (uint64_t)u->layer[layer].experts)
            break;
        left -= (uint64_t)u->layer[layer].experts;
        if (u->layer[layer].experts > 0)
            rc = read_layer(u, layer, all, err);
    }
    umbra_free(all);
    return rc;
}

static int look_ahead(umbra_under *u, umbra_error *err)
{
    umbra_store_set_guessing(u->store, true);
    return umbra_store_probe(u->store, err);
}

static int open_rest(umbra_under *u, const umbra_under_options *o, umbra_error *err)
{
    int rc = list_layers(u, err);
    if (rc == UMBRA_OK)
        rc = umbra_under_predict_init(u, o, err);
    if (rc == UMBRA_OK)
        rc = umbra_under_record_init(u, o->collect, err);
    if (rc == UMBRA_OK)
        rc = open_store(u, o, err);
    u->complete = rc == UMBRA_OK && u->slots >= all_experts(u) && !u->record.folder;
    /* What is not foretold needs to know nothing of the disk. */
    bool foretells = !u->complete && u->predict.policy != UMBRA_POLICY_OFF;
    if (rc == UMBRA_OK && foretells)
        rc = look_ahead(u, err);
    if (rc == UMBRA_OK)
        rc = read_first(u, err);
    if (rc == UMBRA_OK && foretells)
        rc = umbra_under_keep(u, err);
    return rc;
}

int umbra_under_model(umbra_under **out, const char *path, const umbra_under_options *options,
                      umbra_error *err)
{
    static const umbra_under_options none = {0};
    const umbra_under_options *o = options ? options : &none;
    *out = NULL;
    int rc = UMBRA_CHECK_RESERVED(o, err);
    if (rc == UMBRA_OK && !umbra_foreign_get(err))
        rc = UMBRA_E_UNSUPPORTED;
    if (rc != UMBRA_OK)
        return rc;
    umbra_under *u = umbra_calloc(1, sizeof *u);
    if (!u)
        return umbra_fail_nomem(err, "a model", sizeof *u);
    pthread_mutex_init(&u->mutex, NULL);
    pthread_cond_init(&u->changed, NULL);
    rc = umbra_experts_open(&u->experts, path, err);
    if (rc == UMBRA_OK && u->experts.n == 0)
        rc = umbra_fail(err, UMBRA_E_UNSUPPORTED, "%s has no experts: nothing is to be kept", path);
    if (rc == UMBRA_OK)
        rc = locate(u, o, err);
    if (rc == UMBRA_OK)
        rc = open_rest(u, o, err);
    if (rc == UMBRA_OK)
        *out = u;
    else
        umbra_under_detach(&u);
    return rc;
}

void umbra_under_detach(umbra_under **under)
{
    umbra_under *u = *under;
    if (!u)
        return;
    umbra_under_stop_keeping(u);
    umbra_under_predict_free(u);
    umbra_under_record_free(u);
    umbra_store_close(&u->store);
    umbra_experts_close(&u->experts);
    umbra_free(u->layer);
    pthread_cond_destroy(&u->changed);
    pthread_mutex_destroy(&u->mutex);
    umbra_free(u);
    *under = NULL;
}

/* ---- contexts ---- */

int umbra_under_context_open(umbra_under_context **out, umbra_under *u,
                             bool (*host)(struct ggml_tensor *node, bool ask, void *user),
                             void *host_user, umbra_error *err)
{
    size_t n = (size_t)u->experts.experts;
    umbra_under_context *c = umbra_calloc(1, sizeof *c);
    *out = c;
    if (!c)
        return umbra_fail_nomem(err, "a context", sizeof *c);
    *c = (umbra_under_context){
        .under = u,
        .host = host,
        .host_user = host_user,
        .choice = {.layer = -1,
                   .expert = umbra_calloc(n, sizeof *c->choice.expert),
                   .uses = umbra_calloc(n, sizeof *c->choice.uses)},
        .stretch = umbra_calloc((size_t)u->experts.layers, sizeof *c->stretch),
        .awaited = -1,
        .leases = umbra_calloc(n + 1, sizeof *c->leases),
    };
    if (c->choice.expert && c->choice.uses && c->stretch && c->leases)
        return UMBRA_OK;
    umbra_under_context_close(out);
    return umbra_fail_nomem(err, "a context", n * sizeof *c->leases);
}

void umbra_under_context_close(umbra_under_context **context)
{
    umbra_under_context *c = *context;
    if (!c)
        return;
    umbra_under_leave(c);
    umbra_free(c->choice.expert);
    umbra_free(c->choice.uses);
    umbra_free(c->stretch);
    umbra_free(c->leases);
    umbra_free(c->fetched);
    umbra_free(c);
    *context = NULL;
}

void umbra_under_get_stats(umbra_under *u, umbra_under_stats *out)
{
    pthread_mutex_lock(&u->mutex);
    *out = u->stats;
    out->policy = u->complete ? UMBRA_POLICY_OFF : u->predict.policy;
    out->complete = u->complete;
    if (u->predict.runner)
        umbra_runner_get_stats(u->predict.runner, &out->runner);
    umbra_store_get_stats(u->store, &out->store);
    pthread_mutex_unlock(&u->mutex);
}
