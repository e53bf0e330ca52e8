/* Recurrent layers: what was computed last can be taken back, whatever it was, and leaves no trace;
 * so do calls that fail. Small models with random weights, made here. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "answers.h"

enum { TAKE_BACK = 9 /* what umbra_engine_truncate promises */, CHUNK = 16 };

static const make_layout *const layouts[] = {&make_qwen35moe, &make_qwen3next, &make_kimi_linear,
                                             &make_nemotron_h_moe};

enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

static opened open_layout(int i)
{
    const umbra_engine_options options = {.threads = 2, .sequences = 3, .chunk = CHUNK};
    return open_it(layouts[i], NULL, NULL, &options);
}

/* Logits of rows by the position in their sequence, which `first` begins with. */
typedef struct rows_taken {
    float (*logits)[MAKE_TOKENS];
    int first;
} rows_taken;

static int take_row(void *user, int index, const float *logits)
{
    const rows_taken *r = user;
    memcpy(r->logits[r->first + index], logits, sizeof r->logits[0]);
    return 0;
}

/* The next n positions of a sequence in one call; wrong: other tokens than the fixed ones. */
static void step(const opened *o, int sequence, int n, bool wrong, float (*logits)[MAKE_TOKENS])
{
    int at = umbra_engine_length(o->engine, sequence);
    umbra_token tokens[TOKENS];
    rows_taken taken = {logits, at};
    const umbra_tap tap = {.user = &taken, .logits = take_row};
    umbra_error err = {0};
    for (int i = 0; i < n; i++) {
        tokens[i] = token_at(at + i, sequence);
        tokens[i].id = wrong ? 255 - tokens[i].id % 200 : tokens[i].id;
    }
    if (umbra_engine_eval(o->engine, tokens, n, &tap, &err) != 0)
        fail_msg("%s", err.message);
}

/* To the end of the text, which must be what it is when nothing was ever taken back. */
static void finish(const opened *o, int sequence, const answer *want)
{
    float(*logits)[MAKE_TOKENS] = calloc(TOKENS, sizeof *logits);
    int at = umbra_engine_length(o->engine, sequence);
    step(o, sequence, TOKENS - at, false, logits);
    assert_memory_equal(logits[at], want->logits[at], (size_t)(TOKENS - at) * sizeof *logits);
    free(logits);
}

/* Some tokens that fit, some that do not, and back to the last that does. */
static void guesses_are_taken_back(void **state)
{
    (void)state;
    float(*unused)[MAKE_TOKENS] = calloc(TOKENS, sizeof *unused);
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_layout(i);
        answer *want = evaluate(&o, -1);
        for (int rows = 1; rows <= TAKE_BACK; rows++) {
            for (int right = 0; right < rows; right++) {
                umbra_engine_truncate(o.engine, 0, 0);
                step(&o, 0, 11, false, unused);
                step(&o, 0, 1, false, unused);
                for (int again = 0; again < 2; again++) { /* the second goes on from the first */
                    int at = umbra_engine_length(o.engine, 0);
                    umbra_token tokens[TAKE_BACK];
                    for (int t = 0; t < rows; t++) {
                        tokens[t] = token_at(at + t, 0);
                        tokens[t].id = t >= right ? 250 : tokens[t].id;
                    }
                    assert_int_equal(umbra_engine_eval(o.engine, tokens, rows, NULL, NULL), 0);
                    assert_int_equal(umbra_engine_truncate(o.engine, 0, at + right), at + right);
                }
                finish(&o, 0, want);
            }
        }
        free(want);
        close_it(&o);
    }
    free(unused);
}

/* From the first token on, one after the other. */
static void a_step_is_taken_back_bit_by_bit(void **state)
{
    (void)state;
    float(*unused)[MAKE_TOKENS] = calloc(TOKENS, sizeof *unused);
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_layout(i);
        answer *want = evaluate(&o, -1);
        umbra_engine_truncate(o.engine, 0, 0);
        for (int before = 0; before <= 9; before += 3) {
            umbra_engine_truncate(o.engine, 0, 0);
            if (before > 0)
                step(&o, 0, before, false, unused);
            step(&o, 0, TAKE_BACK, false, unused);
            for (int back = 1; back <= TAKE_BACK; back++) {
                int length = before + TAKE_BACK - back;
                assert_int_equal(umbra_engine_truncate(o.engine, 0, length), length);
                assert_int_equal(umbra_engine_fork(o.engine, 0, 1, NULL), 0);
                finish(&o, 1, want);
            }
        }
        free(want);
        close_it(&o);
    }
    free(unused);
}

/* What is not there any more is not made up. */
static void longer_steps_and_older_ones_stay(void **state)
{
    (void)state;
    float(*unused)[MAKE_TOKENS] = calloc(TOKENS, sizeof *unused);
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_layout(i);
        answer *want = evaluate(&o, -1);
        umbra_engine_truncate(o.engine, 0, 0);
        step(&o, 0, TAKE_BACK + 1, false, unused);
        assert_int_equal(umbra_engine_truncate(o.engine, 0, 50), TAKE_BACK + 1);
        assert_int_equal(umbra_engine_truncate(o.engine, 0, TAKE_BACK), 0);
        step(&o, 0, 5, false, unused);
        step(&o, 0, 5, false, unused);
        assert_int_equal(umbra_engine_truncate(o.engine, 0, 4), 0);
        finish(&o, 0, want);
        umbra_engine_truncate(o.engine, 0, 0);
        step(&o, 0, 5, false, unused);
        step(&o, 0, 5, false, unused);
        assert_int_equal(umbra_engine_truncate(o.engine, 0, 5), 5); /* all of the last step */
        assert_int_equal(umbra_engine_truncate(o.engine, 0, 4), 0);
        free(want);
        close_it(&o);
    }
    free(unused);
}

