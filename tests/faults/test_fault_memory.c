/* The n-th allocation fails, and the n-th thread cannot be started, in every command: each ends as
 * it should or with an error, never by a signal. */
#include "faults.h"

#include <errno.h>
#include <sys/syscall.h>

enum { ALLOCATIONS = 24, THREADS = 12 };

static int count_allocations(const command *c)
{
    int n = 0;
    setenv("COUNT", WORK "/count.txt", 1);
    remove_output(c);
    inject_result r = run_line(c->line, &(inject){.preload = UMBRA_PRELOAD});
    unsetenv("COUNT");
    expect_order(c, "without a fault", 0, r);
    FILE *f = fopen(WORK "/count.txt", "r");
    if (!f || fscanf(f, "%d", &n) != 1 || n < 1)
        fail_msg("%d allocations of %s", n, c->line);
    fclose(f);
    return n;
}

static void every_allocation(void **state)
{
    (void)state;
    for (int i = 0; i < n_commands; i++) {
        const command *c = &commands[i];
        int most = count_allocations(c), n, k = 0;
        for (; (n = sample(k, most, ALLOCATIONS)) > 0; k++) {
            char text[16];
            snprintf(text, sizeof text, "%d", n);
            setenv("FAIL_ALLOCATION", text, 1);
            remove_output(c);
            inject_result r = run_line(c->line, &(inject){.preload = UMBRA_PRELOAD});
            unsetenv("FAIL_ALLOCATION");
            expect_order(c, "allocation", n, r);
        }
        print_message("%d of %d allocations: umbra %.40s\n", k, most, c->line);
    }
}

static void every_thread(void **state)
{
    (void)state;
    inject w = {.calls = {SYS_clone3, SYS_clone}, .error = EAGAIN};
    for (int i = 0; i < n_commands; i++) {
        const command *c = &commands[i];
        w.action = INJECT_COUNT;
        remove_output(c);
        inject_result r = run_line(c->line, &w);
        if (r.cannot)
            skip();
        w.action = INJECT_ERROR;
        for (int forever = 0; forever < 2; forever++) {
            w.forever = forever;
            for (int k = 0; (w.first = sample(k, r.met, forever ? 2 : THREADS)) > 0; k++) {
                remove_output(c);
                expect_order(c, "thread", w.first, run_line(c->line, &w));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation),
        cmocka_unit_test(every_thread),
    };
    return cmocka_run_group_tests(tests, faults_set_up, faults_tear_down);
}
