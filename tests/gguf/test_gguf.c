/* Well-formed GGUF files: what is in them comes out of the getters. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "builder.h"
#include "walk.h"

#define TINY "models/tiny-q8_0.gguf"

typedef struct fixture {
    umbra_builder builder;
    umbra_memory_file file;
    umbra_gguf *gguf;
    umbra_error err;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    umbra_builder_init(&f->builder, 3);
    umbra_memory_file_init(&f->file);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    umbra_gguf_close(&f->gguf);
    umbra_builder_release(&f->builder);
    umbra_memory_file_release(&f->file);
    free(f);
    return 0;
}

/* Finishes the file being built and opens it. */
static void open_built(fixture *f)
{
    umbra_builder_finish(&f->builder);
    umbra_memory_file_set(&f->file, f->builder.bytes, f->builder.count, 0);
    int rc = umbra_gguf_open(&f->gguf, f->file.path, &f->err);
    if (rc != UMBRA_OK)
        fail_msg("%s", f->err.message);
    umbra_gguf_walk(f->gguf);
}

static void assert_text(umbra_string found, const char *wanted)
{
    assert_int_equal(found.bytes, strlen(wanted));
    assert_memory_equal(found.data, wanted, found.bytes);
}

static void test_empty_model(void **state)
{
    fixture *f = *state;
    open_built(f);
    assert_int_equal(umbra_gguf_version(f->gguf), 3);
    assert_int_equal(umbra_gguf_pair_count(f->gguf), 0);
    assert_int_equal(umbra_gguf_tensor_count(f->gguf), 0);
    assert_int_equal(umbra_gguf_file_bytes(f->gguf), f->builder.count);
    assert_string_equal(umbra_gguf_path(f->gguf), f->file.path);
    assert_null(umbra_gguf_tensor_find(f->gguf, ""));
    uint32_t value = 7;
    assert_int_equal(umbra_gguf_get_u32(f->gguf, "none", &value, &f->err), 0);
    assert_int_equal(value, 7);
    umbra_gguf_close(&f->gguf);
    assert_null(f->gguf);
    umbra_gguf_close(&f->gguf);
    umbra_gguf_close(NULL);
}

static void test_version_2(void **state)
{
    fixture *f = *state;
    umbra_builder_patch_u32(&f->builder, UMBRA_FIELD_VERSION, "", 0, 2);
    umbra_builder_string(&f->builder, "general.architecture", "llama");
    umbra_builder_tensor(&f->builder, "w", UMBRA_F32, 1, (uint64_t[]){3}, NULL);
    open_built(f);
    assert_int_equal(umbra_gguf_version(f->gguf), 2);
    assert_int_equal(umbra_gguf_tensor_find(f->gguf, "w")->bytes, 12);
}

