/* Checkpoints: the state of one network's training, FOLDER/network-0007.safetensors.
 *
 * Metadata (strings): format "umbra-train-checkpoint", version "1", step, epoch, best_epoch, done,
 * and as exact hexadecimal floats best_score, epoch_loss; epoch_rows; "setting.NAME" for every
 * setting of the run. Tensors: best (P) F32, history (epoch + 1, 6) F64, and unless done values,
 * mean, square and, where weights are averaged, averaged (P) F32. */
#ifndef UMBRA_LAB_TRAIN_CHECKPOINT_H
#define UMBRA_LAB_TRAIN_CHECKPOINT_H

#include "lab/train/learner.h"

/* Makes the folder. With resume one that exists is gone on with; without, one that holds anything
 * is in the way (UMBRA_E_ARGUMENT). */
int umbra_checkpoint_folder_open(const umbra_train_setup *setup, umbra_error *err);
/* The same for a rank behind the first, which has made that folder where both see one disk: so one
 * that is there and empty is as good as none. */
int umbra_checkpoint_folder_join(const umbra_train_setup *setup, umbra_error *err);
/* Removes the checkpoints and the folder, as far as nothing else lies in it. */
void umbra_checkpoint_folder_remove(const umbra_train_setup *setup);
/* Removes the folder if it is empty. */
void umbra_checkpoint_folder_tidy(const umbra_train_setup *setup);

/* Whole or not at all. */
int umbra_checkpoint_write(const umbra_learner *learner, umbra_error *err);
/* Sets the learner's state; leaves it alone if there is no checkpoint. UMBRA_E_MISMATCH, naming
 * the setting, if it was made with others. */
int umbra_checkpoint_read(umbra_learner *learner, umbra_error *err);

/* How far a network's checkpoint is, more the further, and the bytes of its file; 0 if there is
 * none. Errors as above. */
int umbra_checkpoint_look(const umbra_train_setup *setup, int network, uint64_t *age,
                          uint64_t *bytes, umbra_error *err);
/* The file as it is, to hand it to another machine, and put there: whole or not at all. */
int umbra_checkpoint_load_file(const umbra_train_setup *setup, int network, void *data,
                               uint64_t bytes, umbra_error *err);
int umbra_checkpoint_save_file(const umbra_train_setup *setup, int network, const void *data,
                               uint64_t bytes, umbra_error *err);

#endif
