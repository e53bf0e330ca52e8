/* Several texts at once: each is what it would be alone, and begins where one is held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <umbra/umbra.h>

#include "base/memory.h"
#include "base/thread.h"
#include "jobs.h"

typedef struct fixture {
    umbra_engine *engine;
    umbra_scheduler *s;
} fixture;

static fixture begin(int sequences)
{
    fixture f = {.engine = open_engine(sequences)};
    const umbra_scheduler_options o = {.engine = f.engine, .model = model, .sequences = sequences};
    assert_int_equal(umbra_scheduler_open(&f.s, &o, NULL), 0);
    return f;
}

static void finish(fixture *f)
{
    umbra_scheduler_close(&f->s);
    umbra_engine_close(&f->engine);
}

static void run_all(fixture *f, text **texts, int n)
{
    for (int i = 0; i < n; i++)
        assert_true(umbra_scheduler_submit(f->s, &texts[i]->job));
    step_until_ended(f->s, texts, n);
}

static text *new_text(int n, int shared, int seed, int new_tokens)
{
    text *t = malloc(sizeof *t);
    assert_non_null(t);
    make_text(t, n, shared, seed, new_tokens);
    return t;
}

static void eight_beside_each_other_are_as_alone(void **state)
{
    (void)state;
    fixture f = begin(4); /* four wait */
    text *texts[8];
    for (int i = 0; i < 8; i++)
        texts[i] = new_text(1 + i * 9, 0, i, 6 + i);
    run_all(&f, texts, 8);
    for (int i = 0; i < 8; i++) {
        expect_same(texts[i]);
        free(texts[i]);
    }
    umbra_scheduler_stats stats;
    umbra_scheduler_get_stats(f.s, &stats);
    assert_int_equal(stats.jobs[UMBRA_JOB_LENGTH] + stats.jobs[UMBRA_JOB_STOPPED], 8);
    assert_int_equal(stats.waiting + stats.reading + stats.writing, 0);
    finish(&f);
}

/* A step has a token of each text that is written, and a piece of one prompt. */
static void a_long_prompt_stops_nobody(void **state)
{
    (void)state;
    fixture f = begin(3);
    text *writer = new_text(4, 0, 1, 60), *reader = new_text(300, 0, 2, 2),
         *late = new_text(8, 0, 3, 2);
    assert_true(umbra_scheduler_submit(f.s, &writer->job));
    umbra_scheduler_step(f.s);
    assert_true(umbra_scheduler_submit(f.s, &reader->job));
    for (int i = 0; i < 5; i++) {
        int before = writer->n;
        umbra_scheduler_step(f.s);
        assert_int_equal(writer->n, before + 1);
    }
    assert_true(umbra_scheduler_submit(f.s, &late->job));
    umbra_scheduler_step(f.s);
    umbra_scheduler_step(f.s);
    assert_true(late->n > 0 && reader->n == 0); /* nor does it make a short one wait */
    step_until_ended(f.s, (text *[]){writer, reader, late}, 3);
    expect_same(writer);
    expect_same(reader);
    expect_same(late);
    free(writer);
    free(reader);
    free(late);
    finish(&f);
}

static void a_second_turn_computes_the_rest_alone(void **state)
{
    (void)state;
    fixture f = begin(2);
    text *first = new_text(40, 0, 1, 10), *second = new_text(70, 0, 1, 6);
    run_all(&f, &first, 1);
    memcpy(second->prompt + 40, first->out, 10 * sizeof(int32_t));
    run_all(&f, &second, 1);
    assert_int_equal(second->job.reused_tokens, 49); /* the answer's last token was not fed back */
    expect_same(second);
    free(first);
    free(second);
    finish(&f);
}

static void branches_share_a_beginning(void **state)
{
    (void)state;
    fixture f = begin(4);
    text *trunk = new_text(80, 80, 0, 4), *branches[3];
    run_all(&f, &trunk, 1);
    for (int i = 0; i < 3; i++)
        branches[i] = new_text(100, 80, i + 1, 8);
    run_all(&f, branches, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(branches[i]->job.reused_tokens, 80);
        expect_same(branches[i]);
        free(branches[i]);
    }
    text *again = new_text(80, 80, 0, 4); /* the trunk is still held: all but the last token */
    run_all(&f, &again, 1);
    assert_int_equal(again->job.reused_tokens, 79);
    expect_same(again);
    free(again);
    free(trunk);
    finish(&f);
}

/* Of prompts that come together and begin alike, one is read, and the others go on from it. */
static void prompts_that_come_together_read_their_beginning_once(void **state)
{
    (void)state;
    fixture f = begin(4);
    text *texts[4];
    for (int i = 0; i < 4; i++)
        texts[i] = new_text(120, 96, i, 4);
    run_all(&f, texts, 4);
    umbra_scheduler_stats stats;
    umbra_scheduler_get_stats(f.s, &stats);
    assert_true(stats.computed_tokens <= 120 + 3 * (120 - 96 + 16));
    for (int i = 0; i < 4; i++) {
        expect_same(texts[i]);
        free(texts[i]);
    }
    finish(&f);
}

