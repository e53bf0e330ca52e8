/* Every test of the suite runs with each backend on a disk's file system and on tmpfs. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/memory.h"
#include "store/io/internal.h"
#include "store/geometry.h"

enum { FILE_BYTES = 300 * 1024 + 777, ARENA_BYTES = 1 << 20 };

typedef struct setting {
    const umbra_io_ops *ops;
    const char *dir;
    bool registered; /* the arena is given to the backend */
} setting;

typedef struct bench {
    const umbra_io_ops *ops;
    umbra_io *io;
    umbra_io_file file;
    uint32_t alignment;
    char path[256];
    char *arena;
} bench;

/* ---- preads that misbehave ---- */

static atomic_int pread_short_to; /* most bytes of one pread, 0: no limit */
static atomic_int pread_errno;    /* of the next pread_fails calls */
static atomic_int pread_fails;

ssize_t __real_pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    if (atomic_load(&pread_fails) > 0 && atomic_fetch_sub(&pread_fails, 1) > 0) {
        errno = atomic_load(&pread_errno);
        return -1;
    }
    size_t most = (size_t)atomic_load(&pread_short_to);
    return __real_pread(fd, buffer, most > 0 && bytes > most ? most : bytes, offset);
}

/* ---- ---- */

static bool bench_open(bench *b, const setting *s, int depth, bool buffered)
{
    *b = (bench){.ops = s->ops};
    if (s->ops == &umbra_io_uring && !test_uring_works())
        return false;
    test_make_file(b->path, s->dir, 0, FILE_BYTES);
    assert_int_equal(umbra_store_open_file(&b->file, &b->alignment, b->path, buffered, NULL), 0);
    b->arena = umbra_map(ARENA_BYTES);
    assert_non_null(b->arena);
    umbra_io_options options = {.files = &b->file, .n_files = 1, .depth = depth};
    if (s->registered) {
        options.arena = b->arena;
        options.arena_bytes = ARENA_BYTES;
    }
    return test_open_io(s->ops, &b->io, &options);
}

static void bench_close(bench *b)
{
    b->ops->close(&b->io);
    assert_null(b->io);
    umbra_unmap(b->arena, ARENA_BYTES);
    close(b->file.fd);
    unlink(b->path);
}

static int reap_one(bench *b, umbra_io_completion *c)
{
    umbra_error err = {0};
    int n = b->ops->reap(b->io, c, 1, true, &err);
    if (n < 0)
        fail_msg("%s", err.message);
    return n;
}

/* The errno (or -1, or 0) of one read alone. */
static int read_one(bench *b, umbra_io_request request)
{
    umbra_io_completion c = {0};
    request.user = 4711;
    assert_int_equal(b->ops->submit(b->io, &request, 1, NULL), 1);
    assert_int_equal(reap_one(b, &c), 1);
    assert_int_equal(c.user, 4711);
    return c.error;
}

/* Reads `total` random ranges, each into its own part of the arena, and checks them. */
static void random_ranges(const setting *s, int depth, bool buffered, int total, uint32_t longest)
{
    bench b;
    if (!bench_open(&b, s, depth, buffered))
        skip();
    uint32_t a = b.alignment, part = (uint32_t)umbra_align_up(longest + 2 * a, 4096);
    assert_true((uint64_t)part * (uint32_t)depth <= ARENA_BYTES);
    uint64_t seed = 88172645463325252u + (uint64_t)depth;
    umbra_io_request *live = calloc((size_t)depth, sizeof *live);
    int *free_part = calloc((size_t)depth, sizeof *free_part);
    int n_free = depth, begun = 0, over = 0;
    for (int i = 0; i < depth; i++)
        free_part[i] = i;
    while (over < total) {
        while (n_free > 0 && begun < total) {
            int p = free_part[--n_free];
            uint64_t begin = test_below(&seed, FILE_BYTES - 1);
            uint64_t end = begin + 1 + test_below(&seed, longest);
            end = end > FILE_BYTES ? FILE_BYTES : end;
            uint64_t at = umbra_align_down(begin, a);
            live[p] = (umbra_io_request){
                .offset = at,
                .bytes = (uint32_t)(umbra_align_up(end, a) - at),
                .required = (uint32_t)(end - at),
                .buffer = b.arena + (size_t)p * part,
                .user = (uint64_t)p,
            };
            assert_int_equal(b.ops->submit(b.io, &live[p], 1, NULL), 1);
            begun++;
        }
        umbra_io_completion c[8];
        int n = b.ops->reap(b.io, c, 8, true, NULL);
        assert_in_range(n, 1, 8);
        for (int i = 0; i < n; i++) {
            umbra_io_request *r = &live[c[i].user];
            assert_int_equal(c[i].error, 0);
            test_assert_bytes(r->buffer, 0, r->offset, r->required);
            free_part[n_free++] = (int)c[i].user;
        }
        over += n;
    }
    umbra_io_completion c;
    assert_int_equal(b.ops->reap(b.io, &c, 1, true, NULL), 0);
    free(live);
    free(free_part);
    bench_close(&b);
}