static void test_integers(void **state)
{
    fixture *f = *state;
    umbra_builder *b = &f->builder;
    umbra_builder_number(b, "u8", UMBRA_GGUF_U8, &(uint8_t){255});
    umbra_builder_number(b, "i8", UMBRA_GGUF_I8, &(int8_t){127});
    umbra_builder_number(b, "u16", UMBRA_GGUF_U16, &(uint16_t){65535});
    umbra_builder_number(b, "i16", UMBRA_GGUF_I16, &(int16_t){32767});
    umbra_builder_number(b, "u32", UMBRA_GGUF_U32, &(uint32_t){UINT32_MAX});
    umbra_builder_number(b, "i32", UMBRA_GGUF_I32, &(int32_t){INT32_MAX});
    umbra_builder_number(b, "u64", UMBRA_GGUF_U64, &(uint64_t){UINT32_MAX});
    umbra_builder_number(b, "i64", UMBRA_GGUF_I64, &(int64_t){UINT32_MAX});
    umbra_builder_number(b, "i8 -1", UMBRA_GGUF_I8, &(int8_t){-1});
    umbra_builder_number(b, "i64 min", UMBRA_GGUF_I64, &(int64_t){INT64_MIN});
    umbra_builder_number(b, "u64 big", UMBRA_GGUF_U64, &(uint64_t){(uint64_t)UINT32_MAX + 1});
    open_built(f);
    static const struct {
        const char *key;
        uint32_t value;
    } good[] = {{"u8", 255},         {"i8", 127},        {"u16", 65535},      {"i16", 32767},
                {"u32", UINT32_MAX}, {"i32", INT32_MAX}, {"u64", UINT32_MAX}, {"i64", UINT32_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint32_t value = 0;
        assert_int_equal(umbra_gguf_get_u32(f->gguf, good[i].key, &value, &f->err), 1);
        assert_int_equal(value, good[i].value);
    }
    static const struct {
        const char *key;
        const char *message;
    } bad[] = {{"i8 -1", "key \"i8 -1\": -1 is negative"},
               {"i64 min", "key \"i64 min\": -9223372036854775808 is negative"},
               {"u64 big", "key \"u64 big\": 4294967296 is more than 32 bits hold"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t value = 7;
        assert_int_equal(umbra_gguf_get_u32(f->gguf, bad[i].key, &value, &f->err), UMBRA_E_FORMAT);
        assert_int_equal(value, 7);
        assert_non_null(strstr(f->err.message, bad[i].message));
        assert_non_null(strstr(f->err.message, f->file.path));
        assert_true(f->err.has_offset);
        assert_int_equal(f->err.offset,
                         umbra_builder_field(b, UMBRA_FIELD_VALUE, bad[i].key, 0)->at);
    }
}

static void test_floats(void **state)
{
    fixture *f = *state;
    umbra_builder *b = &f->builder;
    umbra_builder_f32(b, "f32", 1e-6f);
    umbra_builder_number(b, "f64", UMBRA_GGUF_F64, &(double){-2.5});
    umbra_builder_number(b, "too big", UMBRA_GGUF_F64, &(double){1e300});
    umbra_builder_f32(b, "nan", NAN);
    umbra_builder_f32(b, "inf", -INFINITY);
    umbra_builder_u32(b, "integer", 1);
    open_built(f);
    float value = 0;
    assert_int_equal(umbra_gguf_get_f32(f->gguf, "f32", &value, &f->err), 1);
    assert_true(value == 1e-6f);
    assert_int_equal(umbra_gguf_get_f32(f->gguf, "f64", &value, &f->err), 1);
    assert_true(value == -2.5f);
    assert_int_equal(umbra_gguf_get_f32(f->gguf, "none", &value, &f->err), 0);
    static const char *const bad[] = {"too big", "nan", "inf", "integer"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(umbra_gguf_get_f32(f->gguf, bad[i], &value, &f->err), UMBRA_E_FORMAT);
        assert_true(value == -2.5f);
    }
    assert_non_null(strstr(f->err.message, "the value is of type u32, not f32 or f64"));
}

static void test_bools_and_strings(void **state)
{
    fixture *f = *state;
    umbra_builder *b = &f->builder;
    umbra_builder_bool(b, "yes", true);
    umbra_builder_bool(b, "no", false);
    umbra_builder_string(b, "text", "caf\xc3\xa9");
    umbra_builder_string(b, "empty", "");
    umbra_builder_begin(b, "nul", UMBRA_GGUF_STRING);
    umbra_builder_put_u64(b, UMBRA_FIELD_LENGTH, 3);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, "a\0b", 3);
    open_built(f);
    bool truth = false;
    assert_int_equal(umbra_gguf_get_bool(f->gguf, "yes", &truth, &f->err), 1);
    assert_true(truth);
    assert_int_equal(umbra_gguf_get_bool(f->gguf, "no", &truth, &f->err), 1);
    assert_false(truth);
    assert_int_equal(umbra_gguf_get_bool(f->gguf, "none", &truth, &f->err), 0);
    assert_int_equal(umbra_gguf_get_bool(f->gguf, "text", &truth, NULL), UMBRA_E_FORMAT);
    umbra_string text;
    assert_int_equal(umbra_gguf_get_string(f->gguf, "text", &text, &f->err), 1);
    assert_text(text, "caf\xc3\xa9");
    assert_int_equal(umbra_gguf_get_string(f->gguf, "empty", &text, &f->err), 1);
    assert_int_equal(text.bytes, 0);
    assert_int_equal(umbra_gguf_get_string(f->gguf, "nul", &text, &f->err), 1);
    assert_int_equal(text.bytes, 3);
    assert_memory_equal(text.data, "a\0b", 3);
    assert_int_equal(umbra_gguf_get_string(f->gguf, "none", &text, &f->err), 0);
    assert_int_equal(umbra_gguf_get_string(f->gguf, "yes", &text, &f->err), UMBRA_E_FORMAT);
    assert_non_null(strstr(f->err.message, "the value is of type bool, not string"));
}

static void test_integer_arrays(void **state)
{
    fixture *f = *state;
    umbra_builder *b = &f->builder;
    umbra_builder_array(b, "i8", UMBRA_GGUF_I8, (int8_t[]){-128, 127}, 2);
    umbra_builder_array(b, "u16", UMBRA_GGUF_U16, (uint16_t[]){0, 65535}, 2);
    umbra_builder_array(b, "i64", UMBRA_GGUF_I64, (int64_t[]){INT64_MIN, INT64_MAX}, 2);
    umbra_builder_array(b, "u64", UMBRA_GGUF_U64, (uint64_t[]){INT64_MAX, UINT64_MAX}, 2);
    umbra_builder_array(b, "bool", UMBRA_GGUF_BOOL, (uint8_t[]){0, 1}, 2);
    open_built(f);
    static const struct {
        const char *key;
        umbra_gguf_type wanted;
        int64_t values[2];
    } arrays[] = {{"i8", UMBRA_GGUF_I32, {-128, 127}},
                  {"u16", UMBRA_GGUF_I32, {0, 65535}},
                  {"i64", UMBRA_GGUF_I32, {INT64_MIN, INT64_MAX}},
                  {"u64", UMBRA_GGUF_I32, {INT64_MAX, INT64_MAX}},
                  {"bool", UMBRA_GGUF_BOOL, {0, 1}}};
    umbra_gguf_array array;
    umbra_string text;
    double number;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        assert_int_equal(
            umbra_gguf_get_array(f->gguf, arrays[i].key, arrays[i].wanted, &array, &f->err), 1);
        assert_int_equal(array.count, 2);
        assert_int_equal(array.offset,
                         umbra_builder_field(b, UMBRA_FIELD_VALUE, arrays[i].key, 0)->at);
        int64_t value;
        for (size_t k = 0; k < 2; k++) {
            assert_true(umbra_gguf_next_int(&array, &value));
            assert_true(value == arrays[i].values[k]);
        }
        assert_false(umbra_gguf_next_int(&array, &value));
        assert_false(umbra_gguf_next_string(&array, &text));
        assert_false(umbra_gguf_next_float(&array, &number));
    }
    assert_int_equal(umbra_gguf_get_array(f->gguf, "bool", UMBRA_GGUF_I32, &array, &f->err),
                     UMBRA_E_FORMAT);
    assert_non_null(strstr(f->err.message, "elements are of type bool, not an integer"));
    assert_int_equal(umbra_gguf_get_array(f->gguf, "i8", UMBRA_GGUF_STRING, &array, &f->err),
                     UMBRA_E_FORMAT);
    assert_int_equal(umbra_gguf_get_array(f->gguf, "none", UMBRA_GGUF_I32, &array, &f->err), 0);
}