/* A fork and a snapshot can take back what the sequence could, and it is theirs alone. */
static void forks_and_snapshots_take_back_as_well(void **state)
{
    (void)state;
    float(*unused)[MAKE_TOKENS] = calloc(TOKENS, sizeof *unused);
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_layout(i);
        answer *want = evaluate(&o, -1);
        umbra_engine_truncate(o.engine, 0, 0);
        step(&o, 0, 10, false, unused);
        step(&o, 0, 6, false, unused);
        uint64_t bytes = umbra_engine_snapshot_bytes(o.engine, 16);
        void *snapshot = malloc(bytes);
        assert_int_equal(umbra_engine_snapshot(o.engine, 0, snapshot, bytes, NULL), 0);
        assert_int_equal(umbra_engine_fork(o.engine, 0, 1, NULL), 0);
        assert_int_equal(umbra_engine_fork(o.engine, 0, 2, NULL), 0);
        assert_int_equal(umbra_engine_truncate(o.engine, 0, 13), 13);
        assert_int_equal(umbra_engine_truncate(o.engine, 1, 11), 11);
        step(&o, 0, 3, true, unused);
        finish(&o, 1, want);
        finish(&o, 2, want);
        assert_int_equal(umbra_engine_truncate(o.engine, 0, 13), 13);
        finish(&o, 0, want);
        for (int back = 0; back <= 6; back++) {
            assert_int_equal(umbra_engine_restore(o.engine, back % 3, snapshot, bytes, NULL), 0);
            assert_int_equal(umbra_engine_truncate(o.engine, back % 3, 16 - back), 16 - back);
            finish(&o, back % 3, want);
        }
        free(snapshot);
        free(want);
        close_it(&o);
    }
    free(unused);
}

static int stop_in_last_layer(void *user, const umbra_rows *rows)
{
    (void)user;
    return rows->layer == MAKE_LAYERS - 1 ? 42 : 0;
}

static void calls_that_fail_leave_no_trace(void **state)
{
    (void)state;
    float(*unused)[MAKE_TOKENS] = calloc(TOKENS, sizeof *unused);
    const umbra_tap stops = {.at = {[UMBRA_TAP_HIDDEN] = stop_in_last_layer}};
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_layout(i);
        answer *want = evaluate(&o, -1);
        for (int rows = 1; rows < CHUNK; rows += 7) {
            umbra_engine_truncate(o.engine, 0, 0);
            for (int held = 0; held < TOKENS - CHUNK; held += 6) {
                umbra_token tokens[CHUNK];
                for (int t = 0; t < rows; t++)
                    tokens[t] = (umbra_token){7, 0, false};
                assert_int_equal(umbra_engine_eval(o.engine, tokens, rows, &stops, NULL), 42);
                assert_int_equal(umbra_engine_length(o.engine, 0), held);
                step(&o, 0, 6, false, unused);
            }
            finish(&o, 0, want);
        }
        free(want);
        close_it(&o);
    }
    free(unused);
}

/* Texts of several sequences in one call, their rows in any order. */
static void rows_of_sequences_may_be_mixed(void **state)
{
    (void)state;
    for (int i = 0; i < LAYOUTS; i++) {
        opened o = open_layout(i);
        answer *want = evaluate(&o, -1);
        float(*logits)[MAKE_TOKENS] = calloc(3 * TOKENS, sizeof *logits);
        umbra_token tokens[3 * TOKENS];
        int n = 0, next[3] = {0};
        umbra_engine_truncate(o.engine, 0, 0);
        for (int t = 0; n < 3 * TOKENS; t++) {
            int sequence = (t * t + t / 3) % 3;
            if (next[sequence] < TOKENS)
                tokens[n++] = token_at(next[sequence]++, sequence);
        }
        rows_taken taken = {logits, 0};
        const umbra_tap tap = {.user = &taken, .logits = take_row};
        assert_int_equal(umbra_engine_eval(o.engine, tokens, n, &tap, NULL), 0);
        memset(next, 0, sizeof next);
        for (int t = 0; t < n; t++)
            assert_memory_equal(logits[t], want->logits[next[tokens[t].sequence]++],
                                sizeof *logits);
        free(logits);
        free(want);
        close_it(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_are_taken_back),
        cmocka_unit_test(a_step_is_taken_back_bit_by_bit),
        cmocka_unit_test(longer_steps_and_older_ones_stay),
        cmocka_unit_test(forks_and_snapshots_take_back_as_well),
        cmocka_unit_test(calls_that_fail_leave_no_trace),
        cmocka_unit_test(rows_of_sequences_may_be_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
