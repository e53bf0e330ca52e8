/* Long random courses of batches, forecasts, polls, leases, budgets and clears, with the store's
 * insides held against what must be true after every step. */
#include "ahead.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* What the test itself knows. */
typedef struct world {
    umbra_store *s;
    uint64_t seed;
    bool buffered;
    uint64_t asked, bytes_taken, most_guessed;
    umbra_lease held[EXPERTS];
    int n_held, layer;
    bool failing; /* reads may fail */
} world;

static void watch(void *user, const umbra_io_request *request)
{
    ((world *)user)->bytes_taken += request->bytes;
}

static int used_slots(const umbra_slots *slots)
{
    int used = 0;
    for (int k = 0; k < slots->n_sizes; k++)
        used += slots->size[k].used;
    return used;
}

/* Of the size that has the fewest. */
static int least_limit(const umbra_slots *slots)
{
    int least = slots->n;
    for (int k = 0; k < slots->n_sizes; k++)
        least = slots->size[k].limit < least ? slots->size[k].limit : least;
    return least;
}

static void check_lists(const umbra_slots *slots)
{
    int used = 0, present = 0, empty = 0;
    for (int i = 0; i < slots->n; i++) {
        const umbra_slot *slot = &slots->slot[i];
        used += slot->state != UMBRA_SLOT_EMPTY;
        bool can_go = slot->state == UMBRA_SLOT_RESIDENT && slot->pins == 0;
        assert_int_equal(slots->evictable[i] < INFINITY, can_go);
        if (slot->state != UMBRA_SLOT_EMPTY)
            assert_int_equal(umbra_slots_find(slots, slot->layer, slot->expert), i);
        if (slot->guess > 0)
            assert_true(slot->state != UMBRA_SLOT_EMPTY && slot->pins == 0);
    }
    for (int l = 0; l < LAYERS; l++)
        for (int e = 0; e < EXPERTS; e++)
            present += umbra_slots_find(slots, l, e) >= 0;
    for (int k = 0; k < slots->n_sizes; k++)
        assert_true(slots->size[k].used <= slots->size[k].limit);
    for (int k = 0; k < slots->n_sizes; k++)
        for (int32_t i = slots->size[k].first_empty; i >= 0; i = slots->slot[i].next_empty)
            assert_true(++empty <= slots->n);
    assert_int_equal(used, used_slots(slots));
    assert_int_equal(present, used);
    assert_int_equal(used + empty, slots->n);
}

/* Every read is in a slot's count, in the queue, or in a flight, once. */
static void check_reads(const umbra_store *s)
{
    int idle = 0, parts[USED] = {0};
    uint64_t bytes = 0;
    bool is_idle[64] = {false};
    for (int i = s->driver.first_free; i >= 0; i = s->driver.flights[i].next_free) {
        assert_true(++idle <= s->fixed.depth);
        is_idle[i] = true;
    }
    assert_int_equal(idle + s->driver.in_flight, s->fixed.depth);
    for (int i = 0; i < s->fixed.depth; i++) {
        for (int k = 0; !is_idle[i] && k < s->driver.flights[i].n; k++)
            parts[s->driver.flights[i].read[k] / UMBRA_STORE_SLICES]++;
        bytes += is_idle[i] ? 0 : s->driver.flights[i].bytes;
    }
    assert_int_equal(bytes, s->driver.bytes_in_flight);
    assert_true(s->driver.queue_n <= s->driver.queue_size);
    for (int i = 0; i < s->driver.queue_n; i++)
        parts[s->driver.queue[(s->driver.queue_first + i) % s->driver.queue_size] /
              UMBRA_STORE_SLICES]++;
    for (int i = 0; i < s->guarded.slots.n; i++) {
        bool reading = s->guarded.slots.slot[i].state == UMBRA_SLOT_READING;
        assert_int_equal(parts[i], reading ? s->driver.reads[i].left : 0);
        assert_true(!reading || s->driver.reads[i].left > 0);
    }
}

static void check_pins(const world *w)
{
    const umbra_store *s = w->s;
    int pins[USED] = {0};
    for (int i = 0; i < w->n_held; i++)
        pins[w->held[i].slot]++;
    for (int i = 0; s->driver.batch.active && i < s->driver.batch.n; i++)
        if (s->driver.batch.items[i].state == UMBRA_ITEM_READING ||
            s->driver.batch.items[i].state == UMBRA_ITEM_READY)
            pins[s->driver.batch.items[i].slot]++;
    for (int i = 0; i < s->guarded.slots.n; i++)
        assert_int_equal(s->guarded.slots.slot[i].pins, pins[i]);
}

