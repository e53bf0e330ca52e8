/* The feed-forward block that every token uses: a dense layer's, or the shared experts', which are
 * computed as one wide expert. Resident, as all dense weights. */
#include <math.h>

#include "engine/engine.h"

typedef struct ffn_run {
    umbra_engine *e;
    umbra_activations inner; /* (C, width) */
} ffn_run;

static void activate(void *context, int begin, int end, int worker)
{
    (void)worker;
    ffn_run *run = context;
    umbra_engine *e = run->e;
    size_t width = (size_t)run->inner.columns;
    for (int t = begin; t < end; t++) {
        float *gate = run->inner.f32 + (size_t)t * width;
        e->kernels->swiglu(gate, gate, e->scratch.up + (size_t)t * width, run->inner.columns);
    }
    umbra_quantize_rows(e->kernels, &run->inner, begin, end - begin);
}

void umbra_ffn(umbra_engine *e, int layer, int tokens)
{
    const umbra_matrix *w = e->weights.layer[layer];
    const umbra_matrix *weigh = &w[UMBRA_SHARED_ROUTER];
    umbra_scratch *s = &e->scratch;
    if (!w[UMBRA_FFN_GATE].data)
        return;
    ffn_run run = {e, s->ffn};
    run.inner.columns = w[UMBRA_FFN_GATE].rows;
    umbra_product products[3] = {
        umbra_product_make(e, &w[UMBRA_FFN_GATE], &s->normed, tokens, run.inner.f32),
        umbra_product_make(e, &w[UMBRA_FFN_UP], &s->normed, tokens, s->up),
    };
    if (weigh->data)
        products[2] = umbra_product_make(e, weigh, &s->normed, tokens, s->shared_weight);
    umbra_products_run(e, products, weigh->data ? 3 : 2);
    umbra_pool_run(e->pool, tokens, 4, activate, &run);
    umbra_product down = umbra_product_make(e, &w[UMBRA_FFN_DOWN], &run.inner, tokens, s->block);
    umbra_products_run(e, &down, 1);
    for (int t = 0; weigh->data && t < tokens; t++)
        s->shared_weight[t] = (float)(1 / (1 + exp(-(double)s->shared_weight[t])));
    umbra_add_rows(e, s->x, s->block, weigh->data ? s->shared_weight : NULL, tokens);
}

void umbra_ffn_dense(umbra_engine *e, int layer, int tokens)
{
    umbra_scratch *s = &e->scratch;
    umbra_norm_rows(e, &s->normed, s->x, &e->weights.layer[layer][UMBRA_FFN_NORM], tokens);
    umbra_ffn(e, layer, tokens);
}
