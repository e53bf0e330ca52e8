/* What the I/O backends share. */
#ifndef UMBRA_STORE_IO_INTERNAL_H
#define UMBRA_STORE_IO_INTERNAL_H

#include "store/io/io.h"

/* A short read goes on from a multiple of this many bytes, so that O_DIRECT's alignment holds
 * wherever the kernel stopped. */
enum { UMBRA_IO_RESUME_ALIGN = 4096 };

typedef enum umbra_io_step {
    UMBRA_IO_DONE,  /* `required` bytes are there */
    UMBRA_IO_MORE,  /* read on from umbra_io_resume */
    UMBRA_IO_ENDED, /* the file ends before `required` */
} umbra_io_step;

/* Bytes from the request's offset at which the next read of it begins, `done` bytes having
 * arrived. */
static inline uint32_t umbra_io_resume(uint32_t done)
{
    return done & ~(uint32_t)(UMBRA_IO_RESUME_ALIGN - 1);
}

/* Takes the result n >= 0 of a read that began at umbra_io_resume(*done) and moves *done. */
umbra_io_step umbra_io_advance(const umbra_io_request *request, uint32_t *done, uint32_t n);

/* Where the bytes from `at` on go: fills out and returns how many parts that are. */
int umbra_io_rest(const umbra_io_request *request, uint32_t at, struct iovec out[UMBRA_IO_PARTS]);

/* The whole read at once, by the calling thread. Returns a completion's error. */
int umbra_io_read(const umbra_io_file *files, const umbra_io_request *r);

/* UMBRA_OK, or UMBRA_E_ARGUMENT naming the option that is out of range. */
int umbra_io_check_options(const umbra_io_options *options, umbra_error *err);
int umbra_io_check_requests(const umbra_io_request *requests, int n, int n_files, umbra_error *err);

#endif
