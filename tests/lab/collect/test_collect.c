/* Collecting: what is recorded is what the engine computes, and a collection that was cut off and
 * resumed is, byte for byte, the one that was not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umbra/lab/collect.h>

#include "../../model/make.h"
#include "lab/trace/trace.h"
#include "ranks.h"

static const char tiny[] = "models/tiny-q8_0.gguf";
static const char folder_a[] = UMBRA_TEST_DIR "/trace-a";
static const char folder_b[] = UMBRA_TEST_DIR "/trace-b";

static void wipe(const char *folder)
{
    char command[1024];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    umbra_error err = {0};
    umbra_model *model;
    if (umbra_model_open(&model, tiny, &err) != 0)
        return -1;
    *state = model;
    wipe(folder_a);
    wipe(folder_b);
    return 0;
}

static int teardown(void **state)
{
    umbra_model *model = *state;
    umbra_model_close(&model);
    wipe(folder_a);
    wipe(folder_b);
    return 0;
}

static umbra_collect_options writing(uint64_t tokens)
{
    return (umbra_collect_options){
        .engine = {.threads = 2, .context = 96},
        .tokens = tokens,
        .generate = true,
        .temperature = 1.0f,
        .seed = 5,
        .shard_bytes = 4 << 20,
    };
}

static umbra_collection collect(const umbra_model *model, const char *folder,
                                const umbra_collect_options *options)
{
    umbra_error err = {0};
    umbra_collection result;
    if (umbra_collect(model, folder, options, &result, &err) != 0)
        fail_msg("%s", err.message);
    return result;
}

/* ---- the record ---- */

typedef struct expected {
    int layers, hidden, used;
    float *input, *state; /* (layers, hidden) of the last token */
    int32_t *experts;     /* (layers, used) */
} expected;

static int take_input(void *user, const umbra_rows *rows)
{
    expected *e = user;
    size_t h = (size_t)e->hidden;
    memcpy(e->input + (size_t)rows->layer * h, rows->x, h * sizeof *rows->x);
    return 0;
}

static int take_hidden(void *user, const umbra_rows *rows)
{
    expected *e = user;
    size_t h = (size_t)e->hidden;
    memcpy(e->state + (size_t)rows->layer * h, rows->x, h * sizeof *rows->x);
    return 0;
}

static int take_routing(void *user, const umbra_rows *rows)
{
    expected *e = user;
    size_t k = (size_t)e->used;
    memcpy(e->experts + (size_t)rows->layer * k, rows->experts, k * sizeof *rows->experts);
    return 0;
}

static float to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void check_token(umbra_trace *trace, const umbra_trace_document *d, int position,
                        const expected *e)
{
    float state[1024];
    uint16_t used[64];
    for (int l = 0; l < e->layers; l++) {
        for (int which = UMBRA_TRACE_INPUT; which <= UMBRA_TRACE_HIDDEN; which++) {
            const float *row =
                (which == UMBRA_TRACE_INPUT ? e->input : e->state) + (size_t)l * (size_t)e->hidden;
            assert_int_equal(umbra_trace_read_states(trace, d->shard, (umbra_trace_state)which, l,
                                                     d->first_row + position, 1, state, NULL),
                             0);
            for (int i = 0; i < e->hidden; i++)
                assert_true(state[i] == to_bf16(row[i]));
        }
        assert_int_equal(
            umbra_trace_read_experts(trace, d->shard, l, d->first + position, 1, used, NULL), 0);
        for (int k = 0; k < e->used; k++)
            assert_int_equal(used[k], e->experts[l * e->used + k]);
    }
}

