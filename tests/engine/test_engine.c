/* What must not depend on budget, threads, chunks, sequences or backend: the bits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <umbra/umbra.h>

#include "base/memory.h"
#include "shared.h"

static const char tiny[] = "models/tiny-q8_0.gguf";
static const char prose[] =
    "The reader loads one page at a time and keeps the rest on the shelf. When she guesses which "
    "page comes next, she walks to the shelf early and waits for nobody; when she guesses wrong, "
    "the walk was wasted, and the page she wanted still has to be fetched.";

enum { MOST_TOKENS = 128 };

/* All logits of a run, as a running hash, and the experts used. */
typedef struct trace {
    int vocabulary;
    int positions;
    uint64_t hash[MOST_TOKENS]; /* per position */
} trace;

static int take_logits(void *user, int index, const float *logits)
{
    trace *t = user;
    uint64_t h = 1469598103934665603u;
    const unsigned char *bytes = (const unsigned char *)logits;
    for (size_t i = 0; i < (size_t)t->vocabulary * sizeof *logits; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    assert_true(index >= 0 && index < MOST_TOKENS);
    t->hash[index] = h;
    t->positions++;
    return 0;
}

typedef struct fixture {
    umbra_model *model;
    int32_t *ids;
    int count;
} fixture;

static fixture open_fixture(const char *path)
{
    fixture f = {0};
    umbra_error err = {0};
    size_t n;
    if (umbra_model_open(&f.model, path, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(
        umbra_tokenize(f.model, prose, sizeof prose - 1, true, false, &f.ids, &n, &err), 0);
    f.count = n < MOST_TOKENS ? (int)n : MOST_TOKENS;
    return f;
}

static void close_fixture(fixture *f)
{
    umbra_free_tokens(f->ids);
    umbra_model_close(&f->model);
}

/* Evaluates the fixture's tokens: `steps` tokens at a time. */
static trace run(const fixture *f, const umbra_engine_options *options, int steps)
{
    umbra_error err = {0};
    umbra_engine *engine;
    if (umbra_engine_open(&engine, f->model, options, &err) != 0)
        fail_msg("%s", err.message);
    trace t = {.vocabulary = umbra_model_get_info(f->model)->vocabulary};
    umbra_token tokens[MOST_TOKENS];
    for (int i = 0; i < f->count; i++)
        tokens[i] = (umbra_token){f->ids[i], 0, true};
    for (int first = 0; first < f->count; first += steps) {
        trace part = {.vocabulary = t.vocabulary};
        umbra_tap tap = {.user = &part, .logits = take_logits};
        int n = f->count - first < steps ? f->count - first : steps;
        if (umbra_engine_eval(engine, tokens + first, n, &tap, &err) != 0)
            fail_msg("%s", err.message);
        memcpy(t.hash + first, part.hash, (size_t)n * sizeof *t.hash);
        t.positions += part.positions;
    }
    umbra_store_stats stats;
    umbra_engine_get_store_stats(engine, &stats);
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    assert_true(stats.resident_bytes_max <= plan->cache_bytes);
    assert_true(plan->process_bytes + plan->metadata_bytes + plan->dense_bytes + plan->kv_bytes +
                    plan->scratch_bytes + plan->cache_bytes <=
                plan->ram_bytes);
    assert_int_equal(umbra_engine_length(engine, 0), f->count);
    umbra_engine_close(&engine);
    assert_int_equal(t.positions, f->count);
    return t;
}

static void assert_same(const fixture *f, const trace *a, const trace *b)
{
    assert_memory_equal(a->hash, b->hash, (size_t)f->count * sizeof *a->hash);
}

static uint64_t budget_for(const fixture *f, double residency)
{
    umbra_memory_plan plan;
    umbra_engine_options options = {.ram_bytes = UINT64_C(1) << 40, .threads = 2};
    assert_int_equal(umbra_engine_plan(f->model, &options, &plan, NULL), 0);
    const umbra_model_info *info = umbra_model_get_info(f->model);
    uint64_t experts = (uint64_t)info->layers * (uint64_t)info->experts;
    return residency > 0
               ? plan.all_bytes - (uint64_t)((1 - residency) * (double)experts) * plan.slot_bytes
               : plan.min_bytes;
}

static void check_bits(const char *path)
{
    fixture f = open_fixture(path);
    umbra_engine_options options = {.threads = 1};
    const trace expected = run(&f, &options, f.count);
    static const double residencies[] = {1.0, 0.5, 0.25, 0};
    for (int threads = 1; threads <= 2; threads++) {
        for (size_t r = 0; r < 4; r++) {
            options = (umbra_engine_options){.threads = threads,
                                             .ram_bytes = budget_for(&f, residencies[r])};
            trace got = run(&f, &options, f.count);
            assert_same(&f, &expected, &got);
        }
    }
    close_fixture(&f);
}

static void budgets_and_threads_leave_no_trace(void **state)
{
    (void)state;
    check_bits(tiny);
}

static void budgets_and_threads_leave_no_trace_lab(void **state)
{
    (void)state;
    char path[512];
    if (!shared_path(path, sizeof path, "models/lab-q4_0.gguf")) {
        say_skipped("bit identity", "models/lab-q4_0.gguf");
        skip();
    }
    check_bits(path);
}

/* Prefill in any chunks, and token by token, on every kernel table and I/O backend. */
static void chunks_leave_no_trace(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    for (int i = 0; umbra_kernel_name(i); i++) {
        umbra_engine_options options = {.threads = 2, .kernels = umbra_kernel_name(i)};
        const trace expected = run(&f, &options, f.count);
        static const int chunks[] = {1, 3, 16, 100};
        for (size_t c = 0; c < 4; c++) {
            options.chunk = chunks[c];
            trace got = run(&f, &options, f.count);
            assert_same(&f, &expected, &got);
        }
        options.chunk = 0;
        trace got = run(&f, &options, 1);
        assert_same(&f, &expected, &got);
    }
    close_fixture(&f);
}

static void backends_leave_no_trace(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_engine_options options = {.threads = 1, .io = "threads"};
    const trace expected = run(&f, &options, f.count);
    options.ram_bytes = budget_for(&f, 0.25);
    trace got = run(&f, &options, 7);
    assert_same(&f, &expected, &got);
    options.buffered = true;
    options.io = "auto";
    got = run(&f, &options, 7);
    assert_same(&f, &expected, &got);
    close_fixture(&f);
}

/* Two texts in progress together give what each gives alone. */
static void sequences_do_not_mix(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_engine_options options = {.threads = 2};
    const trace expected = run(&f, &options, f.count);
    options.sequences = 2;
    umbra_engine *engine;
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, NULL), 0);
    for (int i = 0; i < f.count; i++) { /* sequence 1 is the same text, two tokens behind */
        trace t = {.vocabulary = umbra_model_get_info(f.model)->vocabulary};
        umbra_tap tap = {.user = &t, .logits = take_logits};
        umbra_token tokens[2] = {{f.ids[i], 0, true}, {f.ids[i < 2 ? 0 : i - 2], 1, true}};
        assert_int_equal(umbra_engine_eval(engine, tokens, i < 2 ? 1 : 2, &tap, NULL), 0);
        assert_true(t.hash[0] == expected.hash[i]);
        if (i >= 2)
            assert_true(t.hash[1] == expected.hash[i - 2]);
    }
    assert_int_equal(umbra_engine_length(engine, 1), f.count - 2);
    umbra_engine_truncate(engine, 0, 3); /* forgetting and going on */
    trace t = {.vocabulary = umbra_model_get_info(f.model)->vocabulary};
    umbra_tap tap = {.user = &t, .logits = take_logits};
    umbra_token token = {f.ids[3], 0, true};
    assert_int_equal(umbra_engine_eval(engine, &token, 1, &tap, NULL), 0);
    assert_true(t.hash[0] == expected.hash[3]);
    umbra_engine_close(&engine);
    close_fixture(&f);
}

/* Evaluates ids[first, end) in a sequence and holds each position's logits against `expected`. */
static void expect(umbra_engine *engine, const fixture *f, const trace *expected, int sequence,
                   int first, int end)
{
    for (int i = first; i < end; i++) {
        trace t = {.vocabulary = expected->vocabulary};
        umbra_tap tap = {.user = &t, .logits = take_logits};
        umbra_token token = {f->ids[i], sequence, true};
        assert_int_equal(umbra_engine_eval(engine, &token, 1, &tap, NULL), 0);
        assert_true(t.hash[0] == expected->hash[i]);
    }
}

/* Forks share a beginning and go on as if they had it alone, whatever the other does. */
static void forks_go_on_independently(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_engine_options options = {.threads = 2};
    const trace expected = run(&f, &options, f.count);
    options.sequences = 3;
    umbra_engine *engine;
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, NULL), 0);
    expect(engine, &f, &expected, 0, 0, f.count - 5);
    assert_int_equal(umbra_engine_fork(engine, 0, 1, NULL), 0);
    umbra_token other = {f.ids[1], 1, false}; /* 1 goes another way */
    assert_int_equal(umbra_engine_eval(engine, &other, 1, NULL, NULL), 0);
    assert_int_equal(umbra_engine_fork(engine, 0, 2, NULL), 0);
    expect(engine, &f, &expected, 0, f.count - 5, f.count);
    assert_int_equal(umbra_engine_truncate(engine, 0, 0), 0);
    expect(engine, &f, &expected, 2, f.count - 5, f.count);
    assert_int_equal(umbra_engine_truncate(engine, 1, f.count - 5), f.count - 5);
    expect(engine, &f, &expected, 1, f.count - 5, f.count);
    umbra_error err;
    assert_int_equal(umbra_engine_fork(engine, 0, 3, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "sequence 3"));
    umbra_engine_close(&engine);
    close_fixture(&f);
}

