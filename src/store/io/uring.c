/* Reads through io_uring: one system call per batch of submissions, none to look for completions.
 *
 * No IORING_SETUP_SINGLE_ISSUER or COOP_TASKRUN: the ring may be opened by one thread and driven
 * by another. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include <liburing.h>

#include "base/error.h"
#include "base/memory.h"
#include "store/io/internal.h"

enum {
    /* A read that the kernel answers with EINTR or EAGAIN is put again this many times. */
    MAX_AGAIN = 100,
    /* A ring that the kernel keeps too busy to enter is given up after this many naps. */
    MAX_NAPS = 5000,
    NAP_NS = 1000000,
    /* Registering an arena touches all of it at once (0.1 s per GB, several where a virtual
     * machine must first get the memory) and saves about 1 us per read. That pays for many small
     * reads, which is what small arenas are for; reads of large experts take 100 times as long. */
    REGISTER_MAX_BYTES = 256 << 20,
};

typedef struct operation {
    umbra_io_request request;
    uint32_t done;                     /* bytes that have arrived */
    int again;                         /* EINTR and EAGAIN so far */
    int next;                          /* index in the list it is in, -1: last */
    int error;                         /* of a read that was done without the ring */
    struct iovec rest[UMBRA_IO_PARTS]; /* of a read in parts, for the kernel */
} operation;

struct umbra_io {
    struct io_uring ring;
    bool ring_open;
    const umbra_io_file *files; /* (n_files), the caller's */
    int n_files;
    int depth;
    int in_flight;
    operation *operations; /* (depth) */
    int first_free;
    /* Once the kernel refuses entry to the ring (a program can forbid itself system calls at any
     * time), reads are done by the caller's thread and wait in `first_done`. */
    bool refused;
    int first_done;
    operation **prepared; /* (depth) the last operations put into the submission queue, a ring */
    unsigned prepared_n;
    bool fixed_files;
    bool fixed_arena;
    bool empty_buffers;
    char *arena;
    uint64_t arena_bytes;
};

static int fail_ring(umbra_error *err, int status, const char *what, int negative_errno)
{
    return umbra_fail(err, status, "io_uring: %s: %s", what, strerror(-negative_errno));
}

static bool is_refusal(int rc)
{
    return rc == -EPERM || rc == -EACCES || rc == -ENOSYS;
}

static void put(umbra_io *io, operation *op, int *list)
{
    op->next = *list;
    *list = (int)(op - io->operations);
}

static void read_without_ring(umbra_io *io, operation *op)
{
    op->error = umbra_io_read(io->files, &op->request);
    put(io, op, &io->first_done);
}

/* Reads at once what the kernel has not taken from the submission queue; what it has taken is
 * still finished by it. */
static void give_up_ring(umbra_io *io)
{
    io->refused = true;
    unsigned left = io_uring_sq_ready(&io->ring);
    for (unsigned i = io->prepared_n - left; i != io->prepared_n; i++)
        read_without_ring(io, io->prepared[i % (unsigned)io->depth]);
}

static bool in_arena(const umbra_io *io, const char *p, uint64_t bytes)
{
    return p >= io->arena && p <= io->arena + io->arena_bytes &&
           bytes <= (uint64_t)(io->arena + io->arena_bytes - p);
}

/* Every operation has at most one entry in the submission queue, which has `depth` places. */
static void prepare(umbra_io *io, operation *op)
{
    if (io->refused) {
        read_without_ring(io, op);
        return;
    }
    io->prepared[io->prepared_n++ % (unsigned)io->depth] = op;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    const umbra_io_request *r = &op->request;
    uint32_t at = umbra_io_resume(op->done);
    int parts = umbra_io_rest(r, at, op->rest);
    char *buffer = op->rest[0].iov_base;
    uint32_t bytes = (uint32_t)op->rest[0].iov_len;
    int fd = io->fixed_files ? r->file : io->files[r->file].fd;
    if (parts > 1)
        io_uring_prep_readv(sqe, fd, op->rest, (unsigned)parts, r->offset + at);
    else if (io->fixed_arena && in_arena(io, buffer, bytes))
        io_uring_prep_read_fixed(sqe, fd, buffer, bytes, r->offset + at, 0);
    else
        io_uring_prep_read(sqe, fd, buffer, bytes, r->offset + at);
    if (io->fixed_files)
        sqe->flags |= IOSQE_FIXED_FILE;
    /* To make and clear the pages that a read goes to takes as long as a fast disk takes to fill
     * them. The kernel's own threads do that for several reads at once. */
    if (io->empty_buffers)
        sqe->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data(sqe, op);
}

/* Hands the prepared entries to the kernel. What it is too busy for stays in the queue and goes
 * with the next call. */