/* Every recorded token of some documents against a computation token by token. */
static void the_record_is_what_was_computed(void **state)
{
    const umbra_model *model = *state;
    const umbra_model_info *info = umbra_model_get_info(model);
    umbra_collect_options options = writing(1500);
    umbra_collection result = collect(model, folder_a, &options);
    assert_true(result.tokens >= 1500 && result.shards >= 2 && result.new_tokens == result.tokens);

    umbra_trace *trace;
    umbra_error err = {0};
    if (umbra_trace_open(&trace, folder_a, &err) != 0)
        fail_msg("%s", err.message);
    assert_true(umbra_trace_tokens(trace) == result.tokens);
    assert_string_equal(umbra_trace_get_info(trace)->model_hash, result.model_hash);
    umbra_engine *engine;
    umbra_engine_options plain = {.threads = 1};
    assert_int_equal(umbra_engine_open(&engine, model, &plain, &err), 0);
    size_t states = (size_t)info->layers * (size_t)info->hidden;
    expected e = {info->layers,
                  info->hidden,
                  info->experts_used,
                  malloc(states * sizeof(float)),
                  malloc(states * sizeof(float)),
                  malloc((size_t)info->layers * (size_t)info->experts_used * sizeof(int32_t))};
    umbra_tap tap = {.user = &e,
                     .at = {[UMBRA_TAP_INPUT] = take_input,
                            [UMBRA_TAP_HIDDEN] = take_hidden,
                            [UMBRA_TAP_ROUTED] = take_routing}};
    int documents = umbra_trace_documents(trace);
    for (int i = 0; i < documents; i += documents / 4) {
        const umbra_trace_document *d = umbra_trace_document_at(trace, i);
        int32_t tokens[96];
        assert_true(d->generated && d->tokens <= 96);
        assert_int_equal(
            umbra_trace_read_tokens(trace, d->shard, d->first, d->tokens, tokens, NULL), 0);
        assert_int_equal(tokens[0], umbra_bos_token(model));
        umbra_engine_truncate(engine, 0, 0);
        for (int t = 0; t < d->tokens; t++) {
            umbra_token token = {tokens[t], 0, false};
            assert_int_equal(umbra_engine_eval(engine, &token, 1, &tap, &err), 0);
            check_token(trace, d, t, &e);
        }
    }
    free(e.input);
    free(e.state);
    free(e.experts);
    umbra_engine_close(&engine);
    umbra_trace_close(&trace);
}

/* ---- interruption ---- */

typedef struct stop_at {
    atomic_bool stop;
    uint64_t tokens;
} stop_at;

static void maybe_stop(void *user, const char *stage, const char *unit, uint64_t done,
                       uint64_t total)
{
    (void)unit;
    (void)total;
    stop_at *s = user;
    if (strcmp(stage, "recording") == 0 && done >= s->tokens)
        atomic_store(&s->stop, true);
}

static void same_files(void)
{
    char command[1024];
    snprintf(command, sizeof command, "diff -r '%s' '%s'", folder_a, folder_b);
    assert_int_equal(system(command), 0);
}

static void check_resume(const umbra_model *model, umbra_collect_options options)
{
    wipe(folder_a);
    wipe(folder_b);
    umbra_collection whole = collect(model, folder_a, &options);
    assert_true(whole.shards >= 3);
    stop_at s = {.tokens = whole.tokens / 2};
    const umbra_progress progress = {maybe_stop, &s, &s.stop};
    options.engine.progress = &progress;
    umbra_collection part;
    umbra_error err = {0};
    assert_int_equal(umbra_collect(model, folder_b, &options, &part, &err), UMBRA_E_INTERRUPTED);
    assert_true(part.shards >= 1 && part.shards < whole.shards);

    options.engine.progress = NULL;
    assert_int_equal(umbra_collect(model, folder_b, &options, &part, &err), UMBRA_E_ARGUMENT);
    options.resume = true;
    options.engine.threads = 1; /* nothing of this changes a bit */
    options.engine.ram_bytes = 40000000;
    umbra_collection rest = collect(model, folder_b, &options);
    assert_true(rest.tokens == whole.tokens && rest.new_tokens < whole.tokens);
    same_files();
    rest = collect(model, folder_b, &options); /* nothing is left to do */
    assert_true(rest.new_tokens == 0);
    same_files();

    options.seed++;
    assert_int_equal(umbra_collect(model, folder_b, &options, &part, &err), UMBRA_E_MISMATCH);
    options.seed--;
    options.int8 = true;
    assert_int_equal(umbra_collect(model, folder_b, &options, &part, &err), UMBRA_E_MISMATCH);
}

/* Also one that readers of JSON have no number for. */
static void any_seed_is_one(void **state)
{
    umbra_collect_options options = writing(20);
    options.engine.context = 16;
    options.seed = UINT64_MAX;
    wipe(folder_a);
    umbra_collection first = collect(*state, folder_a, &options);
    assert_true(first.new_tokens >= 20);
    options.resume = true;
    assert_true(collect(*state, folder_a, &options).new_tokens == 0);
    umbra_error err = {0};
    options.seed--;
    assert_int_equal(umbra_collect(*state, folder_a, &options, &first, &err), UMBRA_E_MISMATCH);
}

static void a_resumed_writing_is_the_same(void **state)
{
    check_resume(*state, writing(2500));
}

static const char *const texts[] = {"tests/golden", "docs"};

static void a_resumed_reading_is_the_same(void **state)
{
    umbra_collect_options options = writing(2000);
    options.generate = false;
    options.texts = texts;
    options.n_texts = 2;
    options.stride = 2;
    options.shard_bytes = 1 << 20;
    check_resume(*state, options);
}

