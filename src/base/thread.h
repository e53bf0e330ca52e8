/* Threads: all of the library are started here. */
#ifndef UMBRA_BASE_THREAD_H
#define UMBRA_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* Starts a thread that receives no signals: a handler must not run on its small stack. Returns 0 or
 * an errno. */
int umbra_thread_start(pthread_t *out, void *(*fn)(void *), void *argument, size_t stack_bytes);

/* How many threads, at most n, can run beside those there are: so many are started and ended. */
int umbra_thread_try(int n);

#endif
