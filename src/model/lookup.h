/* What the architecture files share: keys "{arch}.name" and tensors "blk.N.name", each checked
 * and, if it is wrong, refused with the file's path and the name. */
#ifndef UMBRA_MODEL_LOOKUP_H
#define UMBRA_MODEL_LOOKUP_H

#include "model/model.h"

enum { UMBRA_MAX_ASKED = 96 };

/* The keys "{architecture}.*" of a file, and which of them were asked for: those that were not are
 * accounted for afterwards (account.h). A name beyond the room counts as not asked for. */
typedef struct umbra_keys {
    const umbra_gguf *gguf;
    const char *architecture;
    const char *asked[UMBRA_MAX_ASKED]; /* names behind the architecture's; static storage */
    int asked_count;
} umbra_keys;

/* An integer key "{architecture}.{name}" in [least, most]. fallback < 0: it must be there. */
typedef struct umbra_int_key {
    const char *name;
    int least, most, fallback;
    int *out;
} umbra_int_key;

/* Names are noted as asked for, so they must have static storage. */
int umbra_lookup_ints(umbra_keys *keys, const umbra_int_key *wanted, size_t n, umbra_error *err);
/* The same for something that layers may have each their own of: a number for all or an array, of
 * whose elements (as for umbra_gguf_get_array) the first n are taken. Layer l's goes `stride` bytes
 * behind that of layer l - 1. */
int umbra_lookup_layers(umbra_keys *keys, const umbra_int_key *wanted, umbra_gguf_type element,
                        int n, size_t stride, umbra_error *err);
/* An array of at least n elements, as for umbra_gguf_get_array, which must be there. */
int umbra_lookup_array(umbra_keys *keys, const char *name, umbra_gguf_type element, int n,
                       umbra_gguf_array *out, umbra_error *err);
/* A finite, positive float; 0 is taken where the fallback is 0. */
int umbra_lookup_float(umbra_keys *keys, const char *name, float fallback, float *out,
                       umbra_error *err);
/* The same as umbra_lookup_layers for finite floats of at least 0; 0 where there is no such key. */
int umbra_lookup_layer_floats(umbra_keys *keys, const char *name, int n, float *out, size_t stride,
                              umbra_error *err);
int umbra_lookup_bool(umbra_keys *keys, const char *name, bool fallback, bool *out,
                      umbra_error *err);
/* *out stays as it is where there is no such key. */
int umbra_lookup_string(umbra_keys *keys, const char *name, umbra_string *out, umbra_error *err);

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
/* From the front of s: a text, or a decimal number below 10^9. False: it does not begin so, and s
 * is as it was. */
bool umbra_take_text(umbra_string *s, const char *text);
bool umbra_take_number(umbra_string *s, int *out);
/* Is there a tensor "blk.N.name"? */
bool umbra_has_tensor(const umbra_gguf *gguf, int layer, const char *name);

#endif
