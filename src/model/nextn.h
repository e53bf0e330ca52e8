/* The block behind a model's layers that foretells a further token (multi-token prediction), as a
 * model of one layer. Its input is not an embedding but
 *
 *     projection [norm(embedding of the next token); norm(state of this one behind the last layer)]
 *
 * and its output goes through a norm, its own or the model's, and a matrix, its own or the model's,
 * to the logits of the token behind the next one. */
#ifndef UMBRA_MODEL_NEXTN_H
#define UMBRA_MODEL_NEXTN_H

#include "model/model.h"

/* Whether the file has such a block of a kind that is known here. */
bool umbra_nextn_has(const umbra_model *model);
/* The first one. The model must outlive it. On failure *out is NULL; UMBRA_E_UNSUPPORTED: there is
 * none. */
int umbra_nextn_open(umbra_model **out, const umbra_model *model, umbra_error *err);
/* Accepts NULL and nulls the pointer. */
void umbra_nextn_close(umbra_model **nextn);

#endif
