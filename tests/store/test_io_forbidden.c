/* io_uring that a container forbids in part, as seccomp profiles do: each test forbids a system
 * call to a child process of its own. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/memory.h"
#include "store/io/internal.h"

enum { GOOD, BAD, CANNOT_FORBID, READS = 40, READ_BYTES = 4096, DEPTH = 8 };

static const int errors[] = {EPERM, EACCES, ENOSYS};

/* From now on the system call fails with the error in this process. */
static void forbid(long number, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(CANNOT_FORBID);
}

/* What the function returns in a child process. */
static int in_child(int (*fn)(long number, int error), long number, int error)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(number, error));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_good(int (*fn)(long number, int error), long number)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int code = in_child(fn, number, errors[i]);
        if (code == CANNOT_FORBID) {
            print_message("SKIPPED: seccomp cannot be used here\n");
            skip();
        }
        assert_int_equal(code, GOOD);
    }
}

static int choose_threads(long number, int error)
{
    forbid(number, error);
    umbra_io *io;
    umbra_error err = {0};
    if (umbra_io_find("auto") != &umbra_io_threads)
        return BAD;
    int rc = umbra_io_uring.open(&io, &(umbra_io_options){.depth = 4}, &err);
    return rc == UMBRA_E_UNSUPPORTED && !io && strstr(err.message, "io_uring") ? GOOD : BAD;
}

static void threads_where_a_part_is_forbidden(void **state)
{
    (void)state;
    expect_good(choose_threads, SYS_io_uring_setup);
    expect_good(choose_threads, SYS_io_uring_enter);
    expect_good(choose_threads, SYS_io_uring_register);
}

static char path[256];
static char arena[READS][READ_BYTES];

static bool take(umbra_io *io, bool wait, int *over)
{
    umbra_io_completion done[DEPTH];
    int n = umbra_io_uring.reap(io, done, DEPTH, wait, NULL);
    for (int i = 0; i < n; i++) {
        const unsigned char *got = (unsigned char *)arena[done[i].user];
        for (int k = 0; k < READ_BYTES; k++)
            if (done[i].error != 0 ||
                got[k] != test_byte(0, done[i].user * READ_BYTES + (uint64_t)k))
                return false;
    }
    *over += n > 0 ? n : 0;
    return n >= 0;
}

/* A ring that worked, refused while reads are under way. */
static int read_on(long number, int error)
{
    umbra_io_file file = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    file.bytes = READS * READ_BYTES;
    umbra_io *io;
    if (umbra_io_uring.open(&io, &(umbra_io_options){.files = &file, .n_files = 1, .depth = DEPTH},
                            NULL) != 0)
        return CANNOT_FORBID;
    int over = 0, next = 0;
    while (over < READS) {
        if (next == 2 * DEPTH)
            forbid(number, error);
        umbra_io_request request = {.offset = (uint64_t)next * READ_BYTES,
                                    .bytes = READ_BYTES,
                                    .required = READ_BYTES,
                                    .user = (uint64_t)next};
        request.buffer = next < READS ? arena[next] : NULL;
        int taken = next < READS ? umbra_io_uring.submit(io, &request, 1, NULL) : 0;
        if (taken < 0 || !take(io, taken == 0, &over))
            return BAD;
        next += taken;
    }
    umbra_io_uring.close(&io);
    close(file.fd);
    return GOOD;
}

static void a_ring_that_is_forbidden_later(void **state)
{
    (void)state;
    if (!test_uring_works())
        skip();
    test_make_file(path, UMBRA_TEST_DIR, 0, READS * READ_BYTES);
    expect_good(read_on, SYS_io_uring_enter);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_where_a_part_is_forbidden),
        cmocka_unit_test(a_ring_that_is_forbidden_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
