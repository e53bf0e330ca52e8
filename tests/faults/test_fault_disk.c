/* The disk fails: no room, errors once and for good, short reads, refused io_uring, a read that
 * never ends, a model file that is cut or replaced while it is in use. */
#include "faults.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 16, READS = 24 };

static const char run[] =
    "run " MODEL " -p the -n 12 --ignore-eos -t 2 --ram 40M --prefetch off --buffered";

#define WRITING                                                                                    \
    {                                                                                              \
        SYS_write, SYS_pwrite64, SYS_fallocate, SYS_ftruncate, SYS_fsync, SYS_rename, SYS_mkdir,   \
            SYS_pwritev                                                                            \
    }

static bool ends_in_part(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".part") == 0;
}

/* No file of an unfinished name is left in OUT, and what has the output's name is whole. */
static void expect_whole(const command *c, int n, inject_result r, uint64_t whole)
{
    FILE *f = popen("find '" OUT "' -type f", "r");
    char line[1024];
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (ends_in_part(line))
            fail_msg("write %d: %s is left by umbra %s", n, line, c->line);
    }
    pclose(f);
    struct stat st;
    bool file = stat(c->output, &st) == 0 && S_ISREG(st.st_mode);
    if (file && whole != 0 && hash_of(c->output) != whole)
        fail_msg("write %d: %s is not what it should be", n, c->output);
    if (r.code == 0 && stat(c->output, &st) != 0)
        fail_msg("write %d: done, but there is no %s", n, c->output);
}

/* Reports name the time and the machine's speed. */
static bool same_every_time(const command *c)
{
    return !strstr(c->line, "bench ") && !strstr(c->line, "eval ");
}

/* What the failure has left does not keep the command from being done. */
static void expect_done_later(const command *c, int n, uint64_t whole)
{
    run_good(c->resume ? c->resume : c->line);
    if (whole != 0 && hash_of(c->output) != whole)
        fail_msg("write %d: gone on with, %s is another", n, c->output);
}

static void no_room_for_any_write(void **state)
{
    (void)state;
    for (int i = 0; i < n_commands; i++) {
        const command *c = &commands[i];
        inject w = {.calls = WRITING, .files = true, .error = ENOSPC};
        if (!c->output)
            continue;
        remove_output(c);
        inject_result all = run_line(c->line, &w);
        if (all.cannot)
            skip();
        expect_order(c, "write", 0, all);
        uint64_t whole = same_every_time(c) ? hash_of(c->output) : 0;
        w.action = INJECT_ERROR;
        w.forever = true;
        for (int k = 0; (w.first = sample(k, all.met, WRITES)) > 0; k++) {
            remove_output(c);
            inject_result r = run_line(c->line, &w);
            expect_order(c, "write", w.first, r);
            expect_whole(c, w.first, r, whole);
            if (r.code != 0 && !file_says(TOLD, "No space left"))
                fail_msg("write %d: umbra %s does not say that the disk is full", w.first, c->line);
            if (!strstr(c->line, "--usage")) /* counts again */
                expect_done_later(c, w.first, whole);
        }
        print_message("%d writes: umbra %.40s\n", all.met, c->line);
    }
}

/* The text of a run, or 0 if it failed; it must then have said where. */
static uint64_t text_of(const char *what, int n, inject_result r)
{
    const command c = {.line = run};
    expect_order(&c, what, n, r);
    if (r.code != 0 && !file_says(TOLD, "model.gguf") && !file_says(TOLD, "io_uring"))
        fail_msg("%s %d: the message names no file", what, n);
    return r.code == 0 ? hash_of(SAID) : 0;
}

