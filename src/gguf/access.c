/* Answers from a file that was checked when it was opened. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

#include "gguf/internal.h"

const char *umbra_gguf_path(const umbra_gguf *gguf)
{
    return gguf->path;
}

int umbra_gguf_fd(const umbra_gguf *gguf)
{
    return gguf->fd;
}

uint64_t umbra_gguf_file_bytes(const umbra_gguf *gguf)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < umbra_gguf_file_count(gguf); i++)
        bytes += umbra_gguf_file_at(gguf, i)->file_bytes;
    return bytes;
}

static uint64_t header_bytes(const umbra_gguf *file)
{
    uint64_t slots = (uint64_t)file->index[UMBRA_GGUF_PAIRS].slot_count +
                     file->index[UMBRA_GGUF_TENSORS].slot_count;
    return sizeof *file + strlen(file->path) + 1 + file->data_bytes +
           file->pair_count * sizeof *file->pairs + file->tensor_count * sizeof *file->entries +
           slots * sizeof *file->index[0].slots;
}

umbra_string umbra_gguf_header(const umbra_gguf *gguf, uint32_t file)
{
    const umbra_gguf *of = umbra_gguf_file_at(gguf, file);
    return (umbra_string){of->data, of->data_bytes};
}

uint64_t umbra_gguf_header_bytes(const umbra_gguf *gguf)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < umbra_gguf_file_count(gguf); i++)
        bytes += header_bytes(umbra_gguf_file_at(gguf, i));
    return bytes;
}

uint32_t umbra_gguf_version(const umbra_gguf *gguf)
{
    return gguf->version;
}

uint64_t umbra_gguf_tensor_count(const umbra_gguf *gguf)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < umbra_gguf_file_count(gguf); i++)
        count += umbra_gguf_file_at(gguf, i)->tensor_count;
    return count;
}

const umbra_gguf_tensor *umbra_gguf_tensor_at(const umbra_gguf *gguf, uint64_t i)
{
    uint32_t file = 0;
    for (; i >= umbra_gguf_file_at(gguf, file)->tensor_count; file++)
        i -= umbra_gguf_file_at(gguf, file)->tensor_count;
    return &umbra_gguf_file_at(gguf, file)->entries[i].tensor;
}

const umbra_gguf_tensor *umbra_gguf_tensor_find(const umbra_gguf *gguf, const char *name)
{
    uint64_t found;
    umbra_string wanted = {name, strlen(name)};
    for (uint32_t i = 0; i < umbra_gguf_file_count(gguf); i++)
        if (umbra_gguf_index_find(umbra_gguf_file_at(gguf, i), UMBRA_GGUF_TENSORS, wanted, &found))
            return &umbra_gguf_file_at(gguf, i)->entries[found].tensor;
    return NULL;
}

uint64_t umbra_gguf_pair_count(const umbra_gguf *gguf)
{
    return gguf->pair_count;
}

umbra_string umbra_gguf_pair_key(const umbra_gguf *gguf, uint64_t i)
{
    return umbra_gguf_name(gguf, UMBRA_GGUF_PAIRS, i);
}

umbra_gguf_type umbra_gguf_pair_type(const umbra_gguf *gguf, uint64_t i)
{
    return (umbra_gguf_type)gguf->pairs[i].type;
}

static const umbra_gguf_pair *find_pair(const umbra_gguf *gguf, const char *key)
{
    uint64_t i;
    umbra_string wanted = {key, strlen(key)};
    return umbra_gguf_index_find(gguf, UMBRA_GGUF_PAIRS, wanted, &i) ? &gguf->pairs[i] : NULL;
}

__attribute__((format(printf, 4, 5))) static int fail_value(const umbra_gguf *gguf,
                                                            const umbra_gguf_pair *pair,
                                                            umbra_error *err, const char *format,
                                                            ...)
{
    const umbra_gguf_subject subject = {"key", (uint64_t)(pair - gguf->pairs), pair->key_at,
                                        pair->key_bytes};
    va_list args;
    va_start(args, format);
    umbra_gguf_vfail(gguf, &subject, err, UMBRA_E_FORMAT, pair->value_at, format, args);
    va_end(args);
    return UMBRA_E_FORMAT;
}

static int fail_type(const umbra_gguf *gguf, const umbra_gguf_pair *pair, const char *wanted,
                     umbra_error *err)
{
    return fail_value(gguf, pair, err, "the value is of type %s, not %s",
                      umbra_gguf_type_name(pair->type), wanted);
}

static bool is_integer(uint32_t type)
{
    return type <= UMBRA_GGUF_I32 || type == UMBRA_GGUF_U64 || type == UMBRA_GGUF_I64;
}

/* An integer (or bool) as sign and magnitude, since neither int64 nor uint64 holds them all. */
typedef struct integer {
    bool negative;
    uint64_t bits; /* two's complement if negative */
} integer;

static integer load_integer(const umbra_gguf *gguf, uint32_t type, uint64_t at)
{
    uint64_t raw = 0;
    size_t bytes = umbra_gguf_type_bytes(type);
    memcpy(&raw, gguf->data + at, bytes);
    bool is_signed = type == UMBRA_GGUF_I8 || type == UMBRA_GGUF_I16 || type == UMBRA_GGUF_I32 ||
                     type == UMBRA_GGUF_I64;
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    if (!is_signed || !(raw & sign))
        return (integer){false, raw};
    return (integer){true, (raw ^ sign) - sign};
}

