/* Matrix products of training, by OpenBLAS. Nothing links with that library: it is loaded when
 * training begins, so that a program which only runs models needs neither the library nor the
 * address space that it takes. */
#ifndef UMBRA_TRAIN_BLAS_H
#define UMBRA_TRAIN_BLAS_H

#include <stdbool.h>

#include <umbra/status.h>

/* Loads OpenBLAS, once per process, with the memory for products called from `*callers` threads at
 * a time (1 or more), each by `threads` threads. Where the address space is too small for so many
 * callers, *callers becomes the number that there is room for. UMBRA_E_UNSUPPORTED: there is no
 * OpenBLAS; UMBRA_E_NOMEM: no room for one caller with its threads; UMBRA_E_SYSTEM: the threads
 * cannot be started. */
int umbra_blas_open(int *callers, int threads, umbra_error *err);

/* Threads of each product from now on; returns the number before. After umbra_blas_open. */
int umbra_blas_set_threads(int threads);

/* Row-major: c (m, n) = a (m, k) * b (k, n) + beta * c; a_transposed: a is stored (k, m), and so
 * on. Stored rows are lda, ldb, ldc floats apart. After umbra_blas_open; any thread. */
void umbra_blas_multiply(bool a_transposed, bool b_transposed, int m, int n, int k, const float *a,
                         int lda, const float *b, int ldb, float beta, float *c, int ldc);

#endif
