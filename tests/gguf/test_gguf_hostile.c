/* Malformed GGUF files: each must be refused with a message, without a crash, an over-read or an
 * allocation that the file's true size does not justify. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hostile.h"

enum { CASES_LEAST = 300 }; /* malformed files that must be refused */

static umbra_memory_file file;
static unsigned refused; /* cases that had to fail and did */

/* What the file holds now must be refused with this status, with `part` in the message and, unless
 * it is SIZE_MAX, this byte offset. */
static void expect(const char *name, int status, size_t offset, const char *part)
{
    umbra_error err;
    int rc = umbra_hostile_open(name, file.path, &err);
    if (rc != status)
        fail_msg("%s: status %d instead of %d, message \"%s\"", name, rc, status, err.message);
    if (!strstr(err.message, part))
        fail_msg("%s: message \"%s\" without \"%s\"", name, err.message, part);
    if (offset != SIZE_MAX && (!err.has_offset || err.offset != offset))
        fail_msg("%s: message \"%s\" is not about byte %zu", name, err.message, offset);
    refused++;
}

static void set_file(const umbra_builder *b)
{
    umbra_memory_file_set(&file, b->bytes, b->count, 0);
}

/* Cut at each field's first byte, one byte in, in the middle and before its last byte. */
static void test_truncations(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_hostile_sample(&b);
    const umbra_field *last = umbra_builder_field(&b, UMBRA_FIELD_DATA, "output_norm.weight", 0);
    for (size_t i = 0; i < b.field_count; i++) {
        const umbra_field *field = &b.fields[i];
        size_t cuts[] = {0, 1, field->bytes / 2, field->bytes - 1};
        for (size_t k = 0; k < 4; k++) {
            size_t size = field->at + cuts[k];
            bool fresh = cuts[k] < field->bytes && (k == 0 || cuts[k] > cuts[k - 1]);
            if (!fresh || size >= last->at + last->bytes)
                continue;
            char name[160];
            snprintf(name, sizeof name, "cut at byte %zu, in \"%s\"", size, field->owner);
            umbra_memory_file_set(&file, b.bytes, size, 0);
            expect(name, UMBRA_E_FORMAT, SIZE_MAX, "");
        }
    }
    umbra_builder_release(&b);
}

static bool is_count(umbra_field_kind kind)
{
    return kind == UMBRA_FIELD_COUNT || kind == UMBRA_FIELD_LENGTH ||
           kind == UMBRA_FIELD_DIMENSION || kind == UMBRA_FIELD_OFFSET;
}

/* Some of these leave a sound file: no tensors at all, or a dimension that shrinks,
 * or grows into padding. */
static bool may_be_sound(const umbra_field *field, uint64_t old, uint64_t value)
{
    if (value == old)
        return true;
    if (field->kind == UMBRA_FIELD_DIMENSION)
        return value != 0 && value <= old + 1;
    return field->kind == UMBRA_FIELD_COUNT && field->at == 8 && value < old;
}

static void test_counts(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_hostile_sample(&b);
    for (size_t i = 0; i < b.field_count; i++) {
        const umbra_field *field = &b.fields[i];
        if (!is_count(field->kind))
            continue;
        uint64_t old;
        memcpy(&old, b.bytes + field->at, sizeof old);
        const uint64_t values[] = {0,
                                   old - 1,
                                   old + 1,
                                   old + 4096,
                                   UINT64_C(1) << 31,
                                   UINT64_C(1) << 32,
                                   UINT64_C(1) << 63,
                                   UINT64_MAX};
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            char name[160];
            snprintf(name, sizeof name, "%" PRIu64 " for %" PRIu64 " at byte %zu, in \"%s\"",
                     values[k], old, field->at, field->owner);
            memcpy(b.bytes + field->at, &values[k], sizeof old);
            set_file(&b);
            umbra_error err;
            if (may_be_sound(field, old, values[k]))
                umbra_hostile_open(name, file.path, &err);
            else
                expect(name, UMBRA_E_FORMAT, SIZE_MAX, "");
        }
        memcpy(b.bytes + field->at, &old, sizeof old);
    }
    umbra_builder_release(&b);
}

