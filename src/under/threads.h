/* The threads that llama.cpp computes with. Between two graphs they spin, by default for as long as
 * a hundred milliseconds. */
#ifndef UMBRA_UNDER_THREADS_H
#define UMBRA_UNDER_THREADS_H

/* ggml_threadpool_new. */
typedef void *umbra_threads_make(void *params);

/* Threads made by these parameters (struct ggml_threadpool_params) sleep at once when there is
 * nothing to do, if they would take all processors and nobody has said how long they spin. Leaves
 * the parameters alone where they are not laid out as known. */
void umbra_threads_let_sleep(void *params);

#endif
