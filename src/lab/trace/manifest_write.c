/* Writes a trace's manifest. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "lab/trace/internal.h"

void umbra_trace_manifest_release(umbra_trace_manifest *m)
{
    for (int i = 0; i < m->n_shards; i++)
        umbra_free(m->shards[i].checksums);
    umbra_free(m->shards);
    umbra_free(m->documents);
    umbra_free(m->gates);
    umbra_trace_layers_release(&m->layers);
    umbra_free(m->collection);
    *m = (umbra_trace_manifest){0};
}

void umbra_trace_hex(uint64_t value, char text[UMBRA_TRACE_HEX_CHARS])
{
    snprintf(text, UMBRA_TRACE_HEX_CHARS, "%016" PRIx64, value);
}

static void put_text(umbra_json *j, const char *key, const char *text)
{
    umbra_json_key(j, key);
    umbra_json_text(j, text);
}

static void put_int(umbra_json *j, const char *key, int value)
{
    umbra_json_key(j, key);
    umbra_json_int(j, value);
}

static void put_hash(umbra_json *j, const char *key, uint64_t hash)
{
    char hex[UMBRA_TRACE_HEX_CHARS];
    umbra_trace_hex(hash, hex);
    put_text(j, key, hex);
}

static void put_info(umbra_json *j, const umbra_trace_manifest *m)
{
    const umbra_trace_info *info = &m->info;
    put_text(j, "format", "umbra-trace");
    put_int(j, "version", 1);
    umbra_json_key(j, "model");
    umbra_json_open(j, '{');
    put_text(j, "hash", info->model_hash);
    put_text(j, "name", info->model_name);
    put_text(j, "architecture", info->architecture);
    put_int(j, "layers", info->layers);
    put_int(j, "hidden", info->hidden);
    put_int(j, "experts", info->experts);
    put_int(j, "experts_used", info->used);
    umbra_json_close(j, '}');
    put_text(j, "dtype", info->int8 ? "I8" : "BF16");
    put_int(j, "stride", info->stride);
    umbra_json_key(j, "collection");
    fputs(m->collection, j->file);
    j->after_key = false; /* the value has been written past the JSON writer */
    umbra_json_key(j, "gates");
    umbra_json_open(j, '{');
    for (int i = 0; i < m->layers.moe_layers; i++)
        put_hash(j, umbra_trace_gate_name(m->layers.layer[i]).text, m->gates[i]);
    umbra_json_close(j, '}');
}

static void put_shard(umbra_json *j, const umbra_trace_manifest *m, int i)
{
    const umbra_trace_shard *s = &m->shards[i];
    int tensors = umbra_trace_tensors(&m->info, &m->layers);
    fputc('\n', j->file);
    umbra_json_open(j, '{');
    put_text(j, "file", umbra_trace_shard_name(i).text);
    put_int(j, "tokens", s->tokens);
    put_int(j, "rows", s->rows);
    umbra_json_key(j, "checksums");
    umbra_json_open(j, '{');
    for (int t = 0; t < tensors; t++)
        put_hash(j, umbra_trace_tensor(&m->info, &m->layers, t, 0, 0, NULL).text, s->checksums[t]);
    umbra_json_close(j, '}');
    umbra_json_close(j, '}');
}

static void put_document(umbra_json *j, const umbra_trace_document *d)
{
    fputc('\n', j->file); /* a line each, so that people and diff can read it */
    umbra_json_open(j, '{');
    put_text(j, "id", d->id);
    put_hash(j, "hash", d->hash);
    umbra_json_key(j, "generated");
    umbra_json_bool(j, d->generated);
    put_int(j, "shard", d->shard);
    put_int(j, "first", d->first);
    put_int(j, "tokens", d->tokens);
    umbra_json_close(j, '}');
}

static void put_manifest(FILE *file, const umbra_trace_manifest *m)
{
    umbra_json j;
    umbra_json_begin(&j, file);
    umbra_json_open(&j, '{');
    put_info(&j, m);
    umbra_json_key(&j, "shards");
    umbra_json_open(&j, '[');
    for (int i = 0; i < m->n_shards; i++)
        put_shard(&j, m, i);
    umbra_json_close(&j, ']');
    umbra_json_key(&j, "documents");
    umbra_json_open(&j, '[');
    for (int i = 0; i < m->n_documents; i++)
        put_document(&j, &m->documents[i]);
    umbra_json_close(&j, ']');
    umbra_json_close(&j, '}');
    fputc('\n', file);
}

uint64_t umbra_trace_manifest_growth(const umbra_trace_manifest *m,
                                     const umbra_trace_document *documents, int n)
{
    /* Everything but ids and checksums at its longest; an id has no characters that need more than
     * a backslash each. A first manifest also has the beginning. */
    enum {
        PER_DOCUMENT = 144,
        PER_SHARD = 144,
        PER_CHECKSUM = UMBRA_TRACE_NAME_CHARS + 24,
        BEGINNING = 2048
    };
    uint64_t tensors = (uint64_t)umbra_trace_tensors(&m->info, &m->layers);
    uint64_t bytes = PER_SHARD + PER_CHECKSUM * tensors;
    for (int i = 0; i < n; i++)
        bytes += PER_DOCUMENT + 2 * strlen(documents[i].id);
    if (m->n_shards == 0)
        bytes += BEGINNING + strlen(m->collection) + PER_CHECKSUM * (uint64_t)m->layers.moe_layers;
    return bytes;
}

static void write_manifest(FILE *file, void *user)
{
    umbra_trace_manifest *m = user;
    put_manifest(file, m);
    long bytes = ftell(file);
    m->bytes = bytes > 0 ? (uint64_t)bytes : 0;
}

int umbra_trace_manifest_write(umbra_trace_manifest *m, const char *folder, bool *replaced,
                               umbra_error *err)
{
    *replaced = false;
    char *path = umbra_trace_path(folder, UMBRA_TRACE_MANIFEST);
    if (!path)
        return umbra_fail_nomem(err, "a path", strlen(folder));
    uint64_t before = m->bytes;
    int rc = umbra_replace_file(path, write_manifest, m, replaced, err);
    if (!*replaced)
        m->bytes = before;
    umbra_free(path);
    return rc;
}
