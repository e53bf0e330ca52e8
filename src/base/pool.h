/* A fixed set of threads that compute together (not for I/O: nothing in a job may block).
 *
 * One thread calls umbra_pool_run; it and the workers share the items, and the call returns when
 * all are done. Idle workers spin for a few microseconds, then sleep, so that back-to-back runs
 * of a token cost little and a waiting engine leaves the cores to others. */
#ifndef UMBRA_BASE_POOL_H
#define UMBRA_BASE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include <umbra/status.h>

typedef struct umbra_pool umbra_pool;

/* Does items [begin, end). worker: 0 .. threads-1, for per-thread scratch. */
typedef void (*umbra_pool_fn)(void *context, int begin, int end, int worker);

/* threads >= 1 counts the calling thread; where the system refuses some, there are fewer. On
 * failure *out is NULL and nothing is left behind. */
int umbra_pool_open(umbra_pool **out, int threads, umbra_error *err);

/* Accepts NULL; joins the workers and nulls the pointer. */
void umbra_pool_close(umbra_pool **pool);

int umbra_pool_threads(const umbra_pool *pool);

/* Runs fn over [0, items) in pieces of at most `grain` items, claimed by whoever is free.
 * Only one run at a time per pool. */
void umbra_pool_run(umbra_pool *pool, int items, int grain, umbra_pool_fn fn, void *context);

/* How long the calls of umbra_pool_run waited for workers at their ends, and how many calls shared
 * their items; counted from umbra_pool_count_waits on, so that nobody pays who does not look. */
typedef struct umbra_pool_waits {
    uint64_t ns, runs;
} umbra_pool_waits;
void umbra_pool_count_waits(umbra_pool *pool);
umbra_pool_waits umbra_pool_get_waits(const umbra_pool *pool);

/* Lets a worker do something on the side: fn(context), once, as soon as one is at hand, which then
 * misses the runs of that time. False if there are no workers or the last task is not done; fn is
 * not called then. From the thread that calls umbra_pool_run only. */
typedef void (*umbra_pool_task_fn)(void *context);
bool umbra_pool_send(umbra_pool *pool, umbra_pool_task_fn fn, void *context);
/* Waits until no task is under way. */
void umbra_pool_wait(umbra_pool *pool);

#endif
