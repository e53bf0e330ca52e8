/* Bytes to fields. Everything here distrusts the file: no field is read before it is known to lie
 * inside the file, and the buffer grows only by what has been found to be there. */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/quote.h"
#include "gguf/internal.h"

enum {
    FIRST_READ = 64 << 10,
    HEADER_LIMIT = 256 << 20, /* the largest vocabularies need about 16 MiB */
    NAME_LIMIT = 65535,
    ARRAY_DEPTH = 4,
    ARRAY_HEADER = 12, /* u32 element type, u64 count */
};

static const struct {
    const char *name;
    uint32_t bytes;
} types[UMBRA_GGUF_TYPES] = {
    [UMBRA_GGUF_U8] = {"u8", 1},         [UMBRA_GGUF_I8] = {"i8", 1},
    [UMBRA_GGUF_U16] = {"u16", 2},       [UMBRA_GGUF_I16] = {"i16", 2},
    [UMBRA_GGUF_U32] = {"u32", 4},       [UMBRA_GGUF_I32] = {"i32", 4},
    [UMBRA_GGUF_F32] = {"f32", 4},       [UMBRA_GGUF_BOOL] = {"bool", 1},
    [UMBRA_GGUF_STRING] = {"string", 8}, [UMBRA_GGUF_ARRAY] = {"array", ARRAY_HEADER},
    [UMBRA_GGUF_U64] = {"u64", 8},       [UMBRA_GGUF_I64] = {"i64", 8},
    [UMBRA_GGUF_F64] = {"f64", 8},
};

uint64_t umbra_gguf_type_bytes(uint32_t type)
{
    return types[type].bytes;
}

const char *umbra_gguf_type_name(uint32_t type)
{
    return types[type].name;
}

int umbra_gguf_vfail(const umbra_gguf *gguf, const umbra_gguf_subject *subject, umbra_error *err,
                     int status, uint64_t at, const char *format, va_list args)
{
    char message[320];
    vsnprintf(message, sizeof message, format, args);
    char about[sizeof(umbra_quoted) + 32] = "";
    if (subject->name_bytes > 0) {
        umbra_quoted name = umbra_quote(gguf->data + subject->name_at, subject->name_bytes);
        snprintf(about, sizeof about, "%s \"%s\": ", subject->kind, name.text);
    } else if (subject->kind) {
        snprintf(about, sizeof about, "%s number %" PRIu64 ": ", subject->kind, subject->number);
    }
    return umbra_fail_at(err, status, at, "%s: %s%s", gguf->path, about, message);
}

int umbra_gguf_fail(const umbra_gguf_reader *r, int status, uint64_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    umbra_gguf_vfail(r->gguf, &r->subject, r->err, status, at, format, args);
    va_end(args);
    return status;
}

int umbra_gguf_need(umbra_gguf_reader *r, uint64_t bytes, const char *what)
{
    umbra_gguf *g = r->gguf;
    uint64_t left = g->file_bytes - r->at;
    if (bytes > left)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, r->at,
                               "the file ends in the %s: %" PRIu64 " bytes are needed, %" PRIu64
                               " are left; the download may be incomplete",
                               what, bytes, left);
    if (bytes > HEADER_LIMIT - r->at)
        return umbra_gguf_fail(r, UMBRA_E_UNSUPPORTED, r->at,
                               "the %s would make the header larger than the %d MiB supported",
                               what, HEADER_LIMIT >> 20);
    uint64_t end = r->at + bytes;
    if (end <= g->data_bytes)
        return UMBRA_OK;

    uint64_t goal = g->data_bytes ? 2 * g->data_bytes : FIRST_READ;
    uint64_t most = g->file_bytes < HEADER_LIMIT ? g->file_bytes : HEADER_LIMIT;
    goal = goal < end ? end : goal;
    goal = goal > most ? most : goal;
    char *grown = umbra_reallocarray(g->data, goal, 1);
    if (!grown)
        return umbra_fail_nomem(r->err, "the header of the model file", goal);
    g->data = grown;
    int rc = umbra_file_read(g->fd, g->path, grown + g->data_bytes, goal - g->data_bytes,
                             g->data_bytes, r->err);
    if (rc == UMBRA_OK)
        g->data_bytes = goal;
    return rc;
}

int umbra_gguf_read_u32(umbra_gguf_reader *r, uint32_t *out, const char *what)
{
    int rc = umbra_gguf_need(r, sizeof *out, what);
    if (rc != UMBRA_OK)
        return rc;
    *out = umbra_gguf_load_u32(r->gguf, r->at);
    r->at += sizeof *out;
    return UMBRA_OK;
}

int umbra_gguf_read_u64(umbra_gguf_reader *r, uint64_t *out, const char *what)
{
    int rc = umbra_gguf_need(r, sizeof *out, what);
    if (rc != UMBRA_OK)
        return rc;
    *out = umbra_gguf_load_u64(r->gguf, r->at);
    r->at += sizeof *out;
    return UMBRA_OK;
}