/* Away to bytes, into another engine, and on with the same bits. */
static void snapshots_come_back_whole(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_engine_options options = {.threads = 1, .kernels = "scalar"};
    const trace expected = run(&f, &options, f.count);
    umbra_engine *from, *to;
    assert_int_equal(umbra_engine_open(&from, f.model, &options, NULL), 0);
    options.threads = 2;
    options.sequences = 2;
    assert_int_equal(umbra_engine_open(&to, f.model, &options, NULL), 0);
    int cut = f.count - 3;
    expect(from, &f, &expected, 0, 0, cut);
    uint64_t bytes = umbra_engine_snapshot_bytes(from, cut);
    char *saved = malloc(bytes);
    umbra_error err;
    assert_int_equal(umbra_engine_snapshot(from, 0, saved, bytes - 1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_engine_snapshot(from, 0, saved, bytes, &err), 0);
    assert_int_equal(umbra_engine_restore(to, 1, saved, bytes, &err), 0);
    assert_int_equal(umbra_engine_length(to, 1), cut);
    expect(to, &f, &expected, 1, cut, f.count);

    assert_int_equal(umbra_engine_restore(to, 1, saved, bytes - 1, &err), UMBRA_E_FORMAT);
    assert_int_equal(umbra_engine_restore(to, 1, saved, 10, &err), UMBRA_E_FORMAT);
    saved[bytes / 2] ^= 1;
    assert_int_equal(umbra_engine_restore(to, 1, saved, bytes, &err), UMBRA_E_CORRUPT);
    saved[bytes / 2] ^= 1;
    saved[8] ^= 2; /* version */
    assert_int_equal(umbra_engine_restore(to, 1, saved, bytes, &err), UMBRA_E_FORMAT);
    saved[8] ^= 2;
    saved[16] ^= 1; /* weights */
    assert_int_equal(umbra_engine_restore(to, 1, saved, bytes, &err), UMBRA_E_MISMATCH);
    saved[16] ^= 1;
    assert_int_equal(umbra_engine_length(to, 1), f.count); /* as it was */
    umbra_engine_close(&to);
    options.kernels = "reference";
    assert_int_equal(umbra_engine_open(&to, f.model, &options, NULL), 0);
    assert_int_equal(umbra_engine_restore(to, 0, saved, bytes, &err), UMBRA_E_MISMATCH);
    assert_non_null(strstr(err.message, "scalar"));
    umbra_engine_close(&to);
    options.kernels = "scalar";
    options.context = cut - 1;
    assert_int_equal(umbra_engine_open(&to, f.model, &options, NULL), 0);
    assert_int_equal(umbra_engine_restore(to, 0, saved, bytes, &err), UMBRA_E_ARGUMENT);
    umbra_engine_close(&to);
    umbra_engine_close(&from);
    free(saved);
    close_fixture(&f);
}

static void budgets_are_refused_with_a_way_out(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_error err;
    umbra_engine *engine;
    umbra_memory_plan plan;
    umbra_engine_options options = {.ram_bytes = 1000000, .threads = 1};
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, &err), UMBRA_E_BUDGET);
    assert_null(engine);
    assert_int_equal(umbra_engine_plan(f.model, &options, &plan, NULL), UMBRA_E_BUDGET);
    char smallest[32];
    snprintf(smallest, sizeof smallest, "%llu", (unsigned long long)plan.min_bytes);
    assert_non_null(strstr(err.message, smallest));
    options.ram_bytes = plan.min_bytes - 1;
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, &err), UMBRA_E_BUDGET);
    options.ram_bytes = plan.min_bytes;
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, &err), 0);
    umbra_engine_close(&engine);
    close_fixture(&f);
}