static void test_other_arrays(void **state)
{
    fixture *f = *state;
    umbra_builder *b = &f->builder;
    umbra_builder_strings(b, "texts", (const char *const[]){"a", "", "ccc"}, 3);
    umbra_builder_array(b, "f32", UMBRA_GGUF_F32, (float[]){0.5f, -1.0f}, 2);
    umbra_builder_array(b, "f64", UMBRA_GGUF_F64, (double[]){1e300}, 1);
    umbra_builder_array(b, "empty", UMBRA_GGUF_U32, "", 0);
    umbra_builder_begin(b, "nested", UMBRA_GGUF_ARRAY); /* {{{{1, 2}, {}}}, {}} */
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 2);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 1);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 2);
    umbra_builder_put_array(b, UMBRA_GGUF_U8, 2);
    umbra_builder_put(b, UMBRA_FIELD_VALUE, "\1\2", 2);
    umbra_builder_put_array(b, UMBRA_GGUF_STRING, 0);
    umbra_builder_put_array(b, UMBRA_GGUF_ARRAY, 0);
    umbra_builder_u32(b, "after", 42);
    open_built(f);
    umbra_gguf_array array;
    umbra_string text;
    assert_int_equal(umbra_gguf_get_array(f->gguf, "texts", UMBRA_GGUF_STRING, &array, &f->err), 1);
    assert_true(umbra_gguf_next_string(&array, &text));
    assert_text(text, "a");
    assert_true(umbra_gguf_next_string(&array, &text));
    assert_text(text, "");
    assert_int_equal(array.index, 2);
    assert_true(umbra_gguf_next_string(&array, &text));
    assert_text(text, "ccc");
    assert_false(umbra_gguf_next_string(&array, &text));

    double number;
    assert_int_equal(umbra_gguf_get_array(f->gguf, "f32", UMBRA_GGUF_F32, &array, &f->err), 1);
    assert_true(umbra_gguf_next_float(&array, &number) && number == 0.5);
    assert_true(umbra_gguf_next_float(&array, &number) && number == -1.0);
    assert_false(umbra_gguf_next_float(&array, &number));
    assert_int_equal(umbra_gguf_get_array(f->gguf, "f64", UMBRA_GGUF_F32, &array, &f->err), 1);
    assert_true(umbra_gguf_next_float(&array, &number) && number == 1e300);
    assert_int_equal(umbra_gguf_get_array(f->gguf, "empty", UMBRA_GGUF_I32, &array, &f->err), 1);
    int64_t integer;
    assert_false(umbra_gguf_next_int(&array, &integer));
    assert_int_equal(umbra_gguf_get_array(f->gguf, "after", UMBRA_GGUF_I32, &array, &f->err),
                     UMBRA_E_FORMAT);
    assert_int_equal(umbra_gguf_get_array(f->gguf, "nested", UMBRA_GGUF_F32, &array, &f->err),
                     UMBRA_E_FORMAT);
    assert_non_null(strstr(f->err.message, "elements are of type array, not f32 or f64"));
    uint32_t after = 0;
    assert_int_equal(umbra_gguf_get_u32(f->gguf, "after", &after, &f->err), 1);
    assert_int_equal(after, 42);
}

