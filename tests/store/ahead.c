/* Reading ahead on a simulated disk and a clock of the test's own. */
#include "ahead.h"

static const char disk[] = "sim:100M,100us";

uint64_t now_ns;

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

const umbra_clock test_clock = {now_of, wait_until, NULL};

umbra_store *open_ahead(int slots, int depth)
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

void begin(umbra_store *s, int layer, const int *experts, int n)
{
    umbra_error err = {0};
    if (begin_batch(s, layer, experts, n, &err) != UMBRA_OK)
        fail_msg("%s", err.message);
}

void finish(umbra_store *s, int layer)
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

void batch(umbra_store *s, int layer, int expert)
{
    begin(s, layer, &expert, 1);
    finish(s, layer);
}

void pass(umbra_store *s, uint64_t ns)
{
    for (int i = 0; i < 20; i++) {
        now_ns += ns / 20;
        assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    }
}

void warm_up(umbra_store *s, int expert)
{
    for (int i = 0; i < 60; i++) {
        pass(s, 2 * MS);
        batch(s, 0, expert);
    }
    umbra_store_reset_stats(s);
    test_fault.submitted = 0;
}

bool foretell(umbra_store *s, int layer, int distance, uint64_t steps, int expert, float p)
{
    float probability[EXPERTS] = {0};
    probability[expert] = p;
    return umbra_store_foretell(s, 0, layer, distance, umbra_store_clock(s) + steps, probability);
}

uint64_t bytes_of(int layer, int expert)
{
    const umbra_slice *slices = slices_of(&on_disk, layer, expert);
    return slices[0].bytes + slices[1].bytes + slices[2].bytes;
}