/* One field of the sample overwritten with `bytes` of the value. */
static const struct {
    const char *name;
    umbra_field_kind kind;
    const char *owner;
    size_t n;
    uint64_t value;
    size_t bytes;
    int status;
    size_t shift; /* from the field to the byte that the message names */
    const char *part;
} patches[] = {
    {"magic", UMBRA_FIELD_MAGIC, "", 0, 0x04034b50, 4, UMBRA_E_FORMAT, 0,
     "not a GGUF file: it begins with \"PK\\x03\\x04\", not \"GGUF\""},
    {"magic reversed", UMBRA_FIELD_MAGIC, "", 0, 0x47475546, 4, UMBRA_E_FORMAT, 0, "\"FUGG\""},
    {"version 0", UMBRA_FIELD_VERSION, "", 0, 0, 4, UMBRA_E_UNSUPPORTED, 0, "version 0"},
    {"version 1", UMBRA_FIELD_VERSION, "", 0, 1, 4, UMBRA_E_UNSUPPORTED, 0,
     "version 1 is not supported, only 2 and 3: convert the model again"},
    {"version 4", UMBRA_FIELD_VERSION, "", 0, 4, 4, UMBRA_E_UNSUPPORTED, 0, "version 4"},
    {"big-endian", UMBRA_FIELD_VERSION, "", 0, 3u << 24, 4, UMBRA_E_UNSUPPORTED, 0,
     "big-endian file, not supported"},
    {"big-endian v2", UMBRA_FIELD_VERSION, "", 0, 2u << 24, 4, UMBRA_E_UNSUPPORTED, 0,
     "big-endian file, not supported"},
    {"many tensors", UMBRA_FIELD_COUNT, "", 0, UINT64_MAX, 8, UMBRA_E_FORMAT, 0,
     "18446744073709551615 tensors are announced, but only"},
    {"many keys", UMBRA_FIELD_COUNT, "", 1, UINT64_C(1) << 61, 8, UMBRA_E_FORMAT, 0,
     "2305843009213693952 keys are announced, but only"},
    {"type 13", UMBRA_FIELD_TYPE, "i64", 0, 13, 4, UMBRA_E_FORMAT, 0,
     "key \"i64\": value type 13 is not known"},
    {"type -1", UMBRA_FIELD_TYPE, "i64", 0, UINT32_MAX, 4, UMBRA_E_FORMAT, 0,
     "value type 4294967295"},
    {"element type 13", UMBRA_FIELD_TYPE, "types", 1, 13, 4, UMBRA_E_FORMAT, 0,
     "key \"types\": value type 13"},
    {"nested element type 13", UMBRA_FIELD_TYPE, "nested", 2, 13, 4, UMBRA_E_FORMAT, 0,
     "key \"nested\": value type 13"},
    {"string as array", UMBRA_FIELD_TYPE, "last", 0, UMBRA_GGUF_ARRAY, 4, UMBRA_E_FORMAT, SIZE_MAX,
     ""},
    {"array as string", UMBRA_FIELD_TYPE, "types", 0, UMBRA_GGUF_STRING, 4, UMBRA_E_FORMAT,
     SIZE_MAX, "key \"types\""},
    {"numbers as strings", UMBRA_FIELD_TYPE, "types", 1, UMBRA_GGUF_STRING, 4, UMBRA_E_FORMAT,
     SIZE_MAX, "key \"types\""},
    {"numbers as arrays", UMBRA_FIELD_TYPE, "types", 1, UMBRA_GGUF_ARRAY, 4, UMBRA_E_FORMAT,
     SIZE_MAX, "key \"types\""},
    {"bool 2", UMBRA_FIELD_VALUE, "bool", 0, 2, 1, UMBRA_E_FORMAT, 0,
     "key \"bool\": a bool is 2, not 0 or 1"},
    {"bool 255 in an array", UMBRA_FIELD_VALUE, "bools", 0, 0xff01, 2, UMBRA_E_FORMAT, 1,
     "key \"bools\": a bool is 255"},
    {"empty key", UMBRA_FIELD_LENGTH, "i64", 0, 0, 8, UMBRA_E_FORMAT, 0,
     "key number 2: the name is empty"},
    {"huge key", UMBRA_FIELD_LENGTH, "i64", 0, 65536, 8, UMBRA_E_FORMAT, 0,
     "key number 2: the name is 65536 bytes long, at most 65535"},
    {"NUL in a key", UMBRA_FIELD_NAME, "i64", 0, 0, 1, UMBRA_E_FORMAT, 0,
     "key number 2: the name holds a NUL byte"},
    {"NUL in a tensor", UMBRA_FIELD_NAME, "rope", 0, 'r', 4, UMBRA_E_FORMAT, 1,
     "tensor number 2: the name holds a NUL byte"},
    {"huge string", UMBRA_FIELD_LENGTH, "last", 1, UINT64_MAX, 8, UMBRA_E_FORMAT, 0,
     "key \"last\": the string is 18446744073709551615 bytes long, but only"},
    {"huge token", UMBRA_FIELD_LENGTH, "tokens", 2, UINT64_MAX - 7, 8, UMBRA_E_FORMAT, 0,
     "key \"tokens\": the string is"},
    {"huge array", UMBRA_FIELD_COUNT, "types", 0, UINT64_C(1) << 62, 8, UMBRA_E_FORMAT, 0,
     "key \"types\": 4611686018427387904 array elements are announced"},
    {"alignment 0", UMBRA_FIELD_VALUE, "general.alignment", 0, 0, 4, UMBRA_E_FORMAT, 0,
     "key \"general.alignment\": 0 is not a power of two from 8 to 1048576"},
    {"alignment 4", UMBRA_FIELD_VALUE, "general.alignment", 0, 4, 4, UMBRA_E_FORMAT, 0,
     "4 is not a power of two"},
    {"alignment 48", UMBRA_FIELD_VALUE, "general.alignment", 0, 48, 4, UMBRA_E_FORMAT, 0,
     "48 is not a power of two"},
    {"alignment 2 MiB", UMBRA_FIELD_VALUE, "general.alignment", 0, 2 << 20, 4, UMBRA_E_FORMAT, 0,
     "2097152 is not a power of two"},
    {"alignment 2^31", UMBRA_FIELD_VALUE, "general.alignment", 0, 1u << 31, 4, UMBRA_E_FORMAT, 0,
     "2147483648 is not a power of two"},
    {"alignment not kept", UMBRA_FIELD_VALUE, "general.alignment", 0, 1024, 4, UMBRA_E_FORMAT,
     SIZE_MAX, "is not a multiple of the alignment 1024"},
    {"alignment of f32", UMBRA_FIELD_TYPE, "general.alignment", 0, UMBRA_GGUF_F32, 4,
     UMBRA_E_FORMAT, 4, "the value is of type f32, not an integer"},
    {"alignment negative", UMBRA_FIELD_TYPE, "general.alignment", 0,
     (UINT64_C(0xffffffff) << 32) | UMBRA_GGUF_I32, 8, UMBRA_E_FORMAT, 4, "-1 is negative"},
    {"no dimensions", UMBRA_FIELD_DIMENSIONS, "rope", 0, 0, 4, UMBRA_E_FORMAT, 0,
     "tensor \"rope\": 0 dimensions, not 1 to 4"},
    {"5 dimensions", UMBRA_FIELD_DIMENSIONS, "rope", 0, 5, 4, UMBRA_E_FORMAT, 0, "5 dimensions"},
    {"2^32 - 1 dimensions", UMBRA_FIELD_DIMENSIONS, "rope", 0, UINT32_MAX, 4, UMBRA_E_FORMAT, 0,
     "4294967295 dimensions"},
    {"no experts", UMBRA_FIELD_DIMENSION, "blk.0.ffn_gate_exps.weight", 2, 0, 8, UMBRA_E_FORMAT, 0,
     "tensor \"blk.0.ffn_gate_exps.weight\": dimension 2 is 0"},
    {"no columns", UMBRA_FIELD_DIMENSION, "token_embd.weight", 0, 0, 8, UMBRA_E_FORMAT, 0,
     "dimension 0 is 0"},
    {"half a block", UMBRA_FIELD_DIMENSION, "token_embd.weight", 0, 48, 8, UMBRA_E_FORMAT, 0,
     "the first dimension is 48, not a multiple of the 32 values of a Q8_0 block"},
    {"more values than 64 bits", UMBRA_FIELD_DIMENSION, "rope", 3, UINT64_C(1) << 61, 8,
     UMBRA_E_FORMAT, 0, "multiply to more than 64 bits"},
    {"more bytes than 64 bits", UMBRA_FIELD_DIMENSION, "output_norm.weight", 0, UINT64_C(1) << 62,
     8, UMBRA_E_FORMAT, 0, "take more than 64 bits can count"},
    {"a blocked size of 2^64", UMBRA_FIELD_DIMENSION, "token_embd.weight", 1, UINT64_C(1) << 57, 8,
     UMBRA_E_FORMAT, SIZE_MAX, "tensor \"token_embd.weight\""},
    {"number format 4", UMBRA_FIELD_DTYPE, "rope", 0, 4, 4, UMBRA_E_UNSUPPORTED, 0,
     "tensor \"rope\": number format 4 is not known"},
    {"number format 31", UMBRA_FIELD_DTYPE, "rope", 0, 31, 4, UMBRA_E_UNSUPPORTED, 0,
     "number format 31"},
    {"number format 41", UMBRA_FIELD_DTYPE, "rope", 0, 41, 4, UMBRA_E_UNSUPPORTED, 0,
     "number format 41"},
    {"number format -1", UMBRA_FIELD_DTYPE, "rope", 0, UINT32_MAX, 4, UMBRA_E_UNSUPPORTED, 0,
     "number format 4294967295"},
    {"F16 as Q6_K", UMBRA_FIELD_DTYPE, "rope", 0, UMBRA_Q6_K, 4, UMBRA_E_FORMAT, SIZE_MAX,
     "not a multiple of the 256 values of a Q6_K block"},
    {"offset misaligned", UMBRA_FIELD_OFFSET, "rope", 0, 32, 8, UMBRA_E_FORMAT, 0,
     "tensor \"rope\": the data offset 32 is not a multiple of the alignment 64"},
    {"offset near 2^64", UMBRA_FIELD_OFFSET, "rope", 0, UINT64_MAX - 63, 8, UMBRA_E_FORMAT, 0,
     "tensor \"rope\": the end of its data is beyond 64 bits"},
    {"size near 2^64", UMBRA_FIELD_DIMENSION, "output_norm.weight", 0, (UINT64_C(1) << 62) - 1, 8,
     UMBRA_E_FORMAT, SIZE_MAX, "\"output_norm.weight\": the end of its data is beyond 64 bits"},
    {"offset past the end", UMBRA_FIELD_OFFSET, "rope", 0, UINT64_C(1) << 40, 8, UMBRA_E_FORMAT, 0,
     "tensor \"rope\": its data ends beyond the end of the file; the download may be "},
    {"same place", UMBRA_FIELD_OFFSET, "blk.0.ffn_gate_exps.weight", 0, 0, 8, UMBRA_E_FORMAT, 0,
     "\"blk.0.ffn_gate_exps.weight\": its data overlaps that of tensor \"token_embd.weight\""},
    {"partial overlap", UMBRA_FIELD_OFFSET, "rope", 0, 128, 8, UMBRA_E_FORMAT, 0,
     "tensor \"rope\": its data overlaps that of tensor \"token_embd.weight\""},
    {"order turned into overlap", UMBRA_FIELD_OFFSET, "token_embd.weight", 0, 384, 8,
     UMBRA_E_FORMAT, SIZE_MAX, "overlaps that of tensor"},
};

