/* Starts a thread that gets no signals. */
#include "base/thread.h"

#include <signal.h>

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
