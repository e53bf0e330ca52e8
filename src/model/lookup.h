/* What the architecture files share: keys "{arch}.name" and tensors "blk.N.name", each checked
 * and, if it is wrong, refused with the file's path and the name. */
#ifndef UMBRA_MODEL_LOOKUP_H
#define UMBRA_MODEL_LOOKUP_H

#include "model/model.h"

/* Reads the integer key "{architecture}.{name}" in [least, most]. fallback < 0: the key must be
 * there. */
int umbra_lookup_int(const umbra_gguf *gguf, const char *architecture, const char *name, int least,
                     int most, int fallback, int *out, umbra_error *err);
/* The same for a finite, positive float. */
int umbra_lookup_float(const umbra_gguf *gguf, const char *architecture, const char *name,
                       float fallback, float *out, umbra_error *err);

/* One tensor with its shape (fastest dimension first, 0 beyond its dimensions). */
typedef struct umbra_tensor_rule {
    const char *name; /* after "blk.N." for a layer's tensor */
    uint64_t shape[3];
    bool vector; /* must be F32: norms and biases */
} umbra_tensor_rule;

/* layer < 0: the name is whole. A missing tensor is an error unless `optional`; then *out is
 * NULL. */
int umbra_lookup_tensor(const umbra_gguf *gguf, int layer, const umbra_tensor_rule *rule,
                        bool optional, const umbra_gguf_tensor **out, umbra_error *err);

#endif
