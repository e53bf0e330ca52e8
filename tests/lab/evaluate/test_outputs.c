/* An evaluation as JSON, as lines for a terminal and as a report. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "lab/report/html.h"
#include "lab/evaluate/synthetic.h"
#include "support/html.h"

/* What a printing function writes; free() it. */
static char *printed(void (*print)(const umbra_evaluation *, FILE *), const umbra_evaluation *e)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    assert_non_null(f);
    print(e, f);
    fclose(f);
    return text;
}

/* ---- JSON ---- */

static void assert_numbers(const json_t *list, size_t n, bool nulls)
{
    assert_true(json_is_array(list));
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++)
        assert_true(json_is_number(json_array_get(list, i)) ||
                    (nulls && json_is_null(json_array_get(list, i))));
}

static void assert_by_m(const json_t *object, const char *const *m)
{
    for (int i = 0; m[i]; i++)
        assert_numbers(json_object_get(object, m[i]), 4, false);
    assert_int_equal(json_object_size(object), 3);
}

static void json_has_the_agreed_keys(void **state)
{
    (void)state;
    static const char *const budgets[] = {"8", "12", "16", NULL}, *const tops[] = {"1", "4", "8",
                                                                                   NULL};
    for (int hostile = 0; hostile < 2; hostile++) {
        umbra_evaluation *e = synthetic_evaluation(hostile);
        char *text = printed(umbra_evaluation_json, e);
        json_error_t error;
        json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        if (!root)
            fail_msg("%s", error.text);
        assert_int_equal(json_integer_value(json_object_get(root, "k")), 8);
        assert_int_equal(json_integer_value(json_object_get(root, "layers")), 16);
        assert_numbers(json_object_get(root, "distances"), 4, false);
        const json_t *predictors = json_object_get(root, "predictors");
        assert_int_equal(json_array_size(predictors), 6 + 8);
        for (size_t i = 0; i < 6; i++) {
            const json_t *p = json_array_get(predictors, i);
            assert_true(json_is_string(json_object_get(p, "name")));
            assert_by_m(json_object_get(p, "recall"), budgets);
            assert_by_m(json_object_get(p, "all_k"), budgets);
            assert_by_m(json_object_get(p, "top"), tops);
            assert_numbers(json_object_get(p, "ece"), 4, i == 0);
            assert_numbers(json_object_get(p, "nll"), 4, i == 0);
            assert_true(json_is_integer(json_object_get(p, "bytes")));
            assert_true(json_is_integer(json_object_get(p, "macs")));
            assert_int_equal(json_array_size(json_object_get(p, "by_layer")), 16);
            assert_numbers(json_array_get(json_object_get(p, "curve"), 3), 25, false);
            assert_by_m(json_object_get(json_object_get(p, "source0"), "recall"), budgets);
        }
        for (size_t i = 6; i < 14; i++) {
            const json_t *p = json_array_get(predictors, i);
            bool walks = i % 4 == 0 || i % 4 == 1;
            assert_float_equal(json_number_value(json_object_get(p, "residency")),
                               i < 10 ? 0.3 : 0.5, 1e-6);
            assert_numbers(json_object_get(json_object_get(p, "recall"), "8"), 4, false);
            assert_numbers(json_object_get(json_object_get(p, "recall_missing"), "8"), 4, false);
            assert_numbers(json_object_get(p, "reach"), walks ? 16 : 4, true);
            assert_true(walks == json_is_array(json_object_get(p, "next_token_by_layer")));
        }
        const json_t *gate = json_object_get(json_array_get(predictors, 3), "recall");
        assert_float_equal(json_number_value(json_array_get(json_object_get(gate, "12"), 1)),
                           umbra_tally_recall(&e->rows[3].inner[1], 8, 12), 1e-5);
        json_decref(root);
        free(text);
        umbra_evaluation_free(&e);
    }
}

/* ---- terminal ---- */