/* A string's length, known to lie inside the file, and its bytes present in the buffer. */
static int read_length(umbra_gguf_reader *r, uint64_t most, uint64_t *out, const char *what)
{
    uint64_t at = r->at;
    int rc = umbra_gguf_read_u64(r, out, what);
    if (rc != UMBRA_OK)
        return rc;
    if (*out > most)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, at,
                               "the %s is %" PRIu64 " bytes long, at most %" PRIu64
                               " are allowed: the file is damaged",
                               what, *out, most);
    uint64_t left = r->gguf->file_bytes - r->at;
    if (*out > left)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, at,
                               "the %s is %" PRIu64 " bytes long, but only %" PRIu64
                               " are left in the file: it is damaged or incomplete",
                               what, *out, left);
    return umbra_gguf_need(r, *out, what);
}

int umbra_gguf_read_name(umbra_gguf_reader *r)
{
    uint64_t at = r->at;
    uint64_t bytes;
    int rc = read_length(r, NAME_LIMIT, &bytes, "name");
    if (rc != UMBRA_OK)
        return rc;
    if (bytes == 0)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, at, "the name is empty");
    const char *name = r->gguf->data + r->at;
    const char *nul = memchr(name, '\0', bytes);
    if (nul)
        return umbra_gguf_fail(r, UMBRA_E_FORMAT, r->at + (uint64_t)(nul - name),
                               "the name holds a NUL byte");
    r->subject.name_at = (uint32_t)r->at;
    r->subject.name_bytes = (uint32_t)bytes;
    r->at += bytes;
    return UMBRA_OK;
}

int umbra_gguf_check_count(const umbra_gguf_reader *r, uint64_t at, uint64_t count, uint64_t least,
                           const char *things)
{
    uint64_t left = r->gguf->file_bytes - r->at;
    if (count <= left / least)
        return UMBRA_OK;
    return umbra_gguf_fail(r, UMBRA_E_FORMAT, at,
                           "%" PRIu64 " %s are announced, but only %" PRIu64
                           " bytes are left in the file: it is damaged or incomplete",
                           count, things, left);
}

static int skip_string(umbra_gguf_reader *r)
{
    uint64_t bytes;
    int rc = read_length(r, UINT64_MAX, &bytes, "string");
    if (rc == UMBRA_OK)
        r->at += bytes;
    return rc;
}

/* Numbers and truth values, one after another; count fits the file. */
static int skip_numbers(umbra_gguf_reader *r, uint32_t type, uint64_t count)
{
    uint64_t bytes = count * types[type].bytes;
    int rc = umbra_gguf_need(r, bytes, "value");
    if (rc != UMBRA_OK)
        return rc;
    for (uint64_t i = 0; type == UMBRA_GGUF_BOOL && i < count; i++) {
        unsigned char value = (unsigned char)r->gguf->data[r->at + i];
        if (value > 1)
            return umbra_gguf_fail(r, UMBRA_E_FORMAT, r->at + i, "a bool is %u, not 0 or 1", value);
    }
    r->at += bytes;
    return UMBRA_OK;
}

static int check_type(const umbra_gguf_reader *r, uint64_t at, uint32_t type)
{
    if (type < UMBRA_GGUF_TYPES)
        return UMBRA_OK;
    return umbra_gguf_fail(r, UMBRA_E_FORMAT, at,
                           "value type %" PRIu32 " is not known: the file is damaged, or newer "
                           "than this program",
                           type);
}

/* Reads the element type and the count, and passes over the elements unless they are arrays. */
static int open_array(umbra_gguf_reader *r, uint32_t *type, uint64_t *count)
{
    uint64_t at = r->at;
    int rc = umbra_gguf_read_u32(r, type, "element type");
    if (rc == UMBRA_OK)
        rc = check_type(r, at, *type);
    if (rc == UMBRA_OK)
        rc = umbra_gguf_read_u64(r, count, "array's count");
    if (rc == UMBRA_OK)
        rc = umbra_gguf_check_count(r, at + 4, *count, types[*type].bytes, "array elements");
    if (rc != UMBRA_OK || *type == UMBRA_GGUF_ARRAY)
        return rc;
    if (*type != UMBRA_GGUF_STRING)
        return skip_numbers(r, *type, *count);
    for (uint64_t i = 0; i < *count && rc == UMBRA_OK; i++)
        rc = skip_string(r);
    return rc;
}

/* Arrays of arrays are read with a stack of our own: the file must not decide how deep the
 * program recurses. */
static int skip_array(umbra_gguf_reader *r)
{
    uint64_t left[ARRAY_DEPTH]; /* arrays still to come at each depth */
    unsigned depth = 1;
    left[0] = 1;
    while (depth > 0) {
        if (left[depth - 1] == 0) {
            depth--;
            continue;
        }
        left[depth - 1]--;
        uint64_t at = r->at;
        uint32_t type = 0;
        uint64_t count = 0;
        int rc = open_array(r, &type, &count);
        if (rc != UMBRA_OK)
            return rc;
        if (type != UMBRA_GGUF_ARRAY)
            continue;
        if (depth == ARRAY_DEPTH)
            return umbra_gguf_fail(r, UMBRA_E_FORMAT, at, "arrays are nested more than %d deep",
                                   ARRAY_DEPTH);
        left[depth++] = count;
    }
    return UMBRA_OK;
}

int umbra_gguf_skip_value(umbra_gguf_reader *r, uint32_t type)
{
    int rc = check_type(r, r->at - 4, type);
    if (rc != UMBRA_OK)
        return rc;
    if (type == UMBRA_GGUF_ARRAY)
        return skip_array(r);
    if (type == UMBRA_GGUF_STRING)
        return skip_string(r);
    return skip_numbers(r, type, 1);
}
