/* The report of a benchmark: its verdicts, its charts, and foreign text in it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/bench/fixture.h"
#include "support/html.h"

/* The report, well formed and escaped; free() it. */
static char *report_of(const umbra_bench *b)
{
    umbra_error err;
    const char *path = temporary("bench.html");
    if (umbra_bench_report(b, path, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    char *html = whole_file(path);
    assert_non_null(html);
    unlink(path);
    assert_well_formed(html);
    assert_escaped(html);
    assert_null(strstr(html, "inf\""));
    assert_null(strstr(html, ">inf"));
    return html;
}

static int count(const char *html, const char *what)
{
    int n = 0;
    for (const char *c = strstr(html, what); c; c = strstr(c + 1, what))
        n++;
    return n;
}

static void assert_has(const char *html, const char *what)
{
    if (!strstr(html, what))
        fail_msg("the report lacks: %s", what);
}

static void verdicts_follow_the_figures(void **state)
{
    (void)state;
    umbra_bench *b = fixture_bench(3, FIXTURE_RESIDENT | FIXTURE_PEER);
    char *html = report_of(b);
    assert_has(html, "<strong>shadow</strong> was fastest with 130.0&#160;tokens/s, "
                     "30.0&#160;% faster than off (100.0); against off, previous was "
                     "3.0&#160;% slower, gate was 20.0&#160;% slower, auto was 25.0&#160;% "
                     "faster; oracle, which knows what comes, was 50.0&#160;% faster; the "
                     "<strong>disk</strong> limits");
    assert_has(html, "the <strong>processor</strong> limits: C is 4.20&#160;ms per token, I only "
                     "2.25&#160;ms");
    assert_has(html, "<strong>neither disk nor processor</strong> limits");
    assert_has(html, "<b>−20.0&#160;%</b>");
    assert_has(html, "<td>6.50</td>"); /* 130 to the peer's 20 */
    assert_int_equal(count(html, "<svg class=\"gauge\""), 6 * 7);
    assert_int_equal(count(html, "<svg class=\"timeline\""), 6 * 5);
    assert_int_equal(count(html, "<h2>"), 8);
    free(html);
    umbra_bench_free(&b);
}

/* Where off is the fastest, and where the order may be chance, the report says so. */
static void losses_are_told(void **state)
{
    (void)state;
    umbra_bench *b = fixture_bench(1, FIXTURE_RESIDENT);
    for (int i = 0; i < b->n_rows; i++)
        if (strcmp(b->rows[i].policy, "off") == 0)
            b->rows[i].tok_s = (umbra_spread){200, 190, 210};
    char *html = report_of(b);
    assert_has(html, "<strong>off</strong> was fastest with 200.0&#160;tokens/s; reading ahead did "
                     "not pay: against off, previous was 51.5&#160;% slower");
    assert_has(html, "oracle, which knows what comes, was 25.0&#160;% slower");
    assert_null(strstr(html, "Largest gain"));
    free(html);
    for (int i = 0; i < b->n_rows; i++)
        if (strcmp(b->rows[i].policy, "off") == 0)
            b->rows[i].tok_s = (umbra_spread){125, 110, 140};
    html = report_of(b);
    assert_has(html, "than off (125.0), though their rounds overlap");
    free(html);
    umbra_bench_free(&b);
}

static void foreign_text_is_escaped(void **state)
{
    (void)state;
    umbra_bench *b = fixture_bench(2, FIXTURE_HOSTILE | FIXTURE_PEER);
    char *html = report_of(b);
    assert_has(html, "<title>Speed of &lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;");
    assert_has(html, "<pre>&lt;script&gt;");
    assert_has(html, "C is an estimate");
    free(html);
    umbra_bench_free(&b);
}

static void one_budget_has_no_line(void **state)
{
    (void)state;
    umbra_bench *b = fixture_bench(1, FIXTURE_RESIDENT);
    char *html = report_of(b);
    assert_has(html, "One budget was measured");
    free(html);
    umbra_bench_free(&b);
}

static void wide_budgets_take_a_logarithmic_scale(void **state)
{
    (void)state;
    umbra_bench *b = fixture_bench(2, 0);
    for (int i = 0; i < b->n_rows; i++)
        if (b->rows[i].ram_bytes == 80000000)
            b->rows[i].ram_bytes = 1600000000;
    char *html = report_of(b);
    assert_has(html, "budget, GB");
    assert_has(html, ">0.2</text>");
    assert_has(html, ">0.5</text>");
    free(html);
    umbra_bench_free(&b);
}

/* Rows of zeros, no off, only the oracle, only what is resident, nothing at all, a silent peer. */
static void little_is_reported_whole(void **state)
{
    (void)state;
    umbra_bench *b = fixture_bench(2, FIXTURE_RESIDENT | FIXTURE_PEER);
    umbra_bench_row *rows = b->rows;
    b->against_tok_s = (umbra_spread){0, 0, 0};
    b->kernels = NULL;
    b->model[0] = 0;
    char *html = report_of(b);
    assert_has(html, "named no speed");
    free(html);
    for (int i = 0; i < 4; i++) { /* without off; only oracle; only resident; nothing */
        static const int first[] = {2, 6, 0, 0}, n[] = {3, 1, 1, 0};
        b->rows = rows + first[i];
        b->n_rows = n[i];
        html = report_of(b);
        static const char *const texts[] = {"off was not measured", "only the oracle was measured",
                                            "No policy was measured", "No policy was measured"};
        assert_has(html, texts[i]);
        free(html);
    }
    b->rows = rows;
    b->n_rows = 7;
    umbra_bench_row zeros[7] = {{0}};
    for (int i = 0; i < 7; i++) {
        zeros[i].policy = rows[i].policy;
        zeros[i].io = rows[i].io;
    }
    b->rows = zeros;
    html = report_of(b);
    assert_has(html, "off reached no speed");
    assert_has(html, "No token was recorded here");
    free(html);
    b->rows = rows;
    b->n_rows = 25;
    umbra_bench_free(&b);
}

static void report_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    umbra_error err;
    umbra_bench *b = fixture_bench(1, 0);
    const char *nowhere = "/nonexistent/folder/bench.html";
    assert_int_equal(umbra_bench_report(b, nowhere, &err), UMBRA_E_IO);
    assert_has(err.message, nowhere);
    for (long n = 1; n <= 4; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_bench_report(b, temporary("never.html"), &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        assert_null(whole_file(temporary("never.html")));
    }
    umbra_bench_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_follow_the_figures),
        cmocka_unit_test(losses_are_told),
        cmocka_unit_test(foreign_text_is_escaped),
        cmocka_unit_test(one_budget_has_no_line),
        cmocka_unit_test(wide_budgets_take_a_logarithmic_scale),
        cmocka_unit_test(little_is_reported_whole),
        cmocka_unit_test(report_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
