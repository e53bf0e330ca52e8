/* What a training run leaves behind in words: the JSON texts of the shadow file. */
#ifndef UMBRA_LAB_TRAIN_SUMMARY_H
#define UMBRA_LAB_TRAIN_SUMMARY_H

#include "lab/train/learner.h"

/* What is kept of one network when it is done. */
typedef struct umbra_train_network {
    int epochs, best_epoch;        /* -1: there was nothing to learn from */
    umbra_train_record *history;   /* (epochs + 1), owned */
    umbra_train_outcome *outcomes; /* one per source of the network, owned */
} umbra_train_network;

void umbra_train_network_release(umbra_train_network *network);

/* Fills recalls, errors, epochs and counts from the finished networks. */
void umbra_train_summarise(const umbra_train_setup *setup, const umbra_train_network *networks,
                           umbra_train_result *out);

/* {"settings":{...}, "training_documents", ..., "documents":[hashes as 16 hex digits of training
 * and validation documents], "ids":[...], "frequency":[[uses of each expert in the training
 * documents] per layer], "epochs":[{"loss", "validation_loss", "recall":[d1..d4]}],
 *  "networks":[{"source", "epochs", "best_epoch", "loss":[...], "validation_loss":[...],
 *  "recall":[[d1..d4], ...]}]}; the first of each list is the untrained network. Free with
 * umbra_free. */
int umbra_train_training_json(char **out, const umbra_train_setup *setup,
                              const umbra_train_network *networks, const umbra_train_result *result,
                              umbra_error *err);
/* {"on":"validation", "rows", "m":[...], "recall":{"8":[d1..d4], ...}, "untrained":[...],
 *  "ece":[...], "raw_ece":[...], "sources":[{"source", "recall":{...}}]} */
int umbra_train_recall_json(char **out, const umbra_train_setup *setup,
                            const umbra_train_network *networks, const umbra_train_result *result,
                            umbra_error *err);

#endif
