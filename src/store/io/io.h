/* Asynchronous reads: a table of operations with several backends.
 *
 * A request reads a byte range of one open file into memory of the caller. Requests complete in
 * any order. A backend retries short reads and EINTR itself; a completion is the whole range, or an
 * error. One thread submits and reaps (the owner); backends may use threads of their own. */
#ifndef UMBRA_STORE_IO_IO_H
#define UMBRA_STORE_IO_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <umbra/status.h>

#include "base/clock.h"

typedef struct umbra_io umbra_io;

typedef struct umbra_io_file {
    const char *path; /* for messages; must outlive the umbra_io */
    int fd;           /* opened by the caller, O_DIRECT or not; closed by the caller */
    uint64_t bytes;   /* size: a read may be aligned past it; what lies beyond is not required */
} umbra_io_file;

typedef struct umbra_io_options {
    const umbra_io_file *files; /* (n_files), must outlive the umbra_io */
    int n_files;
    int depth;   /* most requests in flight, 1..1024 */
    void *arena; /* region all buffers lie in, for registration; may be NULL */
    uint64_t arena_bytes;
    bool empty_buffers; /* pages of buffers are mostly not there yet: whoever submits should not
                           be the one who waits for the kernel to make them */
    const char *name;   /* as given to umbra_io_find: the simulated disk's figures; or NULL */
    const umbra_clock *clock; /* the simulated disk's time; NULL: the machine's */
} umbra_io_options;

enum { UMBRA_IO_PARTS = 8 };

typedef struct umbra_io_request {
    int file;
    uint64_t offset;   /* aligned as the file needs it (O_DIRECT) */
    uint32_t bytes;    /* aligned the same; may reach past the end of the file */
    uint32_t required; /* bytes from offset that must arrive (<= bytes) */
    void *buffer;
    /* Or, if n_parts > 0, where the range's parts go, one after the other; their lengths, aligned
     * the same, sum to `bytes`, and buffer is not used. */
    int n_parts;
    struct iovec parts[UMBRA_IO_PARTS];
    uint64_t user; /* comes back in the completion */
} umbra_io_request;

typedef struct umbra_io_completion {
    uint64_t user;
    int error; /* 0, an errno, or -1: the file ended before `required` bytes */
} umbra_io_completion;

typedef struct umbra_io_ops {
    const char *name; /* "threads", "uring", "sim" */
    int (*open)(umbra_io **out, const umbra_io_options *options, umbra_error *err);
    /* Takes the first n' <= n requests (as many as depth allows) and returns n', or negative. */
    int (*submit)(umbra_io *io, const umbra_io_request *requests, int n, umbra_error *err);
    /* Up to max completions; wait: block until there is at least one (0 only if none is in
     * flight). Negative on failure of the backend itself. */
    int (*reap)(umbra_io *io, umbra_io_completion *out, int max, bool wait, umbra_error *err);
    /* Waits for what is in flight, frees, nulls. */
    void (*close)(umbra_io **io);
    /* Pages of the arena will be given back to the system and come back as others: nothing may be
     * known of them any more. Nothing is in flight. NULL: there is nothing to forget. */
    void (*forget_arena)(umbra_io *io);
    /* Where the bytes at this place of a file are, if reads leave the buffers alone; NULL: in the
     * buffers. */
    const void *(*data)(const umbra_io *io, int file, uint64_t offset);
} umbra_io_ops;

extern const umbra_io_ops umbra_io_threads; /* a pool of preading threads */
extern const umbra_io_ops umbra_io_uring;   /* open fails with UMBRA_E_UNSUPPORTED where the
                                               kernel or a container forbids io_uring */
/* A disk of any speed: "sim:RATE" or "sim:RATE,LATENCY" ("sim:500M,100us"; bytes per second; 0 to
 * 10 s, default 100us). Requests are transferred one after the other at the rate and arrive the
 * latency later, so deep queues reach the rate and single reads do not. Only time is simulated: the
 * data is where the page cache has it (the files are mapped), so that no copying adds to the time
 * that is measured, as a real disk's transfer does not either. */
extern const umbra_io_ops umbra_io_sim;

/* "threads", "uring", "sim:..."; "auto" or NULL: io_uring if it can be opened here, else threads.
 * NULL for an unknown name. */
const umbra_io_ops *umbra_io_find(const char *name);

#endif
