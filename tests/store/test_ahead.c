/* Reading ahead on a disk and a clock of the test's own: what is read, when, what becomes of it,
 * and what a wrong forecast can do. */
#include "fixture.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/memory.h"

static const char disk[] = "sim:100M,100us";
enum { MS = 1000000, US = 1000 };

/* ---- a world ---- */

static uint64_t now_ns;

static uint64_t now_of(void *user)
{
    (void)user;
    return now_ns;
}

static void wait_until(void *user, uint64_t ns)
{
    (void)user;
    now_ns = ns > now_ns ? ns : now_ns;
}

static const umbra_clock test_clock = {now_of, wait_until, NULL};

static umbra_store *open_ahead(int slots, int depth)
{
    test_faulty_reset(&umbra_io_sim);
    now_ns = 1;
    umbra_store_options o = on_disk.options;
    o.io = disk;
    o.io_depth = depth;
    o.buffered = true;
    o.budget_bytes = slot_bytes_of(&on_disk, true) * (uint64_t)slots;
    umbra_store *s;
    umbra_error err = {0};
    if (umbra_store_open_with(&s, &o, &test_faulty_sim, &test_clock, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    umbra_store_set_guessing(s, true);
    return s;
}

static void begin(umbra_store *s, int layer, const int *experts, int n)
{
    umbra_error err = {0};
    if (umbra_store_begin(s, layer, experts, n, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
}

static void finish(umbra_store *s, int layer)
{
    umbra_lease lease;
    umbra_error err = {0};
    int n;
    while ((n = umbra_store_next(s, &lease, 1, &err)) > 0) {
        check_lease(&on_disk, layer, &lease, false);
        umbra_store_release(s, &lease);
    }
    if (n < 0)
        fail_msg("%s", err.message);
}

static void batch(umbra_store *s, int layer, int expert)
{
    begin(s, layer, &expert, 1);
    finish(s, layer);
}

/* A time passes, with polls as an engine makes them. */
static void pass(umbra_store *s, uint64_t ns)
{
    for (int i = 0; i < 20; i++) {
        now_ns += ns / 20;
        assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    }
}

/* Batches of one expert of layer 0, 2 ms apart, so that the course of batches is known. */
static void warm_up(umbra_store *s, int expert)
{
    for (int i = 0; i < 60; i++) {
        pass(s, 2 * MS);
        batch(s, 0, expert);
    }
    umbra_store_reset_stats(s);
    test_fault.submitted = 0;
}

static bool foretell(umbra_store *s, int layer, int distance, uint64_t steps, int expert, float p)
{
    float probability[EXPERTS] = {0};
    probability[expert] = p;
    return umbra_store_foretell(s, layer, distance, umbra_store_clock(s) + steps, probability);
}

static uint64_t bytes_of(int layer, int expert)
{
    const umbra_slice *slices = slices_of(&on_disk, layer, expert);
    return slices[0].bytes + slices[1].bytes + slices[2].bytes;
}

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
    umbra_io_options o = {.files = s->files,
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
    for (int distance = 1; distance <= UMBRA_STORE_DISTANCES; distance++) {
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
    const umbra_flight *f = &s->flights[request->user];
    bool guess = true;
    for (int k = 0; k < f->n; k++)
        guess = guess && s->reads[f->read[k] / UMBRA_STORE_SLICES].item < 0;
    if (!guess || !s->batch.active)
        return;
    if (!s->batch.failed)
        assert_int_equal(s->batch.misses_begun, s->batch.misses_n);
    for (int i = 0; i < s->queue_n; i++) {
        uint64_t read = s->queue[(s->queue_first + i) % s->queue_size];
        assert_true(s->reads[read / UMBRA_STORE_SLICES].item < 0);
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
    bool guess = s->reads[s->flights[request->user].read[0] / UMBRA_STORE_SLICES].item < 0;
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
    assert_int_equal(s->in_flight, UMBRA_STORE_SLICES);
    /* The failed part comes back into the queue, and a batch begins before it is submitted. */
    assert_int_equal(umbra_store_reap_reads(s, false, NULL), UMBRA_OK);
    assert_int_equal(s->queue_n, 1);
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
    assert_true(umbra_store_foretell(s, 0, 2, umbra_store_clock(s) + 2, resident));
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
    assert_true(foretell(s, 1, 1, 1, 7, 0.8f));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    assert_int_equal(test_fault.submitted, UMBRA_STORE_SLICES);
    assert_true(foretell(s, 4, 2, 2, 7, 1.0f));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    assert_int_equal(test_fault.submitted, UMBRA_STORE_SLICES);
    assert_true(umbra_slots_find(&s->slots, 1, 7) >= 0);
    /* And a demand that finds only that slot waits for it. */
    batch(s, 4, 2);
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
    assert_false(foretell(s, 1, UMBRA_STORE_DISTANCES + 1, 1, 7, 1));
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
    assert_true(s->in_flight > 0);
    assert_int_equal(umbra_store_clear(s, NULL), UMBRA_OK);
    assert_int_equal(s->in_flight, 0);
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

/* Forecasts that are no forecasts cannot take a slot away from a demand. */
static void test_hostile_forecasts(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY, -1, 1e30f, 2};
    static const uint64_t steps[] = {1, 2, 3, UINT64_C(1) << 31, UINT64_C(1) << 40,
                                     UINT64_MAX / 2};
    for (int v = 0; v < 6; v++) {
        for (int d = 0; d < 6; d++) {
            umbra_store *s = open_ahead(2, 8);
            batch(s, 4, 8);
            warm_up(s, 1);
            float probability[EXPERTS];
            for (int e = 0; e < EXPERTS; e++)
                probability[e] = values[v];
            for (int l = 0; l < LAYERS; l++) /* one without experts, one with a missing one */
                (void)umbra_store_foretell(s, l, 1, umbra_store_clock(s) + steps[d], probability);
            pass(s, MS);
            batch(s, 0, 4);
            batch(s, 0, 5);
            batch(s, 0, 6);
            batch(s, 4, 6);
            umbra_store_close(&s);
        }
    }
}

/* ---- failures ---- */

static void test_failing_guess(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(6, 8);
    warm_up(s, 1);
    const umbra_slice *bad = &slices_of(&on_disk, 1, 7)[2];
    test_fault.fail_errno = EIO;
    test_fault.fail_file = bad->file;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + bad->bytes;
    test_fault.fail_times = 1000;
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    pass(s, MS);
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(stats.ahead[2].reads, 1);
    assert_int_equal(stats.resident_bytes, stats.slot_bytes); /* it is forgotten */
    umbra_lease lease;
    umbra_error err = {0};
    int expert = 7;
    begin(s, 1, &expert, 1);
    assert_int_equal(stats_of(s).misses, 1);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), UMBRA_E_IO);
    assert_non_null(strstr(err.message, "part 2 of expert 7 of layer 1"));
    assert_int_equal(err.offset, bad->offset);
    /* Demanded while it is read: reported by that batch, too. */
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    begin(s, 1, &expert, 1);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), UMBRA_E_IO);
    test_fault.fail_times = 0;
    batch(s, 1, 7);
    batch(s, 0, 1);
    umbra_store_close(&s);
}

/* One part of a guess fails, and while the others are still read its expert is demanded. */
static void test_guess_fails_before_its_demand(void **state)
{
    (void)state;
    umbra_store *s = open_ahead(2, 8);
    warm_up(s, 1);
    const umbra_slice *bad = &slices_of(&on_disk, 1, 7)[0];
    test_fault.fail_errno = -1; /* not tried again */
    test_fault.fail_file = bad->file;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + bad->bytes;
    test_fault.fail_times = 1;
    assert_true(foretell(s, 1, 2, 1, 7, 1));
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK); /* submits */
    assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK); /* takes the failure */
    assert_int_equal(s->in_flight, 2);
    batch(s, 1, 7);
    assert_int_equal(stats_of(s).late, 1);
    umbra_store_close(&s);
}

