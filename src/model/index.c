/* What layouts share whose attention picks what it sees: the keys attention.indexer.*, and an index
 * with a key for every position, or block of positions. */
#include "base/error.h"
#include "model/architecture.h"

int umbra_read_index(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_index *index = &c->usual.index;
    const umbra_int_key wanted[] = {
        {"attention.indexer.head_count", 1, 4096, -1, &index->heads},
        {"attention.indexer.key_length", 2, 4096, -1, &index->dim},
        {"attention.indexer.top_k", 1, 1 << 20, -1, &index->most},
    };
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    index->unit = 1;
    index->eps = c->rms_eps;
    if (rc == UMBRA_OK && index->dim < c->rope[0].dim)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: an index of %d values (%s.attention.indexer.key_length) cannot turn "
                          "%d of them",
                          umbra_gguf_path(keys->gguf), index->dim, keys->architecture,
                          c->rope[0].dim);
    return rc;
}

void umbra_rules_index(const umbra_config *c, int layer, umbra_tensor_rule *rules)
{
    const umbra_index *index = &c->attention[layer].index;
    uint64_t hidden = (uint64_t)c->hidden, heads = (uint64_t)index->heads;
    uint64_t dim = (uint64_t)index->dim;
    if (!index->kept)
        return;
    rules[UMBRA_INDEX_Q] =
        (umbra_tensor_rule){"indexer.q_proj.weight", {hidden, heads * dim}, false, false};
    rules[UMBRA_INDEX_K] =
        (umbra_tensor_rule){"indexer.k_proj.weight", {hidden, dim}, false, false};
    rules[UMBRA_INDEX_Q_NORM] = (umbra_tensor_rule){"indexer.q_norm.weight", {dim}, true, false};
    rules[UMBRA_INDEX_K_NORM] = (umbra_tensor_rule){"indexer.k_norm.weight", {dim}, true, false};
}
