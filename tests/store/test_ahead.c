/* Reading ahead on a disk and a clock of the test's own: what is read, when, and what becomes of
 * it. */
#include "ahead.h"

#include <errno.h>
#include <string.h>

/* ---- the disk ---- */

static umbra_io_request request_of(uint64_t offset, uint32_t bytes, uint64_t user)
{
    static char buffer[8192];
    return (umbra_io_request){
        .offset = offset, .bytes = bytes, .required = bytes, .buffer = buffer, .user = user};
}

static void test_disk(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(1, 1); /* for its open files */
    umbra_io *io;
    umbra_io_options o = {.files = s->fixed.files,
                          .n_files = FILES,
                          .depth = 3,
                          .name = "sim:1M,2ms",
                          .clock = &test_clock};
    assert_int_equal(umbra_io_sim.open(&io, &o, NULL), UMBRA_OK);
    now_ns = 5;
    umbra_io_request r[] = {request_of(0, 1000, 7), request_of(10, 2000, 8),
                            request_of(FILE_BYTES - 10, 3000, 9), request_of(0, 1, 10)};
    umbra_io_completion c[4];
    assert_int_equal(umbra_io_sim.submit(io, r, 4, NULL), 3);
    assert_int_equal(umbra_io_sim.submit(io, r + 3, 1, NULL), 0); /* full */
    now_ns = 4 + 3 * MS;
    assert_int_equal(umbra_io_sim.reap(io, c, 4, false, NULL), 0);
    assert_int_equal(umbra_io_sim.reap(io, c, 4, true, NULL), 1);
    assert_int_equal(now_ns, 5 + 3 * MS);
    assert_int_equal(c[0].user, 7);
    now_ns = 5 + 8 * MS; /* transfers follow each other, latencies overlap */
    assert_int_equal(umbra_io_sim.reap(io, c, 4, false, NULL), 2);
    assert_int_equal(c[0].user, 8);
    assert_int_equal(c[0].error, 0);
    assert_int_equal(c[1].error, -1); /* the file ends */
    assert_int_equal(umbra_io_sim.reap(io, c, 4, true, NULL), 0);
    now_ns = 100 * MS; /* an idle disk begins at once */
    assert_int_equal(umbra_io_sim.submit(io, r + 3, 1, NULL), 1);
    assert_int_equal(umbra_io_sim.reap(io, c, 4, true, NULL), 1);
    assert_int_equal(now_ns, 102 * MS + US);
    test_assert_bytes(umbra_io_sim.data(io, 1, 12345), 1, 12345, 100);
    umbra_io_sim.close(&io);
    static const char *const bad[] = {"sim:",      "sim:0",       "sim:-5M",     "sim:fast",
                                      "sim:1M,",   "sim:1M,x",    "sim:1M,11s",  "sim:1M,1us,",
                                      "sim:1Q",    "sim:nan",     "sim:inf",     "sim:1M;1us",
                                      "sim:1M,-1", "sim:1e30G,1", "sim:1M,infms"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        umbra_error err = {0};
        o.name = bad[i];
        if (umbra_io_sim.open(&io, &o, &err) != UMBRA_E_ARGUMENT)
            fail_msg("%s was taken", bad[i]);
        assert_null(io);
        assert_non_null(strstr(err.message, "sim:500M,100us"));
    }
    umbra_store_close(&s);
}

/* ---- guesses ---- */

static void test_in_time(void **state)
{
    (void)state;
    for (int distance = 1; distance <= UMBRA_MAX_DISTANCE; distance++) {
        umbra_store *s = open_ahead(8, 8);
        warm_up(s, 1);
        assert_true(foretell(s, 1, distance, 1, 7, 0.9f));
        pass(s, MS);
        assert_int_equal(test_fault.submitted, UMBRA_STORE_SLICES);
        batch(s, 1, 7);
        umbra_store_stats stats = stats_of(s);
        assert_int_equal(stats.hits, 1);
        assert_int_equal(stats.late + stats.misses, 0);
        assert_int_equal(stats.wait_ns, 0);
        assert_int_equal(stats.ahead[distance].reads, 1);
        assert_int_equal(stats.ahead[distance].bytes, bytes_of(1, 7));
        assert_int_equal(stats.ahead[distance].useful_bytes, bytes_of(1, 7));
        assert_int_equal(stats.bytes_read, bytes_of(1, 7));
        assert_int_equal(stats.bytes_needed, 0);
        batch(s, 1, 7); /* counted once */
        assert_int_equal(stats_of(s).ahead[distance].useful_bytes, bytes_of(1, 7));
        umbra_store_close(&s);
    }
}

