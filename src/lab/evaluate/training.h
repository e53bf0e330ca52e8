/* What a shadow file says about its training: the JSON object of its metadata key "training".
 *
 *   "documents"  hashes (16 hex digits) of every training and validation document; needed, for
 *                without them nobody can tell whether an evaluation is honest
 *   "ids"        their ids
 *   "frequency"  [layers][experts] how often each expert was used in the training split
 *   "epochs"     [{"loss", "recall": [d1..d4]}]
 *   "tokens", and of earlier versions "seconds": now a file depends on the training alone
 * The text comes from a file and is not trusted. */
#ifndef UMBRA_LAB_EVALUATE_TRAINING_H
#define UMBRA_LAB_EVALUATE_TRAINING_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/status.h>

typedef struct umbra_training_epoch {
    double loss, recall[4]; /* not a number where the file does not say */
} umbra_training_epoch;

typedef struct umbra_training {
    uint64_t *hashes; /* ascending */
    int n_hashes;
    char **ids; /* ascending */
    int n_ids;
    uint64_t *frequency; /* (layers, experts), or NULL */
    umbra_training_epoch *epochs;
    int n_epochs;
    double tokens, seconds; /* not a number where the file does not say */
} umbra_training;

/* text: NULL is refused like a text without "documents". path is for messages. On failure nothing
 * is left behind. */
int umbra_training_read(umbra_training *out, const char *text, const char *path, int layers,
                        int experts, umbra_error *err);
void umbra_training_free(umbra_training *training);

bool umbra_training_has_hash(const umbra_training *training, uint64_t hash);
bool umbra_training_has_id(const umbra_training *training, const char *id);

#endif