static void reads_that_fail(void **state)
{
    (void)state;
    for (int backend = 0; backend < 2; backend++) {
        char line[600];
        snprintf(line, sizeof line, "%s --io %s", run, backend ? "threads" : "auto");
        inject w = {.calls = {SYS_pread64, SYS_preadv}, .path = "model.gguf"};
        inject_result all = run_line(line, &w);
        if (all.cannot)
            skip();
        uint64_t text = text_of("reads", 0, all);
        assert_true(text != 0);
        for (int forever = 0; forever < 2; forever++)
            for (int k = 0; (w.first = sample(k, all.met, READS)) > 0; k++) {
                w.forever = forever;
                w.action = INJECT_ERROR;
                w.error = EIO;
                uint64_t got = text_of("EIO at read", w.first, run_line(line, &w));
                assert_true(got == 0 || got == text);
                w.error = EINTR;
                if (!forever)
                    assert_true(text_of("EINTR at read", w.first, run_line(line, &w)) == text);
            }
        w.first = 1;
        w.forever = true;
        w.action = INJECT_SHORT;
        assert_true(text_of("short reads", 1, run_line(line, &w)) == text);
    }
}

static void io_uring_that_is_refused(void **state)
{
    (void)state;
    static const int errors[] = {EPERM, ENOSYS, ENOMEM};
    const inject none = {0};
    uint64_t text = text_of("no fault", 0, run_line(run, &none));
    for (int i = 0; i < 3; i++) {
        inject w = {.calls = {SYS_io_uring_setup},
                    .action = INJECT_ERROR,
                    .error = errors[i],
                    .first = 1,
                    .forever = true};
        inject_result r = run_line(run, &w);
        if (r.cannot)
            skip();
        assert_true(text_of("io_uring_setup", errors[i], r) == text);
        w.calls[0] = SYS_io_uring_enter;
        for (w.first = 1; w.first < 6 && i < 2; w.first++)
            assert_true(text_of("io_uring_enter", w.first, run_line(run, &w)) == text);
    }
}

/* The first wish to end is heard between two layers, which never comes; the second is not asked. */
static void interrupt(int process)
{
    kill(process, SIGINT);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    kill(process, SIGINT);
}

static void a_read_that_never_ends(void **state)
{
    (void)state;
    char line[600];
    snprintf(line, sizeof line, "%s --io threads", run);
    inject w = {.calls = {SYS_pread64}, .path = "model.gguf"};
    inject_result all = run_line(line, &w);
    if (all.cannot)
        skip();
    w.action = INJECT_HANG;
    w.hanging = interrupt;
    w.first = all.met - 2;
    inject_result r = run_line(line, &w);
    assert_false(r.late);
    assert_true(r.code == 130 || r.code == 128 + SIGINT);
}

static void cut_model(void *user)
{
    (void)user;
    if (truncate(MODEL, 300000) != 0)
        abort();
}

static void replace_model(void *user)
{
    (void)user;
    shell("cp " WORK "/text.txt " WORK "/other && mv " WORK "/other " MODEL);
}

static void a_model_that_changes(void **state)
{
    (void)state;
    static const char *const io[] = {"threads", "uring", "sim:500M,10us"};
    shell("cp " MODEL " " WORK "/sound.gguf");
    for (int i = 0; i < 3; i++) {
        char line[600];
        snprintf(line, sizeof line, "%s --io %s", run, io[i]);
        inject w = {.calls = {SYS_pread64}, .path = "model.gguf"};
        inject_result r = run_line(line, &w);
        if (r.cannot)
            skip();
        if (r.code != 0)
            continue; /* no io_uring here */
        uint64_t text = hash_of(SAID);
        w.first = r.met - 1;
        w.action = INJECT_CALL;
        w.at = replace_model; /* the open file is still the old one */
        assert_true(text_of("replaced", i + 1, run_line(line, &w)) == text);
        shell("cp " WORK "/sound.gguf " MODEL);
        w.at = cut_model;
        uint64_t got = text_of("cut", i + 1, run_line(line, &w));
        assert_true(got == 0 || got == text);
        shell("cp " WORK "/sound.gguf " MODEL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_room_for_any_write),    cmocka_unit_test(reads_that_fail),
        cmocka_unit_test(io_uring_that_is_refused), cmocka_unit_test(a_read_that_never_ends),
        cmocka_unit_test(a_model_that_changes),
    };
    return cmocka_run_group_tests(tests, faults_set_up, faults_tear_down);
}
