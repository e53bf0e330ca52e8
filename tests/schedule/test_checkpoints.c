/* Models that forget, with windows and recurrent layers: what prompts share is not computed again,
 * though no text can be cut back to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <umbra/umbra.h>

#include "../model/make.h"
#include "jobs.h"

#define FOLDER UMBRA_TEST_DIR

static const make_key longer[] = {{"context_length", 512, MAKE_U32, NULL}, {NULL, 0, 0, NULL}};
static const make_layout *const layouts[] = {
    &make_gpt_oss, &make_qwen35moe, &make_kimi_linear, &make_nemotron_h_moe,
    &make_lfm2moe, &make_qwen4exp,  &make_deepseek4};
/* Indexes pick what their attention sees, and nothing is forgotten. */
static const make_layout *const indexed[] = {&make_glm_dsa, &make_deepseek32, &make_minimax_m3};

enum {
    LAYOUTS = sizeof layouts / sizeof *layouts,
    INDEXED = sizeof indexed / sizeof *indexed,
    BEHIND = 16
};

typedef struct fixture {
    umbra_memory_file file;
    umbra_engine *engine;
    umbra_states *states;
    umbra_scheduler *s;
} fixture;

static void warn(void *user, const char *message)
{
    (void)user;
    fail_msg("%s", message);
}

