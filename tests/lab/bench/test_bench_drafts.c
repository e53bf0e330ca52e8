/* Ways to draft in a benchmark: their words, and that the text is followed bit for bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "lab/bench/bench.h"

static void words_name_ways_to_draft(void **state)
{
    (void)state;
    umbra_bench_draft d;
    assert_int_equal(umbra_bench_parse_draft("lookup:4", &d, NULL), 0);
    assert_true(d.source == UMBRA_DRAFT_LOOKUP && d.most == 4 && !d.told);
    assert_int_equal(umbra_bench_parse_draft("auto", &d, NULL), 0);
    assert_true(d.source == UMBRA_DRAFT_AUTO && d.most == 0 && !d.told);
    assert_int_equal(umbra_bench_parse_draft("told:0.75", &d, NULL), 0);
    assert_true(d.told && d.agree == 0.75 && d.most == 0);
    assert_int_equal(umbra_bench_parse_draft("told:1:8", &d, NULL), 0);
    assert_true(d.told && d.agree == 1 && d.most == 8);
}

static void other_words_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",          "magic",     "lookup:",     "lookup:0",
                                      "lookup:17", "told:",     "told:1.5",    "told:-1",
                                      "told:x",    "told:1:17", "told:0.5:1x", "lookup:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        umbra_bench_draft d;
        umbra_error err = {0};
        assert_int_equal(umbra_bench_parse_draft(bad[i], &d, &err), UMBRA_E_ARGUMENT);
        assert_non_null(strstr(err.message, "told:SHARE"));
    }
}

/* The rows of a short benchmark. A text that is followed otherwise than it was written fails it. */
static void drafts_are_rows_of_the_table(void **state)
{
    (void)state;
    static const char *const words[] = {"off", "lookup:2", "told:1:3", "told:0.5", "auto"};
    static const char *const names[] = {"off", "off+lookup:2", "off+told:1:3", "off+told:0.5",
                                        "off+auto"};
    static const uint64_t ram[] = {40000000};
    static const char *const io[] = {"sim:2G,20us"};
    static const umbra_policy policies[] = {UMBRA_POLICY_OFF};
    const umbra_bench_options o = {.engine.threads = 1,
                                   .ram = ram,
                                   .n_ram = 1,
                                   .io = io,
                                   .n_io = 1,
                                   .policies = policies,
                                   .n_policies = 1,
                                   .warm_tokens = 3,
                                   .tokens = 16,
                                   .rounds = 1,
                                   .drafts = words,
                                   .n_drafts = 5};
    umbra_model *model;
    umbra_bench *b;
    umbra_error err = {0};
    assert_int_equal(umbra_model_open(&model, "models/tiny-q8_0.gguf", NULL), 0);
    if (umbra_bench_model(&b, model, &o, &err) != 0)
        fail_msg("%s", err.message);
    int first = strcmp(b->rows[0].policy, "resident") == 0;
    assert_int_equal(b->n_rows, first + 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(b->rows[first + i].policy, names[i]);
        const umbra_draft_stats *d = &b->rows[first + i].drafts;
        assert_int_equal(d->tokens, i == 0 ? 0 : 16);
    }
    const umbra_draft_stats *told = &b->rows[first + 2].drafts;
    assert_int_equal(told->steps, 4); /* of four tokens each */
    assert_int_equal(told->drafted[UMBRA_DRAFT_AUTO], 12);
    assert_int_equal(told->accepted[UMBRA_DRAFT_AUTO], 12);
    assert_int_equal(b->rows[first].drafts.source, UMBRA_DRAFT_OFF);
    umbra_bench_free(&b);
    umbra_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_name_ways_to_draft),
        cmocka_unit_test(other_words_are_refused),
        cmocka_unit_test(drafts_are_rows_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
