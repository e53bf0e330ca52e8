/* Experts read to where the caller looks for them: every byte, every page. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"

enum { PLACED_LAYERS = 5, PLACED = PLACED_LAYERS * EXPERTS * UMBRA_STORE_SLICES, PAGE = 4096 };

/* A file of stacked experts, as a model has them, and the caller's mapping of it. */
typedef struct placed {
    char path[256];
    const char *paths[1];
    uint64_t bytes;
    char *map;
    umbra_slice slices[PLACED];
    void *places[PLACED];
    umbra_store_options options;
} placed;

/* Bytes of an expert's part by layer and slice: edges everywhere, edges nowhere, a layer without
 * the third slice, several experts in a page, and experts that have no page of their own. */
static uint32_t part_bytes(int layer, int which)
{
    static const uint32_t bytes[PLACED_LAYERS][UMBRA_STORE_SLICES] = {{9000, 9000, 12345},
                                                                      {8192, 12288, 8192},
                                                                      {10240, 8200, 0},
                                                                      {1088, 4100, 700},
                                                                      {100, 330, 50}};
    return bytes[layer][which];
}

static void make_placed(placed *p, const char *dir)
{
    uint64_t at = 1234;
    *p = (placed){0};
    for (int layer = 0; layer < PLACED_LAYERS; layer++) {
        for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
            at = layer == 1 ? umbra_align_up(at, PAGE) : at + 32; /* foreign bytes between */
            for (int e = 0; e < EXPERTS; e++, at += part_bytes(layer, which))
                p->slices[(layer * EXPERTS + e) * UMBRA_STORE_SLICES + which] =
                    (umbra_slice){.offset = at, .bytes = part_bytes(layer, which)};
        }
    }
    p->bytes = at;
    test_make_file(p->path, dir, 0, p->bytes);
    p->paths[0] = p->path;
    int fd = open(p->path, O_RDONLY);
    p->map = mmap(NULL, p->bytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(p->map != MAP_FAILED);
    for (int i = 0; i < PLACED; i++)
        p->places[i] = p->slices[i].bytes > 0 ? p->map + p->slices[i].offset : NULL;
    p->options = (umbra_store_options){.paths = p->paths,
                                       .n_paths = 1,
                                       .n_layers = PLACED_LAYERS,
                                       .n_experts = EXPERTS,
                                       .slices = p->slices,
                                       .places = p->places};
}

static void remove_placed(placed *p)
{
    /* What the store leaves behind is the file again. */
    test_assert_bytes(p->map, 0, 0, p->bytes);
    munmap(p->map, p->bytes);
    unlink(p->path);
}

/* The widest expert of all, as the offsets fall. */
enum { PLACED_SLOT = 11 * PAGE };

static umbra_store *open_placed(placed *p, const umbra_io_ops *ops, const char *io, int slots)
{
    umbra_store_options o = p->options;
    umbra_store *s;
    umbra_error err = {0};
    int rc, tries = 0;
    o.io = io;
    o.budget_bytes = (uint64_t)slots * PLACED_SLOT + 63;
    do
        rc = ops ? umbra_store_open_with(&s, &o, ops, NULL, &err) : umbra_store_open(&s, &o, &err);
    while (test_try_again(rc, &tries));
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
    return s;
}

/* Whether the slice has bytes in this page of the file. */
static bool touches(const umbra_slice *slice, uint64_t page)
{
    return slice->offset < (page + 1) * PAGE && slice->offset + slice->bytes > page * PAGE;
}

/* How many bytes of this page belong to experts, and whether one that is in the cache has any. */
static uint64_t experts_in(const umbra_store *s, const placed *p, uint64_t page, bool *needed)
{
    uint64_t bytes = 0;
    *needed = false;
    for (int i = 0; i < PLACED; i++) {
        const umbra_slice *slice = &p->slices[i];
        if (slice->bytes == 0 || !touches(slice, page))
            continue;
        uint64_t begin = slice->offset > page * PAGE ? slice->offset : page * PAGE;
        uint64_t end = slice->offset + slice->bytes;
        bytes += (end < (page + 1) * PAGE ? end : (page + 1) * PAGE) - begin;
        int pair = i / UMBRA_STORE_SLICES;
        *needed |= umbra_slots_find(&s->guarded.slots, pair / EXPERTS, pair % EXPERTS) >= 0;
    }
    return bytes;
}

