/* Numbers that are not finite: noticed where they arise, before anybody routes, records, sums or
 * draws by them. A pass over a token's state costs a hundredth of a layer's norms and products. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"

bool umbra_all_finite(const float *x, size_t n)
{
    uint32_t most = 0; /* of the magnitudes as whole numbers, where NaN and infinity are largest */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000;
}

void umbra_note_first(atomic_int *first, int token)
{
    int before = atomic_load(first);
    while (token < before && !atomic_compare_exchange_weak(first, &before, token))
        continue;
}

int umbra_refuse_nonfinite(const umbra_engine *e, int token, const char *what, int layer,
                           umbra_error *err)
{
    char of_layer[32] = "";
    if (token == UMBRA_NO_TOKEN)
        return UMBRA_OK;
    if (layer >= 0)
        snprintf(of_layer, sizeof of_layer, " of layer %d", layer);
    return umbra_fail(err, UMBRA_E_NONFINITE,
                      "token %d of the text: the %s%s are not finite (NaN or infinity), all before "
                      "were; a weight of the model is damaged or out of range: compare the file "
                      "with its source, or take another conversion of the model",
                      e->scratch.position[token], what, of_layer);
}

typedef struct finite_run {
    const float *rows;
    size_t width;
    atomic_int first; /* row that is not finite */
} finite_run;

static void check_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    finite_run *run = context;
    for (int t = begin; t < end; t++) {
        if (umbra_all_finite(run->rows + (size_t)t * run->width, run->width))
            continue;
        umbra_note_first(&run->first, t);
        return;
    }
}

int umbra_check_finite(umbra_engine *e, const float *rows, int width, int tokens, const char *what,
                       int layer, umbra_error *err)
{
    finite_run run = {.rows = rows, .width = (size_t)width, .first = UMBRA_NO_TOKEN};
    umbra_pool_run(e->pool, tokens, 16, check_rows, &run);
    return umbra_refuse_nonfinite(e, atomic_load(&run.first), what, layer, err);
}
