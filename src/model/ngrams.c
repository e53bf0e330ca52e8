/* The table of what the last tokens say together, which stays in the file. */
#include <inttypes.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "model/architecture.h"

int umbra_find_ngrams(umbra_model *model, umbra_error *err)
{
    const umbra_ngrams *g = &model->config.ngrams;
    static const char name[] = "per_layer_token_embd.weight";
    if (g->size == 0)
        return UMBRA_OK;
    const umbra_gguf_tensor *t = umbra_gguf_tensor_find(model->gguf, name);
    const char *path = umbra_gguf_path(model->gguf);
    if (!t)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the tensor %s is missing", path, name);
    uint64_t rows = 0;
    for (int h = 0; h < (g->size - 1) * g->heads; h++)
        if (g->first_row[h] + g->rows[h] > rows)
            rows = g->first_row[h] + g->rows[h];
    if (t->shape[0] != (uint64_t)g->width || t->shape[1] < rows || t->shape[2] != 1 ||
        t->shape[3] != 1)
        return umbra_fail_at(err, UMBRA_E_FORMAT, t->offset,
                             "%s: tensor %s has shape %" PRIu64 " x %" PRIu64 ", but the metadata "
                             "ask for %d x %" PRIu64 " or more",
                             path, name, t->shape[0], t->shape[1], g->width, rows);
    if (!umbra_kernels_find("reference")->dequantize[t->dtype])
        return umbra_fail_at(err, UMBRA_E_UNSUPPORTED, t->offset,
                             "%s: tensor %s has type %s, which is not supported", path, name,
                             umbra_dtype_get(t->dtype).name);
    model->ngrams = t;
    return UMBRA_OK;
}