/* Exactly the pages of what is in the cache are in memory, within the budget, and every byte of
 * theirs is right. No read may be in flight. */
static void check_pages(const umbra_store *s, placed *p)
{
    uint64_t resident = 0;
    for (uint64_t page = 0; (page + 1) * PAGE <= p->bytes; page++) {
        bool needed;
        unsigned char there;
        if (experts_in(s, p, page, &needed) < PAGE)
            continue; /* foreign bytes: a mapping of the file */
        assert_int_equal(mincore(p->map + page * PAGE, PAGE, &there), 0);
        assert_int_equal(there & 1, needed);
        resident += needed ? PAGE : 0;
    }
    assert_true(resident <= stats_of(s).resident_bytes);
    for (int i = 0; i < PLACED; i++) {
        int pair = i / UMBRA_STORE_SLICES;
        if (p->slices[i].bytes > 0 &&
            umbra_slots_find(&s->guarded.slots, pair / EXPERTS, pair % EXPERTS) >= 0)
            test_assert_bytes(p->places[i], 0, p->slices[i].offset, p->slices[i].bytes);
    }
}

static void settle(umbra_store *s)
{
    umbra_store_set_guessing(s, false);
    while (s->driver.in_flight + s->driver.queue_n > 0)
        assert_int_equal(umbra_store_poll(s, NULL), UMBRA_OK);
    umbra_store_set_guessing(s, true);
}

static void run_placed(umbra_store *s, placed *p, int layer, const int *experts, int n)
{
    umbra_lease leases[EXPERTS];
    umbra_error err = {0};
    int got;
    assert_int_equal(begin_batch(s, layer, experts, n, &err), UMBRA_OK);
    while ((got = umbra_store_next(s, leases, EXPERTS, &err)) > 0) {
        for (int i = 0; i < got; i++) {
            for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
                int slice = (layer * EXPERTS + leases[i].expert) * UMBRA_STORE_SLICES + which;
                assert_ptr_equal(leases[i].slice[which], p->places[slice]);
                if (p->places[slice])
                    test_assert_bytes(leases[i].slice[which], 0, p->slices[slice].offset,
                                      p->slices[slice].bytes);
            }
            umbra_store_release(s, &leases[i]);
        }
    }
    if (got != UMBRA_OK)
        fail_msg("%s", err.message);
}

static int some_experts(uint64_t *seed, int *experts)
{
    int n = 0;
    for (int e = 0; e < EXPERTS; e++)
        if (test_below(seed, 3) > 0)
            experts[n++] = e;
    return n;
}

/* Whether pages can be moved here: not on older kernels, nor under valgrind. */
static bool kernel_moves(void)
{
    char *from = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(from != MAP_FAILED);
    char *to = from + PAGE;
    bool moves =
        mremap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to;
    munmap(from, 2 * PAGE);
    return moves;
}

static void check_placed(const umbra_io_ops *ops, const char *io, const char *dir)
{
    static const int slots[] = {1, 2, 7, EXPERTS, 30, 100};
    uint64_t seed = 88172645463325252u;
    placed p;
    make_placed(&p, dir);
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        p.options.verify = i % 2;
        p.options.buffered = i % 3 == 2;
        umbra_store *s = open_placed(&p, ops, io, slots[i]);
        assert_int_equal(stats_of(s).slot_bytes, PLACED_SLOT);
        umbra_store_set_guessing(s, true);
        bool moves = s->fixed.places.moves = i > 1; /* else as on a kernel that cannot */
        for (int round = 0; round < 30; round++) {
            int layer = (int)test_below(&seed, PLACED_LAYERS), experts[EXPERTS];
            float probability[EXPERTS];
            for (int e = 0; e < EXPERTS; e++)
                probability[e] = (float)test_below(&seed, 100) / 100;
            umbra_store_foretell(s, 0, (int)test_below(&seed, PLACED_LAYERS), 1,
                                 umbra_store_clock(s) + 1 + test_below(&seed, 2), probability);
            run_placed(s, &p, layer, experts, some_experts(&seed, experts));
            settle(s);
            check_pages(s, &p);
        }
        if (kernel_moves())
            assert_int_equal(s->fixed.places.moves, moves);
        assert_int_equal(umbra_store_clear(s, NULL), UMBRA_OK);
        check_pages(s, &p);
        assert_int_equal(stats_of(s).resident_bytes, 0);
        umbra_store_close(&s);
    }
    remove_placed(&p);
}