static int flush(umbra_io *io, umbra_error *err)
{
    while (!io->refused && io_uring_sq_ready(&io->ring) > 0) {
        int rc = io_uring_submit(&io->ring);
        if (is_refusal(rc)) {
            give_up_ring(io);
            break;
        }
        if (rc == -EAGAIN || rc == -EBUSY)
            break;
        if (rc < 0 && rc != -EINTR)
            return fail_ring(err, UMBRA_E_SYSTEM, "cannot submit reads", rc);
    }
    return UMBRA_OK;
}

/* Takes a result of the kernel; true when the operation is over, with *error set. */
static bool finish(operation *op, int result, int *error)
{
    if (result == -EINTR || result == -EAGAIN) {
        *error = -result;
        return ++op->again > MAX_AGAIN;
    }
    if (result < 0) {
        *error = -result;
        return true;
    }
    umbra_io_step step = umbra_io_advance(&op->request, &op->done, (uint32_t)result);
    *error = step == UMBRA_IO_ENDED ? -1 : 0;
    return step != UMBRA_IO_MORE;
}

static umbra_io_completion complete(umbra_io *io, operation *op, int error)
{
    put(io, op, &io->first_free);
    io->in_flight--;
    return (umbra_io_completion){.user = op->request.user, .error = error};
}

/* Completions that are there, at most max; reads that are not over are prepared again. */
static int harvest(umbra_io *io, umbra_io_completion *out, int max)
{
    int n = 0;
    struct io_uring_cqe *cqe;
    while (n < max && io->first_done >= 0) {
        operation *op = &io->operations[io->first_done];
        io->first_done = op->next;
        out[n++] = complete(io, op, op->error);
    }
    while (n < max && io_uring_peek_cqe(&io->ring, &cqe) == 0) {
        operation *op = io_uring_cqe_get_data(cqe);
        int result = cqe->res, error;
        io_uring_cqe_seen(&io->ring, cqe);
        if (!finish(op, result, &error)) {
            prepare(io, op);
            continue;
        }
        out[n++] = complete(io, op, error);
    }
    return n;
}

