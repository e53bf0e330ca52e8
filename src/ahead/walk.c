/* The walk ahead: a second pass of one row through the engine's steps, over what is in memory. */
#include "ahead/walk.h"

#include <math.h>
#include <string.h>

#include "base/best.h"
#include "base/error.h"
#include "base/memory.h"
#include "engine/steps/steps.h"
#include "store/lend.h"

/* Where a layer keeps the walk's own keys and values, or its recurrent state. */
typedef struct walk_rows {
    uint64_t page; /* bytes from the arena's start */
    int row;       /* of that page */
} walk_rows;

/* Of which token it is known what a layer's attention adds to the residual. */
typedef struct walk_known {
    int sequence, position; /* position -1: of none */
    int32_t id;
} walk_known;

struct umbra_walk {
    umbra_engine *engine;
    umbra_pass pass; /* one row */
    umbra_scratch scratch;
    uint64_t scratch_bytes, pages_bytes;
    char *pages;
    walk_rows *places; /* (umbra_config.kept) */
    walk_known *known; /* (layers) */
    float *added;      /* (layers, hidden) what is known */
    bool may_take_known, takes_known;
    /* Where it began: positions of the sequence before the walk's first token, and the last of the
     * layers in which the sequence itself holds that token. */
    int sequence, position, source;
    int unseen; /* positions before that which layers behind the source do not hold yet */
    int tokens; /* gone on with behind that token */
    int layer, distance;
    int most_experts; /* computed of a layer */
    int computed;     /* in all */
    float missing;
    bool routed; /* the layer's experts are named, and not yet computed */
    /* Beside the engine: the thread's own device, what the walk sees of each layer, and whether its
     * own layer is to be routed yet. */
    bool beside, begun;
    umbra_device device;
    umbra_kv_view *views; /* (layers) */
};

/* A page holds UMBRA_KV_PAGE rows, a layer needs UMBRA_WALK_TOKENS of them. */
enum { LAYERS_OF_PAGE = UMBRA_KV_PAGE / UMBRA_WALK_TOKENS };

/* Rows of the same width and unit; that of the kernels is taken for 2 bytes. */
static bool look_alike(const umbra_config *c, int a, int b)
{
    umbra_kv_form x = umbra_engine_form(c, a, 2), y = umbra_engine_form(c, b, 2);
    return x.heads == y.heads && x.key == y.key && x.value == y.value && x.unit == y.unit;
}

/* Places for the rows of all that layers keep; what looks alike shares pages. places: (kept) or
 * NULL. Returns the bytes of all pages, at the widest unit. */
static uint64_t lay_pages(const umbra_config *c, walk_rows *places)
{
    uint64_t used = 0;
    for (int k = 0; k < c->kept; k++) {
        const umbra_kv_form form = umbra_engine_form(c, k, sizeof(float));
        int before = 0, last = -1; /* of those alike */
        umbra_recurrent_form state = {0};
        if (k < c->layers)
            state = umbra_recurrent_make(&c->attention[k]);
        if (state.heads > 0) {
            if (places)
                places[k] = (walk_rows){used, 0};
            used += umbra_recurrent_page_bytes(&state);
            continue;
        }
        for (int i = 0; i < k; i++) {
            if (look_alike(c, k, i)) {
                before++;
                last = i;
            }
        }
        bool opens = before % LAYERS_OF_PAGE == 0;
        if (places)
            places[k] = (walk_rows){opens ? used : places[last].page,
                                    before % LAYERS_OF_PAGE * UMBRA_WALK_TOKENS};
        used += opens ? umbra_kv_page_bytes(&form) : 0;
    }
    return used;
}

/* Of tables with a row for each layer. */
static uint64_t layer_bytes(const umbra_config *c)
{
    return sizeof(umbra_kv_view) + sizeof(walk_known) + (uint64_t)c->hidden * sizeof(float);
}

uint64_t umbra_walk_bytes(const umbra_model *model, int context, int threads)
{
    const umbra_config *c = &model->config;
    umbra_scratch unused;
    return umbra_scratch_place(&unused, NULL, c, 1, 0, context + 1, threads) + lay_pages(c, NULL) +
           (uint64_t)c->kept * sizeof(walk_rows) + (uint64_t)c->layers * layer_bytes(c) +
           sizeof(umbra_walk);
}

static bool open_tables(umbra_walk *w, const umbra_config *c)
{
    size_t layers = (size_t)c->layers;
    w->places = umbra_calloc((size_t)c->kept, sizeof *w->places);
    w->views = umbra_calloc(layers, sizeof *w->views);
    w->known = umbra_calloc(layers, sizeof *w->known);
    w->added = umbra_calloc(layers * (size_t)c->hidden, sizeof *w->added);
    for (int l = 0; w->known && l < c->layers; l++)
        w->known[l].position = -1;
    return w->places && w->views && w->known && w->added;
}