/* At most 80 columns and nothing that a terminal would obey, whatever the names are. */
static void terminal_lines_are_safe_and_fit(void **state)
{
    (void)state;
    for (int hostile = 0; hostile < 2; hostile++) {
        umbra_evaluation *e = synthetic_evaluation(hostile);
        char *text = printed(umbra_evaluation_print, e);
        size_t left = strlen(text), columns = 0;
        for (const char *c = text; left > 0;) {
            size_t n = umbra_utf8_length(c, left);
            assert_true(n > 0);
            assert_true(*c == '\n' || (unsigned char)*c >= 0x20);
            columns = *c == '\n' ? 0 : columns + 1;
            assert_true(columns <= 80);
            c += n;
            left -= n;
        }
        assert_non_null(strstr(text, "oracle"));
        assert_non_null(strstr(text, "control, d = 0"));
        free(text);
        umbra_evaluation_free(&e);
    }
}

/* ---- HTML ---- */

static char *report_of(const umbra_evaluation *e)
{
    umbra_error err;
    const char *path = temporary("report.html");
    if (umbra_evaluation_report(e, path, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    char *html = whole_file(path);
    assert_non_null(html);
    unlink(path);
    return html;
}

static void report_is_well_formed_and_escaped(void **state)
{
    (void)state;
    for (int hostile = 0; hostile < 2; hostile++) {
        umbra_evaluation *e = synthetic_evaluation(hostile);
        char *html = report_of(e);
        assert_well_formed(html);
        assert_escaped(html);
        assert_non_null(strstr(html, "prefers-color-scheme:dark"));
        assert_non_null(strstr(html, "width=device-width"));
        if (hostile)
            assert_non_null(strstr(html, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"));
        free(html);
        umbra_evaluation_free(&e);
    }
}

/* Without shadows, calibration, frequencies and a second document there is less to show, and still
 * a whole page. */
static void report_of_little_is_well_formed(void **state)
{
    (void)state;
    umbra_evaluation *e = synthetic_evaluation(false);
    int rows = e->n_rows, shadows = e->n_shadows;
    for (int r = 0; r < rows; r++) {
        e->rows[r].forecast = UMBRA_EVAL_NO_FORECAST;
        for (int d = 0; d < 4; d++)
            e->rows[r].deviation[d] = NAN;
    }
    e->n_rows = 4;
    e->n_shadows = 0;
    e->calibration = (umbra_eval_amount){0, 0};
    e->frequency_from = NULL;
    char *html = report_of(e);
    assert_well_formed(html);
    assert_escaped(html);
    free(html);
    e->n_rows = 0;
    html = report_of(e);
    assert_well_formed(html);
    free(html);
    e->n_rows = rows;
    e->n_shadows = shadows;
    umbra_evaluation_free(&e);
}

static void report_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    umbra_error err;
    umbra_evaluation *e = synthetic_evaluation(false);
    const char *nowhere = "/nonexistent/folder/report.html";
    assert_int_equal(umbra_evaluation_report(e, nowhere, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, nowhere));
    for (long n = 1; n <= 3; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_evaluation_report(e, temporary("never.html"), &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        assert_null(whole_file(temporary("never.html")));
    }
    umbra_evaluation_free(&e);
}

static void heat_goes_from_dark_to_light(void **state)
{
    (void)state;
    for (int i = -2; i <= 12; i++) {
        char text[64] = "";
        FILE *f = fmemopen(text, sizeof text, "w");
        umbra_html_heat(f, i / 10.0);
        fclose(f);
        assert_int_equal(strlen(text), strlen("background:#000000;color:#000"));
        assert_non_null(strstr(text, i <= 3 ? "color:#fff" : i >= 6 ? "color:#000" : "color:#"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_the_agreed_keys),
        cmocka_unit_test(terminal_lines_are_safe_and_fit),
        cmocka_unit_test(report_is_well_formed_and_escaped),
        cmocka_unit_test(report_of_little_is_well_formed),
        cmocka_unit_test(report_is_written_whole_or_not_at_all),
        cmocka_unit_test(heat_goes_from_dark_to_light),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
