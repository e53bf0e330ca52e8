/* Lays the numbers of a pass out in one arena. */
#include "base/arena.h"
#include "engine/steps/steps.h"

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

/* A compressed cache's attention: a few tokens at a time, since each has heads * kv_rank values. */
static void lay_latent(umbra_arena *c, umbra_latent *l, const umbra_config *config, int chunk,
                       int threads)
{
    uint64_t heads = (uint64_t)config->heads, rank = (uint64_t)config->kv_rank;
    uint64_t plain = (uint64_t)(config->key_dim - config->rope.dim);
    uint64_t tokens = (uint64_t)(chunk < UMBRA_LATENT_TOKENS ? chunk : UMBRA_LATENT_TOKENS);
    l->plain = take_activations(c, tokens * heads, plain);
    l->query = take_floats(c, tokens * heads, (uint64_t)config->cache_key);
    l->mixed = take_activations(c, tokens * heads, rank);
    l->rows = umbra_arena_take(c, heads * UMBRA_LATENT_TOKENS, sizeof *l->rows);
    l->row = take_floats(c, (uint64_t)threads, rank);
    l->products = umbra_arena_take(c, heads, sizeof *l->products);
}

static void lay_attention(umbra_arena *c, umbra_scratch *s, const umbra_config *config, int chunk,
                          int context, int threads)
{
    uint64_t tokens = (uint64_t)chunk, heads = (uint64_t)config->heads;
    uint64_t kept = tokens * (uint64_t)config->cache_heads;
    uint64_t group = config->kv_rank ? UMBRA_LATENT_HEADS : heads / (uint64_t)config->kv_heads;
    s->q_low = take_activations(c, tokens, (uint64_t)config->q_rank);
    s->q = take_floats(c, tokens, heads * (uint64_t)config->key_dim);
    s->k = take_floats(c, kept, (uint64_t)config->cache_key);
    s->v = take_floats(c, kept, (uint64_t)config->cache_value);
    s->mixed = take_activations(c, tokens, heads * (uint64_t)config->value_dim);
    s->rope = take_floats(c, tokens, (uint64_t)config->rope.dim);
    s->view = umbra_arena_take(c, tokens, sizeof *s->view);
    s->scores_stride = context + 1;
    s->scores = take_floats(c, (uint64_t)threads * group, (uint64_t)s->scores_stride);
    s->runs_stride = umbra_kv_most_runs(context);
    s->runs = umbra_arena_take(c, (uint64_t)threads * (uint64_t)s->runs_stride, sizeof *s->runs);
    if (config->kv_rank)
        lay_latent(c, &s->latent, config, chunk, threads);
}

/* The inner values of experts and those of the block that every token uses share their place. */
static void lay_inner(umbra_arena *c, umbra_scratch *s, const umbra_config *config, uint64_t tokens)
{
    uint64_t pairs = tokens * (uint64_t)config->experts_used;
    uint64_t width = (uint64_t)config->expert_width;
    uint64_t dense = config->dense_layers ? (uint64_t)config->dense_width : 0;
    dense = larger(dense, (uint64_t)config->shared_width);
    uint64_t cells = larger(pairs * width, tokens * dense);
    s->up = take_floats(c, cells, 1);
    s->inner = take_activations(c, 1, umbra_align_up(cells, UMBRA_Q16_BLOCK));
    s->ffn = s->inner;
    s->inner.rows = (int)pairs;
    s->inner.columns = (int)width;
    s->ffn.rows = (int)tokens;
}

uint64_t umbra_scratch_layout(umbra_scratch *s, char *base, const umbra_config *config, int chunk,
                              int context, int threads)
{
    umbra_arena c = {base, 0};
    uint64_t tokens = (uint64_t)chunk, hidden = (uint64_t)config->hidden;
    uint64_t experts = (uint64_t)config->experts;
    uint64_t pairs = tokens * (uint64_t)config->experts_used;

    s->x = take_floats(&c, tokens, hidden);
    s->normed = take_activations(&c, tokens, hidden);
    lay_attention(&c, s, config, chunk, context, threads);
    s->block = take_floats(&c, tokens, hidden);
    s->router = take_floats(&c, tokens, experts);
    s->selection = take_floats(&c, (uint64_t)threads, experts + (uint64_t)config->router.groups);
    s->groups = umbra_arena_take(&c, (uint64_t)threads * (uint64_t)config->router.groups,
                                 sizeof *s->groups);
    s->shared_weight = take_floats(&c, tokens, 1);
    s->experts = umbra_arena_take(&c, pairs, sizeof *s->experts);
    s->weights = umbra_arena_take(&c, pairs, sizeof *s->weights);
    s->pair_token = umbra_arena_take(&c, pairs, sizeof *s->pair_token);
    s->token_pair = umbra_arena_take(&c, pairs, sizeof *s->token_pair);
    s->spans = umbra_arena_take(&c, experts, sizeof *s->spans);
    s->span_expert = umbra_arena_take(&c, experts, sizeof *s->span_expert);
    s->span_uses = umbra_arena_take(&c, experts, sizeof *s->span_uses);
    lay_inner(&c, s, config, tokens);
    s->contribution = take_floats(&c, pairs, hidden);
    s->out = take_activations(&c, UMBRA_LOGITS_ROWS, hidden);
    s->logits = take_floats(&c, UMBRA_LOGITS_ROWS, (uint64_t)config->vocabulary);
    s->id = umbra_arena_take(&c, tokens, sizeof *s->id);
    s->sequence = umbra_arena_take(&c, tokens, sizeof *s->sequence);
    s->position = umbra_arena_take(&c, tokens, sizeof *s->position);
    s->prompt = umbra_arena_take(&c, tokens, sizeof *s->prompt);
    s->arena = base;
    s->arena_bytes = c.used;
    return c.used;
}
