/* Reads of experts that lie side by side in a file, as they do in a model; and verification. */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>

#include "base/memory.h"

/* The fixture's first n layers, each slice's experts one after the other, `bytes` bytes each; the
 * other layers hold nothing. */
static void pack(fixture *f, int n, uint32_t bytes, uint64_t first)
{
    uint64_t at = first;
    memset(f->slices, 0, sizeof f->slices);
    for (int layer = 0; layer < n; layer++)
        for (int which = 0; which < UMBRA_STORE_SLICES; which++)
            for (int expert = 0; expert < EXPERTS; expert++, at += bytes)
                slices_of(f, layer, expert)[which] =
                    (umbra_slice){.offset = at, .bytes = bytes, .file = layer % FILES};
    assert_true(at <= FILE_BYTES);
}

typedef struct shape {
    int layers;
    uint32_t bytes;
    uint64_t first;
} shape;

/* Aligned for every disk, for 512 only, for none; experts smaller than an aligned piece. */
static const shape shapes[] = {{1, 4096, 0},  {2, 3584, 512}, {2, 3400, 77}, {3, 1024, 0},
                               {2, 1000, 13}, {5, 300, 1},    {5, 64, 64},   {1, 5000, 4095}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* ---- the geometry by itself, on every alignment ---- */

static void read_by_hand(const umbra_io_request *r)
{
    uint64_t at = r->offset;
    struct iovec whole = {r->buffer, r->bytes};
    const struct iovec *parts = r->n_parts ? r->parts : &whole;
    for (int k = 0; k < (r->n_parts ? r->n_parts : 1); k++)
        for (size_t i = 0; i < parts[k].iov_len; i++)
            ((uint8_t *)parts[k].iov_base)[i] = test_byte(0, at++);
    assert_int_equal(at, r->offset + r->bytes);
}

static void test_geometry(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {1, 512, 4096};
    static fixture f;
    for (int i = 0; i < SHAPES * 3; i++) {
        umbra_geometry geometry;
        uint32_t alignment = alignments[i % 3];
        pack(&f, shapes[i / 3].layers, shapes[i / 3].bytes, shapes[i / 3].first);
        umbra_geometry_init(&geometry, f.slices, LAYERS, EXPERTS, alignment);
        char *slots = aligned_alloc(4096, umbra_align_up(geometry.slot_bytes * EXPERTS, 4096));
        memset(slots, 0xee, geometry.slot_bytes * EXPERTS);
        for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
            for (int e = 0, n; e < EXPERTS; e += n) {
                umbra_io_request r =
                    umbra_geometry_request(&geometry, &slices_of(&f, 0, e)[which], which,
                                           slots + (uint64_t)e * geometry.slot_bytes);
                for (n = 1; e + n < EXPERTS; n++)
                    if (!umbra_geometry_extend(&geometry, &r, &slices_of(&f, 0, e + n - 1)[which],
                                               &slices_of(&f, 0, e + n)[which], which,
                                               slots + (uint64_t)(e + n) * geometry.slot_bytes))
                        break;
                assert_true(n <= UMBRA_IO_PARTS);
                assert_int_equal(r.offset % alignment, 0);
                assert_int_equal(r.bytes % alignment, 0);
                for (int k = 0; k < r.n_parts; k++)
                    assert_int_equal(r.parts[k].iov_len % alignment +
                                         (uintptr_t)r.parts[k].iov_base % alignment,
                                     0);
                read_by_hand(&r);
                for (int k = 1; k < n; k++)
                    umbra_geometry_share(&geometry, &slices_of(&f, 0, e + k - 1)[which],
                                         slots + (uint64_t)(e + k - 1) * geometry.slot_bytes,
                                         &slices_of(&f, 0, e + k)[which], which,
                                         slots + (uint64_t)(e + k) * geometry.slot_bytes);
            }
        }
        for (int e = 0; e < EXPERTS; e++)
            for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
                const umbra_slice *s = &slices_of(&f, 0, e)[which];
                test_assert_bytes(umbra_geometry_data(&geometry, s, which,
                                                      slots + (uint64_t)e * geometry.slot_bytes),
                                  0, s->offset, s->bytes);
            }
        free(slots);
    }
}

/* ---- the store ---- */