static void test_random_ranges(void **state)
{
    random_ranges(*state, 1, true, 50, 60000);
    random_ranges(*state, 7, true, 200, 60000);
    random_ranges(*state, 1, false, 50, 60000);
    random_ranges(*state, 7, false, 200, 60000);
}

static void test_many_requests(void **state)
{
    random_ranges(*state, 64, false, 3000, 500);
    random_ranges(*state, 64, true, 3000, 500);
}

static void test_depth_limit(void **state)
{
    bench b;
    if (!bench_open(&b, *state, 3, false))
        skip();
    umbra_io_request requests[5];
    for (int i = 0; i < 5; i++)
        requests[i] = (umbra_io_request){.offset = 4096u * (unsigned)i,
                                         .bytes = 4096,
                                         .required = 4096,
                                         .buffer = b.arena + 4096 * i,
                                         .user = (uint64_t)i};
    umbra_io_completion c;
    assert_int_equal(b.ops->reap(b.io, &c, 1, true, NULL), 0);
    assert_int_equal(b.ops->submit(b.io, requests, 5, NULL), 3);
    assert_int_equal(b.ops->submit(b.io, requests + 3, 2, NULL), 0);
    unsigned seen = 0;
    assert_int_equal(reap_one(&b, &c), 1);
    seen |= 1u << c.user;
    assert_int_equal(b.ops->submit(b.io, requests + 3, 2, NULL), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(reap_one(&b, &c), 1);
        seen |= 1u << c.user;
    }
    assert_int_equal(seen, 15);
    test_assert_bytes(b.arena, 0, 0, 4 * 4096);
    bench_close(&b);
}

static void test_end_of_file(void **state)
{
    for (int buffered = 0; buffered < 2; buffered++) {
        bench b;
        if (!bench_open(&b, *state, 4, buffered))
            skip();
        uint64_t last = umbra_align_down(FILE_BYTES, 4096);
        uint32_t rest = (uint32_t)(FILE_BYTES - last);
        umbra_io_request r = {.offset = last - 8192, .bytes = 8192 + 8192, .buffer = b.arena};
        r.required = 8192 + rest;
        assert_int_equal(read_one(&b, r), 0);
        test_assert_bytes(b.arena, 0, r.offset, r.required);
        r.required = 8192 + rest + 1;
        assert_int_equal(read_one(&b, r), -1);
        r.offset = last + 4096;
        r.bytes = r.required = 4096;
        assert_int_equal(read_one(&b, r), -1);
        r.required = 0;
        assert_int_equal(read_one(&b, r), 0);
        bench_close(&b);
    }
}

static void test_bad_descriptor(void **state)
{
    const setting *s = *state;
    bench b;
    if (!bench_open(&b, s, 2, true))
        skip();
    b.ops->close(&b.io);
    int good = b.file.fd;
    b.file.fd = fcntl(good, F_DUPFD, 200); /* a number that no descriptor of the backend gets */
    close(b.file.fd);
    umbra_io_options options = {.files = &b.file, .n_files = 1, .depth = 2};
    assert_true(test_open_io(b.ops, &b.io, &options));
    umbra_io_request r = {.bytes = 512, .required = 512, .buffer = b.arena};
    assert_int_equal(read_one(&b, r), EBADF);
    assert_int_equal(read_one(&b, r), EBADF);
    b.file.fd = good;
    bench_close(&b);
}