static void check_counts(world *w)
{
    umbra_store_stats stats = stats_of(w->s);
    uint64_t unused[UMBRA_MAX_DISTANCE + 1] = {0}, guessed = 0;
    for (int i = 0; i < w->s->guarded.slots.n; i++) {
        const umbra_slot *slot = &w->s->guarded.slots.slot[i];
        if (slot->guess > 0)
            unused[slot->guess] += umbra_store_read_bytes(w->s, slot->layer, slot->expert);
    }
    for (int d = 1; d <= UMBRA_MAX_DISTANCE; d++) {
        const umbra_ahead_stats *a = &stats.ahead[d];
        uint64_t known = a->useful_bytes + a->late_bytes + a->wasted_bytes + unused[d];
        if (w->failing)
            assert_true(known <= a->bytes);
        else
            assert_int_equal(known, a->bytes);
        guessed += a->bytes;
    }
    w->most_guessed = guessed;
    assert_int_equal(stats.bytes_read, w->bytes_taken);
    assert_int_equal(stats.hits + stats.late + stats.misses, w->asked);
    assert_int_equal(stats.resident_bytes, umbra_store_resident_bytes(w->s));
    if (!w->failing && w->buffered && w->s->driver.queue_n == 0 && !w->s->driver.batch.active)
        assert_int_equal(stats.bytes_read, stats.bytes_needed + guessed);
}

static void check_all(world *w)
{
    check_lists(&w->s->guarded.slots);
    check_reads(w->s);
    check_pins(w);
    check_counts(w);
}

static void pass_time(world *w)
{
    for (int i = (int)test_below(&w->seed, 6); i > 0; i--) {
        now_ns += test_below(&w->seed, 200) * US;
        assert_int_equal(umbra_store_poll(w->s, NULL), UMBRA_OK);
        check_all(w);
    }
}

static void foretell_any(world *w)
{
    float probability[EXPERTS];
    for (int e = 0; e < EXPERTS; e++)
        probability[e] = test_below(&w->seed, 3) ? 0 : (float)test_below(&w->seed, 101) * 0.01f;
    uint64_t clock = umbra_store_clock(w->s), due = clock + test_below(&w->seed, 6);
    int layer = (int)test_below(&w->seed, LAYERS), distance = 1 + (int)test_below(&w->seed, 4);
    const umbra_sequence_forecast *row = &w->s->guarded.forecast.row[layer];
    bool expected = due > clock && !(row->due == due && row->distance < distance);
    assert_true(umbra_store_foretell(w->s, 0, layer, distance, due, probability) == expected);
}

static void release_some(world *w, int keep)
{
    while (w->n_held > keep) {
        umbra_lease *lease = &w->held[--w->n_held];
        check_lease(&on_disk, w->layer, lease, false);
        umbra_store_release(w->s, lease);
        check_all(w);
    }
}

static void run_one_batch(world *w)
{
    int experts[EXPERTS], n = (int)test_below(&w->seed, EXPERTS), rc;
    int layer = random_batch(&w->seed, experts, n);
    umbra_error err = {0};
    uint64_t late = 0, hits = 0;
    for (int i = 0; i < n; i++) {
        int32_t slot = umbra_slots_find(&w->s->guarded.slots, layer, experts[i]);
        late += slot >= 0 && w->s->guarded.slots.slot[slot].state == UMBRA_SLOT_READING;
        hits += slot >= 0 && w->s->guarded.slots.slot[slot].state == UMBRA_SLOT_RESIDENT;
    }
    umbra_store_stats before = stats_of(w->s);
    assert_int_equal(begin_batch(w->s, layer, experts, n, &err), UMBRA_OK);
    umbra_store_stats after = stats_of(w->s);
    assert_int_equal(after.hits - before.hits, hits);
    assert_int_equal(after.late - before.late, late);
    w->asked += (uint64_t)n;
    w->layer = layer;
    check_all(w);
    int limit = least_limit(&w->s->guarded.slots), most = limit - 1 < 3 ? limit - 1 : 3;
    while ((rc = umbra_store_next(w->s, w->held + w->n_held, EXPERTS - w->n_held, &err)) > 0) {
        w->n_held += rc;
        check_all(w);
        release_some(w, (int)test_below(&w->seed, (uint32_t)most + 1));
        if (test_below(&w->seed, 3) == 0)
            foretell_any(w);
        pass_time(w);
    }
    if (rc < 0) {
        if (!w->failing || rc != UMBRA_E_IO)
            fail_msg("%d slots, depth %d: %s", w->s->guarded.slots.n, w->s->fixed.depth,
                     err.message);
        w->n_held = 0; /* the failure took them back */
    }
    check_all(w);
    release_some(w, 0);
}