static void test_demanded_while_it_is_read(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(8, 8);
    warm_up(s, 1);
    assert_true(foretell(s, 1, 3, 1, 7, 0.9f));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    int submitted = test_fault.submitted;
    assert_int_equal(submitted, UMBRA_STORE_SLICES);
    now_ns += 10 * US;
    batch(s, 1, 7);
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(test_fault.submitted, submitted);
    assert_int_equal(stats.late, 1);
    assert_int_equal(stats.hits + stats.misses, 0);
    assert_int_equal(stats.ahead[3].late_bytes, bytes_of(1, 7));
    assert_int_equal(stats.ahead[3].useful_bytes, 0);
    assert_true(stats.wait_ns > 0 && stats.wait_ns < 300 * US);
    umbra_store_close(&s);
}

static void test_wrong_guess_goes_first(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) { /* it arrives before or after its layer went by */
        umbra_store *s = open_ahead(4, 12);
        warm_up(s, 1);
        batch(s, 0, 2);
        batch(s, 4, 3);
        umbra_store_reset_stats(s);
        assert_true(foretell(s, 1, 2, 1, 7, 0.9f));
        if (late)
            assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
        else
            pass(s, MS);
        begin(s, 1, NULL, 0); /* the layer wants nothing */
        finish(s, 1);
        pass(s, MS);
        assert_int_equal(stats_of(s).ahead[2].wasted_bytes, 0);
        batch(s, 4, 8);
        umbra_store_stats stats = stats_of(s);
        assert_int_equal(stats.evictions, 1);
        assert_int_equal(stats.ahead[2].wasted_bytes, bytes_of(1, 7));
        batch(s, 0, 1);
        batch(s, 0, 2);
        batch(s, 4, 3);
        assert_int_equal(stats_of(s).hits, 3);
        umbra_store_close(&s);
    }
}

/* Checks every request: a guess only behind the last demand. */
static void no_guess_before_a_demand(void *user, const umbra_io_request *request)
{
    umbra_store *s = *(umbra_store **)user;
    const umbra_flight *f = &s->driver.flights[request->user];
    bool guess = true;
    for (int k = 0; k < f->n; k++)
        guess = guess && s->driver.reads[f->read[k] / UMBRA_STORE_SLICES].item < 0;
    if (!guess || !s->driver.batch.active)
        return;
    if (!s->driver.batch.failed)
        assert_int_equal(s->driver.batch.misses_begun, s->driver.batch.misses_n);
    for (int i = 0; i < s->driver.queue_n; i++) {
        uint64_t read = s->driver.queue[(s->driver.queue_first + i) % s->driver.queue_size];
        assert_true(s->driver.reads[read / UMBRA_STORE_SLICES].item < 0);
    }
}

static void test_demands_come_first(void **state)
{
    (void)state;
    static const int demands[] = {2, 3, 4, 5};
    for (int reluctant = 0; reluctant < 2; reluctant++) {
        umbra_store *s = open_ahead(12, 6);
        warm_up(s, 1);
        test_fault.watch = no_guess_before_a_demand;
        test_fault.watch_user = &s;
        test_fault.take_at_most = reluctant;
        assert_true(foretell(s, 1, 1, 2, 7, 1.0f));
        assert_true(foretell(s, 4, 2, 3, 6, 1.0f));
        begin(s, 0, demands, 4);
        finish(s, 0);
        pass(s, 2 * MS);
        batch(s, 1, 7);
        assert_true(stats_of(s).ahead[1].useful_bytes > 0);
        umbra_store_close(&s);
    }
}

static char kinds[16];
static int kinds_n;

