/* The pool's threads: how work reaches them, and how they wait for it. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/thread.h"

/* How long a thread without work spins before it sleeps: longer than the serial work between two
 * runs of a token, shorter than a disk read. */
enum { SPIN_NS = 30000, SPINS_BEFORE_YIELD = 2000, WORKER_STACK_BYTES = 256 << 10 };

/* Where other programs want the cores, a worker is stopped in the middle of an item, and all wait
 * for it. One thread less is faster if more than its share of the time is lost so. */
enum {
    LATE_NS = 200000,     /* beyond what the job took by itself */
    WINDOW_NS = 20000000, /* in which lost time is added up, at least */
    REST_NS = 200000000,  /* how long a worker is left out, at first */
    LONGEST_REST_NS = 1600000000,
};

enum { TASK_FREE, TASK_SENT, TASK_RUNNING };

typedef struct worker_start {
    umbra_pool *pool;
    int index;
} worker_start;

struct umbra_pool {
    int threads;
    int started;          /* workers that exist: threads - 1 once open */
    pthread_t *workers;   /* (threads) */
    worker_start *starts; /* (threads) what each is told */

    /* The job: written by the caller before `epoch` moves, read by the workers after. */
    umbra_pool_fn fn;
    void *context;
    int items;
    int grain;
    atomic_int next;   /* first item nobody has claimed */
    atomic_bool open;  /* the job may be joined */
    atomic_int active; /* workers that look at the job; it is not touched while there are any */
    atomic_uint epoch; /* counts jobs, for the workers to wait on */
    atomic_bool quit;

    /* Workers with numbers up to `helpers` take part; the others rest. */
    atomic_int helpers;
    pthread_cond_t rest;
    atomic_int resting;
    uint64_t lost_ns, window_start; /* waits for late workers since then */
    uint64_t rest_ns, rest_end;     /* of the last that was sent to rest */

    bool counts; /* the caller's waits */
    umbra_pool_waits waits;

    /* The task: written by the caller while `task` is FREE. */
    atomic_int task;
    umbra_pool_task_fn task_fn;
    void *task_context;

