/* Counts what a layer of a walk reads and multiplies. */
#include "engine/steps/steps.h"
#include "lab/evaluate/walks.h"

typedef struct cost {
    double bytes, macs;
} cost;

/* The matrices that every row goes through: attention, router, shared experts, dense layers. */
static void add_dense(cost *c, const umbra_matrix *roles)
{
    for (int i = 0; i < UMBRA_LAYER_ROLES; i++) {
        const umbra_matrix *w = &roles[i];
        if (!w->data)
            continue;
        c->bytes += (double)w->rows * (double)w->row_bytes;
        c->macs += (double)w->rows * (double)w->columns;
    }
}

/* Queries over keys, weights over values. */
static void add_attention(cost *c, const umbra_attention *a, const umbra_kv_form *form,
                          double positions)
{
    double seen = a->window > 0 && positions > a->window ? a->window : positions;
    double key = a->kv_rank ? a->cache_key : a->key_dim;
    double value = a->kv_rank ? a->kv_rank : a->value_dim;
    c->bytes += seen * form->heads * (form->key + form->value) * form->unit;
    c->macs += a->conv ? 0 : seen * a->heads * (key + value);
}

void umbra_eval_walk_cost(const umbra_engine *engine, double positions, double experts,
                          uint64_t *bytes, uint64_t *macs)
{
    const umbra_model *model = umbra_engine_model(engine);
    const umbra_config *config = &model->config;
    umbra_pass pass;
    cost c = {0};
    umbra_engine_pass(engine, &pass);
    for (int l = 0; l < config->layers; l++) {
        add_dense(&c, pass.weights->layer[l]);
        add_attention(&c, &config->attention[l], &pass.forms[l], positions);
    }
    double layers = model->info.moe_layers;
    *bytes = (uint64_t)(c.bytes / layers + experts * (double)model->info.bytes_per_expert);
    *macs = (uint64_t)(c.macs / layers + experts * 3 * config->hidden * config->expert_width);
}