static double load_float(const umbra_gguf *gguf, uint32_t type, uint64_t at)
{
    if (type == UMBRA_GGUF_F32) {
        float single;
        memcpy(&single, gguf->data + at, sizeof single);
        return (double)single;
    }
    double value;
    memcpy(&value, gguf->data + at, sizeof value);
    return value;
}

static umbra_string load_string(const umbra_gguf *gguf, uint64_t at)
{
    return (umbra_string){gguf->data + at + 8, umbra_gguf_load_u64(gguf, at)};
}

int umbra_gguf_get_u32(const umbra_gguf *gguf, const char *key, uint32_t *out, umbra_error *err)
{
    const umbra_gguf_pair *pair = find_pair(gguf, key);
    if (!pair)
        return 0;
    if (!is_integer(pair->type))
        return fail_type(gguf, pair, "an integer", err);
    integer value = load_integer(gguf, pair->type, pair->value_at);
    if (value.negative)
        return fail_value(gguf, pair, err, "%" PRId64 " is negative", (int64_t)value.bits);
    if (value.bits > UINT32_MAX)
        return fail_value(gguf, pair, err, "%" PRIu64 " is more than 32 bits hold", value.bits);
    *out = (uint32_t)value.bits;
    return 1;
}

int umbra_gguf_get_f32(const umbra_gguf *gguf, const char *key, float *out, umbra_error *err)
{
    const umbra_gguf_pair *pair = find_pair(gguf, key);
    if (!pair)
        return 0;
    if (pair->type != UMBRA_GGUF_F32 && pair->type != UMBRA_GGUF_F64)
        return fail_type(gguf, pair, "f32 or f64", err);
    double value = load_float(gguf, pair->type, pair->value_at);
    if (!(fabs(value) <= (double)FLT_MAX)) /* so that NaN is refused too */
        return fail_value(gguf, pair, err, "%g is not a finite 32-bit number", value);
    *out = (float)value;
    return 1;
}

int umbra_gguf_get_bool(const umbra_gguf *gguf, const char *key, bool *out, umbra_error *err)
{
    const umbra_gguf_pair *pair = find_pair(gguf, key);
    if (!pair)
        return 0;
    if (pair->type != UMBRA_GGUF_BOOL)
        return fail_type(gguf, pair, "bool", err);
    *out = gguf->data[pair->value_at] != 0;
    return 1;
}

int umbra_gguf_get_string(const umbra_gguf *gguf, const char *key, umbra_string *out,
                          umbra_error *err)
{
    const umbra_gguf_pair *pair = find_pair(gguf, key);
    if (!pair)
        return 0;
    if (pair->type != UMBRA_GGUF_STRING)
        return fail_type(gguf, pair, "string", err);
    *out = load_string(gguf, pair->value_at);
    return 1;
}

static bool element_fits(umbra_gguf_type wanted, uint32_t found)
{
    if (wanted == UMBRA_GGUF_I32)
        return is_integer(found);
    if (wanted == UMBRA_GGUF_F32)
        return found == UMBRA_GGUF_F32 || found == UMBRA_GGUF_F64;
    return wanted == found;
}

static const char *wanted_name(umbra_gguf_type wanted)
{
    if (wanted == UMBRA_GGUF_I32)
        return "an integer";
    return wanted == UMBRA_GGUF_F32 ? "f32 or f64" : umbra_gguf_type_name(wanted);
}

int umbra_gguf_get_array(const umbra_gguf *gguf, const char *key, umbra_gguf_type element,
                         umbra_gguf_array *out, umbra_error *err)
{
    const umbra_gguf_pair *pair = find_pair(gguf, key);
    if (!pair)
        return 0;
    if (pair->type != UMBRA_GGUF_ARRAY)
        return fail_type(gguf, pair, "array", err);
    uint32_t found = umbra_gguf_load_u32(gguf, pair->value_at);
    if (!element_fits(element, found))
        return fail_value(gguf, pair, err, "the array's elements are of type %s, not %s",
                          umbra_gguf_type_name(found), wanted_name(element));
    *out = (umbra_gguf_array){
        .type = (umbra_gguf_type)found,
        .count = umbra_gguf_load_u64(gguf, pair->value_at + 4),
        .offset = (uint64_t)pair->value_at + 12,
        .gguf = gguf,
    };
    return 1;
}

/* Moves past an element of `bytes` bytes and returns where it began. */
static uint64_t take(umbra_gguf_array *array, uint64_t bytes)
{
    uint64_t at = array->offset;
    array->offset += bytes;
    array->index++;
    return at;
}

bool umbra_gguf_next_string(umbra_gguf_array *array, umbra_string *out)
{
    if (array->type != UMBRA_GGUF_STRING || array->index >= array->count)
        return false;
    *out = load_string(array->gguf, array->offset);
    take(array, 8 + out->bytes);
    return true;
}

bool umbra_gguf_next_int(umbra_gguf_array *array, int64_t *out)
{
    bool fits = is_integer(array->type) || array->type == UMBRA_GGUF_BOOL;
    if (!fits || array->index >= array->count)
        return false;
    uint64_t at = take(array, umbra_gguf_type_bytes(array->type));
    integer value = load_integer(array->gguf, array->type, at);
    bool beyond = !value.negative && value.bits > INT64_MAX;
    *out = beyond ? INT64_MAX : (int64_t)value.bits;
    return true;
}

bool umbra_gguf_next_float(umbra_gguf_array *array, double *out)
{
    bool fits = array->type == UMBRA_GGUF_F32 || array->type == UMBRA_GGUF_F64;
    if (!fits || array->index >= array->count)
        return false;
    uint64_t at = take(array, umbra_gguf_type_bytes(array->type));
    *out = load_float(array->gguf, array->type, at);
    return true;
}
