/* Accounts for all that a model file holds: a key or tensor that nothing uses would make the text
 * wrong without a word. Each is used, known to be of no matter, or the file is refused by its
 * name. */
#ifndef UMBRA_MODEL_ACCOUNT_H
#define UMBRA_MODEL_ACCOUNT_H

#include "model/architecture.h"

/* What a file is by its keys beside the architecture's: a model of its own, and no adapter. */
int umbra_account_file(const umbra_gguf *gguf, umbra_error *err);
/* The keys "{architecture}.*"; all that a layout asks for has been asked for, and c is complete. */
int umbra_account_keys(const umbra_keys *keys, const umbra_config *c, umbra_error *err);
/* All tensors; the model's roles and experts have been found. */
int umbra_account_tensors(const umbra_architecture *a, const umbra_model *model, umbra_error *err);

#endif
