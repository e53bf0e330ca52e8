/* How each layer of a model attends. */
#include "base/error.h"
#include "base/memory.h"
#include "model/architecture.h"

static int check_layer(const umbra_gguf *gguf, const umbra_attention *a, int layer,
                       umbra_error *err)
{
    if (a->recurrence.key_heads > 0 || a->heads == 0)
        return UMBRA_OK;
    if (a->kv_heads == 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: layer %d has no key/value heads (attention.head_count_kv is 0)",
                          umbra_gguf_path(gguf), layer);
    if (a->heads % a->kv_heads != 0)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: %d heads cannot share %d key/value heads",
                          umbra_gguf_path(gguf), a->heads, a->kv_heads);
    return UMBRA_OK;
}

/* index->kept is 1 so far where there is one. */
static void number_index(umbra_index *index, umbra_config *c)
{
    if (!index->kept)
        return;
    index->kept = c->kept++;
    index->pooling = index->ratio ? c->kept++ : 0;
}

int umbra_read_layers(umbra_keys *keys, const umbra_architecture *a, umbra_config *c,
                      umbra_error *err)
{
    size_t one = sizeof *c->attention;
    c->attention = umbra_calloc((size_t)c->layers, one);
    if (!c->attention)
        return umbra_fail_nomem(err, "the layers' attention", (uint64_t)c->layers * one);
    for (int l = 0; l < c->layers; l++)
        c->attention[l] = c->usual;
    const umbra_int_key kv_heads = {"attention.head_count_kv", 0, 4096, c->usual.heads,
                                    &c->attention[0].kv_heads};
    int rc = umbra_lookup_layers(keys, &kv_heads, UMBRA_GGUF_I32, c->layers, one, err);
    if (rc == UMBRA_OK && a->layers)
        rc = a->layers(keys, c, err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_attention *at = &c->attention[l];
        bool latent = at->kv_rank > 0;
        if (at->recurrence.key_heads > 0 || at->heads == 0)
            continue; /* it keeps no positions */
        at->cache_heads = latent ? 1 : at->kv_heads;
        at->cache_key = latent ? at->kv_rank + c->rope[at->rope].dim : at->key_dim;
        at->cache_value = latent || at->conv || at->keys_are_values ? 0 : at->value_dim;
        rc = check_layer(keys->gguf, at, l, err);
    }
    c->kept = c->layers;
    for (int l = 0; l < c->layers; l++) {
        umbra_attention *at = &c->attention[l];
        at->pooled = at->ratio ? c->kept++ : 0;
        at->pooling = at->ratio ? c->kept++ : 0;
    }
    for (int l = 0; l < c->layers; l++)
        number_index(&c->attention[l].index, c);
    c->ngrams.kept = c->ngrams.size ? c->kept++ : 0;
    return rc;
}