static void test_patches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++) {
        umbra_builder b;
        umbra_hostile_sample(&b);
        size_t at = umbra_builder_field(&b, patches[i].kind, patches[i].owner, patches[i].n)->at;
        umbra_builder_patch(&b, patches[i].kind, patches[i].owner, patches[i].n, &patches[i].value,
                            patches[i].bytes);
        set_file(&b);
        expect(patches[i].name, patches[i].status,
               patches[i].shift == SIZE_MAX ? SIZE_MAX : at + patches[i].shift, patches[i].part);
        umbra_builder_release(&b);
    }
}

static void test_duplicates(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_u32(&b, "a", 1);
    umbra_builder_u32(&b, "b\x1b[2J", 1);
    umbra_builder_f32(&b, "b\x1b[2J", 1);
    umbra_builder_finish(&b);
    set_file(&b);
    expect("duplicate key", UMBRA_E_FORMAT,
           umbra_builder_field(&b, UMBRA_FIELD_NAME, "b\x1b[2J", 1)->at,
           "key \"b\\x1b[2J\": the name stands twice, as number 1 and number 2");
    umbra_builder_release(&b);

    umbra_builder_init(&b, 3);
    umbra_builder_tensor(&b, "w", UMBRA_F32, 1, (uint64_t[]){1}, NULL);
    umbra_builder_tensor(&b, "v", UMBRA_F32, 1, (uint64_t[]){1}, NULL);
    umbra_builder_tensor(&b, "w", UMBRA_F32, 1, (uint64_t[]){1}, NULL);
    umbra_builder_finish(&b);
    set_file(&b);
    expect("duplicate tensor", UMBRA_E_FORMAT,
           umbra_builder_field(&b, UMBRA_FIELD_NAME, "w", 1)->at,
           "tensor \"w\": the name stands twice, as number 0 and number 2");
    umbra_builder_release(&b);
}