static void note_kind(void *user, const umbra_io_request *request)
{
    umbra_store *s = *(umbra_store **)user;
    bool guess =
        s->driver.reads[s->driver.flights[request->user].read[0] / UMBRA_STORE_SLICES].item < 0;
    if (kinds_n < (int)sizeof kinds - 1)
        kinds[kinds_n++] = guess ? 'g' : 'd';
}

/* Parts of a guess that were not submitted yet let demands pass. */
static void test_demands_overtake_queued_guesses(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(12, 12);
    warm_up(s, 1);
    assert_true(foretell(s, 1, 1, 1, 7, 1.0f));
    const umbra_slice *first = &slices_of(&on_disk, 1, 7)[0];
    test_fault.fail_errno = EIO;
    test_fault.fail_file = first->file;
    test_fault.fail_from = first->offset;
    test_fault.fail_to = first->offset + first->bytes;
    test_fault.fail_times = 1;
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    assert_int_equal(s->driver.in_flight, UMBRA_STORE_SLICES);
    /* The failed part comes back into the queue, and a batch begins before it is submitted. */
    assert_int_equal(umbra_store_reap_reads(s, false, NULL), UMBRA_OK);
    assert_int_equal(s->driver.queue_n, 1);
    kinds_n = 0;
    test_fault.watch = note_kind;
    test_fault.watch_user = &s;
    test_fault.take_at_most = 1;
    batch(s, 4, 3);
    assert_memory_equal(kinds, "dddg", 4);
    test_fault.watch = NULL;
    batch(s, 1, 7);
    umbra_store_close(&s);
}

static void test_likelier_experts_stay(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(2, 8);
    batch(s, 0, 5);
    warm_up(s, 1);
    float resident[EXPERTS] = {0};
    resident[1] = resident[5] = 0.8f;
    assert_true(umbra_store_foretell(s, 0, 0, 2, umbra_store_clock(s) + 2, resident));
    assert_true(foretell(s, 1, 1, 1, 7, 0.8f));
    pass(s, MS);
    assert_int_equal(test_fault.submitted, 0);
    assert_true(foretell(s, 1, 1, 1, 7, 0.9f));
    pass(s, MS);
    assert_int_equal(test_fault.submitted, UMBRA_STORE_SLICES);
    umbra_store_close(&s);
}

static void test_leased_slots_stay(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(1, 8);
    warm_up(s, 1);
    int expert = 1;
    umbra_lease lease;
    begin(s, 0, &expert, 1);
    assert_int_equal(umbra_store_next(s, &lease, 1, NULL), 1);
    assert_true(foretell(s, 1, 1, 1, 7, 1.0f));
    pass(s, MS);
    assert_int_equal(test_fault.submitted, 0);
    check_lease(&on_disk, 0, &lease, false);
    umbra_store_release(s, &lease);
    assert_int_equal(umbra_store_next(s, &lease, 1, NULL), 0);
    /* Nor does a guess drive out another one that is being read. */
    for (int i = 0; i < 1000; i++)
        umbra_slots_decay(&s->guarded.slots, 1); /* its many uses are forgotten */
    assert_true(foretell(s, 1, 1, 1, 7, 0.8f));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    assert_int_equal(test_fault.submitted, UMBRA_STORE_SLICES);
    assert_true(foretell(s, 4, 2, 2, 7, 1.0f));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    assert_int_equal(test_fault.submitted, UMBRA_STORE_SLICES);
    assert_true(umbra_slots_find(&s->guarded.slots, 1, 7) >= 0);
    /* And a demand that finds only that slot waits for it. */
    batch(s, 4, 2);
    umbra_store_close(&s);
}

