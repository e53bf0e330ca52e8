/* The room below all: status, texts, JSON, memory, files, random numbers, types, the system. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/quote.h"
#include "base/random.h"
#include "base/system.h"
#include "base/utf8.h"

static void errors_say_what(void **state)
{
    (void)state;
    umbra_error err;
    assert_int_equal(umbra_fail(&err, UMBRA_E_IO, "%s: %d", "file", 7), UMBRA_E_IO);
    assert_string_equal(err.message, "file: 7");
    assert_false(err.has_offset);
    assert_int_equal(umbra_fail_at(&err, UMBRA_E_FORMAT, 99, "bad"), UMBRA_E_FORMAT);
    assert_string_equal(err.message, "bad (at byte 99)");
    assert_true(err.has_offset && err.offset == 99);
    assert_int_equal(umbra_fail(NULL, UMBRA_E_IO, "nobody listens"), UMBRA_E_IO);
    assert_string_equal(umbra_status_name(UMBRA_E_NOMEM), "UMBRA_E_NOMEM");
    assert_string_equal(umbra_status_text(UMBRA_OK), "ok");
    assert_string_equal(umbra_status_name(-99), "UMBRA_E_?");
}

static void long_messages_keep_whole_characters(void **state)
{
    (void)state;
    char text[2000];
    for (size_t lead = 0; lead < 3; lead++) { /* cut at every place of a three-byte character */
        memset(text, 'x', lead);
        for (size_t i = lead; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        umbra_error err;
        umbra_fail(&err, UMBRA_E_IO, "%s", text);
        for (size_t i = 0; err.message[i];) {
            size_t n = umbra_utf8_length(err.message + i, strlen(err.message + i));
            assert_true(n > 0);
            i += n;
        }
    }
}

static void utf8_is_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc1\xbf",
                                      "\xe0\x80\x80", "\xed\xa0\x80",     "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80", "\xf0\x80\x80\x80", "\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(umbra_utf8_length(bad[i], strlen(bad[i])), 0);
    assert_int_equal(umbra_utf8_length("a", 0), 0);
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        if (code >= 0xd800 && code <= 0xdfff)
            continue;
        char bytes[4];
        size_t n = umbra_utf8_encode(code, bytes);
        assert_int_equal(umbra_utf8_length(bytes, n), n);
        assert_int_equal(umbra_utf8_length(bytes, n - 1), 0);
        assert_int_equal(umbra_utf8_decode(bytes, n), code);
    }
}

