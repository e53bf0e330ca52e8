/* Fields to tables, and the checks that hold between them. */
#include <byteswap.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/quote.h"
#include "gguf/internal.h"

enum {
    MAGIC_BYTES = 4,
    PAIR_LEAST = 8 + 1 + 4 + 1,           /* length, a byte of key, type, a byte of value */
    TENSOR_LEAST = 8 + 1 + 4 + 8 + 4 + 8, /* the same with one dimension, dtype and offset */
    ITEMS_LIMIT = 1 << 20,                /* of keys and of tensors; large models have thousands */
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_LEAST = 8,
    ALIGNMENT_MOST = 1 << 20,
};

static const char alignment_key[] = "general.alignment";

static int fail_magic(const umbra_gguf_reader *r, uint64_t bytes)
{
    const umbra_gguf *g = r->gguf;
    const char *what = umbra_gguf_name_foreign(g->data, g->data_bytes);
    return umbra_gguf_fail(
        r, UMBRA_E_FORMAT, 0, "not a GGUF file: it begins with \"%s\", not \"GGUF\"%s%s",
        umbra_quote(g->data, bytes).text, what ? "; it is " : "", what ? what : "");
}

static int check_magic(umbra_gguf_reader *r)
{
    const umbra_gguf *g = r->gguf;
    if (g->file_bytes == 0)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, 0, "the file is empty");
    uint64_t bytes = g->file_bytes < MAGIC_BYTES ? g->file_bytes : MAGIC_BYTES;
    int rc = umbra_gguf_need(r, bytes, "magic");
    if (rc != UMBRA_OK)
        return rc;
    if (bytes < MAGIC_BYTES || memcmp(g->data, "GGUF", MAGIC_BYTES) != 0)
        return fail_magic(r, bytes);
    r->at = MAGIC_BYTES;
    return UMBRA_OK;
}

static int check_version(umbra_gguf_reader *r)
{
    uint64_t at = r->at;
    uint32_t version;
    int rc = umbra_gguf_read_u32(r, &version, "version");
    if (rc != UMBRA_OK)
        return rc;
    r->gguf->version = version;
    if (version == 2 || version == 3)
        return UMBRA_OK;
    uint32_t swapped = bswap_32(version);
    if (swapped >= 1 && swapped <= 3)
        return umbra_gguf_fail(r, UMBRA_E_UNSUPPORTED, at, "big-endian file, not supported");
    return umbra_gguf_fail(r, UMBRA_E_UNSUPPORTED, at,
                           "GGUF version %" PRIu32 " is not supported, only 2 and 3%s", version,
                           version == 1 ? ": convert the model again" : "");
}

static int read_items_count(umbra_gguf_reader *r, uint64_t *out, uint64_t least, const char *things)
{
    uint64_t at = r->at;
    int rc = umbra_gguf_read_u64(r, out, "counts");
    if (rc == UMBRA_OK)
        rc = umbra_gguf_check_count(r, at, *out, least, things);
    if (rc == UMBRA_OK && *out > ITEMS_LIMIT)
        rc = umbra_gguf_fail(r, UMBRA_E_UNSUPPORTED, at, "%" PRIu64 " %s, at most %d are supported",
                             *out, things, ITEMS_LIMIT);
    return rc;
}

static int read_prelude(umbra_gguf_reader *r)
{
    umbra_gguf *g = r->gguf;
    int rc = check_magic(r);
    if (rc == UMBRA_OK)
        rc = check_version(r);
    if (rc == UMBRA_OK)
        rc = read_items_count(r, &g->tensor_count, TENSOR_LEAST, "tensors");
    if (rc == UMBRA_OK)
        rc = read_items_count(r, &g->pair_count, PAIR_LEAST, "keys");
    if (rc != UMBRA_OK)
        return rc;
    g->pairs = umbra_calloc(g->pair_count, sizeof *g->pairs);
    g->entries = umbra_calloc(g->tensor_count, sizeof *g->entries);
    if (!g->pairs || !g->entries)
        return umbra_fail_nomem(r->err, "the tables of the model file",
                                g->pair_count * sizeof *g->pairs +
                                    g->tensor_count * sizeof *g->entries);
    return UMBRA_OK;
}

static int read_pair(umbra_gguf_reader *r, umbra_gguf_pair *pair)
{
    int rc = umbra_gguf_read_name(r);
    if (rc != UMBRA_OK)
        return rc;
    pair->key_at = r->subject.name_at;
    pair->key_bytes = r->subject.name_bytes;
    rc = umbra_gguf_read_u32(r, &pair->type, "value type");
    if (rc != UMBRA_OK)
        return rc;
    pair->value_at = (uint32_t)r->at;
    return umbra_gguf_skip_value(r, pair->type);
}

