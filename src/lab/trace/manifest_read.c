/* Reads and checks a trace's manifest. */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "lab/trace/internal.h"

/* Where in the manifest the reader is, for messages. */
typedef struct place {
    const char *path;
    const char *list; /* "shards", or NULL for the object itself */
    size_t index;     /* in the list */
    umbra_error *err;
} place;

__attribute__((format(printf, 3, 4))) static int refuse(const place *p, const char *key,
                                                        const char *format, ...)
{
    char where[64] = "", what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (p->list)
        snprintf(where, sizeof where, "%s[%zu]%s", p->list, p->index, *key ? "." : "");
    return umbra_fail(p->err, UMBRA_E_FORMAT, "%s: %s%s %s", p->path, where, key, what);
}

bool umbra_trace_is_text(const char *text, size_t room)
{
    size_t n = strnlen(text, room), step;
    if (n == room)
        return false;
    for (size_t at = 0; at < n; at += step) {
        step = umbra_utf8_length(text + at, n - at);
        if (step == 0 || (unsigned char)text[at] < 0x20 || text[at] == 0x7f)
            return false;
    }
    return true;
}

static int need(const place *p, const json_t *object, const char *key, json_type type,
                const char *type_name, json_t **out)
{
    *out = json_object_get(object, key);
    if (!*out)
        return refuse(p, key, "is missing");
    return json_typeof(*out) == type ? UMBRA_OK : refuse(p, key, "is not %s", type_name);
}

/* Refuses members beyond the `known` ones, which the caller then finds all there. */
static int need_members(const place *p, const json_t *object, size_t known)
{
    if (!json_is_object(object))
        return refuse(p, "", "is not an object");
    if (json_object_size(object) > known)
        return refuse(p, "", "has %zu members, the format knows %zu", json_object_size(object),
                      known);
    return UMBRA_OK;
}

static int need_int(const place *p, const json_t *object, const char *key, int least, int most,
                    int *out)
{
    json_t *value;
    int rc = need(p, object, key, JSON_INTEGER, "a whole number", &value);
    if (rc != UMBRA_OK)
        return rc;
    json_int_t v = json_integer_value(value);
    if (v < least || v > most)
        return refuse(p, key, "is %lld, it must be %d to %d", (long long)v, least, most);
    *out = (int)v;
    return UMBRA_OK;
}

static int need_text(const place *p, const json_t *object, const char *key, char *out, size_t room)
{
    json_t *value;
    int rc = need(p, object, key, JSON_STRING, "a string", &value);
    if (rc != UMBRA_OK)
        return rc;
    if (!umbra_trace_is_text(json_string_value(value), room))
        return refuse(p, key, "is not text of at most %zu bytes", room - 1);
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return UMBRA_OK;
}

static int need_hash(const place *p, const json_t *object, const char *key, uint64_t *out)
{
    json_t *value;
    int rc = need(p, object, key, JSON_STRING, "a string", &value);
    if (rc != UMBRA_OK)
        return rc;
    const char *text = json_string_value(value);
    if (strlen(text) != UMBRA_TRACE_HEX_CHARS - 1 ||
        strspn(text, "0123456789abcdef") != UMBRA_TRACE_HEX_CHARS - 1)
        return refuse(p, key, "is not 16 digits of lower-case hex");
    *out = strtoull(text, NULL, 16);
    return UMBRA_OK;
}