/* What is foretold from far away is kept, and read for only when its batch is near. */
static void test_far_ahead(void **state)
{
    (void)state;
    const int far = UMBRA_MAX_DISTANCE + 5;
    umbra_store *s = open_ahead(4, 8);
    warm_up(s, 1);
    for (int i = 0; i < 6; i++) {
        batch(s, 0, 2);
        pass(s, 2 * MS);
    }
    batch(s, 4, 4);
    batch(s, 4, 4);
    batch(s, 1, 3); /* least used: next to go */
    assert_true(foretell(s, 1, far, UMBRA_MAX_DISTANCE + 1, 3, 0.9f));
    assert_true(foretell(s, 4, far, UMBRA_MAX_DISTANCE + 1, 7, 0.9f));
    int submitted = test_fault.submitted;
    pass(s, 2 * MS);
    assert_int_equal(test_fault.submitted, submitted); /* too far to be read */
    batch(s, 3, 5);
    assert_true(umbra_slots_find(&s->guarded.slots, 1, 3) >= 0);
    pass(s, 2 * MS); /* near enough now */
    assert_true(umbra_slots_find(&s->guarded.slots, 4, 7) >= 0);
    assert_int_equal(stats_of(s).ahead[UMBRA_MAX_DISTANCE].reads, 1);
    umbra_store_close(&s);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(4, 8);
    warm_up(s, 1);
    assert_false(foretell(s, -1, 1, 1, 7, 1));
    assert_false(foretell(s, LAYERS, 1, 1, 7, 1));
    assert_false(foretell(s, 1, 0, 1, 7, 1));
    assert_false(foretell(s, 1, -3, 1, 7, 1));
    assert_int_equal(stats_of(s).forecasts, 0);
    assert_false(foretell(s, 1, 1, 0, 7, 1)); /* its batch has begun */
    assert_true(foretell(s, 1, 2, 1, 7, 0.4f));
    assert_false(foretell(s, 1, 3, 1, 8, 1)); /* from farther */
    assert_true(foretell(s, 1, 2, 1, 7, 0.5f));
    assert_true(foretell(s, 1, 1, 1, 7, 0.6f));
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(stats.forecasts, 5);
    assert_int_equal(stats.forecasts_refused, 2);
    umbra_store_close(&s);
}

static void test_off(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(4, 8);
    warm_up(s, 1);
    assert_true(foretell(s, 1, 1, 1, 7, 1));
    umbra_store_set_guessing(s, false);
    assert_false(foretell(s, 1, 1, 1, 7, 1));
    pass(s, MS);
    umbra_store_set_guessing(s, true); /* what was foretold before is forgotten */
    pass(s, MS);
    assert_int_equal(test_fault.submitted, 0);
    umbra_store_close(&s);
}

static void test_clear(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(6, 8);
    warm_up(s, 1);
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    pass(s, MS);
    assert_true(foretell(s, 4, 3, 2, 6, 1));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    assert_true(s->driver.in_flight > 0);
    assert_int_equal(umbra_store_clear(s, NULL), UMBRA_OK);
    assert_int_equal(s->driver.in_flight, 0);
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(stats.resident_bytes, 0);
    assert_int_equal(stats.ahead[2].wasted_bytes, bytes_of(1, 7));
    assert_int_equal(stats.ahead[3].wasted_bytes, bytes_of(4, 6));
    batch(s, 1, 7);
    assert_int_equal(stats_of(s).misses, 1);
    umbra_store_close(&s);
}

/* An expert that does not exist takes no slot, whoever foretells it. */
static void test_experts_that_do_not_exist(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(2, 8);
    warm_up(s, 1);
    assert_true(foretell(s, SPARSE_LAYER, 1, 1, 0, 1));
    assert_true(foretell(s, EMPTY_LAYER, 2, 2, 7, 1));
    pass(s, MS);
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(stats.resident_bytes, stats.slot_bytes);
    umbra_store_close(&s);
}

/* Closing with guesses in flight leaves nothing behind. */
static void test_close(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(6, 8);
    warm_up(s, 1);
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    umbra_store_close(&s);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk),
        cmocka_unit_test(test_in_time),
        cmocka_unit_test(test_demanded_while_it_is_read),
        cmocka_unit_test(test_wrong_guess_goes_first),
        cmocka_unit_test(test_demands_come_first),
        cmocka_unit_test(test_demands_overtake_queued_guesses),
        cmocka_unit_test(test_likelier_experts_stay),
        cmocka_unit_test(test_leased_slots_stay),
        cmocka_unit_test(test_far_ahead),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_experts_that_do_not_exist),
        cmocka_unit_test(test_close),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