/* The size of the tensor, from its shape and dtype; at: offset of the shape. */
static int measure(const umbra_gguf_reader *r, umbra_gguf_tensor *t, uint64_t at)
{
    uint64_t dtype_at = at + t->dimensions * sizeof t->shape[0];
    umbra_dtype_info info = umbra_dtype_get(t->dtype);
    if (!info.name)
        return umbra_gguf_fail(r, UMBRA_E_UNSUPPORTED, dtype_at,
                               "number format %" PRIu32 " is not known to this program", t->dtype);
    uint64_t values = 1;
    for (uint32_t d = 0; d < t->dimensions; d++) {
        uint64_t n = t->shape[d];
        if (n == 0)
            return umbra_gguf_fail(r, UMBRA_E_FORMAT, at + d * sizeof n,
                                   "dimension %" PRIu32 " is 0", d);
        if (!umbra_mul_u64(values, n, &values))
            return umbra_gguf_fail(r, UMBRA_E_FORMAT, at + d * sizeof n,
                                   "the dimensions up to %" PRIu64 " multiply to more than 64 bits",
                                   n);
    }
    if (t->shape[0] % info.block_values != 0)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, at,
                               "the first dimension is %" PRIu64 ", not a multiple of the %" PRIu32
                               " values of a %s block",
                               t->shape[0], info.block_values, info.name);
    if (!umbra_mul_u64(values / info.block_values, info.block_bytes, &t->bytes))
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, at,
                               "%" PRIu64 " values of %s take more than 64 bits can count", values,
                               info.name);
    return UMBRA_OK;
}

static int read_tensor(umbra_gguf_reader *r, umbra_gguf_entry *entry, uint64_t alignment)
{
    umbra_gguf_tensor *t = &entry->tensor;
    int rc = umbra_gguf_read_name(r);
    if (rc != UMBRA_OK)
        return rc;
    entry->name_at = r->subject.name_at;
    t->name.bytes = r->subject.name_bytes;
    uint64_t at = r->at;
    rc = umbra_gguf_read_u32(r, &t->dimensions, "number of dimensions");
    if (rc != UMBRA_OK)
        return rc;
    if (t->dimensions < 1 || t->dimensions > 4)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, at, "%" PRIu32 " dimensions, not 1 to 4",
                               t->dimensions);
    uint64_t shape_at = r->at;
    for (uint32_t d = 0; d < 4; d++) {
        t->shape[d] = 1;
        if (d < t->dimensions)
            rc = umbra_gguf_read_u64(r, &t->shape[d], "dimensions");
        if (rc != UMBRA_OK)
            return rc;
    }
    rc = umbra_gguf_read_u32(r, &t->dtype, "number format");
    if (rc == UMBRA_OK)
        rc = measure(r, t, shape_at);
    uint64_t offset_at = r->at;
    if (rc == UMBRA_OK)
        rc = umbra_gguf_read_u64(r, &t->offset, "data offset");
    if (rc == UMBRA_OK && t->offset % alignment != 0)
        rc = umbra_gguf_fail(r, UMBRA_E_FORMAT, offset_at,
                             "the data offset %" PRIu64
                             " is not a multiple of the alignment %" PRIu64,
                             t->offset, alignment);
    return rc;
}

/* Where in the file the tensor's offset stands: after its name, dimensions and number format. */
static uint64_t offset_field(const umbra_gguf_entry *entry)
{
    const umbra_gguf_tensor *t = &entry->tensor;
    return entry->name_at + t->name.bytes + 4 + t->dimensions * sizeof t->shape[0] + 4;
}

static int index_names(umbra_gguf_reader *r, umbra_gguf_table table)
{
    umbra_gguf *g = r->gguf;
    uint64_t first = 0;
    uint64_t second = 0;
    int rc = umbra_gguf_index_build(g, table, &second, &first);
    if (rc == UMBRA_E_NOMEM)
        return umbra_fail_nomem(r->err, "the index of the model file",
                                2 * (table == UMBRA_GGUF_PAIRS ? g->pair_count : g->tensor_count) *
                                    sizeof *g->index[table].slots);
    if (rc == UMBRA_OK)
        return UMBRA_OK;
    umbra_string name = umbra_gguf_name(g, table, second);
    r->subject.name_at = (uint32_t)(name.data - g->data);
    r->subject.name_bytes = (uint32_t)name.bytes;
    return umbra_gguf_fail(r, UMBRA_E_FORMAT, r->subject.name_at,
                           "the name stands twice, as number %" PRIu64 " and number %" PRIu64,
                           first, second);
}