/* What attention adds is a row of its own, and nothing else goes from a layer to those behind it.
 */
static bool adds_rows(const umbra_scratch *s, const umbra_config *c)
{
    bool adds = !s->streams && c->ngrams.size == 0;
    for (int l = 0; l < c->layers; l++)
        adds = adds && c->attention[l].index.kept == 0;
    return adds;
}

int umbra_walk_open(umbra_walk **out, umbra_engine *engine, umbra_error *err)
{
    *out = NULL;
    umbra_walk *w = umbra_calloc(1, sizeof *w);
    if (!w)
        return umbra_fail_nomem(err, "the walk ahead", sizeof *w);
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    const umbra_config *c = &umbra_engine_model(engine)->config;
    umbra_scratch sizes;
    w->engine = engine;
    w->scratch_bytes = umbra_scratch_place(&sizes, NULL, c, 1, 0, plan->context + 1, plan->threads);
    w->pages_bytes = lay_pages(c, NULL);
    umbra_engine_pass(engine, &w->pass);
    char *arena = umbra_map(w->scratch_bytes);
    w->pages = umbra_map(w->pages_bytes);
    bool tables = open_tables(w, c);
    if (arena)
        umbra_scratch_place(&w->scratch, arena, c, 1, 0, plan->context + 1, plan->threads);
    if (!arena || !w->pages || !tables) {
        umbra_walk_close(&w);
        return umbra_fail_nomem(err, "the walk ahead", sizes.arena_bytes);
    }
    lay_pages(c, w->places);
    umbra_engine_lend_output(engine, &w->scratch);
    w->pass.scratch = &w->scratch;
    w->pass.rows = 1;
    w->most_experts = UMBRA_MAX_USED;
    w->may_take_known = adds_rows(&w->scratch, c);
    *out = w;
    return UMBRA_OK;
}

bool umbra_walk_goes_beside(const umbra_model *model)
{
    const umbra_config *c = &model->config;
    bool goes = c->ngrams.size == 0;
    for (int l = 0; l < c->layers; l++) {
        const umbra_attention *a = &c->attention[l];
        goes = goes && a->conv == 0 && a->ratio == 0 && a->index.kept == 0 &&
               umbra_recurrent_make(a).heads == 0;
    }
    return goes;
}

