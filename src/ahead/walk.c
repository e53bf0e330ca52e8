/* The walk ahead: a second pass of one row through the engine's steps, over what is in memory. */
#include "ahead/walk_internal.h"

#include <math.h>
#include <string.h>

#include "base/best.h"
#include "store/lend.h"

/* Where a walk begins, experts are computed anew if so much of their weight was left out before:
 * more of them are there by now, and the layers that follow are the next to be read for. */
static const float stale = 0.3f;

static void begin(umbra_walk *w, int sequence, int position, int source)
{
    w->sequence = sequence;
    w->position = position;
    w->layer = w->source = source;
    w->tokens = w->distance = w->computed = 0;
    w->routed = false;
    w->unseen = 0;
    w->missing = 0;
    w->posted_in = -1;
    w->scratch.prompt[0] = false;
}

void umbra_walk_begin(umbra_walk *w, const umbra_rows *rows, int t, umbra_tap_place place)
{
    begin(w, rows->tokens[t].sequence, rows->position[t], rows->layer);
    while (w->unseen < t && rows->tokens[t - 1 - w->unseen].sequence == w->sequence)
        w->unseen++;
    umbra_engine_row(w->engine, t, &w->scratch);
    w->id = w->scratch.id[0];
    w->begun = w->beside;
    for (int l = 0; w->beside && l < w->pass.model->config.layers; l++)
        w->views[l] = umbra_engine_view(w->engine, l, w->sequence, w->position);
    if (w->beside)
        return;
    if (place == UMBRA_TAP_WAIT)
        w->missing = umbra_engine_partial(w->engine, w->layer, t, umbra_residual(&w->scratch));
    else
        w->routed = umbra_step_route(&w->pass, w->layer) == UMBRA_NO_ROW;
}

bool umbra_walk_takes_posts(const umbra_walk *w)
{
    return w->takes_known && w->takes_experts;
}

void umbra_walk_post(umbra_walk *w, const umbra_rows *rows, int t)
{
    size_t hidden = (size_t)w->pass.model->config.hidden;
    memcpy(w->posted, rows->x + (size_t)t * hidden, hidden * sizeof *w->posted);
    w->posted_in = rows->layer;
}

bool umbra_walk_renew(umbra_walk *w)
{
    if (w->posted_in < 0)
        return false;
    begin(w, w->sequence, w->position, w->posted_in);
    w->scratch.id[0] = w->id;
    w->scratch.position[0] = w->position; /* rotations matter to attention alone, which is known */
    memcpy(w->scratch.x, w->posted, (size_t)w->pass.model->config.hidden * sizeof *w->posted);
    w->posted_in = -1;
    w->begun = true;
    return true;
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

void umbra_walk_take_experts(umbra_walk *w, bool on)
{
    w->takes_experts = on;
}

bool umbra_walk_was_new(const umbra_walk *w)
{
    return w->was_new;
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

/* Whether what is known of the layer is of the token that the walk is in. */
static bool is_known(const umbra_walk *w)
{
    const walk_known *known = &w->known[w->layer];
    return w->takes_known && known->sequence == w->sequence &&
           known->position == w->scratch.position[0] && known->id == w->scratch.id[0];
}

/* The experts of a layer, or what an earlier walk of the same token found that they add. */
static void add_or_recall_experts(umbra_walk *w)
{
    int hidden = w->pass.model->config.hidden;
    const umbra_kernels *kernels = w->pass.device->kernels;
    walk_known *known = &w->known[w->layer];
    float *moved = w->moved + (size_t)w->layer * (size_t)hidden, before = w->missing;
    if (!w->takes_experts || !is_known(w)) {
        add_experts(w);
        return;
    }
    bool is_source = w->layer == w->source && w->tokens == 0;
    if (!known->experts || (is_source && known->missing > stale)) {
        memset(moved, 0, (size_t)hidden * sizeof *moved);
        kernels->add_scaled(moved, w->scratch.x, -1.0f, hidden);
        w->missing = 0;
        add_experts(w);
        kernels->add_scaled(moved, w->scratch.x, 1.0f, hidden);
        known->missing = w->missing;
        known->experts = true;
    } else {
        kernels->add_scaled(w->scratch.x, moved, 1.0f, hidden);
    }
    w->missing = known->missing > before ? known->missing : before;
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
    w->was_new = !is_known(w);
    if (!w->takes_known)
        return attend(w);
    if (!w->was_new) {
        kernels->add_scaled(s->x, added, 1.0f, hidden);
        return true;
    }
    known->position = -1;
    memset(added, 0, (size_t)hidden * sizeof *added);
    kernels->add_scaled(added, s->x, -1.0f, hidden);
    if (!attend(w))
        return false;
    kernels->add_scaled(added, s->x, 1.0f, hidden);
    *known = (walk_known){.sequence = w->sequence, .position = s->position[0], .id = s->id[0]};
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
        add_or_recall_experts(w);
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

/* About as much of the matrix as a layer's attention reads. */
enum { PIECE_BYTES = 256 << 10, LEAST_PIECE = 64 /* rows */ };

bool umbra_walk_guess_begin(umbra_walk *w)
{
    static const int row = 0;
    if (!is_at_end(w))
        return false;
    umbra_step_leave(&w->pass);
    umbra_step_output_norm(&w->pass, &row, 1);
    w->guess = (walk_guess){.log_sum = -INFINITY};
    return true;
}

static double log_of_both(double a, double b)
{
    double most = fmax(a, b);
    return most > -INFINITY ? most + log(exp(a - most) + exp(b - most)) : most;
}

bool umbra_walk_guess_on(umbra_walk *w, umbra_walk_next *out)
{
    walk_guess *g = &w->guess;
    const float *logits = w->scratch.logits;
    int first = g->rows, left = w->pass.model->config.vocabulary - first;
    int rows = (int)(PIECE_BYTES / w->pass.weights->model[UMBRA_OUTPUT].row_bytes);
    rows = rows > LEAST_PIECE ? rows / LEAST_PIECE * LEAST_PIECE : LEAST_PIECE;
    rows = rows < left ? rows : left;
    umbra_step_output_part(&w->pass, first, rows);
    g->rows += rows;
    for (int32_t id = first; id < g->rows; id++)
        g->n = umbra_best_offer(g->best, g->n, 2, id, logits);
    g->log_sum =
        log_of_both(g->log_sum, w->pass.device->kernels->log_sum_exp(logits + first, rows));
    if (rows < left)
        return false;
    *out = (umbra_walk_next){.best = isfinite(g->log_sum) ? g->best[0] : -1,
                             .second = g->best[1],
                             .probability = (float)exp((double)logits[g->best[0]] - g->log_sum),
                             .second_probability =
                                 (float)exp((double)logits[g->best[1]] - g->log_sum)};
    return true;
}

bool umbra_walk_guess(umbra_walk *w, umbra_walk_next *out)
{
    if (!umbra_walk_guess_begin(w))
        return false;
    while (!umbra_walk_guess_on(w, out))
        ;
    return out->best >= 0;
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
