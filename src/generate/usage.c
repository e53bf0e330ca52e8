/* Usage files: read, added to, and pinned from. */
#include <umbra/usage.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_reader.h"
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

static int no_json(const umbra_json_reader *r, const char *path, umbra_error *err)
{
    return umbra_fail_at(err, UMBRA_E_FORMAT, r->at, "%s: cannot be read as JSON: %s", path,
                         r->problem);
}

static int add_layer(const usage *u, umbra_json_reader *r, uint64_t *counts, const char *path,
                     umbra_error *err)
{
    bool whole = umbra_json_take(r, '[');
    for (int e = 0; e < u->experts && whole; e++) {
        uint64_t n;
        whole = e == 0 || umbra_json_take(r, ',');
        if (!whole)
            break;
        if (!umbra_json_read_uint(r, &n) || n > INT64_MAX)
            return malformed(path, "a count is no number, or negative", err);
        counts[e] += n;
    }
    return whole && umbra_json_take(r, ']')
               ? UMBRA_OK
               : malformed(path, "a layer of \"counts\" is not a list of all experts", err);
}

static int add_counts(usage *u, umbra_json_reader *r, const char *path, umbra_error *err)
{
    bool whole = umbra_json_take(r, '[');
    for (int l = 0; l < u->layers && whole; l++) {
        whole = l == 0 || umbra_json_take(r, ',');
        int rc = whole ? add_layer(u, r, &u->counts[(size_t)l * (size_t)u->experts], path, err)
                       : UMBRA_OK;
        if (rc != UMBRA_OK)
            return rc;
    }
    return whole && umbra_json_take(r, ']')
               ? UMBRA_OK
               : malformed(path, "\"counts\" is not a list of all layers", err);
}

/* What is said of the counts, and where they begin (0, the object's bracket: they are not there).
 */
typedef struct claims {
    const char *format, *hash;
    uint64_t version;
    size_t counts;
} claims;

static bool read_claim(claims *c, umbra_json_reader *r)
{
    const char *key;
    if (!umbra_json_read_key(r, &key))
        return false;
    char first = umbra_json_peek(r);
    if (strcmp(key, "format") == 0 && first == '"')
        return umbra_json_read_string(r, &c->format);
    if (strcmp(key, "model_hash") == 0 && first == '"')
        return umbra_json_read_string(r, &c->hash);
    if (strcmp(key, "version") == 0 && first >= '0' && first <= '9')
        return umbra_json_read_uint(r, &c->version);
    if (strcmp(key, "counts") == 0)
        c->counts = r->at;
    return umbra_json_skip(r);
}

/* All members of the object, and nothing behind it. */
static int read_claims(claims *c, umbra_json_reader *r, const char *path, umbra_error *err)
{
    *c = (claims){0};
    if (!umbra_json_take(r, '{'))
        return malformed(path, "it is no JSON object", err);
    int more = umbra_json_take(r, '}') ? 0 : 1;
    while (more == 1)
        more = read_claim(c, r) ? umbra_json_more(r, '}') : -1;
    if (more < 0)
        return no_json(r, path, err);
    (void)umbra_json_peek(r);
    return r->at == r->n ? UMBRA_OK : malformed(path, "something follows its end", err);
}

static int add_text(usage *u, umbra_json_reader *r, const char *path, umbra_error *err)
{
    claims c;
    int rc = read_claims(&c, r, path, err);
    if (rc != UMBRA_OK)
        return rc;
    if (!c.format || strcmp(c.format, "umbra-usage") != 0 || !c.hash || c.version != 1)
        return malformed(path, "format, version or model_hash is not what it should be", err);
    if (strcmp(c.hash, u->hash) != 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: tells the usage of the model with hash %.40s, but this model's is "
                          "%s; name another file",
                          path, c.hash, u->hash);
    r->at = c.counts;
    return add_counts(u, r, path, err);
}