    pthread_mutex_t mutex; /* guards only going to sleep and waking up */
    pthread_cond_t work;
    atomic_int sleepers;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void do_items(umbra_pool *pool, int worker)
{
    for (;;) {
        int begin = atomic_fetch_add_explicit(&pool->next, pool->grain, memory_order_relaxed);
        if (begin >= pool->items)
            return;
        int end = pool->items - begin < pool->grain ? pool->items : begin + pool->grain;
        pool->fn(pool->context, begin, end, worker);
    }
}

/* In one order with `sleepers`: who is about to sleep announces it, then looks for work; who brings
 * work puts it down, then looks for sleepers. That the pool closes counts as work for good: a
 * worker that was at something may have taken the epoch of the closing for that of a job. */
static bool has_work(umbra_pool *pool, unsigned seen)
{
    return atomic_load(&pool->epoch) != seen || atomic_load(&pool->task) == TASK_SENT ||
           atomic_load(&pool->quit);
}

/* Returns when the worker may take part, when there is a task, or when the pool closes. */
static void rest(umbra_pool *pool, int worker)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->resting, 1);
    while (worker > atomic_load(&pool->helpers) && atomic_load(&pool->task) != TASK_SENT &&
           !atomic_load(&pool->quit))
        pthread_cond_wait(&pool->rest, &pool->mutex);
    atomic_fetch_sub(&pool->resting, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* Returns when the epoch is no longer `seen`, when there is a task, or when the pool closes. */
static void wait_for_work(umbra_pool *pool, unsigned seen)
{
    uint64_t start = umbra_clock_ns();
    do {
        for (int i = 0; i < 64; i++) {
            if (has_work(pool, seen))
                return;
            relax();
        }
    } while (umbra_clock_ns() - start < SPIN_NS);

    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_work(pool, seen))
        pthread_cond_wait(&pool->work, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void do_task(umbra_pool *pool)
{
    int sent = TASK_SENT;
    if (!atomic_compare_exchange_strong(&pool->task, &sent, TASK_RUNNING))
        return;
    pool->task_fn(pool->task_context);
    atomic_store(&pool->task, TASK_FREE);
}

static void *worker_main(void *argument)
{
    const worker_start *start = argument;
    umbra_pool *pool = start->pool;
    unsigned seen = 0;
    for (;;) {
        if (start->index > atomic_load(&pool->helpers))
            rest(pool, start->index);
        else
            wait_for_work(pool, seen);
        if (atomic_load(&pool->quit))
            return NULL;
        do_task(pool);
        unsigned epoch = atomic_load(&pool->epoch);
        if (epoch == seen)
            continue;
        seen = epoch;
        /* Announced before `open` is read, as the caller closes before it reads `active`: one of
         * the two sees the other. A worker that comes late finds the job closed and is not waited
         * for, so a busy core costs its share of the work and no more. */
        atomic_fetch_add(&pool->active, 1);
        if (atomic_load(&pool->open))
            do_items(pool, start->index);
        atomic_fetch_sub(&pool->active, 1);
    }
}

static void wake(umbra_pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

static void wake_resting(umbra_pool *pool)
{
    if (atomic_load(&pool->resting) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->rest);
    pthread_mutex_unlock(&pool->mutex);
}

static void announce(umbra_pool *pool)
{
    atomic_fetch_add(&pool->epoch, 1);
    wake(pool);
}

bool umbra_pool_send(umbra_pool *pool, umbra_pool_task_fn fn, void *context)
{
    if (pool->threads == 1 || atomic_load(&pool->task) != TASK_FREE)
        return false;
    pool->task_fn = fn;
    pool->task_context = context;
    atomic_store(&pool->task, TASK_SENT);
    wake(pool);
    wake_resting(pool);
    return true;
}

void umbra_pool_wait(umbra_pool *pool)
{
    while (atomic_load(&pool->task) != TASK_FREE)
        sched_yield();
}

/* A job ended `wait_ns` later than the caller's share of it, which took work_ns. */
static void note_wait(umbra_pool *pool, uint64_t now, uint64_t work_ns, uint64_t wait_ns)
{
    int helpers = atomic_load(&pool->helpers);
    if (wait_ns < work_ns + LATE_NS)
        return;
    if (now - pool->window_start > 10 * (uint64_t)WINDOW_NS) {
        pool->window_start = now - wait_ns - work_ns;
        pool->lost_ns = 0;
    }
    pool->lost_ns += wait_ns;
    uint64_t passed = now - pool->window_start;
    if (passed < WINDOW_NS || helpers == 0 || pool->lost_ns * (uint64_t)(helpers + 1) < passed)
        return;
    bool again = now - pool->rest_end < REST_NS; /* it was called back too early */
    pool->rest_ns = !again                                ? REST_NS
                    : 2 * pool->rest_ns < LONGEST_REST_NS ? 2 * pool->rest_ns
                                                          : LONGEST_REST_NS;
    pool->rest_end = now + pool->rest_ns;
    pool->window_start = now;
    pool->lost_ns = 0;
    atomic_store(&pool->helpers, helpers - 1);
}

/* One that rests long enough tries again. */
static void call_back(umbra_pool *pool, uint64_t now)
{
    int helpers = atomic_load(&pool->helpers);
    if (helpers == pool->started || now < pool->rest_end)
        return;
    pool->rest_end = now;
    pool->window_start = now;
    pool->lost_ns = 0;
    atomic_store(&pool->helpers, helpers + 1);
    wake_resting(pool);
}

/* Until nobody looks at the job, which began at `start`. */
static void wait_for_workers(umbra_pool *pool, uint64_t start)
{
    uint64_t wait = 0;
    for (unsigned spins = 0; atomic_load(&pool->active) > 0; spins++) {
        if (spins < SPINS_BEFORE_YIELD) {
            relax();
            continue;
        }
        wait = wait ? wait : umbra_clock_ns();
        sched_yield(); /* a worker may be waiting for this very core */
    }
    if (wait) {
        uint64_t now = umbra_clock_ns();
        note_wait(pool, now, wait - start, now - wait);
    }
}

static void share(umbra_pool *pool, uint64_t start)
{
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store(&pool->open, true);
    announce(pool);
    do_items(pool, 0);
    atomic_store(&pool->open, false);
    uint64_t wait = pool->counts ? umbra_clock_ns() : 0;
    wait_for_workers(pool, start);
    if (pool->counts) {
        pool->waits.ns += umbra_clock_ns() - wait;
        pool->waits.runs++;
    }
}

void umbra_pool_run(umbra_pool *pool, int items, int grain, umbra_pool_fn fn, void *context)
{
    if (items <= 0)
        return;
    if (pool->threads == 1 || items <= grain) {
        fn(context, 0, items, 0);
        return;
    }
    uint64_t start = umbra_clock_ns();
    call_back(pool, start);
    if (atomic_load(&pool->helpers) == 0) {
        fn(context, 0, items, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->items = items;
    pool->grain = grain < 1 ? 1 : grain;
    share(pool, start);
}

int umbra_pool_helping(const umbra_pool *pool)
{
    return 1 + atomic_load(&pool->helpers);
}

void umbra_pool_count_waits(umbra_pool *pool)
{
    pool->counts = true;
}

umbra_pool_waits umbra_pool_get_waits(const umbra_pool *pool)
{
    return pool->waits;
}

/* Starts as many of the workers as the system gives: fewer compute more slowly, that is all. They
 * take nothing from malloc, which would reserve address space for each of them. */
static void start_workers(umbra_pool *pool)
{
    int wanted = pool->threads - 1;
    while (pool->started < wanted) {
        worker_start *start = &pool->starts[pool->started];
        *start = (worker_start){pool, pool->started + 1};
        if (umbra_thread_start(&pool->workers[pool->started], worker_main, start,
                               WORKER_STACK_BYTES) != 0)
            break;
        pool->started++;
    }
    atomic_store(&pool->helpers, pool->started);
    pool->threads = 1 + pool->started; /* no job has begun, so no worker has looked at it */
}

int umbra_pool_open(umbra_pool **out, int threads, umbra_error *err)
{
    *out = NULL;
    if (threads < 1)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%d threads: at least 1 is needed", threads);
    umbra_pool *pool = umbra_calloc(1, sizeof *pool);
    if (!pool)
        return umbra_fail_nomem(err, "the thread pool", sizeof *pool);
    pool->threads = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->rest, NULL);
    atomic_store(&pool->helpers, threads);
    pool->workers = umbra_calloc((size_t)threads, sizeof *pool->workers);
    pool->starts = umbra_calloc((size_t)threads, sizeof *pool->starts);
    if (!pool->workers || !pool->starts) {
        umbra_pool_close(&pool);
        return umbra_fail_nomem(err, "the thread pool", 0);
    }
    start_workers(pool);
    *out = pool;
    return UMBRA_OK;
}

void umbra_pool_close(umbra_pool **p)
{
    umbra_pool *pool = *p;
    if (!pool)
        return;
    atomic_store(&pool->quit, true);
    announce(pool);
    wake_resting(pool);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->rest);
    pthread_mutex_destroy(&pool->mutex);
    umbra_free(pool->workers);
    umbra_free(pool->starts);
    umbra_free(pool);
    *p = NULL;
}

int umbra_pool_threads(const umbra_pool *pool)
{
    return pool->threads;
}
