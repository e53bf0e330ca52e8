#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pool.h"

enum { ITEMS = 1000 };

typedef struct job {
    atomic_int seen[ITEMS];
    atomic_int worst_worker;
    int threads;
} job;

static void mark(void *context, int begin, int end, int worker)
{
    job *j = context;
    for (int i = begin; i < end; i++)
        atomic_fetch_add(&j->seen[i], 1);
    if (worker < 0 || worker >= j->threads)
        atomic_store(&j->worst_worker, 1);
}

/* Every item exactly once, for every number of threads, items and grain. */
static void every_item_once(void **state)
{
    (void)state;
    static const int counts[] = {0, 1, 2, 7, 64, 999, 1000};
    static const int grains[] = {1, 3, 64, 2000};
    for (int threads = 1; threads <= 5; threads++) {
        umbra_pool *pool;
        assert_int_equal(umbra_pool_open(&pool, threads, NULL), 0);
        assert_int_equal(umbra_pool_threads(pool), threads);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
                job *j = calloc(1, sizeof *j);
                j->threads = threads;
                umbra_pool_run(pool, counts[c], grains[g], mark, j);
                for (int i = 0; i < ITEMS; i++)
                    assert_int_equal(j->seen[i], i < counts[c]);
                assert_int_equal(j->worst_worker, 0);
                free(j);
            }
        }
        umbra_pool_close(&pool);
        assert_null(pool);
    }
}

static void add_one(void *context, int begin, int end, int worker)
{
    (void)worker;
    int *values = context;
    for (int i = begin; i < end; i++)
        values[i]++;
}

/* What one run wrote is seen by the next, whoever does it; workers that fell asleep wake up. */
static void runs_follow_each_other(void **state)
{
    (void)state;
    umbra_pool *pool;
    assert_int_equal(umbra_pool_open(&pool, 3, NULL), 0);
    int values[64] = {0};
    for (int run = 0; run < 3000; run++) {
        umbra_pool_run(pool, 64, 4, add_one, values);
        if (run % 1000 == 999)
            usleep(2000);
    }
    for (int i = 0; i < 64; i++)
        assert_int_equal(values[i], 3000);
    umbra_pool_close(&pool);
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    umbra_pool *pool;
    umbra_error err = {0};
    assert_int_equal(umbra_pool_open(&pool, 0, &err), UMBRA_E_ARGUMENT);
    assert_null(pool);
    for (long n = 1; n <= 4; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_pool_open(&pool, 3, &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        assert_null(pool);
    }
    umbra_pool_close(&pool); /* NULL is fine */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(runs_follow_each_other),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
