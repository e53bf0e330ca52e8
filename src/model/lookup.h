/* What the architecture files share: keys "{arch}.name" and tensors "blk.N.name", each checked
 * and, if it is wrong, refused with the file's path and the name. */
#ifndef UMBRA_MODEL_LOOKUP_H
#define UMBRA_MODEL_LOOKUP_H

#include "model/model.h"

/* An integer key "{architecture}.{name}" in [least, most]. fallback < 0: it must be there. */
typedef struct umbra_int_key {
    const char *name;
    int least, most, fallback;
    int *out;
} umbra_int_key;

int umbra_lookup_ints(const umbra_gguf *gguf, const char *architecture, const umbra_int_key *keys,
                      size_t n, umbra_error *err);
/* A finite, positive float; 0 is taken where the fallback is 0. */
int umbra_lookup_float(const umbra_gguf *gguf, const char *architecture, const char *name,
                       float fallback, float *out, umbra_error *err);
int umbra_lookup_bool(const umbra_gguf *gguf, const char *architecture, const char *name,
                      bool fallback, bool *out, umbra_error *err);

/* One tensor with its shape (fastest dimension first, 0 beyond its dimensions). */
typedef struct umbra_tensor_rule {
    const char *name; /* after "blk.N." for a layer's tensor; NULL: there is none */
    uint64_t shape[3];
    bool vector;   /* must be F32: norms and biases */
    bool optional; /* may be missing */
} umbra_tensor_rule;

/* layer < 0: the name is whole. A missing tensor is an error unless the rule says otherwise; then
 * *out is NULL. */
int umbra_lookup_tensor(const umbra_gguf *gguf, int layer, const umbra_tensor_rule *rule,
                        const umbra_gguf_tensor **out, umbra_error *err);
/* Is there a tensor "blk.N.name"? */
bool umbra_has_tensor(const umbra_gguf *gguf, int layer, const char *name);

#endif
