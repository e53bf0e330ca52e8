/* The header is read by a parser of its own, not through a tree of values: a tree of a hostile
 * header would take gigabytes, and could not say at which byte a value lies. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_reader.h"
#include "base/memory.h"
#include "base/quote.h"
#include "safetensors/internal.h"

static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[UMBRA_SAFETENSORS_DTYPE_COUNT] = {
#define UMBRA_SAFETENSORS_ROW(name, bytes) [UMBRA_ST_##name] = {#name, bytes},
    UMBRA_SAFETENSORS_DTYPE_MAP(UMBRA_SAFETENSORS_ROW)
#undef UMBRA_SAFETENSORS_ROW
};

const char *umbra_safetensors_dtype_name(umbra_safetensors_dtype dtype)
{
    return (unsigned)dtype < UMBRA_SAFETENSORS_DTYPE_COUNT ? dtypes[dtype].name : NULL;
}

uint32_t umbra_safetensors_dtype_bytes(umbra_safetensors_dtype dtype)
{
    return (unsigned)dtype < UMBRA_SAFETENSORS_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

bool umbra_safetensors_size(const umbra_safetensors_tensor *t, uint64_t *bytes)
{
    *bytes = umbra_safetensors_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->dimensions; i++)
        if (!umbra_mul_u64(*bytes, t->shape[i], bytes))
            return false;
    return true;
}

/* Where the parser is. The header lies at byte 8 of the file. */
typedef struct cursor {
    umbra_json_reader in;
    const char *path;
    umbra_error *err;
} cursor;

enum { HEADER_AT = 8 };

static int malformed(const cursor *c, size_t at, const char *what)
{
    return umbra_fail_at(c->err, UMBRA_E_FORMAT, HEADER_AT + at, "%s: header: %s", c->path, what);
}

static int malformed_tensor(const cursor *c, size_t at, const char *name, const char *what)
{
    return umbra_fail_at(c->err, UMBRA_E_FORMAT, HEADER_AT + at, "%s: tensor \"%s\" %s", c->path,
                         umbra_quote(name, strlen(name)).text, what);
}

/* What the reader refused. */
static int misread(const cursor *c)
{
    return malformed(c, c->in.at, c->in.problem);
}

/* As umbra_json_more, or an error. */
static int next_member(cursor *c, char close)
{
    int more = umbra_json_more(&c->in, close);
    return more >= 0 ? more : misread(c);
}

static int parse_key(cursor *c, const char **out)
{
    return umbra_json_read_key(&c->in, out) ? UMBRA_OK : misread(c);
}

static int parse_string(cursor *c, const char **out)
{
    return umbra_json_read_string(&c->in, out) ? UMBRA_OK : misread(c);
}

static int parse_uint(cursor *c, uint64_t *out)
{
    return umbra_json_read_uint(&c->in, out) ? UMBRA_OK : misread(c);
}

/* An array of at most `most` numbers. */
static int parse_uints(cursor *c, uint64_t *out, uint32_t most, uint32_t *count)
{
    *count = 0;
    if (!umbra_json_take(&c->in, '['))
        return malformed(c, c->in.at, "an array was expected");
    if (umbra_json_take(&c->in, ']'))
        return UMBRA_OK;
    int more = 1;
    while (more == 1) {
        if (*count == most)
            return malformed(c, c->in.at,
                             most == 2 ? "data_offsets has more than 2 numbers"
                                       : "a shape has more than 8 dimensions");
        int rc = parse_uint(c, &out[*count]);
        if (rc != UMBRA_OK)
            return rc;
        ++*count;
        more = next_member(c, ']');
    }
    return more;
}

static int parse_dtype(cursor *c, umbra_safetensors_dtype *out)
{
    const char *name;
    (void)umbra_json_peek(&c->in);
    size_t start = c->in.at;
    int rc = parse_string(c, &name);
    if (rc != UMBRA_OK)
        return rc;
    for (int i = 0; i < UMBRA_SAFETENSORS_DTYPE_COUNT; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (umbra_safetensors_dtype)i;
            return UMBRA_OK;
        }
    return umbra_fail_at(c->err, UMBRA_E_UNSUPPORTED, HEADER_AT + start,
                         "%s: header: the dtype \"%s\" is not supported", c->path,
                         umbra_quote(name, strlen(name)).text);
}

enum { HAS_DTYPE = 1, HAS_SHAPE = 2, HAS_OFFSETS = 4, HAS_ALL = 7 };

