#include <umbra/usage.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"

typedef struct usage {
    char hash[UMBRA_MODEL_HASH_CHARS];
    int layers, experts;
    uint64_t *counts; /* (layers, experts) */
} usage;

static int open_usage(usage *u, const umbra_model *model, umbra_error *err)
{
    *u = (usage){.layers = model->config.layers, .experts = model->config.experts};
    u->counts = umbra_calloc((size_t)u->layers * (size_t)u->experts, sizeof *u->counts);
    if (!u->counts)
        return umbra_fail_nomem(err, "the usage of experts", 0);
    return umbra_model_hash(model, u->hash, err);
}

/* ---- the file ---- */

static int malformed(const char *path, const char *what, umbra_error *err)
{
    return umbra_fail(err, UMBRA_E_FORMAT, "%s: this is no usage file: %s", path, what);
}

static int add_counts(usage *u, const json_t *counts, const char *path, umbra_error *err)
{
    if (json_array_size(counts) != (size_t)u->layers)
        return malformed(path, "\"counts\" is not a list of all layers", err);
    for (int l = 0; l < u->layers; l++) {
        const json_t *row = json_array_get(counts, (size_t)l);
        if (json_array_size(row) != (size_t)u->experts)
            return malformed(path, "a layer of \"counts\" is not a list of all experts", err);
        for (int e = 0; e < u->experts; e++) {
            const json_t *n = json_array_get(row, (size_t)e);
            if (!json_is_integer(n) || json_integer_value(n) < 0)
                return malformed(path, "a count is no number, or negative", err);
            u->counts[(size_t)l * (size_t)u->experts + (size_t)e] +=
                (uint64_t)json_integer_value(n);
        }
    }
    return UMBRA_OK;
}

static int add_object(usage *u, const json_t *root, const char *path, umbra_error *err)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const char *hash = json_string_value(json_object_get(root, "model_hash"));
    if (!format || strcmp(format, "umbra-usage") != 0 || !hash ||
        json_integer_value(json_object_get(root, "version")) != 1)
        return malformed(path, "format, version or model_hash is not what it should be", err);
    if (strcmp(hash, u->hash) != 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: tells the usage of the model with hash %.40s, but this model's is "
                          "%s; name another file",
                          path, hash, u->hash);
    return add_counts(u, json_object_get(root, "counts"), path, err);
}

static int add_file(usage *u, const char *path, umbra_error *err)
{
    json_error_t where;
    json_t *root = json_load_file(path, 0, &where);
    if (!root)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: cannot be read as JSON: %s (line %d)", path,
                          where.text, where.line);
    int rc = add_object(u, root, path, err);
    json_decref(root);
    return rc;
}

static void write_counts(const usage *u, FILE *f)
{
    fprintf(f,
            "{\"format\": \"umbra-usage\", \"version\": 1, \"model_hash\": \"%s\", \"layers\": %d, "
            "\"experts\": %d, \"counts\": [",
            u->hash, u->layers, u->experts);
    for (int l = 0; l < u->layers; l++) {
        fprintf(f, "%s\n[", l > 0 ? "," : "");
        for (int e = 0; e < u->experts; e++)
            fprintf(f, "%s%llu", e > 0 ? ", " : "",
                    (unsigned long long)u->counts[(size_t)l * (size_t)u->experts + (size_t)e]);
        fputc(']', f);
    }
    fputs("]}\n", f);
}

static int write_file(const usage *u, const char *path, umbra_error *err)
{
    size_t bytes = strlen(path) + sizeof ".part";
    char *part = umbra_calloc(bytes, 1);
    if (!part)
        return umbra_fail_nomem(err, "a path", bytes);
    snprintf(part, bytes, "%s.part", path);
    FILE *f = fopen(part, "we");
    bool ok = f != NULL;
    if (ok) {
        write_counts(u, f);
        ok = fflush(f) == 0 && !ferror(f) && fsync(fileno(f)) == 0;
        ok = fclose(f) == 0 && ok;
    }
    ok = ok && rename(part, path) == 0;
    int rc = ok ? UMBRA_OK
                : umbra_fail(err, UMBRA_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (!ok)
        unlink(part);
    umbra_free(part);
    return rc;
}

int umbra_usage_add(const umbra_engine *engine, const char *path, umbra_error *err)
{
    usage u;
    int rc = open_usage(&u, engine->model, err);
    if (rc == UMBRA_OK) {
        umbra_store_get_uses(engine->store, u.counts);
        if (access(path, F_OK) == 0)
            rc = add_file(&u, path, err);
    }
    if (rc == UMBRA_OK)
        rc = write_file(&u, path, err);
    umbra_free(u.counts);
    return rc;
}

/* ---- pinning ---- */

typedef struct rank {
    uint64_t count;
    int pair; /* layer * experts + expert */
} rank;

static int by_count(const void *a, const void *b)
{
    const rank *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->pair > y->pair) - (x->pair < y->pair);
}

/* Leases that are never given back. */
static int keep(umbra_engine *e, int layer, const int *experts, int n, umbra_error *err)
{
    const umbra_batch batch = {
        .kind = UMBRA_BATCH_PROBE, .layer = layer, .experts = experts, .n = n};
    int rc = umbra_store_begin(e->store, &batch, err);
    umbra_lease lease;
    while (rc == UMBRA_OK && (rc = umbra_store_next(e->store, &lease, 1, err)) > 0)
        rc = UMBRA_OK;
    return rc;
}

static int keep_best(umbra_engine *e, const usage *u, rank *ranks, int *list, int want, int *pinned,
                     umbra_error *err)
{
    int pairs = u->layers * u->experts, rc = UMBRA_OK;
    for (int i = 0; i < pairs; i++)
        ranks[i] = (rank){u->counts[i], i};
    qsort(ranks, (size_t)pairs, sizeof *ranks, by_count);
    while (want > 0 && ranks[want - 1].count == 0)
        want--; /* what was never used is not worth keeping */
    for (int l = 0; rc == UMBRA_OK && l < u->layers; l++) {
        int n = 0;
        for (int i = 0; i < want; i++)
            if (ranks[i].pair / u->experts == l)
                list[n++] = ranks[i].pair % u->experts;
        if (n > 0)
            rc = keep(e, l, list, n, err);
    }
    *pinned = want;
    return rc;
}

int umbra_usage_pin(umbra_engine *engine, const char *path, double share, int *pinned,
                    umbra_error *err)
{
    int count = 0;
    usage u;
    if (!(share >= 0 && share <= 0.5))
        return umbra_fail(err, UMBRA_E_ARGUMENT,
                          "%g of the slots for pinned experts: must be 0 to 0.5", share);
    int rc = open_usage(&u, engine->model, err);
    if (rc == UMBRA_OK)
        rc = add_file(&u, path, err);
    /* A batch must find room beside them. */
    int slots = (int)engine->plan.slots, spare = slots - 2 * engine->model->config.experts_used;
    int want = (int)(share * slots);
    want = want > spare ? spare : want;
    rank *ranks = umbra_calloc((size_t)u.layers * (size_t)u.experts, sizeof *ranks);
    int *list = umbra_calloc((size_t)u.experts, sizeof *list);
    if (rc == UMBRA_OK && (!ranks || !list))
        rc = umbra_fail_nomem(err, "the usage of experts", 0);
    if (rc == UMBRA_OK && want > 0)
        rc = keep_best(engine, &u, ranks, list, want, &count, err);
    umbra_free(ranks);
    umbra_free(list);
    umbra_free(u.counts);
    if (pinned)
        *pinned = count;
    return rc;
}
