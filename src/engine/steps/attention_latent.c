/* Attention over a compressed cache (MLA). A position's keys of all heads are K_B * latent, with
 * one rotated part behind that the heads share; its values are V_B * latent. Since q . (K_B latent)
 * = (K_B^T q) . latent, queries are moved into the latent's space instead of expanding the cache,
 * and V_B is applied to the mixed latents: the cache is read once for all heads, and nothing but
 * the latent is kept.
 *
 * Files have K_B^T and V_B per head (UMBRA_ATTN_K_B, _V_B), or both in one matrix the other way
 * round (UMBRA_ATTN_KV_B), of which K_B^T q is a sum of rows. Letters: T rows of a piece. */
#include "engine/steps/steps.h"

/* Rows that are in the latent's space at a time. */
typedef struct piece {
    int first; /* row of the pass with which it begins */
    int rows;
} piece;

/* The piece's queries into the latent's space. */
static void move_queries(const umbra_pass *p, int layer, const piece *at)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    const umbra_rope *rope = &p->model->config.rope[a->rope];
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    umbra_latent *l = &s->latent;
    umbra_split_step split = {
        .q = s->q + (size_t)(at->first * a->heads) * (size_t)a->key_dim,
        .plain = &l->plain,
        .query = l->query,
        .rope = rope,
        .angles = s->rope[a->rope] + (size_t)at->first * (size_t)rope->dim,
        .heads = a->heads,
        .kv_rank = a->kv_rank,
    };
    umbra_device_split(p->device, &split, at->rows);
    if (w[UMBRA_ATTN_KV_B].data) {
        umbra_sum_step sum = {
            .w = &w[UMBRA_ATTN_KV_B],
            .plain = &l->plain,
            .query = l->query,
            .row = l->row,
            .heads = a->heads,
            .head_rows = l->plain.columns + a->value_dim,
            .query_dim = a->cache_key,
        };
        umbra_device_sum_rows(p->device, &sum, at->rows);
    } else {
        umbra_step_per_part(p, a->heads, &w[UMBRA_ATTN_K_B],
                            (umbra_part){0, a->kv_rank, a->kv_rank}, &l->plain, at->rows, l->query,
                            a->cache_key);
    }
}

/* Through the cache, and back to heads. */
static void attend_piece(const umbra_pass *p, int layer, const piece *at)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    umbra_latent *l = &s->latent;
    umbra_picks picks = s->picks;
    picks.unit = umbra_picks_of(&s->picks, at->first, 0);
    picks.n = picks.n ? picks.n + at->first : NULL;
    umbra_attend_step attend = {
        .q = l->query,
        .form = &p->forms[layer],
        .view = s->view + at->first,
        .picks = umbra_step_picks(p, layer) ? &picks : NULL,
        .heads = a->heads,
        .together = umbra_heads_together(a),
        .value_dim = a->kv_rank,
        .scale = a->scale,
        .out = &l->mixed,
        .round_heads = true,
        .room = &s->attend,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_attend(p->device, &attend, at->rows);
    bool joint = w[UMBRA_ATTN_KV_B].data != NULL;
    int plain = l->plain.columns;
    umbra_part values = {0, a->value_dim, a->value_dim};
    if (joint)
        values = (umbra_part){plain, plain + a->value_dim, a->value_dim};
    umbra_step_per_part(
        p, a->heads, &w[joint ? UMBRA_ATTN_KV_B : UMBRA_ATTN_V_B], values, &l->mixed, at->rows,
        s->mixed.f32 + (size_t)(at->first * a->heads) * (size_t)a->value_dim, a->value_dim);
}

void umbra_step_attention_latent(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    umbra_product down[] = {
        umbra_product_make(d, &w[UMBRA_ATTN_KV_A], &s->normed, p->rows, s->k),
        a->q_rank ? umbra_product_make(d, &w[UMBRA_ATTN_Q_A], &s->normed, p->rows, s->q_low.f32)
                  : umbra_product_make(d, &w[UMBRA_ATTN_Q], &s->normed, p->rows, s->q),
    };
    umbra_device_products(d, down, 2);
    if (a->q_rank) {
        s->q_low.columns = a->q_rank;
        umbra_device_norm(d, &s->q_low, s->q_low.f32, &w[UMBRA_ATTN_Q_A_NORM], c->rms_eps, p->rows);
        umbra_product q = umbra_product_make(d, &w[UMBRA_ATTN_Q], &s->q_low, p->rows, s->q);
        umbra_device_products(d, &q, 1);
    }
    umbra_step_index(p, layer);
    umbra_latent_step place = {
        .latent = s->k,
        .norm = &w[UMBRA_ATTN_KV_A_NORM],
        .rope = &c->rope[a->rope],
        .angles = s->rope[a->rope],
        .form = &p->forms[layer],
        .view = s->view,
        .kv_rank = a->kv_rank,
        .eps = c->rms_eps,
    };
    umbra_device_profile(d, UMBRA_PROFILE_ATTEND);
    umbra_device_place_latents(d, &place, p->rows);
    for (piece at = {0}; at.first < p->rows; at.first += UMBRA_LATENT_TOKENS) {
        int left = p->rows - at.first;
        at.rows = left < UMBRA_LATENT_TOKENS ? left : UMBRA_LATENT_TOKENS;
        move_queries(p, layer, &at);
        attend_piece(p, layer, &at);
    }
}