/* One member of a tensor's object. range: its data_offsets. */
static int parse_tensor_member(cursor *c, umbra_safetensors_tensor *t, uint64_t *range, int *has)
{
    const char *key;
    (void)umbra_json_peek(&c->in);
    size_t start = c->in.at;
    int rc = parse_key(c, &key);
    if (rc != UMBRA_OK)
        return rc;
    int which = strcmp(key, "dtype") == 0          ? HAS_DTYPE
                : strcmp(key, "shape") == 0        ? HAS_SHAPE
                : strcmp(key, "data_offsets") == 0 ? HAS_OFFSETS
                                                   : 0;
    if (which == 0)
        return malformed_tensor(c, start, t->name, "has a member that the format does not know");
    if (*has & which)
        return malformed_tensor(c, start, t->name, "has this member twice");
    *has |= which;
    if (which == HAS_DTYPE)
        return parse_dtype(c, &t->dtype);
    if (which == HAS_SHAPE)
        return parse_uints(c, t->shape, UMBRA_SAFETENSORS_DIMENSIONS, &t->dimensions);
    uint32_t count;
    rc = parse_uints(c, range, 2, &count);
    return rc == UMBRA_OK && count != 2
               ? malformed_tensor(c, start, t->name, "has data_offsets that are not two")
               : rc;
}

/* The object of a tensor whose name was at byte `start`. data_bytes: of the whole file. */
static int parse_tensor(cursor *c, size_t start, umbra_safetensors_tensor *t, uint64_t data_bytes)
{
    uint64_t range[2] = {0}, bytes;
    int has = 0;
    if (!umbra_json_take(&c->in, '{'))
        return malformed_tensor(c, c->in.at, t->name, "is not an object");
    int more = umbra_json_take(&c->in, '}') ? 0 : 1;
    while (more == 1) {
        int rc = parse_tensor_member(c, t, range, &has);
        if (rc != UMBRA_OK)
            return rc;
        more = next_member(c, '}');
    }
    if (more < 0)
        return more;
    if (has != HAS_ALL)
        return malformed_tensor(c, start, t->name, "lacks dtype, shape or data_offsets");
    if (range[0] > range[1])
        return malformed_tensor(c, start, t->name, "ends before it begins");
    if (range[1] > data_bytes)
        return malformed_tensor(c, start, t->name, "reaches past the end of the file");
    if (!umbra_safetensors_size(t, &bytes) || bytes != range[1] - range[0])
        return malformed_tensor(c, start, t->name, "has a shape that does not fit its bytes");
    t->offset = HEADER_AT + c->in.n + range[0];
    t->bytes = bytes;
    return UMBRA_OK;
}

/* Makes room for one more element. */
static int grow(const cursor *c, void **array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return UMBRA_OK;
    size_t wanted = *room ? *room + *room / 2 : 16;
    void *p = umbra_reallocarray(*array, wanted, size);
    if (!p)
        return umbra_fail_nomem(c->err, "the list of a safetensors file", wanted * size);
    *array = p;
    *room = wanted;
    return UMBRA_OK;
}

static int parse_metadata(cursor *c, umbra_safetensors_header *h)
{
    if (!umbra_json_take(&c->in, '{'))
        return malformed(c, c->in.at, "__metadata__ is not an object");
    int more = umbra_json_take(&c->in, '}') ? 0 : 1;
    while (more == 1) {
        void *array = h->metadata;
        int rc = grow(c, &array, h->n_metadata, &h->metadata_room, sizeof *h->metadata);
        h->metadata = array;
        umbra_safetensors_pair pair;
        if (rc == UMBRA_OK)
            rc = parse_key(c, &pair.key);
        if (rc == UMBRA_OK && umbra_json_peek(&c->in) != '"')
            rc = malformed(c, c->in.at, "a value of __metadata__ is not a string");
        if (rc == UMBRA_OK)
            rc = parse_string(c, &pair.value);
        if (rc != UMBRA_OK)
            return rc;
        h->metadata[h->n_metadata++] = pair;
        more = next_member(c, '}');
    }
    return more;
}

/* A member of the header: a tensor or the metadata. */
static int parse_member(cursor *c, umbra_safetensors_header *h, bool *has_metadata,
                        uint64_t data_bytes)
{
    umbra_safetensors_tensor t = {0};
    (void)umbra_json_peek(&c->in);
    size_t start = c->in.at;
    int rc = parse_key(c, &t.name);
    if (rc != UMBRA_OK)
        return rc;
    if (strcmp(t.name, UMBRA_SAFETENSORS_METADATA) == 0) {
        if (*has_metadata)
            return malformed(c, start, "__metadata__ is there twice");
        *has_metadata = true;
        return parse_metadata(c, h);
    }
    rc = parse_tensor(c, start, &t, data_bytes);
    if (rc != UMBRA_OK)
        return rc;
    void *array = h->tensors;
    rc = grow(c, &array, h->n_tensors, &h->tensors_room, sizeof *h->tensors);
    h->tensors = array;
    if (rc == UMBRA_OK)
        h->tensors[h->n_tensors++] = t;
    return rc;
}

