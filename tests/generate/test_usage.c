/* Usage files: counts over runs, pinned experts, and files that are not what they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <umbra/umbra.h>

static const char model_path[] = "models/tiny-q8_0.gguf";
static const char path[] = UMBRA_TEST_DIR "/usage.json";
static umbra_model *model;

static umbra_engine *open_engine(void)
{
    umbra_engine *engine;
    umbra_error err = {0};
    umbra_engine_options o = {.ram_bytes = 24000000, .threads = 1};
    if (umbra_engine_open(&engine, model, &o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    return engine;
}

static umbra_store_stats decode(umbra_engine *engine, int tokens)
{
    for (int i = 0; i < tokens; i++) {
        umbra_token t = {100 + 7 * i, 0, false};
        assert_int_equal(umbra_engine_eval(engine, &t, 1, NULL, NULL), 0);
    }
    umbra_store_stats s;
    umbra_engine_get_store_stats(engine, &s);
    return s;
}

static void test_counts_add_up_and_pinned_ones_are_there(void **state)
{
    (void)state;
    umbra_error err = {0};
    unlink(path);
    umbra_engine *first = open_engine();
    umbra_store_stats without = decode(first, 40);
    for (int i = 0; i < 2; i++) /* a second time it is read back and added to */
        if (umbra_usage_add(first, path, &err) != UMBRA_OK)
            fail_msg("%s", err.message);
    umbra_engine_close(&first);

    umbra_engine *second = open_engine();
    int pinned = 0;
    if (umbra_usage_pin(second, path, 0.5, &pinned, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    umbra_store_stats s;
    umbra_engine_get_store_stats(second, &s);
    assert_true(pinned > 8 && (uint64_t)pinned * s.slot_bytes == s.resident_bytes);
    assert_true((uint64_t)pinned <= s.slots / 2);
    umbra_store_stats with = decode(second, 40);
    assert_true(with.misses - (uint64_t)pinned < without.misses);
    umbra_engine_close(&second);
    unlink(path);
}

static void refuse(const char *text, int status, const char *words)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    umbra_engine *engine = open_engine();
    umbra_error err = {0};
    assert_int_equal(umbra_usage_pin(engine, path, 0.2, NULL, &err), status);
    if (!strstr(err.message, words) || !strstr(err.message, path))
        fail_msg("no \"%s\" in \"%s\"", words, err.message);
    assert_int_equal(umbra_usage_add(engine, path, &err), status);
    umbra_engine_close(&engine);
    unlink(path);
}

static void test_other_files(void **state)
{
    (void)state;
    refuse("{", UMBRA_E_FORMAT, "JSON");
    refuse("[1, 2]", UMBRA_E_FORMAT, "no usage file");
    refuse("{\"format\": \"umbra-usage\", \"version\": 1, \"model_hash\": \"00\", \"counts\": []}",
           UMBRA_E_MISMATCH, "hash 00");
    char hash[UMBRA_MODEL_HASH_CHARS], text[256];
    assert_int_equal(umbra_model_hash(model, hash, NULL), 0);
    snprintf(
        text, sizeof text,
        "{\"format\": \"umbra-usage\", \"version\": 1, \"model_hash\": \"%s\", \"counts\": [[1]]}",
        hash);
    refuse(text, UMBRA_E_FORMAT, "counts");
    refuse("{\"format\": \"umbra-usage\", \"version\": 1, \"model_hash\": \"00\"} {}",
           UMBRA_E_FORMAT, "follows");
    refuse("{\"format\": 3, \"version\": 1, \"model_hash\": \"00\"}", UMBRA_E_FORMAT, "format");
    refuse("{\"format\": \"umbra-usage\", \"version\": 1.5}", UMBRA_E_FORMAT, "JSON");
}

static void test_bad_shares(void **state)
{
    (void)state;
    umbra_engine *engine = open_engine();
    assert_int_equal(umbra_usage_pin(engine, path, 0.6, NULL, NULL), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_usage_pin(engine, path, -1, NULL, NULL), UMBRA_E_ARGUMENT);
    umbra_error err = {0};
    assert_int_equal(umbra_usage_pin(engine, "/nowhere/usage.json", 0.1, NULL, &err), UMBRA_E_IO);
    umbra_engine_close(&engine);
}

int main(void)
{
    if (umbra_model_open(&model, model_path, NULL) != UMBRA_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_add_up_and_pinned_ones_are_there),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_bad_shares),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    umbra_model_close(&model);
    return failed;
}
