/* Files with known content, and an I/O backend that misbehaves on demand. */
#ifndef UMBRA_TESTS_STORE_SUPPORT_H
#define UMBRA_TESTS_STORE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/io/io.h"

/* xorshift: the same sequence everywhere. */
uint32_t test_random(uint64_t *state);
static inline uint32_t test_below(uint64_t *state, uint32_t n)
{
    return test_random(state) % n;
}

/* The byte at `offset` of test file number `file`. */
uint8_t test_byte(int file, uint64_t offset);
void test_assert_bytes(const void *data, int file, uint64_t offset, uint64_t bytes);

/* Makes dir/umbra-XXXXXX with `bytes` bytes of content; path takes 256 characters. */
void test_make_file(char *path, const char *dir, int file, uint64_t bytes);

/* A backend on top of another one. Its settings are global, since a table of operations has no
 * context; test_faulty_reset returns them to harmless ones. */
typedef struct test_faults {
    const umbra_io_ops *inner;
    /* Reads of [fail_from, fail_to) of fail_file fail with this errno (or -1), fail_times times. */
    int fail_errno;
    int fail_file;
    uint64_t fail_from, fail_to;
    int fail_times;
    int take_at_most;  /* requests per submit, 0: no limit */
    int backend_fails; /* the n-th reap from now fails as a whole, 0: never */
    bool newest_first; /* completions that come together come in reverse */
    /* Reads of this byte of corrupt_file deliver a wrong one, corrupt_times times. */
    int corrupt_file;
    uint64_t corrupt_at;
    int corrupt_times;
    void (*watch)(void *user, const umbra_io_request *request); /* of every request taken */
    void *watch_user;
    int submitted; /* counts requests */
    int most_in_flight;
} test_faults;

extern test_faults test_fault;
extern const umbra_io_ops test_faulty_io;
extern const umbra_io_ops test_faulty_sim; /* for an inner backend that leaves buffers alone */
void test_faulty_reset(const umbra_io_ops *inner);

/* A closed ring's memory counts against RLIMIT_MEMLOCK for a moment longer, so that the next one
 * may be refused. True if rc says so and trying again is worth it; *tries counts, from 0. */
bool test_try_again(int rc, int *tries);
/* Opens a backend; false, with a message, where it is refused for good. Fails the test on other
 * errors. */
bool test_open_io(const umbra_io_ops *ops, umbra_io **out, const umbra_io_options *options);
bool test_uring_works(void);

#endif