static int compare_offsets(const void *a, const void *b)
{
    const umbra_safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) /* empty tensors first */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int compare_names(const void *a, const void *b, void *tensors)
{
    const umbra_safetensors_tensor *t = tensors;
    return strcmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

static int compare_keys(const void *a, const void *b)
{
    const umbra_safetensors_pair *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Byte of the header at which a string of it begins. */
static size_t position(const cursor *c, const char *string)
{
    return (size_t)(string - c->in.text);
}

/* The tensors must fill the file from the header to its end. */
static int check_coverage(const cursor *c, const umbra_safetensors_header *h, uint64_t file_bytes)
{
    uint64_t end = HEADER_AT + c->in.n;
    for (size_t i = 0; i < h->n_tensors; i++) {
        const umbra_safetensors_tensor *t = &h->tensors[i];
        if (t->offset != end)
            return malformed_tensor(c, position(c, t->name), t->name,
                                    t->offset < end ? "overlaps another"
                                                    : "begins behind a gap that belongs to none");
        end += t->bytes;
    }
    if (end != file_bytes)
        return umbra_fail_at(c->err, UMBRA_E_FORMAT, end,
                             "%s: %llu bytes at the end belong to no tensor", c->path,
                             (unsigned long long)(file_bytes - end));
    return UMBRA_OK;
}

static int index_names(const cursor *c, umbra_safetensors_header *h)
{
    h->by_name = umbra_calloc(h->n_tensors, sizeof *h->by_name);
    if (!h->by_name)
        return umbra_fail_nomem(c->err, "the index of tensors", h->n_tensors * sizeof *h->by_name);
    for (size_t i = 0; i < h->n_tensors; i++)
        h->by_name[i] = (uint32_t)i;
    if (h->n_tensors > 0)
        qsort_r(h->by_name, h->n_tensors, sizeof *h->by_name, compare_names, h->tensors);
    for (size_t i = 1; i < h->n_tensors; i++) {
        const char *name = h->tensors[h->by_name[i]].name;
        if (strcmp(h->tensors[h->by_name[i - 1]].name, name) == 0)
            return malformed_tensor(c, position(c, name), name, "is there twice");
    }
    if (h->n_metadata > 0)
        qsort(h->metadata, h->n_metadata, sizeof *h->metadata, compare_keys);
    for (size_t i = 1; i < h->n_metadata; i++)
        if (strcmp(h->metadata[i - 1].key, h->metadata[i].key) == 0)
            return malformed(c, position(c, h->metadata[i].key), "a metadata key is there twice");
    return UMBRA_OK;
}

int umbra_safetensors_header_parse(umbra_safetensors_header *h, char *text, size_t n,
                                   uint64_t file_bytes, const char *path, umbra_error *err)
{
    cursor cursor_ = {.in = {.text = text, .n = n}, .path = path, .err = err};
    cursor *c = &cursor_;
    if (n == 0 || text[0] != '{')
        return malformed(c, 0, "it does not begin with '{'");
    c->in.at = 1;
    bool has_metadata = false;
    int more = umbra_json_take(&c->in, '}') ? 0 : 1;
    while (more == 1) {
        int rc = parse_member(c, h, &has_metadata, file_bytes - HEADER_AT - n);
        if (rc != UMBRA_OK)
            return rc;
        more = next_member(c, '}');
    }
    if (more < 0)
        return more;
    (void)umbra_json_peek(&c->in);
    if (c->in.at < n)
        return malformed(c, c->in.at, "something follows the closing '}'");
    if (h->n_tensors > 0)
        qsort(h->tensors, h->n_tensors, sizeof *h->tensors, compare_offsets);
    int rc = index_names(c, h);
    return rc == UMBRA_OK ? check_coverage(c, h, file_bytes) : rc;
}

void umbra_safetensors_header_release(umbra_safetensors_header *h)
{
    umbra_free(h->tensors);
    umbra_free(h->by_name);
    umbra_free(h->metadata);
    *h = (umbra_safetensors_header){0};
}
