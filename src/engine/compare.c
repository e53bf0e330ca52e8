/* Compares what ranks must have alike. */
#include "engine/compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "engine/internal.h"
#include "engine/ranks.h"

/* Of all that the model's files say before their data: settings, and each tensor's type and place.
 */
static uint64_t hash_headers(const umbra_model *model)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < umbra_gguf_file_count(model->gguf); i++) {
        umbra_string header = umbra_gguf_header(model->gguf, i);
        hash = XXH3_64bits_withSeed(header.data, header.bytes, hash);
    }
    return hash;
}

int umbra_compare_models(const umbra_model *model, const umbra_ranks *ranks, umbra_error *err)
{
    enum { CLAIMS = 2 };
    umbra_ranks_claim c[CLAIMS];
    char text[64];
    umbra_ranks_claim_set(&c[0], "the version of Umbra", UMBRA_VERSION);
    snprintf(text, sizeof text, "%016" PRIx64, hash_headers(model));
    umbra_ranks_claim_set(&c[1], "the hash of the model's header", text);
    return umbra_ranks_compare(ranks, c, CLAIMS, err);
}

/* The way the model is run. */
static int compare_ways(const umbra_engine *e, const umbra_ranks *ranks, umbra_error *err)
{
    enum { CLAIMS = 3 };
    umbra_ranks_claim c[CLAIMS];
    char text[64];
    umbra_ranks_claim_set(&c[0], "the set of kernels", e->plan.kernels);
    snprintf(text, sizeof text, "%d", e->plan.context);
    umbra_ranks_claim_set(&c[1], "the context", text);
    snprintf(text, sizeof text, "%016" PRIx64, umbra_weights_hash(&e->weights, &e->device));
    umbra_ranks_claim_set(&c[2], "the hash of the model's dense weights", text);
    return umbra_ranks_compare(ranks, c, CLAIMS, err);
}

int umbra_compare_engines(const umbra_engine *e, const umbra_ranks *ranks, umbra_error *err)
{
    umbra_ranks_claim c;
    char text[16];
    int rc = compare_ways(e, ranks, err);
    snprintf(text, sizeof text, "%d", e->sequences);
    umbra_ranks_claim_set(&c, "the number of sequences", text);
    return rc == UMBRA_OK ? umbra_ranks_compare(ranks, &c, 1, err) : rc;
}

int umbra_engine_compare(const umbra_engine *e, const umbra_ranks *ranks, umbra_error *err)
{
    int rc = umbra_compare_models(e->model, ranks, err);
    return rc == UMBRA_OK ? compare_ways(e, ranks, err) : rc;
}