static void cancelled_ones_end_before_the_next_step(void **state)
{
    (void)state;
    fixture f = begin(1);
    text *running = new_text(20, 0, 1, 100), *waiting = new_text(20, 0, 2, 5),
         *after = new_text(30, 0, 3, 5);
    assert_true(umbra_scheduler_submit(f.s, &running->job));
    assert_true(umbra_scheduler_submit(f.s, &waiting->job));
    for (int i = 0; i < 6; i++)
        umbra_scheduler_step(f.s);
    int written = running->n;
    assert_true(written > 0 && waiting->ends == 0);
    umbra_scheduler_cancel(f.s, &waiting->job);
    umbra_scheduler_cancel(f.s, &running->job);
    umbra_scheduler_step(f.s);
    assert_true(running->ends == 1 && waiting->ends == 1);
    assert_int_equal(running->n, written);
    assert_int_equal(running->job.end, UMBRA_JOB_CANCELLED);
    assert_int_equal(waiting->job.end, UMBRA_JOB_CANCELLED);
    run_all(&f, &after, 1);
    expect_same(after);
    free(running);
    free(waiting);
    free(after);
    finish(&f);
}

static int32_t refuse(void *user, const float *logits, const int32_t *tokens, int n)
{
    (void)user;
    (void)logits;
    (void)tokens;
    (void)n;
    return UMBRA_E_UNSUPPORTED;
}

static void a_text_that_no_token_can_follow_fails_alone(void **state)
{
    (void)state;
    fixture f = begin(2);
    text *bad = new_text(5, 0, 1, 5), *good = new_text(6, 0, 2, 5);
    bad->job.choose = refuse;
    run_all(&f, (text *[]){bad, good}, 2);
    assert_int_equal(bad->job.end, UMBRA_JOB_FAILED);
    assert_int_equal(bad->job.error.status, UMBRA_E_UNSUPPORTED);
    expect_same(good);
    free(bad);
    free(good);
    finish(&f);
}

static void the_context_ends_a_text(void **state)
{
    (void)state;
    fixture f = begin(1);
    text *t = new_text(500, 0, 1, 400), *none = new_text(10, 0, 2, 0);
    t->job.ignore_end = true;
    run_all(&f, &t, 1);
    assert_int_equal(t->n, 13); /* of 512 positions: the last token is not fed back */
    assert_int_equal(t->job.end, UMBRA_JOB_LENGTH);
    run_all(&f, &none, 1);
    assert_int_equal(none->n, 0);
    free(t);
    free(none);
    finish(&f);
}

static void *drive(void *scheduler)
{
    umbra_scheduler_run(scheduler);
    return NULL;
}

static void its_thread_ends_when_all_has(void **state)
{
    (void)state;
    fixture f = begin(2);
    text *a = new_text(30, 0, 1, 20), *b = new_text(10, 0, 2, 20), *late = new_text(3, 0, 3, 3);
    pthread_t thread;
    assert_true(umbra_scheduler_submit(f.s, &a->job));
    assert_true(umbra_scheduler_submit(f.s, &b->job));
    umbra_scheduler_step(f.s);
    assert_int_equal(umbra_thread_start(&thread, drive, f.s, 1 << 20), 0);
    umbra_scheduler_finish(f.s, false);
    assert_false(umbra_scheduler_submit(f.s, &late->job));
    pthread_join(thread, NULL);
    expect_same(a);
    expect_same(b);
    free(a);
    free(b);
    free(late);
    finish(&f);
}

static void opening_without_memory_fails_clean(void **state)
{
    (void)state;
    umbra_engine *engine = open_engine(2);
    const umbra_scheduler_options o = {.engine = engine, .model = model, .sequences = 2};
    umbra_scheduler *s;
    int failures = 0;
    for (long n = 1; n < 100; n++) {
        umbra_error err = {0};
        umbra_memory_fail_after(n);
        int rc = umbra_scheduler_open(&s, &o, &err);
        umbra_memory_fail_after(0);
        if (rc == UMBRA_OK)
            break;
        assert_int_equal(rc, UMBRA_E_NOMEM);
        assert_null(s);
        failures++;
    }
    assert_true(failures > 3);
    umbra_scheduler_close(&s);
    umbra_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_beside_each_other_are_as_alone),
        cmocka_unit_test(a_long_prompt_stops_nobody),
        cmocka_unit_test(a_second_turn_computes_the_rest_alone),
        cmocka_unit_test(branches_share_a_beginning),
        cmocka_unit_test(prompts_that_come_together_read_their_beginning_once),
        cmocka_unit_test(cancelled_ones_end_before_the_next_step),
        cmocka_unit_test(a_text_that_no_token_can_follow_fails_alone),
        cmocka_unit_test(the_context_ends_a_text),
        cmocka_unit_test(its_thread_ends_when_all_has),
        cmocka_unit_test(opening_without_memory_fails_clean),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
