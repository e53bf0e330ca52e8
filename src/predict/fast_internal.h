/* The inside of the fast form: its parts as they lie in memory (kernels/predict.h). */
#ifndef UMBRA_PREDICT_FAST_INTERNAL_H
#define UMBRA_PREDICT_FAST_INTERNAL_H

#include "kernels/kernels.h"
#include "kernels/predict.h"
#include "predict/fast.h"
#include "predict/internal.h"

enum { UMBRA_FAST_SLICE = 8 /* rows of a batch that pass over the weights together */ };

/* One network; W (with the gates in it), W1 and W2 lie in this order in memory. */
typedef struct umbra_fast_network {
    umbra_fast_matrix w, w1, w2;
    float *bias;                 /* (D*E, padded) */
    float *b1, *gain, *shift;    /* (N, padded) */
    uint8_t *features;           /* (F) records: a row of W1.features, then one of W.features */
    float *feature_scale;        /* (F, 2) of I8 */
    float a[UMBRA_MAX_DISTANCE]; /* factor of the gates that are apart */
} umbra_fast_network;

struct umbra_shadow_fast {
    umbra_shadow_spec spec;       /* weights: the form in use */
    int every;                    /* only sources that it divides are kept */
    const umbra_kernels *kernels; /* of which `predict` is used */
    umbra_fast_network *networks; /* one per source, or one */
    umbra_fast_matrix *gates;     /* (layers) where they are apart, else NULL */
    float *calibration;           /* (layers + 1, D, 2) */
    int outputs, width;           /* D*E and N, padded to 16 */
    size_t feature_bytes;         /* of one record */
    size_t w1_feature_bytes;      /* of its first part */
    void *arena;
    uint64_t arena_bytes;
};

/* Bytes of the first `rows` rows. */
static inline size_t umbra_fast_matrix_bytes(const umbra_fast_matrix *m, int rows)
{
    return (size_t)((rows + UMBRA_FAST_GROUP - 1) / UMBRA_FAST_GROUP) * (size_t)m->steps *
           UMBRA_FAST_STEP;
}

#endif
