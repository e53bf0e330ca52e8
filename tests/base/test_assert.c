/* A failed assertion says where and aborts, where assertions are on; where not, it is not even
 * evaluated. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

static int evaluated;

static bool holds(bool what)
{
    evaluated++;
    return what;
}

/* Runs the assertion in a process of its own; what it writes to stderr comes back in text. */
static int status_of(bool what, char *text, size_t room)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        umbra_assert(holds(what));
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < room && (got = read(ends[0], text + n, room - n - 1)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_what_holds_passes(void **state)
{
    (void)state;
    char text[512];
    int status = status_of(true, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(text, "");
}

static void test_what_does_not_hold_aborts(void **state)
{
    (void)state;
    char text[512];
    int status = status_of(false, text, sizeof text);
#ifdef UMBRA_ASSERTIONS
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "holds(what)"));
    assert_non_null(strstr(text, "test_assert.c"));
#else
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

static void test_evaluated_only_where_on(void **state)
{
    (void)state;
    assert_true(holds(true));
    evaluated = 0;
    umbra_assert(holds(true));
#ifdef UMBRA_ASSERTIONS
    assert_int_equal(evaluated, 1);
#else
    assert_int_equal(evaluated, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_holds_passes),
        cmocka_unit_test(test_what_does_not_hold_aborts),
        cmocka_unit_test(test_evaluated_only_where_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
