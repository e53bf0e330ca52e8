/* Foretells the experts that tokens name by their ids. */
#include "ahead/certain.h"

#include <string.h>

/* `ahead`: how many layers with experts there are up to this one. */
static void foretell(umbra_engine *engine, const umbra_token *token, int layer, int ahead,
                     const int32_t *named, float *probability)
{
    const umbra_config *c = &umbra_engine_model(engine)->config;
    umbra_store *store = umbra_engine_store(engine);
    memset(probability, 0, (size_t)c->experts * sizeof *probability);
    for (int j = 0; j < c->experts_used; j++)
        probability[named[j]] = 1;
    umbra_store_foretell(store, token->sequence, layer, ahead,
                         umbra_store_clock(store) + (uint64_t)ahead, probability);
}

void umbra_certain_foretell(umbra_engine *engine, const umbra_rows *rows, float *probability)
{
    const umbra_model *model = umbra_engine_model(engine);
    int ahead = 0;
    for (int l = 0; l < model->config.layers && ahead < UMBRA_MAX_DISTANCE; l++) {
        ahead += umbra_layer_has_experts(model, l);
        for (int t = 0; t < rows->n; t++) {
            const int32_t *named = umbra_engine_token_experts(engine, l, rows->tokens[t].id);
            if (named && !rows->prompt[t])
                foretell(engine, &rows->tokens[t], l, ahead, named, probability);
        }
    }
}