static void test_tensors(void **state)
{
    fixture *f = *state;
    umbra_builder *b = &f->builder;
    float weights[6] = {1, 2, 3, 4, 5, 6};
    umbra_builder_u32(b, "general.alignment", 64);
    umbra_builder_tensor(b, "vector", UMBRA_F32, 1, (uint64_t[]){6}, weights);
    umbra_builder_tensor(b, "matrix", UMBRA_Q8_0, 2, (uint64_t[]){64, 3}, NULL);
    umbra_builder_tensor(b, "experts", UMBRA_Q4_K, 3, (uint64_t[]){512, 2, 5}, NULL);
    umbra_builder_tensor(b, "four", UMBRA_BF16, 4, (uint64_t[]){3, 1, 7, 2}, NULL);
    open_built(f);
    assert_int_equal(umbra_gguf_tensor_count(f->gguf), 4);
    static const uint64_t bytes[] = {24, 3 * 2 * 34, 5 * 2 * 2 * 144, 3 * 7 * 2 * 2};
    for (uint64_t i = 0; i < 4; i++) {
        const umbra_gguf_tensor *t = umbra_gguf_tensor_at(f->gguf, i);
        assert_int_equal(t->bytes, bytes[i]);
        assert_int_equal(t->offset % 64, 0);
        assert_int_equal(t->offset,
                         umbra_builder_field(b, UMBRA_FIELD_DATA, b->tensors[i].name, 0)->at);
        assert_ptr_equal(umbra_gguf_tensor_find(f->gguf, b->tensors[i].name), t);
    }
    const umbra_gguf_tensor *experts = umbra_gguf_tensor_find(f->gguf, "experts");
    assert_int_equal(experts->dimensions, 3);
    assert_int_equal(experts->dtype, UMBRA_Q4_K);
    static const uint64_t shape[4] = {512, 2, 5, 1};
    assert_memory_equal(experts->shape, shape, sizeof shape);
    assert_null(umbra_gguf_tensor_find(f->gguf, "expert"));
    assert_null(umbra_gguf_tensor_find(f->gguf, "experts "));

    float read[6];
    const umbra_gguf_tensor *vector = umbra_gguf_tensor_find(f->gguf, "vector");
    assert_int_equal(pread(umbra_gguf_fd(f->gguf), read, sizeof read, (off_t)vector->offset),
                     sizeof read);
    assert_memory_equal(read, weights, sizeof read);
}