/* ---- forecasts from another thread ---- */

typedef struct seer {
    umbra_store *s;
    atomic_bool stop;
} seer;

static void *foresee(void *argument)
{
    seer *w = argument;
    uint64_t seed = 99;
    while (!atomic_load(&w->stop)) {
        float probability[EXPERTS];
        for (int e = 0; e < EXPERTS; e++)
            probability[e] = (float)test_below(&seed, 100) * 0.01f;
        (void)umbra_store_foretell(w->s, (int)test_below(&seed, LAYERS),
                                   1 + (int)test_below(&seed, 4),
                                   umbra_store_clock(w->s) + test_below(&seed, 5), probability);
        umbra_store_stats stats;
        umbra_store_get_stats(w->s, &stats);
    }
    return NULL;
}

static void test_forecasts_from_another_thread(void **state)
{
    (void)state;
    static const char *const backends[] = {"threads", "uring", "sim:2G,20us"};
    for (int b = 0; b < 3; b++) {
        if (b == 1 && !test_uring_works())
            continue;
        umbra_store *s = open_store(&on_disk, NULL, backends[b], 9, 16, false);
        umbra_store_set_guessing(s, true);
        seer w = {.s = s};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, foresee, &w), 0);
        uint64_t seed = 17;
        for (int i = 0; i < 300; i++) {
            int experts[EXPERTS], layer = random_batch(&seed, experts, 5);
            umbra_error err = {0};
            begin(s, layer, experts, 5);
            umbra_lease leases[EXPERTS];
            int n;
            while ((n = umbra_store_next(s, leases, EXPERTS, &err)) > 0)
                for (int k = 0; k < n; k++) {
                    check_lease(&on_disk, layer, &leases[k], false);
                    umbra_store_release(s, &leases[k]);
                }
            if (n < 0)
                fail_msg("%s", err.message);
            for (int k = 0; k < 5; k++)
                assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
            if (i % 50 == 49)
                assert_int_equal(umbra_store_clear(s, NULL), UMBRA_OK);
            if (i % 37 == 36)
                umbra_store_set_guessing(s, i % 2);
        }
        atomic_store(&w.stop, true);
        pthread_join(thread, NULL);
        (void)stats_of(s);
        umbra_store_close(&s);
    }
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
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_experts_that_do_not_exist),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_hostile_forecasts),
        cmocka_unit_test(test_failing_guess),
        cmocka_unit_test(test_guess_fails_before_its_demand),
        cmocka_unit_test(test_forecasts_from_another_thread),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
