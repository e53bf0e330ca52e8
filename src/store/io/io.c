/* Finds a way to read, and what all of them share. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "store/io/internal.h"

enum { MAX_DEPTH = 1024 };

umbra_io_step umbra_io_advance(const umbra_io_request *request, uint32_t *done, uint32_t n)
{
    uint32_t now = umbra_io_resume(*done) + n;
    if (now >= request->required) {
        *done = now;
        return UMBRA_IO_DONE;
    }
    if (now <= *done)
        return UMBRA_IO_ENDED;
    *done = now;
    return UMBRA_IO_MORE;
}

int umbra_io_rest(const umbra_io_request *r, uint32_t at, struct iovec out[UMBRA_IO_PARTS])
{
    if (r->n_parts == 0) {
        out[0] = (struct iovec){(char *)r->buffer + at, r->bytes - at};
        return 1;
    }
    int n = 0;
    size_t skip = at;
    for (int i = 0; i < r->n_parts; i++) {
        size_t bytes = r->parts[i].iov_len;
        if (skip < bytes)
            out[n++] = (struct iovec){(char *)r->parts[i].iov_base + skip, bytes - skip};
        skip = skip < bytes ? 0 : skip - bytes;
    }
    return n;
}

int umbra_io_read(const umbra_io_file *files, const umbra_io_request *r)
{
    int fd = files[r->file].fd;
    uint32_t done = 0;
    for (;;) {
        uint32_t at = umbra_io_resume(done);
        struct iovec rest[UMBRA_IO_PARTS];
        int parts = umbra_io_rest(r, at, rest);
        off_t offset = (off_t)(r->offset + at);
        ssize_t n = parts == 1 ? pread(fd, rest[0].iov_base, rest[0].iov_len, offset)
                               : preadv(fd, rest, parts, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        umbra_io_step step = umbra_io_advance(r, &done, (uint32_t)n);
        if (step != UMBRA_IO_MORE)
            return step == UMBRA_IO_DONE ? 0 : -1;
    }
}

int umbra_io_check_options(const umbra_io_options *options, umbra_error *err)
{
    if (options->depth < 1 || options->depth > MAX_DEPTH)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "I/O depth %d: must be 1 to %d", options->depth,
                          (int)MAX_DEPTH);
    return UMBRA_OK;
}

int umbra_io_check_requests(const umbra_io_request *requests, int n, int n_files, umbra_error *err)
{
    for (int i = 0; i < n; i++) {
        const umbra_io_request *r = &requests[i];
        if (r->file < 0 || r->file >= n_files)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "read of file %d: there are %d files", r->file,
                              n_files);
        if (r->required > r->bytes)
            return umbra_fail(err, UMBRA_E_ARGUMENT, "read of %u bytes requires %u", r->bytes,
                              r->required);
        size_t bytes = 0;
        for (int k = 0; k < r->n_parts && k < UMBRA_IO_PARTS; k++)
            bytes += r->parts[k].iov_len;
        if (r->n_parts < 0 || r->n_parts > UMBRA_IO_PARTS || (r->n_parts > 0 && bytes != r->bytes))
            return umbra_fail(err, UMBRA_E_ARGUMENT, "read of %u bytes into %d parts of %zu",
                              r->bytes, r->n_parts, bytes);
    }
    return UMBRA_OK;
}

/* Only opening and trying a ring tells whether kernel, sysctl and seccomp allow one. */
static bool uring_works(void)
{
    umbra_io *io;
    if (umbra_io_uring.open(&io, &(umbra_io_options){.depth = 1}, NULL) != UMBRA_OK)
        return false;
    umbra_io_uring.close(&io);
    return true;
}

const umbra_io_ops *umbra_io_find(const char *name)
{
    if (!name || strcmp(name, "auto") == 0)
        return uring_works() ? &umbra_io_uring : &umbra_io_threads;
    if (strcmp(name, umbra_io_uring.name) == 0)
        return &umbra_io_uring;
    if (strcmp(name, umbra_io_threads.name) == 0)
        return &umbra_io_threads;
    if (strncmp(name, "sim:", 4) == 0)
        return &umbra_io_sim;
    return NULL;
}