int umbra_trace_check_info(const umbra_trace_info *info, const char *path, int status,
                           umbra_error *err)
{
    const struct {
        const char *name;
        int value, most;
    } numbers[] = {
        {"layers", info->layers, UMBRA_TRACE_LAYERS_MAX},
        {"hidden", info->hidden, UMBRA_TRACE_HIDDEN_MAX},
        {"experts", info->experts, UMBRA_TRACE_EXPERTS_MAX},
        {"experts_used", info->used, UMBRA_TRACE_USED_MAX},
        {"stride", info->stride, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value < 1 || numbers[i].value > numbers[i].most)
            return umbra_fail(err, status, "%s: %s is %d, it must be 1 to %d", path,
                              numbers[i].name, numbers[i].value, numbers[i].most);
    if (info->used > info->experts)
        return umbra_fail(err, status, "%s: experts_used is %d of %d experts", path, info->used,
                          info->experts);
    if (!umbra_trace_is_text(info->model_hash, sizeof info->model_hash) ||
        strlen(info->model_hash) != UMBRA_HASH_CHARS - 1 ||
        strspn(info->model_hash, "0123456789abcdef") != UMBRA_HASH_CHARS - 1)
        return umbra_fail(err, status, "%s: the model's hash is not 32 digits of lower-case hex",
                          path);
    if (!umbra_trace_is_text(info->model_name, sizeof info->model_name) ||
        !umbra_trace_is_text(info->architecture, sizeof info->architecture))
        return umbra_fail(err, status,
                          "%s: the model's name or architecture is too long or not text", path);
    return UMBRA_OK;
}

static int read_info(umbra_trace_info *info, const place *p, const json_t *root)
{
    json_t *model;
    char dtype[8] = "";
    int rc = need(p, root, "model", JSON_OBJECT, "an object", &model);
    if (rc == UMBRA_OK)
        rc = need_members(p, model, 7);
    if (rc == UMBRA_OK)
        rc = need_text(p, model, "hash", info->model_hash, sizeof info->model_hash);
    if (rc == UMBRA_OK)
        rc = need_text(p, model, "name", info->model_name, sizeof info->model_name);
    if (rc == UMBRA_OK)
        rc = need_text(p, model, "architecture", info->architecture, sizeof info->architecture);
    if (rc == UMBRA_OK)
        rc = need_int(p, model, "layers", 1, UMBRA_TRACE_LAYERS_MAX, &info->layers);
    if (rc == UMBRA_OK)
        rc = need_int(p, model, "hidden", 1, UMBRA_TRACE_HIDDEN_MAX, &info->hidden);
    if (rc == UMBRA_OK)
        rc = need_int(p, model, "experts", 1, UMBRA_TRACE_EXPERTS_MAX, &info->experts);
    if (rc == UMBRA_OK)
        rc = need_int(p, model, "experts_used", 1, UMBRA_TRACE_USED_MAX, &info->used);
    if (rc == UMBRA_OK)
        rc = need_int(p, root, "stride", 1, INT32_MAX, &info->stride);
    if (rc == UMBRA_OK)
        rc = need_text(p, root, "dtype", dtype, sizeof dtype);
    if (rc != UMBRA_OK)
        return rc;
    info->int8 = strcmp(dtype, "I8") == 0;
    if (!info->int8 && strcmp(dtype, "BF16") != 0)
        return refuse(p, "dtype", "is neither \"BF16\" nor \"I8\"");
    return umbra_trace_check_info(info, p->path, UMBRA_E_FORMAT, p->err);
}

/* The checksums of the gates, which say what layers have experts. */
static int read_gates(umbra_trace_manifest *m, const place *p, const json_t *root)
{
    json_t *gates;
    bool present[UMBRA_TRACE_LAYERS_MAX] = {false};
    size_t count = 0;
    int rc = need(p, root, "gates", JSON_OBJECT, "an object", &gates);
    if (rc != UMBRA_OK)
        return rc;
    for (int l = 0; l < m->info.layers; l++) {
        present[l] = json_object_get(gates, umbra_trace_gate_name(l).text) != NULL;
        count += present[l];
    }
    if (count == 0 || json_object_size(gates) != count)
        return refuse(p, "gates", "has %zu members, and %zu layers are among them",
                      json_object_size(gates), count);
    rc = umbra_trace_layers_make(&m->layers, &m->info, present, p->err);
    if (rc != UMBRA_OK)
        return rc;
    m->gates = umbra_calloc(count, sizeof *m->gates);
    if (!m->gates)
        return umbra_fail_nomem(p->err, "the gates of a trace", count * sizeof *m->gates);
    const place here = {.path = p->path, .list = "gates", .err = p->err};
    for (int i = 0; i < m->layers.moe_layers && rc == UMBRA_OK; i++)
        rc = need_hash(&here, gates, umbra_trace_gate_name(m->layers.layer[i]).text, &m->gates[i]);
    return rc;
}

static int read_shard(umbra_trace_manifest *m, const place *p, const json_t *object)
{
    umbra_trace_shard *s = &m->shards[p->index];
    int tensors = umbra_trace_tensors(&m->info, &m->layers);
    json_t *checksums;
    char file[UMBRA_TRACE_NAME_CHARS];
    int rc = need_members(p, object, 4);
    if (rc == UMBRA_OK)
        rc = need_text(p, object, "file", file, sizeof file);
    if (rc == UMBRA_OK && strcmp(file, umbra_trace_shard_name((int)p->index).text) != 0)
        rc = refuse(p, "file", "is not \"%s\"", umbra_trace_shard_name((int)p->index).text);
    if (rc == UMBRA_OK)
        rc = need_int(p, object, "tokens", 1, INT32_MAX, &s->tokens);
    if (rc == UMBRA_OK)
        rc = need_int(p, object, "rows", 1, s->tokens, &s->rows);
    if (rc == UMBRA_OK)
        rc = need(p, object, "checksums", JSON_OBJECT, "an object", &checksums);
    if (rc != UMBRA_OK)
        return rc;
    if (json_object_size(checksums) != (size_t)tensors)
        return refuse(p, "checksums", "has %zu members, %d were expected",
                      json_object_size(checksums), tensors);
    s->checksums = umbra_calloc((size_t)tensors, sizeof *s->checksums);
    if (!s->checksums)
        return umbra_fail_nomem(p->err, "checksums", (size_t)tensors * sizeof *s->checksums);
    for (int i = 0; i < tensors && rc == UMBRA_OK; i++)
        rc = need_hash(p, checksums, umbra_trace_tensor(&m->info, &m->layers, i, 0, 0, NULL).text,
                       &s->checksums[i]);
    m->tokens += (uint64_t)s->tokens;
    return rc;
}

static int read_document(umbra_trace_document *d, const place *p, const json_t *object)
{
    json_t *generated;
    int rc = need_members(p, object, 6);
    if (rc == UMBRA_OK)
        rc = need_text(p, object, "id", d->id, sizeof d->id);
    if (rc == UMBRA_OK && !d->id[0])
        rc = refuse(p, "id", "is empty");
    if (rc == UMBRA_OK)
        rc = need_hash(p, object, "hash", &d->hash);
    if (rc == UMBRA_OK)
        rc = need_int(p, object, "shard", 0, INT32_MAX, &d->shard);
    if (rc == UMBRA_OK)
        rc = need_int(p, object, "first", 0, INT32_MAX, &d->first);
    if (rc == UMBRA_OK)
        rc = need_int(p, object, "tokens", 1, INT32_MAX, &d->tokens);
    if (rc != UMBRA_OK)
        return rc;
    generated = json_object_get(object, "generated");
    if (!json_is_boolean(generated))
        return refuse(p, "generated", "is not true or false");
    d->generated = json_is_true(generated);
    return UMBRA_OK;
}

/* The documents of shard s have `first` tokens and `row` rows: does it? */
static int check_shard_end(const umbra_trace_manifest *m, int s, int first, int row, const place *p)
{
    const place here = {.path = p->path, .list = "shards", .index = (size_t)s, .err = p->err};
    if (first != m->shards[s].tokens)
        return refuse(&here, "tokens", "is %d, but its documents have %d", m->shards[s].tokens,
                      first);
    if (row != m->shards[s].rows)
        return refuse(&here, "rows", "is %d, but its documents have %d at a stride of %d",
                      m->shards[s].rows, row, m->info.stride);
    return UMBRA_OK;
}

/* The documents must fill the shards, one after the other. */
static int place_documents(umbra_trace_manifest *m, const place *p)
{
    int shard = 0, first = 0, row = 0, rc;
    for (int i = 0; i < m->n_documents; i++) {
        umbra_trace_document *d = &m->documents[i];
        const place here = {
            .path = p->path, .list = "documents", .index = (size_t)i, .err = p->err};
        if (d->shard == shard + 1 && d->shard < m->n_shards) {
            rc = check_shard_end(m, shard, first, row, p);
            if (rc != UMBRA_OK)
                return rc;
            shard++;
            first = row = 0;
            m->shards[shard].first_document = i;
        }
        if (d->shard != shard)
            return refuse(&here, "shard", "is %d; %d or the next of the %d shards was expected",
                          d->shard, shard, m->n_shards);
        if (d->first != first)
            return refuse(&here, "first", "is %d, but the document before ends at %d", d->first,
                          first);
        if (d->tokens > m->shards[shard].tokens - first)
            return refuse(&here, "tokens", "is %d, but its shard has only %d after token %d",
                          d->tokens, m->shards[shard].tokens - first, first);
        d->first_row = row;
        d->rows = umbra_trace_rows(d->tokens, m->info.stride);
        first += d->tokens;
        row += d->rows;
        m->shards[shard].documents++;
    }
    if (shard != m->n_shards - 1)
        return refuse(p, "documents", "end in shard %d of %d", shard, m->n_shards);
    return check_shard_end(m, shard, first, row, p);
}

static int read_lists(umbra_trace_manifest *m, const place *p, const json_t *root)
{
    json_t *shards, *documents;
    int rc = need(p, root, "shards", JSON_ARRAY, "an array", &shards);
    if (rc == UMBRA_OK)
        rc = need(p, root, "documents", JSON_ARRAY, "an array", &documents);
    if (rc != UMBRA_OK)
        return rc;
    size_t n = json_array_size(shards), n_documents = json_array_size(documents);
    if (n == 0 || n > UMBRA_TRACE_SHARDS_MAX)
        return refuse(p, "shards", "has %zu members, it must have 1 to %d", n,
                      UMBRA_TRACE_SHARDS_MAX);
    m->shards = umbra_calloc(n, sizeof *m->shards);
    m->documents = umbra_calloc(n_documents, sizeof *m->documents);
    if (!m->shards || !m->documents)
        return umbra_fail_nomem(p->err, "the documents of a trace",
                                n * sizeof *m->shards + n_documents * sizeof *m->documents);
    m->n_shards = m->shards_room = (int)n;
    m->n_documents = m->documents_room = (int)n_documents; /* the file has at most 32 MiB */
    place here = {.path = p->path, .list = "shards", .err = p->err};
    for (here.index = 0; here.index < n && rc == UMBRA_OK; here.index++)
        rc = read_shard(m, &here, json_array_get(shards, here.index));
    here.list = "documents";
    for (here.index = 0; here.index < n_documents && rc == UMBRA_OK; here.index++)
        rc = read_document(&m->documents[here.index], &here, json_array_get(documents, here.index));
    return rc == UMBRA_OK ? place_documents(m, p) : rc;
}

static int read_root(umbra_trace_manifest *m, const place *p, const json_t *root)
{
    json_t *collection;
    char format[16];
    int version;
    if (!json_is_object(root))
        return refuse(p, "", "it is not a JSON object");
    int rc = need_text(p, root, "format", format, sizeof format);
    if (rc == UMBRA_OK && strcmp(format, "umbra-trace") != 0)
        rc = refuse(p, "format", "is not \"umbra-trace\"");
    if (rc == UMBRA_OK)
        rc = need_int(p, root, "version", 0, INT32_MAX, &version);
    if (rc == UMBRA_OK && version != 1)
        rc = umbra_fail(p->err, UMBRA_E_UNSUPPORTED, "%s: version %d of traces is not known",
                        p->path, version);
    if (rc == UMBRA_OK)
        rc = need_members(p, root, 9);
    if (rc == UMBRA_OK)
        rc = read_info(&m->info, p, root);
    if (rc == UMBRA_OK)
        rc = need(p, root, "collection", JSON_OBJECT, "an object", &collection);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_trace_json_text(&m->collection, collection, p->err);
    m->info.collection = m->collection;
    if (rc == UMBRA_OK)
        rc = read_gates(m, p, root);
    return rc == UMBRA_OK ? read_lists(m, p, root) : rc;
}

int umbra_trace_manifest_read(umbra_trace_manifest *m, const char *path, umbra_error *err)
{
    const place p = {.path = path, .err = err};
    int fd;
    char *text = NULL;
    json_t *root = NULL;
    *m = (umbra_trace_manifest){0};
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return umbra_fail(err, UMBRA_E_IO,
                          "%s: there is none, so the folder holds no trace: record one there with "
                          "umbra collect",
                          path);
    int rc = umbra_file_open(&fd, path, &m->bytes, err);
    if (rc != UMBRA_OK)
        return rc;
    if (m->bytes > UMBRA_TRACE_MANIFEST_MAX)
        rc = umbra_fail(err, UMBRA_E_UNSUPPORTED, "%s: a manifest of %llu bytes, %d is the most",
                        path, (unsigned long long)m->bytes, UMBRA_TRACE_MANIFEST_MAX);
    if (rc == UMBRA_OK) {
        text = umbra_reallocarray(NULL, m->bytes, 1);
        rc = text ? umbra_file_read(fd, path, text, m->bytes, 0, err)
                  : umbra_fail_nomem(err, "a manifest", m->bytes);
    }
    close(fd);
    if (rc == UMBRA_OK)
        rc = umbra_trace_json_parse(&root, text, m->bytes, path, err);
    umbra_free(text);
    if (rc == UMBRA_OK)
        rc = read_root(m, &p, root);
    json_decref(root);
    if (rc != UMBRA_OK)
        umbra_trace_manifest_release(m);
    return rc;
}
