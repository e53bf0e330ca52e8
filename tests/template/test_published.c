/* Published chat templates against what the reference renders, where ../shared has them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "shared.h"

/* "a/NAME.CASE.json" with its last `parts` parts behind dots replaced by the suffix. */
static char *beside(const char *path, int parts, const char *suffix, size_t *bytes)
{
    char other[512];
    snprintf(other, sizeof other - 16, "%s", path);
    for (int i = 0; i < parts; i++)
        *strrchr(other, '.') = '\0';
    strcat(other, suffix);
    return read_whole(other, bytes);
}

static bool as_wanted(const char *path)
{
    size_t source_bytes, case_bytes, bytes = 0;
    char *source = beside(path, 2, ".jinja", &source_bytes), *j = read_whole(path, &case_bytes);
    char *text = beside(path, 1, ".txt", &bytes), *words = beside(path, 1, ".err", &bytes);
    umbra_template_output out = {0};
    umbra_error err = {0};
    bool good = source && j && (text || words);
    int rc = good ? render_text(source, source_bytes, j, NULL, &out, &err) : UMBRA_E_IO;
    if (good && words)
        good = rc == UMBRA_E_ARGUMENT && strstr(err.message, words);
    else if (good)
        good = rc == UMBRA_OK && out.bytes == bytes && memcmp(out.text, text, bytes) == 0;
    if (!good)
        print_error("%s: %s\n", path, rc == UMBRA_OK ? "other bytes than wanted" : err.message);
    umbra_template_output_free(&out);
    free(source);
    free(j);
    free(text);
    free(words);
    return good;
}

static void published_templates_render_byte_for_byte(void **state)
{
    (void)state;
    char folder[256], pattern[300];
    glob_t found;
    if (!shared_path(folder, sizeof folder, "templates")) {
        say_skipped("published chat templates", folder);
        skip();
    }
    snprintf(pattern, sizeof pattern, "%s/*.json", folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    size_t failures = 0;
    for (size_t i = 0; i < found.gl_pathc; i++)
        failures += !as_wanted(found.gl_pathv[i]);
    assert_true(found.gl_pathc > 400);
    globfree(&found);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_templates_render_byte_for_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