static int read_pairs(umbra_gguf_reader *r)
{
    umbra_gguf *g = r->gguf;
    for (uint64_t i = 0; i < g->pair_count; i++) {
        r->subject = (umbra_gguf_subject){.kind = "key", .number = i};
        int rc = read_pair(r, &g->pairs[i]);
        if (rc != UMBRA_OK)
            return rc;
    }
    return index_names(r, UMBRA_GGUF_PAIRS);
}

static int find_alignment(umbra_gguf_reader *r, uint64_t *out)
{
    *out = ALIGNMENT_DEFAULT;
    uint32_t value;
    int rc = umbra_gguf_get_u32(r->gguf, alignment_key, &value, r->err);
    if (rc <= 0)
        return rc;
    *out = value;
    if (value >= ALIGNMENT_LEAST && value <= ALIGNMENT_MOST && (value & (value - 1)) == 0)
        return UMBRA_OK;
    uint64_t i = 0;
    umbra_string key = {alignment_key, sizeof alignment_key - 1};
    umbra_gguf_index_find(r->gguf, UMBRA_GGUF_PAIRS, key, &i);
    const umbra_gguf_pair *pair = &r->gguf->pairs[i];
    r->subject = (umbra_gguf_subject){"key", i, pair->key_at, pair->key_bytes};
    return umbra_gguf_fail(r, UMBRA_E_FORMAT, pair->value_at,
                           "%" PRIu32 " is not a power of two from %d to %d", value,
                           ALIGNMENT_LEAST, ALIGNMENT_MOST);
}

static int read_tensors(umbra_gguf_reader *r, uint64_t alignment)
{
    umbra_gguf *g = r->gguf;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        r->subject = (umbra_gguf_subject){.kind = "tensor", .number = i};
        int rc = read_tensor(r, &g->entries[i], alignment);
        if (rc != UMBRA_OK)
            return rc;
    }
    return index_names(r, UMBRA_GGUF_TENSORS);
}

static void make_subject(umbra_gguf_reader *r, uint64_t tensor)
{
    const umbra_gguf_entry *entry = &r->gguf->entries[tensor];
    r->subject =
        (umbra_gguf_subject){"tensor", tensor, entry->name_at, (uint32_t)entry->tensor.name.bytes};
}

/* Shards joined end to end (as with cat) hold a header in the middle that nobody would read: the
 * text would come from a part of the model. end: of what this header describes. */
static int check_joined(const umbra_gguf_reader *r, uint64_t end, uint64_t alignment)
{
    const umbra_gguf *g = r->gguf;
    const uint64_t places[] = {end, umbra_align_up(end, alignment)};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char magic[MAGIC_BYTES];
        if (places[i] > g->file_bytes || g->file_bytes - places[i] < MAGIC_BYTES)
            continue;
        int rc = umbra_file_read(g->fd, g->path, magic, MAGIC_BYTES, places[i], r->err);
        if (rc != UMBRA_OK)
            return rc;
        if (memcmp(magic, "GGUF", MAGIC_BYTES) == 0)
            return umbra_fail_at(
                r->err, UMBRA_E_FORMAT, places[i],
                "%s: another GGUF file begins behind this one's data: shards were "
                "joined into one file; keep them apart, as NAME-00001-of-00002.gguf "
                "and so on beside each other, or merge them with a tool for GGUF",
                g->path);
    }
    return UMBRA_OK;
}

/* Makes the offsets absolute. A file cut short is the usual fault: the message says how long it
 * should be, which only the tensor that ends last knows. */
static int place_tensors(umbra_gguf_reader *r, uint64_t alignment)
{
    umbra_gguf *g = r->gguf;
    uint64_t data_start = umbra_align_up(r->at, alignment);
    uint64_t last_end = g->tensor_count > 0 ? 0 : r->at;
    uint64_t first_outside = UINT64_MAX;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        umbra_gguf_tensor *t = &g->entries[i].tensor;
        uint64_t end;
        if (!umbra_add_u64(t->offset, data_start, &t->offset) ||
            !umbra_add_u64(t->offset, t->bytes, &end)) {
            make_subject(r, i);
            return umbra_gguf_fail(r, UMBRA_E_FORMAT, offset_field(&g->entries[i]),
                                   "the end of its data is beyond 64 bits: the file is damaged");
        }
        last_end = end > last_end ? end : last_end;
        if (end > g->file_bytes && first_outside == UINT64_MAX)
            first_outside = i;
    }
    if (first_outside == UINT64_MAX)
        return check_joined(r, last_end, alignment);
    make_subject(r, first_outside);
    return umbra_gguf_fail(r, UMBRA_E_FORMAT, offset_field(&g->entries[first_outside]),
                           "its data ends beyond the end of the file; the download may be "
                           "incomplete: expected at least %" PRIu64 " bytes, the file has %" PRIu64,
                           last_end, g->file_bytes);
}