static void test_deep_arrays(void **state)
{
    (void)state;
    static const unsigned depths[] = {5, 6, 100, 20000};
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        umbra_builder b;
        umbra_builder_init(&b, 3);
        umbra_builder_begin(&b, "deep", UMBRA_GGUF_ARRAY);
        for (unsigned d = 1; d < depths[i]; d++)
            umbra_builder_put_array(&b, UMBRA_GGUF_ARRAY, 1);
        umbra_builder_put_array(&b, UMBRA_GGUF_U8, 0);
        umbra_builder_finish(&b);
        set_file(&b);
        expect("deep arrays", UMBRA_E_FORMAT, SIZE_MAX,
               "key \"deep\": arrays are nested more than 4 deep");
        umbra_builder_release(&b);
    }
}

/* Counts of which each fits into the file, but not all together. */
static void test_wide_arrays(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_begin(&b, "wide", UMBRA_GGUF_ARRAY);
    for (unsigned d = 0; d < 3; d++)
        umbra_builder_put_array(&b, UMBRA_GGUF_ARRAY, 1000);
    for (unsigned i = 0; i < 2000; i++)
        umbra_builder_put_array(&b, UMBRA_GGUF_U8, 0);
    umbra_builder_finish(&b);
    set_file(&b);
    expect("wide arrays", UMBRA_E_FORMAT, SIZE_MAX, "key \"wide\": ");
    umbra_builder_release(&b);
}