/* A header larger than the first read, with names enough to fill the index. */
static void test_many(void **state)
{
    fixture *f = *state;
    char name[32];
    enum { MANY = 3000 };
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "key.%d", i);
        umbra_builder_u32(&f->builder, name, (uint32_t)i * 3);
        snprintf(name, sizeof name, "blk.%d.weight", i);
        umbra_builder_tensor(&f->builder, name, UMBRA_F32, 1, (uint64_t[]){1}, NULL);
    }
    open_built(f);
    for (int i = 0; i < MANY; i++) {
        uint32_t value = 0;
        snprintf(name, sizeof name, "key.%d", i);
        assert_int_equal(umbra_gguf_get_u32(f->gguf, name, &value, NULL), 1);
        assert_int_equal(value, i * 3);
        assert_text(umbra_gguf_pair_key(f->gguf, (uint64_t)i), name);
        assert_int_equal(umbra_gguf_pair_type(f->gguf, (uint64_t)i), UMBRA_GGUF_U32);
        snprintf(name, sizeof name, "blk.%d.weight", i);
        assert_text(umbra_gguf_tensor_at(f->gguf, (uint64_t)i)->name, name);
    }
    /* Header, two tables and two indexes; nothing of the data. */
    uint64_t header = umbra_gguf_tensor_at(f->gguf, 0)->offset;
    assert_true(umbra_gguf_header_bytes(f->gguf) < header + MANY * 140);
}

/* The expected values were taken with the `gguf` package of Python. */
static void test_tiny_tensors(void **state)
{
    fixture *f = *state;
    static const struct {
        uint64_t i;
        const char *name;
        uint32_t dtype, dimensions;
        uint64_t shape[4];
        uint64_t offset, bytes;
    } tensors[] = {
        {0, "token_embd.weight", UMBRA_Q8_0, 2, {256, 16384, 1, 1}, 554208, 4456448},
        {1, "output_norm.weight", UMBRA_F32, 1, {256, 1, 1, 1}, 5010656, 1024},
        {5, "blk.0.attn_k_norm.weight", UMBRA_F32, 1, {64, 1, 1, 1}, 5013984, 256},
        {11, "blk.0.ffn_gate_exps.weight", UMBRA_Q8_0, 3, {256, 64, 32, 1}, 5255904, 557056},
        {13, "blk.0.ffn_down_exps.weight", UMBRA_Q8_0, 3, {64, 256, 32, 1}, 6370016, 557056},
        {50, "blk.4.attn_norm.weight", UMBRA_F32, 1, {256, 1, 1, 1}, 12673248, 1024},
        {89, "blk.7.attn_k_norm.weight", UMBRA_F32, 1, {64, 1, 1, 1}, 18421728, 256},
        {97, "blk.7.ffn_down_exps.weight", UMBRA_Q8_0, 3, {64, 256, 32, 1}, 19777760, 557056},
    };
    int rc = umbra_gguf_open(&f->gguf, TINY, &f->err);
    if (rc != UMBRA_OK)
        fail_msg("%s", f->err.message);
    umbra_gguf_walk(f->gguf);
    assert_int_equal(umbra_gguf_tensor_count(f->gguf), 98);
    assert_int_equal(umbra_gguf_file_bytes(f->gguf), 20334816);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const umbra_gguf_tensor *t = umbra_gguf_tensor_find(f->gguf, tensors[i].name);
        assert_ptr_equal(t, umbra_gguf_tensor_at(f->gguf, tensors[i].i));
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->dimensions, tensors[i].dimensions);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_int_equal(t->offset, tensors[i].offset);
        assert_int_equal(t->bytes, tensors[i].bytes);
    }
}

