/* AdamW with decoupled weight decay, and the length of its steps. */
#ifndef UMBRA_LAB_TRAIN_OPTIMIZER_H
#define UMBRA_LAB_TRAIN_OPTIMIZER_H

#include <stddef.h>
#include <stdint.h>

#include "predict/shadow.h"

typedef struct umbra_optimizer {
    size_t first[UMBRA_SHADOW_PARTS + 1]; /* where parts begin; umbra_train_parameters */
    float weight_decay;
    float clip; /* 0: off */
} umbra_optimizer;

/* Share of the peak rate at step `step` of `total`, from 0: linear over the first `warmup` steps,
 * then a cosine down to 0 after the last. */
double umbra_optimizer_schedule(uint64_t step, uint64_t total, uint64_t warmup);

/* One step, from 0. mean and square are the running moments, zero before the first. Returns the
 * gradient's global norm before clipping; if that is not finite nothing was changed. */
double umbra_optimizer_step(const umbra_optimizer *optimizer, float *values, const float *gradient,
                            float *mean, float *square, uint64_t step, float rate);

#endif
