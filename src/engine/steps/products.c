/* Products whose rows go to several places. */
#include "engine/steps/steps.h"

int umbra_step_deal(const umbra_pass *p, const umbra_matrix *w, int groups,
                    const umbra_share *shares, int n, umbra_product *products)
{
    size_t row = 0;
    for (int i = 0; i < groups * n; i++) {
        const umbra_share *share = &shares[i % n];
        umbra_matrix part = *w;
        part.data = (const char *)w->data + row * w->row_bytes;
        part.rows = share->rows;
        products[i] = umbra_product_make(p->device, &part, &p->scratch->normed, p->rows,
                                         share->out + i / n * share->rows);
        products[i].matmul.out_stride = (uint64_t)share->stride;
        row += (size_t)share->rows;
    }
    return groups * n;
}
