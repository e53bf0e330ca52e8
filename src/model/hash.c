/* The hash that names a model's routing. */
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/model.h"

enum { SAMPLE_BYTES = 16 << 10 }; /* of each tensor */

typedef struct hasher {
    const umbra_model *model;
    XXH3_state_t *state;
    unsigned char *sample;
    umbra_error *err;
} hasher;

static int add_tensor(hasher *h, const umbra_gguf_tensor *t)
{
    uint64_t bytes = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
    int rc = umbra_gguf_read_tensor(h->model->gguf, t, 0, h->sample, bytes, h->err);
    if (rc == UMBRA_OK)
        XXH3_128bits_update(h->state, h->sample, bytes);
    return rc;
}

static int add_model(hasher *h)
{
    const umbra_config *c = &h->model->config;
    const int32_t shape[] = {c->layers, c->hidden, c->vocabulary, c->experts, c->experts_used};
    XXH3_128bits_update(h->state, shape, sizeof shape);
    int rc = add_tensor(h, h->model->role[UMBRA_TOKEN_EMBEDDING]);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        const umbra_layer_tensors *layer = &h->model->layers[l];
        if (!layer->role[UMBRA_ROUTER])
            continue;
        rc = add_tensor(h, layer->role[UMBRA_ROUTER]);
        if (rc == UMBRA_OK && layer->role[UMBRA_FFN_NORM])
            rc = add_tensor(h, layer->role[UMBRA_FFN_NORM]);
    }
    return rc;
}

int umbra_model_hash(const umbra_model *model, char out[UMBRA_MODEL_HASH_CHARS], umbra_error *err)
{
    hasher h = {model, XXH3_createState(), umbra_calloc(SAMPLE_BYTES, 1), err};
    int rc = UMBRA_OK;
    if (!h.state || !h.sample)
        rc = umbra_fail_nomem(err, "the model's hash", SAMPLE_BYTES);
    if (rc == UMBRA_OK) {
        XXH3_128bits_reset(h.state);
        rc = add_model(&h);
    }
    if (rc == UMBRA_OK) {
        XXH128_hash_t hash = XXH3_128bits_digest(h.state);
        snprintf(out, UMBRA_MODEL_HASH_CHARS, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
                 (uint64_t)hash.low64);
    }
    umbra_free(h.sample);
    XXH3_freeState(h.state);
    return rc;
}
