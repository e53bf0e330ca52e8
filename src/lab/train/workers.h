/* The training of all networks, by the threads of one process or of several ranks. */
#ifndef UMBRA_LAB_TRAIN_WORKERS_H
#define UMBRA_LAB_TRAIN_WORKERS_H

#include "lab/train/summary.h"

/* Trains the networks that are this rank's, or the one that all ranks train together, into shadow
 * and networks (setup->networks); callbacks of the options are called from here. To be called by
 * all ranks, which do not agree on what it returns. */
int umbra_train_networks(const umbra_train_setup *setup, umbra_shadow *shadow,
                         umbra_train_network *networks, umbra_error *err);

#endif
