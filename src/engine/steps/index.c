/* Which positions a layer's attention sees, where an index picks them: by the layer's own index, or
 * as the last layer before it that has one. */
#include "engine/steps/steps.h"

void umbra_step_index(const umbra_pass *p, int layer)
{
    const umbra_config *c = &p->model->config;
    const umbra_attention *a = &c->attention[layer];
    const umbra_matrix *w = p->weights->layer[layer];
    const umbra_device *d = p->device;
    umbra_scratch *s = p->scratch;
    if (!a->index.kept)
        return;
    umbra_product products[] = {
        umbra_product_make(d, &w[UMBRA_INDEX_Q], &s->q_low, p->rows, s->index_query),
        umbra_product_make(d, &w[UMBRA_INDEX_K], &s->normed, p->rows, s->index_key),
        umbra_product_make(d, &w[UMBRA_INDEX_WEIGHT], &s->normed, p->rows, s->index_weight),
    };
    umbra_device_products(d, products, 3);
    umbra_rope rope = c->rope[a->rope];
    rope.pairs = a->index.pairs;
    umbra_index_step index = {
        .query = s->index_query,
        .key = s->index_key,
        .weight = s->index_weight,
        .norm = w[UMBRA_INDEX_K_NORM].data,
        .bias = w[UMBRA_INDEX_K_BIAS].data,
        .rope = &rope,
        .angles = s->rope[a->rope],
        .form = &p->forms[a->index.kept],
        .view = s->index,
        .heads = a->index.heads,
        .dim = a->index.dim,
        .most = a->index.most,
        .eps = a->index.eps,
        .picked = s->picked,
        .picks = s->picks,
        .scores = s->index_scores,
        .scores_stride = s->scores_stride,
        .runs = s->runs,
        .runs_stride = s->runs_stride,
    };
    umbra_device_index(d, &index, p->rows);
}
