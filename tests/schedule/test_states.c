/* States on disk: found again, checked, cut to what is shared, and gone when there is no room. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <umbra/umbra.h>

#include "base/memory.h"
#include "engine/engine.h"
#include "jobs.h"
#include "store/refill.h"

#define FOLDER UMBRA_TEST_DIR

typedef struct fixture {
    umbra_engine *engine;
    umbra_states *states;
    umbra_scheduler *s;
    umbra_drafts *drafts; /* or NULL */
    int warnings;
} fixture;

static umbra_draft drafting = UMBRA_DRAFT_OFF; /* of what is begun */

static void count_warning(void *user, const char *message)
{
    assert_true(strlen(message) > 10);
    ((fixture *)user)->warnings++;
}

static int open_states(fixture *f, const char *hash, uint64_t most, umbra_error *err)
{
    const umbra_states_options o = {
        .folder = FOLDER,
        .most_bytes = most,
        .model = hash,
        .kernels = umbra_engine_get_plan(f->engine)->kernels,
        .buffer_bytes = 8 << 20,
        .warn = count_warning,
        .user = f,
    };
    return umbra_states_open(&f->states, &o, err);
}

static void begin(fixture *f, const char *hash, uint64_t most)
{
    umbra_error err = {0};
    *f = (fixture){.engine = open_engine(1)};
    if (open_states(f, hash, most, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    const umbra_draft_options draft = {.source = drafting};
    assert_int_equal(umbra_drafts_open(&f->drafts, f->engine, &draft, NULL), 0);
    const umbra_scheduler_options o = {.engine = f->engine,
                                       .model = model,
                                       .sequences = 1,
                                       .drafts = f->drafts,
                                       .states = f->states};
    assert_int_equal(umbra_scheduler_open(&f->s, &o, NULL), 0);
}

/* As the program ends: what is held is kept. */
static void finish(fixture *f)
{
    umbra_scheduler_finish(f->s, false);
    umbra_scheduler_run(f->s);
    umbra_scheduler_close(&f->s);
    umbra_drafts_close(&f->drafts);
    umbra_states_close(&f->states);
    umbra_engine_close(&f->engine);
}

static int empty_folder(void **state)
{
    (void)state;
    return system("rm -rf '" FOLDER "'");
}

static int files(char last[512])
{
    DIR *d = opendir(FOLDER);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strstr(e->d_name, ".state")) {
            n++;
            snprintf(last, 512, FOLDER "/%s", e->d_name);
        }
    closedir(d);
    return n;
}

static void run_one(fixture *f, text *t)
{
    assert_true(umbra_scheduler_submit(f->s, &t->job));
    step_until_ended(f->s, &t, 1);
}

static const char hash[] = "0123456789abcdef0123456789abcdef";
static const char other_hash[] = "1123456789abcdef0123456789abcdef";

static text t; /* large */

static void a_restart_finds_them_again(void **state)
{
    (void)state;
    fixture f;
    char path[512];
    begin(&f, hash, 1 << 30);
    make_text(&t, 100, 100, 0, 8);
    run_one(&f, &t);
    int32_t answer[8];
    memcpy(answer, t.out, sizeof answer);
    finish(&f);
    assert_int_equal(files(path), 1);

    begin(&f, hash, 1 << 30);
    make_text(&t, 140, 100, 3, 8); /* another branch from token 100 on */
    run_one(&f, &t);
    assert_int_equal(t.job.restored_tokens, 100);
    expect_same(&t);
    make_text(&t, 130, 100, 0, 8); /* the same text goes on */
    memcpy(t.prompt + 100, answer, sizeof answer);
    run_one(&f, &t);
    assert_int_equal(t.job.restored_tokens, 107);
    expect_same(&t);
    assert_int_equal(f.warnings, 0);
    finish(&f);
}

static void a_restart_finds_them_again_with_drafts(void **state)
{
    drafting = UMBRA_DRAFT_LOOKUP;
    a_restart_finds_them_again(state);
    drafting = UMBRA_DRAFT_OFF;
}

/* They tell what was said. */
static void nobody_else_reads_them(void **state)
{
    (void)state;
    fixture f;
    struct stat st;
    char path[512];
    mode_t mask = umask(0);
    assert_int_equal(mkdir(FOLDER, 0755), 0); /* as a service manager may make it */
    begin(&f, hash, 1 << 30);
    make_text(&t, 100, 100, 0, 4);
    run_one(&f, &t);
    finish(&f);
    umask(mask);
    assert_int_equal(files(path), 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void another_model_finds_nothing(void **state)
{
    (void)state;
    fixture f;
    begin(&f, hash, 1 << 30);
    make_text(&t, 100, 100, 0, 4);
    run_one(&f, &t);
    finish(&f);
    begin(&f, other_hash, 1 << 30);
    make_text(&t, 120, 100, 0, 4);
    run_one(&f, &t);
    assert_int_equal(t.job.reused_tokens, 0);
    finish(&f);
}

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, at < 0 ? SEEK_END : SEEK_SET);
    int c = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(c ^ 1, file);
    fclose(file);
}

/* In the beginning it is seen when the folder is, in the states when they are read. */
static void damaged_ones_go(void **state)
{
    (void)state;
    const long places[] = {9, 100, 2000, -3};
    for (int i = 0; i < 4; i++) {
        fixture f;
        char path[512];
        empty_folder(NULL);
        begin(&f, hash, 1 << 30);
        make_text(&t, 100, 100, 0, 4);
        run_one(&f, &t);
        finish(&f);
        assert_int_equal(files(path), 1);
        flip(path, places[i]);
        begin(&f, hash, 1 << 30);
        make_text(&t, 120, 100, 0, 4);
        run_one(&f, &t);
        assert_int_equal(t.job.reused_tokens, 0);
        expect_same(&t);
        umbra_states_stats stats;
        umbra_states_get_stats(f.states, &stats);
        assert_int_equal(stats.damaged, 1);
        assert_int_equal(f.warnings, i < 2 ? 0 : 1);
        finish(&f);
    }
}

static void leftovers_of_an_interrupted_write_go(void **state)
{
    (void)state;
    fixture f;
    char path[512];
    assert_int_equal(mkdir(FOLDER, 0700), 0);
    fclose(fopen(FOLDER "/00000000000000000000000000000000.state.part", "w"));
    fclose(fopen(FOLDER "/00000000000000000000000000000001.state", "w"));
    fclose(fopen(FOLDER "/notes.txt", "w"));
    begin(&f, hash, 1 << 30);
    assert_int_equal(files(path), 0);
    assert_int_equal(access(FOLDER "/notes.txt", F_OK), 0);
    finish(&f);
}

/* A folder may be somebody's who has files of his own there. */
static void files_of_others_stay(void **state)
{
    (void)state;
    static const char *const names[] = {FOLDER "/mine.state", FOLDER "/mine.state.part",
                                        FOLDER "/0000000000000000000000000000000g.state",
                                        FOLDER "/000000000000000000000000000000001.state"};
    fixture f;
    assert_int_equal(system("mkdir -p '" FOLDER "'"), 0);
    for (int i = 0; i < 4; i++)
        fclose(fopen(names[i], "w"));
    begin(&f, "0123456789abcdef0123456789abcdef", 1 << 30);
    finish(&f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(access(names[i], F_OK), 0);
}

/* Until so many were written: a text that makes way while the writer is busy is not kept. */
static void await_written(const fixture *f, uint64_t states)
{
    umbra_states_stats stats;
    const struct timespec nap = {.tv_nsec = 1000000};
    for (umbra_states_get_stats(f->states, &stats); stats.written < states;
         umbra_states_get_stats(f->states, &stats))
        nanosleep(&nap, NULL);
}

static void the_oldest_make_room(void **state)
{
    (void)state;
    fixture f;
    char path[512];
    umbra_engine *engine = open_engine(1);
    uint64_t one = umbra_engine_snapshot_bytes(engine, 103) + 1000;
    umbra_engine_close(&engine);
    const uint64_t experts = 32 << 10; /* what the file of the cache's experts takes at most */
    assert_true(one > 2 * experts);
    begin(&f, hash, 2 * one + experts);
    for (int i = 0; i < 4; i++) {
        make_text(&t, 100, 0, i, 4);
        run_one(&f, &t);
        await_written(&f, (uint64_t)i);
    }
    finish(&f);
    assert_int_equal(files(path), 2);
    begin(&f, hash, 2 * one + experts);
    make_text(&t, 100, 0, 3, 4);
    run_one(&f, &t);
    assert_int_equal(t.job.restored_tokens, 99);
    finish(&f);
    begin(&f, hash, one / 2); /* a smaller limit holds at once */
    assert_int_equal(files(path), 0);
    finish(&f);
}

static void a_longer_one_takes_the_place_of_its_beginning(void **state)
{
    (void)state;
    fixture f;
    char path[512];
    begin(&f, hash, 1 << 30);
    make_text(&t, 64, 512, 0, 1);
    run_one(&f, &t);
    finish(&f);
    begin(&f, hash, 1 << 30);
    make_text(&t, 200, 512, 0, 1);
    run_one(&f, &t);
    finish(&f);
    assert_int_equal(files(path), 1);
}

static void a_folder_serves_one_program(void **state)
{
    (void)state;
    fixture f, second = {.engine = open_engine(1)};
    umbra_error err = {0};
    begin(&f, hash, 1 << 30);
    assert_int_equal(open_states(&second, hash, 1 << 30, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "another program"));
    umbra_engine_close(&second.engine);
    finish(&f);
}

/* ---- the cache's experts ---- */

static const char experts_file[] = FOLDER "/0123456789abcdef0123456789abcdef.experts";

/* Leaves a file of experts. Returns how many the cache had. */
static int leave_experts(void)
{
    fixture f;
    begin(&f, hash, 1 << 30);
    make_text(&t, 20, 100, 0, 4);
    run_one(&f, &t);
    int n = umbra_store_count_cached(umbra_engine_store(f.engine));
    finish(&f);
    assert_int_equal(access(experts_file, F_OK), 0);
    assert_true(n > 8);
    return n;
}

/* What a process that begins now would read back. */
static int experts_found(const char *model_hash, int *warnings)
{
    fixture f;
    umbra_store_stats stats;
    begin(&f, model_hash, 1 << 30);
    umbra_engine_get_store_stats(f.engine, &stats);
    *warnings = f.warnings;
    finish(&f);
    return (int)(stats.refill_left + stats.refill_reads);
}

static void experts_are_found_again(void **state)
{
    (void)state;
    int n = leave_experts(), warnings;
    assert_int_equal(experts_found(hash, &warnings), n);
    assert_int_equal(warnings, 0);
    assert_int_equal(experts_found(hash, &warnings), n); /* nothing was asked: it is as it was */
    assert_int_equal(experts_found(other_hash, &warnings), 0);
    assert_int_equal(warnings, 0);
}

static void damaged_experts_go(void **state)
{
    (void)state;
    const long places[] = {3, 9, 13, 20, 50, 70, -1};
    int warnings;
    for (int i = 0; i < 7; i++) {
        leave_experts();
        flip(experts_file, places[i]);
        assert_int_equal(experts_found(hash, &warnings), 0);
        assert_int_equal(warnings, 1);
        assert_int_equal(access(experts_file, F_OK), -1);
    }
    leave_experts();
    assert_int_equal(truncate(experts_file, 60), 0);
    assert_int_equal(experts_found(hash, &warnings), 0);
    fclose(fopen(FOLDER "/0123456789abcdef0123456789abcdef.experts.part", "w"));
    experts_found(hash, &warnings);
    assert_int_equal(access(FOLDER "/0123456789abcdef0123456789abcdef.experts.part", F_OK), -1);
}

/* It is one of the files that the folder's limit is about. */
static void experts_are_within_the_limit(void **state)
{
    (void)state;
    fixture f;
    umbra_states_stats stats;
    struct stat st;
    leave_experts();
    assert_int_equal(stat(experts_file, &st), 0);
    begin(&f, hash, 1 << 30);
    umbra_states_get_stats(f.states, &stats);
    assert_int_equal(stats.files, 0);
    assert_int_equal(stats.bytes, st.st_size);
    finish(&f);
    begin(&f, hash, (uint64_t)st.st_size - 1);
    assert_int_equal(access(experts_file, F_OK), -1);
    make_text(&t, 20, 100, 0, 4);
    run_one(&f, &t);
    finish(&f);
    assert_int_equal(access(experts_file, F_OK), -1);
}

static void opening_without_memory_fails_clean(void **state)
{
    (void)state;
    fixture f = {.engine = open_engine(1)};
    int failures = 0;
    for (long n = 1; n < 100; n++) {
        umbra_memory_fail_after(n);
        int rc = open_states(&f, hash, 1 << 30, NULL);
        umbra_memory_fail_after(0);
        if (rc == UMBRA_OK)
            break;
        assert_null(f.states);
        failures++;
    }
    assert_true(failures > 2);
    umbra_states_close(&f.states);
    umbra_engine_close(&f.engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_restart_finds_them_again, empty_folder),
        cmocka_unit_test_setup(a_restart_finds_them_again_with_drafts, empty_folder),
        cmocka_unit_test_setup(nobody_else_reads_them, empty_folder),
        cmocka_unit_test_setup(another_model_finds_nothing, empty_folder),
        cmocka_unit_test_setup(damaged_ones_go, empty_folder),
        cmocka_unit_test_setup(leftovers_of_an_interrupted_write_go, empty_folder),
        cmocka_unit_test_setup(files_of_others_stay, empty_folder),
        cmocka_unit_test_setup(the_oldest_make_room, empty_folder),
        cmocka_unit_test_setup(a_longer_one_takes_the_place_of_its_beginning, empty_folder),
        cmocka_unit_test_setup(a_folder_serves_one_program, empty_folder),
        cmocka_unit_test_setup(experts_are_found_again, empty_folder),
        cmocka_unit_test_setup(damaged_experts_go, empty_folder),
        cmocka_unit_test_setup(experts_are_within_the_limit, empty_folder),
        cmocka_unit_test_setup(opening_without_memory_fails_clean, empty_folder),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
