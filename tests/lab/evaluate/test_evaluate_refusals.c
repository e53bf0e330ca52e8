/* What an evaluation refuses: texts known from training, malformed and foreign files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/evaluate/evaluation.h"
#include "lab/evaluate/fixture.h"

static const char no_documents[] = "{\"documents\": []}";

static int set_up(void **state)
{
    (void)state;
    umbra_shadow_spec spec = fixture_spec();
    fixture_trace(fixture_path("traces"), fixture_documents(), FIXTURE_DOCUMENTS, 7, 1, 0, -1);
    fixture_shadow(fixture_path("good.safetensors"), &spec, 0.2, no_documents);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_clean();
    return 0;
}

/* The evaluation fails with this status, and its message holds every one of the texts. */
static void assert_refused(const umbra_evaluate_options *options, int status,
                           const char *const *texts)
{
    umbra_error err = {0};
    umbra_evaluation *e = (umbra_evaluation *)1;
    int rc = umbra_evaluate(&e, options, &err);
    assert_null(e);
    if (rc != status)
        fail_msg("status %d, not %d: %s", rc, status, err.message);
    assert_int_equal(err.status, status);
    for (int i = 0; texts[i]; i++)
        if (!strstr(err.message, texts[i]))
            fail_msg("\"%s\" is not in: %s", texts[i], err.message);
}

static void assert_pair_refused(const char *traces, const char *shadow, int status,
                                const char *const *texts)
{
    assert_refused(
        &(umbra_evaluate_options){
            .traces = &traces, .n_traces = 1, .shadows = &shadow, .n_shadows = shadow ? 1 : 0},
        status, texts);
}

static uint64_t hash_of(const char *id)
{
    umbra_trace *trace;
    uint64_t hash = 0;
    assert_int_equal(umbra_trace_open(&trace, fixture_path("traces"), NULL), 0);
    for (int i = 0; i < umbra_trace_documents(trace); i++)
        if (strcmp(umbra_trace_document_at(trace, i)->id, id) == 0)
            hash = umbra_trace_document_at(trace, i)->hash;
    umbra_trace_close(&trace);
    assert_true(hash != 0);
    return hash;
}

static void shadow_trained_on(const char *path, const char *hashes, const char *ids)
{
    char text[512];
    umbra_shadow_spec spec = fixture_spec();
    snprintf(text, sizeof text, "{\"documents\":[%s],\"ids\":[%s]}", hashes, ids);
    fixture_shadow(path, &spec, 0, text);
}

/* The content of a document betrays it, under whatever name it was trained on. */
static void leak_by_content_is_refused(void **state)
{
    (void)state;
    const char *traces = fixture_path("traces"), *shadow = fixture_path("leak.safetensors");
    char hashes[128], hex[32];
    snprintf(hex, sizeof hex, "%016" PRIx64, hash_of("generated-7-11"));
    snprintf(hashes, sizeof hashes, "\"ffffffffffffffff\",\"%s\",\"0000000000000001\"", hex);
    shadow_trained_on(shadow, hashes, "\"another name\"");
    assert_pair_refused(traces, shadow, UMBRA_E_MISMATCH,
                        (const char *[]){"generated-7-11", traces, shadow, hex, "content", NULL});
}

/* So does its id, unless the model wrote it: such ids only count seeds. */
static void leak_by_id_is_refused(void **state)
{
    (void)state;
    const char *traces = fixture_path("traces"), *shadow = fixture_path("leak-id.safetensors");
    shadow_trained_on(shadow, "\"ffffffffffffffff\"", "\"zzz\",\"read-3\",\"aaa\"");
    assert_pair_refused(traces, shadow, UMBRA_E_MISMATCH,
                        (const char *[]){"\"read-3\"", traces, shadow, "same id", NULL});
    shadow_trained_on(shadow, "\"ffffffffffffffff\"", "\"zzz\",\"generated-7-11\"");
    umbra_evaluation *e;
    assert_int_equal(
        umbra_evaluate(&e,
                       &(umbra_evaluate_options){
                           .traces = &traces, .n_traces = 1, .shadows = &shadow, .n_shadows = 1},
                       NULL),
        UMBRA_OK);
    umbra_evaluation_free(&e);
}

