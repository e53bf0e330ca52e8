/* The pool does every item and errand once, holds nobody up, and does without refused threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pool.h"
#include "base/thread.h"

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

/* ---- tasks ---- */

typedef struct tasks {
    atomic_int done, running, most_running;
    int plain; /* what a task wrote is seen after umbra_pool_wait, and by the next task */
    pthread_t caller;
    atomic_bool by_caller;
} tasks;

static void run_task(void *context)
{
    tasks *e = context;
    int running = atomic_fetch_add(&e->running, 1) + 1;
    if (running > atomic_load(&e->most_running))
        atomic_store(&e->most_running, running);
    if (pthread_equal(pthread_self(), e->caller))
        atomic_store(&e->by_caller, true);
    e->plain++;
    for (volatile int spin = 0; spin < 500; spin++)
        ;
    atomic_fetch_sub(&e->running, 1);
    atomic_fetch_add(&e->done, 1);
}

/* Exactly once each, one at a time, beside runs whose items are still done exactly once. */
static void tasks_run_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 8; threads++) {
        umbra_pool *pool;
        assert_int_equal(umbra_pool_open(&pool, threads, NULL), 0);
        tasks e = {.caller = pthread_self()};
        int values[64] = {0}, sent = 0;
        for (int i = 0; i < 2000; i++) {
            sent += umbra_pool_send(pool, run_task, &e);
            umbra_pool_run(pool, 64, i % 7 + 1, add_one, values);
            if (i % 100 == 99)
                umbra_pool_wait(pool);
            if (i % 500 == 499)
                usleep(500); /* the workers fall asleep */
        }
        umbra_pool_wait(pool);
        assert_int_equal(e.done, sent);
        assert_int_equal(e.plain, sent);
        assert_true(threads == 1 ? sent == 0 : sent > 0 && e.most_running == 1);
        assert_false(e.by_caller);
        for (int i = 0; i < 64; i++)
            assert_int_equal(values[i], 2000);
        umbra_pool_close(&pool);
    }
}

/* Without any run that would wake a worker. */
static void tasks_wake_workers(void **state)
{
    (void)state;
    umbra_pool *pool;
    assert_int_equal(umbra_pool_open(&pool, 2, NULL), 0);
    tasks e = {.caller = pthread_self()};
    for (int i = 0; i < 3000; i++) {
        assert_true(umbra_pool_send(pool, run_task, &e));
        umbra_pool_wait(pool);
        assert_int_equal(e.done, i + 1);
        assert_int_equal(e.plain, i + 1);
        if (i % 30 == 0)
            usleep(i % 90); /* about as long as it takes to fall asleep */
    }
    umbra_pool_wait(pool); /* nothing to wait for */
    umbra_pool_close(&pool);
}

typedef struct gate {
    atomic_bool open;
    atomic_bool entered;
} gate;

static void wait_at_gate(void *context)
{
    gate *g = context;
    atomic_store(&g->entered, true);
    while (!atomic_load(&g->open))
        sched_yield();
}

/* Who is at a task misses the runs of that time, which end without it; a second task is
 * refused as long. */
static void a_long_task_holds_nobody_up(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        umbra_pool *pool;
        assert_int_equal(umbra_pool_open(&pool, threads, NULL), 0);
        gate g = {false, false};
        tasks e = {.caller = pthread_self()};
        int values[64] = {0};
        assert_true(umbra_pool_send(pool, wait_at_gate, &g));
        while (!atomic_load(&g.entered))
            sched_yield();
        assert_false(umbra_pool_send(pool, run_task, &e));
        for (int i = 0; i < 200; i++)
            umbra_pool_run(pool, 64, 4, add_one, values);
        for (int i = 0; i < 64; i++)
            assert_int_equal(values[i], 200);
        atomic_store(&g.open, true);
        umbra_pool_wait(pool);
        assert_int_equal(e.done, 0);
        assert_true(umbra_pool_send(pool, run_task, &e));
        umbra_pool_wait(pool);
        assert_int_equal(e.done, 1);
        umbra_pool_close(&pool);
    }
}

/* Long enough for the caller to be closing the pool by then. */
static void sleep_a_little(void *context)
{
    gate *g = context;
    atomic_store(&g->entered, true);
    usleep(20000);
}

/* Who is at a task when the pool closes comes back to a pool that has closed. */
static void closing_waits_for_tasks(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        umbra_pool *pool;
        gate g = {false, false};
        assert_int_equal(umbra_pool_open(&pool, threads, NULL), 0);
        assert_true(umbra_pool_send(pool, sleep_a_little, &g));
        while (!atomic_load(&g.entered))
            sched_yield();
        umbra_pool_close(&pool);
        assert_null(pool);
    }
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    umbra_pool *pool;
    umbra_error err = {0};
    assert_int_equal(umbra_pool_open(&pool, 0, &err), UMBRA_E_ARGUMENT);
    assert_null(pool);
    for (long n = 1; n <= 3; n++) {
        umbra_memory_fail_after(n);
        assert_int_equal(umbra_pool_open(&pool, 3, &err), UMBRA_E_NOMEM);
        umbra_memory_fail_after(0);
        assert_null(pool);
    }
    umbra_pool_close(&pool); /* NULL is fine */
}

/* ---- threads that the system refuses ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

static int threads_left = 1000;

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    return threads_left-- > 0 ? __real_pthread_create(thread, attributes, start, argument) : EAGAIN;
}

static void count_items(void *context, int begin, int end, int worker)
{
    (void)worker;
    atomic_fetch_add((atomic_int *)context, end - begin);
}

static void refused_threads_are_done_without(void **state)
{
    (void)state;
    for (int left = 0; left < 4; left++) {
        umbra_pool *pool;
        threads_left = left;
        assert_int_equal(umbra_pool_open(&pool, 4, NULL), UMBRA_OK);
        assert_int_equal(umbra_pool_threads(pool), 1 + (left < 3 ? left : 3));
        atomic_int items = 0;
        umbra_pool_run(pool, 1000, 10, count_items, &items);
        assert_int_equal(items, 1000);
        umbra_pool_close(&pool);
    }
    threads_left = 3;
    assert_int_equal(umbra_thread_try(8), 3);
    threads_left = 1000;
    assert_int_equal(umbra_thread_try(8), 8);
    assert_int_equal(umbra_thread_try(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(runs_follow_each_other),
        cmocka_unit_test(tasks_run_once),
        cmocka_unit_test(tasks_wake_workers),
        cmocka_unit_test(a_long_task_holds_nobody_up),
        cmocka_unit_test(closing_waits_for_tasks),
        cmocka_unit_test(failures_leave_nothing),
        cmocka_unit_test(refused_threads_are_done_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