/* Files with holes, a terabyte long: their size allows any count, the memory does not. */
static void test_sparse(void **state)
{
    (void)state;
    static const uint64_t size = UINT64_C(1) << 40;
    static const struct {
        const char *name;
        umbra_field_kind kind;
        const char *owner;
        size_t n;
        uint64_t value;
        int status;
        const char *part;
    } cases[] = {
        {"2^30 tensors", UMBRA_FIELD_COUNT, "", 0, 1 << 30, UMBRA_E_UNSUPPORTED,
         "1073741824 tensors, at most 1048576 are supported"},
        {"2^30 keys", UMBRA_FIELD_COUNT, "", 1, 1 << 30, UMBRA_E_UNSUPPORTED,
         "1073741824 keys, at most 1048576 are supported"},
        {"2^20 tensors", UMBRA_FIELD_COUNT, "", 0, 1 << 20, UMBRA_E_FORMAT, "the name is empty"},
        {"2^20 keys", UMBRA_FIELD_COUNT, "", 1, 1 << 20, UMBRA_E_FORMAT, "key number 11"},
        {"string of 300 MiB", UMBRA_FIELD_LENGTH, "last", 1, 300 << 20, UMBRA_E_UNSUPPORTED,
         "the string would make the header larger than the 256 MiB supported"},
        {"string of 2^39", UMBRA_FIELD_LENGTH, "last", 1, UINT64_C(1) << 39, UMBRA_E_UNSUPPORTED,
         "256 MiB supported"},
        {"array of 2^30", UMBRA_FIELD_COUNT, "types", 0, 1 << 30, UMBRA_E_UNSUPPORTED,
         "key \"types\": the value would make the header larger"},
        {"bools of 2^39", UMBRA_FIELD_COUNT, "bools", 0, UINT64_C(1) << 39, UMBRA_E_UNSUPPORTED,
         "key \"bools\": the value would make the header larger"},
    };
    umbra_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        umbra_builder b;
        umbra_hostile_sample(&b);
        umbra_builder_patch_u64(&b, cases[i].kind, cases[i].owner, cases[i].n, cases[i].value);
        umbra_memory_file_set(&file, b.bytes, b.count, size);
        expect(cases[i].name, cases[i].status, SIZE_MAX, cases[i].part);
        umbra_builder_release(&b);
    }
    umbra_builder b;
    umbra_hostile_sample(&b);
    umbra_memory_file_set(&file, b.bytes, b.count, size);
    assert_int_equal(umbra_hostile_open("a terabyte after the tensors", file.path, &err), UMBRA_OK);
    umbra_builder_release(&b);
}