static void test_threads(void **state)
{
    (void)state;
    check_placed(NULL, "threads", UMBRA_TEST_DIR);
    check_placed(NULL, "threads", "/dev/shm");
}

static void test_uring(void **state)
{
    (void)state;
    if (!test_uring_works())
        skip();
    check_placed(NULL, "uring", UMBRA_TEST_DIR);
}

static void test_simulated(void **state)
{
    (void)state;
    check_placed(NULL, "sim:4G,0us", UMBRA_TEST_DIR);
}

/* A part that cannot be read leaves its neighbours alone, and no pages behind. */
static void test_failing_reads(void **state)
{
    (void)state;
    static const int beside[] = {4, 6}, three[] = {4, 5, 6};
    placed p;
    make_placed(&p, UMBRA_TEST_DIR);
    test_faulty_reset(&umbra_io_threads);
    umbra_store *s = open_placed(&p, &test_faulty_io, NULL, 5);
    run_placed(s, &p, 0, beside, 2);
    const umbra_slice *bad = &p.slices[5 * UMBRA_STORE_SLICES + 1];
    test_fault.fail_errno = EIO;
    test_fault.fail_from = bad->offset;
    test_fault.fail_to = bad->offset + bad->bytes;
    test_fault.fail_times = 1000;
    umbra_error err = {0};
    umbra_lease leases[3];
    int n;
    assert_int_equal(begin_batch(s, 0, three, 3, &err), UMBRA_OK);
    while ((n = umbra_store_next(s, leases, 3, &err)) > 0)
        ;
    assert_int_equal(n, UMBRA_E_IO);
    check_pages(s, &p);
    test_fault.fail_times = 0;
    run_placed(s, &p, 0, three, 3);
    check_pages(s, &p);
    umbra_store_close(&s);
    remove_placed(&p);
}

static void test_refusals(void **state)
{
    (void)state;
    placed p;
    umbra_store *s;
    umbra_error err = {0};
    make_placed(&p, UMBRA_TEST_DIR);
    umbra_store_options o = p.options;
    o.budget_bytes = PLACED_SLOT - 1;
    assert_int_equal(umbra_store_open(&s, &o, &err), UMBRA_E_BUDGET);
    assert_non_null(strstr(err.message, "one expert needs 45056"));
    o.budget_bytes = PLACED_SLOT;
    p.places[7] = (char *)p.places[7] + 1;
    assert_int_equal(umbra_store_open(&s, &o, &err), UMBRA_E_ARGUMENT);
    assert_non_null(strstr(err.message, "expert 2 of layer 0"));
    p.places[7] = NULL;
    assert_int_equal(umbra_store_open(&s, &o, &err), UMBRA_E_ARGUMENT);
    p.places[7] = p.map + p.slices[7].offset;
    int rc = UMBRA_E_NOMEM;
    for (long n = 1; rc != UMBRA_OK; n++) {
        umbra_memory_fail_after(n);
        rc = umbra_store_open_with(&s, &o, &umbra_io_threads, NULL, NULL);
        umbra_memory_fail_after(0);
        assert_true(rc == UMBRA_OK || (rc == UMBRA_E_NOMEM && !s));
        umbra_store_close(&s);
        test_assert_bytes(p.map, 0, 0, p.bytes);
    }
    remove_placed(&p);
}

int main(void)
{
    if (sysconf(_SC_PAGESIZE) != PAGE) {
        printf("skipped: the file's shape is made for pages of %d bytes\n", PAGE);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),   cmocka_unit_test(test_uring),
        cmocka_unit_test(test_simulated), cmocka_unit_test(test_failing_reads),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
