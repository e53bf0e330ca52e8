/* Files with known content, and an I/O backend that misbehaves on demand. */
#include "support.h"

#include "store/io/internal.h"

#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

uint32_t test_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return (uint32_t)(x >> 32);
}

uint8_t test_byte(int file, uint64_t offset)
{
    uint64_t x = (offset + 1) * 0x9e3779b97f4a7c15u + (uint64_t)file * 0x632be59bd9b4e019u;
    return (uint8_t)(x >> 40);
}

void test_assert_bytes(const void *data, int file, uint64_t offset, uint64_t bytes)
{
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++) {
        if (p[i] != test_byte(file, offset + i))
            fail_msg("byte %llu of file %d is wrong", (unsigned long long)(offset + i), file);
    }
}

void test_make_file(char *path, const char *dir, int file, uint64_t bytes)
{
    snprintf(path, 256, "%s/umbra-XXXXXX", dir);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    uint8_t *content = malloc(bytes ? bytes : 1);
    assert_non_null(content);
    for (uint64_t i = 0; i < bytes; i++)
        content[i] = test_byte(file, i);
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = write(fd, content + done, bytes - done);
        assert_true(n > 0);
        done += (uint64_t)n;
    }
    free(content);
    close(fd);
}

bool test_try_again(int rc, int *tries)
{
    if (rc != UMBRA_E_UNSUPPORTED || ++*tries > 50)
        return false;
    usleep(10000);
    return true;
}

bool test_open_io(const umbra_io_ops *ops, umbra_io **out, const umbra_io_options *options)
{
    umbra_error err = {0};
    int rc, tries = 0;
    do
        rc = ops->open(out, options, &err);
    while (test_try_again(rc, &tries));
    if (rc == UMBRA_E_UNSUPPORTED)
        print_message("skipped: %s\n", err.message);
    else if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
    return rc == UMBRA_OK;
}

bool test_uring_works(void)
{
    umbra_io *io;
    if (!test_open_io(&umbra_io_uring, &io, &(umbra_io_options){.depth = 1}))
        return false;
    umbra_io_uring.close(&io);
    return true;
}

/* ---- the misbehaving backend ---- */

enum { MAX_HELD = 1024 };

typedef struct faulty_io {
    umbra_io *inner;
    umbra_io_completion held[MAX_HELD]; /* failures not reaped yet */
    int n_held;
    int in_flight;
    umbra_io_request taken[MAX_HELD]; /* by user, which is a place in the store's table */
} faulty_io;

test_faults test_fault;

void test_faulty_reset(const umbra_io_ops *inner)
{
    test_fault = (test_faults){.inner = inner};
}

static int faulty_open(umbra_io **out, const umbra_io_options *options, umbra_error *err)
{
    *out = NULL;
    faulty_io *io = umbra_calloc(1, sizeof *io);
    if (!io)
        return umbra_fail_nomem(err, "the misbehaving backend", sizeof *io);
    int rc = test_fault.inner->open(&io->inner, options, err);
    if (rc != UMBRA_OK)
        umbra_free(io);
    else
        *out = (umbra_io *)io;
    return rc;
}

static bool must_fail(const umbra_io_request *r)
{
    if (test_fault.fail_times == 0 || r->file != test_fault.fail_file ||
        r->offset >= test_fault.fail_to || r->offset + r->required <= test_fault.fail_from)
        return false;
    test_fault.fail_times--;
    return true;
}

static void corrupt(const umbra_io_request *r)
{
    if (test_fault.corrupt_times == 0 || r->file != test_fault.corrupt_file ||
        test_fault.corrupt_at < r->offset || test_fault.corrupt_at >= r->offset + r->required)
        return;
    test_fault.corrupt_times--;
    struct iovec parts[UMBRA_IO_PARTS];
    (void)umbra_io_rest(r, (uint32_t)(test_fault.corrupt_at - r->offset), parts);
    *(uint8_t *)parts[0].iov_base ^= 0x40;
}

static int faulty_submit(umbra_io *p, const umbra_io_request *requests, int n, umbra_error *err)
{
    faulty_io *io = (faulty_io *)p;
    if (test_fault.take_at_most > 0 && n > test_fault.take_at_most)
        n = test_fault.take_at_most;
    for (int i = 0; i < n; i++) {
        test_fault.submitted++;
        if (test_fault.watch)
            test_fault.watch(test_fault.watch_user, &requests[i]);
        if (test_fault.corrupt_times > 0) {
            assert_true(requests[i].user < MAX_HELD);
            io->taken[requests[i].user] = requests[i];
        }
        io->in_flight++;
        if (io->in_flight > test_fault.most_in_flight)
            test_fault.most_in_flight = io->in_flight;
        if (must_fail(&requests[i])) {
            struct iovec parts[UMBRA_IO_PARTS];
            for (int k = umbra_io_rest(&requests[i], 0, parts); k > 0; k--)
                memset(parts[k - 1].iov_base, 0xee, parts[k - 1].iov_len); /* half-read rubbish */
            io->held[io->n_held++] =
                (umbra_io_completion){.user = requests[i].user, .error = test_fault.fail_errno};
            continue;
        }
        int rc = test_fault.inner->submit(io->inner, &requests[i], 1, err);
        if (rc < 0)
            return rc;
        assert_int_equal(rc, 1);
    }
    return n;
}

static int faulty_reap(umbra_io *p, umbra_io_completion *out, int max, bool wait, umbra_error *err)
{
    faulty_io *io = (faulty_io *)p;
    if (test_fault.backend_fails > 0 && --test_fault.backend_fails == 0)
        return umbra_fail(err, UMBRA_E_SYSTEM, "the backend broke");
    int n = 0;
    while (n < max && io->n_held > 0)
        out[n++] = io->held[--io->n_held];
    if (n < max) {
        int more = test_fault.inner->reap(io->inner, out + n, max - n, wait && n == 0, err);
        if (more < 0)
            return more;
        for (int i = n; i < n + more && test_fault.corrupt_times > 0; i++)
            if (out[i].error == 0)
                corrupt(&io->taken[out[i].user]);
        n += more;
    }
    for (int i = 0; test_fault.newest_first && i < n / 2; i++) {
        umbra_io_completion c = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = c;
    }
    io->in_flight -= n;
    return n;
}

static void faulty_close(umbra_io **p)
{
    faulty_io *io = (faulty_io *)*p;
    test_fault.inner->close(&io->inner);
    umbra_free(io);
    *p = NULL;
}

static const void *faulty_data(const umbra_io *p, int file, uint64_t offset)
{
    return test_fault.inner->data(((const faulty_io *)p)->inner, file, offset);
}

const umbra_io_ops test_faulty_sim = {
    .name = "faulty",
    .open = faulty_open,
    .submit = faulty_submit,
    .reap = faulty_reap,
    .close = faulty_close,
    .data = faulty_data,
};

const umbra_io_ops test_faulty_io = {
    .name = "faulty",
    .open = faulty_open,
    .submit = faulty_submit,
    .reap = faulty_reap,
    .close = faulty_close,
};
