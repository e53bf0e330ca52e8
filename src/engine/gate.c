/* What those who guess want to know of a layer: its gate as numbers in F32, and what needs no
 * guess.
 */
#include <string.h>

#include "engine/internal.h"

void umbra_engine_gate(const umbra_engine *e, int layer, float *gate)
{
    const umbra_config *c = &e->model->config;
    const umbra_matrix *router = &e->weights.layer[layer][UMBRA_ROUTER];
    const umbra_matrix *w = e->weights.layer[layer];
    const float *norm = w[w[UMBRA_ROUTER_NORM].data ? UMBRA_ROUTER_NORM : UMBRA_FFN_NORM].data;
    if (!router->data) {
        memset(gate, 0, (size_t)c->experts * (size_t)c->hidden * sizeof *gate);
        return;
    }
    for (int x = 0; x < router->rows; x++) {
        float *row = gate + (size_t)x * (size_t)router->columns;
        const char *packed = (const char *)router->data + (size_t)x * router->row_bytes;
        e->device.kernels->dequantize[router->dtype](row, packed, router->columns);
        for (int i = 0; i < router->columns; i++)
            row[i] *= (norm ? norm[i] : 1) * c->router.input_scale;
    }
}

const int32_t *umbra_engine_token_experts(const umbra_engine *e, int layer, int32_t id)
{
    const umbra_matrix *named = &e->weights.layer[layer][UMBRA_TOKEN_EXPERTS];
    return named->data ? (const int32_t *)named->data + (size_t)id * (size_t)named->columns : NULL;
}