static void set_faults(world *w)
{
    const umbra_slice *bad = &slices_of(&on_disk, 1, (int)test_below(&w->seed, EXPERTS))[1];
    test_fault.fail_errno = test_below(&w->seed, 2) ? EIO : -1;
    test_fault.fail_file = bad->file;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + bad->bytes;
    test_fault.fail_times = (int)test_below(&w->seed, 5);
}

/* Any number of the largest slots, up to the budget of the opening. */
static void change_budget(world *w)
{
    uint64_t slot_bytes = stats_of(w->s).slot_bytes;
    const umbra_slots *table = &w->s->guarded.slots;
    uint64_t most = w->s->fixed.budget_bytes / slot_bytes;
    uint64_t slots = 1 + test_below(&w->seed, (uint32_t)most);
    umbra_error err = {0};
    test_fault.fail_times = 0;
    int rc = umbra_store_set_budget(w->s, slots * slot_bytes + 5 % slot_bytes, &err);
    bool too_much = slots == most && rc == UMBRA_E_ARGUMENT;
    bool too_little = slots < (uint64_t)table->n_sizes && rc == UMBRA_E_BUDGET;
    if (rc != UMBRA_OK && !too_much && !too_little)
        fail_msg("%s", err.message);
    umbra_store_stats stats = stats_of(w->s);
    assert_true(stats.slots_bytes <= stats.budget_bytes);
    check_all(w);
}

static void course(int slots, int depth, bool failing, uint64_t seed)
{
    test_faulty_reset(&umbra_io_sim);
    now_ns = 1;
    world w = {.seed = seed, .failing = failing, .buffered = true};
    umbra_store_options o = on_disk.options;
    o.io = seed % 3 ? "sim:100M,100us" : "sim:2G,30us";
    o.io_depth = depth;
    o.buffered = true;
    o.budget_bytes = slot_bytes_of(&on_disk, true) * (uint64_t)slots;
    umbra_error err = {0};
    if (umbra_store_open_with(&w.s, &o, &test_faulty_sim, &test_clock, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
    test_fault.watch = watch;
    test_fault.watch_user = &w;
    test_fault.newest_first = seed % 2;
    test_fault.take_at_most = (int)(seed % 5) - 1;
    umbra_store_set_guessing(w.s, true);
    for (int i = 0; i < 200; i++) {
        for (int k = (int)test_below(&w.seed, 4); k > 0; k--)
            foretell_any(&w);
        pass_time(&w);
        if (failing && test_below(&w.seed, 4) == 0)
            set_faults(&w);
        run_one_batch(&w);
        if (test_below(&w.seed, 30) == 0)
            change_budget(&w);
        if (test_below(&w.seed, 60) == 0) {
            test_fault.fail_times = 0;
            assert_int_equal(umbra_store_clear(w.s, NULL), UMBRA_OK);
            check_all(&w);
            assert_int_equal(used_slots(&w.s->guarded.slots), 0);
        }
        if (test_below(&w.seed, 40) == 0) {
            umbra_store_set_guessing(w.s, false);
            while (w.s->driver.in_flight > 0) {
                now_ns += 1000 * US;
                assert_int_equal(umbra_store_poll(w.s, NULL), UMBRA_OK);
            }
            int submitted = test_fault.submitted;
            now_ns += 5000 * US;
            assert_int_equal(umbra_store_poll(w.s, NULL), UMBRA_OK);
            assert_int_equal(test_fault.submitted, submitted);
            umbra_store_set_guessing(w.s, true);
        }
    }
    /* A guess begins only where all its reads fit in. */
    assert_true(slots == 1 || depth < UMBRA_STORE_SLICES || w.most_guessed > 0);
    umbra_store_close(&w.s);
}

static void test_courses(void **state)
{
    (void)state;
    static const int slots[] = {1, 2, 3, 6, 12, 25, USED}, depths[] = {1, 3, 8, 32};
    for (int i = 0; i < 7; i++)
        for (int d = 0; d < 4; d++)
            course(slots[i], depths[d], false, (uint64_t)(1 + i * 4 + d));
}

static void test_courses_with_failures(void **state)
{
    (void)state;
    static const int slots[] = {1, 2, 6, 20}, depths[] = {1, 3, 8, 32};
    for (int i = 0; i < 32; i++)
        course(slots[i % 4], depths[i / 4 % 4], true, (uint64_t)(1000 + i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_courses),
        cmocka_unit_test(test_courses_with_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
