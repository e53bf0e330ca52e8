/* Reading back what a cache held: what comes, in which order, and that it stands in nobody's way.
 */
#include "fixture.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

enum { MOST = LAYERS * EXPERTS, SLOTS = 20 };

static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static int plan(umbra_store *s, const umbra_cached_expert *list, int n, uint64_t *bytes)
{
    umbra_error err = {0};
    int rc = umbra_store_plan_refill(s, list, n, bytes, &err);
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
    return (int)stats_of(s).refill_left;
}

static void refill_all(umbra_store *s)
{
    umbra_error err = {0};
    int rc;
    while ((rc = umbra_store_refill(s, &err)) > 0)
        ;
    if (rc != 0)
        fail_msg("%s", err.message);
    assert_int_equal(stats_of(s).refill_left, 0);
    assert_int_equal(s->driver.in_flight, 0);
}

static bool is_there(const umbra_store *s, const umbra_cached_expert *e)
{
    return umbra_slots_find(&s->guarded.slots, e->layer, e->expert) >= 0;
}

/* Uses of different weight: layer 0 most, then 1; layer 4 by a prompt alone. Returns the list. */
static int use_some(umbra_store *s, umbra_cached_expert *list)
{
    for (int i = 0; i < 6; i++)
        good_batch(s, 0, all, 8);
    good_batch(s, 1, all, 8);
    const umbra_batch prompt = {.kind = UMBRA_BATCH_PROMPT, .layer = 4, .experts = all, .n = 4};
    good_batch_of(s, &prompt);
    int n = umbra_store_list_cached(s, list, MOST);
    assert_int_equal(n, 20);
    assert_int_equal(umbra_store_count_cached(s), n);
    return n;
}

static int make_list(umbra_cached_expert *list)
{
    umbra_store *s = open_faulty(SLOTS, 8);
    int n = use_some(s, list);
    umbra_store_close(&s);
    return n;
}

static void the_most_used_are_listed_first(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    int n = make_list(list);
    for (int i = 0; i < n; i++)
        assert_int_equal(list[i].layer, i < 8 ? 0 : i < 16 ? 1 : 4);
    assert_true(list[0].uses > 5 && list[8].uses < 1.01 && list[8].uses > 0.9);
    assert_true(list[19].uses == 0);
    umbra_store *s = open_faulty(SLOTS, 8);
    use_some(s, list);
    assert_int_equal(umbra_store_list_cached(s, list, 3), 3);
    umbra_store_close(&s);
}

static void what_was_there_comes_back(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST], again[MOST];
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 8);
    assert_int_equal(plan(s, list, n, &bytes), n);
    assert_int_equal(umbra_store_count_cached(s), n);
    refill_all(s);
    umbra_store_stats before = stats_of(s);
    assert_int_equal(before.refill_reads, n);
    assert_int_equal(before.refill_bytes, bytes);
    assert_int_equal(before.bytes_read, bytes);
    assert_int_equal(before.hits + before.misses + before.evictions, 0);
    assert_int_equal(umbra_store_list_cached(s, again, MOST), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(again[i].layer, list[i].layer);
        assert_int_equal(again[i].expert, list[i].expert);
        assert_true(fabsf(again[i].uses - list[i].uses) < 1e-3F);
    }
    good_batch(s, 0, all, 8); /* checks every byte */
    good_batch(s, 1, all, 8);
    good_batch(s, 4, all, 4);
    good_batch(s, 0, all, 8);
    assert_int_equal(stats_of(s).misses, 0);
    assert_int_equal(stats_of(s).bytes_read, bytes);
    assert_int_equal(stats_of(s).refill_used, 20);
    umbra_store_reset_stats(s);
    assert_int_equal(stats_of(s).refill_reads, 0);
    umbra_store_close(&s);
}

static void a_smaller_cache_takes_the_most_used(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(5, 8);
    assert_int_equal(plan(s, list, n, &bytes), 5);
    refill_all(s);
    for (int i = 0; i < n; i++)
        assert_int_equal(is_there(s, &list[i]), i < 5);
    umbra_store_close(&s);
}

/* What is there stays, and what came meanwhile is not read twice. */
static void nothing_goes_for_it(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 8);
    good_batch(s, 0, all, 2);
    assert_int_equal(plan(s, list, n, &bytes), 18);
    s->driver.refill.paused = true;
    good_batch(s, 0, all, 4);
    good_batch(s, SPARSE_LAYER, all + 1, 11);
    s->driver.refill.paused = false;
    refill_all(s);
    assert_int_equal(stats_of(s).evictions, 0);
    assert_int_equal(stats_of(s).refill_reads, SLOTS - 4 - 11);
    for (int e = 1; e < EXPERTS; e++)
        assert_true(umbra_slots_find(&s->guarded.slots, SPARSE_LAYER, e) >= 0);
    umbra_store_close(&s);
}

