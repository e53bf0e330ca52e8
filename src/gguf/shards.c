/* Models in several files: NAME-00001-of-00003.gguf and so on. Each shard is a whole GGUF file with
 * its own tensors; split.no (from 0), split.count and split.tensors.count (of all shards) say how
 * they belong together, and the first one carries all other keys. */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/quote.h"
#include "gguf/internal.h"

typedef struct split {
    uint32_t number, count, tensors;
} split;

enum { MOST_SHARDS = 65535 }; /* as many as 16 bits count: published files keep them in so many */

/* 1: a shard; 0: a whole model (count is 1 or not given). */
static int read_split(const umbra_gguf *gguf, split *out, umbra_error *err)
{
    *out = (split){0, 1, 0};
    int rc = umbra_gguf_get_u32(gguf, "split.count", &out->count, err);
    if (rc < 0 || out->count <= 1)
        return rc < 0 ? rc : 0;
    int has_number = umbra_gguf_get_u32(gguf, "split.no", &out->number, err);
    int has_tensors =
        has_number < 0 ? 0 : umbra_gguf_get_u32(gguf, "split.tensors.count", &out->tensors, err);
    if (has_number < 0 || has_tensors < 0)
        return UMBRA_E_FORMAT;
    if (!has_number || !has_tensors)
        return umbra_fail(err, UMBRA_E_FORMAT, "%s: the key %s is missing beside split.count",
                          gguf->path, has_number ? "split.tensors.count" : "split.no");
    if (out->count > MOST_SHARDS)
        return umbra_fail(err, UMBRA_E_UNSUPPORTED,
                          "%s: split.count is %" PRIu32 "; a model may have %d shards", gguf->path,
                          out->count, MOST_SHARDS);
    if (out->number >= out->count)
        return umbra_fail(err, UMBRA_E_FORMAT,
                          "%s: split.no is %" PRIu32 ", but there are %" PRIu32
                          " shards, counted from 0",
                          gguf->path, out->number, out->count);
    return 1;
}

enum { ENDING_BYTES = 32 };

/* "-00002-of-00003.gguf" for shard 1 (from 0) of 3. Returns its length. */
static size_t ending(char out[ENDING_BYTES], uint32_t number, uint32_t count)
{
    int n = snprintf(out, ENDING_BYTES, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", number + 1, count);
    return (size_t)n;
}

/* Opens shard `number` of the set that `known` belongs to: beside it, by its name. */
static int open_shard(umbra_gguf **out, const umbra_gguf *known, size_t stem, uint32_t number,
                      uint32_t count, umbra_error *err)
{
    char tail[ENDING_BYTES];
    size_t tail_bytes = ending(tail, number, count);
    char *path = umbra_calloc(stem + tail_bytes + 1, 1);
    if (!path)
        return umbra_fail_nomem(err, "the path of a shard", stem + tail_bytes + 1);
    memcpy(path, known->path, stem);
    memcpy(path + stem, tail, tail_bytes);
    umbra_error cause = {0};
    int rc = umbra_gguf_open(out, path, &cause);
    if (rc != UMBRA_OK)
        umbra_fail(err, rc, "shard %" PRIu32 " of %" PRIu32 ": %s", number + 1, count,
                   cause.message);
    umbra_free(path);
    return rc;
}

/* Whether a shard is the one that its name says, of the set that the first describes. */
static int check_shard(const umbra_gguf *shard, const split *wanted, umbra_error *err)
{
    split is;
    int rc = read_split(shard, &is, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: is a whole model by its keys, not shard %" PRIu32 " of %" PRIu32
                          " as its name says",
                          shard->path, wanted->number + 1, wanted->count);
    if (is.number != wanted->number || is.count != wanted->count)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: is shard %" PRIu32 " of %" PRIu32 " by its keys, not shard %" PRIu32
                          " of %" PRIu32 " as its name says",
                          shard->path, is.number + 1, is.count, wanted->number + 1, wanted->count);
    if (is.tensors != wanted->tensors)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: belongs to a model of %" PRIu32
                          " tensors, the shards beside it to one of %" PRIu32,
                          shard->path, is.tensors, wanted->tensors);
    return UMBRA_OK;
}

static uint64_t value_bytes(const umbra_gguf *gguf, uint32_t type, uint64_t at)
{
    if (type == UMBRA_GGUF_STRING)
        return 8 + umbra_gguf_load_u64(gguf, at);
    if (type != UMBRA_GGUF_ARRAY)
        return umbra_gguf_type_bytes(type);
    uint32_t element = umbra_gguf_load_u32(gguf, at);
    uint64_t count = umbra_gguf_load_u64(gguf, at + 4), bytes = 12;
    if (element != UMBRA_GGUF_STRING && element != UMBRA_GGUF_ARRAY)
        return bytes + count * umbra_gguf_type_bytes(element);
    for (uint64_t i = 0; i < count; i++)
        bytes += value_bytes(gguf, element, at + bytes);
    return bytes;
}

static bool same_value(const umbra_gguf *a, const umbra_gguf_pair *p, const umbra_gguf *b,
                       const umbra_gguf_pair *q)
{
    uint64_t bytes = value_bytes(a, p->type, p->value_at);
    return p->type == q->type && bytes == value_bytes(b, q->type, q->value_at) &&
           memcmp(a->data + p->value_at, b->data + q->value_at, bytes) == 0;
}

static bool begins_with(umbra_string s, umbra_string with)
{
    return s.bytes > with.bytes && memcmp(s.data, with.data, with.bytes) == 0;
}

