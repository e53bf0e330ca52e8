/* The arithmetic of one network: forward, loss and gradients of a batch, by hand.
 *
 * Letters: n rows of a batch, H hidden, X dense inputs, F features, N inner width, D distances,
 * E experts, K = D * E outputs, k experts used, P parameters. */
#ifndef UMBRA_LAB_TRAIN_NETWORK_H
#define UMBRA_LAB_TRAIN_NETWORK_H

#include "base/random.h"
#include "predict/shadow.h"

#define UMBRA_NO_FEATURE UINT32_MAX
#define UMBRA_NO_TARGET  UINT16_MAX

/* Training examples, as arrays of their parts. */
typedef struct umbra_train_rows {
    int capacity, n;
    int feature_slots;  /* most features a row can have */
    float *dense;       /* (capacity, X): r, then the running averages */
    float *gate;        /* (capacity, D, E) gate(target) r; NULL for seed */
    float *truth;       /* (capacity, D, E) the true router's softmax; NULL unless the loss is KL */
    uint32_t *features; /* (capacity, feature_slots), filled up with UMBRA_NO_FEATURE */
    uint16_t *targets;  /* (capacity, D, k) experts used; the first is UMBRA_NO_TARGET where the
                           distance has no target */
} umbra_train_rows;

uint64_t umbra_train_row_bytes(const umbra_shadow_spec *spec);
int umbra_train_rows_open(umbra_train_rows *rows, const umbra_shadow_spec *spec, int capacity,
                          umbra_error *err);
void umbra_train_rows_release(umbra_train_rows *rows);
/* Row `at` of `from` becomes row `to_at` of `to`. */
void umbra_train_rows_copy(umbra_train_rows *to, int to_at, const umbra_train_rows *from, int at,
                           const umbra_shadow_spec *spec);

/* Values of all parts of one network, and where each part begins: parts follow each other in the
 * order of umbra_shadow_network. */
size_t umbra_train_parameters(const umbra_shadow_spec *spec, size_t first[UMBRA_SHADOW_PARTS + 1]);
/* Points the network's parts into P values; absent parts are NULL. */
void umbra_train_bind(const umbra_shadow_spec *spec, float *values, umbra_shadow_network *out);
/* Are the values of that part shrunk by weight decay (the matrices), or not (the vectors)? */
bool umbra_train_part_decays(int part);
/* Starting values. What reaches the output directly is 0, so that an untrained residual network is
 * the gate predictor; a seed network begins at the mean share of experts used. */
void umbra_train_start_values(const umbra_shadow_spec *spec, umbra_random *random, float *values);

/* Scratch of one thread for batches up to `capacity`. */
typedef struct umbra_train_pass {
    const umbra_shadow_spec *spec; /* not owned */
    int capacity;
    float *normed;    /* (n, N) LayerNorm before gain and shift */
    float *deviation; /* (n) 1 / sqrt(var + eps) */
    float *inner;     /* (n, N) silu(LN), after dropout */
    float *slope;     /* (n, N) d inner / d LN */
    float *back;      /* (n, N) gradients flowing back */
    float *z;         /* (n, K) */
    float *dz;        /* (n, K) d (sum of the rows' losses / rows of the batch) / dz */
} umbra_train_pass;

/* spec must outlive the pass. On failure everything is released. */
int umbra_train_pass_open(umbra_train_pass *pass, const umbra_shadow_spec *spec, int capacity,
                          umbra_error *err);
void umbra_train_pass_release(umbra_train_pass *pass);

/* Rows [first, first + n) of `rows`, which they are a part of. */
umbra_train_rows umbra_train_rows_part(const umbra_train_rows *rows, const umbra_shadow_spec *spec,
                                       int first, int n);

/* Fills pass->z, and what umbra_train_backward needs. dropout > 0 draws from `random`, as often for
 * each row. */
void umbra_train_forward(umbra_train_pass *pass, const umbra_shadow_network *network,
                         const umbra_train_rows *rows, float dropout, umbra_random *random);
/* Sum over the rows of the loss (summed over distances and, for BCE, experts); fills pass->dz. The
 * rows are all of a batch of so many, or a part of it. */
double umbra_train_loss(umbra_train_pass *pass, const umbra_train_rows *rows, int batch);
/* The gradient of the batch's mean loss, as far as these rows go, replaces what is in `gradient`,
 * whose parts are bound to P values. */
void umbra_train_backward(umbra_train_pass *pass, const umbra_shadow_network *network,
                          const umbra_train_rows *rows, umbra_shadow_network *gradient);

#endif
