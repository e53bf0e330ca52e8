/* Asks an open GGUF file everything there is to ask. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "read_all.h"

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "GGUF reading: %s\n", what);
    abort();
}

/* NUL-terminated, in memory of its own size so that a sanitizer sees any over-read. */
static char *copy(umbra_string s)
{
    char *text = umbra_calloc(s.bytes + 1, 1);
    require(text != NULL, "no memory");
    memcpy(text, s.data, s.bytes);
    return text;
}

static uint64_t touch(umbra_string s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s.bytes; i++)
        sum += (unsigned char)s.data[i];
    return sum;
}

static void read_array(const umbra_gguf *gguf, const char *key)
{
    umbra_gguf_array array;
    uint64_t taken = 0;
    umbra_string text;
    int64_t integer;
    double number;
    if (umbra_gguf_get_array(gguf, key, UMBRA_GGUF_STRING, &array, NULL) == 1) {
        while (umbra_gguf_next_string(&array, &text)) {
            require(touch(text) <= 255 * text.bytes, "string");
            taken++;
        }
    } else if (umbra_gguf_get_array(gguf, key, UMBRA_GGUF_I32, &array, NULL) == 1 ||
               umbra_gguf_get_array(gguf, key, UMBRA_GGUF_BOOL, &array, NULL) == 1) {
        while (umbra_gguf_next_int(&array, &integer))
            taken++;
    } else if (umbra_gguf_get_array(gguf, key, UMBRA_GGUF_F32, &array, NULL) == 1) {
        while (umbra_gguf_next_float(&array, &number))
            taken++;
    } else {
        require(umbra_gguf_get_array(gguf, key, UMBRA_GGUF_ARRAY, &array, NULL) == 1,
                "an array of no element type");
        return;
    }
    require(taken == array.count && array.index == array.count, "elements and count differ");
}

static void read_pair(const umbra_gguf *gguf, uint64_t i)
{
    char *key = copy(umbra_gguf_pair_key(gguf, i));
    umbra_gguf_type type = umbra_gguf_pair_type(gguf, i);
    uint32_t integer;
    float number;
    bool truth;
    umbra_string text;
    umbra_error err;
    int fits = umbra_gguf_get_u32(gguf, key, &integer, &err) > 0;
    fits += umbra_gguf_get_f32(gguf, key, &number, &err) > 0;
    fits += umbra_gguf_get_bool(gguf, key, &truth, &err) > 0;
    int rc = umbra_gguf_get_string(gguf, key, &text, &err);
    fits += rc > 0;
    require(rc != 0, "a key is not found again");
    require(fits <= 1, "a value is of two types");
    require(rc < 0 || touch(text) <= 255 * text.bytes, "string");
    if (type == UMBRA_GGUF_ARRAY)
        read_array(gguf, key);
    umbra_free(key);
}

static void read_tensor(const umbra_gguf *gguf, uint64_t i)
{
    const umbra_gguf_tensor *t = umbra_gguf_tensor_at(gguf, i);
    char *name = copy(t->name);
    require(umbra_gguf_tensor_find(gguf, name) == t, "a tensor is not found again");
    umbra_free(name);
    umbra_dtype_info info = umbra_dtype_get(t->dtype);
    require(info.name != NULL, "a tensor's number format");
    require(t->dimensions >= 1 && t->dimensions <= 4, "a tensor's dimensions");
    uint64_t bytes = umbra_dtype_row_bytes(info, t->shape[0]);
    for (uint32_t d = 0; d < 4; d++) {
        require(t->shape[d] > 0, "a dimension of 0");
        require(d < t->dimensions || t->shape[d] == 1, "a dimension that is not there");
        bytes *= d > 0 ? t->shape[d] : 1;
    }
    require(t->shape[0] % info.block_values == 0 && bytes == t->bytes, "a tensor's size");
    uint64_t size = umbra_gguf_file_bytes(gguf);
    require(t->bytes > 0 && t->offset < size && t->bytes <= size - t->offset, "a tensor's place");
}

void umbra_gguf_read_all(const umbra_gguf *gguf)
{
    for (uint64_t i = 0; i < umbra_gguf_pair_count(gguf); i++)
        read_pair(gguf, i);
    for (uint64_t i = 0; i < umbra_gguf_tensor_count(gguf); i++)
        read_tensor(gguf, i);
}