static void test_tiny_metadata(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *key;
        uint32_t value;
    } integers[] = {{"qwen3moe.block_count", 8},       {"qwen3moe.expert_count", 32},
                    {"qwen3moe.expert_used_count", 4}, {"qwen3moe.embedding_length", 256},
                    {"qwen3moe.context_length", 512},  {"general.file_type", 7}};
    assert_int_equal(umbra_gguf_open(&f->gguf, TINY, &f->err), UMBRA_OK);
    assert_int_equal(umbra_gguf_pair_count(f->gguf), 25);
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        uint32_t value = 0;
        assert_int_equal(umbra_gguf_get_u32(f->gguf, integers[i].key, &value, &f->err), 1);
        assert_int_equal(value, integers[i].value);
    }
    float base = 0;
    assert_int_equal(umbra_gguf_get_f32(f->gguf, "qwen3moe.rope.freq_base", &base, &f->err), 1);
    assert_true(base == 10000.0f);
    bool add = false;
    assert_int_equal(umbra_gguf_get_bool(f->gguf, "tokenizer.ggml.add_bos_token", &add, &f->err),
                     1);
    assert_true(add);
    umbra_string text;
    assert_int_equal(umbra_gguf_get_string(f->gguf, "general.architecture", &text, &f->err), 1);
    assert_text(text, "qwen3moe");

    umbra_gguf_array array;
    size_t bytes = 0;
    assert_int_equal(
        umbra_gguf_get_array(f->gguf, "tokenizer.ggml.tokens", UMBRA_GGUF_STRING, &array, &f->err),
        1);
    assert_int_equal(array.count, 16384);
    while (umbra_gguf_next_string(&array, &text))
        bytes += text.bytes;
    assert_int_equal(bytes, 102838);
    assert_text(text, "uly");
    int64_t sum = 0;
    int64_t type;
    assert_int_equal(
        umbra_gguf_get_array(f->gguf, "tokenizer.ggml.token_type", UMBRA_GGUF_I32, &array, &f->err),
        1);
    while (umbra_gguf_next_int(&array, &type))
        sum += type;
    assert_int_equal(sum, 16386);
}

/* A whole file with so many tensors of 40 bytes, whose data does not end at the alignment. */
static void build_part(umbra_builder *b, int tensors)
{
    umbra_builder_init(b, 3);
    umbra_builder_u32(b, "split.count", 2);
    for (int i = 0; i < tensors; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        umbra_builder_tensor(b, name, UMBRA_F32, 1, (uint64_t[]){10}, NULL);
    }
    umbra_builder_finish(b);
}

/* Files joined end to end are told from one file, padded or not, with and without tensors. */
static void joined_files_are_explained(void **state)
{
    (void)state;
    for (int tensors = 0; tensors < 3; tensors++)
        for (int gap = 0; gap < 2; gap++) {
            umbra_builder b;
            build_part(&b, tensors);
            size_t first = b.count;
            if (gap == 0 && tensors > 0) /* a writer that does not pad the last tensor */
                first -= 24;
            unsigned char *both = calloc(1, first + b.count);
            assert_non_null(both);
            memcpy(both, b.bytes, first);
            memcpy(both + first, b.bytes, b.count);
            umbra_memory_file file;
            umbra_memory_file_init(&file);
            umbra_memory_file_set(&file, both, first + b.count, first + b.count);
            umbra_gguf *gguf;
            umbra_error err = {0};
            assert_int_equal(umbra_gguf_open(&gguf, file.path, &err), UMBRA_E_FORMAT);
            assert_null(gguf);
            assert_non_null(strstr(err.message, "joined into one file"));
            assert_int_equal(err.offset, first);
            umbra_memory_file_set(&file, b.bytes, b.count, b.count + 64); /* zeros behind it */
            assert_int_equal(umbra_gguf_open(&gguf, file.path, &err), UMBRA_OK);
            umbra_gguf_close(&gguf);
            umbra_memory_file_release(&file);
            umbra_builder_release(&b);
            free(both);
        }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joined_files_are_explained),
        TEST(test_empty_model),
        TEST(test_version_2),
        TEST(test_integers),
        TEST(test_floats),
        TEST(test_bools_and_strings),
        TEST(test_integer_arrays),
        TEST(test_other_arrays),
        TEST(test_tensors),
        TEST(test_many),
        TEST(test_tiny_tensors),
        TEST(test_tiny_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