/* Blocks until a read is over. */
static int wait_for_one(umbra_io *io, umbra_error *err)
{
    for (int naps = 0;;) {
        int rc = io->refused ? -EAGAIN : io_uring_submit_and_wait(&io->ring, 1);
        if (is_refusal(rc))
            give_up_ring(io);
        if (rc >= 0 || io_uring_cq_ready(&io->ring) > 0 || io->first_done >= 0)
            return UMBRA_OK;
        if (rc == -EINTR || is_refusal(rc))
            continue;
        if ((rc != -EAGAIN && rc != -EBUSY) || ++naps > MAX_NAPS)
            return fail_ring(err, UMBRA_E_SYSTEM, "cannot wait for reads", rc);
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
}

static int uring_reap(umbra_io *io, umbra_io_completion *out, int max, bool wait, umbra_error *err)
{
    for (;;) {
        int n = harvest(io, out, max);
        int rc = flush(io, err);
        if (rc == UMBRA_OK && n == 0 && wait && io->in_flight > 0 && max > 0)
            rc = wait_for_one(io, err);
        else if (rc == UMBRA_OK)
            return n;
        if (rc != UMBRA_OK)
            return rc;
    }
}

static int uring_submit(umbra_io *io, const umbra_io_request *requests, int n, umbra_error *err)
{
    int rc = umbra_io_check_requests(requests, n, io->n_files, err);
    if (rc != UMBRA_OK)
        return rc;
    int taken = 0;
    for (; taken < n && io->first_free >= 0; taken++) {
        operation *op = &io->operations[io->first_free];
        io->first_free = op->next;
        op->request = requests[taken];
        op->done = 0;
        op->again = 0;
        prepare(io, op);
    }
    io->in_flight += taken;
    rc = flush(io, err);
    return rc == UMBRA_OK ? taken : rc;
}

/* What was registered stays what it was, whatever lies at its addresses. */
static void uring_forget_arena(umbra_io *io)
{
    if (io->fixed_arena)
        (void)io_uring_unregister_buffers(&io->ring);
    io->fixed_arena = false;
}

static void uring_close(umbra_io **p)
{
    umbra_io *io = *p;
    if (!io)
        return;
    /* Closing a ring does not wait for its reads, which would go on writing into the arena. */
    umbra_io_completion dropped;
    while (io->ring_open && io->in_flight > 0 && uring_reap(io, &dropped, 1, true, NULL) > 0)
        ;
    /* A closed ring is taken apart some time later, and the arena that it has registered counts
     * until then: too much for a memory limit in which the next store opens at once. */
    uring_forget_arena(io);
    if (io->ring_open)
        io_uring_queue_exit(&io->ring);
    umbra_free(io->operations);
    umbra_free(io->prepared);
    umbra_free(io);
    *p = NULL;
}

/* Registration spares the kernel work per read; where it is refused (RLIMIT_MEMLOCK), reads work
 * without it. */
static int register_all(umbra_io *io, umbra_error *err)
{
    int *fds = umbra_calloc((size_t)io->n_files, sizeof *fds);
    if (!fds)
        return umbra_fail_nomem(err, "the I/O ring's files", (uint64_t)io->n_files * sizeof *fds);
    for (int i = 0; i < io->n_files; i++)
        fds[i] = io->files[i].fd;
    if (io->n_files > 0)
        io->fixed_files = io_uring_register_files(&io->ring, fds, (unsigned)io->n_files) == 0;
    umbra_free(fds);
    struct iovec arena = {.iov_base = io->arena, .iov_len = io->arena_bytes};
    if (io->arena_bytes > 0 && io->arena_bytes <= REGISTER_MAX_BYTES)
        io->fixed_arena = io_uring_register_buffers(&io->ring, &arena, 1) == 0;
    return UMBRA_OK;
}

/* A container may allow making a ring and forbid using it, which only using it tells: an operation
 * that does nothing goes there and back, in one call that submits and waits. */
static int try_ring(umbra_io *io, umbra_error *err)
{
    io_uring_prep_nop(io_uring_get_sqe(&io->ring));
    int rc, naps = 0;
    while ((rc = io_uring_submit_and_wait(&io->ring, 1)) == -EINTR ||
           ((rc == -EAGAIN || rc == -EBUSY) && ++naps < MAX_NAPS))
        if (rc != -EINTR)
            nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    struct io_uring_cqe *cqe;
    if (rc >= 0)
        rc = io_uring_peek_cqe(&io->ring, &cqe);
    if (rc < 0)
        return fail_ring(err, UMBRA_E_UNSUPPORTED, "cannot be used here (io_uring_enter)", rc);
    io_uring_cqe_seen(&io->ring, cqe);
    return UMBRA_OK;
}

static int open_ring(umbra_io *io, umbra_error *err)
{
    int rc = io_uring_queue_init((unsigned)io->depth, &io->ring, 0);
    if (rc < 0)
        return fail_ring(err, UMBRA_E_UNSUPPORTED, "cannot be used here", rc);
    io->ring_open = true;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&io->ring);
    bool reads = probe && io_uring_opcode_supported(probe, IORING_OP_READ) &&
                 io_uring_opcode_supported(probe, IORING_OP_READV) &&
                 io_uring_opcode_supported(probe, IORING_OP_READ_FIXED);
    if (probe)
        io_uring_free_probe(probe);
    if (!reads)
        return fail_ring(err, UMBRA_E_UNSUPPORTED,
                         "the kernel's has no reads, or io_uring_register is forbidden",
                         -EOPNOTSUPP);
    rc = try_ring(io, err);
    return rc == UMBRA_OK ? register_all(io, err) : rc;
}

static int uring_open(umbra_io **out, const umbra_io_options *options, umbra_error *err)
{
    *out = NULL;
    int rc = umbra_io_check_options(options, err);
    if (rc != UMBRA_OK)
        return rc;
    umbra_io *io = umbra_calloc(1, sizeof *io);
    if (!io)
        return umbra_fail_nomem(err, "the I/O ring", sizeof *io);
    io->depth = options->depth;
    io->n_files = options->n_files;
    io->empty_buffers = options->empty_buffers;
    io->arena = options->arena;
    io->arena_bytes = options->arena ? options->arena_bytes : 0;
    io->files = options->files;
    io->first_done = io->first_free = -1;
    io->operations = umbra_calloc((size_t)io->depth, sizeof *io->operations);
    io->prepared = umbra_calloc((size_t)io->depth, sizeof *io->prepared);
    for (int i = io->depth - 1; io->operations && i >= 0; i--)
        put(io, &io->operations[i], &io->first_free);
    if (io->operations && io->prepared)
        rc = open_ring(io, err);
    else
        rc = umbra_fail_nomem(err, "the I/O ring", (uint64_t)io->depth * sizeof *io->operations);
    if (rc != UMBRA_OK) {
        uring_close(&io);
        return rc;
    }
    *out = io;
    return UMBRA_OK;
}

const umbra_io_ops umbra_io_uring = {
    .name = "uring",
    .open = uring_open,
    .submit = uring_submit,
    .reap = uring_reap,
    .close = uring_close,
    .forget_arena = uring_forget_arena,
};