/* Is it a key that says what the model computes? */
static bool is_model_key(const umbra_gguf *first, umbra_string key)
{
    static const umbra_string tokenizer = {"tokenizer.", 10}, self = {"general.architecture", 20};
    umbra_string architecture = {"", 0};
    umbra_gguf_get_string(first, self.data, &architecture, NULL);
    return begins_with(key, tokenizer) ||
           (key.bytes == self.bytes && memcmp(key.data, self.data, self.bytes) == 0) ||
           (begins_with(key, architecture) && key.data[architecture.bytes] == '.');
}

/* Keys of the model are read from the first shard alone: another may repeat them, and add none. */
static int check_keys(const umbra_gguf *first, const umbra_gguf *part, umbra_error *err)
{
    for (uint64_t i = 0; i < part->pair_count; i++) {
        umbra_string key = umbra_gguf_name(part, UMBRA_GGUF_PAIRS, i);
        uint64_t found;
        if (!is_model_key(first, key) ||
            (umbra_gguf_index_find(first, UMBRA_GGUF_PAIRS, key, &found) &&
             same_value(first, &first->pairs[found], part, &part->pairs[i])))
            continue;
        return umbra_fail_at(err, UMBRA_E_MISMATCH, part->pairs[i].value_at,
                             "%s: the key %s is not as in %s, whose keys are those of the model",
                             part->path, umbra_quote(key.data, key.bytes).text, first->path);
    }
    return UMBRA_OK;
}

/* Makes set[1..] the parts of set[0]: numbers their tensors' file, checks that no name occurs
 * twice, none is missing, and no key goes unread. */
static int join(umbra_gguf **set, const split *whole, umbra_error *err)
{
    umbra_gguf *first = set[0];
    uint64_t tensors = first->tensor_count;
    for (uint32_t i = 1; i < whole->count; i++) {
        umbra_gguf *part = set[i];
        int rc = check_keys(first, part, err);
        if (rc != UMBRA_OK)
            return rc;
        for (uint64_t k = 0; k < part->tensor_count; k++) {
            umbra_gguf_tensor *t = &part->entries[k].tensor;
            uint64_t found;
            t->file = i;
            for (uint32_t j = 0; j < i; j++)
                if (umbra_gguf_index_find(set[j], UMBRA_GGUF_TENSORS, t->name, &found))
                    return umbra_fail_at(
                        err, UMBRA_E_MISMATCH, t->offset, "%s: tensor %s is in %s too", part->path,
                        umbra_quote(t->name.data, t->name.bytes).text, set[j]->path);
        }
        tensors += part->tensor_count;
    }
    if (tensors != whole->tensors)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: the %" PRIu32 " shards hold %" PRIu64 " tensors, but split.tensors."
                          "count is %" PRIu32,
                          first->path, whole->count, tensors, whole->tensors);
    return UMBRA_OK;
}

/* Opens the other shards of the set that `*named` belongs to; *named becomes the first one, which
 * then owns the others. */
static int gather(umbra_gguf **named, split is, umbra_error *err)
{
    char tail[ENDING_BYTES];
    size_t tail_bytes = ending(tail, is.number, is.count);
    const char *path = (*named)->path;
    size_t path_bytes = strlen(path);
    if (path_bytes < tail_bytes || strcmp(path + path_bytes - tail_bytes, tail) != 0)
        return umbra_fail(err, UMBRA_E_MISMATCH,
                          "%s: is shard %" PRIu32 " of %" PRIu32
                          " by its keys; give it a name that ends in %s so that the others can be "
                          "found beside it (shards joined into one file must be taken apart)",
                          path, is.number + 1, is.count, tail);
    umbra_gguf **set = umbra_calloc(is.count, sizeof(umbra_gguf *));
    if (!set)
        return umbra_fail_nomem(err, "the list of shards", is.count * sizeof(umbra_gguf *));
    set[is.number] = *named;
    int rc = UMBRA_OK;
    for (uint32_t i = 0; rc == UMBRA_OK && i < is.count; i++) {
        split wanted = {i, is.count, is.tensors};
        if (!set[i])
            rc = open_shard(&set[i], *named, path_bytes - tail_bytes, i, is.count, err);
        if (rc == UMBRA_OK)
            rc = check_shard(set[i], &wanted, err);
    }
    if (rc == UMBRA_OK)
        rc = join(set, &is, err);
    if (rc != UMBRA_OK) {
        for (uint32_t i = 0; i < is.count; i++)
            if (i != is.number)
                umbra_gguf_close(&set[i]);
        umbra_free(set);
        return rc;
    }
    *named = set[0];
    (*named)->files = set;
    (*named)->file_count = is.count;
    return UMBRA_OK;
}

int umbra_gguf_open_all(umbra_gguf **out, const char *path, umbra_error *err)
{
    split is;
    int rc = umbra_gguf_open(out, path, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = read_split(*out, &is, err);
    if (rc > 0)
        rc = gather(out, is, err);
    if (rc != UMBRA_OK)
        umbra_gguf_close(out);
    return rc;
}

uint32_t umbra_gguf_file_count(const umbra_gguf *gguf)
{
    return gguf->files ? gguf->file_count : 1;
}

const char *umbra_gguf_file_path(const umbra_gguf *gguf, uint32_t file)
{
    return umbra_gguf_file_at(gguf, file)->path;
}

int umbra_gguf_read_tensor(const umbra_gguf *gguf, const umbra_gguf_tensor *tensor, uint64_t from,
                           void *out, size_t bytes, umbra_error *err)
{
    const umbra_gguf *file = umbra_gguf_file_at(gguf, tensor->file);
    return umbra_file_read(file->fd, file->path, out, bytes, tensor->offset + from, err);
}
