/* The server while an allocation fails, threads cannot be started, the disk fails or is full: it
 * says why it cannot begin, or it answers, and a failure costs no more than the answer it met. */
#include "faults.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

enum { ALLOCATIONS = 40, THREADS = 8, READS = 12, WRITES = 8, CANNOT = 120, LATE };

#define SERVE                                                                                      \
    "serve " MODEL " --port 0 --parallel 2 -t 2 --ram 33200K --no-probe --io threads --buffered "  \
    "--grace 1 --template " WORK "/chat.jinja --state " OUT "/states"

static const command serving = {.line = SERVE, .output = OUT "/states"};

/* A path and what is asked there; body NULL: a GET. */
static const struct question {
    const char *path, *body;
} questions[] = {
    {"/v1/models", NULL},
    {"/v1/completions",
     "{\"prompt\":\"the quick brown fox jumps over the lazy dog, and then the fox is tired\","
     "\"max_tokens\":6,\"temperature\":0}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"the\"}],"
                             "\"max_tokens\":4,\"temperature\":0,\"stream\":true}"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"the\"}],\"max_tokens\":4,"
     "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":"
     "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1,\"b\"]}}}}}}"},
    {"/v1/messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"the\"}],\"max_tokens\":4}"},
    {"/v1/responses", "{\"input\":\"the\",\"max_output_tokens\":4}"},
    {"/metrics", NULL},
};
enum { QUESTIONS = sizeof questions / sizeof *questions, ROUNDS = 2 };

typedef struct server {
    pid_t runner; /* a process of the test's that runs it */
    int *process; /* its own; shared with the runner */
    int port;     /* 0: it has ended */
    int code;     /* of its end */
} server;

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

/* The port that the server tells, or 0 so far. */
static int told_port(void)
{
    char line[128] = "";
    int port = 0;
    FILE *f = fopen(SAID, "r");
    if (f && fgets(line, sizeof line, f) && strchr(line, '\n'))
        sscanf(line, "http://127.0.0.1:%d/", &port);
    if (f)
        fclose(f);
    return port;
}

static bool has_ended(server *s, int how)
{
    int status;
    if (waitpid(s->runner, &status, how) != s->runner)
        return false;
    s->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    s->port = 0;
    return true;
}

/* Until it listens or has ended. */
static server start(const inject *what)
{
    server s = {0};
    inject w = *what;
    s.process =
        mmap(NULL, sizeof *s.process, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s.process != MAP_FAILED);
    w.process = s.process;
    remove_output(&serving);
    unlink(SAID);
    s.runner = fork();
    assert_true(s.runner >= 0);
    if (s.runner == 0) {
        inject_result r = run_line(serving.line, &w);
        _exit(r.cannot ? CANNOT : r.late ? LATE : r.code);
    }
    while (!has_ended(&s, WNOHANG) && (s.port = told_port()) == 0)
        nap();
    return s;
}

/* Asks it to end, if it still runs, and waits for that; the exit code. */
static int finish(server *s)
{
    if (s->port) {
        kill(*s->process, SIGTERM);
        while (!has_ended(s, 0))
            nap();
    }
    munmap(s->process, sizeof *s->process);
    return s->code;
}

/* Whether there is a whole answer. If not, it says that this is the server's fault, or is cut. */
static bool answers(const server *s, const struct question *q)
{
    http_reply r = http_ask(s->port, q->body ? "POST" : "GET", q->path, "", q->body);
    bool good = r.status == 200 && r.bytes > 0;
    if (good && strstr(q->body ? q->body : "", "\"stream\":true"))
        good = strstr(r.body, "data: [DONE]") != NULL && !strstr(r.body, "\"error\"");
    if (r.status != 0 && r.status != 200 && (r.status < 500 || r.bytes == 0)) {
        kill(*s->process, SIGKILL);
        fail_msg("%s: status %d: %s", q->path, r.status, r.body ? r.body : "");
    }
    http_free(&r);
    return good;
}

