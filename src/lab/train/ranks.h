/* Training by several ranks: who trains what, and what they hand to each other. */
#ifndef UMBRA_LAB_TRAIN_RANKS_H
#define UMBRA_LAB_TRAIN_RANKS_H

#include "engine/ranks.h"
#include "lab/train/summary.h"

/* Whether ranks train one network together; else each trains networks of its own. */
static inline bool umbra_train_together(const umbra_train_setup *setup)
{
    return setup->spec.shared && umbra_ranks_divide(setup->options.ranks);
}
/* Who trains a network, or leads those who train it together. */
static inline int umbra_train_owner(const umbra_train_setup *setup, int network)
{
    return network % umbra_ranks_count(setup->options.ranks);
}

/* UMBRA_E_MISMATCH, on all ranks, unless all would train the same. */
int umbra_train_compare(const umbra_train_setup *setup, umbra_error *err);
/* Makes the folders of checkpoints, and where a training goes on, brings the newest checkpoint of
 * each network to who trains it now. */
int umbra_train_open_folders(const umbra_train_setup *setup, umbra_error *err);
/* What the ranks trained comes to rank 0's shadow model and networks (setup->networks). */
int umbra_train_bring(const umbra_train_setup *setup, umbra_shadow *shadow,
                      umbra_train_network *networks, umbra_error *err);

/* Floats of room that a sum needs. */
size_t umbra_train_sum_room(const umbra_ranks *ranks);
/* n values, and the loss, become the sums over all ranks, added in their order. */
int umbra_train_sum(const umbra_ranks *ranks, float *values, size_t n, double *loss, float *room,
                    umbra_error *err);

#endif
