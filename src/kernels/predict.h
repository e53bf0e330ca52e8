/* The kernels of predictions by a shadow model, and how its weights lie in memory for them.
 *
 * A matrix (rows, columns) is kept in groups of 4 rows. A group is a run of steps; a step is one
 * cache line of each of its rows, one after the other: 64 columns of I8, 32 of BF16, 16 of F32. A
 * product thus reads memory strictly forward. Rows are padded to 4 and columns to a whole line with
 * zeros.
 *
 * Kernels of one kind give the same bits in every instruction set:
 *   I8   Inputs are rounded to integers: to 7 bits with one scale for all, so that two products
 *        fit in 16 bits. Only blocks of 512 columns that hold values far above their others (a few
 *        channels of a state may be hundreds of times the rest, and would flatten everything else)
 *        are wide: 16 bits with a scale of their own. Products are summed exactly in 32 bits, those
 *        of all narrow blocks (at most 2^17 columns * 127 * 127 < 2^31) and those of each wide one
 *        (512 * 127 * 32767 < 2^31); these sums are then added in F32, narrow ones first.
 *   BF16, F32   Column c is summed in lane c % 16, a product and a sum rounded one after the other;
 *        then lane i takes in lane i + 8, i + 4, i + 2, i + 1. */
#ifndef UMBRA_KERNELS_PREDICT_H
#define UMBRA_KERNELS_PREDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How weights are written. */
typedef enum umbra_predict_form {
    UMBRA_PREDICT_F32,
    UMBRA_PREDICT_BF16,
    UMBRA_PREDICT_I8,
    UMBRA_PREDICT_FORMS
} umbra_predict_form;

enum {
    UMBRA_FAST_GROUP = 4, /* rows */
    UMBRA_FAST_LINE = 64, /* bytes of a row in a step */
    UMBRA_FAST_STEP = UMBRA_FAST_GROUP * UMBRA_FAST_LINE,
    UMBRA_FAST_BLOCK = 512,          /* columns that are wide or narrow together */
    UMBRA_FAST_I8_COLUMNS = 1 << 17, /* most that I8 takes */
    UMBRA_FAST_BLOCK_STEPS = UMBRA_FAST_BLOCK / UMBRA_FAST_LINE,
    UMBRA_FAST_LANES = 16,
    UMBRA_FAST_PREFETCH = 512, /* bytes that a product asks for ahead of its reading */
};

typedef struct umbra_fast_matrix {
    uint8_t *data; /* aligned to 64; NULL: there is no such matrix */
    /* Of I8, else NULL: */
    float *scale; /* (rows, padded) */
    int32_t *sum; /* (rows, padded) 64 times the sum of the row */
    int steps;
} umbra_fast_matrix;

/* n vectors of dense inputs; stride is a multiple of 512, with zeros behind the columns. */
typedef struct umbra_fast_inputs {
    int stride;
    float *f32; /* (n, stride) */
    /* With I8 weights: */
    uint8_t *u;   /* (n, stride) q + 64, q in [-63, 63]; q is 0 in wide blocks */
    float *scale; /* (n) of q */
    int16_t *q;   /* (n, stride) of wide blocks */
    float *wide;  /* (n, stride / 512) scale of a wide block, 0 of a narrow one */
    int *widest;  /* (n) blocks up to the last wide one */
} umbra_fast_inputs;

/* out[i * stride + r] += factor * dot(row r, input i), r in [0, rows) and, with zeros, up to the
 * next multiple of 4. */
typedef void (*umbra_fast_product)(const umbra_fast_matrix *matrix, int rows,
                                   const umbra_fast_inputs *x, int n, float factor, float *out,
                                   int stride);
/* y[i] += scale * row[i] (scale: I8 only), n a multiple of 16. */
typedef void (*umbra_fast_add)(float *y, const void *row, float scale, int n);

typedef struct umbra_predict_kernels {
    umbra_fast_product product[UMBRA_PREDICT_FORMS]; /* by umbra_predict_form */
    umbra_fast_add add[UMBRA_PREDICT_FORMS];
    /* r = state / rms(state) */
    void (*normalise)(const float *state, int n, float *r);
    /* Fills the integer parts of input i from its f32. */
    void (*quantise)(const umbra_fast_inputs *x, int i);
    /* out = silu(LN(v)); n values of arrays padded to a multiple of 16. out may be v. */
    void (*activate)(const float *v, const float *gain, const float *shift, int n, float *out);
    /* Probabilities of n scores; kl: their log-sum-exp is taken off first. */
    void (*calibrate)(const float *scores, int n, bool kl, float slope, float offset, float *out);
    /* A value that at least m of the scores reach, and mostly not many more; -INFINITY if that is
     * not soon found. */
    float (*floor)(const float *scores, int n, int m);
    /* Reads everything; bytes is a multiple of 256. */
    uint64_t (*touch)(const void *data, size_t bytes);
} umbra_predict_kernels;

#endif