int umbra_walk_open_beside(umbra_walk **out, umbra_engine *engine, umbra_error *err)
{
    int rc = umbra_walk_open(out, engine, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_walk *w = *out;
    w->beside = true;
    w->device = *w->pass.device;
    w->device.pool = NULL;
    w->device.threads = 1;
    w->device.tick = NULL;
    w->device.profiler = NULL;
    w->pass.device = &w->device;
    return UMBRA_OK;
}

void umbra_walk_close(umbra_walk **walk)
{
    umbra_walk *w = *walk;
    if (!w)
        return;
    umbra_unmap(w->scratch.arena, w->scratch_bytes);
    umbra_unmap(w->pages, w->pages_bytes);
    umbra_free(w->places);
    umbra_free(w->views);
    umbra_free(w->known);
    umbra_free(w->added);
    umbra_free(w);
    *walk = NULL;
}

static void begin(umbra_walk *w, int sequence, int position, int source)
{
    w->sequence = sequence;
    w->position = position;
    w->layer = w->source = source;
    w->tokens = w->distance = w->computed = 0;
    w->routed = false;
    w->unseen = 0;
    w->missing = 0;
    w->scratch.prompt[0] = false;
}

bool umbra_walk_takes_drafts(const umbra_walk *w)
{
    const umbra_config *c = &w->pass.model->config;
    bool takes = c->ngrams.size == 0;
    for (int l = 0; l < c->layers; l++)
        takes = takes && c->attention[l].conv == 0 && c->attention[l].ratio == 0 &&
                c->attention[l].index.kept == 0;
    return takes;
}

void umbra_walk_begin(umbra_walk *w, const umbra_rows *rows, int t, umbra_tap_place place)
{
    begin(w, rows->tokens[t].sequence, rows->position[t], rows->layer);
    while (w->unseen < t && rows->tokens[t - 1 - w->unseen].sequence == w->sequence)
        w->unseen++;
    umbra_engine_row(w->engine, t, &w->scratch);
    w->begun = w->beside;
    for (int l = w->source + 1; w->beside && l < w->pass.model->config.layers; l++)
        w->views[l] = umbra_engine_view(w->engine, l, w->sequence, w->position);
    if (w->beside)
        return;
    if (place == UMBRA_TAP_WAIT)
        w->missing = umbra_engine_partial(w->engine, w->layer, t, umbra_residual(&w->scratch));
    else
        w->routed = umbra_step_route(&w->pass, w->layer) == UMBRA_NO_ROW;
}

/* The next token's embedding, in front of layer 0. */
static bool enter(umbra_walk *w, int32_t id)
{
    int position = w->position + w->tokens;
    if (position >= umbra_engine_get_plan(w->engine)->context)
        return false;
    w->scratch.id[0] = id;
    w->scratch.position[0] = position;
    umbra_step_embed(&w->pass);
    w->layer = -1;
    return true;
}

bool umbra_walk_begin_token(umbra_walk *w, int sequence, int position, int32_t id)
{
    begin(w, sequence, position, -1);
    return enter(w, id);
}

void umbra_walk_limit(umbra_walk *w, int experts)
{
    w->most_experts = experts;
}

void umbra_walk_take_known(umbra_walk *w, bool on)
{
    w->takes_known = on && w->may_take_known;
}

static bool borrow(umbra_walk *w, umbra_store *store, int expert, umbra_lease *lease)
{
    return (w->beside ? umbra_store_lend(store, w->layer, &expert, 1, lease)
                      : umbra_store_borrow(store, w->layer, &expert, 1, lease)) == 1;
}

static void give_back(const umbra_walk *w, umbra_store *store, const umbra_lease *lease)
{
    if (w->beside)
        umbra_store_take_back(store, lease);
    else
        umbra_store_release(store, lease);
}

/* Of the experts named, those that are in the cache: their weighted sum joins x. */
static void add_experts(umbra_walk *w)
{
    umbra_scratch *s = &w->scratch;
    umbra_store *store = umbra_engine_store(w->engine);
    umbra_lease leases[UMBRA_MAX_USED];
    int n = 0;
    float all = 0, missing = 0;
    umbra_step_sort_pairs(&w->pass, w->layer);
    umbra_step_ffn(&w->pass, w->layer);
    for (int j = 0; j < w->pass.model->config.experts_used; j++) {
        bool there = n < w->most_experts && borrow(w, store, s->experts[j], &leases[n]);
        n += there;
        all += s->weights[j];
        missing += there ? 0 : s->weights[j];
        if (!there)
            s->token_pair[j] = -1; /* left out of the sum */
    }
    w->computed += n;
    if (n > 0)
        umbra_step_experts(&w->pass, w->layer, leases, n);
    umbra_step_mix(&w->pass, w->layer);
    for (int i = 0; i < n; i++)
        give_back(w, store, &leases[i]);
    if (all > 0 && missing / all > w->missing)
        w->missing = missing / all;
}

/* A recurrent layer: from the sequence's state at first, then from the walk's own, which lies
 * apart. In layers up to the source the sequence's step has the walk's first token already. */
static void recur(umbra_walk *w)
{
    umbra_scratch *s = &w->scratch;
    float *own = (float *)(void *)(w->pages + w->places[w->layer].page);
    umbra_recurrent_view held = umbra_engine_recurrent(w->engine, w->layer, w->sequence);
    bool stepped = w->layer <= w->source;
    const float *from = stepped ? held.to : held.from;
    bool first = w->tokens == (stepped ? 1 : 0);
    s->chains.n = 1;
    s->chains.first[0] = 0;
    s->chains.before[0] = s->chains.after[0] = -1;
    s->recurrent[0] = (umbra_recurrent_view){first ? from : own, own};
    umbra_step_attention(&w->pass, w->layer);
}

/* What the walk sees of something that is kept: the sequence's for its first `held` positions, of
 * `seen`, and its own. Where the sequence does not hold the walk's first token yet, nor does it
 * what is unseen before that. */
static umbra_kv_view look(const umbra_walk *w, int kept, int held, int seen)
{
    held = umbra_kv_rows(&w->pass.forms[kept], held);
    seen = umbra_kv_rows(&w->pass.forms[kept], seen);
    umbra_kv_view view =
        w->beside ? w->views[kept]
                  : umbra_engine_view(w->engine, kept, w->sequence, w->position + w->tokens);
    view.kept = held;
    view.extra = w->pages + w->places[kept].page;
    view.extra_at = w->places[kept].row;
    view.extras = seen - held;
    if (view.first > view.kept) { /* a short window: it does not see all of the walk's rows */
        view.extra_at += view.first - view.kept;
        view.extras -= view.first - view.kept;
        view.kept = view.first;
    } else if (w->unseen > 0 && w->layer > w->source) {
        int held_too = view.kept - w->unseen;
        view.kept = held_too > view.first ? held_too : view.first;
    }
    return view;
}

/* Attention over what the sequence holds and the walk's own rows: of those of its first token, the
 * layers up to the source are the sequence's already. */
static bool attend(umbra_walk *w)
{
    const umbra_attention *a = &w->pass.model->config.attention[w->layer];
    umbra_scratch *s = &w->scratch;
    const umbra_ngrams *g = &w->pass.model->config.ngrams;
    int held = w->position + (w->layer <= w->source ? 1 : 0), seen = w->position + w->tokens + 1;
    if (g->size && w->layer == g->layer)
        s->ngrams[0] = look(w, g->kept, held, seen);
    if (umbra_step_ngrams(&w->pass, w->layer, NULL) != UMBRA_OK)
        return false;
    umbra_step_enter(&w->pass, w->layer, UMBRA_HALF_ATTENTION);
    if (w->pass.recurrent[w->layer].heads > 0) {
        recur(w);
        return true;
    }
    s->view[0] = look(w, w->layer, held, seen);
    if (a->index.kept)
        s->index[0] = look(w, a->index.kept, held, seen);
    if (a->index.pooling)
        s->index_pooling[0] = look(w, a->index.pooling, held, seen);
    if (a->ratio) {
        s->pooling[0] = look(w, a->pooling, held, seen);
        s->pooled[0] = look(w, a->pooled, held, seen);
    }
    umbra_step_attention(&w->pass, w->layer);
    return true;
}

/* Attention, or what an earlier walk of the same token found that it adds. */
static bool attend_or_recall(umbra_walk *w)
{
    int hidden = w->pass.model->config.hidden;
    const umbra_kernels *kernels = w->pass.device->kernels;
    umbra_scratch *s = &w->scratch;
    walk_known *known = &w->known[w->layer];
    float *added = w->added + (size_t)w->layer * (size_t)hidden;
    if (!w->takes_known)
        return attend(w);
    if (known->sequence == w->sequence && known->position == s->position[0] &&
        known->id == s->id[0]) {
        kernels->add_scaled(s->x, added, 1.0f, hidden);
        return true;
    }
    known->position = -1;
    memset(added, 0, (size_t)hidden * sizeof *added);
    kernels->add_scaled(added, s->x, -1.0f, hidden);
    if (!attend(w))
        return false;
    kernels->add_scaled(added, s->x, 1.0f, hidden);
    *known = (walk_known){w->sequence, s->position[0], s->id[0]};
    return true;
}

bool umbra_walk_step(umbra_walk *w)
{
    const umbra_model *model = w->pass.model;
    int layers = model->config.layers;
    if (w->begun)
        w->routed = umbra_step_route(&w->pass, w->layer) == UMBRA_NO_ROW;
    w->begun = false;
    if (w->routed)
        add_experts(w);
    w->routed = false;
    while (w->layer < layers && ++w->layer < layers) {
        if (!attend_or_recall(w))
            return false;
        if (umbra_layer_has_experts(model, w->layer)) {
            w->distance++;
            w->routed = umbra_step_route(&w->pass, w->layer) == UMBRA_NO_ROW;
            return w->routed;
        }
        umbra_step_ffn_dense(&w->pass, w->layer);
    }
    return false;
}

/* ---- behind the last layer ---- */

static bool is_at_end(const umbra_walk *w)
{
    return w->layer == w->pass.model->config.layers;
}

bool umbra_walk_guess(umbra_walk *w, umbra_walk_next *out)
{
    static const int row = 0;
    if (!is_at_end(w))
        return false;
    umbra_step_leave(&w->pass);
    umbra_step_output(&w->pass, &row, 1);
    const float *logits = w->scratch.logits;
    int32_t best[2] = {0, 0};
    int n = 0, vocabulary = w->pass.model->config.vocabulary;
    for (int32_t id = 0; id < vocabulary; id++)
        n = umbra_best_offer(best, n, 2, id, logits);
    double sum = w->pass.device->kernels->log_sum_exp(logits, vocabulary);
    *out = (umbra_walk_next){.best = best[0],
                             .second = best[1],
                             .probability = (float)exp((double)logits[best[0]] - sum),
                             .second_probability = (float)exp((double)logits[best[1]] - sum)};
    return isfinite(sum);
}

bool umbra_walk_token(umbra_walk *w, int32_t id)
{
    if (!is_at_end(w) || w->tokens + 1 >= UMBRA_WALK_TOKENS)
        return false;
    w->tokens++;
    return enter(w, id);
}

int umbra_walk_tokens(const umbra_walk *w)
{
    return w->tokens;
}

int umbra_walk_layer(const umbra_walk *w)
{
    return w->layer;
}

int umbra_walk_distance(const umbra_walk *w)
{
    return w->distance;
}

float umbra_walk_missing(const umbra_walk *w)
{
    return w->missing;
}

int umbra_walk_computed(const umbra_walk *w)
{
    return w->computed;
}

const float *umbra_walk_scores(const umbra_walk *w)
{
    return w->scratch.router;
}

const float *umbra_walk_preference(const umbra_walk *w)
{
    return w->pass.weights->layer[w->layer][UMBRA_SELECTION_BIAS].data;
}

const int32_t *umbra_walk_experts(const umbra_walk *w)
{
    return w->scratch.experts;
}