static void test_cut_download(void **state)
{
    (void)state;
    umbra_builder b;
    umbra_hostile_sample(&b);
    const umbra_field *last = umbra_builder_field(&b, UMBRA_FIELD_DATA, "output_norm.weight", 0);
    const umbra_field *rope = umbra_builder_field(&b, UMBRA_FIELD_DATA, "rope", 0);
    umbra_memory_file_set(&file, b.bytes, rope->at + 1, 0);
    char part[128];
    snprintf(part, sizeof part, "expected at least %zu bytes, the file has %zu",
             last->at + last->bytes, rope->at + 1);
    expect("cut in the data", UMBRA_E_FORMAT,
           umbra_builder_field(&b, UMBRA_FIELD_OFFSET, "rope", 0)->at, part);
    expect("cut in the data: which", UMBRA_E_FORMAT, SIZE_MAX, "tensor \"rope\"");
    umbra_memory_file_set(&file, b.bytes, last->at + last->bytes, 0);
    umbra_error err; /* the padding after the last tensor may be missing */
    assert_int_equal(umbra_hostile_open("cut after the data", file.path, &err), UMBRA_OK);
    umbra_builder_release(&b);
}

/* What people have in the place of a model is named. */
static void test_other_kinds_of_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *what;
    } files[] = {
#define FILE_OF(BYTES, WHAT) {BYTES, sizeof(BYTES) - 1, WHAT}
        FILE_OF("version https://git-lfs.github.com/spec/v1\noid sha256:00",
                "a pointer of Git LFS"),
        FILE_OF("<!doctype html><title>gone</title>", "a web page"),
        FILE_OF("\r\n <html lang=\"en\">", "a web page"),
        FILE_OF("{\"error\":\"not for you\"}", "a JSON text"),
        FILE_OF("Entry not found", "no such file"),
        FILE_OF("\x18\0\0\0\0\0\0\0{\"__metadata__\":{}}      ", "a safetensors file"),
        FILE_OF("PK\3\4\24\0\0\0\10\0", "a ZIP archive"),
        FILE_OF("\200\2}q\0X\5", "a Python pickle"),
        FILE_OF("tjgg\3\0\0\0", "came before GGUF"),
        FILE_OF("\37\213\10\0\0\0", "compressed by gzip"),
        FILE_OF("\50\265\57\375\4\0", "compressed by zstd"),
        FILE_OF("\0\0\0\0\0\0\0\0", "did not fill it"),
#undef FILE_OF
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        umbra_memory_file_set(&file, files[i].bytes, files[i].n, 0);
        expect(files[i].what, UMBRA_E_FORMAT, 0, files[i].what);
    }
    umbra_error err;
    umbra_memory_file_set(&file, "once upon a time", 16, 0);
    assert_int_equal(umbra_hostile_open("a story", file.path, &err), UMBRA_E_FORMAT);
    assert_null(strstr(err.message, "it is"));
}

static void test_not_files(void **state)
{
    (void)state;
    umbra_memory_file_set(&file, "", 0, 0);
    expect("empty file", UMBRA_E_FORMAT, 0, "the file is empty");
    umbra_memory_file_set(&file, "GG", 2, 0);
    expect("two bytes", UMBRA_E_FORMAT, 0, "it begins with \"GG\", not \"GGUF\"");
    umbra_memory_file_set(&file, "GGUF", 4, 0);
    expect("magic only", UMBRA_E_FORMAT, 4, "the file ends in the version");

    umbra_error err;
    assert_int_equal(umbra_hostile_open("directory", "/", &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "directory"));
    assert_int_equal(umbra_hostile_open("no such file", "no/such/file.gguf", &err), UMBRA_E_IO);
    assert_int_equal(umbra_hostile_open("device", "/dev/null", &err), UMBRA_E_IO);
    char folder[] = "/tmp/umbra-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char fifo[64];
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(umbra_hostile_open("fifo", fifo, &err), UMBRA_E_IO);
    unlink(fifo);
    rmdir(folder);
    assert_int_equal(umbra_gguf_open(&(umbra_gguf *){NULL}, "/", NULL), UMBRA_E_IO);
}

/* Last: the corpus is as large as it is said to be. */
static void test_number_of_cases(void **state)
{
    (void)state;
    print_message("%u malformed files refused\n", refused);
    assert_true(refused >= CASES_LEAST);
}

static int set_up(void **state)
{
    (void)state;
    umbra_memory_file_init(&file);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    umbra_memory_file_release(&file);
    return 0;
}

int main(void)
{
    umbra_hostile_limit_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncations),     cmocka_unit_test(test_counts),
        cmocka_unit_test(test_patches),         cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_deep_arrays),     cmocka_unit_test(test_wide_arrays),
        cmocka_unit_test(test_sparse),          cmocka_unit_test(test_cut_download),
        cmocka_unit_test(test_not_files),       cmocka_unit_test(test_other_kinds_of_files),
        cmocka_unit_test(test_number_of_cases),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
