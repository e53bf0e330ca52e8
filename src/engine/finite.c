/* Numbers that are not finite: noticed where they arise, before anybody routes, records, sums or
 * draws by them. A pass over a token's state costs a hundredth of a layer's norms and products. */
#include <stdatomic.h>
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

int umbra_refuse_nonfinite(const umbra_engine *e, int token, const char *what, int layer,
                           umbra_error *err)
{
    char of_layer[32] = "";
    if (token < 0)
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
        int first = atomic_load(&run->first);
        while (t < first && !atomic_compare_exchange_weak(&run->first, &first, t))
            continue;
        return;
    }
}

int umbra_check_finite(umbra_engine *e, const float *rows, int width, int tokens, const char *what,
                       int layer, umbra_error *err)
{
    finite_run run = {.rows = rows, .width = (size_t)width, .first = tokens};
    umbra_pool_run(e->pool, tokens, 16, check_rows, &run);
    int first = atomic_load(&run.first);
    return umbra_refuse_nonfinite(e, first < tokens ? first : -1, what, layer, err);
}
