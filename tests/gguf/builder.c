/* Builds GGUF files in memory, field by field. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "builder.h"

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "GGUF builder: %s: %s\n", what, strerror(errno));
    abort();
}

static void *grow(void *p, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity)
        return p;
    *capacity = needed < 64 ? 64 : needed * 2;
    p = umbra_reallocarray(p, *capacity, size);
    require(p != NULL, "no memory");
    return p;
}

void umbra_builder_put(umbra_builder *b, umbra_field_kind kind, const void *bytes, size_t count)
{
    b->bytes = grow(b->bytes, &b->capacity, b->count + count, 1);
    b->fields = grow(b->fields, &b->field_capacity, b->field_count + 1, sizeof *b->fields);
    umbra_field *field = &b->fields[b->field_count++];
    *field = (umbra_field){.kind = kind, .at = b->count, .bytes = count};
    memcpy(field->owner, b->owner, sizeof field->owner);
    if (bytes)
        memcpy(b->bytes + b->count, bytes, count);
    else
        memset(b->bytes + b->count, 0, count);
    b->count += count;
}

void umbra_builder_put_u32(umbra_builder *b, umbra_field_kind kind, uint32_t value)
{
    umbra_builder_put(b, kind, &value, sizeof value);
}

void umbra_builder_put_u64(umbra_builder *b, umbra_field_kind kind, uint64_t value)
{
    umbra_builder_put(b, kind, &value, sizeof value);
}

void umbra_builder_put_array(umbra_builder *b, uint32_t element_type, uint64_t count)
{
    umbra_builder_put_u32(b, UMBRA_FIELD_TYPE, element_type);
    umbra_builder_put_u64(b, UMBRA_FIELD_COUNT, count);
}

static void put_string(umbra_builder *b, umbra_field_kind kind, const char *s, size_t bytes)
{
    umbra_builder_put_u64(b, UMBRA_FIELD_LENGTH, bytes);
    umbra_builder_put(b, kind, s, bytes);
}

static void pad(umbra_builder *b)
{
    umbra_builder_put(b, UMBRA_FIELD_PADDING, NULL,
                      umbra_align_up(b->count, b->alignment) - b->count);
}

static void set_owner(umbra_builder *b, const char *name)
{
    snprintf(b->owner, sizeof b->owner, "%s", name);
}

void umbra_builder_init(umbra_builder *b, uint32_t version)
{
    *b = (umbra_builder){.alignment = 32};
    umbra_builder_put(b, UMBRA_FIELD_MAGIC, "GGUF", 4);
    umbra_builder_put_u32(b, UMBRA_FIELD_VERSION, version);
    umbra_builder_put_u64(b, UMBRA_FIELD_COUNT, 0);
    umbra_builder_put_u64(b, UMBRA_FIELD_COUNT, 0);
}

void umbra_builder_release(umbra_builder *b)
{
    for (size_t i = 0; i < b->tensor_count; i++) {
        umbra_free(b->tensors[i].name);
        umbra_free(b->tensors[i].data);
    }
    umbra_free(b->tensors);
    umbra_free(b->fields);
    umbra_free(b->bytes);
    *b = (umbra_builder){0};
}

void umbra_builder_begin_bytes(umbra_builder *b, const char *key, size_t key_bytes, uint32_t type)
{
    set_owner(b, key);
    b->pair_count++;
    put_string(b, UMBRA_FIELD_NAME, key, key_bytes);
    umbra_builder_put_u32(b, UMBRA_FIELD_TYPE, type);
}

void umbra_builder_begin(umbra_builder *b, const char *key, uint32_t type)
{
    umbra_builder_begin_bytes(b, key, strlen(key), type);
}

static size_t type_bytes(umbra_gguf_type type)
{
    switch (type) {
    case UMBRA_GGUF_U8:
    case UMBRA_GGUF_I8:
    case UMBRA_GGUF_BOOL:
        return 1;
    case UMBRA_GGUF_U16:
    case UMBRA_GGUF_I16:
        return 2;
    case UMBRA_GGUF_U64:
    case UMBRA_GGUF_I64:
    case UMBRA_GGUF_F64:
        return 8;
    default:
        return 4;
    }
}

void umbra_builder_number(umbra_builder *b, const char *key, umbra_gguf_type type,
                          const void *value)
{
    umbra_builder_begin(b, key, type);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, value, type_bytes(type));
}

void umbra_builder_u32(umbra_builder *b, const char *key, uint32_t value)
{
    if (strcmp(key, "general.alignment") == 0)
        b->alignment = value;
    umbra_builder_number(b, key, UMBRA_GGUF_U32, &value);
}

void umbra_builder_f32(umbra_builder *b, const char *key, float value)
{
    umbra_builder_number(b, key, UMBRA_GGUF_F32, &value);
}

void umbra_builder_bool(umbra_builder *b, const char *key, bool value)
{
    umbra_builder_number(b, key, UMBRA_GGUF_BOOL, &(unsigned char){value});
}

void umbra_builder_string(umbra_builder *b, const char *key, const char *value)
{
    umbra_builder_begin(b, key, UMBRA_GGUF_STRING);
    put_string(b, UMBRA_FIELD_VALUE, value, strlen(value));
}

void umbra_builder_array(umbra_builder *b, const char *key, umbra_gguf_type type,
                         const void *values, uint64_t count)
{
    umbra_builder_begin(b, key, UMBRA_GGUF_ARRAY);
    umbra_builder_put_array(b, type, count);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, values, count * type_bytes(type));
}

void umbra_builder_strings(umbra_builder *b, const char *key, const char *const *values,
                           uint64_t count)
{
    umbra_builder_begin(b, key, UMBRA_GGUF_ARRAY);
    umbra_builder_put_array(b, UMBRA_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        put_string(b, UMBRA_FIELD_VALUE, values[i], strlen(values[i]));
}

void umbra_builder_tensor(umbra_builder *b, const char *name, uint32_t dtype, uint32_t dimensions,
                          const uint64_t *shape, const void *data)
{
    b->tensors = umbra_reallocarray(b->tensors, b->tensor_count + 1, sizeof *b->tensors);
    require(b->tensors != NULL, "no memory");
    umbra_builder_entry *t = &b->tensors[b->tensor_count++];
    umbra_dtype_info info = umbra_dtype_get(dtype);
    uint64_t bytes = info.name ? umbra_dtype_row_bytes(info, shape[0]) : 0;
    *t =
        (umbra_builder_entry){.name = umbra_strdup(name), .dtype = dtype, .dimensions = dimensions};
    for (uint32_t d = 0; d < dimensions; d++) {
        t->shape[d] = shape[d];
        bytes *= d > 0 ? shape[d] : 1;
    }
    t->bytes = bytes;
    require(t->name != NULL, "no memory");
    if (data) {
        t->data = umbra_calloc(bytes, 1);
        require(t->data != NULL, "no memory");
        memcpy(t->data, data, bytes);
    }
}

void umbra_builder_finish(umbra_builder *b)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < b->tensor_count; i++) {
        const umbra_builder_entry *t = &b->tensors[i];
        set_owner(b, t->name);
        put_string(b, UMBRA_FIELD_NAME, t->name, strlen(t->name));
        umbra_builder_put_u32(b, UMBRA_FIELD_DIMENSIONS, t->dimensions);
        for (uint32_t d = 0; d < t->dimensions; d++)
            umbra_builder_put_u64(b, UMBRA_FIELD_DIMENSION, t->shape[d]);
        umbra_builder_put_u32(b, UMBRA_FIELD_DTYPE, t->dtype);
        umbra_builder_put_u64(b, UMBRA_FIELD_OFFSET, offset);
        offset = umbra_align_up(offset + t->bytes, b->alignment);
    }
    set_owner(b, "");
    pad(b);
    for (size_t i = 0; i < b->tensor_count; i++) {
        const umbra_builder_entry *t = &b->tensors[i];
        set_owner(b, t->name);
        umbra_builder_put(b, UMBRA_FIELD_DATA, t->data, t->bytes);
        pad(b);
    }
    umbra_builder_patch_u64(b, UMBRA_FIELD_COUNT, "", 0, b->tensor_count);
    umbra_builder_patch_u64(b, UMBRA_FIELD_COUNT, "", 1, b->pair_count);
}

const umbra_field *umbra_builder_field(const umbra_builder *b, umbra_field_kind kind,
                                       const char *owner, size_t n)
{
    for (size_t i = 0; i < b->field_count; i++) {
        const umbra_field *field = &b->fields[i];
        if (field->kind == kind && strcmp(field->owner, owner) == 0 && n-- == 0)
            return field;
    }
    require(false, owner);
    return NULL;
}

void umbra_builder_patch(umbra_builder *b, umbra_field_kind kind, const char *owner, size_t n,
                         const void *bytes, size_t count)
{
    memcpy(b->bytes + umbra_builder_field(b, kind, owner, n)->at, bytes, count);
}

void umbra_builder_patch_u32(umbra_builder *b, umbra_field_kind kind, const char *owner, size_t n,
                             uint32_t value)
{
    umbra_builder_patch(b, kind, owner, n, &value, sizeof value);
}

void umbra_builder_patch_u64(umbra_builder *b, umbra_field_kind kind, const char *owner, size_t n,
                             uint64_t value)
{
    umbra_builder_patch(b, kind, owner, n, &value, sizeof value);
}

static void write_all(int fd, const void *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t n = pwrite(fd, (const char *)bytes + done, count - done, (off_t)done);
        require(n > 0, "cannot write");
        done += (size_t)n;
    }
}

void umbra_builder_write(const umbra_builder *b, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    require(fd >= 0, path);
    write_all(fd, b->bytes, b->count);
    require(close(fd) == 0, path);
}

void umbra_memory_file_init(umbra_memory_file *f)
{
    f->fd = memfd_create("umbra-test", MFD_CLOEXEC);
    require(f->fd >= 0, "cannot create a file in memory");
    snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
}

void umbra_memory_file_set(umbra_memory_file *f, const void *bytes, size_t count, uint64_t size)
{
    require(ftruncate(f->fd, 0) == 0, f->path);
    write_all(f->fd, bytes, count);
    require(ftruncate(f->fd, (off_t)(size > count ? size : count)) == 0, f->path);
}

void umbra_memory_file_release(umbra_memory_file *f)
{
    close(f->fd);
    f->fd = -1;
}