static bool lies_before(const umbra_store_event *x, const umbra_store_event *y)
{
    const umbra_slice *a = slices_of(&on_disk, x->layer, x->expert);
    const umbra_slice *b = slices_of(&on_disk, y->layer, y->expert);
    return a->file < b->file || (a->file == b->file && a->offset < b->offset);
}

/* Layer after layer, of each the half that was used more first, in the order of the file. */
static void it_reads_in_the_order_in_which_texts_ask(void **state)
{
    (void)state;
    umbra_cached_expert list[SLOTS];
    umbra_store_event events[MOST];
    uint64_t bytes;
    for (int i = 0; i < SLOTS; i++) /* 10 of layer 1, 10 of layer 0: the odd ones were used more */
        list[i] = (umbra_cached_expert){i < 10, i % 10, i % 2 ? 7 : 1};
    umbra_store *s = open_faulty(SLOTS, 1);
    umbra_store_record(s, events, MOST);
    assert_int_equal(plan(s, list, SLOTS, &bytes), SLOTS);
    refill_all(s);
    assert_int_equal(umbra_store_recorded(s), SLOTS);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(events[i].layer, i / 10);
        assert_int_equal(events[i].expert % 2, i % 10 < 5);
        if (i % 5 > 0)
            assert_true(lies_before(&events[i - 1], &events[i]));
    }
    umbra_store_close(&s);
}

/* A batch's demands begin first; behind the last of them, and beside the computing, it goes on
 * with the layers that follow. What was on its way is waited for, not read again. */
static void batches_go_first(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    umbra_lease lease[EXPERTS];
    umbra_error err = {0};
    uint64_t bytes;
    int n = make_list(list), held = 0, got;
    umbra_store *s = open_faulty(SLOTS, 2);
    assert_int_equal(plan(s, list, n, &bytes), n);
    assert_int_equal(begin_batch(s, 0, all, 8, &err), UMBRA_OK);
    while (s->driver.batch.misses_begun < 8) {
        assert_int_equal(stats_of(s).refill_reads, 0);
        assert_true((got = umbra_store_next(s, lease + held, EXPERTS, &err)) > 0);
        held += got;
    }
    while ((got = umbra_store_next(s, lease + held, EXPERTS, &err)) > 0)
        held += got;
    assert_int_equal(held, 8);
    for (int i = 0; i < held; i++)
        umbra_store_release(s, &lease[i]);
    for (int i = 0; i < 100; i++)
        assert_int_equal(umbra_store_poll(s, &err), UMBRA_OK);
    assert_true(stats_of(s).refill_reads > 0);
    for (int i = 0; i < s->guarded.slots.n; i++)
        assert_true(s->guarded.slots.slot[i].state == UMBRA_SLOT_EMPTY ||
                    !s->guarded.slots.slot[i].refilled || s->guarded.slots.slot[i].layer > 0);
    good_batch(s, 1, all, 8);
    refill_all(s);
    assert_int_equal(stats_of(s).hits + stats_of(s).late + stats_of(s).misses, 16);
    assert_int_equal(stats_of(s).bytes_read, bytes);
    umbra_store_close(&s);
}

/* Nothing of it begins beside measuring, and all of it comes later. */
static void a_probe_waits_for_it(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    umbra_error err = {0};
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 4);
    plan(s, list, n, &bytes);
    assert_int_equal(umbra_store_poll(s, &err), UMBRA_OK);
    uint64_t begun = stats_of(s).refill_reads;
    assert_true(begun > 0 && begun < (uint64_t)n);
    assert_int_equal(umbra_store_probe(s, &err), UMBRA_OK);
    assert_int_equal(s->driver.in_flight, 0);
    assert_int_equal(stats_of(s).refill_reads, begun);
    refill_all(s);
    umbra_store_close(&s);
}

