/* Lays the numbers of a pass out in one arena. */
#include "base/arena.h"
#include "engine/steps/steps.h"

enum { LEAST_INNER = 256 }; /* pairs with room for their inner values */

static float *take_floats(umbra_arena *c, uint64_t rows, uint64_t columns)
{
    return umbra_arena_take(c, rows * columns, sizeof(float));
}

static umbra_activations take_activations(umbra_arena *c, uint64_t rows, uint64_t columns)
{
    uint64_t blocks = rows * (columns / UMBRA_Q16_BLOCK);
    return (umbra_activations){
        .rows = (int)rows,
        .columns = (int)columns,
        .f32 = take_floats(c, rows, columns),
        .q = umbra_arena_take(c, rows * columns, sizeof(int16_t)),
        .scale = take_floats(c, blocks, 1),
        .sum = take_floats(c, blocks, 1),
    };
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The most that a layer's attention has of each. */
typedef struct widest {
    uint64_t q_low, q, k, v, mixed, gate;
    uint64_t decays, steps, products; /* of a recurrent layer's; and of parts of a matrix */
    uint64_t pool, groups_out;
    uint64_t parts;              /* of a matrix that holds some for each head or group */
    uint64_t block, block_width; /* floats of a block that attention expands; of a row's values */
    uint64_t index_query, index_heads, index_key, index_scores, picked;
    int index_runs;
    int ratio; /* the smallest of layers that pool; 0: none does */
    bool pools_keys;
    const umbra_attention *latent; /* a layer with a compressed cache, of which all are alike */
} widest;

static void widen_pooled(widest *w, const umbra_attention *a)
{
    w->pool = larger(w->pool, a->ratio ? (uint64_t)(a->ratio_parts * a->key_dim) : 0);
    w->groups_out = larger(w->groups_out, (uint64_t)(a->out_groups * a->out_rank));
    w->parts = larger(w->parts, (uint64_t)(a->kv_rank ? a->heads : a->out_groups));
    if (a->ratio && (!w->ratio || a->ratio < w->ratio))
        w->ratio = a->ratio;
}

static void widen_index(widest *w, const umbra_attention *a, int context)
{
    const umbra_index *i = &a->index;
    if (!i->most)
        return;
    int lists = i->by_head ? i->heads : 1, parts = i->parts > 0 ? i->parts : 1;
    int pooled = a->ratio ? context / a->ratio : context, units = pooled / i->unit + 1;
    int picked = units > i->most ? i->most + 1 : 0; /* an unfinished unit is beside the others */
    int runs = umbra_kv_most_picked_runs(picked, i->unit);
    w->index_query = larger(w->index_query, (uint64_t)(i->heads * i->dim));
    w->index_heads = larger(w->index_heads, (uint64_t)i->heads);
    w->index_key = larger(w->index_key, (uint64_t)(parts * i->dim));
    w->index_scores = larger(w->index_scores, umbra_index_scores(i->heads, lists, units));
    w->picked = larger(w->picked, (uint64_t)lists * (uint64_t)picked);
    w->index_runs = runs > w->index_runs ? runs : w->index_runs;
    w->pools_keys = w->pools_keys || i->ratio > 0;
}

/* What is kept is what attention reads: of a compressed cache the values are part of the keys. */
static void widen_block(widest *w, const umbra_attention *a)
{
    int key = a->cache_key, value = a->kv_rank ? a->kv_rank : a->value_dim;
    if (a->conv)
        return;
    w->block = larger(w->block, umbra_attend_scratch(key, value));
    w->block_width = larger(w->block_width, umbra_attend_width(value));
}

static void widen_recurrent(widest *w, const umbra_attention *a)
{
    enum { OTHERS = 8 }; /* products beside those by key head */
    const umbra_recurrence *r = &a->recurrence;
    uint64_t heads = (uint64_t)a->heads, channels = (uint64_t)umbra_recurrent_channels(a);
    uint64_t decays = r->key_decay ? heads * (uint64_t)a->key_dim : heads;
    w->q = larger(w->q, channels);
    w->k = larger(w->k, channels);
    w->gate = larger(w->gate, (uint64_t)umbra_recurrent_values(a));
    w->decays = larger(w->decays, decays);
    w->steps = larger(w->steps, heads + decays);
    w->products = larger(w->products, 4 * (uint64_t)r->key_heads + OTHERS);
    w->q_low = larger(w->q_low, r->key_decay ? (uint64_t)a->key_dim : 0);
}

static widest find_widest(const umbra_config *c, int context)
{
    widest w = {0};
    for (int l = 0; l < c->layers; l++) {
        const umbra_attention *a = &c->attention[l];
        uint64_t heads = (uint64_t)a->heads, kept = (uint64_t)a->cache_heads;
        w.mixed = larger(w.mixed, heads * (uint64_t)a->value_dim);
        if (a->recurrence.key_heads) {
            widen_recurrent(&w, a);
            continue;
        }
        if (a->heads == 0)
            continue;
        w.products = larger(w.products, (a->gated ? 2 : 1) * heads + 2);
        w.gate = larger(w.gate, a->gated ? heads * (uint64_t)a->value_dim : 0);
        w.q_low = larger(w.q_low, (uint64_t)a->q_rank);
        w.q = larger(w.q, a->conv ? 3 * (uint64_t)c->hidden : heads * (uint64_t)a->key_dim);
        w.k = larger(w.k, kept * (uint64_t)a->cache_key);
        w.v = larger(w.v, kept * (uint64_t)a->cache_value);
        widen_block(&w, a);
        widen_pooled(&w, a);
        widen_index(&w, a, context);
        if (a->kv_rank)
            w.latent = a;
    }
    return w;
}

/* A compressed cache's attention: a few tokens at a time, since each has heads * kv_rank values. */
static void lay_latent(umbra_arena *c, umbra_latent *l, const umbra_config *config,
                       const umbra_attention *a, int chunk, int threads)
{
    uint64_t heads = (uint64_t)a->heads, rank = (uint64_t)a->kv_rank;
    uint64_t plain = (uint64_t)(a->key_dim - config->rope[a->rope].dim);
    uint64_t tokens = (uint64_t)(chunk < UMBRA_LATENT_TOKENS ? chunk : UMBRA_LATENT_TOKENS);
    l->plain = take_activations(c, tokens * heads, plain);
    l->query = take_floats(c, tokens * heads, (uint64_t)a->cache_key);
    l->mixed = take_activations(c, tokens * heads, rank);
    l->row = take_floats(c, (uint64_t)threads, rank);
}

/* What pooled rows and groups of heads need. */
static void lay_pooled(umbra_arena *c, umbra_scratch *s, const widest *w, uint64_t tokens,
                       uint64_t turned)
{
    uint64_t pooling = w->ratio ? tokens : 0;
    s->pool_values = take_floats(c, tokens, w->pool);
    s->pool_scores = take_floats(c, tokens, w->pool);
    s->pool_angles = take_floats(c, w->pools_keys ? tokens : pooling, turned);
    s->groups_out = take_activations(c, tokens, w->groups_out);
    s->part_stride = (int)(w->groups_out ? tokens : UMBRA_LATENT_TOKENS);
    s->parts = umbra_arena_take(c, w->parts, sizeof *s->parts);
    s->part_rows = umbra_arena_take(c, w->parts * (uint64_t)s->part_stride, sizeof *s->part_rows);
    s->pooled = umbra_arena_take(c, pooling, sizeof *s->pooled);
    s->pooling = umbra_arena_take(c, pooling, sizeof *s->pooling);
}

/* Recurrent layers go through rows by their sequences. */
static void lay_chains(umbra_arena *c, umbra_scratch *s, uint64_t rows)
{
    s->chains.first = umbra_arena_take(c, rows, sizeof *s->chains.first);
    s->chains.before = umbra_arena_take(c, rows, sizeof *s->chains.before);
    s->chains.after = umbra_arena_take(c, rows, sizeof *s->chains.after);
    s->recurrent = umbra_arena_take(c, rows, sizeof *s->recurrent);
}

static void lay_index(umbra_arena *c, umbra_scratch *s, const widest *w, uint64_t tokens,
                      uint64_t threads)
{
    uint64_t pooling = w->pools_keys ? tokens : 0;
    s->picks = (umbra_picks){.stride = (int)w->picked};
    if (!w->index_query)
        return;
    s->index_query = take_floats(c, tokens, w->index_query);
    s->index_weight = take_floats(c, tokens, w->index_heads);
    s->index_key = take_floats(c, tokens, w->index_key);
    s->index_key_scores = take_floats(c, pooling, w->index_key);
    s->index_scores_stride = (int)w->index_scores;
    s->index_scores = take_floats(c, threads, w->index_scores);
    s->picks.unit = umbra_arena_take(c, tokens * w->picked, sizeof *s->picks.unit);
    s->picks.n = umbra_arena_take(c, tokens, sizeof *s->picks.n);
    s->index = umbra_arena_take(c, tokens, sizeof *s->index);
    s->index_pooling = umbra_arena_take(c, pooling, sizeof *s->index_pooling);
}

static void lay_attend(umbra_arena *c, umbra_attend_room *room, const widest *w, uint64_t tokens,
                       uint64_t threads)
{
    uint64_t rows = w->block ? threads * UMBRA_ATTEND_ROWS : 0;
    room->block_stride = umbra_align_up(w->block, UMBRA_ARENA_ALIGNMENT / sizeof(float));
    room->blocks = take_floats(c, threads, room->block_stride);
    room->width = w->block_width;
    room->mixed = take_floats(c, rows, room->width);
    room->parts = umbra_arena_take(c, rows, sizeof *room->parts);
    room->totals = umbra_arena_take(c, rows, sizeof *room->totals);
    room->tiles = umbra_arena_take(c, tokens + 1, sizeof *room->tiles);
}

static void lay_attention(umbra_arena *c, umbra_scratch *s, const umbra_config *config, int chunk,
                          int context, int threads)
{
    uint64_t tokens = (uint64_t)chunk;
    widest w = find_widest(config, context);
    s->q_low = take_activations(c, tokens, w.q_low);
    s->q = take_floats(c, tokens, w.q);
    s->k = take_floats(c, tokens, w.k);
    s->v = take_floats(c, tokens, w.v);
    s->mixed = take_activations(c, tokens, w.mixed);
    s->gate = take_floats(c, tokens, w.gate);
    s->steps = take_floats(c, tokens, w.steps);
    s->decay = take_floats(c, tokens, w.decays);
    s->rate = take_floats(c, tokens, w.steps - w.decays);
    s->dealt = umbra_arena_take(c, w.products, sizeof *s->dealt);
    lay_chains(c, s, w.steps ? tokens : 0);
    for (int i = 0; i < UMBRA_ROPES; i++)
        s->rope[i] = take_floats(c, tokens, (uint64_t)config->rope[i].dim);
    s->view = umbra_arena_take(c, tokens, sizeof *s->view);
    int pooled = w.ratio ? context / w.ratio + 1 : 0;
    lay_attend(c, &s->attend, &w, tokens, (uint64_t)threads);
    s->runs_stride = umbra_kv_most_runs(context) + (pooled ? umbra_kv_most_runs(pooled) : 0);
    if (w.index_runs > 0) /* what is picked may be pooled rows, beside a window */
        s->runs_stride += w.index_runs;
    s->runs = umbra_arena_take(c, (uint64_t)threads * (uint64_t)s->runs_stride, sizeof *s->runs);
    lay_index(c, s, &w, tokens, (uint64_t)threads);
    lay_pooled(c, s, &w, tokens,
               larger((uint64_t)config->rope[0].dim, (uint64_t)config->rope[1].dim));
    if (w.latent)
        lay_latent(c, &s->latent, config, w.latent, chunk, threads);
}

/* Pairs whose inner values are kept at once: those of an expert that all tokens use and more, so
 * that threads share several experts at a time. */
static uint64_t count_inner(uint64_t tokens, uint64_t pairs)
{
    uint64_t rows = larger(2 * tokens, LEAST_INNER);
    return rows < pairs ? rows : pairs;
}

/* The inner values of experts and those of the block that every token uses share their place. */
static void lay_inner(umbra_arena *c, umbra_scratch *s, const umbra_config *config, uint64_t tokens)
{
    uint64_t pairs = count_inner(tokens, tokens * (uint64_t)config->experts_used);
    uint64_t width = (uint64_t)config->expert_width;
    uint64_t dense = umbra_has_dense_layers(config) ? (uint64_t)config->dense_width : 0;
    dense = larger(dense, (uint64_t)config->shared_width);
    uint64_t cells = larger(pairs * width, tokens * dense);
    s->up = take_floats(c, cells, 1);
    s->inner = take_activations(c, 1, umbra_align_up(cells, UMBRA_Q16_BLOCK));
    s->ffn = s->inner;
    s->inner.rows = (int)pairs;
    s->inner.columns = (int)width;
    s->ffn.rows = (int)tokens;
}

static void lay_streams(umbra_arena *c, umbra_scratch *s, const umbra_config *config,
                        uint64_t tokens, uint64_t threads)
{
    uint64_t n = (uint64_t)config->streams.count, whole = n * (uint64_t)config->hidden;
    s->streams = NULL;
    if (n == 1)
        return;
    s->streams = take_floats(c, tokens, whole);
    s->carry = take_floats(c, tokens, n * (n + 1));
    s->flat = take_activations(c, tokens, whole);
    s->stream_scores = take_floats(c, tokens, n * (n + 2));
    uint64_t normed = config->streams.rank ? tokens : 0, spoken = config->ngrams.size ? tokens : 0;
    s->stream_low = take_activations(c, normed, (uint64_t)config->streams.rank);
    s->stream_gates = take_floats(c, normed, whole);
    s->ngram_state = take_activations(c, spoken, (uint64_t)config->hidden);
    s->ngram_key = take_floats(c, spoken, whole);
    s->ngram_row = take_floats(c, spoken ? threads : 0, (uint64_t)config->hidden);
    s->ngrams = umbra_arena_take(c, spoken, sizeof *s->ngrams);
}

uint64_t umbra_scratch_place(umbra_scratch *s, char *base, const umbra_config *config, int chunk,
                             int output_rows, int context, int threads)
{
    umbra_arena c = {base, 0};
    uint64_t tokens = (uint64_t)chunk, hidden = (uint64_t)config->hidden;
    uint64_t experts = (uint64_t)config->experts;
    uint64_t pairs = tokens * (uint64_t)config->experts_used;

    s->x = take_floats(&c, tokens, hidden);
    lay_streams(&c, s, config, tokens, (uint64_t)threads);
    s->normed = take_activations(&c, tokens, hidden);
    lay_attention(&c, s, config, chunk, context, threads);
    s->block = take_floats(&c, tokens, hidden);
    bool beside = config->post_norms || config->streams.count > 1;
    s->beside = take_floats(&c, beside ? tokens : 0, hidden);
    s->router = take_floats(&c, tokens, experts);
    s->selection = take_floats(&c, (uint64_t)threads, experts + (uint64_t)config->router.groups);
    s->groups = umbra_arena_take(&c, (uint64_t)threads * (uint64_t)config->router.groups,
                                 sizeof *s->groups);
    s->shared_weight = take_floats(&c, tokens, 1);
    s->experts = umbra_arena_take(&c, pairs, sizeof *s->experts);
    s->weights = umbra_arena_take(&c, pairs, sizeof *s->weights);
    s->pair_token = umbra_arena_take(&c, pairs, sizeof *s->pair_token);
    s->token_pair = umbra_arena_take(&c, pairs, sizeof *s->token_pair);
    s->pair_weight = take_floats(&c, config->router.weighs_input ? pairs : 0, 1);
    s->spans = umbra_arena_take(&c, experts, sizeof *s->spans);
    s->computed = umbra_arena_take(&c, experts, sizeof *s->computed);
    s->span_expert = umbra_arena_take(&c, experts, sizeof *s->span_expert);
    s->span_uses = umbra_arena_take(&c, experts, sizeof *s->span_uses);
    lay_inner(&c, s, config, tokens);
    s->contribution = take_floats(&c, pairs, (uint64_t)config->expert_hidden);
    uint64_t latent = config->expert_hidden != config->hidden ? (uint64_t)config->expert_hidden : 0;
    s->latent_in = take_activations(&c, tokens, latent);
    s->latent_out = take_activations(&c, tokens, latent);
    s->out = take_activations(&c, (uint64_t)output_rows, hidden);
    s->logits = take_floats(&c, (uint64_t)output_rows, (uint64_t)config->vocabulary);
    s->id = umbra_arena_take(&c, tokens, sizeof *s->id);
    s->sequence = umbra_arena_take(&c, tokens, sizeof *s->sequence);
    s->position = umbra_arena_take(&c, tokens, sizeof *s->position);
    s->prompt = umbra_arena_take(&c, tokens, sizeof *s->prompt);
    s->arena = base;
    s->arena_bytes = c.used;
    return c.used;
}