static umbra_memory_plan plan_for(const umbra_model *model, int context, uint64_t ram)
{
    umbra_memory_plan plan;
    umbra_engine_options options = {.ram_bytes = ram, .threads = 2, .context = context};
    assert_int_equal(umbra_engine_plan(model, &options, &plan, NULL), UMBRA_OK);
    return plan;
}

/* Chunks grow with the budget, never beyond the context, and never at the cost of an expert that
 * would fit beside a smaller one. */
static void chunks_leave_room_for_experts(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    const uint64_t plenty = UINT64_C(1) << 40;
    assert_int_equal(plan_for(f.model, 512, plenty).chunk, 512);
    assert_int_equal(plan_for(f.model, 100, plenty).chunk, 128);
    assert_int_equal(plan_for(f.model, 8, plenty).chunk, 16);
    const umbra_memory_plan all = plan_for(f.model, 512, plenty);
    umbra_memory_plan p = plan_for(f.model, 512, all.all_bytes);
    assert_true(p.residency == 1 && p.chunk == all.chunk);
    p = plan_for(f.model, 512, all.all_bytes - 1);
    assert_true(p.residency == 1 && p.chunk == all.chunk / 2);
    int last = 0;
    for (uint64_t ram = all.min_bytes; ram < all.all_bytes; ram += all.slot_bytes) {
        p = plan_for(f.model, 512, ram);
        uint64_t rest = p.scratch_bytes + p.cache_bytes;
        assert_true(p.residency == 1 || p.chunk == 16 || p.scratch_bytes <= rest / 7);
        assert_true(p.residency == 1 || p.chunk <= 256 || p.scratch_bytes <= rest / 31);
        assert_true(p.chunk >= last || p.residency == 1);
        last = p.residency == 1 ? 0 : p.chunk;
    }
    assert_int_equal(plan_for(f.model, 512, all.min_bytes).chunk, 16);
    close_fixture(&f);
}

