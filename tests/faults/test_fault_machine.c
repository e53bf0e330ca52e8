/* Clocks that jump, a program that is stopped for a while, a disk that becomes a hundred times
 * slower: the text is the same. */
#include "faults.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char run[] = "run " MODEL " -p the -n 24 --ignore-eos -t 2 --ram 40M --io threads "
                          "--buffered --draft auto --prefetch auto";

static uint64_t text_of(const char *what, const inject *w)
{
    const command c = {.line = run};
    inject_result r = run_line(run, w);
    if (r.cannot)
        skip();
    expect_order(&c, what, 0, r);
    assert_int_equal(r.code, 0);
    return hash_of(SAID);
}

static void clocks_that_jump(void **state)
{
    (void)state;
    uint64_t text = text_of("no fault", NULL);
    for (int every = 1; every < 200; every = every * 3 + 1) {
        char number[16];
        snprintf(number, sizeof number, "%d", every);
        setenv("CLOCK_JUMPS", number, 1);
        uint64_t got = text_of("clock", &(inject){.preload = UMBRA_PRELOAD});
        unsetenv("CLOCK_JUMPS");
        assert_true(got == text);
    }
}

static void nap(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* As by Ctrl-Z and fg, five times in a run. */
static void stopped_and_continued(void **state)
{
    (void)state;
    uint64_t text = text_of("no fault", NULL);
    for (int round = 0; round < 4; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char line[1024];
            snprintf(line, sizeof line, "exec %s %s >%s 2>%s", UMBRA_CLI, run, SAID, TOLD);
            execl("/bin/sh", "sh", "-c", line, (char *)NULL);
            _exit(99);
        }
        for (int i = 0; i < 5; i++) {
            nap(3 + round);
            kill(child, SIGSTOP);
            nap(20);
            kill(child, SIGCONT);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_true(hash_of(SAID) == text);
    }
}

static void slow(void *user)
{
    (void)user;
    nap(5);
}

static void a_slower_disk(void **state)
{
    (void)state;
    uint64_t text = text_of("no fault", NULL);
    inject w = {.calls = {SYS_pread64},
                .path = "model.gguf",
                .action = INJECT_CALL,
                .at = slow,
                .first = 60,
                .forever = true};
    assert_true(text_of("slow disk", &w) == text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_that_jump),
        cmocka_unit_test(stopped_and_continued),
        cmocka_unit_test(a_slower_disk),
    };
    return cmocka_run_group_tests(tests, faults_set_up, faults_tear_down);
}