/* How many of all questions, asked so many times, have no good answer. */
static int unanswered(const server *s, int rounds)
{
    int n = 0;
    for (int i = 0; i < rounds * QUESTIONS; i++)
        n += !answers(s, &questions[i % QUESTIONS]);
    return n;
}

/* It ended by itself with words, or answered all but `most` questions and ended when asked. */
static void expect_service(const inject *w, const char *what, int n, int most)
{
    server s = start(w);
    bool began = s.port != 0;
    int lost = began ? unanswered(&s, ROUNDS) : 0;
    inject_result r = {.code = finish(&s)};
    r.late = r.code == LATE;
    expect_order(&serving, what, n, r);
    if (lost > most)
        fail_msg("%s %d: %d questions without an answer", what, n, lost);
    if (began && r.code != 0)
        fail_msg("%s %d: exit code %d behind the answers", what, n, r.code);
}

static int count_allocations(void)
{
    int n = 0;
    setenv("COUNT", WORK "/count.txt", 1);
    server s = start(&(inject){.preload = UMBRA_PRELOAD});
    unsetenv("COUNT");
    assert_true(s.port != 0);
    assert_int_equal(unanswered(&s, 1), 0);
    assert_int_equal(finish(&s), 0);
    FILE *f = fopen(WORK "/count.txt", "r");
    if (!f || fscanf(f, "%d", &n) != 1 || n < 100)
        fail_msg("%d allocations", n);
    fclose(f);
    return n;
}

static void every_allocation(void **state)
{
    (void)state;
    int most = count_allocations(), n, k = 0;
    for (; (n = sample(k, most, ALLOCATIONS)) > 0; k++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        setenv("FAIL_ALLOCATION", text, 1);
        expect_service(&(inject){.preload = UMBRA_PRELOAD}, "allocation", n, 1);
        unsetenv("FAIL_ALLOCATION");
    }
    print_message("%d of %d allocations: umbra serve\n", k, most);
}

/* Calls that come by while it serves; skips the test where they cannot be met. */
static bool can_meddle(const inject *w)
{
    server s = start(w);
    if (s.port)
        assert_int_equal(unanswered(&s, 1), 0);
    return finish(&s) != CANNOT;
}

static void every_thread(void **state)
{
    (void)state;
    inject w = {.calls = {SYS_clone3, SYS_clone}, .error = EAGAIN};
    if (!can_meddle(&w))
        skip();
    w.action = INJECT_ERROR;
    for (w.first = 1; w.first <= THREADS; w.first++)
        expect_service(&w, "thread", w.first, 1);
    w.forever = true;
    for (w.first = 1; w.first <= THREADS; w.first++)
        expect_service(&w, "threads from", w.first, ROUNDS * QUESTIONS);
}

static void reads_that_fail(void **state)
{
    (void)state;
    inject w = {.calls = {SYS_pread64}, .path = "model.gguf", .error = EIO};
    if (!can_meddle(&w))
        skip();
    w.action = INJECT_ERROR;
    for (int k = 0; k < READS; k++) {
        w.first = 1 + k * 12;
        w.forever = false;
        expect_service(&w, "read", w.first, 1);
        w.forever = true;
        expect_service(&w, "reads from", w.first, ROUNDS * QUESTIONS);
    }
}

/* Files of states are a convenience: without room for them all is answered. */
static void no_room_for_states(void **state)
{
    (void)state;
    inject w = {.calls = {SYS_write, SYS_pwrite64, SYS_pwritev, SYS_writev, SYS_fallocate,
                          SYS_ftruncate, SYS_fsync, SYS_rename},
                .path = "states",
                .error = ENOSPC};
    if (!can_meddle(&w))
        skip();
    w.action = INJECT_ERROR;
    w.forever = true;
    for (w.first = 1; w.first <= WRITES; w.first++)
        expect_service(&w, "no room from", w.first, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation),
        cmocka_unit_test(every_thread),
        cmocka_unit_test(reads_that_fail),
        cmocka_unit_test(no_room_for_states),
    };
    return cmocka_run_group_tests(tests, faults_set_up, faults_tear_down);
}