static void foreign_text_is_quoted(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        const char *shown;
    } cases[] = {
        {"blk.0.attn_q.weight", "blk.0.attn_q.weight"},
        {"", ""},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\x1b[31m\n", "\\x1b[31m\\x0a"},
        {"a\"b\\", "a\\x22b\\x5c"},
        {"\xff\xc3", "\\xff\\xc3"},
        {"\xe2\x80\xae", "\\xe2\\x80\\xae"},
        {"\xc2\x9b", "\\xc2\\x9b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(umbra_quote(cases[i].raw, strlen(cases[i].raw)).text, cases[i].shown);
    }
    /* Whatever the length and content, the text ends inside its buffer; room for "..." is kept
     * until the last character. */
    char bytes[2 * sizeof(umbra_quoted)];
    for (size_t n = 0; n <= sizeof bytes; n++) {
        memset(bytes, 'a', sizeof bytes);
        size_t shown = strlen(umbra_quote(bytes, n).text);
        assert_int_equal(shown, n <= sizeof(umbra_quoted) - 3 ? n : sizeof(umbra_quoted) - 1);
        memset(bytes, '\xff', sizeof bytes);
        assert_true(strlen(umbra_quote(bytes, n).text) < sizeof(umbra_quoted));
    }
}

static char *written(void (*write)(umbra_json *))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    umbra_json j;
    umbra_json_begin(&j, f);
    write(&j);
    fclose(f);
    return text;
}

static void write_sample(umbra_json *j)
{
    umbra_json_open(j, '{');
    umbra_json_key(j, "a\"b");
    umbra_json_open(j, '[');
    umbra_json_int(j, -1);
    umbra_json_uint(j, UINT64_MAX);
    umbra_json_double(j, 0.5, 9);
    umbra_json_double(j, NAN, 9);
    umbra_json_bool(j, true);
    umbra_json_open(j, '[');
    umbra_json_close(j, ']');
    umbra_json_close(j, ']');
    umbra_json_key(j, "s");
    umbra_json_string(j, "\n\x01\xff\xe2\x82\xac", 6);
    umbra_json_key(j, "n");
    umbra_json_text(j, NULL);
    umbra_json_close(j, '}');
}

static void json_is_valid(void **state)
{
    (void)state;
    char *text = written(write_sample);
    assert_string_equal(text, "{\"a\\\"b\":[-1,18446744073709551615,0.5,null,true,[]],"
                              "\"s\":\"\\n\\u0001\xef\xbf\xbd\xe2\x82\xac\",\"n\":null}");
    free(text);
}

static void allocation_checks_overflow(void **state)
{
    (void)state;
    assert_null(umbra_calloc(SIZE_MAX / 2, 3));
    assert_null(umbra_reallocarray(NULL, SIZE_MAX / 2, 3));
    assert_null(umbra_aligned_alloc(64, SIZE_MAX - 8));
    void *p = umbra_aligned_alloc(4096, 5);
    assert_int_equal((uintptr_t)p % 4096, 0);
    umbra_free(p);
    umbra_memory_fail_after(2);
    void *first = umbra_calloc(1, 1);
    assert_non_null(first);
    assert_null(umbra_calloc(1, 1));
    void *third = umbra_calloc(1, 1);
    assert_non_null(third);
    umbra_free(first);
    umbra_free(third);
}

static void files_are_read_whole(void **state)
{
    (void)state;
    int fd;
    uint64_t bytes;
    umbra_error err;
    assert_int_equal(umbra_file_open(&fd, "no/such/file", &bytes, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "no/such/file"));
    assert_int_equal(umbra_file_open(&fd, "tests", &bytes, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "directory"));
    assert_int_equal(umbra_file_open(&fd, "/dev/null", &bytes, &err), UMBRA_E_IO);
    assert_int_equal(umbra_file_open(&fd, "LICENSE", &bytes, &err), 0);
    char *data = malloc(bytes + 1);
    assert_int_equal(umbra_file_read(fd, "LICENSE", data, bytes, 0, &err), 0);
    assert_int_equal(umbra_file_read(fd, "LICENSE", data, bytes + 1, 0, &err), UMBRA_E_IO);
    assert_true(err.has_offset && err.offset == bytes);
    free(data);
    close(fd);
}

static void random_numbers_are_reproducible(void **state)
{
    (void)state;
    umbra_random a, b;
    umbra_random_seed(&a, 42);
    umbra_random_seed(&b, 42);
    double sum = 0, squares = 0;
    for (int i = 0; i < 20000; i++) {
        assert_true(umbra_random_u64(&a) == umbra_random_u64(&b));
        double u = umbra_random_unit(&a), n = umbra_random_normal(&a);
        assert_true(u >= 0 && u < 1);
        assert_true(umbra_random_below(&a, 7) < 7);
        sum += n;
        squares += n * n;
        b = a;
    }
    assert_true(fabs(sum / 20000) < 0.03 && fabs(squares / 20000 - 1) < 0.05);
}

static void types_have_sizes(void **state)
{
    (void)state;
    assert_string_equal(umbra_dtype_get(UMBRA_Q4_0).name, "Q4_0");
    assert_int_equal(umbra_dtype_row_bytes(umbra_dtype_get(UMBRA_Q8_0), 64), 68);
    assert_string_equal(umbra_dtype_get(40).name, "NVFP4");
    assert_int_equal(umbra_dtype_row_bytes(umbra_dtype_get(UMBRA_NVFP4), 128), 72);
    assert_null(umbra_dtype_get(4).name);
    assert_null(umbra_dtype_get(UINT32_MAX).name);
}

static void the_system_answers(void **state)
{
    (void)state;
    assert_true(umbra_system_processors() >= 1);
    uint64_t rss = umbra_system_rss(); /* first: it may grow */
    assert_true(rss > 0 && umbra_system_rss_max() >= rss);
    umbra_memory_bounds m;
    umbra_system_memory("", &m);
    assert_true(m.free.bytes > 0 && m.free.bytes <= m.kill.bytes);
}

static void plain_text_obeys_nobody(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *shown;
        size_t size;
    } cases[] = {
        {"a \"b\" \\c", "a \"b\" \\c", 32},
        {"\x1b[31mred\a", "\\x1b[31mred\\x07", 32},
        {"\xc2\x9b", "\\xc2\\x9b", 32}, /* a control character of two bytes */
        {"caf\xe9", "caf\\xe9", 32},
        {"\xc3\xa9\xc3\xa9\xc3\xa9", "\xc3\xa9\xc3\xa9", 6},
        {"\xc3\xa9\xc3\xa9\xc3\xa9", "\xc3\xa9\xc3\xa9", 5},
        {"ab\n", "ab", 6}, /* no half of an escape */
        {"", "", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[32];
        umbra_plain_text(out, cases[i].size, cases[i].raw, strlen(cases[i].raw));
        assert_string_equal(out, cases[i].shown);
    }
    umbra_error err;
    umbra_fail(&err, UMBRA_E_IO, "%s: cannot open", "a\x1b]0;b\n");
    assert_string_equal(err.message, "a\\x1b]0;b\\x0a: cannot open");
}

static uint64_t own_now(void *user)
{
    return *(uint64_t *)user;
}

static void own_wait(void *user, uint64_t ns)
{
    *(uint64_t *)user = ns;
}

static void a_clock_can_stand_in_for_the_machines(void **state)
{
    (void)state;
    uint64_t now = 7, before = umbra_clock_ns();
    const umbra_clock own = {own_now, own_wait, &now}, *real = umbra_clock_real();
    umbra_clock_replace(&own);
    assert_int_equal(umbra_clock_ns(), 7);
    real->wait_until(real->user, UINT64_C(1) << 60); /* no time passes */
    assert_int_equal(real->now_ns(real->user), UINT64_C(1) << 60);
    umbra_clock_replace(NULL);
    assert_true(umbra_clock_ns() >= before && umbra_clock_ns() != now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_say_what),
        cmocka_unit_test(long_messages_keep_whole_characters),
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(foreign_text_is_quoted),
        cmocka_unit_test(plain_text_obeys_nobody),
        cmocka_unit_test(json_is_valid),
        cmocka_unit_test(allocation_checks_overflow),
        cmocka_unit_test(files_are_read_whole),
        cmocka_unit_test(random_numbers_are_reproducible),
        cmocka_unit_test(types_have_sizes),
        cmocka_unit_test(a_clock_can_stand_in_for_the_machines),
        cmocka_unit_test(the_system_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
