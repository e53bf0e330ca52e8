/* What the store does when reads, files, backends and callers fail it. */
#include "fixture.h"

#include "store/lend.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void fail_reads_of(const umbra_slice *slice, int error, int times)
{
    test_fault.fail_errno = error;
    test_fault.fail_file = slice->file;
    test_fault.fail_from = slice->offset;
    test_fault.fail_to = slice->offset + slice->bytes;
    test_fault.fail_times = times;
}

static void test_passing_error_is_retried(void **state)
{
    (void)state;
    static const int experts[] = {7};
    for (int times = 1; times <= 2; times++) {
        umbra_store *s = open_faulty(4, 1);
        fail_reads_of(&slices_of(&on_disk, 1, 7)[1], EIO, times);
        good_batch(s, 1, experts, 1);
        assert_int_equal(test_fault.fail_times, 0);
        assert_int_equal(stats_of(s).reads, UMBRA_STORE_SLICES + times);
        umbra_store_close(&s);
    }
}

static void test_lasting_error_is_reported(void **state)
{
    (void)state;
    static const int all[] = {4, 1, 2, 7, 0, 5}, others[] = {8, 9, 10, 11, 3, 6};
    for (int depth = 1; depth <= 33; depth += 16) {
        umbra_store *s = open_faulty(6, depth);
        good_batch(s, 1, all, 2); /* hits of the batch that fails */
        const umbra_slice *bad = &slices_of(&on_disk, 1, 7)[1];
        fail_reads_of(bad, EIO, 1000);
        umbra_error err = {0};
        assert_int_equal(begin_batch(s, 1, all, 6, NULL), 0);
        umbra_lease leases[6];
        int rc, n = 0;
        while ((rc = umbra_store_next(s, leases + n, 6, &err)) > 0)
            n += rc; /* kept: the failure has to take them back */
        assert_int_equal(rc, UMBRA_E_IO);
        assert_int_equal(err.status, UMBRA_E_IO);
        assert_true(err.has_offset);
        assert_int_equal(err.offset, bad->offset);
        assert_non_null(strstr(err.message, on_disk.path[bad->file]));
        assert_non_null(strstr(err.message, "expert 7 of layer 1"));
        assert_non_null(strstr(err.message, strerror(EIO)));
        test_fault.fail_times = 0;
        assert_int_equal(umbra_store_next(s, leases, 6, &err), 0);

        /* What failed is not taken for data, and all six slots can be had again. */
        umbra_store_reset_stats(s);
        good_batch(s, 1, all + 3, 1);
        assert_int_equal(stats_of(s).misses, 1);
        good_batch(s, 1, others, 6);
        umbra_store_close(&s);
    }
}

/* A batch that fails while it lacks a slot lacks none afterwards: lending goes on. */
static void test_failure_ends_what_is_lacked(void **state)
{
    (void)state;
    static const int there[] = {0, 1}, experts[] = {2, 3};
    umbra_store *s = open_faulty(3, 32);
    umbra_lease lent[2], leases[2];
    umbra_error err = {0};
    good_batch(s, 1, there, 2);
    assert_int_equal(umbra_store_lend(s, 1, there, 2, lent), 2);
    fail_reads_of(&slices_of(&on_disk, 4, 2)[0], EIO, 1000);
    assert_int_equal(begin_batch(s, 4, experts, 2, &err), 0);
    assert_int_equal(umbra_store_lend(s, 1, there, 1, leases), 0);
    int rc;
    while ((rc = umbra_store_next(s, leases, 2, &err)) > 0)
        ;
    assert_int_equal(rc, UMBRA_E_IO);
    test_fault.fail_times = 0;
    for (int i = 0; i < 2; i++)
        umbra_store_take_back(s, &lent[i]);
    good_batch(s, 1, there, 2); /* misses nothing */
    assert_int_equal(umbra_store_lend(s, 1, there, 2, lent), 2);
    for (int i = 0; i < 2; i++)
        umbra_store_take_back(s, &lent[i]);
    umbra_store_close(&s);
}

static void test_shortened_file(void **state)
{
    (void)state;
    static const int experts[] = {1}, after[] = {3};
    fixture f;
    make_fixture(&f, UMBRA_TEST_DIR);
    umbra_store *s = open_store(&f, NULL, "threads", 3, 4, false);
    umbra_slice *gone = slices_of(&f, 0, 1);
    assert_int_equal(truncate(f.path[gone->file], FILE_BYTES - 100), 0);
    uint64_t seed = 3;
    umbra_error err = {0};
    assert_int_equal(run_batch(s, &f, 0, experts, 1, 1, &seed, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "shorter"));
    assert_int_equal(run_batch(s, &f, 0, after, 1, 1, &seed, &err), UMBRA_OK);
    umbra_store_close(&s);
    remove_fixture(&f);
}

static void test_all_slots_leased(void **state)
{
    (void)state;
    static const int experts[] = {1, 2, 3};
    umbra_store *s = open_faulty(2, 8);
    umbra_lease leases[3];
    umbra_error err = {0};
    assert_int_equal(begin_batch(s, 0, experts, 3, &err), 0);
    int n = 0, rc;
    while ((rc = umbra_store_next(s, leases + n, 3, &err)) > 0)
        n += rc;
    assert_int_equal(n, 2);
    assert_int_equal(rc, UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "all 2 slots are leased"));
    good_batch(s, 0, experts, 3);
    umbra_store_close(&s);
}

static void test_broken_backend(void **state)
{
    (void)state;
    static const int experts[] = {1, 2, 3};
    umbra_store *s = open_faulty(3, 8);
    umbra_lease lease;
    umbra_error err = {0};
    assert_int_equal(begin_batch(s, 0, experts, 3, &err), 0);
    test_fault.backend_fails = 1;
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), UMBRA_E_SYSTEM);
    assert_string_equal(err.message, "the backend broke");
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), UMBRA_E_SYSTEM);
    memset(&err, 0, sizeof err);
    assert_int_equal(begin_batch(s, 0, experts, 3, &err), UMBRA_E_SYSTEM);
    assert_string_equal(err.message, "the backend broke");
    umbra_store_close(&s);
}

static void test_bad_batches(void **state)
{
    (void)state;
    umbra_store *s = open_faulty(3, 8);
    const int two[] = {1, 2}, twice[] = {1, 2, 1}, negative[] = {-1}, beyond[] = {EXPERTS};
    const int zero[] = {0};
    umbra_lease lease;
    umbra_error err;
    assert_int_equal(begin_batch(s, -1, two, 2, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, LAYERS, two, 2, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, 0, two, -1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, 0, two, EXPERTS + 1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, 0, twice, 3, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, 0, negative, 1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, 0, beyond, 1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, EMPTY_LAYER, two, 2, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(begin_batch(s, SPARSE_LAYER, zero, 1, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(test_fault.submitted, 0);
    assert_int_equal(begin_batch(s, EMPTY_LAYER, NULL, 0, &err), 0);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), 0);
    assert_int_equal(begin_batch(s, 0, two, 2, &err), 0);
    assert_int_equal(begin_batch(s, 0, two, 2, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_store_next(s, &lease, 0, &err), UMBRA_E_ARGUMENT);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), 1); /* the batch goes on */
    umbra_store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passing_error_is_retried),
        cmocka_unit_test(test_lasting_error_is_reported),
        cmocka_unit_test(test_failure_ends_what_is_lacked),
        cmocka_unit_test(test_shortened_file),
        cmocka_unit_test(test_all_slots_leased),
        cmocka_unit_test(test_broken_backend),
        cmocka_unit_test(test_bad_batches),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
