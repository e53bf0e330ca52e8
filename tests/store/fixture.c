/* Two files of experts at odd places, and batches that check every byte. */
#include "fixture.h"

#include <unistd.h>

fixture on_disk, on_tmpfs;

umbra_slice *slices_of(fixture *f, int layer, int expert)
{
    return &f->slices[(layer * EXPERTS + expert) * UMBRA_STORE_SLICES];
}

void make_fixture(fixture *f, const char *dir)
{
    uint64_t seed = 362436069;
    for (int i = 0; i < FILES; i++) {
        test_make_file(f->path[i], dir, i, FILE_BYTES);
        f->paths[i] = f->path[i];
    }
    for (int layer = 0; layer < LAYERS; layer++) {
        for (int expert = 0; expert < EXPERTS; expert++) {
            for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
                bool none =
                    layer == EMPTY_LAYER || (layer == SPARSE_LAYER && (which == 2 || expert == 0));
                umbra_slice *s = &slices_of(f, layer, expert)[which];
                s->bytes = none ? 0 : 500u + 1501u * (unsigned)layer + 777u * (unsigned)which;
                s->offset = test_below(&seed, FILE_BYTES - (uint32_t)s->bytes);
                s->file = (int32_t)test_below(&seed, FILES);
            }
        }
    }
    umbra_slice *last = slices_of(f, 0, 1);
    last->offset = FILE_BYTES - last->bytes; /* an aligned read of it goes past the end */
    f->options = (umbra_store_options){.paths = f->paths,
                                       .n_paths = FILES,
                                       .n_layers = LAYERS,
                                       .n_experts = EXPERTS,
                                       .slices = f->slices};
}

void remove_fixture(fixture *f)
{
    for (int i = 0; i < FILES; i++)
        unlink(f->path[i]);
}

uint64_t slot_bytes_of(fixture *f, bool buffered)
{
    uint32_t most = 1, a;
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(umbra_store_alignment(f->path[i], buffered, &a, NULL), 0);
        most = a > most ? a : most;
    }
    return umbra_store_slot_bytes(f->slices, LAYERS, EXPERTS, most);
}

umbra_store *open_store(fixture *f, const umbra_io_ops *ops, const char *io, int slots, int depth,
                        bool buffered)
{
    umbra_store_options o = f->options;
    o.io = io;
    o.io_depth = depth;
    o.buffered = buffered;
    o.budget_bytes = slot_bytes_of(f, buffered) * (uint64_t)slots + 63;
    umbra_store *s;
    umbra_error err = {0};
    int rc, tries = 0;
    do
        rc = ops ? umbra_store_open_with(&s, &o, ops, NULL, &err) : umbra_store_open(&s, &o, &err);
    while (test_try_again(rc, &tries));
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
    return s;
}

umbra_store *open_faulty(int slots, int depth)
{
    test_faulty_reset(&umbra_io_threads);
    return open_store(&on_disk, &test_faulty_io, NULL, slots, depth, false);
}

umbra_store_stats stats_of(const umbra_store *s)
{
    umbra_store_stats stats;
    umbra_store_get_stats(s, &stats);
    assert_true(stats.resident_bytes <= stats.resident_bytes_max);
    assert_true(stats.resident_bytes_max <= stats.budget_bytes);
    return stats;
}

void check_lease(fixture *f, int layer, const umbra_lease *lease, bool buffered)
{
    const umbra_slice *slices = slices_of(f, layer, lease->expert);
    for (int which = 0; which < UMBRA_STORE_SLICES; which++) {
        if (slices[which].bytes == 0) {
            assert_null(lease->slice[which]);
            continue;
        }
        assert_non_null(lease->slice[which]);
        if (buffered)
            assert_int_equal((uintptr_t)lease->slice[which] % 64, 0);
        test_assert_bytes(lease->slice[which], slices[which].file, slices[which].offset,
                          slices[which].bytes);
    }
}

int begin_batch(umbra_store *s, int layer, const int *experts, int n, umbra_error *err)
{
    const umbra_batch batch = {.layer = layer, .experts = experts, .n = n};
    return umbra_store_begin(s, &batch, err);
}

int run_batch_of(umbra_store *s, fixture *f, const umbra_batch *batch, int max, uint64_t *seed,
                 umbra_error *err)
{
    int n = batch->n, layer = batch->layer;
    int rc = umbra_store_begin(s, batch, err);
    if (rc != UMBRA_OK)
        return rc;
    uint64_t slots = stats_of(s).slots;
    umbra_lease held[2 * EXPERTS];
    bool seen[EXPERTS] = {false};
    int n_held = 0;
    while ((rc = umbra_store_next(s, held + n_held, max, err)) > 0) {
        assert_true(rc <= max);
        for (int i = n_held; i < n_held + rc; i++) {
            assert_in_range(held[i].index, 0, n - 1);
            assert_int_equal(held[i].expert, batch->experts[held[i].index]);
            assert_int_equal(held[i].place, UMBRA_PLACE_HOST);
            assert_false(seen[held[i].index]);
            seen[held[i].index] = true;
        }
        n_held += rc;
        uint64_t keep = test_below(seed, 3);
        keep = keep >= slots ? slots - 1 : keep;
        for (; (uint64_t)n_held > keep; n_held--) {
            check_lease(f, layer, &held[n_held - 1], stats_of(s).direct == false);
            umbra_store_release(s, &held[n_held - 1]);
        }
    }
    if (rc < 0)
        return rc;
    for (; n_held > 0; n_held--) {
        check_lease(f, layer, &held[n_held - 1], stats_of(s).direct == false);
        umbra_store_release(s, &held[n_held - 1]);
    }
    for (int i = 0; i < n; i++)
        assert_true(seen[i]);
    return UMBRA_OK;
}

int run_batch(umbra_store *s, fixture *f, int layer, const int *experts, int n, int max,
              uint64_t *seed, umbra_error *err)
{
    const umbra_batch batch = {.layer = layer, .experts = experts, .n = n};
    return run_batch_of(s, f, &batch, max, seed, err);
}

void good_batch_of(umbra_store *s, const umbra_batch *batch)
{
    uint64_t seed = 5;
    umbra_error err = {0};
    int rc = run_batch_of(s, &on_disk, batch, EXPERTS, &seed, &err);
    if (rc != UMBRA_OK)
        fail_msg("%s", err.message);
}

void good_batch(umbra_store *s, int layer, const int *experts, int n)
{
    good_batch_of(s, &(umbra_batch){.layer = layer, .experts = experts, .n = n});
}

int random_batch(uint64_t *seed, int *experts, int n)
{
    static const int layers[] = {0, 1, SPARSE_LAYER, 4};
    int layer = layers[test_below(seed, 4)];
    int all[EXPERTS], first = layer == SPARSE_LAYER;
    for (int i = 0; i < EXPERTS; i++)
        all[i] = i;
    for (int i = 0; i < n; i++) {
        int from = first + i;
        int j = from + (int)test_below(seed, (uint32_t)(EXPERTS - from));
        experts[i] = all[j];
        all[j] = all[from];
    }
    return layer;
}

int set_up(void **state)
{
    (void)state;
    make_fixture(&on_disk, UMBRA_TEST_DIR);
    make_fixture(&on_tmpfs, "/dev/shm");
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    remove_fixture(&on_disk);
    remove_fixture(&on_tmpfs);
    return 0;
}
