/* Stop strings: found in whatever pieces the text comes, and nothing of them is handed out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <umbra/stops.h>

enum { MOST = 4, ROOM = 256 };

typedef struct stop_case {
    const char *stops[MOST];
    const char *text, *out;
    int found;
} stop_case;

static const stop_case cases[] = {
    {{0}, "all of it", "all of it", -1},
    {{"END"}, "some END more", "some ", 0},
    {{"END"}, "some EN", "some EN", -1},
    {{"abc", "b"}, "xabd", "xa", 1},
    {{"abc", "b"}, "xabc", "x", 0},
    {{"abc", "b"}, "xab", "xa", 1},
    {{"a", "ab"}, "xab", "x", 0},
    {{"aab"}, "aaaab", "aa", 0},
    {{"\n\n", "###"}, "one\ntwo##\n\nthree", "one\ntwo##", 0},
    {{"\xc3\xa5"}, "f\xc3\xa5", "f", 0},
    {{"x"}, "\xc3\xa5\xf0\x9f\xa6\x8a.", "\xc3\xa5\xf0\x9f\xa6\x8a.", -1},
    {{"x"}, "bad \xff\xc3", "bad \xff\xc3", -1},
};

static void assert_case(const stop_case *c, size_t piece)
{
    umbra_stops *s;
    char got[ROOM];
    size_t used = 0, n, at = 0, length = strlen(c->text);
    const char *out;
    int count = 0, rc = 0;
    while (count < MOST && c->stops[count])
        count++;
    assert_int_equal(umbra_stops_open(&s, c->stops, count, NULL), UMBRA_OK);
    for (; rc == 0 && at < length; at += piece) {
        rc = umbra_stops_take(s, c->text + at, at + piece < length ? piece : length - at, &out, &n);
        memcpy(got + used, out, n);
        used += n;
    }
    umbra_stops_end(s, &out, &n);
    memcpy(got + used, out, n);
    used += n;
    got[used] = '\0';
    assert_string_equal(got, c->out);
    assert_int_equal(umbra_stops_found(s), c->found);
    umbra_stops_close(&s);
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece <= strlen(cases[i].text); piece++)
            assert_case(&cases[i], piece);
}

/* What is handed out ends where a character does, and as soon as it can. */
static void characters_are_whole(void **state)
{
    (void)state;
    umbra_stops *s;
    const char *out;
    size_t n;
    assert_int_equal(umbra_stops_open(&s, NULL, 0, NULL), UMBRA_OK);
    assert_int_equal(umbra_stops_take(s, "a\xf0\x9f", 3, &out, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(umbra_stops_take(s, "\xa6", 1, &out, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(umbra_stops_take(s, "\x8a", 1, &out, &n), 0);
    assert_int_equal(n, 4);
    umbra_stops_close(&s);
    umbra_stops_close(&s);
}

static void an_empty_one_is_refused(void **state)
{
    (void)state;
    umbra_stops *s;
    umbra_error err = {0};
    const char *const texts[] = {"a", ""};
    assert_int_equal(umbra_stops_open(&s, texts, 2, &err), UMBRA_E_ARGUMENT);
    assert_null(s);
    assert_string_equal(err.message, "stop string 2 is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(characters_are_whole),
        cmocka_unit_test(an_empty_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