static void bad_calls_are_refused(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_error err;
    umbra_engine *engine;
    const umbra_engine_options bad[] = {
        {.threads = 257},    {.context = 513},     {.chunk = 5000},
        {.sequences = 5000}, {.kernels = "turbo"}, {.io = "tape"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(umbra_engine_open(&engine, f.model, &bad[i], &err), UMBRA_E_ARGUMENT);
        assert_null(engine);
        assert_true(err.message[0] != '\0');
    }
    umbra_engine_options options = {.threads = 1, .context = 8};
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, &err), 0);
    umbra_token tokens[9] = {{0}};
    assert_int_equal(umbra_engine_eval(engine, tokens, 9, NULL, &err), UMBRA_E_ARGUMENT);
    tokens[0].id = 16384;
    assert_int_equal(umbra_engine_eval(engine, tokens, 1, NULL, &err), UMBRA_E_ARGUMENT);
    tokens[0] = (umbra_token){0, 1, false};
    assert_int_equal(umbra_engine_eval(engine, tokens, 1, NULL, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_engine_length(engine, 0), 0);
    umbra_engine_close(&engine);
    close_fixture(&f);
}

static void interruption_keeps_finished_chunks(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    atomic_bool stop = false;
    const umbra_progress progress = {.interrupted = &stop};
    const umbra_tap tap = {.progress = &progress};
    umbra_engine_options options = {.threads = 1};
    umbra_engine *engine;
    umbra_error err;
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, &err), 0);
    umbra_token token = {f.ids[0], 0, false};
    assert_int_equal(umbra_engine_eval(engine, &token, 1, &tap, &err), 0);
    stop = true;
    assert_int_equal(umbra_engine_eval(engine, &token, 1, &tap, &err), UMBRA_E_INTERRUPTED);
    assert_int_equal(umbra_engine_length(engine, 0), 1);
    assert_int_equal(umbra_engine_eval(engine, &token, 1, NULL, &err), 0); /* not asked to stop */
    umbra_engine_close(&engine);
    close_fixture(&f);
}

