/* collect, train, eval, quantize-shadow: the way from a model to a shadow file, as a user goes it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define WORK UMBRA_TEST_DIR "/pipeline"

static const char tiny[] = "models/tiny-q8_0.gguf";

static int setup(void **state)
{
    (void)state;
    return system("rm -rf '" WORK "' && mkdir -p '" WORK "'");
}

static int teardown(void **state)
{
    (void)state;
    return system("rm -rf '" WORK "'");
}

static void collect_writes_and_reads(void **state)
{
    (void)state;
    result r = umbra("collect %s -o %s/train --tokens 4000 --seed 1 --ctx 128 --json", tiny, WORK);
    json_t *j = parse(&r);
    assert_true(integer(j, "tokens") >= 4000);
    assert_true(integer(j, "documents") > 10);
    assert_int_equal(json_string_length(json_object_get(j, "model_hash")), 32);
    json_decref(j);
    assert_non_null(strstr(r.err, "will write at most"));
    r = umbra("collect %s -o %s/test --tokens 1500 --seed 2 --ctx 128 --ram 30M --json", tiny,
              WORK);
    json_decref(parse(&r));
    r = umbra("collect %s -o %s/read --text tests/golden --dtype i8 --stride 2 --json", tiny, WORK);
    j = parse(&r);
    assert_true(integer(j, "tokens") > 200);
    json_decref(j);
    assert_fails(2, "", "collect %s -o %s/train --tokens 100", tiny,
                 WORK); /* it is there already */
    assert_fails(2, "-o DIR", "collect %s", tiny);
    assert_fails(2, "bf16|i8", "collect %s -o %s/x --dtype f64", tiny, WORK);
}

static void train_makes_a_shadow(void **state)
{
    (void)state;
    result r = umbra("train %s/train -o %s/tiny.st --epochs 3 --hidden 32 --averages none --json",
                     WORK, WORK);
    json_t *j = parse(&r);
    assert_int_equal(integer(j, "networks"), 8);
    const json_t *recall = json_object_get(j, "recall");
    assert_int_equal(json_array_size(json_object_get(recall, "4")), 4);
    json_decref(j);
    r = umbra(
        "train %s/train -o %s/seed.st --arch seed --scope shared --epochs 1 --hidden 64 --json",
        WORK, WORK);
    json_decref(parse(&r));
    assert_fails(2, "-o FILE", "train %s/train", WORK);
    assert_fails(1, "nowhere", "train %s/nowhere -o %s/x.st", WORK, WORK);
    assert_fails(2, "arch", "train %s/train -o %s/x.st --arch transformer", WORK, WORK);
}

static const json_t *predictor(const json_t *j, const char *name)
{
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(j, "predictors"), i,
                       p) if (strcmp(json_string_value(json_object_get(p, "name")), name) ==
                              0) return p;
    fail_msg("there is no predictor \"%s\"", name);
    return NULL;
}

static double recall_of(const json_t *p, const char *m, size_t d)
{
    return json_number_value(
        json_array_get(json_object_get(json_object_get(p, "recall"), m), d - 1));
}

static void eval_judges(void **state)
{
    (void)state;
    result r = umbra("eval %s/test --shadow %s/tiny.st %s/seed.st --report %s/report.html --json",
                     WORK, WORK, WORK, WORK);
    json_t *j = parse(&r);
    assert_int_equal(integer(j, "k"), 4);
    assert_int_equal(integer(j, "layers"), 8);
    assert_int_equal(json_array_size(json_object_get(j, "distances")), 4);
    const json_t *oracle = predictor(j, "oracle"), *gate = predictor(j, "gate");
    const json_t *shadow = predictor(j, "tiny");
    static const char *const budgets[] = {"4", "6", "8"};
    for (size_t d = 1; d <= 4; d++) {
        for (int b = 0; b < 3; b++)
            assert_true(recall_of(oracle, budgets[b], d) == 1);
        if (d > 1) /* so little text is not enough for d = 1 */
            assert_true(recall_of(shadow, "4", d) > recall_of(gate, "4", d));
        assert_true(recall_of(gate, "4", d) > 0.4);
    }
    assert_true(integer(shadow, "bytes") > 0 && integer(shadow, "macs") > 0);
    assert_int_equal(json_array_size(json_object_get(shadow, "ece")), 4);
    json_decref(j);
    assert_int_equal(system("grep -q '<html' '" WORK "/report.html'"), 0);
    /* What it was trained on does not judge it. */
    assert_fails(1, "tiny.st", "eval %s/train --shadow %s/tiny.st", WORK, WORK);
    assert_fails(1, "README.md", "eval %s/test --shadow README.md", WORK);
}

static void rounding_is_measured(void **state)
{
    (void)state;
    result r =
        umbra("quantize-shadow %s/tiny.st %s/tiny-i8.st --on %s/test --json", WORK, WORK, WORK);
    json_t *j = parse(&r);
    assert_true(integer(j, "bytes_after") * 3 < integer(j, "bytes_before"));
    for (size_t d = 0; d < 4; d++)
        assert_true(json_number_value(json_array_get(json_object_get(j, "lost"), d)) <= 0.002);
    json_decref(j);
    assert_fails(2, "f16", "quantize-shadow %s/tiny.st %s/x.st --weights f16", WORK, WORK);
}

static void predictions_are_timed(void **state)
{
    (void)state;
    result r = umbra("bench predictor --shape 256x64x4x32 --layers 6 --calls 50 --json");
    json_t *j = parse(&r);
    const json_t *rows = json_object_get(j, "rows");
    assert_int_equal(json_array_size(rows), 2);
    assert_true(json_number_value(json_object_get(json_array_get(rows, 0), "predict_us_p95")) > 0);
    json_decref(j);
    r = umbra("bench predictor --shadow %s/tiny.st --weights f32 --calls 50 --json", WORK);
    json_decref(parse(&r));
    assert_fails(2, "looks like", "bench predictor --shape 256x64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collect_writes_and_reads),
        cmocka_unit_test(train_makes_a_shadow),
        cmocka_unit_test(eval_judges),
        cmocka_unit_test(rounding_is_measured),
        cmocka_unit_test(predictions_are_timed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
