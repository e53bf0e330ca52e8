#include "base/memory.h"
#include "engine/engine.h"

/* Hands out parts of an arena, 64-byte aligned; with base NULL it only counts. */
typedef struct cursor {
    char *base;
    uint64_t used;
} cursor;

static void *take(cursor *c, uint64_t n, uint64_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += umbra_align_up(n * size, 64);
    return p;
}

static float *take_floats(cursor *c, uint64_t rows, uint64_t columns)
{
    return take(c, rows * columns, sizeof(float));
}

static umbra_activations take_activations(cursor *c, uint64_t rows, uint64_t columns)
{
    uint64_t blocks = rows * (columns / UMBRA_Q16_BLOCK);
    return (umbra_activations){
        .rows = (int)rows,
        .columns = (int)columns,
        .f32 = take_floats(c, rows, columns),
        .q = take(c, rows * columns, sizeof(int16_t)),
        .scale = take_floats(c, blocks, 1),
        .sum = take_floats(c, blocks, 1),
    };
}

uint64_t umbra_scratch_layout(umbra_scratch *s, char *base, const umbra_config *config, int chunk,
                              int context, int threads)
{
    cursor c = {base, 0};
    uint64_t tokens = (uint64_t)chunk, hidden = (uint64_t)config->hidden;
    uint64_t heads = (uint64_t)config->heads, kv_heads = (uint64_t)config->kv_heads;
    uint64_t key_dim = (uint64_t)config->key_dim, value_dim = (uint64_t)config->value_dim;
    uint64_t experts = (uint64_t)config->experts, used = (uint64_t)config->experts_used;
    uint64_t width = (uint64_t)config->expert_width, pairs = tokens * used;

    s->x = take_floats(&c, tokens, hidden);
    s->normed = take_activations(&c, tokens, hidden);
    s->q = take_floats(&c, tokens, heads * key_dim);
    s->k = take_floats(&c, tokens, kv_heads * key_dim);
    s->v = take_floats(&c, tokens, kv_heads * value_dim);
    s->mixed = take_activations(&c, tokens, heads * value_dim);
    s->block = take_floats(&c, tokens, hidden);
    s->rope = take_floats(&c, tokens, key_dim);
    s->scores = take_floats(&c, (uint64_t)threads * (heads / kv_heads), (uint64_t)context);
    s->router = take_floats(&c, tokens, experts);
    s->experts = take(&c, pairs, sizeof *s->experts);
    s->weights = take(&c, pairs, sizeof *s->weights);
    s->pair_token = take(&c, pairs, sizeof *s->pair_token);
    s->token_pair = take(&c, pairs, sizeof *s->token_pair);
    s->spans = take(&c, experts, sizeof *s->spans);
    s->span_expert = take(&c, experts, sizeof *s->span_expert);
    s->up = take_floats(&c, pairs, width);
    s->inner = take_activations(&c, pairs, width);
    s->contribution = take_floats(&c, pairs, hidden);
    s->out = take_activations(&c, UMBRA_LOGITS_ROWS, hidden);
    s->logits = take_floats(&c, UMBRA_LOGITS_ROWS, (uint64_t)config->vocabulary);
    s->sequence = take(&c, tokens, sizeof *s->sequence);
    s->position = take(&c, tokens, sizeof *s->position);
    s->arena = base;
    s->arena_bytes = c.used;
    return c.used;
}
