/* A budget that changes while the store is open: who goes, who stays, what comes back, and that the
 * memory is the system's again. */
#include "fixture.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/lend.h"

enum { SLOTS = 20 };

static int set_slots(umbra_store *s, int slots, umbra_error *err)
{
    return umbra_store_set_budget(s, (uint64_t)slots * stats_of(s).slot_bytes, err);
}

static void must_set(umbra_store *s, int slots)
{
    umbra_error err = {0};
    if (set_slots(s, slots, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    umbra_store_stats stats = stats_of(s);
    assert_int_equal(stats.slots, slots);
    assert_int_equal(stats.budget_bytes, (uint64_t)slots * stats.slot_bytes);
    assert_true(stats.resident_bytes <= stats.budget_bytes);
    assert_int_equal(stats.resident_bytes_max, stats.resident_bytes);
}

/* Pages of the arena that are in memory. */
static int pages_in(const umbra_store *s)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = s->fixed.arena_bytes / page;
    unsigned char there[4096];
    int in = 0;
    assert_true(n > 0 && n < sizeof there);
    assert_int_equal(mincore(s->fixed.arena, n * page, there), 0);
    for (size_t i = 0; i < n; i++)
        in += there[i] & 1;
    return in;
}

static void fill(umbra_store *s)
{
    static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    good_batch(s, 0, all, EXPERTS);
    good_batch(s, 1, all, EXPERTS);
}

static void the_least_used_go(void **state)
{
    (void)state;
    static const int often[] = {3, 5, 8};
    umbra_store *s = open_faulty(SLOTS, 8);
    fill(s);
    for (int i = 0; i < 20; i++)
        good_batch(s, 1, often, 3);
    uint64_t evictions = stats_of(s).evictions;
    must_set(s, 3);
    assert_int_equal(stats_of(s).evictions - evictions, SLOTS - 3);
    for (int i = 0; i < 3; i++)
        assert_true(umbra_slots_find(&s->guarded.slots, 1, often[i]) >= 0);
    umbra_store_reset_stats(s);
    assert_int_equal(stats_of(s).slots, 3);
    good_batch(s, 1, often, 3);
    assert_int_equal(stats_of(s).hits, 3);
    must_set(s, SLOTS);
    fill(s);
    assert_int_equal(stats_of(s).resident_bytes, SLOTS * stats_of(s).slot_bytes);
    umbra_store_close(&s);
}

static void leases_stay(void **state)
{
    (void)state;
    static const int kept[] = {2, 4, 6, 9}, other[] = {1};
    umbra_store *s = open_faulty(SLOTS, 8);
    umbra_lease leases[4], one;
    umbra_error err = {0};
    fill(s);
    const umbra_batch batch = {.kind = UMBRA_BATCH_PROBE, .layer = 3, .experts = kept, .n = 4};
    assert_int_equal(umbra_store_begin(s, &batch, &err), UMBRA_OK);
    assert_int_equal(set_slots(s, SLOTS, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "in use by a batch"));
    for (int n = 0, rc; n < 4; n += rc)
        assert_true((rc = umbra_store_next(s, leases + n, 4 - n, &err)) > 0);
    assert_int_equal(umbra_store_next(s, &one, 1, &err), 0);
    for (int slots = 0; slots <= 4; slots++) {
        assert_int_equal(set_slots(s, slots, &err), UMBRA_E_BUDGET);
        assert_non_null(strstr(err.message, "1 more of each size need"));
    }
    assert_int_equal(stats_of(s).slots, SLOTS);
    must_set(s, 5);
    good_batch(s, 1, other, 1);
    for (int i = 0; i < 4; i++) {
        check_lease(&on_disk, 3, &leases[i], false);
        umbra_store_release(s, &leases[i]);
    }
    must_set(s, 1);
    fill(s);
    assert_int_equal(set_slots(s, SLOTS + 1, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "opened with"));
    umbra_store_close(&s);
}

typedef struct borrower {
    umbra_store *store;
    umbra_lease leases[3];
    int n, more; /* lent, and after the budget has begun to change */
} borrower;

static void *give_back_later(void *of)
{
    static const int one[] = {7};
    borrower *b = of;
    umbra_lease lease;
    (void)usleep(20000);
    b->more = umbra_store_lend(b->store, 0, one, 1, &lease);
    if (b->more > 0)
        umbra_store_take_back(b->store, &lease);
    for (int i = 0; i < b->n; i++) {
        check_lease(&on_disk, 1, &b->leases[i], false);
        umbra_store_take_back(b->store, &b->leases[i]);
    }
    return NULL;
}

/* A smaller budget waits for what is lent, which could not go, and lends nothing meanwhile. */
static void what_is_lent_comes_back_first(void **state)
{
    (void)state;
    static const int lent[] = {2, 4, 6};
    umbra_store *s = open_faulty(SLOTS, 8);
    borrower b = {.store = s};
    umbra_lease lease;
    pthread_t thread;
    fill(s);
    b.n = umbra_store_lend(s, 1, lent, 3, b.leases);
    assert_int_equal(b.n, 3);
    assert_int_equal(pthread_create(&thread, NULL, give_back_later, &b), 0);
    must_set(s, 1);
    pthread_join(thread, NULL);
    assert_int_equal(b.more, 0);
    must_set(s, SLOTS);
    fill(s);
    assert_int_equal(umbra_store_lend(s, 1, lent, 1, &lease), 1);
    umbra_store_take_back(s, &lease);
    umbra_store_close(&s);
}

/* A ring that has registered the arena would go on writing to the pages that it had. */
static void memory_goes_back(void **state)
{
    (void)state;
    static const char *const io[] = {"threads", "uring"};
    uint64_t seed = 4711, page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 2; i++) {
        if (i == 1 && !test_uring_works())
            continue;
        umbra_store *s = open_store(&on_disk, NULL, io[i], SLOTS, 8, false);
        fill(s);
        int full = pages_in(s);
        for (int round = 0; round < 30; round++) {
            int slots = 1 + (int)test_below(&seed, SLOTS), experts[EXPERTS];
            must_set(s, slots);
            int n = 1 + (int)test_below(&seed, EXPERTS - 1);
            int layer = random_batch(&seed, experts, n);
            good_batch(s, layer, experts, n);
        }
        must_set(s, SLOTS);
        fill(s);
        must_set(s, 1);
        int in = pages_in(s), most = (int)(stats_of(s).slot_bytes / page) + 2;
        if (in > most || full <= most)
            fail_msg("%s: %d of %d pages are still there", io[i], in, full);
        umbra_store_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_used_go),
        cmocka_unit_test(leases_stay),
        cmocka_unit_test(what_is_lent_comes_back_first),
        cmocka_unit_test(memory_goes_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
