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
enum { SPIN_NS = 30000, SPINS_BEFORE_YIELD = 2000, WORKER_STACK_BYTES = 1 << 20 };

enum { TASK_FREE, TASK_SENT, TASK_RUNNING };

/* What one thread writes again and again keeps this far from what others read meanwhile: two cache
 * lines, since processors fetch pairs of them. Of 16 threads each would else take the line from all
 * others several times per job. */
#define APART(n) char apart##n[128]

/* A worker's own. */
typedef struct seat {
    umbra_pool *pool;
    int index;
    atomic_bool busy; /* it looks at the job, which is not touched while anybody does */
    APART(0);
} seat;

struct umbra_pool {
    int threads;
    int started;        /* workers that exist: threads - 1 once open */
    pthread_t *workers; /* (threads) */
    seat *seats;        /* (threads) */
    bool counts;        /* the caller's waits */
    umbra_pool_waits waits;

    /* The job: written by the caller before `epoch` moves, read by the workers after. */
    umbra_pool_fn fn;
    void *context;
    int items;
    int grain;
    APART(0);
    atomic_int next; /* first item nobody has claimed */
    APART(1);

    /* What idle workers look at. */
    atomic_uint epoch; /* odd: a job is under way and may be joined */
    atomic_bool quit;
    atomic_int task;
    APART(2);

    /* The task: written by the caller while `task` is FREE. */
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

static bool is_open(unsigned epoch)
{
    return epoch % 2 == 1;
}

/* In one order with `sleepers`: who is about to sleep announces it, then looks for work; who brings
 * work puts it down, then looks for sleepers. That the pool closes counts as work for good, and
 * that a job has ended counts too: whoever was too late for it spins again, since the next one
 * follows soon. */
static bool has_work(umbra_pool *pool, unsigned seen)
{
    return atomic_load(&pool->epoch) != seen || atomic_load(&pool->task) == TASK_SENT ||
           atomic_load(&pool->quit);
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
    if (atomic_load(&pool->task) != TASK_SENT || /* an exchange takes the line even if it fails */
        !atomic_compare_exchange_strong(&pool->task, &sent, TASK_RUNNING))
        return;
    pool->task_fn(pool->task_context);
    atomic_store(&pool->task, TASK_FREE);
}

/* Joins the job, if there still is one. The worker says that it is busy before it reads the epoch,
 * as the caller closes the job before it looks who is: one of the two sees the other. A worker that
 * comes late finds the job closed and is not waited for, so a busy core costs its share of the work
 * and no more. */
static void join_job(umbra_pool *pool, seat *own, unsigned *seen)
{
    unsigned epoch = atomic_load(&pool->epoch);
    if (epoch == *seen)
        return;
    if (is_open(epoch)) {
        atomic_store(&own->busy, true);
        epoch = atomic_load(&pool->epoch);
        if (is_open(epoch))
            do_items(pool, own->index);
        atomic_store(&own->busy, false);
    }
    *seen = epoch;
}

static void *worker_main(void *argument)
{
    seat *own = argument;
    umbra_pool *pool = own->pool;
    unsigned seen = 0;
    for (;;) {
        wait_for_work(pool, seen);
        if (atomic_load(&pool->quit))
            return NULL;
        do_task(pool);
        join_job(pool, own, &seen);
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

bool umbra_pool_send(umbra_pool *pool, umbra_pool_task_fn fn, void *context)
{
    if (pool->threads == 1 || atomic_load(&pool->task) != TASK_FREE)
        return false;
    pool->task_fn = fn;
    pool->task_context = context;
    atomic_store(&pool->task, TASK_SENT);
    wake(pool);
    return true;
}

void umbra_pool_wait(umbra_pool *pool)
{
    while (atomic_load(&pool->task) != TASK_FREE)
        sched_yield();
}

/* Until nobody looks at the job. */
static void wait_for_workers(umbra_pool *pool)
{
    unsigned spins = 0;
    for (int i = 0; i < pool->started; i++)
        for (; atomic_load(&pool->seats[i].busy); spins++)
            if (spins < SPINS_BEFORE_YIELD)
                relax();
            else
                sched_yield(); /* a worker may be waiting for this very core */
}

void umbra_pool_run(umbra_pool *pool, int items, int grain, umbra_pool_fn fn, void *context)
{
    if (items <= 0)
        return;
    if (pool->threads == 1 || items <= grain) {
        fn(context, 0, items, 0);
        return;
    }
    pool->fn = fn;
    pool->context = context;
    pool->items = items;
    pool->grain = grain < 1 ? 1 : grain;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_fetch_add(&pool->epoch, 1); /* opens it */
    wake(pool);
    do_items(pool, 0);
    atomic_fetch_add(&pool->epoch, 1); /* closes it */
    uint64_t start = pool->counts ? umbra_clock_ns() : 0;
    wait_for_workers(pool);
    if (pool->counts) {
        pool->waits.ns += umbra_clock_ns() - start;
        pool->waits.runs++;
    }
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
        seat *own = &pool->seats[pool->started];
        own->pool = pool;
        own->index = pool->started + 1;
        if (umbra_thread_start(&pool->workers[pool->started], worker_main, own,
                               WORKER_STACK_BYTES) != 0)
            break;
        pool->started++;
    }
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
    pool->workers = umbra_calloc((size_t)threads, sizeof *pool->workers);
    pool->seats = umbra_calloc((size_t)threads, sizeof *pool->seats);
    if (!pool->workers || !pool->seats) {
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
    wake(pool);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    umbra_free(pool->workers);
    umbra_free(pool->seats);
    umbra_free(pool);
    *p = NULL;
}

int umbra_pool_threads(const umbra_pool *pool)
{
    return pool->threads;
}