static void test_bad_arguments(void **state)
{
    const setting *s = *state;
    umbra_error err;
    bench b;
    umbra_io *io = (umbra_io *)&b;
    int depths[] = {0, -1, 1025};
    for (int i = 0; i < 3; i++) {
        umbra_io_options options = {.depth = depths[i]};
        assert_int_equal(s->ops->open(&io, &options, &err), UMBRA_E_ARGUMENT);
        assert_null(io);
    }
    io = NULL;
    s->ops->close(&io);
    if (!bench_open(&b, s, 2, true))
        skip();
    umbra_io_request good = {.bytes = 512, .required = 512, .buffer = b.arena};
    umbra_io_request bad[2] = {good, good};
    bad[1].file = 1;
    assert_int_equal(b.ops->submit(b.io, bad, 2, &err), UMBRA_E_ARGUMENT);
    bad[1] = good;
    bad[1].required = 513;
    assert_int_equal(b.ops->submit(b.io, bad, 2, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(read_one(&b, good), 0); /* nothing of the bad ones was taken */
    bench_close(&b);
}

static void test_close_in_flight(void **state)
{
    for (int round = 0; round < 20; round++) {
        bench b;
        if (!bench_open(&b, *state, 32, false))
            skip();
        for (int i = 0; i < 32; i++) {
            umbra_io_request r = {.offset = 8192u * (unsigned)i,
                                  .bytes = 8192,
                                  .required = 8192,
                                  .buffer = b.arena + 8192 * i};
            assert_int_equal(b.ops->submit(b.io, &r, 1, NULL), 1);
        }
        if (round % 2) {
            umbra_io_completion c;
            assert_int_equal(reap_one(&b, &c), 1);
        }
        bench_close(&b); /* unmaps what a read that goes on would write to */
    }
}

static void test_out_of_memory(void **state)
{
    const setting *s = *state;
    bench b;
    if (!bench_open(&b, s, 4, true))
        skip();
    b.ops->close(&b.io);
    umbra_io_options options = {
        .files = &b.file, .n_files = 1, .depth = 4, .arena = b.arena, .arena_bytes = ARENA_BYTES};
    int failures = 0;
    for (;; failures++) {
        umbra_error err = {0};
        int rc, tries = 0;
        do {
            umbra_memory_fail_after(failures + 1);
            rc = b.ops->open(&b.io, &options, &err);
            umbra_memory_fail_after(0);
        } while (test_try_again(rc, &tries));
        if (rc == UMBRA_OK)
            break;
        assert_int_equal(rc, UMBRA_E_NOMEM);
        assert_null(b.io);
        assert_true(failures < 20);
    }
    assert_true(failures >= 2);
    bench_close(&b);
}

/* ---- one backend only ---- */

static void test_short_preads(void **state)
{
    (void)state;
    setting s = {.ops = &umbra_io_threads, .dir = UMBRA_TEST_DIR};
    int limits[] = {1000, 4096, 5000, 8191};
    for (int i = 0; i < 4; i++) {
        bench b;
        assert_true(bench_open(&b, &s, 4, true));
        /* 1000 bytes at a time never get past the alignment at which a read resumes. */
        umbra_io_request r = {.offset = 123, .bytes = 50000, .required = 50000, .buffer = b.arena};
        atomic_store(&pread_short_to, limits[i]);
        assert_int_equal(read_one(&b, r), limits[i] < UMBRA_IO_RESUME_ALIGN ? -1 : 0);
        atomic_store(&pread_short_to, 0);
        if (limits[i] >= UMBRA_IO_RESUME_ALIGN)
            test_assert_bytes(b.arena, 0, 123, 50000);
        bench_close(&b);
    }
}

static void test_failing_preads(void **state)
{
    (void)state;
    setting s = {.ops = &umbra_io_threads, .dir = UMBRA_TEST_DIR};
    bench b;
    assert_true(bench_open(&b, &s, 4, true));
    umbra_io_request r = {.offset = 99, .bytes = 3000, .required = 3000, .buffer = b.arena};
    atomic_store(&pread_errno, EINTR);
    atomic_store(&pread_fails, 5);
    assert_int_equal(read_one(&b, r), 0);
    test_assert_bytes(b.arena, 0, 99, 3000);
    atomic_store(&pread_errno, EIO);
    atomic_store(&pread_fails, 1);
    assert_int_equal(read_one(&b, r), EIO);
    assert_int_equal(read_one(&b, r), 0);
    bench_close(&b);
}

/* A pipe gives io_uring short reads: the rest must be asked for. */
static void test_uring_short_reads(void **state)
{
    (void)state;
    if (!test_uring_works())
        skip();
    static char out[4 * 4096];
    static char in[4 * 4096];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (char)test_byte(0, i);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    umbra_io_file file = {.path = "pipe", .fd = ends[0]};
    umbra_io_options options = {.files = &file, .n_files = 1, .depth = 1};
    umbra_io *io;
    assert_true(test_open_io(&umbra_io_uring, &io, &options));
    umbra_io_request r = {.bytes = sizeof in, .required = sizeof in, .buffer = in, .user = 7};
    assert_int_equal(write(ends[1], out, 4096), 4096);
    assert_int_equal(umbra_io_uring.submit(io, &r, 1, NULL), 1);
    umbra_io_completion c;
    for (int i = 1; i < 4; i++) {
        usleep(2000);
        assert_int_equal(umbra_io_uring.reap(io, &c, 1, false, NULL), 0);
        assert_int_equal(write(ends[1], out + 4096 * i, 4096), 4096);
    }
    assert_int_equal(umbra_io_uring.reap(io, &c, 1, true, NULL), 1);
    assert_int_equal(c.user, 7);
    assert_int_equal(c.error, 0);
    assert_memory_equal(in, out, sizeof in);
    umbra_io_uring.close(&io);
    close(ends[0]);
    close(ends[1]);
}

/* With no descriptor left a ring cannot be opened, as where seccomp forbids it. */
static void test_uring_refused(void **state)
{
    (void)state;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    umbra_io *io;
    umbra_error err;
    int rc = umbra_io_uring.open(&io, &(umbra_io_options){.depth = 1}, &err);
    const umbra_io_ops *found = umbra_io_find("auto");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, UMBRA_E_UNSUPPORTED);
    assert_null(io);
    assert_ptr_equal(found, &umbra_io_threads);
}

static void test_find(void **state)
{
    (void)state;
    assert_ptr_equal(umbra_io_find("threads"), &umbra_io_threads);
    assert_ptr_equal(umbra_io_find("uring"), &umbra_io_uring);
    assert_null(umbra_io_find("tape"));
    const umbra_io_ops *expected = test_uring_works() ? &umbra_io_uring : &umbra_io_threads;
    assert_ptr_equal(umbra_io_find("auto"), expected);
    assert_ptr_equal(umbra_io_find(NULL), expected);
}

static void test_advance(void **state)
{
    (void)state;
    umbra_io_request r = {.bytes = 20480, .required = 10000};
    uint32_t done = 0;
    assert_int_equal(umbra_io_advance(&r, &done, 5000), UMBRA_IO_MORE);
    assert_int_equal(umbra_io_resume(done), 4096);
    assert_int_equal(umbra_io_advance(&r, &done, 904), UMBRA_IO_ENDED); /* nothing new */
    assert_int_equal(umbra_io_advance(&r, &done, 905), UMBRA_IO_MORE);
    assert_int_equal(umbra_io_advance(&r, &done, 5904), UMBRA_IO_DONE);
}

#define SUITE(name)                                                                                \
    cmocka_unit_test_prestate(name, &settings[0]), cmocka_unit_test_prestate(name, &settings[1]),  \
        cmocka_unit_test_prestate(name, &settings[2]),                                             \
        cmocka_unit_test_prestate(name, &settings[3])

int main(void)
{
    static setting settings[] = {
        {&umbra_io_threads, UMBRA_TEST_DIR, true},
        {&umbra_io_uring, UMBRA_TEST_DIR, true},
        {&umbra_io_threads, "/dev/shm", false},
        {&umbra_io_uring, "/dev/shm", false},
    };
    const struct CMUnitTest tests[] = {
        SUITE(test_random_ranges),
        SUITE(test_many_requests),
        SUITE(test_depth_limit),
        SUITE(test_end_of_file),
        SUITE(test_bad_descriptor),
        SUITE(test_bad_arguments),
        SUITE(test_close_in_flight),
        SUITE(test_out_of_memory),
        cmocka_unit_test(test_short_preads),
        cmocka_unit_test(test_failing_preads),
        cmocka_unit_test(test_uring_short_reads),
        cmocka_unit_test(test_uring_refused),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_advance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
