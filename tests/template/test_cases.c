/* Small templates and what they render to: cases/NAME.json. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static json_t *load(const char *name)
{
    char path[128];
    json_error_t wrong;
    snprintf(path, sizeof path, "tests/template/cases/%s.json", name);
    json_t *j = json_load_file(path, 0, &wrong);
    if (!j)
        fail_msg("%s: %s", path, wrong.text);
    return j;
}

/* Of a case: {"extra": VARIABLES}, so that none of them means something to the reader. */
static char *variables_of(json_t *j)
{
    json_t *whole = json_pack("{s:O}", "extra", json_object_get(j, "variables"));
    char *text = json_dumps(whole, 0);
    json_decref(whole);
    return text;
}

static void renders_as_expected(void **state)
{
    const char *name = *state;
    json_t *j = load(name), *row;
    char *variables = variables_of(j);
    size_t i, failures = 0;
    json_array_foreach(json_object_get(j, "cases"), i, row)
    {
        json_t *source = json_object_get(row, "template"),
               *wanted = json_object_get(row, "expected");
        umbra_template_output out;
        umbra_error err = {0};
        int rc = render_text(json_string_value(source), json_string_length(source), variables, NULL,
                             &out, &err);
        bool same = rc == UMBRA_OK && out.bytes == json_string_length(wanted) &&
                    memcmp(out.text, json_string_value(wanted), out.bytes) == 0;
        if (!same)
            print_error("%s\n  wanted: %s\n  got:    %s\n", json_string_value(source),
                        json_string_value(wanted), rc == UMBRA_OK ? out.text : err.message);
        failures += !same;
        umbra_template_output_free(&out);
    }
    free(variables);
    json_decref(j);
    assert_true(i > 0);
    assert_int_equal(failures, 0);
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    json_t *j = load("refused"), *source;
    char *variables = variables_of(j);
    size_t i, failures = 0;
    json_array_foreach(json_object_get(j, "refused"), i, source)
    {
        umbra_template_output out;
        umbra_error err = {0};
        int rc = render_text(json_string_value(source), json_string_length(source), variables, NULL,
                             &out, &err);
        bool refused =
            rc != UMBRA_OK && rc == err.status && strncmp(err.message, "line 1: ", 8) == 0;
        if (!refused)
            print_error("%s is not refused: %d %s\n", json_string_value(source), rc, err.message);
        failures += !refused;
        umbra_template_output_free(&out);
    }
    free(variables);
    json_decref(j);
    assert_true(i > 0);
    assert_int_equal(failures, 0);
}

/* [template, words of the message] */
static void says_what_is_wrong(void **state)
{
    (void)state;
    json_t *j = load("refused"), *row;
    char *variables = variables_of(j);
    size_t i, failures = 0;
    json_array_foreach(json_object_get(j, "told"), i, row)
    {
        json_t *source = json_array_get(row, 0);
        const char *words = json_string_value(json_array_get(row, 1));
        umbra_template_output out;
        umbra_error err = {0};
        int rc = render_text(json_string_value(source), json_string_length(source), variables, NULL,
                             &out, &err);
        bool told = rc != UMBRA_OK && rc == err.status && strstr(err.message, words) != NULL;
        if (!told)
            print_error("%s: %d \"%s\" does not say \"%s\"\n", json_string_value(source), rc,
                        err.message, words);
        failures += !told;
        umbra_template_output_free(&out);
    }
    free(variables);
    json_decref(j);
    assert_true(i > 0);
    assert_int_equal(failures, 0);
}

int main(void)
{
    static char whitespace[] = "whitespace", statements[] = "statements",
                expressions[] = "expressions", methods[] = "methods", filters[] = "filters",
                idioms[] = "idioms", corners[] = "corners";
    const struct CMUnitTest tests[] = {
        {"whitespace", renders_as_expected, NULL, NULL, whitespace},
        {"statements", renders_as_expected, NULL, NULL, statements},
        {"expressions", renders_as_expected, NULL, NULL, expressions},
        {"methods", renders_as_expected, NULL, NULL, methods},
        {"filters", renders_as_expected, NULL, NULL, filters},
        {"idioms", renders_as_expected, NULL, NULL, idioms},
        {"corners", renders_as_expected, NULL, NULL, corners},
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