/* Beside a text that is written less is under way at once than where nobody waits. */
static void less_is_under_way_beside_a_text(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    umbra_error err = {0};
    uint64_t bytes, alone;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 64);
    plan(s, list, n, &bytes);
    assert_int_equal(umbra_store_poll(s, &err), UMBRA_OK);
    alone = stats_of(s).refill_reads;
    umbra_store_close(&s);
    s = open_faulty(SLOTS, 64);
    good_batch(s, 0, all, 1);
    plan(s, list, n, &bytes);
    assert_int_equal(umbra_store_poll(s, &err), UMBRA_OK);
    assert_in_range(stats_of(s).refill_reads, 1, alone - 1);
    refill_all(s);
    umbra_store_close(&s);
}

static void not_inside_a_batch(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    umbra_lease lease;
    umbra_error err = {0};
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 4);
    assert_int_equal(umbra_store_refill(s, &err), 0);
    plan(s, list, n, &bytes);
    assert_int_equal(begin_batch(s, 0, all, 1, &err), UMBRA_OK);
    assert_int_equal(umbra_store_refill(s, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "in use by a batch"));
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), 1);
    umbra_store_release(s, &lease);
    assert_int_equal(umbra_store_next(s, &lease, 1, &err), 0);
    assert_int_equal(umbra_store_refill(s, &err), 0);
    umbra_store_close(&s);
}

static void what_cannot_be_read_is_passed_over(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 8);
    const umbra_slice *bad = slices_of(&on_disk, list[0].layer, list[0].expert);
    test_fault.fail_errno = 5;
    test_fault.fail_file = bad->file;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + 1;
    test_fault.fail_times = 1000;
    plan(s, list, n, &bytes);
    refill_all(s);
    assert_false(is_there(s, &list[0]));
    assert_true(stats_of(s).resident_bytes < SLOTS * stats_of(s).slot_bytes);
    test_fault.fail_times = 0;
    good_batch(s, 0, all, 8);
    umbra_store_close(&s);
}

static void a_backend_that_fails_ends_it(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    umbra_error err = {0};
    uint64_t bytes;
    int n = make_list(list), rc;
    umbra_store *s = open_faulty(SLOTS, 8);
    plan(s, list, n, &bytes);
    test_fault.backend_fails = 1;
    while ((rc = umbra_store_refill(s, &err)) > 0)
        ;
    assert_true(rc < 0);
    assert_true(strlen(err.message) > 10);
    assert_int_equal(stats_of(s).refill_left, 0);
    assert_int_equal(umbra_store_refill(s, &err), 0);
    umbra_store_close(&s);
}

static void nonsense_is_passed_over(void **state)
{
    (void)state;
    const umbra_cached_expert list[] = {{-1, 0, 1},
                                        {LAYERS, 0, 1},
                                        {0, -1, 1},
                                        {0, EXPERTS, 1},
                                        {EMPTY_LAYER, 0, 1},
                                        {SPARSE_LAYER, 0, 1},
                                        {0, 3, NAN},
                                        {0, 3, 7},
                                        {0, 4, INFINITY},
                                        {0, 5, -1},
                                        {INT32_MAX, INT32_MAX, 1}};
    uint64_t bytes;
    umbra_store *s = open_faulty(SLOTS, 8);
    assert_int_equal(plan(s, list, sizeof list / sizeof list[0], &bytes), 3);
    refill_all(s);
    good_batch(s, 0, all, 8);
    umbra_store_close(&s);
}

static void without_memory_nothing_is_planned(void **state)
{
    (void)state;
    umbra_cached_expert list[MOST];
    umbra_error err = {0};
    uint64_t bytes;
    int n = make_list(list);
    umbra_store *s = open_faulty(SLOTS, 8);
    for (int i = 1; i <= 4; i++) {
        umbra_memory_fail_after(i);
        assert_int_equal(umbra_store_plan_refill(s, list, n, &bytes, &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        assert_int_equal(umbra_store_refill(s, &err), 0);
    }
    assert_int_equal(plan(s, list, n, &bytes), n);
    umbra_store_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_used_are_listed_first),
        cmocka_unit_test(what_was_there_comes_back),
        cmocka_unit_test(a_smaller_cache_takes_the_most_used),
        cmocka_unit_test(nothing_goes_for_it),
        cmocka_unit_test(it_reads_in_the_order_in_which_texts_ask),
        cmocka_unit_test(batches_go_first),
        cmocka_unit_test(a_probe_waits_for_it),
        cmocka_unit_test(less_is_under_way_beside_a_text),
        cmocka_unit_test(not_inside_a_batch),
        cmocka_unit_test(what_cannot_be_read_is_passed_over),
        cmocka_unit_test(a_backend_that_fails_ends_it),
        cmocka_unit_test(nonsense_is_passed_over),
        cmocka_unit_test(without_memory_nothing_is_planned),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