static void start(fixture *f, int sequences, int texts, bool on_disk)
{
    umbra_error err = {0};
    const umbra_model_info *info = umbra_model_get_info(model);
    f->engine = open_engine(sequences);
    f->states = NULL;
    const umbra_states_options o = {.folder = FOLDER,
                                    .most_bytes = 1 << 30,
                                    .model = "0123456789abcdef0123456789abcdef",
                                    .kernels = umbra_engine_get_plan(f->engine)->kernels,
                                    .forgets = info->windowed_layers + info->recurrent_layers > 0,
                                    .buffer_bytes = 8 << 20,
                                    .warn = warn};
    if (on_disk && umbra_states_open(&f->states, &o, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    const umbra_scheduler_options so = {.engine = f->engine,
                                        .model = model,
                                        .sequences = sequences,
                                        .texts = texts,
                                        .states = f->states};
    assert_int_equal(umbra_scheduler_open(&f->s, &so, NULL), 0);
}

static void stop(fixture *f)
{
    umbra_scheduler_finish(f->s, false);
    umbra_scheduler_run(f->s);
    umbra_scheduler_close(&f->s);
    umbra_states_close(&f->states);
    umbra_engine_close(&f->engine);
}

static void open_layout(fixture *f, const make_layout *layout)
{
    umbra_error err = {0};
    if (make_open(layout, longer, NULL, NULL, &f->file, &model, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
}

static void close_layout(fixture *f)
{
    umbra_model_close(&model);
    umbra_memory_file_release(&f->file);
}

/* As make_text, of the small vocabulary. */
static void make_small(text *t, int n, int shared, int seed)
{
    make_text(t, n, shared, seed, 6);
    for (int i = 0; i < n; i++)
        t->prompt[i] %= MAKE_TOKENS - 1;
    t->job.ignore_end = true;
}

/* Greedily, with what is held or without: the same. */
static void run_one(fixture *f, text *t)
{
    assert_true(umbra_scheduler_submit(f->s, &t->job));
    step_until_ended(f->s, &t, 1);
}

static void check(const text *t)
{
    static text fresh;
    fixture alone;
    memcpy(&fresh, t, sizeof fresh);
    make_text(&fresh, t->job.prompt_tokens, 0, 0, 6);
    memcpy(fresh.prompt, t->prompt, sizeof fresh.prompt);
    fresh.job.ignore_end = true;
    start(&alone, 1, 0, false);
    run_one(&alone, &fresh);
    assert_int_equal(fresh.job.reused_tokens, 0);
    assert_memory_equal(fresh.out, t->out, (size_t)fresh.n * sizeof *t->out);
    stop(&alone);
}

static text t, u; /* large */

/* The next turn writes the end of the last one's prompt otherwise. */
static void a_next_turn_goes_on_before_the_prompts_end(void **state)
{
    (void)state;
    for (int i = 0; i < LAYOUTS; i++) {
        fixture f;
        open_layout(&f, layouts[i]);
        start(&f, 2, 1, false);
        make_small(&t, 100, 100, 0);
        run_one(&f, &t);
        assert_int_equal(t.job.reused_tokens, 0);
        make_small(&u, 150, 92, 1);
        run_one(&f, &u);
        assert_in_range(u.job.reused_tokens, 100 - BEHIND, 92); /* a window can go back a little */
        check(&u);
        make_small(&u, 150, 92, 1); /* the same again, twice: the checkpoint stays */
        run_one(&f, &u);
        assert_in_range(u.job.reused_tokens, 150 - BEHIND, 149);
        make_small(&u, 150, 92, 1);
        run_one(&f, &u);
        assert_in_range(u.job.reused_tokens, 150 - BEHIND, 149);
        check(&u);
        stop(&f);
        close_layout(&f);
    }
}

/* Where a second prompt parts from the first is a place that a third may share. */
static void branches_meet_where_another_parted(void **state)
{
    (void)state;
    for (int i = 0; i < LAYOUTS; i++) {
        fixture f;
        open_layout(&f, layouts[i]);
        start(&f, 4, 1, false);
        make_small(&t, 240, 70, 1);
        run_one(&f, &t);
        make_small(&t, 240, 70, 2);
        run_one(&f, &t);
        assert_int_equal(t.job.reused_tokens, 0);
        make_small(&t, 240, 70, 3);
        run_one(&f, &t);
        assert_int_equal(t.job.reused_tokens, 70);
        check(&t);
        stop(&f);
        close_layout(&f);
    }
}

/* Two that come together: the second waits for the first to come to where they part. */
static void prompts_that_come_together_read_their_beginning_once(void **state)
{
    (void)state;
    for (int i = 0; i < LAYOUTS; i++) {
        fixture f;
        open_layout(&f, layouts[i]);
        start(&f, 4, 2, false);
        make_small(&t, 140, 70, 1);
        make_small(&u, 140, 70, 2);
        assert_true(umbra_scheduler_submit(f.s, &t.job));
        assert_true(umbra_scheduler_submit(f.s, &u.job));
        text *const both[] = {&t, &u};
        step_until_ended(f.s, both, 2);
        assert_in_range(u.job.reused_tokens, 64, 70); /* where a step ends */
        check(&t);
        check(&u);
        stop(&f);
        close_layout(&f);
    }
}

/* Without room beside the texts, those that are held are not driven out by checkpoints. */
static void texts_are_worth_more_than_checkpoints(void **state)
{
    (void)state;
    fixture f;
    open_layout(&f, &make_qwen35moe);
    start(&f, 2, 2, false);
    make_small(&t, 100, 0, 1);
    run_one(&f, &t);
    int32_t answer[6];
    memcpy(answer, t.out, sizeof answer);
    make_small(&u, 100, 0, 2);
    run_one(&f, &u);
    make_small(&u, 120, 0, 1);
    make_small(&t, 100, 0, 1);
    memcpy(u.prompt, t.prompt, 100 * sizeof *u.prompt);
    memcpy(u.prompt + 100, answer, 5 * sizeof *answer);
    run_one(&f, &u);
    assert_int_equal(u.job.reused_tokens, 105);
    check(&u);
    stop(&f);
    close_layout(&f);
}

static void a_restart_finds_checkpoints(void **state)
{
    (void)state;
    for (int i = 0; i < LAYOUTS; i++) {
        fixture f;
        assert_int_equal(system("rm -rf '" FOLDER "'"), 0);
        open_layout(&f, layouts[i]);
        start(&f, 2, 1, true);
        make_small(&t, 100, 100, 0);
        run_one(&f, &t);
        stop(&f);
        start(&f, 2, 1, true);
        make_small(&u, 150, 92, 1);
        run_one(&f, &u);
        assert_in_range(u.job.restored_tokens, 100 - BEHIND, 92);
        check(&u);
        stop(&f);
        close_layout(&f);
    }
    assert_int_equal(system("rm -rf '" FOLDER "'"), 0);
}

/* Keys of indexes are cut, forked and kept as all others are. */
static void indexes_go_on_from_anywhere(void **state)
{
    (void)state;
    for (int i = 0; i < INDEXED; i++) {
        fixture f;
        assert_int_equal(system("rm -rf '" FOLDER "'"), 0);
        open_layout(&f, indexed[i]);
        start(&f, 2, 1, true);
        make_small(&t, 240, 70, 1);
        run_one(&f, &t);
        make_small(&u, 240, 70, 2);
        run_one(&f, &u);
        assert_int_equal(u.job.reused_tokens, 70);
        check(&u);
        stop(&f);
        start(&f, 2, 1, true);
        make_small(&u, 250, 200, 3);
        make_small(&t, 240, 70, 1);
        memcpy(u.prompt, t.prompt, 200 * sizeof *u.prompt);
        run_one(&f, &u);
        assert_in_range(u.job.restored_tokens, 192, 200);
        check(&u);
        stop(&f);
        close_layout(&f);
    }
    assert_int_equal(system("rm -rf '" FOLDER "'"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_next_turn_goes_on_before_the_prompts_end),
        cmocka_unit_test(branches_meet_where_another_parted),
        cmocka_unit_test(prompts_that_come_together_read_their_beginning_once),
        cmocka_unit_test(texts_are_worth_more_than_checkpoints),
        cmocka_unit_test(a_restart_finds_checkpoints),
        cmocka_unit_test(indexes_go_on_from_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
