/* The JSON cursor: what is JSON and what is not, and strings, keys and numbers as they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_reader.h"

static umbra_json_reader reader_of(char room[256], const char *text)
{
    snprintf(room, 256, "%s", text);
    return (umbra_json_reader){.text = room, .n = strlen(room)};
}

static bool is_json(const char *text)
{
    char room[256];
    umbra_json_reader r = reader_of(room, text);
    bool skipped = umbra_json_skip(&r) && umbra_json_peek(&r) == '\0' && r.at == r.n;
    assert_string_equal(room, text); /* left as it is */
    return skipped;
}

static void test_values_are_skipped(void **state)
{
    (void)state;
    static const char *const good[] = {"0",
                                       "-0",
                                       "12.5",
                                       "-1e9",
                                       "1E+2",
                                       "1e-300",
                                       "true",
                                       "false",
                                       " null ",
                                       "\"\"",
                                       "\"a\\n\\u00e4\\ud83d\\ude00\"",
                                       "[]",
                                       "{}",
                                       "[1, [2, {\"a\": null}], \"x\"]",
                                       "{\"a\": {\"b\": [1]}, \"c\": \"d\"}"};
    static const char *const bad[] = {
        "",         "+1",       "01",         "1.",      ".5",        "1e",          "-",
        "tru",      "nul",      "\"",         "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\t\"",
        "\"\xff\"", "[",        "[1",         "[1,]",    "[,1]",      "[1 2]",       "{",
        "{\"a\"}",  "{\"a\":}", "{\"a\":1,}", "{1: 2}",  "{\"a\" 1}", "[1}",         "1 2",
        "nan"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!is_json(good[i]))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (is_json(bad[i]))
            fail_msg("%s is taken", bad[i]);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    char text[256] = "";
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_true(is_json(text));
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_false(is_json(text));
}

static void test_members_are_read(void **state)
{
    (void)state;
    char room[256];
    umbra_json_reader r = reader_of(
        room, " { \"a\\u0041\\\"\" : 18446744073709551615 , \"b\" : \"\\ud83d\\ude00\" }");
    const char *key, *text;
    uint64_t n;
    assert_true(umbra_json_take(&r, '{'));
    assert_true(umbra_json_read_key(&r, &key) && strcmp(key, "aA\"") == 0);
    assert_true(umbra_json_read_uint(&r, &n) && n == UINT64_MAX);
    assert_int_equal(umbra_json_more(&r, '}'), 1);
    assert_true(umbra_json_read_key(&r, &key) && strcmp(key, "b") == 0);
    assert_true(umbra_json_read_string(&r, &text));
    assert_string_equal(text, "\xf0\x9f\x98\x80");
    assert_int_equal(umbra_json_more(&r, '}'), 0);
    assert_int_equal(r.at, r.n);
}

static void test_refusals_name_their_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t at;
        const char *words;
    } cases[] = {{"  18446744073709551616", 2, "whole number"},
                 {"007", 0, "whole number"},
                 {"1.5", 0, "whole number"},
                 {"-1", 0, "whole number"}};
    char room[256];
    uint64_t n;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        umbra_json_reader r = reader_of(room, cases[i].text);
        assert_false(umbra_json_read_uint(&r, &n));
        assert_int_equal(r.at, cases[i].at);
        assert_non_null(strstr(r.problem, cases[i].words));
    }
    const char *text;
    umbra_json_reader r = reader_of(room, "\"ab\\u0000\"");
    assert_false(umbra_json_read_string(&r, &text));
    assert_int_equal(r.at, 3);
    r = reader_of(room, "\"a\" 1");
    assert_false(umbra_json_read_key(&r, &text));
    assert_int_equal(r.at, 4);
    r = reader_of(room, " ;");
    assert_int_equal(umbra_json_more(&r, ']'), -1);
    assert_int_equal(r.at, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_skipped),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_members_are_read),
        cmocka_unit_test(test_refusals_name_their_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