static void failing_allocations_leave_nothing(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_engine_options options = {.threads = 2};
    umbra_engine *engine;
    umbra_error err;
    int rc = UMBRA_E_NOMEM;
    long n = 0;
    while (rc != UMBRA_OK && n < 1000) {
        umbra_memory_fail_after(++n);
        rc = umbra_engine_open(&engine, f.model, &options, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || (rc == UMBRA_E_NOMEM && engine == NULL));
    }
    assert_true(n > 5 && n < 1000);
    umbra_engine_close(&engine);

    umbra_model *model;
    rc = UMBRA_E_NOMEM;
    for (n = 1; rc != UMBRA_OK && n < 1000; n++) {
        umbra_memory_fail_after(n);
        rc = umbra_model_open(&model, tiny, &err);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || (rc == UMBRA_E_NOMEM && model == NULL));
    }
    umbra_model_close(&model);
    close_fixture(&f);
}

/* A long text is cut into windows; each window is what it would be alone. */
static void windows_of_long_texts(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    umbra_engine_options options = {.threads = 1, .context = 16};
    umbra_engine *engine;
    assert_int_equal(umbra_engine_open(&engine, f.model, &options, NULL), 0);
    umbra_score_options wanted = {.top = 2, .experts = true};
    umbra_scores all, second;
    assert_int_equal(umbra_score(engine, f.model, f.ids, f.count, &wanted, &all, NULL), 0);
    assert_int_equal(all.predicted, f.count - 1);
    int32_t window[16];
    window[0] = f.ids[0];
    memcpy(window + 1, f.ids + 16, 15 * sizeof *window);
    assert_int_equal(umbra_score(engine, f.model, window, 16, &wanted, &second, NULL), 0);
    for (int i = 0; i < 15; i++) {
        assert_true(all.lse[16 + i] == second.lse[1 + i]);
        assert_int_equal(all.top_id[(16 + i) * 2], second.top_id[(1 + i) * 2]);
        assert_memory_equal(all.experts + (size_t)(16 + i) * (size_t)all.used,
                            second.experts + (size_t)(1 + i) * (size_t)all.used,
                            (size_t)all.used * sizeof *all.experts);
    }
    umbra_score_free(&all);
    umbra_score_free(&second);
    umbra_engine_close(&engine);
    close_fixture(&f);
}