/* Documents too short to be anyone's in particular neither leak nor count. */
static void short_documents_do_not_leak(void **state)
{
    (void)state;
    const fixture_document list[] = {{"tiny", 15, false, 1}, {"long", 60, false, 2}};
    fixture_trace(fixture_path("short"), list, 2, 2, 1, 0, -1);
    const char *traces = fixture_path("short"), *shadow = fixture_path("short.safetensors");
    shadow_trained_on(shadow, "", "\"tiny\"");
    umbra_evaluation *e;
    assert_int_equal(
        umbra_evaluate(&e,
                       &(umbra_evaluate_options){
                           .traces = &traces, .n_traces = 1, .shadows = &shadow, .n_shadows = 1},
                       NULL),
        UMBRA_OK);
    assert_int_equal(e->table.documents, 1);
    umbra_evaluation_free(&e);
    fixture_trace(fixture_path("only-short"), list, 1, 1, 1, 0, -1);
    assert_pair_refused(fixture_path("only-short"), NULL, UMBRA_E_ARGUMENT,
                        (const char *[]){"only-short", "16 tokens", NULL});
}

static void malformed_training_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {NULL, "does not say on which documents"},
        {"{}", "does not say on which documents"},
        {"{\"documents\": {}}", "does not say on which documents"},
        {"{\"documents\": [\"123\"]}", "16 hex digits"},
        {"{\"documents\": [\"00000000000000g0\"]}", "16 hex digits"},
        {"{\"documents\": [\" 123456789abcdef\"]}", "16 hex digits"},
        {"{\"documents\": [17]}", "16 hex digits"},
        {"{\"documents\": [], \"ids\": 3}", "\"ids\""},
        {"{\"documents\": [], \"ids\": [3]}", "\"ids\""},
        {"{\"documents\": [], \"frequency\": [[1]]}", "\"frequency\""},
        {"{\"documents\": [], \"frequency\": [[1],[1],[1],[1],[1],[1]]}", "\"frequency\""},
        {"{\"documents\": [], \"frequency\": [[],[],[],[],null,[-1,1,1,1,1,1,1,1,1,1,1,1]]}",
         "\"frequency\""},
    };
    umbra_shadow_spec spec = fixture_spec();
    const char *traces = fixture_path("traces"), *path = fixture_path("malformed.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture_shadow(path, &spec, 0, cases[i].text);
        assert_pair_refused(traces, path, UMBRA_E_FORMAT,
                            (const char *[]){path, cases[i].part, NULL});
    }
    umbra_training t;
    assert_int_equal(umbra_training_read(&t, "{\"documents\": [", "x", 1, 1, NULL), UMBRA_E_FORMAT);
    assert_int_equal(umbra_training_read(&t, "{\"a\": 1, \"a\": 2}", "x", 1, 1, NULL),
                     UMBRA_E_FORMAT);
}

static void other_models_are_refused(void **state)
{
    (void)state;
    umbra_shadow_spec spec = fixture_spec();
    snprintf(spec.model_hash, sizeof spec.model_hash, "%032d", 999);
    const char *shadow = fixture_path("other.safetensors");
    fixture_shadow(shadow, &spec, 0, no_documents);
    assert_pair_refused(fixture_path("traces"), shadow, UMBRA_E_MISMATCH,
                        (const char *[]){shadow, spec.model_hash, NULL});
    fixture_trace(fixture_path("other"), fixture_documents(), 2, 2, 1, 5, -1);
    const char *traces[] = {fixture_path("traces"), fixture_path("other")};
    assert_refused(&(umbra_evaluate_options){.traces = traces, .n_traces = 2}, UMBRA_E_MISMATCH,
                   (const char *[]){traces[0], traces[1], "one model at a time", NULL});
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    const char *traces = fixture_path("traces"), *nowhere = fixture_path("nowhere");
    umbra_error err;
    umbra_evaluation *e;
    assert_refused(&(umbra_evaluate_options){.n_traces = 0}, UMBRA_E_ARGUMENT,
                   (const char *[]){"at least one", NULL});
    assert_refused(&(umbra_evaluate_options){.traces = &traces, .n_traces = 1, .n_shadows = 17},
                   UMBRA_E_ARGUMENT, (const char *[]){"17", NULL});
    assert_refused(&(umbra_evaluate_options){.traces = &traces, .n_traces = 1, .threads = -1},
                   UMBRA_E_ARGUMENT, (const char *[]){"-1 threads", NULL});
    assert_true(
        umbra_evaluate(&e, &(umbra_evaluate_options){.traces = &nowhere, .n_traces = 1}, &err) < 0);
    assert_non_null(strstr(err.message, nowhere));
    assert_true(
        umbra_evaluate(&e,
                       &(umbra_evaluate_options){
                           .traces = &traces, .n_traces = 1, .shadows = &nowhere, .n_shadows = 1},
                       &err) < 0);
    assert_non_null(strstr(err.message, nowhere));
    umbra_evaluation_free(&e);
}

