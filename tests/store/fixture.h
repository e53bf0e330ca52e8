/* Two files of experts at odd places, and batches that check every byte. */
#ifndef UMBRA_TESTS_STORE_FIXTURE_H
#define UMBRA_TESTS_STORE_FIXTURE_H

#include "support.h"

#include "store/store_internal.h"

/* Layer EMPTY_LAYER has no experts, layer SPARSE_LAYER has experts without a third slice and one
 * (number 0) that does not exist. */
enum { FILES = 2, LAYERS = 5, EXPERTS = 12, EMPTY_LAYER = 2, SPARSE_LAYER = 3, USED = 47 };
enum { FILE_BYTES = 260 * 1024 + 3 };

typedef struct fixture {
    char path[FILES][256];
    const char *paths[FILES];
    umbra_slice slices[LAYERS * EXPERTS * UMBRA_STORE_SLICES];
    umbra_store_options options;
} fixture;

extern fixture on_disk, on_tmpfs;

void make_fixture(fixture *f, const char *dir);
void remove_fixture(fixture *f);
umbra_slice *slices_of(fixture *f, int layer, int expert);
uint64_t slot_bytes_of(fixture *f, bool buffered);

/* ops NULL: opens by the name `io`. Fails the test where that does not work. */
umbra_store *open_store(fixture *f, const umbra_io_ops *ops, const char *io, int slots, int depth,
                        bool buffered);
/* on_disk behind test_faulty_io, whose settings are reset. */
umbra_store *open_faulty(int slots, int depth);

/* Also checks that the budget is kept. */
umbra_store_stats stats_of(const umbra_store *s);

void check_lease(fixture *f, int layer, const umbra_lease *lease, bool buffered);

/* umbra_store_begin of a batch that decodes, for one token. */
int begin_batch(umbra_store *s, int layer, const int *experts, int n, umbra_error *err);

/* Runs a whole batch: takes up to `max` leases at a time, keeps some while asking for more (never
 * as many as there are slots), checks every byte. Returns what ended it. */
int run_batch(umbra_store *s, fixture *f, int layer, const int *experts, int n, int max,
              uint64_t *seed, umbra_error *err);

/* The same for a batch of any kind. */
int run_batch_of(umbra_store *s, fixture *f, const umbra_batch *batch, int max, uint64_t *seed,
                 umbra_error *err);

/* Batches of on_disk that must work. */
void good_batch_of(umbra_store *s, const umbra_batch *batch);
void good_batch(umbra_store *s, int layer, const int *experts, int n);

/* A random layer that has experts, and n (fewer than EXPERTS) distinct ones of it. */
int random_batch(uint64_t *seed, int *experts, int n);

/* For cmocka_run_group_tests: make and remove on_disk and on_tmpfs. */
int set_up(void **state);
int tear_down(void **state);

#endif