static int add_file(usage *u, const char *path, umbra_error *err)
{
    int fd;
    uint64_t bytes;
    int rc = umbra_file_open(&fd, path, &bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_json_reader r = {.text = umbra_calloc((size_t)bytes + 1, 1), .n = (size_t)bytes};
    rc = r.text ? umbra_file_read(fd, path, r.text, r.n, 0, err)
                : umbra_fail_nomem(err, "a usage file", (size_t)bytes);
    if (rc == UMBRA_OK)
        rc = add_text(u, &r, path, err);
    close(fd);
    umbra_free(r.text);
    return rc;
}

static void write_counts(FILE *f, void *user)
{
    const usage *u = user;
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

static int replace_file(usage *u, const char *path, umbra_error *err)
{
    int rc = access(path, F_OK) == 0 ? add_file(u, path, err) : UMBRA_OK;
    return rc == UMBRA_OK ? umbra_replace_file(path, write_counts, u, NULL, err) : rc;
}

int umbra_usage_read(const umbra_model *model, const char *path, uint64_t *counts, umbra_error *err)
{
    usage u;
    int rc = open_usage(&u, model, err);
    if (rc == UMBRA_OK)
        rc = add_file(&u, path, err);
    for (size_t i = 0; rc == UMBRA_OK && i < (size_t)u.layers * (size_t)u.experts; i++)
        counts[i] += u.counts[i];
    umbra_free(u.counts);
    return rc;
}

int umbra_usage_add(const umbra_engine *engine, const char *path, umbra_error *err)
{
    usage u;
    int rc = open_usage(&u, umbra_engine_model(engine), err);
    if (rc == UMBRA_OK) {
        rc = umbra_engine_uses(engine, u.counts, err);
        if (rc == UMBRA_OK && umbra_engine_rank(engine) == 0)
            rc = replace_file(&u, path, err);
    }
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

/* Puts those that are to be kept in front and returns their number: the most used, as many of each
 * size of slots as are its share, and no more than leave room for a batch beside them. */
static int choose_best(umbra_engine *engine, const usage *u, rank *ranks, double share)
{
    umbra_store *store = umbra_engine_store(engine);
    umbra_slot_plan p;
    umbra_store_get_slots(store, &p);
    int64_t room[UMBRA_SLOT_SIZES];
    for (int i = 0; i < p.n; i++) {
        int64_t slots = (int64_t)p.size[i].slots,
                spare = slots - 2 * umbra_engine_model(engine)->config.experts_used;
        room[i] = (int64_t)(share * (double)slots);
        room[i] = room[i] > spare ? spare : room[i];
    }
    int n = 0;
    /* What was never used is not worth keeping. */
    for (int i = 0; i < u->layers * u->experts && ranks[i].count > 0; i++) {
        int pair = ranks[i].pair;
        int size = umbra_store_size_of(store, pair / u->experts, pair % u->experts);
        if (room[size]-- > 0)
            ranks[n++] = ranks[i];
    }
    return n;
}

/* Leases that are never given back. */
static int keep(umbra_store *store, int layer, const int *experts, int n, umbra_error *err)
{
    const umbra_batch batch = {
        .kind = UMBRA_BATCH_PROBE, .layer = layer, .experts = experts, .n = n};
    int rc = umbra_store_begin(store, &batch, err);
    umbra_lease lease;
    while (rc == UMBRA_OK && (rc = umbra_store_next(store, &lease, 1, err)) > 0)
        rc = UMBRA_OK;
    return rc;
}

static int keep_best(umbra_engine *engine, const usage *u, rank *ranks, int *list, double share,
                     int *pinned, umbra_error *err)
{
    umbra_store *store = umbra_engine_store(engine);
    int pairs = u->layers * u->experts, rc = UMBRA_OK;
    for (int i = 0; i < pairs; i++) {
        bool own = umbra_engine_owns(engine, i / u->experts, i % u->experts);
        ranks[i] = (rank){own ? u->counts[i] : 0, i};
    }
    qsort(ranks, (size_t)pairs, sizeof *ranks, by_count);
    int want = choose_best(engine, u, ranks, share);
    for (int l = 0; rc == UMBRA_OK && l < u->layers; l++) {
        int n = 0;
        for (int i = 0; i < want; i++)
            if (ranks[i].pair / u->experts == l)
                list[n++] = ranks[i].pair % u->experts;
        if (n > 0)
            rc = keep(store, l, list, n, err);
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
    int rc = open_usage(&u, umbra_engine_model(engine), err);
    if (rc == UMBRA_OK)
        rc = add_file(&u, path, err);
    rank *ranks = umbra_calloc((size_t)u.layers * (size_t)u.experts, sizeof *ranks);
    int *list = umbra_calloc((size_t)u.experts, sizeof *list);
    if (rc == UMBRA_OK && (!ranks || !list))
        rc = umbra_fail_nomem(err, "the usage of experts", 0);
    if (rc == UMBRA_OK)
        rc = keep_best(engine, &u, ranks, list, share, &count, err);
    umbra_free(ranks);
    umbra_free(list);
    umbra_free(u.counts);
    if (pinned)
        *pinned = count;
    return rc;
}