/* ---- ranks ---- */

typedef struct shared_run {
    const umbra_model *model;
    umbra_collect_options options;
    uint64_t stop_tokens; /* rank 1 is interrupted there; 0: never */
    const char *other;    /* rank 1 is given this text instead; NULL: the same */
    int status[TEST_RANKS];
    umbra_error err[TEST_RANKS];
    umbra_collection result[TEST_RANKS];
} shared_run;

static void collect_with(const umbra_ranks *ranks, void *user)
{
    shared_run *run = user;
    int r = ranks->rank;
    umbra_collect_options o = run->options;
    stop_at s = {.tokens = run->stop_tokens};
    const umbra_progress progress = {maybe_stop, &s, &s.stop};
    o.ranks = ranks;
    if (run->stop_tokens > 0 && r == 1)
        o.engine.progress = &progress;
    if (run->other && r == 1) {
        o.texts = &run->other;
        o.n_texts = 1;
    }
    run->status[r] = umbra_collect(run->model, folder_b, &o, &run->result[r], &run->err[r]);
}

static void expect_status(const shared_run *run, int count, int status)
{
    for (int r = 0; r < count; r++)
        if (run->status[r] != status)
            fail_msg("rank %d of %d: %d, %s", r, count, run->status[r], run->err[r].message);
}

/* The files of one process, at any number of ranks, also where one number of ranks goes on with
 * what another one left when one of its ranks was interrupted. */
static void check_ranks(const umbra_model *model, umbra_collect_options options)
{
    options.engine.threads = 1;
    options.engine.io = "threads"; /* rings of threads are beyond what a sanitizer sees */
    wipe(folder_a);
    umbra_collection whole = collect(model, folder_a, &options);
    assert_true(whole.shards >= 4);
    for (int count = 1; count <= TEST_RANKS; count += count) {
        shared_run run = {.model = model, .options = options};
        wipe(folder_b);
        test_with_ranks(count, NULL, collect_with, &run);
        expect_status(&run, count, UMBRA_OK);
        for (int r = 0; r < count; r++)
            assert_true(run.result[r].tokens == whole.tokens &&
                        run.result[r].shards == whole.shards &&
                        run.result[r].documents == whole.documents);
        same_files();
    }
    shared_run run = {.model = model, .options = options, .stop_tokens = whole.tokens / 4};
    wipe(folder_b);
    test_with_ranks(2, NULL, collect_with, &run);
    expect_status(&run, 2, UMBRA_E_INTERRUPTED);
    assert_true(run.result[0].shards >= 1 && run.result[0].shards < whole.shards);
    run.stop_tokens = 0;
    run.options.resume = true;
    test_with_ranks(3, NULL, collect_with, &run);
    expect_status(&run, 3, UMBRA_OK);
    assert_true(run.result[0].new_tokens < whole.tokens);
    same_files();
}

static void ranks_write_the_same(void **state)
{
    umbra_collect_options options = writing(1100);
    options.engine.context = 40;
    options.shard_bytes = 1;
    check_ranks(*state, options);
}

static void ranks_read_the_same(void **state)
{
    umbra_collect_options options = writing(1300);
    options.generate = false;
    options.texts = texts;
    options.n_texts = 2;
    options.stride = 2;
    options.int8 = true;
    options.shard_bytes = 1;
    check_ranks(*state, options);
}

/* What cannot go well ends all of them, and leaves nothing. */
static void ranks_fail_together(void **state)
{
    shared_run run = {.model = *state, .options = writing(400), .other = "README.md"};
    wipe(folder_b);
    run.options.engine.io = "threads";
    run.options.texts = texts;
    run.options.n_texts = 1;
    test_with_ranks(2, NULL, collect_with, &run);
    expect_status(&run, 2, UMBRA_E_MISMATCH);
    assert_non_null(strstr(run.err[0].message, "what the texts hold"));
    assert_int_not_equal(access(folder_b, F_OK), 0);
    run.other = NULL;
    run.options = writing(UINT64_C(1) << 40);
    run.options.engine.io = "threads";
    test_with_ranks(3, NULL, collect_with, &run);
    expect_status(&run, 3, UMBRA_E_IO);
    assert_non_null(strstr(run.err[2].message, "free"));
    assert_int_not_equal(access(folder_b, F_OK), 0);
}

/* From the heads of texts, in 8 bits. */
static void texts_can_be_continued(void **state)
{
    umbra_collect_options options = writing(1200);
    options.texts = texts;
    options.n_texts = 1;
    options.int8 = true;
    wipe(folder_a);
    collect(*state, folder_a, &options);
    umbra_trace *trace;
    assert_int_equal(umbra_trace_open(&trace, folder_a, NULL), 0);
    assert_true(umbra_trace_get_info(trace)->int8);
    assert_true(umbra_trace_document_at(trace, 0)->generated);
    umbra_trace_close(&trace);
}