static void check_shape(const char *io, bool buffered, bool verify, const shape *of)
{
    fixture *f = &on_disk;
    pack(f, of->layers, of->bytes, of->first);
    static const int slots[] = {2, 5, 12, 30}, depths[] = {3, 32, 9, 32};
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 4; i++) {
        f->options.verify = verify;
        umbra_store *s = open_store(f, NULL, io, slots[i], depths[i], buffered);
        f->options.verify = false;
        umbra_store_set_guessing(s, true);
        for (int round = 0; round < 40; round++) {
            int layer = (int)test_below(&seed, (uint32_t)of->layers), experts[EXPERTS], n = 0;
            for (int e = 0; e < EXPERTS; e++) /* in no order, with gaps */
                if (test_below(&seed, 4) > 0)
                    experts[n++] = e;
            for (int k = n - 1; k > 0 && round % 2; k--) {
                int j = (int)test_below(&seed, (uint32_t)k + 1), e = experts[k];
                experts[k] = experts[j];
                experts[j] = e;
            }
            float probability[EXPERTS];
            for (int e = 0; e < EXPERTS; e++)
                probability[e] = (float)test_below(&seed, 2);
            umbra_store_foretell(s, 0, (int)test_below(&seed, (uint32_t)of->layers), 1,
                                 umbra_store_clock(s) + 2, probability);
            umbra_error err = {0};
            if (run_batch(s, f, layer, experts, n, EXPERTS, &seed, &err) != UMBRA_OK)
                fail_msg("%s", err.message);
            assert_int_equal(umbra_store_poll(s, &err), UMBRA_OK);
            if (round % 10 == 9)
                assert_int_equal(umbra_store_clear(s, &err), UMBRA_OK);
        }
        umbra_store_close(&s);
    }
}

static void check_backend(const char *io)
{
    for (int i = 0; i < SHAPES; i++) {
        check_shape(io, false, false, &shapes[i]);
        check_shape(io, true, i % 2, &shapes[i]);
    }
    check_shape(io, false, true, &shapes[2]);
}

static void test_threads(void **state)
{
    (void)state;
    check_backend("threads");
}

static void test_uring(void **state)
{
    (void)state;
    if (!test_uring_works())
        skip();
    check_backend("uring");
}

/* Eight neighbours take fewer requests than they have slices, and the same bytes. */
static void test_fewer_requests(void **state)
{
    (void)state;
    static const int eight[] = {4, 1, 2, 7, 0, 5, 3, 6};
    for (int i = 0; i < SHAPES; i++) {
        pack(&on_disk, shapes[i].layers, shapes[i].bytes, shapes[i].first);
        test_faulty_reset(&umbra_io_threads);
        umbra_store *s = open_store(&on_disk, &test_faulty_io, NULL, 12, 32, true);
        good_batch(s, 0, eight, 8);
        assert_true(test_fault.submitted < 8 * UMBRA_STORE_SLICES);
        umbra_store_stats stats = stats_of(s);
        assert_int_equal(stats.reads, test_fault.submitted);
        assert_int_equal(stats.bytes_read, stats.bytes_needed);
        umbra_store_close(&s);
    }
}

static void fail_reads_of(const umbra_slice *slice, int error, int times)
{
    test_fault.fail_errno = error;
    test_fault.fail_file = slice->file;
    test_fault.fail_from = slice->offset;
    test_fault.fail_to = slice->offset + slice->bytes;
    test_fault.fail_times = times;
}

/* The others of a merged read that failed are read by themselves; only the bad one is to blame. */
static void test_one_of_several_fails(void **state)
{
    (void)state;
    static const int five[] = {3, 4, 5, 6, 7}, fine[] = {3, 4, 6, 7};
    for (int i = 0; i < SHAPES; i++) {
        for (int error = -1; error <= EIO; error += EIO + 1) {
            pack(&on_disk, shapes[i].layers, shapes[i].bytes, shapes[i].first);
            test_faulty_reset(&umbra_io_threads);
            umbra_store *s = open_store(&on_disk, &test_faulty_io, NULL, 6, 32, true);
            test_fault.newest_first = i % 2;
            const umbra_slice *bad = &slices_of(&on_disk, 0, 5)[1];
            fail_reads_of(bad, error, 1); /* it passes */
            good_batch(s, 0, five, 5);
            assert_int_equal(umbra_store_clear(s, NULL), UMBRA_OK);
            fail_reads_of(bad, error, 1000);
            umbra_error err = {0};
            umbra_lease leases[5];
            int n, handed = 0;
            assert_int_equal(begin_batch(s, 0, five, 5, &err), UMBRA_OK);
            while ((n = umbra_store_next(s, leases, 5, &err)) > 0)
                handed += n;
            assert_int_equal(n, UMBRA_E_IO);
            assert_in_range(handed, 0, 4); /* never the unreadable one */
            assert_int_equal(err.offset, bad->offset);
            assert_non_null(strstr(err.message, "part 1 of expert 5 of layer 0"));
            assert_non_null(strstr(err.message, on_disk.path[bad->file]));
            good_batch(s, 0, fine, 4);
            test_fault.fail_times = 0;
            good_batch(s, 0, five, 5);
            umbra_store_close(&s);
        }
    }
}

