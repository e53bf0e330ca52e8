/* What is made of scores: probabilities and the best experts. */
#include <math.h>

#include "base/best.h"
#include "kernels/kernels.h"
#include "predict/internal.h"

enum { D = UMBRA_MAX_DISTANCE };

void umbra_predict_calibrate(const umbra_shadow *shadow, int source, int n, float *scores)
{
    const umbra_shadow_spec *spec = &shadow->spec;
    const float *fit = shadow->calibration + (size_t)source * D * 2;
    for (size_t i = 0; i < (size_t)n; i++) {
        for (size_t d = 0; d < (size_t)umbra_shadow_distances(spec, source); d++) {
            float *row = scores + (i * D + d) * (size_t)spec->experts;
            float shift = 0.0f;
            if (spec->loss == UMBRA_LOSS_KL)
                shift = (float)umbra_kernels_find(NULL)->log_sum_exp(row, spec->experts);
            for (int e = 0; e < spec->experts; e++)
                row[e] = 1.0f / (1.0f + expf(-(fit[2 * d] * (row[e] - shift) + fit[2 * d + 1])));
        }
    }
}

void umbra_predict_top_above(const float *scores, int experts, int m, float floor, uint16_t *out)
{
    int held = 0;
    for (int e = 0; e < experts && m > 0; e++)
        if (scores[e] >= floor) /* NaN is never above */
            held = umbra_best_offer_u16(out, held, m, (uint16_t)e, scores);
    for (int e = 0; held < m; e++)
        if (isnan(scores[e]))
            out[held++] = (uint16_t)e;
}

void umbra_predict_top(const float *scores, int experts, int m, uint16_t *out)
{
    umbra_predict_top_above(scores, experts, m, -INFINITY, out);
}
