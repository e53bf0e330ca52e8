/* qwen4exp (Qwen3.8): qwen35moe over several residual streams, whose mixtures are normed already,
 * so that no layer has norms of its own; what gates a delta net's output is a sigmoid. Before the
 * attention of one layer the streams get what the last tokens say together: rows of a large table,
 * named by hashes of two tokens, three and so on, which stays in the file.
 *
 * Layers that attend see those blocks of a longer context that an index picks, and what follows the
 * last whole one. A block's key is the mean of its positions'. */
#include <inttypes.h>

#include "base/error.h"
#include "model/architecture.h"

/* n numbers of 64 bits, none of them beyond `most`. */
static int read_numbers(umbra_keys *keys, const char *name, int n, uint64_t least, uint64_t most,
                        uint64_t *out, umbra_error *err)
{
    umbra_gguf_array array;
    int rc = umbra_lookup_array(keys, name, UMBRA_GGUF_I32, n, &array, err);
    for (int i = 0; rc == UMBRA_OK && i < n; i++) {
        int64_t value = 0;
        umbra_gguf_next_int(&array, &value);
        out[i] = (uint64_t)value;
        if (value < 0 || out[i] < least || out[i] > most)
            return umbra_fail(
                err, UMBRA_E_FORMAT,
                "%s: element %d of %s.%s is %" PRId64 ", it must be %" PRIu64 " to %" PRIu64,
                umbra_gguf_path(keys->gguf), i, keys->architecture, name, value, least, most);
    }
    return rc;
}

static int read_ngrams(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    umbra_ngrams *g = &c->ngrams;
    uint64_t layer;
    int rc = read_numbers(keys, "ple.layers", 1, 0, (uint64_t)c->layers - 1, &layer, err);
    if (rc != UMBRA_OK)
        return rc;
    g->layer = (int)layer;
    const umbra_int_key wanted[] = {
        {"ple.ngram_size", 2, UMBRA_MAX_NGRAM, -1, &g->size},
        {"ple.heads_per_ngram", 1, UMBRA_MAX_NGRAM_HEADS / (UMBRA_MAX_NGRAM - 1), -1, &g->heads},
        {"ple.conv_kernel", 1, UMBRA_MAX_TAPS, -1, &g->taps},
        {"ple.eos_token_id", 0, c->vocabulary - 1, -1, &g->end},
        {"embedding_length_per_layer_input", 1, 1 << 16, -1, &g->width},
    };
    rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc != UMBRA_OK)
        return rc;
    int n = (g->size - 1) * g->heads;
    if (n * g->width != c->hidden)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d rows of %d values (qwen4exp.ple.*) are not the %d of a state",
                          umbra_gguf_path(keys->gguf), n, g->width, c->hidden);
    rc = read_numbers(keys, "ple.layer_multipliers", g->size, 0, INT64_MAX - 1, g->multiplier, err);
    if (rc == UMBRA_OK)
        rc = read_numbers(keys, "ple.head_offsets", n, 0, INT32_MAX, g->first_row, err);
    return rc == UMBRA_OK
               ? read_numbers(keys, "ple.head_vocab_sizes", n, 1, INT32_MAX, g->rows, err)
               : rc;
}

static int configure(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key wanted[] = {
        {"hyper_connection.count", 2, UMBRA_MAX_STREAMS, -1, &c->streams.count},
        {"hyper_connection.low_rank", 1, 1 << 16, -1, &c->streams.rank},
    };
    c->router.renormalise = true;
    c->usual.recurrence.tiled = c->usual.recurrence.by_sigmoid = true;
    int rc = umbra_lookup_ints(keys, wanted, sizeof wanted / sizeof wanted[0], err);
    if (rc == UMBRA_OK)
        rc = umbra_read_gated_shared(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_read_index(keys, c, err);
    return rc == UMBRA_OK ? read_ngrams(keys, c, err) : rc;
}

/* The index of a layer that attends, whose blocks are known; top_k counts positions. */
static int make_index(umbra_keys *keys, umbra_index *index, umbra_error *err)
{
    index->unit = index->ratio;
    index->pairs = UMBRA_ROPE_HALVES;
    index->kept = 1;
    if (index->most % index->ratio != 0)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: %d positions (qwen4exp.attention.indexer.top_k) are not whole "
                          "blocks of %d (qwen4exp.attention.compress_ratios)",
                          umbra_gguf_path(keys->gguf), index->most, index->ratio);
    index->most /= index->ratio;
    return UMBRA_OK;
}

