/* What a shadow runner is made of, for the two files that have to do with it: runner.c, its work,
 * and runner_open.c, its beginning and end. Letters as in ahead/runner.h. */
#ifndef UMBRA_AHEAD_RUNNER_INTERNAL_H
#define UMBRA_AHEAD_RUNNER_INTERNAL_H

#include <pthread.h>

#include "ahead/recall.h"
#include "ahead/runner.h"

/* What is remembered of a sequence: routing (L, k) of its token in progress and of the two before.
 */
typedef struct umbra_runner_memory {
    uint16_t *now, *previous, *previous2;
    int known; /* tokens of this text before this one, at most 2 */
    uint32_t text;
    const uint16_t *oracle; /* (oracle_tokens, L, k) */
    int oracle_tokens, oracle_next;
} umbra_runner_memory;

struct umbra_runner {
    umbra_store *store;
    umbra_policy policy;
    umbra_recall *recall; /* NULL: nobody counts */
    int sequences, layers, hidden, experts, used;
    int *rank;    /* (L) layers with experts up to this one, it included */
    bool *sparse; /* (L) */
    bool *known;  /* (L) */

    umbra_runner_memory *memory; /* (S) the calling thread's */
    uint16_t *table;             /* (S, 3, L, k) where their routing lies */

    pthread_mutex_t mutex; /* guards the queue and the statistics */
    pthread_cond_t queued;
    umbra_job
        *jobs; /* (n_jobs) who is neither in the queue nor idle is being filled or predicted */
    int n_jobs;
    int *queue, queue_size, queue_first, queue_n; /* (queue_size) places in jobs, oldest first */
    int *idle, idle_n;                            /* (n_jobs) */
    bool quit;
    umbra_runner_stats stats;

    pthread_mutex_t work; /* held by who predicts; guards the foresight */
    umbra_foresight foresight;
    int batch; /* jobs predicted together, at most */
    pthread_t thread;
    bool has_thread;
};

/* The thread that predicts, where the runner has one. */
void *umbra_runner_thread(void *runner);

#endif