typedef struct span {
    uint64_t offset;
    uint64_t tensor;
} span;

static int compare_spans(const void *a, const void *b)
{
    const span *x = a;
    const span *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static int check_overlap(umbra_gguf_reader *r)
{
    const umbra_gguf *g = r->gguf;
    span *spans = umbra_calloc(g->tensor_count, sizeof *spans);
    if (!spans)
        return umbra_fail_nomem(r->err, "the order of the tensors",
                                g->tensor_count * sizeof *spans);
    for (uint64_t i = 0; i < g->tensor_count; i++)
        spans[i] = (span){g->entries[i].tensor.offset, i};
    qsort(spans, g->tensor_count, sizeof *spans, compare_spans);
    int rc = UMBRA_OK;
    for (uint64_t i = 1; i < g->tensor_count && rc == UMBRA_OK; i++) {
        const umbra_gguf_tensor *before = &g->entries[spans[i - 1].tensor].tensor;
        if (before->offset + before->bytes <= spans[i].offset)
            continue;
        umbra_string name = umbra_gguf_name(g, UMBRA_GGUF_TENSORS, spans[i - 1].tensor);
        make_subject(r, spans[i].tensor);
        rc = umbra_gguf_fail(r, UMBRA_E_FORMAT, offset_field(&g->entries[spans[i].tensor]),
                             "its data overlaps that of tensor \"%s\"",
                             umbra_quote(name.data, name.bytes).text);
    }
    umbra_free(spans);
    return rc;
}

/* Gives back what was read beyond the header; from here on the buffer stays where it is. */
static int settle(umbra_gguf_reader *r)
{
    umbra_gguf *g = r->gguf;
    char *data = umbra_reallocarray(g->data, r->at, 1);
    if (!data)
        return umbra_fail_nomem(r->err, "the header of the model file", r->at);
    g->data = data;
    g->data_bytes = r->at;
    for (uint64_t i = 0; i < g->tensor_count; i++)
        g->entries[i].tensor.name.data = data + g->entries[i].name_at;
    return UMBRA_OK;
}

static int read_header(umbra_gguf *gguf, umbra_error *err)
{
    umbra_gguf_reader r = {.gguf = gguf, .err = err};
    uint64_t alignment = ALIGNMENT_DEFAULT;
    int rc = read_prelude(&r);
    if (rc == UMBRA_OK)
        rc = read_pairs(&r);
    if (rc == UMBRA_OK)
        rc = find_alignment(&r, &alignment);
    if (rc == UMBRA_OK)
        rc = read_tensors(&r, alignment);
    if (rc == UMBRA_OK)
        rc = place_tensors(&r, alignment);
    if (rc == UMBRA_OK)
        rc = check_overlap(&r);
    if (rc == UMBRA_OK)
        rc = settle(&r);
    return rc;
}

int umbra_gguf_open(umbra_gguf **out, const char *path, umbra_error *err)
{
    *out = NULL;
    umbra_gguf *gguf = umbra_calloc(1, sizeof *gguf);
    if (!gguf)
        return umbra_fail_nomem(err, "the model file's handle", sizeof *gguf);
    gguf->fd = -1;
    /* Without a seed everything still works, only not against names chosen to collide. */
    if (getrandom(&gguf->hash_seed, sizeof gguf->hash_seed, GRND_NONBLOCK) < 0)
        gguf->hash_seed = 0;
    gguf->path = umbra_strdup(path);
    int rc = gguf->path ? umbra_file_open(&gguf->fd, path, &gguf->file_bytes, err)
                        : umbra_fail_nomem(err, "the model file's path", strlen(path) + 1);
    if (rc == UMBRA_OK)
        rc = read_header(gguf, err);
    if (rc != UMBRA_OK) {
        umbra_gguf_close(&gguf);
        return rc;
    }
    *out = gguf;
    return UMBRA_OK;
}

void umbra_gguf_close(umbra_gguf **gguf)
{
    if (!gguf || !*gguf)
        return;
    umbra_gguf *g = *gguf;
    for (uint32_t i = 1; g->files && i < g->file_count; i++)
        umbra_gguf_close(&g->files[i]);
    umbra_free(g->files);
    if (g->fd >= 0)
        close(g->fd);
    umbra_free(g->index[UMBRA_GGUF_PAIRS].slots);
    umbra_free(g->index[UMBRA_GGUF_TENSORS].slots);
    umbra_free(g->entries);
    umbra_free(g->pairs);
    umbra_free(g->data);
    umbra_free(g->path);
    umbra_free(g);
    *gguf = NULL;
}
