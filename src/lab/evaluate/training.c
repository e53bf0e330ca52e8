/* Reads what a shadow file says about its training. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/evaluate/training.h"

typedef struct source {
    const char *path;
    umbra_error *err;
} source;

static int malformed(const source *s, const char *what)
{
    return umbra_fail(s->err, UMBRA_E_FORMAT, "%s: its training summary is malformed: %s", s->path,
                      what);
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool parse_hash(const char *text, uint64_t *hash)
{
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdefABCDEF") != 16)
        return false;
    *hash = strtoull(text, NULL, 16);
    return true;
}

static int read_hashes(umbra_training *t, const json_t *list, const source *s)
{
    if (!json_is_array(list) || json_array_size(list) > INT32_MAX)
        return umbra_fail(s->err, UMBRA_E_FORMAT,
                          "%s: does not say on which documents it was "
                          "trained, so it cannot be judged honestly; train it with umbra train",
                          s->path);
    size_t n = json_array_size(list);
    t->hashes = umbra_calloc(n, sizeof *t->hashes);
    if (!t->hashes)
        return umbra_fail_nomem(s->err, "hashes of training documents", n * sizeof *t->hashes);
    for (size_t i = 0; i < n; i++)
        if (!parse_hash(json_string_value(json_array_get(list, i)), &t->hashes[i]))
            return malformed(s, "an entry of \"documents\" is not a hash of 16 hex digits");
    t->n_hashes = (int)n;
    qsort(t->hashes, n, sizeof *t->hashes, compare_hashes);
    return UMBRA_OK;
}

static int read_ids(umbra_training *t, const json_t *list, const source *s)
{
    if (!list)
        return UMBRA_OK;
    if (!json_is_array(list) || json_array_size(list) > INT32_MAX)
        return malformed(s, "\"ids\" is not an array");
    size_t n = json_array_size(list);
    t->ids = umbra_calloc(n, sizeof *t->ids);
    if (!t->ids)
        return umbra_fail_nomem(s->err, "ids of training documents", n * sizeof *t->ids);
    for (size_t i = 0; i < n; i++) {
        const char *id = json_string_value(json_array_get(list, i));
        if (!id)
            return malformed(s, "an entry of \"ids\" is not a string");
        t->ids[i] = umbra_strdup(id);
        if (!t->ids[i])
            return umbra_fail_nomem(s->err, "an id of a training document", strlen(id) + 1);
        t->n_ids = (int)i + 1;
    }
    qsort(t->ids, n, sizeof *t->ids, compare_ids);
    return UMBRA_OK;
}

/* A layer without experts may be null or an empty array. */
static int read_frequency_layer(uint64_t *out, const json_t *list, int experts, const source *s)
{
    if (json_is_null(list) || (json_is_array(list) && json_array_size(list) == 0))
        return UMBRA_OK;
    if (json_array_size(list) != (size_t)experts)
        return malformed(s, "a layer of \"frequency\" does not have one count per expert");
    for (int e = 0; e < experts; e++) {
        const json_t *count = json_array_get(list, (size_t)e);
        if (!json_is_integer(count) || json_integer_value(count) < 0)
            return malformed(s, "\"frequency\" holds something that is not a count");
        out[e] = (uint64_t)json_integer_value(count);
    }
    return UMBRA_OK;
}

static int read_frequency(umbra_training *t, const json_t *list, int layers, int experts,
                          const source *s)
{
    if (!list || json_is_null(list))
        return UMBRA_OK;
    if (json_array_size(list) != (size_t)layers)
        return malformed(s, "\"frequency\" does not have one entry per layer");
    size_t n = (size_t)layers * (size_t)experts;
    t->frequency = umbra_calloc(n, sizeof *t->frequency);
    if (!t->frequency)
        return umbra_fail_nomem(s->err, "expert frequencies", n * sizeof *t->frequency);
    int rc = UMBRA_OK;
    for (int l = 0; l < layers && rc == UMBRA_OK; l++)
        rc = read_frequency_layer(t->frequency + (size_t)l * (size_t)experts,
                                  json_array_get(list, (size_t)l), experts, s);
    return rc;
}

static double number_or_nan(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int read_epochs(umbra_training *t, const json_t *list, const source *s)
{
    size_t n = json_array_size(list); /* 0 if it is none */
    if (n > 1000000)
        return malformed(s, "more than a million epochs");
    t->epochs = umbra_calloc(n, sizeof *t->epochs);
    if (!t->epochs)
        return umbra_fail_nomem(s->err, "epochs", n * sizeof *t->epochs);
    t->n_epochs = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *epoch = json_array_get(list, i);
        const json_t *recall = json_object_get(epoch, "recall");
        t->epochs[i].loss = number_or_nan(json_object_get(epoch, "loss"));
        for (size_t d = 0; d < 4; d++)
            t->epochs[i].recall[d] = number_or_nan(json_array_get(recall, d));
    }
    return UMBRA_OK;
}

int umbra_training_read(umbra_training *out, const char *text, const char *path, int layers,
                        int experts, umbra_error *err)
{
    *out = (umbra_training){0};
    source s = {path, err};
    json_t *root = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (text && !root)
        return malformed(&s, "it is not valid JSON, or has a key twice");
    int rc = read_hashes(out, json_object_get(root, "documents"), &s);
    if (rc == UMBRA_OK)
        rc = read_ids(out, json_object_get(root, "ids"), &s);
    if (rc == UMBRA_OK)
        rc = read_frequency(out, json_object_get(root, "frequency"), layers, experts, &s);
    if (rc == UMBRA_OK)
        rc = read_epochs(out, json_object_get(root, "epochs"), &s);
    out->tokens = number_or_nan(json_object_get(root, "tokens"));
    out->seconds = number_or_nan(json_object_get(root, "seconds"));
    json_decref(root);
    if (rc != UMBRA_OK)
        umbra_training_free(out);
    return rc;
}

void umbra_training_free(umbra_training *t)
{
    for (int i = 0; i < t->n_ids; i++)
        umbra_free(t->ids[i]);
    umbra_free(t->ids);
    umbra_free(t->hashes);
    umbra_free(t->frequency);
    umbra_free(t->epochs);
    *t = (umbra_training){0};
}

bool umbra_training_has_hash(const umbra_training *t, uint64_t hash)
{
    return t->n_hashes > 0 &&
           bsearch(&hash, t->hashes, (size_t)t->n_hashes, sizeof *t->hashes, compare_hashes);
}

bool umbra_training_has_id(const umbra_training *t, const char *id)
{
    return t->n_ids > 0 && bsearch(&id, t->ids, (size_t)t->n_ids, sizeof *t->ids, compare_ids);
}
