/* What a layer's attention sees, where an index picks it: by the layer's own index, or as the last
 * layer before it that has one. */
#include "engine/steps/steps.h"

static void project(const umbra_pass *p, int layer)
{
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    bool low = p->model->config.attention[layer].q_rank > 0;
    umbra_device_profile(d, UMBRA_PROFILE_PROJECT);
    umbra_product products[4] = {
        umbra_product_make(d, &w[UMBRA_INDEX_Q], low ? &s->q_low : &s->normed, p->rows,
                           s->index_query),
        umbra_product_make(d, &w[UMBRA_INDEX_K], &s->normed, p->rows, s->index_key),
    };
    int n = 2;
    if (w[UMBRA_INDEX_WEIGHT].data)
        products[n++] =
            umbra_product_make(d, &w[UMBRA_INDEX_WEIGHT], &s->normed, p->rows, s->index_weight);
    if (w[UMBRA_INDEX_SCORES].data)
        products[n++] =
            umbra_product_make(d, &w[UMBRA_INDEX_SCORES], &s->normed, p->rows, s->index_key_scores);
    umbra_device_products(d, products, n);
}

static umbra_rope rope_of(const umbra_config *c, const umbra_attention *a)
{
    umbra_rope rope = c->rope[a->rope];
    rope.pairs = a->index.pairs;
    return rope;
}

static int turned_at(const umbra_index *i, const umbra_rope *rope)
{
    return i->turns_end ? i->dim - rope->dim : 0;
}

/* Rows that end a unit pool its key. */
static void pool_keys(const umbra_pass *p, int layer)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    const umbra_index *i = &a->index;
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_rope rope = rope_of(&p->model->config, a);
    umbra_scratch *s = p->scratch;
    umbra_pool_step pool = {
        .values = s->index_key,
        .scores = s->index_key_scores,
        .place = w[UMBRA_INDEX_PLACE].data,
        .norm = w[UMBRA_INDEX_K_NORM].data,
        .rope = &rope,
        .turned_at = turned_at(i, &rope),
        .from = &p->forms[i->pooling],
        .to = &p->forms[i->kept],
        .from_view = s->index_pooling,
        .to_view = s->index,
        .ratio = i->ratio,
        .parts = i->parts,
        .dim = i->dim,
        .eps = i->eps,
        .plain = true,
        .out = s->index_key, /* each row's are kept by then */
    };
    umbra_step_pool(p, a->rope, &pool);
}

void umbra_step_index(const umbra_pass *p, int layer)
{
    const umbra_attention *a = &p->model->config.attention[layer];
    const umbra_index *i = &a->index;
    const umbra_matrix *w = p->weights->layer[layer];
    umbra_scratch *s = p->scratch;
    if (!i->kept)
        return;
    project(p, layer);
    umbra_device_profile(p->device, UMBRA_PROFILE_ATTEND);
    if (i->ratio)
        pool_keys(p, layer);
    umbra_rope rope = rope_of(&p->model->config, a);
    s->picks.lists = i->by_head ? i->heads : 1;
    s->picks.list = i->most + 1;
    s->picks.positions = i->unit;
    umbra_index_step index = {
        .query = s->index_query,
        .key = i->ratio ? NULL : s->index_key,
        .weight = w[UMBRA_INDEX_WEIGHT].data ? s->index_weight : NULL,
        .query_norm = w[UMBRA_INDEX_Q_NORM].data,
        .norm = w[UMBRA_INDEX_K_NORM].data,
        .bias = w[UMBRA_INDEX_K_BIAS].data,
        .rope = &rope,
        .turned_at = turned_at(i, &rope),
        .angles = s->rope[a->rope],
        .form = &p->forms[i->kept],
        .view = s->index,
        .seen = a->ratio ? s->pooled : s->view,
        .heads = i->heads,
        .dim = i->dim,
        .most = i->most,
        .local = i->local,
        .by_head = i->by_head,
        .eps = i->eps,
        .picks = &s->picks,
        .scores = s->index_scores,
        .scores_stride = s->index_scores_stride,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_index(p->device, &index, p->rows);
}

const umbra_picks *umbra_step_picks(const umbra_pass *p, int layer)
{
    return p->model->config.attention[layer].index.most ? &p->scratch->picks : NULL;
}