/* Bytes changed all over a shard's data, then a shard cut short: refused, with the file's name. */
static void altered_traces_are_refused(void **state)
{
    (void)state;
    const char *traces = fixture_path("altered");
    const char *shard = fixture_path("altered/shard-00000.safetensors");
    uint64_t header;
    fixture_trace(traces, fixture_documents(), 4, 4, 1, 0, -1);
    FILE *f = fopen(shard, "r+b");
    assert_non_null(f);
    assert_int_equal(fread(&header, sizeof header, 1, f), 1);
    fseek(f, 0, SEEK_END);
    for (long end = ftell(f), at = (long)header + 8; at < end; at += 64) {
        fseek(f, at, SEEK_SET);
        int byte = fgetc(f);
        fseek(f, at, SEEK_SET);
        fputc(byte ^ 1, f);
    }
    fclose(f);
    assert_pair_refused(traces, NULL, UMBRA_E_CORRUPT, (const char *[]){shard, NULL});
    assert_int_equal(truncate(shard, 2000), 0);
    assert_pair_refused(traces, NULL, UMBRA_E_FORMAT, (const char *[]){shard, NULL});
}

static int reports;
static atomic_bool stop;

static void on_report(void *user, const char *stage, const char *unit, uint64_t done,
                      uint64_t total)
{
    (void)user;
    assert_non_null(stage);
    assert_non_null(unit);
    assert_true(done <= total);
    if (++reports == 3)
        atomic_store(&stop, true);
}

static void interruption_stops(void **state)
{
    (void)state;
    umbra_progress progress = {.report = on_report, .interrupted = &stop};
    const char *traces = fixture_path("traces");
    assert_refused(
        &(umbra_evaluate_options){.traces = &traces, .n_traces = 1, .progress = &progress},
        UMBRA_E_INTERRUPTED, (const char *[]){NULL});
    assert_int_equal(reports, 3);
}

/* Every allocation may fail: an error, never a crash or a leak. */
static void out_of_memory_is_an_error(void **state)
{
    (void)state;
    const char *traces = fixture_path("traces"), *shadow = fixture_path("good.safetensors");
    umbra_evaluate_options options = {.traces = &traces,
                                      .n_traces = 1,
                                      .shadows = &shadow,
                                      .n_shadows = 1,
                                      .threads = 2,
                                      .max_tokens = 100};
    int failures = 0;
    for (long n = 1;; n++) {
        umbra_evaluation *e;
        umbra_error err = {0};
        umbra_memory_fail_after(n);
        int rc = umbra_evaluate(&e, &options, &err);
        umbra_memory_fail_after(0);
        if (rc == UMBRA_OK) {
            umbra_evaluation_free(&e);
            break;
        }
        assert_int_equal(rc, UMBRA_E_NOMEM);
        assert_null(e);
        failures++;
    }
    assert_true(failures > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leak_by_content_is_refused),
        cmocka_unit_test(leak_by_id_is_refused),
        cmocka_unit_test(short_documents_do_not_leak),
        cmocka_unit_test(malformed_training_is_refused),
        cmocka_unit_test(other_models_are_refused),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(altered_traces_are_refused),
        cmocka_unit_test(interruption_stops),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