/* ---- verification ---- */

static umbra_store *open_verifying(int slots)
{
    test_faulty_reset(&umbra_io_threads);
    on_disk.options.verify = true;
    umbra_store *s = open_store(&on_disk, &test_faulty_io, NULL, slots, 32, true);
    on_disk.options.verify = false;
    return s;
}

static void corrupt_reads_of(const umbra_slice *slice, uint64_t at, int times)
{
    test_fault.corrupt_file = slice->file;
    test_fault.corrupt_at = slice->offset + at;
    test_fault.corrupt_times = times;
}

static void test_wrong_byte_is_found(void **state)
{
    (void)state;
    static const int experts[] = {3, 4, 5};
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        for (int place = 0; place < 3; place++) {
            pack(&on_disk, 2, 1000, 13);
            const umbra_slice *bad = &slices_of(&on_disk, 1, 4)[which];
            umbra_store *s = open_verifying(6);
            corrupt_reads_of(bad, (uint64_t[]){0, 500, 999}[place], 1);
            umbra_error err = {0};
            umbra_lease leases[3];
            int n;
            assert_int_equal(begin_batch(s, 1, experts, 3, &err), UMBRA_OK);
            while ((n = umbra_store_next(s, leases, 3, &err)) > 0)
                for (int i = 0; i < n; i++) {
                    assert_int_not_equal(leases[i].expert, 4);
                    check_lease(&on_disk, 1, &leases[i], false);
                }
            assert_int_equal(test_fault.corrupt_times, 0);
            assert_int_equal(n, UMBRA_E_CORRUPT);
            assert_int_equal(err.status, UMBRA_E_CORRUPT);
            assert_true(err.has_offset);
            assert_int_equal(err.offset, bad->offset);
            assert_non_null(strstr(err.message, on_disk.path[bad->file]));
            assert_non_null(strstr(err.message, "expert 4 of layer 1"));
            good_batch(s, 1, experts, 3); /* what was wrong is not kept */
            umbra_store_close(&s);
        }
    }
}

static void test_wrong_guess_is_never_leased(void **state)
{
    (void)state;
    static const int other[] = {1}, expert[] = {4};
    pack(&on_disk, 2, 1000, 13);
    for (int late = 0; late < 2; late++) {
        umbra_store *s = open_verifying(6);
        umbra_store_set_guessing(s, true);
        corrupt_reads_of(&slices_of(&on_disk, 1, 4)[1], 10, 1);
        float probability[EXPERTS] = {[4] = 1};
        /* Real time: until the course of batches makes the guess worth it. */
        for (int i = 0; i < 2000 && s->stats.ahead[1].reads == 0; i++) {
            good_batch(s, 0, other, 1);
            umbra_store_foretell(s, 0, 1, 1, umbra_store_clock(s) + 1, probability);
            for (volatile int spin = 0; spin < 20000; spin++)
                ;
            assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
        }
        assert_true(s->stats.ahead[1].reads > 0);
        while (!late && s->driver.in_flight > 0)
            assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
        uint64_t seed = 1;
        umbra_error err = {0};
        int rc = run_batch(s, &on_disk, 1, expert, 1, 1, &seed, &err); /* checks what it leases */
        assert_true(rc == UMBRA_OK || (late && rc == UMBRA_E_CORRUPT));
        good_batch(s, 1, expert, 1);
        umbra_store_close(&s);
    }
}

/* Descriptor 0 is the program's own, whatever fails. */
static void test_no_memory_for_checksums(void **state)
{
    (void)state;
    pack(&on_disk, 2, 1000, 13);
    umbra_store_options o = on_disk.options;
    o.verify = true;
    o.buffered = true;
    o.budget_bytes = slot_bytes_of(&on_disk, true) * 4;
    int rc = UMBRA_E_NOMEM;
    bool open = fcntl(0, F_GETFD) >= 0;
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_store *s;
        umbra_memory_fail_after(n);
        rc = umbra_store_open_with(&s, &o, &umbra_io_threads, NULL, NULL);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || (rc == UMBRA_E_NOMEM && !s));
        assert_int_equal(fcntl(0, F_GETFD) >= 0, open);
        umbra_store_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_uring),
        cmocka_unit_test(test_fewer_requests),
        cmocka_unit_test(test_one_of_several_fails),
        cmocka_unit_test(test_wrong_byte_is_found),
        cmocka_unit_test(test_wrong_guess_is_never_leased),
        cmocka_unit_test(test_no_memory_for_checksums),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