typedef struct written {
    int32_t id[64];
    int count;
} written;

static int take_token(void *user, int32_t id)
{
    written *w = user;
    w->id[w->count++] = id;
    return 0;
}

static written generate(const fixture *f, umbra_sampling sampling, uint64_t ram)
{
    umbra_engine_options options = {.threads = 2, .ram_bytes = ram};
    umbra_engine *engine;
    umbra_error err = {0};
    if (umbra_engine_open(&engine, f->model, &options, &err) != 0)
        fail_msg("%s", err.message);
    written w = {0};
    umbra_generate_options wanted = {.sampling = sampling,
                                     .max_tokens = 48,
                                     .ignore_end = true,
                                     .on_token = take_token,
                                     .user = &w};
    umbra_generation result;
    assert_int_equal(umbra_generate(engine, f->model, f->ids, 9, &wanted, &result, &err), 0);
    assert_int_equal(result.new_tokens, 48);
    assert_int_equal(result.decode_steps, 47);
    umbra_engine_close(&engine);
    return w;
}

static void generation_is_reproducible(void **state)
{
    (void)state;
    fixture f = open_fixture(tiny);
    const umbra_sampling samplings[] = {
        {0},
        {.temperature = 1.0f, .seed = 1},
        {.temperature = 0.8f, .top_p = 0.9f, .seed = 7},
    };
    written first[3];
    for (int i = 0; i < 3; i++) {
        first[i] = generate(&f, samplings[i], 0);
        written again = generate(&f, samplings[i], budget_for(&f, 0.25));
        assert_memory_equal(&first[i], &again, sizeof again);
    }
    assert_memory_not_equal(&first[0], &first[1], sizeof first[0]);
    assert_memory_not_equal(&first[1], &first[2], sizeof first[0]);
    close_fixture(&f);
}

static void sampling_follows_the_probabilities(void **state)
{
    (void)state;
    const float logits[4] = {0.0f, 2.0f, 1.0f, -50.0f};
    umbra_sampler *sampler;
    umbra_sampling sampling = {.temperature = 1.0f, .seed = 3};
    assert_int_equal(umbra_sampler_open(&sampler, &sampling, 4, NULL), 0);
    int seen[4] = {0};
    for (int i = 0; i < 20000; i++)
        seen[umbra_sampler_next(sampler, logits, NULL, i)]++;
    umbra_sampler_close(&sampler);
    assert_in_range(seen[0], 1650, 1950);   /* 0.0900 */
    assert_in_range(seen[1], 13000, 13600); /* 0.6652 */
    assert_in_range(seen[2], 4650, 5150);   /* 0.2447 */
    assert_int_equal(seen[3], 0);
    sampling.top_p = 0.6f; /* only the best one is needed for that much */
    assert_int_equal(umbra_sampler_open(&sampler, &sampling, 4, NULL), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(umbra_sampler_next(sampler, logits, NULL, i), 1);
    umbra_sampler_close(&sampler);
    sampling.temperature = -1;
    assert_int_equal(umbra_sampler_open(&sampler, &sampling, 4, NULL), UMBRA_E_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_and_threads_leave_no_trace),
        cmocka_unit_test(budgets_and_threads_leave_no_trace_lab),
        cmocka_unit_test(chunks_leave_no_trace),
        cmocka_unit_test(backends_leave_no_trace),
        cmocka_unit_test(sequences_do_not_mix),
        cmocka_unit_test(forks_go_on_independently),
        cmocka_unit_test(snapshots_come_back_whole),
        cmocka_unit_test(budgets_are_refused_with_a_way_out),
        cmocka_unit_test(chunks_leave_room_for_experts),
        cmocka_unit_test(bad_calls_are_refused),
        cmocka_unit_test(interruption_keeps_finished_chunks),
        cmocka_unit_test(failing_allocations_leave_nothing),
        cmocka_unit_test(windows_of_long_texts),
        cmocka_unit_test(generation_is_reproducible),
        cmocka_unit_test(sampling_follows_the_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
