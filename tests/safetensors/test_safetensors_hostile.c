/* Malformed files: each is refused with its path, the reason and the byte where it shows. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "safetensors/safetensors.h"

static char path[300];
static umbra_error err;

static int set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(path, sizeof path, "%s/umbra-safetensors-XXXXXX", tmp);
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* A file of a header and `data_bytes` zeros; returns its bytes. */
static size_t write_header(const char *json, size_t json_bytes, size_t data_bytes)
{
    static unsigned char file[4096];
    uint64_t n = json_bytes;
    assert_true(8 + json_bytes + data_bytes <= sizeof file);
    memset(file, 0, sizeof file);
    memcpy(file, &n, 8);
    memcpy(file + 8, json, json_bytes);
    write_file(file, 8 + json_bytes + data_bytes);
    return 8 + json_bytes + data_bytes;
}

#define A "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}"
#define T(dtype, shape, offsets)                                                                   \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct hostile {
    const char *json;
    size_t data_bytes;
    const char *words; /* of the message */
} corpus[] = {
    /* not the object that it should be */
    {"", 0, "does not begin"},
    {" {}", 0, "does not begin"},
    {"[]", 0, "does not begin"},
    {"null", 0, "does not begin"},
    {"{", 0, "string was expected"},
    {"{{}}", 0, "string was expected"},
    {"{1:2}", 0, "string was expected"},
    {"{,}", 0, "string was expected"},
    {"{" A ",}", 4, "string was expected"},
    {"{" A, 4, "comma or '}'"},
    {"{" A "]", 4, "comma or '}'"},
    {"{" A " " A "}", 4, "comma or '}'"},
    {"{" A "}}", 4, "follows the closing"},
    {"{" A "},{}", 4, "follows the closing"},
    {"{}x", 0, "follows the closing"},
    {"{}//", 0, "follows the closing"},
    {"{\"a\"}", 0, "colon"},
    {"{\"a\" {}}", 0, "colon"},
    {"{\"a\":}", 0, "not an object"},
    {"{\"a\":null}", 0, "not an object"},
    {"{\"a\":[]}", 0, "not an object"},
    {"{\"a\":\"b\"}", 0, "not an object"},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[", 0, "not an object"},
    {"{\"a\":{", 0, "string was expected"},
    /* strings */
    {"{\"a", 0, "ends inside a string"},
    {"{\"a\\", 0, "bad escape"},
    {"{\"\\x\":{}}", 0, "bad escape"},
    {"{\"\\u12\":{}}", 0, "bad escape"},
    {"{\"\\u12g4\":{}}", 0, "bad escape"},
    {"{\"\\u0000\":{}}", 0, "bad escape"},
    {"{\"\\ud800\":{}}", 0, "bad escape"},
    {"{\"\\ud800\\u0041\":{}}", 0, "bad escape"},
    {"{\"\\udc00\":{}}", 0, "bad escape"},
    {"{\"\\ud83d\\u", 0, "bad escape"},
    {"{\"a\nb\":{}}", 0, "control character"},
    {"{\"\xff\":{}}", 0, "not UTF-8"},
    {"{\"\xc0\xaf\":{}}", 0, "not UTF-8"},
    {"{\"\xe2\x82\":{}}", 0, "not UTF-8"},
    {"{\"\xed\xa0\x80\":{}}", 0, "not UTF-8"},
    /* members of a tensor */
    {"{\"a\":{}}", 0, "lacks dtype"},
    {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "lacks dtype"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}}", 4, "lacks dtype"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", 4, "lacks dtype"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
     "twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}}", 4, "does not know"},
    {"{\"a\":{\"Dtype\":\"U8\"}}", 4, "does not know"},
    {"{\"a\":{\"dtype\" \"U8\"}}", 4, "colon"},
    {T("\"U9\"", "[4]", "[0,4]"), 4, "dtype \"U9\" is not supported"},
    {T("\"f32\"", "[1]", "[0,4]"), 4, "is not supported"},
    {T("\"F8_E4M3\"", "[4]", "[0,4]"), 4, "is not supported"},
    {T("\"\"", "[4]", "[0,4]"), 4, "is not supported"},
    {T("1", "[4]", "[0,4]"), 4, "string was expected"},
    /* numbers */
    {T("\"U8\"", "4", "[0,4]"), 4, "array was expected"},
    {T("\"U8\"", "[4", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[4,]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[-4]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[+4]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[4.0]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[4e0]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[04]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[0x4]", "[0,4]"), 4, "comma or ']'"},
    {T("\"U8\"", "[\"4\"]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[true]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[[4]]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[18446744073709551616]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[99999999999999999999999999]", "[0,4]"), 4, "whole number"},
    {T("\"U8\"", "[4,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "more than 8 dimensions"},
    {T("\"U8\"", "[4]", "[]"), 4, "not two"},
    {T("\"U8\"", "[4]", "[4]"), 4, "not two"},
    {T("\"U8\"", "[4]", "[0,4,4]"), 4, "more than 2"},
    /* where the data lies */
    {T("\"U8\"", "[4]", "[4,0]"), 4, "ends before it begins"},
    {T("\"U8\"", "[4]", "[0,5]"), 4, "past the end"},
    {T("\"U8\"", "[4]", "[0,18446744073709551615]"), 4, "past the end"},
    {T("\"U8\"", "[4]", "[18446744073709551612,18446744073709551615]"), 4, "past the end"},
    {T("\"U8\"", "[5]", "[0,4]"), 4, "does not fit"},
    {T("\"U8\"", "[3]", "[0,4]"), 4, "does not fit"},
    {T("\"F32\"", "[4]", "[0,4]"), 4, "does not fit"},
    {T("\"F32\"", "[4611686018427387905]", "[0,4]"), 4, "does not fit"},
    {T("\"U8\"", "[4294967296,4294967296,4]", "[0,0]"), 0, "does not fit"},
    {T("\"U8\"", "[0]", "[0,4]"), 4, "does not fit"},
    {T("\"U8\"", "[]", "[0,4]"), 4, "does not fit"},
    {T("\"U8\"", "[3]", "[1,4]"), 4, "gap"},
    {T("\"U8\"", "[3]", "[0,3]"), 4, "belong to no tensor"},
    {"{}", 1, "belong to no tensor"},
    {"{" A "}", 5, "belong to no tensor"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5, "overlaps"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "overlaps"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}", 4, "overlaps"},
    {"{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[5,6]}}", 6, "gap"},
    {"{" A ",\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]}}", 5, "twice"},
    {"{" A ",\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}", 4, "twice"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":null}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "not a string"},
    {"{\"__metadata__\":{\"a\":null}}", 0, "not a string"},
    {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "not a string"},
    {"{\"__metadata__\":{\"a\":[\"b\"]}}", 0, "not a string"},
    {"{\"__metadata__\":{\"a\"}}", 0, "colon"},
    {"{\"__metadata__\":{a:\"b\"}}", 0, "string was expected"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", 0, "key is there twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice"},
    {"{\"__metadata__\":{\"a\":\"b\"", 0, "comma or '}'"},
};

static void expect_refusal(const char *words, size_t file_bytes)
{
    umbra_safetensors *f;
    int rc = umbra_safetensors_open(&f, path, &err);
    bool status =
        rc == UMBRA_E_FORMAT || (rc == UMBRA_E_UNSUPPORTED && strstr(words, "not supported"));
    if (!status || !strstr(err.message, words) || !strstr(err.message, path) || !err.has_offset ||
        err.offset > file_bytes)
        fail_msg("wanted \"%s\", got %s: %s", words, umbra_status_name(rc), err.message);
    assert_null(f);
}

static void malformed_headers(void **state)
{
    (void)state;
    size_t n = sizeof corpus / sizeof *corpus;
    assert_true(n >= 60);
    for (size_t i = 0; i < n; i++)
        expect_refusal(corpus[i].words,
                       write_header(corpus[i].json, strlen(corpus[i].json), corpus[i].data_bytes));
}

/* The byte named is where the reader of the message finds the fault. */
static void offsets_are_right(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        uint64_t offset;
    } cases[] = {
        {"{}  x", 8 + 4},
        {"{\"ab\": [", 8 + 7},
        {"{\"ab\": {\"dtype\" : \"X\"", 8 + 18},
        {"{\"ab\": {\"shape\" : [1, 22, -3", 8 + 26},
        {"{\"\\u0061\": {}}", 8 + 1},
        {"{\"__metadata__\":{\"k\": 1", 8 + 22},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        umbra_safetensors *f;
        write_header(cases[i].json, strlen(cases[i].json), 0);
        assert_int_not_equal(umbra_safetensors_open(&f, path, &err), UMBRA_OK);
        if (err.offset != cases[i].offset)
            fail_msg("%s: %s", cases[i].json, err.message);
    }
}

static void lengths_that_lie(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {
        3, 1000, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char file[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        memcpy(file, &lengths[i], 8);
        write_file(file, sizeof file);
        expect_refusal("longer than the file", 10);
    }
    for (size_t n = 0; n < 8; n++) {
        write_file("\2\0\0\0\0\0\0", n);
        expect_refusal("too few", n);
    }
    /* A header beyond the limit in a sparse file that is longer still. */
    uint64_t n = ((uint64_t)64 << 20) + 1;
    write_file(&n, 8);
    assert_int_equal(truncate(path, (off_t)(n + 100)), 0);
    expect_refusal("64 MiB", n + 100);
    n--;
    write_file(&n, 8);
    assert_int_equal(truncate(path, (off_t)(n + 8)), 0);
    expect_refusal("does not begin", n + 8);
}

static const char whole[] =
    "{\"__metadata__\": {\"k\":\"v\",\"\\u20ac\\ud83d\\ude00\":\"\\n\"},\r\n\t"
    "\"b\":{\"data_offsets\":[4,12],\"shape\":[ 2 ,1],\"dtype\":\"F32\"},\"e\":{\"dtype\":\"F64\","
    "\"shape\":[0,3],\"data_offsets\":[12,12]}," A "}   ";

static void unusual_but_right(void **state)
{
    (void)state;
    umbra_safetensors *f;
    write_header(whole, sizeof whole - 1, 12);
    if (umbra_safetensors_open(&f, path, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    assert_int_equal(umbra_safetensors_count(f), 3);
    assert_string_equal(umbra_safetensors_at(f, 0)->name, "a");
    assert_string_equal(umbra_safetensors_at(f, 1)->name, "b");
    assert_string_equal(umbra_safetensors_at(f, 2)->name, "e");
    assert_int_equal(umbra_safetensors_find(f, "b")->offset, 8 + sizeof whole - 1 + 4);
    assert_string_equal(umbra_safetensors_metadata(f, "\xe2\x82\xac\xf0\x9f\x98\x80"), "\n");
    umbra_safetensors_close(&f);
}

/* Opens what is there; what is accepted must be readable as a whole. */
static bool opens(void)
{
    umbra_safetensors *f;
    int rc = umbra_safetensors_open(&f, path, &err);
    if (rc != UMBRA_OK) {
        assert_true(rc == UMBRA_E_FORMAT || rc == UMBRA_E_UNSUPPORTED);
        assert_true(err.has_offset);
        assert_null(f);
        return false;
    }
    for (size_t i = 0; i < umbra_safetensors_count(f); i++) {
        const umbra_safetensors_tensor *t = umbra_safetensors_at(f, i);
        unsigned char data[64];
        assert_in_range(t->bytes, 0, sizeof data);
        assert_int_equal(umbra_safetensors_read(f, t, data, &err), UMBRA_OK);
        assert_ptr_equal(umbra_safetensors_find(f, t->name), t);
    }
    umbra_safetensors_close(&f);
    return true;
}

static void truncations(void **state)
{
    (void)state;
    size_t n = write_header(whole, sizeof whole - 1, 12);
    while (n-- > 0) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        assert_false(opens());
    }
    /* The header cut short, with a length that is right. */
    for (n = sizeof whole - 1 - 3; n-- > 0;) {
        write_header(whole, n, 12);
        assert_false(opens());
    }
}

static void mutations(void **state)
{
    (void)state;
    uint64_t random = 3;
    int accepted = 0;
    char json[sizeof whole];
    for (int round = 0; round < 4000; round++) {
        memcpy(json, whole, sizeof whole);
        for (int i = 0; i <= round % 3; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = (random >> 33) % (sizeof whole - 1);
            static const char likely[] = "{}[]\",:0123456789 \\u\0\xff"
                                         "ab-";
            json[at] =
                round & 4 ? likely[(random >> 20) % (sizeof likely - 1)] : (char)(random >> 20);
        }
        write_header(json, sizeof whole - 1, 12);
        accepted += opens();
    }
    assert_in_range(accepted, 10, 2000); /* a name or a value may change harmlessly */
}

/* The file is cut after it was opened: reading says so. */
static void shrinking_file(void **state)
{
    (void)state;
    umbra_safetensors *f;
    size_t n = write_header(whole, sizeof whole - 1, 12);
    assert_int_equal(umbra_safetensors_open(&f, path, &err), UMBRA_OK);
    assert_int_equal(truncate(path, (off_t)n - 3), 0);
    char data[16];
    const umbra_safetensors_tensor *b = umbra_safetensors_find(f, "b");
    assert_int_equal(umbra_safetensors_read(f, b, data, &err), UMBRA_E_IO);
    assert_int_equal(umbra_safetensors_read_rows(f, b, 0, 1, data, &err), UMBRA_OK);
    assert_int_equal(umbra_safetensors_read_rows(f, b, 1, 1, data, &err), UMBRA_E_IO);
    assert_int_equal(err.offset, n - 3);
    umbra_safetensors_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_headers), cmocka_unit_test(offsets_are_right),
        cmocka_unit_test(lengths_that_lie),  cmocka_unit_test(unusual_but_right),
        cmocka_unit_test(truncations),       cmocka_unit_test(mutations),
        cmocka_unit_test(shrinking_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
