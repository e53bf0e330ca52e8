/* SIGKILL before the n-th write of collect and train: gone on with, the files are those of a run
 * that nothing has disturbed. */
#include "faults.h"

#include <signal.h>
#include <sys/syscall.h>

enum { KILLS = 40 };

static void killed(const command *c)
{
    inject w = {.calls = {SYS_write, SYS_pwrite64, SYS_fallocate, SYS_ftruncate, SYS_fsync,
                          SYS_rename, SYS_mkdir, SYS_unlink, SYS_unlinkat, SYS_rmdir},
                .files = true};
    remove_output(c);
    inject_result all = run_line(c->line, &w);
    if (all.cannot)
        skip();
    expect_order(c, "kill", 0, all);
    uint64_t whole = hash_of(c->output);
    w.action = INJECT_KILL;
    for (int k = 0; (w.first = sample(k, all.met, KILLS)) > 0; k++) {
        remove_output(c);
        inject_result r = run_line(c->line, &w);
        if (r.code != 128 + SIGKILL)
            fail_msg("kill %d: exit code %d", w.first, r.code);
        run_good(c->resume ? c->resume : c->line);
        if (hash_of(c->output) != whole)
            fail_msg("killed before write %d of %d: another %s", w.first, all.met, c->output);
    }
    print_message("%d writes: umbra %.40s\n", all.met, c->line);
}

static void collect_is_killed(void **state)
{
    (void)state;
    killed(command_of("collect"));
}

static void train_is_killed(void **state)
{
    (void)state;
    killed(command_of("train"));
}

static void split_is_killed(void **state)
{
    (void)state;
    killed(command_of("split"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collect_is_killed),
        cmocka_unit_test(train_is_killed),
        cmocka_unit_test(split_is_killed),
    };
    return cmocka_run_group_tests(tests, faults_set_up, faults_tear_down);
}