static int layers(umbra_keys *keys, umbra_config *c, umbra_error *err)
{
    const umbra_int_key ratios = {"attention.compress_ratios", 0, 4096, 0,
                                  &c->attention[0].index.ratio};
    int rc = umbra_read_delta_nets(keys, c, err);
    if (rc == UMBRA_OK)
        rc = umbra_lookup_layers(keys, &ratios, UMBRA_GGUF_I32, c->layers, sizeof *c->attention,
                                 err);
    for (int l = 0; rc == UMBRA_OK && l < c->layers; l++) {
        umbra_attention *a = &c->attention[l];
        if (a->recurrence.key_heads > 0 || a->index.ratio == 0)
            a->index = (umbra_index){0}; /* nothing attends, or it sees all */
        else
            rc = make_index(keys, &a->index, err);
    }
    return rc;
}

static umbra_tensor_rule matrix(const char *name, uint64_t columns, uint64_t rows)
{
    return (umbra_tensor_rule){name, {columns, rows}, false, false};
}

static umbra_tensor_rule vector(const char *name, uint64_t n)
{
    return (umbra_tensor_rule){name, {n}, true, false};
}

static void mix_rules(const umbra_config *c, umbra_tensor_rule *rules)
{
    uint64_t n = (uint64_t)c->streams.count, whole = n * (uint64_t)c->hidden;
    uint64_t low = (uint64_t)c->streams.rank;
    rules[UMBRA_ATTN_MIX_NORM] = vector("hc_attn_norm.weight", whole);
    rules[UMBRA_ATTN_MIX_DOWN] = matrix("hc_attn_down.weight", whole, low);
    rules[UMBRA_ATTN_MIX_UP] = matrix("hc_attn_up.weight", low, whole);
    rules[UMBRA_ATTN_MIX_INJECT] = matrix("hc_attn_inject.weight", whole, n);
    rules[UMBRA_FFN_MIX_NORM] = vector("hc_ffn_norm.weight", whole);
    rules[UMBRA_FFN_MIX_DOWN] = matrix("hc_ffn_down.weight", whole, low);
    rules[UMBRA_FFN_MIX_UP] = matrix("hc_ffn_up.weight", low, whole);
    rules[UMBRA_FFN_MIX_INJECT] = matrix("hc_ffn_inject.weight", whole, n);
}

static void ngram_rules(const umbra_config *c, umbra_tensor_rule *rules)
{
    uint64_t hidden = (uint64_t)c->hidden, whole = (uint64_t)c->streams.count * hidden;
    rules[UMBRA_NGRAM_KEY] = matrix("ple_key.weight", hidden, whole);
    rules[UMBRA_NGRAM_VALUE] = matrix("ple_value.weight", hidden, hidden);
    rules[UMBRA_NGRAM_KEY_NORM] = vector("ple_norm_key.weight", whole);
    rules[UMBRA_NGRAM_QUERY_NORM] = vector("ple_norm_query.weight", whole);
    rules[UMBRA_NGRAM_CONV_NORM] = vector("ple_norm_conv.weight", whole);
    rules[UMBRA_NGRAM_CONV] = matrix("ple_conv1d.weight", (uint64_t)c->ngrams.taps, whole);
    rules[UMBRA_NGRAM_CONV].vector = true;
}

static void tensors(const umbra_gguf *gguf, const umbra_config *c, int layer,
                    umbra_tensor_rule *rules)
{
    umbra_rules_gated_layers(gguf, c, layer, rules);
    rules[UMBRA_ATTN_NORM].name = rules[UMBRA_FFN_NORM].name = NULL;
    mix_rules(c, rules);
    umbra_rules_index(c, layer, rules);
    if (layer == c->ngrams.layer)
        ngram_rules(c, rules);
}

static void model_tensors(const umbra_config *c, umbra_tensor_rule *rules)
{
    uint64_t whole = (uint64_t)c->streams.count * (uint64_t)c->hidden;
    uint64_t low = (uint64_t)c->streams.rank;
    rules[UMBRA_OUTPUT_NORM].name = NULL;
    rules[UMBRA_OUTPUT_MIX_NORM] = vector("output_hc_norm.weight", whole);
    rules[UMBRA_OUTPUT_MIX_DOWN] = matrix("output_hc_down.weight", whole, low);
    rules[UMBRA_OUTPUT_MIX_UP] = matrix("output_hc_up.weight", low, whole);
}

const umbra_architecture umbra_architecture_qwen4exp = {
    .name = "qwen4exp",
    .rope = UMBRA_ROPE_HALVES,
    .idle_tensors = "indexer.",
    .first_tensor = "hc_attn_down.weight",
    .configure = configure,
    .layers = layers,
    .tensors = tensors,
    .model_tensors = model_tensors,
};