/* Layers without experts are not in a trace. */
static void dense_layers_are_left_out(void **state)
{
    (void)state;
    umbra_memory_file file;
    umbra_model *model;
    umbra_error err = {0};
    umbra_collect_options options = writing(200);
    options.engine.context = MAKE_CONTEXT;
    if (make_open(&make_deepseek2, NULL, NULL, NULL, &file, &model, &err) != 0)
        fail_msg("%s", err.message);
    wipe(folder_a);
    collect(model, folder_a, &options);
    umbra_trace *trace;
    assert_int_equal(umbra_trace_open(&trace, folder_a, NULL), 0);
    assert_int_equal(umbra_trace_get_info(trace)->layers, MAKE_LAYERS);
    for (int l = 0; l < MAKE_LAYERS; l++)
        assert_int_equal(umbra_trace_has_layer(trace, l), l > 0);
    umbra_trace_close(&trace);
    umbra_model_close(&model);
    umbra_memory_file_release(&file);
}

static void impossible_wishes_are_refused(void **state)
{
    umbra_collection result;
    umbra_error err;
    umbra_collect_options options = writing(1000);
    options.generate = false;
    assert_int_equal(umbra_collect(*state, folder_a, &options, &result, &err), UMBRA_E_ARGUMENT);
    options = writing(1000);
    options.stride = -1;
    assert_int_equal(umbra_collect(*state, folder_a, &options, &result, &err), UMBRA_E_ARGUMENT);
    options = writing(1000);
    options.temperature = -1;
    wipe(folder_a);
    assert_int_equal(umbra_collect(*state, folder_a, &options, &result, &err), UMBRA_E_ARGUMENT);
    static const char *const missing[] = {"no/such/folder"};
    options = writing(1000);
    options.texts = missing;
    options.n_texts = 1;
    wipe(folder_a);
    assert_int_equal(umbra_collect(*state, folder_a, &options, &result, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "no/such/folder"));
    options = writing(UINT64_C(1) << 40); /* more than any disk has */
    wipe(folder_a);
    assert_int_equal(umbra_collect(*state, folder_a, &options, &result, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "free"));
}

/* Nothing to read: an error before anything is made. */
static void nothing_to_read(void **state)
{
    const umbra_model *model = *state;
    static const char empty[] = UMBRA_TEST_DIR "/empty.txt";
    FILE *f = fopen(empty, "w");
    assert_non_null(f);
    fclose(f);
    wipe(folder_a);
    static const char *const paths[] = {empty, empty};
    umbra_collect_options o = writing(100);
    o.generate = false;
    o.texts = paths;
    o.n_texts = 2;
    umbra_collection result;
    umbra_error err = {0};
    assert_int_equal(umbra_collect(model, folder_a, &o, &result, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "nothing to read"));
    assert_int_not_equal(access(folder_a, F_OK), 0);
    assert_int_equal(result.tokens, 0);
    remove(empty);
}

/* A folder that the collection made goes if no shard comes into it; one that was there stays. */
static void a_failure_leaves_no_folder(void **state)
{
    const umbra_model *model = *state;
    umbra_collect_options o = writing(100);
    atomic_bool interrupted = true;
    const umbra_progress progress = {.interrupted = &interrupted};
    umbra_collection result;
    umbra_error err = {0};
    o.engine.progress = &progress;
    for (int there = 0; there < 2; there++) {
        wipe(folder_a);
        if (there)
            assert_int_equal(mkdir(folder_a, 0777), 0);
        int rc = umbra_collect(model, folder_a, &o, &result, &err);
        assert_int_equal(rc, UMBRA_E_INTERRUPTED);
        assert_int_equal(access(folder_a, F_OK) == 0, there);
    }
    wipe(folder_a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_read),
        cmocka_unit_test(a_failure_leaves_no_folder),
        cmocka_unit_test(the_record_is_what_was_computed),
        cmocka_unit_test(any_seed_is_one),
        cmocka_unit_test(a_resumed_writing_is_the_same),
        cmocka_unit_test(a_resumed_reading_is_the_same),
        cmocka_unit_test(ranks_write_the_same),
        cmocka_unit_test(ranks_read_the_same),
        cmocka_unit_test(ranks_fail_together),
        cmocka_unit_test(texts_can_be_continued),
        cmocka_unit_test(dense_layers_are_left_out),
        cmocka_unit_test(impossible_wishes_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
