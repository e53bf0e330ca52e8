/* The command umbra bench MODEL: its JSON, its table, its refusals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

static const char tiny[] = "models/tiny-q8_0.gguf";
#define SHORT "--rounds 2 --tokens 5 --warm 3 -t 2"

static double number(const json_t *j, const char *key)
{
    const json_t *value = json_object_get(j, key);
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        fail_msg("no number \"%s\"", key);
    return json_number_value(value);
}

static const char *text(const json_t *j, const char *key)
{
    const char *value = json_string_value(json_object_get(j, key));
    if (!value)
        fail_msg("no text \"%s\"", key);
    return value;
}

static void check_spread(const json_t *j)
{
    const json_t *s = json_object_get(j, "tok_s");
    assert_true(number(s, "min") > 0);
    assert_true(number(s, "min") <= number(s, "median"));
    assert_true(number(s, "median") <= number(s, "max"));
}

static void check_foretold(const json_t *foretold, const char *policy)
{
    static const char *const halves[] = {"within", "beyond"};
    double all = number(foretold, "layers");
    bool off = strcmp(policy, "off") == 0 || strcmp(policy, "resident") == 0;
    assert_true(off ? all == 0 : number(foretold, "missing") >= 0);
    for (int i = 0; i < 2; i++) {
        const json_t *half = json_object_get(foretold, halves[i]);
        assert_int_equal(json_array_size(half), 4);
        for (size_t d = 0; d < 4; d++) {
            const json_t *of = json_array_get(half, d);
            double recall = number(of, "recall"), missing = number(of, "recall_missing");
            assert_true(number(of, "layers") <= all && recall <= 1 && missing <= 1);
            if (strcmp(policy, "oracle") == 0 && number(of, "layers") > 0)
                assert_true(recall == 1);
        }
    }
}

static void check_row(const json_t *row, const char *policy, const char *io)
{
    static const char *const numbers[] = {
        "compute_s",    "io_s",       "bound_share",  "bytes_per_token",
        "useful_bytes", "late_bytes", "wasted_bytes", "stall_s_per_token"};
    assert_string_equal(text(row, "policy"), policy);
    assert_string_equal(text(row, "io"), io);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_true(number(row, numbers[i]) >= 0);
    check_spread(row);
    assert_true(number(row, "compute_s") > 0);
    double useful = 0, late = 0, wasted = 0;
    const json_t *distances = json_object_get(row, "distances");
    assert_int_equal(json_array_size(distances), 4);
    for (size_t d = 0; d < 4; d++) {
        const json_t *distance = json_array_get(distances, d);
        useful += number(distance, "useful_bytes");
        late += number(distance, "late_bytes");
        wasted += number(distance, "wasted_bytes");
    }
    assert_true(fabs(useful - number(row, "useful_bytes")) < 1);
    assert_true(fabs(late - number(row, "late_bytes")) < 1);
    assert_true(fabs(wasted - number(row, "wasted_bytes")) < 1);
    if (strcmp(policy, "off") == 0)
        assert_true(useful + late + wasted == 0 && number(row, "bytes_per_token") > 0);
    assert_int_equal(json_array_size(json_object_get(row, "layer_stall_s")), 8);
    check_foretold(json_object_get(row, "foretold"), policy);
}

static void json_has_its_keys(void **state)
{
    (void)state;
    result r = umbra("bench %s --ram 22M 28M --io threads sim:2G,20us --policy off shadow auto "
                     "oracle --json " SHORT,
                     tiny);
    json_t *j = parse(&r);
    assert_true(strlen(text(j, "model")) > 0);
    assert_int_equal(integer(j, "rounds"), 2);
    assert_int_equal(integer(j, "tokens"), 5);
    assert_null(json_object_get(j, "peer"));
    const json_t *rows = json_object_get(j, "rows");
    static const char *const policies[] = {"off", "shadow", "auto", "oracle"};
    static const char *const ios[] = {"threads", "sim:2G,20us"};
    assert_int_equal(json_array_size(rows), 1 + 2 * 2 * 4);
    const json_t *resident = json_array_get(rows, 0);
    assert_string_equal(text(resident, "policy"), "resident");
    for (int io = 0; io < 2; io++)
        for (int ram = 0; ram < 2; ram++)
            for (int p = 0; p < 4; p++) {
                const json_t *row = json_array_get(rows, (size_t)(1 + (io * 2 + ram) * 4 + p));
                check_row(row, policies[p], ios[io]);
                assert_int_equal(integer(row, "ram_bytes"), ram ? 28000000 : 22000000);
            }
    json_decref(j);
}

static void a_peer_runs_between_the_rounds(void **state)
{
    (void)state;
    result r = umbra("bench %s --ram 24M --io sim:2G,20us --policy off --json " SHORT
                     " --against 'echo took 3 s, 12.5 t/s'",
                     tiny);
    json_t *j = parse(&r);
    const json_t *peer = json_object_get(j, "peer");
    assert_string_equal(text(peer, "command"), "echo took 3 s, 12.5 t/s");
    check_spread(peer);
    assert_true(number(json_object_get(peer, "tok_s"), "median") == 12.5);
    json_decref(j);
    assert_fails(2, "cannot run",
                 "bench %s --ram 24M --policy off " SHORT " --against /no/such/program", tiny);
}

static void the_table_names_what_it_shows(void **state)
{
    (void)state;
    result r = umbra("bench %s --ram 24M --io sim:2G,20us " SHORT, tiny);
    assert_int_equal(r.code, 0);
    static const char *const words[] = {"resident", "off ",    "previous",  "gate ",      "shadow ",
                                        "auto ",    "oracle ", "the bound", "sim:2G,20us"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(r.out, words[i]))
            fail_msg("no \"%s\" in %s", words[i], r.out);
    free(r.out);
}

static void misuse_is_explained(void **state)
{
    (void)state;
    assert_fails(2, "no policy is called \"magic\"", "bench %s --policy magic " SHORT, tiny);
    assert_fails(2, "no I/O backend is called \"tape\"", "bench %s --io tape " SHORT, tiny);
    assert_fails(2, "sim:500M,100us", "bench %s --io sim:fast " SHORT, tiny);
    assert_fails(2, "not a budget: much", "bench %s --ram much " SHORT, tiny);
    assert_fails(1, "MB", "bench %s --ram 1M " SHORT, tiny);
    assert_fails(1, "no/model", "bench no/model.gguf");
    assert_fails(1, "no/shadow", "bench %s --ram 24M --policy shadow --shadow no/shadow " SHORT,
                 tiny);
    assert_fails(2, "1 to 4", "bench %s --ram 24M --policy gate --every 9 " SHORT, tiny);
    assert_fails(2, "do not fit", "bench %s --ram 24M --policy off --tokens 100000", tiny);
    assert_fails(2, "not a valid value", "bench %s --rounds -1", tiny);
    assert_fails(2, "not a valid value", "bench %s --tokens -1", tiny);
    assert_fails(2, "not a valid value", "bench %s --warm -1", tiny);
    assert_fails(2, "--rounds N: 1 to 1000", "bench %s --rounds 100000", tiny);
    static const char *const zeros[] = {"--rounds", "--tokens", "--warm", "--every", "--threads"};
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
        assert_fails(2, zeros[i], "bench %s %s 0", tiny, zeros[i]);
    assert_fails(2, "not a budget: 0.5", "bench %s --ram 8M 0.5", tiny);
    assert_fails(2, "--calls N: 1 to", "bench predictor --calls 0");
    assert_fails(2, "--layers N: 5 to", "bench predictor --layers 0");
    assert_fails(2, "", "bench %s --fast", tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_its_keys),
        cmocka_unit_test(a_peer_runs_between_the_rounds),
        cmocka_unit_test(the_table_names_what_it_shows),
        cmocka_unit_test(misuse_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
