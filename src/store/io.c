#include <string.h>

#include "base/error.h"
#include "store/io_internal.h"

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
    }
    return UMBRA_OK;
}

/* Only opening a ring tells whether kernel, sysctl and seccomp allow one. */
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
