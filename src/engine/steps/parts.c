/* Matrices that hold a part for each head, or for each group of heads: every token's row of a part
 * meets that part's rows of the matrix. */
#include "engine/steps/steps.h"

void umbra_step_per_part(const umbra_pass *p, int parts, const umbra_matrix *matrix,
                         umbra_part part, const umbra_activations *x, int tokens, float *out,
                         int width)
{
    umbra_scratch *s = p->scratch;
    for (int i = 0; i < parts; i++) {
        umbra_matrix w = *matrix;
        int32_t *rows = s->part_rows + (size_t)i * (size_t)s->part_stride;
        w.data =
            (const char *)matrix->data + (size_t)(part.first + i * part.step) * matrix->row_bytes;
        w.rows = part.rows;
        s->parts[i] = umbra_product_make(p->device, &w, x, tokens, out + (size_t)i * (size_t)width);
        s->parts[i].matmul.out_stride = (uint64_t)parts * (uint64_t)width;
        s->parts[i].matmul.gather = rows;
        for (int t = 0; t < tokens; t++)
            rows[t] = t * parts + i;
    }
    umbra_device_products(p->device, s->parts, parts);
}
