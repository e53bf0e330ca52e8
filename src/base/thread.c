/* Starts a thread that gets no signals. */
#include "base/thread.h"

#include <signal.h>
#include <stdbool.h>

#include "base/memory.h"

enum { TRIAL_STACK_BYTES = 64 << 10 };

int umbra_thread_start(pthread_t *out, void *(*fn)(void *), void *argument, size_t stack_bytes)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(out, &attributes, fn, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return rc;
}

typedef struct gathering {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool over;
} gathering;

static void *stay(void *argument)
{
    gathering *g = argument;
    pthread_mutex_lock(&g->mutex);
    while (!g->over)
        pthread_cond_wait(&g->changed, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
    return NULL;
}

int umbra_thread_try(int n)
{
    gathering g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    pthread_t *threads = umbra_calloc((size_t)(n > 0 ? n : 0), sizeof *threads);
    int started = 0;
    while (threads && started < n &&
           umbra_thread_start(&threads[started], stay, &g, TRIAL_STACK_BYTES) == 0)
        started++;
    pthread_mutex_lock(&g.mutex);
    g.over = true;
    pthread_cond_broadcast(&g.changed);
    pthread_mutex_unlock(&g.mutex);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    umbra_free(threads);
    return started;
}
